//! Which model an export writes, at which densities, and the name it suggests.
//! Knows nothing of formats.

use super::effects::{SaveContent, Saving};
use lab::RunStore;
use methods::Method;
use model::Density;
use record::{ModelRef, RunState};
use view::frontier::PointSource;

/// The open model at these densities.
pub(crate) fn open_at(store: &RunStore, densities: &[Density]) -> Option<Saving> {
    let open = store.open.as_ref()?;
    Some(saving(&open.name, open.from.clone(), densities.to_vec()))
}

/// The model of a point of the frontier, if it has one.
pub(crate) fn of_source(store: &RunStore, source: &PointSource) -> Option<Saving> {
    match source {
        PointSource::Recorded(density) => open_at(store, &[*density]),
        PointSource::Measured(question) => open_at(store, &question.densities),
        PointSource::Epoch(run, density) => {
            let run = store.run(*run)?;
            Some(saving(
                &run.experiment.name,
                ModelRef::File(run.model()?),
                vec![*density],
            ))
        }
        PointSource::Trial(run, search, number) => {
            let run = store.run(*run)?;
            let (from, densities) = gates_of(run, *search, *number)?;
            Some(saving(&run.experiment.name, from, densities))
        }
    }
}

/// The model and the gates' densities of a trial that decides nothing else.
pub(crate) fn gates_of(run: &RunState, search: usize, number: u64) -> Option<(ModelRef, Vec<Density>)> {
    let start = run.experiment.start.clone()?;
    if !matches!(run.experiment.method, Method::Densities(_)) {
        return None;
    }
    let trials = &run.searches.get(search)?.trials;
    let trial = &trials.iter().find(|t| t.trial.number == number)?.trial;
    let densities = trial.densities.iter().map(|&d| Density::floor(d)).collect();
    Some((start, densities))
}

fn saving(name: &str, from: ModelRef, densities: Vec<Density>) -> Saving {
    let is_uniform = densities.iter().all(|d| *d == densities[0]);
    let at = match densities.first() {
        Some(d) if is_uniform && *d != Density::FULL => format!("-d{d}"),
        Some(_) if !is_uniform => "-searched".to_owned(),
        _ => String::new(),
    };
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    // ONNX holds one density for all gates.
    let ending = if is_uniform { "onnx" } else { "safetensors" };
    Saving {
        name: format!("{plain}{at}.{ending}"),
        content: SaveContent::Model { from, densities },
    }
}
