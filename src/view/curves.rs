//! Training curves of all runs: thinned, and smoothed if wished. Grows with its runs; only new points are looked at.
//! Knows nothing of plots.

use super::runs::HiddenRuns;
use super::thin::Thinner;
use data::Split;
use lab::RunStore;
use model::Density;
use record::state::StepPoint;
use record::{RunId, RunState};
use serde::Serialize;
use std::collections::BTreeMap;

/// Columns a curve is thinned to: about as many as a plot has pixels.
pub const COLUMNS: usize = 512;

/// What is along the bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum CurveAxis {
    /// Training steps.
    #[default]
    Steps,
    /// Epochs of training, planned steps divided evenly.
    Epochs,
    /// Seconds since the run began.
    Seconds,
}

/// How curves are shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurveOptions {
    /// What is along the bottom.
    pub along: CurveAxis,
    /// Weight of what came before in the exponential mean, 0 (off) to below 1.
    pub smoothing: f64,
    /// Columns that a curve is thinned to at least, with at most two points each; none: every point, numbers or not.
    pub columns: Option<usize>,
}

impl Default for CurveOptions {
    fn default() -> Self {
        Self {
            along: CurveAxis::default(),
            smoothing: 0.0,
            columns: Some(COLUMNS),
        }
    }
}

/// What the training panel shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CurvesView {
    /// Runs that said anything, oldest first.
    pub runs: Vec<RunCurves>,
}

impl CurvesView {
    /// What its accuracies are called.
    pub fn quality(&self) -> &'static str {
        let n = self.runs.iter().filter(|r| r.is_agreement).count();
        super::text::quality(n, self.runs.len())
    }
}

/// One run's curves; points are `[step or seconds, value]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunCurves {
    /// The run.
    pub id: RunId,
    /// Its name.
    pub label: String,
    /// Whether its accuracies are agreement with a teacher.
    pub is_agreement: bool,
    /// Whether its curves have fewer points than it has said steps.
    pub is_thinned: bool,
    /// Training loss.
    pub loss: Curve,
    /// Share of training images classified right.
    pub top1: Curve,
    /// Learning rate.
    pub lr: Vec<[f64; 2]>,
    /// Validation accuracy after each epoch, a density each, the highest first.
    pub valid: Vec<ValidCurve>,
    /// Shares of gated channels that hardly ever, and nearly always, were active at the density measured last.
    pub gates: [Vec<[f64; 2]>; 2],
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
    fn new(keep: f64) -> Self {
        Self {
            keep,
            sum: 0.0,
            weight: 0.0,
        }
    }

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
struct ThinnedCurve {
    raw: Thinner,
    smooth: Option<(Smoother, Thinner)>,
}

