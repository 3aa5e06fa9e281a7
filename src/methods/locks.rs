//! Layers that a run leaves alone or prunes to a given density: as settings, and from one search of a run to the next.
//! Knows nothing of how searches go.

use crate::event::{BadInput, Dimension, Site};
use crate::model::{NetSpec, Op};
use anyhow::Result;
use serde::{Deserialize, Serialize};

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

/// Checks the names before anything is trained.
///
/// # Errors
/// [`BadInput`]: a layer that the network does not have.
pub fn check(locks: &[Lock], spec: &NetSpec) -> Result<()> {
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

/// Checks that there is something to hold.
///
/// # Errors
/// [`BadInput`]: a lock that holds nothing of what is searched.
pub fn check_sites(locks: &[Lock], sites: &[Site]) -> Result<()> {
    if let Some(idle) = locks.iter().find(|l| !sites.iter().any(|s| l.holds(s))) {
        let way = idle.dimension.map_or("way", super::stages::word);
        let text = format!(
            "method.locks holds layer {}, but nothing of it is searched ({way})",
            idle.layer
        );
        return Err(BadInput(text).into());
    }
    Ok(())
}

/// The density that each site is held at; the last lock that names it counts.
pub fn over(locks: &[Lock], sites: &[Site]) -> Vec<Option<f32>> {
    let held = |s: &Site| locks.iter().rev().find(|l| l.holds(s)).map(|l| l.density);
    sites.iter().map(held).collect()
}

/// For the searches after one that ended with these: what was held has its density by now, so no more of it goes.
pub fn after(sites: &[Site], held: &[Option<f32>]) -> Vec<Lock> {
    let held = sites.iter().zip(held).filter(|(_, held)| held.is_some());
    let lock = |site: &Site| Lock {
        layer: site.name.clone(),
        dimension: Some(site.dimension),
        density: whole(),
    };
    held.map(|(site, _)| lock(site)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::zoo;

    fn site(name: &str, dimension: Dimension, tied: &[&str]) -> Site {
        Site {
            name: name.into(),
            dimension,
            size: 1.0,
            choices: 8,
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
        let over = |locks: &[Lock]| super::over(locks, &sites);
        assert_eq!(over(&[]), [None; 4]);
        assert_eq!(over(&[lock("layer = 'a'")]), [Some(1.0), Some(1.0), None, None]);
        let filters = lock("layer = 'c'\ndimension = 'filter'\ndensity = 0.5");
        assert_eq!(over(std::slice::from_ref(&filters)), [Some(0.5), None, None, None]);
        let both = over(&[lock("layer = 'a'\ndensity = 0.75"), filters]);
        assert_eq!(both, [Some(0.5), Some(0.75), None, None]);
        // In the next round what was held stays as it is.
        assert_eq!(over(&after(&sites, &both)), [Some(1.0), Some(1.0), None, None]);
        check_sites(&[lock("layer = 'c'")], &sites).expect("two of them");
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
    }
}
