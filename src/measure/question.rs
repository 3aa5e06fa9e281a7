//! What a front may ask about a model: at which densities, and with which channels cut. Plain data.
//! Knows nothing of how it is answered.

use crate::Pruning;
use model::Density;
use serde::{Deserialize, Serialize};

/// What to measure on the open model's validation images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// One density a gate, in network order.
    pub densities: Vec<Density>,
    /// Channels that are left out for all images, before anything is trained; none leaves the model as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Pruning>,
}

impl Question {
    /// At these densities, one a gate, with nothing cut.
    pub fn at(densities: Vec<Density>) -> Self {
        Self { densities, cut: None }
    }

    /// Mean density over the gates; 1 without gates.
    pub fn mean(&self) -> f64 {
        if self.densities.is_empty() {
            return 1.0;
        }
        let percents: u32 = self.densities.iter().map(|d| u32::from(d.as_percent())).sum();
        f64::from(percents) / 100.0 / self.densities.len() as f64
    }
}
