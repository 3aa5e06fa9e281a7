//! Network Slimming (Liu et al., arXiv 1708.06519): an L1 penalty pushes norm scales γ to zero, one threshold over all layers
//! says which channels go, and the slim network is trained again; several times over if asked.
//! Knows nothing of how channels are cut.
//!
//! ```text
//! repeat:  train with  loss + λ Σ|γ|      (subgradient λ·sign γ)
//!          cut the channels with the smallest |γ| in all the network, as many as the budget asks for; a layer keeps its floor
//!          train without the penalty
//! ```

use crate::budget::Budget;
use crate::pipeline::{PruningTarget, TrainingStage, cut, retrain, trained_model};
use anyhow::{Result, ensure};
use event::{BadInput, Dimension};
use model::{Checkpoint, Weights};
use prune::{Scope, Sites, threshold};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::optimizer::Gradients;
use train::{Ctx, Penalty, TrainingPlan};

settings! {
    /// Settings of Network Slimming.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct SlimmingConfig {
        /// How much is pruned in all passes together.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// Least share of a layer that stays in one pass. The paper has none; then a layer whose scales are all small becomes a
        /// bottleneck.
        pub floor: f32 = 0.05, number(within(0, 1));
        /// λ: weight of the penalty Σ|γ| on norm scales.
        pub lambda: f32 = 1e-4, number(at_least(0));
        /// How often the whole is repeated; each pass takes its equal share, as a factor.
        pub passes: u32 = 1, number(within(1, 16); "passes");
        /// Training with the penalty, in each pass.
        pub sparse: TrainingStage = TrainingStage::default(), section;
        /// Training without the penalty, in each pass.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
}

impl SlimmingConfig {
    /// How many times less after so many passes: each takes its equal share, as a factor.
    fn times(&self, passes: u32) -> f64 {
        self.target.times.powf(f64::from(passes) / f64::from(self.passes))
    }
}

/// λ·sign γ on every norm scale; sign 0 = 0.
struct Subgradient(f32);

impl Penalty for Subgradient {
    fn add(&self, weights: &Weights, gradients: &mut Gradients) {
        for (name, g) in gradients.iter_mut().filter(|(name, _)| name.ends_with(".gamma")) {
            for (g, gamma) in g.iter_mut().zip(&weights[name].data) {
                if *gamma != 0.0 {
                    *g += self.0 * gamma.signum();
                }
            }
        }
    }
}

/// Slims the network, or the model to start from.
pub(crate) fn run(ctx: &mut Ctx, config: &SlimmingConfig) -> Result<Checkpoint> {
    let (model, _) = trained_model(ctx, &[])?;
    let mut model = train::norms::add_missing(ctx, model)?;
    let budget = Budget::new(ctx, config.target.unit, &model)?;
    let unpruned = spent_by(&model, &budget)?;
    for pass in 1..=config.passes {
        let of = if config.passes > 1 {
            format!("pass {pass}/")
        } else {
            String::new()
        };
        let plan = TrainingPlan::of_model("slimming", &model, config.sparse.over(&ctx.train));
        let mut penalty = Subgradient(config.lambda);
        let stage = format!("{of}sparse training");
        model = train::fit(ctx, &stage, &plan, Some(&model), Some(&mut penalty))?;
        model = within(&model, (&budget, config.floor), unpruned / config.times(pass)).map_err(BadInput::of)?;
        model = retrain(ctx, &format!("{of}retraining"), "slimming", &model, &config.retrain)?;
    }
    budget.report_latency(ctx, &model, unpruned / config.target.times)?;
    Ok(model)
}

fn spent_by(model: &Checkpoint, budget: &Budget) -> Result<f64> {
    // A layer with one channel left has no filters to choose among, but still a cost.
    let sites = Sites::new(model, &Scope::new(&[Dimension::Element], 0.0, budget.unit))?;
    Ok(budget.unpruned(&sites))
}

/// The model without its channels of smallest |γ|, as few of them as meet the limit.
fn within(model: &Checkpoint, (budget, floor): (&Budget, f32), limit: f64) -> Result<Checkpoint> {
    let without = |remove: usize| -> Result<Checkpoint> { cut(model, &threshold::slimming(model, floor, remove)?) };
    let most = threshold::most(model, floor)?;
    let least = spent_by(&without(most)?, budget)?;
    ensure!(
        least <= limit,
        "a budget of {limit:.3} cannot be met: with this floor the smallest possible is {least:.3}"
    );
    // Cutting more never costs more: the fewest that fit lie in low..=fits.
    let (mut low, mut fits) = (0, most);
    while low < fits {
        let middle = usize::midpoint(low, fits);
        if spent_by(&without(middle)?, budget)? > limit {
            low = middle + 1;
        } else {
            fits = middle;
        }
    }
    without(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Array;

    #[test]
    fn passes_take_equal_shares() {
        // Sparsity 0.8 and 0.9 in three rounds.
        for (times, totals) in [(5.0, [0.415_196, 0.658_005, 0.8]), (10.0, [0.535_841, 0.784_557, 0.9])] {
            let config = SlimmingConfig {
                target: PruningTarget {
                    times,
                    ..PruningTarget::default()
                },
                passes: 3,
                ..SlimmingConfig::default()
            };
            for (pass, total) in (1..).zip(totals) {
                assert!((1.0 - 1.0 / config.times(pass) - total).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_subgradient_is_that_of_the_paper() {
        let gamma = Array {
            shape: vec![3],
            data: vec![0.5, -0.3, 0.0],
        };
        let weights = Weights::from([("n.gamma".to_owned(), gamma)]);
        let mut gradients = Gradients::from([("n.gamma".to_owned(), vec![0.01, 0.0, -0.02])]);
        Subgradient(1e-4).add(&weights, &mut gradients);
        for (got, expected) in gradients["n.gamma"].iter().zip([0.0101, -0.0001, -0.02]) {
            assert!((got - expected).abs() < 1e-9, "{got} {expected}");
        }
    }
}
