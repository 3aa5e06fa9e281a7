//! Who else measures trials: machines that each are given some of the vectors of a search whose trials do not depend on each other.
//! Knows nothing of schedulers, nor of how a trial is measured.

use anyhow::Result;
use event::Cancelled;
use infer::LatencyTable;
use model::Checkpoint;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// What was measured of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Share of the images classified right.
    pub top1: f32,
    /// Shares lost on what is protected, against the whole network, summed.
    pub lost: f32,
}

/// Trials that do not depend on each other.
#[derive(Debug)]
pub struct TrialBatch<'a> {
    /// What densities are applied to.
    pub model: &'a Checkpoint,
    /// Times of its layers, if budgets are counted in them.
    pub times: Option<&'a LatencyTable>,
    /// Training steps and epochs that were done before: training within a trial draws its images by them.
    pub done: [u64; 2],
    /// The vectors of densities, in the order in which they are wanted.
    pub vectors: &'a [Vec<f32>],
}

/// Measures a vector as the search itself would, after so many training steps and epochs.
pub type MeasureTrial<'a> = &'a mut dyn FnMut([u64; 2], &[f32]) -> Result<Judged>;

/// Who else measures trials.
pub trait TrialFarm: Debug + Send + Sync {
    /// Takes trials over. Who is given some of them calls `measure` for those.
    ///
    /// # Errors
    /// [`Cancelled`]: nothing is left to do here; they cannot be shared out.
    fn share(&self, batch: &TrialBatch, measure: MeasureTrial) -> Result<Box<dyn SharedTrials>>;
}

/// Trials that others measure. Whoever drops it wants no more of them.
pub trait SharedTrials {
    /// Waits for the next one, in the order of the vectors; none if nobody measures it. Calls `check` often.
    ///
    /// # Errors
    /// [`Cancelled`] of `check`; what was measured cannot be read.
    fn next(&mut self, check: &dyn Fn() -> Result<(), Cancelled>) -> Result<Option<Judged>>;
}
