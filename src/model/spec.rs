//! A network as plain data: a graph of named operations, and the shapes that follow from it.
//! Knows nothing of weights, devices or pruning methods.

use anyhow::{Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

/// Zeros around a plane, in pixels. TensorFlow's SAME with stride 2 is asymmetric, so all four are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Pad {
    /// No padding (VALID).
    pub const VALID: Self = Self {
        top: 0,
        bottom: 0,
        left: 0,
        right: 0,
    };

    /// The same number of zeros on every side.
    pub fn all(n: usize) -> Self {
        Self {
            top: n,
            bottom: n,
            left: n,
            right: n,
        }
    }

    /// Whether every side is narrower than the kernel, so that every window meets the image.
    pub fn is_below(self, kernel: usize) -> bool {
        [self.top, self.bottom, self.left, self.right]
            .into_iter()
            .all(|n| n < kernel)
    }

    /// TensorFlow's SAME: out = ⌈in / stride⌉, the odd zero goes below and to the right.
    pub fn same(size: [usize; 2], kernel: usize, stride: usize) -> Self {
        let split = |n: usize| {
            let total = ((n.div_ceil(stride) - 1) * stride + kernel).saturating_sub(n);
            (total / 2, total - total / 2)
        };
        let ((top, bottom), (left, right)) = (split(size[0]), split(size[1]));
        Self {
            top,
            bottom,
            left,
            right,
        }
    }
}

impl From<Pad> for kernel::Padding {
    fn from(pad: Pad) -> Self {
        let Pad {
            top,
            bottom,
            left,
            right,
        } = pad;
        Self {
            top,
            bottom,
            left,
            right,
        }
    }
}

/// Where FBS puts the shift β (papers differ from code).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shift {
    /// π·(norm + β): equation (1) of arXiv 1810.05331.
    #[default]
    Eq1,
    /// π·norm + m·β, m the 0/1 winner mask: the authors' released code.
    Released,
}

/// One operation. Tensors are `[channels, height, width]` per image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Op {
    /// The image. Always node 0.
    Input,
    /// 2-D convolution, weight `[filters, in / groups, kernel, kernel]`.
    Conv {
        /// Output channels.
        filters: usize,
        /// Kernel height and width.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
        /// Zeros around the input.
        pad: Pad,
        /// Whether a bias is added per filter.
        bias: bool,
        /// Input channels and filters are split into so many equal parts that do not see each other; as many as channels is depthwise.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
    },
    /// Batch normalization per channel.
    Norm {
        /// Added to the variance.
        eps: f32,
        /// With trainable scale γ and shift β. Under a gate, the gate takes their place.
        affine: bool,
    },
    /// FBS gate (arXiv 1810.05331, equations 1–4). Inputs: what is gated, what the saliency is read from.
    Gate {
        /// Where the shift stands.
        shift: Shift,
    },
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// Maximum over windows.
    MaxPool {
        /// Window height and width.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
        /// Padding on every side (never chosen as maximum).
        pad: usize,
    },
    /// Mean over windows, no padding.
    AvgPool {
        /// Window height and width.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
    },
    /// Mean over all positions: `[c, h, w]` → `[c, 1, 1]`.
    GlobalAvgPool,
    /// Sum of two tensors of one shape.
    Add,
    /// Zeroes elements at random in training; nothing otherwise.
    Dropout {
        /// Probability of being zeroed.
        rate: f32,
    },
    /// `[c, h, w]` → `[c·h·w, 1, 1]`.
    Flatten,
    /// Fully connected, weight `[outputs, in]`.
    Linear {
        /// Output features.
        outputs: usize,
        /// Whether a bias is added.
        bias: bool,
    },
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_one(n: &usize) -> bool {
    *n == 1
}

impl Op {
    /// The operation's name as files and tables have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv { .. } => "conv",
            Op::Norm { .. } => "norm",
            Op::Gate { .. } => "gate",
            Op::Relu => "relu",
            Op::Relu6 => "relu6",
            Op::MaxPool { .. } => "max-pool",
            Op::AvgPool { .. } => "avg-pool",
            Op::GlobalAvgPool => "global-avg-pool",
            Op::Add => "add",
            Op::Dropout { .. } => "dropout",
            Op::Flatten => "flatten",
            Op::Linear { .. } => "linear",
        }
    }
}

/// An operation with its name and where its inputs come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the network; weights are named after it.
    pub name: String,
    /// What is done.
    #[serde(flatten)]
    pub op: Op,
    /// Indices of earlier nodes.
    pub inputs: Vec<usize>,
}

/// `[channels, height, width]` of one image.
pub type Shape = [usize; 3];

/// A network: nodes in an order in which they can be computed. The last one gives the logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetSpec {
    /// What people call it, e.g. `m-cifarnet`.
    pub name: String,
    /// Shape of the image.
    pub input: Shape,
    /// The graph.
    pub nodes: Vec<Node>,
}

impl NetSpec {
    /// Number of classes: the size of the last node.
    ///
    /// # Errors
    /// As [`NetSpec::shapes`].
    pub fn classes(&self) -> Result<usize> {
        Ok(self.shapes()?.last().map_or(0, |s| s.iter().product()))
    }

