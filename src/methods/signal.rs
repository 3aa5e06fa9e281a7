//! How much a quick score says: the rank correlation between what candidates score after a few steps of training and what they
//! are worth after all of it, over the same candidates. Searches rest on the former and are read as if it were the latter.
//! Knows nothing of how candidates are drawn or trials measured.
//!
//! ```text
//! draw vectors of densities: the uniform one, and others that halve to double each layer's share of it
//! for each number of steps: cut each, train it so long, measure it     (0: norms measured anew, no training)
//! cut each, retrain it in full, measure it; the best is the result
//! ```

use crate::budget::Budget;
use crate::evaluator::Evaluator;
use crate::pipeline::{PruningTarget, TrainingStage, check_target, check_tuning, cut, retrain, trained_model};
use crate::ranking::Ranking;
use crate::search_target::{SearchTarget, Structures};
use anyhow::{Context, Result, ensure};
use event::{BadInput, Dimension, Event, SearchStart, Trial, Verdict};
use model::Checkpoint;
use prune::{Scope, Sites};
use search::{Random, RankCorrelation, Searcher, Space};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::{Ctx, Snapshot};

settings! {
    /// Settings of the measurement of quick scores.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct SignalConfig {
        /// How much a candidate is pruned.
        pub target: PruningTarget = PruningTarget { times: 16.0, ..PruningTarget::default() }, section;
        /// Least share of a layer that stays.
        pub floor: f32 = 0.02, number(above(0), at_most(1));
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// Which filters a candidate loses first, those of the lowest score: Σ|w|, ‖w‖₂, |γ|, |Σ w·∂loss/∂w|, the distance to the
        /// others, all that goes with it, or by chance.
        pub score: Ranking = Ranking::default(), choice(Ranking::NAMES);
        /// Vectors of densities that are compared.
        pub candidates: u64 = 12, number(within(4, 1000); "candidates");
        /// Training steps before a candidate is judged quickly, rising; each number is a quick score of its own.
        pub steps: Vec<u64> = vec![0, 20, 60, 100], other;
        /// Validation images that a quick score is measured on.
        pub images: usize = 1000, number(at_least(1); "images");
        /// Training images that norm statistics are measured on where nothing is trained.
        pub calibration: usize = 64, number(within(0, 4096); "images");
        /// Training of each candidate in full.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
    check steps_rise;
}

fn steps_rise(config: &SignalConfig, at: &str) -> Result<()> {
    let rises = config.steps.is_sorted_by(|a, b| a < b);
    ensure!(
        rises && !config.steps.is_empty(),
        "{at}.steps is {:?}, expected rising numbers of steps such as [0, 20, 60]",
        config.steps
    );
    ensure!(
        config.retrain.epochs > 0,
        "{at}.retrain.epochs is 0, expected at least 1"
    );
    Ok(())
}

