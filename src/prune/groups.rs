//! Which nodes share channels, so that a channel of one cannot be cut without the same channel of the others.
//! Knows nothing of weights or scores.
//!
//! Sums and products tie both sides. A convolution of many groups, depthwise ones among them, ties what each of its groups reads
//! to what it gives, so that groups go whole; one of a few ties the channels of the same place in each, so that all lose the same.
//! Norms, gates, activations and pools hand channels on; flatten makes several features of each; joins and selections put channels
//! side by side or choose among them, so that a node may have channels of several groups. Convolutions and linear layers begin
//! channels.

use anyhow::Result;
use model::spec::{NetSpec, Node, Op, Shape};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where a group's channels are among a node's features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: usize,
    /// Features of each channel: 1, or height × width behind a flatten.
    pub positions: usize,
    /// By channel of the group, which channel of the node it is; none where the node does not have it.
    channels: Vec<Option<usize>>,
}

impl Place {
    /// The node's features that channel `c` of the group is; empty if it does not have it.
    pub fn features(&self, c: usize) -> Range<usize> {
        self.channels[c].map_or(0..0, |k| k * self.positions..(k + 1) * self.positions)
    }

    /// For a layer that begins channels: the filter that gives channel `c`, if one does.
    pub fn filter(&self, c: usize) -> Option<usize> {
        self.channels[c]
    }
}

/// One channel of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRef {
    /// The group's index.
    pub group: usize,
    /// The channel in it.
    pub channel: usize,
}

/// Channels that the same layers give, with all that stands on them. Where several channels of a node are tied to each other, as
/// those of one group of a convolution are, they count as one, and the node has a place for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The first layer that gives these channels and no others; the input's name if it gives them.
    pub name: String,
    /// Channels; of tied ones one.
    pub channels: usize,
    /// So many channels of a node, or a multiple of it, go with each.
    each: usize,
    /// How many must stay.
    pub(crate) least: usize,
    /// Every node whose output has one of them, in network order.
    pub nodes: Vec<usize>,
    /// Convolutions and linear layers whose filters are its channels, depthwise ones among them.
    pub producers: Vec<Place>,
    /// Convolutions and linear layers whose columns are its channels; a convolution of few groups has a column for the channels of
    /// the same place in all of them. Those of many groups have no such columns.
    pub consumers: Vec<Place>,
    /// Gates that read their saliency from it: their φ has a row for each of its features.
    pub predictors: Vec<Place>,
    /// Norms on it.
    pub norms: Vec<Place>,
    /// Gates on it.
    pub gates: Vec<Place>,
    /// Why no channel of it can be cut.
    pub fixed: Option<String>,
}

/// All channels of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// In the order of their first nodes.
    pub list: Vec<Group>,
    of_node: Vec<Vec<ChannelRef>>,
    positions: Vec<usize>,
}

impl Groups {
    /// What the channels of a node's output are, each of [`Groups::positions`] features.
    pub fn channels(&self, node: usize) -> &[ChannelRef] {
        &self.of_node[node]
    }

    /// The channels that a layer's columns read, in their order: those of its first group, where it has a few. None where columns
    /// are no channels that can be cut by themselves.
    pub(crate) fn sources(&self, spec: &NetSpec, layer: usize) -> Option<&[ChannelRef]> {
        let from = *spec.nodes[layer].inputs.first()?;
        let all = &self.of_node[from];
        match cut_of(&spec.nodes[layer].op, all.len()) {
            // Of what was flat, whose channels are fixed.
            CutOf::Columns { groups: 2.. } if self.positions[from] != 1 => None,
            CutOf::Columns { groups } => Some(&all[..all.len() / groups]),
            CutOf::Whole => None,
        }
    }

