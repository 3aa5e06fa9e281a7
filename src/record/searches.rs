//! What is known of a search and of ADMM's way: the fold of their events.
//! Knows nothing of how candidates are made or measured.

use event::{Residual, SearchStart, Steer, Trial, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One search of a run, folded from its events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchState {
    /// Place of its beginning in the run's log.
    pub seq: u64,
    /// What it set out to do.
    pub start: Arc<SearchStart>,
    /// Candidates, in the order in which they were measured; at most [`SearchState::TRIALS`]. Beyond that every second of
    /// those that were not the best goes.
    pub trials: Vec<TrialPoint>,
    /// Candidates measured in all.
    pub measured: u64,
    /// What was asked of it, in order.
    pub steered: Vec<SteerPoint>,
}

/// A candidate with its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialPoint {
    /// Place in the run's log.
    pub seq: u64,
    /// Seconds since the run began.
    pub at: f64,
    /// The candidate.
    #[serde(flatten)]
    pub trial: Trial,
}

/// Something asked of a search, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SteerPoint {
    /// Place in the run's log.
    pub seq: u64,
    /// Trials that had been measured.
    pub after: u64,
    /// What was asked.
    pub steer: Steer,
    /// Why it was not followed, if it was not.
    pub refused: Option<String>,
}

/// ADMM's distances after one of its updates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResidualPoint {
    /// Place in the run's log.
    pub seq: u64,
    /// Updates done in this stage.
    pub update: u32,
    /// In network order.
    pub layers: Vec<Residual>,
}

impl SearchState {
    /// Candidates kept.
    pub const TRIALS: usize = 1 << 16;

    /// A search without trials yet.
    pub fn new(seq: u64, start: Arc<SearchStart>) -> Self {
        Self {
            seq,
            start,
            trials: Vec::new(),
            measured: 0,
            steered: Vec::new(),
        }
    }

    /// Adds a candidate.
    pub fn push(&mut self, point: TrialPoint) {
        if self.trials.len() == Self::TRIALS {
            let mut odd = false;
            self.trials.retain(|t| {
                odd = t.trial.verdict != Verdict::Best && !odd;
                !odd
            });
        }
        self.trials.push(point);
        self.measured += 1;
    }

    /// Adds what was asked, and why it was refused, if it was.
    pub fn asked(&mut self, seq: u64, steer: &Steer, refused: Option<&str>) {
        self.steered.push(SteerPoint {
            seq,
            after: self.measured,
            steer: steer.clone(),
            refused: refused.map(str::to_owned),
        });
    }

    /// What was asked and followed, in order.
    fn followed(&self) -> impl DoubleEndedIterator<Item = &SteerPoint> {
        self.steered.iter().filter(|s| s.refused.is_none())
    }

    /// What must not be exceeded now.
    pub fn budget(&self) -> f64 {
        let moved = self.followed().rev().find_map(|s| match s.steer {
            Steer::Budget { most } => Some(most),
            _ => None,
        });
        moved.unwrap_or(self.start.budget)
    }

    /// Sites that are held, with their densities.
    pub fn locks(&self) -> BTreeMap<usize, f32> {
        let first = self.start.held.iter().enumerate();
        let mut held: BTreeMap<usize, f32> = first.filter_map(|(i, held)| Some((i, (*held)?))).collect();
        for point in self.followed() {
            match point.steer {
                Steer::Lock { site, density } => drop(held.insert(site, density)),
                Steer::Unlock { site } => drop(held.remove(&site)),
                _ => {}
            }
        }
        held
    }

    /// What must be kept, if that was asked of this search.
    pub fn protected(&self) -> Option<&Vec<String>> {
        self.followed().rev().find_map(|s| match &s.steer {
            Steer::Protect { names } => Some(names),
            _ => None,
        })
    }

    /// The best candidate so far.
    pub fn best(&self) -> Option<&Trial> {
        self.last_with(|v| v == Verdict::Best)
    }

    /// The candidate the search stands on: the last one it took.
    pub fn current(&self) -> Option<&Trial> {
        self.last_with(|v| v != Verdict::Rejected)
    }

    fn last_with(&self, wanted: impl Fn(Verdict) -> bool) -> Option<&Trial> {
        let last = self.trials.iter().rev().find(|t| wanted(t.trial.verdict));
        last.map(|t| &t.trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Unit;

    #[test]
    fn steering_is_folded_to_the_budget_and_the_locks_that_hold() {
        let start = SearchStart {
            name: "round 1".into(),
            sites: Vec::new(),
            unit: Unit::Macs,
            budget: 10.0,
            whole: 20.0,
            trials: 5,
            images: 100,
            held: vec![None, Some(0.25)],
        };
        let mut search = SearchState::new(0, Arc::new(start));
        assert_eq!((search.budget(), search.locks()), (10.0, BTreeMap::from([(1, 0.25)])));
        let asked = [
            Steer::Lock { site: 2, density: 0.5 },
            Steer::Budget { most: 8.0 },
            Steer::Lock { site: 0, density: 1.0 },
            Steer::Unlock { site: 2 },
            Steer::Budget { most: 9.0 },
        ];
        for (seq, steer) in asked.into_iter().enumerate() {
            search.asked(seq as u64, &steer, None);
        }
        // What was not followed is not in force.
        search.asked(5, &Steer::Budget { most: 1.0 }, Some("too little"));
        search.asked(6, &Steer::Unlock { site: 0 }, Some("no such site"));
        assert_eq!(
            (search.budget(), search.locks()),
            (9.0, BTreeMap::from([(0, 1.0), (1, 0.25)]))
        );
    }
}
