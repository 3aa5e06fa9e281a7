//! The panels: each paints a view and says what it asks of the engine.
//! Knows nothing of where panels stand.

mod density;
mod experiment;
mod frontier;
pub mod images;
mod layers;
mod log;
mod model;
mod parallel;
mod residuals;
mod runs;
mod saliency;
mod search;
mod sites;
mod stairs;
mod training;
mod volume;

use super::state::{PanelName, UiState};
use egui::Ui;
use lab::{Command, RunStore};

pub(crate) fn panel_ui(
    ui: &mut Ui,
    panel: PanelName,
    store: &RunStore,
    state: &mut UiState,
    commands: &mut Vec<Command>,
) {
    match panel {
        PanelName::Density => density::density_ui(ui, store, state, commands),
        PanelName::Frontier => frontier::frontier_ui(ui, store, state, commands),
        PanelName::Layers => layers::layers_ui(ui, store, state, commands),
        PanelName::Saliency => saliency::saliency_ui(ui, store, state, commands),
        PanelName::Search => search::search_ui(ui, store, state, commands),
        PanelName::Sites => sites::sites_ui(ui, store, state, commands),
        PanelName::Parallel => parallel::parallel_ui(ui, store, state),
        PanelName::Residuals => residuals::residuals_ui(ui, store, state),
        PanelName::Volume => volume::volume_ui(ui, store, state),
        PanelName::Training => training::training_ui(ui, store, state, commands),
        PanelName::Experiment => experiment::experiment_ui(ui, state),
        PanelName::Model => model::model_ui(ui, store, state),
        PanelName::Images => images::images_ui(ui, store, state, commands),
        PanelName::Runs => runs::runs_ui(ui, store, state, commands),
        PanelName::Log => log::log_ui(ui, store),
    }
}
