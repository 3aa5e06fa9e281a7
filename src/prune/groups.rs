//! Which nodes share a channel axis, so that a channel of one cannot be cut without the same channel of the others.
//! Knows nothing of weights or scores.
//!
//! Sums tie both sides; depthwise convolutions tie what they read to what they give; norms, gates, activations and pools
//! hand the axis on; flatten makes several features of each channel. Convolutions and linear layers begin an axis.

use anyhow::Result;
use model::spec::{NetSpec, Op, Shape};

/// A convolution, linear layer or gate that reads an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its node.
    pub node: usize,
    /// Features it reads of each channel: 1, or height × width behind a flatten.
    pub positions: usize,
}

/// One channel axis with all that stands on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The first convolution or linear layer that gives it; the input's name if none does.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// Every node whose output has the axis, in network order.
    pub nodes: Vec<usize>,
    /// Convolutions and linear layers whose filters are its channels, depthwise ones among them.
    pub producers: Vec<usize>,
    /// Convolutions and linear layers whose columns are its channels. Depthwise ones have no such columns.
    pub consumers: Vec<Consumer>,
    /// Gates that read their saliency from it: their φ has a row for each of its features.
    pub predictors: Vec<Consumer>,
    /// Norms on it.
    pub norms: Vec<usize>,
    /// Gates on it.
    pub gates: Vec<usize>,
    /// Why no channel of it can be cut.
    pub fixed: Option<String>,
}

/// All channel axes of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// In the order of their first nodes.
    pub list: Vec<Group>,
    of_node: Vec<usize>,
    positions: Vec<usize>,
}

impl Groups {
    /// Index of the group that a node's output belongs to.
    pub fn of_node(&self, node: usize) -> usize {
        self.of_node[node]
    }

    /// Features of each channel in a node's output as its reader counts them: 1, or height × width behind a flatten.
    pub fn positions(&self, node: usize) -> usize {
        self.positions[node]
    }
}

/// Finds the channel axes of a network.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn groups(spec: &NetSpec) -> Result<Groups> {
    let shapes = spec.shapes()?;
    let mut ties = Ties {
        parent: (0..spec.nodes.len()).collect(),
        positions: vec![1; spec.nodes.len()],
        fixed: Vec::new(),
    };
    ties.fixed.push((0, "it is the image".to_owned()));
    for i in 0..spec.nodes.len() {
        ties.add(spec, &shapes, i);
    }
    ties.fixed
        .push((spec.nodes.len() - 1, "it gives the logits".to_owned()));
    Ok(ties.gather(spec, &shapes))
}

/// Whether a convolution works on each channel by itself.
pub(crate) fn is_depthwise(op: &Op, channels: usize) -> bool {
    matches!(*op, Op::Conv { filters, groups, .. } if groups > 1 && groups == channels && filters == channels)
}

struct Ties {
    parent: Vec<usize>,
    positions: Vec<usize>,
    /// (node, why its axis is fixed)
    fixed: Vec<(usize, String)>,
}

impl Ties {
    fn root(&self, mut node: usize) -> usize {
        while self.parent[node] != node {
            node = self.parent[node];
        }
        node
    }

    /// Puts node `i` on the axis of `from`, an earlier node.
    fn join(&mut self, i: usize, from: usize) {
        let (a, b) = (self.root(i), self.root(from));
        // The earliest node is the root.
        self.parent[a.max(b)] = a.min(b);
        self.positions[i] = self.positions[from];
    }

    fn add(&mut self, spec: &NetSpec, shapes: &[Shape], i: usize) {
        let node = &spec.nodes[i];
        let from = node.inputs.first().copied().unwrap_or(0);
        match node.op {
            Op::Input | Op::Linear { .. } => {}
            Op::Conv { groups: 1, .. } => {}
            Op::Conv { groups, .. } => {
                if is_depthwise(&node.op, shapes[from][0]) && self.positions[from] == 1 {
                    self.join(i, from);
                    return;
                }
                let why = format!("{} has {groups} groups, which must stay equal", node.name);
                self.fixed.push((from, why.clone()));
                self.fixed.push((i, why));
            }
            Op::Add => {
                let other = node.inputs[1];
                self.join(i, from);
                if self.positions[from] == self.positions[other] {
                    self.join(i, other);
                } else {
                    let why = format!("{} adds flat features to others", node.name);
                    self.fixed.push((from, why.clone()));
                    self.fixed.push((other, why));
                }
            }
            Op::Flatten => {
                self.join(i, from);
                self.positions[i] *= shapes[from][1] * shapes[from][2];
            }
            _ => self.join(i, from),
        }
    }

    fn gather(self, spec: &NetSpec, shapes: &[Shape]) -> Groups {
        let mut list: Vec<Group> = Vec::new();
        let mut of_node = Vec::with_capacity(spec.nodes.len());
        for (i, shape) in shapes.iter().enumerate() {
            let root = self.root(i);
            if root == i {
                of_node.push(list.len());
                list.push(Group {
                    name: spec.nodes[i].name.clone(),
                    channels: shape[0],
                    nodes: Vec::new(),
                    producers: Vec::new(),
                    consumers: Vec::new(),
                    predictors: Vec::new(),
                    norms: Vec::new(),
                    gates: Vec::new(),
                    fixed: None,
                });
            } else {
                of_node.push(of_node[root]);
            }
        }
        for (i, node) in spec.nodes.iter().enumerate() {
            let own = &mut list[of_node[i]];
            own.nodes.push(i);
            match node.op {
                Op::Conv { .. } | Op::Linear { .. } => own.producers.push(i),
                Op::Norm { .. } => own.norms.push(i),
                Op::Gate { .. } => own.gates.push(i),
                _ => {}
            }
            let reads = |k: usize| Consumer {
                node: i,
                positions: self.positions[node.inputs[k]],
            };
            match node.op {
                Op::Conv { groups: 1, .. } | Op::Linear { .. } => {
                    list[of_node[node.inputs[0]]].consumers.push(reads(0))
                }
                Op::Gate { .. } => list[of_node[node.inputs[1]]].predictors.push(reads(1)),
                _ => {}
            }
        }
        for (node, why) in &self.fixed {
            list[of_node[*node]].fixed.get_or_insert_with(|| why.clone());
        }
        Groups {
            list,
            of_node,
            positions: self.positions,
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
        let read = |c: &Consumer| match c.positions {
            1 => name(&c.node).to_owned(),
            n => format!("{}×{n}", name(&c.node)),
        };
        let line = |g: &Group| {
            let producers: Vec<&str> = g.producers.iter().map(name).collect();
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
        let tied = &groups.list[groups.of_node(sum)];
        assert_eq!((tied.norms.len(), tied.gates.len()), (3, 3));
        assert!(tied.nodes.contains(&sum) && tied.nodes.is_sorted());
    }

    #[test]
    fn depthwise_convolutions_hand_the_axis_on_and_other_grouped_ones_fix_it() {
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
            b 6: b ->  [g has 2 groups, which must stay equal]
            g 8: g ->  [g has 2 groups, which must stay equal]
            twice 16: twice -> last [twice has 8 groups, which must stay equal]
            last 2: last ->  [it gives the logits]
        "#]]
        .assert_eq(&table(&spec));
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
}
