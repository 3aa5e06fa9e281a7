//! A file that only grows, by whole pieces.

use super::cut;
use super::fault::{next_fault, put};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that only grows, by whole pieces.
#[derive(Debug)]
pub struct Log {
    synced: LogSync,
    whole: u64,
}

/// The right to sync a log, for who does not write it.
#[derive(Clone, Debug)]
pub struct LogSync {
    path: PathBuf,
    file: Arc<File>,
}

impl LogSync {
    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.sync_all();
        cut::synced_file(&self.path);
        synced.with_context(|| format!("cannot write {}", self.path.display()))
    }
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
        let synced = LogSync {
            path: path.to_path_buf(),
            file: Arc::new(file),
        };
        Ok(Self { synced, whole })
    }

    /// Adds a piece and hands it to the system.
    ///
    /// # Errors
    /// It could not be written whole; the log is as it was.
    pub fn append(&mut self, piece: &[u8]) -> Result<()> {
        let LogSync { path, file } = &self.synced;
        let written = put(file, piece, next_fault());
        if written.is_err() {
            // If even this fails, reading drops the torn end.
            drop(file.set_len(self.whole));
        } else {
            self.whole += piece.len() as u64;
        }
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// The right to sync it.
    pub fn syncing(&self) -> LogSync {
        self.synced.clone()
    }
}
