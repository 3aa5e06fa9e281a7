//! The program's arguments: every command, and what opens the window.

use super::output::Json;
use super::{
    bench, eval, export, farm_task, figure, import, inspect, manual, quantize, report, run, serve, time_worker,
    tournament,
};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use train::device::DeviceName;

/// Prune the channels of convolutional networks: dynamically, automatically, and measured.
#[derive(Parser)]
#[command(
    name = "secateur",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Option<CliCommand>,
    /// Open the window on a preset file, a model file or a run folder
    pub path: Option<PathBuf>,
    /// Folder for runs started in the window
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
    /// Device for runs started in the window: flex, ndarray, wgpu or remote:HOST
    #[arg(long, default_value = "flex", value_parser = DeviceName::parse)]
    pub device: DeviceName,
}

#[derive(Subcommand)]
pub(crate) enum CliCommand {
    /// Run an experiment without the window
    Run(run::RunArgs),
    /// Continue an interrupted run in the same folder
    Resume(run::ResumeArgs),
    /// Continue from an event of a run in a new folder, with other settings
    Fork(run::ForkArgs),
    /// Compare methods on equal terms: all runs that a file asks for, then a table and a figure
    Tournament(tournament::TournamentArgs),
    /// Let other machines train on this machine's device
    ServeDevice(serve::ServeArgs),
    /// Measure the accuracy, cost and speed of a model
    Eval(eval::EvalArgs),
    /// Make a model compute its convolutions in bytes
    Quantize(quantize::QuantizeArgs),
    /// Show what is in a model file, layer by layer
    Inspect(inspect::InspectArgs),
    /// Draw a figure of one or several runs
    Figure(figure::FigureArgs),
    /// Write one HTML file about one or several runs
    Report(report::ReportArgs),
    /// Write a model to a file for other programs, and check it
    Export(export::ExportArgs),
    /// Convert another program's network or weights to a model file
    Import(import::ImportArgs),
    /// Time inference, training and searches on this machine
    Bench(Box<bench::BenchArgs>),
    /// List devices to train on
    Devices(Json),
    /// List presets
    Presets(Json),
    /// List run folders
    Runs {
        /// Folder that holds run folders
        #[arg(long, default_value = "runs")]
        runs: PathBuf,
        #[command(flatten)]
        json: Json,
    },
    /// List data sets
    Datasets(Json),
    /// Print the times of a model's layers on this machine, for searches on another: a model in, a table out
    TimeWorker(time_worker::TimeWorkerArgs),
    /// Print a script that lets a shell complete commands and options
    Completions(manual::CompletionsArgs),
    /// Write manual pages
    Man(manual::ManArgs),
    /// One run of a farm, called by its scheduler
    #[command(hide = true)]
    FarmTask(farm_task::FarmTaskArgs),
}
