//! How much of a run is done, and how long the rest will take: training steps, trials of searches, and the measuring at its end,
//! each at the pace that the run has shown. Knows nothing of how work is done.

use event::Event;
use serde::Serialize;

/// What a training step takes beside an image that is only measured: forward and backward, without the engine's shortcuts.
const TRAINED: f64 = 10.0;

/// Work of one kind that was done, and the seconds it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pace {
    /// Steps, trials or images.
    pub n: u64,
    /// Seconds.
    pub secs: f64,
}

impl Pace {
    fn add(&mut self, n: u64, secs: f64) {
        self.n += n;
        self.secs += secs.max(0.0);
    }

    fn each(self) -> Option<f64> {
        (self.n > 0 && self.secs > 0.0).then(|| self.secs / self.n as f64)
    }
}

/// Work of all kinds, as a run's events tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WorkDone {
    /// Training steps.
    pub steps: Pace,
    /// Trials of searches.
    pub trials: Pace,
    /// Images measured.
    pub images: Pace,
    /// Of these, images measured since the end of the run's work.
    pub at_end: u64,
    /// Images that each split has for measuring: validation, test.
    pub of_split: [u64; 2],
    /// Densities that the end measures at.
    pub densities: u64,
}

/// The phase at the end of each run.
pub(crate) const LAST: &str = "measuring";

impl WorkDone {
    /// Takes in an event that came `secs` after the one before it.
    pub(crate) fn apply(&mut self, event: &Event, last_step: u64, phase: &str, secs: f64) {
        match event {
            Event::Step { step, .. } => self.steps.add(step.saturating_sub(last_step), secs),
            Event::Trial(_) => self.trials.add(1, secs),
            Event::Epoch { n, .. } => {
                self.images.add(*n as u64, secs);
                if phase == LAST {
                    self.at_end += *n as u64;
                }
            }
            Event::Started { images, .. } => self.of_split = [images[1] as u64, images[2] as u64],
            _ => {}
        }
    }
}

/// What is planned of a run, counted.
pub(crate) struct PlannedWork {
    /// Images of a training step.
    pub batch: u64,
    /// Training steps, done and left.
    pub steps: [u64; 2],
    /// Images of a trial.
    pub in_trial: u64,
    /// Trials, done and left.
    pub trials: [u64; 2],
}

impl WorkDone {
    /// Whether any pace is known.
    pub(crate) fn is_timed(&self) -> bool {
        [self.steps, self.trials, self.images]
            .iter()
            .any(|pace| pace.each().is_some())
    }

    /// Seconds of work, done and left.
    pub(crate) fn secs(&self, plan: &PlannedWork) -> [f64; 2] {
        let (batch, in_trial) = (plan.batch.max(1) as f64, plan.in_trial.max(1) as f64);
        // What one image takes, from whichever kind of work is known, the nearest first.
        let of_steps = self.steps.each().map(|s| s / batch / TRAINED);
        let of_trials = self.trials.each().map(|s| s / in_trial);
        let image = self.images.each().or(of_trials).or(of_steps).unwrap_or(1.0);
        let step = self.steps.each().unwrap_or(image * batch * TRAINED);
        let trial = self.trials.each().unwrap_or(image * in_trial);
        let at_end = self.of_split.iter().sum::<u64>() * self.densities.max(1);
        let images = [self.at_end, at_end.saturating_sub(self.at_end)];
        [0, 1].map(|i| plan.steps[i] as f64 * step + plan.trials[i] as f64 * trial + images[i] as f64 * image)
    }
}
