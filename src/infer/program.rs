//! A compiled network: actions on tensors, tensors in buffers. It stays as it is while images run.
//! Knows nothing of checkpoints.

use super::conv::{Conv, Norm};
use super::kept::Kept;
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
pub(crate) enum Action {
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

impl Action {
    /// The node that masks are given for, and its mask.
    pub(crate) fn kept(&self) -> Option<(usize, &Kept)> {
        match self {
            Action::Conv(conv) => Some((conv.node, &conv.kept)),
            Action::Linear { linear, .. } => Some((linear.node, &linear.kept)),
            _ => None,
        }
    }

    /// Tensors it reads, and the one it writes.
    fn touches(&self) -> (Vec<usize>, usize) {
        match self {
            Action::Conv(c) => ([c.input].into_iter().chain(c.residual.map(|r| r.0)).collect(), c.output),
            Action::Add { from, to, .. } => (from.to_vec(), *to),
            Action::Repack { from, to }
            | Action::MaxPool { from, to, .. }
            | Action::AvgPool { from, to, .. }
            | Action::Mean { from, to }
            | Action::Relu { from, to, .. }
            | Action::Norm { from, to, .. }
            | Action::Flatten { from, to }
            | Action::Linear { from, to, .. } => (vec![*from], *to),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub actions: Vec<Action>,
    pub tensors: Vec<Tensor>,
    /// A layout each; tensors that share one have exactly that, so its padding stays zero.
    pub slots: Vec<Layout>,
    /// The tensors of the image and of the logits.
    pub input: usize,
    pub output: usize,
}

impl Program {
    pub(crate) fn convs(&self) -> impl Iterator<Item = &Conv> {
        self.actions
            .iter()
            .filter_map(|a| if let Action::Conv(c) = a { Some(&**c) } else { None })
    }
}

/// Gives tensors that are never alive together one buffer, if their layouts are equal.
pub(crate) fn assign(tensors: &mut [Tensor], actions: &[Action], ends: [usize; 2]) -> Vec<Layout> {
    let mut last = vec![0; tensors.len()];
    for (at, action) in actions.iter().enumerate() {
        let (reads, _) = action.touches();
        reads.into_iter().for_each(|t| last[t] = at);
    }
    // The image is written before, the logits are read after all actions.
    last[ends[1]] = actions.len();
    let mut slots: Vec<(Layout, Option<usize>)> = vec![(tensors[ends[0]].layout, Some(ends[0]))];
    tensors[ends[0]].slot = 0;
    for (at, action) in actions.iter().enumerate() {
        let (reads, to) = action.touches();
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
