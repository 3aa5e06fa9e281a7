//! Where a worker's events go: into the run's log, then to whoever listens. A resumed run repeats some of its work; its events
//! that are logged already are dropped, so that the log reads as if there had been no interruption.
//!
//! *Events of the work* are those that repeating the work emits again: from [`Event::Started`] on, without the beginnings and ends.

use crate::checkpoint_files::CheckpointFiles;
use crate::control::Control;
use crate::experiment::Experiment;
use crate::folder::{ForkOrigin, ManifestUpdate, RunFolder, line};
use crate::log;
use crate::status::Status;
use anyhow::Error;
use disk::LogSync;
use event::{Cancelled, Event, Outcome, Stamped, Steer};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const FULL_DISK_WAIT: Duration = Duration::from_millis(500);

/// What the log of a run that is resumed holds already.
#[derive(Debug, Default)]
pub struct LogHistory {
    /// Events of the work.
    pub work_events: u64,
    /// The next event's number.
    pub seq: u64,
    /// Seconds at its last event.
    pub at: f64,
    /// How its search was steered, each with its place among the events of the work.
    steers: VecDeque<(u64, Steer)>,
    has_started: bool,
    has_finished: bool,
    /// Steps planned, and done.
    steps: [u64; 2],
    /// Run and event of its last `forked`.
    forked: Option<(String, u64)>,
}

impl LogHistory {
    /// Takes the log's next event.
    pub fn add(&mut self, stamped: &Stamped) {
        (self.seq, self.at) = (stamped.seq + 1, stamped.at);
        match &stamped.event {
            Event::Started { steps, .. } => {
                self.has_started = true;
                self.steps[0] = *steps;
            }
            Event::Step { step, .. } => self.steps[1] = *step,
            Event::Ended(ending) => {
                self.has_finished = ending.outcome == Outcome::Finished;
                return;
            }
            Event::Resumed { .. }
            | Event::Stalled { .. }
            | Event::Paused { .. }
            | Event::Unpaused { .. }
            | Event::Note { .. } => return,
            Event::Forked { from, at, steps, .. } => {
                self.forked = Some((from.clone(), *at));
                self.steps[0] = *steps;
                return;
            }
            _ => {}
        }
        // Before the start, files are read; a resumed run reports that anew.
        if !self.has_started {
            return;
        }
        self.work_events += 1;
        if let Event::Steered(steer) | Event::Refused { steer, .. } = &stamped.event {
            self.steers.push_back((self.work_events, steer.clone()));
        }
    }
}

impl LogHistory {
    /// Whether the run has come to its end.
    pub fn has_finished(&self) -> bool {
        self.has_finished
    }
}

/// What a run's log holds.
///
/// # Errors
/// The log cannot be read.
pub fn history(run: &Path) -> anyhow::Result<LogHistory> {
    let mut history = LogHistory::default();
    log::read(&run.join("events.jsonl"), &mut |stamped| {
        history.add(&stamped);
        true
    })?;
    Ok(history)
}

/// The place in a run's log of the `n`th event of the work, counted from 1.
///
/// # Errors
/// The log cannot be read.
pub fn seq_of_work_event(run: &Path, n: u64) -> anyhow::Result<Option<u64>> {
    let (mut history, mut found) = (LogHistory::default(), None);
    log::read(&run.join("events.jsonl"), &mut |stamped| {
        history.add(&stamped);
        found = (history.work_events == n).then_some(stamped.seq);
        found.is_none()
    })?;
    Ok(found)
}

/// The log of a run at work. Whoever emits, emits here.
pub struct EventLog<'a> {
    /// Events of the work emitted since it began or resumed, shared with [`crate::checkpoints::CheckpointStore`].
    pub work_events: Rc<Cell<u64>>,
    /// Events of the work in the log.
    logged: Cell<u64>,
    has_started: Cell<bool>,
    resumed: bool,
    /// Events of the work after which it stops.
    pub until: Option<u64>,
    /// Those of the run, whose room the log may need.
    pub(crate) checkpoint_files: Rc<CheckpointFiles>,
    writer: RefCell<LogWriter<'a>>,
}

