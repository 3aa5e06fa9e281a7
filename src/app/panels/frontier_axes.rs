//! The frontier's axes: costs in their unit, plain or logarithmic, and which points are in sight.
//! Knows nothing of how points are drawn.

use crate::state::{FrontierFit, UiState};
use crate::widgets;
use egui::{Role, Ui};
use egui_plot::PlotBounds;
use view::frontier::CostAxis;

/// Which points the axes follow, also again after somebody moved the plot; and whether costs are along a logarithmic axis.
pub(super) fn fit_ui(ui: &mut Ui, state: &mut UiState) {
    widgets::quiet(ui, "Fit:");
    for (fit, words, name, about) in [
        (FrontierFit::All, "all", "Fit all", "Show all points"),
        (
            FrontierFit::NearBest,
            "near the best",
            "Fit near the best",
            "Show the points that no other beats, down to five points of accuracy below the best",
        ),
    ] {
        let is_now = state.frontier.fit == fit && !state.frontier.is_moved;
        let button = ui.selectable_label(is_now, words);
        widgets::name_widget(&button, Role::Button, name);
        if button.on_hover_text(about).clicked() {
            (state.frontier.fit, state.frontier.is_moved) = (fit, false);
            state.frontier.refit = true;
        }
    }
    let is_log = state.frontier.is_log;
    let log = ui.selectable_label(is_log, "log");
    widgets::name_widget(&log, Role::Button, "Logarithmic cost axis");
    let about = "Costs along a logarithmic axis: halving is the same way everywhere";
    if log.on_hover_text(about).clicked() {
        state.frontier.is_log = !is_log;
        (state.frontier.refit, state.frontier.is_moved) = (true, false);
    }
}

#[derive(Clone, Copy)]
pub(super) struct CostScale {
    pub(super) each: f64,
    pub(super) is_log: bool,
    pub(super) axis: &'static str,
    pub(super) short: &'static str,
}

impl CostScale {
    pub(super) fn of(against: CostAxis) -> Self {
        let unit = |each, axis, short| Self {
            each,
            is_log: false,
            axis,
            short,
        };
        match against {
            CostAxis::Macs => unit(1e6, "million MACs per image", " M MACs"),
            CostAxis::Params => unit(1e3, "thousand parameters", " k parameters"),
            CostAxis::Millis => unit(1.0, "ms per image, on this machine", " ms"),
        }
    }

    /// Where a cost lies in the plot.
    pub(super) fn x(self, cost: f64) -> f64 {
        let shown = cost / self.each;
        if self.is_log { shown.max(1e-6).log10() } else { shown }
    }

    /// The cost at a place in the plot.
    pub(super) fn cost(self, x: f64) -> f64 {
        self.each * if self.is_log { 10f64.powf(x) } else { x }
    }
}

/// The part of the plot that holds these costs and accuracies, with room around them.
pub(super) fn bounds([x, y]: [[f64; 2]; 2], scale: CostScale) -> PlotBounds {
    let [left, right] = x.map(|cost| scale.x(cost));
    let [low, high] = y.map(|top1| top1 * 100.0);
    let (wide, tall) = ((right - left).max(right.abs() * 0.05 + 1e-3), (high - low).max(0.5));
    PlotBounds::from_min_max(
        [left - wide * 0.08, low - tall * 0.15],
        [right + wide * 0.12, high + tall * 0.15],
    )
}
