//! All that is known of runs and of the open model: the fold of events and answers. No clock, no files, no egui.

use crate::jobs::{JobResult, ModelJob};
use event::Stamped;
use infer::LayerLatency;
use measure::images::{ImageDetail, Thumbnails};
use measure::probe::{Answer, OpenModel};
use record::{Experiment, ModelRef, RunId, RunState, RunSummary, Status};
use serde::Serialize;
use std::sync::Arc;

/// An answer over all images, kept beside others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredModel {
    /// The model it is about.
    pub model: Arc<OpenModel>,
    /// What was measured.
    pub answer: Answer,
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
    /// The model that questions are about.
    pub open: Option<Arc<OpenModel>>,
    /// The newest answer about it.
    pub answer: Option<Answer>,
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
    }

    /// Another model is open.
    pub fn opened(&mut self, model: Arc<OpenModel>) {
        self.open = Some(model);
        (self.answer, self.no_answer) = (None, None);
        (self.images_from, self.no_images) = (None, None);
        self.strip = None;
        self.look = None;
    }

    /// The open model's images were read.
    pub fn take_images(&mut self, strip: Arc<Thumbnails>, source: String) {
        self.strip = Some(strip);
        (self.images_from, self.no_images) = (Some(source), None);
        (self.answer, self.look) = (None, None);
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
        if answer.is_complete() {
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
            self.measured
                .retain(|m| m.model.from != model.from || m.answer.question != answer.question);
            if self.measured.len() == Self::MEASURED {
                self.measured.remove(0);
            }
            // What is known image by image is of the newest answer alone.
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

    /// Adds a notice.
    pub fn notice(&mut self, text: String) {
        self.notices.push(text);
        self.notices_total += 1;
        if self.notices.len() > Self::NOTICES {
            self.notices.remove(0);
        }
    }
}
