//! Files that get their name only when they have been found good.
//! Knows nothing of what is in them.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes beside `path`, syncs, reads the bytes back for `check`, and renames if that is content.
/// An older file of the name stays whole until then; what fails leaves nothing behind.
///
/// # Errors
/// The folder cannot be written to, or those of `check`.
pub(super) fn write_checked<T>(path: &Path, bytes: &[u8], check: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let cannot = || format!("cannot write {}", path.display());
    let write = || {
        let mut file = File::create(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::read(beside)
    };
    let checked = write().with_context(cannot).and_then(|back| check(&back));
    let named = checked.and_then(|good| {
        std::fs::rename(beside, path).with_context(cannot)?;
        Ok(good)
    });
    if named.is_err() {
        drop(std::fs::remove_file(beside));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_file_that_is_refused_leaves_the_old_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("m.onnx");
        let seen = write_checked(&path, b"one", |bytes| Ok(bytes.to_vec())).expect("writes");
        assert_eq!(seen, b"one");
        let refused: Result<()> = write_checked(&path, b"two", |_| bail!("no"));
        assert_eq!(refused.expect_err("refused").to_string(), "no");
        assert_eq!(std::fs::read(&path).expect("there"), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
    }
}
