//! Experience-guided simulated annealing (AutoCompress, arXiv 1907.03141): every vector meets the budget and prunes bigger
//! sites no less than smaller ones; the search only moves pruning between them.
//!
//! ```text
//! samples:  the uniform vector, then random ones; the best is the first state
//!           T₀ = median |ΔE| / −ln(start acceptance),  E = −reward
//! then:     u' = sparsities, some of them + U(−m, m), brought to the budget
//!           better: taken;  worse by ΔE: taken with probability exp(−ΔE/T)
//!           at every proposal T falls geometrically towards T₀ · cooling floor, and m from step towards last step
//! ```
//!
//! With `moves = "widths"`, samples and moves multiply kept shares instead of adding to pruned ones.
//!
//! Temperatures are in the reward's own units: on a fixed scale of 100…20 an accuracy in [0, 1] is a random walk.

use super::diagnosis::{Diagnosis, Move, WINDOW};
use super::random::log_step;
use super::space::Space;
use super::strategy::{Proposals, Scored, Strategy};
use anyhow::{Result, ensure};
use event::Verdict;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use settings::settings;
use std::collections::VecDeque;

/// What a move changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moves {
    /// The share that is pruned, by adding to it, as published.
    #[default]
    Sparsities,
    /// The share that is kept, by multiplying it.
    Widths,
}

impl Moves {
    /// As a file names them, in the order above.
    const NAMES: [&str; 2] = ["sparsities", "widths"];
}

/// Moves of widths multiply by up to 2 to the power of this, for a step of 1: a first step of 0.35 halves or doubles.
const OCTAVES: f32 = 3.0;

/// First temperature when all samples score the same.
const BLIND_TEMPERATURE: f32 = 0.05;

settings! {
    /// How to anneal.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct AnnealConfig {
        /// Vectors of densities to measure, the samples included.
        pub trials: u64 = 120, number(within(1, 10_000_000); "trials");
        /// Vectors measured before the first temperature is chosen.
        pub samples: u64 = 8, number(at_least(1); "trials");
        /// Share of bad moves accepted at the first temperature.
        pub start_acceptance: f32 = 0.1, number(above(0), below(1));
        /// Last temperature as a share of the first.
        pub cooling_floor: f32 = 0.003, number(above(0), at_most(1));
        /// Largest change of a density at the first temperature.
        pub step: f32 = 0.35, number(above(0), at_most(1));
        /// Largest change of a density at the last temperature.
        pub last_step: f32 = 0.05, number(above(0), at_most(1));
        /// Share of the sites that a proposal changes, at least one; 1 as published. Changing few at once finds good vectors
        /// in fewer trials.
        pub moved: f32 = 0.25, number(above(0), at_most(1));
        /// Whether a move adds to the shares that are pruned, as published, or multiplies those that are kept by up to 8 to the
        /// power of the step. At a sixteenth of the work, shares that are pruned are all near 1, and small moves of them make
        /// bottlenecks.
        pub moves: Moves = Moves::default(), choice(Moves::NAMES);
        /// Proposals over which acceptance is counted.
        pub window: usize = WINDOW, number(at_least(1); "trials");
        /// Whether bigger sites are pruned no less than smaller ones (AutoCompress's guide).
        pub guided: bool = true, other;
        /// The vector to measure first, one density per site, brought within the budget; a vector of another length is ignored.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub first: Vec<f32> = Vec::new(), other;
    }
    check steps_and_first;
}

fn steps_and_first(config: &AnnealConfig, at: &str) -> Result<()> {
    ensure!(
        config.last_step <= config.step,
        "{at}.last_step is {}, expected more than 0 and at most {at}.step",
        config.last_step
    );
    ensure!(
        config.first.iter().all(|d| (0.0..=1.0).contains(d)),
        "{at}.first holds a density outside 0 to 1"
    );
    Ok(())
}

/// The state of an annealing: saved and read back, it goes on with exactly the same proposals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anneal {
    config: AnnealConfig,
    rng: ChaCha8Rng,
    #[serde(flatten)]
    proposals: Proposals<Vec<f32>>,
    current: Option<Scored>,
    /// To be measured again within new limits before the search goes on from it.
    anchor: Option<Vec<f32>>,
    /// Rewards of the samples.
    samples: Vec<f32>,
    first_temperature: Option<f32>,
    /// The trial from which the temperature falls.
    heated_at: u64,
    window: VecDeque<Move>,
}

