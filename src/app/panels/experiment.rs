//! The draft as a form: every key of its file, what differs from the preset, and the same as a command or a preset file.
//! Knows nothing of what keys mean; the view says it.

use crate::effects::{Effects, SaveContent, Saving};
use crate::state::{Draft, UiState};
use crate::theme::palette;
use crate::widgets::{self, quiet};
use egui::{DragValue, Response, RichText, Role, Ui};
use settings::Range;
use view::form;
use view::form::{FieldValue, FormField, FormSection, FormView};

/// Width of names and of fields.
const NAME: f32 = 150.0;
const FIELD: f32 = 150.0;

pub(crate) fn experiment_ui(ui: &mut Ui, state: &mut UiState, effects: &mut Effects) {
    let view = form::form(&state.draft.experiment, &state.draft.base, &state.draft.preset);
    head(ui, &view, state, effects);
    let mut set = None;
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        for section in &view.sections {
            section_ui(ui, section, state, &mut set);
        }
    });
    if let Some((key, value)) = set {
        match form::set(&state.draft.experiment, &key, &value) {
            Ok(draft) => {
                state.draft.experiment = draft;
                state.draft.problem = None;
            }
            Err(e) => state.draft.problem = Some((key, format!("{e:#}"))),
        }
    }
}

fn head(ui: &mut Ui, view: &FormView, state: &mut UiState, effects: &mut Effects) {
    ui.horizontal_wrapped(|ui| {
        let words = match view.changed {
            0 => format!("{}, unchanged", state.draft.preset_name()),
            1 => format!("{}, 1 key changed", state.draft.preset_name()),
            n => format!("{}, {n} keys changed", state.draft.preset_name()),
        };
        ui.label(words);
        if ui
            .small_button("Copy as command")
            .on_hover_text(&view.command)
            .clicked()
        {
            ui.ctx().copy_text(view.command.clone());
            state.toasts.tell("Copied the command");
        }
        if ui
            .small_button("Save as preset…")
            .on_hover_text("A file with every key written out, for `secateur run FILE`")
            .clicked()
        {
            match state.draft.experiment.to_toml() {
                Ok(text) => {
                    effects.save(Saving {
                        name: format!("{}.toml", state.draft.experiment.name),
                        content: SaveContent::Bytes(text.into_bytes()),
                    });
                }
                Err(e) => state.toasts.fail(&e),
            }
        }
        let back = ui.add_enabled(view.changed > 0, egui::Button::new("Undo changes").small());
        if back.on_hover_text("Back to the preset's values").clicked() {
            state.draft.experiment = state.draft.base.clone();
            state.draft.problem = None;
        }
    });
    if let Some(problem) = &view.problem {
        ui.label(widgets::small(problem, palette(ui).bad));
    }
}

fn section_ui(ui: &mut Ui, section: &FormSection, state: &mut UiState, set: &mut Option<(String, FieldValue)>) {
    let changed = section.fields.iter().filter(|f| f.preset.is_some()).count();
    let title = if section.title.is_empty() {
        "experiment"
    } else {
        &section.title
    };
    let title = if changed > 0 {
        format!("{title}  ({changed} changed)")
    } else {
        title.to_owned()
    };
    egui::CollapsingHeader::new(title)
        .id_salt(&section.title)
        .default_open(true)
        .show(ui, |ui| {
            for field in &section.fields {
                ui.push_id(&field.key, |ui| field_ui(ui, field, state, set));
            }
        });
}

fn field_ui(ui: &mut Ui, field: &FormField, state: &mut UiState, set: &mut Option<(String, FieldValue)>) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        let color = if field.preset.is_some() { p.accent } else { p.text };
        let (rect, response) = ui.allocate_exact_size(egui::vec2(NAME, 22.0), egui::Sense::hover());
        let place = egui::UiBuilder::new()
            .max_rect(rect)
            .layout(egui::Layout::left_to_right(egui::Align::Center));
        let label = ui
            .new_child(place)
            .add(egui::Label::new(RichText::new(field.name()).color(color)).truncate());
        response.on_hover_text(says(field));
        let (value, new) = value_ui(ui, field, &mut state.draft);
        value.labelled_by(label.id).on_hover_text(says(field));
        if let Some(new) = new {
            *set = Some((field.key.clone(), new));
        }
        if !field.setting.unit.is_empty() {
            quiet(ui, field.setting.unit);
        }
        if let Some(before) = &field.preset {
            let undo = ui.small_button("↺").on_hover_text(format!("Back to {before}"));
            widgets::name_widget(&undo, Role::Button, &format!("Undo {}", field.key));
            if undo.clicked() {
                *set = Some((field.key.clone(), preset_value(field, state)));
            }
        }
    });
    if let Some((_, problem)) = state.draft.problem.as_ref().filter(|(key, _)| *key == field.key) {
        ui.label(widgets::small(problem, p.bad));
    }
}

