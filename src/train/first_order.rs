//! How far the loss would move to first order without each weight: w·∂loss/∂w.
//! Knows nothing of what is pruned by it.

use crate::backward::{TrainingBatch, backward};
use crate::context::Ctx;
use crate::net::Net;
use crate::teacher::SoftTargets;
use anyhow::Result;
use data::Split;
use model::{Checkpoint, Density, Weights};
use std::sync::Arc;

/// w·∂loss/∂w of every array, the loss being the mean cross-entropy of `images` training images spread over all of them,
/// with norms over each batch, as in training; of a network without class logits the mean square of its outputs. Nothing is augmented or dropped.
///
/// # Errors
/// [`event::Cancelled`]; a loss that is not a number.
pub fn first_order(ctx: &Ctx, model: &Checkpoint, images: usize) -> Result<Weights> {
    let spec = Arc::new(model.spec().clone());
    let (outputs, classes) = (spec.outputs()?, spec.classes()?);
    let numbers = outputs.last().map_or(0, |o| o.range.end);
    let groups = [vec![Density::FULL; spec.gates().len()]];
    let net = Net::new(spec, &model.weights, &ctx.device)?;
    let mut sums: Weights = model.weights.clone();
    sums.values_mut().for_each(|a| a.data.fill(0.0));
    let indices = data::spread(&ctx.data.splits.train, images);
    for chunk in indices.chunks(ctx.train.batch) {
        let (pixels, labels) = (ctx.data.pixels(Split::Train, chunk), ctx.data.labels(chunk));
        let silence = vec![0.0; if classes == 0 { chunk.len() * numbers } else { 0 }];
        let batch = TrainingBatch {
            teacher: (classes == 0).then(|| SoftTargets::new(&silence, &outputs, 1.0, 1.0)),
            ..TrainingBatch::plain(pixels, &labels, &groups, ctx.run.check)
        };
        let share = chunk.len() as f32 / indices.len() as f32;
        for (name, gradient) in backward(&net, &model.weights, batch)?.gradients {
            let Some(sum) = sums.get_mut(&name) else { continue };
            sum.data.iter_mut().zip(gradient).for_each(|(s, g)| *s += share * g);
        }
    }
    for (name, sum) in &mut sums {
        let weights = &model.weights[name].data;
        sum.data.iter_mut().zip(weights).for_each(|(s, w)| *s *= w);
    }
    Ok(sums)
}
