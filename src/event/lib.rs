//! What a worker may say while it works. Plain numbers; never tensors or weights.
//! Knows nothing of who says it or who listens.
//!
//! Order: one [`Event::Started`], then any of the middle ones, then exactly one [`Event::Ended`]. A pause says nothing.

use data::Split;
use model::{Cost, Density, NetSpec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The data are read and the network stands.
    Started {
        /// The network.
        spec: Arc<NetSpec>,
        /// Its cost with nothing masked.
        dense: Cost,
        /// Training steps planned in all.
        steps: u64,
        /// Images to train on, to validate on, to test on.
        images: [usize; 3],
    },
    /// A part of the method begins or goes on.
    Phase {
        /// What is being done, e.g. `epoch 3 of 12`.
        name: String,
        /// Share of the whole run that is done.
        progress: f32,
    },
    /// Training steps, averaged since the last one said.
    Step {
        /// Steps done.
        step: u64,
        /// Mean loss.
        loss: f32,
        /// Share of training images classified right.
        top1: f32,
        /// Learning rate.
        lr: f32,
    },
    /// A measurement over a split.
    Epoch {
        /// Epochs done.
        epoch: u32,
        /// What was measured on.
        split: Split,
        /// Density of every gate; 1 for dense networks.
        density: Density,
        /// Density of each gate, where they differ; `density` is then the largest of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gates: Vec<Density>,
        /// Mean cross-entropy.
        loss: f32,
        /// Share classified right.
        top1: f32,
        /// MACs an image, averaged over the images measured.
        macs: u64,
        /// Images measured.
        n: usize,
    },
    /// The state of every gated or pruned layer.
    Layers {
        /// In network order.
        layers: Arc<[LayerState]>,
    },
    /// A model was kept.
    Kept {
        /// Where it lies, relative to the run folder.
        model: String,
        /// What it costs at its highest density.
        cost: Cost,
        /// Share of the validation images classified right.
        top1: f32,
    },
    /// A search begins.
    Search(Arc<SearchStart>),
    /// A candidate was measured.
    Trial(Trial),
    /// How far ADMM's weights are from its targets: ‖W − Z‖ of each pruned layer.
    Residuals {
        /// ADMM updates done in this stage.
        update: u32,
        /// In network order.
        layers: Vec<Residual>,
    },
    /// Somebody steered the search.
    Steered(Steer),
    /// Somebody would have steered the search, which could not follow and goes on as if nothing had been asked.
    Refused {
        /// What was asked.
        #[serde(flatten)]
        steer: Steer,
        /// One line.
        why: String,
    },
    /// The run was interrupted here and goes on. Says nothing of the work.
    Resumed {
        /// Events that had been said when the memory it goes on from was written.
        from: u64,
        /// What was half written and is whole again, a line each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mended: Vec<String>,
    },
    /// The run took over another's log and memory here, and goes on by itself. Says nothing of the work.
    Forked {
        /// The other run's folder name.
        from: String,
        /// The other run's event up to which its log was taken over.
        #[serde(rename = "up_to")]
        at: u64,
        /// Settings that differ from the other run's, as `key = value`.
        changes: Vec<String>,
        /// Training steps planned in all, with these settings.
        steps: u64,
    },
    /// The run waits for room on the disk, so this is said to whoever listens and is never logged. Any other event ends it.
    Stalled {
        /// One line.
        text: String,
    },
    /// Something went wrong, and the run went on.
    Warning {
        /// One line.
        text: String,
    },
    /// The run is over.
    Ended(Ending),
}

/// The way in which a layer is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Output channels: rows of the weight matrix.
    Filter,
    /// Input channels: blocks of columns.
    Channel,
    /// Columns: one (input channel, ky, kx).
    Column,
    /// Single weights: non-structured.
    Element,
    /// Not the weights, but the density of the layer's FBS gate.
    Gate,
}