fn says(field: &FormField) -> String {
    let mut out = field.help.clone();
    if let Some(range) = field.setting.range {
        out += &format!("\nExpected: {range}");
    }
    if let Some(before) = &field.preset {
        out += &format!("\nThe preset sets {before}");
    }
    out + &format!("\n{}", field.key)
}

/// The preset's value of a field.
fn preset_value(field: &FormField, state: &UiState) -> FieldValue {
    let base = form::form(&state.draft.base, &state.draft.base, &state.draft.preset);
    let found = base
        .sections
        .into_iter()
        .flat_map(|s| s.fields)
        .find(|f| f.key == field.key);
    found.map_or(FieldValue::Unset, |f| f.value)
}

/// The widget, and the new value that was given.
fn value_ui(ui: &mut Ui, field: &FormField, draft: &mut Draft) -> (Response, Option<FieldValue>) {
    let [low, high] = field.setting.range.unwrap_or(Range::ALL).ends();
    let bounds = low..=high;
    let number = |ui: &mut Ui, v: &mut f64, slowest: f64, decimals: usize| {
        let speed = (v.abs() * 0.01).max(slowest);
        let value = DragValue::new(v).range(bounds).speed(speed).max_decimals(decimals);
        ui.add_sized([FIELD, 22.0], value)
    };
    match &field.value {
        FieldValue::Flag(on) => {
            let mut on = *on;
            let response = ui.checkbox(&mut on, "");
            let new = response.changed().then_some(FieldValue::Flag(on));
            (response, new)
        }
        FieldValue::Whole(n) => {
            let mut n = *n as f64;
            let response = number(ui, &mut n, 0.05, 0);
            let new = response.changed().then(|| FieldValue::Whole(n.round() as i64));
            (response, new)
        }
        FieldValue::Number(v) => {
            let mut v = *v;
            let response = number(ui, &mut v, 1e-5, 8);
            let new = response.changed().then_some(FieldValue::Number(v));
            (response, new)
        }
        FieldValue::Choice(now) => {
            let mut chosen = None;
            let combo = egui::ComboBox::from_id_salt("choice")
                .selected_text(now)
                .width(FIELD - 16.0);
            let shown = combo.show_ui(ui, |ui| {
                for &option in field.setting.choices {
                    if ui.selectable_label(option == now, option).clicked() {
                        chosen = Some(FieldValue::Choice(option.to_owned()));
                    }
                }
            });
            widgets::name_widget(&shown.response, Role::ComboBox, field.name());
            (shown.response, chosen)
        }
        FieldValue::Text(text) | FieldValue::List(text) => {
            let (response, line) = text_ui(ui, field, text, draft);
            let new = line.map(|line| match &field.value {
                FieldValue::List(_) => FieldValue::List(line),
                _ if line.trim().is_empty() && field.key == "start" => FieldValue::Unset,
                _ => FieldValue::Text(line),
            });
            (response, new)
        }
        FieldValue::Unset => {
            let response = ui.small_button("Set…");
            let label = format!("Set {}", field.key);
            widgets::name_widget(&response, Role::Button, &label);
            let new = response.clicked().then(|| match field.setting.range {
                Some(_) => FieldValue::Number(low),
                None => FieldValue::Text("model.safetensors".into()),
            });
            (response, new)
        }
    }
}

/// A line of text that counts when it is left or entered.
fn text_ui(ui: &mut Ui, field: &FormField, text: &str, draft: &mut Draft) -> (Response, Option<String>) {
    let typed = draft.typed.as_ref().filter(|(key, _)| *key == field.key);
    let mut line = typed.map_or_else(|| text.to_owned(), |(_, line)| line.clone());
    let room = (ui.available_width() - 60.0).max(FIELD);
    let response = ui.add(egui::TextEdit::singleline(&mut line).desired_width(room));
    if response.changed() {
        draft.typed = Some((field.key.clone(), line.clone()));
    }
    if !response.lost_focus() {
        return (response, None);
    }
    draft.typed = None;
    let done = (line != text).then_some(line);
    (response, done)
}
