//! Finds the sites of a network that a scope allows, with what counting needs laid out.

use super::apply::zero;
use super::groups::{ChannelRef, groups};
use super::scope::Scope;
use super::sites::{ChannelAxis, GateOf, Layer, Left, Sites};
use super::values::{constants, conv_groups, is_inside, is_scale_free, of_column, taps};
use super::width;
use anyhow::{Result, ensure};
use event::{Dimension, Site, Unit};
use model::Checkpoint;
use model::spec::{Op, Shape};

impl Sites {
    /// Finds what can be decided for a checkpoint. What its masks leave out stays out, and is no choice.
    ///
    /// # Errors
    /// Parts that do not fit each other, nothing to decide, gates among the dimensions, or columns where single weights are masked already.
    pub fn new(checkpoint: &Checkpoint, scope: &Scope) -> Result<Self> {
        checkpoint.check()?;
        ensure!(
            (0.0..=1.0).contains(&scope.floor),
            "floor {}, expected 0 to 1",
            scope.floor
        );
        let spec = checkpoint.spec();
        let groups = groups(spec)?;
        let shapes = spec.shapes()?;
        let mut sites = Self {
            list: Vec::new(),
            scope: scope.clone(),
            width_multiple: checkpoint.header.width_multiple,
            spec: spec.clone(),
            axes: Vec::new(),
            layers: Vec::new(),
            gates: Vec::new(),
            groups,
        };
        for i in 0..spec.nodes.len() {
            sites.layers.extend(sites.layer(checkpoint, i, &shapes));
        }
        for axis in 0..sites.groups.list.len() {
            let axis = sites.axis(axis);
            sites.axes.push(axis);
        }
        for (i, node) in spec.nodes.iter().enumerate() {
            if let Op::Gate { .. } = node.op {
                sites.gates.push(GateOf {
                    gated: sites.groups.channels(i).to_vec(),
                    reads: sites.groups.channels(node.inputs[1]).to_vec(),
                    positions: sites.groups.positions(node.inputs[1]),
                    plane: (shapes[i][1] * shapes[i][2]) as u64,
                });
            }
        }
        sites.hold(checkpoint, &shapes)?;
        sites.rank(&checkpoint.weights)?;
        sites.find()?;
        sites.rank(&checkpoint.weights)?;
        Ok(sites)
    }

    fn axis(&self, index: usize) -> ChannelAxis {
        let group = &self.groups.list[index];
        let mut is_given = vec![false; group.channels];
        let mut unmasked = vec![false; group.channels];
        for layer in &self.layers {
            for (at, kept) in layer
                .rows
                .iter()
                .zip(&layer.mask.filters)
                .filter(|(at, _)| at.group == index)
            {
                is_given[at.channel] = true;
                unmasked[at.channel] |= kept;
            }
        }
        let mut params = vec![0; group.channels];
        let mut nodes = group.nodes.clone();
        nodes.dedup();
        for i in nodes {
            let each = match self.spec.nodes[i].op {
                Op::Conv { bias: true, .. } | Op::Linear { bias: true, .. } => 1,
                Op::Norm { affine: true, .. } | Op::LayerNorm { .. } | Op::Gate { .. } => {
                    2 * self.groups.positions(i) as u64
                }
                _ => continue,
            };
            let own = self.groups.channels(i).iter().filter(|at| at.group == index);
            own.for_each(|at| params[at.channel] += each);
        }
        ChannelAxis {
            site: None,
            multiple: group.multiple(self.width_multiple),
            unmasked: unmasked
                .iter()
                .zip(is_given)
                .map(|(kept, given)| *kept || !given)
                .collect(),
            scores: Vec::new(),
            rank: Vec::new(),
            pinned: 0,
            params,
            stays: vec![false; group.channels],
        }
    }

    /// Finds what surgery will leave in place, from what channels are when all of them are dead.
    fn hold(&mut self, checkpoint: &Checkpoint, shapes: &[Shape]) -> Result<()> {
        let mut dead = checkpoint.clone();
        let is_free = |at: &ChannelRef| self.groups.list[at.group].fixed.is_none();
        for layer in &self.layers {
            let mut mask = layer.mask.clone();
            let filters = mask.filters.iter_mut().zip(&layer.rows);
            filters
                .filter(|(_, at)| is_free(at))
                .for_each(|(kept, _)| *kept = false);
            dead.masks.insert(self.spec.nodes[layer.node].name.clone(), mask);
        }
        zero(&mut dead)?;
        let values = constants(&dead)?;
        let (spec, groups) = (&self.spec, &self.groups);
        for layer in &self.layers {
            let Some(sources) = &layer.sources else { continue };
            let from = spec.nodes[layer.node].inputs[0];
            let (op, taps) = (&spec.nodes[layer.node].op, taps(&spec.nodes[layer.node].op));
            let inside: Vec<bool> = (0..taps)
                .map(|tap| is_inside(op, shapes[from], shapes[layer.node], tap))
                .collect();
            for (column, _) in layer.mask.columns.iter().enumerate().filter(|(_, kept)| **kept) {
                let can_go = |value: &Option<f32>| match value {
                    Some(value) => *value == 0.0 || inside[column % taps],
                    None => false,
                };
                let can_go = of_column(&values[from], op, column / taps).all(can_go);
                let at = sources[column / layer.block];
                self.axes[at.group].stays[at.channel] |= !can_go && groups.list[at.group].fixed.is_none();
            }
        }
        for node in spec.nodes.iter().filter(|n| matches!(n.op, Op::Gate { .. })) {
            let from = node.inputs[1];
            let is_read = |value: &Option<f32>| match value {
                Some(value) => is_scale_free(&node.op) && *value != 0.0,
                None => true,
            };
            for (feature, _) in values[from].iter().enumerate().filter(|(_, v)| is_read(v)) {
                let at = groups.channels(from)[feature / groups.positions(from)];
                self.axes[at.group].stays[at.channel] |= groups.list[at.group].fixed.is_none();
            }
        }
        for layer in &mut self.layers {
            let Some(sources) = &layer.sources else { continue };
            let (op, from) = (&spec.nodes[layer.node].op, spec.nodes[layer.node].inputs[0]);
            let features = values[from].len() / conv_groups(op) / layer.held.len();
            for (q, held) in layer.held.iter_mut().enumerate() {
                let mut own = (q * features..(q + 1) * features).flat_map(|f| of_column(&values[from], op, f));
                let is_zero = own.all(|v| *v == Some(0.0));
                *held = self.axes[sources[q].group].stays[sources[q].channel] && !is_zero;
            }
        }
        Ok(())
    }

