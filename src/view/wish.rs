//! What somebody wants of a model, on the frontier: limits on lost accuracy and on cost, together a box that is the goal of a
//! search, and the part of the frontier that is worth looking at. Knows nothing of how points came to be.

use super::frontier::{CostAxis, FrontierPoint, FrontierView};
use super::search::{LiveBudget, amount, live_budget};
use super::text;
use event::Unit;
use lab::RunStore;
use serde::{Deserialize, Serialize};

/// Accuracy below the best, as a share, that is still near it.
const NEAR_BEST: f64 = 0.05;

/// What somebody wants of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    /// At most so much accuracy below the reference, as a share.
    pub below: Option<f64>,
    /// At most so much x.
    pub most: Option<f64>,
}

impl FrontierView {
    /// The point a wish chooses: the cheapest one that is accurate enough; without a wish for accuracy, the most accurate
    /// one that is cheap enough. As series and point.
    pub fn choose(&self, wish: Requirement) -> Option<(usize, usize)> {
        let least = wish
            .below
            .and_then(|below| Some(self.reference.as_ref()?.0 - below - 1e-9));
        let fits = |p: &FrontierPoint| least.is_none_or(|l| p.top1 >= l) && wish.most.is_none_or(|m| p.x <= m);
        let all = self.series.iter().enumerate();
        let all = all.flat_map(|(s, one)| one.points.iter().enumerate().map(move |(i, p)| (s, i, p)));
        let fitting = all.filter(|(_, _, p)| fits(p));
        let chosen = match (wish.below, wish.most) {
            (None, None) => return None,
            (Some(_), _) => fitting.min_by(|a, b| a.2.x.total_cmp(&b.2.x).then(b.2.top1.total_cmp(&a.2.top1))),
            (None, Some(_)) => fitting.min_by(|a, b| b.2.top1.total_cmp(&a.2.top1).then(a.2.x.total_cmp(&b.2.x))),
        };
        chosen.map(|(s, i, _)| (s, i))
    }

    /// The part that holds what is worth choosing: points that no point of any series beats, at most five points of accuracy
    /// below the best, and what is measured now if it is among them. As costs and accuracies, each from the least to the most.
    pub fn near_best(&self) -> Option<[[f64; 2]; 2]> {
        let all = self.series.iter().flat_map(|s| &s.points).map(|p| [p.x, p.top1]);
        let mut all: Vec<[f64; 2]> = all.chain(self.now.as_ref().map(|n| [n.x, n.top1])).collect();
        all.sort_by(|a, b| a[0].total_cmp(&b[0]).then(b[1].total_cmp(&a[1])));
        let best = all.iter().map(|p| p[1]).fold(f64::MIN, f64::max);
        let mut reached = f64::MIN;
        all.retain(|p| {
            let is_beaten = p[1] <= reached;
            reached = reached.max(p[1]);
            !is_beaten && p[1] >= best - NEAR_BEST
        });
        let range = |of: usize| {
            let values = all.iter().map(|p| p[of]);
            values.fold([f64::MAX, f64::MIN], |[l, h], v| [l.min(v), h.max(v)])
        };
        (!all.is_empty()).then(|| [range(0), range(1)])
    }
}

/// Both limits at once: a box on the frontier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// The most cost, in the unit of x.
    pub most: f64,
    /// The least accuracy, as a share.
    pub least: f64,
    /// Points in the box.
    pub n_inside: usize,
    /// `goal: under 5.00 M MACs, above 92.5 %: 3 points are there`.
    pub text: String,
}

impl Requirement {
    /// A box to begin with: half of the cost of the whole model, at most a point of accuracy lost.
    pub fn goal_of(view: &FrontierView) -> Self {
        let costs = view.series.iter().flat_map(|s| &s.points).map(|p| p.x);
        let whole = view.dense.unwrap_or_else(|| costs.fold(0.0, f64::max));
        Self {
            below: Some(0.01),
            most: Some(whole / 2.0),
        }
    }
}

impl FrontierView {
    /// The box of both limits; none if there is only one.
    pub fn goal(&self, wish: Requirement) -> Option<Goal> {
        let (most, below) = (wish.most?, wish.below?);
        let least = self.reference.as_ref()?.0 - below;
        let all = self.series.iter().flat_map(|s| &s.points);
        let n_inside = all.filter(|p| p.x <= most && p.top1 >= least).count();
        let there = match n_inside {
            0 => "nothing is there yet".to_owned(),
            1 => "1 point is there".to_owned(),
            n => format!("{} points are there", text::grouped(n as u64)),
        };
        Some(Goal {
            most,
            least,
            n_inside,
            text: format!(
                "goal: under {}, above {}: {there}",
                self.against.words(most),
                text::percent(least)
            ),
        })
    }
}

/// The budget of the search that goes on, where it is counted in what is along the bottom.
pub fn budget_along(store: &RunStore, against: CostAxis) -> Option<LiveBudget> {
    let fits = |unit: Unit| match against {
        CostAxis::Macs => unit == Unit::Macs,
        // Norms and biases, which weights do not count, are few.
        CostAxis::Params => unit == Unit::Weights,
        CostAxis::Millis => unit == Unit::Ms,
    };
    live_budget(store).filter(|budget| fits(budget.unit))
}

/// `budget of run 3: 5.27 M MACs, moved for the next trial`.
pub fn says_budget(budget: &LiveBudget) -> String {
    let queued = if budget.queued.is_some() {
        ", from the next trial on"
    } else {
        ""
    };
    let now = budget.queued.unwrap_or(budget.most);
    format!(
        "budget of run {}: {}{queued}",
        budget.run.0 + 1,
        amount(budget.unit, now)
    )
}
