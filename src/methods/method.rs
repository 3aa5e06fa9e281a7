//! A method with its settings, as presets have it. Knows nothing of how any of them works.

use crate::baselines::{BaselineConfig, Reward};
use crate::{admm, amc, autocompress, baselines, dense, densities, fbs, group_norm, halp, signal, slimming};
use anyhow::{Context, Result};
use model::Checkpoint;
use search::{Greedy, Random};
use serde::{Deserialize, Serialize};
use settings::Setting;
use train::{Ctx, TrainConfig};

/// A method with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Method {
    /// Plain training.
    Dense,
    /// Feature Boosting and Suppression, arXiv 1810.05331.
    Fbs(fbs::FbsConfig),
    /// A density for each gate of an FBS network, annealed.
    Densities(densities::DensitiesConfig),
    /// Network Slimming, arXiv 1708.06519.
    Slimming(slimming::SlimmingConfig),
    /// Group-norm sparse training (DepGraph), arXiv 2301.12900.
    GroupNorm(group_norm::GroupNormConfig),
    /// A knapsack of filters over layer latencies (HALP), arXiv 2110.10811.
    Halp(halp::HalpConfig),
    /// ADMM at uniform densities.
    Admm(admm::AdmmConfig),
    /// AutoCompress, arXiv 1907.03141.
    #[serde(rename = "autocompress")]
    AutoCompress(autocompress::AutoCompressConfig),
    /// AMC, arXiv 1802.03494.
    Amc(amc::AmcConfig),
    /// One density everywhere.
    Uniform(BaselineConfig),
    /// Random densities.
    Random(BaselineConfig),
    /// The cheapest next cut, by measured sensitivity.
    Greedy(BaselineConfig),
    /// How much quick scores say: candidates measured quickly, then retrained in full.
    Signal(signal::SignalConfig),
}

impl Method {
    /// All names that presets use.
    pub const KINDS: [&str; 13] = [
        "dense",
        "fbs",
        "densities",
        "slimming",
        "group-norm",
        "halp",
        "admm",
        "autocompress",
        "amc",
        "uniform",
        "random",
        "greedy",
        "signal",
    ];

