//! How long a frame takes while a worker talks without pause: the real window, fed through the session's own channel.
//! Knows nothing of what the window shows.

use super::{App, OpenOptions};
use crate::event::{Event, Stamped};
use crate::model::{cost, zoo};
use crate::run::device::DeviceName;
use crate::run::execute::Place;
use crate::run::{Experiment, RunStore};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time the worker sleeps between two bursts of events.
const BURST: Duration = Duration::from_millis(5);

/// Times of `App::ui`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FrameTimes {
    /// Half of all frames took less.
    pub p50_ms: f64,
    /// 99 of 100 frames took less.
    pub p99_ms: f64,
    /// Frames drawn.
    pub frames: usize,
    /// Events that had arrived in the store at the end.
    pub events: u64,
    /// From the making of the window to the end of its first frame.
    pub first_frame_ms: f64,
}

#[derive(Default)]
struct Times {
    each: Vec<f64>,
    events: u64,
    first_frame_ms: f64,
}

/// Times frames until it is over.
pub struct Stopwatch {
    made: Instant,
    until: Instant,
    began: Instant,
    times: Arc<Mutex<Times>>,
}

impl Stopwatch {
    /// A frame begins.
    pub fn start(&mut self) {
        self.began = Instant::now();
    }

    /// A frame ends. True when there is nothing more to time.
    pub fn stop(&mut self, store: &RunStore) -> bool {
        let now = Instant::now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.each.is_empty() {
            times.first_frame_ms = (now - self.made).as_secs_f64() * 1e3;
        }
        times.each.push((now - self.began).as_secs_f64() * 1e3);
        times.events = store.runs.iter().map(|r| r.events).sum();
        now >= self.until
    }
}

/// Opens the window for `seconds` while a worker says `events_per_second` steps of training, and times each frame.
///
/// # Errors
/// As [`super::open`]; the worker's thread cannot be started.
pub fn bench_frame(seconds: f64, events_per_second: f64) -> Result<FrameTimes> {
    ensure!(
        seconds > 0.0 && seconds <= 86_400.0,
        "{seconds} seconds, expected more than 0 and at most a day"
    );
    ensure!(
        events_per_second > 0.0 && events_per_second <= 1e7,
        "{events_per_second} events a second, expected more than 0 and at most ten million"
    );
    let times: Arc<Mutex<Times>> = Arc::default();
    let over = Arc::new(AtomicBool::new(false));
    let (kept, ended, made) = (times.clone(), over.clone(), Instant::now());
    let outcome = super::run(Box::new(move |ctx| {
        let place = Place {
            runs: std::env::temp_dir(),
            device: DeviceName::default(),
            threads: crate::run::folder::threads(),
        };
        let mut app = App::new(ctx, &OpenOptions { what: None, place })?;
        let steps = (seconds * events_per_second) as u64;
        let say = app.session.feed(Experiment::load("smoke", &[])?);
        let worker = std::thread::Builder::new().name("talker".into());
        worker.spawn(move || drop(talk(say, steps, events_per_second, &ended)))?;
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        app.bench = Some(Stopwatch {
            made,
            until,
            began: made,
            times: kept,
        });
        Ok(app)
    }));
    over.store(true, Ordering::Relaxed);
    outcome?;
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let mut each = times.each.clone();
    each.sort_by(f64::total_cmp);
    let at = |share: f64| {
        each.get(((each.len() as f64 * share) as usize).min(each.len().saturating_sub(1)))
            .copied()
    };
    Ok(FrameTimes {
        p50_ms: at(0.5).context("no frame was drawn")?,
        p99_ms: at(0.99).context("no frame was drawn")?,
        frames: each.len(),
        events: times.events,
        first_frame_ms: times.first_frame_ms,
    })
}

/// Says steps at an even pace, as training does.
fn talk(mut say: impl FnMut(Stamped), steps: u64, per_second: f64, over: &AtomicBool) -> Result<()> {
    let began = Instant::now();
    let spec = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.25)?;
    let dense = cost::dense(&spec)?;
    let mut seq = 0;
    let mut put = |event: Event| {
        let at = began.elapsed().as_secs_f64();
        say(Stamped { seq, at, event });
        seq += 1;
    };
    put(Event::Started {
        spec: Arc::new(spec),
        dense,
        steps,
        images: [60_000, 0, 10_000],
    });
    let mut done = 0;
    while done < steps && !over.load(Ordering::Relaxed) {
        let due = ((began.elapsed().as_secs_f64() * per_second) as u64).min(steps);
        while done < due {
            done += 1;
            let t = done as f32 / steps as f32;
            let wobble = ((done.wrapping_mul(2_654_435_761) >> 7) % 1000) as f32 / 1000.0 - 0.5;
            put(Event::Step {
                step: done,
                loss: 2.3 * (-3.0 * t).exp() + 0.2 * wobble,
                top1: (0.9 * t + 0.1 * wobble).clamp(0.0, 1.0),
                lr: 0.1 * (1.0 - t),
            });
        }
        std::thread::sleep(BURST);
    }
    Ok(())
}