    /// Index of a node by name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == name)
    }

    /// For each node, the nodes that read it, each once.
    pub fn consumers(&self) -> Vec<Vec<usize>> {
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for &from in &node.inputs {
                if readers[from].last() != Some(&i) {
                    readers[from].push(i);
                }
            }
        }
        readers
    }

    /// Indices of all convolutions, in order.
    pub fn convs(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&i| matches!(self.nodes[i].op, Op::Conv { .. }))
            .collect()
    }

    /// Indices of all gates, in order.
    pub fn gates(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&i| matches!(self.nodes[i].op, Op::Gate { .. }))
            .collect()
    }

    /// The shape each node gives.
    ///
    /// # Errors
    /// One line naming the first node that cannot stand where it is: unknown input, wrong number of inputs, a kernel larger than its input, two shapes that cannot be added, or more numbers
    /// than [`MOST_NUMBERS`].
    pub fn shapes(&self) -> Result<Vec<Shape>> {
        ensure!(
            matches!(self.nodes.first(), Some(Node { op: Op::Input, .. })),
            "network {}: the first node must be the input",
            self.name
        );
        let mut names = std::collections::BTreeSet::new();
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        let mut numbers = 0u64;
        for (i, node) in self.nodes.iter().enumerate() {
            ensure!(
                names.insert(&node.name),
                "network {}: two nodes are called {}",
                self.name,
                node.name
            );
            ensure!(
                node.inputs.iter().all(|&j| j < i),
                "network {}: node {} reads a node that does not come before it",
                self.name,
                node.name
            );
            ensure!(
                i == 0 || !matches!(node.op, Op::Input),
                "network {}: node {} is a second input, expected one image",
                self.name,
                node.name
            );
            let wanted = match node.op {
                Op::Input => 0,
                Op::Add | Op::Gate { .. } => 2,
                _ => 1,
            };
            ensure!(
                node.inputs.len() == wanted,
                "network {}: node {} has {} inputs, expected {wanted}",
                self.name,
                node.name,
                node.inputs.len()
            );
            let from: Vec<Shape> = node.inputs.iter().map(|&j| shapes[j]).collect();
            let shape = shape_after(node, &from, self.input).map_err(|e| anyhow!("network {}: {e}", self.name))?;
            numbers = numbers
                .saturating_add(shape.iter().product::<usize>() as u64)
                .saturating_add(weights_of(&node.op, &from, shape));
            ensure!(
                numbers <= MOST_NUMBERS,
                "network {}: up to node {}, the weights and the values of one image are {numbers} numbers, at most {MOST_NUMBERS} \
                 ({} GiB) are possible",
                self.name,
                node.name,
                MOST_NUMBERS >> 28
            );
            shapes.push(shape);
        }
        Ok(shapes)
    }
}

/// No kernel, stride, padding or extent of a tensor is larger: arithmetic on them cannot overflow.
const LARGEST: usize = 1 << 20;

/// Most numbers that the weights of a network and all values of one image may be, together (1 GiB of float32), so that a small
/// file cannot ask for all memory.
pub const MOST_NUMBERS: u64 = 1 << 28;

/// How many numbers an operation's weights are.
fn weights_of(op: &Op, from: &[Shape], to: Shape) -> u64 {
    let product = |sizes: &[usize]| sizes.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    match *op {
        Op::Conv {
            filters,
            kernel,
            groups,
            ..
        } => product(&[filters, from[0][0] / groups, kernel, kernel]),
        Op::Linear { outputs, .. } => product(&[outputs, from[0][0]]),
        Op::Gate { .. } => product(&[from[1][0], to[0]]),
        _ => 0,
    }
}

/// Whether an operation's own numbers are at most [`LARGEST`], before anything is computed from them.
fn has_sane_sizes(op: &Op) -> bool {
    let sizes: &[usize] = match op {
        Op::Conv {
            filters,
            kernel,
            stride,
            pad,
            groups,
            ..
        } => &[
            *filters, *kernel, *stride, *groups, pad.top, pad.bottom, pad.left, pad.right,
        ],
        Op::MaxPool { kernel, stride, pad } => &[*kernel, *stride, *pad],
        Op::AvgPool { kernel, stride } => &[*kernel, *stride],
        Op::Linear { outputs, .. } => &[*outputs],
        _ => &[],
    };
    sizes.iter().all(|&n| n <= LARGEST)
}

/// The shape a node gives, from the shapes of what it reads; `input` is the image's.
///
/// # Errors
/// One line naming the node: sizes that do not fit, or that no honest network has.
pub fn shape_after(node: &Node, from: &[Shape], input: Shape) -> Result<Shape> {
    ensure!(
        has_sane_sizes(&node.op),
        "node {} has a size above {LARGEST}",
        node.name
    );
    let shape = output_shape(node, from, input)?;
    let fits =
        |s: Shape| s.iter().all(|&n| n > 0 && n <= LARGEST) && s.iter().product::<usize>() as u64 <= MOST_NUMBERS;
    ensure!(fits(shape), "node {} would have shape {shape:?}", node.name);
    Ok(shape)
}

