//! Greedy by sensitivity: each site alone is cut at a few levels, then the cut that promises the least loss for what it
//! saves is made, again and again, until the budget is met.
//!
//! Trials of the sweep spend more than the budget: they cut one site and leave the others. Only the last vector, on which
//! the sweep's losses are added up as if sites did not mind each other, is within it.

use super::space::Space;
use super::strategy::{Proposal, Proposals, Strategy};
use anyhow::{Result, ensure};
use event::Verdict;
use serde::{Deserialize, Serialize};

/// Most levels at which a site is measured.
const MOST_LEVELS: u64 = 16;

/// Cuts from a density of 1 to the floor, if there are as many choices.
const CUTS: f32 = 32.0;

/// Loss noted for NaN.
const WORST: f32 = 1e3;

/// What a vector out for measurement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TrialPurpose {
    /// Nothing cut: what losses are counted from.
    Whole,
    /// One more level of this site.
    Level(usize),
    Answer,
    Hand,
}

pub(crate) type PurposedTrial = (TrialPurpose, Vec<f32>);

impl Proposal for PurposedTrial {
    fn densities(&self) -> &[f32] {
        &self.1
    }
}

/// The state of a greedy search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Greedy {
    trials: u64,
    /// Levels measured of each site.
    levels: usize,
    #[serde(flatten)]
    proposals: Proposals<PurposedTrial>,
    /// Reward with nothing cut.
    whole: Option<f32>,
    /// Reward lost at each site's levels, from the first on.
    losses: Vec<Vec<f32>>,
    answered: bool,
}

impl Greedy {
    /// A search that has not begun: `trials` decides how many levels of each of the sites are measured.
    ///
    /// # Errors
    /// If there are too few trials to measure each site once.
    pub fn new(trials: u64, n_sites: usize) -> Result<Self> {
        let least = n_sites as u64 + 2;
        ensure!(
            trials >= least,
            "search.trials is {trials}, expected at least {least}: one for each of {n_sites} sites, one before and one after"
        );
        let levels = ((trials - 2) / n_sites.max(1) as u64).min(MOST_LEVELS);
        Ok(Self {
            trials: levels * n_sites as u64 + 2,
            levels: levels as usize,
            proposals: Proposals::default(),
            whole: None,
            losses: vec![Vec::new(); n_sites],
            answered: false,
        })
    }

    /// The loss promised by a site at a density, straight between its levels; as large as its last where none was measured.
    fn loss(&self, site: usize, density: f32, floor: f32) -> f32 {
        let losses = &self.losses[site];
        let at = (1.0 - density) / (1.0 - floor).max(f32::EPSILON) * self.levels as f32;
        let value = |level: usize| match level.min(losses.len()) {
            0 => 0.0,
            known => losses[known - 1],
        };
        let below = at.floor();
        value(below as usize) + (at - below) * (value(below as usize + 1) - value(below as usize))
    }

    /// The cheapest next cut until the budget is met; the last one only as deep as it must be.
    fn answer(&self, space: &Space, mut densities: Vec<f32>) -> Result<Vec<f32>> {
        space.check()?;
        let spent = |d: &[f32]| (space.spent)(d);
        let mut now = spent(&densities);
        while now > space.budget {
            let mut cheapest: Option<(f64, usize, f32)> = None;
            for site in 0..densities.len() {
                let (before, floor) = (densities[site], space.floor[site]);
                if space.locks[site].is_some() || before <= floor {
                    continue;
                }
                let cut = ((1.0 - floor) / CUTS).max(space.sites[site].share_of_step());
                let after = (before - cut).max(floor);
                densities[site] = after;
                let saved = now - spent(&densities);
                densities[site] = before;
                let lost = f64::from(self.loss(site, after, floor) - self.loss(site, before, floor));
                // A cut that saves nothing yet may be part of one that does: it comes last.
                let price = if saved > 0.0 { lost / saved } else { f64::MAX };
                if cheapest.is_none_or(|(least, ..)| price < least) {
                    cheapest = Some((price, site, after));
                }
            }
            let Some((_, site, after)) = cheapest else { break };
            let before = std::mem::replace(&mut densities[site], after);
            now = spent(&densities);
            if now <= space.budget {
                let (mut over, mut under) = (before, after);
                while over - under > 1e-6 {
                    densities[site] = 0.5 * (over + under);
                    *(if spent(&densities) <= space.budget {
                        &mut under
                    } else {
                        &mut over
                    }) = densities[site];
                }
                densities[site] = under;
            }
        }
        space.fill(&mut densities, false);
        Ok(densities)
    }
}

