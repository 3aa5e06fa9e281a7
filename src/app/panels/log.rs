//! All warnings and errors, to be read and copied.

use crate::theme::palette;
use crate::widgets;
use egui::Ui;
use lab::RunStore;
use view::notices::{Notice, notices};

pub(crate) fn log_ui(ui: &mut Ui, store: &RunStore) {
    let lines = notices(store);
    if lines.is_empty() {
        return widgets::empty(
            ui,
            "No warnings or errors",
            "They are kept here after their notices have disappeared",
        );
    }
    let line = |n: &Notice| format!("{}: {}", n.from, n.text);
    if ui.small_button("Copy all").clicked() {
        let all: Vec<String> = lines.iter().map(line).collect();
        ui.ctx().copy_text(all.join("\n"));
    }
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .stick_to_bottom(true)
        .show(ui, |ui| {
            let p = palette(ui);
            for notice in &lines {
                ui.horizontal_wrapped(|ui| {
                    ui.label(widgets::small(
                        &notice.from,
                        if notice.is_error { p.bad } else { p.weak },
                    ));
                    ui.label(&notice.text);
                });
            }
        });
}
