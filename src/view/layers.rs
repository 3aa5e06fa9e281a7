//! The gated layers of the open model side by side: how much of each runs, and what it costs.
//! Knows nothing of single channels.

use super::frontier::PointSource;
use super::text;
use lab::RunStore;
use measure::Question;
use model::{Density, Fractions, Masks, NetSpec, Op, cost};
use record::RunState;
use serde::Serialize;

/// What the layers panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayersView {
    /// What the rows are of.
    pub title: String,
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
    /// MACs per image; none where they were not counted layer by layer.
    pub macs: Option<u64>,
    /// MACs per image with nothing gated away.
    pub macs_dense: u64,
    /// The gate that can be moved, counted in network order.
    pub gate: Option<usize>,
    /// The group that it is cut with, by its first layer; none if it cannot be cut.
    pub group: Option<String>,
    /// Filters of the layer in the network that the model began as, where those are more.
    pub began: Option<usize>,
}

impl LayerRow {
    /// `conv3: 62 % of 64 channels run, 1.2 M of 2.4 M MACs`.
    pub fn says(&self) -> String {
        let kept = text::whole_percent(self.kept);
        let began = self.began.map(|n| format!(" (of {n} at first)")).unwrap_or_default();
        let macs = match self.macs {
            Some(macs) => format!(", {} of {} MACs", text::count(macs), text::count(self.macs_dense)),
            None => String::new(),
        };
        format!("{}: {kept} of {} channels{began} run{macs}", self.name, self.channels)
    }
}

/// The layers of the open model; none without one. While nothing was measured, what was asked promises.
pub fn layers(store: &RunStore, asked: &Question) -> Option<LayersView> {
    let open = store.open.as_ref()?;
    let spec = &open.header.spec;
    let shapes = spec.shapes().ok()?;
    let dense = macs_by_node(spec, &Fractions::dense(spec));
    let gated = gated_convs(spec);
    let row = |conv: usize, gate: Option<(usize, usize)>| {
        let channels = shapes[conv][0];
        let kept = match gate {
            Some((i, _)) => {
                let d = asked.densities.get(i).copied().unwrap_or(Density::FULL);
                d.of(channels) as f64 / channels as f64
            }
            None => 1.0,
        };
        let macs_dense = dense[conv] + gate.map_or(0, |(_, node)| dense[node]);
        LayerRow {
            name: spec.nodes[conv].name.clone(),
            channels,
            kept,
            asked: kept,
            macs: Some(macs_dense),
            macs_dense,
            gate: gate.map(|(i, _)| i),
            group: None,
            began: None,
        }
    };
    let mut rows: Vec<LayerRow> = if gated.is_empty() {
        spec.convs().into_iter().map(|conv| row(conv, None)).collect()
    } else {
        let each = gated.iter().enumerate();
        each.map(|(i, &(conv, gate))| row(conv, Some((i, gate)))).collect()
    };
    if !gated.is_empty() {
        let nominal = macs_by_node(spec, &Fractions::nominal(spec, &asked.densities).ok()?);
        for (row, &(conv, gate)) in rows.iter_mut().zip(&gated) {
            row.macs = Some(nominal[conv] + nominal[gate]);
        }
    }
    let answer = store.answer.as_ref();
    for row in &mut rows {
        let known = answer.and_then(|a| a.layers.iter().find(|l| l.name == row.name));
        if let Some(state) = known {
            row.kept = f64::from(state.kept);
            row.macs = Some(state.macs);
        }
        let groups = answer
            .and_then(|a| a.plan.as_ref())
            .map_or(&[][..], |plan| &plan.groups);
        if let Some(group) = groups.iter().find(|g| g.has(&row.name)) {
            row.group = Some(group.name.clone());
            if gated.is_empty() {
                row.asked = group.n_kept() as f64 / group.kept.len().max(1) as f64;
            }
        }
    }
    let measured = answer.filter(|a| a.n > 0 || a.question.cut.is_some());
    Some(LayersView {
        title: open.name.clone(),
        measured: measured.is_some(),
        rows,
    })
}

/// The layers of a point of the frontier, as far as they are known: a trial's sites, or one density for every gate of a run's network.
pub fn of_source(store: &RunStore, source: &PointSource) -> Option<LayersView> {
    match source {
        PointSource::Recorded(_) | PointSource::Measured(_) => None,
        PointSource::Trial(run, search, number) => of_trial(store.run(*run)?, *search, *number),
        PointSource::Epoch(run, density) => of_run(store.run(*run)?, *density),
    }
}

fn of_trial(run: &RunState, search: usize, number: u64) -> Option<LayersView> {
    let state = run.searches.get(search)?;
    let trial = state.trials.iter().find(|t| t.trial.number == number)?;
    let dense = run
        .spec
        .as_ref()
        .map(|spec| (spec, macs_by_node(spec, &Fractions::dense(spec))));
    let macs_of = |name: &str| {
        let (spec, macs) = dense.as_ref()?;
        let node = spec.nodes.iter().position(|n| n.name == name)?;
        Some(macs[node])
    };
    let rows = state.start.sites.iter().zip(trial.trial.densities.iter());
    let rows = rows.map(|(site, &d)| LayerRow {
        name: site.name.clone(),
        channels: site.choices,
        kept: f64::from(d),
        asked: f64::from(d),
        macs: None,
        macs_dense: macs_of(&site.name).unwrap_or(0),
        gate: None,
        group: None,
        began: None,
    });
    Some(LayersView {
        title: format!("{}, trial {number}", run.title()),
        measured: false,
        rows: rows.collect(),
    })
}

/// A run's layers at a density, as last measured.
pub fn of_run(run: &RunState, density: Density) -> Option<LayersView> {
    let spec = run.spec.as_ref()?;
    let shapes = spec.shapes().ok()?;
    let dense = macs_by_node(spec, &Fractions::dense(spec));
    let gated = gated_convs(spec);
    let measured = run.layers_at(density);
    let known = |name: &str| measured?.iter().find(|l| l.name == name);
    let rows = spec.convs().into_iter().map(|conv| {
        let name = &spec.nodes[conv].name;
        let channels = shapes[conv][0];
        let has_gate = gated.iter().any(|&(c, _)| c == conv);
        let asked = if has_gate {
            density.of(channels) as f64 / channels as f64
        } else {
            1.0
        };
        LayerRow {
            name: name.clone(),
            channels,
            kept: known(name).map_or(asked, |l| f64::from(l.kept)),
            asked,
            macs: known(name).map(|l| l.macs),
            macs_dense: dense[conv],
            gate: None,
            group: None,
            began: None,
        }
    });
    Some(LayersView {
        title: format!("{} at density {density}", run.title()),
        measured: measured.is_some(),
        rows: rows.collect(),
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
