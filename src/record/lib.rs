//! What is written of a run and read back: its experiment, folder, log of events, checkpoints, and the state they fold into.
//! Knows nothing of threads that train, or of windows.

pub mod checkpoints;
pub mod control;
pub mod control_file;
pub mod event_log;
pub mod experiment;
pub mod folder;
pub mod log;
mod model_ref;
pub mod replay;
pub mod searches;
pub mod state;
mod status;
pub mod sweep;
pub mod tail;

pub use experiment::Experiment;
pub use model_ref::ModelRef;
pub use state::{RunId, RunState};
pub use status::Status;
