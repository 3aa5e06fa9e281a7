//! Measured time of each layer at each width, a staircase a layer.
//! Knows nothing of how layers are timed.

use crate::action::UiAction;
use crate::effects::Effects;
use crate::figures::figure_menu;
use crate::state::UiState;
use crate::theme;
use crate::theme::palette;
use crate::widgets;
use crate::widgets::{caption, quiet};
use egui::{Align2, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use lab::RunStore;
use plots::figure;
use view::times::{TimesRow, is_timing, times};

/// Width of names and of words, height of a row.
const NAME: f32 = 62.0;
const WORDS: f32 = 230.0;
const HEIGHT: f32 = 46.0;

/// Paints the table, or offers to measure it.
pub(crate) fn times_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(view) = times(store) else {
        if is_timing(store) {
            return widgets::empty(ui, "Timing layers…", "Each layer alone, at eight widths; a few seconds");
        }
        let words = UiAction::TimeLayers.words();
        ui.vertical_centered(|ui| {
            ui.add_space((ui.available_height() * 0.3).min(120.0));
            ui.label("Not measured yet");
            quiet(ui, widgets::meaning("times"));
            if widgets::primary(ui, true, &words.label)
                .on_hover_text(words.tooltip)
                .clicked()
            {
                effects.act(UiAction::TimeLayers);
            }
        });
        return;
    };
    ui.horizontal(|ui| {
        caption(ui, "Milliseconds an image by filters kept", "times");
        if store.runs.iter().any(|r| r.is_live()) {
            quiet(ui, "a run works: times are longer than they need be");
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            figure_menu(ui, "times", state, effects, || figure::times(&view));
            let again = ui.add_enabled(!is_timing(store), egui::Button::new("Again").small());
            if again.on_hover_text("Measure once more").clicked() {
                effects.act(UiAction::TimeLayers);
            }
        });
    });
    ui.spacing_mut().item_spacing.y = 2.0;
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        for row in &view.rows {
            row_ui(ui, row, view.most, state);
        }
    });
}

fn row_ui(ui: &mut Ui, row: &TimesRow, most: f64, state: &mut UiState) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::click());
    let words = format!("{}: {}", row.name, row.says);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &words));
    if response.clicked() {
        state.layer = Some(row.name.clone());
    }
    let is_chosen = state.layer.as_deref() == Some(&row.name);
    if response.hovered() || response.has_focus() || is_chosen {
        ui.painter()
            .rect_filled(rect, theme::RADIUS, ui.visuals().faint_bg_color);
    }
    let mid = rect.center().y;
    let put = |x: f32, align, words: &str, color| {
        ui.painter().text(pos2(x, mid), align, words, theme::small(), color);
    };
    put(rect.left() + 4.0, Align2::LEFT_CENTER, &row.name, p.text);
    let words_wide = WORDS.min(rect.width() * 0.45);
    let plot = Rect::from_min_max(
        pos2(rect.left() + NAME, rect.top() + 3.0),
        pos2(rect.right() - words_wide - 10.0, rect.bottom() - 3.0),
    );
    let place = Rect::from_min_max(pos2(plot.right() + 10.0, rect.top()), rect.max);
    let says = egui::RichText::new(&row.says).font(theme::small()).color(p.weak);
    let inside = egui::UiBuilder::new()
        .max_rect(place)
        .layout(egui::Layout::left_to_right(egui::Align::Center));
    ui.new_child(inside)
        .add(egui::Label::new(says).wrap().selectable(false));
    if plot.width() < 30.0 {
        return;
    }
    let n = row.steps.len().max(1) as f32;
    let bar_of = |i: usize, ms: f64| {
        let left = plot.left() + plot.width() * i as f32 / n;
        let height = plot.height() * (ms / most.max(f64::MIN_POSITIVE)) as f32;
        let right = plot.left() + plot.width() * (i + 1) as f32 / n - 1.0;
        Rect::from_min_max(pos2(left, plot.bottom() - height.max(1.0)), pos2(right, plot.bottom()))
    };
    let pointer = response.hover_pos().filter(|at| plot.contains(*at));
    let under = pointer.map(|at| (((at.x - plot.left()) / plot.width() * n) as usize).min(row.steps.len() - 1));
    for (i, (_, ms)) in row.steps.iter().enumerate() {
        let color = if under == Some(i) { p.accent } else { p.series[2] };
        ui.painter().rect_filled(bar_of(i, *ms), 1.0, color);
    }
    if let Some(words) = under.and_then(|i| row.says_at(i)) {
        response.on_hover_text_at_pointer(words);
    }
}
