//! The loop that every search runs in: propose densities, apply them, measure norm statistics anew, measure accuracy on
//! validation images without retraining, tell the search.
//! Knows nothing of how proposals are made, nor of what becomes of the best.

use crate::budget::Budget;
use crate::locks;
use crate::locks::ManualLock;
use crate::pipeline::{self, TrainingStage};
use anyhow::{Context, Result};
use data::{Answers, Split};
use event::{BadInput, Cancelled, Dimension, Event, SearchStart, Site, Steer, Trial, Unit};
use infer::{Engine, LabeledImages, Options, evaluate};
use model::{Checkpoint, Density};
use prune::Sites;
use search::{Searcher, Space};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use train::{Ctx, Snapshot, TrainConfig, TrainingPlan};

/// Images per run of the engine.
const BATCH: usize = 64;

/// Training images that norms are measured on after the training of a trial.
const TUNED_CALIBRATION: usize = 512;

/// What is searched over: the sites of a model, what densities cost there, and how a compiled model takes them.
pub(crate) trait SearchTarget {
    /// The model that densities are applied to.
    fn model(&self) -> &Checkpoint;

    /// What is decided.
    fn sites(&self) -> &[Site];

    /// What densities spend, in the budget's unit.
    fn spent(&self, densities: &[f32]) -> f64;

    /// MACs per image and parameters.
    fn cost(&self, densities: &[f32]) -> [u64; 2];

    /// Makes a compiled model run at these densities.
    ///
    /// # Errors
    /// They do not fit the model.
    fn apply(&self, engine: &mut Engine, densities: &[f32]) -> Result<()>;

    /// The model at these densities, as a file can hold it.
    ///
    /// # Errors
    /// They do not fit the model.
    fn model_at(&self, densities: &[f32]) -> Result<Checkpoint>;

    /// The pruned model after a little training, for a trial to be measured on; none if trials are measured untrained.
    ///
    /// # Errors
    /// As [`train::tune`].
    fn tuned(&self, _ctx: &Ctx, _densities: &[f32]) -> Result<Option<Checkpoint>> {
        Ok(None)
    }

    /// Steps of that training; part of the search's fingerprint.
    fn tuning_steps(&self) -> u64 {
        0
    }

    /// Inputs that norms are measured on before a trial, as a number of floats; part of the search's fingerprint.
    fn calibration_len(&self) -> usize {
        0
    }
}

/// Filters, channels, columns or single weights of a model, left out by masks.
pub(crate) struct Structures<'a> {
    model: &'a Checkpoint,
    sites: &'a Sites,
    budget: &'a Budget,
    /// Training images that norms are measured on anew under the masks of each trial, `[n, c, h, w]` normalized.
    calibration: Vec<f32>,
    /// Steps of training before each trial, and how they are done.
    tuning: Option<(u64, TrainConfig)>,
}

impl<'a> Structures<'a> {
    /// Trials run with norms measured anew on `calibration` training images. None leaves norms as they are, as the papers do;
    /// then deeply pruned models are all at chance, and the search cannot tell them apart.
    pub(crate) fn new(
        ctx: &Ctx,
        model: &'a Checkpoint,
        sites: &'a Sites,
        budget: &'a Budget,
        calibration: usize,
    ) -> Self {
        let indices = data::spread(&ctx.data.splits.train, calibration);
        Self {
            model,
            sites,
            budget,
            calibration: ctx.data.pixels(Split::Train, &indices),
            tuning: None,
        }
    }

    /// Trains for so many steps of `retrain` before each trial is measured. When cuts are deep, accuracy without any training
    /// tells little of accuracy after it.
    pub(crate) fn tuned_for(self, ctx: &Ctx, steps: u64, retrain: &TrainingStage) -> Self {
        Self {
            tuning: (steps > 0).then(|| (steps, retrain.over(&ctx.train))),
            ..self
        }
    }
}

