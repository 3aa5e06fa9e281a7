//! The rivals that every pruning method is held against, under the same budget of trials and training: one density
//! everywhere, random densities, and a greedy walk along measured sensitivities. One search, one cut, then retraining.
//! Knows nothing of how trials are measured.

use super::budget::Budget;
use super::locks;
use super::locks::{EarlierSearches, Lock};
use super::pipeline;
use super::pipeline::{PruningTarget, TrainingStage, check_dimensions, retrain};
use super::ranking::Ranking;
use super::search_loop;
use super::search_loop::{SearchLoop, Structures, hunt};
use anyhow::{Result, ensure};
use event::Dimension;
use model::Checkpoint;
use prune::{Scope, Sites};
use search::Searcher;
use search::clip::reward_macs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use train::Ctx;

/// Settings of a method that searches once, prunes by magnitude and retrains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaselineConfig {
    /// How much is to go.
    pub target: PruningTarget,
    /// In which ways.
    pub dimensions: Vec<Dimension>,
    /// Least kept share of a layer.
    pub floor: f32,
    /// Which parts go first: those of the lowest score.
    pub score: Ranking,
    /// Layers that are left alone.
    pub locks: Vec<Lock>,
    /// Vectors that may be measured.
    pub trials: u64,
    /// Validation images a trial is measured on.
    pub images: usize,
    /// Training images that norms are measured on anew before each trial; 0 leaves them as they are, as the papers do.
    pub calibration: usize,
    /// Training afterwards.
    pub retrain: TrainingStage,
}

impl Default for BaselineConfig {
    fn default() -> Self {
        Self {
            target: PruningTarget::default(),
            dimensions: vec![Dimension::Filter],
            floor: 0.05,
            score: Ranking::default(),
            locks: Vec::new(),
            trials: 120,
            images: 1000,
            calibration: 64,
            retrain: TrainingStage::default(),
        }
    }
}

impl BaselineConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        self.target.check()?;
        check_dimensions(&self.dimensions)?;
        pipeline::check_floor(self.floor)?;
        locks::check_densities(&self.locks, self.floor)?;
        ensure!(self.trials >= 1, "method.trials is 0, expected at least 1");
        search_loop::check(self.images, self.calibration)?;
        self.retrain.check("method.retrain")
    }
}

/// What a search makes large, and within which budget.
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
    /// What accuracy is worth at this cost.
    fn of(self, top1: f32, spent: f64) -> f32 {
        match self {
            Self::Accuracy => top1,
            Self::AccuracyGuaranteed => reward_macs(top1, spent),
        }
    }
}

/// Prunes with whatever `searcher` finds.
///
/// # Errors
/// [`event::Cancelled`]; a target that cannot be met.
pub(crate) fn run<S>(
    ctx: &mut Ctx,
    config: &BaselineConfig,
    (method, reward): (&'static str, Reward),
    searcher: impl FnOnce(&Checkpoint, &Sites) -> Result<S>,
) -> Result<Checkpoint>
where
    S: Searcher + Clone + Serialize + DeserializeOwned,
{
    let (model, _) = pipeline::trained(ctx, &config.locks)?;
    let score = config.score.score(ctx, "ranking", &model)?;
    let scope = Scope::new(&config.dimensions, config.floor, config.target.unit).by(score);
    let sites = Sites::new(&model, &scope).map_err(pipeline::bad_input)?;
    locks::check_sites(&config.locks, &sites.list)?;
    let meter = Budget::new(ctx, config.target.unit, &model)?;
    let budget = match reward {
        Reward::Accuracy => meter.whole(&sites) / config.target.times,
        Reward::AccuracyGuaranteed => f64::INFINITY,
    };
    let ground = Structures::new(ctx, &model, &sites, &meter, config.calibration);
    let searched = SearchLoop {
        name: method.to_owned(),
        ground: &ground,
        floor: config.floor,
        held: locks::over(&config.locks, &sites.list, &EarlierSearches::default()),
        first: Vec::new(),
        unit: meter.unit,
        budget,
        images: config.images,
        reward: &|top1, spent| reward.of(top1, spent),
    };
    let searcher = searcher(&model, &sites).map_err(pipeline::bad_input)?;
    let found = hunt(ctx, "search", &searched, searcher)?;
    let masks = sites.masks(&found.densities, &model.weights)?;
    let pruned = prune::cut(&prune::apply(&model, &masks)?)?.checkpoint;
    let model = retrain(ctx, "retraining", method, &pruned, &config.retrain)?;
    meter.say(ctx, &model, budget)?;
    Ok(model)
}
