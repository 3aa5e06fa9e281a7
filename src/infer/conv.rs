//! One convolution with all that is folded into it: norm, gate, residual sum, ReLU and static masks.
//! Knows nothing of the network around it.
//!
//! Every layer is relu(scale · conv(x) + shift + residual). Each image splits its output channels in three:
//! *computed* ones are convolved; *constant* ones come out without a multiplication (channels that only the residual
//! has); all others are absent. A masked filter's channel is absent, its γ and β read as zero.

use super::compiled_mask::CompiledMask;
use super::conv_algorithms::{ColumnLists, ConvAlgorithms};
use super::conv_args::ConvArgs;
use super::gate::{Gate, GateScratch};
use super::plane;
use kernel::{Epilogue, ImagePlanes, Layout, PlanScratch, Pool};
use model::checkpoint::Moments;
use model::spec::Shift;

#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub name: String,
    pub eps: f32,
    /// γ and β, if it has them.
    pub affine: Option<[Vec<f32>; 2]>,
}

impl Norm {
    /// Scale and shift that do what the norm does with these statistics.
    pub(crate) fn fold(&self, moments: &Moments) -> [Vec<f32>; 2] {
        let inverse = moments.var.iter().map(|v| 1.0 / (v + self.eps).sqrt());
        let gamma = |f: usize| self.affine.as_ref().map_or(1.0, |[gamma, _]| gamma[f]);
        let beta = |f: usize| self.affine.as_ref().map_or(0.0, |[_, beta]| beta[f]);
        let scale: Vec<f32> = inverse.enumerate().map(|(f, inverse)| gamma(f) * inverse).collect();
        let shift = scale
            .iter()
            .zip(&moments.mean)
            .enumerate()
            .map(|(f, (s, mean))| beta(f) - s * mean)
            .collect();
        [scale, shift]
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Conv {
    /// Its node.
    pub node: usize,
    /// Its place among the convolutions of the network.
    pub index: usize,
    /// Tensors: read, written, added.
    pub input: usize,
    pub output: usize,
    pub residual: Option<(usize, Layout)>,
    pub algorithms: ConvAlgorithms,
    pub mask: CompiledMask,
    pub norm: Option<Norm>,
    pub gate: Option<Gate>,
    /// ReLU ends it, and cuts what is above this.
    pub most: Option<f32>,
    /// Folded: of the norm alone, before the gate's π and β.
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// What a convolution keeps between images on one executor.
#[derive(Debug)]
pub(crate) struct ConvState {
    pub lists: ColumnLists,
    /// Filters that are computed.
    pub computed: Vec<u32>,
    constant: Vec<u32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    pub saliency: Vec<f32>,
}

#[derive(Debug, Default)]
pub(crate) struct ConvScratch {
    pub gate: GateScratch,
    winners: Vec<u32>,
    active: Vec<bool>,
    pub winograd: PlanScratch,
}

impl ConvScratch {
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            gate: GateScratch::new(channels),
            winners: Vec::with_capacity(channels),
            active: vec![false; channels],
            winograd: PlanScratch::default(),
        }
    }
}

/// A tensor and its active channels.
#[derive(Clone, Copy)]
pub(crate) struct ActiveInput<'a> {
    pub data: &'a [f32],
    pub active: &'a [u32],
}

/// A tensor to be written, and a list for its active channels.
pub(crate) struct ActiveOutput<'a> {
    pub data: &'a mut [f32],
    pub active: &'a mut Vec<u32>,
}

/// MACs of one image in one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Macs {
    /// The convolution.
    pub conv: u64,
    /// Predictor and gate.
    pub gate: u64,
}

impl ConvState {
    /// Takes over newly folded numbers and a new mask.
    pub(crate) fn refold(&mut self, conv: &Conv) {
        self.scale.copy_from_slice(&conv.scale);
        self.shift.copy_from_slice(&conv.shift);
        for f in (0..conv.filters()).filter(|&f| !conv.mask.filter(f)) {
            (self.scale[f], self.shift[f]) = (0.0, 0.0);
        }
        self.lists.forget();
    }

    /// The channels that are active after the convolution.
    pub(crate) fn list_active(&self, active: &mut Vec<u32>) {
        active.clear();
        active.extend_from_slice(&self.computed);
        if !self.constant.is_empty() {
            active.extend_from_slice(&self.constant);
            active.sort_unstable();
        }
    }
}

impl Conv {
    pub(crate) fn filters(&self) -> usize {
        self.algorithms.output().channels
    }

    pub(crate) fn state(&self) -> ConvState {
        let filters = self.filters();
        ConvState {
            lists: self.algorithms.lists(),
            computed: Vec::with_capacity(filters),
            constant: Vec::with_capacity(filters),
            scale: self.scale.clone(),
            shift: self.shift.clone(),
            saliency: vec![0.0; filters],
        }
    }

