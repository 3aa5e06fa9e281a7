//! A file that only grows, by whole pieces.

use super::fault::{next_fault, put};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file that only grows, by whole pieces.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    whole: u64,
}

impl Log {
    /// Opens a log whose first `whole` bytes are good and drops what lies behind them; all are if `None`.
    ///
    /// # Errors
    /// It cannot be opened for writing.
    pub fn open(path: &Path, whole: Option<u64>) -> Result<Self> {
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::options().create(true).append(true).open(path)?;
            let len = file.metadata()?.len();
            let whole = whole.unwrap_or(len).min(len);
            if whole < len {
                file.set_len(whole)?;
            }
            Ok((file, whole))
        };
        let (file, whole) = open().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            whole,
        })
    }

    /// Adds a piece and hands it to the system.
    ///
    /// # Errors
    /// It could not be written whole; the log is as it was.
    pub fn append(&mut self, piece: &[u8]) -> Result<()> {
        let written = put(&mut self.file, piece, next_fault());
        if written.is_err() {
            // If even this fails, reading drops the torn end.
            drop(self.file.set_len(self.whole));
        } else {
            self.whole += piece.len() as u64;
        }
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}
