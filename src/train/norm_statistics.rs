//! Which images batch statistics are taken over, and what comes back of them. Knows nothing of layers.

use model::checkpoint::Moments;
use serde::{Deserialize, Serialize};

/// Which images a channel's batch statistics are taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormStatistics {
    /// All images, as the paper has it: the whole convolution is computed, then suppressed.
    #[default]
    All,
    /// The images in which the channel won: suppressed channels are never computed.
    Active,
}

/// Batch moments of the last group, and how many positions they were taken over, per channel.
pub(crate) type BatchMoments = (Moments, Vec<f32>);