impl SearchTarget for Structures<'_> {
    fn model(&self) -> &Checkpoint {
        self.model
    }

    fn sites(&self) -> &[Site] {
        &self.sites.list
    }

    fn spent(&self, densities: &[f32]) -> f64 {
        self.budget.spent(self.sites, densities)
    }

    fn cost(&self, densities: &[f32]) -> [u64; 2] {
        let cost = self.sites.cost(densities);
        [cost.macs, cost.params]
    }

    fn apply(&self, engine: &mut Engine, densities: &[f32]) -> Result<()> {
        engine.set_masks(&self.sites.masks(densities, &self.model.weights)?)?;
        if !self.calibration.is_empty() {
            engine.calibrate(&self.calibration);
        }
        Ok(())
    }

    fn model_at(&self, densities: &[f32]) -> Result<Checkpoint> {
        let masks = self.sites.masks(densities, &self.model.weights)?;
        let mut model = prune::apply(self.model, &masks)?;
        if !self.calibration.is_empty() {
            let mut engine = infer::compile(&model, &Options::default())?;
            model.stats = [(Density::FULL, engine.calibrate(&self.calibration))].into();
        }
        // Those are of the model before.
        model.header.metrics.clear();
        Ok(model)
    }

    fn tuned(&self, ctx: &Ctx, densities: &[f32]) -> Result<Option<Checkpoint>> {
        let Some((steps, train)) = &self.tuning else {
            return Ok(None);
        };
        let cut = pipeline::cut(self.model, &self.sites.masks(densities, &self.model.weights)?)?;
        let plan = TrainingPlan {
            calibration: TUNED_CALIBRATION,
            ..TrainingPlan::of_model("trial", &cut, train.clone())
        };
        train::tune(ctx, &plan, &cut, *steps).map(Some)
    }

    fn tuning_steps(&self) -> u64 {
        self.tuning.as_ref().map_or(0, |(steps, _)| *steps)
    }

    fn calibration_len(&self) -> usize {
        self.calibration.len()
    }
}

/// One search and its settings; [`SearchLoop::run`] runs it.
pub(crate) struct SearchLoop<'a> {
    /// Shown, e.g. `round 2`.
    pub name: String,
    pub target: &'a dyn SearchTarget,
    /// Least density of a site.
    pub floor: f32,
    /// Densities that sites are held at, unless the user frees them.
    pub held: Vec<Option<f32>>,
    /// Vectors to try before the search's own.
    pub first: Vec<Vec<f32>>,
    /// What the limit counts.
    pub unit: Unit,
    /// What must not be exceeded.
    pub limit: f64,
    /// Validation images a trial is measured on.
    pub images: usize,
    /// What the search maximizes, from accuracy and what is spent.
    pub reward: &'a dyn Fn(f32, f64) -> f32,
}

/// The best vector of a search.
#[derive(Clone, Debug)]
pub(crate) struct SearchResult {
    /// Kept share of each site.
    pub densities: Vec<f32>,
    /// The sites.
    pub sites: Vec<Site>,
    /// Its reward.
    pub reward: f32,
    /// What the user held and freed while it ran.
    pub manual_locks: Vec<ManualLock>,
}

impl SearchResult {
    /// The density of a site by its name; 1 if there is none.
    pub(crate) fn density_of(&self, name: &str, dimension: Dimension) -> f32 {
        let is_it = |s: &Site| s.name == name && s.dimension == dimension;
        self.sites.iter().position(is_it).map_or(1.0, |i| self.densities[i])
    }
}

