//! Runs that are known again by their settings: what is there is not run twice, and what was interrupted goes on.
//! Knows nothing of who asks for them: a tournament, or a machine of a farm.

use crate::Workspace;
use crate::execute::{begin, resume};
use crate::work::on_held_out_images;
use anyhow::Result;
use event::{Cancelled, Ending, Event, Outcome, Stamped};
use record::control::Control;
use record::folder::is_written;
use record::{Experiment, log, replay};
use std::path::{Path, PathBuf};

/// How one run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// It is finished, now or before.
    Finished(PathBuf),
    /// It failed, now or before: why.
    Failed(PathBuf, String),
    /// Another process works on it.
    Elsewhere(PathBuf),
}

/// The experiment as its run folder has it: with whole paths, on images that the model to start from has not learned from.
///
/// # Errors
/// A path cannot be made whole.
pub fn recorded(experiment: &Experiment) -> Result<Experiment> {
    Ok(on_held_out_images(&experiment.anchored()?))
}

/// The run folder with these settings, if there is one.
///
/// # Errors
/// `runs` cannot be listed.
pub fn find(experiment: &Experiment, runs: &Path) -> Result<Option<PathBuf>> {
    let wanted = recorded(experiment)?;
    let named = format!("_{}_", experiment.name);
    for run in replay::list(runs)? {
        let is_named = run.file_name().is_some_and(|n| n.to_string_lossy().contains(&named));
        // One that cannot be read is none of these.
        if is_named && Experiment::of_run(&run, &[]).is_ok_and(|e| e == wanted) {
            return Ok(Some(std::path::absolute(run)?));
        }
    }
    Ok(None)
}

/// The event with which a run ended last, if it did.
///
/// # Errors
/// Its log cannot be read.
pub fn last(run: &Path) -> Result<Option<Stamped>> {
    let mut last = None;
    log::read(&run.join("events.jsonl"), &mut |stamped| {
        match stamped.event {
            Event::Ended(_) => last = Some(stamped),
            Event::Resumed { .. } => last = None,
            _ => {}
        }
        true
    })?;
    Ok(last)
}

/// How a run ended last, if it did.
///
/// # Errors
/// Its log cannot be read.
pub fn ending(run: &Path) -> Result<Option<Ending>> {
    Ok(last(run)?.and_then(|stamped| match stamped.event {
        Event::Ended(ending) => Some(ending),
        _ => None,
    }))
}

/// The finished run with these settings, if there is one.
pub(crate) fn finished(experiment: &Experiment, runs: &Path) -> Result<Option<PathBuf>> {
    let Some(run) = find(experiment, runs)? else {
        return Ok(None);
    };
    let is_over = ending(&run)?.is_some_and(|e| e.outcome == Outcome::Finished);
    Ok(is_over.then_some(run))
}

/// Begins a run, goes on with it, or finds that it is over.
///
/// # Errors
/// [`Cancelled`], after saving; a run folder that cannot be made or read.
pub fn take(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<Turn> {
    let ended = match find(experiment, &workspace.runs)? {
        Some(run) if is_written(&run) => return Ok(Turn::Elsewhere(run)),
        Some(run) => match ending(&run)? {
            Some(ending) if ending.outcome != Outcome::Cancelled => ending,
            _ => resume(&run, None, workspace, control, listen)?,
        },
        None => begin(experiment, workspace, control, listen, &mut |_| {})?,
    };
    let run = std::path::absolute(&ended.run)?;
    match ended.outcome {
        Outcome::Finished => Ok(Turn::Finished(run)),
        Outcome::Failed => Ok(Turn::Failed(run, ended.reason.unwrap_or_default())),
        Outcome::Cancelled => Err(Cancelled.into()),
    }
}
