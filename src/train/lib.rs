//! Makes weights better: the loop, the optimizer, the learning rate, and measuring on the way.
//! Knows nothing of pruning methods.

pub mod backward;
pub mod calibrate;
pub mod config;
pub mod conv_step;
pub mod device;
pub mod finish;
pub mod first_order;
pub mod fit;
pub mod layer;
pub mod measure;
pub mod net;
pub mod norms;
pub mod optimizer;
pub(crate) mod proxy;
pub mod remote;
pub mod sparse_conv;
pub mod stage_memory;

pub use config::TrainConfig;
pub use finish::{check, finish};
pub use first_order::first_order;
pub use fit::{Penalty, TrainingPlan, fit};
pub use stage_memory::{Snapshot, StageMemory};

use anyhow::Result;
use burn::tensor::Device;
use data::{Augment, Dataset, Normalization, Splits};
use event::{Cancelled, Emit, Steer};
use model::{Checkpoint, NetSpec};
use std::cell::Cell;

/// What a method is given to work with.
pub struct Ctx<'a> {
    /// Decides everything random.
    pub seed: u64,
    /// The images.
    pub data: &'a Dataset,
    /// Which of them are for what.
    pub splits: &'a Splits,
    /// Random changes to training images.
    pub augment: Augment,
    /// What is done to pixels.
    pub normalization: Normalization,
    /// The dense network.
    pub spec: NetSpec,
    /// How long and how fast.
    pub train: TrainConfig,
    /// A trained model to start from, instead of random weights.
    pub start: Option<Checkpoint>,
    /// Where tensors live, without autodiff.
    pub device: Device,
    /// Threads for measuring.
    pub threads: usize,
    /// The experiment as TOML, kept with the model.
    pub recipe: String,
    /// Training steps planned in the whole run.
    pub steps: u64,
    /// Training steps and epochs done in stages before this one.
    pub done: [u64; 2],
    /// Blocks while the run is paused; an error means: stop now. Asked between layers and batches, so that a stop is prompt.
    pub check: &'a dyn Fn() -> Result<(), Cancelled>,
    /// Accuracy on validation images below which a cheaper model is no better: a method would take it back.
    pub least: &'a Cell<f32>,
    /// Writes a model that is good so far, over the one before; gives its path. A run that is stopped loses no more than what came after.
    pub keep: &'a dyn Fn(&Checkpoint) -> Result<String>,
    /// What somebody asked of a search since last asked, oldest first. Whoever obeys says it as an event.
    pub steer: &'a dyn Fn() -> Vec<Steer>,
    /// What the run remembers of its stages.
    pub memory: &'a dyn StageMemory,
    /// Say something; an error means: stop now.
    pub emit: Emit<'a>,
}

impl Ctx<'_> {
    /// A named part of a method, done once: after an interruption its result is remembered, or `work` is given where it stood.
    ///
    /// # Errors
    /// Whatever `work` says; the memory cannot be written.
    pub fn stage(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self, Option<Snapshot>) -> Result<Snapshot>,
    ) -> Result<Snapshot> {
        if let Some(snapshot) = self.memory.finished(name) {
            self.done = snapshot.done;
            return Ok(snapshot);
        }
        let begun = self.memory.unfinished(name);
        let mut snapshot = work(self, begun)?;
        (snapshot.said, snapshot.done) = (self.memory.said(), self.done);
        self.memory.save(name, snapshot.clone(), true)?;
        Ok(snapshot)
    }
}
