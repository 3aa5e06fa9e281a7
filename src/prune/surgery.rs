//! Removes masked channels for good, without changing a model's outputs.
//!
//! A channel is cut when every reader of its group either has no weight for it or sees one constant there. Constants
//! other than zero are folded into the reader: into its norm's mean or its bias, or a gate's ρ. Where that would not be
//! exact (a padded border sees fewer constants than the middle) the channel stays, and a note says why.
//! Each group keeps at least one channel. Where the model's header asks for widths of a multiple, dead channels stay as padding,
//! masked wherever they are written or read. Behind gates there is none: a density counts channels.

use super::apply::zero;
use super::groups::{Group, Groups, Place, groups};
use super::values::{constants, conv_groups, is_inside, is_scale_free, masked_weight, norm_after, taps};
use super::width;
use anyhow::{Context, Result};
use model::checkpoint::Checkpoint;
use model::mask::LayerMask;
use model::spec::{NetSpec, Op, Shape};
use model::{Array, Weights};
use std::collections::BTreeMap;

/// A smaller model, and what could not be cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The same function at density 1. Behind a gate, ⌈C·d⌉ counts the channels that are left.
    pub checkpoint: Checkpoint,
    /// One line each: what is masked and stays, and why.
    pub notes: Vec<String>,
}

/// Cuts out of a masked model all that changes nothing: dead channels, channels that nobody reads, and what becomes so by that.
/// Masked columns and single weights of what stays remain masks.
///
/// # Errors
/// Parts that do not fit each other.
pub fn cut(checkpoint: &Checkpoint) -> Result<Cut> {
    checkpoint.check()?;
    let mut checkpoint = checkpoint.clone();
    zero(&mut checkpoint)?;
    let mut surgeon = Surgeon::new(&checkpoint)?;
    surgeon.find();
    surgeon.pad();
    let notes = surgeon.notes();
    let checkpoint = surgeon.build()?;
    checkpoint.check()?;
    Ok(Cut { checkpoint, notes })
}

/// Why a reader holds a channel.
enum Held {
    /// It sees something that is not one known number.
    Varies,
    /// It sees a constant, but not at the border.
    Border(f32),
}

struct Surgeon<'a> {
    checkpoint: &'a Checkpoint,
    spec: &'a NetSpec,
    shapes: Vec<Shape>,
    groups: Groups,
    /// By node, for layers with weights: with zeros where they are masked.
    weights: Vec<Vec<f32>>,
    values: Vec<Vec<Option<f32>>>,
    norms: Vec<Option<usize>>,
    kept: Vec<Vec<bool>>,
    /// By group, the channels that are kept and those that pad its width.
    present: Vec<Vec<bool>>,
    /// By node, how many of its channels stay.
    left: Vec<usize>,
}