impl ThinnedCurve {
    fn new(smoothing: f64, columns: usize) -> Self {
        Self {
            raw: Thinner::new(columns),
            smooth: (smoothing > 0.0).then(|| (Smoother::new(smoothing), Thinner::new(columns))),
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
struct GrowingCurves {
    seen: usize,
    resumed: u32,
    thinned: u32,
    loss: ThinnedCurve,
    top1: ThinnedCurve,
    lr: Thinner,
}

/// Curves being thinned, run by run.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    options: CurveOptions,
    runs: BTreeMap<RunId, GrowingCurves>,
}

impl Curves {
    /// Takes in what is new and gives what is to be shown, without the runs that plots leave out. Other options than before
    /// begin anew.
    pub fn view(&mut self, store: &RunStore, options: CurveOptions, hidden: &HiddenRuns) -> CurvesView {
        if self.options != options {
            *self = Self {
                options,
                runs: BTreeMap::new(),
            };
        }
        let runs = store
            .runs
            .iter()
            .filter(|r| !hidden.contains(&r.id) && (!r.steps.is_empty() || !r.epochs.is_empty()));
        let of = |run| match options.columns {
            Some(columns) => self.grow(run, columns),
            None => every_point(run, options),
        };
        CurvesView {
            runs: runs.map(of).collect(),
        }
    }

    fn grow(&mut self, run: &RunState, columns: usize) -> RunCurves {
        let CurveOptions { along, smoothing, .. } = self.options;
        let new = || GrowingCurves {
            seen: 0,
            resumed: run.resumed,
            thinned: run.thinned,
            loss: ThinnedCurve::new(smoothing, columns),
            top1: ThinnedCurve::new(smoothing, columns),
            lr: Thinner::new(columns),
        };
        let growing = self.runs.entry(run.id).or_insert_with(new);
        // Looked back at, a run has fewer points than were taken in.
        let shrank = run.steps.len() < growing.seen;
        if shrank || (growing.resumed, growing.thinned) != (run.resumed, run.thinned) {
            *growing = new();
        }
        for point in run.steps.iter().skip(growing.seen) {
            let x = x_of(run, along, point.step, point.at);
            growing.loss.push(x, f64::from(point.loss));
            growing.top1.push(x, f64::from(point.top1));
            growing.lr.push([x, f64::from(point.lr)]);
        }
        growing.seen = run.steps.len();
        RunCurves {
            id: run.id,
            label: run.title(),
            is_agreement: run.agreement,
            is_thinned: run.thinned > 0 || growing.loss.raw.is_thinned(),
            loss: growing.loss.curve(),
            top1: growing.top1.curve(),
            lr: growing.lr.points(),
            valid: valid(run, along),
            gates: gates(run, along),
        }
    }
}

/// A run's curves with all that it has said.
fn every_point(run: &RunState, options: CurveOptions) -> RunCurves {
    let points = |of: fn(&StepPoint) -> f32| -> Vec<[f64; 2]> {
        let point = |p: &StepPoint| [x_of(run, options.along, p.step, p.at), f64::from(of(p))];
        run.steps.iter().map(point).collect()
    };
    let curve = |of| {
        let raw = points(of);
        let mut smoother = Smoother::new(options.smoothing);
        let smooth = raw.iter().filter(|_| options.smoothing > 0.0);
        Curve {
            smooth: smooth.map(|[x, y]| [*x, smoother.next(*y)]).collect(),
            raw,
        }
    };
    RunCurves {
        id: run.id,
        label: run.title(),
        is_agreement: run.agreement,
        is_thinned: run.thinned > 0,
        loss: curve(|p| p.loss),
        top1: curve(|p| p.top1),
        lr: points(|p| p.lr),
        valid: valid(run, options.along),
        gates: gates(run, options.along),
    }
}

/// Where a step lies along the bottom.
fn x_of(run: &RunState, along: CurveAxis, step: u64, at: f64) -> f64 {
    match along {
        CurveAxis::Steps => step as f64,
        CurveAxis::Seconds => at,
        CurveAxis::Epochs => {
            let epochs = run
                .experiment
                .method
                .epochs(&run.experiment.train, run.experiment.start.is_some());
            step as f64 * epochs as f64 / run.steps_planned.max(1) as f64
        }
    }
}

/// Gates at the density that was measured last.
fn gates(run: &RunState, along: CurveAxis) -> [Vec<[f64; 2]>; 2] {
    let Some(last) = run.gates.last() else {
        return Default::default();
    };
    let of_density = || run.gates.iter().filter(|g| g.density == last.density);
    let points = |share: &dyn Fn(&record::state::GatePoint) -> f32| {
        let all = of_density().map(|g| [x_of(run, along, g.step, g.at), f64::from(share(g))]);
        all.collect()
    };
    [points(&|g| g.never), points(&|g| g.always)]
}

/// A curve near the pointer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearestPoint {
    /// Which curve.
    pub label: String,
    /// The run it is of.
    pub run: RunId,
    /// Its nearest point.
    pub at: [f64; 2],
}

/// Which values are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CurveMetric {
    /// Training loss.
    Loss,
    /// Accuracy, in percent.
    Top1,
    /// Learning rate.
    Rate,
    /// Shares of gated channels, in percent.
    Gates,
}

