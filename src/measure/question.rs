//! What a front may ask about a model: at which densities. Plain data.
//! Knows nothing of how it is answered.

use model::Density;
use serde::{Deserialize, Serialize};

/// What to measure on the open model's validation images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// One density a gate, in network order.
    pub densities: Vec<Density>,
}

impl Question {
    /// Mean density over the gates; 1 without gates.
    pub fn mean(&self) -> f64 {
        if self.densities.is_empty() {
            return 1.0;
        }
        let percents: u32 = self.densities.iter().map(|d| u32::from(d.as_percent())).sum();
        f64::from(percents) / 100.0 / self.densities.len() as f64
    }
}
