//! What a front may ask of the engine. Plain data.
//! Knows nothing of how it is done.

use crate::jobs::ModelJob;
use event::Steer;
use measure::Question;
use measure::images::ImageRef;
use record::ModelRef;
use record::experiment::Experiment;
use record::state::RunId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A request. Nothing is answered here; the store changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Begin a run. One trains; the next ones wait.
    Start(Box<Experiment>),
    /// Hold a run at its next event.
    Pause(RunId),
    /// Let a held run go on.
    Resume(RunId),
    /// End a run.
    Stop(RunId),
    /// End all runs of a farm, by its folder.
    StopFarm(PathBuf),
    /// Ask something of a run's search.
    Steer(RunId, Steer),
    /// Show a run folder among the runs.
    OpenRun(PathBuf),
    /// Go on with an interrupted run, in its folder.
    ResumeRun(PathBuf),
    /// Go on from an event of a run folder, in a new one, with these settings (see [`crate::fork::changed`]).
    Fork {
        /// The run folder.
        origin: PathBuf,
        /// Its last event that is taken over.
        at: u64,
        /// How to go on.
        experiment: Box<Experiment>,
    },
    /// Show a run that does not work as it was right after an event of its log; or all as they are.
    Travel(Option<(RunId, u64)>),
    /// Open a model for measuring.
    Open(ModelRef),
    /// Measure the open model on the images of this source (see [`data::open`]), at the question that was asked last.
    UseImages(String, Question),
    /// Measure the open model. A new question replaces the old one.
    Ask(Question),
    /// Look closely at what the open model makes of one image, at the densities of the newest question.
    Look(ImageRef),
    /// Train on this device from the next run on, by the name the command line takes.
    UseDevice(String),
    /// Do something with a model file.
    Work(ModelJob),
}
