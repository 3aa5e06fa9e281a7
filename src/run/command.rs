//! What a front may ask of the engine. Plain data.
//! Knows nothing of how it is done.

use super::experiment::Experiment;
use super::store::RunId;
use crate::model::Density;
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
    /// Open a model for measuring.
    Open(ModelRef),
    /// Measure the open model. A new question replaces the old one.
    Ask(Question),
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelRef {
    /// The one inside the program.
    Bundled,
    /// A model file.
    File(PathBuf),
}

/// What to measure on the open model's validation images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// One density a gate, in network order.
    pub densities: Vec<Density>,
}
