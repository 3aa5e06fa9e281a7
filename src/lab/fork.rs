//! A new run out of an old one's log and checkpoints: the same up to an event, then on its own way.
//! Knows nothing of what is searched or trained; the old run's folder is only read.
//!
//! What was done stays done. The log is taken over up to the event that was asked for, with the newest checkpoint from before
//! it. If settings change, what lies between the two is worked through again with the old ones, to the very step or trial;
//! only then do the new settings hold. Until then the folder has no `config.toml`, and nobody takes it for a run's.

use crate::Workspace;
use crate::work::{catch_up, model_checksums};
use anyhow::{Context, Result, ensure};
use event::{Event, Outcome, Stamped};
use record::checkpoints::{CheckpointFile, nearest};
use record::control::Control;
use record::event_log::{LogHistory, seq_of_work_event};
use record::folder::{ForkOrigin, ManifestUpdate, RunFolder, check_models, data_checksum};
use record::log::read;
use record::{Experiment, Status};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// The run folder that is taken over.
    pub origin: PathBuf,
    /// Its last event that is.
    pub at: u64,
    /// With which settings to go on.
    pub experiment: Experiment,
}

/// A run's experiment with `KEY=VALUE` changes on top, as a fork may have it. Validation images stay what they were.
///
/// # Errors
/// No run folder; a key that is not known; one that cannot change in the middle of a run.
pub fn changed(origin: &Path, changes: &[(String, String)]) -> Result<Experiment> {
    let old = Experiment::of_run(origin, &[])?;
    settle(&old, Experiment::of_run(origin, changes)?)
}

/// What was asked for, as a fork may have it. With another seed, the images stay apart as they were: nothing that was learned
/// from may validate.
fn settle(old: &Experiment, mut new: Experiment) -> Result<Experiment> {
    if new.data.split_seed.is_none() && new.seed != old.split_seed() {
        new.data.split_seed = Some(old.split_seed());
    }
    allow(old, &new)?;
    Ok(new)
}

/// The event at which a run's newest whole checkpoint stands, of those from where these settings make a difference: a run that
/// has finished learns on from the end of its training.
///
/// # Errors
/// The folder cannot be read; a run that has no such checkpoint.
pub fn newest(run: &Path, experiment: &Experiment) -> Result<u64> {
    let mut old = Experiment::of_run(run, &[])?;
    // The same images at another place.
    old.data.source.clone_from(&experiment.data.source);
    let (changes, past) = (differences(&old, experiment)?, record::event_log::history(run)?);
    let done = nearest(run, u64::MAX, &|_| true)?;
    let is_open = |file: &CheckpointFile| idle(&changes, file, done.as_ref(), past.has_finished()).is_empty();
    let found = nearest(run, past.work_events, &is_open)?;
    let found = found.with_context(|| match &changes[..] {
        [] => format!("{} has no checkpoint", run.display()),
        changes => format!(
            "no checkpoint of {} stands where {} would change anything; expected a run on its way, or a new run with start = a model of this one",
            run.display(),
            changes.join(", ")
        ),
    })?;
    seq_of_work_event(run, found.work_events)?
        .with_context(|| format!("the log of {} ends before its checkpoint", run.display()))
}

/// Changes that reach nothing of what a run has yet to do after the checkpoint `at`. `done` is its newest one, which names the
/// stages of a run that has finished; others may have more to come.
fn idle<'c>(
    changes: &'c [String],
    at: &CheckpointFile,
    done: Option<&CheckpointFile>,
    has_finished: bool,
) -> Vec<&'c str> {
    let reaches = |change: &&str| {
        let key = key_of(change);
        let is_ahead = |stage: &str| reads(stage, key) && at.is_ahead(stage, key != "train.epochs");
        let known = at.stages().chain(done.iter().flat_map(|done| done.stages()));
        let more_may_come = !has_finished && (!is_of_first_training(key) || !at.stages().any(|s| s == FIRST));
        more_may_come || known.into_iter().any(is_ahead)
    };
    changes
        .iter()
        .map(String::as_str)
        .filter(|change| !reaches(change))
        .collect()
}

/// The training of a network from nothing.
const FIRST: &str = "training";

/// Whether a setting is of the training of a network from nothing alone; other stages have their own.
fn is_of_first_training(key: &str) -> bool {
    ["train.epochs", "train.lr"].contains(&key)
}

