//! AMC (arXiv 1802.03494): an agent walks over the sites, sees each one's features and what was pruned so far, and says its
//! density; what is measured at the end rewards every step. One proposal is one whole episode.

use super::clip::densest;
use super::ddpg::{Ddpg, DdpgConfig, Transition, noise, truncated_normal};
use super::space::Space;
use super::strategy::{Proposal, Proposals, Strategy};
use anyhow::{Result, ensure};
use event::Verdict;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use settings::settings;

/// What does not change of a site: its place, output channels, input channels, input height and width, stride, kernel
/// size, MACs.
pub type Features = [f32; 8];

/// What the agent sees of a site: its features, what is saved so far, what is still to come, its last action.
pub(crate) type Observation = [f32; 11];

/// Episodes of the released code, of which [`PAPER_WARMUP`] are warm-up.
const PAPER_EPISODES: f32 = 800.0;

/// Episodes of random actions in the released code.
const PAPER_WARMUP: f32 = 100.0;

/// Decay of the noise an episode in the released code.
const PAPER_DECAY: f32 = 0.95;

settings! {
    /// How the agent searches.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct AmcAgentConfig {
        /// Episodes: vectors of densities to measure.
        pub trials: u64 = 120, number(within(1, 1_000_000); "trials");
        /// Episodes of random actions before the agent is asked; the released code's share of `trials` if not given.
        pub warmup: Option<u64> = None, number(at_least(0); "episodes");
        /// Noise on the first actions of the agent.
        pub sigma: f32 = 0.5, number(at_least(0));
        /// Factor on the noise after each episode; the released code's 0.95 in 800, stretched to `trials`, if not given.
        pub decay: Option<f32> = None, number(above(0), at_most(1));
        /// Least density of any site, where the budget can be met with it; floors hold besides.
        pub least: f32 = 0.2, number(within(0, 1));
        /// Episodes the agent remembers.
        pub replay: usize = 100, number(within(1, 100_000); "episodes");
        /// The agent.
        pub agent: DdpgConfig = DdpgConfig::default(), section;
    }
}

impl AmcAgentConfig {
    /// Episodes of random actions.
    pub fn warmup(&self) -> u64 {
        let share = PAPER_WARMUP / PAPER_EPISODES;
        self.warmup.unwrap_or((self.trials as f32 * share).ceil() as u64)
    }

    /// Factor on the noise after each episode.
    pub fn decay(&self) -> f32 {
        self.decay
            .unwrap_or(PAPER_DECAY.powf((PAPER_EPISODES / self.trials as f32).max(1.0)))
    }
}

/// Brings each column to [0, 1] over all sites; one that is the same for all tells nothing and becomes 0.
pub fn normalized(features: &[Features]) -> Vec<Features> {
    let mut out = features.to_vec();
    for column in 0..Features::default().len() {
        let values = || features.iter().map(|row| row[column]);
        let (least, most) = (values().fold(f32::MAX, f32::min), values().fold(f32::MIN, f32::max));
        let span = if most > least { most - least } else { f32::INFINITY };
        for row in &mut out {
            row[column] = (row[column] - least) / span;
        }
    }
    out
}

/// One walk over the sites, in their order; locked ones are passed by.
pub(crate) struct AmcEpisode<'a> {
    space: &'a Space<'a>,
    features: &'a [Features],
    /// Decided up to `at`; 1 or locked from there.
    densities: Vec<f32>,
    at: usize,
    last: f32,
    whole: f64,
}

impl<'a> AmcEpisode<'a> {
    /// At the first free site. `features` are normalized and as many as the sites.
    pub(crate) fn new(space: &'a Space<'a>, features: &'a [Features]) -> Self {
        let densities: Vec<f32> = space.locks.iter().map(|lock| lock.unwrap_or(1.0)).collect();
        let mut walk = Self {
            whole: (space.spent)(&densities),
            space,
            features,
            densities,
            at: 0,
            last: 1.0,
        };
        walk.pass_locked();
        walk
    }

