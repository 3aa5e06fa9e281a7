//! Layers that a run leaves alone or prunes to a given density: as settings, and from one search of a run to the next.
//! Knows nothing of how searches go.

use anyhow::{Result, ensure};
use event::{BadInput, Dimension, Site};
use model::{NetSpec, Op};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A layer that no search may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Its name, or that of a layer that is cut together with it.
    pub layer: String,
    /// Held in this way alone; in all ways if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<Dimension>,
    /// Kept share, of what the model to start from has.
    #[serde(default = "whole")]
    pub density: f32,
}

fn whole() -> f32 {
    1.0
}

impl Lock {
    fn holds(&self, site: &Site) -> bool {
        (self.layer == site.name || site.tied.contains(&self.layer))
            && self.dimension.is_none_or(|d| d == site.dimension)
    }
}

/// Checks the densities before anything is run.
///
/// # Errors
/// One that leaves a layer nothing, or less than the floor.
pub(crate) fn check_densities(locks: &[Lock], floor: f32) -> Result<()> {
    for Lock { layer, density, .. } in locks {
        ensure!(
            *density > 0.0 && (floor..=1.0).contains(density),
            "method.locks holds layer {layer} at a density of {density}, expected more than 0, at least {floor} and at most 1"
        );
    }
    Ok(())
}

/// Checks the names before anything is trained.
///
/// # Errors
/// [`BadInput`]: a layer that the network does not have.
pub(crate) fn check(locks: &[Lock], spec: &NetSpec) -> Result<()> {
    let layers = || {
        let has_weights = |op: &Op| matches!(op, Op::Conv { .. } | Op::Linear { .. });
        let nodes = spec.nodes.iter().filter(move |n| has_weights(&n.op));
        nodes.map(|n| n.name.as_str())
    };
    for lock in locks {
        if !layers().any(|name| name == lock.layer) {
            let known: Vec<&str> = layers().collect();
            return Err(BadInput(format!(
                "method.locks names layer {}, which {} does not have; expected one of {}",
                lock.layer,
                spec.name,
                known.join(", ")
            ))
            .into());
        }
    }
    Ok(())
}

/// Checks that every lock holds some site.
///
/// # Errors
/// [`BadInput`]: a lock that holds nothing of what is searched.
pub(crate) fn check_sites(locks: &[Lock], sites: &[Site]) -> Result<()> {
    if let Some(idle) = locks.iter().find(|l| !sites.iter().any(|s| l.holds(s))) {
        let way = idle.dimension.map_or(String::new(), |d| format!(" ({})", d.name()));
        let text = format!(
            "method.locks holds layer {}, but nothing of it is searched{way}",
            idle.layer
        );
        return Err(BadInput(text).into());
    }
    Ok(())
}

/// What a run's earlier searches mean for its locks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EarlierSearches {
    /// Whether layers have already been pruned to their locks' densities: nothing more of them is.
    pub are_applied: bool,
    /// What the user held and freed since, oldest first.
    pub manual_locks: Vec<ManualLock>,
}

/// A site that the user held, or freed, while a search ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ManualLock {
    layer: String,
    dimension: Dimension,
    is_held: bool,
}

/// What the user held and freed in one search, for the searches after it.
pub(crate) fn manual_locks(sites: &[Site], locks: &BTreeMap<usize, Option<f32>>) -> Vec<ManualLock> {
    let lock = |(&i, lock): (&usize, &Option<f32>)| ManualLock {
        layer: sites[i].name.clone(),
        dimension: sites[i].dimension,
        is_held: lock.is_some(),
    };
    locks.iter().map(lock).collect()
}

/// The density that each site is held at. The last manual lock counts, then the last lock of the settings.
pub(crate) fn held_densities(locks: &[Lock], sites: &[Site], before: &EarlierSearches) -> Vec<Option<f32>> {
    let held = |s: &Site| {
        let is = |m: &&ManualLock| m.layer == s.name && m.dimension == s.dimension;
        if let Some(manual) = before.manual_locks.iter().rev().find(is) {
            return manual.is_held.then_some(1.0);
        }
        let lock = locks.iter().rev().find(|l| l.holds(s))?;
        Some(if before.are_applied { 1.0 } else { lock.density })
    };
    sites.iter().map(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::zoo;

    fn site(name: &str, dimension: Dimension, tied: &[&str]) -> Site {
        Site {
            name: name.into(),
            dimension,
            size: 1.0,
            choices: 8,
            step: 1,
            tied: tied.iter().map(|&t| t.to_owned()).collect(),
        }
    }

    fn lock(text: &str) -> Lock {
        toml::from_str(text).expect("a lock")
    }

    #[test]
    fn a_layer_is_held_by_its_own_name_or_that_of_one_it_is_tied_to() {
        use Dimension::{Column, Filter};
        let sites = [
            site("a", Filter, &["c"]),
            site("a", Column, &[]),
            site("b", Filter, &[]),
            site("c", Column, &[]),
        ];
        let held = |locks: &[Lock]| held_densities(locks, &sites, &EarlierSearches::default());
        assert_eq!(held(&[]), [None; 4]);
        assert_eq!(held(&[lock("layer = 'a'")]), [Some(1.0), Some(1.0), None, None]);
        let filters = lock("layer = 'c'\ndimension = 'filter'\ndensity = 0.5");
        assert_eq!(held(std::slice::from_ref(&filters)), [Some(0.5), None, None, None]);
        let both = held(&[lock("layer = 'a'\ndensity = 0.75"), filters.clone()]);
        assert_eq!(both, [Some(0.5), Some(0.75), None, None]);
        // In the next round what was held stays as it is, but for what was freed and held by hand.
        let both = [lock("layer = 'a'\ndensity = 0.75"), filters];
        let mut before = EarlierSearches {
            are_applied: true,
            manual_locks: Vec::new(),
        };
        assert_eq!(
            held_densities(&both, &sites, &before),
            [Some(1.0), Some(1.0), None, None]
        );
        before.manual_locks = manual_locks(&sites, &BTreeMap::from([(1, None), (2, Some(0.5))]));
        assert_eq!(
            held_densities(&both, &sites, &before),
            [Some(1.0), None, Some(1.0), None]
        );
        check_sites(&[lock("layer = 'c'")], &sites).expect("two of them");
        let text = check_sites(&[lock("layer = 'd'")], &sites)
            .expect_err("none")
            .to_string();
        assert_eq!(text, "method.locks holds layer d, but nothing of it is searched");
        let text = check_sites(&[lock("layer = 'b'\ndimension = 'column'")], &sites)
            .expect_err("no such site")
            .to_string();
        assert_eq!(
            text,
            "method.locks holds layer b, but nothing of it is searched (column)"
        );
    }

    #[test]
    fn a_layer_that_is_not_there_is_refused_with_those_that_are() {
        let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
        check(&[lock("layer = 'conv1'")], &spec).expect("there");
        let text = check(&[lock("layer = 'conv9'")], &spec)
            .expect_err("not there")
            .to_string();
        assert!(
            text.starts_with(
                "method.locks names layer conv9, which lenet5 does not have; expected one of conv0, conv1, hidden, classifier"
            ),
            "{text}"
        );
        assert!(toml::from_str::<Lock>("layer = 'a'\nkept = 1").is_err());
        for density in ["0.0", "0.05", "1.5", "nan"] {
            let locks = [lock(&format!("layer = 'conv1'\ndensity = {density}"))];
            assert!(check_densities(&locks, 0.1).is_err(), "{density}");
        }
    }
}
