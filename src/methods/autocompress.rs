//! AutoCompress (Liu et al., arXiv 1907.03141): each layer's pruning rates are found by guided simulated annealing, structures
//! are pruned by ADMM, and what ADMM left over is purified away, in rounds of rising targets.
//! Knows nothing of how trials are measured or weights projected.
//!
//! ```text
//! for target in 2, 4, 8, … times:
//!     rates ← anneal(model, target)                  magnitude pruning, norms measured anew, no retraining, validation images
//!     for dimension in dimensions: model ← ADMM(model, dimension, rates); cut what fell off
//!     model ← retrain(model), zeros held
//!     stop with the last good model if it lost too much
//! for each pass: thresholds ← sweep, anneal; remove what is below them and all dead paths; retrain
//! ```

use super::admm::{self, Admm};
use super::hunt::{self, Hunt, Structures, hunt};
use super::locks::{self, Lock};
use super::meter::Meter;
use super::ranking::Ranking;
use super::stages::{self, Stretch, Target, check_dimensions, retrain};
use crate::event::{Dimension, Event};
use crate::model::Checkpoint;
use crate::prune::{self, Scope, Sites};
use crate::search::{Anneal, AnnealConfig};
use crate::train::{self, Ctx};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Thresholds that purification tries for all sites at once, as shares of a site's mean score.
const THRESHOLDS: [f32; 5] = [0.05, 0.1, 0.2, 0.3, 0.5];

/// Settings of AutoCompress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoCompressConfig {
    /// How much is to go in the end.
    pub target: Target,
    /// Each round aims at so many times less than the round before.
    pub round: f64,
    /// In which ways, one after the other. `["element"]` prunes single weights.
    pub dimensions: Vec<Dimension>,
    /// Least kept share of a layer in one round.
    pub floor: f32,
    /// Which parts searches leave out first: those of the lowest score. ADMM goes by ‖w‖₂, which its projections are by.
    pub score: Ranking,
    /// Layers that are left alone, or pruned to a given density in the first round and left alone from there.
    pub locks: Vec<Lock>,
    /// Accuracy on validation images that may be lost; a round that loses more is taken back and is the last.
    pub tolerance: f32,
    /// Validation images a trial is measured on.
    pub images: usize,
    /// Training images that norms are measured on anew before each trial; 0 leaves them as they are, as the papers do.
    pub calibration: usize,
    /// Annealing of pruning rates.
    pub search: AnnealConfig,
    /// Training towards sparse weights.
    pub admm: Admm,
    /// Training after each round, with zeros held.
    pub retrain: Stretch,
    /// Purification.
    pub purify: Purify,
}

/// Settings of purification (AutoCompress, phase 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Purify {
    /// Passes; 0 leaves purification out.
    pub passes: u32,
    /// Accuracy that a pass may lose before it retrains.
    pub tolerance: f32,
    /// Annealing of thresholds.
    pub search: AnnealConfig,
    /// Training after each pass, with zeros held.
    pub retrain: Stretch,
}

impl Default for AutoCompressConfig {
    fn default() -> Self {
        Self {
            target: Target::default(),
            round: 2.0,
            dimensions: vec![Dimension::Filter, Dimension::Column],
            floor: 0.1,
            score: Ranking::default(),
            locks: Vec::new(),
            tolerance: 0.02,
            images: 1000,
            calibration: 64,
            search: AnnealConfig::default(),
            admm: Admm::default(),
            retrain: Stretch::default(),
            purify: Purify::default(),
        }
    }
}

impl Default for Purify {
    fn default() -> Self {
        Self {
            passes: 1,
            tolerance: 0.002,
            search: AnnealConfig {
                guided: false,
                ..AnnealConfig::default()
            },
            retrain: Stretch::default(),
        }
    }
}

impl AutoCompressConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        self.target.check()?;
        check_dimensions(&self.dimensions)?;
        stages::check_floor(self.floor)?;
        ensure!(
            self.round > 1.0 && self.round.is_finite(),
            "method.round is {}, expected more than 1",
            self.round
        );
        for (key, value) in [
            ("tolerance", self.tolerance),
            ("purify.tolerance", self.purify.tolerance),
        ] {
            ensure!((0.0..=1.0).contains(&value), "method.{key} is {value}, expected 0 to 1");
        }
        hunt::check(self.images, self.calibration)?;
        self.search.check()?;
        self.admm.check()?;
        self.retrain.check("method.retrain")?;
        self.purify.search.check()?;
        self.purify.retrain.check("method.purify.retrain")
    }

    /// What the rounds aim at: 2, 4, 8, … times less, the last exactly the target.
    pub fn rounds(&self) -> Vec<f64> {
        let mut out: Vec<f64> = std::iter::successors(Some(self.round), |t| Some(t * self.round))
            .take_while(|t| *t < self.target.times * 0.999)
            .collect();
        out.push(self.target.times);
        out
    }

    /// Epochs of training in all, the dense network's left out.
    pub fn epochs(&self) -> u64 {
        let round = self.admm.epochs * self.dimensions.len() as u32 + self.retrain.epochs;
        u64::from(round) * self.rounds().len() as u64 + u64::from(self.purify.passes * self.purify.retrain.epochs)
    }
}