    fn pass_locked(&mut self) {
        while self.space.locks.get(self.at).is_some_and(Option::is_some) {
            self.at += 1;
        }
    }

    /// What is to be seen of the next site; `None` when all are decided.
    pub(crate) fn observe(&self) -> Option<Observation> {
        let features = self.features.get(self.at)?;
        let size = |sites: &[event::Site]| sites.iter().map(|s| s.size).sum::<f64>();
        let all = size(self.space.sites).max(f64::MIN_POSITIVE);
        let saved = 1.0 - (self.space.spent)(&self.densities) / self.whole.max(f64::MIN_POSITIVE);
        let mut seen = [0.0; 11];
        seen[..8].copy_from_slice(features);
        seen[8] = saved.clamp(0.0, 1.0) as f32;
        seen[9] = (size(&self.space.sites[self.at + 1..]) / all) as f32;
        seen[10] = self.last;
        Some(seen)
    }

    /// Decides a site: the density applied where `action` was asked for, such that the budget can still be met.
    pub(crate) fn act(&mut self, action: f32) -> f32 {
        let floor = self.space.floor[self.at];
        let density = action
            .min(densest(self.space, &self.densities, self.at))
            .clamp(floor, 1.0);
        self.densities[self.at] = density;
        self.last = density;
        self.at += 1;
        self.pass_locked();
        density
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Episode {
    densities: Vec<f32>,
    /// None for a vector made by hand: nobody acted.
    transitions: Vec<Transition>,
}

impl Proposal for Episode {
    fn densities(&self) -> &[f32] {
        &self.densities
    }
}

/// The state of an AMC search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Amc {
    config: AmcAgentConfig,
    rng: ChaCha8Rng,
    agent: Ddpg,
    features: Vec<Features>,
    #[serde(flatten)]
    proposals: Proposals<Episode>,
    /// The episode after which the noise falls.
    noisy_at: u64,
}

impl Amc {
    /// A search that has not begun, over sites with these features (in any units; in the order in which they are walked).
    ///
    /// # Errors
    /// As [`AmcAgentConfig::check`], or if there is no site or a feature is not a number.
    pub fn new(config: AmcAgentConfig, features: &[Features], seed: u64) -> Result<Self> {
        config.check("search")?;
        ensure!(!features.is_empty(), "no site to search over");
        ensure!(
            features.iter().flatten().all(|f| f.is_finite()),
            "a site's feature is not a number"
        );
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_seen = Observation::default().len();
        let agent = Ddpg::new(config.agent.clone(), n_seen, config.replay * features.len(), &mut rng);
        Ok(Self {
            noisy_at: config.warmup(),
            config,
            rng,
            agent,
            features: normalized(features),
            proposals: Proposals::default(),
        })
    }

    fn action(&mut self, observation: &Observation) -> f32 {
        if self.proposals.number < self.config.warmup() {
            return self.rng.random();
        }
        let episode = self.proposals.number.saturating_sub(self.noisy_at);
        let sigma = noise(self.config.sigma, self.config.decay(), episode);
        truncated_normal(self.agent.act(observation), sigma, &mut self.rng)
    }

    fn episode(&mut self, space: &Space) -> Result<Episode> {
        space.check()?;
        ensure!(
            space.sites.len() == self.features.len(),
            "{} sites, but features of {}",
            space.sites.len(),
            self.features.len()
        );
        let mut bounded = space.clone();
        for (floor, lock) in bounded.floor.iter_mut().zip(&space.locks) {
            if lock.is_none() {
                *floor = floor.max(self.config.least);
            }
        }
        let space = if bounded.check().is_ok() { &bounded } else { space };
        let features = std::mem::take(&mut self.features);
        let mut walk = AmcEpisode::new(space, &features);
        let mut transitions: Vec<Transition> = Vec::new();
        while let Some(observation) = walk.observe() {
            let action = self.action(&observation);
            walk.act(action);
            if let Some(before) = transitions.last_mut() {
                before.next = Some(observation.to_vec());
            }
            transitions.push(Transition {
                observation: observation.to_vec(),
                action,
                next: None,
            });
        }
        let densities = walk.densities;
        self.features = features;
        Ok(Episode { densities, transitions })
    }
}

impl Strategy for Amc {
    type Proposal = Episode;

