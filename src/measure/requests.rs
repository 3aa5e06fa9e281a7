//! What the probe is asked, the newest of each kind: a newer question replaces one that waits, and so does a newer model or image.
//! Asking never blocks, and the newest request is never lost.

use crate::Question;
use crate::images::ImageRef;
use record::ModelRef;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One thing the probe is asked.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Open(ModelRef),
    /// Measure the open model on these images.
    Images(String),
    Ask(Question),
    Look(ImageRef),
}

/// Requests that wait for the probe, at most one of each kind.
#[derive(Debug, Default)]
pub struct Requests {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    model: Option<ModelRef>,
    images: Option<String>,
    question: Option<Question>,
    image: Option<ImageRef>,
    is_closed: bool,
}

impl Waiting {
    fn has_newer(&self) -> bool {
        self.is_closed || self.model.is_some() || self.images.is_some() || self.question.is_some()
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Open this model. What was asked about the one before is forgotten.
    pub fn open(&self, model: ModelRef) {
        self.change(|waiting| {
            *waiting = Waiting {
                model: Some(model),
                is_closed: waiting.is_closed,
                ..Waiting::default()
            };
        });
    }

    /// Measure the open model on the images of this source, and ask again what was asked.
    pub fn use_images(&self, source: String, question: Question) {
        self.change(|waiting| {
            waiting.images = Some(source);
            waiting.question.get_or_insert(question);
        });
    }

    /// Measure this.
    pub fn ask(&self, question: Question) {
        self.change(|waiting| waiting.question = Some(question));
    }

    /// Look at this, at the newest question's densities.
    pub fn look(&self, image: ImageRef) {
        self.change(|waiting| waiting.image = Some(image));
    }

    /// Nothing more will be asked.
    pub fn close(&self) {
        self.change(|waiting| waiting.is_closed = true);
    }

    /// Waits for the next request: a model before its images before a question before an image. None when closed.
    pub(crate) fn next(&self) -> Option<Request> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            let next = (waiting.model.take().map(Request::Open))
                .or_else(|| waiting.images.take().map(Request::Images))
                .or_else(|| waiting.question.take().map(Request::Ask))
                .or_else(|| waiting.image.take().map(Request::Look));
            if next.is_some() {
                return next;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the model or its images are no longer wanted.
    pub(crate) fn has_other_images(&self) -> bool {
        let waiting = self.lock();
        waiting.is_closed || waiting.model.is_some() || waiting.images.is_some()
    }

    /// Whether an answer under way is no longer wanted.
    pub(crate) fn has_newer(&self) -> bool {
        self.lock().has_newer()
    }

    /// The same, waiting for it a while.
    pub(crate) fn newer_within(&self, time: Duration) -> bool {
        let waiting = self.lock();
        let newer = self
            .changed
            .wait_timeout_while(waiting, time, |waiting| !waiting.has_newer());
        let (waiting, _) = newer.unwrap_or_else(PoisonError::into_inner);
        waiting.has_newer()
    }

    /// An image to look at in passing.
    pub(crate) fn take_image(&self) -> Option<ImageRef> {
        self.lock().image.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::uniform;
    use model::Density;

    fn question(percent: u32) -> Question {
        uniform(3, Density::percent(percent).expect("a density"))
    }

    #[test]
    fn however_many_questions_wait_the_newest_is_answered() {
        let requests = Requests::default();
        requests.look(ImageRef::Valid(3));
        for i in 0..5000 {
            requests.ask(question(1 + i % 99));
        }
        requests.ask(question(100));
        assert!(requests.has_newer());
        assert_eq!(requests.next(), Some(Request::Ask(question(100))));
        assert!(!requests.has_newer());
        assert_eq!(requests.next(), Some(Request::Look(ImageRef::Valid(3))));
    }

    #[test]
    fn another_model_makes_what_was_asked_before_void_and_a_close_ends_it_all() {
        let requests = Requests::default();
        requests.ask(question(50));
        requests.look(ImageRef::Valid(3));
        requests.open(ModelRef::Bundled);
        requests.ask(question(70));
        assert_eq!(requests.next(), Some(Request::Open(ModelRef::Bundled)));
        assert_eq!(requests.next(), Some(Request::Ask(question(70))));
        assert_eq!(requests.take_image(), None);
        requests.ask(question(80));
        requests.close();
        assert!(requests.has_newer());
        assert_eq!(requests.next(), None);
    }
}
