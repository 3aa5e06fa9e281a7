//! What the readers of ONNX and PyTorch files hand over.

use data::Normalization;
use model::checkpoint::NormStats;
use model::{ByteInput, Density, Masks, NetSpec, Weights};
use std::collections::BTreeMap;

/// A network from another program's file, before what the file leaves open is filled in.
pub(crate) struct ForeignModel {
    pub spec: NetSpec,
    pub weights: Weights,
    pub stats: NormStats,
    /// Of layers whose kernels have holes.
    pub masks: Masks,
    /// What gates were written at.
    pub density: Option<Density>,
    /// How inputs of convolutions become bytes, where the file says so.
    pub byte_inputs: BTreeMap<String, ByteInput>,
    pub normalization: Option<Normalization>,
    /// Class names.
    pub classes: Option<Vec<String>>,
    pub notes: Vec<String>,
}
