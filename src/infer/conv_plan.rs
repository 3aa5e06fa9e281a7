//! How a convolution is computed: directly, by Winograd's algorithm, or group by group.
//! Knows nothing of norms, gates or masks.

use super::grouped::GroupedPlan;
use crate::kernel::{Columns, ConvCall, ConvPlan, Layout, Pool, WinogradPlan, WinogradScratch};

/// A plan of either kind.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    Direct(ConvPlan),
    Winograd(WinogradPlan),
    Grouped(GroupedPlan),
}

impl Plan {
    /// The layout it reads.
    pub fn input(&self) -> &Layout {
        match self {
            Plan::Direct(plan) => plan.input(),
            Plan::Winograd(plan) => plan.input(),
            Plan::Grouped(plan) => &plan.input,
        }
    }

    /// The layout it writes.
    pub fn output(&self) -> &Layout {
        match self {
            Plan::Direct(plan) => plan.output(),
            Plan::Winograd(plan) => plan.output(),
            Plan::Grouped(plan) => &plan.output,
        }
    }

    /// An empty list of columns, with room for all.
    pub fn columns(&self) -> Columns {
        match self {
            Plan::Direct(plan) => plan.columns(),
            Plan::Winograd(plan) => plan.columns(),
            Plan::Grouped(plan) => plan.columns.clone(),
        }
    }

    /// Columns of the weight matrix that one listed column stands for: Winograd's lists are of channels, 3×3 columns each.
    pub fn columns_each(&self) -> usize {
        match self {
            Plan::Direct(_) | Plan::Grouped(_) => 1,
            Plan::Winograd(_) => 9,
        }
    }

    /// `[filters, in_channels, kh, kw]` to the weights its calls take.
    pub fn weights(&self, weights: Vec<f32>) -> Vec<f32> {
        match self {
            Plan::Direct(_) | Plan::Grouped(_) => weights,
            Plan::Winograd(plan) => plan.transform(&weights),
        }
    }

    /// Makes `scratch` large enough for its calls.
    pub fn make_room(&self, scratch: &mut WinogradScratch) {
        if let Plan::Winograd(plan) = self {
            plan.make_room(scratch);
        }
    }

    /// Computes the listed filters into `output`; with a pool, on all its threads, to the same bits.
    pub fn run(&self, call: &ConvCall, scratch: &mut WinogradScratch, pool: Option<&mut Pool>, output: &mut [f32]) {
        match (self, pool) {
            (Plan::Direct(plan), Some(pool)) => plan.run_on(pool, call, output),
            (Plan::Direct(plan), None) => plan.run(call, output),
            (Plan::Winograd(plan), Some(pool)) => plan.run_on(pool, call, scratch, output),
            (Plan::Winograd(plan), None) => plan.run(call, scratch, output),
            (Plan::Grouped(_), _) => unreachable!("grouped convolutions list channels, not columns"),
        }
    }
}
