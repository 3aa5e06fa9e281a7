//! What commands write: to stdout a readable line, or one JSON object a line; to stderr what people should know.

use indicatif::MultiProgress;
use serde::Serialize;
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a line for programs could not be written: nobody reads them any more.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// The bars at the foot of a terminal. Lines are written above them.
pub(crate) static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// The flag that every command has.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Json {
    /// Print one JSON object per line, and nothing else, on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

impl Json {
    /// Writes a fact, for people or for programs.
    pub fn say(self, fact: &impl Serialize, text: impl FnOnce() -> String) {
        let line = if self.json {
            serde_json::to_string(fact).unwrap_or_default()
        } else {
            text()
        };
        // A person who closed the pipe has read enough; a program misses what it asked for.
        if BARS.suspend(|| writeln!(std::io::stdout(), "{line}")).is_err() && self.json {
            IS_LOST.store(true, Ordering::Relaxed);
        }
    }

    /// Whether `--json` asked for lines and nobody takes them any more: time to stop.
    pub(crate) fn is_lost(self) -> bool {
        self.json && IS_LOST.load(Ordering::Relaxed)
    }
}

/// A line for people, on stderr. Whether anybody reads it does not matter to the work.
pub(crate) fn remark(line: &str) {
    drop(BARS.suspend(|| writeln!(std::io::stderr(), "{line}")));
}
