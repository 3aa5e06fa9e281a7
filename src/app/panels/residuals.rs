//! ADMM's residuals, one line per layer.

use crate::effects::Effects;
use crate::figures::figure_menu;
use crate::line_labels::{LineLabel, labels_ui};
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::widgets::{self, caption};
use egui::{Role, Ui};
use egui_plot::{Axis, HoverPosition, Line, MarkerShape, PlotPoints, Points};
use lab::RunStore;
use plots::figure;
use view::residuals::residuals;
use view::search::plural;
use view::text;

pub(crate) fn residuals_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(view) = residuals(store, state.search.chosen) else {
        return widgets::empty(
            ui,
            "No residuals yet",
            "Methods with ADMM show here how close the weights are to their pruned targets",
        );
    };
    let worst = view.worst().map_or_else(String::new, |(layer, value)| {
        format!("{}: largest now {} in {layer}", view.title, text::small(value))
    });
    ui.horizontal(|ui| {
        caption(ui, &worst, "residual");
        widgets::on_the_right(ui, |ui| {
            figure_menu(ui, "residuals", state, effects, || figure::residuals(&view));
        });
    });
    let p = palette(ui);
    let plot = widgets::plot("residuals", p)
        .include_x(0.0)
        .include_y(0.0)
        .custom_x_axes(vec![widgets::axis(p, Axis::X, "update")])
        .custom_y_axes(vec![widgets::axis(p, Axis::Y, "‖W − Z‖ / ‖W‖")])
        .label_formatter(|at| match at {
            HoverPosition::NearDataPoint {
                plot_name, position, ..
            } => Some(format!(
                "{plot_name}\nupdate {}\n{}",
                position.x,
                text::small(position.y)
            )),
            HoverPosition::Elsewhere { .. } => None,
        });
    let n = view.rows.len().max(2) - 1;
    let shown = plot.height(ui.available_height()).show(ui, |plot| {
        let mut ends: Vec<LineLabel> = Vec::new();
        for (i, row) in view.rows.iter().enumerate() {
            let is_chosen = state.layer.as_deref() == Some(&row.layer);
            let color = theme::heat(p, 0.35 + 0.65 * i as f32 / n as f32);
            let color = if is_chosen { p.series[1] } else { color };
            let name = format!("{}, {}", row.layer, plural(row.dimension));
            ends.extend(row.points.last().map(|at| (*at, name.clone(), color)));
            if row.points.len() == 1 {
                let dot = Points::new(name, PlotPoints::from(row.points.clone()));
                plot.points(dot.color(color).shape(MarkerShape::Circle).radius(3.0));
            } else {
                let width = if is_chosen { 3.0 } else { theme::LINE };
                plot.line(
                    Line::new(name, PlotPoints::from(row.points.clone()))
                        .color(color)
                        .width(width),
                );
            }
        }
        ends
    });
    widgets::name_widget(&shown.response, Role::Image, "Residuals plot");
    labels_ui(ui, &shown.transform, shown.inner);
}