impl CurvesView {
    /// What every curve is at `x`, the one nearest to `y` first; curves that have not come so far, or are over, are left out.
    pub fn at(&self, what: CurveMetric, [x, y]: [f64; 2]) -> Vec<NearestPoint> {
        let mut out: Vec<NearestPoint> = Vec::new();
        for run in &self.runs {
            let mut put = |label: String, points: &[[f64; 2]], scale: f64| {
                let Some([px, py]) = nearest(points, x) else { return };
                let at = [px, py * scale];
                out.push(NearestPoint { label, run: run.id, at });
            };
            match what {
                CurveMetric::Loss => put(run.label.clone(), run.loss.shown(), 1.0),
                CurveMetric::Rate => put(run.label.clone(), &run.lr, 1.0),
                CurveMetric::Top1 => {
                    put(format!("{}, train", run.label), run.top1.shown(), 100.0);
                    for valid in &run.valid {
                        let label = format!("{}, valid at density {}", run.label, valid.density);
                        put(label, &valid.points, 100.0);
                    }
                }
                CurveMetric::Gates => {
                    put(format!("{}, rarely active", run.label), &run.gates[0], 100.0);
                    put(format!("{}, almost always active", run.label), &run.gates[1], 100.0);
                }
            }
        }
        out.sort_by(|a, b| (a.at[1] - y).abs().total_cmp(&(b.at[1] - y).abs()));
        out
    }
}

impl Curve {
    /// What is in front: smoothed if it is.
    pub fn shown(&self) -> &[[f64; 2]] {
        if self.smooth.is_empty() {
            &self.raw
        } else {
            &self.smooth
        }
    }
}

/// The point nearest along the bottom, if the curve reaches there.
fn nearest(points: &[[f64; 2]], x: f64) -> Option<[f64; 2]> {
    let (first, last) = (points.first()?[0], points.last()?[0]);
    let gap = (last - first) / points.len().max(1) as f64;
    if x < first - gap || x > last + gap {
        return None;
    }
    let after = points.partition_point(|p| p[0] < x);
    let near = [after.checked_sub(1), Some(after)];
    let near = near.into_iter().flatten().filter_map(|i| points.get(i));
    near.min_by(|a, b| (a[0] - x).abs().total_cmp(&(b[0] - x).abs()))
        .copied()
}

/// Validation accuracy by density. Densities measured but once, when the run ended, belong to the frontier.
fn valid(run: &RunState, along: CurveAxis) -> Vec<ValidCurve> {
    let mut by_density: BTreeMap<Density, Vec<[f64; 2]>> = BTreeMap::new();
    for e in run.epochs.iter().filter(|e| e.split == Split::Valid) {
        let x = x_of(run, along, e.step, seconds_at(run, e.step));
        by_density.entry(e.density).or_default().push([x, f64::from(e.top1)]);
    }
    let most = by_density.values().map(Vec::len).max().unwrap_or(0);
    let often = by_density
        .into_iter()
        .rev()
        .filter(|(_, points)| points.len() * 2 > most);
    often.map(|(density, points)| ValidCurve { density, points }).collect()
}

fn seconds_at(run: &RunState, step: u64) -> f64 {
    let at = run.steps.partition_point(|s| s.step < step);
    run.steps.get(at).or(run.steps.last()).map_or(0.0, |s| s.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_starts_at_the_first_value() {
        let mut smoother = Smoother::new(0.9);
        let out: Vec<f64> = [4.0, 4.0, f64::NAN, 2.0].iter().map(|&v| smoother.next(v)).collect();
        assert!((out[0] - 4.0).abs() < 1e-12 && (out[2] - 4.0).abs() < 1e-12);
        // Weights 0.081, 0.09, 0.1 over 0.271.
        assert!((out[3] - (0.171 * 4.0 + 0.1 * 2.0) / 0.271).abs() < 1e-12, "{out:?}");
    }
}
