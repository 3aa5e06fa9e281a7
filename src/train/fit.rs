//! The training loop, in a screenful.
//! Knows nothing of where densities come from or who listens.

use super::optimizer::{Rates, Sgd, Tensors};
use super::{Ctx, calibrate::calibrate, measure::measure};
use crate::data::Split;
use crate::data::batch::{self, Epoch};
use crate::event::Event;
use crate::model::checkpoint::{Header, Metric, SCHEMA};
use crate::model::net::{Net, NormStatistics, Norms, Output, Pass};
use crate::model::{Checkpoint, Density, NetSpec, cost, mask::Masks, weights};
use anyhow::{Result, ensure};
use burn::tensor::{Tensor, TensorData, activation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a method asks of the loop.
pub struct Plan<'a> {
    /// Name kept with the model.
    pub method: &'static str,
    /// The network to train.
    pub spec: NetSpec,
    /// λ of the saliency term.
    pub lambda: f32,
    /// Over which images norms are taken.
    pub norm_statistics: NormStatistics,
    /// Densities of a step (step, of steps): one entry for each equal part of the batch.
    pub densities: &'a dyn Fn(u64, u64) -> Vec<Density>,
    /// Densities to keep norm statistics for, rising.
    pub kept: Vec<Density>,
    /// Training images that statistics are measured on.
    pub calibration: usize,
}

/// Trains a network as planned, measures it on the validation images after every epoch, and at the end,
/// at every kept density, on validation and test images.
///
/// # Errors
/// [`crate::event::Cancelled`]; a loss that is not a number (with the step).
pub fn fit(ctx: &mut Ctx, plan: &Plan) -> Result<Checkpoint> {
    let train = ctx.train.clone();
    let spec = Arc::new(plan.spec.clone());
    let n = ctx.splits.train.len();
    ensure!(
        n >= train.batch,
        "{n} training images are less than one batch of {}",
        train.batch
    );
    let per_epoch = (n / train.batch) as u64;
    let steps = per_epoch * u64::from(train.epochs);
    let start = starting_weights(ctx, &spec)?;
    let mut net = Net::new(spec.clone(), &start, &ctx.device)?;
    let mut sgd = Sgd::default();
    let images = [n, ctx.splits.valid.len(), ctx.splits.test.len()];
    (ctx.emit)(Event::Started {
        spec: spec.clone(),
        dense: cost::dense(&ctx.spec)?,
        steps,
        images,
    })?;
    for epoch in 0..train.epochs {
        let name = format!("epoch {} of {}", epoch + 1, train.epochs);
        (ctx.emit)(Event::Phase {
            name,
            progress: epoch as f32 / train.epochs as f32,
        })?;
        let order = batch::epoch_order(
            Epoch {
                seed: ctx.seed,
                number: u64::from(epoch),
            },
            &ctx.splits.train,
        );
        let mut said = Said::default();
        for (i, indices) in order.chunks_exact(train.batch).enumerate() {
            let step = u64::from(epoch) * per_epoch + i as u64;
            let (loss, right) = one_step(
                ctx,
                plan,
                &mut net,
                &mut sgd,
                Step {
                    number: step,
                    of: steps,
                    epoch,
                    indices,
                },
            )?;
            said.add(loss, right, indices.len());
            if (step + 1).is_multiple_of(train.log_every) || step + 1 == steps {
                let said = std::mem::take(&mut said);
                let (loss, top1) = said.means();
                (ctx.emit)(Event::Step {
                    step: step + 1,
                    loss,
                    top1,
                    lr: train.lr_at(step, steps),
                })?;
            }
        }
        if epoch + 1 < train.epochs {
            look(ctx, plan, &net, epoch + 1)?;
        }
    }
    keep(ctx, plan, &net)
}

struct Step<'a> {
    number: u64,
    of: u64,
    epoch: u32,
    indices: &'a [u32],
}

/// Sums since the last `step` event.
#[derive(Default)]
struct Said {
    loss: f64,
    right: usize,
    images: usize,
}

