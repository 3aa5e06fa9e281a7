//! All that is known of runs and of the open model: the fold of events and answers. No clock, no files, no egui.

use crate::jobs::{JobResult, ModelJob};
use event::{Event, Stamped, Steer};
use infer::LayerLatency;
use measure::Question;
use measure::images::{ImageDetail, Thumbnails};
use measure::probe::{Answer, OpenModel};
use model::Density;
use record::farm_status::FarmStatus;
use record::{Experiment, ModelRef, RunId, RunState, RunSummary, Status};
use serde::Serialize;
use std::sync::Arc;
use train::OracleShare;

/// An answer over all images, kept beside others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredModel {
    /// The model it is about.
    pub model: Arc<OpenModel>,
    /// What was measured.
    pub answer: Answer,
}

/// What the model said of all images at a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What was asked.
    pub question: Question,
    /// The class of each image, in order.
    pub said: Arc<[u16]>,
}

/// Everything a front may show.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunStore {
    /// Runs of this session, oldest first.
    pub runs: Vec<RunState>,
    /// What a run really is, while it is shown as it was.
    #[serde(skip)]
    pub present: Option<RunState>,
    /// All run folders that are known, newest first, whether they are open in this session or not.
    #[serde(skip)]
    pub folders: Arc<[RunSummary]>,
    /// Farms that work on runs beside them.
    #[serde(skip)]
    pub farms: Vec<FarmStatus>,
    /// The model that questions are about.
    pub open: Option<Arc<OpenModel>>,
    /// The newest answer about it.
    pub answer: Option<Answer>,
    /// What the model said of all images before the newest question.
    #[serde(skip)]
    pub before: Option<Heard>,
    /// What it said of all images last.
    #[serde(skip)]
    pub heard: Option<Heard>,
    /// Where its images come from, once they are read.
    pub images_from: Option<String>,
    /// Why it has no images, if so.
    pub no_images: Option<String>,
    /// Why the newest question about the open model has no answer, if it never will.
    pub no_answer: Option<String>,
    /// Thumbnails of its validation images, once they are read.
    #[serde(skip)]
    pub strip: Option<Arc<Thumbnails>>,
    /// The image that was looked at last.
    pub look: Option<ImageDetail>,
    /// What was measured to the end or in passing in this session, of whichever model; at most [`RunStore::MEASURED`], oldest first.
    pub measured: Vec<MeasuredModel>,
    /// What went wrong outside runs, oldest first; at most [`RunStore::NOTICES`].
    pub notices: Vec<String>,
    /// All notices ever, so that a front can tell which are new.
    pub notices_total: u64,
    /// What was asked of searches in this session and they have neither followed nor refused yet, oldest first.
    #[serde(skip)]
    pub orders: Vec<(RunId, Steer)>,
    /// Jobs that are being done.
    #[serde(skip)]
    pub working: Vec<ModelJob>,
    /// Jobs that are over, oldest first.
    #[serde(skip)]
    pub done: Vec<JobResult>,
}

impl RunStore {
    pub(crate) const NOTICES: usize = 200;
    pub(crate) const MEASURED: usize = 200;

    /// A run by number.
    pub fn run(&self, id: RunId) -> Option<&RunState> {
        self.runs.iter().find(|r| r.id == id)
    }

    pub(crate) fn add(&mut self, experiment: Experiment) -> RunId {
        let id = RunId(self.runs.len() as u32);
        self.runs.push(RunState::new(id, Arc::new(experiment)));
        id
    }

    pub(crate) fn run_mut(&mut self, id: RunId) -> Option<&mut RunState> {
        self.runs.iter_mut().find(|r| r.id == id)
    }

    /// Shows a run as it was, in its place. What it is now is kept.
    pub fn look_back(&mut self, mut past: RunState) {
        if self.present.as_ref().is_some_and(|p| p.id != past.id) {
            self.come_back();
        }
        if let Some(shown) = self.runs.iter_mut().find(|r| r.id == past.id && r.has_past()) {
            past.status = Status::Past;
            let before = std::mem::replace(shown, past);
            self.present.get_or_insert(before);
        }
    }

    /// Shows every run as it is.
    pub fn come_back(&mut self) {
        let Some(present) = self.present.take() else { return };
        if let Some(shown) = self.run_mut(present.id) {
            *shown = present;
        }
    }

    /// The run that works or is held, if any.
    pub fn current(&self) -> Option<&RunState> {
        self.runs.iter().find(|r| r.is_live())
    }

    /// Runs that wait for another to end.
    pub fn waiting(&self) -> usize {
        self.runs.iter().filter(|r| r.status == Status::Queued).count()
    }

