//! What is asked of the open model: one density per gate, moved by the slider, by a layer's bar, or by a click on a point; and how
//! much is cut, moved by the target's slider.

use super::state::UiState;
use lab::{Command, RunStore};
use measure::pruning::Spread;
use measure::{Pruning, Question};
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
    state.ribbon.dragged = true;
    Some(ask(state, asked))
}

/// Moves one gate to a percentage within the open model's range. None if it is there already.
pub(crate) fn set_gate(store: &RunStore, state: &mut UiState, gate: usize, percent: u32) -> Option<Command> {
    let mut asked = state.slider.asked.clone();
    *asked.densities.get_mut(gate)? = clamped(store, percent)?;
    (asked != state.slider.asked).then(|| ask(state, asked))
}

/// Sets how much of one group of layers stays, by its first layer; what the target leaves of the others stays as it is. None if
/// nothing was planned yet.
pub(crate) fn set_layer(store: &RunStore, state: &mut UiState, group: &str, percent: u32) -> Option<Command> {
    let plan = store.answer.as_ref()?.plan.as_ref()?;
    let mut cut = state.slider.cut.clone();
    if cut.spread != Spread::Given {
        let left = plan.groups.iter().filter(|g| g.n_kept() < g.kept.len());
        cut.vector = left
            .map(|g| (g.name.clone(), g.n_kept() as f32 / g.kept.len().max(1) as f32))
            .collect();
    }
    cut.vector
        .insert(group.to_owned(), percent.clamp(1, 100) as f32 / 100.0);
    cut.vector.retain(|_, density| *density < 1.0);
    cut.times = match cut.vector.is_empty() {
        true => 1.0,
        false => plan.times.max(1.01),
    };
    cut.spread = Spread::Given;
    set_cut(store, state, cut)
}

/// Moves all gates to what was asked before, and the sliders with them: the density to the mean.
pub(crate) fn set_question(store: &RunStore, state: &mut UiState, question: Question) -> Option<Command> {
    if let Some(density) = clamped(store, (question.mean() * 100.0).round() as u32) {
        state.slider.density = density;
    }
    state.slider.cut = question.cut.clone().unwrap_or_else(|| Pruning {
        times: 1.0,
        ..state.slider.cut.clone()
    });
    store.open.is_some().then(|| ask(state, question))
}

/// Moves the target. None if it is there already.
pub(crate) fn set_cut(store: &RunStore, state: &mut UiState, cut: Pruning) -> Option<Command> {
    store.open.as_ref()?;
    state.slider.cut = cut;
    let asked = Question {
        cut: (state.slider.cut.times > 1.0).then(|| state.slider.cut.clone()),
        ..state.slider.asked.clone()
    };
    (asked != state.slider.asked).then(|| {
        state.ribbon.dragged = true;
        ask(state, asked)
    })
}

/// Asks about the open model. A model without gates is asked without densities.
pub(crate) fn ask(state: &mut UiState, question: Question) -> Command {
    state.slider.asked = question.clone();
    Command::Ask(question)
}
