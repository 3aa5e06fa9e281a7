//! What commands write to stdout: a readable line, or one JSON object a line.

use serde::Serialize;
use std::io::Write;

/// The flag that every command has.
#[derive(clap::Args, Clone, Copy)]
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
        // A closed pipe is not our error.
        drop(writeln!(std::io::stdout(), "{line}"));
    }
}
