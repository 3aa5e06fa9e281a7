//! Runs of this session and earlier ones: find, star, hide, annotate, open, resume, fork and delete them.
//! Knows nothing of curves.

use super::farms::farms_ui;
use crate::draft::{self, FORK};
use crate::effects::{Effect, Effects};
use crate::state::{Draft, Overlay, UiState};
use crate::theme::{self, palette};
use crate::widgets::{self, quiet};
use egui::{RichText, Role, Sense, Ui, vec2};
use lab::{Command, RunStore};
use record::{ModelRef, RunSummary, Status};
use std::collections::BTreeSet;
use view::runs::{self, RunMarks, RunRow, list};
use view::text;

pub(crate) fn runs_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let view = list(store, &state.runs.filter());
    if view.is_empty && store.farms.is_empty() {
        return widgets::empty(
            ui,
            "No runs yet",
            "Choose a preset at the top and press Train, or drop a run folder here",
        );
    }
    filter(ui, state);
    if let Some(count) = view.count() {
        quiet(ui, count);
    }
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        farms_ui(ui, store, effects);
        for row in &view.rows {
            ui.push_id(row.id.0, |ui| row_ui(ui, row, store, state, effects));
            ui.separator();
        }
        if !view.earlier.is_empty() {
            quiet(
                ui,
                format!("Earlier runs: {}", text::grouped(view.earlier.len() as u64)),
            );
        }
        earlier_rows(ui, &view.earlier, state, effects);
    });
}

/// Thousands of run folders may be listed: only those in sight are laid out.
fn earlier_rows(ui: &mut Ui, all: &[&RunSummary], state: &mut UiState, effects: &mut Effects) {
    let each = theme::ROW + ui.spacing().item_spacing.y;
    let top = ui.cursor().top();
    let at = |y: f32| (((y - top) / each).max(0.0) as usize).min(all.len());
    let seen = at(ui.clip_rect().top())..(at(ui.clip_rect().bottom()) + 1).min(all.len());
    ui.add_space(each * seen.start as f32);
    for one in &all[seen.clone()] {
        earlier_ui(ui, one, state, effects);
    }
    ui.add_space(each * (all.len() - seen.end) as f32);
}

fn filter(ui: &mut Ui, state: &mut UiState) {
    ui.horizontal(|ui| {
        let edit = egui::TextEdit::singleline(&mut state.runs.words)
            .hint_text("Find by name, method, status or note")
            .desired_width((ui.available_width() - 170.0).max(80.0));
        let field = ui.add(edit);
        widgets::name_widget(&field, Role::TextInput, "Find runs");
        ui.checkbox(&mut state.runs.only_starred, "Starred");
        ui.checkbox(&mut state.runs.shows_hidden, "Hidden")
            .on_hover_text("Also list the runs that are left out of plots");
    });
}

fn row_ui(ui: &mut Ui, row: &RunRow, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        star(ui, &row.key, &mut state.runs.marks);
        widgets::dot(ui, state.runs.color(p, row.id));
        ui.label(RichText::new(&row.title).strong());
        let color = match row.status {
            Status::Failed => p.bad,
            Status::Interrupted => p.warn,
            Status::Finished => p.good,
            _ => p.weak,
        };
        ui.label(widgets::small(row.status.word(), color));
        quiet(ui, row.method);
        widgets::on_the_right(ui, |ui| {
            more(ui, row, state, effects);
        });
    });
    // Above all that a look back changes: a slider that moved, or became another, would lose the pointer that drags it.
    if let Some(at) = row.past.filter(|_| looks_back(row, state)) {
        past(ui, row, at, store, state, effects);
    }
    if row.model.is_some() || row.can_go_on {
        ui.horizontal_wrapped(|ui| {
            if let Some(folder) = row.folder.as_ref().filter(|_| row.can_go_on) {
                let label = format!("Resume run {}", row.id.0 + 1);
                let button = ui
                    .button(label)
                    .on_hover_text("Continue from the last checkpoint, in the same folder");
                if button.clicked() {
                    effects.submit(Command::ResumeRun(folder.clone()));
                }
            }
            open_button(ui, row, effects);
        });
    }
    if row.status == Status::Paused {
        let label = format!("Let run {} go on", row.id.0 + 1);
        let button = ui.button(label).on_hover_text("Resume it, whoever paused it");
        if button.clicked() {
            effects.submit(Command::Resume(row.id));
        }
    }
    if row.is_live {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 6.0), Sense::hover());
        let color = state.runs.color(p, row.id);
        widgets::bar(ui, rect, row.progress, color, p.trough);
    }
    quiet(ui, &row.detail);
    if let Some(origin) = &row.origin {
        quiet(ui, origin);
    }
    if let Some(trouble) = &row.trouble {
        ui.add(egui::Label::new(widgets::small(trouble, p.warn)).wrap());
    }
    if state.runs.noting.as_ref() == Some(&row.key) {
        note_field(ui, &row.key, state);
    } else if let Some(note) = state.runs.marks.notes.get(&row.key) {
        ui.label(RichText::new(note).italics());
    }
}

