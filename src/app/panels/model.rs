//! The open network as a table.

use crate::effects::Effects;
use crate::panels::times::times_ui;
use crate::state::{ModelTable, UiState};
use crate::theme::palette;
use crate::widgets;
use egui::{RichText, Ui};
use lab::RunStore;
use std::sync::Arc;
use view::model::{NodeRow, model};

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
    widgets::quiet_line(ui, &view.summary());
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
                for (title, term) in NodeRow::COLUMNS {
                    widgets::caption(ui, title, term);
                }
                ui.end_row();
                for row in rows {
                    row_ui(ui, row, &mut state.layer);
                    ui.end_row();
                }
            });
    });
}

fn row_ui(ui: &mut Ui, row: &NodeRow, layer: &mut Option<String>) {
    let p = palette(ui);
    let name = RichText::new(&row.name).color(if row.filters.is_some() { p.text } else { p.weak });
    if ui.selectable_label(layer.as_deref() == Some(&row.name), name).clicked() {
        *layer = Some(row.name.clone());
    }
    for (i, cell) in row.cells().into_iter().enumerate() {
        ui.label(widgets::small(cell, if i < 7 { p.text } else { p.weak }));
    }
}
