//! Small spaces for the tests of searches.

use super::{Searcher, Space};
use event::{Dimension, Site};

/// A filter site with 16 choices.
pub(crate) fn site(index: usize, size: f64) -> Site {
    Site {
        name: format!("s{index}"),
        dimension: Dimension::Filter,
        size,
        choices: 16,
        step: 1,
        tied: Vec::new(),
    }
}

pub(crate) fn sites(sizes: &[f64]) -> Vec<Site> {
    sizes.iter().enumerate().map(|(i, size)| site(i, *size)).collect()
}

/// Layers in a chain, with rounding, whose accuracy falls by a known law: bigger layers bear more, but one bigger than
/// its neighbors bears less than the guide thinks.
pub(crate) struct Toy {
    /// Eight sites.
    pub sites: Vec<Site>,
    /// Share of the whole that may be spent.
    pub target: f64,
}

const SIZES: [f64; 8] = [1.6, 33.2, 16.6, 33.1, 33.3, 14.2, 21.2, 21.3];

/// Loss of accuracy at sparsity 1.
const LOSS: [f32; 8] = [1.5, 0.5, 0.9, 0.3, 0.25, 0.5, 0.35, 0.2];

impl Toy {
    /// A quarter of what M-CifarNet spends.
    pub(crate) fn layers() -> Self {
        Self {
            sites: sites(&SIZES),
            target: 0.25,
        }
    }

    /// Kept share: whole channels, at least one.
    fn kept(&self, densities: &[f32]) -> Vec<f32> {
        let whole = |(site, d): (&Site, &f32)| {
            let n = site.choices as f32;
            (d * n - 1e-3).ceil().max(1.0) / n
        };
        self.sites.iter().zip(densities).map(whole).collect()
    }

    /// MACs: each layer's own share times that of the one before it.
    pub(crate) fn spent(&self, densities: &[f32]) -> f64 {
        let kept = self.kept(densities);
        let share = |i: usize| f64::from(kept[i]) * if i == 0 { 1.0 } else { f64::from(kept[i - 1]) };
        (0..kept.len()).map(|i| SIZES[i] * share(i)).sum()
    }

    pub(crate) fn reward(&self, densities: &[f32]) -> f32 {
        let kept = self.kept(densities);
        let loss: f32 = kept.iter().zip(LOSS).map(|(k, loss)| loss * (1.0 - k).powi(3)).sum();
        0.1 + 0.8 * (-loss).exp()
    }

    pub(crate) fn with<T>(&self, ask: impl FnOnce(&Space) -> T) -> T {
        let spent = |d: &[f32]| self.spent(d);
        ask(&Space {
            sites: &self.sites,
            floor: vec![0.0625; self.sites.len()],
            locks: vec![None; self.sites.len()],
            budget: self.target * SIZES.iter().sum::<f64>(),
            spent: &spent,
        })
    }

    /// Runs a search to its end; what it tried.
    pub(crate) fn drive(&self, search: &mut dyn Searcher) -> Vec<Vec<f32>> {
        self.drive_for(search, usize::MAX)
    }

    /// Runs a search for so many trials; what it tried.
    pub(crate) fn drive_for(&self, search: &mut dyn Searcher, trials: usize) -> Vec<Vec<f32>> {
        self.with(|space| {
            let mut tried = Vec::new();
            while tried.len() < trials
                && let Some(d) = search.propose(space).unwrap()
            {
                search.settle(&d, self.reward(&d));
                tried.push(d);
            }
            tried
        })
    }
}
