//! Searches for the density of every site under one budget: one trait, so that one loop drives them all.
//! Knows nothing of networks: a search proposes numbers and is told how good they were.

pub mod amc;
pub mod anneal;
pub mod clip;
pub mod ddpg;
pub mod frontier;
pub mod greedy;
pub mod mlp;
pub mod random;
pub mod rounds;
pub mod space;
pub mod steering;
pub mod strategy;
#[cfg(test)]
mod toy;

pub use amc::{Amc, AmcConfig};
pub use anneal::{Anneal, AnnealConfig};
pub use frontier::Frontier;
pub use greedy::Greedy;
pub use random::Random;
pub use space::Space;
pub use steering::Steering;
pub use strategy::{Search, Strategy};

use crate::event::{Steer, Verdict};
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A vector with what it earned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Kept share of each site.
    pub densities: Vec<f32>,
    /// What the search makes large.
    pub reward: f32,
}

impl Measured {
    /// Keeps what is better than all before it and leaves the rest.
    fn keep(best: &mut Option<Measured>, densities: &[f32], reward: f32) -> Verdict {
        if !reward.is_finite() || best.as_ref().is_some_and(|best| reward <= best.reward) {
            return Verdict::Rejected;
        }
        *best = Some(Measured {
            densities: densities.to_vec(),
            reward,
        });
        Verdict::Best
    }
}

/// A search, driven from outside: propose, measure, settle, until there is no proposal left. Its moves follow from its
/// seed and the rewards alone.
pub trait Searcher {
    /// Vectors planned to be measured.
    fn trials(&self) -> u64;

    /// The next vector to measure, in the order of the sites; the same until it is settled. `None` when all is done.
    ///
    /// # Errors
    /// If the space's budget cannot be met.
    fn propose(&mut self, space: &Space) -> Result<Option<Vec<f32>>>;

    /// Says what a proposed vector earned; no number counts as the worst.
    fn settle(&mut self, densities: &[f32], reward: f32) -> Verdict;

    /// Takes an intervention; `space` is the one given to [`Searcher::propose`].
    ///
    /// # Errors
    /// If it cannot be followed; the search goes on as if nothing had been asked.
    fn steer(&mut self, space: &Space, steer: &Steer) -> Result<()>;

    /// The best vector that was measured within the budget, with its reward. After a change of limits, the old one
    /// until another was measured.
    fn best(&self) -> Option<(&[f32], f32)>;

    /// In the reward's units; 0 for searches without one.
    fn temperature(&self) -> f32 {
        0.0
    }

    /// Share of the worse among the latest proposals that were taken all the same; 0 for searches that never do.
    fn acceptance(&self) -> f32 {
        0.0
    }

    /// Something a person should know of how the search goes.
    fn fact(&self) -> Option<&'static str> {
        None
    }
}