/// Whether a stage of a method goes by a setting. Of settings that are not known here, all do.
fn reads(stage: &str, key: &str) -> bool {
    let is_pure = stage.starts_with("purification");
    match key.split('.').collect::<Vec<_>>()[..] {
        _ if is_of_first_training(key) => stage == FIRST,
        ["method", "purify", "search", ..] => is_pure && stage.ends_with("search"),
        ["method", "purify", "retrain", ..] => is_pure && stage.ends_with("retraining"),
        ["method", "purify", ..] => is_pure,
        ["method", "search" | "trials", ..] => !is_pure && stage.ends_with("search"),
        ["method", "admm", ..] => stage.ends_with("ADMM"),
        ["method", "retrain" | "between", ..] => !is_pure && stage.ends_with("retraining"),
        ["method", "sparse", ..] => stage.ends_with("sparse training"),
        ["trim", "retrain", ..] => stage == "final training",
        _ => true,
    }
}

fn key_of(change: &str) -> &str {
    change.split(" = ").next().unwrap_or_default()
}

/// Whether a run learned anything, or has yet to end, after an event of its log.
fn learns_after(run: &Path, at: u64) -> Result<bool> {
    let (mut learns, mut has_finished) = (false, false);
    read(&run.join("events.jsonl"), &mut |stamped| {
        match &stamped.event {
            Event::Step { .. } | Event::Trial(_) | Event::Residuals { .. } => learns |= stamped.seq > at,
            Event::Ended(ending) => has_finished |= ending.outcome == Outcome::Finished,
            _ => {}
        }
        true
    })?;
    Ok(learns || !has_finished)
}

