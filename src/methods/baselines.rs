//! The baselines that every pruning method is compared with, under the same budget of trials and training: one density
//! everywhere, random densities, and a greedy walk along measured sensitivities. One search, one cut, then retraining.
//! Knows nothing of how trials are measured.

use crate::budget::Budget;
use crate::locks::{EarlierSearches, Lock, check_densities, check_sites, held_densities};
use crate::pipeline::{
    PruningTarget, TrainingStage, check_dimensions, check_target, check_tuning, cut, retrain, trained_model,
};
use crate::ranking::Ranking;
use crate::search_loop::SearchLoop;
use crate::search_target::Structures;
use anyhow::Result;
use event::{BadInput, Dimension};
use model::Checkpoint;
use prune::{Scope, Sites};
use search::Searcher;
use search::clip::reward_macs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use settings::settings;
use train::Ctx;

settings! {
    /// Settings of a method that searches once, prunes by magnitude and retrains.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct BaselineConfig {
        /// How much is pruned.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// In which ways: filter, channel, column, or element alone.
        pub dimensions: Vec<Dimension> = vec![Dimension::Filter], other;
        /// Least share of a layer that stays.
        pub floor: f32 = 0.05, number(above(0), at_most(1));
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// Which parts a search leaves out first, those of the lowest score: Σ|w|, ‖w‖₂, |γ|, |Σ w·∂loss/∂w|, the distance to the
        /// others, all that goes with it, or by chance.
        pub score: Ranking = Ranking::default(), choice(Ranking::NAMES);
        /// Layers that are left alone, e.g. `[{ layer = "conv1" }]`; with `dimension` in that way only, with `density` pruned to
        /// that share once.
        pub locks: Vec<Lock> = Vec::new(), other;
        /// Vectors of densities that may be measured.
        pub trials: u64 = 120, number(at_least(1); "trials");
        /// Validation images that each trial is measured on.
        pub images: usize = 1000, number(at_least(1); "images");
        /// Training images that norm statistics are measured on before each trial; 0 keeps them as they are, as the papers do.
        pub calibration: usize = 64, number(within(0, 4096); "images");
        /// Training steps, as of the retraining, that each trial gets before it is measured; 0: none, as the papers do. When cuts
        /// are deep, accuracy without any training says little of accuracy after it.
        pub tuning: u64 = 0, number(within(0, 10_000); "steps");
        /// Training afterwards, with zeros held.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
    check dimensions_and_locks;
}

fn dimensions_and_locks(config: &BaselineConfig, _at: &str) -> Result<()> {
    check_dimensions(&config.dimensions)?;
    check_densities(&config.locks, config.floor)
}

/// What a search maximizes, and within which budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reward {
    /// Accuracy, within the target.
    #[default]
    Accuracy,
    /// −error · ln(what is spent), without a target (AMC's accuracy-guaranteed reward, arXiv 1802.03494).
    AccuracyGuaranteed,
}

impl Reward {
    /// Of an accuracy at this cost.
    fn of(self, top1: f32, spent: f64) -> f32 {
        match self {
            Self::Accuracy => top1,
            Self::AccuracyGuaranteed => reward_macs(top1, spent),
        }
    }
}

/// Prunes with the densities that a search finds.
pub(crate) fn run<S>(
    ctx: &mut Ctx,
    config: &BaselineConfig,
    (method, reward): (&'static str, Reward),
    searcher: impl FnOnce(&Checkpoint, &Sites) -> Result<S>,
) -> Result<Checkpoint>
where
    S: Searcher + Clone + Serialize + DeserializeOwned,
{
    check_tuning(ctx, "method.tuning", config.tuning, &config.retrain)?;
    let scope = Scope::new(&config.dimensions, config.floor, config.target.unit);
    if reward == Reward::Accuracy {
        check_target(ctx, &config.target, &scope, (&config.locks, config.width_multiple))?;
    }
    let (model, _) = trained_model(ctx, &config.locks, config.width_multiple)?;
    let score = config.score.score(ctx, "ranking", &model)?;
    let sites = Sites::new(&model, &scope.by(score)).map_err(BadInput::of)?;
    check_sites(&config.locks, &sites.list)?;
    let budget = Budget::new(ctx, config.target.unit, &model)?;
    let limit = match reward {
        Reward::Accuracy => budget.unpruned(&sites) / config.target.times,
        Reward::AccuracyGuaranteed => f64::INFINITY,
    };
    let target = Structures::new(ctx, &model, &sites, &budget, config.calibration);
    let target = target.tuned_for(ctx, config.tuning, &config.retrain);
    let search = SearchLoop {
        name: method.to_owned(),
        target: &target,
        floor: config.floor,
        held: held_densities(&config.locks, &sites.list, &EarlierSearches::default()),
        first: Vec::new(),
        unit: budget.unit,
        limit,
        images: config.images,
        reward: &|top1, spent| reward.of(top1, spent),
    };
    let searcher = searcher(&model, &sites).map_err(BadInput::of)?;
    let found = search.run(ctx, "search", searcher)?;
    let pruned = cut(&model, &sites.masks(&found.densities, &model.weights)?)?;
    let model = retrain(ctx, "retraining", method, &pruned, &config.retrain)?;
    budget.report_latency(ctx, &model, limit)?;
    Ok(model)
}
