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

use super::state::{Panel, UiState};
use egui::Ui;
use lab::{Command, RunStore};

pub(crate) fn panel_ui(ui: &mut Ui, panel: Panel, store: &RunStore, state: &mut UiState, commands: &mut Vec<Command>) {
    match panel {
        Panel::Density => density::density_ui(ui, store, state, commands),
        Panel::Frontier => frontier::frontier_ui(ui, store, state, commands),
        Panel::Layers => layers::layers_ui(ui, store, state, commands),
        Panel::Saliency => saliency::saliency_ui(ui, store, state, commands),
        Panel::Search => search::search_ui(ui, store, state, commands),
        Panel::Sites => sites::sites_ui(ui, store, state, commands),
        Panel::Parallel => parallel::parallel_ui(ui, store, state),
        Panel::Residuals => residuals::residuals_ui(ui, store, state),
        Panel::Volume => volume::volume_ui(ui, store, state),
        Panel::Training => training::training_ui(ui, store, state, commands),
        Panel::Experiment => experiment::experiment_ui(ui, state),
        Panel::Model => model::model_ui(ui, store, state),
        Panel::Images => images::images_ui(ui, store, state, commands),
        Panel::Runs => runs::runs_ui(ui, store, state, commands),
        Panel::Log => log::log_ui(ui, store),
    }
}
