//! Trials as lines over sites (parallel coordinates); hovering names a trial, clicking looks back at it.

use crate::effects::Effects;
use crate::figures::menu_with_table;
use crate::state::UiState;
use crate::theme::{self, Palette, palette};
use crate::widgets::{self, quiet};
use egui::{Align2, Color32, Pos2, Rect, Role, Sense, Shape, Stroke, Ui, pos2, vec2};
use lab::RunStore;
use plots::figure;
use view::parallel::{ParallelLine, ParallelView, every_trial, parallel};
use view::search::choose;
use view::text;

/// Room for names below and for numbers on the left.
const NAMES: f32 = 18.0;
const NUMBERS: f32 = 30.0;

pub(crate) fn parallel_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(view) = parallel(store, state.search.chosen) else {
        return widgets::empty(
            ui,
            "No trials yet",
            "Each trial of a search is drawn as a line over its sites",
        );
    };
    ui.horizontal(|ui| {
        widgets::heat_legend(
            ui,
            &format!("reward {}", text::small(view.range[0])),
            &text::small(view.range[1]),
        );
        if view.hidden > 0 {
            quiet(ui, format!("{} older trials are not drawn", view.hidden));
        }
        widgets::on_the_right(ui, |ui| {
            let drawing = || figure::parallel(&view);
            let chosen = state.search.chosen;
            let table = || every_trial(store, chosen).map_or_else(drawing, |v| figure::parallel(&v));
            menu_with_table(ui, "trials over sites", state, effects, [&drawing, &table]);
        });
    });
    let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click());
    widgets::name_widget(&response, Role::Image, "Trials over sites");
    let p = palette(ui);
    let plot = Rect::from_min_max(rect.min + vec2(NUMBERS, 6.0), rect.max - vec2(14.0, NAMES));
    if plot.width() < 40.0 || plot.height() < 30.0 {
        return;
    }
    axes(ui, &view, plot, p);
    for line in &view.lines {
        line_ui(ui, line, plot, p, false);
    }
    let near = response.hover_pos().and_then(|at| nearest(&view, plot, at));
    let Some(line) = near else { return };
    line_ui(ui, line, plot, p, true);
    if response.clicked()
        && let Some((run, index)) = choose(store, state.search.chosen)
    {
        state.search.look_at(run.id, index, line.number);
    }
    let densities: Vec<String> = view
        .sites
        .iter()
        .zip(&line.densities)
        .map(|(site, d)| format!("{site} {d:.2}"))
        .collect();
    response.on_hover_text_at_pointer(format!("trial {}\n{}", line.number, densities.join("\n")));
}

fn x_of(plot: Rect, i: usize, n: usize) -> f32 {
    plot.left() + plot.width() * (i as f32 + 0.5) / n.max(1) as f32
}

fn points(line: &ParallelLine, plot: Rect) -> Vec<Pos2> {
    let n = line.densities.len();
    let y = |d: f32| plot.bottom() - plot.height() * d.clamp(0.0, 1.0);
    let all = line.densities.iter().enumerate();
    all.map(|(i, &d)| pos2(x_of(plot, i, n), y(d))).collect()
}

fn axes(ui: &Ui, view: &ParallelView, plot: Rect, p: &Palette) {
    let thin = Stroke::new(1.0, p.grid.gamma_multiply(0.6));
    for percent in [0, 50, 100] {
        let y = plot.bottom() - plot.height() * percent as f32 / 100.0;
        ui.painter().hline(plot.x_range(), y, thin);
        let words = format!("{:.1}", percent as f32 / 100.0);
        widgets::put(ui, pos2(plot.left() - 6.0, y), Align2::RIGHT_CENTER, words, p.weak);
    }
    let n = view.sites.len();
    let room = (widgets::widest(ui, view.sites.iter().map(String::as_str)) + 8.0).max(44.0);
    let each = (room * n as f32 / plot.width()).ceil().max(1.0) as usize;
    for (i, site) in view.sites.iter().enumerate() {
        let x = x_of(plot, i, n);
        ui.painter().vline(x, plot.y_range(), Stroke::new(1.0, p.grid));
        if i % each == 0 {
            widgets::put(ui, pos2(x, plot.bottom() + 4.0), Align2::CENTER_TOP, site, p.weak);
        }
    }
}

fn line_ui(ui: &Ui, line: &ParallelLine, plot: Rect, p: &Palette, hovered: bool) {
    let (color, width): (Color32, f32) = match line {
        _ if hovered => (p.text, 2.2),
        l if l.is_best => (p.series[1], 3.0),
        l if l.is_shown => (p.text, 2.0),
        l => (theme::heat(p, 0.25 + 0.75 * l.rank).gamma_multiply(0.45), 1.0),
    };
    ui.painter()
        .add(Shape::line(points(line, plot), Stroke::new(width, color)));
}

/// The line whose height at the pointer is nearest.
fn nearest(view: &ParallelView, plot: Rect, at: Pos2) -> Option<&ParallelLine> {
    let gap = |line: &ParallelLine| {
        let points = points(line, plot);
        let (first, last) = (points.first()?, points.last()?);
        let x = at.x.clamp(first.x, last.x);
        let right = points.iter().position(|q| q.x >= x)?;
        let (a, b) = (points[right.saturating_sub(1)], points[right]);
        let t = if b.x > a.x { (x - a.x) / (b.x - a.x) } else { 0.0 };
        Some((a.y + (b.y - a.y) * t - at.y).abs())
    };
    let gaps = view.lines.iter().filter_map(|l| Some((gap(l)?, l)));
    let (distance, line) = gaps.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (distance < 10.0).then_some(line)
}