/// Prunes the network, or the model to start from.
///
/// # Errors
/// [`crate::event::Cancelled`]; a target that cannot be met.
pub fn run(ctx: &mut Ctx, config: &AutoCompressConfig) -> Result<Checkpoint> {
    let (mut model, start) = stages::trained(ctx, &config.locks)?;
    ctx.least = start - config.tolerance;
    let meter = Meter::new(ctx, config.target.unit, &model)?;
    let sites = sites(ctx, config, &model)?;
    locks::check_sites(&config.locks, &sites.list)?;
    let whole = meter.whole(&sites);
    let mut locks = config.locks.clone();
    for (i, times) in config.rounds().into_iter().enumerate() {
        let name = format!("round {}", i + 1);
        let mut next = round(ctx, (config, &meter), &name, &model, (&mut locks, whole / times))?;
        let top1 = train::check(ctx, &mut next)?;
        if top1 < start - config.tolerance {
            let text = format!(
                "{name} ({times:.1} times less) ends at {:.2} % of {:.2} %: taken back, the round before was the last",
                top1 * 100.0,
                start * 100.0
            );
            (ctx.emit)(Event::Warning { text })?;
            break;
        }
        (ctx.keep)(&next)?;
        model = next;
    }
    for pass in 1..=config.purify.passes {
        let name = format!("purification {pass}");
        let mut next = purify(ctx, (config, &meter), &name, &model, &mut locks)?;
        let top1 = train::check(ctx, &mut next)?;
        if top1 < start - config.tolerance {
            let text = format!("{name} ends at {:.2} %: taken back", top1 * 100.0);
            (ctx.emit)(Event::Warning { text })?;
            break;
        }
        model = next;
    }
    meter.say(ctx, &model, whole / config.target.times)?;
    Ok(model)
}

/// What can be decided of a model.
fn sites(ctx: &Ctx, config: &AutoCompressConfig, model: &Checkpoint) -> Result<Sites> {
    let score = config.score.score(ctx, model)?;
    let scope = Scope::new(&config.dimensions, config.floor, config.target.unit).by(score);
    Sites::new(model, &scope).map_err(stages::bad_input)
}

/// Search, ADMM, retraining: to at most `budget`. What was held in the search is left alone from there.
fn round(
    ctx: &mut Ctx,
    (config, meter): (&AutoCompressConfig, &Meter),
    name: &str,
    model: &Checkpoint,
    (locks, budget): (&mut Vec<Lock>, f64),
) -> Result<Checkpoint> {
    let sites = sites(ctx, config, model)?;
    let ground = Structures::new(ctx, model, &sites, meter, config.calibration);
    let searched = Hunt {
        name: name.to_owned(),
        ground: &ground,
        floor: config.floor,
        held: locks::over(locks, &sites.list),
        first: Vec::new(),
        unit: meter.unit,
        budget,
        images: config.images,
        reward: &|top1, _| top1,
    };
    let anneal = Anneal::new(config.search.clone(), ctx.seed)?;
    let found = hunt(ctx, &format!("{name}/search"), &searched, anneal)?;
    *locks = locks::after(&found.sites, &found.held);
    let mut near = model.clone();
    for &dimension in &config.dimensions {
        let stage = format!("{name}/{} ADMM", stages::word(dimension));
        near = admm::along(ctx, &stage, "autocompress", &near, &found, dimension, &config.admm)?;
    }
    retrain(
        ctx,
        &format!("{name}/retraining"),
        "autocompress",
        &near,
        &config.retrain,
    )
}

/// Phase 2: of each site goes what scores below a threshold of its own, so that as much as possible goes while the accuracy
/// stays. One threshold for all is swept first; from the best of those the same search goes on with a density for each site,
/// which says the same as a threshold. Dead paths fall with the cut.
fn purify(
    ctx: &mut Ctx,
    (config, meter): (&AutoCompressConfig, &Meter),
    name: &str,
    model: &Checkpoint,
    locks: &mut Vec<Lock>,
) -> Result<Checkpoint> {
    let purify = &config.purify;
    let sites = sites(ctx, config, model)?;
    let below = |t: f32| sites.densities_above(&vec![t; sites.list.len()], &model.weights);
    let swept: Result<Vec<Vec<f32>>> = THRESHOLDS.into_iter().map(below).collect();
    let whole = meter.whole(&sites);
    let ground = Structures::new(ctx, model, &sites, meter, config.calibration);
    let least = hunt::whole(ctx, &ground, usize::MAX)? - purify.tolerance;
    let searched = Hunt {
        name: name.to_owned(),
        ground: &ground,
        floor: config.floor,
        held: locks::over(locks, &sites.list),
        first: swept?,
        unit: meter.unit,
        budget: f64::INFINITY,
        images: usize::MAX,
        // What keeps the accuracy is worth what it removes; what does not, is worth less the more it loses.
        reward: &|top1, spent| {
            if top1 >= least {
                1.0 - (spent / whole) as f32
            } else {
                top1 - least
            }
        },
    };
    let anneal = Anneal::new(purify.search.clone(), ctx.seed)?;
    let found = hunt(ctx, &format!("{name}/search"), &searched, anneal)?;
    *locks = locks::after(&found.sites, &found.held);
    // Where nothing can go without loss, the retraining is still due: rounds end with a short one.
    let pure = if found.reward > 0.0 {
        let masks = sites.masks(&found.densities, &model.weights)?;
        prune::cut(&prune::apply(model, &masks)?)?.checkpoint
    } else {
        model.clone()
    };
    retrain(
        ctx,
        &format!("{name}/retraining"),
        "autocompress",
        &pure,
        &purify.retrain,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Unit;

    #[test]
    fn rounds_double_up_to_the_target() {
        let rounds = |times: f64| {
            AutoCompressConfig {
                target: Target {
                    unit: Unit::Weights,
                    times,
                },
                ..AutoCompressConfig::default()
            }
            .rounds()
        };
        assert_eq!(rounds(10.0), [2.0, 4.0, 8.0, 10.0]);
        assert_eq!(rounds(8.0), [2.0, 4.0, 8.0]);
        assert_eq!(rounds(1.5), [1.5]);
        assert_eq!(rounds(52.2), [2.0, 4.0, 8.0, 16.0, 32.0, 52.2]);
    }
}
