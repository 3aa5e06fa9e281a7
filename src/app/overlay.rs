//! What lies over the window until it is left: the palette, the list of keys, questions, a path being typed.
//! Knows nothing of what actions do.

use super::action::UiAction;
use super::effects::{Effect, Effects, FileRequest, SaveContent, Saving};
use super::import::import_ui;
use super::open_path::{open_path, use_images};
use super::state::{Overlay, PathEntry, UiState};
use super::theme::palette;
use super::widgets;
use egui::{Key, RichText, Role, Ui};
use lab::RunStore;
use std::path::PathBuf;

/// Actions the palette shows at once.
const SHOWN: usize = 12;

/// Paints whatever lies over the window.
pub(crate) fn overlay_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    match state.overlay.take() {
        Some(Overlay::Palette(typed, at)) => palette_ui(ui, typed, at, store, state, effects),
        Some(Overlay::Help) => help_ui(ui, state),
        Some(Overlay::Delete(folder)) => delete_ui(ui, folder, state, effects),
        Some(Overlay::Import(entry)) => import_ui(ui, entry, state, effects),
        Some(Overlay::Path(entry)) => path_ui(ui, entry, state, effects),
        None => {}
    }
}

/// Actions whose words contain all that was typed.
fn matches(typed: &str) -> Vec<UiAction> {
    let typed = typed.to_lowercase();
    let parts: Vec<&str> = typed.split_whitespace().collect();
    let has_all = |action: &UiAction| {
        let words = action.words();
        let text = format!("{} {}", words.label, words.tooltip).to_lowercase();
        parts.iter().all(|part| text.contains(part))
    };
    let mut found: Vec<UiAction> = UiAction::all()
        .filter(|a| *a != UiAction::Palette)
        .filter(has_all)
        .collect();
    // Those that say it in their label come first.
    found.sort_by_key(|a| {
        let label = a.words().label.to_lowercase();
        !parts.iter().all(|part| label.contains(part))
    });
    found
}

fn palette_ui(ui: &mut Ui, mut typed: String, at: usize, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let mut done = None;
    let mut next = at;
    let closes = widgets::modal(ui, "palette", 14, 480.0, |ui| {
        // Before the field takes them.
        let (down, up, enter) = ui.input_mut(|i| {
            let mut press = |key| i.count_and_consume_key(egui::Modifiers::NONE, key);
            (press(Key::ArrowDown), press(Key::ArrowUp), press(Key::Enter) > 0)
        });
        let edit = egui::TextEdit::singleline(&mut typed)
            .desired_width(f32::INFINITY)
            .hint_text("Type what you want to do");
        let field = ui.add(edit);
        widgets::name_widget(&field, Role::TextInput, "Find an action");
        field.request_focus();
        let found = matches(&typed);
        next = if field.changed() {
            0
        } else {
            (at + down).saturating_sub(up)
        };
        next = next.min(found.len().saturating_sub(1));
        let from = (next + 1).saturating_sub(SHOWN);
        for (i, &action) in found.iter().enumerate().skip(from).take(SHOWN) {
            let words = action.words();
            let mut button = egui::Button::selectable(i == next, &words.label);
            if let Some(keys) = action.keys() {
                button = button.shortcut_text(ui.ctx().format_shortcut(&keys));
            }
            let is_possible = action.is_possible(store, state);
            let button = ui.add_enabled(is_possible, button.min_size(egui::vec2(ui.available_width(), 0.0)));
            if button.on_hover_text(words.tooltip).clicked() {
                done = Some(action);
            }
        }
        if found.is_empty() {
            widgets::quiet(ui, "No matching actions");
        }
        if enter {
            done = found.get(next).copied();
        }
    });
    match done {
        Some(action) => effects.act(action),
        None if closes => {}
        None => state.overlay = Some(Overlay::Palette(typed, next)),
    }
}

