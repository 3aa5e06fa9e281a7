//! What a network is: its graph, its weights, what it costs, and the burn module that trains it.
//! Knows nothing of how networks are pruned or searched.

pub mod checkpoint;
pub mod conv_step;
pub mod cost;
pub mod layer;
pub mod mask;
pub mod net;
pub mod sparse_conv;
pub mod spec;
pub mod steps;
pub mod weights;
pub mod zoo;

pub use checkpoint::{Checkpoint, NormStats};
pub use cost::{Cost, Fractions};
pub use mask::{Active, Density, Masks};
pub use spec::{NetSpec, Op};
pub use weights::{Array, Weights};
