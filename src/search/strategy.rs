//! The searches there are: as settings in an experiment, and as a state that can be saved and read back.
//! Knows nothing of how any of them works.

use super::amc::Features;
use super::{Amc, AmcConfig, Anneal, AnnealConfig, Greedy, Random, Searcher, Space};
use crate::event::{Steer, Verdict};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// A search with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Strategy {
    /// AutoCompress' guided annealing.
    Anneal(AnnealConfig),
    /// AMC's agent.
    Amc(AmcConfig),
    /// Each site alone, then the cheapest cuts.
    Greedy(Trials),
    /// Vectors drawn at random.
    Random(Trials),
    /// One density for all: one trial.
    Uniform,
}

/// Settings of a search that has no others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trials {
    /// Vectors to measure.
    pub trials: u64,
}

impl Default for Trials {
    fn default() -> Self {
        Self { trials: 120 }
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Strategy::Anneal(AnnealConfig::default())
    }
}

impl Strategy {
    /// The name presets use.
    pub fn kind(&self) -> &'static str {
        match self {
            Strategy::Anneal(_) => "anneal",
            Strategy::Amc(_) => "amc",
            Strategy::Greedy(_) => "greedy",
            Strategy::Random(_) => "random",
            Strategy::Uniform => "uniform",
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        match self {
            Strategy::Anneal(config) => config.check(),
            Strategy::Amc(config) => config.check(),
            Strategy::Greedy(config) | Strategy::Random(config) => {
                ensure!(config.trials >= 1, "search.trials is 0, expected at least 1");
                Ok(())
            }
            Strategy::Uniform => Ok(()),
        }
    }

    /// Begins it over a space. `features`, one row a site, are seen by AMC alone.
    ///
    /// # Errors
    /// If the settings or the space do not hold, or the budget cannot be met: names the nearest that can.
    pub fn begin(&self, space: &Space, features: &[Features], seed: u64) -> Result<Search> {
        space.check()?;
        Ok(match self {
            Strategy::Anneal(config) => Search::Anneal(Anneal::new(config.clone(), seed)?),
            Strategy::Amc(config) => Search::Amc(Box::new(Amc::new(config.clone(), features, seed)?)),
            Strategy::Greedy(config) => Search::Greedy(Greedy::new(config.trials, space.sites.len())?),
            Strategy::Random(config) => Search::Random(Random::new(config.trials, seed)?),
            Strategy::Uniform => Search::Random(Random::uniform()),
        })
    }
}

/// A search under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Search {
    /// AutoCompress' guided annealing.
    Anneal(Anneal),
    /// AMC's agent.
    Amc(Box<Amc>),
    /// Each site alone, then the cheapest cuts.
    Greedy(Greedy),
    /// Vectors drawn at random, or the uniform one.
    Random(Random),
}

impl Search {
    /// Its whole state: what [`Search::restore`] makes of it goes on with exactly the same vectors.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn save(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).context("saving a search")
    }

    /// Reads back what was saved.
    ///
    /// # Errors
    /// If it is not the state of a search.
    pub fn restore(saved: serde_json::Value) -> Result<Self> {
        serde_json::from_value(saved).context("reading back a saved search")
    }

    fn inner(&self) -> &dyn Searcher {
        match self {
            Search::Anneal(search) => search,
            Search::Amc(search) => &**search,
            Search::Greedy(search) => search,
            Search::Random(search) => search,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Searcher {
        match self {
            Search::Anneal(search) => search,
            Search::Amc(search) => &mut **search,
            Search::Greedy(search) => search,
            Search::Random(search) => search,
        }
    }
}

impl Searcher for Search {
    fn trials(&self) -> u64 {
        self.inner().trials()
    }

    fn propose(&mut self, space: &Space) -> Result<Option<Vec<f32>>> {
        self.inner_mut().propose(space)
    }

    fn settle(&mut self, densities: &[f32], reward: f32) -> Verdict {
        self.inner_mut().settle(densities, reward)
    }

    fn steer(&mut self, space: &Space, steer: &Steer) -> Result<()> {
        self.inner_mut().steer(space, steer)
    }

    fn best(&self) -> Option<(&[f32], f32)> {
        self.inner().best()
    }

    fn temperature(&self) -> f32 {
        self.inner().temperature()
    }

    fn acceptance(&self) -> f32 {
        self.inner().acceptance()
    }

    fn fact(&self) -> Option<&'static str> {
        self.inner().fact()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::toy::Toy;

    const ALL: [&str; 5] = [
        "kind = 'anneal'\ntrials = 30",
        "kind = 'amc'\ntrials = 20\nagent.hidden = 16\nagent.batch = 8",
        "kind = 'greedy'\ntrials = 30",
        "kind = 'random'\ntrials = 30",
        "kind = 'uniform'",
    ];

    fn begin(text: &str, toy: &Toy) -> Search {
        let strategy: Strategy = toml::from_str(text).unwrap();
        strategy.check().unwrap();
        assert!(text.contains(strategy.kind()));
        let features: Vec<Features> = (0..toy.sites.len()).map(|i| [i as f32; 8]).collect();
        toy.with(|space| strategy.begin(space, &features, 7)).unwrap()
    }

    #[test]
    fn one_loop_drives_all_and_a_saved_one_goes_on_with_the_same_vectors() {
        let toy = Toy::layers();
        for text in ALL {
            let mut search = begin(text, &toy);
            let planned = search.trials();
            let whole = toy.drive(&mut search);
            assert_eq!(whole.len() as u64, planned, "{text}");
            let (best, reward) = search.best().unwrap();
            assert!(
                toy.with(|space| space.holds(best)) && reward == toy.reward(best),
                "{text}"
            );

            let mut stopped = begin(text, &toy);
            toy.drive_for(&mut stopped, whole.len() / 2);
            let mut back = Search::restore(stopped.save().unwrap()).unwrap();
            assert_eq!(toy.drive(&mut back), whole[whole.len() / 2..], "{text}");
            assert_eq!(back, search, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_met_is_said_before_the_first_trial() {
        let toy = Toy {
            target: 1e-4,
            ..Toy::layers()
        };
        for text in ALL {
            let strategy: Strategy = toml::from_str(text).unwrap();
            let refused = toy.with(|space| strategy.begin(space, &[[0.0; 8]; 8], 7)).unwrap_err();
            assert!(refused.to_string().contains("nearest that can"), "{refused}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<Strategy>("kind = 'anneal'\ntemperature = 100").is_err());
        assert!(toml::from_str::<Strategy>("kind = 'random'\nsamples = 8").is_err());
        assert!(Search::restore(serde_json::json!({"anneal": {}})).is_err());
    }
}
