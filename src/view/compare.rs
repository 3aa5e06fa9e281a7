//! Runs side by side as a table: what each came to, how far it is from a run that was pinned, how it got there, and the settings
//! in which runs differ. Knows nothing of how rows are painted.

use super::density::wilson;
use super::runs::HiddenRuns;
use super::text;
use data::Split;
use lab::RunStore;
use model::Density;
use record::{Experiment, ModelRef, RunId, RunState, Status};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Points of a sparkline at most.
const SPARK: usize = 40;

/// A column that rows can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareColumn {
    /// The newest first.
    #[default]
    Run,
    /// By the method's name.
    Method,
    /// The most accurate first.
    Accuracy,
    /// The cheapest first.
    Macs,
    /// The smallest first.
    Params,
    /// The fastest first.
    Millis,
}

impl CompareColumn {
    /// All that can be sorted by, in order.
    pub const ALL: [Self; 6] = [
        Self::Run,
        Self::Method,
        Self::Accuracy,
        Self::Macs,
        Self::Params,
        Self::Millis,
    ];
}

/// How the table is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompareOptions {
    /// What rows are sorted by.
    pub sort: CompareColumn,
    /// The other way round.
    pub reversed: bool,
    /// The run that others are compared with.
    pub pinned: Option<RunId>,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompareView {
    /// What accuracies are called: of runs without labels they are agreement with a teacher.
    pub accuracy: &'static str,
    /// The run that others are compared with, if it is among them.
    pub pinned: Option<RunId>,
    /// A row a run, sorted.
    pub rows: Vec<CompareRow>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompareRow {
    /// Its number.
    pub id: RunId,
    /// Number and name.
    pub title: String,
    /// How it prunes.
    pub method: &'static str,
    /// Where it stands.
    pub status: Status,
    /// Whether its accuracy is agreement with a teacher.
    pub is_agreement: bool,
    /// Share of the validation images classified right, with its 95 % interval.
    pub top1: Option<[f64; 3]>,
    /// MACs per image.
    pub macs: Option<u64>,
    /// Trainable numbers.
    pub params: Option<u64>,
    /// Milliseconds an image on this machine, where its model was measured in this session.
    pub millis: Option<f64>,
    /// Against the pinned run: accuracy as a share, and how many times fewer MACs.
    pub difference: Option<[Option<f64>; 2]>,
    /// How it got there: accuracy by epoch, or the best so far by trial.
    pub spark: Vec<f32>,
    /// The density that its accuracy is of, where its last epoch measured one.
    pub at: Option<Density>,
    /// Settings in which runs differ, as `key value`.
    pub settings: Vec<String>,
}

impl CompareRow {
    /// `91.2 % ± 0.6`.
    pub fn accuracy(&self) -> String {
        match self.top1 {
            Some([low, top1, high]) => format!("{} ± {:.1}", text::percent(top1), (high - low) * 50.0),
            None => "—".to_owned(),
        }
    }

    /// `−0.3 points · 3.9× less`.
    pub fn against(&self) -> String {
        let Some([points, times]) = self.difference else {
            return String::new();
        };
        let points = points.map(text::points);
        let times = times.map(|t| match t {
            t if (t - 1.0).abs() < 0.005 => "as many MACs".to_owned(),
            t if t > 1.0 => format!("{}× fewer", super::density::times(t)),
            t => format!("{}× more", super::density::times(1.0 / t)),
        });
        let both: Vec<String> = points.into_iter().chain(times).collect();
        both.join(" · ")
    }

    /// All of it in a sentence, for those who cannot see the table.
    pub fn says(&self, accuracy: &str) -> String {
        let or = |n: Option<u64>| n.map_or_else(|| "—".to_owned(), text::count);
        let mut parts = vec![
            self.method.to_owned(),
            format!("{} {}", accuracy.to_lowercase(), self.accuracy()),
            format!("{} MACs", or(self.macs)),
            format!("{} parameters", or(self.params)),
        ];
        parts.extend(self.millis.map(text::millis));
        parts.extend(Some(self.against()).filter(|text| !text.is_empty()));
        parts.extend(self.settings.iter().cloned());
        format!("{}: {}", self.title, parts.join(", "))
    }
}

/// The table of all runs that plots have. `differences` remembers what was worked out of their settings.
pub fn compare(
    store: &RunStore,
    options: CompareOptions,
    hidden: &HiddenRuns,
    differences: &mut SettingDifferences,
) -> CompareView {
    let runs: Vec<&RunState> = store.runs.iter().filter(|r| !hidden.contains(&r.id)).collect();
    let settings = differences.of(&runs);
    let mut rows: Vec<CompareRow> = runs
        .iter()
        .zip(settings)
        .map(|(run, settings)| row_of(store, run, settings.clone()))
        .collect();
    let pinned = rows.iter().find(|r| Some(r.id) == options.pinned).cloned();
    if let Some(pinned) = &pinned {
        for row in rows.iter_mut().filter(|r| r.id != pinned.id) {
            let points = row.top1.zip(pinned.top1).map(|(a, b)| a[1] - b[1]);
            let times = row.macs.zip(pinned.macs).map(|(a, b)| b as f64 / a.max(1) as f64);
            row.difference = Some([points, times]);
        }
    }
    rows.sort_by(|a, b| {
        let order = by(options.sort, a, b);
        if options.reversed { order.reverse() } else { order }
    });
    let n_agreement = rows.iter().filter(|r| r.is_agreement).count();
    CompareView {
        accuracy: text::quality(n_agreement, rows.len()),
        pinned: pinned.map(|r| r.id),
        rows,
    }
}

/// What is not known comes last.
fn by(column: CompareColumn, a: &CompareRow, b: &CompareRow) -> Ordering {
    fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
    let order = match column {
        CompareColumn::Run => Ordering::Equal,
        CompareColumn::Method => a.method.cmp(b.method),
        CompareColumn::Accuracy => least(a.top1.map(|t| -t[1]), b.top1.map(|t| -t[1])),
        CompareColumn::Macs => least(a.macs, b.macs),
        CompareColumn::Params => least(a.params, b.params),
        CompareColumn::Millis => least(a.millis, b.millis),
    };
    order.then(b.id.cmp(&a.id))
}

fn row_of(store: &RunStore, run: &RunState, settings: Vec<String>) -> CompareRow {
    let ending = run.ending.as_ref();
    let valid = || run.epochs.iter().filter(|e| e.split == Split::Valid);
    let last = valid().map(|e| e.epoch).max();
    let highest = valid().filter(|e| Some(e.epoch) == last).max_by_key(|e| e.density);
    let best = run.searches.last().and_then(|s| Some((s.best()?, s.start.images)));
    let measured = match (ending.and_then(|e| e.valid_top1), highest, best) {
        (Some(top1), epoch, _) => Some((f64::from(top1), epoch.map_or(0, |e| e.n))),
        (None, Some(epoch), None) => Some((f64::from(epoch.top1), epoch.n)),
        (None, _, Some((trial, n))) => Some((f64::from(trial.top1), n)),
        (None, None, None) => None,
    };
    let trial = best.map(|(trial, _)| trial);
    let kept = run.kept.last().map(|k| k.cost.params);
    let model = run.model();
    let here = store.measured.iter().rev().filter(|m| m.answer.question.cut.is_none());
    let mut here = here.filter(|m| matches!(&m.model.from, ModelRef::File(path) if Some(path) == model.as_ref()));
    CompareRow {
        id: run.id,
        title: run.title(),
        method: run.experiment.method.kind(),
        status: run.status,
        is_agreement: run.agreement,
        top1: measured.map(|(top1, n)| {
            let [low, high] = wilson((top1 * n as f64).round() as usize, n);
            [low, top1, high]
        }),
        macs: (ending.and_then(|e| e.macs))
            .or_else(|| trial.map(|t| t.macs))
            .or_else(|| highest.map(|e| e.macs)),
        params: (ending.and_then(|e| e.params))
            .or_else(|| trial.map(|t| t.params))
            .or(kept)
            .or_else(|| run.dense.map(|d| d.params)),
        millis: here.find_map(|m| m.answer.latency.as_ref()).map(|l| l.median_ms),
        difference: None,
        spark: spark(run),
        at: highest.map(|e| e.density),
        settings,
    }
}

/// Validation accuracy at the highest density by epoch; of a run that has measured none or one, the best of its last search by
/// trial; else training accuracy.
fn spark(run: &RunState) -> Vec<f32> {
    let valid = || run.epochs.iter().filter(|e| e.split == Split::Valid);
    let highest = valid().map(|e| e.density).max();
    let mut points: Vec<f32> = valid().filter(|e| Some(e.density) == highest).map(|e| e.top1).collect();
    if points.len() < 2
        && let Some(search) = run.searches.last()
    {
        let mut best = f32::MIN;
        let so_far = search.trials.iter().map(|t| {
            best = best.max(t.trial.top1);
            best
        });
        points = so_far.collect();
    }
    if points.len() < 2 {
        points = run.steps.iter().map(|s| s.top1).collect();
    }
    points.retain(|p| p.is_finite());
    let each = points.len().div_ceil(SPARK).max(1);
    // The last point is where it stands.
    let first = points.len().saturating_sub(1) % each;
    points.into_iter().skip(first).step_by(each).collect()
}

/// The settings in which runs differ, worked out anew when there are other runs.
#[derive(Clone, Debug, Default)]
pub struct SettingDifferences {
    of: Vec<Arc<Experiment>>,
    found: Vec<Vec<String>>,
}

impl SettingDifferences {
    fn of(&mut self, runs: &[&RunState]) -> &[Vec<String>] {
        let is_same = self.of.len() == runs.len()
            && self
                .of
                .iter()
                .zip(runs)
                .all(|(known, run)| Arc::ptr_eq(known, &run.experiment));
        if !is_same {
            self.of = runs.iter().map(|r| r.experiment.clone()).collect();
            self.found = differing(&self.of);
        }
        &self.found
    }
}

/// Keys of the method are compared within one method, all others with every run.
fn differing(all: &[Arc<Experiment>]) -> Vec<Vec<String>> {
    let flat: Vec<Vec<(String, String)>> = all
        .iter()
        .map(|e| {
            let keys = e.flat().unwrap_or_default().into_iter();
            let keys = keys.filter(|(key, _)| !matches!(key.as_str(), "schema" | "name" | "about" | "method.kind"));
            keys.map(|(key, value)| (key, value.to_string())).collect()
        })
        .collect();
    let value = |i: usize, key: &str| flat[i].iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let keys: BTreeSet<&str> = flat.iter().flatten().map(|(key, _)| key.as_str()).collect();
    let peers = |i: usize, key: &str| -> Vec<usize> {
        let is_own = key.starts_with("method.");
        let kind = all[i].method.kind();
        (0..all.len())
            .filter(|&j| !is_own || all[j].method.kind() == kind)
            .collect()
    };
    // A key's last part says enough where it is the only one that does.
    let short = |key: &str| -> String {
        let last = key.rsplit('.').next().unwrap_or(key);
        let is_alone = keys.iter().filter(|k| k.rsplit('.').next() == Some(last)).count() == 1;
        if is_alone { last.to_owned() } else { key.to_owned() }
    };
    let of = |i: usize| -> Vec<String> {
        let differs = keys
            .iter()
            .filter(|key| peers(i, key).iter().any(|&j| value(j, key) != value(i, key)));
        differs
            .map(|key| format!("{} {}", short(key), value(i, key).unwrap_or("not set")))
            .collect()
    };
    (0..all.len()).map(of).collect()
}
