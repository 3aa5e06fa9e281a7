//! AMC (He et al., arXiv 1802.03494): an agent walks over the layers, sees each with what was done before it, and says how
//! much of it stays; it learns from the accuracy that the whole walk earned.
//! Knows nothing of how the agent learns or how trials are measured.

use crate::baselines;
use crate::baselines::{BaselineConfig, Reward};
use crate::locks::{Lock, check_densities};
use crate::pipeline::{PruningTarget, TrainingStage};
use crate::ranking::Ranking;
use anyhow::{Context, Result, ensure};
use event::{Dimension, Site, Unit};
use model::{Checkpoint, Op, cost};
use search::amc::Features;
use search::{Amc, AmcAgentConfig};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::Ctx;

settings! {
    /// Settings of AMC.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct AmcConfig {
        /// How much is pruned; with the accuracy-guaranteed reward only its unit counts.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// What the agent learns from: accuracy within the target, or −error · ln(what is spent) without one.
        pub reward: Reward = Reward::default(), choice(["accuracy", "accuracy-guaranteed"]);
        /// Which parts a search leaves out first, those of the lowest score: Σ|w|, ‖w‖₂, |γ|, |Σ w·∂loss/∂w|, the distance to the
        /// others, all that goes with it, or by chance.
        pub score: Ranking = Ranking::default(), choice(Ranking::NAMES);
        /// Layers that are left alone, e.g. `[{ layer = "conv1" }]`; with `dimension` in that way only, with `density` pruned to
        /// that share once.
        pub locks: Vec<Lock> = Vec::new(), other;
        /// Validation images that each trial is measured on.
        pub images: usize = 1000, number(at_least(1); "images");
        /// Training images that norm statistics are measured on before each trial; 0 keeps them as they are, as the papers do.
        pub calibration: usize = 64, number(within(0, 4096); "images");
        /// Training steps, as of the retraining, that each trial gets before it is measured; 0: none, as the papers do. When cuts
        /// are deep, accuracy without any training says little of accuracy after it.
        pub tuning: u64 = 0, number(within(0, 10_000); "steps");
        /// Training afterwards, with zeros held.
        pub retrain: TrainingStage = TrainingStage::default(), section;
        /// The search by an agent that walks over the layers.
        pub search: AmcAgentConfig = AmcAgentConfig::default(), section;
    }
    check locks_and_reward;
}

fn locks_and_reward(config: &AmcConfig, at: &str) -> Result<()> {
    check_densities(&config.locks, config.as_baseline().floor)?;
    ensure!(
        config.reward == Reward::Accuracy || config.target.unit != Unit::Ms,
        "{at}.target.unit is ms, expected macs or weights with {at}.reward = \"accuracy-guaranteed\""
    );
    Ok(())
}

impl AmcConfig {
    /// What it shares with the baselines. The paper prunes channels; a filter cut is the next layer's channel cut.
    fn as_baseline(&self) -> BaselineConfig {
        BaselineConfig {
            target: self.target,
            width_multiple: self.width_multiple,
            dimensions: vec![Dimension::Filter],
            score: self.score,
            locks: self.locks.clone(),
            trials: self.search.trials,
            images: self.images,
            calibration: self.calibration,
            tuning: self.tuning,
            retrain: self.retrain.clone(),
            ..BaselineConfig::default()
        }
    }
}

/// Prunes with the densities of the best walk.
pub(crate) fn run(ctx: &mut Ctx, config: &AmcConfig) -> Result<Checkpoint> {
    let seed = ctx.seed;
    baselines::run(ctx, &config.as_baseline(), ("amc", config.reward), |model, sites| {
        let each = sites.list.iter().enumerate();
        let features: Result<Vec<Features>> = each.map(|(i, s)| features(model, i, s)).collect();
        Amc::new(config.search.clone(), &features?, seed)
    })
}

/// The fixed part of the paper's state: index, output channels, input channels, input height and width, stride, kernel size, MACs.
fn features(model: &Checkpoint, index: usize, site: &Site) -> Result<Features> {
    let spec = model.spec();
    let node = spec
        .find(site.name.split(':').next().unwrap_or_default())
        .with_context(|| format!("no layer {}", site.name))?;
    let shapes = spec.shapes()?;
    let [channels, height, width] = shapes[spec.nodes[node].inputs[0]];
    let (stride, kernel) = match spec.nodes[node].op {
        Op::Conv { stride, kernel, .. } => (stride, kernel),
        _ => (1, 1),
    };
    let layers = cost::by_layer(spec, &model.masks, &cost::Fractions::dense(spec))?;
    let macs = layers.iter().find(|l| l.node == node).map_or(0, |l| l.cost.macs);
    Ok([
        index,
        shapes[node][0],
        channels,
        height,
        width,
        stride,
        kernel,
        macs as usize,
    ]
    .map(|v| v as f32))
}
