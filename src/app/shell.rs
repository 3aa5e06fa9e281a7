//! The frame around the panels: top bar, tiles, keys, what lies over them, notices.
//! Knows nothing of what panels show.

use super::action::UiAction;
use super::panes::Panes;
use super::state::{Overlay, PanelName, UiState};
use super::theme;
use super::theme::palette;
use super::{action, import, on_store_change, overlay, top_bar};
use egui::{CentralPanel, Frame, Margin, Ui};
use lab::jobs;
use lab::{Command, RunStore};
use measure::ModelRef;
use measure::images::ImageRef;
use record::Experiment;
use std::path::PathBuf;

/// The whole window: reads the store, changes its own state, and says what it asks of the engine.
pub fn window_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState) -> Vec<Command> {
    let mut commands = on_store_change::on_store_change(store, state);
    commands.extend(action::keys(ui.ctx(), store, state));
    dropped(ui, state, &mut commands);
    let p = palette(ui);
    let bar = Frame::new().fill(p.tile).inner_margin(Margin::symmetric(14, 0));
    egui::Panel::top("top bar")
        .frame(bar)
        .exact_size(theme::TOP_BAR)
        .show(ui, |ui| {
            ui.horizontal_centered(|ui| top_bar::top_bar_ui(ui, store, state, &mut commands));
        });
    let ground = Frame::new().fill(p.ground).inner_margin(Margin::same(theme::GAP as i8));
    CentralPanel::default().frame(ground).show(ui, |ui| {
        let nothing = egui_tiles::Tree::empty(egui::Id::unique("panels"));
        let mut tree = std::mem::replace(&mut state.layouts.tree, nothing);
        let mut panes = Panes {
            store,
            state,
            commands: &mut commands,
        };
        tree.ui(&mut panes, ui);
        state.layouts.tree = tree;
    });
    // What panels want of the layout waits until it is not being drawn.
    for action in std::mem::take(&mut state.later) {
        commands.extend(action.perform(ui.ctx(), store, state));
    }
    overlay::overlay_ui(ui, store, state, &mut commands);
    state.toasts.show(ui);
    commands
}

fn dropped(ui: &Ui, state: &mut UiState, commands: &mut Vec<Command>) {
    let paths: Vec<PathBuf> = ui.input(|i| i.raw.dropped_files.iter().map(|f| f.path().to_path_buf()).collect());
    for path in paths {
        commands.extend(open_path(path, state));
    }
}

/// A model file is opened, one of another program imported, a picture is looked at, a run folder is shown among the runs, a preset file becomes the draft.
pub fn open_path(path: PathBuf, state: &mut UiState) -> Option<Command> {
    if path.is_dir() {
        return Some(Command::OpenRun(path));
    }
    if path.extension().is_some_and(|e| e == "toml") {
        let text = path.to_string_lossy();
        match Experiment::load(&text, &[]) {
            Ok(draft) => state.take_draft(draft, text.into_owned()),
            Err(e) => state.toasts.say(true, format!("{e:#}")),
        }
        return None;
    }
    let kind = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if kind.is_some_and(|k| ["png", "jpg", "jpeg", "webp"].contains(&k.as_str())) {
        state.later.push(UiAction::Show(PanelName::Images));
        return Some(Command::Look(ImageRef::File(path)));
    }
    if jobs::is_foreign(&path) {
        state.overlay = Some(Overlay::Import(import::entry(path)));
        return None;
    }
    Some(Command::Open(ModelRef::File(path)))
}
