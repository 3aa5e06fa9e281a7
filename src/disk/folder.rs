//! Folders whose names survive a power cut.

use super::cut;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// Makes a folder and those above it, unless they are there.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() || path.as_os_str().is_empty() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(above)?;
    }
    // Somebody else may have made it meanwhile.
    make_new_folder(path).map(|_| ())
}

/// Makes a folder within one that is there. False if the name is taken.
///
/// # Errors
/// It cannot be made.
pub fn make_new_folder(path: &Path) -> Result<bool> {
    let made = match std::fs::create_dir(path) {
        Ok(()) => sync_folder_of(path).map(|()| true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    };
    made.with_context(|| format!("cannot make folder {}", path.display()))
}

/// Syncs the names beside a path.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    // Elsewhere folders cannot be opened.
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    cut::synced_folder(folder);
    Ok(())
}
