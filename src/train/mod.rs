//! Makes weights better: the loop, the optimizer, the learning rate, and measuring on the way.
//! Knows nothing of pruning methods.

pub mod bench;
pub mod calibrate;
pub mod config;
pub mod fit;
pub mod measure;
pub mod optimizer;

pub use config::TrainConfig;
pub use fit::{Plan, fit};

use crate::data::{Augment, Dataset, Normalization, Splits};
use crate::event::{Cancelled, Emit};
use crate::model::{Checkpoint, NetSpec};
use burn::tensor::Device;

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
    /// Blocks while the run is paused; an error means: stop now. Asked between layers and batches, so that a stop is prompt.
    pub check: &'a dyn Fn() -> Result<(), Cancelled>,
    /// Writes a model that is good so far, over the one before; gives its path. A run that is stopped loses no more than what came after.
    pub keep: &'a dyn Fn(&Checkpoint) -> anyhow::Result<String>,
    /// Say something; an error means: stop now.
    pub emit: Emit<'a>,
}
