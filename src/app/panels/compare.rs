//! Runs side by side in a table that can be sorted; pointing at a row shows its run in the frontier, and the other way round.
//! Knows nothing of what runs came to.

use crate::effects::Effects;
use crate::panels::frontier::look_at_run;
use crate::state::UiState;
use crate::theme::{self, Palette, palette};
use crate::widgets::{self, name_widget};
use egui::{Align2, Color32, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};
use lab::RunStore;
use view::compare::{CompareColumn, CompareRow, CompareView, compare};
use view::text;

/// Widths of the columns: pin, run, method, accuracy, MACs, parameters, time, against the pinned run, how it got there. Settings
/// take the rest.
const WIDTHS: [f32; 9] = [24.0, 170.0, 92.0, 92.0, 66.0, 76.0, 66.0, 150.0, 84.0];
const SETTINGS: f32 = 220.0;
const ROW: f32 = 24.0;

pub(crate) fn compare_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, _: &mut Effects) {
    let hidden = state.runs.hidden(store);
    let view = compare(store, state.compare.options, &hidden, &mut state.compare.differences);
    if view.rows.is_empty() {
        return widgets::empty(
            ui,
            "No runs yet",
            "Press Train, or show earlier runs from the list: each is a row here",
        );
    }
    let least: f32 = WIDTHS.iter().sum::<f32>() + SETTINGS;
    egui::ScrollArea::both().auto_shrink(false).show(ui, |ui| {
        ui.set_min_width(least);
        ui.spacing_mut().item_spacing.y = 0.0;
        head(ui, &view, state);
        for row in &view.rows {
            ui.push_id(row.id.0, |ui| row_ui(ui, row, &view, store, state));
        }
    });
}

/// Where a column begins and how wide it is.
fn place(row: Rect, column: usize) -> Rect {
    let left = row.left() + WIDTHS[..column].iter().sum::<f32>();
    let width = WIDTHS.get(column).copied().unwrap_or(row.right() - left);
    Rect::from_min_size(pos2(left, row.top()), vec2(width, row.height()))
}

fn head(ui: &mut Ui, view: &CompareView, state: &mut UiState) {
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let accuracy = text::capital(view.accuracy);
    let titles = ["Run", "Method", &accuracy, "MACs", "Parameters", "Time"];
    let options = &mut state.compare.options;
    for (i, (column, title)) in CompareColumn::ALL.into_iter().zip(titles).enumerate() {
        let is_now = options.sort == column;
        let arrow = match (is_now, options.reversed) {
            (false, _) => "",
            (true, false) => " ▼",
            (true, true) => " ▲",
        };
        let mut inner = widgets::inside(ui, place(row, i + 1), title);
        let label = egui::Button::selectable(is_now, widgets::small(format!("{title}{arrow}"), palette(ui).weak));
        let button = inner.add(label.small().frame_when_inactive(false));
        name_widget(&button, Role::Button, &format!("Sort by {}", title.to_lowercase()));
        if button
            .on_hover_text("Sort by this column; once more turns it round")
            .clicked()
        {
            options.reversed = is_now && !options.reversed;
            options.sort = column;
        }
    }
    let p = palette(ui);
    let pinned = view.rows.iter().find(|r| Some(r.id) == view.pinned);
    let against = match pinned {
        Some(row) => format!("against {}", text::cut(&row.title, 18)),
        None => "pin a run to compare".to_owned(),
    };
    for (column, words) in [(7, against.as_str()), (8, "so far"), (9, "settings that differ")] {
        let at = place(row, column).left_center();
        widgets::put(ui, at, Align2::LEFT_CENTER, words, p.weak);
    }
}

fn row_ui(ui: &mut Ui, row: &CompareRow, view: &CompareView, store: &RunStore, state: &mut UiState) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let words = row.says(view.accuracy);
    name_widget(&response, Role::Button, &words);
    let is_pointed = response.hovered() || response.has_focus();
    if is_pointed {
        state.linked.point_at(row.id);
    }
    if is_pointed || state.linked.now == Some(row.id) {
        ui.painter()
            .rect_filled(rect, theme::RADIUS, ui.visuals().faint_bg_color);
    }
    if response.clicked() {
        response.request_focus();
        look_at_run(row.id, row.at, state);
    }
    pin_ui(ui, row, place(rect, 0), view, state);
    let color = state.runs.color(p, row.id);
    let at = place(rect, 1).left_center();
    ui.painter().circle_filled(at + vec2(5.0, 0.0), 4.0, color);
    let run = store.run(row.id);
    let is_live = run.is_some_and(|run| run.is_live());
    let title = text::cut(&row.title, 24);
    widgets::put(ui, at + vec2(14.0, 0.0), Align2::LEFT_CENTER, title, p.text);
    let or = |n: Option<u64>| n.map_or_else(|| "—".to_owned(), text::count);
    let cells = [
        row.method.to_owned(),
        row.accuracy(),
        or(row.macs),
        or(row.params),
        row.millis.map_or_else(|| "—".to_owned(), text::millis),
        match view.pinned == Some(row.id) {
            true => "pinned".to_owned(),
            false => row.against(),
        },
    ];
    for (i, words) in cells.into_iter().enumerate() {
        let color = if i == 0 { p.weak } else { p.text };
        widgets::put(ui, place(rect, i + 2).left_center(), Align2::LEFT_CENTER, words, color);
    }
    let spark = place(rect, 8).shrink2(vec2(4.0, 4.0));
    spark_ui(ui, &row.spark, spark, if is_live { p.accent } else { color }, p);
    let settings = place(rect, 9);
    let fit = (settings.width() / 5.6) as usize;
    let said = text::cut(&row.settings.join(" · "), fit.max(8));
    widgets::put(ui, settings.left_center(), Align2::LEFT_CENTER, said, p.weak);
    let unmeasured = "Open its model to measure its time here";
    let mut more = vec![words];
    more.extend(row.millis.is_none().then(|| unmeasured.to_owned()));
    response.on_hover_text(more.join("\n"));
}

fn pin_ui(ui: &mut Ui, row: &CompareRow, place: Rect, view: &CompareView, state: &mut UiState) {
    let mut is_pinned = view.pinned == Some(row.id);
    let label = format!("Pin {}", row.title);
    let mut inner = widgets::inside(ui, place, "pin");
    let pin = inner.checkbox(&mut is_pinned, "");
    pin.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, is_pinned, &label));
    if pin.on_hover_text("Compare all others with this one").changed() {
        state.compare.options.pinned = is_pinned.then_some(row.id);
    }
}

/// A line without axes: how it got to where it stands.
fn spark_ui(ui: &Ui, points: &[f32], rect: Rect, color: Color32, p: &Palette) {
    let (low, high) = points
        .iter()
        .fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    if points.len() < 2 {
        widgets::put(ui, rect.left_center(), Align2::LEFT_CENTER, "—", p.weak);
        return;
    }
    let range = (high - low).max(1e-6);
    let at = |(i, v): (usize, &f32)| {
        let x = rect.left() + rect.width() * i as f32 / (points.len() - 1) as f32;
        pos2(x, rect.bottom() - rect.height() * (v - low) / range)
    };
    let line: Vec<egui::Pos2> = points.iter().enumerate().map(at).collect();
    let end = line[line.len() - 1];
    ui.painter().add(Shape::line(line, Stroke::new(1.3, color)));
    ui.painter().circle_filled(end, 2.0, color);
}
