//! Where a worker's events go: into the run's log, then to whoever listens. On a resumed run it holds back what the log
//! already has, so that the log reads as if there had been no interruption.
//! Knows nothing of what events mean, but for steering.

use super::control::Control;
use super::folder::RunFolder;
use crate::disk;
use crate::event::{Cancelled, Event, Stamped, Steer};
use anyhow::Error;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long to wait before a full disk is tried again.
const FULL_DISK_WAIT: Duration = Duration::from_millis(500);

/// The log of a run that goes on.
#[derive(Debug, Default)]
pub struct Past {
    /// Events of the work it holds.
    pub said: u64,
    /// The next event's number.
    pub seq: u64,
    /// Seconds at its last event.
    pub at: f64,
    /// What it was steered to, each with its place among the events of the work.
    pub steers: VecDeque<(u64, Steer)>,
}

impl Past {
    /// From a log.
    pub fn of(events: &[Stamped]) -> Self {
        let mut past = Self::default();
        let (mut works, mut mending) = (false, false);
        for stamped in events {
            (past.seq, past.at) = (stamped.seq + 1, stamped.at);
            works |= matches!(stamped.event, Event::Started { .. });
            // Before the start files are read; that is told anew. Beginnings and ends are not part of the work.
            match stamped.event {
                Event::Resumed { .. } => mending = true,
                Event::Ended(_) => {}
                // What was mended is said right after.
                Event::Warning { .. } if mending => continue,
                _ => mending = false,
            }
            if !works || mending || matches!(stamped.event, Event::Ended(_)) {
                continue;
            }
            past.said += 1;
            if let Event::Steered(steer) = &stamped.event {
                past.steers.push_back((past.said, steer.clone()));
            }
        }
        past
    }
}

/// The way out for one run's events.
pub struct Outlet<'a> {
    /// Events of the work that were said, this time around.
    pub said: Rc<Cell<u64>>,
    /// Events of the work in the log.
    logged: Cell<u64>,
    works: Cell<bool>,
    resumed: bool,
    inner: RefCell<Inner<'a>>,
}

struct Inner<'a> {
    folder: RunFolder,
    began: Instant,
    past: Past,
    listen: &'a mut dyn FnMut(&Stamped),
    failure: Option<Error>,
}

impl<'a> Outlet<'a> {
    /// For a new run (`past` is empty) or one that goes on.
    pub fn new(folder: RunFolder, past: Past, resumed: bool, listen: &'a mut dyn FnMut(&Stamped)) -> Self {
        Self {
            said: Rc::default(),
            logged: Cell::new(past.said),
            works: Cell::new(false),
            resumed,
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
        inner.past.seq += 1;
        let mut told = false;
        while let Err(e) = inner.folder.append(&stamped) {
            if !disk::is_full(&e) {
                inner.failure.get_or_insert(e);
                return Err(Cancelled);
            }
            // There is no room to log it, so only those who listen hear of it.
            if !told {
                let text = format!("paused, the disk is full: {e:#}");
                (inner.listen)(&Stamped {
                    event: Event::Warning { text },
                    ..stamped.clone()
                });
                told = true;
            }
            control.check()?;
            std::thread::sleep(FULL_DISK_WAIT);
        }
        (inner.listen)(&stamped);
        Ok(())
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

    /// Why writing failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.inner.borrow().failure.as_ref().map(|e| format!("{e:#}"))
    }

    /// The folder, when all is said.
    pub fn into_folder(self) -> RunFolder {
        self.inner.into_inner().folder
    }
}
