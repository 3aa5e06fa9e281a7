//! Measured latency of each layer at each width, a line of steps for each layer.
//! Knows nothing of how layers are timed.

use crate::action::UiAction;
use crate::effects::Effects;
use crate::figures::figure_menu;
use crate::state::UiState;
use crate::theme::palette;
use crate::widgets::{self, caption, quiet};
use egui::{Align2, Rect, Role, Ui, pos2};
use lab::RunStore;
use plots::figure;
use view::times::{TimesRow, is_timing, times};

/// Width of names and of words, height of a row.
const NAME: f32 = 62.0;
const WORDS: f32 = 230.0;
const HEIGHT: f32 = 46.0;

/// The table, or an offer to measure it.
pub(crate) fn times_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(view) = times(store) else {
        if is_timing(store) {
            return widgets::empty(
                ui,
                "Timing layers…",
                "Each layer alone, at eight widths. This takes a few seconds.",
            );
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
        caption(ui, "Milliseconds per image, by number of filters", "times");
        if store.runs.iter().any(|r| r.is_live()) {
            quiet(ui, "a run is training, so these times are too long");
        }
        widgets::on_the_right(ui, |ui| {
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
    let words = format!("{}: {}", row.name, row.says);
    let (rect, response) = widgets::layer_row(ui, &row.name, (Role::Button, &words), HEIGHT, &mut state.layer);
    let mid = rect.center().y;
    let put = |x: f32, align, words: &str, color| {
        widgets::put(ui, pos2(x, mid), align, words, color);
    };
    put(rect.left() + 4.0, Align2::LEFT_CENTER, &row.name, p.text);
    let words_wide = WORDS.min(rect.width() * 0.45);
    let plot = Rect::from_min_max(
        pos2(rect.left() + NAME, rect.top() + 3.0),
        pos2(rect.right() - words_wide - 10.0, rect.bottom() - 3.0),
    );
    let place = Rect::from_min_max(pos2(plot.right() + 10.0, rect.top()), rect.max);
    let says = widgets::small(&row.says, p.weak);
    widgets::inside(ui, place, &row.name).add(egui::Label::new(says).wrap().selectable(false));
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
