//! What a power cut would leave, for tests: each file as it was last synced, under the names that were synced with their folder.

use anyhow::{Context, Result};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A folder as it is on the disk at a moment, whatever the system still holds in memory.
#[derive(Clone, Debug, Default)]
pub struct SyncedDisk {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Rc<[u8]>>,
}

#[derive(Default)]
struct Watch {
    root: PathBuf,
    disk: SyncedDisk,
    /// Bytes that were synced, by today's name of the file.
    contents: BTreeMap<PathBuf, Rc<[u8]>>,
    after_syncs: Vec<SyncedDisk>,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// For tests: from now on, remembers after each sync of this thread what of the folder `root` a power cut would leave.
pub fn watch_syncs(root: &Path) {
    let root = root.to_path_buf();
    WATCH.set(Some(Watch {
        root,
        ..Watch::default()
    }));
}

/// For tests: what a power cut would have left after each sync since [`watch_syncs`], which ends.
pub fn take_syncs() -> Vec<SyncedDisk> {
    WATCH.take().map(|watch| watch.after_syncs).unwrap_or_default()
}

impl SyncedDisk {
    /// Writes it all into a folder: the disk when the power is back.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn restore(&self, to: &Path) -> Result<()> {
        let is_named = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|a| a.as_os_str().is_empty() || self.folders.contains(a))
        };
        for folder in self.folders.iter().filter(|f| is_named(f)) {
            std::fs::create_dir_all(to.join(folder)).context("cannot restore")?;
        }
        for (path, bytes) in self.files.iter().filter(|(path, _)| is_named(path)) {
            std::fs::write(to.join(path), bytes).context("cannot restore")?;
        }
        Ok(())
    }
}

/// Tells who watches; a path is given to them from the root on.
fn watched(path: &Path, note: impl FnOnce(&mut Watch, PathBuf)) {
    WATCH.with_borrow_mut(|watch| {
        let Some(watch) = watch else { return };
        if let Ok(path) = path.strip_prefix(&watch.root).map(Path::to_path_buf) {
            note(watch, path);
        }
    });
}

/// A new file: nothing of it is on the disk, whatever was under its name.
pub(crate) fn created(path: &Path) {
    watched(path, |watch, path| drop(watch.contents.remove(&path)));
}

/// A file took another's name.
pub(crate) fn renamed(from: &Path, to: &Path) {
    watched(from, |watch, from| {
        let Ok(to) = to.strip_prefix(&watch.root) else { return };
        let bytes = watch.contents.remove(&from).unwrap_or_default();
        watch.contents.insert(to.to_path_buf(), bytes);
    });
}

/// The bytes of a file are on the disk.
pub(crate) fn synced_file(path: &Path) {
    watched(path, |watch, name| {
        let bytes: Rc<[u8]> = std::fs::read(path).unwrap_or_default().into();
        watch.contents.insert(name.clone(), bytes.clone());
        if let Some(named) = watch.disk.files.get_mut(&name) {
            *named = bytes;
        }
        watch.after_syncs.push(watch.disk.clone());
    });
}

/// The names in a folder are on the disk.
pub(crate) fn synced_folder(path: &Path) {
    watched(path, |watch, folder| {
        let Watch { disk, contents, .. } = watch;
        let within = |name: &PathBuf| name.parent() == Some(&folder);
        disk.files.retain(|name, _| !within(name));
        disk.folders.retain(|name| !within(name));
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let name = folder.join(entry.file_name());
            if entry.path().is_dir() {
                disk.folders.insert(name);
            } else {
                let bytes = contents.get(&name).cloned().unwrap_or_default();
                disk.files.insert(name, bytes);
            }
        }
        watch.after_syncs.push(watch.disk.clone());
    });
}
