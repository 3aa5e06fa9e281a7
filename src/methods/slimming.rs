//! Network Slimming (Liu et al., arXiv 1708.06519): an L1 penalty pushes norm scales γ to zero, one threshold over all layers
//! says which channels go, and the slim network is trained again; several times over if asked.
//! Knows nothing of how channels are cut.
//!
//! ```text
//! scale γ and β to a mean |γ| of 1/2, which a norm or the last layer behind them undoes
//! repeat:  train with  loss + λ Σ|γ|      (subgradient λ·sign γ)
//!          cut the channels with the smallest |γ| in all the network, as many as the budget asks for; a layer keeps its floor
//!          train without the penalty
//! ```

use crate::budget::Budget;
use crate::lowest::{spent_by, within};
use crate::pipeline::{PruningTarget, TrainingStage, check_target, retrain, trained_model};
use anyhow::{Result, ensure};
use event::{BadInput, Dimension, Event};
use model::{Checkpoint, Op, Weights};
use prune::{Scope, Score, threshold};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::optimizer::Gradients;
use train::{Ctx, Penalty, TrainConfig, TrainingPlan};

/// Mean |γ| that the sparse training begins with, as in the authors' code.
const FIRST_SCALE: f32 = 0.5;

/// Scales on both sides of the threshold that lie closer together than this share say little of which channels matter.
const SEPARATION: f32 = 0.05;

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
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// How far the penalty alone would move a norm scale γ, which begins at 0.5, in the sparse training of one pass:
        /// λ·Σlr/(1 − momentum). It decides λ. The authors' schedule comes to 6.6 in 160 epochs.
        pub shift: f32 = 1.0, number(above(0));
        /// λ, the weight of the penalty Σ|γ| on norm scales, in place of `shift`; 0: as `shift` says.
        pub lambda: f32 = 0.0, number(at_least(0));
        /// How often the whole is repeated; each pass takes its equal share, as a factor.
        pub passes: u32 = 1, number(within(1, 16); "passes");
        /// Training with the penalty, in each pass.
        pub sparse: TrainingStage = TrainingStage::default(), section;
        /// Training without the penalty, in each pass.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
    check one_lambda;
}

fn one_lambda(config: &SlimmingConfig, at: &str) -> Result<()> {
    ensure!(
        config.lambda == 0.0 || config.shift == SlimmingConfig::default().shift,
        "{at}.lambda is {} and {at}.shift is {}, expected one of them: shift decides lambda",
        config.lambda,
        config.shift
    );
    Ok(())
}

impl SlimmingConfig {
    /// λ of a training of so many steps.
    fn lambda(&self, train: &TrainConfig, steps: u64) -> f32 {
        if self.lambda > 0.0 {
            return self.lambda;
        }
        (f64::from(self.shift) / train.reach(steps).max(1e-9)) as f32
    }

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
    // Never more than this can go: layers without norms stay whole.
    let floor = config.floor.powi(config.passes as i32).max(f32::MIN_POSITIVE);
    let scope = Scope::new(&[Dimension::Filter], floor, config.target.unit);
    check_target(ctx, &config.target, &scope, (&[], config.width_multiple))?;
    let (model, _) = trained_model(ctx, &[], config.width_multiple)?;
    let mut model = train::norms::add_missing(ctx, model)?;
    begin_at(&mut model, FIRST_SCALE);
    let budget = Budget::new(ctx, config.target.unit, &model)?;
    let unpruned = spent_by(&model, &budget)?;
    for pass in 1..=config.passes {
        let of = if config.passes > 1 {
            format!("pass {pass}/")
        } else {
            String::new()
        };
        let training = config.sparse.over(&ctx.train);
        let steps = ctx.data.splits.train.len() / training.batch * training.epochs as usize;
        let lambda = config.lambda(&training, steps as u64);
        let reach = f64::from(lambda) * training.reach(steps as u64);
        let stage = format!("{of}sparse training");
        ctx.emit(Event::Phase {
            name: format!("{stage}: λ = {lambda:.2e} moves a scale by up to {reach:.2}"),
            progress: ctx.done[0] as f32 / ctx.steps.max(1) as f32,
        })?;
        let plan = TrainingPlan::of_model("slimming", &model, training);
        let mut penalty = Subgradient(lambda);
        model = train::fit(ctx, &stage, &plan, Some(&model), Some(&mut penalty))?;
        let (slim, removed) = within(
            &model,
            &Score::NormScale,
            (&budget, config.floor),
            unpruned / config.times(pass),
        )
        .map_err(BadInput::of)?;
        let [cut, kept] = threshold::scores_at(&model, &Score::NormScale, config.floor, removed)?;
        if cut > kept * (1.0 - SEPARATION) {
            let text = format!(
                "the penalty has not told channels apart: scales of up to {cut:.3} are cut and of {kept:.3} kept; \
                 a longer method.sparse or a larger method.shift may"
            );
            ctx.emit(Event::Warning { text })?;
        }
        model = slim;
        model = retrain(ctx, &format!("{of}retraining"), "slimming", &model, &config.retrain)?;
    }
    budget.report_latency(ctx, &model, unpruned / config.target.times)?;
    Ok(model)
}

