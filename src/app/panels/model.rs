//! The open network as a table.

use crate::effects::Effects;
use crate::panels::times::times_ui;
use crate::state::{ModelTable, UiState};
use crate::theme::palette;
use crate::widgets;
use crate::widgets::quiet;
use egui::{RichText, Ui};
use lab::RunStore;
use std::sync::Arc;
use view::model::{ModelView, NodeRow, model};
use view::text;

pub(crate) fn model_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(open) = &store.open else {
        return widgets::empty(
            ui,
            "No model is open",
            "Choose Open model… in the menu, or drop a .safetensors file here",
        );
    };
    // Reading the recipe and finding coupled layers takes longer than a frame should.
    if state.model.view.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, open)) {
        state.model.view = model(open).map(|view| (open.clone(), view));
    }
    let Some((_, view)) = state.model.view.clone() else {
        return widgets::empty(
            ui,
            "This network cannot be shown as a table",
            "The shapes of its layers do not match",
        );
    };
    head(ui, &view);
    ui.horizontal(|ui| {
        let tables = [
            (ModelTable::Shapes, "Shapes and costs"),
            (ModelTable::Times, "Measured times"),
        ];
        widgets::choice(ui, &mut state.model.table, &tables);
        if state.model.table == ModelTable::Shapes {
            ui.checkbox(&mut state.model.only_layers, "Only layers with weights")
                .on_hover_text("Leave out normalization, activations, pooling and sums");
        }
    });
    if state.model.table == ModelTable::Times {
        return times_ui(ui, store, state, effects);
    }
    let rows: Vec<&NodeRow> = view
        .rows
        .iter()
        .filter(|r| !state.model.only_layers || r.filters.is_some())
        .collect();
    egui::ScrollArea::both().auto_shrink(false).show(ui, |ui| {
        egui::Grid::new("model")
            .striped(true)
            .spacing([16.0, 4.0])
            .show(ui, |ui| {
                let heads = [
                    ("layer", ""),
                    ("kind", ""),
                    ("reads", ""),
                    ("gives", ""),
                    ("filters", "filter"),
                    ("columns", "column"),
                    ("MACs", "macs"),
                    ("parameters", "params"),
                    ("cut together", "group"),
                ];
                for (title, term) in heads {
                    widgets::caption(ui, title, term);
                }
                ui.end_row();
                for row in rows {
                    row_ui(ui, row, state);
                    ui.end_row();
                }
            });
    });
}

fn head(ui: &mut Ui, view: &ModelView) {
    let left = |[now, before]: [u64; 2], what: &str| {
        let share = text::percent(now as f64 / before.max(1) as f64);
        if now == before {
            format!("{} {what}", text::count(now))
        } else {
            format!("{} of {} {what} ({share})", text::count(now), text::count(before))
        }
    };
    let from = view.from.as_ref().map_or_else(String::new, |f| format!(", from {f}"));
    let words = format!(
        "{}{from}: {}, {}",
        view.title,
        left(view.macs, "MACs"),
        left(view.params, "parameters")
    );
    widgets::quiet_line(ui, &words);
}

fn row_ui(ui: &mut Ui, row: &NodeRow, state: &mut UiState) {
    let p = palette(ui);
    let is_chosen = state.layer.as_deref() == Some(&row.name);
    let name = RichText::new(&row.name).color(if row.filters.is_some() { p.text } else { p.weak });
    if ui.selectable_label(is_chosen, name).clicked() {
        state.layer = Some(row.name.clone());
    }
    let put = |ui: &mut Ui, words: String| {
        ui.label(widgets::small(words, p.text));
    };
    let shape = |[c, h, w]: [usize; 3]| {
        if h * w == 1 {
            c.to_string()
        } else {
            format!("{c}×{h}×{w}")
        }
    };
    let of = |[now, before]: [usize; 2]| {
        if now == before {
            now.to_string()
        } else {
            format!("{now} of {before}")
        }
    };
    let count = |[now, before]: [u64; 2]| match (now, before) {
        (0, 0) => String::new(),
        (now, before) if now == before => text::count(now),
        (now, before) => format!("{} of {}", text::count(now), text::count(before)),
    };
    put(ui, row.kind.clone());
    put(ui, shape(row.input));
    put(ui, shape(row.output));
    put(ui, row.filters.map_or_else(String::new, of));
    put(ui, row.columns.map_or_else(String::new, of));
    put(ui, count(row.macs));
    put(ui, count(row.params));
    quiet(ui, &row.tied);
}