    fn layer(&self, checkpoint: &Checkpoint, node: usize, shapes: &[Shape]) -> Option<Layer> {
        let (Op::Conv { .. } | Op::Linear { .. }) = self.spec.nodes[node].op else {
            return None;
        };
        let name = &self.spec.nodes[node].name;
        let mask = checkpoint.mask(name);
        let columns = mask.columns.len();
        let sources = self.groups.sources(&self.spec, node).map(<[_]>::to_vec);
        let block = sources.as_ref().map_or(columns, |s| columns / s.len());
        Some(Layer {
            node,
            rows: self.groups.channels(node).to_vec(),
            sources,
            block,
            unmasked_columns: mask
                .columns
                .chunks(block.max(1))
                .map(|b| b.iter().filter(|&&k| k).count())
                .collect(),
            held: vec![false; columns / block.max(1)],
            mask,
            channel_scores: Vec::new(),
            channel: None,
            column: None,
            element: None,
            positions: (shapes[node][1] * shapes[node][2]) as u64,
        })
    }

    /// Makes a site of all that leaves a choice.
    fn find(&mut self) -> Result<()> {
        let counts = self.axis_counts(&[]);
        let mut dimensions = self.scope.dimensions.clone();
        dimensions.sort_unstable();
        dimensions.dedup();
        let lefts: Vec<Left> = self.layers.iter().map(|l| self.left(l, &counts, &[])).collect();
        let size = |l: usize| {
            let weights = lefts[l].weight_counts[0] as f64;
            weights
                * if self.scope.unit == Unit::Weights {
                    1.0
                } else {
                    self.layers[l].positions as f64
                }
        };
        let sizes: Vec<f64> = (0..lefts.len()).map(size).collect();
        for l in 0..self.layers.len() {
            for &dimension in &dimensions {
                ensure!(
                    dimension != Dimension::Gate,
                    "gates have densities of their own; filters, channels, columns and elements can be pruned"
                );
                if dimension == Dimension::Filter {
                    self.find_filters(l, &counts, &sizes);
                    continue;
                }
                let layer = &mut self.layers[l];
                let node = &self.spec.nodes[layer.node];
                let is_conv = matches!(node.op, Op::Conv { .. });
                let choices = match dimension {
                    Dimension::Channel if is_conv && layer.sources.is_some() => lefts[l].channel_counts[0],
                    Dimension::Column if is_conv => lefts[l].column_counts[0],
                    Dimension::Element => lefts[l].weight_counts[0],
                    _ => continue,
                };
                if choices < 2 {
                    continue;
                }
                ensure!(
                    dimension != Dimension::Column || layer.mask.elements.is_empty(),
                    "{}: single weights are masked, so columns can no longer be chosen",
                    node.name
                );
                let index = Some(self.list.len());
                match dimension {
                    Dimension::Channel => layer.channel = index,
                    Dimension::Column => layer.column = index,
                    _ => layer.element = index,
                }
                self.list.push(Site {
                    name: node.name.clone(),
                    dimension,
                    size: sizes[l],
                    choices,
                    step: match dimension {
                        Dimension::Channel => width::step(choices, self.width_multiple),
                        _ => 1,
                    },
                    tied: Vec::new(),
                });
            }
        }
        ensure!(
            !self.list.is_empty(),
            "network {} has nothing to prune in {dimensions:?}",
            self.spec.name
        );
        Ok(())
    }

    /// The filters of every group that is called after a layer.
    fn find_filters(&mut self, l: usize, counts: &[usize], sizes: &[f64]) {
        let node = self.layers[l].node;
        for (g, group) in self.groups.list.iter().enumerate() {
            if group.fixed.is_some() || counts[g] < 2 || self.groups.layer(group) != Some(node) {
                continue;
            }
            let mut others: Vec<usize> = group.producers.iter().map(|p| p.node).filter(|n| *n != node).collect();
            others.dedup();
            let others = others.into_iter();
            // A layer with filters of several groups counts for each with the share that it gives.
            let share = |layer: &Layer| {
                let own = layer.rows.iter().filter(|at| at.group == g).count();
                own as f64 / layer.rows.len() as f64
            };
            let own = self.layers.iter().zip(sizes);
            self.axes[g].site = Some(self.list.len());
            self.list.push(Site {
                name: group.name.clone(),
                dimension: Dimension::Filter,
                size: own.map(|(layer, size)| share(layer) * size).sum(),
                choices: counts[g],
                step: width::step(counts[g], self.axes[g].multiple),
                tied: others.map(|node| self.spec.nodes[node].name.clone()).collect(),
            });
        }
    }
}