impl Dimension {
    /// As settings and stages have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Channel => "channel",
            Self::Column => "column",
            Self::Element => "element",
            Self::Gate => "gate",
        }
    }
}

/// What a budget is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Weights of convolutions and linear layers.
    Weights,
    /// MACs an image.
    #[default]
    Macs,
    /// Milliseconds an image, measured on this machine.
    Ms,
}

/// One number that a search decides: the kept share of a group of layers along one dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The first layer it prunes; unique within a dimension.
    pub name: String,
    /// How.
    pub dimension: Dimension,
    /// What the guide sorts by: the budget's unit at density 1.
    pub size: f64,
    /// Channels, columns or weights it chooses among.
    pub choices: usize,
    /// Other layers that must be cut together with it.
    pub tied: Vec<String>,
}

/// What a search is about to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchStart {
    /// E.g. `round 2` or `purification 1`.
    pub name: String,
    /// What is decided.
    pub sites: Vec<Site>,
    /// What the budget is counted in.
    pub unit: Unit,
    /// What must not be exceeded.
    pub budget: f64,
    /// The same of the model the search starts from.
    pub whole: f64,
    /// Trials planned.
    pub trials: u64,
    /// Images a trial is measured on, of the validation split.
    pub images: usize,
    /// Densities that sites are held at from the start, in the order of the sites; empty if none is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Option<f32>>,
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better than all before it.
    Best,
    /// Taken as the next state.
    Accepted,
    /// Left.
    Rejected,
}

/// One candidate that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Counts from 0 in its search.
    pub number: u64,
    /// Kept share of each site, in [`SearchStart::sites`]' order.
    pub densities: Arc<[f32]>,
    /// What the budget counts.
    pub spent: f64,
    /// MACs an image.
    pub macs: u64,
    /// Parameters.
    pub params: u64,
    /// Share of the images classified right.
    pub top1: f32,
    /// What the search makes large.
    pub reward: f32,
    /// In the reward's units; 0 for searches without one.
    pub temperature: f32,
    /// Of the latest proposals that were worse, the share that was taken all the same.
    pub acceptance: f32,
    /// What became of it.
    pub verdict: Verdict,
}

/// ‖W − Z‖_F / ‖W‖_F of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// The layer.
    pub layer: String,
    /// In which way it is pruned.
    pub dimension: Dimension,
    /// Relative distance.
    pub value: f32,
}

/// What somebody asks of a search while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "steer", rename_all = "kebab-case")]
pub enum Steer {
    /// Another budget, in the search's unit.
    Budget {
        /// What must not be exceeded.
        most: f64,
    },
    /// Hold a site at a density, or (1) forbid to prune it.
    Lock {
        /// Index into [`SearchStart::sites`].
        site: usize,
        /// Kept share.
        density: f32,
    },
    /// Let a site go free again.
    Unlock {
        /// Index into [`SearchStart::sites`].
        site: usize,
    },
    /// Back to the first temperature.
    Reheat,
    /// Try this vector next, brought within the budget.
    Propose {
        /// Kept share of each site.
        densities: Vec<f32>,
    },
}

/// One layer, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerState {
    /// The convolution's name.
    pub name: String,
    /// Its filters.
    pub channels: usize,
    /// Share of them that run, averaged over images: measured.
    pub kept: f32,
    /// MACs an image, predictor and gate included.
    pub macs: u64,
    /// Mean saliency of each channel (before the winners are taken).
    pub saliency: Vec<f32>,
    /// How often each channel was active, 0 to 1.
    pub active: Vec<f32>,
}

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
    /// MACs an image of the model.
    pub macs: Option<u64>,
    /// MACs an image of the network it started from.
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

/// Says something. Blocks while the run is paused; an error means: stop now.
pub type Emit<'a> = &'a mut dyn FnMut(Event) -> Result<(), Cancelled>;

/// An event with its place in its run. Two runs of one seed differ in nothing but `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Counts from 0 in each run.
    pub seq: u64,
    /// Seconds since the run began.
    pub at: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