fn looks_back(row: &RunRow, state: &UiState) -> bool {
    state.runs.looking_back.is_some_and(|(id, _)| id == row.id)
}

/// The log of a run as a slider: every panel shows the run as it was.
fn past(
    ui: &mut Ui,
    row: &RunRow,
    [_, newest]: [u64; 2],
    store: &RunStore,
    state: &mut UiState,
    effects: &mut Effects,
) {
    // Where the slider stands, which the log may still be read up to.
    let Some((_, at)) = &mut state.runs.looking_back else {
        return;
    };
    *at = newest.min(*at);
    let mut ends = false;
    // An id of its own, whatever else the row shows at that moment.
    let row_of_slider = egui::UiBuilder::new()
        .scope_id(egui::Id::unique(("past", row.id.0)))
        .layout(egui::Layout::left_to_right(egui::Align::Center));
    ui.scope_builder(row_of_slider, |ui| {
        ui.set_min_height(ui.spacing().interact_size.y);
        ends |= ui
            .small_button("Now")
            .on_hover_text("Show the run as it is now")
            .clicked();
        let fork = ui.small_button("Fork here").on_hover_text(FORK);
        if let Some(folder) = row.folder.as_ref().filter(|_| fork.clicked()) {
            ends = true;
            effects.submit(draft::fork(store, folder, *at, &row.experiment));
        }
        ui.spacing_mut().slider_width = (ui.available_width() - 120.0).clamp(60.0, 400.0);
        let label = widgets::caption(ui, "Event", "event");
        let slider = ui
            .add(egui::Slider::new(at, 0..=newest).smart_aim(false))
            .labelled_by(label.id);
        if slider.changed() {
            effects.submit(Command::Travel(Some((row.id, *at))));
        }
    });
    if ends {
        state.runs.looking_back = None;
        effects.submit(Command::Travel(None));
    }
}

fn colors(ui: &mut Ui, row: &RunRow, state: &mut UiState) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        for (i, &color) in p.series.iter().enumerate() {
            let is_now = state.runs.color(p, row.id) == color;
            let dot = widgets::swatch(ui, color, is_now);
            let label = format!("Color {}", i + 1);
            dot.widget_info(|| egui::WidgetInfo::selected(Role::RadioButton, true, is_now, &label));
            if dot.on_hover_text("Color in lists and plots").clicked() {
                state.runs.marks.colors.insert(row.key.clone(), i);
                ui.close();
            }
        }
    });
}

fn star(ui: &mut Ui, key: &str, marks: &mut RunMarks) {
    let is_starred = marks.stars.contains(key);
    let button = widgets::star(ui, is_starred);
    let label = format!("Star {key}");
    button.widget_info(|| egui::WidgetInfo::selected(Role::CheckBox, true, is_starred, &label));
    if button.on_hover_text("Star").clicked() {
        toggle(&mut marks.stars, key);
    }
}

fn toggle(marked: &mut BTreeSet<String>, key: &str) {
    if !marked.remove(key) {
        marked.insert(key.to_owned());
    }
}

