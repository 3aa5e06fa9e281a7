//! Accuracy against MACs; clicking a point of the open model moves the slider there.
//! Knows nothing of how points were measured.

use crate::app::action;
use crate::app::state::UiState;
use crate::app::theme::{self, Palette, palette};
use crate::app::widgets;
use crate::run::{Command, RunStore};
use crate::view::frontier::{FrontierSeries, FrontierView, NowPoint, frontier};
use crate::view::text;
use egui::{Color32, Role, Ui, WidgetInfo};
use egui_plot::{
    Axis, Corner, HoverPosition, Legend, Line, LineStyle, MarkerShape, PlotPoint, PlotPoints, PlotUi, Points, VLine,
};

/// A million MACs, the unit of the axis.
const MEGA: f64 = 1e6;
const NOW: &str = "measured now";

/// Paints the panel.
pub fn frontier_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, commands: &mut Vec<Command>) {
    let view = frontier(store);
    if view.series.is_empty() && view.now.is_none() {
        return widgets::empty(
            ui,
            "No points yet",
            "Open a model, or press Train: each run adds its own points",
        );
    }
    let p = palette(ui);
    let legend = Legend::default()
        .position(Corner::RightBottom)
        .background_alpha(0.9)
        .follow_insertion_order(true);
    let hover = view.clone();
    let plot = widgets::plot("frontier", p)
        .legend(legend.text_style(egui::TextStyle::Small))
        .custom_x_axes(vec![widgets::axis(p, Axis::X, "million MACs an image")])
        .custom_y_axes(vec![widgets::axis(p, Axis::Y, "accuracy, %")])
        .label_formatter(move |at| says(&hover, at))
        .include_x(0.0);
    let shown = plot.height(ui.available_height() - 20.0).show(ui, |plot| {
        if let Some(dense) = view.macs_dense {
            plot.vline(
                VLine::new("dense: every channel", dense as f64 / MEGA)
                    .color(p.weak)
                    .width(1.0)
                    .style(LineStyle::dashed_dense()),
            );
        }
        for series in &view.series {
            series_ui(plot, series, p);
        }
        if let Some(now) = view.now {
            now_ui(plot, now, reach(&view, now), p);
        }
        let clicked = plot
            .response()
            .clicked()
            .then(|| plot.response().interact_pointer_pos())
            .flatten();
        clicked.and_then(|at| nearest(plot, &view, at))
    });
    shown
        .response
        .widget_info(|| WidgetInfo::labeled(Role::Image, true, "Frontier plot"));
    if let Some(percent) = shown.inner {
        commands.extend(action::set_density(store, state, percent));
    }
    let recorded = view
        .series
        .iter()
        .find(|s| s.run.is_none())
        .and_then(|s| s.points.first());
    let words = match recorded {
        Some(first) => format!(
            "Recorded on {} validation images when made; click a point to go there.",
            text::grouped(first.n as u64)
        ),
        None => "Validation images only; test images are read once, when a run ends.".to_owned(),
    };
    widgets::quiet_line(ui, &words);
}

fn place(macs: u64, top1: f64) -> [f64; 2] {
    [macs as f64 / MEGA, top1 * 100.0]
}

fn color_of(series: &FrontierSeries, p: &Palette) -> Color32 {
    series
        .run
        .map_or(p.series[0], |run| theme::series(p, run.0 as usize + 1))
}

fn series_ui(plot: &mut PlotUi, series: &FrontierSeries, p: &Palette) {
    let points: Vec<[f64; 2]> = series.points.iter().map(|x| place(x.macs, x.top1)).collect();
    let color = color_of(series, p);
    let shape = match series.run.map(|r| r.0 % 3) {
        None => MarkerShape::Circle,
        Some(0) => MarkerShape::Square,
        Some(1) => MarkerShape::Up,
        Some(_) => MarkerShape::Diamond,
    };
    plot.line(
        Line::new(series.label.clone(), PlotPoints::from(points.clone()))
            .color(color)
            .width(theme::LINE)
            .allow_hover(false),
    );
    plot.points(
        Points::new(series.label.clone(), PlotPoints::from(points))
            .color(color)
            .shape(shape)
            .radius(3.5),
    );
}

/// How far whiskers are drawn: a third of the points' spread beyond them, so that the wide interval of a first answer does not
/// squeeze everything else. The interval itself is in the hover text.
fn reach(view: &FrontierView, now: NowPoint) -> [f64; 2] {
    let all = view
        .series
        .iter()
        .flat_map(|s| &s.points)
        .map(|x| x.top1)
        .chain([now.top1]);
    let [low, high] = all.fold([f64::MAX, f64::MIN], |[l, h], y| [l.min(y), h.max(y)]);
    let beyond = ((high - low) / 3.0).max(0.01);
    [low - beyond, high + beyond]
}

fn now_ui(plot: &mut PlotUi, now: NowPoint, reach: [f64; 2], p: &Palette) {
    let [x, y] = place(now.macs, now.top1);
    let end = |v: f64| [x, v.clamp(reach[0], reach[1]) * 100.0];
    let whisker = vec![end(now.interval[0]), end(now.interval[1])];
    plot.line(
        Line::new(NOW, PlotPoints::from(whisker))
            .color(p.text)
            .width(1.6)
            .allow_hover(false),
    );
    plot.points(
        Points::new(NOW, vec![[x, y]])
            .color(p.text)
            .shape(MarkerShape::Diamond)
            .radius(7.5),
    );
}

/// The density of the open model's point that was clicked.
fn nearest(plot: &PlotUi, view: &FrontierView, at: egui::Pos2) -> Option<u32> {
    let points = view.series.iter().filter(|s| s.run.is_none()).flat_map(|s| &s.points);
    let distance = |macs, top1| {
        let [x, y] = place(macs, top1);
        plot.screen_from_plot(PlotPoint::new(x, y)).distance(at)
    };
    let near = points
        .map(|x| (distance(x.macs, x.top1), x.density))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    (near.0 < 14.0).then(|| u32::from(near.1.as_percent()))
}

fn says(view: &FrontierView, at: &HoverPosition) -> Option<String> {
    let HoverPosition::NearDataPoint { plot_name, index, .. } = at else {
        return None;
    };
    if *plot_name == NOW {
        let now = view.now?;
        let [low, high] = now.interval.map(text::percent);
        return Some(format!(
            "measured now\ndensity {:.2}\n{} ({low} to {high})\n{} MACs",
            now.density,
            text::percent(now.top1),
            text::count(now.macs)
        ));
    }
    let point = view.series.iter().find(|s| s.label == *plot_name)?.points.get(*index)?;
    let accuracy = text::percent(point.top1);
    Some(format!(
        "{plot_name}\ndensity {}\n{accuracy} of {} images\n{} MACs",
        point.density,
        text::grouped(point.n as u64),
        text::count(point.macs)
    ))
}
