//! What the window does by itself when the store changed: asks about a model that was opened, shows notices.
//! Knows nothing of painting.

use super::effects::Effects;
use super::state::{FIRST_PERCENT, UiState};
use super::{draft, question};
use event::Outcome;
use lab::{Command, ModelJob, RunStore};
use measure::{Question, probe};
use model::Density;
use record::{ModelRef, RunState};
use std::collections::BTreeSet;
use std::sync::Arc;
use view::runs;

/// Compares the store with what was seen of it last.
pub(crate) fn on_store_change(store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    color_runs(store, state);
    show_notices(store, state);
    show_endings(store, state);
    show_jobs(store, state, effects);
    read_scales(store, state, effects);
    state.ribbon.ran |= store.current().is_some();
    effects.submit(opened(store, state));
    effects.submit(look_again(store, state));
}

/// The image that is looked at is looked at anew where the sliders stand, once the images were measured there.
fn look_again(store: &RunStore, state: &mut UiState) -> Option<Command> {
    let Some(look) = &store.look else {
        state.seen.looked = None;
        return None;
    };
    let asked = &state.slider.asked;
    if state.seen.looked.as_ref().is_none_or(|(of, _)| *of != look.picture) {
        state.seen.looked = Some((look.picture.clone(), asked.clone()));
        return None;
    }
    let is_measured = store.answer.as_ref().is_some_and(|a| a.question == *asked && a.n > 0);
    let is_stale = state.seen.looked.as_ref().is_some_and(|(_, at)| at != asked);
    if !is_measured || !is_stale {
        return None;
    }
    state.seen.looked = Some((look.picture.clone(), asked.clone()));
    Some(Command::Look(look.picture.clone()))
}

/// Colors are remembered by a run's folder, and asked for by its number.
fn color_runs(store: &RunStore, state: &mut UiState) {
    let marks = &state.runs.marks.colors;
    let chosen = store
        .runs
        .iter()
        .filter_map(|r| Some((r.id, *marks.get(&runs::key(r))?)));
    state.runs.colors = chosen.collect();
}

/// Reads the norm scales of each model that a run of Network Slimming keeps while it works.
fn read_scales(store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let slims = |run: &&RunState| run.is_live() && run.experiment.method.kind() == "slimming";
    for run in store.runs.iter().filter(slims) {
        let (Some(folder), Some(kept)) = (&run.folder, run.kept.last()) else {
            continue;
        };
        let is_busy = store.working.iter().any(|job| matches!(job, ModelJob::Scales { .. }));
        if is_busy || state.seen.scales.get(&run.id) == Some(&kept.seq) {
            continue;
        }
        state.seen.scales.insert(run.id, kept.seq);
        let file = folder.join(&kept.model);
        effects.submit(Command::Work(ModelJob::Scales { run: run.id, file }));
    }
}

/// Shows what came of jobs, and opens the models they made.
fn show_jobs(store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    for done in store.done.iter().skip(state.seen.jobs) {
        // What the window reads by itself is nobody's order: only its failure is said, in the log.
        if matches!(done.job, ModelJob::Scales { .. }) {
            continue;
        }
        state.toasts.end();
        match &done.said {
            Ok(text) => state.toasts.tell(text.clone()),
            Err(text) => state.toasts.fail(text),
        }
        let Some(model) = &done.model else { continue };
        effects.submit(Command::Open(ModelRef::File(model.clone())));
        if matches!(done.job, ModelJob::Cut { .. })
            && let Err(e) = draft::gates_on(model, store, state)
        {
            state.toasts.fail(&e);
        }
    }
    state.seen.jobs = store.done.len();
}

fn opened(store: &RunStore, state: &mut UiState) -> Option<Command> {
    let open = store.open.as_ref()?;
    if state.seen.model.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, open)) {
        return None;
    }
    state.seen.model = Some(open.clone());
    let first = Density::percent(FIRST_PERCENT).unwrap_or(Density::FULL);
    state.slider.density = question::range(store).map_or(Density::FULL, |[low, high]| first.clamp(low, high));
    state.slider.locked.clear();
    (state.slider.cut.times, state.slider.cut.held) = (1.0, BTreeSet::new());
    state.frontier.pick = None;
    state.flips.protected.clear();
    let gates = open.header.spec.gates().len();
    // It starts at the densities that a search found for it.
    let found = &open.header.gate_densities;
    if found.len() == gates && gates > 0 {
        let densities = found.clone();
        return question::set_question(store, state, Question::at(densities));
    }
    Some(question::ask(state, probe::uniform(gates, state.slider.density)))
}

fn show_notices(store: &RunStore, state: &mut UiState) {
    let new = store.notices_total.saturating_sub(state.seen.notices) as usize;
    for text in &store.notices[store.notices.len().saturating_sub(new)..] {
        state.toasts.fail(text);
    }
    state.seen.notices = store.notices_total;
}

fn show_endings(store: &RunStore, state: &mut UiState) {
    for run in store.runs.iter().filter(|r| r.status.is_over()) {
        let Some(ending) = &run.ending else { continue };
        if state.seen.endings.contains(&(run.id, run.resumed)) {
            continue;
        }
        state.seen.endings.push((run.id, run.resumed));
        let row = runs::row(run);
        match ending.outcome {
            Outcome::Finished => state.toasts.tell(format!("{} finished: {}", row.title, row.detail)),
            Outcome::Failed => {
                let reason = ending.reason.as_deref().unwrap_or("no reason given");
                state.toasts.fail(format!("{}: {reason}", row.title));
            }
            Outcome::Cancelled => {}
        }
    }
}
