//! Searches: what they decide, what they try, and what somebody asks of them.

use super::float;
use super::layer::Dimension;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a budget is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Weights of convolutions and linear layers.
    Weights,
    /// MACs per image.
    #[default]
    Macs,
    /// Milliseconds per image, measured on this machine.
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
    #[serde(deserialize_with = "float::one")]
    pub size: f64,
    /// Channels, columns or weights it chooses among.
    pub choices: usize,
    /// Choices go by so many at a time: what widths are multiples of.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub step: usize,
    /// Other layers that must be cut together with it.
    pub tied: Vec<String>,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn is_one(step: &usize) -> bool {
    *step == 1
}

impl Site {
    /// One more choice, as a share of all.
    pub fn share_of_step(&self) -> f32 {
        self.step as f32 / self.choices.max(1) as f32
    }
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
    #[serde(deserialize_with = "float::one")]
    pub budget: f64,
    /// The same of the model the search starts from.
    #[serde(deserialize_with = "float::one")]
    pub whole: f64,
    /// Trials planned.
    pub trials: u64,
    /// Images per trial is measured on, of the validation split.
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
    #[serde(deserialize_with = "float::list")]
    pub densities: Arc<[f32]>,
    /// What the budget counts.
    #[serde(deserialize_with = "float::one")]
    pub spent: f64,
    /// MACs per image.
    pub macs: u64,
    /// Parameters.
    pub params: u64,
    /// Share of the images classified right.
    #[serde(deserialize_with = "float::one")]
    pub top1: f32,
    /// What the search makes large.
    #[serde(deserialize_with = "float::one")]
    pub reward: f32,
    /// In the reward's units; 0 for searches without one.
    #[serde(deserialize_with = "float::one")]
    pub temperature: f32,
    /// Of the latest proposals that were worse, the share that was taken all the same.
    #[serde(deserialize_with = "float::one")]
    pub acceptance: f32,
    /// What became of it.
    pub verdict: Verdict,
}

/// What somebody asks of a search while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "steer", rename_all = "kebab-case")]
pub enum Steer {
    /// Another budget, in the search's unit.
    Budget {
        /// What must not be exceeded.
        #[serde(deserialize_with = "float::one")]
        most: f64,
    },
    /// Hold a site at a density, or (1) forbid to prune it.
    Lock {
        /// Index into [`SearchStart::sites`].
        site: usize,
        /// Kept share.
        #[serde(deserialize_with = "float::one")]
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
        #[serde(deserialize_with = "float::list")]
        densities: Vec<f32>,
    },
    /// Keep these images as right as the whole network has them, in place of what was to be kept so far.
    Protect {
        /// As in `data.protect`: names of classes, and `#NUMBER` for an image.
        names: Vec<String>,
    },
}