impl<'a> Surgeon<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Result<Self> {
        let spec = checkpoint.spec();
        let groups = groups(spec)?;
        let has_weights = |i: usize| matches!(spec.nodes[i].op, Op::Conv { .. } | Op::Linear { .. });
        let weights = |i: usize| {
            if has_weights(i) {
                masked_weight(checkpoint, i)
            } else {
                Vec::new()
            }
        };
        Ok(Self {
            checkpoint,
            spec,
            shapes: spec.shapes()?,
            kept: groups.list.iter().map(|g| vec![true; g.channels]).collect(),
            present: Vec::new(),
            left: (0..spec.nodes.len()).map(|i| groups.channels(i).len()).collect(),
            weights: (0..spec.nodes.len()).map(weights).collect(),
            values: constants(checkpoint)?,
            norms: norm_after(spec),
            groups,
        })
    }

    /// Takes channels out until no more can go. A reader's own channels may be gone before: the last groups come first.
    fn find(&mut self) {
        // By group and channel, the nodes that have it, as often as they do.
        let mut nodes: Vec<Vec<Vec<usize>>> = self.kept.iter().map(|kept| vec![Vec::new(); kept.len()]).collect();
        for i in 0..self.spec.nodes.len() {
            for at in self.groups.channels(i) {
                nodes[at.group][at.channel].push(i);
            }
        }
        loop {
            let mut found = false;
            for g in (0..self.kept.len()).rev() {
                let group = &self.groups.list[g];
                for c in (0..group.channels).rev() {
                    let others = nodes[g][c]
                        .chunk_by(|a, b| a == b)
                        .all(|same| self.left[same[0]] > same.len());
                    let enough = group.least == 1 || self.kept[g].iter().filter(|k| **k).count() > group.least;
                    let can_go = enough && others && group.fixed.is_none();
                    if self.kept[g][c] && can_go && self.holder(group, c).is_none() {
                        self.kept[g][c] = false;
                        nodes[g][c].iter().for_each(|&i| self.left[i] -= 1);
                        found = true;
                    }
                }
            }
            if !found {
                return;
            }
        }
    }

    /// Pads widths to multiples: columns that fell away may have left channels without readers.
    fn pad(&mut self) {
        self.present.clone_from(&self.kept);
        let multiple = self.checkpoint.header.width_multiple;
        let groups = self.groups.list.iter().zip(&mut self.present);
        for (group, present) in groups.filter(|(group, _)| group.gates.is_empty()) {
            let left = present.iter().filter(|&&k| k).count();
            let missing = width::at_least(left, present.len(), group.multiple(multiple)) - left;
            present
                .iter_mut()
                .filter(|k| !**k)
                .take(missing)
                .for_each(|k| *k = true);
        }
    }

    /// The first reader that needs the channel.
    fn holder(&self, group: &Group, c: usize) -> Option<(usize, Held)> {
        let consumers = group.consumers.iter().map(|r| (r, self.spec.nodes[r.node].inputs[0]));
        let predictors = group.predictors.iter().map(|r| (r, self.spec.nodes[r.node].inputs[1]));
        let mut readers = consumers.chain(predictors);
        readers.find_map(|(reader, from)| Some((reader.node, self.holds(reader, from, c)?)))
    }

    fn holds(&self, reader: &Place, from: usize, c: usize) -> Option<Held> {
        let node = &self.spec.nodes[reader.node];
        let taps = self.taps(reader.node);
        let groups = conv_groups(&node.op);
        let each = self.values[from].len() / groups;
        for (group, feature) in (0..groups).flat_map(|g| reader.features(c).map(move |f| (g, f))) {
            let value = self.values[from][group * each + feature];
            if value == Some(0.0) {
                continue;
            }
            if is_scale_free(&node.op) {
                return Some(Held::Varies);
            }
            for tap in 0..taps {
                if !self.reads(reader.node, group, feature * taps + tap) {
                    continue;
                }
                let Some(value) = value else { return Some(Held::Varies) };
                let input = self.shapes[from];
                if !is_inside(&node.op, input, self.shapes[reader.node], tap) {
                    return Some(Held::Border(value));
                }
            }
        }
        None
    }

    fn taps(&self, node: usize) -> usize {
        taps(&self.spec.nodes[node].op)
    }

    /// Whether a filter (or predictor) of a group that stays has a weight in this column.
    fn reads(&self, node: usize, group: usize, column: usize) -> bool {
        let filters = self.shapes[node][0];
        let kept = self.rows(node);
        if let Op::Gate { .. } = self.spec.nodes[node].op {
            let phi = &self.array(node, "phi").data[column * filters..][..filters];
            return phi.iter().zip(kept).any(|(w, kept)| kept && *w != 0.0);
        }
        let columns = self.weights[node].len() / filters;
        let each = filters / conv_groups(&self.spec.nodes[node].op);
        let mut own = kept.enumerate().skip(group * each).take(each);
        own.any(|(f, kept)| kept && self.weights[node][f * columns + column] != 0.0)
    }

    /// Which features of a node stay.
    fn rows(&self, node: usize) -> impl Iterator<Item = bool> + '_ {
        self.features(&self.kept, node)
    }

    /// Which features of a node are there in the end: those that stay, and padding.
    fn present_rows(&self, node: usize) -> impl Iterator<Item = bool> + '_ {
        self.features(&self.present, node)
    }

    fn features<'s>(&'s self, channels: &'s [Vec<bool>], node: usize) -> impl Iterator<Item = bool> + 's {
        let positions = self.groups.positions(node);
        let of = self.groups.channels(node).iter();
        of.flat_map(move |at| std::iter::repeat_n(channels[at.group][at.channel], positions))
    }

    fn array(&self, node: usize, what: &str) -> &'a Array {
        &self.checkpoint.weights[&format!("{}.{what}", self.spec.nodes[node].name)]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (g, group) in self.groups.list.iter().enumerate() {
            let left = self.kept[g].iter().filter(|&&k| k).count();
            for gate in group.gates.iter().filter(|_| left < group.channels) {
                let name = &self.spec.nodes[gate.node].name;
                notes.push(format!(
                    "{name}: a density is now a share of {left} channels, not of {}",
                    group.channels
                ));
            }
            let mut held: BTreeMap<String, usize> = BTreeMap::new();
            for c in (0..group.channels).filter(|&c| self.kept[g][c] && self.is_dead(group, c)) {
                *held.entry(self.reason(group, c)).or_default() += 1;
            }
            for (reason, n) in held {
                let channels = if n == 1 {
                    "dead channel stays"
                } else {
                    "dead channels stay"
                };
                notes.push(format!("{}: {n} {channels}: {reason}", group.name));
            }
        }
        notes
    }

    /// Whether all filters of a channel are empty.
    fn is_dead(&self, group: &Group, c: usize) -> bool {
        let is_empty = |p: &Place| {
            let weights = &self.weights[p.node];
            let columns = weights.len() / self.shapes[p.node][0];
            let row = |f: usize| &weights[f * columns..][..columns];
            p.filter(c).is_none_or(|f| row(f).iter().all(|w| *w == 0.0))
        };
        !group.producers.is_empty() && group.producers.iter().all(is_empty)
    }

    fn reason(&self, group: &Group, c: usize) -> String {
        if let Some(why) = &group.fixed {
            return why.clone();
        }
        match self.holder(group, c) {
            None if group.least > 1 => format!("{} must", group.least),
            None => "one must".to_owned(),
            Some((node, Held::Varies)) => {
                let name = &self.spec.nodes[node].name;
                format!("{name} reads more of it than one constant")
            }
            Some((node, Held::Border(value))) => {
                let name = &self.spec.nodes[node].name;
                format!("it is {value} everywhere, and {name} pads with zeros")
            }
        }
    }

    fn build(&self) -> Result<Checkpoint> {
        let mut out = self.checkpoint.clone();
        out.weights = Weights::new();
        for (group, kept) in self
            .groups
            .list
            .iter()
            .zip(&self.kept)
            .filter(|(_, k)| k.contains(&false))
        {
            let all = || (0..kept.len() as u32).collect();
            let before: Vec<u32> = out.header.channels.remove(&group.name).unwrap_or_else(all);
            out.header.channels.insert(group.name.clone(), only(&before, kept));
        }
        for (i, node) in self.spec.nodes.iter().enumerate() {
            let rows: Vec<bool> = self.present_rows(i).collect();
            match node.op {
                Op::Conv { .. } | Op::Linear { .. } => self.layer(&mut out, i, &rows),
                Op::Norm { affine: true, .. } | Op::LayerNorm { .. } => ["gamma", "beta"]
                    .iter()
                    .for_each(|what| self.put(&mut out, i, what, &rows)),
                Op::Gate { .. } => {
                    ["rho", "beta"]
                        .iter()
                        .for_each(|what| self.put(&mut out, i, what, &rows));
                    self.predictor(&mut out, i, &rows);
                }
                Op::Select { ref channels } => {
                    let place: Vec<usize> = self
                        .present_rows(node.inputs[0])
                        .scan(0, |n, kept| Some(std::mem::replace(n, *n + usize::from(kept))))
                        .collect();
                    let left = only(channels, &rows).into_iter().map(|c| place[c]).collect();
                    out.header.spec.nodes[i].op = Op::Select { channels: left };
                }
                _ => {}
            }
            if let Op::Norm { .. } = node.op {
                for stats in out.stats.values_mut() {
                    let moments = stats.get_mut(&node.name).context("statistics are checked")?;
                    // Folded before: a norm stands behind its convolution.
                    moments.mean = only(&moments.mean, &rows);
                    moments.var = only(&moments.var, &rows);
                }
            }
        }
        // What pads has kept its numbers.
        zero(&mut out)?;
        Ok(out)
    }

    fn put(&self, out: &mut Checkpoint, node: usize, what: &str, rows: &[bool]) {
        let data = only(&self.array(node, what).data, rows);
        let name = format!("{}.{what}", self.spec.nodes[node].name);
        out.weights.insert(name, data.into());
    }

    /// Which of a layer's columns read these channels; all where they are not the channels it reads.
    fn columns(&self, channels: &[Vec<bool>], node: usize) -> Vec<bool> {
        let from = self.spec.nodes[node].inputs[0];
        let taps = self.taps(node);
        let columns = self.weights[node].len() / self.shapes[node][0];
        if self.groups.sources(self.spec, node).is_none() {
            return vec![true; columns];
        }
        let features = self.features(channels, from).take(columns / taps);
        features.flat_map(|k| std::iter::repeat_n(k, taps)).collect()
    }

    fn layer(&self, out: &mut Checkpoint, node: usize, rows: &[bool]) {
        let name = &self.spec.nodes[node].name;
        let columns = self.columns(&self.present, node);
        let read = self.columns(&self.kept, node);
        let from = self.spec.nodes[node].inputs[0];
        let taps = self.taps(node);
        let mut weight = Array::default();
        let mut folded = Vec::with_capacity(rows.len());
        let groups = conv_groups(&self.spec.nodes[node].op);
        let each = self.values[from].len() / groups;
        for (f, row) in self.weights[node].chunks_exact(columns.len().max(1)).enumerate() {
            let first = f * groups / rows.len() * each;
            let gone = row.iter().enumerate().filter(|(c, w)| !read[*c] && **w != 0.0);
            // What nobody reads may be anything.
            let sum: f64 = gone
                .map(|(c, w)| f64::from(*w) * f64::from(self.values[from][first + c / taps].unwrap_or(0.0)))
                .sum();
            folded.push(sum as f32);
        }
        for (row, _) in self.weights[node]
            .chunks_exact(columns.len().max(1))
            .zip(rows)
            .filter(|(_, k)| **k)
        {
            weight.data.extend(only(row, &columns));
        }
        let count = |bits: &[bool]| bits.iter().filter(|&&b| b).count();
        let filters = count(rows);
        weight.shape = self.array(node, "weight").shape.clone();
        weight.shape[0] = filters;
        if let Some(inputs) = weight.shape.get_mut(1) {
            *inputs = count(&columns) / taps;
        }
        out.weights.insert(format!("{name}.weight"), weight);
        let is_folded = rows.iter().zip(&folded).any(|(k, v)| *k && *v != 0.0);
        let mut bias = self
            .checkpoint
            .weights
            .get(&format!("{name}.bias"))
            .map(|b| b.data.clone());
        match self.norms[node] {
            Some(norm) => {
                for stats in out.stats.values_mut() {
                    let mean = stats.get_mut(&self.spec.nodes[norm].name).map(|m| &mut m.mean);
                    mean.into_iter().flatten().zip(&folded).for_each(|(m, v)| *m -= v);
                }
            }
            None if is_folded => {
                let bias = bias.get_or_insert_with(|| vec![0.0; rows.len()]);
                bias.iter_mut().zip(&folded).for_each(|(b, v)| *b += v);
            }
            None => {}
        }
        let has_bias = bias.is_some();
        if let Some(bias) = bias {
            out.weights.insert(format!("{name}.bias"), only(&bias, rows).into());
        }
        match &mut out.header.spec.nodes[node].op {
            Op::Conv {
                filters: f,
                bias,
                groups,
                ..
            } => {
                if self.groups.sources(self.spec, node).is_none() {
                    *groups = *groups * filters / rows.len();
                }
                (*f, *bias) = (filters, has_bias);
            }
            Op::Linear { outputs, bias } => (*outputs, *bias) = (filters, has_bias),
            _ => {}
        }
        let mut mask = self.checkpoint.mask(name);
        let is_live = |mask: &mut Vec<bool>, live: &mut dyn Iterator<Item = bool>| {
            mask.iter_mut().zip(live).for_each(|(kept, live)| *kept &= live);
        };
        is_live(&mut mask.filters, &mut self.rows(node));
        is_live(&mut mask.columns, &mut read.into_iter());
        let mask = smaller(&mask, rows, &columns);
        out.masks.remove(name);
        if mask.count() < mask.filters.len() * mask.columns.len() {
            out.masks.insert(name.clone(), mask);
        }
    }

    /// φ without rows and columns that are gone; constants go to ρ.
    fn predictor(&self, out: &mut Checkpoint, node: usize, own: &[bool]) {
        let name = &self.spec.nodes[node].name;
        let from = self.spec.nodes[node].inputs[1];
        let phi = &self.array(node, "phi").data;
        let mut rho = self.array(node, "rho").data.clone();
        let mut left = Array::default();
        let mut inputs = 0;
        for (((row, kept), present), value) in phi
            .chunks_exact(own.len().max(1))
            .zip(self.rows(from))
            .zip(self.present_rows(from))
            .zip(&self.values[from])
        {
            if present {
                inputs += 1;
                let row = only(row, own);
                left.data.extend(row.iter().map(|w| if kept { *w } else { 0.0 }));
            }
            if !kept {
                rho.iter_mut()
                    .zip(row)
                    .for_each(|(r, w)| *r += value.unwrap_or(0.0).abs() * w);
            }
        }
        if is_scale_free(&self.spec.nodes[node].op) {
            // Channels that are gone were zero, and no longer count in the mean of squares.
            let scale = (self.features(&self.present, from).count() as f32 / inputs.max(1) as f32).sqrt();
            left.data.iter_mut().for_each(|w| *w *= scale);
        }
        let data = only(&rho, own);
        left.shape = vec![inputs, data.len()];
        out.weights.insert(format!("{name}.rho"), data.into());
        out.weights.insert(format!("{name}.phi"), left);
    }
}

