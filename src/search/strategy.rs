//! What all searches share: one proposal at a time, what a person asked for, and the best trial. A search adds only how it
//! chooses and what it learns.

use super::searcher::Searcher;
use super::space::Space;
use super::steering::Steering;
use anyhow::Result;
use event::{Steer, Verdict};
use serde::{Deserialize, Serialize};

/// A vector of densities with its measured reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scored {
    pub densities: Vec<f32>,
    pub reward: f32,
}

/// A vector out for measurement, with whatever its search notes beside it.
pub(crate) trait Proposal {
    fn densities(&self) -> &[f32];
}

impl Proposal for Vec<f32> {
    fn densities(&self) -> &[f32] {
        self
    }
}

/// The part of a search's saved state that all searches have. Searches flatten it: its fields stand beside their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proposals<P> {
    pub steering: Steering,
    /// Trials settled.
    pub number: u64,
    /// Proposed and not yet settled.
    pub pending: Option<P>,
    pub best: Option<Scored>,
}

impl<P> Default for Proposals<P> {
    fn default() -> Self {
        Self {
            steering: Steering::default(),
            number: 0,
            pending: None,
            best: None,
        }
    }
}

impl<P> Proposals<P> {
    /// The next vector that a person asked for, brought within the limits.
    pub(crate) fn by_hand(&mut self, space: &Space) -> Result<Option<Vec<f32>>> {
        let hand = self.steering.queue.pop_front();
        hand.map(|densities| space.bring(&densities)).transpose()
    }

    /// Notes a vector if it is better than all before it.
    pub(crate) fn keep(&mut self, densities: &[f32], reward: f32) -> Verdict {
        if !reward.is_finite() || self.best.as_ref().is_some_and(|best| reward <= best.reward) {
            return Verdict::Rejected;
        }
        let densities = densities.to_vec();
        self.best = Some(Scored { densities, reward });
        Verdict::Best
    }
}

/// How one search chooses and learns; [`Searcher`] follows from it.
pub(crate) trait Strategy {
    type Proposal: Proposal;

    fn proposals(&self) -> &Proposals<Self::Proposal>;

    fn proposals_mut(&mut self) -> &mut Proposals<Self::Proposal>;

    /// Vectors planned to be measured.
    fn planned(&self) -> u64;

    /// What to measure next, within `space` as it is steered; `None` when all is done.
    ///
    /// # Errors
    /// If the budget cannot be met.
    fn choose(&mut self, space: &Space) -> Result<Option<Self::Proposal>>;

    /// Learns what a proposal earned. Its trial is counted afterwards.
    fn learn(&mut self, proposal: Self::Proposal, reward: f32) -> Verdict;

    /// Whether this would have been chosen whatever was learned before.
    fn is_unconditional(&self, _proposal: &Self::Proposal) -> bool {
        false
    }

    fn reheat(&mut self) {}

    /// Drops what the limits of `space`, as it is steered now, no longer allow.
    fn drop_outside(&mut self, space: &Space) {
        let proposals = self.proposals_mut();
        proposals.pending.take_if(|p| !space.holds(p.densities()));
        proposals.best.take_if(|best| !space.holds(&best.densities));
    }

    /// Rewards so far were of another goal: the best vector is measured again before anything else is.
    fn measure_best_anew(&mut self) {
        let proposals = self.proposals_mut();
        let best = proposals.best.take();
        let queue = &mut proposals.steering.queue;
        best.into_iter().for_each(|best| queue.push_front(best.densities));
    }

    fn current_temperature(&self) -> f32 {
        0.0
    }

    fn accepted_share(&self) -> f32 {
        0.0
    }

    fn diagnosis(&self) -> Option<&'static str> {
        None
    }
}

impl<S: Strategy> Searcher for S {
    fn trials(&self) -> u64 {
        self.planned()
    }

    fn propose(&mut self, space: &Space) -> Result<Option<Vec<f32>>> {
        if self.proposals().pending.is_none() {
            let space = self.proposals().steering.over(space);
            self.proposals_mut().pending = self.choose(&space)?;
        }
        Ok(self.proposals().pending.as_ref().map(|p| p.densities().to_vec()))
    }

    fn is_independent(&self) -> bool {
        let pending = self.proposals().pending.as_ref();
        pending.is_some_and(|proposal| self.is_unconditional(proposal))
    }

    fn settle(&mut self, densities: &[f32], reward: f32) -> Verdict {
        // One proposed before the limits changed is counted, but nothing is learned from it.
        let verdict = match self.proposals_mut().pending.take() {
            Some(proposal) if proposal.densities() == densities => self.learn(proposal, reward),
            _ => Verdict::Rejected,
        };
        self.proposals_mut().number += 1;
        verdict
    }

    fn steering(&self) -> &Steering {
        &self.proposals().steering
    }

    fn steer(&mut self, space: &Space, steer: &Steer) -> Result<()> {
        self.proposals_mut().steering.take(space, steer)?;
        match steer {
            Steer::Reheat => self.reheat(),
            Steer::Protect { .. } => {
                self.measure_best_anew();
                return Ok(());
            }
            _ => {}
        }
        let space = self.proposals().steering.over(space);
        self.drop_outside(&space);
        Ok(())
    }

    fn best(&self) -> Option<(&[f32], f32)> {
        let best = self.proposals().best.as_ref()?;
        Some((&best.densities, best.reward))
    }

    fn temperature(&self) -> f32 {
        self.current_temperature()
    }

    fn acceptance(&self) -> f32 {
        self.accepted_share()
    }

    fn fact(&self) -> Option<&'static str> {
        self.diagnosis()
    }
}
