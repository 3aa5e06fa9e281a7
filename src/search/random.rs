//! Vectors drawn at random within the budget, and the uniform one: what every search must beat.

use super::space::Space;
use super::strategy::{Proposals, Strategy};
use anyhow::{Result, ensure};
use event::Verdict;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The state of a random search: each site's wish uniform in [0, 1], whatever its size; or of the uniform vector's one
/// trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Random {
    trials: u64,
    /// All sites wish the same.
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
        if self.level {
            return space.uniform().map(Some);
        }
        let wishes: Vec<f32> = space.sites.iter().map(|_| self.rng.random()).collect();
        space.fit_free(&wishes).map(Some)
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
        toy.with(|space| assert!(tried.iter().all(|d| space.holds(d))));
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
