//! What the window does by itself when the store has news: asks about a model that was opened, shows notices.
//! Knows nothing of painting.

use super::state::{FIRST_PERCENT, UiState};
use super::{action, draft};
use event::Outcome;
use lab::{Command, ModelJob, RunStore};
use measure::{ModelRef, Question, probe};
use model::Density;
use record::Status;
use std::sync::Arc;
use view::runs;

/// Compares the store with what was seen of it last.
pub(crate) fn on_store_change(store: &RunStore, state: &mut UiState) -> Vec<Command> {
    color_runs(store, state);
    say_notices(store, state);
    say_endings(store, state);
    let mut commands = say_jobs(store, state);
    commands.extend(opened(store, state));
    commands
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

/// What came of jobs: said, and a model that was made is opened.
fn say_jobs(store: &RunStore, state: &mut UiState) -> Vec<Command> {
    let mut commands = Vec::new();
    for done in store.done.iter().skip(state.jobs_seen) {
        match &done.said {
            Ok(text) => state.toasts.say(false, text.clone()),
            Err(text) => state.toasts.say(true, text.clone()),
        }
        let Some(model) = &done.model else { continue };
        commands.push(Command::Open(ModelRef::File(model.clone())));
        if matches!(done.job, ModelJob::Cut { .. })
            && let Err(e) = draft::gates_on(model, store, state)
        {
            state.toasts.say(true, format!("{e:#}"));
        }
    }
    state.jobs_seen = store.done.len();
    commands
}

fn opened(store: &RunStore, state: &mut UiState) -> Option<Command> {
    let open = store.open.as_ref()?;
    if state.opened.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, open)) {
        return None;
    }
    state.opened = Some(open.clone());
    let first = Density::percent(FIRST_PERCENT).unwrap_or(Density::FULL);
    state.density = action::range(store).map_or(Density::FULL, |[low, high]| first.clamp(low, high));
    state.locked.clear();
    state.pick = None;
    let gates = open.header.spec.gates().len();
    // What a search found for it is where it starts.
    let found = &open.header.gate_densities;
    if found.len() == gates && gates > 0 {
        let densities = found.clone();
        return action::set_question(store, state, Question { densities });
    }
    action::ask(state, probe::uniform(gates, state.density))
}

fn say_notices(store: &RunStore, state: &mut UiState) {
    let new = store.notices_total.saturating_sub(state.toasts.notices_seen) as usize;
    for text in &store.notices[store.notices.len().saturating_sub(new)..] {
        state.toasts.say(true, text.clone());
    }
    state.toasts.notices_seen = store.notices_total;
}

fn say_endings(store: &RunStore, state: &mut UiState) {
    for run in store.runs.iter().filter(|r| r.status == Status::Ended) {
        let Some(ending) = &run.ending else { continue };
        if state.toasts.endings_seen.contains(&(run.id, run.resumed)) {
            continue;
        }
        state.toasts.endings_seen.push((run.id, run.resumed));
        let row = runs::row(run);
        match ending.outcome {
            Outcome::Finished => state
                .toasts
                .say(false, format!("{} finished: {}", row.title, row.detail)),
            Outcome::Failed => {
                let reason = ending.reason.as_deref().unwrap_or("no reason given");
                state.toasts.say(true, format!("{}: {reason}", row.title));
            }
            Outcome::Cancelled => {}
        }
    }
}
