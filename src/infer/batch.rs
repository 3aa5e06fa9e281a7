//! What a run of a batch gives: logits, and what was really computed for them.

use super::gate::ActiveSets;

/// What a gate did to a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GateOutput {
    /// The gate's node.
    pub node: usize,
    /// `[n, channels]`, before winners are taken.
    pub saliency: Vec<f32>,
    /// The channels that were computed. Under [`model::spec::Shift::Eq1`] a winner of saliency 0 gives zeros and is not.
    pub active: ActiveSets,
}

/// What a convolution did in a batch, summed over its images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvWork {
    /// The convolution's node.
    pub node: usize,
    /// MACs, predictor and gate included.
    pub macs: u64,
    /// Filters that were computed.
    pub computed: u64,
}

/// What a run gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Images.
    pub n: usize,
    /// What the network gives of each image: `[n, classes]`, or where it has several outputs
    /// ([`model::NetOutput`]) `[n, numbers of all]`.
    pub logits: Vec<f32>,
    /// One entry per gate, in network order.
    pub gates: Vec<GateOutput>,
    /// One entry per convolution, in network order.
    pub layers: Vec<ConvWork>,
    /// MACs over all images, as [`model::cost`] counts them, but of what was really computed:
    /// filters × columns × positions of each convolution, linear layers, predictors, gates.
    pub macs: u64,
    /// Of these, convolutions and linear layers.
    pub macs_conv: u64,
}
