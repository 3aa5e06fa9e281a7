//! The panels: each paints a view and asks for effects.
//! Knows nothing of where panels stand.

mod compare;
mod density;
mod experiment;
mod farms;
mod flips;
mod frontier;
mod frontier_axes;
mod frontier_marks;
mod images;
mod layers;
mod log;
mod model;
mod network;
mod parallel;
mod residuals;
mod runs;
mod saliency;
mod search;
mod sites;
mod target;
mod times;
mod training;
mod volume;
mod wanted;

use super::effects::Effects;
use super::panel_name::PanelName;
use super::state::UiState;
use egui::Ui;
use lab::RunStore;

pub(crate) fn panel_ui(ui: &mut Ui, panel: PanelName, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    match panel {
        PanelName::Compare => compare::compare_ui(ui, store, state, effects),
        PanelName::Density => density::density_ui(ui, store, state, effects),
        PanelName::Network => network::network_ui(ui, store, state, effects),
        PanelName::Flips => flips::flips_ui(ui, store, state, effects),
        PanelName::Frontier => frontier::frontier_ui(ui, store, state, effects),
        PanelName::Layers => layers::layers_ui(ui, store, state, effects),
        PanelName::Saliency => saliency::saliency_ui(ui, store, state, effects),
        PanelName::Search => search::search_ui(ui, store, state, effects),
        PanelName::Sites => sites::sites_ui(ui, store, state, effects),
        PanelName::Parallel => parallel::parallel_ui(ui, store, state, effects),
        PanelName::Residuals => residuals::residuals_ui(ui, store, state, effects),
        PanelName::Volume => volume::volume_ui(ui, store, state, effects),
        PanelName::Training => training::training_ui(ui, store, state, effects),
        PanelName::Experiment => experiment::experiment_ui(ui, state, effects),
        PanelName::Model => model::model_ui(ui, store, state, effects),
        PanelName::Images => images::images_ui(ui, store, state, effects),
        PanelName::Runs => runs::runs_ui(ui, store, state, effects),
        PanelName::Log => log::log_ui(ui, store),
    }
}
