//! Accuracy, loss and MACs of a checkpoint over a split, by the inference engine.
//! Knows nothing of training.

use crate::context::Ctx;
use anyhow::Result;
use data::Split;
use infer::{Engine, EvalMetrics, LabeledImages, Options, evaluate};
use model::{Checkpoint, Density};
use std::ops::ControlFlow;

/// Images a run of the engine; small enough that a stop is noticed at once.
const BATCH: usize = 64;

/// Measures `checkpoint` over a whole split: with every gate at `density`, or each at its own where `gates` names them.
///
/// # Errors
/// The model cannot be compiled.
pub(crate) fn measure(
    ctx: &Ctx,
    checkpoint: &Checkpoint,
    (density, gates): (Density, &[Density]),
    split: Split,
) -> Result<EvalMetrics> {
    let mut engine = infer::compile(
        checkpoint,
        &Options {
            threads: ctx.threads,
            batch: BATCH,
            ..Options::default()
        },
    )?;
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
    evaluate(&mut engine, images, &mut check, &mut |_| Ok(()))
}
