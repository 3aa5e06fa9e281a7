//! What a method is given to work with: images, a network, settings, and the run that listens.
//! Knows nothing of methods.

use crate::config::TrainConfig;
use crate::stage_memory::{Snapshot, StageMemory};
use crate::trial_farm::TrialFarm;
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use data::{Augment, Dataset, Normalization, Split, Splits, batch};
use event::{Cancelled, Emit, Event, Steer};
use infer::LatencyTable;
use model::{Checkpoint, NetSpec};
use std::cell::Cell;

/// What a method is given to work with.
pub struct Ctx<'a> {
    /// Decides everything random.
    pub seed: u64,
    /// Images, and how they become inputs.
    pub data: TrainingData<'a>,
    /// The dense network.
    pub spec: NetSpec,
    /// How long and how fast it trains.
    pub train: TrainConfig,
    /// A trained model to start from, instead of random weights.
    pub start: Option<Checkpoint>,
    /// The trained model whose outputs are learned ([`TrainConfig::teacher`]); if it is the run's own, from when that is trained.
    pub teacher: Option<Checkpoint>,
    /// Where tensors live, without autodiff.
    pub device: Device,
    /// Threads for measuring.
    pub threads: usize,
    /// Layers' times of another machine, for budgets in milliseconds; without one, this machine's are measured.
    pub latency_table: Option<LatencyTable>,
    /// The experiment as TOML, stored with the model.
    pub recipe: String,
    /// Training steps planned in the whole run.
    pub steps: u64,
    /// Training steps and epochs done in earlier stages.
    pub done: [u64; 2],
    /// The run that the work belongs to.
    pub run: RunHooks<'a>,
}

/// Images, and how they become inputs.
pub struct TrainingData<'a> {
    /// All images.
    pub dataset: &'a Dataset,
    /// Which of them are for what.
    pub splits: &'a Splits,
    /// Random changes to training images.
    pub augment: Augment,
    /// What is done to pixels.
    pub normalization: Normalization,
    /// What searches must keep.
    pub protected: Vec<Protected>,
}

/// Images that a search must keep as right as the whole network has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// Those of a class.
    Class(u16),
    /// One, by its number among training and validation images.
    Image(u32),
}

impl Protected {
    /// What `data.protect` names.
    ///
    /// # Errors
    /// There is no such class or image.
    pub fn named(name: &str, dataset: &Dataset) -> Result<Self> {
        if let Some(number) = name.strip_prefix('#').and_then(|n| n.parse::<u32>().ok()) {
            let n = dataset.train.len();
            ensure!((number as usize) < n, "data.protect: no image {name}, there are {n}");
            return Ok(Self::Image(number));
        }
        let class = dataset.classes.iter().position(|class| class == name);
        let class = class.with_context(|| {
            format!(
                "data.protect: no class {name:?}, expected `#NUMBER` or one of {}",
                dataset.classes.join(", ")
            )
        })?;
        Ok(Self::Class(class as u16))
    }
}

impl TrainingData<'_> {
    /// Images of a split, not augmented: `[n, c, h, w]`, normalized.
    pub fn pixels(&self, split: Split, indices: &[u32]) -> Vec<f32> {
        let mut pixels = Vec::new();
        batch::fill(
            self.dataset.images(split),
            indices,
            None,
            &self.normalization,
            &mut pixels,
        );
        pixels
    }

    pub(crate) fn labels(&self, indices: &[u32]) -> Vec<usize> {
        let labels = batch::labels(&self.dataset.train, indices);
        labels.into_iter().map(usize::from).collect()
    }
}

/// How a method talks to its run.
pub struct RunHooks<'a> {
    /// Blocks while the run is paused; an error means: stop now.
    pub check: &'a dyn Fn() -> Result<(), Cancelled>,
    /// Accuracy on validation images below which a cheaper model is no better: a method would take it back.
    pub min_top1: &'a Cell<f32>,
    /// Saves a model that is good so far, over the one before; gives its path. A run that is stopped loses no more than what
    /// came after.
    pub keep: &'a dyn Fn(&Checkpoint) -> Result<String>,
    /// What the user asked of a search since the last call, oldest first. A search that follows emits it as an event.
    pub steer: &'a dyn Fn() -> Vec<Steer>,
    /// What the run remembers of its stages.
    pub memory: &'a dyn StageMemory,
    /// Who else measures trials, if anybody does.
    pub farm: Option<&'a dyn TrialFarm>,
    /// Emits an event; an error means: stop now.
    pub emit: Emit<'a>,
}

impl Ctx<'_> {
    /// Emits an event.
    ///
    /// # Errors
    /// The run must stop now.
    pub fn emit(&mut self, event: Event) -> Result<(), Cancelled> {
        (self.run.emit)(event)
    }

    /// Emits what is being done, and which share of the whole run is done.
    ///
    /// # Errors
    /// The run must stop now.
    pub(crate) fn phase(&mut self, name: String, progress: f32) -> Result<(), Cancelled> {
        self.emit(Event::Phase { name, progress })
    }

    /// Blocks while the run is paused. Called between layers and batches, so that a stop is prompt.
    ///
    /// # Errors
    /// The run must stop now.
    pub fn check(&self) -> Result<(), Cancelled> {
        (self.run.check)()
    }

    /// Saves a model that is good so far ([`RunHooks::keep`]); gives its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, model: &Checkpoint) -> Result<String> {
        (self.run.keep)(model)
    }

    /// A named part of a method, done once: after an interruption its result is remembered, or `work` gets where it stood.
    ///
    /// # Errors
    /// Those of `work`; the memory cannot be written.
    pub fn stage(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self, Option<Snapshot>) -> Result<Snapshot>,
    ) -> Result<Snapshot> {
        let memory = self.run.memory;
        if let Some(snapshot) = memory.finished(name) {
            memory.rewind(&snapshot);
            self.done = snapshot.done;
            return Ok(snapshot);
        }
        let begun = memory.unfinished(name);
        if let Some(snapshot) = &begun {
            memory.rewind(snapshot);
        }
        let mut snapshot = work(self, begun)?;
        (snapshot.said, snapshot.done) = (memory.said(), self.done);
        memory.save(name, snapshot.clone(), true)?;
        Ok(snapshot)
    }
}
