//! Group-norm sparse training (DepGraph: Fang et al., arXiv 2301.12900): all weights that must be cut together with a channel are
//! pushed to zero together, the harder the less the channel weighs in its group; then the lightest channels of the network go.
//! Knows nothing of how channels are cut.
//!
//! ```text
//! I_k = Σ ‖w‖²  over the filters of channel k, the γ of their norms, and the columns that read it
//! train with  loss + λ Σ_groups Σ_k γ_k · I_k / 2,   γ_k = 2^(α (I_max − I_k) / (I_max − I_min)),  held fixed in each gradient
//! cut the channels with the smallest  I_k / mean I  in all the network, as many as the budget asks for; a layer keeps its floor
//! train without the penalty
//! ```

use crate::budget::Budget;
use crate::lowest::{spent_by, within};
use crate::pipeline::{PruningTarget, TrainingStage, check_target, retrain, trained_model};
use anyhow::{Result, ensure};
use event::{BadInput, Dimension, Event};
use model::{Checkpoint, Weights};
use prune::saliency::{Coupled, coupled, group_norms};
use prune::{Scope, Score, groups};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::optimizer::Gradients;
use train::{Ctx, Penalty, TrainConfig, TrainingPlan};

settings! {
    /// Settings of group-norm sparse training.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct GroupNormConfig {
        /// How much is pruned.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// Least share of a layer that stays. The paper has none; then a layer whose norms are all small becomes a bottleneck.
        pub floor: f32 = 0.05, number(within(0, 1));
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// α: the lightest channel of a group is pushed 2^α times as hard as the heaviest.
        pub alpha: f32 = 4.0, number(within(0, 16));
        /// By how many powers of e the penalty alone would shrink the lightest channel of each group in the sparse training:
        /// λ·2^α·Σlr/(1 − momentum). It decides λ.
        pub shrink: f32 = 20.0, number(above(0));
        /// λ, the weight of the penalty, in place of `shrink`; 0: as `shrink` says.
        pub lambda: f32 = 0.0, number(at_least(0));
        /// Training with the penalty.
        pub sparse: TrainingStage = TrainingStage::default(), section;
        /// Training without the penalty.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
    check one_lambda;
}

fn one_lambda(config: &GroupNormConfig, at: &str) -> Result<()> {
    ensure!(
        config.lambda == 0.0 || config.shrink == GroupNormConfig::default().shrink,
        "{at}.lambda is {} and {at}.shrink is {}, expected one of them: shrink decides lambda",
        config.lambda,
        config.shrink
    );
    Ok(())
}

impl GroupNormConfig {
    /// λ of a training of so many steps.
    fn lambda(&self, train: &TrainConfig, steps: u64) -> f32 {
        if self.lambda > 0.0 {
            return self.lambda;
        }
        let reach = train.reach(steps).max(1e-9) * f64::from(self.alpha.exp2());
        (f64::from(self.shrink) / reach) as f32
    }
}

/// λ γ_k w on all that goes with channel k.
struct GroupPenalty {
    lambda: f32,
    alpha: f32,
    /// Of each group that can be cut: what goes with its channels, and how many there are.
    groups: Vec<(Vec<Coupled>, usize)>,
}

impl GroupPenalty {
    fn new(model: &Checkpoint, lambda: f32, alpha: f32) -> Result<Self> {
        let spec = model.spec();
        let free = groups(spec)?.list.into_iter().filter(|g| g.fixed.is_none());
        let all = free.map(|g| Ok((coupled(spec, &model.weights, &g)?, g.channels)));
        Ok(Self {
            lambda,
            alpha,
            groups: all.collect::<Result<_>>()?,
        })
    }

    /// γ_k of each channel.
    fn strengths(&self, norms: &[f32]) -> Vec<f32> {
        let most = norms.iter().copied().fold(0.0, f32::max);
        let least = norms.iter().copied().fold(f32::INFINITY, f32::min);
        let spread = (most - least).max(f32::MIN_POSITIVE);
        norms
            .iter()
            .map(|i| (self.alpha * (most - i) / spread).exp2())
            .collect()
    }
}

impl Penalty for GroupPenalty {
    fn add(&self, weights: &Weights, gradients: &mut Gradients) {
        for (coupled, channels) in &self.groups {
            // The arrays were there when it was made.
            let Ok(norms) = group_norms(weights, coupled, *channels) else {
                continue;
            };
            let strengths = self.strengths(&norms);
            for each in coupled {
                let (Some(g), Some(w)) = (gradients.get_mut(&each.name), weights.get(&each.name)) else {
                    continue;
                };
                for (i, (g, w)) in g.iter_mut().zip(&w.data).enumerate() {
                    if let Some(c) = each.channel(i) {
                        *g += self.lambda * strengths[c] * w;
                    }
                }
            }
        }
    }
}

