//! The loop that every search runs in: propose, mask, measure norms anew, measure on validation images without retraining, settle.
//! Knows nothing of how proposals are made, nor of what becomes of the best.

use super::budget::Budget;
use super::locks;
use super::locks::ManualLock;
use super::pipeline::bad_input;
use anyhow::Result;
use data::{Split, batch};
use event::{Cancelled, Dimension, Event, SearchStart, Site, Steer, Trial, Unit};
use infer::{Engine, LabeledImages, Options, evaluate};
use model::{Checkpoint, Density};
use prune::Sites;
use search::{Searcher, Space};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use train::{Ctx, Snapshot};

/// Images a run of the engine.
const BATCH: usize = 64;

/// What is searched over: sites of a model, what densities there cost, and how a compiled model takes them.
pub(crate) trait SearchTarget {
    /// The model whose parts are left out in turn.
    fn model(&self) -> &Checkpoint;

    /// What is decided.
    fn sites(&self) -> &[Site];

    /// What densities spend, in the budget's unit.
    fn spent(&self, densities: &[f32]) -> f64;

    /// MACs an image and parameters.
    fn cost(&self, densities: &[f32]) -> [u64; 2];

    /// Makes a compiled model run at these densities.
    ///
    /// # Errors
    /// They do not fit the model.
    fn set(&self, engine: &mut Engine, densities: &[f32]) -> Result<()>;

    /// The model at these densities, as a file can hold it.
    ///
    /// # Errors
    /// They do not fit the model.
    fn at(&self, densities: &[f32]) -> Result<Checkpoint>;

    /// How much norms are measured anew on before a trial; trials differ with it.
    fn calibrated(&self) -> usize {
        0
    }
}

pub(crate) struct Structures<'a> {
    /// The model.
    pub model: &'a Checkpoint,
    /// What is decided.
    pub sites: &'a Sites,
    pub(crate) meter: &'a Budget,
    /// Training images that norms are measured on anew under the masks of each trial, `[n, c, h, w]` normalized.
    fit: Vec<f32>,
}

impl<'a> Structures<'a> {
    /// Trials are judged with norms measured anew on `calibration` training images. None leaves norms as they are, as the
    /// papers do; then most of what is cut deeply says the same as chance, and nothing can be told apart.
    pub(crate) fn new(
        ctx: &Ctx,
        model: &'a Checkpoint,
        sites: &'a Sites,
        meter: &'a Budget,
        calibration: usize,
    ) -> Self {
        let indices = data::spread(&ctx.splits.train, calibration);
        let mut fit = Vec::new();
        batch::fill(&ctx.data.train, &indices, None, &ctx.normalization, &mut fit);
        Self {
            model,
            sites,
            meter,
            fit,
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
        self.meter.spent(self.sites, densities)
    }

    fn cost(&self, densities: &[f32]) -> [u64; 2] {
        let cost = self.sites.cost(densities);
        [cost.macs, cost.params]
    }

    fn set(&self, engine: &mut Engine, densities: &[f32]) -> Result<()> {
        engine.set_masks(&self.sites.masks(densities, &self.model.weights)?)?;
        if !self.fit.is_empty() {
            engine.calibrate(&self.fit);
        }
        Ok(())
    }

    fn at(&self, densities: &[f32]) -> Result<Checkpoint> {
        let masks = self.sites.masks(densities, &self.model.weights)?;
        let mut model = prune::apply(self.model, &masks)?;
        if !self.fit.is_empty() {
            let mut engine = infer::compile(&model, &Options::default())?;
            model.stats = [(Density::FULL, engine.calibrate(&self.fit))].into();
        }
        // Those are of the model before.
        model.header.metrics.clear();
        Ok(model)
    }

    fn calibrated(&self) -> usize {
        self.fit.len()
    }
}

pub(crate) struct SearchLoop<'a> {
    /// Shown, e.g. `round 2`.
    pub name: String,
    /// What is searched over.
    pub ground: &'a dyn SearchTarget,
    /// Least density of a site.
    pub floor: f32,
    /// Densities that sites are held at, unless somebody frees them.
    pub held: Vec<Option<f32>>,
    /// Vectors to try before the search's own.
    pub first: Vec<Vec<f32>>,
    /// What the budget counts.
    pub unit: Unit,
    /// What must not be exceeded.
    pub budget: f64,
    /// Validation images a trial is measured on.
    pub images: usize,
    /// What the search makes large, from accuracy and what is spent.
    pub reward: &'a dyn Fn(f32, f64) -> f32,
}

impl SearchLoop<'_> {
    /// What is held; empty if nothing is.
    fn held(&self) -> Vec<Option<f32>> {
        let any = self.held.iter().any(Option::is_some);
        if any { self.held.clone() } else { Vec::new() }
    }
}