fn output_shape(node: &Node, from: &[Shape], input: Shape) -> Result<Shape> {
    let windows = |n: usize, kernel: usize, stride: usize| -> Result<usize> {
        if stride == 0 || kernel == 0 || n < kernel {
            bail!(
                "node {}: a kernel of {kernel} with stride {stride} does not fit into {n} pixels",
                node.name
            );
        }
        Ok((n - kernel) / stride + 1)
    };
    Ok(match node.op {
        Op::Input => input,
        Op::Conv {
            filters,
            kernel,
            stride,
            pad,
            groups,
            ..
        } => {
            let [c, h, w] = from[0];
            ensure!(
                groups > 0 && c.is_multiple_of(groups) && filters.is_multiple_of(groups),
                "node {}: {groups} groups do not divide {c} channels and {filters} filters",
                node.name
            );
            [
                filters,
                windows(h + pad.top + pad.bottom, kernel, stride)?,
                windows(w + pad.left + pad.right, kernel, stride)?,
            ]
        }
        Op::MaxPool { kernel, stride, pad } => {
            let [c, h, w] = from[0];
            ensure!(
                Pad::all(pad).is_below(kernel),
                "node {}: padding {pad} of a window of {kernel}, expected less",
                node.name
            );
            [
                c,
                windows(h + 2 * pad, kernel, stride)?,
                windows(w + 2 * pad, kernel, stride)?,
            ]
        }
        Op::AvgPool { kernel, stride } => {
            let [c, h, w] = from[0];
            [c, windows(h, kernel, stride)?, windows(w, kernel, stride)?]
        }
        Op::GlobalAvgPool => [from[0][0], 1, 1],
        Op::Add => {
            ensure!(
                from[0] == from[1],
                "node {}: cannot add {:?} and {:?}",
                node.name,
                from[0],
                from[1]
            );
            from[0]
        }
        Op::Flatten => [from[0].iter().product(), 1, 1],
        Op::Linear { outputs, .. } => {
            ensure!(
                from[0][1] == 1 && from[0][2] == 1,
                "node {}: a linear layer reads a flat input, got {:?}",
                node.name,
                from[0]
            );
            [outputs, 1, 1]
        }
        Op::Norm { eps, .. } => {
            ensure!(
                eps.is_finite() && eps >= 0.0,
                "node {}: {eps} is added to the variance, expected 0 or more",
                node.name
            );
            from[0]
        }
        Op::Gate { .. } | Op::Relu | Op::Relu6 | Op::Dropout { .. } => from[0],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_that_of_tensorflow() {
        let pads = |n, s| {
            let p = Pad::same([n, n], 3, s);
            (p.top, p.bottom)
        };
        assert_eq!([pads(30, 1), pads(30, 2), pads(15, 2)], [(1, 1), (0, 1), (1, 1)]);
    }

    #[test]
    fn a_graph_that_cannot_be_computed_is_refused_by_name() {
        let node = |name: &str, op, inputs: Vec<usize>| Node {
            name: name.into(),
            op,
            inputs,
        };
        let conv = Op::Conv {
            filters: 4,
            kernel: 5,
            stride: 1,
            pad: Pad::VALID,
            bias: false,
            groups: 1,
        };
        let far = Op::MaxPool {
            kernel: 1,
            stride: 1,
            pad: usize::MAX,
        };
        let spec = |nodes| NetSpec {
            name: "t".into(),
            input: [3, 4, 4],
            nodes,
        };
        let wide = Op::MaxPool {
            kernel: 2,
            stride: 1,
            pad: 2,
        };
        let huge = Op::Conv {
            filters: 1 << 20,
            kernel: 1 << 20,
            stride: 1,
            pad: Pad::all(1 << 20),
            bias: false,
            groups: 1,
        };
        let large = NetSpec {
            input: [1, 16_384, 16_384],
            ..spec(vec![node("x", Op::Input, vec![]), node("again", Op::Relu, vec![0])])
        };
        let norm = Op::Norm {
            eps: f32::NAN,
            affine: false,
        };
        let cases = [
            (spec(vec![]), "first node must be the input"),
            (
                spec(vec![node("x", Op::Input, vec![]), node("x2", Op::Input, vec![])]),
                "node x2 is a second input",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("wide", wide, vec![0])]),
                "node wide: padding 2 of a window of 2",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("n", norm, vec![0])]),
                "node n: NaN is added",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("huge", huge, vec![0])]),
                "node huge would have shape",
            ),
            (large, "up to node again"),
            (
                spec(vec![node("x", Op::Input, vec![]), node("big", conv, vec![0])]),
                "node big: a kernel of 5",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("far", far, vec![0])]),
                "node far has a size above",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("y", Op::Relu, vec![1])]),
                "node y reads a node",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("x", Op::Relu, vec![0])]),
                "two nodes are called x",
            ),
            (
                spec(vec![
                    node("x", Op::Input, vec![]),
                    node("f", Op::Linear { outputs: 2, bias: true }, vec![0]),
                ]),
                "flat input",
            ),
        ];
        for (spec, expected) in cases {
            let text = spec.shapes().expect_err(expected).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
