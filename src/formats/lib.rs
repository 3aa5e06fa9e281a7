//! Models to and from the files of other programs: ONNX both ways, PyTorch state dicts in, burn packs both ways.
//! Knows nothing of training, methods, runs or windows.
//!
//! Nothing is believed: what is written is read back by a second runtime and compared before it gets its name
//! ([`export()`]), and what is read is measured against its own file before anything is allocated ([`import()`]).
//!
//! To add an ONNX operator: `onnx_ops.rs` reads it, `onnx_export.rs` writes it. To add a file format: `import.rs`, `export.rs`.

mod burn_pack;
mod export;
mod foreign;
mod import;
mod onnx_builder;
mod onnx_export;
mod onnx_fold;
mod onnx_gate;
mod onnx_graph;
mod onnx_import;
mod onnx_ops;
mod onnx_proto;
mod onnx_tensor;
mod pickle;
mod probe;
mod second_runtime;
mod tensors;
mod torch_import;
mod torch_names;
mod torch_spec;

pub use export::{Export, Exported, Format, Masked, export};
pub use import::{Import, Imported, import, onnx_model};
pub use onnx_export::{ONNX_KEYS, onnx_bytes};
pub use probe::Probe;
pub use second_runtime::{Agreement, TOLERANCE, compare};
