//! AMC (He et al., arXiv 1802.03494): an agent walks over the layers, sees each with what was done before it, and says how
//! much of it stays; it learns from the accuracy that the whole walk earned.
//! Knows nothing of how the agent learns or how trials are measured.

use super::baselines;
use super::baselines::{BaselineConfig, Reward};
use super::locks::Lock;
use super::pipeline::{PruningTarget, TrainingStage};
use super::ranking::Ranking;
use anyhow::{Context, Result, ensure};
use event::{Dimension, Site, Unit};
use model::{Checkpoint, Op, cost};
use search::Amc;
use search::amc::Features;
use serde::{Deserialize, Serialize};
use train::Ctx;

/// Settings of AMC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AmcConfig {
    /// How much is to go; with the accuracy-guaranteed reward, in what is counted.
    pub target: PruningTarget,
    /// What the agent learns from.
    pub reward: Reward,
    /// Which filters go first: those of the lowest score. The released code takes `l1`.
    pub score: Ranking,
    /// Layers that are left alone.
    pub locks: Vec<Lock>,
    /// Validation images a trial is measured on.
    pub images: usize,
    /// Training images that norms are measured on anew before each trial; 0 leaves them as they are, as the papers do.
    pub calibration: usize,
    /// Training afterwards.
    pub retrain: TrainingStage,
    /// The walk and its agent.
    pub search: search::AmcAgentConfig,
}

impl Default for AmcConfig {
    fn default() -> Self {
        let BaselineConfig {
            images, calibration, ..
        } = BaselineConfig::default();
        Self {
            target: PruningTarget::default(),
            reward: Reward::default(),
            score: Ranking::default(),
            locks: Vec::new(),
            images,
            calibration,
            retrain: TrainingStage::default(),
            search: search::AmcAgentConfig::default(),
        }
    }
}

impl AmcConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        self.rival().check()?;
        ensure!(
            self.reward == Reward::Accuracy || self.target.unit != Unit::Ms,
            "method.target.unit is ms, expected macs or weights with method.reward = \"accuracy-guaranteed\""
        );
        self.search.check()
    }

    /// What all rivals have. The paper prunes channels; a filter cut is the next layer's channel cut.
    fn rival(&self) -> BaselineConfig {
        BaselineConfig {
            target: self.target,
            dimensions: vec![Dimension::Filter],
            score: self.score,
            locks: self.locks.clone(),
            trials: self.search.trials,
            images: self.images,
            calibration: self.calibration,
            retrain: self.retrain.clone(),
            ..BaselineConfig::default()
        }
    }
}

/// Prunes with the densities of the best walk.
///
/// # Errors
/// [`event::Cancelled`]; a target that cannot be met.
pub fn run(ctx: &mut Ctx, config: &AmcConfig) -> Result<Checkpoint> {
    let seed = ctx.seed;
    baselines::run(ctx, &config.rival(), ("amc", config.reward), |model, sites| {
        let features: Result<Vec<Features>> = sites
            .list
            .iter()
            .enumerate()
            .map(|(i, s)| features(model, i, s))
            .collect();
        Amc::new(config.search.clone(), &features?, seed)
    })
}

/// Index, output channels, input channels, input height and width, stride, kernel size, MACs (papers' state, the fixed part).
fn features(model: &Checkpoint, index: usize, site: &Site) -> Result<Features> {
    let spec = model.spec();
    let node = spec
        .find(&site.name)
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
