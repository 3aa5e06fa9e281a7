//! The runs of this session as a list.
//! Knows nothing of curves.

use super::text;
use lab::RunStore;
use record::{Experiment, RunId, RunState, Status};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// Its number.
    pub id: RunId,
    /// Number and name as people say it.
    pub title: String,
    /// Where it stands.
    pub status: Status,
    /// Share of the planned steps that is done.
    pub progress: f32,
    /// What is being done, and how long it will still take; or how it ended.
    pub detail: String,
    /// Whether it works or is held.
    pub is_live: bool,
    /// Whether it failed.
    pub is_failed: bool,
    /// Its model's path, once there is one.
    pub model: Option<String>,
    /// How it prunes.
    pub method: &'static str,
    /// Where it is kept, as far as that is known.
    pub folder: Option<PathBuf>,
    /// What marks and notes are kept by: the folder's name, else the title.
    pub key: String,
    /// The event that it is shown at, and its newest, where its log can be looked back in.
    pub past: Option<[u64; 2]>,
    /// The run and event it is a fork of, in words.
    pub origin: Option<String>,
    /// Whether it was interrupted and can be gone on with.
    pub can_go_on: bool,
    /// What its user should know of its health: that the disk is full, or what it last warned of.
    pub trouble: Option<String>,
    /// Whether it waits for room on the disk.
    pub is_stalled: bool,
    /// What it does.
    #[serde(skip)]
    pub experiment: Arc<Experiment>,
}

/// The list of runs, newest first.
pub fn runs(store: &RunStore) -> Vec<RunRow> {
    let with_past = |run: &RunState| RunRow {
        past: past(store, run),
        ..row(run)
    };
    store.runs.iter().rev().map(with_past).collect()
}

/// Only what is over can be looked back at: a run that works goes on writing.
fn past(store: &RunStore, run: &RunState) -> Option<[u64; 2]> {
    let now = store.present.as_ref().filter(|p| p.id == run.id).unwrap_or(run);
    let can = run.has_past() && now.events > 1;
    can.then(|| [run.events.saturating_sub(1), now.events - 1])
}

/// One row of the list.
pub fn row(run: &RunState) -> RunRow {
    let ending = run.ending.as_ref();
    RunRow {
        id: run.id,
        title: run.title(),
        status: run.status,
        progress: run.progress(),
        detail: detail(run),
        is_live: run.is_live(),
        is_failed: run.status == Status::Failed,
        model: ending.and_then(|e| e.model.clone()),
        method: run.experiment.method.kind(),
        folder: run.folder.clone(),
        key: key(run),
        past: None,
        origin: run
            .origin
            .as_ref()
            .map(|o| format!("fork of {} at event {}", o.run, o.at)),
        can_go_on: run.can_resume(),
        trouble: trouble(run),
        is_stalled: run.stalled.is_some(),
        experiment: run.experiment.clone(),
    }
}

/// What marks and notes of a run are kept by.
pub fn key(run: &RunState) -> String {
    let name = run.folder.as_ref().and_then(|f| f.file_name());
    name.map_or_else(|| run.title(), |n| n.to_string_lossy().into_owned())
}

fn trouble(run: &RunState) -> Option<String> {
    if run.stalled.is_some() {
        return run.stalled.clone();
    }
    let last = run.warnings.last().filter(|_| run.is_live())?;
    Some(match run.warnings.len() {
        1 => last.clone(),
        n => format!("{last} ({n} warnings in the log)"),
    })
}

fn detail(run: &RunState) -> String {
    match (&run.ending, run.status) {
        (_, Status::Past) => format!("after {}: {}", text::clock(run.elapsed_secs), run.phase),
        (Some(ending), _) => {
            let accuracy =
                |split: &str, top1: Option<f32>| top1.map(|t| format!("{split} {}", text::percent(f64::from(t))));
            let parts = [
                accuracy("valid", ending.valid_top1),
                accuracy("test", ending.test_top1),
                ending.reason.clone(),
            ];
            let parts: Vec<String> = parts
                .into_iter()
                .flatten()
                .chain([format!("took {}", text::clock(run.elapsed_secs))])
                .collect();
            parts.join(" · ")
        }
        (None, Status::Queued) => "waits for the run before it".into(),
        (None, Status::Interrupted) => "Interrupted. Resume continues from the last checkpoint.".into(),
        (None, Status::NotBegun) => "could not begin; see the log".into(),
        (None, _) => {
            let left = run.left_secs().map(|s| format!("{} left", text::clock(s)));
            let phase = if run.phase.is_empty() {
                "starting".to_owned()
            } else {
                run.phase.clone()
            };
            let parts: Vec<String> = [Some(phase), left].into_iter().flatten().collect();
            parts.join(" · ")
        }
    }
}