impl Anneal {
    /// A search that has not begun.
    ///
    /// # Errors
    /// As [`AnnealConfig::check`].
    pub fn new(config: AnnealConfig, seed: u64) -> Result<Self> {
        config.check("search")?;
        Ok(Self {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            proposals: Proposals::default(),
            current: None,
            anchor: None,
            samples: Vec::new(),
            first_temperature: None,
            heated_at: 0,
            window: VecDeque::new(),
        })
    }

    /// How far it has cooled: 0 at the first temperature, 1 at the last.
    fn cooled(&self) -> f32 {
        let planned = self.config.trials.saturating_sub(self.heated_at + 1).max(1);
        let done = self.proposals.number.saturating_sub(self.heated_at) as f32 / planned as f32;
        done.min(1.0)
    }

    fn wishes(&mut self, space: &Space) -> Vec<f32> {
        if self.proposals.number == 0 {
            return space.level();
        }

        let Some(current) = self.current.as_ref().filter(|_| self.first_temperature.is_some()) else {
            return space.sites.iter().map(|_| self.rng.random()).collect();
        };
        let mut wishes: Vec<f32> = current.densities.iter().map(|d| 1.0 - d).collect();
        let step = self.step();
        self.move_some(space, &mut wishes, |rng, wish| {
            *wish = (*wish + rng.random_range(-step..=step)).clamp(0.0, 1.0);
        });
        wishes
    }

    /// Shares to keep, up to a factor: the uniform ones first, then samples around them, then moves from the current state.
    fn widths(&mut self, space: &Space) -> Result<Vec<f32>> {
        let current = self.current.as_ref().filter(|_| self.first_temperature.is_some());
        let Some(current) = current else {
            let mut widths = space.uniform()?;
            if self.proposals.number > 0 {
                widths.iter_mut().for_each(|w| *w *= log_step(&mut self.rng, 1.0));
            }
            return Ok(widths);
        };
        let mut widths = current.densities.clone();
        let step = self.step();
        self.move_some(space, &mut widths, |rng, width| *width *= log_step(rng, OCTAVES * step));
        Ok(widths)
    }

    /// The largest change at the present temperature.
    fn step(&self) -> f32 {
        let AnnealConfig { step, last_step, .. } = self.config;
        step * (last_step / step).powf(self.cooled())
    }

    /// Moves at least one of the sites that are free.
    fn move_some(&mut self, space: &Space, vector: &mut [f32], change: impl Fn(&mut ChaCha8Rng, &mut f32)) {
        let free: Vec<usize> = (0..vector.len()).filter(|&i| space.locks[i].is_none()).collect();
        let one = free.choose(&mut self.rng).copied();
        for i in free {
            if Some(i) == one || self.rng.random::<f32>() < self.config.moved {
                change(&mut self.rng, &mut vector[i]);
            }
        }
    }

    /// Whether a state worse by `loss` is taken at the present temperature.
    fn dares(&mut self, loss: f32) -> bool {
        let chance = acceptance(loss, self.current_temperature());
        self.rng.random::<f32>() < chance
    }

    fn note(&mut self, what: Move) {
        self.window.push_back(what);
        if self.window.len() > self.config.window {
            self.window.pop_front();
        }
    }

    /// A sample: the best of them is where the search starts.
    fn sample(&mut self, reward: f32) {
        self.samples.push(reward);
        if self.samples.len() as u64 >= self.config.samples {
            self.first_temperature = Some(first_temperature(&self.samples, self.config.start_acceptance));
            self.heated_at = self.proposals.number + 1;
        }
    }
}

/// exp(−ΔE/T); a loss of nothing is always taken.
fn acceptance(loss: f32, temperature: f32) -> f32 {
    if loss <= 0.0 { 1.0 } else { (-loss / temperature).exp() }
}

/// The temperature at which the median difference between one sample and the next is taken with the given probability.
fn first_temperature(rewards: &[f32], start_acceptance: f32) -> f32 {
    let mut losses: Vec<f32> = rewards
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .filter(|d| *d > 0.0)
        .collect();
    losses.sort_by(f32::total_cmp);
    match losses.get(losses.len() / 2) {
        Some(median) => median / -start_acceptance.ln(),
        None => BLIND_TEMPERATURE,
    }
}

impl Strategy for Anneal {
    type Proposal = Vec<f32>;

    fn proposals(&self) -> &Proposals<Vec<f32>> {
        &self.proposals
    }

