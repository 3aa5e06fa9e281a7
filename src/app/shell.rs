//! The frame around the panels: top bar, tiles, keys, the path entry, notices.
//! Knows nothing of what panels show.

use super::action::{self, Action};
use super::state::{Panel, UiState};
use super::theme::{self, palette};
use super::{panels, react, widgets};
use crate::run::experiment::PRESETS;
use crate::run::{Command, Experiment, ModelRef, RunStore, Status};
use crate::view::runs;
use egui::{Align, CentralPanel, Color32, Frame, Layout, Margin, Rect, RichText, Stroke, Ui, Visuals, vec2};
use egui_tiles::{Behavior, SimplificationOptions, TabState, TileId, Tiles, UiResponse};
use std::path::PathBuf;

/// The whole window: reads the store, changes its own state, and says what it asks of the engine.
pub fn window_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState) -> Vec<Command> {
    let mut commands = react::react(store, state);
    commands.extend(action::keys(ui.ctx(), store, state));
    dropped(ui, state, &mut commands);
    let p = palette(ui);
    let bar = Frame::new().fill(p.tile).inner_margin(Margin::symmetric(14, 0));
    egui::Panel::top("top bar")
        .frame(bar)
        .exact_size(theme::TOP_BAR)
        .show(ui, |ui| {
            ui.horizontal_centered(|ui| top_bar(ui, store, state, &mut commands));
        });
    CentralPanel::default()
        .frame(Frame::new().fill(p.ground).inner_margin(Margin::same(theme::GAP as i8)))
        .show(ui, |ui| {
            let mut tree = std::mem::replace(&mut state.tree, egui_tiles::Tree::empty(egui::Id::unique("panels")));
            tree.ui(
                &mut Panes {
                    store,
                    state,
                    commands: &mut commands,
                },
                ui,
            );
            state.tree = tree;
        });
    path_entry(ui, state, &mut commands);
    state.toasts.show(ui);
    commands
}

fn dropped(ui: &Ui, state: &mut UiState, commands: &mut Vec<Command>) {
    let paths: Vec<PathBuf> = ui.input(|i| i.raw.dropped_files.iter().map(|f| f.path().to_path_buf()).collect());
    for path in paths {
        commands.extend(open_path(path, state));
    }
}

/// A model file is opened; a preset file becomes the draft.
pub fn open_path(path: PathBuf, state: &mut UiState) -> Option<Command> {
    if path.extension().is_some_and(|e| e == "toml") {
        let text = path.to_string_lossy();
        match Experiment::load(&text, &[]) {
            Ok(draft) => {
                let name = path
                    .file_name()
                    .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
                state.take_draft(draft, name);
            }
            Err(e) => state.toasts.say(true, format!("{e:#}")),
        }
        return None;
    }
    Some(Command::Open(ModelRef::File(path)))
}

fn top_bar(ui: &mut Ui, store: &RunStore, state: &mut UiState, commands: &mut Vec<Command>) {
    let p = palette(ui);
    menu(ui, store, state, commands);
    ui.label(RichText::new("Secateur").font(theme::body()).strong().color(p.accent));
    ui.add_space(10.0);
    let (name, about) = match &store.open {
        Some(m) => (
            m.name.clone(),
            format!("{} · {} · {}", m.header.method, m.header.spec.name, m.header.data),
        ),
        None => ("no model".to_owned(), String::new()),
    };
    ui.label(RichText::new(name).color(p.text))
        .on_hover_text("The open model");
    if ui.available_width() > 760.0 {
        widgets::quiet(ui, about).on_hover_text("Method, network and images of the open model");
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        let dark = ui.visuals().dark_mode;
        let words = Action::SwitchTheme.words();
        let label = if dark { "Light" } else { "Dark" };
        if ui.button(label).on_hover_text(words.tooltip).clicked() {
            commands.extend(Action::SwitchTheme.perform(ui.ctx(), store, state));
        }
        widgets::quiet(ui, format!("device {}", state.device.name()))
            .on_hover_text("Device that runs are trained on; chosen with --device");
        ui.add_space(6.0);
        run_controls(ui, store, state, commands);
    });
}

