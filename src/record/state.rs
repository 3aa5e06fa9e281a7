//! All that is known of one run: the fold of its events. Replaying its log gives the same state.

use crate::experiment::Experiment;
use crate::folder::ForkOrigin;
use crate::progress::{LAST, PlannedWork, WorkDone};
use crate::searches::{ResidualPoint, SearchState, TrialPoint};
use crate::status::Status;
use data::Split;
use event::{Ending, Event, LayerState, Outcome, Stamped};
use model::{Cost, Density, NetSpec};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run's number in this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId(pub u32);

/// A point of the training curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepPoint {
    /// Place in the run's log.
    pub seq: u64,
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
    /// Place in the run's log.
    pub seq: u64,
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
    /// MACs per image.
    pub macs: u64,
    /// Images measured.
    pub n: usize,
}

/// How a run's gates worked at a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GatePoint {
    /// Steps done.
    pub step: u64,
    /// Seconds since the run began.
    pub at: f64,
    /// Density of every gate.
    pub density: Density,
    /// Share of the gated channels that were active in fewer than one image in a hundred.
    pub never: f32,
    /// Share of them that were active in more than 99 of a hundred.
    pub always: f32,
}

impl GatePoint {
    /// None if no layer has a gate.
    fn of(layers: &[LayerState], step: u64, at: f64, density: Density) -> Option<Self> {
        let gated = layers.iter().filter(|l| !l.saliency.is_empty());
        let active: Vec<f32> = gated.flat_map(|l| l.active.iter().copied()).collect();
        let share =
            |fits: &dyn Fn(f32) -> bool| active.iter().filter(|&&a| fits(a)).count() as f32 / active.len() as f32;
        (!active.is_empty()).then(|| Self {
            step,
            at,
            density,
            never: share(&|a| a < 0.01),
            always: share(&|a| a > 0.99),
        })
    }
}

/// A model that was kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SavedModel {
    /// Place in the run's log.
    pub seq: u64,
    /// Where it lies, relative to the run folder.
    pub model: String,
    /// What it costs at its highest density.
    pub cost: Cost,
    /// Share of the validation images classified right.
    pub top1: f32,
}

/// One run, folded from its events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunState {
    /// Its number.
    pub id: RunId,
    /// What it does.
    pub experiment: Arc<Experiment>,
    /// What it is called instead of its number and its experiment's name.
    pub called: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// The network, once it stands.
    pub spec: Option<Arc<NetSpec>>,
    /// Its cost with nothing masked.
    pub dense: Option<Cost>,
    /// Whether accuracies are agreement with a teacher.
    pub agreement: bool,
    /// Training steps planned.
    pub steps_planned: u64,
    /// What is being done.
    pub phase: String,
    /// Training curve, at most [`RunState::most_steps`] points: of neighbors beyond that, those of the smallest and the largest loss.
    pub steps: Vec<StepPoint>,
    /// Points that the training curve may have.
    #[serde(skip)]
    pub most_steps: usize,
    /// How often the training curve was thinned.
    pub thinned: u32,
    /// Measurements.
    pub epochs: Vec<EpochPoint>,
    /// The newest layers at each density that validation was measured at; the newest density stands last.
    pub layers: Vec<(Density, Arc<[LayerState]>)>,
    /// How gates worked at each measurement.
    pub gates: Vec<GatePoint>,
    /// Searches, in order.
    pub searches: Vec<SearchState>,
    /// ADMM's distances, in order.
    pub residuals: Vec<ResidualPoint>,
    /// Models that were kept.
    pub kept: Vec<SavedModel>,
    /// What went wrong and did not end the run; the newest [`RunState::WARNINGS`].
    pub warnings: Vec<String>,
    /// Why it waits, while it does: the disk is full.
    pub stalled: Option<String>,
    /// Who holds it, while somebody does, as its log says.
    pub held_by: Option<String>,
    /// The run it is a fork of.
    pub origin: Option<ForkOrigin>,
    /// Times it went on after an interruption.
    pub resumed: u32,
    /// Where it is kept, as far as that is known.
    pub folder: Option<PathBuf>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Seconds since it began, at the last event. Never falls.
    pub elapsed_secs: f64,
    /// Events folded.
    pub events: u64,
    /// Work of each kind that is done, and how long it took.
    pub work: WorkDone,
}