impl SearchLoop<'_> {
    /// Runs `fresh` as the stage called `stage`, to its end.
    ///
    /// # Errors
    /// [`Cancelled`], after the best so far was saved as a model; a budget that cannot be met.
    pub(crate) fn run<S>(&self, ctx: &mut Ctx, stage: &str, fresh: S) -> Result<SearchResult>
    where
        S: Searcher + Clone + Serialize + DeserializeOwned,
    {
        let snapshot = ctx.stage(stage, |ctx, begun| {
            let mut runner = TrialRunner::new(ctx, self)?;
            let fingerprint = SearchFingerprint::new(&fresh, self)?;
            let begun = begun.map(|b| b.facts::<(S, u64, SearchFingerprint)>()).transpose()?;
            let (mut searcher, mut number) = match begun {
                Some((searcher, number, of)) if of == fingerprint => (searcher, number),
                other => {
                    // Whatever the user asked since the last trial of a search was asked of one that is over.
                    for steer in (ctx.run.steer)() {
                        ctx.emit(refused(steer))?;
                    }
                    let spent = |d: &[f32]| self.target.spent(d);
                    self.space(&spent).check().map_err(BadInput::of)?;
                    ctx.emit(Event::Search(runner.start(&fresh).into()))?;
                    let mut searcher = fresh;
                    self.try_first(&mut searcher, self.first.iter().map(Vec::as_slice));
                    if let Some((before, ..)) = &other {
                        // A search with other settings than the one before it tries what that one found.
                        self.try_first(&mut searcher, before.best().map(|(best, _)| best).into_iter());
                    }
                    (searcher, 0)
                }
            };
            loop {
                // The events of a trial are emitted again after an interruption, so the search is remembered from before.
                let (said, before) = (ctx.run.memory.said(), searcher.clone());
                let save = |ctx: &Ctx| -> Result<()> {
                    let snapshot = Snapshot {
                        said,
                        done: ctx.done,
                        ..Snapshot::of_facts(&(&before, number, &fingerprint))?
                    };
                    ctx.run.memory.save(stage, snapshot, false)
                };
                if ctx.run.memory.is_due() {
                    save(ctx)?;
                }
                match runner.trial(ctx, &mut searcher, number) {
                    Ok(true) => number += 1,
                    Ok(false) => break,
                    Err(e) => {
                        if e.is::<Cancelled>() {
                            save(ctx)?;
                            if let Some((densities, _)) = before.best() {
                                ctx.keep(&self.target.model_at(densities)?)?;
                            }
                        }
                        return Err(e);
                    }
                }
            }
            let best = searcher.best().map(|(densities, reward)| (densities.to_vec(), reward));
            let manual_locks = locks::manual_locks(self.target.sites(), &searcher.steering().locks);
            Snapshot::of_facts(&(best, manual_locks))
        })?;
        let (best, manual_locks): (Option<(Vec<f32>, f32)>, _) = snapshot.facts()?;
        let (densities, reward) = best.with_context(|| format!("search {}: no trial could be measured", self.name))?;
        Ok(SearchResult {
            densities,
            sites: self.target.sites().to_vec(),
            reward,
            manual_locks,
        })
    }

    fn space<'s>(&'s self, spent: &'s dyn Fn(&[f32]) -> f64) -> Space<'s> {
        let sites = self.target.sites();
        Space {
            sites,
            floor: vec![self.floor; sites.len()],
            locks: self.held.clone(),
            budget: self.limit,
            spent,
        }
    }

    /// Has vectors tried before the search's own.
    fn try_first<'v>(&self, searcher: &mut impl Searcher, vectors: impl Iterator<Item = &'v [f32]>) {
        let spent = |densities: &[f32]| self.target.spent(densities);
        for densities in vectors {
            let densities = densities.to_vec();
            // What cannot be brought within the budget is no loss.
            drop(searcher.steer(&self.space(&spent), &Steer::Propose { densities }));
        }
    }

    /// What is held; empty if nothing is.
    fn held(&self) -> Vec<Option<f32>> {
        let any = self.held.iter().any(Option::is_some);
        if any { self.held.clone() } else { Vec::new() }
    }
}

fn refused(steer: Steer) -> Event {
    let why = "the search is over".to_owned();
    Event::Refused { steer, why }
}

/// What a search began with: a hash of its seed and settings, its limits, what trials are measured on and how they are
/// rewarded. A fork that changes any of it searches anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SearchFingerprint {
    searcher: u64,
    /// In the search's unit; none if there is no bound.
    budget: Option<f64>,
    images: usize,
    #[serde(rename = "calibrated")]
    calibration_len: usize,
    tuning_steps: u64,
    floor: f32,
    /// None for any width, as before there was a choice.
    width_multiple: Option<usize>,
    held: Vec<Option<f32>>,
    /// Of accuracies 0 and 1.
    rewards: [f32; 2],
}

impl SearchFingerprint {
    fn new(fresh: &impl Serialize, search: &SearchLoop) -> Result<Self> {
        // FNV-1a: the same in every build.
        let bytes = serde_json::to_vec(fresh)?;
        let mix = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        Ok(Self {
            searcher: bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix),
            budget: search.limit.is_finite().then_some(search.limit),
            images: search.images,
            calibration_len: search.target.calibration_len(),
            tuning_steps: search.target.tuning_steps(),
            floor: search.floor,
            width_multiple: Some(search.target.model().header.width_multiple).filter(|&multiple| multiple != 1),
            held: search.held(),
            rewards: [0.0, 1.0].map(|top1| (search.reward)(top1, 1.0)),
        })
    }
}

/// A compiled model and the validation images that trials are measured on.
pub(crate) struct Evaluator {
    engine: Engine,
    options: Options,
    pixels: Vec<f32>,
    labels: Vec<u16>,
    answers: Option<Answers>,
}

impl Evaluator {
    /// For trials of this target, on so many images.
    ///
    /// # Errors
    /// The engine cannot run the model.
    pub(crate) fn new(ctx: &Ctx, target: &dyn SearchTarget, images: usize) -> Result<Self> {
        let options = Options {
            threads: ctx.threads,
            batch: BATCH,
            ..Options::default()
        };
        let valid = ctx.data.dataset.images(Split::Valid);
        let indices = data::spread(ctx.data.splits.indices(Split::Valid), images.max(1));
        Ok(Self {
            engine: infer::compile(target.model(), &options)?,
            options,
            pixels: ctx.data.pixels(Split::Valid, &indices),
            labels: indices.iter().map(|&i| valid.labels[i as usize]).collect(),
            answers: valid.answers.as_ref().map(|answers| answers.at(&indices)),
        })
    }