impl Strategy for Greedy {
    type Proposal = PurposedTrial;

    fn proposals(&self) -> &Proposals<PurposedTrial> {
        &self.proposals
    }

    fn proposals_mut(&mut self) -> &mut Proposals<PurposedTrial> {
        &mut self.proposals
    }

    fn planned(&self) -> u64 {
        self.trials
    }

    fn choose(&mut self, space: &Space) -> Result<Option<PurposedTrial>> {
        if let Some(hand) = self.proposals.by_hand(space)? {
            return Ok(Some((TrialPurpose::Hand, hand)));
        }
        if self.answered {
            return Ok(None);
        }
        let mut densities: Vec<f32> = space.locks.iter().map(|lock| lock.unwrap_or(1.0)).collect();
        if self.whole.is_none() {
            return Ok(Some((TrialPurpose::Whole, densities)));
        }
        let open = |i: &usize| space.locks[*i].is_none() && self.losses[*i].len() < self.levels;
        if let Some(site) = (0..densities.len()).find(open) {
            let level = (self.losses[site].len() + 1) as f32 / self.levels as f32;
            densities[site] = 1.0 - level * (1.0 - space.floor[site]);
            return Ok(Some((TrialPurpose::Level(site), densities)));
        }
        Ok(Some((TrialPurpose::Answer, self.answer(space, densities)?)))
    }

    fn is_unconditional(&self, (purpose, _): &PurposedTrial) -> bool {
        *purpose != TrialPurpose::Answer
    }

    fn learn(&mut self, (purpose, densities): PurposedTrial, reward: f32) -> Verdict {
        match purpose {
            TrialPurpose::Whole => self.whole = Some(if reward.is_finite() { reward } else { 0.0 }),
            TrialPurpose::Level(site) => {
                let lost = self.whole.unwrap_or(0.0) - reward;
                self.losses[site].push(if lost.is_finite() { lost } else { WORST });
            }
            TrialPurpose::Answer => {
                self.answered = true;
                return self.proposals.keep(&densities, reward);
            }
            TrialPurpose::Hand => return self.proposals.keep(&densities, reward),
        }
        Verdict::Rejected
    }

