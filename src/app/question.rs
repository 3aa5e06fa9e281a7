//! What is asked of the open model: one density per gate, moved by the slider, by a layer's bar, or by a click on a point.

use super::state::UiState;
use lab::{Command, RunStore};
use measure::Question;
use model::Density;

/// Densities the open model was made for.
pub(crate) fn range(store: &RunStore) -> Option<[Density; 2]> {
    let open = store.open.as_ref().filter(|m| !m.header.spec.gates().is_empty())?;
    let densities = &open.header.densities;
    Some([*densities.iter().min()?, *densities.iter().max()?])
}

fn clamped(store: &RunStore, percent: u32) -> Option<Density> {
    let [low, high] = range(store)?;
    Some(Density::percent(percent.clamp(1, 100)).ok()?.clamp(low, high))
}

/// Moves the slider to a percentage within the open model's range, and all gates that are not locked with it. None if it is
/// there already.
pub(crate) fn set_density(store: &RunStore, state: &mut UiState, percent: u32) -> Option<Command> {
    let density = clamped(store, percent)?;
    let slider = &state.slider;
    let mut asked = slider.asked.clone();
    for (gate, d) in asked.densities.iter_mut().enumerate() {
        if !slider.locked.contains(&gate) {
            *d = density;
        }
    }
    if density == slider.density && asked == slider.asked {
        return None;
    }
    state.slider.density = density;
    Some(ask(state, asked))
}

/// Moves one gate to a percentage within the open model's range. None if it is there already.
pub(crate) fn set_gate(store: &RunStore, state: &mut UiState, gate: usize, percent: u32) -> Option<Command> {
    let mut asked = state.slider.asked.clone();
    *asked.densities.get_mut(gate)? = clamped(store, percent)?;
    (asked != state.slider.asked).then(|| ask(state, asked))
}

/// Moves all gates to what was asked before, and the slider to their mean.
pub(crate) fn set_question(store: &RunStore, state: &mut UiState, question: Question) -> Option<Command> {
    state.slider.density = clamped(store, (question.mean() * 100.0).round() as u32)?;
    Some(ask(state, question))
}

/// Asks about the open model. A model without gates is asked without densities.
pub(crate) fn ask(state: &mut UiState, question: Question) -> Command {
    state.slider.asked = question.clone();
    Command::Ask(question)
}
