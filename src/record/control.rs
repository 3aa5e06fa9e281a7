//! Pause, resume and stop, as a worker meets them.
//! Knows nothing of runs.

use event::{Cancelled, Steer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requested {
    /// Whoever let it go on, if it was held.
    Go(String),
    /// Whoever holds it.
    Hold(String),
    Stop,
}

impl Default for Requested {
    fn default() -> Self {
        Self::Go(String::new())
    }
}

/// One worker's switch. Shared between the worker and whoever commands it.
#[derive(Debug, Default)]
pub struct Control {
    wish: Mutex<Requested>,
    changed: Condvar,
    steers: Mutex<Vec<Steer>>,
    /// True once a stop was asked for: for work that cannot wait at a check.
    pub stopping: Arc<AtomicBool>,
}

impl Control {
    fn set(&self, wish: Requested) {
        let mut now = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        // A stop is final.
        if *now != Requested::Stop {
            *now = wish;
        }
        self.changed.notify_all();
    }

    /// Hold at the next check. `by` says who wishes it.
    pub fn pause(&self, by: &str) {
        self.set(Requested::Hold(by.to_owned()));
    }

    /// Go on. `by` says who wishes it, or why.
    pub fn resume(&self, by: &str) {
        self.set(Requested::Go(by.to_owned()));
    }

    /// End at the next check, held or not.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.set(Requested::Stop);
    }

    /// Who holds it now.
    pub(crate) fn held_by(&self) -> Option<String> {
        match &*self.wish.lock().unwrap_or_else(PoisonError::into_inner) {
            Requested::Hold(by) => Some(by.clone()),
            _ => None,
        }
    }

    /// Asks something of the search.
    pub fn steer(&self, steer: Steer) {
        self.steers.lock().unwrap_or_else(PoisonError::into_inner).push(steer);
    }

    /// What was asked since last taken, oldest first.
    pub(crate) fn take_steers(&self) -> Vec<Steer> {
        std::mem::take(&mut *self.steers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Blocks while held. Says nothing of it: a worker asks [`crate::event_log::EventLog::check`].
    ///
    /// # Errors
    /// Asked to stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.wait().map(|_| ())
    }

    /// Blocks while held; gives who let it go on.
    ///
    /// # Errors
    /// Asked to stop.
    pub(crate) fn wait(&self) -> Result<String, Cancelled> {
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*wish {
                Requested::Go(by) => return Ok(by.clone()),
                Requested::Stop => return Err(Cancelled),
                Requested::Hold(_) => wish = self.changed.wait(wish).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_held_worker_can_be_stopped_and_a_stop_is_final() {
        let control = Arc::new(Control::default());
        control.pause("a test");
        let held = control.clone();
        let worker = std::thread::Builder::new()
            .name("held".into())
            .spawn(move || held.check())
            .expect("spawns");
        control.stop();
        assert_eq!(worker.join().expect("joins"), Err(Cancelled));
        control.resume("a test");
        assert_eq!(control.check(), Err(Cancelled));
    }

    #[test]
    fn a_held_worker_goes_on_when_resumed() {
        let control = Arc::new(Control::default());
        control.pause("a test");
        let held = control.clone();
        let worker = std::thread::Builder::new()
            .name("held".into())
            .spawn(move || held.check())
            .expect("spawns");
        control.resume("a test");
        assert_eq!(worker.join().expect("joins"), Ok(()));
    }
}