impl Said {
    fn add(&mut self, loss: f32, right: usize, images: usize) {
        self.loss += f64::from(loss) * images as f64;
        self.right += right;
        self.images += images;
    }

    fn means(&self) -> (f32, f32) {
        let n = self.images.max(1) as f64;
        ((self.loss / n) as f32, (self.right as f64 / n) as f32)
    }
}

fn starting_weights(ctx: &Ctx, spec: &NetSpec) -> Result<weights::Weights> {
    let mut start = weights::init(spec, ctx.seed)?;
    if let Some(from) = &ctx.start {
        let mut taken = 0;
        for (name, to) in &mut start {
            let Some(array) = from.weights.get(name) else { continue };
            ensure!(
                array.shape == to.shape,
                "the model to start from has {name} of shape {:?}, expected {:?}",
                array.shape,
                to.shape
            );
            to.data.clone_from(&array.data);
            taken += 1;
        }
        ensure!(
            taken > 0,
            "the model to start from shares no weights with {}",
            spec.name
        );
    }
    Ok(start)
}

/// Cross-entropy + λ·L1 → gradients → update. Gives the loss and how many images were classified right.
fn one_step(ctx: &mut Ctx, plan: &Plan, net: &mut Net, sgd: &mut Sgd, step: Step) -> Result<(f32, usize)> {
    let device = ctx.device.clone().autodiff();
    let [c, h, w] = net.spec.input;
    let n = step.indices.len();
    let mut densities = (plan.densities)(step.number, step.of);
    if !n.is_multiple_of(densities.len()) {
        densities.truncate(1);
    }
    let gates = net.spec.gates().len();
    let groups: Vec<Vec<Density>> = densities.iter().map(|&d| vec![d; gates]).collect();
    let mut pixels = Vec::new();
    let epoch = Epoch {
        seed: ctx.seed,
        number: u64::from(step.epoch),
    };
    batch::fill(
        &ctx.data.train,
        step.indices,
        Some((&ctx.augment, epoch)),
        &ctx.normalization,
        &mut pixels,
    );
    let labels: Vec<usize> = step
        .indices
        .iter()
        .map(|&i| usize::from(ctx.data.train.labels[i as usize]))
        .collect();

    let params: Tensors = net
        .params
        .iter()
        .map(|(name, p)| (name.clone(), p.clone().autodiff().require_grad()))
        .collect();
    let x = Tensor::<4>::from_data(TensorData::new(pixels, [n, c, h, w]), &device);
    let pass = Pass {
        groups: &groups,
        norms: Norms::Batch(plan.norm_statistics),
        dropout: Some(ctx.seed ^ (step.number << 20)),
    };
    let Output { logits, l1, .. } = net.forward(&params, x, &pass)?;
    (ctx.check)()?;
    let right = right_ones(&logits, &labels)?;
    let mut loss = cross_entropy(logits, &labels, ctx.train.label_smoothing);
    if let Some(l1) = l1.filter(|_| plan.lambda > 0.0) {
        loss = loss + l1.mul_scalar(plan.lambda);
    }
    let value = loss.clone().into_scalar::<f32>();
    ensure!(
        value.is_finite(),
        "the loss is {value} at step {}: a smaller train.lr or train.clip_norm may help",
        step.number
    );
    let mut gradients = loss.backward();
    (ctx.check)()?;
    let grads: Tensors = params
        .iter()
        .filter_map(|(name, p)| Some((name.clone(), p.grad_remove(&mut gradients)?)))
        .collect();
    let rates = Rates {
        lr: ctx.train.lr_at(step.number, step.of),
        momentum: ctx.train.momentum,
        weight_decay: ctx.train.weight_decay,
        clip_norm: ctx.train.clip_norm,
    };
    sgd.step(&mut net.params, grads, rates);
    Ok((value, right))
}

