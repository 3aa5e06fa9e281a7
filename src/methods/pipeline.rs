//! What pruning methods are put together from: a trained model to begin with, pruning settings, retraining.
//! Knows nothing of how densities are found.

use crate::locks;
use crate::locks::{EarlierSearches, Lock};
use anyhow::{Result, anyhow, ensure};
use event::{BadInput, Dimension, Unit};
use model::Checkpoint;
use model::mask::Masks;
use prune::{Scope, Sites};
use search::Space;
use serde::{Deserialize, Serialize};
use settings::settings;
use train::{Ctx, OWN, TrainConfig, TrainingPlan};

settings! {
    /// Training within a method. Everything else is as in `[train]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct TrainingStage {
        /// Passes over the training images; 0: none.
        pub epochs: u32 = 4, number(within(0, 100_000); "epochs");
        /// Highest learning rate.
        pub lr: f32 = 0.03, number(above(0));
    }
}

impl TrainingStage {
    /// With the run's other settings. It begins with trained weights, so the rate need not rise for long.
    pub(crate) fn over(&self, train: &TrainConfig) -> TrainConfig {
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

/// Checks that trials are trained for no longer than what comes after the search; `key` is the setting's. Without a retraining,
/// something else trains in its place.
///
/// # Errors
/// [`BadInput`]: more steps than the retraining has.
pub(crate) fn check_tuning(ctx: &Ctx, key: &str, steps: u64, retrain: &TrainingStage) -> Result<()> {
    let most = (ctx.data.splits.train.len() / ctx.train.batch) as u64 * u64::from(retrain.epochs);
    if steps > most && retrain.epochs > 0 {
        let text = format!("{key} is {steps} steps, expected at most the {most} of method.retrain");
        return Err(BadInput(text).into());
    }
    Ok(())
}

/// The model to start from, if one was given: the run goes on with its network and its normalization.
///
/// # Errors
/// [`BadInput`] for a model that does not fit the images.
pub(crate) fn given_model(ctx: &mut Ctx) -> Result<Option<Checkpoint>> {
    let Some(start) = ctx.start.take() else { return Ok(None) };
    let shape = ctx.spec.input;
    if start.spec().input != shape || start.header.classes.len() != ctx.data.dataset.classes.len() {
        return Err(BadInput(format!(
            "the model to start from reads {:?} and knows {} classes, the images are {shape:?} of {}",
            start.spec().input,
            start.header.classes.len(),
            ctx.data.dataset.classes.len()
        ))
        .into());
    }
    // Pixels must be shown to it as they were when it learned.
    ctx.data.normalization = start.header.normalization.clone();
    ctx.spec = start.spec().clone();
    teach_itself(ctx, &start);
    Ok(Some(start))
}

/// As [`given_model`], for methods that prune nothing: without a model to start from, none can be its own teacher.
///
/// # Errors
/// As [`given_model`]; [`BadInput`] for `train.teacher = "self"` without one.
pub(crate) fn given_teacher(ctx: &mut Ctx) -> Result<Option<Checkpoint>> {
    let start = given_model(ctx)?;
    if start.is_none() && ctx.train.teacher.as_deref() == Some(OWN) {
        return Err(BadInput("train.teacher is self, expected a model to start from (start)".into()).into());
    }
    Ok(start)
}

/// Makes a trained model the teacher of what is trained from now on, if it is to be its own.
fn teach_itself(ctx: &mut Ctx, model: &Checkpoint) {
    if ctx.train.teacher.as_deref() == Some(OWN) {
        ctx.teacher = Some(model.clone());
    }
}

/// Checks before anything is trained that so much can be pruned of the network, or the model to start from.
///
/// # Errors
/// As [`check_reach`]; locks on layers that do not exist.
pub(crate) fn check_target(
    ctx: &Ctx,
    target: &PruningTarget,
    scope: &Scope,
    (locks, width_multiple): (&[Lock], usize),
) -> Result<()> {
    locks::check(locks, ctx.start.as_ref().map_or(&ctx.spec, |s| s.spec()))?;
    let model = match &ctx.start {
        Some(start) => start.clone(),
        None => model::random_model(ctx.spec.clone(), ctx.seed)?,
    };
    check_reach(model, target, scope, (locks, width_multiple))
}

/// Checks that so much can be pruned of a model, whatever its weights, within floors and locks and with widths as multiples. What
/// a network takes in milliseconds is not known yet, and not checked.
///
/// # Errors
/// [`BadInput`]: nothing to prune, locks that hold nothing, or a budget that cannot be met, with the nearest that can.
pub(crate) fn check_reach(
    mut model: Checkpoint,
    target: &PruningTarget,
    scope: &Scope,
    (locks, width_multiple): (&[Lock], usize),
) -> Result<()> {
    if target.unit == Unit::Ms {
        return Ok(());
    }
    model.header.width_multiple = width_multiple;
    let sites = Sites::new(&model, scope).map_err(BadInput::of)?;
    locks::check_sites(locks, &sites.list)?;
    let spent = |densities: &[f32]| match target.unit {
        Unit::Weights => sites.cost(densities).weights as f64,
        _ => sites.cost(densities).macs as f64,
    };
    let space = Space {
        sites: &sites.list,
        floor: vec![scope.floor; sites.list.len()],
        locks: locks::held_densities(locks, &sites.list, &EarlierSearches::default()),
        budget: spent(&vec![1.0; sites.list.len()]) / target.times,
        spent: &spent,
    };
    let narrow = |e: anyhow::Error| match width_multiple {
        1 => e,
        multiple => anyhow!("{e}; method.width_multiple = 1 would allow widths between multiples of {multiple}"),
    };
    Ok(space.check().map_err(narrow).map_err(BadInput::of)?)
}

/// The trained model that pruning begins with: the one given, or the network trained as `[train]` says. Gives its accuracy too.
/// `locks` are checked before, against the network's layers. What is cut of it leaves multiples of `width_multiple`.
///
/// # Errors
/// [`BadInput`] for a lock on a layer that does not exist, or a model that does not fit the images, or classifies hardly better than chance.
pub(crate) fn trained_model(ctx: &mut Ctx, locks: &[Lock], width_multiple: usize) -> Result<(Checkpoint, f32)> {
    locks::check(locks, ctx.start.as_ref().map_or(&ctx.spec, |s| s.spec()))?;
    let mut model = match given_model(ctx)? {
        Some(start) => start,
        None => {
            let plan = TrainingPlan::plain("dense", ctx.spec.clone(), ctx.train.clone());
            let model = train::fit(ctx, "training", &plan, None, None)?;
            teach_itself(ctx, &model);
            model
        }
    };
    model.header.width_multiple = width_multiple;
    let top1 = train::validate(ctx, &mut model)?;
    let chance = 1.0 / ctx.data.dataset.classes.len() as f32;
    // Without classes it is agreement with a teacher.
    if ctx.data.dataset.is_labeled && top1 < chance + 0.05 * (1.0 - chance) {
        return Err(BadInput(format!(
            "the model to start from classifies {:.1} % of the validation images right, hardly better than chance; expected a trained one",
            top1 * 100.0
        ))
        .into());
    }
    Ok((model, top1))
}

/// The model under more masks, without what they leave dead.
pub(crate) fn cut(model: &Checkpoint, masks: &Masks) -> Result<Checkpoint> {
    Ok(prune::cut(&prune::apply(model, masks)?)?.checkpoint)
}

/// Trains a pruned model with its masks held: zeros stay zero. No epochs leave it as it is.
///
/// # Errors
/// As [`train::fit`].
pub(crate) fn retrain(
    ctx: &mut Ctx,
    stage: &str,
    method: &'static str,
    model: &Checkpoint,
    training: &TrainingStage,
) -> Result<Checkpoint> {
    if training.epochs == 0 {
        return Ok(model.clone());
    }
    let plan = TrainingPlan::of_model(method, model, training.over(&ctx.train));
    train::fit(ctx, stage, &plan, Some(model), None)
}
