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

use crate::admm::{AdmmSchedule, prune_along};
use crate::budget::Budget;
use crate::locks::{EarlierSearches, Lock, ManualLock, check_densities, check_sites, held_densities};
use crate::pipeline::{
    PruningTarget, TrainingStage, check_dimensions, check_target, check_tuning, cut, retrain, trained_model,
};
use crate::ranking::Ranking;
use crate::search_loop::{SearchLoop, unpruned_top1};
use crate::search_target::Structures;
use anyhow::Result;
use event::{BadInput, Dimension, Event};
use model::{Checkpoint, Weights};
use prune::{Scope, Sites};
use search::{Anneal, AnnealConfig};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::Ctx;

/// Thresholds that purification tries for all sites at once, as shares of a site's mean score.
const THRESHOLDS: [f32; 5] = [0.05, 0.1, 0.2, 0.3, 0.5];

settings! {
    /// Settings of AutoCompress.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct AutoCompressConfig {
        /// How much is pruned in the end.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// Each round aims at so many times less than the round before.
        pub round: f64 = 2.0, number(above(1); "×");
        /// In which ways, one after the other: filter, channel, column, or element alone.
        pub dimensions: Vec<Dimension> = vec![Dimension::Filter, Dimension::Column], other;
        /// Least share of a layer that stays in one round.
        pub floor: f32 = 0.1, number(above(0), at_most(1));
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// Which parts a search leaves out first, those of the lowest score: Σ|w|, ‖w‖₂, |γ|, |Σ w·∂loss/∂w|, the distance to the
        /// others, all that goes with it, or by chance. ADMM goes by ‖w‖₂, as its projections do.
        pub score: Ranking = Ranking::default(), choice(Ranking::NAMES);
        /// Layers that are left alone, e.g. `[{ layer = "conv1" }]`; with `dimension` in that way only, with `density` pruned to
        /// that share in the first round.
        pub locks: Vec<Lock> = Vec::new(), other;
        /// Accuracy on validation images that a round may lose, as a share; a round that loses more is taken back and is the last.
        pub tolerance: f32 = 0.02, number(within(0, 1));
        /// Validation images that each trial is measured on.
        pub images: usize = 1000, number(at_least(1); "images");
        /// Training images that norm statistics are measured on before each trial; 0 keeps them as they are, as the papers do.
        pub calibration: usize = 64, number(within(0, 4096); "images");
        /// Training steps, as of the retraining, that each trial gets before it is measured; 0: none, as the papers do. When cuts
        /// are deep, accuracy without any training says little of accuracy after it.
        pub tuning: u64 = 0, number(within(0, 10_000); "steps");
        /// Annealing of densities.
        pub search: AnnealConfig = AnnealConfig::default(), section;
        /// Training towards sparse weights.
        pub admm: AdmmSchedule = AdmmSchedule::default(), section;
        /// Training after each round, with zeros held.
        pub retrain: TrainingStage = TrainingStage::default(), section;
        /// Purification (AutoCompress, phase 2).
        pub purify: Purify = Purify::default(), section;
    }
    check dimensions_and_locks;
}

fn dimensions_and_locks(config: &AutoCompressConfig, _at: &str) -> Result<()> {
    check_dimensions(&config.dimensions)?;
    check_densities(&config.locks, config.floor)
}

