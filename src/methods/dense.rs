//! Plain training: the network as it is, the baseline of every comparison.
//! Knows nothing of pruning.

use crate::pipeline::given_teacher;
use anyhow::Result;
use model::Checkpoint;
use train::{Ctx, TrainingPlan};

/// Trains the network, from random weights; or the model to start from, whatever its network, its masks held.
///
/// # Errors
/// [`event::Cancelled`]; a loss that is not a number; [`event::BadInput`] for a model that does not fit the images.
pub(crate) fn run(ctx: &mut Ctx) -> Result<Checkpoint> {
    let start = given_teacher(ctx)?;
    let plan = match &start {
        Some(start) => TrainingPlan::of_model("dense", start, ctx.train.clone()),
        None => TrainingPlan::plain("dense", ctx.spec.clone(), ctx.train.clone()),
    };
    train::fit(ctx, "training", &plan, start.as_ref(), None)
}
