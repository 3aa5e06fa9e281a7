//! How far ADMM's weights are from its targets, layer by layer: small means that masking will change little.
//! Knows nothing of training.

use super::search::SearchChoice;
use event::Dimension;
use lab::RunStore;
use record::{RunId, RunState};
use serde::Serialize;

/// The residuals of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResidualsView {
    /// The run.
    pub run: RunId,
    /// The run's name.
    pub title: String,
    /// Layers, in the order in which they were said.
    pub rows: Vec<ResidualRow>,
}

/// One layer in one dimension.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResidualRow {
    /// The layer.
    pub layer: String,
    /// In which way it is pruned.
    pub dimension: Dimension,
    /// `[updates in all, ‖W − Z‖ / ‖W‖]`.
    pub points: Vec<[f64; 2]>,
}

/// The residuals of the chosen run, else of the newest that said any.
pub fn residuals(store: &RunStore, chosen: SearchChoice) -> Option<ResidualsView> {
    let said = |r: &&RunState| !r.residuals.is_empty();
    let named = chosen.run.and_then(|id| store.run(id)).filter(said);
    named.or_else(|| store.runs.iter().rfind(said)).map(of_run)
}

/// The residuals of a run.
pub fn of_run(run: &RunState) -> ResidualsView {
    let mut rows: Vec<ResidualRow> = Vec::new();
    for (i, point) in run.residuals.iter().enumerate() {
        for said in &point.layers {
            let at = [i as f64 + 1.0, f64::from(said.value)];
            let known = rows
                .iter_mut()
                .find(|r| r.layer == said.layer && r.dimension == said.dimension);
            match known {
                Some(row) => row.points.push(at),
                None => rows.push(ResidualRow {
                    layer: said.layer.clone(),
                    dimension: said.dimension,
                    points: vec![at],
                }),
            }
        }
    }
    ResidualsView {
        run: run.id,
        title: run.title(),
        rows,
    }
}

impl ResidualsView {
    /// The largest of the newest values, with its layer.
    pub fn worst(&self) -> Option<(&str, f64)> {
        let newest = self
            .rows
            .iter()
            .filter_map(|r| Some((r.layer.as_str(), r.points.last()?[1])));
        newest.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}