struct LogWriter<'a> {
    folder: RunFolder,
    began: Instant,
    history: LogHistory,
    listen: &'a mut dyn FnMut(&Stamped),
    failure: Option<Error>,
}

impl LogWriter<'_> {
    fn stamp(&self, event: Event) -> Stamped {
        Stamped {
            seq: self.history.seq,
            at: self.history.at + self.began.elapsed().as_secs_f64(),
            event,
        }
    }
}

impl<'a> EventLog<'a> {
    /// Of a new run (`history` is empty) or of one that is resumed or forked.
    pub fn new(folder: RunFolder, history: LogHistory, resumed: bool, listen: &'a mut dyn FnMut(&Stamped)) -> Self {
        Self {
            work_events: Rc::default(),
            logged: Cell::new(history.work_events),
            has_started: Cell::new(false),
            resumed,
            until: None,
            checkpoint_files: Rc::default(),
            writer: RefCell::new(LogWriter {
                folder,
                began: Instant::now(),
                history,
                listen,
                failure: None,
            }),
        }
    }

    /// Logs an event of the work, unless the log has it.
    ///
    /// # Errors
    /// Asked to stop, or the event could not be written: what is not logged did not happen.
    pub fn emit(&self, event: Event, control: &Control) -> Result<(), Cancelled> {
        self.check(control)?;
        self.has_started
            .set(self.has_started.get() || matches!(event, Event::Started { .. }));
        if !self.has_started.get() {
            return if self.resumed { Ok(()) } else { self.put(event, control) };
        }
        let place = self.work_events.get() + 1;
        if self.until.is_some_and(|until| place > until) {
            return Err(Cancelled);
        }
        if place > self.logged.get() {
            self.put(event, control)?;
            self.logged.set(place);
        }
        self.work_events.set(place);
        Ok(())
    }

    /// Waits while somebody holds the run, and says so in its log and its manifest.
    ///
    /// # Errors
    /// Asked to stop, or it could not be written.
    pub fn check(&self, control: &Control) -> Result<(), Cancelled> {
        // A past that is repeated is logged already.
        if let Some(by) = control.held_by().filter(|_| self.until.is_none()) {
            self.put(Event::Paused { by }, control)?;
            self.mark(Status::Paused);
            let by = control.wait();
            self.mark(Status::Running);
            self.put(Event::Unpaused { by: by? }, control)?;
        }
        control.check()
    }

    /// The log has it all; a manifest that cannot be written is corrected from it.
    fn mark(&self, status: Status) {
        drop(self.writer.borrow().folder.mark(status));
    }

    /// Logs an event that is not part of the work.
    ///
    /// # Errors
    /// It could not be written, see [`EventLog::failure`]. While the disk is full, this waits until the run is stopped.
    pub fn put(&self, event: Event, control: &Control) -> Result<(), Cancelled> {
        self.append(event, control)?;
        match self.checkpoint_files.take_given_up() {
            Some(text) => self.append(Event::Note { text }, control),
            None => Ok(()),
        }
    }

    fn append(&self, event: Event, control: &Control) -> Result<(), Cancelled> {
        let writer = &mut *self.writer.borrow_mut();
        let stamped = writer.stamp(event);
        let RunFolder { events, .. } = &mut writer.folder;
        let line = line(&stamped);
        let mut logged = self.with_room(control, &stamped, writer.listen, &mut || events.append(&line));
        // What a person asked is all of the work that cannot be repeated, so it is on the disk before anybody hears of it.
        if logged.is_ok() && matches!(stamped.event, Event::Steered(_) | Event::Refused { .. }) {
            let log = events.syncing();
            logged = self.with_room(control, &stamped, writer.listen, &mut || log.sync());
        }
        match logged {
            Ok(()) => {}
            Err(e) if e.is::<Cancelled>() => return Err(Cancelled),
            Err(e) => {
                writer.failure.get_or_insert(e);
                return Err(Cancelled);
            }
        }
        writer.history.seq += 1;
        (writer.listen)(&stamped);
        Ok(())
    }