fn help_ui(ui: &mut Ui, state: &mut UiState) {
    let most = ui.ctx().content_rect().height() - 120.0;
    let closes = widgets::modal(ui, "help", 18, 620.0, |ui| {
        ui.horizontal(|ui| {
            ui.heading("Keys and actions");
            widgets::on_the_right(ui, |ui| {
                if ui.button("Close").clicked() {
                    ui.close();
                }
            });
        });
        let p = palette(ui);
        widgets::quiet(
            ui,
            "Tab moves between controls, arrow keys move sliders and bars, Space presses the focused control, Esc closes.",
        );
        let scroll = egui::ScrollArea::vertical().max_height(most - 60.0);
        // As high as the window allows, however small a modal begins.
        scroll.min_scrolled_height(most - 60.0).show(ui, |ui| {
            // Lines of text, not of buttons.
            ui.spacing_mut().interact_size.y = 16.0;
            ui.spacing_mut().item_spacing.y = 2.0;
            for action in UiAction::all() {
                let words = action.words();
                let keys = action.keys().map(|k| ui.ctx().format_shortcut(&k));
                ui.horizontal(|ui| {
                    ui.label(RichText::new(words.label).color(p.text));
                    widgets::on_the_right(ui, |ui| ui.label(widgets::small(keys.unwrap_or_default(), p.accent)));
                });
                ui.add(egui::Label::new(widgets::small(words.tooltip, p.weak)).wrap());
                ui.add_space(4.0);
            }
        });
    });
    if !closes {
        state.overlay = Some(Overlay::Help);
    }
}

fn delete_ui(ui: &mut Ui, folder: PathBuf, state: &mut UiState, effects: &mut Effects) {
    let mut really = false;
    let closes = widgets::modal(ui, "delete", 18, 420.0, |ui| {
        ui.heading("Delete this run?");
        ui.add(egui::Label::new(folder.display().to_string()).wrap());
        widgets::quiet(ui, "Its folder, models included, moves to the system's trash.");
        ui.add_space(6.0);
        ui.horizontal(|ui| {
            really = widgets::primary(ui, true, "Move to trash").clicked();
            if ui.button("Keep").clicked() {
                ui.close();
            }
        });
    });
    if really {
        effects.push(Effect::Trash(folder));
    } else if !closes {
        state.overlay = Some(Overlay::Delete(folder));
    }
}

fn path_ui(ui: &mut Ui, mut entry: PathEntry, state: &mut UiState, effects: &mut Effects) {
    let (title, about, verb) = match &entry.request {
        FileRequest::Save(Saving {
            content: SaveContent::Model { .. },
            ..
        }) => (
            "Export a model",
            "Path to write to; it ends in .onnx, .safetensors or .bpk",
            "Save",
        ),
        FileRequest::Save(_) => ("Save", "Path to save to", "Save"),
        FileRequest::Images => (
            "Images for the open model",
            "A folder of pictures (a folder a class), CIFAR or MNIST files, or fashion-mnist",
            "Measure",
        ),
        FileRequest::Open => (
            "Open",
            "Path of a model (.safetensors, .onnx, .pt, .pth, .bpk), an image, a preset (.toml) or a run folder",
            "Open",
        ),
    };
    let mut done = false;
    let closes = widgets::modal(ui, "path entry", 18, 460.0, |ui| {
        ui.heading(title);
        if !entry.note.is_empty() {
            ui.label(RichText::new(&entry.note).color(ui.visuals().warn_fg_color));
        }
        let label = ui.label(about);
        let edit = egui::TextEdit::singleline(&mut entry.text)
            .desired_width(f32::INFINITY)
            .hint_text(match entry.request {
                FileRequest::Images => "…/train/<class>/*.png",
                _ => "runs/…/models/….safetensors",
            });
        let field = ui.add(edit).labelled_by(label.id);
        let entered = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
        if !entered && ui.memory(|m| m.focused().is_none()) {
            field.request_focus();
        }
        if entry.request == FileRequest::Open {
            widgets::quiet(ui, "Files and folders can also be dropped onto the window.");
        }
        ui.add_space(6.0);
        ui.horizontal(|ui| {
            let filled = !entry.text.trim().is_empty();
            done = (widgets::primary(ui, filled, verb).clicked() || entered) && filled;
            if ui.button("Cancel").clicked() {
                ui.close();
            }
        });
    });
    let path = PathBuf::from(entry.text.trim());
    match entry.request {
        FileRequest::Save(saving) if done => effects.push(Effect::Write(path, saving.content)),
        FileRequest::Open if done => effects.submit(open_path(path, state)),
        FileRequest::Images if done => effects.submit(use_images(&path, state)),
        _ if closes => {}
        request => state.overlay = Some(Overlay::Path(PathEntry { request, ..entry })),
    }
}
