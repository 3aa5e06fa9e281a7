//! The loop that every search runs in: propose densities, apply them, measure norm statistics anew, measure accuracy on
//! validation images without retraining, tell the search.
//! Knows nothing of how proposals are made, nor of what becomes of the best.

use crate::evaluator::Evaluator;
use crate::farmed_trials::FarmedTrials;
use crate::locks;
use crate::locks::ManualLock;
use crate::search_target::SearchTarget;
use anyhow::{Context, Result};
use event::{BadInput, Cancelled, Dimension, Event, SearchStart, Site, Steer, Trial, Unit};
use search::{Searcher, Space};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use train::{Ctx, Judged, Protected, Snapshot};

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
            let fingerprint = SearchFingerprint::new(&fresh, self, &ctx.data.protected)?;
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
            match &searcher.steering().protect {
                Some(names) => Snapshot::of_facts(&(best, manual_locks, names)),
                None => Snapshot::of_facts(&(best, manual_locks)),
            }
        })?;
        type Found = Option<(Vec<f32>, f32)>;
        let (best, manual_locks) = match snapshot.facts::<(Found, Vec<ManualLock>, Vec<String>)>() {
            Ok((best, locks, names)) => {
                // What was asked of this search is asked of those after it.
                ctx.data.protected = protected(ctx, &names)?;
                (best, locks)
            }
            Err(_) => snapshot.facts::<(Found, Vec<ManualLock>)>()?,
        };
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

/// What these names are of among the images of the run.
fn protected(ctx: &Ctx, names: &[String]) -> Result<Vec<Protected>> {
    let dataset = ctx.data.dataset;
    names.iter().map(|name| Protected::named(name, dataset)).collect()
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
    /// How much is protected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    protected: Vec<String>,
    /// Of accuracies 0 and 1.
    rewards: [f32; 2],
}

impl SearchFingerprint {
    fn new(fresh: &impl Serialize, search: &SearchLoop, protected: &[Protected]) -> Result<Self> {
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
            protected: protected.iter().map(|one| format!("{one:?}")).collect(),
            rewards: [0.0, 1.0].map(|top1| (search.reward)(top1, 1.0)),
        })
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
    farmed: FarmedTrials,
}

impl<'a> TrialRunner<'a> {
    fn new(ctx: &Ctx, search: &'a SearchLoop<'a>) -> Result<Self> {
        let evaluator = Evaluator::new(ctx, search.target, search.images)?;
        Ok(Self {
            search,
            evaluator,
            farmed: FarmedTrials::default(),
        })
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
    fn trial(&mut self, ctx: &mut Ctx, searcher: &mut (impl Searcher + Clone), number: u64) -> Result<bool> {
        let (search, target) = (self.search, self.search.target);
        let spent_by = |densities: &[f32]| target.spent(densities);
        let space = search.space(&spent_by);
        for steer in (ctx.run.steer)() {
            if number >= searcher.trials() {
                ctx.emit(refused(steer))?;
                continue;
            }
            let names = match &steer {
                Steer::Protect { names } => protected(ctx, names).map(drop),
                _ => Ok(()),
            };
            ctx.emit(match names.and_then(|()| searcher.steer(&space, &steer)) {
                Ok(()) => Event::Steered(steer),
                Err(e) => Event::Refused {
                    steer,
                    why: format!("{e:#}"),
                },
            })?;
        }
        if let Some(names) = &searcher.steering().protect {
            self.evaluator.protect(ctx, target, &protected(ctx, names)?)?;
        }
        let Some(densities) = searcher.propose(&space).map_err(BadInput::of)? else {
            return Ok(false);
        };
        let (farmed, evaluator) = (&mut self.farmed, &mut self.evaluator);
        let farmed = farmed.judged((ctx, target), evaluator, (&*searcher, &space), &densities)?;
        let Judged { top1, lost } = match farmed {
            Some(judged) => judged,
            None => evaluator.judge(ctx, target, &densities)?,
        };
        let [macs, params] = target.cost(&densities);
        let spent = spent_by(&densities);
        let reward = (search.reward)(top1, spent) - lost;
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
