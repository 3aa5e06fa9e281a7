//! What is written of a run and read back: its experiment, folder, log of events, checkpoints, and the state they fold into.
//!
//! Entry points: [`Experiment`] (presets, files, `--set`), [`folder::RunFolder`] and [`event_log::EventLog`] for who works,
//! [`replay`] and [`log`] for who reads, [`RunState`] for what a run has come to. A new column of the runs table begins in
//! [`state`]; what an event means to a run is in [`RunState::apply`].
//!
//! Knows nothing of threads that train, or of windows.
//!
//! A run's log is read event by event, or folded to a state:
//!
//! ```
//! use record::{Experiment, RunId, Status, log, replay};
//!
//! # let dir = tempfile::tempdir()?;
//! let run = dir.path(); // e.g. runs/20260101T000000Z_smoke_0001
//! std::fs::write(run.join("config.toml"), Experiment::load("smoke", &[])?.to_toml()?)?;
//! let lines = [
//!     r#"{"seq":0,"at":0.1,"event":"phase","name":"epoch 1 of 6","progress":0.0}"#,
//!     r#"{"seq":1,"at":2.0,"event":"step","step":50,"loss":0.7,"top1":0.75,"lr":0.1}"#,
//! ];
//! std::fs::write(run.join("events.jsonl"), lines.join("\n") + "\n")?;
//!
//! let mut events = Vec::new();
//! log::read(&run.join("events.jsonl"), &mut |stamped| {
//!     events.push(stamped.event);
//!     true
//! })?;
//! assert_eq!(events.len(), 2);
//!
//! let state = replay::replay(RunId(0), run)?;
//! assert_eq!((state.phase.as_str(), state.steps[0].top1), ("epoch 1 of 6", 0.75));
//! assert_eq!(state.status, Status::Interrupted); // its log has no `ended`
//! # Ok::<(), anyhow::Error>(())
//! ```
#![forbid(unsafe_code)]

mod checkpoint_files;
pub mod checkpoints;
pub mod control;
pub mod control_file;
pub mod event_log;
pub mod experiment;
pub mod farm_status;
pub mod folder;
pub mod log;
mod model_ref;
pub mod progress;
pub mod replay;
pub mod searches;
pub mod state;
mod status;
mod summary;
pub mod sweep;
pub mod tail;
pub mod tournament;
mod unpruned;

pub use experiment::Experiment;
pub use model_ref::ModelRef;
pub use state::{RunId, RunState};
pub use status::Status;
pub use summary::{RunSummary, phase};
pub use unpruned::unpruned;
