//! A compiled network: instructions on tensors, tensors in buffers. It stays as it is while images run.
//! Knows nothing of checkpoints.

use super::compiled_mask::CompiledMask;
use super::conv::{Conv, Norm};
use super::linear::Linear;
use super::plane::Window;
use kernel::Layout;
use model::Activation;
use model::resample::Tap;

/// One value of the network for one image.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub layout: Layout,
    pub(crate) slot: usize,
}

/// One thing to do: reads tensor `from`, writes tensor `to`.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    /// The node it begins with, or whose input it prepares.
    pub node: usize,
    pub from: usize,
    pub to: usize,
    pub operation: Operation,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Conv(Box<Conv>),
    /// The same values in another layout.
    Repack,
    MaxPool(Window),
    AvgPool(Window),
    Mean,
    /// Adds tensor `other`.
    Add {
        other: usize,
        /// ReLU follows, and cuts what is above this.
        most: Option<f32>,
    },
    /// max(x, 0), or min(max(x, 0), `most`).
    Relu {
        most: f32,
    },
    Norm {
        norm: Norm,
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    /// Multiplies by tensor `by`, or channel by channel by its single pixels.
    Multiply {
        by: usize,
    },
    Activate(Activation),
    /// This tensor's channels and then the others', one after the other.
    Concat {
        others: Vec<usize>,
    },
    /// Some channels, in an order of their own.
    Select {
        channels: Vec<usize>,
    },
    /// A plane in a larger one of zeros.
    Place {
        top: usize,
        left: usize,
        stride: usize,
    },
    Upsample {
        scale: usize,
    },
    /// Planes of another size.
    Resize {
        rows: Vec<Tap>,
        columns: Vec<Tap>,
    },
    LayerNorm {
        eps: f32,
        gamma: Vec<f32>,
        beta: Vec<f32>,
    },
    Lrn {
        size: usize,
        alpha: f32,
        beta: f32,
        bias: f32,
    },
    Flatten,
    Linear(Box<Linear>),
}

impl Operation {
    /// What it is called where layers are listed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Conv(conv) => conv.algorithms.name(),
            Self::Repack => "repack",
            Self::MaxPool(_) => "max-pool",
            Self::AvgPool(_) | Self::Mean => "mean",
            Self::Add { .. } => "add",
            Self::Relu { .. } => "relu",
            Self::Norm { .. } => "norm",
            Self::Multiply { .. } => "mul",
            Self::Activate(function) => function.name(),
            Self::Concat { .. } => "concat",
            Self::Select { .. } => "select",
            Self::Place { .. } => "zero-pad",
            Self::Upsample { .. } => "upsample",
            Self::Resize { .. } => "resize",
            Self::LayerNorm { .. } => "layer-norm",
            Self::Lrn { .. } => "lrn",
            Self::Flatten => "flatten",
            Self::Linear(_) => "linear",
        }
    }
}

impl Instruction {
    /// The node that masks are given for, and its mask.
    pub(crate) fn mask(&self) -> Option<(usize, &CompiledMask)> {
        match &self.operation {
            Operation::Conv(conv) => Some((conv.node, &conv.mask)),
            Operation::Linear(linear) => Some((linear.node, &linear.mask)),
            _ => None,
        }
    }

    /// The tensors it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        let (other, more) = match &self.operation {
            Operation::Conv(conv) => (conv.residual.map(|r| r.0), &[][..]),
            Operation::Add { other, .. } | Operation::Multiply { by: other } => (Some(*other), &[][..]),
            Operation::Concat { others } => (None, &others[..]),
            _ => (None, &[][..]),
        };
        [self.from].into_iter().chain(other).chain(more.iter().copied())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub instructions: Vec<Instruction>,
    pub tensors: Vec<Tensor>,
    /// One layout per slot; tensors that share one have exactly that, so its padding stays zero.
    pub slots: Vec<Layout>,
    /// The tensors of the image and of what the network gives.
    pub input: usize,
    pub outputs: Vec<usize>,
}

impl Program {
    /// How many numbers a tensor holds.
    pub(crate) fn numbers(&self, tensor: usize) -> usize {
        let Layout {
            channels,
            height,
            width,
            ..
        } = self.tensors[tensor].layout;
        channels * height * width
    }

    pub(crate) fn convs(&self) -> impl Iterator<Item = &Conv> {
        self.instructions.iter().filter_map(|i| {
            if let Operation::Conv(c) = &i.operation {
                Some(&**c)
            } else {
                None
            }
        })
    }
}

/// Gives tensors that are never alive together one buffer, if their layouts are equal.
pub(crate) fn assign(
    tensors: &mut [Tensor],
    instructions: &[Instruction],
    (input, outputs): (usize, &[usize]),
) -> Vec<Layout> {
    let mut last = vec![0; tensors.len()];
    for (at, instruction) in instructions.iter().enumerate() {
        instruction.reads().for_each(|t| last[t] = at);
    }
    // The image is written before, the outputs are read after all instructions.
    outputs.iter().for_each(|&t| last[t] = instructions.len());
    let mut slots: Vec<(Layout, Option<usize>)> = vec![(tensors[input].layout, Some(input))];
    tensors[input].slot = 0;
    for (at, instruction) in instructions.iter().enumerate() {
        let to = instruction.to;
        let layout = tensors[to].layout;
        let free = slots.iter().position(|(l, owner)| *l == layout && owner.is_none());
        let slot = free.unwrap_or_else(|| {
            slots.push((layout, None));
            slots.len() - 1
        });
        slots[slot].1 = Some(to);
        tensors[to].slot = slot;
        for t in instruction.reads().filter(|&t| last[t] == at) {
            slots[tensors[t].slot].1 = None;
        }
    }
    slots.into_iter().map(|s| s.0).collect()
}
