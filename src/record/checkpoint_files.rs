//! The checkpoint files of a run at work: which of them stay, and which are given up when the disk is full.
//! Knows nothing of what is in them.

use anyhow::Result;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;

/// The newest files, which always stay.
const NEWEST: usize = 2;

/// Older files that stay for forks.
const OLDER: usize = 14;

/// Bytes of all files beyond which no older ones stay.
const MOST_BYTES: u64 = 512 << 20;

/// A checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Where it is.
    pub path: PathBuf,
    /// Events of the work before it.
    pub work_events: u64,
    /// Its stages.
    pub(crate) stages: Vec<StageMark>,
    pub(crate) bytes: u64,
}

/// Where a stage stands at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageMark {
    pub(crate) name: String,
    pub(crate) over: bool,
    /// False when all steps of a training are done and it is not over.
    pub(crate) has_steps_left: bool,
}

impl CheckpointFile {
    /// Whether a stage is over.
    pub fn is_over(&self, stage: &str) -> bool {
        self.stages.iter().any(|s| s.name == stage && s.over)
    }

    /// Its stages, those that are over too.
    pub fn stages(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().map(|s| s.name.as_str())
    }

    /// Whether a stage has yet to begin or is under way. One whose steps are all done, but not its last measurement, is
    /// `ended` or not.
    pub fn is_ahead(&self, stage: &str, ended: bool) -> bool {
        let found = self.stages.iter().find(|s| s.name == stage);
        found.is_none_or(|s| !s.over && (s.has_steps_left || !ended))
    }
}

/// The files in a run's folder, oldest first. Shared between who writes them and who needs their room.
#[derive(Debug, Default)]
pub(crate) struct CheckpointFiles {
    files: RefCell<Vec<CheckpointFile>>,
    /// Files and bytes that were given up, until somebody says so.
    given_up: Cell<[u64; 2]>,
}

impl CheckpointFiles {
    pub(crate) fn set(&self, files: Vec<CheckpointFile>) {
        *self.files.borrow_mut() = files;
    }

    /// Adds the newest one; others go for it.
    pub(crate) fn push(&self, file: CheckpointFile) {
        let files = &mut *self.files.borrow_mut();
        files.push(file);
        while files.len() > NEWEST + OLDER || files.iter().map(|f| f.bytes).sum::<u64>() > MOST_BYTES {
            if remove_one(files).is_none() {
                return;
            }
        }
    }

    /// Writes something. While the disk is full, gives up what is kept for forks alone.
    ///
    /// # Errors
    /// Those of `write`.
    pub(crate) fn making_room<T>(&self, mut write: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match write() {
                Err(e) if disk::is_full(&e) => {
                    let Some(bytes) = remove_one(&mut self.files.borrow_mut()) else {
                        return Err(e);
                    };
                    let [n, sum] = self.given_up.get();
                    self.given_up.set([n + 1, sum + bytes]);
                }
                done => return done,
            }
        }
    }

    /// What was given up since the last call, in words.
    pub(crate) fn take_given_up(&self) -> Option<String> {
        let [n, bytes] = self.given_up.take();
        (n > 0).then(|| {
            format!(
                "the disk is full: {n} older checkpoints of {} kB, kept for forks, were given up",
                bytes.div_ceil(1000)
            )
        })
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<CheckpointFile> {
        self.files.borrow().clone()
    }
}

/// Removes that older file which leaves the smallest gap; gives its bytes. None if there are only the newest ones.
fn remove_one(files: &mut Vec<CheckpointFile>) -> Option<u64> {
    let older = files.len().saturating_sub(NEWEST);
    let before = |i: usize| i.checked_sub(1).map_or(0, |i| files[i].work_events);
    let gap = |&i: &usize| files[i + 1].work_events.saturating_sub(before(i));
    let old = files.remove((0..older).min_by_key(gap)?);
    // It may be gone already; one that cannot be removed is found again when the run is resumed.
    drop(std::fs::remove_file(&old.path));
    Some(old.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(files: &[(u64, u64)]) -> Vec<u64> {
        let all = CheckpointFiles::default();
        for &(work_events, bytes) in files {
            all.push(CheckpointFile {
                path: PathBuf::new(),
                work_events,
                stages: Vec::new(),
                bytes,
            });
        }
        all.all().iter().map(|f| f.work_events).collect()
    }

    #[test]
    fn older_files_go_when_there_is_no_room_for_them() {
        assert_eq!(kept(&[(1, 10), (9, 10), (10, 10)]), [1, 9, 10]);
        assert_eq!(kept(&[(1, MOST_BYTES), (9, 10), (10, 10)]), [9, 10]);
        assert_eq!(
            kept(&[(9, MOST_BYTES), (10, MOST_BYTES)]),
            [9, 10],
            "the newest two stay"
        );
    }

    #[test]
    fn on_a_full_disk_what_is_kept_for_forks_goes_first() {
        let dir = tempfile::tempdir().expect("temp dir");
        let all = CheckpointFiles::default();
        for work_events in 1..=5 {
            let path = dir.path().join(format!("{work_events}"));
            std::fs::write(&path, b"1234").expect("writes");
            all.push(CheckpointFile {
                path,
                work_events,
                stages: Vec::new(),
                bytes: 4,
            });
        }
        let full = || anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        let left = || std::fs::read_dir(dir.path()).expect("folder").count();
        all.making_room(|| if left() > 3 { Err(full()) } else { Ok(()) })
            .expect("has room");
        assert!(
            all.take_given_up().is_some_and(|text| text.contains("2 older")),
            "nobody is told"
        );
        assert_eq!(all.take_given_up(), None);
        all.making_room(|| -> Result<()> { Err(full()) }).expect_err("is full");
        assert_eq!(left(), 2, "the newest stay");
    }
}
