//! The frame around the panels: top bar, tiles, keys, what lies over them, notices.
//! Knows nothing of what panels show.

use super::action::UiAction;
use super::effects::{Effect, Effects};
use super::on_store_change::on_store_change;
use super::open_path::open_path;
use super::overlay::overlay_ui;
use super::panes::Panes;
use super::ribbon::ribbon_ui;
use super::state::UiState;
use super::theme::{self, palette};
use super::top_bar::top_bar_ui;
use egui::{CentralPanel, Frame, Margin, Panel, Ui};
use lab::RunStore;
use std::path::PathBuf;

/// The whole window: reads the store, changes its own state, and says what it asks of the world outside.
pub fn window_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState) -> Vec<Effect> {
    let mut effects = Effects::default();
    on_store_change(store, state, &mut effects);
    if state.linked.turn() {
        ui.ctx().request_repaint();
    }
    keys(ui, &mut effects);
    let dropped: Vec<PathBuf> = ui.input(|i| i.raw.dropped_files.iter().map(|f| f.path().to_path_buf()).collect());
    for path in dropped {
        effects.submit(open_path(path, state));
    }
    let p = palette(ui);
    let bar = Frame::new().fill(p.tile).inner_margin(Margin::symmetric(14, 0));
    Panel::top("top bar")
        .frame(bar)
        .exact_size(theme::TOP_BAR)
        .show(ui, |ui| {
            ui.horizontal_centered(|ui| top_bar_ui(ui, store, state, &mut effects));
        });
    ribbon_ui(ui, store, state, &mut effects);
    let ground = Frame::new().fill(p.ground).inner_margin(Margin::same(theme::GAP as i8));
    CentralPanel::default().frame(ground).show(ui, |ui| {
        let nothing = egui_tiles::Tree::empty(egui::Id::unique("panels"));
        let mut tree = std::mem::replace(&mut state.layouts.tree, nothing);
        let mut panes = Panes {
            store,
            state,
            effects: &mut effects,
        };
        tree.ui(&mut panes, ui);
        state.layouts.tree = tree;
    });
    overlay_ui(ui, store, state, &mut effects);
    state.toasts.show(ui);
    for action in std::mem::take(&mut effects.actions) {
        action.perform(ui.ctx(), store, state, &mut effects);
        ui.ctx().request_repaint();
    }
    effects.effects
}

fn keys(ui: &Ui, effects: &mut Effects) {
    for action in UiAction::all() {
        if let Some(keys) = action.keys()
            && ui.input_mut(|i| i.consume_shortcut(&keys))
        {
            effects.act(action);
        }
    }
}
