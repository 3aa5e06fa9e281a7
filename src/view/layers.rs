//! The gated layers of the open model side by side: how much of each runs, and what it costs.
//! Knows nothing of single channels.

use crate::model::{Density, Fractions, Masks, NetSpec, Op, cost};
use crate::run::RunStore;
use serde::Serialize;

/// What the layers panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayersView {
    /// Whether the rows were measured; otherwise they are what the density promises.
    pub measured: bool,
    /// In network order.
    pub rows: Vec<LayerRow>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRow {
    /// The convolution's name.
    pub name: String,
    /// Its filters.
    pub channels: usize,
    /// Share that runs, averaged over images.
    pub kept: f64,
    /// Share that was asked for, ⌈C·d⌉ ÷ C.
    pub asked: f64,
    /// MACs an image.
    pub macs: u64,
    /// MACs an image with nothing gated away.
    pub macs_dense: u64,
}

/// The layers panel; none without an open model. `asked` stands in while nothing was measured.
pub fn layers(store: &RunStore, asked: Density) -> Option<LayersView> {
    let open = store.open.as_ref()?;
    let spec = &open.header.spec;
    let shapes = spec.shapes().ok()?;
    let dense = macs_by_node(spec, &Fractions::dense(spec));
    let gated = gated_convs(spec);
    let row_of = |i: usize, conv: usize, gate: Option<usize>, d: Density| {
        let channels = shapes[conv][0];
        let asked = if gate.is_some() {
            d.of(channels) as f64 / channels as f64
        } else {
            1.0
        };
        let macs_dense = dense[conv] + gate.map_or(0, |g| dense[g]);
        (
            i,
            LayerRow {
                name: spec.nodes[conv].name.clone(),
                channels,
                kept: asked,
                asked,
                macs: macs_dense,
                macs_dense,
            },
        )
    };
    let answer = store.answer.as_ref();
    let asked_of = |i: usize| {
        answer
            .and_then(|a| a.question.densities.get(i))
            .copied()
            .unwrap_or(asked)
    };
    let mut rows: Vec<LayerRow> = match gated.is_empty() {
        false => gated
            .iter()
            .enumerate()
            .map(|(i, &(conv, gate))| row_of(i, conv, Some(gate), asked_of(i)).1)
            .collect(),
        true => spec
            .convs()
            .iter()
            .enumerate()
            .map(|(i, &conv)| row_of(i, conv, None, Density::FULL).1)
            .collect(),
    };
    let measured = answer.filter(|a| a.layers.len() == rows.len());
    match measured {
        Some(answer) => {
            for (row, state) in rows.iter_mut().zip(answer.layers.iter()) {
                row.kept = f64::from(state.kept);
                row.macs = state.macs;
            }
        }
        None if !gated.is_empty() => {
            let nominal = macs_by_node(spec, &Fractions::nominal(spec, &vec![asked; gated.len()]).ok()?);
            for (row, &(conv, gate)) in rows.iter_mut().zip(&gated) {
                row.macs = nominal[conv] + nominal[gate];
            }
        }
        None => {}
    }
    Some(LayersView {
        measured: measured.is_some(),
        rows,
    })
}

/// MACs of each node of the network.
fn macs_by_node(spec: &NetSpec, fractions: &Fractions) -> Vec<u64> {
    let mut out = vec![0; spec.nodes.len()];
    for layer in cost::by_layer(spec, &Masks::new(), fractions).unwrap_or_default() {
        out[layer.node] = layer.cost.macs;
    }
    out
}

/// Each gate with the convolution it gates, in network order.
fn gated_convs(spec: &NetSpec) -> Vec<(usize, usize)> {
    let conv_behind = |gate: usize| {
        let mut at = *spec.nodes[gate].inputs.first()?;
        while !matches!(spec.nodes[at].op, Op::Conv { .. }) {
            at = *spec.nodes[at].inputs.first()?;
        }
        Some((at, gate))
    };
    spec.gates().into_iter().filter_map(conv_behind).collect()
}
