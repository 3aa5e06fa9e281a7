//! From weights to a model: norm statistics, and what it is worth, measured on the way and at the end.
//! Knows nothing of how weights are found.

use super::calibrate::calibrate;
use super::measure::measure;
use super::{Ctx, TrainingPlan};
use crate::net::Net;
use anyhow::Result;
use data::Split;
use event::Event;
use model::checkpoint::{Metric, ModelHeader, SCHEMA};
use model::{Checkpoint, Density, Fractions, Weights, cost};
use std::collections::BTreeMap;

/// A quick look on the way: the largest, the middle and the smallest kept density, on validation images. The model is kept.
pub(crate) fn look(ctx: &mut Ctx, plan: &TrainingPlan, net: &Net, weights: &Weights, epoch: u32) -> Result<()> {
    let kept = &plan.kept;
    let mut looked = vec![kept[0], kept[kept.len() / 2], kept[kept.len() - 1]];
    looked.dedup();
    let mut checkpoint = statistics(ctx, plan, net, weights.clone(), looked)?;
    let epoch = ctx.done[1] as u32 + epoch;
    let mut metrics = Vec::new();
    for density in checkpoint.header.densities.clone().into_iter().rev() {
        metrics.push(say(ctx, &checkpoint, (density, &[]), Split::Valid, epoch)?);
    }
    let top1 = metrics[0].top1;
    checkpoint.header.metrics = metrics;
    let model = (ctx.keep)(&checkpoint)?;
    let cost = cost::total(
        checkpoint.spec(),
        &checkpoint.masks,
        &Fractions::dense(checkpoint.spec()),
    )?;
    Ok((ctx.emit)(Event::Kept { model, cost, top1 })?)
}

/// Measures a model on the validation images at its highest density, says it and writes it into the model. Gives its accuracy.
///
/// # Errors
/// [`event::Cancelled`].
pub fn check(ctx: &mut Ctx, model: &mut Checkpoint) -> Result<f32> {
    let highest = model.header.densities.last().copied().unwrap_or(Density::FULL);
    let epoch = ctx.done[1] as u32;
    let metric = say(ctx, model, (highest, &[]), Split::Valid, epoch)?;
    let top1 = metric.top1;
    model.header.metrics = vec![metric];
    Ok(top1)
}

/// The end of a run: the model at every kept density, and at the densities that were found for its gates, on validation images,
/// and once on test images.
///
/// # Errors
/// [`event::Cancelled`].
pub fn finish(ctx: &mut Ctx, mut model: Checkpoint) -> Result<Checkpoint> {
    (ctx.emit)(Event::Phase {
        name: "measuring".into(),
        progress: 1.0,
    })?;
    let epoch = ctx.done[1] as u32;
    let mut metrics = Vec::new();
    let uniform = model.header.densities.iter().rev().map(|&d| (d, &[][..]));
    let found = &model.header.gate_densities;
    let found = found.iter().max().map(|&d| (d, &found[..]));
    for at in uniform.chain(found) {
        for split in [Split::Valid, Split::Test] {
            metrics.push(say(ctx, &model, at, split, epoch)?);
        }
    }
    model.header.metrics = metrics;
    Ok(model)
}

/// A model with norm statistics at these densities.
pub(crate) fn statistics(
    ctx: &mut Ctx,
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
        normalization: ctx.normalization.clone(),
        classes: ctx.data.classes.clone(),
        method: plan.method.to_owned(),
        data: ctx.data.name.clone(),
        densities,
        gate_densities: Vec::new(),
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

fn say(
    ctx: &mut Ctx,
    checkpoint: &Checkpoint,
    (density, gates): (Density, &[Density]),
    split: Split,
    epoch: u32,
) -> Result<Metric> {
    let metrics = measure(ctx, checkpoint, (density, gates), split)?;
    let gates = gates.to_vec();
    let (top1, loss, macs) = (metrics.top1(), metrics.loss(), metrics.macs());
    (ctx.emit)(Event::Epoch {
        epoch,
        split,
        density,
        gates: gates.clone(),
        loss,
        top1,
        macs,
        n: metrics.n,
    })?;
    if split == Split::Valid && gates.is_empty() {
        (ctx.emit)(Event::Layers {
            layers: metrics.layers(checkpoint.spec()).into(),
        })?;
    }
    Ok(Metric {
        density,
        gates,
        split: split.name().to_owned(),
        top1,
        n: metrics.n,
        macs,
    })
}
