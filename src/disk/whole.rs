//! Files that are there as they were or as they are to be, never half.

use super::fault::{Fault, next_fault, put};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Error;
use std::path::{Path, PathBuf};

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