    fn proposals_mut(&mut self) -> &mut Proposals<Vec<f32>> {
        &mut self.proposals
    }

    fn planned(&self) -> u64 {
        self.config.trials
    }

    fn choose(&mut self, space: &Space) -> Result<Option<Vec<f32>>> {
        if self.proposals.number >= self.config.trials {
            return Ok(None);
        }
        if let Some(anchor) = &self.anchor {
            return space.bring(anchor).map(Some);
        }
        if let Some(hand) = self.proposals.by_hand(space)? {
            return Ok(Some(hand));
        }
        if self.proposals.number == 0
            && self.config.first.len() == space.sites.len()
            && let Ok(first) = space.bring(&self.config.first)
        {
            return Ok(Some(first));
        }
        let fitted = match (self.config.moves, self.config.guided) {
            (Moves::Widths, guided) => {
                let widths = self.widths(space)?;
                space.fit_widths(&widths, guided)
            }
            (Moves::Sparsities, true) => space.fit(&self.wishes(space)),
            (Moves::Sparsities, false) => space.fit_free(&self.wishes(space)),
        };
        fitted.map(Some)
    }

    /// Takes or leaves what was proposed.
    fn learn(&mut self, densities: Vec<f32>, reward: f32) -> Verdict {
        let anchor = self.anchor.take().is_some();
        let sampling = self.first_temperature.is_none();
        if !reward.is_finite() {
            self.note(Move::WorseLeft);
            return Verdict::Rejected;
        }
        if sampling {
            self.sample(reward);
        }
        let loss = self.current.as_ref().map_or(0.0, |current| current.reward - reward);
        let best = anchor || self.proposals.best.as_ref().is_none_or(|best| reward > best.reward);
        let what = if best || loss <= 0.0 {
            Move::Better
        } else if !sampling && self.dares(loss) {
            Move::WorseTaken
        } else {
            Move::WorseLeft
        };
        if !sampling && !anchor {
            self.note(what);
        }
        if what == Move::WorseLeft {
            return Verdict::Rejected;
        }
        let scored = Scored { densities, reward };
        if best {
            self.proposals.best = Some(scored.clone());
        }
        self.current = Some(scored);
        if best { Verdict::Best } else { Verdict::Accepted }
    }

    fn reheat(&mut self) {
        self.heated_at = self.proposals.number;
        self.window.clear();
    }

    /// Under new limits, the best so far is kept if it respects them; else it is brought within them and measured again,
    /// and the search goes on from there.
    fn drop_outside(&mut self, space: &Space) {
        let Proposals { pending, best, .. } = &mut self.proposals;
        pending.take_if(|p| !space.holds(p));
        let holds = |m: &Option<Scored>| m.as_ref().is_some_and(|m| space.holds(&m.densities));
        match (holds(best), holds(&self.current)) {
            (true, true) => self.anchor = None,
            (true, false) => {
                self.anchor = None;
                self.current.clone_from(best);
            }
            (false, true) => best.clone_from(&self.current),
            (false, false) => {
                self.anchor = best.as_ref().map(|best| best.densities.clone());
                if self.anchor.is_some() {
                    *pending = None;
                }
            }
        }
    }

    fn measure_best_anew(&mut self) {
        if let Some(best) = &self.proposals.best {
            self.anchor = Some(best.densities.clone());
            self.proposals.pending = None;
        }
    }

    fn current_temperature(&self) -> f32 {
        let cooling = self.config.cooling_floor.powf(self.cooled());
        self.first_temperature.map_or(0.0, |first| first * cooling)
    }

    fn accepted_share(&self) -> f32 {
        let count = |what| self.window.iter().filter(|m| **m == what).count();
        let (taken, left) = (count(Move::WorseTaken), count(Move::WorseLeft));
        taken as f32 / (taken + left).max(1) as f32
    }

