//! Farms above the list of runs: how far they are, each task, and stopping them all.
//! Knows nothing of schedulers.

use crate::effects::{Effect, Effects};
use crate::theme::palette;
use crate::widgets;
use egui::{RichText, Role, Sense, Ui, vec2};
use lab::{Command, RunStore};
use view::farms::{FarmRow, FarmView, farms};

pub(crate) fn farms_ui(ui: &mut Ui, store: &RunStore, effects: &mut Effects) {
    for farm in farms(store) {
        ui.push_id(&farm.folder, |ui| farm_ui(ui, &farm, effects));
        ui.separator();
    }
}

fn farm_ui(ui: &mut Ui, farm: &FarmView, effects: &mut Effects) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("Farm {}", farm.title)).strong());
        widgets::on_the_right(ui, |ui| {
            let stop = ui.add_enabled(farm.can_stop, egui::Button::new("Stop all").small());
            widgets::name_widget(&stop, Role::Button, &format!("Stop farm {}", farm.title));
            let stop = stop.on_hover_text("Stop all its runs; the command that began it goes on with them");
            if stop.clicked() {
                effects.submit(Command::StopFarm(farm.folder.clone()));
            }
            let logs = ui
                .small_button("Logs")
                .on_hover_text("Open the folder with a log of each task");
            if logs.clicked() {
                effects.push(Effect::ShowFolder(farm.folder.clone()));
            }
        });
    });
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 6.0), Sense::hover());
    widgets::bar(ui, rect, farm.progress, p.good, p.trough);
    ui.add(egui::Label::new(widgets::small(&farm.detail, p.weak)).wrap());
    egui::CollapsingHeader::new("Tasks").show(ui, |ui| {
        for row in &farm.rows {
            row_ui(ui, row, effects);
        }
    });
}

fn row_ui(ui: &mut Ui, row: &FarmRow, effects: &mut Effects) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(60.0, 6.0), Sense::hover());
        widgets::bar(
            ui,
            rect,
            row.progress,
            if row.is_bad { p.bad } else { p.good },
            p.trough,
        );
        ui.label(widgets::small(row.state, if row.is_bad { p.bad } else { p.weak }));
        if let Some(run) = &row.run {
            let show = ui.small_button("Show");
            widgets::name_widget(&show, Role::Button, &format!("Show {}", row.title));
            if show.on_hover_text(run.to_string_lossy()).clicked() {
                effects.submit(Command::OpenRun(run.clone()));
            }
        }
        ui.label(widgets::small(&row.title, p.text));
        ui.add(egui::Label::new(widgets::small(&row.detail, p.weak)).truncate());
    });
}
