//! The CPU engine: a checkpoint compiled to kernel calls that do only the work of active channels.
//! Knows nothing of burn, training, threads of runs or windows.
//!
//! [`compile`] folds norms, lays weights out and plans every buffer once; [`Engine::run`] allocates nothing.
//! [`Engine::calibrate`] measures norms anew under masks that were set on a compiled network.
//! A channel that is not active is absent: its plane is never computed and never read.

mod calibrate;
mod conv;
mod conv_plan;
mod engine;
mod gate;
mod grouped;
mod kept;
mod latency;
mod linear;
mod plan;
mod plane;
mod program;
mod split;
mod staircase;
mod tally;
mod walk;

#[cfg(test)]
mod agreement;

pub use engine::{Batch, Engine, GateOut, LayerOut, Options, compile};
pub use gate::ActiveSets;
pub use latency::{Latency, latency, quantiles};
pub use staircase::{LayerTimes, Stairs, Surface, staircase, surfaces};
pub use tally::{GateSums, LayerSums, Tally, best};
