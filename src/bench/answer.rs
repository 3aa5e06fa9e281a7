//! How soon the engine answers: a dragged density, and a stop, through the session that the window uses.
//! Knows nothing of what the answers say.

use anyhow::{Result, ensure};
use lab::Workspace;
use lab::command::Command;
use lab::session::Session;
use lab::store::RunStore;
use measure::probe::{Answer, uniform};
use measure::{Pruning, Question};
use model::spec::Shift;
use model::{Density, random_model, zoo};
use record::ModelRef;
use record::experiment::Experiment;
use record::state::{RunId, RunState};
use serde::Serialize;
use std::path::{Path, PathBuf};
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
    /// From a new session, through opening the bundled model, to its accuracy over every validation image; of another network over
    /// the first ones.
    pub open_ms: f64,
    /// From a drag to the first answer to it, in the middle of refining the one before.
    pub first: Spread,
    /// The same while a network trains beside.
    pub first_in_training: Spread,
    /// From a drag of the target rate to the first answer to it.
    pub target: Spread,
    /// The same while a network trains beside.
    pub target_in_training: Spread,
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

/// Drags the density and the target `drags` times each over the bundled model, or over a network of the zoo with gates and random
/// weights, by its name and width; alone and beside a training; and stops `stops` trainings.
///
/// # Errors
/// The model cannot be opened, or an answer does not come within a minute.
pub fn bench_answer(
    workspace: Workspace,
    network: Option<(&str, f32)>,
    drags: usize,
    stops: usize,
) -> Result<AnswerTimes> {
    ensure!(
        (1..=1000).contains(&drags) && (1..=100).contains(&stops),
        "expected 1 to 1000 drags and 1 to 100 stops"
    );
    let model = match network {
        Some((arch, width)) => ModelRef::File(gated(&workspace.runs, arch, width)?),
        None => ModelRef::Bundled,
    };
    let began = Instant::now();
    let mut session = Session::new(workspace, Arc::new(|| ()))?;
    session.submit(Command::Open(model));
    let gates = wait(&mut session, "the model opens", |s| {
        s.open.as_ref().map(|open| open.header.spec.gates().len())
    })?;
    let density = |i: usize| Density::percent(20 + (i * 37 % 81) as u32);
    session.submit(Command::Ask(uniform(gates, density(0)?)));
    // Of a large network all images take minutes.
    let is_enough = |a: &&Answer| a.n > 0 && (a.n == a.of || network.is_some());
    wait(&mut session, "images are measured", |s| {
        s.answer.as_ref().filter(is_enough).map(drop)
    })?;
    let open_ms = millis(began);
    let drag = |session: &mut Session, i: usize, is_target: bool| -> Result<f64> {
        let question = match is_target {
            false => uniform(gates, density(i)?),
            true => Question {
                cut: Some(Pruning {
                    times: 1.5 + (i * 37 % 65) as f64 / 10.0,
                    ..Pruning::default()
                }),
                ..uniform(gates, Density::FULL)
            },
        };
        let asked = Instant::now();
        session.submit(Command::Ask(question.clone()));
        wait(session, "a question is answered", |s| {
            // Accuracy, not only what can be counted beforehand.
            s.answer
                .as_ref()
                .filter(|a| a.question == question && a.n > 0)
                .map(drop)
        })?;
        let took = millis(asked);
        // The next drag comes at another moment of the refining.
        std::thread::sleep(Duration::from_millis((i * 13 % 90) as u64));
        Ok(took)
    };
    let mut all = |is_target| -> Result<Vec<f64>> { (1..=drags).map(|i| drag(&mut session, i, is_target)).collect() };
    let [first, target] = [all(false)?, all(true)?];
    let (mut beside, mut target_beside, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..stops {
        session.submit(Command::Start(Box::new(Experiment::load("fbs-fashion", &[])?)));
        let id = RunId(session.store().runs.len() as u32 - 1);
        let steps = |s: &RunStore, n: usize| s.run(id).filter(|r| r.steps.len() >= n).map(drop);
        wait(&mut session, "training begins", |s| steps(s, 1))?;
        for j in 0..drags.div_ceil(stops) {
            let i = drags + i * drags + j;
            beside.push(drag(&mut session, i, false)?);
            target_beside.push(drag(&mut session, i, true)?);
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
        target: spread(target),
        target_in_training: spread(target_beside),
        stop: spread(stopped),
    })
}

/// A file with a gated network of random weights that sorts the bundled images.
fn gated(folder: &Path, arch: &str, width: f32) -> Result<PathBuf> {
    let plain = zoo::build(arch, [1, 28, 28], 10, width)?;
    let mut model = random_model(zoo::gated(&plain, Shift::Eq1), 1)?;
    model.header.data = "fashion-mnist".into();
    let file = folder.join(format!("{arch}.safetensors"));
    model.save(&file)?;
    Ok(file)
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
