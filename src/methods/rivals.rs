//! The rivals that every pruning method is held against, under the same budget of trials and training: one density
//! everywhere, random densities, and a greedy walk along measured sensitivities. One search, one cut, then retraining.
//! Knows nothing of how trials are measured.

use super::hunt::{self, Hunt, Structures, hunt, scope};
use super::meter::Meter;
use super::stages::{self, Stretch, Target, check_dimensions, retrain};
use crate::event::Dimension;
use crate::model::Checkpoint;
use crate::prune::{self, Sites};
use crate::search::Searcher;
use crate::train::Ctx;
use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Settings of a method that searches once, prunes by magnitude and retrains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RivalConfig {
    /// How much is to go.
    pub target: Target,
    /// In which ways.
    pub dimensions: Vec<Dimension>,
    /// Least kept share of a layer.
    pub floor: f32,
    /// Vectors that may be measured.
    pub trials: u64,
    /// Validation images a trial is measured on.
    pub images: usize,
    /// Training images that norms are measured on anew before each trial; 0 leaves them as they are, as the papers do.
    pub calibration: usize,
    /// Training afterwards.
    pub retrain: Stretch,
}

impl Default for RivalConfig {
    fn default() -> Self {
        Self {
            target: Target::default(),
            dimensions: vec![Dimension::Filter],
            floor: 0.05,
            trials: 120,
            images: 1000,
            calibration: 64,
            retrain: Stretch::default(),
        }
    }
}

impl RivalConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        self.target.check()?;
        check_dimensions(&self.dimensions)?;
        stages::check_floor(self.floor)?;
        ensure!(self.trials >= 1, "method.trials is 0, expected at least 1");
        hunt::check(self.images, self.calibration)?;
        self.retrain.check("method.retrain")
    }
}

/// Prunes with whatever `searcher` finds.
///
/// # Errors
/// [`crate::event::Cancelled`]; a target that cannot be met.
pub fn run<S>(
    ctx: &mut Ctx,
    config: &RivalConfig,
    method: &'static str,
    searcher: impl FnOnce(&Checkpoint, &Sites) -> Result<S>,
) -> Result<Checkpoint>
where
    S: Searcher + Clone + Serialize + DeserializeOwned,
{
    let (model, _) = stages::trained(ctx)?;
    let sites = Sites::new(&model, &scope(&config.dimensions, config.floor, config.target.unit))?;
    let meter = Meter::new(ctx, config.target.unit, &model)?;
    let budget = meter.whole(&sites) / config.target.times;
    let ground = Structures::new(ctx, &model, &sites, &meter, config.calibration);
    let searched = Hunt {
        name: method.to_owned(),
        ground: &ground,
        floor: config.floor,
        unit: meter.unit,
        budget,
        images: config.images,
        reward: &|top1, _| top1,
    };
    let searcher = searcher(&model, &sites).map_err(stages::bad_input)?;
    let found = hunt(ctx, "search", &searched, searcher)?;
    let masks = sites.masks(&found.densities, &model.weights)?;
    let pruned = prune::cut(&prune::apply(&model, &masks)?)?.checkpoint;
    let model = retrain(ctx, "retraining", method, &pruned, &config.retrain)?;
    meter.say(ctx, &model, budget)?;
    Ok(model)
}
