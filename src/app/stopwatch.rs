//! Times each frame of a window under load, and counts what the store holds.

use lab::RunStore;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub(crate) const LOADING: u8 = 0;
pub(crate) const TALKING: u8 = 1;
pub(crate) const RESTING: u8 = 2;
pub(crate) const OVER: u8 = 3;

/// What was timed and counted.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) each: Vec<f64>,
    pub(crate) events: u64,
    pub(crate) points: usize,
    pub(crate) trials: usize,
    pub(crate) first_frame_ms: Option<f64>,
    pub(crate) idle_cpu_share: Option<f64>,
    pub(crate) resident_mb: Option<[f64; 2]>,
}

/// Times frames until it is over.
pub(crate) struct Stopwatch {
    pub(crate) made: Instant,
    pub(crate) began: Instant,
    pub(crate) stage: Arc<AtomicU8>,
    pub(crate) times: Arc<Mutex<Times>>,
}

impl Stopwatch {
    pub(crate) fn start(&mut self) {
        self.began = Instant::now();
    }

    /// A frame ends. True when there is nothing more to time.
    pub(crate) fn stop(&mut self, store: &RunStore) -> bool {
        let now = Instant::now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times
            .first_frame_ms
            .get_or_insert((now - self.made).as_secs_f64() * 1e3);
        let stage = self.stage.load(Ordering::Relaxed);
        if stage == TALKING {
            times.each.push((now - self.began).as_secs_f64() * 1e3);
        }
        times.events = store.runs.iter().map(|r| r.events).sum();
        times.points = store.runs.iter().map(|r| r.steps.len()).sum();
        times.trials = store
            .runs
            .iter()
            .flat_map(|r| &r.searches)
            .map(|s| s.trials.len())
            .sum();
        stage == OVER
    }
}
