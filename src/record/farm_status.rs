//! What a farm is doing, in a file beside its plan: whoever follows it writes, windows read. And the order to stop it.
//! Knows nothing of schedulers.

use anyhow::Result;
use disk::write_whole;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folder of farms, beside the runs.
pub const FARMS: &str = "farms";
const STATUS: &str = "status.json";
const FOLLOWER: &str = "follower.lock";
const STOP: &str = "stop";

/// Where a task of a farm is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// In the queue.
    #[default]
    Waiting,
    /// On a machine.
    Running,
    /// All that it was to do is done.
    Finished,
    /// It says that it failed.
    Failed,
    /// It is over without a result.
    Lost,
}

impl TaskState {
    /// Its name in JSON and for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }

    /// Whether nothing more will come of it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Lost)
    }
}

/// A task of a farm, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FarmTaskStatus {
    /// Where it is.
    pub state: TaskState,
    /// Its run folder, if it is a run that has begun.
    pub run: Option<PathBuf>,
    /// What it does.
    pub phase: String,
    /// The share of it that is done.
    pub progress: f32,
    /// The machine's number or name.
    pub worker: Option<String>,
    /// What its scheduler complains of.
    pub error: Option<String>,
}

/// A farm: the tasks of one plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FarmStatus {
    /// The scheduler.
    pub engine: String,
    /// The scheduler's number for it.
    pub job: String,
    /// What is called a task: a run, or a task that measures trials.
    pub word: String,
    /// Its tasks, by their numbers.
    pub tasks: Vec<FarmTaskStatus>,
    /// Where its files are, logs among them.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Whether somebody follows it now, and can be asked to stop it.
    #[serde(skip)]
    pub is_followed: bool,
}

impl FarmStatus {
    /// Writes it beside its plan.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self) -> Result<()> {
        write_whole(&self.folder.join(STATUS), &serde_json::to_vec(self)?)
    }

    /// All farms whose runs are in this folder and that are not over, or were not when they were followed last. What cannot be read
    /// is none.
    pub fn list(runs: &Path) -> Vec<Self> {
        let folders = std::fs::read_dir(runs.join(FARMS)).into_iter().flatten().flatten();
        let mut all: Vec<Self> = folders.filter_map(|entry| Self::read(&entry.path())).collect();
        all.retain(|farm| farm.tasks.iter().any(|task| !task.state.is_over()));
        all.sort_by(|a, b| a.folder.cmp(&b.folder));
        all
    }

    fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read(folder.join(STATUS)).ok()?;
        let mut status: Self = serde_json::from_slice(&text).ok()?;
        folder.clone_into(&mut status.folder);
        status.is_followed = File::open(folder.join(FOLLOWER)).is_ok_and(|file| file.try_lock_shared().is_err());
        Some(status)
    }

    /// Its name: that of its folder.
    pub fn name(&self) -> String {
        let name = self.folder.file_name();
        name.map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    }
}

/// The right to follow a farm, held as long as it lives; none while another process does. Orders of before are forgotten.
///
/// # Errors
/// The folder cannot be written to.
pub fn follow(folder: &Path) -> Result<Option<File>> {
    let file = File::options().create(true).append(true).open(folder.join(FOLLOWER))?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    is_to_stop(folder);
    Ok(Some(file))
}

/// Asks whoever follows a farm to stop it.
///
/// # Errors
/// The folder cannot be written to.
pub fn ask_to_stop(folder: &Path) -> Result<()> {
    write_whole(&folder.join(STOP), b"")
}

/// Whether somebody asked to stop the farm; the order is taken away.
pub fn is_to_stop(folder: &Path) -> bool {
    std::fs::remove_file(folder.join(STOP)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farm_is_seen_while_it_is_at_work_and_stopped_by_whoever_follows_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = dir.path().join(FARMS).join("seeds-1");
        std::fs::create_dir_all(&folder).expect("makes");
        let task = |state| FarmTaskStatus {
            state,
            progress: 0.5,
            ..FarmTaskStatus::default()
        };
        let mut farm = FarmStatus {
            engine: "hq".into(),
            job: "3".into(),
            word: "run".into(),
            tasks: vec![task(TaskState::Finished), task(TaskState::Running)],
            folder: folder.clone(),
            is_followed: false,
        };
        farm.write().expect("writes");
        assert_eq!(FarmStatus::list(dir.path()), [farm.clone()]);
        let held = follow(&folder).expect("opens").expect("is free");
        assert!(follow(&folder).expect("opens").is_none());
        assert!(FarmStatus::list(dir.path())[0].is_followed);
        assert!(!is_to_stop(&folder));
        ask_to_stop(&folder).expect("writes");
        assert!(is_to_stop(&folder) && !is_to_stop(&folder));
        drop(held);
        assert!(!FarmStatus::list(dir.path())[0].is_followed);
        farm.tasks[1].state = TaskState::Lost;
        farm.write().expect("writes");
        assert_eq!(FarmStatus::list(dir.path()), []);
        std::fs::write(folder.join(STATUS), "{}").expect("writes");
        assert_eq!(FarmStatus::list(dir.path()), []);
    }
}
