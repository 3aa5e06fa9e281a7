//! Points, lines and names of the frontier, and what hovering says of a point.
//! Knows nothing of what can be done with them.

use super::frontier_axes::CostScale;
use crate::theme::{self, Palette};
use egui::Color32;
use egui_plot::{HoverPosition, Line, LineStyle, MarkerShape, PlotPoints, PlotUi, Points};
use view::frontier::{FrontierPoint, FrontierSeries, FrontierView, NowPoint, SeriesKind};
use view::text;

pub(super) const NOW: &str = "measured now";

pub(super) fn place_of(point: &FrontierPoint, scale: CostScale) -> [f64; 2] {
    [scale.x(point.x), point.top1 * 100.0]
}

/// Points that no point of the series beats are joined; the others are faint.
pub(super) fn series_ui(plot: &mut PlotUi, series: &FrontierSeries, scale: CostScale, color: Color32) {
    let shape = theme::mark(series.mark);
    let part = |beaten: bool| -> Vec<[f64; 2]> {
        let of_part = series.points.iter().filter(|q| q.is_beaten == beaten);
        of_part.map(|q| place_of(q, scale)).collect()
    };
    let (front, beaten) = (part(false), part(true));
    let faint = color.gamma_multiply(theme::FAINT);
    plot.points(
        Points::new(series.label.clone(), beaten)
            .color(faint)
            .shape(shape)
            .radius(2.6),
    );
    for (q, sd) in series.points.iter().filter_map(|q| Some((q, q.spread?))) {
        let [x, y] = place_of(q, scale);
        let bar = Line::new(series.label.clone(), vec![[x, y - sd * 100.0], [x, y + sd * 100.0]]);
        plot.line(bar.color(color).width(1.4).allow_hover(false));
    }
    // Of a cut every point tells: which is beaten by a deeper cut is news.
    let line = match series.kind {
        SeriesKind::Cut => series.points.iter().map(|q| place_of(q, scale)).collect(),
        _ => front.clone(),
    };
    let style = match series.kind {
        SeriesKind::Recorded | SeriesKind::Cut => LineStyle::dashed_dense(),
        _ => LineStyle::Solid,
    };
    plot.line(
        Line::new(series.label.clone(), line)
            .color(color)
            .style(style)
            .width(theme::LINE)
            .allow_band(false)
            .allow_hover(false),
    );
    plot.points(
        Points::new(series.label.clone(), PlotPoints::from(front))
            .color(color)
            .shape(shape)
            .radius(3.8),
    );
}

/// How far whiskers are drawn: a third of the points' spread beyond them, so that the wide interval of a first answer does not
/// squeeze everything else. The interval itself is in the hover text.
pub(super) fn reach(view: &FrontierView, now: &NowPoint) -> [f64; 2] {
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

pub(super) fn now_ui(plot: &mut PlotUi, now: &NowPoint, reach: [f64; 2], scale: CostScale, p: &Palette) {
    let (x, y) = (scale.x(now.x), now.top1 * 100.0);
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

/// Where a series' line ends: its dearest point that no other of it beats.
pub(super) fn end_of(series: &FrontierSeries, scale: CostScale) -> [f64; 2] {
    let last = series
        .points
        .iter()
        .rfind(|q| !q.is_beaten || series.kind == SeriesKind::Cut);
    last.or(series.points.last()).map_or([0.0, 0.0], |q| place_of(q, scale))
}

pub(super) fn says(view: &FrontierView, scale: CostScale, at: &HoverPosition) -> Option<String> {
    let HoverPosition::NearDataPoint {
        plot_name, position, ..
    } = at
    else {
        return None;
    };
    if *plot_name == NOW {
        let now = view.now.as_ref()?;
        let [low, high] = now.interval.map(text::percent);
        return Some(format!(
            "measured now\n{}\n{} ({low} to {high})\n{}",
            now.asked,
            text::percent(now.top1),
            view.against.words(now.x)
        ));
    }
    let s = view.series.iter().position(|s| s.label == *plot_name)?;
    let is_it = |q: &FrontierPoint| place_of(q, scale) == [position.x, position.y];
    let i = view.series[s].points.iter().position(is_it)?;
    view.says(s, i)
}
