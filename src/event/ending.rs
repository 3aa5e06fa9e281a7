//! How a run ends, and the two errors that are no failure of the work.

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All was done.
    Finished,
    /// Somebody stopped it.
    Cancelled,
    /// It could not go on; the reason is in [`Ending::reason`].
    Failed,
}

/// What is left of a run that did not finish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// The event that its newest checkpoint stands at: a fork from there can go another way.
    pub at: u64,
    /// The newest model that was kept, relative to the run folder.
    pub model: Option<String>,
}

/// The last event of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where a run that did not finish was last known to be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Good>,
    /// Whether what the user gave was at fault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bad_input: bool,
    /// The run folder.
    pub run: String,
    /// The model's path.
    pub model: Option<String>,
    /// On the validation split, at the highest density.
    pub valid_top1: Option<f32>,
    /// On the test split, read once, at the highest density.
    pub test_top1: Option<f32>,
    /// MACs per image of the model.
    pub macs: Option<u64>,
    /// MACs per image of the network it started from.
    pub macs_dense: Option<u64>,
    /// Parameters of the model.
    pub params: Option<u64>,
    /// Parameters of the network it started from.
    pub params_dense: Option<u64>,
}

/// The run was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl std::fmt::Display for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped on request")
    }
}

impl std::error::Error for Cancelled {}

/// What the user gave was at fault, not the work.
#[derive(Debug)]
pub struct BadInput(pub String);

impl BadInput {
    /// Of an error whose cause is the input.
    pub fn of(error: impl std::fmt::Display) -> Self {
        Self(format!("{error:#}"))
    }
}

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}
