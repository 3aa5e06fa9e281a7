//! A window over a store that does not change, for tests by accessible labels and for pictures.

use crate::soft_renderer::SoftRenderer;
use app::state::UiState;
use app::{Effect, FileRequest, Saving, theme};
use egui_kittest::{Harness, SnapshotOptions};
use lab::{Command, RunStore};
use train::device::DeviceName;

/// The window over a store that does not change; what it asks for is kept: commands, and other effects.
pub(crate) struct Still {
    pub(crate) store: RunStore,
    pub(crate) state: UiState,
    pub(crate) asked: Vec<Command>,
    pub(crate) effects: Vec<Effect>,
}

impl Still {
    pub(crate) fn new(store: RunStore) -> Self {
        let mut state = UiState::new(DeviceName::Flex).expect("presets");
        // Notices of runs that ended before the window opened would lie over the panels.
        state.seen.endings = store.runs.iter().map(|r| (r.id, r.resumed)).collect();
        Self {
            store,
            state,
            asked: Vec::new(),
            effects: Vec::new(),
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui) {
        // The harness leaves a margin that the real window does not have.
        let mut whole = ui.new_child(egui::UiBuilder::new().max_rect(ui.ctx().content_rect()));
        whole.set_clip_rect(ui.ctx().content_rect());
        for effect in app::window_ui(&mut whole, &self.store, &mut self.state) {
            match effect {
                Effect::Submit(command) => self.asked.push(command),
                other => self.effects.push(other),
            }
        }
    }

    /// What is to be saved.
    pub(crate) fn saving(&mut self) -> Saving {
        match self.effects.pop() {
            Some(Effect::FileDialog(FileRequest::Save(saving))) => saving,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn still(store: RunStore, theme: egui::Theme, size: [f32; 2]) -> Harness<'static, Still> {
    let options = SnapshotOptions::new()
        .threshold(0.6)
        .max_failed_pixels(0)
        .output_path("tests/snapshots");
    Harness::builder()
        .with_size(size)
        .with_theme(theme)
        .with_max_steps(20)
        .with_options(options)
        .renderer(SoftRenderer::default())
        .with_context_setup(theme::apply)
        .build_ui_state(|ui, still: &mut Still| still.ui(ui), Still::new(store))
}