fn more(ui: &mut Ui, row: &RunRow, state: &mut UiState, effects: &mut Effects) {
    let menu = ui.menu_button("…", |ui| {
        let marks = &mut state.runs.marks;
        let is_hidden = marks.hidden.contains(&row.key);
        if ui.button(if is_hidden { "Show in plots" } else { "Hide" }).clicked() {
            toggle(&mut marks.hidden, &row.key);
            ui.close();
        }
        if ui.button("Note…").clicked() {
            state.runs.noting = Some(row.key.clone());
            ui.close();
        }
        if let Some([_, newest]) = row.past
            && ui.button("Look back…").clicked()
        {
            state.runs.looking_back = Some((row.id, newest));
            // Another run may have been looked back at.
            effects.submit(Command::Travel(None));
            ui.close();
        }
        colors(ui, row, state);
        if ui.button("Use its settings").clicked() {
            state.draft = Draft::new((*row.experiment).clone(), row.experiment.name.clone());
            ui.close();
        }
        let Some(folder) = &row.folder else { return };
        if ui.button("Open folder").clicked() {
            effects.push(Effect::ShowFolder(folder.clone()));
            ui.close();
        }
        let delete = ui.add_enabled(!row.is_live, egui::Button::new("Delete…"));
        if delete
            .on_hover_text("Move the run's folder to the system's trash")
            .clicked()
        {
            state.overlay = Some(Overlay::Delete(folder.clone()));
            ui.close();
        }
    });
    let label = format!("More about {}", row.title);
    widgets::name_widget(&menu.response, Role::Button, &label);
}

fn note_field(ui: &mut Ui, key: &str, state: &mut UiState) {
    let note = state.runs.marks.notes.entry(key.to_owned()).or_default();
    let field = ui.add(
        egui::TextEdit::singleline(note)
            .hint_text("A note")
            .desired_width(f32::INFINITY),
    );
    widgets::name_widget(&field, Role::TextInput, "Note");
    if field.lost_focus() {
        if note.trim().is_empty() {
            state.runs.marks.notes.remove(key);
        }
        state.runs.noting = None;
    } else if !field.has_focus() {
        field.request_focus();
    }
}

fn earlier_ui(ui: &mut Ui, one: &RunSummary, state: &mut UiState, effects: &mut Effects) {
    let p = palette(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::hover());
    let mut ui = widgets::inside(ui, rect, &one.folder);
    star(&mut ui, &one.name(), &mut state.runs.marks);
    widgets::on_the_right(&mut ui, |ui| {
        let show = ui.small_button("Show");
        let label = format!("Show {}", one.name());
        widgets::name_widget(&show, Role::Button, &label);
        if show.clicked() {
            effects.submit(Command::OpenRun(one.folder.clone()));
        }
        let is_interrupted = one.status == Status::Interrupted;
        if is_interrupted && ui.small_button("Resume").clicked() {
            effects.submit(Command::ResumeRun(one.folder.clone()));
        }
        let color = match one.status {
            Status::Interrupted | Status::Failed => p.warn,
            _ => p.weak,
        };
        ui.label(widgets::small(one.status.word(), color));
        ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
            let note = state.runs.marks.notes.get(&one.name());
            let said = note.into_iter().cloned().chain([runs::summary(one)]);
            let said: Vec<String> = said.filter(|text| !text.is_empty()).collect();
            let mut job = egui::text::LayoutJob::default();
            let format = |color| egui::TextFormat::simple(theme::small(), color);
            job.append(&one.name(), 0.0, format(p.text));
            job.append(&format!("  {}", said.join(" · ")), 0.0, format(p.weak));
            ui.add(egui::Label::new(job).truncate());
        });
    });
}

pub(crate) fn open_button(ui: &mut Ui, row: &RunRow, effects: &mut Effects) {
    let Some(model) = &row.model else { return };
    let label = format!("Open model of run {}", row.id.0 + 1);
    if ui
        .button(label)
        .on_hover_text("Measure this model at any density")
        .clicked()
    {
        effects.submit(Command::Open(ModelRef::File(model.clone())));
    }
}
