//! What pruning methods are put together from: a trained model to begin with, retraining, and what it cost.
//! Knows nothing of how rates are found.

use super::locks;
use super::locks::Lock;
use anyhow::{Result, ensure};
use event::{BadInput, Dimension, Unit};
use model::Checkpoint;
use serde::{Deserialize, Serialize};
use settings::settings;
use train::{Ctx, TrainConfig, TrainingPlan};

settings! {
    /// A stretch of training within a method. Everything else is as in `[train]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct TrainingStage {
        /// Passes over the training images.
        pub epochs: u32 = 4, number(within(1, 100_000); "epochs");
        /// Highest learning rate.
        pub lr: f32 = 0.03, number(above(0));
    }
}

impl TrainingStage {
    /// With the run's other settings. It begins with trained weights, so the rate need not rise for long.
    pub fn over(&self, train: &TrainConfig) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            lr: self.lr,
            warmup: train.warmup.min(0.1),
            ..train.clone()
        }
    }
}

settings! {
    /// How much is pruned, counted in what.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct PruningTarget {
        /// What is counted: weights, MACs, or milliseconds on this machine.
        pub unit: Unit = Unit::Macs, choice(["weights", "macs", "ms"]);
        /// How many times less than the model it starts from.
        pub times: f64 = 4.0, number(above(1); "×");
    }
}

/// Checks a list of dimensions in which weights are pruned.
///
/// # Errors
/// An empty list, one dimension twice, gates, or single weights together with structures.
pub(crate) fn check_dimensions(dimensions: &[Dimension]) -> Result<()> {
    ensure!(
        !dimensions.is_empty(),
        "method.dimensions is empty, expected e.g. [\"filter\", \"column\"]"
    );
    ensure!(
        !dimensions.contains(&Dimension::Gate),
        "method.dimensions has gate, expected filter, channel, column or element"
    );
    ensure!(
        dimensions == [Dimension::Element] || !dimensions.contains(&Dimension::Element),
        "method.dimensions has element together with others, expected it alone"
    );
    let twice = (1..dimensions.len()).any(|i| dimensions[..i].contains(&dimensions[i]));
    ensure!(!twice, "method.dimensions has one dimension twice");
    Ok(())
}

/// Marks an error as the fault of what was asked.
pub fn bad_input(e: anyhow::Error) -> anyhow::Error {
    BadInput(format!("{e:#}")).into()
}

/// How stages call a dimension.
pub fn word(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Filter => "filter",
        Dimension::Channel => "channel",
        Dimension::Column => "column",
        Dimension::Element => "element",
        Dimension::Gate => "gate",
    }
}

/// The model to start from, if one was given: the run goes on with its network and its normalization.
///
/// # Errors
/// [`BadInput`] for a model that does not fit the images.
pub fn given(ctx: &mut Ctx) -> Result<Option<Checkpoint>> {
    let Some(start) = ctx.start.take() else { return Ok(None) };
    let shape = ctx.spec.input;
    if start.spec().input != shape || start.header.classes.len() != ctx.data.classes.len() {
        return Err(BadInput(format!(
            "the model to start from reads {:?} and knows {} classes, the images are {shape:?} of {}",
            start.spec().input,
            start.header.classes.len(),
            ctx.data.classes.len()
        ))
        .into());
    }
    // Pixels must be shown to it as they were when it learned.
    ctx.normalization = start.header.normalization.clone();
    ctx.spec = start.spec().clone();
    Ok(Some(start))
}

/// The trained model that pruning begins with: the one given, or the network trained as `[train]` says. Gives its accuracy too.
/// `locks` are checked before, against the network's layers.
///
/// # Errors
/// [`BadInput`] for a lock on a layer that is not there, or a model that does not fit the images, or classifies hardly better than chance.
pub fn trained(ctx: &mut Ctx, locks: &[Lock]) -> Result<(Checkpoint, f32)> {
    locks::check(locks, ctx.start.as_ref().map_or(&ctx.spec, |s| s.spec()))?;
    let mut model = match given(ctx)? {
        Some(start) => start,
        None => {
            let plan = TrainingPlan::plain("dense", ctx.spec.clone(), ctx.train.clone());
            train::fit(ctx, "training", &plan, None, None)?
        }
    };
    let top1 = train::check(ctx, &mut model)?;
    let chance = 1.0 / ctx.data.classes.len() as f32;
    if top1 < chance + 0.05 * (1.0 - chance) {
        return Err(BadInput(format!(
            "the model to start from classifies {:.1} % of the validation images right, hardly better than chance; expected a trained one",
            top1 * 100.0
        ))
        .into());
    }
    Ok((model, top1))
}

/// Trains a pruned model with its masks held: zeros stay zero.
///
/// # Errors
/// As [`train::fit`].
pub fn retrain(
    ctx: &mut Ctx,
    stage: &str,
    method: &'static str,
    model: &Checkpoint,
    how: &TrainingStage,
) -> Result<Checkpoint> {
    let plan = TrainingPlan {
        masks: model.masks.clone(),
        ..TrainingPlan::plain(method, model.spec().clone(), how.over(&ctx.train))
    };
    train::fit(ctx, stage, &plan, Some(model), None)
}
