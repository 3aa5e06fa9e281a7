//! A compiled network: instructions on tensors, tensors in buffers. It stays as it is while images run.
//! Knows nothing of checkpoints.

use super::compiled_mask::CompiledMask;
use super::conv::{Conv, Norm};
use super::linear::Linear;
use super::plane::Window;
use kernel::Layout;

/// One value of the network for one image.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub layout: Layout,
    pub(crate) slot: usize,
}

/// One thing to do. Numbers are tensors.
#[derive(Clone, Debug)]
pub(crate) enum Instruction {
    Conv(Box<Conv>),
    /// The same values in another layout.
    Repack {
        from: usize,
        to: usize,
    },
    MaxPool {
        from: usize,
        to: usize,
        window: Window,
    },
    AvgPool {
        from: usize,
        to: usize,
        window: Window,
    },
    Mean {
        from: usize,
        to: usize,
    },
    Add {
        from: [usize; 2],
        to: usize,
        relu: bool,
    },
    /// max(x, 0), or min(max(x, 0), `most`).
    Relu {
        from: usize,
        to: usize,
        most: f32,
    },
    Norm {
        from: usize,
        to: usize,
        norm: Norm,
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    Flatten {
        from: usize,
        to: usize,
    },
    Linear {
        from: usize,
        to: usize,
        linear: Box<Linear>,
    },
}

impl Instruction {
    /// The node that masks are given for, and its mask.
    pub(crate) fn mask(&self) -> Option<(usize, &CompiledMask)> {
        match self {
            Instruction::Conv(conv) => Some((conv.node, &conv.mask)),
            Instruction::Linear { linear, .. } => Some((linear.node, &linear.mask)),
            _ => None,
        }
    }

    /// Tensors it reads, and the one it writes.
    fn touches(&self) -> (Vec<usize>, usize) {
        match self {
            Instruction::Conv(c) => ([c.input].into_iter().chain(c.residual.map(|r| r.0)).collect(), c.output),
            Instruction::Add { from, to, .. } => (from.to_vec(), *to),
            Instruction::Repack { from, to }
            | Instruction::MaxPool { from, to, .. }
            | Instruction::AvgPool { from, to, .. }
            | Instruction::Mean { from, to }
            | Instruction::Relu { from, to, .. }
            | Instruction::Norm { from, to, .. }
            | Instruction::Flatten { from, to }
            | Instruction::Linear { from, to, .. } => (vec![*from], *to),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub instructions: Vec<Instruction>,
    pub tensors: Vec<Tensor>,
    /// A layout each; tensors that share one have exactly that, so its padding stays zero.
    pub slots: Vec<Layout>,
    /// The tensors of the image and of the logits.
    pub input: usize,
    pub output: usize,
}

impl Program {
    pub(crate) fn convs(&self) -> impl Iterator<Item = &Conv> {
        self.instructions
            .iter()
            .filter_map(|a| if let Instruction::Conv(c) = a { Some(&**c) } else { None })
    }
}

/// Gives tensors that are never alive together one buffer, if their layouts are equal.
pub(crate) fn assign(tensors: &mut [Tensor], instructions: &[Instruction], ends: [usize; 2]) -> Vec<Layout> {
    let mut last = vec![0; tensors.len()];
    for (at, instruction) in instructions.iter().enumerate() {
        let (reads, _) = instruction.touches();
        reads.into_iter().for_each(|t| last[t] = at);
    }
    // The image is written before, the logits are read after all instructions.
    last[ends[1]] = instructions.len();
    let mut slots: Vec<(Layout, Option<usize>)> = vec![(tensors[ends[0]].layout, Some(ends[0]))];
    tensors[ends[0]].slot = 0;
    for (at, instruction) in instructions.iter().enumerate() {
        let (reads, to) = instruction.touches();
        let layout = tensors[to].layout;
        let free = slots.iter().position(|(l, owner)| *l == layout && owner.is_none());
        let slot = free.unwrap_or_else(|| {
            slots.push((layout, None));
            slots.len() - 1
        });
        slots[slot].1 = Some(to);
        tensors[to].slot = slot;
        for t in reads.into_iter().filter(|&t| last[t] == at) {
            slots[tensors[t].slot].1 = None;
        }
    }
    slots.into_iter().map(|s| s.0).collect()
}
