//! A network as a table: each layer with its shapes and cost, what is left of what it began as, and what must be cut together.
//! Knows nothing of time.

use super::text;
use measure::probe::OpenModel;
use model::{Fractions, Masks, NetSpec, Op, cost};
use prune::groups::{Group, Groups, groups};
use record::Experiment;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the model panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelView {
    /// The model's name.
    pub title: String,
    /// The network it began as, if the model says so.
    pub from: Option<String>,
    /// In network order.
    pub rows: Vec<NodeRow>,
    /// MACs per image: now, and of what it began as.
    pub macs: [u64; 2],
    /// Parameters: now, and of what it began as.
    pub params: [u64; 2],
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// `[channels, height, width]` of what it reads.
    pub input: [usize; 3],
    /// The same of what it gives.
    pub output: [usize; 3],
    /// MACs per image: now, and before pruning.
    pub macs: [u64; 2],
    /// Parameters: now, and before pruning.
    pub params: [u64; 2],
    /// Filters: left, and before pruning. Convolutions and linear layers alone.
    pub filters: Option<[usize; 2]>,
    /// Columns that are left of those there are.
    pub columns: Option<[usize; 2]>,
    /// What it is cut together with, and through what; or why it cannot be cut.
    pub tied: String,
}

impl ModelView {
    /// `small, from vgg16: 1.2 M of 2.4 M MACs (50.0 %), 12 k parameters`.
    pub fn summary(&self) -> String {
        let from = self.from.as_ref().map_or_else(String::new, |f| format!(", from {f}"));
        let left = |[now, before]: [u64; 2], what: &str| {
            let share = text::percent(now as f64 / before.max(1) as f64);
            // A gated network has more than the one it began as.
            if now >= before {
                format!("{} {what}", text::count(now))
            } else {
                format!("{} of {} {what} ({share})", text::count(now), text::count(before))
            }
        };
        let (macs, params) = (left(self.macs, "MACs"), left(self.params, "parameters"));
        format!("{}{from}: {macs}, {params}", self.title)
    }
}

impl NodeRow {
    /// Titles of the columns of the table, with the terms that explain them.
    pub const COLUMNS: [(&'static str, &'static str); 9] = [
        ("layer", ""),
        ("kind", ""),
        ("input", ""),
        ("output", ""),
        ("filters", "filter"),
        ("columns", "column"),
        ("MACs", "macs"),
        ("parameters", "params"),
        ("cut together", "group"),
    ];

    /// What the table shows after the layer's name.
    pub fn cells(&self) -> [String; 8] {
        let shape = |[c, h, w]: [usize; 3]| match h * w {
            1 => c.to_string(),
            _ => format!("{c}×{h}×{w}"),
        };
        let of = |now: String, before: String| {
            if now == before {
                now
            } else {
                format!("{now} of {before}")
            }
        };
        let left =
            |n: Option<[usize; 2]>| n.map_or_else(String::new, |[now, all]| of(now.to_string(), all.to_string()));
        let cost = |[now, before]: [u64; 2]| match before {
            0 => String::new(),
            _ => of(text::count(now), text::count(before)),
        };
        [
            self.kind.clone(),
            shape(self.input),
            shape(self.output),
            left(self.filters),
            left(self.columns),
            cost(self.macs),
            cost(self.params),
            self.tied.clone(),
        ]
    }
}

