//! Reads the arguments and calls the command that they name.

use super::args::{Args, CliCommand};
use super::bench::{BenchTask, FrameArgs};
use super::failure::{Failure, complain};
use super::output::Json;
use super::{
    bench, eval, export, farm_task, figure, import, inspect, lists, manual, quantize, report, run, serve, time_worker,
    tournament,
};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use lab::Workspace;
use record::experiment::nearest;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `main` does next.
pub enum Next {
    /// Nothing: this is the exit code.
    Exit(ExitCode),
    /// Open the window.
    Window(Option<PathBuf>, Workspace),
    /// Time the window's frames.
    BenchFrame(FrameArgs, Json),
}

/// Reads the arguments and does what they say, unless they ask for the window.
pub fn main() -> Next {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) if !e.use_stderr() => {
            drop(e.print());
            return Next::Exit(ExitCode::SUCCESS);
        }
        Err(e) if e.kind() == ErrorKind::InvalidUtf8 => {
            let odd = std::env::args_os().find(|a| a.to_str().is_none()).unwrap_or_default();
            let text = format!("argument {odd:?} is not UTF-8, expected UTF-8 here; a link with such a name will do");
            return Next::Exit(complain(2, &text));
        }
        Err(e) => {
            let text = e.render().to_string();
            let lines: Vec<&str> = text
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty() && !l.starts_with("For more"))
                .collect();
            return Next::Exit(complain(2, &lines.join("; ")));
        }
    };
    let done = match args.command {
        None => return window(args),
        Some(CliCommand::Bench(args)) if args.task == BenchTask::Frame => {
            return match args.frame() {
                Ok(frame) => Next::BenchFrame(frame, args.json),
                Err(e) => Next::Exit(complain(2, &format!("{e:#}"))),
            };
        }
        Some(CliCommand::Run(args)) => run::run(&args),
        Some(CliCommand::Resume(args)) => run::resume(&args),
        Some(CliCommand::Fork(args)) => run::fork(&args),
        Some(CliCommand::Tournament(args)) => tournament::tournament(&args),
        Some(CliCommand::ServeDevice(args)) => serve::serve(&args),
        Some(CliCommand::Eval(args)) => eval::eval(&args),
        Some(CliCommand::Quantize(args)) => quantize::quantize(&args),
        Some(CliCommand::Inspect(args)) => inspect::inspect(&args),
        Some(CliCommand::Figure(args)) => figure::figure(&args),
        Some(CliCommand::Report(args)) => report::report(&args),
        Some(CliCommand::Export(args)) => export::export(&args),
        Some(CliCommand::Import(args)) => import::import(&args),
        Some(CliCommand::Bench(args)) => bench::bench(&args),
        Some(CliCommand::Devices(json)) => lists::devices(json),
        Some(CliCommand::Presets(json)) => lists::presets(json),
        Some(CliCommand::Runs { runs, json }) => lists::runs(&runs, json),
        Some(CliCommand::Datasets(json)) => lists::datasets(json),
        Some(CliCommand::TimeWorker(args)) => time_worker::time_worker(&args),
        Some(CliCommand::Completions(args)) => manual::completions(&args, Args::command()),
        Some(CliCommand::Man(args)) => manual::man(&args, Args::command()),
        Some(CliCommand::FarmTask(args)) => farm_task::farm_task(&args),
    };
    Next::Exit(match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, error }) => complain(code, &format!("{error:#}")),
    })
}

fn window(args: Args) -> Next {
    if let Some(path) = args.path.as_ref().filter(|p| !p.exists()) {
        let command = Args::command();
        let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let name = path.to_string_lossy();
        let hint = nearest(&name, &known);
        return Next::Exit(complain(
            2,
            &format!("no file or command {name}{hint}; see secateur --help"),
        ));
    }
    let workspace = Workspace {
        runs: args.runs,
        device: args.device,
        threads: record::folder::threads(),
        farm: None,
    };
    Next::Window(args.path, workspace)
}