/// Right to left: what is outermost comes first.
fn run_controls(ui: &mut Ui, store: &RunStore, state: &mut UiState, commands: &mut Vec<Command>) {
    let act = |ui: &Ui, action: Action, state: &mut UiState, commands: &mut Vec<Command>| {
        commands.extend(action.perform(ui.ctx(), store, state));
    };
    if let Some(run) = store.current() {
        let row = runs::row(run);
        let can = Action::Stop.is_possible(store, state);
        let stop = ui.add_enabled(can, egui::Button::new(Action::Stop.words().label));
        if stop.on_hover_text(tooltip(ui, Action::Stop)).clicked() {
            act(ui, Action::Stop, state, commands);
        }
        let label = if run.status == Status::Paused {
            "Resume"
        } else {
            "Pause"
        };
        let hold = ui.add_enabled(can, egui::Button::new(label).min_size(vec2(70.0, 0.0)));
        if hold.on_hover_text(tooltip(ui, Action::PauseOrResume)).clicked() {
            act(ui, Action::PauseOrResume, state, commands);
        }
        progress(ui, &row);
        return;
    }
    let train = widgets::primary(ui, Action::Train.is_possible(store, state), Action::Train.words().label);
    if train.on_hover_text(tooltip(ui, Action::Train)).clicked() {
        act(ui, Action::Train, state, commands);
    }
    preset_chooser(ui, state);
}

fn progress(ui: &mut Ui, row: &runs::RunRow) {
    let p = palette(ui);
    let words = match row.status {
        "running" => format!("{} · {}", row.title, row.detail),
        other => format!("{} · {other}", row.title),
    };
    let width = ui.available_width().min(380.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 32.0), egui::Sense::hover());
    response
        .widget_info(|| egui::WidgetInfo::labeled(egui::Role::ProgressIndicator, true, format!("Progress: {words}")));
    let painter = ui.painter().with_clip_rect(rect);
    painter.text(
        rect.left_top() + vec2(0.0, 4.0),
        egui::Align2::LEFT_TOP,
        words,
        theme::small(),
        p.text,
    );
    let share = format!("{:.0} %", row.progress * 100.0);
    painter.text(
        rect.right_top() + vec2(0.0, 4.0),
        egui::Align2::RIGHT_TOP,
        share,
        theme::small(),
        p.weak,
    );
    let track = Rect::from_min_max(
        rect.left_bottom() - vec2(0.0, 8.0),
        rect.right_bottom() - vec2(0.0, 3.0),
    );
    widgets::bar(ui, track, row.progress, p.accent, p.trough);
}

fn preset_chooser(ui: &mut Ui, state: &mut UiState) {
    let chosen = state.preset.clone();
    let shown_name = if state.draft == state.base {
        chosen.clone()
    } else {
        format!("{chosen}, changed")
    };
    let combo = egui::ComboBox::from_id_salt("preset")
        .selected_text(shown_name)
        .width(150.0);
    let shown = combo.show_ui(ui, |ui| {
        for (name, text) in PRESETS {
            let about = Experiment::parse(text, &[]).map_or_else(|e| e.to_string(), |e| e.about);
            if ui.selectable_label(name == chosen, name).on_hover_text(about).clicked() {
                match Experiment::load(name, &[]) {
                    Ok(draft) => state.take_draft(draft, name.to_owned()),
                    Err(e) => state.toasts.say(true, format!("{e:#}")),
                }
            }
        }
    });
    let info = || egui::WidgetInfo::labeled(egui::Role::ComboBox, true, "Preset");
    shown.response.widget_info(info);
    shown.response.on_hover_text(format!("Preset: {}", state.draft.about));
}

fn menu(ui: &mut Ui, store: &RunStore, state: &mut UiState, commands: &mut Vec<Command>) {
    ui.menu_button("Menu", |ui| {
        ui.set_min_width(260.0);
        for action in Action::ALL {
            if matches!(
                action,
                Action::OpenModel | Action::LowerDensity | Action::SwitchTheme | Action::Quit
            ) {
                ui.separator();
            }
            let words = action.words();
            let mut button = egui::Button::new(words.label);
            if let Some(keys) = words.keys {
                button = button.shortcut_text(ui.ctx().format_shortcut(&keys));
            }
            let response = ui.add_enabled(action.is_possible(store, state), button);
            if response.on_hover_text(words.tooltip).clicked() {
                commands.extend(action.perform(ui.ctx(), store, state));
                ui.close();
            }
        }
    });
}

fn tooltip(ui: &Ui, action: Action) -> String {
    let words = action.words();
    let keys = words.keys.map(|k| format!("  ({})", ui.ctx().format_shortcut(&k)));
    format!("{}{}", words.tooltip, keys.unwrap_or_default())
}