impl RunState {
    /// Points of the training curve kept, unless all are wanted.
    pub(crate) const STEPS: usize = 1 << 20;
    pub(crate) const WARNINGS: usize = 1000;

    /// A run without events yet.
    pub fn new(id: RunId, experiment: Arc<Experiment>) -> Self {
        Self {
            id,
            experiment,
            called: None,
            status: Status::Queued,
            spec: None,
            dense: None,
            agreement: false,
            steps_planned: 0,
            phase: String::new(),
            steps: Vec::new(),
            most_steps: Self::STEPS,
            thinned: 0,
            epochs: Vec::new(),
            layers: Vec::new(),
            gates: Vec::new(),
            searches: Vec::new(),
            residuals: Vec::new(),
            kept: Vec::new(),
            warnings: Vec::new(),
            stalled: None,
            held_by: None,
            origin: None,
            resumed: 0,
            folder: None,
            ending: None,
            elapsed_secs: 0.0,
            events: 0,
            work: WorkDone::default(),
        }
    }

    /// Folds one event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        // Not logged, so it is not counted either.
        if let Event::Stalled { text } = &stamped.event {
            self.stalled = Some(text.clone());
            return;
        }
        self.stalled = None;
        self.held_by = None;
        self.events += 1;
        let step = self.steps.last().map_or(0, |s| s.step);
        // A log may have been mended by hand, or be of another program.
        let secs = stamped.at.max(self.elapsed_secs) - self.elapsed_secs;
        self.work.apply(&stamped.event, step, &self.phase, secs);
        self.elapsed_secs += secs;
        if self.status == Status::Queued {
            self.status = Status::Running;
        }
        let (seq, at) = (stamped.seq, self.elapsed_secs);
        match &stamped.event {
            Event::Started {
                spec,
                dense,
                steps,
                agreement,
                ..
            } => {
                self.agreement = *agreement;
                self.spec = Some(spec.clone());
                self.dense = Some(*dense);
                self.steps_planned = *steps;
                self.work.densities = match spec.gates().is_empty() {
                    true => 1,
                    false => self.experiment.method.densities() as u64,
                };
            }
            Event::Phase { name, .. } => self.phase.clone_from(name),
            &Event::Step { step, loss, top1, lr } => {
                if self.steps.len() >= self.most_steps {
                    thin(&mut self.steps);
                    self.thinned += 1;
                }
                self.steps.push(StepPoint {
                    seq,
                    step,
                    at,
                    loss,
                    top1,
                    lr,
                });
            }
            // Measured with a density for each gate: the model's file tells.
            Event::Epoch { gates, .. } if !gates.is_empty() => {}
            &Event::Epoch {
                epoch,
                split,
                density,
                gates: _,
                loss,
                top1,
                macs,
                n,
            } => {
                let step = self.steps.last().map_or(0, |s| s.step);
                self.epochs.push(EpochPoint {
                    seq,
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
            Event::Layers { layers } => {
                // Said right after the measurement it belongs to.
                let density = self.epochs.last().map_or(Density::FULL, |e| e.density);
                let step = self.steps.last().map_or(0, |s| s.step);
                self.gates.extend(GatePoint::of(layers, step, at, density));
                self.layers.retain(|(d, _)| *d != density);
                self.layers.push((density, layers.clone()));
            }
            Event::Kept { model, cost, top1 } => self.kept.push(SavedModel {
                seq,
                model: model.clone(),
                cost: *cost,
                top1: *top1,
            }),
            Event::Search(start) => self.searches.push(SearchState::new(seq, start.clone())),
            Event::Trial(trial) => {
                if let Some(search) = self.searches.last_mut() {
                    let trial = trial.clone();
                    search.push(TrialPoint { seq, at, trial });
                }
            }
            Event::Steered(steer) => {
                if let Some(search) = self.searches.last_mut() {
                    search.asked(seq, steer, None);
                }
            }
            Event::Refused { steer, why } => {
                if let Some(search) = self.searches.last_mut() {
                    search.asked(seq, steer, Some(why.as_str()));
                }
                self.warn(&format!("not followed: {why}"));
            }
            Event::Residuals { update, layers, .. } => self.residuals.push(ResidualPoint {
                seq,
                update: *update,
                layers: layers.clone(),
            }),
            // No event comes twice: the log continues as if there had been no interruption.
            Event::Resumed { mended, .. } => {
                mended.iter().for_each(|text| self.warn(text));
                self.ending = None;
                self.status = Status::Running;
                self.resumed += 1;
            }
            Event::Forked {
                from,
                at,
                changes,
                steps,
            } => {
                self.ending = None;
                self.status = Status::Running;
                self.steps_planned = *steps;
                self.origin = Some(ForkOrigin {
                    run: from.clone(),
                    at: *at,
                    changes: changes.clone(),
                });
            }
            Event::Stalled { .. } => {}
            Event::Paused { by } => {
                self.held_by = Some(by.clone());
                // It may have been asked to stop meanwhile.
                if self.status == Status::Running {
                    self.status = Status::Paused;
                }
            }
            Event::Unpaused { .. } => {
                if self.status == Status::Paused {
                    self.status = Status::Running;
                }
            }
            Event::Warning { text } | Event::Note { text } => self.warn(text),
            Event::Ended(ending) => {
                self.folder.get_or_insert_with(|| PathBuf::from(&ending.run));
                self.ending = Some(ending.clone());
                self.status = ending.outcome.into();
            }
        }
    }

    fn warn(&mut self, text: &str) {
        if self.warnings.len() == Self::WARNINGS {
            self.warnings.remove(0);
        }
        self.warnings.push(text.to_owned());
    }

    /// Number and name as people say it, or what it was called.
    pub fn title(&self) -> String {
        let numbered = || format!("run {} {}", self.id.0 + 1, self.experiment.name);
        self.called.clone().unwrap_or_else(numbered)
    }

    /// Its name, which runs with other seeds share.
    pub fn name(&self) -> &str {
        self.called.as_deref().unwrap_or(&self.experiment.name)
    }

    /// Layers as last measured at a density.
    pub fn layers_at(&self, density: Density) -> Option<&Arc<[LayerState]>> {
        let found = self.layers.iter().find(|(d, _)| *d == density);
        found.map(|(_, layers)| layers)
    }

    /// Whether it was interrupted and can be resumed.
    pub fn can_resume(&self) -> bool {
        self.folder.is_some() && self.status.is_over() && self.status != Status::Finished
    }

    /// Whether it works or is paused.
    pub fn is_live(&self) -> bool {
        self.status.is_live()
    }

    /// Whether it can be shown as it was: nothing is added to its log.
    pub fn has_past(&self) -> bool {
        self.folder.is_some() && (self.status.is_over() || self.status == Status::Past)
    }

    /// Ends it without a last event: as it ended before, if it had begun.
    pub fn end_early(&mut self) {
        let unended = if self.events > 0 {
            Status::Interrupted
        } else {
            Status::NotBegun
        };
        self.status = self.ending.as_ref().map_or(unended, |e| e.outcome.into());
    }

    /// Share of the planned work that is done, 0 to 1: steps, trials, and the measuring at the end.
    pub fn progress(&self) -> f32 {
        if self.ending.as_ref().is_some_and(|e| e.outcome == Outcome::Finished) {
            return 1.0;
        }
        let [done, left] = self.work.secs(&self.planned());
        if done <= 0.0 {
            0.0
        } else {
            (done / (done + left)) as f32
        }
    }

    /// Seconds that the planned work will still take, at the pace so far.
    pub fn left_secs(&self) -> Option<f64> {
        self.work.is_timed().then(|| self.work.secs(&self.planned())[1])
    }

    /// Whether all planned steps and trials are done, and only the last measuring is not.
    pub fn only_measures(&self) -> bool {
        let is_trained = self.steps.last().is_some_and(|s| s.step >= self.steps_planned);
        self.phase == LAST || (is_trained && self.searches.last().is_none_or(|s| s.measured >= s.start.trials))
    }

    fn planned(&self) -> PlannedWork {
        let steps = self.steps.last().map_or(0, |s| s.step);
        let last = self.searches.last();
        // A search that came to its end early leaves nothing to do, and so do searches that a run ended without.
        let now = last.map_or(0, |s| s.start.trials.saturating_sub(s.measured));
        let to_come = self
            .experiment
            .method
            .searches()
            .saturating_sub(self.searches.len() as u64);
        let left = now + to_come * last.map_or(0, |s| s.start.trials);
        PlannedWork {
            batch: self.experiment.train.batch as u64,
            steps: [steps, self.steps_planned.saturating_sub(steps)],
            in_trial: last.map_or(1, |s| s.start.images as u64),
            trials: [
                self.searches.iter().map(|s| s.measured).sum(),
                if self.phase == LAST { 0 } else { left },
            ],
        }
    }

    /// Its model's file, where the run folder is now: it may have been moved since the run ended.
    pub fn model(&self) -> Option<PathBuf> {
        let ending = self.ending.as_ref()?;
        let model = Path::new(ending.model.as_deref()?);
        let Some(folder) = &self.folder else {
            return Some(model.to_path_buf());
        };
        let inside = model.strip_prefix(&ending.run).ok();
        let named = || Some(Path::new("models").join(model.file_name()?));
        Some(folder.join(inside.map(Path::to_path_buf).or_else(named)?))
    }
}

/// Half of the points: of every four neighbors the two of smallest and largest loss, so that no spike is lost.
fn thin(steps: &mut Vec<StepPoint>) {
    let extremes = |four: &[StepPoint]| {
        let by_loss = |a: &&StepPoint, b: &&StepPoint| a.loss.total_cmp(&b.loss);
        let ends = [four.iter().min_by(by_loss), four.iter().max_by(by_loss)];
        let [Some(a), Some(b)] = ends.map(|p| p.copied()) else {
            return Vec::new();
        };
        if a.seq == b.seq {
            vec![a]
        } else if a.seq < b.seq {
            vec![a, b]
        } else {
            vec![b, a]
        }
    };
    *steps = steps.chunks(4).flat_map(extremes).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(seq: u64, step: u64) -> Stamped {
        let event = Event::Step {
            step,
            loss: 1.0,
            top1: 0.5,
            lr: 0.1,
        };
        let at = seq as f64;
        Stamped { seq, at, event }
    }

    #[test]
    fn a_curve_of_any_length_stays_short_and_keeps_its_spikes() {
        let experiment = Arc::new(Experiment::load("smoke", &[]).expect("preset"));
        let mut run = RunState::new(RunId(0), experiment);
        let n = 3 * RunState::STEPS as u64;
        for i in 0..n {
            let mut stamped = step(i, i);
            if let Event::Step { loss, .. } = &mut stamped.event {
                *loss = if i == 77_777 { 9.0 } else { (i % 7) as f32 };
            }
            run.apply(&stamped);
        }
        assert!(run.steps.len() <= RunState::STEPS && run.thinned > 0);
        assert!(run.steps.iter().any(|s| s.step == 77_777), "the spike is lost");
        assert_eq!((run.steps.last().map(|s| s.step), run.events), (Some(n - 1), n));
        assert!(run.steps.is_sorted_by(|a, b| a.seq < b.seq));
    }

    #[test]
    fn a_full_disk_is_shown_until_the_run_goes_on() {
        let experiment = Arc::new(Experiment::load("smoke", &[]).expect("preset"));
        let mut run = RunState::new(RunId(0), experiment);
        run.apply(&step(0, 0));
        let before = run.clone();
        let event = Event::Stalled { text: "full".into() };
        run.apply(&Stamped { seq: 1, at: 1.0, event });
        assert_eq!(run.stalled.as_deref(), Some("full"));
        run.stalled = None;
        assert_eq!(run, before, "what is not logged leaves nothing behind");
        let event = Event::Stalled { text: "full".into() };
        run.apply(&Stamped { seq: 1, at: 1.0, event });
        run.apply(&step(1, 1));
        assert_eq!(run.stalled, None);
    }

    #[test]
    fn the_time_left_is_at_the_pace_of_work_whatever_clocks_and_pauses_do() {
        let experiment = Arc::new(Experiment::load("smoke", &[]).expect("preset"));
        let mut run = RunState::new(RunId(0), experiment);
        run.steps_planned = 20;
        let mut seq = 0;
        let mut say = |run: &mut RunState, at: f64, event: Event| {
            run.apply(&Stamped { seq, at, event });
            seq += 1;
            let left = run.left_secs().unwrap_or(0.0);
            assert!(
                (0.0..1e6).contains(&left) && run.elapsed_secs >= 0.0,
                "{left} after {at}"
            );
        };
        let step = |n: u64| step(0, n).event;
        let by = || "a test".to_owned();
        say(&mut run, 0.0, step(0));
        say(&mut run, 10.0, step(10));
        assert_eq!(run.left_secs(), Some(10.0));
        // Held over night, twice, once before a step and once before a stop.
        say(&mut run, 10.0, Event::Paused { by: by() });
        assert_eq!(run.left_secs(), Some(10.0));
        say(&mut run, 36_010.0, Event::Unpaused { by: by() });
        assert_eq!(run.left_secs(), Some(10.0));
        say(&mut run, 36_011.0, step(11));
        assert_eq!(run.left_secs(), Some(9.0));
        say(&mut run, 36_012.0, Event::Paused { by: by() });
        let mended = Vec::new();
        say(&mut run, 72_012.0, Event::Resumed { from: 3, mended });
        // A log whose times fall back, as no run of ours writes it.
        for (at, n) in [(-5.0, 12), (f64::NAN, 13), (3.0, 14)] {
            say(&mut run, at, step(n));
        }
        assert_eq!(run.elapsed_secs, 72_012.0);
        assert!(run.steps.is_sorted_by(|a, b| a.at <= b.at));
        say(&mut run, 72_013.0, step(30));
        assert_eq!((run.progress(), run.left_secs()), (1.0, Some(0.0)));
    }

    #[test]
    fn a_model_is_found_where_its_run_folder_is_now() {
        let experiment = Arc::new(Experiment::load("smoke", &[]).expect("preset"));
        let mut run = RunState::new(RunId(0), experiment);
        let ending = |run: &str, model: &str| Ending {
            outcome: Outcome::Finished,
            reason: None,
            good: None,
            bad_input: false,
            run: run.into(),
            model: Some(model.into()),
            valid_top1: None,
            test_top1: None,
            macs: None,
            macs_dense: None,
            params: None,
            params_dense: None,
        };
        assert_eq!(run.model(), None);
        for (of, model) in [
            ("runs/a", "runs/a/models/m.safetensors"),
            ("/cluster/runs/a", "/cluster/runs/a/models/m.safetensors"),
            ("C:\\runs\\a", "elsewhere/m.safetensors"),
        ] {
            run.ending = Some(ending(of, model));
            run.folder = None;
            assert_eq!(run.model().as_deref(), Some(Path::new(model)));
            run.folder = Some("/home/me/a".into());
            assert_eq!(
                run.model().as_deref(),
                Some(Path::new("/home/me/a/models/m.safetensors"))
            );
        }
    }

    #[test]
    fn a_run_that_goes_on_keeps_what_was_said() {
        let experiment = Arc::new(Experiment::load("smoke", &[]).expect("preset"));
        let mut run = RunState::new(RunId(0), experiment);
        (0..4).for_each(|i| run.apply(&step(i, i)));
        let event = Event::Resumed {
            from: 2,
            mended: vec!["a line".into()],
        };
        run.apply(&Stamped { seq: 4, at: 5.0, event });
        assert_eq!((run.resumed, run.status), (1, Status::Running));
        assert_eq!(run.warnings, ["a line"]);
        run.apply(&step(5, 4));
        let steps: Vec<u64> = run.steps.iter().map(|s| s.step).collect();
        assert_eq!(steps, [0, 1, 2, 3, 4]);
    }
}