    /// Images of a trial.
    pub(crate) fn images(&self) -> usize {
        self.labels.len()
    }

    /// The share of them classified right at these densities.
    ///
    /// # Errors
    /// [`Cancelled`]; densities that do not fit the target.
    pub(crate) fn top1(&mut self, ctx: &Ctx, target: &dyn SearchTarget, densities: &[f32]) -> Result<f32> {
        let mut tuned = match target.tuned(ctx, densities)? {
            Some(model) => Some(infer::compile(&model, &self.options)?),
            None => None,
        };
        let engine = match &mut tuned {
            Some(engine) => engine,
            None => {
                target.apply(&mut self.engine, densities)?;
                &mut self.engine
            }
        };
        let images = LabeledImages::Normalized {
            pixels: &self.pixels,
            labels: &self.labels,
            answers: self.answers.as_ref(),
        };
        let mut check = |_: &mut Engine| Ok(ControlFlow::Continue(ctx.check()?));
        Ok(evaluate(engine, images, &mut check, &mut |_| Ok(()))?.top1())
    }
}

/// Accuracy with nothing pruned, measured as trials are.
///
/// # Errors
/// [`Cancelled`]; the engine cannot run the model.
pub(crate) fn unpruned_top1(ctx: &Ctx, target: &dyn SearchTarget, images: usize) -> Result<f32> {
    let full = vec![1.0; target.sites().len()];
    Evaluator::new(ctx, target, images)?.top1(ctx, target, &full)
}

struct TrialRunner<'a> {
    search: &'a SearchLoop<'a>,
    evaluator: Evaluator,
}

impl<'a> TrialRunner<'a> {
    fn new(ctx: &Ctx, search: &'a SearchLoop<'a>) -> Result<Self> {
        let evaluator = Evaluator::new(ctx, search.target, search.images)?;
        Ok(Self { search, evaluator })
    }

    fn start(&self, searcher: &impl Searcher) -> SearchStart {
        let (search, sites) = (self.search, self.search.target.sites());
        let whole = search.target.spent(&vec![1.0; sites.len()]);
        SearchStart {
            name: search.name.clone(),
            sites: sites.to_vec(),
            unit: search.unit,
            // No budget is that of the whole model; infinity cannot be written.
            budget: search.limit.min(whole),
            whole,
            trials: searcher.trials(),
            images: self.evaluator.images(),
            held: search.held(),
        }
    }

    /// One proposal, measured and emitted. False when the search is over.
    fn trial(&mut self, ctx: &mut Ctx, searcher: &mut impl Searcher, number: u64) -> Result<bool> {
        let (search, target) = (self.search, self.search.target);
        let spent_by = |densities: &[f32]| target.spent(densities);
        let space = search.space(&spent_by);
        for steer in (ctx.run.steer)() {
            if number >= searcher.trials() {
                ctx.emit(refused(steer))?;
                continue;
            }
            ctx.emit(match searcher.steer(&space, &steer) {
                Ok(()) => Event::Steered(steer),
                Err(e) => Event::Refused {
                    steer,
                    why: format!("{e:#}"),
                },
            })?;
        }
        let Some(densities) = searcher.propose(&space).map_err(BadInput::of)? else {
            return Ok(false);
        };
        let top1 = self.evaluator.top1(ctx, target, &densities)?;
        let [macs, params] = target.cost(&densities);
        let spent = spent_by(&densities);
        let reward = (search.reward)(top1, spent);
        // The one that the trial is accepted or rejected at.
        let temperature = searcher.temperature();
        let verdict = searcher.settle(&densities, reward);
        ctx.emit(Event::Trial(Trial {
            number,
            densities: densities.into(),
            spent,
            macs,
            params,
            top1,
            reward,
            temperature,
            acceptance: searcher.acceptance(),
            verdict,
        }))?;
        // At its end the search should be cold, so nothing is said there.
        let is_over = number + 1 >= searcher.trials();
        if let Some(fact) = searcher.fact().filter(|_| number % 50 == 49 && !is_over) {
            let text = format!("search {}: {fact}", search.name);
            ctx.emit(Event::Warning { text })?;
        }
        Ok(true)
    }
}
