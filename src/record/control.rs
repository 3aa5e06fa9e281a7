//! Pause, resume and stop, as a worker meets them.
//! Knows nothing of runs.

use event::{Cancelled, Steer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Requested {
    #[default]
    Go,
    Hold,
    Stop,
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

    /// Hold at the next check.
    pub fn pause(&self) {
        self.set(Requested::Hold);
    }

    /// Go on.
    pub fn resume(&self) {
        self.set(Requested::Go);
    }

    /// End at the next check, held or not.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.set(Requested::Stop);
    }

    /// Asks something of the search.
    pub fn steer(&self, steer: Steer) {
        self.steers.lock().unwrap_or_else(PoisonError::into_inner).push(steer);
    }

    /// What was asked since last taken, oldest first.
    pub(crate) fn take_steers(&self) -> Vec<Steer> {
        std::mem::take(&mut *self.steers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Blocks while held.
    ///
    /// # Errors
    /// Asked to stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *wish {
                Requested::Go => return Ok(()),
                Requested::Stop => return Err(Cancelled),
                Requested::Hold => wish = self.changed.wait(wish).unwrap_or_else(PoisonError::into_inner),
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
        control.pause();
        let held = control.clone();
        let worker = std::thread::Builder::new()
            .name("held".into())
            .spawn(move || held.check())
            .expect("spawns");
        control.stop();
        assert_eq!(worker.join().expect("joins"), Err(Cancelled));
        control.resume();
        assert_eq!(control.check(), Err(Cancelled));
    }

    #[test]
    fn a_held_worker_goes_on_when_resumed() {
        let control = Arc::new(Control::default());
        control.pause();
        let held = control.clone();
        let worker = std::thread::Builder::new()
            .name("held".into())
            .spawn(move || held.check())
            .expect("spawns");
        control.resume();
        assert_eq!(worker.join().expect("joins"), Ok(()));
    }
}