    fn diagnosis(&self) -> Option<&'static str> {
        if self.window.len() < self.config.window {
            return None;
        }
        Diagnosis::of(self.window.iter().copied()).map(Diagnosis::word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::Toy;
    use crate::{Random, Searcher};
    use event::Steer;

    fn close(got: f32, expected: f32) -> bool {
        (got - expected).abs() <= 1e-3 * expected
    }

    #[test]
    fn worse_moves_are_taken_as_the_rule_says() {
        for (loss, temperature, chance) in [
            (0.05, 100.0, 0.999_500),
            (0.05, 20.0, 0.997_503),
            (5.0, 100.0, 0.951_229),
            (5.0, 20.0, 0.778_801),
            (10.0, 50.0, 0.818_731),
            (0.01, 0.01, 0.367_879),
            (0.05, 0.01, 0.006_738),
            (0.02, 0.001, 2.061e-9),
        ] {
            assert!(close(acceptance(loss, temperature), chance), "{loss} {temperature}");
        }
        assert_eq!(acceptance(0.0, 0.0), 1.0);
    }

    #[test]
    fn a_vector_to_begin_with_is_measured_first_if_it_fits() {
        let toy = Toy::layers();
        let n = toy.sites.len();
        let begin = |first: Vec<f32>| {
            let config = AnnealConfig {
                first,
                ..AnnealConfig::default()
            };
            toy.drive_for(&mut Anneal::new(config, 0).unwrap(), 1)[0].clone()
        };
        let plain = begin(Vec::new());
        let mut first = plain.clone();
        first[0] *= 0.9;
        assert_eq!(begin(first.clone()), toy.with(|space| space.bring(&first)).unwrap());
        assert_ne!(begin(first), plain);
        assert_eq!(begin(vec![0.5; n + 1]), plain);
        let wrong = AnnealConfig {
            first: vec![1.5],
            ..AnnealConfig::default()
        };
        assert!(wrong.check("search").is_err());
    }

    #[test]
    fn the_first_temperature_takes_the_median_difference_as_often_as_asked() {
        let first = first_temperature(&[0.5, 0.51, 0.48, 0.48, 0.40], 0.8);
        assert!(close(acceptance(0.03, first), 0.8), "{first}");
        assert_eq!(first_temperature(&[0.1, 0.1, 0.1], 0.8), BLIND_TEMPERATURE);
    }

    #[test]
    fn it_beats_random_vectors_and_the_uniform_one_on_a_law_that_is_known() {
        let toy = Toy {
            target: 0.0625,
            ..Toy::layers()
        };
        for moves in [Moves::Sparsities, Moves::Widths] {
            let mut gains = Vec::new();
            for seed in 0..5 {
                let config = AnnealConfig {
                    moves,
                    ..AnnealConfig::default()
                };
                let mut anneal = Anneal::new(config, seed).unwrap();
                let tried = toy.drive(&mut anneal);
                assert_eq!(tried.len(), 120);
                let mut random = Random::new(120, seed).unwrap();
                toy.drive(&mut random);
                let [annealed, random] = [anneal.best().unwrap().1, random.best().unwrap().1];
                // The first vector is the uniform one.
                assert!(annealed > toy.reward(&tried[0]) + 0.05, "{annealed}");
                gains.push(annealed - random);
            }
            assert!(
                gains.iter().all(|g| *g > 0.0) && gains.iter().sum::<f32>() > 5.0 * 0.03,
                "{moves:?}: {gains:?}"
            );
        }
    }

    #[test]
    fn a_proposal_moves_as_many_free_sites_as_asked_and_at_least_one() {
        let toy = Toy::layers();
        toy.with(|space| {
            let space = Space {
                locks: (0..8).map(|i| (i >= 3).then_some(0.5)).collect(),
                ..space.clone()
            };
            for (share, expected) in [(1e-6, 1), (1.0, 3)] {
                let config = AnnealConfig {
                    moved: share,
                    ..AnnealConfig::default()
                };
                let mut anneal = Anneal::new(config, 1).unwrap();
                toy.drive_for(&mut anneal, 9);
                anneal.current = Some(Scored {
                    densities: vec![0.5; 8],
                    reward: 0.0,
                });
                for _ in 0..20 {
                    let wishes = anneal.wishes(&space);
                    let moved = |i: &usize| wishes[*i] != 0.5;
                    let moved: Vec<usize> = (0..8).filter(moved).collect();
                    assert!(moved.len() == expected && moved.iter().all(|&i| i < 3), "{moved:?}");
                }
            }
        });
    }

    #[test]
    fn every_vector_is_guided_within_limits_and_as_near_the_budget_as_rounding_lets_it() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut anneal = Anneal::new(AnnealConfig::default(), 3).unwrap();
            while let Some(d) = anneal.propose(space).unwrap() {
                assert!(space.holds(&d));
                assert!((space.spent)(&d) > 0.96 * space.budget, "{d:?}");
                for (i, a) in space.sites.iter().enumerate() {
                    for (j, b) in space.sites.iter().enumerate() {
                        assert!(a.size >= b.size || d[i] >= d[j] || d[j] == space.floor[j], "{d:?}");
                    }
                }
                anneal.settle(&d, toy.reward(&d));
            }
        });
    }

    #[test]
    fn a_saved_search_goes_on_with_the_same_vectors() {
        let toy = Toy::layers();
        let whole = toy.drive(&mut Anneal::new(AnnealConfig::default(), 9).unwrap());
        for stop in [0, 3, 8, 50, 119] {
            let mut anneal = Anneal::new(AnnealConfig::default(), 9).unwrap();
            toy.drive_for(&mut anneal, stop);
            // Killed between a proposal and its measurement.
            toy.with(|space| anneal.propose(space).map(|_| ())).unwrap();
            let text = serde_json::to_string(&anneal).unwrap();
            let mut back: Anneal = serde_json::from_str(&text).unwrap();
            assert_eq!(back, anneal);
            assert_eq!(toy.drive(&mut back), whole[stop..]);
            assert_eq!(
                back.best().unwrap().1,
                whole.iter().map(|d| toy.reward(d)).fold(0.0, f32::max)
            );
        }
    }

    #[test]
    fn other_seeds_try_other_vectors() {
        let toy = Toy::layers();
        let of = |seed| toy.drive(&mut Anneal::new(AnnealConfig::default(), seed).unwrap());
        assert_eq!(of(1), of(1));
        assert_ne!(of(1)[1..], of(2)[1..]);
    }

    #[test]
    fn it_cools_by_the_same_factor_at_every_proposal() {
        let config = AnnealConfig {
            trials: 17,
            cooling_floor: 0.9f32.powi(16),
            ..AnnealConfig::default()
        };
        let mut anneal = Anneal::new(config, 1).unwrap();
        anneal.first_temperature = Some(100.0);
        let mut at = |number| {
            anneal.proposals.number = number;
            anneal.temperature()
        };
        assert!(close(at(0), 100.0) && close(at(1), 90.0) && close(at(16), 18.530));
        assert!(at(15) > 20.0 && at(16) < 20.0);
    }

    #[test]
    fn it_cools_to_its_floor_and_is_reheated() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut anneal = Anneal::new(AnnealConfig::default(), 1).unwrap();
            assert_eq!(anneal.temperature(), 0.0);
            toy.drive_for(&mut anneal, 8);
            let first = anneal.temperature();
            assert!(first > 0.0);
            toy.drive_for(&mut anneal, 52);
            assert!(anneal.temperature() < 0.1 * first);
            anneal.steer(space, &Steer::Reheat).unwrap();
            assert_eq!(anneal.temperature(), first);
            toy.drive_for(&mut anneal, 59);
            assert!(close(anneal.temperature(), 0.003 * first));
        });
    }

    /// Drives with rewards of `law` after the samples, at a temperature held at its first.
    fn fact_under(mut law: impl FnMut(u64) -> f32) -> (Option<&'static str>, f32) {
        let toy = Toy::layers();
        let config = AnnealConfig {
            trials: 60,
            start_acceptance: 0.5,
            cooling_floor: 1.0,
            ..AnnealConfig::default()
        };
        let mut anneal = Anneal::new(config, 1).unwrap();
        toy.with(|space| {
            for number in 0..60 {
                let d = anneal.propose(space).unwrap().unwrap();
                // The samples differ by 0.1 from one to the next.
                let reward = if number < 8 {
                    0.1 * (number % 2) as f32
                } else {
                    law(number)
                };
                anneal.settle(&d, reward);
            }
        });
        (anneal.fact(), anneal.acceptance())
    }

    #[test]
    fn a_random_walk_and_a_frozen_search_are_said() {
        let small = |n: u64| if n.is_multiple_of(2) { 0.0999 } else { 0.099_95 };
        let (fact, acceptance) = fact_under(small);
        assert_eq!((fact, acceptance), (Some("accepts everything"), 1.0));
        assert_eq!(fact_under(|_| -10.0), (Some("frozen"), 0.0));
        let (fact, acceptance) = fact_under(|n| if n.is_multiple_of(2) { 0.1 } else { 0.0 });
        assert!(fact.is_none() && acceptance > 0.2 && acceptance < 0.9, "{acceptance}");
    }

    #[test]
    fn what_is_no_number_is_left() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut anneal = Anneal::new(AnnealConfig::default(), 1).unwrap();
            for reward in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let d = anneal.propose(space).unwrap().unwrap();
                assert_eq!(anneal.settle(&d, reward), Verdict::Rejected);
                assert!(anneal.best().is_none());
            }
            let d = anneal.propose(space).unwrap().unwrap();
            assert_eq!(anneal.settle(&d, 0.5), Verdict::Best);
        });
    }

    #[test]
    fn a_harder_budget_is_met_from_the_next_vector_on_and_the_best_is_measured_again() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut anneal = Anneal::new(AnnealConfig::default(), 1).unwrap();
            toy.drive_for(&mut anneal, 40);
            let old = anneal.best().unwrap().0.to_vec();
            let most = 0.7 * space.budget;
            // One is out when the budget changes.
            let out = anneal.propose(space).unwrap().unwrap();
            anneal.steer(space, &Steer::Budget { most }).unwrap();
            assert_eq!(anneal.settle(&out, 1.0), Verdict::Rejected);
            let next = anneal.propose(space).unwrap().unwrap();
            assert!((space.spent)(&next) <= most);
            assert!(
                next.iter().zip(&old).all(|(new, old)| new <= &(old + 0.07)),
                "{next:?} {old:?}"
            );
            assert_eq!(anneal.settle(&next, 0.01), Verdict::Best);
            assert_eq!(anneal.best().unwrap().1, 0.01);
            for d in toy.drive_for(&mut anneal, 20) {
                assert!((space.spent)(&d) <= most);
            }
            // A softer one leaves the best as it is.
            let best = anneal.best().unwrap().1;
            anneal.steer(space, &Steer::Budget { most: space.budget }).unwrap();
            assert_eq!(anneal.best().unwrap().1, best);
        });
    }

    #[test]
    fn locks_hold_and_are_lifted() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut anneal = Anneal::new(AnnealConfig::default(), 1).unwrap();
            toy.drive_for(&mut anneal, 20);
            anneal.steer(space, &Steer::Lock { site: 4, density: 1.0 }).unwrap();
            assert!(toy.drive_for(&mut anneal, 20).iter().all(|d| d[4] == 1.0));
            assert_eq!(anneal.best().unwrap().0[4], 1.0);
            anneal.steer(space, &Steer::Unlock { site: 4 }).unwrap();
            assert!(toy.drive_for(&mut anneal, 20).iter().any(|d| d[4] < 0.9));
            assert!(anneal.steer(space, &Steer::Lock { site: 4, density: 0.01 }).is_err());
        });
    }

    #[test]
    fn a_vector_made_by_hand_is_next() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut anneal = Anneal::new(AnnealConfig::default(), 1).unwrap();
            toy.drive_for(&mut anneal, 20);
            let hand = vec![0.25; 8];
            anneal
                .steer(
                    space,
                    &Steer::Propose {
                        densities: hand.clone(),
                    },
                )
                .unwrap();
            assert_eq!(anneal.propose(space).unwrap().unwrap(), hand);
            anneal.settle(&hand, 0.9);
            anneal
                .steer(
                    space,
                    &Steer::Propose {
                        densities: vec![1.0; 8],
                    },
                )
                .unwrap();
            let d = anneal.propose(space).unwrap().unwrap();
            assert!(space.holds(&d));
        });
    }

    #[test]
    fn without_a_budget_it_finds_how_far_to_go_by_itself() {
        let toy = Toy {
            target: f64::INFINITY,
            ..Toy::layers()
        };
        // Thresholds: the reward is highest where all sparsities are 0.3.
        let law = |d: &[f32]| 1.0 - d.iter().map(|d| (0.7 - d).abs()).sum::<f32>() / 8.0;
        let mut anneal = Anneal::new(AnnealConfig::default(), 1).unwrap();
        toy.with(|space| {
            while let Some(d) = anneal.propose(space).unwrap() {
                anneal.settle(&d, law(&d));
            }
        });
        assert!(anneal.best().unwrap().1 > 0.93, "{:?}", anneal.best());
    }

    #[test]
    fn settings_are_checked_by_name() {
        let config = AnnealConfig {
            cooling_floor: 0.0,
            ..AnnealConfig::default()
        };
        let text = Anneal::new(config, 1).unwrap_err().to_string();
        assert!(text.starts_with("search.cooling_floor is 0"), "{text}");
        assert!(toml::from_str::<AnnealConfig>("trails = 3").is_err());
        assert_eq!(toml::from_str::<AnnealConfig>("trials = 3").unwrap().trials, 3);
    }
}
