//! All that is known of runs and of the open model: the fold of what was said. No clock, no files, no egui.
//! Replaying a run's log gives the same state.

use super::experiment::Experiment;
use super::probe::{Answer, OpenModel};
use crate::data::Split;
use crate::event::{Ending, Event, LayerState, Outcome, Stamped};
use crate::model::{Cost, Density, NetSpec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A run's number in this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId(pub u32);

/// Where a run stands. Commands move it; its end comes with the last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Status {
    /// Waits for another run to end.
    #[default]
    Queued,
    /// Works.
    Running,
    /// Held.
    Paused,
    /// Asked to stop; ends at its next check.
    Stopping,
    /// Over; see [`RunState::ending`].
    Ended,
}

/// A point of the training curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepPoint {
    /// Steps done.
    pub step: u64,
    /// Seconds since the run began.
    pub at: f64,
    /// Mean loss since the last point.
    pub loss: f32,
    /// Share of training images classified right since the last point.
    pub top1: f32,
    /// Learning rate.
    pub lr: f32,
}

/// A measurement over a split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EpochPoint {
    /// Epochs done.
    pub epoch: u32,
    /// Steps done.
    pub step: u64,
    /// Measured on.
    pub split: Split,
    /// Density of every gate.
    pub density: Density,
    /// Mean cross-entropy.
    pub loss: f32,
    /// Share classified right.
    pub top1: f32,
    /// MACs an image.
    pub macs: u64,
    /// Images measured.
    pub n: usize,
}

/// One run, folded from its events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunState {
    /// Its number.
    pub id: RunId,
    /// What it does.
    pub experiment: Arc<Experiment>,
    /// Where it stands.
    pub status: Status,
    /// The network, once it stands.
    pub spec: Option<Arc<NetSpec>>,
    /// Its cost with nothing masked.
    pub dense: Option<Cost>,
    /// Training steps planned.
    pub steps_planned: u64,
    /// What is being done.
    pub phase: String,
    /// Training curve.
    pub steps: Vec<StepPoint>,
    /// Measurements.
    pub epochs: Vec<EpochPoint>,
    /// Layers as last said.
    pub layers: Arc<[LayerState]>,
    /// What went wrong and did not end the run.
    pub warnings: Vec<String>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Seconds since it began, at the last event.
    pub elapsed_secs: f64,
    /// Events folded.
    pub events: u64,
}

impl RunState {
    /// A run of which nothing was said yet.
    pub fn new(id: RunId, experiment: Arc<Experiment>) -> Self {
        Self {
            id,
            experiment,
            status: Status::Queued,
            spec: None,
            dense: None,
            steps_planned: 0,
            phase: String::new(),
            steps: Vec::new(),
            epochs: Vec::new(),
            layers: Arc::default(),
            warnings: Vec::new(),
            ending: None,
            elapsed_secs: 0.0,
            events: 0,
        }
    }

    /// Folds one event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.events += 1;
        self.elapsed_secs = stamped.at;
        if self.status == Status::Queued {
            self.status = Status::Running;
        }
        match &stamped.event {
            Event::Started { spec, dense, steps, .. } => {
                self.spec = Some(spec.clone());
                self.dense = Some(*dense);
                self.steps_planned = *steps;
            }
            Event::Phase { name, .. } => self.phase.clone_from(name),
            &Event::Step { step, loss, top1, lr } => self.steps.push(StepPoint {
                step,
                at: stamped.at,
                loss,
                top1,
                lr,
            }),
            &Event::Epoch {
                epoch,
                split,
                density,
                loss,
                top1,
                macs,
                n,
            } => {
                let step = self.steps.last().map_or(0, |s| s.step);
                self.epochs.push(EpochPoint {
                    epoch,
                    step,
                    split,
                    density,
                    loss,
                    top1,
                    macs,
                    n,
                });
            }
            Event::Layers { layers } => self.layers = layers.clone(),
            Event::Kept { .. }
            | Event::Search(_)
            | Event::Trial(_)
            | Event::Residuals { .. }
            | Event::Steered(_)
            | Event::Resumed { .. } => {}
            Event::Warning { text } => self.warnings.push(text.clone()),
            Event::Ended(ending) => {
                self.ending = Some(ending.clone());
                self.status = Status::Ended;
            }
        }
    }

    /// Share of the planned steps that is done, 0 to 1.
    pub fn progress(&self) -> f32 {
        match (self.steps.last(), self.ending.as_ref()) {
            (
                _,
                Some(Ending {
                    outcome: Outcome::Finished,
                    ..
                }),
            ) => 1.0,
            (Some(last), _) => last.step as f32 / self.steps_planned.max(1) as f32,
            (None, _) => 0.0,
        }
    }

    /// Seconds that the planned steps will still take, at the pace so far.
    pub fn left_secs(&self) -> Option<f64> {
        let (first, last) = (self.steps.first()?, self.steps.last()?);
        let done = last.step.checked_sub(first.step).filter(|&d| d > 0)?;
        Some((last.at - first.at) / done as f64 * self.steps_planned.saturating_sub(last.step) as f64)
    }
}

/// Everything a front may show.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunStore {
    /// Runs of this session, oldest first.
    pub runs: Vec<RunState>,
    /// The model that questions are about.
    pub open: Option<Arc<OpenModel>>,
    /// The newest answer about it.
    pub answer: Option<Answer>,
    /// What went wrong outside runs, oldest first; at most [`RunStore::NOTICES`].
    pub notices: Vec<String>,
    /// All notices ever, so that a front can tell which are new.
    pub notices_total: u64,
}

impl RunStore {
    /// Notices kept.
    pub const NOTICES: usize = 200;

    /// A run by number.
    pub fn run(&self, id: RunId) -> Option<&RunState> {
        self.runs.iter().find(|r| r.id == id)
    }

    /// The run that works or is held, if any.
    pub fn current(&self) -> Option<&RunState> {
        self.runs
            .iter()
            .find(|r| matches!(r.status, Status::Running | Status::Paused | Status::Stopping))
    }

    /// Folds one event of a run in.
    pub fn apply(&mut self, id: RunId, stamped: &Stamped) {
        if let Some(run) = self.runs.iter_mut().find(|r| r.id == id) {
            run.apply(stamped);
        }
    }

    /// Adds a notice.
    pub fn notice(&mut self, text: String) {
        self.notices.push(text);
        self.notices_total += 1;
        if self.notices.len() > Self::NOTICES {
            self.notices.remove(0);
        }
    }
}
