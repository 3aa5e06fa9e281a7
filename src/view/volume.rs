//! How fast searches pay: the area between a search's non-dominated trials and the whole network at chance, against the images
//! that trials were measured on. Runs that differ in their seed alone are one line with its band.
//! Knows nothing of how trials are proposed.

use super::frontier::by_seed;
use lab::RunStore;
use record::{RunId, RunState};
use search::frontier::{Candidate, Reference, hypervolumes};
use serde::Serialize;

/// Hypervolumes of all runs that search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VolumeView {
    /// One for each group of seeds, oldest first.
    pub lines: Vec<VolumeLine>,
}

/// One method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VolumeLine {
    /// The first run.
    pub run: RunId,
    /// Its name, and the number of seeds if there are several.
    pub label: String,
    /// After each trial: images run so far, and `[lowest, mean, highest]` over the seeds, as shares of the box from nothing to
    /// the whole network's MACs and from chance to every image right.
    pub after: Vec<(u64, [f64; 3])>,
}

/// The hypervolumes of all runs that have trials; none without any.
pub fn volume(store: &RunStore) -> Option<VolumeView> {
    let searching: Vec<&RunState> = store
        .runs
        .iter()
        .filter(|r| r.searches.iter().any(|s| !s.trials.is_empty()))
        .collect();
    let lines: Vec<VolumeLine> = by_seed(&searching).iter().filter_map(|group| line(group)).collect();
    (!lines.is_empty()).then_some(VolumeView { lines })
}

fn line(runs: &[&RunState]) -> Option<VolumeLine> {
    let first = runs.first()?;
    let each: Vec<Vec<(u64, f64)>> = runs.iter().filter_map(|run| of_run(run)).collect();
    // A seed that stopped early has no say in what came later, so the band ends with the shortest.
    let ends = each.iter().map(|seed| seed.last().map_or(0, |(images, _)| *images));
    let end = ends.min()?;
    let covered = |seed: &[(u64, f64)], images: u64| {
        let done = seed.partition_point(|(at, _)| *at <= images);
        done.checked_sub(1).map_or(0.0, |i| seed[i].1)
    };
    let steps = each[0]
        .iter()
        .map(|(images, _)| *images)
        .filter(|images| *images <= end);
    let after = steps.map(|images| {
        let at = || each.iter().map(|seed| covered(seed, images));
        let mean = at().sum::<f64>() / each.len() as f64;
        let (least, most) = (
            at().fold(f64::INFINITY, f64::min),
            at().fold(f64::NEG_INFINITY, f64::max),
        );
        (images, [least, mean, most])
    });
    let label = match each.len() {
        1 => first.title(),
        seeds => format!("{}, {seeds} seeds", first.name()),
    };
    Some(VolumeLine {
        run: first.id,
        label,
        after: after.collect(),
    })
}

/// The images run and the area covered after each trial of all of a run's searches, in their order.
fn of_run(run: &RunState) -> Option<Vec<(u64, f64)>> {
    let whole = run.dense?.macs as f64;
    let classes = run.spec.as_ref()?.classes().ok()?.max(1);
    let reference = Reference {
        cost: whole,
        top1: 1.0 / classes as f32,
    };
    let everything = whole * (1.0 - f64::from(reference.top1));
    let trials = run.searches.iter().flat_map(|s| &s.trials);
    let points: Vec<Candidate> = trials
        .enumerate()
        .map(|(i, t)| Candidate {
            cost: t.trial.macs as f64,
            top1: t.trial.top1,
            trial: i as u64,
        })
        .collect();
    let each = run
        .searches
        .iter()
        .flat_map(|s| s.trials.iter().map(|_| s.start.images as u64));
    let images = each.scan(0, |sum, n| {
        *sum += n;
        Some(*sum)
    });
    let areas = hypervolumes(&points, reference)
        .into_iter()
        .map(|area| area / everything);
    Some(images.zip(areas).collect())
}
