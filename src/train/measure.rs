//! Accuracy, loss and MACs of a checkpoint over a split, by the inference engine.
//! Knows nothing of training.

use super::Ctx;
use anyhow::Result;
use data::{Split, batch};
use infer::{EvalMetrics, Options};
use model::{Checkpoint, Density};

/// Images a run of the engine; small enough that a stop is noticed at once.
const BATCH: usize = 64;

/// Measures `checkpoint` over a whole split: with every gate at `density`, or each at its own where `gates` names them.
///
/// # Errors
/// The model cannot be compiled.
pub fn measure(
    ctx: &mut Ctx,
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
    let images = ctx.data.images(split);
    let mut metrics = EvalMetrics::new(checkpoint.spec());
    let mut pixels = Vec::new();
    for indices in ctx.splits.indices(split).chunks(BATCH) {
        (ctx.check)()?;
        batch::fill(images, indices, None, &ctx.normalization, &mut pixels);
        let labels = indices.iter().map(|&i| images.labels[i as usize]);
        metrics.add(engine.run(&pixels), labels);
    }
    Ok(metrics)
}
