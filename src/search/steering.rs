//! What a person asked of a running search: another budget, locks, vectors to try. Part of a search's saved state.

use super::space::Space;
use anyhow::{Result, ensure};
use event::Steer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Interventions still in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// In place of the space's.
    pub budget: Option<f64>,
    /// In place of the space's, by site; `None` frees it.
    #[serde(deserialize_with = "by_site")]
    pub locks: BTreeMap<usize, Option<f32>>,
    /// Vectors to try next, as they were given.
    pub(crate) queue: VecDeque<Vec<f32>>,
    /// What rewards must be lowered for, by name, in place of what the search began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<Vec<String>>,
}

/// Reads the keys as text: in a flattened structure serde no longer knows that JSON's keys can be numbers.
fn by_site<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<usize, Option<f32>>, D::Error> {
    let locks = BTreeMap::<String, Option<f32>>::deserialize(from)?;
    let parsed = locks.into_iter().map(|(site, lock)| Ok((site.parse()?, lock)));
    parsed
        .collect::<Result<_, std::num::ParseIntError>>()
        .map_err(serde::de::Error::custom)
}

impl Steering {
    /// The space as it is steered.
    pub fn over<'a>(&self, space: &Space<'a>) -> Space<'a> {
        let mut steered = space.clone();
        steered.budget = self.budget.unwrap_or(space.budget);
        for (&site, &lock) in &self.locks {
            steered.locks[site] = lock;
        }
        steered
    }

    /// Notes an intervention.
    ///
    /// # Errors
    /// If there is no such site, or no vector could meet what would be asked; nothing is changed then.
    pub fn take(&mut self, space: &Space, steer: &Steer) -> Result<()> {
        let mut next = self.clone();
        let n = space.sites.len();
        let is_finite = match steer {
            Steer::Budget { most } => most.is_finite(),
            Steer::Lock { density, .. } => density.is_finite(),
            Steer::Propose { densities } => densities.iter().all(|d| d.is_finite()),
            Steer::Unlock { .. } | Steer::Reheat | Steer::Protect { .. } => true,
        };
        ensure!(is_finite, "expected a finite number");
        match steer {
            Steer::Budget { most } => next.budget = Some(*most),
            Steer::Lock { site, density } => {
                ensure!(*site < n, "cannot lock site {site}: there are {n} sites");
                next.locks.insert(*site, Some(*density));
            }
            Steer::Unlock { site } => {
                ensure!(*site < n, "cannot unlock site {site}: there are {n} sites");
                next.locks.insert(*site, None);
            }
            Steer::Reheat => {}
            Steer::Protect { names } => next.protect = Some(names.clone()),
            Steer::Propose { densities } => {
                self.over(space).bring(densities)?;
                next.queue.push_back(densities.clone());
            }
        }
        next.over(space).check()?;
        *self = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn what_cannot_be_met_is_refused_and_changes_nothing() {
        let sites = toy::sites(&[100.0, 100.0]);
        let spent = |d: &[f32]| f64::from(d[0] + d[1]) * 100.0;
        let space = Space {
            sites: &sites,
            floor: vec![0.25; 2],
            locks: vec![None; 2],
            budget: 100.0,
            spent: &spent,
        };
        let mut steering = Steering::default();
        steering.take(&space, &Steer::Lock { site: 0, density: 0.5 }).unwrap();
        let before = steering.clone();
        let text = steering.take(&space, &Steer::Budget { most: 60.0 }).unwrap_err();
        assert!(text.to_string().ends_with(" 75"), "{text}");
        assert!(steering.take(&space, &Steer::Lock { site: 1, density: 0.0 }).is_err());
        assert!(steering.take(&space, &Steer::Lock { site: 2, density: 0.5 }).is_err());
        assert!(steering.take(&space, &Steer::Unlock { site: 9 }).is_err());
        assert!(steering.take(&space, &Steer::Budget { most: f64::NAN }).is_err());
        let density = f32::NAN;
        assert!(steering.take(&space, &Steer::Lock { site: 1, density }).is_err());
        let vector = Steer::Propose {
            densities: vec![1.0; 3],
        };
        assert!(steering.take(&space, &vector).is_err());
        assert_eq!(steering, before);
        assert_eq!(steering.over(&space).locks, [Some(0.5), None]);
        steering.take(&space, &Steer::Unlock { site: 0 }).unwrap();
        steering.take(&space, &Steer::Budget { most: 60.0 }).unwrap();
        assert_eq!(steering.over(&space).budget, 60.0);
    }
}
