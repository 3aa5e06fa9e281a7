//! Layers: how one is pruned, and how it is now.

use super::float;
use serde::{Deserialize, Serialize};

/// The way in which a layer is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Output channels: rows of the weight matrix.
    Filter,
    /// Input channels: blocks of columns.
    Channel,
    /// Columns: one (input channel, ky, kx).
    Column,
    /// Single weights: non-structured.
    Element,
    /// Not the weights, but the density of the layer's FBS gate.
    Gate,
}

impl Dimension {
    /// As settings and stages have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Channel => "channel",
            Self::Column => "column",
            Self::Element => "element",
            Self::Gate => "gate",
        }
    }
}

/// How far one layer is from what ADMM pulls it to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// The layer.
    pub layer: String,
    /// In which way it is pruned.
    pub dimension: Dimension,
    /// The primal residual, ‖W − Z‖_F / ‖W‖_F.
    #[serde(deserialize_with = "float::one")]
    pub value: f32,
    /// The dual residual without its factor ρ, ‖Z − Z before‖_F / ‖W‖_F: how far the update moved the target.
    #[serde(default, deserialize_with = "float::one")]
    pub moved: f32,
}

/// One layer, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerState {
    /// The convolution's name.
    pub name: String,
    /// Its filters.
    pub channels: usize,
    /// Share of them that run, averaged over images: measured.
    #[serde(deserialize_with = "float::one")]
    pub kept: f32,
    /// MACs per image, predictor and gate included.
    pub macs: u64,
    /// Mean saliency of each channel (before the winners are taken).
    #[serde(deserialize_with = "float::list")]
    pub saliency: Vec<f32>,
    /// How often each channel was active, 0 to 1.
    #[serde(deserialize_with = "float::list")]
    pub active: Vec<f32>,
}
