//! How soon the engine answers: a dragged density, and a stop, through the session that the window uses.
//! Knows nothing of what the answers say.

use anyhow::{Result, ensure};
use lab::Workspace;
use lab::command::Command;
use lab::session::Session;
use lab::store::RunStore;
use measure::probe::uniform;
use model::Density;
use record::ModelRef;
use record::experiment::Experiment;
use record::state::{RunId, RunState};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing that is timed here may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Median and worst of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half took less.
    pub median_ms: f64,
    /// The longest.
    pub worst_ms: f64,
    /// How many were taken.
    pub n: usize,
}

/// How soon questions and stops take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AnswerTimes {
    /// From a new session, through opening the bundled model, to its accuracy over every validation image.
    pub open_ms: f64,
    /// From a drag to the first answer to it, in the middle of refining the one before.
    pub first: Spread,
    /// The same while a network trains beside.
    pub first_in_training: Spread,
    /// From a stop in the middle of a training step to the last line of its log.
    pub stop: Spread,
}

/// Memory of this process, megabytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// What it has now.
    pub now_mb: f64,
    /// The most it ever had.
    pub peak_mb: f64,
}

impl Memory {
    /// What the system says of this process; nothing where it is not Linux.
    #[must_use]
    pub fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/status").ok()?;
        let mb = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1e3)
        };
        Some(Self {
            now_mb: mb("VmRSS:")?,
            peak_mb: mb("VmHWM:")?,
        })
    }
}

/// Drags the density `drags` times over the bundled model, alone and beside a training, and stops `stops` trainings.
///
/// # Errors
/// The bundled model cannot be opened, or an answer does not come within a minute.
pub fn bench_answer(workspace: Workspace, drags: usize, stops: usize) -> Result<AnswerTimes> {
    ensure!(
        (1..=1000).contains(&drags) && (1..=100).contains(&stops),
        "expected 1 to 1000 drags and 1 to 100 stops"
    );
    let began = Instant::now();
    let mut session = Session::new(workspace, Arc::new(|| ()))?;
    session.submit(Command::Open(ModelRef::Bundled));
    let gates = wait(&mut session, "the model opens", |s| {
        s.open.as_ref().map(|open| open.header.spec.gates().len())
    })?;
    let density = |i: usize| Density::percent(20 + (i * 37 % 81) as u32);
    session.submit(Command::Ask(uniform(gates, density(0)?)));
    wait(&mut session, "every image is measured", |s| {
        s.answer.as_ref().filter(|a| a.n == a.of).map(drop)
    })?;
    let open_ms = millis(began);
    let drag = |session: &mut Session, i: usize| -> Result<f64> {
        let question = uniform(gates, density(i)?);
        let asked = Instant::now();
        session.submit(Command::Ask(question.clone()));
        wait(session, "a question is answered", |s| {
            s.answer.as_ref().filter(|a| a.question == question).map(drop)
        })?;
        let took = millis(asked);
        // The next drag comes at another moment of the refining.
        std::thread::sleep(Duration::from_millis((i * 13 % 90) as u64));
        Ok(took)
    };
    let first: Vec<f64> = (1..=drags).map(|i| drag(&mut session, i)).collect::<Result<_>>()?;
    let (mut beside, mut stopped) = (Vec::new(), Vec::new());
    for i in 0..stops {
        session.submit(Command::Start(Box::new(Experiment::load("fbs-fashion", &[])?)));
        let id = RunId(session.store().runs.len() as u32 - 1);
        let steps = |s: &RunStore, n: usize| s.run(id).filter(|r| r.steps.len() >= n).map(drop);
        wait(&mut session, "training begins", |s| steps(s, 1))?;
        for j in 0..drags.div_ceil(stops) {
            beside.push(drag(&mut session, drags + i * drags + j)?);
        }
        std::thread::sleep(Duration::from_millis((i * 29 % 200) as u64));
        let asked = Instant::now();
        session.submit(Command::Stop(id));
        wait(&mut session, "a run stops", |s| {
            s.run(id).filter(|r| !r.is_live()).map(drop)
        })?;
        stopped.push(millis(asked));
        let ended: Option<&RunState> = session.store().run(id);
        ensure!(
            ended.is_some_and(|r| r.ending.is_some()),
            "a stopped run says how it ended"
        );
    }
    Ok(AnswerTimes {
        open_ms,
        first: spread(first),
        first_in_training: spread(beside),
        stop: spread(stopped),
    })
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_by(f64::total_cmp);
    Spread {
        median_ms: times.get(times.len() / 2).copied().unwrap_or_default(),
        worst_ms: times.last().copied().unwrap_or_default(),
        n: times.len(),
    }
}

/// Pumps as a window does until the store has it.
fn wait<T>(session: &mut Session, what: &str, mut has: impl FnMut(&RunStore) -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        session.pump(Duration::from_millis(4));
        if let Some(found) = has(session.store()) {
            return Ok(found);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "waited {} s until {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}
