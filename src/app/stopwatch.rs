//! Times each frame of a window under load, and counts what the store holds.

use lab::RunStore;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Times of `App::ui`; of whole frames where said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FrameTimes {
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Median of whole frames: also what turns shapes into triangles and paints them, which without a graphics card is done by
    /// the processor.
    pub painted_p50_ms: f64,
    /// 99th percentile of whole frames.
    pub painted_p99_ms: f64,
    /// Frames drawn while events arrived.
    pub frames: usize,
    /// Events that had arrived in the store at the end.
    pub events: u64,
    /// Points of curves at the end.
    pub points: usize,
    /// Trials of the search at the end.
    pub trials: usize,
    /// From the making of the window to the end of its first frame.
    pub first_frame_ms: f64,
    /// Share of one core that the idle window takes, where the system says it.
    pub idle_cpu_share: Option<f64>,
    /// Resident megabytes of the program when the curves are loaded and when the load ends, where the system says it.
    pub resident_mb: Option<[f64; 2]>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Loading,
    UnderLoad,
    Idle,
    Over,
}

#[derive(Default)]
pub(crate) struct Timing {
    pub(crate) stage: Stage,
    /// Milliseconds of each frame under load.
    pub(crate) each: Vec<f64>,
    /// The same of whole frames.
    pub(crate) painted: Vec<f64>,
    pub(crate) times: FrameTimes,
}

/// Shared between the window, which is timed, and the thread that loads it.
#[derive(Clone)]
pub(crate) struct Stopwatch {
    made: Instant,
    began: Instant,
    timing: Arc<Mutex<Timing>>,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        let made = Instant::now();
        Self {
            made,
            began: made,
            timing: Arc::default(),
        }
    }

    pub(crate) fn timing(&self) -> MutexGuard<'_, Timing> {
        self.timing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame begins; the one before took so many seconds as a whole.
    pub(crate) fn start(&mut self, before: Option<f32>) {
        let mut timing = self.timing();
        if timing.stage == Stage::UnderLoad {
            timing.painted.extend(before.map(|secs| f64::from(secs) * 1e3));
        }
        drop(timing);
        self.began = Instant::now();
    }

    /// A frame ends. True when there is nothing more to time.
    pub(crate) fn stop(&mut self, store: &RunStore) -> bool {
        let millis = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
        let mut timing = self.timing();
        if timing.times.first_frame_ms == 0.0 {
            timing.times.first_frame_ms = millis(self.made);
        }
        if timing.stage == Stage::UnderLoad {
            timing.each.push(millis(self.began));
        }
        let searches = store.runs.iter().flat_map(|r| &r.searches);
        timing.times.events = store.runs.iter().map(|r| r.events).sum();
        timing.times.points = store.runs.iter().map(|r| r.steps.len()).sum();
        timing.times.trials = searches.map(|s| s.trials.len()).sum();
        timing.stage == Stage::Over
    }
}