/// Measures candidates quickly and in full; gives the best after retraining.
pub(crate) fn run(ctx: &mut Ctx, config: &SignalConfig) -> Result<Checkpoint> {
    for &steps in &config.steps {
        check_tuning(ctx, "method.steps", steps, &config.retrain)?;
    }
    let scope = Scope::new(&[Dimension::Filter], config.floor, config.target.unit);
    check_target(ctx, &config.target, &scope, (&[], config.width_multiple))?;
    let (model, _) = trained_model(ctx, &[], config.width_multiple)?;
    let score = config.score.score(ctx, "ranking", &model)?;
    let sites = Sites::new(&model, &scope.by(score)).map_err(BadInput::of)?;
    let budget = Budget::new(ctx, config.target.unit, &model)?;
    let limit = budget.unpruned(&sites) / config.target.times;
    let candidates = draw(ctx, config, (&sites, &budget), limit).map_err(BadInput::of)?;
    let mut quick = Vec::new();
    for &steps in &config.steps {
        let target = Structures::new(ctx, &model, &sites, &budget, config.calibration);
        let target = target.tuned_for(ctx, steps, &config.retrain);
        let mut evaluator = Evaluator::new(ctx, &target, config.images)?;
        let trials = Trials {
            name: format!("after {steps} steps"),
            target: &target,
            budget: (&budget, limit),
            images: evaluator.images(),
            candidates: &candidates,
        };
        quick.push(trials.measure(ctx, &mut |ctx, i, densities| {
            let measured = ctx.stage(&format!("candidate {i} after {steps} steps"), |ctx, _| {
                Snapshot::of_facts(&evaluator.top1(ctx, &target, densities)?)
            })?;
            measured.facts()
        })?);
    }
    let target = Structures::new(ctx, &model, &sites, &budget, 0);
    let trials = Trials {
        name: "after retraining".into(),
        target: &target,
        budget: (&budget, limit),
        images: ctx.data.splits.valid.len(),
        candidates: &candidates,
    };
    let mut best: Option<(f32, Checkpoint)> = None;
    let retrained = trials.measure(ctx, &mut |ctx, i, densities| {
        let pruned = cut(&model, &sites.masks(densities, &model.weights)?)?;
        let mut model = retrain(ctx, &format!("candidate {i}"), "signal", &pruned, &config.retrain)?;
        let top1 = train::validate(ctx, &mut model)?;
        if best.as_ref().is_none_or(|(before, _)| top1 > *before) {
            best = Some((top1, model));
        }
        Ok(top1)
    })?;
    for (steps, scores) in config.steps.iter().zip(&quick) {
        let correlation = RankCorrelation::new(scores, &retrained, ctx.seed);
        let name =
            format!("quick score after {steps} steps: rank correlation with accuracy after retraining {correlation}");
        ctx.emit(Event::Phase { name, progress: 1.0 })?;
    }
    best.map(|(_, model)| model).context("no candidate was measured")
}

/// The vectors of a random search: the uniform one first.
fn draw(ctx: &Ctx, config: &SignalConfig, (sites, budget): (&Sites, &Budget), limit: f64) -> Result<Vec<Vec<f32>>> {
    let space = Space {
        sites: &sites.list,
        floor: vec![config.floor; sites.list.len()],
        locks: vec![None; sites.list.len()],
        budget: limit,
        spent: &|densities| budget.spent(sites, densities),
    };
    let mut random = Random::new(config.candidates, ctx.seed)?;
    let mut candidates = Vec::new();
    while let Some(densities) = random.propose(&space)? {
        random.settle(&densities, 0.0);
        candidates.push(densities);
    }
    Ok(candidates)
}

/// All candidates, measured in one way.
struct Trials<'a> {
    name: String,
    target: &'a Structures<'a>,
    budget: (&'a Budget, f64),
    images: usize,
    candidates: &'a [Vec<f32>],
}

/// Gives the accuracy of a candidate by its number and densities.
type Measure<'a> = &'a mut dyn FnMut(&mut Ctx, usize, &[f32]) -> Result<f32>;

impl Trials<'_> {
    /// Emits the candidates as a search's trials; gives their accuracies.
    fn measure(&self, ctx: &mut Ctx, measure: Measure) -> Result<Vec<f32>> {
        let (target, (budget, limit)) = (self.target, self.budget);
        let whole = target.spent(&vec![1.0; target.sites().len()]);
        let start = SearchStart {
            name: self.name.clone(),
            sites: target.sites().to_vec(),
            unit: budget.unit,
            budget: limit,
            whole,
            trials: self.candidates.len() as u64,
            images: self.images,
            held: Vec::new(),
        };
        ctx.emit(Event::Search(start.into()))?;
        let mut accuracies: Vec<f32> = Vec::new();
        for (i, densities) in self.candidates.iter().enumerate() {
            let top1 = measure(ctx, i, densities)?;
            let is_best = accuracies.iter().all(|before| top1 > *before);
            accuracies.push(top1);
            let [macs, params] = target.cost(densities);
            ctx.emit(Event::Trial(Trial {
                number: i as u64,
                densities: densities.clone().into(),
                spent: target.spent(densities),
                macs,
                params,
                top1,
                reward: top1,
                temperature: 0.0,
                acceptance: 0.0,
                verdict: if is_best { Verdict::Best } else { Verdict::Rejected },
            }))?;
        }
        Ok(accuracies)
    }
}