/// Mean over images of −Σ q·log softmax, q the one-hot target with `smoothing` spread over all classes.
pub(super) fn cross_entropy(logits: Tensor<2>, labels: &[usize], smoothing: f32) -> Tensor<1> {
    let [n, classes] = logits.dims();
    let mut target = vec![smoothing / classes as f32; n * classes];
    for (image, &label) in labels.iter().enumerate() {
        target[image * classes + label] += 1.0 - smoothing;
    }
    let target = Tensor::<2>::from_data(TensorData::new(target, [n, classes]), &logits.device());
    (activation::log_softmax(logits, 1) * target)
        .sum()
        .div_scalar(-(n as f32))
}

fn right_ones(logits: &Tensor<2>, labels: &[usize]) -> Result<usize> {
    let [_, classes] = logits.dims();
    let values: Vec<f32> = logits.to_data().try_to_vec()?;
    let best = |row: &[f32]| (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
    Ok(values
        .chunks_exact(classes)
        .zip(labels)
        .filter(|(row, label)| best(row) == **label)
        .count())
}

/// A quick look after an epoch: the largest, the middle and the smallest kept density, on validation images. The model is kept.
fn look(ctx: &mut Ctx, plan: &Plan, net: &Net, epoch: u32) -> Result<()> {
    let kept = &plan.kept;
    let mut looked = vec![kept[0], kept[kept.len() / 2], kept[kept.len() - 1]];
    looked.dedup();
    let mut checkpoint = checkpoint(ctx, plan, net, looked)?;
    let mut metrics = Vec::new();
    for density in checkpoint.header.densities.clone().into_iter().rev() {
        metrics.push(say(ctx, &checkpoint, density, Split::Valid, epoch)?);
    }
    let top1 = metrics[0].top1;
    checkpoint.header.metrics = metrics;
    let model = (ctx.keep)(&checkpoint)?;
    let cost = cost::dense(checkpoint.spec())?;
    Ok((ctx.emit)(Event::Kept { model, cost, top1 })?)
}

/// The finished model: statistics of every kept density, each measured on validation and test images.
fn keep(ctx: &mut Ctx, plan: &Plan, net: &Net) -> Result<Checkpoint> {
    (ctx.emit)(Event::Phase {
        name: "measuring".into(),
        progress: 1.0,
    })?;
    let mut checkpoint = checkpoint(ctx, plan, net, plan.kept.clone())?;
    let mut metrics = Vec::new();
    for &density in plan.kept.iter().rev() {
        for split in [Split::Valid, Split::Test] {
            metrics.push(say(ctx, &checkpoint, density, split, ctx.train.epochs)?);
        }
    }
    checkpoint.header.metrics = metrics;
    Ok(checkpoint)
}

fn checkpoint(ctx: &mut Ctx, plan: &Plan, net: &Net, densities: Vec<Density>) -> Result<Checkpoint> {
    let gates = net.spec.gates().len();
    let mut stats = BTreeMap::new();
    for &density in &densities {
        stats.insert(
            density,
            calibrate(ctx, net, &vec![density; gates], plan.norm_statistics, plan.calibration)?,
        );
    }
    let header = Header {
        schema: SCHEMA,
        spec: plan.spec.clone(),
        normalization: ctx.normalization.clone(),
        classes: ctx.data.classes.clone(),
        method: plan.method.to_owned(),
        data: ctx.data.name.clone(),
        densities,
        metrics: Vec::new(),
        recipe: ctx.recipe.clone(),
    };
    Ok(Checkpoint {
        header,
        weights: net.weights()?,
        masks: Masks::new(),
        stats,
    })
}

fn say(ctx: &mut Ctx, checkpoint: &Checkpoint, density: Density, split: Split, epoch: u32) -> Result<Metric> {
    let tally = measure(ctx, checkpoint, density, split)?;
    let (top1, loss, macs) = (tally.top1(), tally.loss(), tally.macs());
    (ctx.emit)(Event::Epoch {
        epoch,
        split,
        density,
        loss,
        top1,
        macs,
        n: tally.n,
    })?;
    if split == Split::Valid {
        (ctx.emit)(Event::Layers {
            layers: tally.layers(checkpoint.spec()).into(),
        })?;
    }
    Ok(Metric {
        density,
        split: split.name().to_owned(),
        top1,
        n: tally.n,
        macs,
    })
}
