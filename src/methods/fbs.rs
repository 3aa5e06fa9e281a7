//! Feature Boosting and Suppression (Gao et al., arXiv 1810.05331): beside each convolution a predictor scores the output
//! channels for each image, and only the ⌈d·C⌉ most salient are computed, scaled by their score.
//! Knows nothing of how a layer is computed.
//!
//! ```text
//! gate every convolution; train at d = 1 (gates active, nothing suppressed)
//! staged:   for d in stages, falling:  train at d, from the weights of the stage before
//! elastic:  for each batch: one part at the largest d, one at the smallest, the rest at random d between
//! for d in grid: measure the norm statistics of that d over training images; keep them with the model
//! ```
//! *Elastic* training is not in the paper: it gives one set of weights that serves every density, so that d can be chosen afterwards.

use crate::pipeline::given_teacher;
use anyhow::{Result, ensure};
use model::spec::{GateForm, NetSpec, Shift, Subsample};
use model::steps::{ConvStep, Step, steps};
use model::{Checkpoint, Density, weights, zoo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use settings::settings;
use train::{Ctx, NormStatistics, TrainingPlan};

/// What predictors read, perhaps as it suits the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubsampleChoice {
    /// Mean magnitudes, the paper; scale-free ones where more gates follow each other than train with them.
    #[default]
    Auto,
    /// The mean magnitude of each channel.
    Mean,
    /// The same over its root mean square over the channels.
    ScaleFree,
}

settings! {
    /// Settings of FBS.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct FbsConfig {
        /// Where FBS puts β: `eq1` is π·(norm + β), the paper; `released` is π·norm + m·β, the authors' code.
        pub shift: Shift = Shift::Eq1, choice(["eq1", "released"]);
        /// What predictors read of their input: the `mean` magnitude of each channel (the paper), or `scale-free`, the same over its root mean square over the channels; `auto` is scale-free where more than eight gates follow each other.
        pub subsample: SubsampleChoice = SubsampleChoice::Auto, choice(["auto", "mean", "scale-free"]);
        /// λ: weight of the penalty Σ_l mean‖g_l‖₁ on saliencies.
        pub lambda: f32 = 1e-8, number(at_least(0));
        /// Norm statistics over all images (the paper), or over those in which a channel is active (never computes the others).
        pub norm_statistics: NormStatistics = NormStatistics::All, choice(["all", "active"]);
        /// Share of all epochs trained at density 1 before densities fall.
        pub dense_start: f32 = 0.1, number(within(0, 1));
        /// Densities trained one after the other, falling; empty means elastic training of all at once.
        pub stages: Vec<Density> = Vec::new(), other;
        /// Elastic: parts of a batch, each at its own density; the first two at the largest and the smallest.
        pub draws: usize = 4, number(within(2, 16));
        /// Elastic: the smallest density trained.
        pub floor: Density = percent(20), other;
        /// Densities that norm statistics are kept for; empty means every 0.05 from 1 down to the smallest trained.
        pub grid: Vec<Density> = Vec::new(), other;
        /// Training images that norm statistics are measured on.
        pub calibration: usize = 2048, number(at_least(16); "images");
    }
    check stages_fall;
}

fn percent(p: u32) -> Density {
    Density::percent(p).unwrap_or(Density::FULL)
}

fn stages_fall(config: &FbsConfig, at: &str) -> Result<()> {
    ensure!(
        config.stages.is_sorted_by(|a, b| a > b),
        "{at}.stages must fall, e.g. [0.9, 0.8, 0.7]"
    );
    Ok(())
}

impl FbsConfig {
    /// The form of the gates on a dense network.
    fn form(&self, dense: &NetSpec) -> GateForm {
        let subsample = match self.subsample {
            SubsampleChoice::Mean => Subsample::Mean,
            SubsampleChoice::ScaleFree => Subsample::ScaleFree,
            SubsampleChoice::Auto if train::saliency_bound::is_needed(&zoo::gated(dense, self.shift)) => {
                Subsample::ScaleFree
            }
            SubsampleChoice::Auto => Subsample::Mean,
        };
        GateForm {
            shift: self.shift,
            subsample,
        }
    }

