//! How the scales γ of norms are spread while Network Slimming trains: as a histogram, now and after its first epoch.
//! Knows nothing of bars.

use super::text;
use lab::RunStore;
use serde::Serialize;

/// Bins of the histogram.
const BINS: usize = 40;
/// A scale below this is as good as zero.
const SMALL: f32 = 0.01;

/// Norm scales of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalesView {
    /// `run 3 slimming: 38 % of 1 024 scales are under 0.01`.
    pub text: String,
    /// Width of a bin; the first begins at zero.
    pub width: f64,
    /// Scales by bin, as they were read first.
    pub first: Vec<u32>,
    /// The same as they were read last.
    pub now: Vec<u32>,
}

/// Of the newest run whose scales were read; none if there is none.
pub fn scales(store: &RunStore) -> Option<ScalesView> {
    let run = store
        .runs
        .iter()
        .rev()
        .find(|run| store.scales(run.id).next().is_some())?;
    let (first, now) = (store.scales(run.id).next()?, store.scales(run.id).next_back()?);
    let largest = first.iter().chain(now.iter()).copied().filter(|s| s.is_finite());
    let width = f64::from(largest.fold(0.0, f32::max)).max(1e-3) / BINS as f64;
    let bins = |scales: &[f32]| {
        let mut bins = vec![0; BINS];
        for scale in scales.iter().filter(|s| s.is_finite()) {
            bins[((f64::from(*scale) / width) as usize).min(BINS - 1)] += 1;
        }
        bins
    };
    let small = now.iter().filter(|s| **s < SMALL).count() as f64 / now.len().max(1) as f64;
    Some(ScalesView {
        text: format!(
            "{}: {} of {} scales are under {SMALL}",
            run.title(),
            text::whole_percent(small),
            text::grouped(now.len() as u64)
        ),
        width,
        first: bins(first),
        now: bins(now),
    })
}
