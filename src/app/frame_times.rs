//! How long a frame takes while events arrive without pause: the real window, fed through the session's own channel.
//! A million points of curves are loaded first; then a training and a search report; then nothing does, and the idle window is
//! watched.
//! Knows nothing of what the window shows.

use super::layout::{self, LayoutName};
use super::open::run;
use super::panel_name::PanelName;
use super::stopwatch::{FrameTimes, Stage, Stopwatch};
use super::window::{App, OpenOptions};
use anyhow::{Context, Result, ensure};
use bench::answer::Memory;
use event::{Dimension, Event, SearchStart, Site, Stamped, Trial, Unit, Verdict};
use lab::Workspace;
use model::{NetSpec, cost};
use record::Experiment;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use train::device::DeviceName;

/// Pause between two bursts of events.
const BURST: Duration = Duration::from_millis(5);
/// Points of the curve that is loaded before frames are timed.
const LOADED: u64 = 1_000_000;
/// One trial comes with so many steps.
const STEPS_A_TRIAL: u64 = 100;
/// How long the idle window is left alone, and how long before that for the last frames.
const IDLE: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(2);

/// What the window draws while its frames are timed.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameLoad {
    /// The network whose search is followed, by its name in the zoo.
    pub arch: String,
    /// Its input: channels, height, width.
    pub input: [usize; 3],
    /// Its width.
    pub width: f32,
    /// How long workers report.
    pub seconds: f64,
    /// How much they report.
    pub events_per_second: f64,
}

/// Opens the window on a million points, lets workers report, and times each frame; then watches it idle.
///
/// # Errors
/// As [`super::open()`]; a thread cannot be spawned; an unknown network.
pub fn bench_frame(load: &FrameLoad) -> Result<FrameTimes> {
    let (seconds, events_per_second) = (load.seconds, load.events_per_second);
    let spec = bench::network(&load.arch, load.input, 10, load.width)?;
    ensure!(
        seconds > 0.0 && seconds <= 86_400.0,
        "{seconds} seconds, expected more than 0 and at most a day"
    );
    ensure!(
        events_per_second > 0.0 && events_per_second <= 1e7,
        "{events_per_second} events a second, expected more than 0 and at most ten million"
    );
    let stopwatch = Stopwatch::new();
    let closed = Arc::new(AtomicBool::new(false));
    let (watch, is_closed) = (stopwatch.clone(), closed.clone());
    let outcome = run(move |ctx| {
        let workspace = Workspace {
            runs: std::env::temp_dir(),
            device: DeviceName::default(),
            threads: record::folder::threads(),
            farm: None,
        };
        let mut app = App::new(ctx, &OpenOptions { what: None, workspace })?;
        app.state.layouts.go(LayoutName::Watch);
        layout::show(&mut app.state.layouts.tree, PanelName::Training);
        let experiment = Experiment::load("smoke", &[])?;
        let training = app.session.feed(experiment.clone());
        let search = app.session.feed(experiment);
        let load = Load {
            emit: [Box::new(training), Box::new(search)],
            seq: [0; 2],
            best: 0.0,
            n_sites: 0,
            began: Instant::now(),
            closed: is_closed,
        };
        app.stopwatch = Some(watch.clone());
        let ctx = ctx.clone();
        let worker = std::thread::Builder::new().name("frame load".into());
        worker.spawn(move || drop(load_and_time(load, &spec, seconds, events_per_second, &watch, &ctx)))?;
        Ok(app)
    });
    closed.store(true, Ordering::Relaxed);
    outcome?;
    let timing = stopwatch.timing();
    let [each, painted] = [&timing.each, &timing.painted].map(|times| {
        let mut times = times.clone();
        times.sort_by(f64::total_cmp);
        times
    });
    let at = |times: &[f64], share: f64| {
        let frame = (times.len() as f64 * share) as usize;
        let found = times.get(frame.min(times.len().saturating_sub(1))).copied();
        found.context("no frame was drawn")
    };
    Ok(FrameTimes {
        p50_ms: at(&each, 0.5)?,
        p99_ms: at(&each, 0.99)?,
        painted_p50_ms: at(&painted, 0.5)?,
        painted_p99_ms: at(&painted, 0.99)?,
        frames: each.len(),
        ..timing.times
    })
}

