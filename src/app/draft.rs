//! Experiments that follow from what is on screen: a search from the slider's densities, a fork of a run, gates on a smaller
//! model. Knows nothing of widgets.

use super::state::{Draft, UiState};
use anyhow::{Context, Result, bail};
use event::Unit;
use lab::{Command, RunStore};
use measure::probe::OpenModel;
use methods::{Method, PruningTarget};
use record::{Experiment, ModelRef, RunState};
use std::path::Path;

/// The preset that searches gate densities, and the one that trains gates.
const SEARCH: &str = "densities-fashion";
const GATES: &str = "fbs-fashion";

/// A preset on the images that the open model was made with.
fn on_its_images(preset: &str, open: &OpenModel) -> Result<Experiment> {
    let mut draft = Experiment::load(preset, &[])?;
    match Experiment::of_model(&open.header) {
        Some(recipe) => (draft.data, draft.model) = (recipe.data, recipe.model),
        None => draft.data.source.clone_from(&open.header.data),
    }
    Ok(draft)
}

/// A search over the open model's gates that begins with the densities on the slider, at what they cost.
///
/// # Errors
/// No model is open, or it has no gates.
pub(crate) fn search_from_here(store: &RunStore, state: &mut UiState) -> Result<Experiment> {
    let open = store.open.as_ref().context("no model is open")?;
    if open.header.spec.gates().is_empty() {
        bail!("the open model has no gates: choose a preset that searches weights instead");
    }
    let mut draft = on_its_images(SEARCH, open)?;
    draft.start = Some(open.from.clone());
    let view = view::density::density(store, &state.slider.asked).context("no model is open")?;
    let times = view.macs_dense as f64 / view.macs_nominal.max(1) as f64;
    if let Method::Densities(config) = &mut draft.method {
        config.target = PruningTarget {
            unit: Unit::Macs,
            times: times.max(1.02),
        };
        config.search.first = state
            .slider
            .asked
            .densities
            .iter()
            .map(|d| d.as_fraction() as f32)
            .collect();
    }
    state.draft = Draft::changed(draft.clone(), SEARCH)?;
    Ok(draft)
}

/// What a fork from the window does.
pub(crate) const FORK: &str =
    "Continue from here in a new run with its own seed; `secateur fork` can change other settings too";

/// Continues from an event of a run with the same settings and another seed.
pub(crate) fn fork(store: &RunStore, folder: &Path, at: u64, experiment: &Experiment) -> Command {
    let mut experiment = experiment.clone();
    // One that no run here has had: the same fork twice would be the same run.
    let like = |r: &&RunState| r.experiment.name == experiment.name;
    let most = store.runs.iter().filter(like).map(|r| r.experiment.seed).max();
    experiment.seed = most.map_or(experiment.seed, |most| most.max(experiment.seed)) + 1;
    Command::Fork {
        origin: folder.to_path_buf(),
        at,
        experiment: Box::new(experiment),
    }
}

/// Makes FBS on a model that was cut the draft: gates choose among the channels that surgery left.
///
/// # Errors
/// No model is open.
pub(crate) fn gates_on(cut: &Path, store: &RunStore, state: &mut UiState) -> Result<()> {
    let open = store.open.as_ref().context("no model is open")?;
    let mut draft = on_its_images(GATES, open)?;
    draft.start = Some(ModelRef::File(cut.to_path_buf()));
    state.draft = Draft::changed(draft, GATES)?;
    Ok(())
}
