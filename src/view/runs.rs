//! The runs of this session and of earlier ones as a list, narrowed to what its user looks for; and which runs plots leave out.

use super::text;
use lab::RunStore;
use record::{Experiment, ModelRef, RunId, RunState, RunSummary, Status};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Its model's path, once there is one.
    pub model: Option<PathBuf>,
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

/// What a user marked on runs, by the name of their folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunMarks {
    /// Starred runs.
    pub stars: BTreeSet<String>,
    /// Runs that plots leave out.
    pub hidden: BTreeSet<String>,
    /// Notes.
    pub notes: BTreeMap<String, String>,
    /// Indices into the palette, where their user chose one.
    pub colors: BTreeMap<String, usize>,
}

impl RunMarks {
    /// What changed from `base` to these marks, put on top of `other`.
    pub fn onto(&self, base: &Self, other: Self) -> Self {
        let set = |of: fn(&Self) -> &BTreeSet<String>| {
            let (now, before) = (of(self), of(base));
            let kept = of(&other)
                .iter()
                .filter(|key| now.contains(*key) || !before.contains(*key));
            kept.chain(now.difference(before)).cloned().collect()
        };
        fn map<T: Clone + PartialEq>(
            now: &BTreeMap<String, T>,
            before: &BTreeMap<String, T>,
            other: &BTreeMap<String, T>,
        ) -> BTreeMap<String, T> {
            let mut out = other.clone();
            out.retain(|key, _| now.contains_key(key) || !before.contains_key(key));
            let changed = now.iter().filter(|(key, value)| before.get(*key) != Some(value));
            out.extend(changed.map(|(key, value)| (key.clone(), value.clone())));
            out
        }
        Self {
            stars: set(|m| &m.stars),
            hidden: set(|m| &m.hidden),
            notes: map(&self.notes, &base.notes, &other.notes),
            colors: map(&self.colors, &base.colors, &other.colors),
        }
    }
}

/// What the list of runs is narrowed to.
#[derive(Clone, Copy, Debug)]
pub struct RunFilter<'a> {
    /// Words that name, method, status and note together must contain.
    pub words: &'a str,
    /// Only starred runs.
    pub only_starred: bool,
    /// Also runs that plots leave out.
    pub shows_hidden: bool,
    /// What was marked.
    pub marks: &'a RunMarks,
    /// Run folders that were moved to the trash.
    pub gone: &'a BTreeSet<PathBuf>,
    /// The run that is shown as it was: it stays in the list whatever is looked for.
    pub looking_back: Option<RunId>,
}

/// The list of runs, and of run folders of earlier days.
#[derive(Clone, Debug, PartialEq)]
pub struct RunList<'a> {
    /// Whether there is no run at all, whatever is looked for.
    pub is_empty: bool,
    /// Runs of this session, newest first.
    pub rows: Vec<RunRow>,
    /// Folders that are not open in this session, newest first.
    pub earlier: Vec<&'a RunSummary>,
    /// How many of either the filter leaves out.
    pub left_out: usize,
}

impl RunList<'_> {
    /// How many runs are listed of how many; none if all are.
    pub fn count(&self) -> Option<String> {
        let listed = self.rows.len() + self.earlier.len();
        let of = listed + self.left_out;
        (self.left_out > 0).then(|| match listed {
            0 => format!("None of {} runs matches", text::grouped(of as u64)),
            _ => format!(
                "{} of {} runs match",
                text::grouped(listed as u64),
                text::grouped(of as u64)
            ),
        })
    }
}

/// The runs that a filter lets through.
pub fn list<'a>(store: &'a RunStore, filter: &RunFilter) -> RunList<'a> {
    let words: Vec<String> = filter.words.split_whitespace().map(str::to_lowercase).collect();
    let mut rows = runs(store);
    rows.retain(|r| r.folder.as_ref().is_none_or(|f| !filter.gone.contains(f)));
    let open: BTreeSet<&PathBuf> = store.runs.iter().filter_map(|r| r.folder.as_ref()).collect();
    let is_earlier = |e: &&RunSummary| !open.contains(&e.folder) && !filter.gone.contains(&e.folder);
    let mut earlier: Vec<&RunSummary> = store.folders.iter().filter(is_earlier).collect();
    let all = rows.len() + earlier.len();
    rows.retain(|r| {
        filter.looking_back == Some(r.id) || filter.lets_through(&r.key, [&r.title, r.method, r.status.word()], &words)
    });
    if !words.is_empty() || filter.only_starred || !filter.marks.hidden.is_empty() {
        earlier.retain(|e| filter.lets_through(&e.name(), ["", e.method, e.status.word()], &words));
    }
    RunList {
        is_empty: all == 0,
        left_out: all - rows.len() - earlier.len(),
        rows,
        earlier,
    }
}

