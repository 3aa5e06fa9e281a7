//! The trials that no other beats on both cost and accuracy, and the area they cover.

use serde::{Deserialize, Serialize};

/// A measured candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// MACs, weights or milliseconds: small is good.
    pub cost: f64,
    /// Share classified right: large is good.
    pub top1: f32,
    /// The trial's number, or whatever its owner calls it by.
    pub trial: u64,
}

/// The worst that counts: what covers nothing beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Cost at and above which nothing is covered.
    pub cost: f64,
    /// Accuracy at and below which nothing is covered.
    pub top1: f32,
}

/// Points of which none is as cheap and as good as another. Cost and accuracy rise along it, both strictly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frontier {
    points: Vec<Candidate>,
}

impl Frontier {
    /// From the cheapest to the best.
    pub fn points(&self) -> &[Candidate] {
        &self.points
    }

    /// Whether some point is no dearer and no worse. NaN is beaten by everything.
    pub fn beats(&self, cost: f64, top1: f32) -> bool {
        if !cost.is_finite() || !top1.is_finite() {
            return true;
        }
        let dearer = self.points.partition_point(|p| p.cost <= cost);
        dearer > 0 && self.points[dearer - 1].top1 >= top1
    }

    /// Adds a point unless it is beaten, and drops those it beats; whether it was added. Of two equal ones the first
    /// stays.
    pub fn insert(&mut self, point: Candidate) -> bool {
        if self.beats(point.cost, point.top1) {
            return false;
        }
        let from = self.points.partition_point(|p| p.cost < point.cost);
        let beaten = self.points[from..].partition_point(|p| p.top1 <= point.top1);
        self.points.splice(from..from + beaten, [point]);
        true
    }

    /// The area covered between the points and the reference, in cost · accuracy.
    pub fn hypervolume(&self, reference: Reference) -> f64 {
        let mut area = 0.0;
        for (i, point) in self.points.iter().enumerate() {
            let next = self.points.get(i + 1).map_or(reference.cost, |next| next.cost);
            let width = next.min(reference.cost) - point.cost;
            let height = f64::from(point.top1) - f64::from(reference.top1);
            area += width.max(0.0) * height.max(0.0);
        }
        area
    }
}

impl FromIterator<Candidate> for Frontier {
    fn from_iter<I: IntoIterator<Item = Candidate>>(points: I) -> Self {
        let mut frontier = Frontier::default();
        for point in points {
            frontier.insert(point);
        }
        frontier
    }
}

/// The area covered after each trial: how fast a search pays.
pub fn hypervolumes(trials: &[Candidate], reference: Reference) -> Vec<f64> {
    let mut frontier = Frontier::default();
    let mut areas = Vec::with_capacity(trials.len());
    for &trial in trials {
        let area = areas.last().copied().unwrap_or(0.0);
        let added = frontier.insert(trial);
        areas.push(if added { frontier.hypervolume(reference) } else { area });
    }
    areas
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(cost: f64, top1: f32, trial: u64) -> Candidate {
        Candidate { cost, top1, trial }
    }

    #[test]
    fn only_what_is_not_beaten_stays() {
        let mut frontier = Frontier::default();
        assert!(frontier.insert(point(10.0, 0.5, 0)));
        assert!(!frontier.insert(point(10.0, 0.5, 1)));
        assert!(!frontier.insert(point(12.0, 0.4, 2)));
        assert!(frontier.insert(point(20.0, 0.75, 3)));
        assert!(frontier.insert(point(5.0, 0.25, 4)));
        assert!(frontier.insert(point(10.0, 0.625, 5)));
        let kept: Vec<u64> = frontier.points().iter().map(|p| p.trial).collect();
        assert_eq!(kept, [4, 5, 3]);
        let reference = Reference { cost: 30.0, top1: 0.0 };
        // 5 · 0.25 + 10 · 0.625 + 10 · 0.75.
        assert_eq!(frontier.hypervolume(reference), 15.0);
        let near = Reference { cost: 15.0, top1: 0.5 };
        assert_eq!(frontier.hypervolume(near), 5.0 * 0.125);
    }

    #[test]
    fn what_is_no_number_is_never_kept() {
        let mut frontier = Frontier::default();
        for (cost, top1) in [
            (f64::NAN, 0.5),
            (1.0, f32::NAN),
            (f64::INFINITY, 0.5),
            (1.0, f32::INFINITY),
        ] {
            assert!(!frontier.insert(point(cost, top1, 0)));
        }
        assert!(frontier.points().is_empty());
    }

    #[test]
    fn the_area_after_each_trial_grows_by_what_it_adds() {
        let trials = [
            point(10.0, 0.5, 0),
            point(15.0, 0.25, 1),
            point(f64::NAN, 1.0, 2),
            point(5.0, 0.25, 3),
        ];
        let reference = Reference { cost: 20.0, top1: 0.0 };
        assert_eq!(hypervolumes(&trials, reference), [5.0, 5.0, 5.0, 6.25]);
    }

    fn naive(points: &[Candidate]) -> Vec<Candidate> {
        let beaten = |i: usize, p: &Candidate| {
            points.iter().enumerate().any(|(j, q)| {
                let no_worse = q.cost <= p.cost && q.top1 >= p.top1;
                let better = q.cost < p.cost || q.top1 > p.top1;
                no_worse && (better || j < i)
            })
        };
        let mut kept: Vec<Candidate> = (0..points.len())
            .filter(|&i| !beaten(i, &points[i]))
            .map(|i| points[i])
            .collect();
        kept.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        kept
    }

    fn any_points() -> impl Strategy<Value = Vec<Candidate>> {
        proptest::collection::vec((0u8..16, 0u8..16), 0..40).prop_map(|all| {
            let make = |(i, (cost, top1)): (usize, (u8, u8))| point(f64::from(cost), f32::from(top1) / 16.0, i as u64);
            all.into_iter().enumerate().map(make).collect()
        })
    }

    proptest! {
        #[test]
        fn it_is_what_comparing_all_pairs_gives(points in any_points()) {
            let frontier: Frontier = points.iter().copied().collect();
            prop_assert_eq!(frontier.points(), &naive(&points)[..]);
            for p in &points {
                prop_assert!(frontier.beats(p.cost, p.top1));
            }
        }

        #[test]
        fn the_area_is_the_number_of_covered_cells(points in any_points(), cost in 0u8..20, top1 in 0u8..16) {
            let reference = Reference { cost: f64::from(cost), top1: f32::from(top1) / 16.0 };
            let covered = |x: u8, y: u8| {
                points.iter().any(|p| p.cost <= f64::from(x) && p.top1 >= f32::from(y + 1) / 16.0)
            };
            let cells = (0..cost).flat_map(|x| (top1..16).map(move |y| (x, y))).filter(|(x, y)| covered(*x, *y)).count();
            let frontier: Frontier = points.iter().copied().collect();
            prop_assert_eq!(frontier.hypervolume(reference), cells as f64 / 16.0);
            let areas = hypervolumes(&points, reference);
            prop_assert_eq!(areas.last().copied().unwrap_or(0.0), cells as f64 / 16.0);
            prop_assert!(areas.is_sorted());
        }
    }
}
