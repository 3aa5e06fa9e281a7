//! What threads say to the session, and how they wake whoever shows it.
//! Knows nothing of what becomes of it.

use crate::jobs::JobResult;
use crate::watch::Found;
use crossbeam_channel::Sender;
use event::Stamped;
use record::{RunId, RunState};
use std::path::PathBuf;
use std::sync::Arc;

/// Called from any thread when the session has something new.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What threads of the session say to it.
pub(crate) enum Message {
    Event(RunId, Stamped),
    Replayed(Box<RunState>),
    /// A fork stands ready, with what it took over.
    Branched(Box<RunState>),
    Past((RunId, u64), Option<Box<RunState>>),
    /// A run of this session has its folder.
    Made(RunId, PathBuf),
    Logged(PathBuf, Stamped),
    /// Another process no longer writes to a run folder.
    Left(PathBuf),
    /// A run folder cannot be read.
    Unreadable(PathBuf, String),
    /// Something outside runs did not work.
    Failed(String),
    /// The run folders, or farms, that there are now.
    Found(Found),
    Done(Box<JobResult>),
    /// The run could not even begin, or its thread is gone.
    Broken(RunId, String),
}

/// Sends to the session from any thread, and wakes the front.
#[derive(Clone)]
pub(crate) struct Outbox {
    pub(crate) send: Sender<Message>,
    pub(crate) wake: Wake,
}

impl Outbox {
    /// False when the session is gone.
    pub(crate) fn send(&self, message: Message) -> bool {
        let sent = self.send.send(message).is_ok();
        (self.wake)();
        sent
    }
}
