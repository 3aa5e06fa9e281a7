//! Experiments as data and as threads: what is asked, what happens, what is known of it.
//! Knows nothing of windows; a front hands over a waker and reads the store.

pub mod bench;
pub mod command;
pub mod control;
pub mod device;
pub mod execute;
pub mod experiment;
pub mod folder;
pub mod fork;
pub mod gate;
pub mod jobs;
pub mod log;
pub mod orders;
pub mod outlet;
pub mod pictures;
pub mod probe;
pub mod remote;
pub mod replay;
pub mod room;
pub mod searches;
pub mod session;
pub mod shelf;
pub mod state;
pub mod store;
pub mod sweep;
pub mod tail;

pub use command::{Command, ModelRef, Question};
pub use experiment::Experiment;
pub use jobs::{Job, JobDone};
pub use session::Session;
pub use state::{RunId, RunState, Status};
pub use store::RunStore;