    /// Densities that the model gets norm statistics for, rising.
    pub(crate) fn grid(&self) -> Vec<Density> {
        let lowest = self.stages.last().copied().unwrap_or(self.floor);
        let mut grid = self.grid.clone();
        if grid.is_empty() {
            // A staged model is good at the density of its last stage alone.
            let every = (u32::from(lowest.as_percent())..100)
                .step_by(5)
                .filter_map(|p| Density::percent(p).ok());
            grid = if self.stages.is_empty() {
                every.chain([Density::FULL]).collect()
            } else {
                vec![lowest]
            };
        }
        grid.sort();
        grid.dedup();
        grid
    }

    /// The densities of one step: one entry for each part of the batch.
    fn draw(&self, seed: u64, step: u64, steps: u64) -> Vec<Density> {
        let t = step as f32 / steps.max(1) as f32;
        if t < self.dense_start {
            return vec![Density::FULL];
        }
        if !self.stages.is_empty() {
            let stage = (t - self.dense_start) / (1.0 - self.dense_start) * self.stages.len() as f32;
            return vec![self.stages[(stage as usize).min(self.stages.len() - 1)]];
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(step);
        let mut draw =
            || Density::percent(rng.random_range(u32::from(self.floor.as_percent())..=100)).unwrap_or(Density::FULL);
        let between: Vec<Density> = (2..self.draws).map(|_| draw()).collect();
        [Density::FULL, self.floor].into_iter().chain(between).collect()
    }
}

/// Trains FBS: gates on the dense network (or on `ctx.start`), then densities as configured.
pub(crate) fn run(ctx: &mut Ctx, config: &FbsConfig) -> Result<Checkpoint> {
    let start = given_teacher(ctx)?;
    let (spec, start) = match start {
        // Gates on a trained network, slimmed or pruned perhaps: its masks hold.
        Some(dense) if !dense.is_gated() => {
            let dense = train::norms::add_missing(ctx, dense)?;
            let gated = gate_on(&dense, config.form(dense.spec()), ctx.seed)?;
            (gated.spec().clone(), Some(gated))
        }
        Some(gated) => (gated.spec().clone(), Some(gated)),
        None => (zoo::gated(&ctx.spec, config.form(&ctx.spec)), None),
    };
    let seed = ctx.seed;
    let plan = TrainingPlan {
        masks: start.as_ref().map(|s| s.masks.clone()).unwrap_or_default(),
        channels: start.as_ref().map(|s| s.header.channels.clone()).unwrap_or_default(),
        lambda: config.lambda,
        norm_statistics: config.norm_statistics,
        densities: &|step, steps| config.draw(seed, step, steps),
        grid: config.grid(),
        calibration: config.calibration,
        ..TrainingPlan::plain("fbs", spec, ctx.train.clone())
    };
    train::fit(ctx, "training", &plan, start.as_ref(), None)
}

/// Puts gates on a trained network so that it begins as the function it was: ρ = γ, β' = β/γ under equation (1), and a small φ.
/// A negative γ cannot be a saliency; its filter and norm mean change their sign instead.
fn gate_on(dense: &Checkpoint, form: GateForm, seed: u64) -> Result<Checkpoint> {
    let spec = zoo::gated(dense.spec(), form);
    let mut gated = Checkpoint {
        weights: weights::init(&spec, seed)?,
        ..dense.clone()
    };
    for (name, to) in &mut gated.weights {
        if let Some(from) = dense.weights.get(name).filter(|from| from.shape == to.shape) {
            to.data.clone_from(&from.data);
        }
    }
    for step in steps(&spec) {
        let Step::Conv(ConvStep {
            conv,
            norm: Some(norm),
            gate: Some((gate, form)),
            ..
        }) = step
        else {
            continue;
        };
        let [conv, norm, gate] = [conv, norm, gate].map(|i| spec.nodes[i].name.clone());
        let affine = |what: &str| dense.weights.get(&format!("{norm}.{what}")).map(|a| a.data.clone());
        let (Some(gamma), Some(beta)) = (affine("gamma"), affine("beta")) else {
            continue;
        };
        let mut row = |name: String, value: &dyn Fn(usize, f32) -> f32| {
            if let Some(array) = gated.weights.get_mut(&name) {
                let per = (array.data.len() / gamma.len()).max(1);
                array
                    .data
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, v)| *v = value(i / per, *v));
            }
        };
        let sign = |f: usize| if gamma[f] < 0.0 { -1.0 } else { 1.0 };
        // A dead channel's γ is zero; its β is too.
        let scaled = |f: usize| beta[f] / gamma[f].abs().max(1e-6);
        row(format!("{conv}.weight"), &|f, w| sign(f) * w);
        row(format!("{gate}.rho"), &|f, _| gamma[f].abs());
        row(format!("{gate}.beta"), &|f, _| match form.shift {
            Shift::Eq1 => scaled(f),
            Shift::Released => beta[f],
        });
        // Small beside ρ, whatever its size.
        if let Some(phi) = gated.weights.get_mut(&format!("{gate}.phi")) {
            let scaled = phi.data.iter_mut().zip(gamma.iter().cycle());
            scaled.for_each(|(v, g)| *v *= g.abs());
        }
        for stats in gated.stats.values_mut() {
            if let Some(moments) = stats.get_mut(&norm) {
                moments.mean.iter_mut().enumerate().for_each(|(f, m)| *m *= sign(f));
            }
        }
    }
    gated.header.spec = spec;
    if train::saliency_bound::is_needed(gated.spec()) {
        let spec = gated.spec().clone();
        train::saliency_bound::apply(&spec, &mut gated.weights);
    }
    Ok(gated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(d: &[Density]) -> Vec<u8> {
        d.iter().map(|d| d.as_percent()).collect()
    }

    #[test]
    fn elastic_steps_always_hold_the_largest_and_the_smallest_density() {
        let config = FbsConfig::default();
        assert_eq!(percents(&config.draw(1, 0, 100)), [100], "dense start");
        let mut seen = std::collections::BTreeSet::new();
        for step in 10..100 {
            let draw = config.draw(1, step, 100);
            assert_eq!((draw.len(), draw[0].as_percent(), draw[1].as_percent()), (4, 100, 20));
            assert_eq!(draw, config.draw(1, step, 100), "a step can be repeated");
            seen.extend(percents(&draw[2..]));
        }
        assert!(
            seen.len() > 50 && seen.iter().all(|p| (20..=100).contains(p)),
            "{seen:?}"
        );
    }

    #[test]
    fn stages_follow_each_other_after_the_dense_start() {
        let stages = [0.9, 0.7, 0.5].map(|d| Density::fraction(d).expect("valid")).to_vec();
        let config = FbsConfig {
            stages,
            dense_start: 0.25,
            ..FbsConfig::default()
        };
        let at: Vec<u8> = [0, 24, 25, 49, 50, 75, 99]
            .map(|s| config.draw(0, s, 100)[0].as_percent())
            .to_vec();
        assert_eq!(at, [100, 100, 90, 90, 70, 50, 50]);
        assert_eq!(percents(&config.grid()), [50]);
    }

    #[test]
    fn the_default_grid_is_every_twentieth() {
        assert_eq!(
            percents(&FbsConfig::default().grid()),
            (20..=100).step_by(5).collect::<Vec<u8>>()
        );
    }

    #[test]
    fn only_deep_networks_read_scale_free_means_by_themselves() {
        let of = |arch: &str, subsample| {
            let dense = zoo::build(arch, [3, 32, 32], 10, 0.25).expect("builds");
            let config = FbsConfig {
                subsample,
                ..FbsConfig::default()
            };
            config.form(&dense).subsample
        };
        assert_eq!(of("m-cifarnet", SubsampleChoice::Auto), Subsample::Mean);
        assert_eq!(of("vgg16", SubsampleChoice::Auto), Subsample::ScaleFree);
        assert_eq!(of("vgg16", SubsampleChoice::Mean), Subsample::Mean);
        assert_eq!(of("m-cifarnet", SubsampleChoice::ScaleFree), Subsample::ScaleFree);
    }
}