/// The best vector of a search.
#[derive(Clone, Debug)]
pub struct SearchResult {
    /// Kept share of each site.
    pub densities: Vec<f32>,
    /// The sites.
    pub sites: Vec<Site>,
    /// Its reward.
    pub reward: f32,
    /// What was held and freed by hand while it ran.
    pub hands: Vec<ManualLock>,
}

impl SearchResult {
    /// The density of a site by its name; 1 if there is none.
    pub fn at(&self, name: &str, dimension: Dimension) -> f32 {
        let site = self
            .sites
            .iter()
            .position(|s| s.name == name && s.dimension == dimension);
        site.map_or(1.0, |i| self.densities[i])
    }
}

/// Runs a search as the stage called `stage`, to its end.
///
/// # Errors
/// [`Cancelled`], after the best so far was kept as a model; a budget that cannot be met.
pub(crate) fn hunt<S>(ctx: &mut Ctx, stage: &str, hunt: &SearchLoop, fresh: S) -> Result<SearchResult>
where
    S: Searcher + Clone + Serialize + DeserializeOwned,
{
    let snapshot = ctx.stage(stage, |ctx, begun| {
        let mut runner = TrialRunner::new(ctx, hunt)?;
        let terms = SearchFingerprint::new(&fresh, hunt)?;
        let (mut searcher, mut number) = match begun.map(|b| b.facts::<(S, u64, SearchFingerprint)>()).transpose()? {
            Some((searcher, number, before)) if before == terms => (searcher, number),
            other => {
                // Whatever was asked since the last trial of a search was asked of one that is over.
                for steer in (ctx.steer)() {
                    (ctx.emit)(refused(steer))?;
                }
                runner.space(&|d| hunt.ground.spent(d)).check().map_err(bad_input)?;
                (ctx.emit)(Event::Search(runner.start(&fresh).into()))?;
                let mut searcher = fresh;
                runner.first(&mut searcher, hunt.first.iter().map(Vec::as_slice));
                if let Some((before, ..)) = &other {
                    // A search on other terms than the one before it tries what that one found.
                    runner.first(&mut searcher, before.best().map(|(best, _)| best).into_iter());
                }
                (searcher, 0)
            }
        };
        loop {
            // A trial may be told again after an interruption, so the search is kept as it was before it.
            let (said, before) = (ctx.memory.said(), searcher.clone());
            let save = |ctx: &Ctx| -> Result<()> {
                let snapshot = Snapshot {
                    said,
                    done: ctx.done,
                    ..Snapshot::of_facts(&(&before, number, &terms))?
                };
                ctx.memory.save(stage, snapshot, false)
            };
            if ctx.memory.is_due() {
                save(ctx)?;
            }
            match runner.trial(ctx, &mut searcher, number) {
                Ok(true) => number += 1,
                Ok(false) => break,
                Err(e) => {
                    if e.is::<Cancelled>() {
                        save(ctx)?;
                        if let Some((densities, _)) = before.best() {
                            (ctx.keep)(&hunt.ground.at(densities)?)?;
                        }
                    }
                    return Err(e);
                }
            }
        }
        let best = searcher.best().map(|(densities, reward)| (densities.to_vec(), reward));
        Snapshot::of_facts(&(best, locks::by_hand(hunt.ground.sites(), &searcher.steering().locks)))
    })?;
    let (best, hands): (Option<(Vec<f32>, f32)>, _) = snapshot.facts()?;
    let (densities, reward) =
        best.ok_or_else(|| anyhow::anyhow!("search {}: no trial could be measured", hunt.name))?;
    Ok(SearchResult {
        densities,
        sites: hunt.ground.sites().to_vec(),
        reward,
        hands,
    })
}

fn refused(steer: Steer) -> Event {
    let why = "the search is over".to_owned();
    Event::Refused { steer, why }
}

/// What a search set out with: its seed and settings as a fingerprint, its limits, what trials are measured on and worth. A fork
/// that changes them searches anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SearchFingerprint {
    searcher: u64,
    /// In the hunt's unit; none if there is no bound.
    budget: Option<f64>,
    images: usize,
    calibrated: usize,
    floor: f32,
    held: Vec<Option<f32>>,
    /// What nothing right and all right are worth.
    rewards: [f32; 2],
}

impl SearchFingerprint {
    fn new(fresh: &impl Serialize, hunt: &SearchLoop) -> Result<Self> {
        // FNV-1a: the same in every build.
        let bytes = serde_json::to_vec(fresh)?;
        let mix = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        Ok(Self {
            searcher: bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix),
            budget: hunt.budget.is_finite().then_some(hunt.budget),
            images: hunt.images,
            calibrated: hunt.ground.calibrated(),
            floor: hunt.floor,
            held: hunt.held(),
            rewards: [0.0, 1.0].map(|top1| (hunt.reward)(top1, 1.0)),
        })
    }
}

/// A compiled model and the validation images that trials are measured on.
struct Evaluator {
    engine: Engine,
    pixels: Vec<f32>,
    labels: Vec<u16>,
}

