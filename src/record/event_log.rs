//! Where a worker's events go: into the run's log, then to whoever listens. On a resumed run it holds back what the log
//! already has, so that the log reads as if there had been no interruption.
//! Knows nothing of what events mean, but for steering.

use crate::control::Control;
use crate::experiment::Experiment;
use crate::folder::{ForkOrigin, ManifestUpdate, RunFolder, line};

use anyhow::Error;
use event::{BadInput, Cancelled, Event, Stamped, Steer};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long to wait before a full disk is tried again.
const FULL_DISK_WAIT: Duration = Duration::from_millis(500);

/// The log of a run that goes on.
#[derive(Debug, Default)]
pub struct LogHistory {
    /// Events of the work it holds.
    pub said: u64,
    /// The next event's number.
    pub seq: u64,
    /// Seconds at its last event.
    pub at: f64,
    /// What it was steered to, each with its place among the events of the work.
    pub steers: VecDeque<(u64, Steer)>,
    works: bool,
    /// Where it says last that it was taken over from.
    forked: Option<(String, u64)>,
}

impl LogHistory {
    /// Takes the log's next event.
    pub fn see(&mut self, stamped: &Stamped) {
        (self.seq, self.at) = (stamped.seq + 1, stamped.at);
        // Before the start files are read; that is told anew. Beginnings and ends are not part of the work.
        match &stamped.event {
            Event::Started { .. } => self.works = true,
            Event::Resumed { .. } | Event::Ended(_) | Event::Stalled { .. } => return,
            Event::Forked { from, at, .. } => {
                self.forked = Some((from.clone(), *at));
                return;
            }
            _ => {}
        }
        if !self.works {
            return;
        }
        self.said += 1;
        if let Event::Steered(steer) | Event::Refused { steer, .. } = &stamped.event {
            self.steers.push_back((self.said, steer.clone()));
        }
    }
}

/// The way out for one run's events.
pub struct EventLog<'a> {
    /// Events of the work that were said, this time around.
    pub said: Rc<Cell<u64>>,
    /// Events of the work in the log.
    logged: Cell<u64>,
    works: Cell<bool>,
    resumed: bool,
    /// Events of the work after which it is to stop.
    pub until: Option<u64>,
    inner: RefCell<Inner<'a>>,
}

struct Inner<'a> {
    folder: RunFolder,
    began: Instant,
    past: LogHistory,
    listen: &'a mut dyn FnMut(&Stamped),
    failure: Option<Error>,
}

impl Inner<'_> {
    /// Where an event that is not logged would stand.
    fn place(&self) -> Stamped {
        Stamped {
            seq: self.past.seq,
            at: self.past.at + self.began.elapsed().as_secs_f64(),
            event: Event::Stalled { text: String::new() },
        }
    }
}

impl<'a> EventLog<'a> {
    /// For a new run (`past` is empty) or one that goes on.
    pub fn new(folder: RunFolder, past: LogHistory, resumed: bool, listen: &'a mut dyn FnMut(&Stamped)) -> Self {
        Self {
            said: Rc::default(),
            logged: Cell::new(past.said),
            works: Cell::new(false),
            resumed,
            until: None,
            inner: RefCell::new(Inner {
                folder,
                began: Instant::now(),
                past,
                listen,
                failure: None,
            }),
        }
    }

    /// Says an event of the work, unless the log has it.
    ///
    /// # Errors
    /// Asked to stop, or the event could not be written: what is not logged did not happen.
    pub fn emit(&self, event: Event, control: &Control) -> Result<(), Cancelled> {
        control.check()?;
        self.works
            .set(self.works.get() || matches!(event, Event::Started { .. }));
        if !self.works.get() {
            return if self.resumed { Ok(()) } else { self.put(event, control) };
        }
        let said = self.said.get() + 1;
        if self.until.is_some_and(|until| said > until) {
            return Err(Cancelled);
        }
        if said > self.logged.get() {
            self.put(event, control)?;
            self.logged.set(said);
        }
        self.said.set(said);
        Ok(())
    }