settings! {
    /// Settings of purification (AutoCompress, phase 2).
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Purify {
        /// Passes; 0 leaves purification out.
        pub passes: u32 = 1, number(at_least(0); "passes");
        /// Accuracy that a pass may lose before it retrains, as a share.
        pub tolerance: f32 = 0.002, number(within(0, 1));
        /// Annealing of thresholds.
        pub search: AnnealConfig = AnnealConfig { guided: false, ..AnnealConfig::default() }, section;
        /// Training after each pass, with zeros held.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
}

impl AutoCompressConfig {
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
pub(crate) fn run(ctx: &mut Ctx, config: &AutoCompressConfig) -> Result<Checkpoint> {
    check_tuning(ctx, "method.tuning", config.tuning, &config.retrain)?;
    // A site may come to its floor in every round.
    let scope_of_all = Scope {
        floor: config.floor.powi(config.rounds().len() as i32),
        ..scope(config)
    };
    check_target(
        ctx,
        &config.target,
        &scope_of_all,
        (&config.locks, config.width_multiple),
    )?;
    let (mut model, start) = trained_model(ctx, &config.locks, config.width_multiple)?;
    ctx.run.min_top1.set(start - config.tolerance);
    let budget = Budget::new(ctx, config.target.unit, &model)?;
    let sites = Sites::new(&model, &scope(config)).map_err(BadInput::of)?;
    check_sites(&config.locks, &sites.list)?;
    let unpruned = budget.unpruned(&sites);
    let mut before = EarlierSearches::default();
    for (i, times) in config.rounds().into_iter().enumerate() {
        let name = format!("round {}", i + 1);
        let (mut next, manual) = round(ctx, (config, &budget), &name, (&model, &before), unpruned / times)?;
        let top1 = train::validate(ctx, &mut next)?;
        if top1 < start - config.tolerance {
            let text = format!(
                "{name} ({times:.1} times less) ends at {:.2} % of {:.2} %: taken back, the round before was the last",
                top1 * 100.0,
                start * 100.0
            );
            ctx.emit(Event::Warning { text })?;
            break;
        }
        ctx.keep(&next)?;
        model = next;
        before.are_applied = true;
        before.manual_locks.extend(manual);
    }
    for pass in 1..=config.purify.passes {
        let name = format!("purification {pass}");
        let (mut next, manual) = purify(ctx, (config, &budget), &name, (&model, &before))?;
        let top1 = train::validate(ctx, &mut next)?;
        if top1 < start - config.tolerance {
            let text = format!("{name} ends at {:.2} %: taken back", top1 * 100.0);
            ctx.emit(Event::Warning { text })?;
            break;
        }
        model = next;
        before.manual_locks.extend(manual);
    }
    budget.report_latency(ctx, &model, unpruned / config.target.times)?;
    Ok(model)
}

fn scope(config: &AutoCompressConfig) -> Scope {
    Scope::new(&config.dimensions, config.floor, config.target.unit)
}

/// What can be decided of a model, by the score that is set.
fn sites(ctx: &mut Ctx, config: &AutoCompressConfig, name: &str, model: &Checkpoint) -> Result<Sites> {
    let score = config.score.score(ctx, &format!("{name}/ranking"), model)?;
    Ok(Sites::new(model, &scope(config).by(score)).map_err(BadInput::of)?)
}

/// Search, ADMM, retraining: to at most `limit`. Gives what the user held and freed meanwhile, too.
fn round(
    ctx: &mut Ctx,
    (config, budget): (&AutoCompressConfig, &Budget),
    name: &str,
    (model, before): (&Checkpoint, &EarlierSearches),
    limit: f64,
) -> Result<(Checkpoint, Vec<ManualLock>)> {
    let sites = sites(ctx, config, name, model)?;
    let target = Structures::new(ctx, model, &sites, budget, config.calibration);
    let target = target.tuned_for(ctx, config.tuning, &config.retrain);
    let search = SearchLoop {
        name: name.to_owned(),
        target: &target,
        floor: config.floor,
        held: held_densities(&config.locks, &sites.list, before),
        first: Vec::new(),
        unit: budget.unit,
        limit,
        images: config.images,
        reward: &|top1, _| top1,
    };
    let anneal = Anneal::new(config.search.clone(), ctx.seed)?;
    let found = search.run(ctx, &format!("{name}/search"), anneal)?;
    let mut near = model.clone();
    for &dimension in &config.dimensions {
        let stage = format!("{name}/{} ADMM", dimension.name());
        near = prune_along(ctx, &stage, "autocompress", &near, &found, dimension, &config.admm)?;
    }
    let stage = format!("{name}/retraining");
    Ok((
        retrain(ctx, &stage, "autocompress", &near, &config.retrain)?,
        found.manual_locks,
    ))
}

/// Phase 2: each site loses what scores below a threshold of its own, so that as much as possible goes while the accuracy
/// stays. One threshold for all is swept first; from the best of those the same search goes on with a density for each site,
/// which is the same as a threshold. Dead paths fall with the cut.
fn purify(
    ctx: &mut Ctx,
    (config, budget): (&AutoCompressConfig, &Budget),
    name: &str,
    (model, before): (&Checkpoint, &EarlierSearches),
) -> Result<(Checkpoint, Vec<ManualLock>)> {
    let purify = &config.purify;
    let sites = sites(ctx, config, name, model)?;
    let held = held_densities(&config.locks, &sites.list, before);
    let mut first = vec![purify.search.first.clone()];
    first.retain(|given| given.len() == sites.list.len());
    first.extend(swept(&sites, &model.weights, &held)?);
    let unpruned = budget.unpruned(&sites);
    let target = Structures::new(ctx, model, &sites, budget, config.calibration);
    let least = unpruned_top1(ctx, &target, usize::MAX)? - purify.tolerance;
    let search = SearchLoop {
        name: name.to_owned(),
        target: &target,
        floor: config.floor,
        held,
        first,
        unit: budget.unit,
        limit: f64::INFINITY,
        images: usize::MAX,
        // Densities that keep the accuracy earn what they remove; others earn less the more they lose.
        reward: &|top1, spent| {
            if top1 >= least {
                1.0 - (spent / unpruned) as f32
            } else {
                top1 - least
            }
        },
    };
    let anneal = Anneal::new(purify.search.clone(), ctx.seed)?;
    let found = search.run(ctx, &format!("{name}/search"), anneal)?;
    // Where nothing can be pruned without loss, the retraining is still due: rounds end with a short one.
    let pure = if found.reward > 0.0 {
        cut(model, &sites.masks(&found.densities, &model.weights)?)?
    } else {
        model.clone()
    };
    let stage = format!("{name}/retraining");
    Ok((
        retrain(ctx, &stage, "autocompress", &pure, &purify.retrain)?,
        found.manual_locks,
    ))
}

/// What [`THRESHOLDS`] leave of each site, one for all that are not held.
fn swept(sites: &Sites, weights: &Weights, held: &[Option<f32>]) -> Result<Vec<Vec<f32>>> {
    let mut out = Vec::new();
    for threshold in THRESHOLDS {
        let mut densities = sites.densities_above(&vec![threshold; sites.list.len()], weights)?;
        let fixed = densities
            .iter_mut()
            .zip(held)
            .filter_map(|(d, held)| Some((d, (*held)?)));
        fixed.for_each(|(d, held)| *d = held);
        out.push(densities);
    }
    // Where nothing lies between two thresholds they leave the same.
    out.dedup();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Unit;
    use model::{random_model, zoo};

    #[test]
    fn higher_thresholds_leave_less_of_what_is_not_held() {
        let mut model =
            random_model(zoo::build("m-cifarnet", [3, 12, 12], 3, 0.25).expect("builds"), 1).expect("builds");
        for (name, array) in &mut model.weights {
            // Filters of norms from nothing to all.
            let each = array.data.len() / array.shape[0];
            let share = |i: usize| (i / each) as f32 / array.shape[0] as f32;
            let of = name.ends_with("weight").then_some(&mut array.data);
            of.into_iter().flatten().enumerate().for_each(|(i, w)| *w *= share(i));
        }
        let config = AutoCompressConfig {
            dimensions: vec![Dimension::Filter],
            ..AutoCompressConfig::default()
        };
        let sites = Sites::new(&model, &scope(&config)).expect("sites");
        let mut held = vec![None; sites.list.len()];
        held[1] = Some(0.75);
        let swept = swept(&sites, &model.weights, &held).expect("sweeps");
        assert!(swept.len() >= 3, "{swept:?}");
        let falls = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| a >= b) && a != b;
        assert!(swept.windows(2).all(|two| falls(&two[0], &two[1])), "{swept:?}");
        assert!(swept.iter().all(|d| d[1] == 0.75 && d[0] < 1.0), "{swept:?}");
    }

    #[test]
    fn rounds_double_up_to_the_target() {
        let rounds = |times: f64| {
            AutoCompressConfig {
                target: PruningTarget {
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
