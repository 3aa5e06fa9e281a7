//! How long each layer of the open model takes at each width, as measured on this machine.
//! Knows nothing of plots.

use super::text;
use lab::{ModelJob, RunStore};
use serde::Serialize;

/// What is known of layers' times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimesView {
    /// In network order.
    pub rows: Vec<TimesRow>,
    /// The longest time of all, in milliseconds.
    pub most: f64,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimesRow {
    /// Its name.
    pub name: String,
    /// Filters it has.
    pub filters: usize,
    /// By rising width: filters, and median milliseconds.
    pub steps: Vec<(usize, f64)>,
    /// What narrowing saves: `half the filters take 61 % of the time`.
    pub says: String,
}

/// Times of the open model's layers; none before they were measured.
pub fn times(store: &RunStore) -> Option<TimesView> {
    let found = store.times(&store.open.as_ref()?.from)?;
    let row = |layer: &infer::LayerLatency| {
        let steps: Vec<(usize, f64)> = layer.at.iter().map(|(w, t)| (*w, t.median_ms)).collect();
        TimesRow {
            name: layer.name.clone(),
            filters: layer.filters,
            says: says(&steps, layer.filters),
            steps,
        }
    };
    let rows: Vec<TimesRow> = found.iter().map(row).collect();
    let all = rows.iter().flat_map(|r| &r.steps).map(|(_, ms)| *ms);
    Some(TimesView {
        most: all.fold(0.0, f64::max),
        rows,
    })
}

/// Whether they are being measured.
pub fn is_timing(store: &RunStore) -> bool {
    let of = |job: &ModelJob| matches!((job, &store.open), (ModelJob::Time(from), Some(open)) if *from == open.from);
    store.working.iter().any(of)
}

fn says(steps: &[(usize, f64)], filters: usize) -> String {
    let Some(&(_, whole)) = steps.last().filter(|(_, ms)| *ms > 0.0) else {
        return String::new();
    };
    let half = steps.iter().find(|(w, _)| w * 2 >= filters);
    let share = half.map_or(1.0, |(_, ms)| ms / whole);
    format!(
        "{}; half the filters take {} of it",
        text::millis(whole),
        text::whole_percent(share)
    )
}

impl TimesRow {
    /// One width in words.
    pub fn says_at(&self, step: usize) -> Option<String> {
        let (width, ms) = self.steps.get(step)?;
        let (_, whole) = self.steps.last()?;
        Some(format!(
            "{} with {width} of {} filters: {} per image, {} of the whole layer",
            self.name,
            self.filters,
            text::millis(*ms),
            text::whole_percent(ms / whole.max(f64::MIN_POSITIVE))
        ))
    }
}
