//! What a network is: its graph, its weights, its masks, what it costs, and the model file. Plain data.
//! Knows nothing of burn, or of how networks are pruned or searched.

pub mod checkpoint;
pub mod cost;
pub mod mask;
mod random;
pub mod safetensors_file;
pub mod spec;
pub mod steps;
pub mod toy;
pub mod weights;
pub mod zoo;

pub use checkpoint::{Checkpoint, NormStats};
pub use cost::{Cost, Fractions};
pub use mask::{Active, Density, Masks};
pub use random::{random_masks, random_model};
pub use spec::{NetSpec, Op};
pub use weights::{Array, Weights};
