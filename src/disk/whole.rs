//! Files that are there as they were or as they are to be, never half.

use super::cut;
use super::fault::{Fault, next_fault, put};
use super::folder::sync_folder_of;
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file beside its place, syncs it and renames it. After a failure the old file is whole.
///
/// # Errors
/// The folder cannot be written to.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_checked(path, bytes, |_| Ok(()))
}

/// As [`write_whole`], but it gets its name only if `check` is content with what was written, whose place it is given.
/// Who writes the same file at the same time does not disturb: the last one's is there in the end.
///
/// # Errors
/// As [`write_whole`], or those of `check`.
pub fn write_checked<T>(path: &Path, bytes: &[u8], check: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let cannot = || format!("cannot write {}", path.display());
    let fault = next_fault();
    remove_left(path);
    let (beside, file) = Beside::new(path).with_context(cannot)?;
    let write = || -> std::io::Result<()> {
        put(&file, bytes, fault)?;
        file.sync_all()?;
        cut::synced_file(&beside.0);
        Ok(())
    };
    let name = || -> std::io::Result<()> {
        if fault == Some(Fault::BeforeRename) {
            return Err(Error::other("the power is gone"));
        }
        std::fs::rename(&beside.0, path)?;
        cut::renamed(&beside.0, path);
        // The name must survive a crash too.
        sync_folder_of(path)?;
        if fault == Some(Fault::AfterRename) {
            return Err(Error::other("the power is gone"));
        }
        Ok(())
    };
    let checked = write().with_context(cannot).and_then(|()| check(&beside.0));
    let named = checked.and_then(|good| {
        name().with_context(cannot)?;
        Ok(good)
    });
    let crashed = matches!(fault, Some(Fault::BeforeRename | Fault::AfterRename));
    if named.is_err() && !crashed {
        drop(std::fs::remove_file(&beside.0));
    }
    named
}

/// The place of a file that has not got its name: `NAME.PROCESS-NUMBER.part`, locked as long as somebody writes it.
struct Beside(PathBuf);

const ENDING: &str = ".part";

impl Beside {
    fn new(path: &Path) -> std::io::Result<(Self, File)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}-{number}{ENDING}", std::process::id()));
            let beside = PathBuf::from(name);
            // Another machine's process may have this number.
            let file = match File::options().write(true).create_new(true).open(&beside) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            cut::created(&beside);
            // Elsewhere a lock keeps out even its owner.
            let is_free = !cfg!(unix) || !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            // Who takes it for one that was left removes it before it could be locked.
            if is_free && beside.exists() {
                return Ok((Self(beside), file));
            }
        }
    }
}

/// Removes what writers that were killed have left beside a file.
fn remove_left(path: &Path) {
    let Some(name) = path.file_name().filter(|_| cfg!(unix)) else {
        return;
    };
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
    for entry in entries.into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|t| t.is_file());
        if !is_file || !is_beside(&entry.file_name(), name) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        // Held until it is gone, so that who has just made it notices.
        if file.try_lock().is_ok() {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

/// Whether a name is that of a file that was to be called `name`, by this version or an older one.
fn is_beside(beside: &OsStr, name: &OsStr) -> bool {
    let rest = beside.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
    rest.is_some_and(|rest| {
        let number = rest.strip_suffix(ENDING.as_bytes());
        number
            .is_some_and(|n| n.is_empty() || (n[0] == b'.' && n[1..].iter().all(|b| b.is_ascii_digit() || *b == b'-')))
    })
}
