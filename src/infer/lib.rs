//! The CPU engine: a checkpoint compiled to kernel calls that do only the work of active channels.
//! Knows nothing of burn, training, threads of runs or windows.
//!
//! [`compile`] folds norms, lays weights out and plans every buffer once; [`Engine::run`] allocates nothing.
//! [`Engine::calibrate`] measures norms anew under masks that were set on a compiled network.
//! A channel that is not active is absent: its plane is never computed and never read.

mod calibrate;
mod compiled_mask;
mod conv;
mod conv_algorithms;
mod engine;
mod evaluate;
mod executor;
mod fallback_conv;
mod gate;
mod latency;
mod layer_latency;
mod linear;
mod metrics;
mod plan;
mod plane;
mod program;
mod thread_choice;

#[cfg(test)]
mod agreement;

pub use engine::{Batch, ConvWork, Engine, GateOutput, Options, compile};
pub use evaluate::{EvaluatedBatch, LabeledImages, evaluate};
pub use gate::ActiveSets;
pub use latency::{Latency, latency, quantiles};
pub use layer_latency::{LatencySurface, LayerLatency, LayerLatencyOptions, latency_surfaces, layer_latencies};
pub use metrics::{EvalMetrics, GateSums, argmax};