/// Makes the new run's folder, ready to be resumed. Gives its path.
///
/// # Errors
/// No such run or event; settings that cannot change; a stop; what was worked through again went another way.
pub fn prepare(
    fork: &Fork,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<PathBuf> {
    let mut old = Experiment::of_run(&fork.origin, &[])?;
    let mut fork = fork.clone();
    // The same images at another place, which their checksum shows.
    old.data.source.clone_from(&fork.experiment.data.source);
    fork.experiment = settle(&old, fork.experiment)?;
    // Another teacher may teach from here on.
    let [start, teacher] = model_checksums(&fork.experiment)?;
    let same = teacher.filter(|_| old.train.teacher == fork.experiment.train.teacher);
    check_models(&fork.origin, [start, same])?;
    let folder = RunFolder::bare(&workspace.runs, &fork.experiment.name)?;
    let path = folder.path.clone();
    match fill(folder, &fork, &old, workspace, control, listen) {
        Ok(()) => Ok(path),
        Err(e) => {
            // It is no run yet, so nothing is lost with it.
            drop(std::fs::remove_dir_all(&path));
            Err(e)
        }
    }
}

fn fill(
    mut folder: RunFolder,
    fork: &Fork,
    old: &Experiment,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<()> {
    let history = take_over(&mut folder, fork)?;
    let mut from = 0;
    if let Some(checkpoint) = nearest(&fork.origin, history.work_events, &|_| true)? {
        from = checkpoint.work_events;
        let to = folder.path.join("checkpoints");
        disk::make_folder(&to)?;
        let name = checkpoint.path.file_name().unwrap_or_default();
        let bytes = std::fs::read(&checkpoint.path).with_context(|| format!("cannot copy to {}", to.display()))?;
        disk::write_whole(&to.join(name), &bytes)?;
    }
    let changes = differences(old, &fork.experiment)?;
    ensure!(
        changes.is_empty() || learns_after(&fork.origin, fork.at)?,
        "{}",
        too_late(fork, &changes.iter().map(String::as_str).collect::<Vec<_>>())
    );
    if from < history.work_events && !changes.is_empty() {
        listen(&Stamped {
            seq: history.seq,
            at: history.at,
            event: Event::Phase {
                name: format!("repeating {} events", history.work_events - from),
                progress: 0.0,
            },
        });
        folder = catch_up(old, workspace, control, folder, history, listen)?;
    }
    if let Some(at) = nearest(&folder.path, u64::MAX, &|_| true)? {
        let done = nearest(&fork.origin, u64::MAX, &|_| true)?;
        let has_finished = record::event_log::history(&fork.origin)?.has_finished();
        let idle = idle(&changes, &at, done.as_ref(), has_finished);
        ensure!(idle.is_empty(), "{}", too_late(fork, &idle));
    }
    let name = std::fs::canonicalize(&fork.origin).unwrap_or_else(|_| fork.origin.clone());
    folder.origin = Some(ForkOrigin {
        run: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        at: fork.at,
        changes,
    });
    let update = ManifestUpdate {
        data_checksum: data_checksum(&fork.origin),
        model_checksums: model_checksums(&fork.experiment)?,
        ..ManifestUpdate::status(Status::Interrupted)
    };
    folder.manifest(&fork.experiment, update)?;
    // With this it becomes a run, so all else must be there.
    folder.sync()?;
    folder.configure(&fork.experiment)
}

fn too_late(fork: &Fork, changes: &[&str]) -> String {
    let such = newest(&fork.origin, &fork.experiment).map_or_else(|_| String::new(), |at| format!(", such as {at}"));
    format!(
        "after event {} of {}, nothing is left to do that goes by {}; expected an earlier event{such}",
        fork.at,
        fork.origin.display(),
        changes.join(", ")
    )
}

/// Copies the log up to the event.
fn take_over(folder: &mut RunFolder, fork: &Fork) -> Result<LogHistory> {
    let (mut history, mut last, mut failed) = (LogHistory::default(), None, None);
    read(&fork.origin.join("events.jsonl"), &mut |stamped| {
        if stamped.seq > fork.at {
            return false;
        }
        last = Some(stamped.seq);
        // The fork has not finished.
        if matches!(&stamped.event, Event::Ended(e) if e.outcome == Outcome::Finished) {
            return true;
        }
        history.add(&stamped);
        failed = folder.append(&stamped).err();
        failed.is_none()
    })?;
    if let Some(e) = failed {
        return Err(e);
    }
    let from = fork.origin.display();
    let last = last.with_context(|| format!("{from} has no events"))?;
    ensure!(
        last == fork.at,
        "{from} has no event {}: its last one is {last}",
        fork.at
    );
    Ok(history)
}

/// What a fork may not change: checkpoints would not fit, or what was learned would be validated on.
fn allow(old: &Experiment, new: &Experiment) -> Result<()> {
    ensure!(
        old.split_seed() == new.split_seed(),
        "data.split_seed cannot change in a fork: it would be validated on images it has learned from"
    );
    for change in differences(old, new)? {
        let key = key_of(&change);
        let fixed = [
            "model.",
            "data.",
            "start",
            "method.kind",
            "train.batch",
            "method.dimensions",
            "method.score",
        ];
        ensure!(
            ["data.split_seed", "data.source"].contains(&key) || !fixed.iter().any(|f| key.starts_with(f)),
            "{key} cannot change in a fork: what the run remembers would not fit"
        );
    }
    Ok(())
}

/// Keys that are not the same, as `key = value` of the new ones.
fn differences(old: &Experiment, new: &Experiment) -> Result<Vec<String>> {
    let flat = |e: &Experiment| e.flat().map(BTreeMap::from_iter);
    let (old, new) = (flat(old)?, flat(new)?);
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let mut out: Vec<String> = changed.map(|(key, value)| format!("{key} = {value}")).collect();
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    out.extend(gone.map(|key| format!("{key} = not set")));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoke(changes: &[(&str, &str)]) -> Experiment {
        let changes: Vec<(String, String)> = changes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Experiment::load("smoke", &changes).expect("preset")
    }

    #[test]
    fn what_cannot_change_in_a_fork_is_named() {
        let old = smoke(&[]);
        for (key, value) in [
            ("model.width", "0.7"),
            ("data.valid", "9"),
            ("train.batch", "7"),
            ("start", "model.safetensors"),
        ] {
            let error = allow(&old, &smoke(&[(key, value)])).expect_err(key).to_string();
            assert!(error.starts_with(key), "{error}");
        }
        let error = allow(&old, &smoke(&[("seed", "7")])).expect_err("splits").to_string();
        assert!(error.starts_with("data.split_seed"), "{error}");
        let new = smoke(&[("train.lr", "0.05"), ("seed", "7"), ("data.split_seed", "0")]);
        allow(&old, &new).expect("may change");
        let expected = ["data.split_seed = 0", "seed = 7", "train.lr = 0.05"];
        assert_eq!(differences(&old, &new).expect("differ"), expected);
        assert!(differences(&old, &old).expect("differ").is_empty());
    }
}
