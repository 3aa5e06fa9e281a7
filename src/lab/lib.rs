//! The engine as threads: what a front asks, what happens, what is known of it.
//!
//! Entry points: [`Session`] (submit a [`Command`], pump, read the [`RunStore`]) for a window, [`execute::execute`] for one run on
//! the calling thread. Knows nothing of windows; a front hands over a waker and reads the store.
#![forbid(unsafe_code)]

pub mod command;
pub mod execute;
pub mod fork;
mod gates;
pub mod jobs;
pub mod known;
mod memory_check;
mod outbox;
pub mod session;
pub mod store;
pub mod tournament;
mod watch;
mod work;
mod workspace;

pub use command::Command;
pub use jobs::{JobResult, ModelJob};
pub use session::Session;
pub use store::RunStore;
pub use workspace::Workspace;