/// Scales all norms so that the mean |γ| is `scale`, if it is larger, and undoes it where the first linear layer reads the
/// features: norms on the way cancel it. Stored statistics are void until the next training measures them. Networks in which it
/// would change the function are left as they are.
fn begin_at(model: &mut Checkpoint, scale: f32) {
    let nodes = &model.header.spec.nodes;
    let linear = nodes.iter().find(|n| matches!(n.op, Op::Linear { .. }));
    let Some(linear) = linear.map(|n| format!("{}.weight", n.name)) else {
        return;
    };
    if model.is_gated() || nodes.iter().any(|n| matches!(n.op, Op::Relu6)) {
        return;
    }
    let gammas = || model.weights.iter().filter(|(name, _)| name.ends_with(".gamma"));
    let count = gammas().map(|(_, a)| a.data.len()).sum::<usize>();
    let sum = gammas()
        .flat_map(|(_, a)| &a.data)
        .map(|g| f64::from(g.abs()))
        .sum::<f64>();
    let mean = (sum / count.max(1) as f64) as f32;
    if mean <= scale {
        return;
    }
    let factor = scale / mean;
    for (name, array) in &mut model.weights {
        let by = match name.rsplit_once('.') {
            _ if *name == linear => 1.0 / factor,
            Some((norm, "gamma" | "beta"))
                if nodes.iter().any(|n| n.name == norm && matches!(n.op, Op::Norm { .. })) =>
            {
                factor
            }
            _ => continue,
        };
        array.data.iter_mut().for_each(|v| *v *= by);
    }
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
    fn lambda_follows_from_the_schedule_unless_it_is_given() {
        let train = TrainConfig::default();
        let config = SlimmingConfig {
            shift: 2.0,
            ..SlimmingConfig::default()
        };
        let lambda = config.lambda(&train, 500);
        let moved: f64 = (0..500).map(|s| f64::from(lambda * train.lr_at(s, 500))).sum::<f64>() / (1.0 - 0.9);
        assert!((moved - 2.0).abs() < 1e-3, "{moved}");
        let given = SlimmingConfig {
            lambda: 1e-4,
            ..SlimmingConfig::default()
        };
        assert_eq!(given.lambda(&train, 500), 1e-4);
        let both = SlimmingConfig { lambda: 1e-4, ..config };
        assert_eq!(
            both.check("method").unwrap_err().to_string(),
            "method.lambda is 0.0001 and method.shift is 2, expected one of them: shift decides lambda"
        );
    }

    #[test]
    fn scales_begin_at_a_half_and_the_function_stays() {
        for arch in ["m-cifarnet", "resnet18"] {
            let spec = model::zoo::build(arch, [3, 16, 16], 4, 0.1).expect("builds");
            let mut model = model::random_model(spec, 1).expect("builds");
            let gammas = model.weights.iter_mut().filter(|(name, _)| name.ends_with(".gamma"));
            gammas.for_each(|(_, a)| a.data.iter_mut().for_each(|g| *g = 0.5 + 2.0 * g.abs()));
            let pixels: Vec<f32> = (0..8 * 3 * 256)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0)
                .collect();
            let logits = |model: &Checkpoint| {
                let mut engine = infer::compile(model, &infer::Options::default()).expect("compiles");
                engine.calibrate(&pixels);
                engine.run(&pixels[..3 * 256]).logits.to_vec()
            };
            let before = logits(&model);
            begin_at(&mut model, FIRST_SCALE);
            let gammas: Vec<f32> = model
                .weights
                .iter()
                .filter(|(name, _)| name.ends_with(".gamma"))
                .flat_map(|(_, a)| a.data.clone())
                .collect();
            let mean = gammas.iter().sum::<f32>() / gammas.len() as f32;
            assert!((mean - FIRST_SCALE).abs() < 1e-4, "{arch}: {mean}");
            let most = before.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (a, b) in before.iter().zip(logits(&model)) {
                assert!((a - b).abs() < 1e-2 * most, "{arch}: {a} {b}");
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
