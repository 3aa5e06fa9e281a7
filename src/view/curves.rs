//! Training curves of all runs: thinned, and smoothed if wished. Grows with its runs; only new points are looked at.
//! Knows nothing of plots.

use super::thin::Thinner;
use crate::data::Split;
use crate::model::Density;
use crate::run::{RunId, RunState, RunStore};
use serde::Serialize;
use std::collections::BTreeMap;

/// Columns a curve is thinned to: about as many as a plot has pixels.
const COLUMNS: usize = 512;

/// What is along the bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Along {
    /// Training steps.
    #[default]
    Steps,
    /// Seconds since the run began.
    Seconds,
}

/// How curves are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CurveOptions {
    /// What is along the bottom.
    pub along: Along,
    /// Weight of what came before in the exponential mean, 0 (off) to below 1.
    pub smoothing: f64,
}

/// What the training panel shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CurvesView {
    /// Runs that said anything, oldest first.
    pub runs: Vec<RunCurves>,
}

/// One run's curves; points are `[step or seconds, value]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunCurves {
    /// The run.
    pub id: RunId,
    /// Its name.
    pub label: String,
    /// Training loss.
    pub loss: Curve,
    /// Share of training images classified right.
    pub top1: Curve,
    /// Learning rate.
    pub lr: Vec<[f64; 2]>,
    /// Validation accuracy after each epoch, a density each, the highest first.
    pub valid: Vec<ValidCurve>,
}

/// A curve as it came, and smoothed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    /// As it came.
    pub raw: Vec<[f64; 2]>,
    /// Smoothed; empty if smoothing is off.
    pub smooth: Vec<[f64; 2]>,
}

/// Validation accuracy of one density.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValidCurve {
    /// Density of every gate.
    pub density: Density,
    /// One a measurement.
    pub points: Vec<[f64; 2]>,
}

/// An exponential mean that starts at the first value instead of zero.
#[derive(Clone, Debug)]
struct Smoother {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl Smoother {
    fn next(&mut self, value: f64) -> f64 {
        if value.is_finite() {
            self.sum = self.keep * self.sum + (1.0 - self.keep) * value;
            self.weight = self.keep * self.weight + (1.0 - self.keep);
        }
        if self.weight > 0.0 {
            self.sum / self.weight
        } else {
            f64::NAN
        }
    }
}

#[derive(Clone, Debug)]
struct Pair {
    raw: Thinner,
    smooth: Option<(Smoother, Thinner)>,
}

impl Pair {
    fn new(smoothing: f64) -> Self {
        let smoother = Smoother {
            keep: smoothing,
            sum: 0.0,
            weight: 0.0,
        };
        Self {
            raw: Thinner::new(COLUMNS),
            smooth: (smoothing > 0.0).then(|| (smoother, Thinner::new(COLUMNS))),
        }
    }

    fn push(&mut self, x: f64, y: f64) {
        self.raw.push([x, y]);
        if let Some((smoother, thin)) = &mut self.smooth {
            thin.push([x, smoother.next(y)]);
        }
    }

    fn curve(&self) -> Curve {
        Curve {
            raw: self.raw.points(),
            smooth: self.smooth.as_ref().map_or_else(Vec::new, |(_, thin)| thin.points()),
        }
    }
}

#[derive(Clone, Debug)]
struct Growing {
    seen: usize,
    resumed: u32,
    thinned: u32,
    loss: Pair,
    top1: Pair,
    lr: Thinner,
}

/// Curves being thinned, run by run.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    options: CurveOptions,
    runs: BTreeMap<RunId, Growing>,
}

impl Curves {
    /// Takes in what is new and gives what is to be shown. Other options than before begin anew.
    pub fn view(&mut self, store: &RunStore, options: CurveOptions) -> CurvesView {
        if self.options != options {
            *self = Self {
                options,
                runs: BTreeMap::new(),
            };
        }
        let runs = store
            .runs
            .iter()
            .filter(|r| !r.steps.is_empty() || !r.epochs.is_empty());
        CurvesView {
            runs: runs.map(|run| self.grow(run)).collect(),
        }
    }

    fn grow(&mut self, run: &RunState) -> RunCurves {
        let CurveOptions { along, smoothing } = self.options;
        let new = || Growing {
            seen: 0,
            resumed: run.resumed,
            thinned: run.thinned,
            loss: Pair::new(smoothing),
            top1: Pair::new(smoothing),
            lr: Thinner::new(COLUMNS),
        };
        let growing = self.runs.entry(run.id).or_insert_with(new);
        if (growing.resumed, growing.thinned) != (run.resumed, run.thinned) {
            *growing = new();
        }
        for point in run.steps.iter().skip(growing.seen) {
            let x = if along == Along::Steps {
                point.step as f64
            } else {
                point.at
            };
            growing.loss.push(x, f64::from(point.loss));
            growing.top1.push(x, f64::from(point.top1));
            growing.lr.push([x, f64::from(point.lr)]);
        }
        growing.seen = run.steps.len();
        RunCurves {
            id: run.id,
            label: run.title(),
            loss: growing.loss.curve(),
            top1: growing.top1.curve(),
            lr: growing.lr.points(),
            valid: valid(run, along),
        }
    }
}

/// Validation accuracy by density. Densities measured but once, when the run ended, belong to the frontier.
fn valid(run: &RunState, along: Along) -> Vec<ValidCurve> {
    let mut by_density: BTreeMap<Density, Vec<[f64; 2]>> = BTreeMap::new();
    for e in run.epochs.iter().filter(|e| e.split == Split::Valid) {
        let x = if along == Along::Steps {
            e.step as f64
        } else {
            seconds_at(run, e.step)
        };
        by_density.entry(e.density).or_default().push([x, f64::from(e.top1)]);
    }
    let most = by_density.values().map(Vec::len).max().unwrap_or(0);
    let often = by_density
        .into_iter()
        .rev()
        .filter(|(_, points)| points.len() * 2 > most);
    often.map(|(density, points)| ValidCurve { density, points }).collect()
}

/// When a step was done.
fn seconds_at(run: &RunState, step: u64) -> f64 {
    let at = run.steps.partition_point(|s| s.step < step);
    run.steps.get(at).or(run.steps.last()).map_or(0.0, |s| s.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_starts_at_the_first_value() {
        let mut smoother = Smoother {
            keep: 0.9,
            sum: 0.0,
            weight: 0.0,
        };
        let out: Vec<f64> = [4.0, 4.0, f64::NAN, 2.0].iter().map(|&v| smoother.next(v)).collect();
        assert!((out[0] - 4.0).abs() < 1e-12 && (out[2] - 4.0).abs() < 1e-12);
        // Weights 0.081, 0.09, 0.1 over 0.271.
        assert!((out[3] - (0.171 * 4.0 + 0.1 * 2.0) / 0.271).abs() < 1e-12, "{out:?}");
    }
}
