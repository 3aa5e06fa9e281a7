//! Searches for the density of every site under one budget: one trait, so that one loop drives them all.
//! Knows nothing of networks: a search proposes numbers and is told how good they were.

pub mod amc;
pub mod anneal;
pub mod clip;
pub(crate) mod ddpg;
pub mod frontier;
pub mod greedy;
pub(crate) mod mlp;
pub mod random;
pub mod space;
pub mod steering;
#[cfg(test)]
mod toy;

pub use amc::{Amc, AmcAgentConfig};
pub use anneal::{Anneal, AnnealConfig};
pub use frontier::Frontier;
pub use greedy::Greedy;
pub use random::Random;
pub use space::Space;
pub use steering::Steering;

use anyhow::Result;
use event::{Steer, Verdict};
use serde::{Deserialize, Serialize};

/// A vector with what it earned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Kept share of each site.
    pub densities: Vec<f32>,
    /// What the search makes large.
    pub reward: f32,
}

impl Scored {
    /// Keeps what is better than all before it and leaves the rest.
    fn keep(best: &mut Option<Scored>, densities: &[f32], reward: f32) -> Verdict {
        if !reward.is_finite() || best.as_ref().is_some_and(|best| reward <= best.reward) {
            return Verdict::Rejected;
        }
        *best = Some(Scored {
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

    /// What was asked of it and still holds.
    fn steering(&self) -> &Steering;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::Toy;
    use serde::de::DeserializeOwned;
    use std::fmt::Debug;

    const TRIALS: u64 = 30;

    /// One loop drives it to its end within the budget; saved in the middle and read back, it goes on with the same vectors.
    fn drive<S>(begin: impl Fn() -> S)
    where
        S: Searcher + Debug + PartialEq + Serialize + DeserializeOwned,
    {
        let toy = Toy::layers();
        let mut search = begin();
        let planned = search.trials();
        let whole = toy.drive(&mut search);
        assert_eq!(whole.len() as u64, planned);
        let (best, reward) = search.best().unwrap();
        assert!(toy.with(|space| space.holds(best)) && reward == toy.reward(best));

        let mut stopped = begin();
        toy.drive_for(&mut stopped, whole.len() / 2);
        let mut back: S = serde_json::from_value(serde_json::to_value(&stopped).unwrap()).unwrap();
        assert_eq!(toy.drive(&mut back), whole[whole.len() / 2..]);
        assert_eq!(back, search);
    }

    #[test]
    fn all_searches_keep_the_budget_and_go_on_where_they_were_saved() {
        let anneal = AnnealConfig {
            trials: TRIALS,
            ..AnnealConfig::default()
        };
        drive(|| Anneal::new(anneal.clone(), 7).unwrap());
        let mut agent: AmcAgentConfig = toml::from_str("agent = { hidden = 16, batch = 8 }").unwrap();
        agent.trials = TRIALS;
        let features: Vec<amc::Features> = (0..8).map(|i| [i as f32; 8]).collect();
        drive(|| Amc::new(agent.clone(), &features, 7).unwrap());
        drive(|| Greedy::new(TRIALS, 8).unwrap());
        drive(|| Random::new(TRIALS, 7).unwrap());
        drive(Random::uniform);
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<AnnealConfig>("temperature = 100").is_err());
        assert!(toml::from_str::<AmcAgentConfig>("samples = 8").is_err());
    }
}
