//! The CPU engine: a checkpoint compiled to kernel calls that do only the work of active channels.
//! Knows nothing of burn, training, threads of runs or windows.
//!
//! [`compile`] folds norms, lays weights out and plans every buffer once; [`Engine::run`] allocates nothing.
//! [`Engine::set_masks`] and [`Engine::set_density`] choose what runs; [`Engine::calibrate`] measures norms anew under masks.
//! [`evaluate`] measures accuracy and MACs over labeled images, [`latency`] the time of one.
//! A channel that is not active is absent: its plane is never computed and never read.
//!
//! A network at a quarter of its filters, timed:
//!
//! ```
//! use std::time::Duration;
//!
//! let spec = model::zoo::build("lenet5", [1, 28, 28], 10, 1.0)?;
//! let model = model::random_model(spec, 1)?;
//! let mut engine = infer::compile(&model, &infer::Options::default())?;
//! let image = vec![0.5; 28 * 28];
//! let dense = engine.run(&image).macs;
//!
//! engine.set_masks(&model::random_masks(model.spec(), [0.25, 1.0], 1)?)?;
//! assert!(engine.run(&image).macs < dense / 2);
//! let time = infer::latency(&mut engine, &image, Duration::from_millis(10));
//! assert!(time.p10_ms <= time.median_ms);
//! # Ok::<(), anyhow::Error>(())
//! ```
#![forbid(unsafe_code)]

mod batch;
mod byte_ranges;
mod calibrate;
mod compiled_mask;
mod conv;
mod conv_algorithms;
mod conv_args;
mod engine;
mod evaluate;
mod executor;
mod gate;
mod grouped_conv;
mod latency;
mod latency_table;
mod layer_latency;
mod layer_times;
mod linear;
mod metrics;
mod options;
mod other_work;
mod plan;
mod plane;
mod program;
mod shared_layers;
mod thread_choice;

#[cfg(test)]
mod agreement;

pub use batch::{Batch, ConvWork, GateOutput};
pub use byte_ranges::{RangeRule, quantized};
pub use engine::{Engine, compile};
pub use evaluate::{EvaluatedBatch, LabeledImages, evaluate};
pub use gate::ActiveSets;
pub use latency::{Latency, latency, latency_in_turn, load_per_core, quantiles};
pub use latency_table::{LatencyTable, gated_layers, network_ms};
pub use layer_latency::{LatencySurface, LayerLatency, LayerLatencyOptions, latency_surfaces, layer_latencies};
pub use layer_times::{LayerTime, layer_times};
pub use metrics::{EvalMetrics, GateSums, argmax};
pub use options::Options;
pub use other_work::{OtherWork, OtherWorkSpan};
