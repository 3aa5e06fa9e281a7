//! The runs of this session, newest first.
//! Knows nothing of curves.

use crate::app::theme::{self, palette};
use crate::app::widgets::{self, quiet};
use crate::run::{Command, ModelRef, RunStore};
use crate::view::runs::{RunRow, runs};
use egui::{RichText, Sense, Ui, vec2};
use std::path::PathBuf;

/// Paints the panel.
pub fn runs_ui(ui: &mut Ui, store: &RunStore, commands: &mut Vec<Command>) {
    let rows = runs(store);
    if rows.is_empty() {
        return widgets::empty(ui, "No runs yet", "Choose a preset at the top and press Train");
    }
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        for row in &rows {
            ui.push_id(row.id.0, |ui| row_ui(ui, row, commands));
            ui.separator();
        }
    });
}

fn row_ui(ui: &mut Ui, row: &RunRow, commands: &mut Vec<Command>) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        widgets::dot(ui, theme::series(p, row.id.0 as usize + 1));
        ui.label(RichText::new(&row.title).strong());
        let color = if row.is_failed {
            p.bad
        } else if row.status == "finished" {
            p.good
        } else {
            p.weak
        };
        ui.label(RichText::new(row.status).font(theme::small()).color(color));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            open_button(ui, row, commands)
        });
    });
    if row.is_live {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 6.0), Sense::hover());
        widgets::bar(
            ui,
            rect,
            row.progress,
            theme::series(p, row.id.0 as usize + 1),
            p.trough,
        );
    }
    quiet(ui, &row.detail);
}

/// Opens a finished run's model.
pub fn open_button(ui: &mut Ui, row: &RunRow, commands: &mut Vec<Command>) {
    let Some(model) = &row.model else { return };
    let label = format!("Open model of run {}", row.id.0 + 1);
    if ui
        .button(label)
        .on_hover_text("Measure this model at any density")
        .clicked()
    {
        commands.push(Command::Open(ModelRef::File(PathBuf::from(model))));
    }
}