    /// The groups that a node's output has channels of, each once, in order.
    pub fn of_node(&self, node: usize) -> Vec<usize> {
        let mut groups: Vec<usize> = self.of_node[node].iter().map(|c| c.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The layer that a group is called after: the first that gives its channels and no others, or else the first.
    pub fn layer(&self, group: &Group) -> Option<usize> {
        let mut layers = group.producers.iter().map(|p| p.node);
        // Whoever begins one channel of a group begins all of them, each as often.
        let gives_no_other = |node: &usize| {
            let places = group.producers.iter().filter(|p| p.node == *node).count();
            self.of_node[*node].len() == places * group.channels
        };
        layers.clone().find(gives_no_other).or_else(|| layers.next())
    }

    /// Features of each channel in a node's output as its reader counts them: 1, or height × width behind a flatten.
    pub fn positions(&self, node: usize) -> usize {
        self.positions[node]
    }
}

/// Finds which channels of a network belong together.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn groups(spec: &NetSpec) -> Result<Groups> {
    let shapes = spec.shapes()?;
    let mut ties = Ties {
        parent: Vec::new(),
        channels: Vec::new(),
        positions: Vec::new(),
        begins: Vec::new(),
        fixed: Vec::new(),
        least: Vec::new(),
    };
    for i in 0..spec.nodes.len() {
        ties.add(spec, &shapes, i);
    }
    ties.fixed.insert(0, (0, "it is the image".to_owned()));
    let last = spec.nodes.len() - 1;
    match &spec.nodes[last] {
        Node {
            op: Op::Outputs { heads },
            inputs,
            ..
        } => {
            let each = heads.iter().zip(inputs);
            ties.fixed
                .extend(each.map(|(head, &from)| (from, format!("it is the output {}", head.name))));
        }
        _ => ties.fixed.push((last, "it gives the logits".to_owned())),
    }
    Ok(ties.gather(spec))
}

/// Up to so many groups of a convolution keep their number and lose the same channels each. Of more, groups go whole, and more than
/// this stay, so that what can be cut of a layer does not change with cutting.
const FEW_GROUPS: usize = 4;

/// What goes of a layer's columns with a channel that it reads.
enum CutOf {
    /// The column of that channel, in each of so many groups.
    Columns { groups: usize },
    /// The group that reads it, with all that this gives.
    Whole,
}

fn cut_of(op: &Op, channels: usize) -> CutOf {
    match *op {
        Op::Conv { groups, .. } if groups > FEW_GROUPS || is_depthwise(op, channels) => CutOf::Whole,
        Op::Conv { groups, .. } => CutOf::Columns { groups },
        _ => CutOf::Columns { groups: 1 },
    }
}

/// Whether a convolution works on each channel by itself.
fn is_depthwise(op: &Op, channels: usize) -> bool {
    matches!(*op, Op::Conv { filters, groups, .. } if groups > 1 && groups == channels && filters == channels)
}

/// Channels are numbered as they begin; those that are tied have one root.
struct Ties {
    parent: Vec<usize>,
    /// By node, its channels.
    channels: Vec<Vec<usize>>,
    positions: Vec<usize>,
    /// Nodes that begin channels.
    begins: Vec<usize>,
    /// (node, why its channels are fixed)
    fixed: Vec<(usize, String)>,
    /// (node, how many of its channels must stay)
    least: Vec<(usize, usize)>,
}

impl Ties {
    fn root(&self, mut channel: usize) -> usize {
        while self.parent[channel] != channel {
            channel = self.parent[channel];
        }
        channel
    }

    /// The earliest channel is the root.
    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    fn begin(&mut self, i: usize, n: usize) {
        let first = self.parent.len();
        self.parent.extend(first..first + n);
        self.begins.push(i);
        self.channels.push((first..first + n).collect());
        self.positions.push(1);
    }

    /// A node's channels, repeated so that each has one feature.
    fn features(&self, node: usize) -> Vec<usize> {
        let each = |&c: &usize| std::iter::repeat_n(c, self.positions[node]);
        self.channels[node].iter().flat_map(each).collect()
    }

