//! How long a frame takes while workers talk without pause: the real window, fed through the session's own channel.
//! A million points of curves are loaded first; then a training and a search talk; then nobody does, and the idle window is watched.
//! Knows nothing of what the window shows.

use super::layout::{self, LayoutName};
use super::open::run;
use super::panel_name::PanelName;
use super::stopwatch::{LOADING, OVER, RESTING, Stopwatch, TALKING, Times};
use super::window::{App, OpenOptions};
use anyhow::{Context, Result, ensure};
use bench::answer::Memory;
use event::{Dimension, Event, SearchStart, Site, Stamped, Trial, Unit, Verdict};
use lab::execute::Workspace;
use model::{NetSpec, cost, zoo};
use record::Experiment;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use train::device::DeviceName;

/// Time a worker sleeps between two bursts of events.
const BURST: Duration = Duration::from_millis(5);
/// Points of the curve that is loaded before frames are timed.
const LOADED: u64 = 1_000_000;
/// A trial comes with so many steps.
const STEPS_A_TRIAL: u64 = 100;
/// How long the idle window is left alone, and how long before that for the last frames.
const IDLE: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(2);

/// Times of `App::ui`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FrameTimes {
    /// Half of all frames took less.
    pub p50_ms: f64,
    /// 99 of 100 frames took less.
    pub p99_ms: f64,
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
    /// Megabytes that the program holds once the curves are loaded, and at the end of the talk, where the system says it.
    pub resident_mb: Option<[f64; 2]>,
}

/// Opens the window on a million points, lets workers talk for `seconds`, and times each frame; then watches it idle.
///
/// # Errors
/// As [`super::open()`]; the worker's thread cannot be started.
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
    let (stage, closed) = (Arc::new(AtomicU8::new(LOADING)), Arc::new(AtomicBool::new(false)));
    let (kept, over, made) = (times.clone(), closed.clone(), Instant::now());
    let outcome = run(move |ctx| {
        let workspace = Workspace {
            runs: std::env::temp_dir(),
            device: DeviceName::default(),
            threads: record::folder::threads(),
        };
        let mut app = App::new(ctx, &OpenOptions { what: None, workspace })?;
        app.state.layouts.go(LayoutName::Watch);
        layout::show(&mut app.state.layouts.tree, PanelName::Training);
        let experiment = Experiment::load("smoke", &[])?;
        let training = app.session.feed(experiment.clone());
        let search = app.session.feed(experiment);
        let talker = Talker {
            says: [Box::new(training), Box::new(search)],
            seq: [0; 2],
            best: 0.0,
            began: Instant::now(),
            closed: over,
        };
        let bench = FrameBench {
            seconds,
            per_second: events_per_second,
            stage: stage.clone(),
            times: kept.clone(),
            wake: ctx.clone(),
        };
        let worker = std::thread::Builder::new().name("talker".into());
        worker.spawn(move || drop(bench.run(talker)))?;
        app.stopwatch = Some(Stopwatch {
            made,
            began: made,
            stage,
            times: kept,
        });
        Ok(app)
    });
    closed.store(true, Ordering::Relaxed);
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
        points: times.points,
        trials: times.trials,
        first_frame_ms: times.first_frame_ms.unwrap_or(0.0),
        idle_cpu_share: times.idle_cpu_share,
        resident_mb: times.resident_mb,
    })
}

/// What is timed, in order.
struct FrameBench {
    seconds: f64,
    per_second: f64,
    stage: Arc<AtomicU8>,
    times: Arc<Mutex<Times>>,
    wake: egui::Context,
}

impl FrameBench {
    fn run(&self, mut talker: Talker) -> Result<()> {
        let spec = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.25)?;
        let planned = LOADED + (self.seconds * self.per_second) as u64;
        talker.begin(&spec, planned)?;
        for step in 1..=LOADED {
            talker.step(step, planned);
        }
        self.stage.store(TALKING, Ordering::Relaxed);
        let before = Memory::read();
        let done = talker.talk(self.seconds, self.per_second, planned);
        let after = Memory::read();
        self.stage.store(RESTING, Ordering::Relaxed);
        std::thread::sleep(SETTLE);
        let cpu = cpu_secs();
        std::thread::sleep(IDLE);
        let share = cpu.zip(cpu_secs()).map(|(a, b)| (b - a) / IDLE.as_secs_f64());
        {
            let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            times.idle_cpu_share = share;
            times.resident_mb = before.zip(after).map(|(a, b)| [a.now_mb, b.now_mb]);
        }
        self.stage.store(OVER, Ordering::Relaxed);
        self.wake.request_repaint();
        done
    }
}

/// Says what a training and a search would.
struct Talker {
    says: [Box<dyn FnMut(Stamped) + Send>; 2],
    seq: [u64; 2],
    best: f32,
    began: Instant,
    closed: Arc<AtomicBool>,
}

impl Talker {
    fn say(&mut self, run: usize, event: Event) {
        let at = self.began.elapsed().as_secs_f64();
        let seq = self.seq[run];
        self.seq[run] += 1;
        (self.says[run])(Stamped { seq, at, event });
    }

    fn begin(&mut self, spec: &NetSpec, steps: u64) -> Result<()> {
        let (whole, dense) = (Arc::new(spec.clone()), cost::dense(spec)?);
        for run in 0..2 {
            let spec = whole.clone();
            let images = [60_000, 5000, 10_000];
            self.say(
                run,
                Event::Started {
                    spec,
                    dense,
                    steps,
                    images,
                },
            );
        }
        let site = |&conv: &usize| Site {
            name: spec.nodes[conv].name.clone(),
            dimension: Dimension::Filter,
            size: 1e6,
            choices: 64,
            tied: Vec::new(),
        };
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
        self.say(1, Event::Search(Arc::new(search)));
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
        self.say(0, event);
    }

    fn trial(&mut self, number: u64) {
        let densities: Vec<f32> = (0..8).map(|i| 0.5 + 0.4 * wobble(number * 8 + i)).collect();
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
        self.say(1, Event::Trial(trial));
    }

    /// At an even pace, as work does.
    fn talk(&mut self, seconds: f64, per_second: f64, planned: u64) -> Result<()> {
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
        Ok(())
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
