//! Plain training: the network as it is, the baseline of every comparison.
//! Knows nothing of pruning.

use crate::model::net::NormStatistics;
use crate::model::{Checkpoint, Density};
use crate::train::{self, Ctx, Plan};
use anyhow::Result;

/// Trains the network.
///
/// # Errors
/// [`crate::event::Cancelled`]; a loss that is not a number.
pub fn run(ctx: &mut Ctx) -> Result<Checkpoint> {
    let plan = Plan {
        method: "dense",
        spec: ctx.spec.clone(),
        lambda: 0.0,
        norm_statistics: NormStatistics::All,
        densities: &|_, _| vec![Density::FULL],
        kept: vec![Density::FULL],
        calibration: 2048,
    };
    train::fit(ctx, &plan)
}