/// What is timed, in order.
fn load_and_time(
    mut load: Load,
    spec: &NetSpec,
    seconds: f64,
    per_second: f64,
    stopwatch: &Stopwatch,
    wake: &egui::Context,
) -> Result<()> {
    let planned = LOADED + (seconds * per_second) as u64;
    load.begin(spec, planned)?;
    for step in 1..=LOADED {
        load.step(step, planned);
    }
    stopwatch.timing().stage = Stage::UnderLoad;
    let before = Memory::read();
    load.run(seconds, per_second, planned);
    let after = Memory::read();
    stopwatch.timing().stage = Stage::Idle;
    std::thread::sleep(SETTLE);
    let cpu = cpu_secs();
    std::thread::sleep(IDLE);
    let share = cpu.zip(cpu_secs()).map(|(a, b)| (b - a) / IDLE.as_secs_f64());
    let mut timing = stopwatch.timing();
    timing.times.idle_cpu_share = share;
    timing.times.resident_mb = before.zip(after).map(|(a, b)| [a.now_mb, b.now_mb]);
    timing.stage = Stage::Over;
    wake.request_repaint();
    Ok(())
}

/// Emits the events of a training and of a search.
struct Load {
    emit: [Box<dyn FnMut(Stamped) + Send>; 2],
    seq: [u64; 2],
    best: f32,
    n_sites: usize,
    began: Instant,
    closed: Arc<AtomicBool>,
}

impl Load {
    fn emit(&mut self, run: usize, event: Event) {
        let at = self.began.elapsed().as_secs_f64();
        let seq = self.seq[run];
        self.seq[run] += 1;
        (self.emit[run])(Stamped { seq, at, event });
    }

    fn begin(&mut self, spec: &NetSpec, steps: u64) -> Result<()> {
        let (whole, dense) = (Arc::new(spec.clone()), cost::dense(spec)?);
        for run in 0..2 {
            let spec = whole.clone();
            let images = [60_000, 5000, 10_000];
            self.emit(
                run,
                Event::Started {
                    spec,
                    dense,
                    steps,
                    images,
                    agreement: false,
                },
            );
        }
        let site = |&conv: &usize| Site {
            name: spec.nodes[conv].name.clone(),
            dimension: Dimension::Filter,
            size: 1e6,
            choices: 64,
            step: 1,
            tied: Vec::new(),
        };
        self.n_sites = spec.convs().len();
        let search = SearchStart {
            held: Vec::new(),
            name: "round 1".into(),
            sites: spec.convs().iter().map(site).collect(),
            unit: Unit::Macs,
            budget: 4e6,
            whole: 8e6,
            trials: 1_000_000,
            images: 1000,
        };
        self.emit(1, Event::Search(Arc::new(search)));
        Ok(())
    }

    fn step(&mut self, step: u64, of: u64) {
        let t = step as f32 / of as f32;
        let wobble = wobble(step);
        let event = Event::Step {
            step,
            loss: 2.3 * (-3.0 * t).exp() + 0.2 * wobble,
            top1: (0.9 * t + 0.1 * wobble).clamp(0.0, 1.0),
            lr: 0.1 * (1.0 - t),
        };
        self.emit(0, event);
    }

    fn trial(&mut self, number: u64) {
        let densities: Vec<f32> = (0..self.n_sites as u64)
            .map(|i| 0.5 + 0.4 * wobble(number * 8 + i))
            .collect();
        let top1 = 0.9 + 0.05 * wobble(number);
        let verdict = match number % 7 {
            _ if top1 > self.best => Verdict::Best,
            1 | 2 => Verdict::Accepted,
            _ => Verdict::Rejected,
        };
        self.best = self.best.max(top1);
        let trial = Trial {
            number,
            densities: densities.into(),
            spent: 4e6,
            macs: 4_000_000,
            params: 100_000,
            top1,
            reward: top1,
            temperature: 0.01,
            acceptance: 0.3,
            verdict,
        };
        self.emit(1, Event::Trial(trial));
    }

    fn run(&mut self, seconds: f64, per_second: f64, planned: u64) {
        let (began, steps) = (Instant::now(), (seconds * per_second) as u64);
        let mut done = 0;
        while done < steps && !self.closed.load(Ordering::Relaxed) {
            let due = ((began.elapsed().as_secs_f64() * per_second) as u64).min(steps);
            while done < due {
                done += 1;
                if done.is_multiple_of(STEPS_A_TRIAL) {
                    self.trial(done / STEPS_A_TRIAL - 1);
                } else {
                    self.step(LOADED + done, planned);
                }
            }
            std::thread::sleep(BURST);
        }
    }
}

/// A number from −0.5 to 0.5 that looks random.
fn wobble(i: u64) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 7) % 1000) as f32 / 1000.0 - 0.5
}

/// Processor time this program has had.
fn cpu_secs() -> Option<f64> {
    // Ticks of a hundredth of a second, as Linux counts them for everybody.
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}
