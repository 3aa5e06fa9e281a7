//! Accuracy against MACs: the open model as it was measured when it was made, what is measured now, and the runs of this session.
//! Knows nothing of axes or marks.

use super::density::{mean_density, wilson};
use crate::data::Split;
use crate::model::Density;
use crate::run::{ModelRef, RunId, RunState, RunStore};
use serde::Serialize;
use std::path::Path;

/// What the frontier panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontierView {
    /// The open model first, then runs, oldest first.
    pub series: Vec<FrontierSeries>,
    /// What is measured now.
    pub now: Option<NowPoint>,
    /// MACs an image of the open model with nothing gated away.
    pub macs_dense: Option<u64>,
}

/// Points that belong together, by rising MACs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontierSeries {
    /// Its name with the split it was measured on.
    pub label: String,
    /// The run it comes from; none for the open model.
    pub run: Option<RunId>,
    /// One a density.
    pub points: Vec<FrontierPoint>,
}

/// One measured density.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FrontierPoint {
    /// Density of every gate.
    pub density: Density,
    /// MACs an image, averaged over images.
    pub macs: u64,
    /// Share classified right.
    pub top1: f64,
    /// Images measured.
    pub n: usize,
}

/// The answer to the newest question as a point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NowPoint {
    /// Density, the mean if gates differ.
    pub density: f64,
    /// MACs an image.
    pub macs: u64,
    /// Share classified right.
    pub top1: f64,
    /// Bounds of the 95 % interval of `top1`.
    pub interval: [f64; 2],
}

/// The frontier panel.
pub fn frontier(store: &RunStore) -> FrontierView {
    let open = store.open.as_ref();
    let recorded = open.map(|m| {
        let valid = m.header.metrics.iter().filter(|x| x.split == Split::Valid.name());
        let points = valid.map(|x| FrontierPoint {
            density: x.density,
            macs: x.macs,
            top1: f64::from(x.top1),
            n: x.n,
        });
        series(format!("{}, valid, recorded", m.name), None, points.collect())
    });
    let opened = open.and_then(|m| match &m.from {
        ModelRef::File(path) => Some(path.as_path()),
        ModelRef::Bundled => None,
    });
    let runs = store.runs.iter().filter(|r| !is_model_of(r, opened)).map(of_run);
    let now = store.answer.as_ref().map(|a| NowPoint {
        density: mean_density(a),
        macs: a.macs,
        top1: a.right as f64 / a.n.max(1) as f64,
        interval: wilson(a.right, a.n),
    });
    FrontierView {
        series: recorded
            .into_iter()
            .chain(runs)
            .filter(|s| !s.points.is_empty())
            .collect(),
        now,
        macs_dense: open.map(|m| m.dense.macs),
    }
}

/// A run whose model is the open one would be drawn twice.
fn is_model_of(run: &RunState, opened: Option<&Path>) -> bool {
    let model = run.ending.as_ref().and_then(|e| e.model.as_deref());
    opened.is_some() && model.map(Path::new) == opened
}

/// What a run last measured on validation images.
fn of_run(run: &RunState) -> FrontierSeries {
    let valid = || run.epochs.iter().filter(|e| e.split == Split::Valid);
    let last = valid().map(|e| e.epoch).max();
    let points = valid().filter(|e| Some(e.epoch) == last);
    let points = points
        .map(|e| FrontierPoint {
            density: e.density,
            macs: e.macs,
            top1: f64::from(e.top1),
            n: e.n,
        })
        .collect();
    let epoch = last.map_or_else(String::new, |e| format!(", epoch {e}"));
    series(
        format!("run {} {}, valid{epoch}", run.id.0 + 1, run.experiment.name),
        Some(run.id),
        points,
    )
}

fn series(label: String, run: Option<RunId>, mut points: Vec<FrontierPoint>) -> FrontierSeries {
    points.sort_by(|a, b| a.macs.cmp(&b.macs).then(a.density.cmp(&b.density)));
    FrontierSeries { label, run, points }
}