/// The table of a model. What does not follow from the file is left out.
pub fn model(open: &OpenModel) -> Option<ModelView> {
    let spec = &open.header.spec;
    let shapes = spec.shapes().ok()?;
    let before = origin(open);
    let now = costs(spec, &open.masks);
    let dense = match &before {
        Some(b) => costs(b, &Masks::new()),
        None => costs(spec, &Masks::new()),
    };
    let axes = groups(spec).ok();
    let whole = before.as_ref().unwrap_or(spec);
    let filters_before = |name: &str| whole.nodes.iter().find(|n| n.name == name).and_then(|n| filters(&n.op));
    let row = |(i, node): (usize, &model::spec::Node)| {
        let is_layer = matches!(node.op, Op::Conv { .. } | Op::Linear { .. });
        let (macs, params) = now.get(&node.name).copied().unwrap_or_default();
        let (macs_dense, params_dense) = dense.get(&node.name).copied().unwrap_or_default();
        let mask = open.masks.get(&node.name);
        let count = |flags: &[bool]| flags.iter().filter(|&&f| f).count();
        let own = filters(&node.op).unwrap_or(0);
        let left = mask.map_or(own, |m| count(&m.filters));
        let columns = mask.map(|m| [count(&m.columns), m.columns.len()]);
        let input = node.inputs.first().map_or(shapes[i], |&from| shapes[from]);
        NodeRow {
            name: node.name.clone(),
            kind: kind(&node.op),
            input,
            output: shapes[i],
            macs: [macs, macs_dense],
            params: [params, params_dense],
            filters: is_layer.then(|| [left, filters_before(&node.name).unwrap_or(own)]),
            columns: columns.filter(|_| is_layer),
            tied: if is_layer {
                axes.as_ref().map_or_else(String::new, |g| tied(spec, g, i))
            } else {
                String::new()
            },
        }
    };
    let sum = |of: &BTreeMap<String, (u64, u64)>| of.values().fold((0, 0), |(m, p), (a, b)| (m + a, p + b));
    let ((macs, params), (macs_dense, params_dense)) = (sum(&now), sum(&dense));
    Some(ModelView {
        title: open.name.clone(),
        from: before.as_ref().map(|b| b.name.clone()),
        rows: spec.nodes.iter().enumerate().map(row).collect(),
        macs: [macs, macs_dense],
        params: [params, params_dense],
    })
}

/// The dense network that the model's recipe builds, if it has the same input and classes.
pub(crate) fn origin(open: &OpenModel) -> Option<NetSpec> {
    let recipe = Experiment::parse(&open.header.recipe, &[]).ok()?;
    let shapes = open.header.spec.shapes().ok()?;
    recipe.model.build(shapes[0], open.header.classes.len()).ok()
}

fn costs(spec: &NetSpec, masks: &Masks) -> BTreeMap<String, (u64, u64)> {
    let layers = cost::by_layer(spec, masks, &Fractions::dense(spec)).unwrap_or_default();
    let each = layers.into_iter().map(|l| (l.name, (l.cost.macs, l.cost.params)));
    each.collect()
}

fn filters(op: &Op) -> Option<usize> {
    match *op {
        Op::Conv { filters, .. } => Some(filters),
        Op::Linear { outputs, .. } => Some(outputs),
        _ => None,
    }
}

fn kind(op: &Op) -> String {
    match *op {
        Op::Conv {
            kernel, stride, groups, ..
        } => {
            let stride = if stride > 1 {
                format!(" / {stride}")
            } else {
                String::new()
            };
            let grouped = if groups > 1 {
                format!(", {groups} groups")
            } else {
                String::new()
            };
            format!("conv {kernel}×{kernel}{stride}{grouped}")
        }
        Op::MaxPool { kernel, stride, .. } | Op::AvgPool { kernel, stride, .. } => {
            format!("{} {kernel}×{kernel} / {stride}", op.kind())
        }
        _ => op.kind().to_owned(),
    }
}

/// `tied to conv3, conv5 by add1`, or why it cannot be cut.
fn tied(spec: &NetSpec, groups: &Groups, node: usize) -> String {
    let own: Vec<&Group> = groups.of_node(node).into_iter().map(|g| &groups.list[g]).collect();
    if let Some(why) = own.iter().find_map(|group| group.fixed.as_ref()) {
        return format!("never cut: {why}");
    }
    let names = |mut nodes: Vec<usize>| -> Vec<String> {
        nodes.sort_unstable();
        nodes.dedup();
        nodes.into_iter().map(|n| spec.nodes[n].name.clone()).collect()
    };
    let producers = own.iter().flat_map(|group| &group.producers).map(|p| p.node);
    let others = names(producers.filter(|&n| n != node).collect());
    if others.is_empty() {
        return String::new();
    }
    let on = own.iter().flat_map(|group| &group.nodes).copied();
    let sums = names(on.filter(|&n| matches!(spec.nodes[n].op, Op::Add | Op::Mul)).collect());
    let by = if sums.is_empty() {
        String::new()
    } else {
        format!(" by {}", sums.join(", "))
    };
    format!("tied to {}{by}", others.join(", "))
}
