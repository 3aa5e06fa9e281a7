//! The program's arguments: every command, and what opens the window.

use super::output::Json;
use super::{bench, eval, export, figure, import, inspect, report, run, serve};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use train::device::DeviceName;

/// Prune the channels of convolutional networks: dynamically, automatically, measured.
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
        runs: PathBuf,
        #[command(flatten)]
        json: Json,
    },
    /// List data sets
    Datasets(Json),
}
