//! Vectors drawn at random within the budget, and the uniform one: what every search must beat. With norms measured anew
//! for each vector, the random search is EagleEye (Li et al., arXiv 2007.02491).
//!
//! The first vector is the uniform one; each of the others halves to doubles each site's share of it, evenly on a scale of
//! logarithms, and is brought to the budget. Sparsities drawn evenly from [0, 1] leave a bottleneck somewhere in nearly every
//! vector once cuts are deep.

use super::space::Space;
use super::strategy::{Proposals, Strategy};
use anyhow::{Result, ensure};
use event::Verdict;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The state of a random search, or of the uniform vector's one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Random {
    trials: u64,
    /// Only the uniform vector.
    level: bool,
    rng: ChaCha8Rng,
    #[serde(flatten)]
    proposals: Proposals<Vec<f32>>,
}

impl Random {
    /// A search that has not begun.
    ///
    /// # Errors
    /// If there is nothing to try.
    pub fn new(trials: u64, seed: u64) -> Result<Self> {
        ensure!(trials >= 1, "search.trials is 0, expected at least 1");
        Ok(Self {
            trials,
            level: false,
            rng: ChaCha8Rng::seed_from_u64(seed),
            proposals: Proposals::default(),
        })
    }

    /// The uniform vector, once.
    pub fn uniform() -> Self {
        Self {
            trials: 1,
            level: true,
            rng: ChaCha8Rng::seed_from_u64(0),
            proposals: Proposals::default(),
        }
    }
}

/// A factor between 2⁻ᵐ and 2ᵐ, drawn evenly on a scale of logarithms.
pub(crate) fn log_step(rng: &mut ChaCha8Rng, m: f32) -> f32 {
    rng.random_range(-m..=m).exp2()
}

impl Strategy for Random {
    type Proposal = Vec<f32>;

    fn proposals(&self) -> &Proposals<Vec<f32>> {
        &self.proposals
    }

    fn proposals_mut(&mut self) -> &mut Proposals<Vec<f32>> {
        &mut self.proposals
    }

    fn planned(&self) -> u64 {
        self.trials
    }

    fn choose(&mut self, space: &Space) -> Result<Option<Vec<f32>>> {
        if self.proposals.number >= self.trials {
            return Ok(None);
        }
        if let Some(hand) = self.proposals.by_hand(space)? {
            return Ok(Some(hand));
        }
        let uniform = space.uniform()?;
        if self.level || self.proposals.number == 0 {
            return Ok(Some(uniform));
        }
        let widths: Vec<f32> = uniform.iter().map(|d| d * log_step(&mut self.rng, 1.0)).collect();
        space.fit_widths(&widths, false).map(Some)
    }

    fn is_unconditional(&self, _densities: &Vec<f32>) -> bool {
        true
    }

    fn learn(&mut self, densities: Vec<f32>, reward: f32) -> Verdict {
        self.proposals.keep(&densities, reward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Searcher;
    use crate::toy::Toy;
    use event::Steer;

    #[test]
    fn vectors_are_within_the_budget_seeded_and_not_guided() {
        let toy = Toy::layers();
        let tried = toy.drive(&mut Random::new(50, 4).unwrap());
        assert_eq!(tried.len(), 50);
        assert_eq!(tried, toy.drive(&mut Random::new(50, 4).unwrap()));
        assert_ne!(tried, toy.drive(&mut Random::new(50, 5).unwrap()));
        toy.with(|space| {
            assert!(tried.iter().all(|d| space.holds(d)));
            let uniform = space.uniform().unwrap();
            assert_eq!(tried[0], uniform);
            // No bottleneck: fitting, filling and rounding move a share a little further than its draw.
            let least = |d: &Vec<f32>| d.iter().zip(&uniform).map(|(d, u)| d / u).fold(f32::INFINITY, f32::min);
            assert!(tried.iter().all(|d| least(d) > 0.3));
        });
        // The biggest site is sometimes denser than the smallest.
        assert!(tried.iter().any(|d| d[4] > d[0]));
    }

    #[test]
    fn a_saved_search_goes_on_with_the_same_vectors() {
        let toy = Toy::layers();
        let whole = toy.drive(&mut Random::new(20, 4).unwrap());
        let mut random = Random::new(20, 4).unwrap();
        toy.drive_for(&mut random, 7);
        let text = serde_json::to_string(&random).unwrap();
        let mut back: Random = serde_json::from_str(&text).unwrap();
        assert_eq!(toy.drive(&mut back), whole[7..]);
        assert_eq!(
            back.best().unwrap().1,
            whole.iter().map(|d| toy.reward(d)).fold(0.0, f32::max)
        );
    }

    #[test]
    fn the_uniform_vector_is_tried_once() {
        let toy = Toy::layers();
        let tried = toy.drive(&mut Random::uniform());
        toy.with(|space| assert_eq!(tried, [space.uniform().unwrap()]));
    }

    #[test]
    fn the_best_is_kept_and_nothing_else() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut random = Random::new(9, 4).unwrap();
            let mut verdicts = Vec::new();
            for reward in [f32::NAN, 0.2, 0.2, 0.3, 0.1] {
                let d = random.propose(space).unwrap().unwrap();
                verdicts.push(random.settle(&d, reward));
            }
            let [best, rejected] = [Verdict::Best, Verdict::Rejected];
            assert_eq!(verdicts, [rejected, best, rejected, best, rejected]);
            random
                .steer(
                    space,
                    &Steer::Budget {
                        most: 0.5 * space.budget,
                    },
                )
                .unwrap();
            assert!(random.best().is_none());
        });
    }
}
