//! A run folder as state: its experiment and the fold of its log.
//! Knows nothing of sessions; nothing in the folder is changed.

use crate::experiment::Experiment;
use crate::log;
use crate::state::{RunId, RunState};
use crate::status::Status;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The run in a folder. Without a last event it is [`Status::Interrupted`].
///
/// # Errors
/// No `config.toml` or `events.jsonl` in it, or one that cannot be read.
pub fn replay(id: RunId, folder: &Path) -> Result<RunState> {
    Ok(replay_to_end(id, folder)?.0)
}

/// The same, and how many bytes of its log were read.
///
/// # Errors
/// As [`replay`].
pub fn replay_to_end(id: RunId, folder: &Path) -> Result<(RunState, u64)> {
    let (mut run, bytes) = fold(RunState::STEPS, id, folder, u64::MAX)?;
    if !run.status.is_over() {
        run.status = Status::Interrupted;
    }
    Ok((run, bytes))
}

/// The run in a folder as it was right after event `seq`; as it is now, if there is no later event.
///
/// # Errors
/// As [`replay`].
pub fn at(id: RunId, folder: &Path, seq: u64) -> Result<RunState> {
    Ok(fold(RunState::STEPS, id, folder, seq)?.0)
}

/// The run in a folder with every step of its log, however many those are: for tables.
///
/// # Errors
/// As [`replay`].
pub fn with_every_step(id: RunId, folder: &Path) -> Result<RunState> {
    let (mut run, _) = fold(usize::MAX, id, folder, u64::MAX)?;
    if !run.status.is_over() {
        run.status = Status::Interrupted;
    }
    Ok(run)
}

fn fold(most_steps: usize, id: RunId, folder: &Path, seq: u64) -> Result<(RunState, u64)> {
    ensure!(folder.is_dir(), "{} is not a run folder", folder.display());
    let config = folder.join("config.toml");
    ensure!(
        config.is_file(),
        "{} has no config.toml; expected a run folder",
        folder.display()
    );
    let experiment = Experiment::of_run(folder, &[])?;
    let mut run = RunState::new(id, Arc::new(experiment));
    run.most_steps = most_steps;
    let bytes = log::read(&folder.join("events.jsonl"), &mut |stamped| {
        let wanted = stamped.seq <= seq;
        if wanted {
            run.apply(&stamped);
        }
        wanted
    })?;
    run.folder = Some(folder.to_path_buf());
    Ok((run, bytes))
}

/// The run folder that a user names: by its path, or by its name under `runs`. What has a `config.toml` is one.
///
/// # Errors
/// Neither is a run folder.
pub fn find(run: &Path, runs: &Path) -> Result<PathBuf> {
    let places = [run.to_path_buf(), runs.join(run)];
    let found = places.into_iter().find(|p| p.join("config.toml").is_file());
    found.with_context(|| {
        format!(
            "no run folder {} (also not under {}); expected a folder with config.toml and events.jsonl",
            run.display(),
            runs.display()
        )
    })
}

/// All run folders under `runs`, oldest first. Empty if there is no such folder.
///
/// # Errors
/// The folder cannot be listed.
pub fn list(runs: &Path) -> Result<Vec<PathBuf>> {
    if !runs.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(runs).with_context(|| format!("cannot list {}", runs.display()))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.join("config.toml").is_file())
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::RunFolder;
    use event::{Event, Stamped};

    #[test]
    fn a_folder_without_a_last_event_is_an_interrupted_run() {
        let dir = tempfile::tempdir().expect("temp dir");
        let experiment = Experiment::load("smoke", &[]).expect("preset");
        let mut folder = RunFolder::create(dir.path(), &experiment).expect("creates");
        let event = Event::Warning { text: "x".into() };
        folder.append(&Stamped { seq: 0, at: 0.5, event }).expect("writes");
        let run = replay(RunId(3), &folder.path).expect("replays");
        assert_eq!((run.id, run.status, run.events), (RunId(3), Status::Interrupted, 1));
        assert_eq!(*run.experiment, experiment);
        assert_eq!(list(dir.path()).expect("lists"), [folder.path.clone()]);
        let name = PathBuf::from(folder.name());
        assert_eq!(find(&name, dir.path()).expect("finds"), folder.path);
        assert!(find(Path::new("gone"), dir.path()).is_err());
        assert!(replay(RunId(0), dir.path()).is_err());
    }

    #[test]
    fn a_run_as_it_was_is_the_fold_up_to_there() {
        let dir = tempfile::tempdir().expect("temp dir");
        let experiment = Experiment::load("smoke", &[]).expect("preset");
        let mut folder = RunFolder::create(dir.path(), &experiment).expect("creates");
        let mut expected = RunState::new(RunId(0), Arc::new(experiment));
        expected.folder = Some(folder.path.clone());
        let mut then = expected.clone();
        for seq in 0..9 {
            let event = Event::Warning { text: format!("{seq}") };
            let stamped = Stamped {
                seq,
                at: seq as f64,
                event,
            };
            folder.append(&stamped).expect("writes");
            expected.apply(&stamped);
            if seq == 4 {
                then = expected.clone();
            }
        }
        assert_eq!(at(RunId(0), &folder.path, 4).expect("replays"), then);
        assert_eq!(at(RunId(0), &folder.path, 99).expect("replays"), expected);
    }
}