    /// Says an event that is not part of the work.
    ///
    /// # Errors
    /// It could not be written. A full disk is waited for, until somebody stops the run.
    pub fn put(&self, event: Event, control: &Control) -> Result<(), Cancelled> {
        let inner = &mut *self.inner.borrow_mut();
        let stamped = Stamped {
            seq: inner.past.seq,
            at: inner.past.at + inner.began.elapsed().as_secs_f64(),
            event,
        };
        let RunFolder { events, .. } = &mut inner.folder;
        let line = line(&stamped);
        let logged = with_room(control, &stamped, inner.listen, &mut || events.append(&line));
        match logged {
            Ok(()) => {}
            Err(e) if e.is::<Cancelled>() => return Err(Cancelled),
            Err(e) => {
                inner.failure.get_or_insert(e);
                return Err(Cancelled);
            }
        }
        inner.past.seq += 1;
        (inner.listen)(&stamped);
        Ok(())
    }

    /// Writes something else of the run. A full disk is waited for, until somebody stops the run.
    ///
    /// # Errors
    /// [`Cancelled`]; it could not be written.
    pub fn write(&self, control: &Control, write: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        with_room(control, &inner.place(), inner.listen, write)
    }

    /// Writes the manifest, in the same way.
    ///
    /// # Errors
    /// [`Cancelled`]; it could not be written.
    pub fn manifest(&self, control: &Control, experiment: &Experiment, facts: ManifestUpdate) -> anyhow::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let (place, folder) = (inner.place(), &inner.folder);
        with_room(control, &place, inner.listen, &mut || {
            folder.manifest(experiment, facts)
        })
    }

    /// What the run is steered to now: while it repeats what the log has, what it was steered to then.
    pub fn steers(&self, control: &Control) -> Vec<Steer> {
        let said = self.said.get();
        if said >= self.logged.get() {
            return control.take_steers();
        }
        let steers = &mut self.inner.borrow_mut().past.steers;
        while steers.front().is_some_and(|(at, _)| *at <= said) {
            steers.pop_front();
        }
        let mut next = Vec::new();
        while steers
            .front()
            .is_some_and(|(at, _)| *at == said + 1 + next.len() as u64)
        {
            next.extend(steers.pop_front().map(|(_, steer)| steer));
        }
        next
    }

    /// The run folder.
    pub fn path(&self) -> PathBuf {
        self.inner.borrow().folder.path.clone()
    }

    /// The run it is a fork of, unless the log says so already.
    pub fn origin_to_say(&self) -> Option<ForkOrigin> {
        let inner = self.inner.borrow();
        let said = |o: &ForkOrigin| inner.past.forked == Some((o.run.clone(), o.at));
        inner.folder.origin.clone().filter(|o| !said(o))
    }

    /// Whether the images are still those that the run began with, by their checksum.
    ///
    /// # Errors
    /// [`BadInput`]: they are others.
    pub fn check_data(&self, checksum: u64) -> anyhow::Result<()> {
        let inner = self.inner.borrow();
        let before = inner.folder.data_checksum.as_deref();
        if before.is_some_and(|before| before != format!("{checksum:016x}")) {
            let text = "the images are not those that the run began with: their checksum differs".to_owned();
            return Err(BadInput(text).into());
        }
        Ok(())
    }

    /// Why writing failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.inner.borrow().failure.as_ref().map(|e| format!("{e:#}"))
    }

    /// The folder, when all is said.
    pub fn into_folder(self) -> RunFolder {
        self.inner.into_inner().folder
    }
}

/// Writes. While there is no room, says so to whoever listens and tries again.
fn with_room(
    control: &Control,
    place: &Stamped,
    listen: &mut dyn FnMut(&Stamped),
    write: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut told = false;
    loop {
        match write() {
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