    /// Writes something else of the run. While the disk is full, this waits until the run is stopped.
    ///
    /// # Errors
    /// [`Cancelled`]; it could not be written.
    pub fn write(&self, control: &Control, write: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let writer = &mut *self.writer.borrow_mut();
        self.with_room(control, &writer.stamp(STALLED), writer.listen, write)
    }

    /// Writes the manifest, in the same way.
    ///
    /// # Errors
    /// [`Cancelled`]; it could not be written.
    pub fn manifest(&self, control: &Control, experiment: &Experiment, update: ManifestUpdate) -> anyhow::Result<()> {
        let writer = &mut *self.writer.borrow_mut();
        let (stalled, folder) = (writer.stamp(STALLED), &writer.folder);
        self.with_room(control, &stalled, writer.listen, &mut || {
            folder.manifest(experiment, update)
        })
    }

    /// How the search is to be steered now: while it repeats what the log has, how it was steered then.
    pub fn steers(&self, control: &Control) -> Vec<Steer> {
        let done = self.work_events.get();
        if done >= self.logged.get() {
            return control.take_steers();
        }
        let steers = &mut self.writer.borrow_mut().history.steers;
        while steers.front().is_some_and(|(at, _)| *at <= done) {
            steers.pop_front();
        }
        let mut next = Vec::new();
        while steers
            .front()
            .is_some_and(|(at, _)| *at == done + 1 + next.len() as u64)
        {
            next.extend(steers.pop_front().map(|(_, steer)| steer));
        }
        next
    }

    /// The run folder.
    pub fn path(&self) -> PathBuf {
        self.writer.borrow().folder.path.clone()
    }

    /// The run it is a fork of, unless that is logged.
    pub fn unlogged_origin(&self) -> Option<ForkOrigin> {
        let writer = self.writer.borrow();
        let is_logged = |o: &ForkOrigin| writer.history.forked == Some((o.run.clone(), o.at));
        writer.folder.origin.clone().filter(|o| !is_logged(o))
    }

    /// Steps that were planned when the log ended, and those that were done.
    pub fn logged_steps(&self) -> [u64; 2] {
        self.writer.borrow().history.steps
    }

    /// Compares the images with those that the run began with, by their checksum.
    ///
    /// # Errors
    /// As [`RunFolder::check_data`].
    pub fn check_data(&self, checksum: u64) -> anyhow::Result<()> {
        self.writer.borrow().folder.check_data(checksum)
    }

    /// Why writing failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.writer.borrow().failure.as_ref().map(|e| format!("{e:#}"))
    }

    /// Writes. While the disk is full, gives up what is kept for forks, then tells whoever listens and tries again.
    fn with_room(
        &self,
        control: &Control,
        place: &Stamped,
        listen: &mut dyn FnMut(&Stamped),
        write: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            match self.checkpoint_files.making_room(&mut *write) {
                Err(e) if disk::is_full(&e) => {
                    // There is no room to log it, so only those who listen hear of it.
                    if !std::mem::replace(&mut told, true) {
                        let text = format!("paused, the disk is full: {e:#}");
                        listen(&Stamped {
                            event: Event::Stalled { text },
                            ..place.clone()
                        });
                    }
                    control.check()?;
                    std::thread::sleep(FULL_DISK_WAIT);
                }
                done => return done,
            }
        }
    }

    /// Events of the work that the log holds.
    pub(crate) fn logged(&self) -> u64 {
        self.logged.get()
    }

    /// The right to sync the log.
    pub fn syncing(&self) -> LogSync {
        self.writer.borrow().folder.events.syncing()
    }

    /// The folder, once all is logged.
    pub fn into_folder(self) -> RunFolder {
        self.writer.into_inner().folder
    }
}

const STALLED: Event = Event::Stalled { text: String::new() };