    /// The name presets use.
    pub fn kind(&self) -> &'static str {
        match self {
            Method::Dense => "dense",
            Method::Fbs(_) => "fbs",
            Method::Densities(_) => "densities",
            Method::Slimming(_) => "slimming",
            Method::GroupNorm(_) => "group-norm",
            Method::Halp(_) => "halp",
            Method::Admm(_) => "admm",
            Method::AutoCompress(_) => "autocompress",
            Method::Amc(_) => "amc",
            Method::Uniform(_) => "uniform",
            Method::Random(_) => "random",
            Method::Greedy(_) => "greedy",
            Method::Signal(_) => "signal",
        }
    }

    /// The keys of its section, besides `kind`.
    pub fn settings(&self) -> &'static [Setting] {
        match self {
            Method::Dense => &[],
            Method::Fbs(_) => fbs::FbsConfig::SETTINGS,
            Method::Densities(_) => densities::DensitiesConfig::SETTINGS,
            Method::Slimming(_) => slimming::SlimmingConfig::SETTINGS,
            Method::GroupNorm(_) => group_norm::GroupNormConfig::SETTINGS,
            Method::Halp(_) => halp::HalpConfig::SETTINGS,
            Method::Admm(_) => admm::AdmmConfig::SETTINGS,
            Method::AutoCompress(_) => autocompress::AutoCompressConfig::SETTINGS,
            Method::Amc(_) => amc::AmcConfig::SETTINGS,
            Method::Uniform(_) | Method::Random(_) | Method::Greedy(_) => BaselineConfig::SETTINGS,
            Method::Signal(_) => signal::SignalConfig::SETTINGS,
        }
    }

    /// Checks what types cannot; `at` is the section's key.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self, at: &str) -> Result<()> {
        match self {
            Method::Dense => Ok(()),
            Method::Fbs(config) => config.check(at),
            Method::Densities(config) => config.check(at),
            Method::Slimming(config) => config.check(at),
            Method::GroupNorm(config) => config.check(at),
            Method::Halp(config) => config.check(at),
            Method::Admm(config) => config.check(at),
            Method::AutoCompress(config) => config.check(at),
            Method::Amc(config) => config.check(at),
            Method::Uniform(config) | Method::Random(config) | Method::Greedy(config) => config.check(at),
            Method::Signal(config) => config.check(at),
        }
    }

    /// Training epochs it takes in all, with these settings; `started` if it begins with a trained model.
    pub fn epochs(&self, train: &TrainConfig, started: bool) -> u64 {
        let first = if started { 0 } else { u64::from(train.epochs) };
        let after = match self {
            Method::Dense | Method::Fbs(_) => return u64::from(train.epochs),
            Method::Densities(_) => return 0,
            Method::Slimming(c) => u64::from(c.passes * (c.sparse.epochs + c.retrain.epochs)),
            Method::GroupNorm(c) => u64::from(c.sparse.epochs + c.retrain.epochs),
            Method::Halp(c) => u64::from((c.passes - 1) * c.between.epochs + c.retrain.epochs),
            Method::Admm(c) => u64::from(c.admm.epochs * c.dimensions.len() as u32 + c.retrain.epochs),
            Method::AutoCompress(c) => c.epochs(),
            Method::Amc(c) => u64::from(c.retrain.epochs),
            Method::Uniform(c) | Method::Random(c) | Method::Greedy(c) => u64::from(c.retrain.epochs),
            Method::Signal(c) => c.candidates * u64::from(c.retrain.epochs),
        };
        first + after
    }

    /// Searches it goes through, if each comes to its end.
    pub fn searches(&self) -> u64 {
        match self {
            Method::Densities(_) | Method::Amc(_) | Method::Uniform(_) | Method::Random(_) | Method::Greedy(_) => 1,
            Method::AutoCompress(c) => c.rounds().len() as u64 + u64::from(c.purify.passes),
            Method::Signal(c) => c.steps.len() as u64 + 1,
            _ => 0,
        }
    }

    /// Why its trials cannot be measured at the same time, as a sentence about it; none if they can.
    pub fn why_sequential(&self) -> Option<&'static str> {
        Some(match self {
            Method::Random(_) | Method::Greedy(_) => return None,
            Method::Densities(_) | Method::AutoCompress(_) => {
                "anneals: each vector is a step from the one before, and what that earned decides from where"
            }
            Method::Amc(_) => "has an agent that learns from each trial before the next",
            Method::Uniform(_) => "has one trial",
            Method::Signal(_) => "trains its candidates in full, each from the same state",
            Method::Dense
            | Method::Fbs(_)
            | Method::Slimming(_)
            | Method::GroupNorm(_)
            | Method::Halp(_)
            | Method::Admm(_) => "has no trials",
        })
    }

    /// How many densities its models are made for, where gates choose: those that the end of a run measures at. Of a search over
    /// the gates of a given model, as many as FBS makes models for if nothing else is said.
    pub fn densities(&self) -> usize {
        match self {
            Method::Fbs(config) => config.grid().len(),
            Method::Densities(_) => fbs::FbsConfig::default().grid().len() + 1,
            _ => 1,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// [`event::Cancelled`] when asked to stop; anything else means it could not go on.
    pub fn run(&self, ctx: &mut Ctx) -> Result<Checkpoint> {
        let seed = ctx.seed;
        match self {
            Method::Dense => dense::run(ctx),
            Method::Fbs(config) => fbs::run(ctx, config),
            Method::Densities(config) => densities::run(ctx, config),
            Method::Slimming(config) => slimming::run(ctx, config),
            Method::GroupNorm(config) => group_norm::run(ctx, config),
            Method::Halp(config) => halp::run(ctx, config),
            Method::Admm(config) => admm::run(ctx, config),
            Method::AutoCompress(config) => autocompress::run(ctx, config),
            Method::Amc(config) => amc::run(ctx, config),
            Method::Uniform(config) => {
                baselines::run(ctx, config, ("uniform", Reward::Accuracy), |_, _| Ok(Random::uniform()))
            }
            Method::Random(config) => baselines::run(ctx, config, ("random", Reward::Accuracy), |_, _| {
                Random::new(config.trials, seed)
            }),
            Method::Greedy(config) => baselines::run(ctx, config, ("greedy", Reward::Accuracy), |_, sites| {
                Greedy::new(config.trials, sites.list.len())
            }),
            Method::Signal(config) => signal::run(ctx, config),
        }
        .with_context(|| format!("method {}", self.kind()))
    }
}