    /// Ties the channels of the same place in runs of `each`.
    fn tie_across(&mut self, channels: &[usize], each: usize) {
        (each..channels.len()).for_each(|k| self.tie(channels[k % each], channels[k]));
    }

    fn fix(&mut self, nodes: &[usize], why: &str) {
        self.fixed.extend(nodes.iter().map(|&n| (n, why.to_owned())));
    }

    fn add(&mut self, spec: &NetSpec, shapes: &[Shape], i: usize) {
        let node = &spec.nodes[i];
        let name = &node.name;
        let from = node.inputs.first().copied().unwrap_or(0);
        let mut positions = self.positions.get(from).copied().unwrap_or(1);
        let channels = match &node.op {
            Op::Input | Op::Linear { .. } | Op::Conv { groups: 1, .. } => return self.begin(i, shapes[i][0]),
            &Op::Conv { groups, filters, .. } => {
                let channels = shapes[from][0];
                let (reads, gives) = (channels / groups, filters / groups);
                if positions != 1 {
                    self.begin(i, filters);
                    return self.fix(&[from, i], &format!("{name} has groups of what was flat"));
                }
                let read = self.channels[from].clone();
                if let CutOf::Columns { .. } = cut_of(&node.op, channels) {
                    self.begin(i, filters);
                    self.tie_across(&read, reads);
                    self.tie_across(&self.channels[i].clone(), gives);
                    // With one channel in each group it would be depthwise.
                    return self.least.extend([(from, 2), (i, 2)]);
                }
                if !is_depthwise(&node.op, channels) {
                    self.least.push((from, FEW_GROUPS + 1));
                }
                for own in read.chunks(reads) {
                    own[1..].iter().for_each(|&c| self.tie(own[0], c));
                }
                let firsts = read.iter().step_by(reads);
                firsts.flat_map(|&c| std::iter::repeat_n(c, gives)).collect()
            }
            Op::Add | Op::Mul => {
                let other = node.inputs[1];
                if positions == self.positions[other] {
                    for k in 0..self.channels[from].len() {
                        self.tie(self.channels[from][k], self.channels[other][k]);
                    }
                } else {
                    let what = if matches!(node.op, Op::Add) {
                        "adds"
                    } else {
                        "multiplies"
                    };
                    self.fix(&[from, other], &format!("{name} {what} flat features to others"));
                }
                self.channels[from].clone()
            }
            Op::Flatten => {
                positions *= shapes[from][1] * shapes[from][2];
                self.channels[from].clone()
            }
            Op::Concat if node.inputs.iter().all(|&j| self.positions[j] == positions) => {
                node.inputs.iter().flat_map(|&j| &self.channels[j]).copied().collect()
            }
            Op::Concat => {
                positions = 1;
                node.inputs.iter().flat_map(|&j| self.features(j)).collect()
            }
            Op::Select { channels } => {
                let all = self.features(from);
                positions = 1;
                channels.iter().map(|&c| all[c]).collect()
            }
            Op::LayerNorm { .. } | Op::Lrn { .. } => {
                self.fix(&[from], &format!("{name} normalizes over all of them"));
                self.channels[from].clone()
            }
            // Whole values, which stay as they are.
            Op::Outputs { .. } => Vec::new(),
            _ => self.channels[from].clone(),
        };
        self.channels.push(channels);
        self.positions.push(positions);
    }