/// Where no file dialog exists, a path is typed.
fn path_entry(ui: &mut Ui, state: &mut UiState, commands: &mut Vec<Command>) {
    let Some(mut entry) = state.path_entry.take() else {
        return;
    };
    let mut open = false;
    let frame = Frame::popup(ui.style()).inner_margin(Margin::same(18));
    let modal = egui::Modal::new(egui::Id::unique("path entry"))
        .frame(frame)
        .show(ui.ctx(), |ui| {
            ui.set_width(460.0);
            ui.heading("Open a model");
            if !entry.note.is_empty() {
                ui.label(RichText::new(&entry.note).color(ui.visuals().warn_fg_color));
            }
            let label = ui.label("Path of a .safetensors file, or of a preset (.toml)");
            let edit = egui::TextEdit::singleline(&mut entry.text)
                .desired_width(f32::INFINITY)
                .hint_text("runs/…/models/….safetensors");
            let field = ui.add(edit).labelled_by(label.id);
            let entered = field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
            if !entered && ui.memory(|m| m.focused().is_none()) {
                field.request_focus();
            }
            widgets::quiet(ui, "Files can also be dropped onto the window.");
            ui.add_space(6.0);
            ui.horizontal(|ui| {
                let filled = !entry.text.trim().is_empty();
                open = (widgets::primary(ui, filled, "Open").clicked() || entered) && filled;
                if ui.button("Cancel").clicked() {
                    ui.close();
                }
            });
        });
    if open {
        commands.extend(open_path(PathBuf::from(entry.text.trim()), state));
    } else if !modal.should_close() {
        state.path_entry = Some(entry);
    }
}

/// Paints tiles.
struct Panes<'a> {
    store: &'a RunStore,
    state: &'a mut UiState,
    commands: &'a mut Vec<Command>,
}

impl Behavior<Panel> for Panes<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _: TileId, panel: &mut Panel) -> UiResponse {
        let p = palette(ui);
        let rect = ui.max_rect();
        let round = egui::CornerRadius {
            nw: 0,
            ne: theme::TILE_RADIUS,
            sw: theme::TILE_RADIUS,
            se: theme::TILE_RADIUS,
        };
        ui.painter().rect_filled(rect, round, p.tile);
        let pad = f32::from(theme::PAD);
        let inside = Rect::from_min_max(rect.min + vec2(pad, pad * 0.75), rect.max - vec2(pad, pad));
        let mut inner = ui.new_child(egui::UiBuilder::new().max_rect(inside).id_salt(panel.title()));
        inner.shrink_clip_rect(inside.expand(pad * 0.5));
        panels::panel_ui(&mut inner, *panel, self.store, self.state, self.commands);
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, panel: &Panel) -> egui::WidgetText {
        RichText::new(panel.title()).font(theme::body()).into()
    }

    fn tab_bar_height(&self, _: &egui::Style) -> f32 {
        theme::TAB_BAR
    }

    fn gap_width(&self, _: &egui::Style) -> f32 {
        theme::GAP
    }

    fn tab_title_spacing(&self, _: &Visuals) -> f32 {
        f32::from(theme::PAD)
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> Color32 {
        theme::of(visuals.dark_mode).ground
    }

    fn tab_bg_color(&self, visuals: &Visuals, _: &Tiles<Panel>, _: TileId, state: &TabState) -> Color32 {
        if state.active {
            theme::of(visuals.dark_mode).tile
        } else {
            Color32::TRANSPARENT
        }
    }

    fn tab_outline_stroke(&self, _: &Visuals, _: &Tiles<Panel>, _: TileId, _: &TabState) -> Stroke {
        Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _: &Visuals) -> Stroke {
        Stroke::NONE
    }

    fn tab_text_color(&self, visuals: &Visuals, _: &Tiles<Panel>, _: TileId, state: &TabState) -> Color32 {
        let p = theme::of(visuals.dark_mode);
        if state.active { p.text } else { p.weak }
    }

    fn resize_stroke(&self, style: &egui::Style, state: egui_tiles::ResizeState) -> Stroke {
        let p = theme::of(style.visuals.dark_mode);
        match state {
            egui_tiles::ResizeState::Idle => Stroke::NONE,
            _ => Stroke::new(2.0, p.accent),
        }
    }

    fn min_size(&self) -> f32 {
        120.0
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions {
            all_panes_must_have_tabs: true,
            ..SimplificationOptions::default()
        }
    }
}