fn only<T: Copy>(values: &[T], kept: &[bool]) -> Vec<T> {
    values.iter().zip(kept).filter(|(_, k)| **k).map(|(v, _)| *v).collect()
}

fn smaller(mask: &LayerMask, rows: &[bool], columns: &[bool]) -> LayerMask {
    let elements = mask
        .elements
        .chunks_exact(columns.len().max(1))
        .zip(rows)
        .filter(|(_, k)| **k);
    let mut out = LayerMask {
        filters: only(&mask.filters, rows),
        columns: only(&mask.columns, columns),
        elements: elements.flat_map(|(row, _)| only(row, columns)).collect(),
    };
    let rectangle = LayerMask {
        elements: Vec::new(),
        ..out.clone()
    };
    if out.count() == rectangle.count() {
        out = rectangle;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::apply::apply;
    use super::*;
    use model::mask::Masks;
    use model::spec::Shift;
    use model::toy::{chain, conv, filters, node, without};
    use model::{Density, random_model, zoo};

    #[test]
    fn a_model_names_the_channels_that_are_left_however_often_it_was_cut() {
        let model = random_model(zoo::build("m-cifarnet", [3, 12, 12], 3, 0.1).expect("builds"), 1).expect("builds");
        let once = cut(&apply(&model, &without(&model, "conv1", &[0, 2])).expect("applies")).expect("cuts");
        let left = |c: &Checkpoint| c.header.channels["conv1"].clone();
        let n = filters(&model, "conv1") as u32;
        assert_eq!(
            left(&once.checkpoint),
            (0..n).filter(|c| ![0, 2].contains(c)).collect::<Vec<_>>()
        );
        let model = once.checkpoint;
        let twice = cut(&apply(&model, &without(&model, "conv1", &[1])).expect("applies")).expect("cuts");
        assert_eq!(
            left(&twice.checkpoint),
            (0..n).filter(|c| ![0, 2, 3].contains(c)).collect::<Vec<_>>()
        );
        assert_eq!(
            twice.checkpoint.header.channels.len(),
            1,
            "nothing is said of what is whole"
        );
    }

    #[test]
    fn a_constant_is_folded_where_no_border_shows_and_refused_where_one_does() {
        // Filters without weights whose bias stays, as in files from elsewhere.
        let of = |pad, bias| {
            let mut model = chain(pad, bias);
            model.weights.get_mut("a.weight").expect("there").data[2..].fill(0.0);
            cut(&model).map(|cut| (model, cut)).expect("cuts")
        };
        let (model, open) = of(0, false);
        assert_eq!((filters(&open.checkpoint, "a"), &open.notes[..]), (1, &[][..]));
        let sum = |f: usize| {
            2.0 * model.weights["b.weight"].data[f * 27 + 9..f * 27 + 18]
                .iter()
                .sum::<f32>()
        };
        let bias = &open.checkpoint.weights["b.bias"].data;
        assert!(
            (bias[0] - sum(0)).abs() < 1e-6 && (bias[1] - sum(1)).abs() < 1e-6,
            "channel 2 is zero behind its ReLU"
        );
        assert!(matches!(
            open.checkpoint.spec().nodes[3].op,
            Op::Conv { bias: true, .. }
        ));

        let (_, padded) = of(1, false);
        assert_eq!(filters(&padded.checkpoint, "a"), 2);
        assert_eq!(
            padded.notes,
            ["a: 1 dead channel stays: it is 2 everywhere, and b pads with zeros"]
        );
    }

    #[test]
    fn constants_go_to_the_mean_of_a_norm_and_to_the_gates_rho() {
        let spec = NetSpec {
            name: "gated".into(),
            input: [1, 4, 4],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(2, 1, 0, true), &[0]),
                node("b", conv(2, 1, 0, false), &[1]),
                node(
                    "b.norm",
                    Op::Norm {
                        eps: 0.0,
                        affine: false,
                    },
                    &[2],
                ),
                node("b.gate", Op::Gate(Shift::Eq1.into()), &[3, 1]),
                node("flat", Op::Flatten, &[4]),
                node("last", Op::Linear { outputs: 2, bias: true }, &[5]),
            ],
        };
        let mut model = random_model(spec, 2).expect("builds");
        let mut set = |name: &str, data: &[f32]| model.weights.get_mut(name).expect("there").data = data.to_vec();
        set("a.bias", &[0.0, -3.0]);
        set("b.weight", &[1.0, 2.0, 0.5, -1.0]);
        set("b.gate.phi", &[0.1, 0.2, 0.3, -0.4]);
        set("b.gate.rho", &[1.0, 1.5]);
        let half = Density::percent(50).expect("valid");
        let mut stats = model.stats[&Density::FULL].clone();
        stats.get_mut("b.norm").expect("there").mean = vec![1.0, 1.0];
        model.stats.insert(half, stats);
        model.header.densities = vec![half, Density::FULL];
        model.weights.get_mut("a.weight").expect("there").data[1] = 0.0;
        let out = cut(&model).expect("cuts").checkpoint;
        assert_eq!(out.stats[&Density::FULL]["b.norm"].mean, [6.0, -3.0]);
        assert_eq!(out.stats[&half]["b.norm"].mean, [7.0, -2.0]);
        let close = |name: &str, want: [f32; 2]| {
            let got = &out.weights[name].data;
            assert!(
                got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6),
                "{name}: {got:?}"
            );
        };
        close("b.gate.rho", [1.9, 0.3]);
        close("b.gate.phi", [0.1, 0.2]);
        close("b.weight", [1.0, 0.5]);
    }

    #[test]
    fn dead_paths_go_to_the_end() {
        let spec = zoo::build("m-cifarnet", [3, 16, 16], 4, 0.06).expect("builds");
        let model = random_model(spec, 1).expect("builds");
        // All columns of conv6's channel 3 are masked, so conv5's filter 3 is for nothing.
        let mut mask = LayerMask::whole(12, 108);
        mask.columns[27..36].fill(false);
        let mut masks = Masks::from([("conv6".to_owned(), mask)]);
        // Only that filter reads conv4's channel 1.
        let mut mask = LayerMask::whole(12, 72);
        mask.elements = (0..12 * 72).map(|i| i / 72 == 3 || i % 72 / 9 != 1).collect();
        masks.insert("conv5".to_owned(), mask);
        let out = cut(&apply(&model, &masks).expect("applies")).expect("cuts");
        let counts = ["conv3", "conv4", "conv5", "conv6"].map(|name| filters(&out.checkpoint, name));
        assert_eq!(counts, [8, 7, 11, 12]);
        assert!(
            out.checkpoint.masks.is_empty() && out.notes.is_empty(),
            "{:?}",
            out.notes
        );
    }

    #[test]
    fn a_tied_channel_goes_only_if_all_its_producers_are_dead() {
        let spec = zoo::build("resnet18", [3, 16, 16], 4, 0.06).expect("builds");
        let model = random_model(spec, 1).expect("builds");
        let tied = ["stem", "stage1.0.conv2", "stage1.1.conv2"];
        let mut masks = Masks::new();
        for name in &tied[..2] {
            masks.extend(without(&model, name, &[2]));
        }
        let some = cut(&apply(&model, &masks).expect("applies")).expect("cuts");
        assert_eq!((filters(&some.checkpoint, "stem"), some.notes.len()), (4, 0));
        masks.extend(without(&model, tied[2], &[2]));
        let all = cut(&apply(&model, &masks).expect("applies")).expect("cuts").checkpoint;
        assert_eq!(tied.map(|name| filters(&all, name)), [3; 3]);
        assert_eq!(all.weights["stage2.0.shortcut.weight"].shape[1], 3);
    }

    #[test]
    fn one_channel_of_a_group_stays_though_nobody_reads_it() {
        let mut model = chain(0, true);
        model.weights.get_mut("b.weight").expect("there").data.fill(0.0);
        let out = cut(&model).expect("cuts");
        assert_eq!((filters(&out.checkpoint, "a"), filters(&out.checkpoint, "b")), (1, 1));
        assert_eq!(out.checkpoint.weights["last.weight"].shape, [2, 4]);
        assert_eq!(out.notes, ["b: 1 dead channel stays: one must"]);
    }

    #[test]
    fn a_gated_layer_says_that_its_density_is_of_fewer() {
        let plain = zoo::build("m-cifarnet", [3, 16, 16], 4, 0.06).expect("builds");
        let model = random_model(zoo::gated(&plain, Shift::Released), 1).expect("builds");
        let masked = apply(&model, &without(&model, "conv2", &[0, 5])).expect("applies");
        let out = cut(&masked).expect("cuts");
        assert_eq!(
            out.notes,
            ["conv2.gate: a density is now a share of 6 channels, not of 8"]
        );
        assert_eq!(out.checkpoint.weights["conv2.gate.phi"].shape, [4, 6]);
        assert_eq!(out.checkpoint.weights["conv3.gate.phi"].shape, [6, 8]);
        assert_eq!(out.checkpoint.stats[&Density::FULL]["conv2.norm"].mean.len(), 6);
    }
}
