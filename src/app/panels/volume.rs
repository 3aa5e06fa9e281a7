//! Hypervolume against images run, one line per method with the band of its seeds.

use crate::effects::Effects;
use crate::figures::figure_menu;
use crate::line_labels::{LineLabel, labels_ui};
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::widgets::{self, caption};
use egui::{Role, Ui};
use egui_plot::{Axis, HoverPosition, Line, PlotPoints};
use lab::RunStore;
use plots::figure;
use record::RunId;
use view::volume::volume;

pub(crate) fn volume_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    // Areas over all trials are not for every frame.
    let measured = store
        .runs
        .iter()
        .map(|r| (r.id, r.searches.iter().map(|s| s.measured).sum()));
    let measured: Vec<(RunId, u64)> = measured.collect();
    if state.volume.of != measured {
        state.volume.view = volume(store);
        state.volume.of = measured;
    }
    let Some(view) = state.volume.view.clone() else {
        return widgets::empty(
            ui,
            "No trials yet",
            "Each search draws here how much of the frontier its trials have covered",
        );
    };
    ui.horizontal(|ui| {
        caption(ui, "Hypervolume covered by the trials so far", "hypervolume");
        widgets::on_the_right(ui, |ui| {
            let colors = state.runs.colors.clone();
            figure_menu(ui, "hypervolume", state, effects, || figure::volume(&view, &colors));
        });
    });
    let p = palette(ui);
    let plot = widgets::plot("hypervolume", p)
        .include_x(0.0)
        .include_y(0.0)
        .custom_x_axes(vec![widgets::axis(p, Axis::X, "images run")])
        .custom_y_axes(vec![widgets::axis(p, Axis::Y, "% of the box")])
        .label_formatter(|at| match at {
            HoverPosition::NearDataPoint {
                plot_name, position, ..
            } => Some(format!("{plot_name}\nafter {} images\n{:.2} %", position.x, position.y)),
            HoverPosition::Elsewhere { .. } => None,
        });
    let shown = plot.height(ui.available_height()).show(ui, |plot| {
        let mut ends: Vec<LineLabel> = Vec::new();
        for line in &view.lines {
            let color = state.runs.color(p, line.run);
            let points = |which: usize| -> Vec<[f64; 2]> {
                let at = line.after.iter();
                at.map(|(images, a)| [*images as f64, a[which] * 100.0]).collect()
            };
            if line.after.iter().any(|(_, a)| a[0] < a[2]) {
                for edge in [0, 2] {
                    let name = format!("{}, edge of the band", line.label);
                    let faint = Line::new(name, PlotPoints::from(points(edge)));
                    plot.line(faint.color(color.gamma_multiply(0.4)).width(1.0));
                }
            }
            ends.extend(points(1).last().map(|at| (*at, line.label.clone(), color)));
            plot.line(
                Line::new(&line.label, PlotPoints::from(points(1)))
                    .color(color)
                    .width(theme::LINE),
            );
        }
        ends
    });
    widgets::name_widget(&shown.response, Role::Image, "Hypervolume plot");
    labels_ui(ui, &shown.transform, shown.inner);
}
