//! A search as the loop that measures its proposals sees it.

use super::space::Space;
use super::steering::Steering;
use anyhow::Result;
use event::{Steer, Verdict};

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

    /// Whether the vector that is proposed would be the same whatever the ones before it had earned.
    fn is_independent(&self) -> bool;

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
    fn temperature(&self) -> f32;

    /// Share of the worse among the latest proposals that were taken all the same; 0 for searches that never do.
    fn acceptance(&self) -> f32;

    /// Something a person should know of how the search goes.
    fn fact(&self) -> Option<&'static str>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amc::Features;
    use crate::toy::Toy;
    use crate::{Amc, AmcAgentConfig, Anneal, AnnealConfig, Greedy, Random};
    use serde::Serialize;
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
        let features: Vec<Features> = (0..8).map(|i| [i as f32; 8]).collect();
        drive(|| Amc::new(agent.clone(), &features, 7).unwrap());
        drive(|| Greedy::new(TRIALS, 8).unwrap());
        drive(|| Random::new(TRIALS, 7).unwrap());
        drive(Random::uniform);
    }

    #[test]
    fn a_state_saved_long_ago_is_read_and_saved_as_it_was() {
        let text = r#"{"trials":8,"level":true,"rng":{"seed":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"stream":0,"word_pos":0},"steering":{"budget":40.5,"locks":{"1":0.25,"2":null},"queue":[[0.5,0.5]]},"number":3,"pending":[0.5,0.25],"best":{"densities":[0.5,0.25],"reward":0.75}}"#;
        let search: Random = serde_json::from_str(text).unwrap();
        assert_eq!(search.steering().locks, [(1, Some(0.25)), (2, None)].into());
        assert_eq!(serde_json::to_string(&search).unwrap(), text);
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<AnnealConfig>("temperature = 100").is_err());
        assert!(toml::from_str::<AmcAgentConfig>("samples = 8").is_err());
    }
}
