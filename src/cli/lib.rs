//! The command line: arguments in, one JSON object or one readable line a fact out.
//! Knows nothing of egui; opening the window is handed back to `main`.
//!
//! Exit codes: 0 done, 1 the work failed, 2 wrong usage or bad input, 130 stopped by Ctrl-C.

mod bench;
mod eval;
mod export;
mod figure;
mod import;
mod inspect;
mod lists;
mod report;
mod run;
mod serve;
mod stream;

use clap::{CommandFactory, Parser, Subcommand};
use lab::execute::Place;
use record::experiment::nearest;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use train::device::DeviceName;

/// Prune the channels of convolutional networks: dynamically, automatically, measured.
#[derive(Parser)]
#[command(
    name = "secateur",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Args {
    #[command(subcommand)]
    command: Option<Action>,
    /// Open the window on a preset file, a model file or a run folder
    path: Option<PathBuf>,
    /// Folder for runs started in the window
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Device for runs started in the window: flex, ndarray, wgpu or remote:HOST
    #[arg(long, default_value = "flex")]
    device: String,
}

#[derive(Subcommand)]
enum Action {
    /// Run an experiment, headless
    Run(run::RunArgs),
    /// Go on with an interrupted run, in the same folder
    Resume(run::ResumeArgs),
    /// Go on from an event of a run, in a new folder, with other settings
    Fork(run::ForkArgs),
    /// Let other machines work on this one's device
    ServeDevice(serve::ServeArgs),
    /// Measure a model
    Eval(eval::EvalArgs),
    /// Show what is in a model file, layer by layer
    Inspect(inspect::InspectArgs),
    /// One figure of one run or several
    Figure(figure::FigureArgs),
    /// One HTML file about one run or several
    Report(report::ReportArgs),
    /// Write a model for other programs, and check what was written
    Export(export::ExportArgs),
    /// Read weights of other programs into a model file
    Import(import::ImportArgs),
    /// Time this machine
    Bench(bench::BenchArgs),
    /// List devices to train on
    Devices(Json),
    /// List presets
    Presets(Json),
    /// List run folders
    Runs {
        /// Folder that holds run folders
        #[arg(long, default_value = "runs")]
        runs: std::path::PathBuf,
        #[command(flatten)]
        json: Json,
    },
    /// List data sets
    Datasets(Json),
}

/// The flag all commands have.
#[derive(clap::Args, Clone, Copy)]
pub struct Json {
    /// One JSON object a line on stdout, and nothing else
    #[arg(long)]
    json: bool,
}

impl Json {
    /// Says a fact, for people or for programs.
    pub fn say(self, fact: &impl Serialize, text: impl FnOnce() -> String) {
        use std::io::Write;
        let line = if self.json {
            serde_json::to_string(fact).unwrap_or_default()
        } else {
            text()
        };
        // A closed pipe is not an error of ours.
        drop(writeln!(std::io::stdout(), "{line}"));
    }
}

/// What `main` does next.
pub enum Next {
    /// Nothing: this is the exit code.
    Exit(ExitCode),
    /// Open the window.
    Window(Option<PathBuf>, Place),
    /// Time the window's frames for so many seconds while so many events a second arrive.
    BenchFrame(f64, u32, Json),
}

/// An error with the code that the program ends with.
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

/// The result of a command.
type Done = Result<u8, Failure>;

/// Marks errors as bad input (exit code 2) or failed work (1).
trait OrFail<T> {
    fn or_bad_input(self) -> Result<T, Failure>;
    fn or_failed(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_bad_input(self) -> Result<T, Failure> {
        self.map_err(|e| Failure {
            code: 2,
            error: e.into(),
        })
    }
    fn or_failed(self) -> Result<T, Failure> {
        self.map_err(|e| Failure {
            code: 1,
            error: e.into(),
        })
    }
}

/// Reads the arguments and does what they say, unless they ask for the window.
pub fn main() -> Next {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) if !e.use_stderr() => {
            drop(e.print());
            return Next::Exit(ExitCode::SUCCESS);
        }
        Err(e) => {
            let text = e.render().to_string();
            let lines: Vec<&str> = text
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty() && !l.starts_with("For more"))
                .collect();
            return complain(2, &lines.join("; "));
        }
    };
    let done = match args.command {
        None => return window(args),
        Some(Action::Bench(args)) if args.task == "frame" => {
            return Next::BenchFrame(args.seconds, args.events_per_second, args.json);
        }
        Some(Action::Run(args)) => run::run(&args),
        Some(Action::Resume(args)) => run::resume(&args),
        Some(Action::Fork(args)) => run::fork(&args),
        Some(Action::ServeDevice(args)) => serve::serve(&args),
        Some(Action::Eval(args)) => eval::eval(&args),
        Some(Action::Inspect(args)) => inspect::inspect(&args),
        Some(Action::Figure(args)) => figure::figure(&args),
        Some(Action::Report(args)) => report::report(&args),
        Some(Action::Export(args)) => export::export(&args),
        Some(Action::Import(args)) => import::import(&args),
        Some(Action::Bench(args)) => bench::bench(&args),
        Some(Action::Devices(json)) => lists::devices(json),
        Some(Action::Presets(json)) => lists::presets(json),
        Some(Action::Runs { runs, json }) => lists::runs(&runs, json),
        Some(Action::Datasets(json)) => lists::datasets(json),
    };
    match done {
        Ok(code) => Next::Exit(ExitCode::from(code)),
        Err(Failure { code, error }) => complain(code, &format!("{error:#}")),
    }
}

fn window(args: Args) -> Next {
    if let Some(path) = args.path.as_ref().filter(|p| !p.exists()) {
        let command = Args::command();
        let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let name = path.to_string_lossy();
        return complain(
            2,
            &format!(
                "no file or command {name}{}; see secateur --help",
                nearest(&name, &known)
            ),
        );
    }
    match DeviceName::parse(&args.device) {
        Ok(device) => Next::Window(
            args.path,
            Place {
                runs: args.runs,
                device,
                threads: record::folder::threads(),
            },
        ),
        Err(e) => complain(2, &e.to_string()),
    }
}

/// One line on stderr, and the exit code.
pub fn complain(code: u8, text: &str) -> Next {
    let text = text.strip_prefix("error: ").unwrap_or(text).replace('\n', " ");
    eprintln!("secateur: {text}");
    Next::Exit(ExitCode::from(code))
}
