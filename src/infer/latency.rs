//! How long one image takes: warm-up, then quantiles; and how loaded the machine was.
//! Knows nothing of throughput or of other programs.

use super::engine::Engine;
use super::other_work::{OtherWork, OtherWorkSpan};
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
    /// What others had of the processors meanwhile, where the system says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<OtherWork>,
}

/// Times runs of a batch (`[n, c, h, w]` normalized) for about `budget`, at the engine's densities and threads:
/// a tenth of it to warm up, the rest to measure.
pub fn latency(engine: &mut Engine, images: &[f32], budget: Duration) -> Latency {
    latency_in_turn(engine, images, images.len(), budget)
}

/// As [`latency`], of pictures that take turns: `each` numbers a run, each of them at least once. One picture over and over
/// stays in the cache, and a gated network does the same work for it each time.
///
/// # Panics
/// Without a whole picture.
pub fn latency_in_turn(engine: &mut Engine, pictures: &[f32], each: usize, budget: Duration) -> Latency {
    let mut turns = pictures.chunks_exact(each).cycle();
    let mut next = || turns.next().expect("a picture");
    let start = Instant::now();
    while {
        engine.run(next());
        start.elapsed() < budget / 10
    } {}
    let least = LEAST.max(pictures.len() / each);
    let span = OtherWorkSpan::begin();
    let (start, mut runs) = (Instant::now(), Vec::new());
    while runs.len() < least || start.elapsed() < budget.mul_f64(0.9) {
        let images = next();
        let at = Instant::now();
        engine.run(images);
        runs.push(at.elapsed().as_secs_f64() * 1e3);
    }
    Latency {
        others: span.end(),
        ..quantiles(&mut runs)
    }
}

/// What runs or waits for a processor on this machine, on average over the last minute and per core (`/proc/loadavg`); none where
/// the system does not say it. This program's own work counts, too, so a fresh process on an idle machine finds little.
pub fn load_per_core() -> Option<f64> {
    per_core(&std::fs::read_to_string("/proc/loadavg").ok()?)
}

fn per_core(loadavg: &str) -> Option<f64> {
    let load: f64 = loadavg.split_whitespace().next()?.parse().ok()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Some(load / cores as f64)
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
        others: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_that_of_one_core() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
        assert_eq!(per_core("3.00 1.00 0.50 1/99 7\n"), Some(3.0 / cores));
        assert_eq!(per_core(""), None);
    }

    #[test]
    fn every_picture_has_its_turn() {
        let spec = model::zoo::build("lenet5", [1, 16, 16], 2, 0.1).expect("builds");
        let model = model::random_model(spec, 1).expect("a model");
        let mut engine = crate::compile(&model, &crate::Options::default()).expect("compiles");
        let pictures = vec![0.5; 20 * 256];
        assert_eq!(latency_in_turn(&mut engine, &pictures, 256, Duration::ZERO).n, 20);
        assert_eq!(latency(&mut engine, &pictures[..256], Duration::ZERO).n, LEAST);
    }

    #[test]
    fn quantiles_of_a_few_numbers() {
        let mut runs = [5.0, 1.0, 2.0, 4.0, 3.0, 6.0];
        assert_eq!(
            quantiles(&mut runs),
            Latency {
                median_ms: 3.5,
                p10_ms: 1.5,
                p90_ms: 5.5,
                n: 6,
                others: None
            }
        );
    }
}