    /// Folds one event of a run in.
    pub fn apply(&mut self, id: RunId, stamped: &Stamped) {
        if let Some(run) = self.run_mut(id) {
            run.apply(stamped);
        }
        match &stamped.event {
            Event::Steered(done) | Event::Refused { steer: done, .. } => {
                if let Some(at) = self.orders.iter().position(|(of, order)| *of == id && order == done) {
                    self.orders.remove(at);
                }
            }
            Event::Ended(_) => self.orders.retain(|(of, _)| *of != id),
            _ => {}
        }
    }

    /// Something was asked of a run's search, which follows it before its next trial.
    pub fn ordered(&mut self, id: RunId, steer: Steer) {
        self.orders.push((id, steer));
    }

    /// Another model is open.
    pub fn opened(&mut self, model: Arc<OpenModel>) {
        self.open = Some(model);
        (self.answer, self.no_answer) = (None, None);
        (self.before, self.heard) = (None, None);
        (self.images_from, self.no_images) = (None, None);
        self.strip = None;
        self.look = None;
    }

    /// The open model's images were read.
    pub fn take_images(&mut self, strip: Arc<Thumbnails>, source: String) {
        self.strip = Some(strip);
        (self.images_from, self.no_images) = (Some(source), None);
        (self.answer, self.look) = (None, None);
        (self.before, self.heard) = (None, None);
        if let Some(open) = &self.open {
            // What was measured was measured on others.
            self.measured.retain(|m| m.model.from != open.from);
        }
    }

    /// The open model's images cannot be had. Those it has, it keeps.
    pub fn lack_images(&mut self, why: String) {
        self.no_images = Some(why);
    }

    /// Takes an answer about the open model. A complete one is kept; a newer one to the same question takes its place.
    pub fn answered(&mut self, answer: Answer) {
        let is_new = self.answer.as_ref().is_none_or(|a| a.question != answer.question);
        if is_new && self.heard.as_ref().is_some_and(|h| h.question != answer.question) {
            self.before = self.heard.clone();
        }
        if answer.is_complete() {
            self.heard = Some(Heard {
                question: answer.question.clone(),
                said: answer.said.clone(),
            });
            self.passed(answer.clone());
        }
        (self.answer, self.no_answer) = (Some(answer), None);
    }

    /// The open model could not be measured.
    pub fn lack_answer(&mut self, why: String) {
        match self.open {
            Some(_) => self.notice(format!("not measured: {why}")),
            None => self.notice(why.clone()),
        }
        self.no_answer = Some(why);
    }

    /// Keeps what was measured of the open model beside the newest answer.
    pub fn passed(&mut self, answer: Answer) {
        if let Some(model) = self.open.clone() {
            let same = self
                .measured
                .iter()
                .find(|m| m.model.from == model.from && m.answer.question == answer.question);
            // What rests on more images stays.
            if same.is_some_and(|m| m.answer.n > answer.n) {
                return;
            }
            self.measured
                .retain(|m| m.model.from != model.from || m.answer.question != answer.question);
            if self.measured.len() == Self::MEASURED {
                self.measured.remove(0);
            }
            // Of older answers no more is known image by image than what was said, to compare others with.
            let answer = Answer {
                seen: Arc::default(),
                classes: Arc::default(),
                ..answer
            };
            self.measured.push(MeasuredModel { model, answer });
        }
    }

    /// A job is over.
    pub fn done(&mut self, done: JobResult) {
        if let Some(at) = self.working.iter().position(|j| *j == done.job) {
            self.working.remove(at);
        }
        self.done.push(done);
    }

    /// The newest times of a model's layers.
    pub fn times(&self, of: &ModelRef) -> Option<&Arc<[LayerLatency]>> {
        let mine = self.done.iter().rev().filter(|d| d.job == ModelJob::Time(of.clone()));
        mine.filter_map(|d| d.times.as_ref()).next()
    }

    /// How well a model's gates choose at a density, as compared last.
    pub fn oracle(&self, of: &ModelRef, at: Density) -> Option<&Arc<[OracleShare]>> {
        let is_it =
            |job: &ModelJob| matches!(job, ModelJob::Oracle { from, density, .. } if from == of && *density == at);
        self.done
            .iter()
            .rev()
            .filter(|d| is_it(&d.job))
            .find_map(|d| d.oracle.as_ref())
    }

    /// Norm scales of a run's models, oldest first.
    pub fn scales(&self, of: RunId) -> impl DoubleEndedIterator<Item = &Arc<[f32]>> {
        let is_it = move |job: &ModelJob| matches!(job, ModelJob::Scales { run, .. } if *run == of);
        self.done
            .iter()
            .filter(move |d| is_it(&d.job))
            .filter_map(|d| d.scales.as_ref())
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