impl Evaluator {
    fn new(ctx: &Ctx, ground: &dyn SearchTarget, images: usize) -> Result<Self> {
        let options = Options {
            threads: ctx.threads,
            batch: BATCH,
            ..Options::default()
        };
        let valid = ctx.data.images(Split::Valid);
        let indices = data::spread(ctx.splits.indices(Split::Valid), images.max(1));
        let mut pixels = Vec::new();
        batch::fill(valid, &indices, None, &ctx.normalization, &mut pixels);
        Ok(Self {
            engine: infer::compile(ground.model(), &options)?,
            pixels,
            labels: indices.iter().map(|&i| valid.labels[i as usize]).collect(),
        })
    }

    fn measure(&mut self, ctx: &Ctx, ground: &dyn SearchTarget, densities: &[f32]) -> Result<f32> {
        ground.set(&mut self.engine, densities)?;
        let images = LabeledImages::Normalized {
            pixels: &self.pixels,
            labels: &self.labels,
        };
        let mut check = |_: &mut Engine| Ok(ControlFlow::Continue((ctx.check)()?));
        Ok(evaluate(&mut self.engine, images, &mut check, &mut |_| Ok(()))?.top1())
    }
}

/// Accuracy with nothing left out, measured as trials are.
///
/// # Errors
/// [`Cancelled`]; the engine cannot run the model.
pub(crate) fn whole(ctx: &Ctx, ground: &dyn SearchTarget, images: usize) -> Result<f32> {
    Evaluator::new(ctx, ground, images)?.measure(ctx, ground, &vec![1.0; ground.sites().len()])
}

struct TrialRunner<'a> {
    hunt: &'a SearchLoop<'a>,
    judge: Evaluator,
    whole: f64,
}

impl<'a> TrialRunner<'a> {
    fn new(ctx: &Ctx, hunt: &'a SearchLoop<'a>) -> Result<Self> {
        Ok(Self {
            judge: Evaluator::new(ctx, hunt.ground, hunt.images)?,
            whole: hunt.ground.spent(&vec![1.0; hunt.ground.sites().len()]),
            hunt,
        })
    }

    fn space<'s>(&'s self, spend: &'s dyn Fn(&[f32]) -> f64) -> Space<'s> {
        let sites = self.hunt.ground.sites();
        Space {
            sites,
            floor: vec![self.hunt.floor; sites.len()],
            locks: self.hunt.held.clone(),
            budget: self.hunt.budget,
            spent: spend,
        }
    }

    /// Has vectors tried before the search's own.
    fn first<'v>(&self, searcher: &mut impl Searcher, vectors: impl Iterator<Item = &'v [f32]>) {
        let spend = |densities: &[f32]| self.hunt.ground.spent(densities);
        for densities in vectors {
            let densities = densities.to_vec();
            // What cannot be brought within the budget is no loss.
            drop(searcher.steer(&self.space(&spend), &Steer::Propose { densities }));
        }
    }

    fn start(&self, searcher: &impl Searcher) -> SearchStart {
        SearchStart {
            name: self.hunt.name.clone(),
            sites: self.hunt.ground.sites().to_vec(),
            unit: self.hunt.unit,
            // No budget is that of the whole model; infinity cannot be written.
            budget: self.hunt.budget.min(self.whole),
            whole: self.whole,
            trials: searcher.trials(),
            images: self.judge.labels.len(),
            held: self.hunt.held(),
        }
    }

    /// One proposal, measured and said. False when the search is over.
    fn trial(&mut self, ctx: &mut Ctx, searcher: &mut impl Searcher, number: u64) -> Result<bool> {
        let hunt = self.hunt;
        let ground = hunt.ground;
        let spend = |densities: &[f32]| ground.spent(densities);
        let space = self.space(&spend);
        for steer in (ctx.steer)() {
            if number >= searcher.trials() {
                (ctx.emit)(refused(steer))?;
                continue;
            }
            (ctx.emit)(match searcher.steer(&space, &steer) {
                Ok(()) => Event::Steered(steer),
                Err(e) => Event::Refused {
                    steer,
                    why: format!("{e:#}"),
                },
            })?;
        }
        let Some(densities) = searcher.propose(&space).map_err(bad_input)? else {
            return Ok(false);
        };
        let top1 = self.judge.measure(ctx, ground, &densities)?;
        let [macs, params] = ground.cost(&densities);
        let spent = spend(&densities);
        let reward = (hunt.reward)(top1, spent);
        // The one it is judged at.
        let temperature = searcher.temperature();
        let verdict = searcher.settle(&densities, reward);
        (ctx.emit)(Event::Trial(Trial {
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
        // At its end it should be cold.
        let is_over = number + 1 >= searcher.trials();
        if let Some(fact) = searcher.fact().filter(|_| number % 50 == 49 && !is_over) {
            (ctx.emit)(Event::Warning {
                text: format!("search {}: {fact}", hunt.name),
            })?;
        }
        Ok(true)
    }
}
