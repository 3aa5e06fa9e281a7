//! What a network is: its graph, its weights, its masks, what it costs, and the model file. Plain data.
//! Entry points: [`zoo::build`] makes a graph ([`NetSpec`]), [`Checkpoint`] is a trained network as a file, [`cost`] counts.
//! Knows nothing of burn, or of how networks are pruned or searched.
#![forbid(unsafe_code)]

pub mod activation;
pub mod checkpoint;
pub mod cost;
mod gate_form;
mod head;
pub mod mask;
mod outputs;
pub(crate) mod pad;
mod precision;
mod random;
pub mod resample;
pub mod safetensors_file;
pub mod spec;
pub mod steps;
pub mod torchvision;
pub mod toy;
pub mod weights;
pub mod zoo;

pub use activation::Activation;
pub use checkpoint::{Checkpoint, NormStats};
pub use cost::{Cost, Fractions};
pub use head::Head;
pub use mask::{Active, Density, Masks};
pub use outputs::NetOutput;
pub use precision::{ByteInput, Precision};
pub use random::{random_masks, random_model};
pub use spec::{NetSpec, Op};
pub use weights::{Array, Weights};