    /// The sweep stands under any budget and any lock; only the answer is sought anew.
    fn drop_outside(&mut self, space: &Space) {
        let sweep = |purpose| matches!(purpose, TrialPurpose::Whole | TrialPurpose::Level(_));
        let Proposals { pending, best, .. } = &mut self.proposals;
        pending.take_if(|(purpose, p)| !sweep(*purpose) && !space.holds(p));
        if best.take_if(|best| !space.holds(&best.densities)).is_some() {
            self.answered = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::Toy;
    use crate::{Random, Searcher, toy};
    use event::Steer;

    /// Two sites of the same size; the second can lose twice as much for the same price until half, then nothing.
    #[test]
    fn the_cheapest_cuts_are_made_first_and_the_last_no_deeper_than_needed() {
        let sites = toy::sites(&[100.0, 100.0]);
        let spent = |d: &[f32]| f64::from(d[0] + d[1]) * 100.0;
        let space = Space {
            sites: &sites,
            floor: vec![0.25; 2],
            locks: vec![None; 2],
            budget: 110.0,
            spent: &spent,
        };
        let reward = |d: &[f32]| {
            let cut = 1.0 - d[1];
            0.9 - 0.2 * (1.0 - d[0]) - if cut > 0.5 { 0.05 + 0.8 * (cut - 0.5) } else { 0.1 * cut }
        };
        let mut greedy = Greedy::new(8, 2).unwrap();
        let mut tried = Vec::new();
        while let Some(d) = greedy.propose(&space).unwrap() {
            assert!(tried.len() < 8);
            greedy.settle(&d, reward(&d));
            tried.push(d);
        }
        assert_eq!(tried[0], [1.0, 1.0]);
        assert_eq!(tried[1..4], [[0.75, 1.0], [0.5, 1.0], [0.25, 1.0]]);
        assert_eq!(tried[4..7], [[1.0, 0.75], [1.0, 0.5], [1.0, 0.25]]);
        let (best, earned) = greedy.best().unwrap();
        assert!((best[0] - 0.6).abs() < 0.01 && (best[1] - 0.5).abs() < 0.01, "{best:?}");
        assert!(earned == reward(best) && space.holds(best) && spent(best) > 109.9);
    }

    #[test]
    fn too_few_trials_are_refused_and_many_make_the_sweep_finer() {
        let text = Greedy::new(9, 8).unwrap_err().to_string();
        assert!(text.contains("at least 10"), "{text}");
        assert_eq!(Greedy::new(10, 8).unwrap().levels, 1);
        assert_eq!(Greedy::new(121, 8).unwrap().trials(), 14 * 8 + 2);
    }

    #[test]
    fn it_beats_random_vectors_where_sites_do_not_mind_each_other() {
        let toy = Toy::layers();
        let mut greedy = Greedy::new(120, 8).unwrap();
        let tried = toy.drive(&mut greedy);
        assert_eq!(tried.len(), 114);
        let mut random = Random::new(114, 1).unwrap();
        toy.drive(&mut random);
        let (best, reward) = greedy.best().unwrap();
        assert!(reward > random.best().unwrap().1, "{reward}");
        toy.with(|space| assert!(space.holds(best) && (space.spent)(best) > 0.96 * space.budget));
    }

    #[test]
    fn a_saved_search_goes_on_with_the_same_vectors() {
        let toy = Toy::layers();
        let whole = toy.drive(&mut Greedy::new(50, 8).unwrap());
        for stop in [0, 1, 20, 49] {
            let mut greedy = Greedy::new(50, 8).unwrap();
            toy.drive_for(&mut greedy, stop);
            let text = serde_json::to_string(&greedy).unwrap();
            let mut back: Greedy = serde_json::from_str(&text).unwrap();
            assert_eq!(toy.drive(&mut back), whole[stop..]);
        }
    }

    #[test]
    fn a_locked_site_is_not_swept_and_a_new_budget_asks_for_one_more_answer() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut greedy = Greedy::new(26, 8).unwrap();
            greedy.steer(space, &Steer::Lock { site: 2, density: 0.5 }).unwrap();
            let tried = toy.drive(&mut greedy);
            assert_eq!(tried.len(), 23);
            assert!(tried.iter().all(|d| d[2] == 0.5));
            let most = 0.5 * space.budget;
            greedy.steer(space, &Steer::Budget { most }).unwrap();
            assert!(greedy.best().is_none());
            let more = toy.drive(&mut greedy);
            assert!(more.len() == 1 && (space.spent)(&more[0]) <= most);
        });
    }

    #[test]
    fn a_level_that_is_no_number_is_shunned() {
        let toy = Toy::layers();
        toy.with(|space| {
            let mut greedy = Greedy::new(10, 8).unwrap();
            while let Some(d) = greedy.propose(space).unwrap() {
                let broken = d[3] < 0.9 && d[4] == 1.0;
                greedy.settle(&d, if broken { f32::NAN } else { toy.reward(&d) });
            }
            assert!(greedy.best().unwrap().0[3] > 0.9);
        });
    }
}
