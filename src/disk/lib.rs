//! The one small layer through which runs and models are written, so that every write can be made to fail in a test.
//! Knows nothing of what is written.
//!
//! Two promises. A whole file is there as it was or as it is to be, never half: it is written beside, synced and renamed.
//! A log only grows by whole pieces: what was written of a piece that failed is taken back.

use anyhow::{Context, Result};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What goes wrong in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// So many bytes are written, then no more is taken.
    Short(usize),
    /// No room (ENOSPC).
    Full,
    /// The device fails (EIO).
    Broken,
    /// The power goes before the rename: nobody cleans up.
    BeforeRename,
    /// The power goes after the rename.
    AfterRename,
}

thread_local! {
    /// What is to happen to the next writes of this thread; empty outside tests.
    static FAULTS: RefCell<VecDeque<Option<Fault>>> = const { RefCell::new(VecDeque::new()) };
}

/// For tests: what is to happen to the next writes of this thread, one each.
pub fn plan_faults(faults: impl IntoIterator<Item = Option<Fault>>) {
    FAULTS.with_borrow_mut(|f| *f = faults.into_iter().collect());
}

fn next_fault() -> Option<Fault> {
    FAULTS.with_borrow_mut(|f| f.pop_front().flatten())
}

fn put(file: &mut File, bytes: &[u8], fault: Option<Fault>) -> std::io::Result<()> {
    match fault {
        Some(Fault::Short(n)) => {
            file.write_all(&bytes[..n.min(bytes.len())])?;
            Err(Error::from(ErrorKind::WriteZero))
        }
        Some(Fault::Full) => Err(Error::from(ErrorKind::StorageFull)),
        Some(Fault::Broken) => Err(Error::other("input/output error")),
        _ => file.write_all(bytes),
    }
}

/// Writes a file beside its place, syncs it and renames it. After a failure the old file is whole.
///
/// # Errors
/// The folder cannot be written to.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_checked(path, bytes, |_| Ok(()))
}

/// As [`write_whole`], but it gets its name only if `check` is content with what was written, whose place it is given.
///
/// # Errors
/// As [`write_whole`], or those of `check`.
pub fn write_checked<T>(path: &Path, bytes: &[u8], check: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let fault = next_fault();
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        put(&mut file, bytes, fault)?;
        file.sync_all()
    };
    let name = || -> std::io::Result<()> {
        if fault == Some(Fault::BeforeRename) {
            return Err(Error::other("the power is gone"));
        }
        std::fs::rename(&beside, path)?;
        // The name must survive a crash too.
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        if fault == Some(Fault::AfterRename) {
            return Err(Error::other("the power is gone"));
        }
        Ok(())
    };
    let cannot = || format!("cannot write {}", path.display());
    let checked = write().with_context(cannot).and_then(|()| check(&beside));
    let named = checked.and_then(|good| {
        name().with_context(cannot)?;
        Ok(good)
    });
    let crashed = matches!(fault, Some(Fault::BeforeRename | Fault::AfterRename));
    if named.is_err() && !crashed {
        drop(std::fs::remove_file(&beside));
    }
    named
}

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

/// Whether it was for want of room that something could not be written.
pub fn is_full(e: &anyhow::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    e.chain()
        .filter_map(|e| e.downcast_ref::<Error>())
        .any(|e| kinds.contains(&e.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: [Fault; 5] = [
        Fault::Short(2),
        Fault::Full,
        Fault::Broken,
        Fault::BeforeRename,
        Fault::AfterRename,
    ];

    #[test]
    fn a_file_is_as_it_was_or_as_it_is_to_be() {
        for fault in FAULTS {
            let dir = tempfile::tempdir().expect("temp dir");
            let path = dir.path().join("file");
            write_whole(&path, b"before").expect("writes");
            plan_faults([Some(fault)]);
            let error = write_whole(&path, b"after").expect_err("fails");
            assert_eq!(is_full(&error), fault == Fault::Full);
            let expected: &[u8] = if fault == Fault::AfterRename {
                b"after"
            } else {
                b"before"
            };
            assert_eq!(std::fs::read(&path).expect("reads"), expected, "{fault:?}");
            write_whole(&path, b"again").expect("writes");
            assert_eq!(std::fs::read(&path).expect("reads"), b"again");
        }
    }

    #[test]
    fn a_file_that_is_refused_leaves_the_old_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        let seen = write_checked(&path, b"one", |beside| Ok(std::fs::read(beside)?)).expect("writes");
        assert_eq!(seen, b"one");
        let refused: Result<()> = write_checked(&path, b"two", |_| anyhow::bail!("no"));
        assert_eq!(refused.expect_err("refused").to_string(), "no");
        assert_eq!(std::fs::read(&path).expect("there"), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
    }

    #[test]
    fn a_log_grows_by_whole_pieces() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("log");
        let mut log = Log::open(&path, None).expect("opens");
        for fault in [
            None,
            Some(Fault::Short(1)),
            Some(Fault::Full),
            None,
            Some(Fault::Broken),
            None,
        ] {
            plan_faults([fault]);
            assert_eq!(log.append(b"piece").is_ok(), fault.is_none());
        }
        assert_eq!(std::fs::read(&path).expect("reads"), b"piecepiecepiece");
        drop(Log::open(&path, Some(7)).expect("opens"));
        assert_eq!(std::fs::read(&path).expect("reads"), b"piecepi");
    }
}