    /// Channels that the same nodes begin are one group.
    fn gather(mut self, spec: &NetSpec) -> Groups {
        let roots: Vec<usize> = (0..self.parent.len()).map(|c| self.root(c)).collect();
        for channels in &mut self.channels {
            channels.iter_mut().for_each(|c| *c = roots[*c]);
        }
        let mut begun_by: Vec<Vec<usize>> = vec![Vec::new(); roots.len()];
        for &node in &self.begins {
            for &c in &self.channels[node] {
                begun_by[c].push(node);
            }
        }
        // By its nodes, each group's number; by root, its place.
        let mut numbers: BTreeMap<&[usize], usize> = BTreeMap::new();
        let mut places: Vec<Option<ChannelRef>> = vec![None; roots.len()];
        let mut list: Vec<Group> = Vec::new();
        for &c in self.begins.iter().flat_map(|&node| &self.channels[node]) {
            if places[c].is_some() {
                continue;
            }
            let group = *numbers.entry(&begun_by[c]).or_insert_with(|| {
                list.push(Group {
                    name: String::new(),
                    channels: 0,
                    each: 1,
                    least: 1,
                    nodes: Vec::new(),
                    producers: Vec::new(),
                    consumers: Vec::new(),
                    predictors: Vec::new(),
                    norms: Vec::new(),
                    gates: Vec::new(),
                    fixed: None,
                });
                list.len() - 1
            });
            places[c] = Some(ChannelRef {
                group,
                channel: list[group].channels,
            });
            list[group].channels += 1;
        }
        let of_node = self
            .channels
            .iter()
            .map(|channels| channels.iter().filter_map(|&c| places[c]).collect());
        let mut groups = Groups {
            of_node: of_node.collect(),
            positions: self.positions,
            list,
        };
        for (i, node) in spec.nodes.iter().enumerate() {
            groups.put(i, i, |group| &mut group.nodes, |place| place.node);
            match node.op {
                Op::Conv { .. } | Op::Linear { .. } => groups.put(i, i, |g| &mut g.producers, |place| place),
                Op::Norm { .. } => groups.put(i, i, |g| &mut g.norms, |place| place),
                Op::Gate { .. } => groups.put(i, i, |g| &mut g.gates, |place| place),
                _ => {}
            }
            match node.op {
                Op::Conv { .. } | Op::Linear { .. } => {
                    let columns = groups.sources(spec, i).map_or(0, <[_]>::len);
                    groups.put_first(i, (node.inputs[0], columns), |g| &mut g.consumers, |place| place);
                }
                Op::Gate { .. } => groups.put(i, node.inputs[1], |g| &mut g.predictors, |place| place),
                _ => {}
            }
        }
        for (node, why) in &self.fixed {
            for group in groups.of_node(*node) {
                groups.list[group].fixed.get_or_insert_with(|| why.clone());
            }
        }
        for group in &mut groups.list {
            group.each = times_each(&group.producers);
        }
        for &(node, least) in &self.least {
            for group in groups.of_node(node) {
                let group = &mut groups.list[group];
                group.least = least.min(group.channels).max(group.least);
                // Groups that are a multiple wide run fast, not all of them together.
                if least <= FEW_GROUPS {
                    group.each = 1;
                }
            }
        }
        groups.name(spec);
        groups
    }
}

/// The largest number of which the number of each layer's places is a multiple.
fn times_each(producers: &[Place]) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    producers
        .chunk_by(|a, b| a.node == b.node)
        .fold(0, |all, same| divisor(same.len(), all))
        .max(1)
}

impl Group {
    /// What numbers of its channels are multiples of, so that widths are multiples of so many.
    pub(crate) fn multiple(&self, width_multiple: usize) -> usize {
        let shared = (1..=self.each.min(width_multiple.max(1)))
            .rev()
            .find(|n| self.each.is_multiple_of(*n) && width_multiple.is_multiple_of(*n));
        width_multiple / shared.unwrap_or(1)
    }
}

impl Groups {
    /// Enters node `i`, which stands on or reads the output of node `on`, in every group that has channels there.
    fn put<T>(&mut self, i: usize, on: usize, list: impl Fn(&mut Group) -> &mut Vec<T>, entry: impl Fn(Place) -> T) {
        self.put_first(i, (on, usize::MAX), list, entry);
    }