    /// Decides which channels of one image, or of several together, are computed. Nothing is computed yet.
    pub(crate) fn choose(&self, x: ActiveInput, together: bool, state: &mut ConvState, scratch: &mut ConvScratch) {
        self.list_filters(x, state, scratch);
        self.algorithms
            .list((x.active, together), state.computed.len(), &self.mask, &mut state.lists);
    }

    /// Makes both sides of a residual sum hold the union of their channels: `residual` gets zero planes, `state` more constant channels.
    pub(crate) fn meet(
        &self,
        layout: &Layout,
        residual: &mut [f32],
        active: &[u32],
        state: &mut ConvState,
        scratch: &mut ConvScratch,
    ) {
        let only_there = &mut scratch.active[..self.filters()];
        only_there.fill(false);
        active.iter().for_each(|&c| only_there[c as usize] = true);
        for &f in state.computed.iter().chain(&state.constant) {
            if !std::mem::take(&mut only_there[f as usize]) {
                plane::clear(layout, residual, f as usize);
            }
        }
        let before = state.constant.len();
        state
            .constant
            .extend(active.iter().filter(|&&c| only_there[c as usize]));
        if state.constant.len() > before {
            state.constant.sort_unstable();
        }
    }

    /// Computes what was chosen; with a pool, on all its threads. `active` receives the channels that are active afterwards.
    pub(crate) fn compute(
        &self,
        x: ActiveInput,
        residual: Option<&[f32]>,
        to: ActiveOutput,
        state: &ConvState,
        scratch: &mut PlanScratch,
        pool: Option<&mut Pool>,
    ) -> Macs {
        let ActiveOutput { data: output, active } = to;
        let weights = self
            .algorithms
            .run(self.args(x.data, residual, state), &state.lists, scratch, pool, output);
        self.compute_constant(x.data, residual, state, output);
        state.list_active(active);
        self.macs(weights, x.active.len())
    }

    /// Computes what was chosen for several images that all have the same channels. Gives the weights it read.
    pub(crate) fn compute_shared<I>(
        &self,
        state: &ConvState,
        pool: Option<&mut Pool>,
        scratch: &mut PlanScratch,
        images: &mut [I],
        planes: impl for<'a> Fn(&'a mut I) -> ImagePlanes<'a>,
    ) -> u64 {
        let run = self.args(&[], None, state);
        self.algorithms
            .run_shared(run, &state.lists, pool, scratch, images, planes)
    }

    /// Channels that only the residual has.
    pub(crate) fn compute_constant(&self, x: &[f32], residual: Option<&[f32]>, state: &ConvState, output: &mut [f32]) {
        if !state.constant.is_empty() {
            let run = ConvArgs {
                filters: &state.constant,
                ..self.args(x, residual, state)
            };
            self.algorithms.run_without_columns(run, &state.lists, output);
        }
    }

    fn args<'a>(&'a self, input: &'a [f32], residual: Option<&'a [f32]>, state: &'a ConvState) -> ConvArgs<'a> {
        ConvArgs {
            input,
            filters: &state.computed,
            epilogue: Epilogue {
                scale: Some(&state.scale),
                shift: Some(&state.shift),
                residual,
                relu: self.most.is_some(),
                at_most: self.most.filter(|most| most.is_finite()),
            },
        }
    }

    /// Of one image that read so many weights and channels.
    pub(crate) fn macs(&self, weights: u64, channels: usize) -> Macs {
        let layout = self.algorithms.output();
        let positions = layout.height * layout.width;
        Macs {
            conv: weights * positions as u64,
            gate: self
                .gate
                .as_ref()
                .map_or(0, |_| ((channels + positions) * self.filters()) as u64),
        }
    }

    /// Splits filters into computed and absent ones and sets scale and shift.
    fn list_filters(&self, x: ActiveInput, state: &mut ConvState, scratch: &mut ConvScratch) {
        let ConvState {
            computed,
            constant,
            scale,
            shift,
            saliency,
            ..
        } = state;
        computed.clear();
        constant.clear();
        let Some(gate) = &self.gate else {
            computed.extend((0..self.filters() as u32).filter(|&f| self.mask.filter(f as usize)));
            return;
        };
        gate.saliency(x.data, self.algorithms.input(), x.active, &mut scratch.gate, saliency);
        for (f, v) in saliency.iter_mut().enumerate() {
            if !self.mask.filter(f) {
                *v = 0.0;
            }
        }
        gate.winners(saliency, &mut scratch.gate, &mut scratch.winners);
        scale.fill(0.0);
        shift.fill(0.0);
        for &winner in &scratch.winners {
            let f = winner as usize;
            if !self.mask.filter(f) {
                continue;
            }
            let pi = saliency[f];
            scale[f] = pi * self.scale[f];
            shift[f] = match gate.form.shift {
                Shift::Eq1 => pi * (gate.beta[f] + self.shift[f]),
                Shift::Released => gate.beta[f] + pi * self.shift[f],
            };
            // π·(…) is zero whatever the convolution says.
            if pi == 0.0 && gate.form.shift == Shift::Eq1 {
                continue;
            }
            computed.push(winner);
        }
    }
}
