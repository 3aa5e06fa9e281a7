//! Points, lines and names of the frontier, and what hovering says of a point.
//! Knows nothing of what can be done with them.

use super::frontier_axes::CostScale;
use crate::theme::{self, Palette};
use crate::widgets;
use egui::{Color32, Ui};
use egui_plot::{HoverPosition, Line, LineStyle, MarkerShape, PlotPoint, PlotPoints, PlotTransform, PlotUi, Points};
use view::frontier::{FrontierPoint, FrontierSeries, FrontierView, NowPoint, SeriesKind};
use view::text;

pub(super) const NOW: &str = "measured now";
/// Height of a label at a line's end, and how many there are at most.
const LABEL: f32 = 13.0;
const MOST_LABELS: usize = 12;
/// Letters of a label at most.
const LABEL_LETTERS: usize = 30;

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

/// Names at the ends of lines, apart from each other, in place of a legend that covers points.
pub(super) fn labels_ui(ui: &Ui, transform: &PlotTransform, labels: Vec<([f64; 2], String, Color32)>) {
    let frame = *transform.frame();
    let place = |at: [f64; 2]| transform.position_from_point(&PlotPoint::new(at[0], at[1]));
    // The open model, what is measured now, and the newest runs.
    let skipped = labels.len().saturating_sub(MOST_LABELS);
    let is_first = |i: usize| i < MOST_LABELS / 3 || i >= MOST_LABELS / 3 + skipped;
    let mut placed: Vec<(egui::Pos2, String, Color32)> = labels
        .into_iter()
        .enumerate()
        .filter(|(i, (at, ..))| is_first(*i) && frame.expand(1.0).contains(place(*at)))
        .map(|(_, (at, words, color))| (place(at), text::cut(&words, LABEL_LETTERS), color))
        .collect();
    placed.sort_by(|a, b| a.0.y.total_cmp(&b.0.y));
    let mut taken: Vec<egui::Rect> = Vec::new();
    for (at, words, color) in placed {
        let wide = widgets::widest(ui, std::iter::once(words.as_str()));
        // Beside the end where there is room, else before it and above the line.
        let is_beside = at.x + 8.0 + wide < frame.right();
        let left = if is_beside {
            at.x + 8.0
        } else {
            (frame.right() - wide - 4.0).max(frame.left())
        };
        let top = if is_beside {
            at.y - LABEL / 2.0
        } else {
            at.y - LABEL - 6.0
        };
        let mut rect = egui::Rect::from_min_size(egui::pos2(left, top.max(frame.top())), egui::vec2(wide, LABEL));
        while let Some(other) = taken.iter().find(|other| other.intersects(rect)) {
            rect = rect.translate(egui::vec2(0.0, other.bottom() + 0.5 - rect.top()));
        }
        if rect.bottom() > frame.bottom() {
            continue;
        }
        let behind = crate::theme::palette(ui).tile.gamma_multiply(0.8);
        ui.painter()
            .rect_filled(rect.expand2(egui::vec2(2.0, 0.0)), 2.0, behind);
        widgets::put(ui, rect.left_center(), egui::Align2::LEFT_CENTER, words, color);
        taken.push(rect);
    }
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
