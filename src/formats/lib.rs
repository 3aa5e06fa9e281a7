//! Models to and from the files of other programs: ONNX both ways, PyTorch state dicts in, burn packs both ways.
//!
//! No file is trusted. [`export()`] reads back what it has written with a second runtime, and compares the two on [`Probe`]
//! images before the file gets its name. [`import()`] checks every size against the file before it allocates anything.
//!
//! To read another ONNX operator, add it to `onnx_ops.rs`; to write one, to `onnx_export.rs`. Another file format is an
//! ending in `import.rs`, a variant of [`Format`], or both.
//!
//! Knows nothing of training, methods, runs or windows.

#![forbid(unsafe_code)]

mod burn_pack;
mod export;
mod foreign;
mod import;
mod onnx_builder;
mod onnx_elementwise;
mod onnx_export;
mod onnx_export_ops;
mod onnx_fold;
mod onnx_gate;
mod onnx_gate_import;
mod onnx_graph;
mod onnx_import;
mod onnx_int8;
mod onnx_layers;
mod onnx_moves;
mod onnx_operands;
mod onnx_ops;
pub mod onnx_pb;
mod onnx_proto;
mod onnx_resize;
mod onnx_tensor;
mod pickle;
mod probe;
mod second_runtime;
mod spelled_out;
mod tensors;
mod timing;
mod torch_import;
mod torch_names;
mod torch_spec;

pub use export::{Export, Exported, Format, Masked, export};
pub use import::{Import, Imported, import, onnx_model};
pub use onnx_export::{ONNX_KEYS, onnx_bytes};
pub use probe::Probe;
pub use second_runtime::{Agreement, TOLERANCE, compare};
pub use timing::{BatchTimes, Timer, time, why_slower};
