//! A network as plain data: a graph of named operations, and the shapes that follow from it.
//! Knows nothing of weights, devices or pruning methods.

use super::activation::Activation;
pub use super::gate_form::{GateForm, Shift, Subsample};
use super::head::{Head, check_heads};
pub use super::pad::Pad;
use super::pad::{read_pad, write_pad};
use super::resample::{Coordinates, Interpolation};
use anyhow::{Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

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
    Gate(GateForm),
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
        /// Padding (never chosen as maximum).
        #[serde(serialize_with = "write_pad", deserialize_with = "read_pad")]
        pad: Pad,
    },
    /// Mean over windows.
    AvgPool {
        /// Window height and width.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
        /// Padding (never counted).
        #[serde(default, skip_serializing_if = "Pad::is_none")]
        pad: Pad,
    },
    /// Mean over all positions: `[c, h, w]` → `[c, 1, 1]`.
    GlobalAvgPool,
    /// Sum of two tensors of one shape.
    Add,
    /// Product of two tensors of one shape; the second may be `[c, 1, 1]`, one factor a channel.
    Mul,
    /// A function of each number.
    Activation {
        /// Which.
        function: Activation,
    },
    /// The channels of all inputs, one after the other.
    Concat,
    /// Some channels of the input in an order of their own: a slice, a shuffle.
    Select {
        /// The input's channels that it gives.
        channels: Vec<usize>,
    },
    /// Zeros around each plane.
    ZeroPad {
        /// How many on each side.
        pad: Pad,
    },
    /// Every pixel as a square of equal ones (nearest neighbor).
    Upsample {
        /// Height and width of a square.
        scale: usize,
    },
    /// Planes of another size, each pixel made from those around its place in the old ones.
    Resize {
        /// Height and width.
        size: [usize; 2],
        /// How many times larger the axes count as; the size may be rounded down.
        scale: [f32; 2],
        /// Where a pixel's place is.
        coordinates: Coordinates,
        /// What is made of the pixels around it.
        interpolation: Interpolation,
    },
    /// Zeros between pixels: a transposed convolution is this and a convolution.
    Spread {
        /// Distance of two pixels that were neighbors.
        stride: usize,
    },
    /// At each position, mean and variance over the channels taken out; scale γ and shift β per channel (arXiv 1607.06450).
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// x / (bias + alpha / size · Σ x²)^beta over `size` neighboring channels: local response normalization (AlexNet).
    Lrn {
        /// Channels that are summed over; ⌊(size − 1) / 2⌋ of them before the channel itself.
        size: usize,
        /// Factor of the mean square.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// Added to the mean square.
        bias: f32,
    },
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
    /// Always the last: the values that the network gives, where it is not one vector of logits. One after the other,
    /// `[Σ c·h·w, 1, 1]`.
    Outputs {
        /// What other programs call each, and how they see it.
        heads: Vec<Head>,
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
            Op::Mul => "mul",
            Op::Activation { function } => function.name(),
            Op::Concat => "concat",
            Op::Select { .. } => "select",
            Op::ZeroPad { .. } => "zero-pad",
            Op::Upsample { .. } => "upsample",
            Op::Resize { .. } => "resize",
            Op::Spread { .. } => "spread",
            Op::LayerNorm { .. } => "layer-norm",
            Op::Lrn { .. } => "lrn",
            Op::Dropout { .. } => "dropout",
            Op::Flatten => "flatten",
            Op::Linear { .. } => "linear",
            Op::Outputs { .. } => "outputs",
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

/// A network: nodes in an order in which they can be computed. The last one gives the logits, or all outputs ([`Op::Outputs`]).
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
    /// A network that has nothing but its input, the node `image`.
    pub fn of_input(name: impl Into<String>, input: Shape) -> Self {
        let mut spec = Self {
            name: name.into(),
            input,
            nodes: Vec::new(),
        };
        spec.push("image", Op::Input, &[]);
        spec
    }

    /// Adds a node that reads the nodes `inputs`. Gives its index.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[usize]) -> usize {
        self.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
        });
        self.nodes.len() - 1
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
            ensure!(
                i + 1 == self.nodes.len() || !matches!(node.op, Op::Outputs { .. }),
                "network {}: node {} gives the outputs, expected it last",
                self.name,
                node.name
            );
            let wanted = match node.op {
                Op::Input => 0,
                Op::Add | Op::Mul | Op::Gate { .. } => 2,
                Op::Concat | Op::Outputs { .. } => node.inputs.len().max(1),
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
                .saturating_add(weights_of(&node.op, &from, shape))
                .saturating_add(padding_of(&node.op, &from, shape));
            ensure!(
                numbers <= MOST_NUMBERS,
                "network {}: up to node {}, the weights and the padded values of one image are {numbers} numbers, at most {MOST_NUMBERS} \
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

/// Most numbers that the weights of a network and all values of one image, padded, may be, together (1 GiB of float32), so that a small
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

/// How many numbers the padding of what an operation reads takes beside its pixels: rows are padded, and a stride splits them
/// into as many phases.
fn padding_of(op: &Op, from: &[Shape], [_, out_h, out_w]: Shape) -> u64 {
    let (kernel, stride, pad) = match *op {
        Op::Conv {
            kernel, stride, pad, ..
        } => (kernel, stride, pad),
        Op::MaxPool { kernel, stride, pad } | Op::AvgPool { kernel, stride, pad } => (kernel, stride, pad),
        _ => return 0,
    };
    let [c, h, w] = from[0].map(|n| n as u64);
    let [kernel, stride, out_h, out_w] = [kernel, stride, out_h, out_w].map(|n| n as u64);
    let [top, bottom, left, right] = [pad.top, pad.bottom, pad.left, pad.right].map(|n| n as u64);
    let border = kernel.saturating_sub(1);
    let rows = (top + h + bottom)
        .div_ceil(stride)
        .max(out_h + border.saturating_sub(top.min(bottom)));
    let pitch = (w + left.max(right))
        .div_ceil(stride)
        .max(out_w + border.saturating_sub(left.min(right)));
    let phase = rows.saturating_mul(pitch).saturating_add(left);
    let padded = c.saturating_mul(phase).saturating_mul(stride.saturating_mul(stride));
    padded.saturating_sub(c * h * w)
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
        Op::MaxPool { kernel, stride, pad } | Op::AvgPool { kernel, stride, pad } => {
            &[*kernel, *stride, pad.top, pad.bottom, pad.left, pad.right]
        }
        Op::ZeroPad { pad } => &[pad.top, pad.bottom, pad.left, pad.right],
        Op::Resize { size, .. } => size,
        Op::Upsample { scale: n } | Op::Spread { stride: n } | Op::Lrn { size: n, .. } => &[*n],
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
    // Outputs are no tensor that anything is computed on.
    let largest = match node.op {
        Op::Outputs { .. } => MOST_NUMBERS as usize,
        _ => LARGEST,
    };
    let fits =
        |s: Shape| s.iter().all(|&n| n > 0 && n <= largest) && s.iter().product::<usize>() as u64 <= MOST_NUMBERS;
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
        Op::MaxPool { kernel, stride, pad } | Op::AvgPool { kernel, stride, pad } => {
            let [c, h, w] = from[0];
            ensure!(
                pad.is_below(kernel),
                "node {}: padding {}, {}, {}, {} (top, bottom, left, right) of a window of {kernel}, expected less",
                node.name,
                pad.top,
                pad.bottom,
                pad.left,
                pad.right
            );
            let [h, w] = pad.around([h, w]);
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
        Op::Mul => {
            ensure!(
                from[1] == from[0] || from[1] == [from[0][0], 1, 1],
                "node {}: cannot multiply {:?} by {:?}, expected the same shape or one factor a channel",
                node.name,
                from[0],
                from[1]
            );
            from[0]
        }
        Op::Activation { function } => {
            ensure!(function.is_sane(), "node {}: {function:?}", node.name);
            from[0]
        }
        Op::Concat => {
            let [_, h, w] = from[0];
            ensure!(
                from.iter().all(|s| s[1..] == [h, w]),
                "node {}: cannot join planes of {from:?}, expected one height and width",
                node.name
            );
            [from.iter().map(|s| s[0]).sum(), h, w]
        }
        Op::Select { ref channels } => {
            let [c, h, w] = from[0];
            ensure!(
                channels.iter().all(|&k| k < c),
                "node {}: channel {} of {c}",
                node.name,
                channels.iter().max().unwrap_or(&0)
            );
            [channels.len(), h, w]
        }
        Op::ZeroPad { pad } => {
            let [c, h, w] = from[0];
            let [h, w] = pad.around([h, w]);
            [c, h, w]
        }
        Op::Upsample { scale } => from_plane(from[0], |n| n * scale),
        Op::Resize { size, scale, .. } => {
            ensure!(
                scale.iter().all(|s| s.is_finite() && *s > 0.0),
                "node {}: scales {scale:?}, expected numbers above 0",
                node.name
            );
            [from[0][0], size[0], size[1]]
        }
        Op::Spread { stride } => from_plane(from[0], |n| ((n - 1) * stride).saturating_add(1)),
        Op::LayerNorm { eps } => {
            ensure!(
                eps.is_finite() && eps >= 0.0,
                "node {}: {eps} is added to the variance, expected 0 or more",
                node.name
            );
            from[0]
        }
        Op::Lrn {
            size,
            alpha,
            beta,
            bias,
        } => {
            ensure!(
                size > 0 && [alpha, beta, bias].iter().all(|n| n.is_finite()) && bias > 0.0 && alpha >= 0.0,
                "node {}: size {size}, alpha {alpha}, beta {beta}, bias {bias}",
                node.name
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
        Op::Outputs { ref heads } => {
            let numbers = check_heads(heads, from).map_err(|e| anyhow!("node {}: {e}", node.name))?;
            [numbers, 1, 1]
        }
    })
}

fn from_plane([c, h, w]: Shape, of: impl Fn(usize) -> usize) -> Shape {
    [c, of(h), of(w)]
}

#[cfg(test)]
mod tests {
    use super::*;

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
            pad: Pad::all(usize::MAX),
        };
        let spec = |nodes| NetSpec {
            name: "t".into(),
            input: [3, 4, 4],
            nodes,
        };
        let wide = Op::MaxPool {
            kernel: 2,
            stride: 1,
            pad: Pad::all(2),
        };
        let huge = Op::Conv {
            filters: 1 << 20,
            kernel: 1 << 20,
            stride: 1,
            pad: Pad::all(1 << 20),
            bias: false,
            groups: 1,
        };
        // Strides that leave one pixel of a padding too large to hold.
        let padded = Op::Conv {
            filters: 1,
            kernel: 1,
            stride: 30_000,
            pad: Pad::all(20_000),
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
                "node wide: padding 2, 2, 2, 2 (top, bottom, left, right) of a window of 2",
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
                spec(vec![node("x", Op::Input, vec![]), node("padded", padded, vec![0])]),
                "up to node padded, the weights and the padded values of one image are",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("big", conv, vec![0])]),
                "node big: a kernel of 5",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("far", far, vec![0])]),
                "node far has a size above",
            ),
            (
                spec(vec![
                    node("x", Op::Input, vec![]),
                    node("less", Op::Select { channels: vec![3] }, vec![0]),
                ]),
                "node less: channel 3 of 3",
            ),
            (
                spec(vec![
                    node("x", Op::Input, vec![]),
                    node("pad", Op::ZeroPad { pad: Pad::all(1) }, vec![0]),
                    node("both", Op::Concat, vec![0, 1]),
                ]),
                "node both: cannot join planes of",
            ),
            (
                spec(vec![
                    node("x", Op::Input, vec![]),
                    node("pad", Op::ZeroPad { pad: Pad::all(1) }, vec![0]),
                    node("times", Op::Mul, vec![0, 1]),
                ]),
                "node times: cannot multiply",
            ),
            (
                spec(vec![node("x", Op::Input, vec![]), node("none", Op::Concat, vec![])]),
                "node none has 0 inputs",
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