    fn proposals(&self) -> &Proposals<Episode> {
        &self.proposals
    }

    fn proposals_mut(&mut self) -> &mut Proposals<Episode> {
        &mut self.proposals
    }

    fn planned(&self) -> u64 {
        self.config.trials
    }

    fn choose(&mut self, space: &Space) -> Result<Option<Episode>> {
        if self.proposals.number >= self.config.trials {
            return Ok(None);
        }
        if let Some(densities) = self.proposals.by_hand(space)? {
            let transitions = Vec::new();
            return Ok(Some(Episode { densities, transitions }));
        }
        self.episode(space).map(Some)
    }

    fn learn(&mut self, episode: Episode, reward: f32) -> Verdict {
        if reward.is_finite() {
            for transition in &episode.transitions {
                self.agent.remember(transition, reward);
                if self.proposals.number >= self.config.warmup() {
                    self.agent.update(&mut self.rng);
                }
            }
        }
        self.proposals.keep(&episode.densities, reward)
    }

    fn reheat(&mut self) {
        self.noisy_at = self.proposals.number.max(self.config.warmup());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Searcher;
    use crate::toy::{Toy, sites};
    use event::Steer;

    fn small(trials: u64) -> AmcAgentConfig {
        AmcAgentConfig {
            trials,
            agent: DdpgConfig {
                hidden: 24,
                batch: 16,
                lr_actor: 2e-3,
                lr_critic: 1e-2,
                ..DdpgConfig::default()
            },
            ..AmcAgentConfig::default()
        }
    }

    fn features(toy: &Toy) -> Vec<Features> {
        let of = |(i, site): (usize, &event::Site)| [i as f32, 16.0, 16.0, 8.0, 8.0, 1.0, 3.0, site.size as f32];
        toy.sites.iter().enumerate().map(of).collect()
    }

    fn amc(toy: &Toy, trials: u64, seed: u64) -> Amc {
        Amc::new(small(trials), &features(toy), seed).unwrap()
    }

    #[test]
    fn warmup_and_decay_are_the_codes_and_shrink_with_the_trials() {
        let of = |trials| AmcAgentConfig {
            trials,
            ..AmcAgentConfig::default()
        };
        assert_eq!((of(800).warmup(), of(800).decay()), (100, 0.95));
        assert_eq!(of(80).warmup(), 10);
        // Ten episodes of 800 are one of 80.
        assert!((of(80).decay() - 0.95f32.powi(10)).abs() < 1e-6);
    }

    #[test]
    fn a_walk_shows_what_was_saved_what_is_to_come_and_the_last_action() {
        let sites = sites(&[100.0, 300.0, 200.0]);
        let spent = |d: &[f32]| f64::from(100.0 * d[0] + 300.0 * d[1] + 200.0 * d[2]);
        let mut space = Space {
            sites: &sites,
            floor: vec![0.2; 3],
            locks: vec![None; 3],
            budget: 300.0,
            spent: &spent,
        };
        let rows = normalized(&[[1.0; 8], [3.0; 8], [5.0; 8]]);
        assert_eq!(rows, [[0.0; 8], [0.5; 8], [1.0; 8]]);
        assert_eq!(normalized(&[[7.0; 8], [7.0; 8]])[1], [0.0; 8]);
        let mut walk = AmcEpisode::new(&space, &rows);
        let tail = |walk: &AmcEpisode| walk.observe().unwrap()[7..].to_vec();
        assert_eq!(tail(&walk), [0.0, 0.0, 500.0 / 600.0, 1.0]);
        assert!((walk.act(0.8) - 0.8).abs() < 1e-6);
        let seen = tail(&walk);
        assert!(
            seen[0] == 0.5 && (seen[1] - 20.0 / 600.0).abs() < 1e-6 && seen[3] == 0.8,
            "{seen:?}"
        );
        assert!((walk.act(0.7) - 0.6).abs() < 1e-5);
        assert!((walk.act(0.1) - 0.2).abs() < 1e-5);
        assert!(walk.observe().is_none());
        assert!((spent(&walk.densities) - 300.0).abs() < 1e-3);

        space.locks[1] = Some(0.5);
        let mut walk = AmcEpisode::new(&space, &rows);
        walk.act(0.5);
        assert_eq!(walk.observe().unwrap()[0], 1.0);
    }

    #[test]
    fn every_episode_is_within_the_budget_and_above_the_bound() {
        let toy = Toy::layers();
        let tried = toy.drive(&mut amc(&toy, 40, 1));
        assert_eq!(tried.len(), 40);
        toy.with(|space| assert!(tried.iter().all(|d| space.holds(d))));
        assert!(tried.iter().flatten().all(|d| *d >= 0.2));
    }

    #[test]
    fn floors_below_the_bound_are_used_where_the_budget_needs_them() {
        let toy = Toy {
            target: 0.02,
            ..Toy::layers()
        };
        let tried = toy.drive(&mut amc(&toy, 10, 1));
        toy.with(|space| assert!(tried.iter().all(|d| space.holds(d))));
        assert!(tried.iter().flatten().any(|d| *d < 0.2));
    }

    #[test]
    fn episodes_get_better_than_the_warmup_was() {
        let toy = Toy::layers();
        for seed in 0..3 {
            let tried = toy.drive(&mut amc(&toy, 160, seed));
            let mean = |tried: &[Vec<f32>]| tried.iter().map(|d| toy.reward(d)).sum::<f32>() / tried.len() as f32;
            let (first, last) = (mean(&tried[..20]), mean(&tried[140..]));
            assert!(last > first + 0.05, "{first} {last}");
        }
    }

    #[test]
    fn a_saved_search_goes_on_with_the_same_vectors() {
        let toy = Toy::layers();
        let whole = toy.drive(&mut amc(&toy, 24, 3));
        for stop in [0, 2, 15] {
            let mut search = amc(&toy, 24, 3);
            toy.drive_for(&mut search, stop);
            toy.with(|space| search.propose(space).map(|_| ())).unwrap();
            let text = serde_json::to_string(&search).unwrap();
            let mut back: Amc = serde_json::from_str(&text).unwrap();
            assert_eq!(back, search);
            assert_eq!(toy.drive(&mut back), whole[stop..]);
            assert_eq!(
                back.best().unwrap().1,
                whole.iter().map(|d| toy.reward(d)).fold(0.0, f32::max)
            );
        }
    }

    #[test]
    fn budget_locks_and_vectors_made_by_hand_are_followed() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut search = amc(&toy, 60, 3);
            toy.drive_for(&mut search, 10);
            let most = 0.6 * space.budget;
            search.steer(space, &Steer::Budget { most }).unwrap();
            assert!(search.best().is_none());
            search.steer(space, &Steer::Lock { site: 5, density: 0.75 }).unwrap();
            let tried = toy.drive_for(&mut search, 10);
            assert!(tried.iter().all(|d| (space.spent)(d) <= most && d[5] == 0.75));
            let before = search.agent.clone();
            search
                .steer(
                    space,
                    &Steer::Propose {
                        densities: vec![0.25; 8],
                    },
                )
                .unwrap();
            toy.drive_for(&mut search, 1);
            assert_eq!(search.agent, before);
        });
    }

    #[test]
    fn a_reward_that_is_no_number_teaches_nothing() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut search = amc(&toy, 20, 3);
            let before = search.agent.clone();
            let d = search.propose(space).unwrap().unwrap();
            assert_eq!(search.settle(&d, f32::NAN), Verdict::Rejected);
            assert_eq!(search.agent, before);
        });
    }

    #[test]
    fn settings_are_checked_by_name() {
        let config: AmcAgentConfig = toml::from_str("trials = 9\nagent.batch = 0").unwrap();
        let text = Amc::new(config, &[[1.0; 8]], 1).unwrap_err().to_string();
        assert!(text.starts_with("search.agent.batch is 0"), "{text}");
    }
}
