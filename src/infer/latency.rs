//! How long one image takes: warm-up, then quantiles.
//! Knows nothing of throughput or of other programs.

use super::engine::Engine;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Fewest runs that are timed, whatever the budget.
const LEAST: usize = 7;

/// Milliseconds of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// A tenth of the runs was faster.
    pub p10_ms: f64,
    /// A tenth of the runs was slower.
    pub p90_ms: f64,
    /// Runs timed.
    pub n: usize,
}

/// Times runs of a batch (`[n, c, h, w]` normalized) for about `budget`, at the engine's densities and threads:
/// a tenth of it to warm up, the rest to measure.
pub fn latency(engine: &mut Engine, images: &[f32], budget: Duration) -> Latency {
    let start = Instant::now();
    while {
        engine.run(images);
        start.elapsed() < budget / 10
    } {}
    let (start, mut runs) = (Instant::now(), Vec::new());
    while runs.len() < LEAST || start.elapsed() < budget.mul_f64(0.9) {
        let at = Instant::now();
        engine.run(images);
        runs.push(at.elapsed().as_secs_f64() * 1e3);
    }
    quantiles(&mut runs)
}

/// The quantiles of some runs' milliseconds, which it sorts; between neighbors, as numpy has it.
///
/// # Panics
/// Without runs.
pub fn quantiles(runs: &mut [f64]) -> Latency {
    runs.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (runs.len() - 1) as f64;
        let (low, high) = (runs[place as usize], runs[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    Latency {
        median_ms: at(0.5),
        p10_ms: at(0.1),
        p90_ms: at(0.9),
        n: runs.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_few_numbers() {
        let mut runs = [5.0, 1.0, 2.0, 4.0, 3.0, 6.0];
        assert_eq!(
            quantiles(&mut runs),
            Latency {
                median_ms: 3.5,
                p10_ms: 1.5,
                p90_ms: 5.5,
                n: 6
            }
        );
    }
}