    /// As [`Groups::put`], for the first `n` channels.
    fn put_first<T>(
        &mut self,
        i: usize,
        (on, n): (usize, usize),
        list: impl Fn(&mut Group) -> &mut Vec<T>,
        entry: impl Fn(Place) -> T,
    ) {
        let mut places: Vec<(usize, Place)> = Vec::new();
        for (k, &ChannelRef { group, channel }) in self.of_node[on].iter().enumerate().take(n) {
            // A channel that is there twice needs a further place.
            let free = |(g, place): &&mut (usize, Place)| *g == group && place.channels[channel].is_none();
            match places.iter_mut().find(free) {
                Some((_, place)) => place.channels[channel] = Some(k),
                None => {
                    let mut channels = vec![None; self.list[group].channels];
                    channels[channel] = Some(k);
                    let positions = self.positions[on];
                    places.push((
                        group,
                        Place {
                            node: i,
                            positions,
                            channels,
                        },
                    ));
                }
            }
        }
        for (group, place) in places {
            list(&mut self.list[group]).push(entry(place));
        }
    }

    /// Calls every group after the first layer that gives all of it and nothing else, or else by a layer and a number.
    fn name(&mut self, spec: &NetSpec) {
        let mut names = std::collections::BTreeSet::new();
        for g in 0..self.list.len() {
            let group = &self.list[g];
            let layer = self.layer(group).filter(|_| group.nodes[0] > 0);
            let name = &spec.nodes[layer.unwrap_or(group.nodes[0])].name;
            let mut free = name.clone();
            let mut n = 1;
            while !names.insert(free.clone()) {
                n += 1;
                free = format!("{name}:{n}");
            }
            self.list[g].name = free;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use model::spec::{Pad, Shift};
    use model::toy::node;
    use model::zoo;

    /// A line a group: name, channels, producers, consumers, predictors, why it is fixed.
    fn table(spec: &NetSpec) -> String {
        let name = |i: &usize| spec.nodes[*i].name.as_str();
        let read = |c: &Place| match c.positions {
            1 => name(&c.node).to_owned(),
            n => format!("{}×{n}", name(&c.node)),
        };
        let line = |g: &Group| {
            let producers: Vec<&str> = g.producers.iter().map(|p| name(&p.node)).collect();
            let consumers: Vec<String> = g.consumers.iter().map(read).collect();
            let predictors: Vec<String> = g.predictors.iter().map(read).collect();
            format!(
                "{} {}: {} -> {}{}{}\n",
                g.name,
                g.channels,
                producers.join(" "),
                consumers.join(" "),
                if predictors.is_empty() {
                    String::new()
                } else {
                    format!(" ? {}", predictors.join(" "))
                },
                g.fixed.as_ref().map_or(String::new(), |f| format!(" [{f}]"))
            )
        };
        groups(spec).expect("groups").list.iter().map(line).collect()
    }

    fn conv(filters: usize, groups: usize) -> Op {
        Op::Conv {
            filters,
            kernel: 3,
            stride: 1,
            pad: Pad::all(1),
            bias: false,
            groups,
        }
    }

    #[test]
    fn a_chain_has_a_group_a_layer_and_flatten_makes_features() {
        let spec = zoo::build("lenet5", [1, 28, 28], 10, 0.1).expect("builds");
        expect![[r#"
            image 1:  -> conv0 [it is the image]
            conv0 2: conv0 -> conv1
            conv1 5: conv1 -> hidden×16
            hidden 50: hidden -> classifier
            classifier 10: classifier ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
    }

    #[test]
    fn residual_sums_tie_their_sides_and_gates_read_what_their_convolutions_read() {
        let plain = zoo::build("resnet18", [3, 32, 32], 10, 0.05).expect("builds");
        let spec = zoo::gated(&plain, Shift::Eq1);
        let all = table(&spec);
        let lines: Vec<&str> = all.lines().take(4).collect();
        expect![[r#"
            image 3:  -> stem ? stem.gate [it is the image]
            stem 3: stem stage1.0.conv2 stage1.1.conv2 -> stage1.0.conv1 stage1.1.conv1 stage2.0.conv1 stage2.0.shortcut ? stage1.0.conv1.gate stage1.1.conv1.gate stage2.0.conv1.gate stage2.0.shortcut.gate
            stage1.0.conv1 3: stage1.0.conv1 -> stage1.0.conv2 ? stage1.0.conv2.gate
            stage1.1.conv1 3: stage1.1.conv1 -> stage1.1.conv2 ? stage1.1.conv2.gate"#]]
        .assert_eq(&lines.join("\n"));
        let groups = groups(&spec).expect("groups");
        let sum = spec.find("stage1.1.add").expect("there");
        let tied = &groups.list[groups.of_node(sum)[0]];
        assert_eq!((tied.norms.len(), tied.gates.len()), (3, 3));
        assert!(tied.nodes.contains(&sum) && tied.nodes.is_sorted());
    }

    #[test]
    fn depthwise_convolutions_hand_channels_on_and_other_grouped_ones_tie_them() {
        let spec = NetSpec {
            name: "t".into(),
            input: [3, 8, 8],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(4, 1), &[0]),
                node("deep", conv(4, 4), &[1]),
                node("b", conv(6, 1), &[2]),
                node("g", conv(8, 2), &[3]),
                node("twice", conv(16, 8), &[4]),
                node("pool", Op::GlobalAvgPool, &[5]),
                node("flat", Op::Flatten, &[6]),
                node("last", Op::Linear { outputs: 2, bias: true }, &[7]),
            ],
        };
        expect![[r#"
            x 3:  -> a [it is the image]
            a 4: a deep -> b
            b 3: b b -> g
            g 4: g g twice twice twice twice -> last last last last
            last 2: last ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
    }

    #[test]
    fn few_groups_of_a_convolution_lose_the_same_channels() {
        let spec = NetSpec {
            name: "t".into(),
            input: [3, 8, 8],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(6, 1), &[0]),
                node("g", conv(8, 2), &[1]),
                node("b", conv(4, 1), &[2]),
                node("deep", conv(8, 4), &[3]),
                node("flat", Op::Flatten, &[4]),
                node("last", Op::Linear { outputs: 2, bias: true }, &[5]),
            ],
        };
        expect![[r#"
            x 3:  -> a [it is the image]
            a 3: a a -> g
            g 4: g g -> b b
            b 1: b b b b -> deep
            deep 2: deep deep deep deep -> last×64 last×64 last×64 last×64
            last 2: last ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
        let groups = groups(&spec).expect("groups");
        assert_eq!((groups.list[1].least, groups.list[1].multiple(8)), (2, 8));
        assert_eq!(groups.sources(&spec, 2).map(<[_]>::len), Some(3));
    }

    #[test]
    fn groups_of_a_convolution_go_whole_with_what_they_read() {
        let spec = NetSpec {
            name: "t".into(),
            input: [3, 8, 8],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(12, 1), &[0]),
                node("g", conv(24, 6), &[1]),
                node("b", conv(8, 1), &[2]),
                node("flat", Op::Flatten, &[3]),
                node("last", Op::Linear { outputs: 2, bias: true }, &[4]),
            ],
        };
        expect![[r#"
            x 3:  -> a [it is the image]
            a 6: a a g g g g -> b b b b
            b 8: b -> last×64
            last 2: last ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
        let groups = groups(&spec).expect("groups");
        let tied = &groups.list[1];
        // Widths of a and g that are multiples of 8 are multiples of 4 groups.
        assert_eq!(
            (tied.each, tied.multiple(8), tied.multiple(1), tied.multiple(3)),
            (2, 4, 1, 3)
        );
        let filters: Vec<_> = tied.producers.iter().map(|p| p.filter(4)).collect();
        assert_eq!(filters, [8, 9, 16, 17, 18, 19].map(Some));
    }

    #[test]
    fn a_depthwise_convolution_of_the_image_and_a_flat_sum_are_fixed() {
        let spec = NetSpec {
            name: "t".into(),
            input: [2, 2, 2],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("deep", conv(2, 2), &[0]),
                node("a", conv(4, 1), &[1]),
                node("flat", Op::Flatten, &[2]),
                node(
                    "dense",
                    Op::Linear {
                        outputs: 16,
                        bias: false,
                    },
                    &[3],
                ),
                node("sum", Op::Add, &[4, 3]),
                node(
                    "last",
                    Op::Linear {
                        outputs: 2,
                        bias: false,
                    },
                    &[5],
                ),
            ],
        };
        expect![[r#"
            x 2: deep -> a [it is the image]
            a 4: a -> dense×4 [sum adds flat features to others]
            dense 16: dense -> last [sum adds flat features to others]
            last 2: last ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
    }

    #[test]
    fn joined_channels_stay_those_of_their_layers_and_a_part_is_a_group_of_its_own() {
        let spec = NetSpec {
            name: "t".into(),
            input: [3, 8, 8],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(4, 1), &[0]),
                node("b", conv(6, 1), &[0]),
                node("both", Op::Concat, &[1, 2]),
                node("norm", Op::Norm { eps: 0.0, affine: true }, &[3]),
                // The last two channels of a, and all of b but the last two.
                node(
                    "part",
                    Op::Select {
                        channels: vec![2, 3, 4, 5, 6, 7],
                    },
                    &[4],
                ),
                node("c", conv(6, 1), &[5]),
                node("sum", Op::Add, &[5, 6]),
                node("flat", Op::Flatten, &[7]),
                node("last", Op::Linear { outputs: 2, bias: true }, &[8]),
            ],
        };
        expect![[r#"
            x 3:  -> a b [it is the image]
            a 2: a -> 
            a:2 2: a c -> c last×64
            b 4: b c -> c last×64
            b:2 2: b -> 
            last 2: last ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
        let groups = groups(&spec).expect("groups");
        let tied = &groups.list[2];
        assert_eq!(tied.norms[0].features(0), 2..3);
        assert_eq!(
            (tied.producers[0].filter(1), tied.producers[1].filter(1)),
            (Some(3), Some(1))
        );
        assert_eq!(tied.consumers[1].features(1), 64..128);
    }

    #[test]
    fn what_scales_a_channel_goes_with_it_and_norms_over_channels_fix_them() {
        let spec = NetSpec {
            name: "t".into(),
            input: [3, 8, 8],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(4, 1), &[0]),
                node("mean", Op::GlobalAvgPool, &[1]),
                node("squeeze", conv(2, 1), &[2]),
                node("excite", conv(4, 1), &[3]),
                node("scaled", Op::Mul, &[1, 4]),
                node("b", conv(4, 1), &[5]),
                node("norm", Op::LayerNorm { eps: 0.0 }, &[6]),
                node("c", conv(4, 1), &[7]),
                node("twice", Op::Concat, &[8, 8]),
                node(
                    "turned",
                    Op::Select {
                        channels: vec![1, 0, 3, 2],
                    },
                    &[8],
                ),
                node("sum", Op::Add, &[8, 10]),
                node("joined", Op::Concat, &[9, 11]),
                node("flat", Op::Flatten, &[12]),
                node("last", Op::Linear { outputs: 2, bias: true }, &[13]),
            ],
        };
        expect![[r#"
            x 3:  -> a [it is the image]
            a 4: a excite -> squeeze b
            squeeze 2: squeeze -> excite
            b 4: b -> c [norm normalizes over all of them]
            c 2: c c -> last×64 last×64 last×64 last×64 last×64 last×64
            last 2: last ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
    }
}
