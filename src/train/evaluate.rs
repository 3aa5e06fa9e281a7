//! From weights to a model: norm statistics, and its accuracy, measured during training and at the end.
//! Knows nothing of how weights are found.

use crate::calibrate::calibrate;
use crate::context::Ctx;
use crate::finite;
use crate::net::Net;
use crate::plan::TrainingPlan;
use anyhow::Result;
use data::Split;
use event::Event;
use infer::{Engine, EvalMetrics, LabeledImages, Options};
use model::checkpoint::{Metric, ModelHeader, SCHEMA};
use model::{Checkpoint, Density, Fractions, Weights, cost};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Images per run of the engine; few enough that a stop is noticed at once.
const BATCH: usize = 64;

/// After so many steps and epochs of this training: saves the model, measured on validation images at the largest, the middle
/// and the smallest density.
pub(crate) fn evaluate_epoch(
    ctx: &mut Ctx,
    plan: &TrainingPlan,
    net: &Net,
    weights: &Weights,
    [steps, epochs]: [u64; 2],
) -> Result<()> {
    let grid = &plan.grid;
    let mut some = vec![grid[0], grid[grid.len() / 2], grid[grid.len() - 1]];
    some.dedup();
    let mut checkpoint = checkpoint_of(ctx, plan, net, weights.clone(), some)?;
    let done = [ctx.done[0] + steps, ctx.done[1] + epochs];
    let mut metrics = Vec::new();
    for density in checkpoint.header.densities.clone().into_iter().rev() {
        metrics.push(evaluate(ctx, &checkpoint, (density, &[]), Split::Valid, done)?);
    }
    let top1 = metrics[0].top1;
    checkpoint.header.metrics = metrics;
    let model = ctx.keep(&checkpoint)?;
    let spec = checkpoint.spec();
    let cost = cost::total(spec, &checkpoint.masks, &Fractions::dense(spec))?;
    Ok(ctx.emit(Event::Kept { model, cost, top1 })?)
}

/// Measures a model on the validation images at its highest density and writes that into the model. Gives its accuracy.
///
/// # Errors
/// [`event::Cancelled`]; a loss that is not a number.
pub fn validate(ctx: &mut Ctx, model: &mut Checkpoint) -> Result<f32> {
    let highest = model.header.densities.last().copied().unwrap_or(Density::FULL);
    let metric = evaluate(ctx, model, (highest, &[]), Split::Valid, ctx.done)?;
    let top1 = metric.top1;
    model.header.metrics = vec![metric];
    Ok(top1)
}

/// The end of a run: measures the model at every density of its grid, and at those that a search found for its gates, on
/// validation images and, this once, on test images.
///
/// # Errors
/// [`event::Cancelled`]; a loss that is not a number.
pub fn finish(ctx: &mut Ctx, mut model: Checkpoint) -> Result<Checkpoint> {
    ctx.phase("measuring".into(), 1.0)?;
    let mut metrics = Vec::new();
    let uniform = model.header.densities.iter().rev().map(|&d| (d, &[][..]));
    let found = &model.header.gate_densities;
    let found = found.iter().max().map(|&d| (d, &found[..]));
    for at in uniform.chain(found) {
        for split in [Split::Valid, Split::Test] {
            metrics.push(evaluate(ctx, &model, at, split, ctx.done)?);
        }
    }
    model.header.metrics = metrics;
    Ok(model)
}

/// A model with norm statistics at these densities.
pub(crate) fn checkpoint_of(
    ctx: &Ctx,
    plan: &TrainingPlan,
    net: &Net,
    weights: Weights,
    densities: Vec<Density>,
) -> Result<Checkpoint> {
    let gates = net.spec.gates().len();
    let mut stats = BTreeMap::new();
    for &density in &densities {
        let moments = calibrate(ctx, net, &vec![density; gates], plan.norm_statistics, plan.calibration)?;
        stats.insert(density, moments);
    }
    let header = ModelHeader {
        schema: SCHEMA,
        spec: plan.spec.clone(),
        normalization: ctx.data.normalization.clone(),
        classes: ctx.data.dataset.classes.clone(),
        method: plan.method.to_owned(),
        data: ctx.data.dataset.name.clone(),
        densities,
        gate_densities: Vec::new(),
        width_multiple: plan.width_multiple,
        byte_inputs: plan.byte_inputs.clone(),
        channels: plan.channels.clone(),
        metrics: Vec::new(),
        recipe: ctx.recipe.clone(),
    };
    Ok(Checkpoint {
        header,
        weights,
        masks: plan.masks.clone(),
        stats,
    })
}

/// Measures a model on a split with every gate at `density`, or each at its own where `gates` names them, and emits the result.
fn evaluate(
    ctx: &mut Ctx,
    checkpoint: &Checkpoint,
    (density, gates): (Density, &[Density]),
    split: Split,
    [steps, epochs]: [u64; 2],
) -> Result<Metric> {
    let metrics = measure(ctx, checkpoint, (density, gates), split)?;
    let gates = gates.to_vec();
    let (top1, loss, macs) = (metrics.top1(), metrics.loss(), metrics.macs());
    // What is not a number at the highest density is no progress; at others it is a point that classifies nothing right.
    let highest = checkpoint
        .header
        .densities
        .last()
        .is_none_or(|&highest| density == highest);
    if !loss.is_finite() && highest {
        let seen = format!("step {steps}: the {} loss is {loss}", split.name());
        return Err(finite::diverged_model(&seen, checkpoint));
    }
    ctx.emit(Event::Epoch {
        epoch: epochs as u32,
        split,
        density,
        gates: gates.clone(),
        loss,
        top1,
        macs,
        n: metrics.n,
    })?;
    let errors = metrics.errors();
    if split == Split::Test && !errors.is_empty() {
        let each: Vec<String> = errors
            .iter()
            .map(|(name, error)| format!("{name} {error:.4}"))
            .collect();
        let text = format!(
            "relative error of each output against the teacher's, {} images: {}",
            split.name(),
            each.join(", ")
        );
        ctx.emit(Event::Warning { text })?;
    }
    if split == Split::Valid && gates.is_empty() {
        let layers = metrics.layers(checkpoint.spec()).into();
        ctx.emit(Event::Layers { layers })?;
    }
    Ok(Metric {
        density,
        gates,
        split,
        top1,
        n: metrics.n,
        macs,
    })
}

fn measure(
    ctx: &Ctx,
    checkpoint: &Checkpoint,
    (density, gates): (Density, &[Density]),
    split: Split,
) -> Result<EvalMetrics> {
    let options = Options {
        threads: ctx.threads,
        batch: BATCH,
        ..Options::default()
    };
    let mut engine = infer::compile(checkpoint, &options)?;
    if gates.is_empty() {
        engine.set_density(density);
    } else {
        engine.set_densities(gates);
    }
    let images = LabeledImages::Stored {
        images: ctx.data.dataset.images(split),
        indices: ctx.data.splits.indices(split),
        normalization: &ctx.data.normalization,
    };
    let mut check = |_: &mut Engine| Ok(ControlFlow::Continue(ctx.check()?));
    infer::evaluate(&mut engine, images, &mut check, &mut |_| Ok(()))
}
