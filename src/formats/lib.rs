//! Models to and from the files of other programs: ONNX both ways, PyTorch state dicts in, burn packs both ways.
//! Knows nothing of training, methods, runs or windows.
//!
//! Nothing is believed: what is written is read back by a second runtime and compared before it gets its name
//! ([`export()`]), and what is read is measured against its own file before anything is allocated ([`import()`]).

mod agree;
mod export;
mod import;
mod onnx_const;
mod onnx_gate;
mod onnx_graph;
mod onnx_in;
mod onnx_ops;
mod onnx_out;
mod onnx_tensor;
mod pack;
mod pickle;
mod probe;
mod proto;
mod tensors;
mod torch_in;
mod torch_names;
mod torch_spec;

pub use agree::{Agreement, TOLERANCE, compare};
pub use export::{Export, Exported, Format, Masked, export};
pub use import::{Import, Imported, import, onnx_model};
pub use onnx_out::{ONNX_KEYS, onnx_bytes};
pub use probe::Probe;