/// What a run folder says of itself besides where it stands: accuracy and cost, or why they are not known.
pub fn summary(run: &RunSummary) -> String {
    if let Some(trouble) = &run.trouble {
        return trouble.clone();
    }
    let accuracy = |split: &str, top1: Option<f32>| top1.map(|t| format!("{split} {}", text::percent(f64::from(t))));
    let parts = [
        accuracy("valid", run.valid_top1),
        accuracy("test", run.test_top1),
        run.macs.map(|m| format!("{} MACs", text::count(m))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(" · ")
}

impl RunFilter<'_> {
    /// Whether each word is part of a run's folder name, title, method, status or note, and its marks are as wished.
    fn lets_through(&self, key: &str, said: [&str; 3], words: &[String]) -> bool {
        let matches = || {
            let note = self.marks.notes.get(key).map_or("", String::as_str);
            let text = format!("{key} {} {note}", said.join(" ")).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        (!self.only_starred || self.marks.stars.contains(key))
            && (self.shows_hidden || !self.marks.hidden.contains(key))
            && (words.is_empty() || matches())
    }
}

/// Runs that plots leave out.
pub type HiddenRuns = BTreeSet<RunId>;

/// The runs that plots leave out: hidden by their user, or moved to the trash.
pub fn hidden(store: &RunStore, marks: &RunMarks, gone: &BTreeSet<PathBuf>) -> HiddenRuns {
    let is_gone = |run: &RunState| run.folder.as_ref().is_some_and(|f| gone.contains(f));
    let left_out = store
        .runs
        .iter()
        .filter(|r| is_gone(r) || marks.hidden.contains(&key(r)));
    left_out.map(|r| r.id).collect()
}

/// All runs of this session, newest first.
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
    RunRow {
        id: run.id,
        title: run.title(),
        status: run.status,
        progress: run.progress(),
        detail: detail(run),
        is_live: run.is_live(),
        model: run.model(),
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

/// What a run does before its first step: `opening resnet18, reading cifar10`.
fn opening(run: &RunState) -> String {
    let e = &run.experiment;
    let model = match &e.start {
        Some(ModelRef::Bundled) => "opening the bundled model".to_owned(),
        Some(file) => format!("opening {}", file.stem()),
        None => format!("building {}", e.model.arch),
    };
    match run.spec {
        None => format!("{model}, reading {}", text::tail(&e.data.source, 32)),
        Some(_) => "preparing".to_owned(),
    }
}

/// The trial that a run's search is at, while it searches: `round 1, trial 81 of 120`.
fn searching(run: &RunState) -> Option<String> {
    let search = run.searches.last().filter(|s| s.measured < s.start.trials)?;
    let trains = run.steps.last().is_some_and(|step| step.seq > search.seq);
    let at = || {
        format!(
            "{}, trial {} of {}",
            search.start.name,
            search.measured + 1,
            search.start.trials
        )
    };
    (!trains && run.phase != "measuring").then(at)
}

fn detail(run: &RunState) -> String {
    match (&run.ending, run.status) {
        (_, Status::Past) => format!("after {}: {}", text::clock(run.elapsed_secs), run.phase),
        (Some(ending), _) => {
            let what = if run.agreement { " agreement" } else { "" };
            let accuracy =
                |split: &str, top1: Option<f32>| top1.map(|t| format!("{split}{what} {}", text::percent(f64::from(t))));
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
        (None, Status::Queued) => "waiting for the previous run".into(),
        (None, Status::Paused) => match &run.held_by {
            Some(by) => format!("Paused by {by} at {}", run.phase),
            None => "Paused at its next event".to_owned(),
        },
        (None, Status::Interrupted) => "Interrupted. Resume continues from the last checkpoint.".into(),
        (None, Status::NotBegun) => "could not start; see the log".into(),
        (None, _) => {
            let left = run.left_secs().map(|s| format!("{} left", text::clock(s)));
            let phase = match (run.phase.as_str(), searching(run)) {
                (_, Some(trial)) => trial,
                ("measuring", _) => "measuring".to_owned(),
                ("", _) => opening(run),
                _ if run.only_measures() => "training done, measuring".to_owned(),
                (phase, _) => phase.to_owned(),
            };
            let parts: Vec<String> = [Some(phase), left].into_iter().flatten().collect();
            parts.join(" · ")
        }
    }
}
