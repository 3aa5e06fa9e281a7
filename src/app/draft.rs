//! Experiments that follow from what is on screen: a search from the slider's densities, a fork of a run, gates on a smaller
//! model. Knows nothing of widgets.

use super::state::{Draft, UiState};
use anyhow::{Context, Result, ensure};
use event::Unit;
use lab::{Command, RunStore};
use measure::Pruning;
use measure::probe::OpenModel;
use measure::pruning::{FLOOR, ScoreName};
use methods::{Method, PruningTarget};
use record::{Experiment, ModelRef, RunState};
use std::path::Path;
use view::density::is_agreement;
use view::frontier::CostAxis;

/// The presets that search densities of gates and what layers keep, and the one that trains gates.
const SEARCH: &str = "densities-fashion";
const CUTS: &str = "random-fashion";
const GATES: &str = "fbs-fashion";

/// What can prune to a target: a preset, its method in words, and how it goes about it.
pub(crate) const PRUNERS: [(&str, &str, &str); 6] = [
    (
        "uniform-fashion",
        "Uniform",
        "One share for all layers, then retraining",
    ),
    (
        "greedy-fashion",
        "Greedy",
        "The cheapest next cut by measured sensitivity, then retraining",
    ),
    (
        "autocompress-fashion",
        "AutoCompress",
        "Annealed densities and ADMM in rounds (arXiv 1907.03141)",
    ),
    (
        "amc-fashion",
        "AMC",
        "Densities chosen by reinforcement learning (arXiv 1802.03494)",
    ),
    (
        "admm-fashion",
        "ADMM",
        "Weights pulled to their pruned form, then retraining (arXiv 1804.03294)",
    ),
    (
        "slimming-fashion",
        "Slimming",
        "Training that makes scales γ small, then one threshold (arXiv 1708.06519)",
    ),
];

/// A preset on the images that the open model is measured on, else on those it was made with; what is protected is kept.
fn on_its_images(
    preset: &str,
    changes: &[(String, String)],
    (store, state): (&RunStore, &UiState),
    open: &OpenModel,
) -> Result<Experiment> {
    let mut draft = Experiment::load(preset, changes)?;
    match Experiment::of_model(&open.header) {
        Some(recipe) => (draft.data, draft.model) = (recipe.data, recipe.model),
        None => draft.data.source.clone_from(&open.header.data),
    }
    if let Some(source) = &store.images_from {
        draft.data.source.clone_from(source);
    }
    if is_agreement(store) {
        draft.train.teacher = Some("self".into());
    }
    draft.data.protect = state.flips.protected.iter().cloned().collect();
    Ok(draft)
}

/// A run that prunes the open model to the target that the slider stands at, and retrains it. Floor, score and held layers are
/// the slider's where the method has such settings.
///
/// # Errors
/// No model is open, or nothing is to be cut.
pub(crate) fn prune_to_here(store: &RunStore, state: &UiState) -> Result<Experiment> {
    prune_to(PRUNERS[state.pruner].0, (store, state), asked_cut(state)?)
}

fn asked_cut(state: &UiState) -> Result<&Pruning> {
    let cut = state.slider.asked.cut.as_ref();
    cut.context("the target is the whole network: move its slider first")
}

fn prune_to(preset: &str, (store, state): (&RunStore, &UiState), cut: &Pruning) -> Result<Experiment> {
    let open = store.open.as_ref().context("no model is open")?;
    let unit = match cut.unit {
        Unit::Weights => "weights",
        Unit::Macs => "macs",
        Unit::Ms => "ms",
    };
    let score = match cut.score {
        ScoreName::L1 => "l1",
        ScoreName::L2 => "l2",
        ScoreName::NormScale => "norm-scale",
    };
    let locks: Vec<String> = cut
        .held
        .iter()
        .map(|layer| format!("{{ layer = {layer:?} }}"))
        .collect();
    let change = |key: &str, value: String| (format!("method.{key}"), value);
    let mut changes = vec![
        change("target.unit", unit.into()),
        change("target.times", cut.times.to_string()),
    ];
    let own = [
        change("floor", FLOOR.to_string()),
        change("score", score.into()),
        change("width_multiple", cut.multiple.to_string()),
        change("locks", format!("[{}]", locks.join(", "))),
    ];
    let has = |one: &(String, String)| Experiment::load(preset, std::slice::from_ref(one)).is_ok();
    changes.extend(own.into_iter().filter(has));
    let mut draft = on_its_images(preset, &changes, (store, state), open)?;
    draft.start = Some(open.from.clone());
    Ok(draft)
}

/// A search for what costs no more than the goal on the frontier: over the open model's gates, else by the method that prunes.
///
/// # Errors
/// No model is open, or there is no goal below what it costs.
pub(crate) fn search_for_goal(store: &RunStore, state: &UiState) -> Result<Experiment> {
    let open = store.open.as_ref().context("no model is open")?;
    let most = state.frontier.wish.most.context("the goal has no limit of cost")?;
    let (unit, whole) = match state.frontier.against {
        CostAxis::Macs => (Unit::Macs, open.dense.macs as f64),
        CostAxis::Params => (Unit::Weights, open.dense.params as f64),
        CostAxis::Millis => {
            let dense = store.answer.as_ref().and_then(|a| a.dense_latency);
            let whole = dense.context("the time of the whole model is not measured yet: let the slider rest")?;
            (Unit::Ms, whole.median_ms)
        }
    };
    let times = whole / most.max(f64::MIN_POSITIVE);
    ensure!(times > 1.0, "the goal allows the whole model: move it to less cost");
    if unit == Unit::Macs && !open.header.spec.gates().is_empty() {
        return search_gates(store, state, open, times);
    }
    let cut = Pruning {
        unit,
        times,
        ..state.slider.cut.clone()
    };
    prune_to(PRUNERS[state.pruner].0, (store, state), &cut)
}

/// A search over the open model's gates that begins with the densities on the slider, at what they cost. Without gates it is over
/// what layers keep at the target that its slider stands at, and nothing is trained.
///
/// # Errors
/// No model is open, or it has no gates and its target is the whole network.
pub(crate) fn search_from_here(store: &RunStore, state: &UiState) -> Result<Experiment> {
    let open = store.open.as_ref().context("no model is open")?;
    if open.header.spec.gates().is_empty() {
        let mut search = prune_to(CUTS, (store, state), asked_cut(state)?)?;
        if let Method::Random(config) = &mut search.method {
            config.retrain.epochs = 0;
        }
        return Ok(search);
    }
    let view = view::density::density(store, &state.slider.asked).context("no model is open")?;
    search_gates(
        store,
        state,
        open,
        view.macs_dense as f64 / view.macs_nominal.max(1) as f64,
    )
}

fn search_gates(store: &RunStore, state: &UiState, open: &OpenModel, times: f64) -> Result<Experiment> {
    let mut draft = on_its_images(SEARCH, &[], (store, state), open)?;
    draft.start = Some(open.from.clone());
    if let Method::Densities(config) = &mut draft.method {
        config.target = PruningTarget {
            unit: Unit::Macs,
            times: times.max(1.02),
        };
        let densities = state.slider.asked.densities.iter();
        config.search.first = densities.map(|d| d.as_fraction() as f32).collect();
    }
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
    let mut draft = on_its_images(GATES, &[], (store, state), open)?;
    draft.start = Some(ModelRef::File(cut.to_path_buf()));
    state.draft = Draft::changed(draft, GATES)?;
    Ok(())
}
