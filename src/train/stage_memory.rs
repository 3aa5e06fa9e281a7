//! What a run remembers, so that it can be killed anywhere and resume to the same result.
//! Knows nothing of files: implementations decide where snapshots are stored.
//!
//! A method is a procedure of named *stages*. Run again after an interruption, it finds the results of finished stages
//! here and skips them, and the stage that was interrupted finds where it stood. Everything between stages must be cheap and
//! depend on nothing but the stages' results; then the second time emits the same events as the first.

use anyhow::{Context, Result};
use model::{Checkpoint, Weights};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a stage left, or where it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Events that had been emitted when it was taken.
    pub said: u64,
    /// Training steps and epochs of the whole run that were done.
    pub done: [u64; 2],
    /// Small facts.
    pub facts: serde_json::Value,
    /// Arrays.
    pub arrays: Weights,
    /// A model.
    pub model: Option<Checkpoint>,
}

impl Snapshot {
    /// Facts alone.
    ///
    /// # Errors
    /// They cannot be written as JSON.
    pub fn of_facts(facts: &impl Serialize) -> Result<Self> {
        Ok(Self {
            facts: serde_json::to_value(facts)?,
            ..Self::default()
        })
    }

    /// The facts.
    ///
    /// # Errors
    /// They are of another kind: the memory is of another version.
    pub fn facts<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.facts.clone()).context("what the run remembers does not fit this version")
    }

    /// The model.
    ///
    /// # Errors
    /// There is none: the memory is of another version.
    pub fn model(self) -> Result<Checkpoint> {
        self.model.context("what the run remembers has no model")
    }
}

/// Keeps snapshots by stage name. A stage's inner stages are called `STAGE/INNER`, and are forgotten when it is over.
pub trait StageMemory {
    /// What a finished stage left.
    fn finished(&self, stage: &str) -> Option<Snapshot>;

    /// Where a stage under way stood.
    fn unfinished(&self, stage: &str) -> Option<Snapshot>;

    /// Events emitted so far.
    fn said(&self) -> u64;

    /// Moves the run's place to where a snapshot was taken: the work goes on from there.
    fn rewind(&self, snapshot: &Snapshot);

    /// Whether it is time to save what is under way.
    fn is_due(&self) -> bool;

    /// Remembers. `over` says that the stage is finished.
    ///
    /// # Errors
    /// It cannot be written.
    fn save(&self, stage: &str, snapshot: Snapshot, over: bool) -> Result<()>;
}

/// Remembers nothing: for tests and benchmarks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMemory;

impl StageMemory for NoMemory {
    fn finished(&self, _stage: &str) -> Option<Snapshot> {
        None
    }

    fn unfinished(&self, _stage: &str) -> Option<Snapshot> {
        None
    }

    fn said(&self) -> u64 {
        0
    }

    fn rewind(&self, _snapshot: &Snapshot) {}

    fn is_due(&self) -> bool {
        false
    }

    fn save(&self, _stage: &str, _snapshot: Snapshot, _over: bool) -> Result<()> {
        Ok(())
    }
}
