//! Where a run stands: one word for the window, the manifest and `secateur runs`.

use event::Outcome;
use serde::{Serialize, Serializer};
use std::fmt;

/// Where a run stands. Commands move it; its end comes with the last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Waits for another run to end.
    #[default]
    Queued,
    /// Works.
    Running,
    /// Waits to be resumed at its next event.
    Paused,
    /// Asked to stop; ends at its next check.
    Stopping,
    /// Stopped or killed before its end; it can be resumed.
    Interrupted,
    /// Shown as it was at an event of its log; what it is now waits in `RunStore::present`.
    Past,
    /// Done.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended before its first event.
    NotBegun,
}

impl Status {
    /// As people and files have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Interrupted => "interrupted",
            Self::Past => "as it was",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::NotBegun => "not begun",
        }
    }

    /// What a manifest's `state` says.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        let written = [
            Self::Running,
            Self::Paused,
            Self::Interrupted,
            Self::Finished,
            Self::Failed,
        ];
        written.into_iter().find(|status| status.word() == word)
    }

    /// Whether it works or is paused.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }

    /// Whether nothing more is added to its log, unless it is resumed.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Interrupted | Self::Finished | Self::Failed | Self::NotBegun)
    }
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Finished => Self::Finished,
            Outcome::Cancelled => Self::Interrupted,
            Outcome::Failed => Self::Failed,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
