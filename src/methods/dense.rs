//! Plain training: the network as it is, the baseline of every comparison.
//! Knows nothing of pruning.

use crate::model::Checkpoint;
use crate::train::{self, Ctx, Plan};
use anyhow::Result;

/// Trains the network, from the model to start from or from random weights.
///
/// # Errors
/// [`crate::event::Cancelled`]; a loss that is not a number.
pub fn run(ctx: &mut Ctx) -> Result<Checkpoint> {
    let start = ctx.start.take();
    let plan = Plan::plain("dense", ctx.spec.clone(), ctx.train.clone());
    train::fit(ctx, "training", &plan, start.as_ref(), None)
}