/// Trains the network, or the model to start from, towards light channels, cuts and retrains it.
pub(crate) fn run(ctx: &mut Ctx, config: &GroupNormConfig) -> Result<Checkpoint> {
    let scope = Scope::new(
        &[Dimension::Filter],
        config.floor.max(f32::MIN_POSITIVE),
        config.target.unit,
    );
    check_target(ctx, &config.target, &scope, (&[], config.width_multiple))?;
    let (model, _) = trained_model(ctx, &[], config.width_multiple)?;
    let budget = Budget::new(ctx, config.target.unit, &model)?;
    let limit = spent_by(&model, &budget)? / config.target.times;
    let training = config.sparse.over(&ctx.train);
    let steps = ctx.data.splits.train.len() / training.batch * training.epochs as usize;
    let lambda = config.lambda(&training, steps as u64);
    ctx.emit(Event::Phase {
        name: format!("sparse training: λ = {lambda:.2e}"),
        progress: ctx.done[0] as f32 / ctx.steps.max(1) as f32,
    })?;
    let plan = TrainingPlan::of_model("group-norm", &model, training);
    let mut penalty = GroupPenalty::new(&model, lambda, config.alpha)?;
    let sparse = train::fit(ctx, "sparse training", &plan, Some(&model), Some(&mut penalty))?;
    let (slim, _) = within(&sparse, &Score::GroupNorm, (&budget, config.floor), limit).map_err(BadInput::of)?;
    let model = retrain(ctx, "retraining", "group-norm", &slim, &config.retrain)?;
    budget.report_latency(ctx, &model, limit)?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::toy::{conv, node};
    use model::{NetSpec, Op, random_model};

    /// image(1) → a (two filters of one weight) → b (one filter); `a`'s weights 1 and 2, `b`'s 0 and 1.
    fn pair() -> Checkpoint {
        let spec = NetSpec {
            name: "pair".into(),
            input: [1, 2, 2],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(2, 1, 0, false), &[0]),
                node("b", conv(1, 1, 0, false), &[1]),
                node("pool", Op::GlobalAvgPool, &[2]),
                node("flat", Op::Flatten, &[3]),
                node(
                    "last",
                    Op::Linear {
                        outputs: 2,
                        bias: false,
                    },
                    &[4],
                ),
            ],
        };
        let mut model = random_model(spec, 1).expect("builds");
        let mut set = |name: &str, data: [f32; 2]| model.weights.get_mut(name).expect("there").data = data.to_vec();
        set("a.weight", [1.0, 2.0]);
        set("b.weight", [0.0, 1.0]);
        set("last.weight", [0.5, 0.5]);
        model
    }

    #[test]
    fn the_lightest_channel_is_pushed_hardest_with_all_that_goes_with_it() {
        let model = pair();
        let penalty = GroupPenalty::new(&model, 0.01, 2.0).expect("groups");
        let names = ["a.weight", "b.weight", "last.weight"];
        let mut gradients: Gradients = names.iter().map(|n| ((*n).to_owned(), vec![0.0; 2])).collect();
        penalty.add(&model.weights, &mut gradients);
        // Norms of a's channels 1 and 5: γ = 2² and 1. b's one channel is its own least and most: γ = 1.
        let close = |name: &str, expected: [f32; 2]| {
            let apart = gradients[name]
                .iter()
                .zip(expected)
                .map(|(g, e)| (g - e).abs())
                .fold(0.0, f32::max);
            assert!(apart < 1e-7, "{name}: {:?}", gradients[name]);
        };
        close("a.weight", [0.04, 0.02]);
        close("b.weight", [0.0, 0.01 + 0.01]);
        close("last.weight", [0.005, 0.005]);
    }

    #[test]
    fn lambda_follows_from_the_schedule_unless_it_is_given() {
        let train = TrainConfig::default();
        let config = GroupNormConfig::default();
        let moved = f64::from(config.lambda(&train, 300)) * 16.0 * train.reach(300);
        assert!((moved - 20.0).abs() < 1e-3, "{moved}");
        let both = GroupNormConfig {
            lambda: 1e-3,
            shrink: 3.0,
            ..config
        };
        assert_eq!(both.lambda(&train, 300), 1e-3);
        assert!(both.check("method").is_err());
    }
}
