//! Finds the sites of a network that a scope allows, with what counting needs laid out.

use super::apply::zero;
use super::groups::{Consumer, groups};
use super::scope::Scope;
use super::sites::{ChannelAxis, GateOf, Layer, Left, Sites};
use super::values::{constants, is_inside, taps};
use super::width;
use anyhow::{Result, bail, ensure};
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
                    axis: sites.groups.of_node(i),
                    reads: sites.groups.of_node(node.inputs[1]),
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
        let producers: Vec<&Layer> = self.layers.iter().filter(|l| l.axis == index).collect();
        let unmasked = |c: usize| producers.is_empty() || producers.iter().any(|l| l.mask.filters[c]);
        let mut params_each = 0;
        for &i in &group.nodes {
            params_each += match self.spec.nodes[i].op {
                Op::Conv { bias: true, .. } | Op::Linear { bias: true, .. } => 1,
                Op::Norm { affine: true, .. } => 2 * self.groups.positions(i) as u64,
                Op::Gate { .. } => 2 * self.groups.positions(i) as u64,
                _ => 0,
            };
        }
        ChannelAxis {
            site: None,
            unmasked: (0..group.channels).map(unmasked).collect(),
            scores: Vec::new(),
            rank: Vec::new(),
            pinned: 0,
            params_each,
            stays: vec![false; group.channels],
        }
    }

    /// Finds what surgery will leave in place, from what channels are when all of them are dead.
    fn hold(&mut self, checkpoint: &Checkpoint, shapes: &[Shape]) -> Result<()> {
        let mut dead = checkpoint.clone();
        let free = |l: &&Layer| self.groups.list[l.axis].fixed.is_none();
        for layer in self.layers.iter().filter(free) {
            let mut mask = layer.mask.clone();
            mask.filters.fill(false);
            dead.masks.insert(self.spec.nodes[layer.node].name.clone(), mask);
        }
        zero(&mut dead)?;
        let values = constants(&dead)?;
        let (spec, groups) = (&self.spec, &self.groups);
        for layer in &self.layers {
            let Some(source) = layer.source.filter(|&s| groups.list[s].fixed.is_none()) else {
                continue;
            };
            let from = spec.nodes[layer.node].inputs[0];
            let (op, taps) = (&spec.nodes[layer.node].op, taps(&spec.nodes[layer.node].op));
            let inside: Vec<bool> = (0..taps)
                .map(|tap| is_inside(op, shapes[from], shapes[layer.node], tap))
                .collect();
            for (column, _) in layer.mask.columns.iter().enumerate().filter(|(_, kept)| **kept) {
                let can_go = match values[from][column / taps] {
                    Some(value) => value == 0.0 || inside[column % taps],
                    None => false,
                };
                self.axes[source].stays[column / layer.block] |= !can_go;
            }
        }
        for node in spec.nodes.iter().filter(|n| matches!(n.op, Op::Gate { .. })) {
            let from = node.inputs[1];
            let source = groups.of_node(from);
            let features = values[from].iter().enumerate().filter(|(_, v)| v.is_none());
            for (feature, _) in features.filter(|_| groups.list[source].fixed.is_none()) {
                self.axes[source].stays[feature / groups.positions(from)] = true;
            }
        }
        for layer in &mut self.layers {
            let Some(source) = layer.source else { continue };
            let from = spec.nodes[layer.node].inputs[0];
            let features = values[from].len() / layer.held.len();
            for (q, held) in layer.held.iter_mut().enumerate() {
                let is_zero = values[from][q * features..][..features].iter().all(|v| *v == Some(0.0));
                *held = self.axes[source].stays[q] && !is_zero;
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
        let source = self.groups.of_node(self.spec.nodes[node].inputs[0]);
        let reads = |c: &Consumer| c.node == node;
        let source = self.groups.list[source].consumers.iter().any(reads).then_some(source);
        let block = source.map_or(columns, |s| columns / self.groups.list[s].channels);
        Some(Layer {
            node,
            axis: self.groups.of_node(node),
            source,
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
                let layer = &self.layers[l];
                let node = &self.spec.nodes[layer.node];
                let group = &self.groups.list[layer.axis];
                let is_conv = matches!(node.op, Op::Conv { .. });
                let mut tied = Vec::new();
                let mut sum = sizes[l];
                let choices = match dimension {
                    Dimension::Filter if group.fixed.is_none() && group.producers.first() == Some(&layer.node) => {
                        tied = group.producers[1..]
                            .iter()
                            .map(|&p| self.spec.nodes[p].name.clone())
                            .collect();
                        let own = |(k, _): &(usize, &f64)| self.layers[*k].axis == layer.axis;
                        sum = sizes.iter().enumerate().filter(own).map(|(_, s)| s).sum();
                        counts[layer.axis]
                    }
                    Dimension::Channel if is_conv && layer.source.is_some() => lefts[l].channel_counts[0],
                    Dimension::Column if is_conv => lefts[l].column_counts[0],
                    Dimension::Element => lefts[l].weight_counts[0],
                    Dimension::Gate => bail!(
                        "gates have densities of their own; filters, channels, columns and elements can be pruned"
                    ),
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
                self.list.push(Site {
                    name: node.name.clone(),
                    dimension,
                    size: sum,
                    choices,
                    step: match dimension {
                        Dimension::Filter | Dimension::Channel => width::step(choices, self.width_multiple),
                        _ => 1,
                    },
                    tied,
                });
                let axis = layer.axis;
                let layer = &mut self.layers[l];
                match dimension {
                    Dimension::Filter => self.axes[axis].site = index,
                    Dimension::Channel => layer.channel = index,
                    Dimension::Column => layer.column = index,
                    _ => layer.element = index,
                }
            }
        }
        ensure!(
            !self.list.is_empty(),
            "network {} has nothing to prune in {dimensions:?}",
            self.spec.name
        );
        Ok(())
    }
}
