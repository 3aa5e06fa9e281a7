//! One image through a compiled network, on one executor's buffers.
//! Knows nothing of batches or of how executors share images.

use super::conv::{ActiveInput, ActiveOutput, Conv, ConvScratch, ConvState, Macs};
use super::plane;
use super::program::{Instruction, Operation, Program, Tensor};
use kernel::{Layout, PlanScratch, Pool};
use std::sync::Mutex;

/// All that one image needs while it runs.
pub(crate) struct Executor {
    /// A buffer a slot of the program.
    pub slots: Vec<Vec<f32>>,
    /// The active channels of each tensor, ascending. What other planes hold means nothing.
    pub active: Vec<Vec<u32>>,
    pub convs: Vec<ConvState>,
    pub scratch: ConvScratch,
    planes: [Vec<f32>; 3],
    pairs: Vec<(u32, f32)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ImageOutput {
    /// All that the network gives, one output after the other.
    pub logits: Vec<f32>,
    /// By gate: saliencies, then the channels that were computed.
    pub gates: Vec<(Vec<f32>, Vec<u32>)>,
    /// By convolution: MACs, then the number of channels that were computed.
    pub convs: Vec<(Macs, u64)>,
    /// MACs of linear layers.
    pub linear: u64,
}

/// An image in the middle of the network, while norms are measured.
pub(crate) type CalibrationImage = Mutex<(Executor, ImageOutput)>;

impl ImageOutput {
    pub(crate) fn new(program: &Program) -> Self {
        let (mut gates, mut convs) = (Vec::new(), Vec::new());
        for conv in program.convs() {
            convs.push(Default::default());
            if conv.gate.is_some() {
                gates.push((vec![0.0; conv.filters()], Vec::with_capacity(conv.filters())));
            }
        }
        Self {
            logits: vec![0.0; program.outputs.iter().map(|&t| program.numbers(t)).sum()],
            gates,
            convs,
            linear: 0,
        }
    }
}

impl Executor {
    pub(crate) fn new(program: &Program) -> Self {
        let channels = program.tensors.iter().map(|t| t.layout.channels).max().unwrap_or(0);
        let plane = program
            .tensors
            .iter()
            .map(|t| t.layout.height * t.layout.width)
            .max()
            .unwrap_or(0);
        let mut scratch = ConvScratch::new(channels);
        for conv in program.convs() {
            conv.algorithms.make_room(&mut scratch.winograd);
        }
        Self {
            slots: program.slots.iter().map(|s| s.alloc()).collect(),
            active: program
                .tensors
                .iter()
                .map(|t| Vec::with_capacity(t.layout.channels))
                .collect(),
            convs: program.convs().map(Conv::state).collect(),
            scratch,
            planes: [(); 3].map(|()| vec![0.0; plane]),
            pairs: Vec::with_capacity(channels),
        }
    }

    /// Gives each of so many threads the memory to share one image.
    pub(crate) fn split_over(&mut self, program: &Program, threads: usize) {
        self.scratch.winograd = PlanScratch::for_threads(threads);
        for conv in program.convs() {
            conv.algorithms.make_room(&mut self.scratch.winograd);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.len() * size_of::<f32>()).sum()
    }

    /// Forgets what depends on the program's folded numbers.
    pub(crate) fn refold(&mut self, program: &Program) {
        for (state, conv) in self.convs.iter_mut().zip(program.convs()) {
            state.refold(conv);
        }
    }

    /// Forgets what depends on one convolution's folded numbers.
    pub(crate) fn refold_one(&mut self, conv: &Conv) {
        self.convs[conv.index].refold(conv);
    }

    /// A tensor's layout, its numbers, and its active channels.
    pub(crate) fn tensor<'a>(&'a self, program: &'a Program, tensor: usize) -> (&'a Layout, &'a [f32], &'a [u32]) {
        let Tensor { layout, slot } = &program.tensors[tensor];
        (layout, &self.slots[*slot], &self.active[tensor])
    }

    /// Runs one image, `[c, h, w]` normalized. With a pool, convolutions are split over its threads.
    pub(crate) fn run(&mut self, program: &Program, image: &[f32], out: &mut ImageOutput, mut pool: Option<&mut Pool>) {
        self.load(program, image);
        out.linear = 0;
        for instruction in &program.instructions {
            self.step(program, instruction, out, pool.as_deref_mut());
        }
        self.read_logits(program, out);
    }

    /// Copies out what the network gives.
    pub(crate) fn read_logits(&self, program: &Program, out: &mut ImageOutput) {
        out.logits.fill(0.0);
        let mut rest = &mut out.logits[..];
        for &tensor in &program.outputs {
            let (own, after) = std::mem::take(&mut rest).split_at_mut(program.numbers(tensor));
            let (layout, data, active) = self.tensor(program, tensor);
            let size = layout.height * layout.width;
            for c in active.iter().map(|&c| c as usize) {
                plane::load(layout, data, c, &mut own[c * size..(c + 1) * size]);
            }
            rest = after;
        }
    }

    /// Takes an image, `[c, h, w]` normalized.
    pub(crate) fn load(&mut self, program: &Program, image: &[f32]) {
        let input = &program.tensors[program.input];
        self.active[program.input].clear();
        self.active[program.input].extend(0..input.layout.channels as u32);
        input
            .layout
            .pack(image, &self.active[program.input], &mut self.slots[input.slot]);
    }

    pub(crate) fn step(
        &mut self,
        program: &Program,
        instruction: &Instruction,
        out: &mut ImageOutput,
        pool: Option<&mut Pool>,
    ) {
        match &instruction.operation {
            Operation::Conv(conv) => self.conv(program, conv, out, pool),
            _ => self.act(program, instruction, out),
        }
    }

    fn conv(&mut self, program: &Program, conv: &Conv, out: &mut ImageOutput, pool: Option<&mut Pool>) {
        let slot = |tensor: usize| program.tensors[tensor].slot;
        let state = &mut self.convs[conv.index];
        let mut output = std::mem::take(&mut self.slots[slot(conv.output)]);
        let mut active = std::mem::take(&mut self.active[conv.output]);
        let x = ActiveInput {
            data: &self.slots[slot(conv.input)],
            active: &self.active[conv.input],
        };
        conv.choose(x, false, state, &mut self.scratch);
        if let Some(gate) = &conv.gate {
            let (saliency, computed) = &mut out.gates[gate.index];
            saliency.copy_from_slice(&state.saliency);
            computed.clone_from(&state.computed);
        }
        if let Some((tensor, layout)) = &conv.residual {
            let residual = &mut self.slots[slot(*tensor)];
            conv.meet(layout, residual, &self.active[*tensor], state, &mut self.scratch);
        }
        let x = ActiveInput {
            data: &self.slots[slot(conv.input)],
            active: &self.active[conv.input],
        };
        let residual = conv.residual.as_ref().map(|(tensor, _)| &self.slots[slot(*tensor)][..]);
        let macs = conv.compute(
            x,
            residual,
            ActiveOutput {
                data: &mut output,
                active: &mut active,
            },
            state,
            &mut self.scratch.winograd,
            pool,
        );
        out.convs[conv.index] = (macs, state.computed.len() as u64);
        self.slots[slot(conv.output)] = output;
        self.active[conv.output] = active;
    }

    fn act(&mut self, program: &Program, instruction: &Instruction, out: &mut ImageOutput) {
        let &Instruction {
            from,
            to,
            ref operation,
            ..
        } = instruction;
        let mut output = std::mem::take(&mut self.slots[program.tensors[to].slot]);
        let mut active = std::mem::take(&mut self.active[to]);
        let (layout, to_layout) = (&program.tensors[from].layout, &program.tensors[to].layout);
        let (x, present) = (&self.slots[program.tensors[from].slot], &self.active[from]);
        let size = layout.height * layout.width;
        let [a, b, spare] = &mut self.planes;
        let (a, b) = (&mut a[..size], &mut b[..(to_layout.height * to_layout.width)]);
        active.clear();
        match operation {
            Operation::Flatten => {
                for &c in present {
                    plane::load(layout, x, c as usize, a);
                    for (i, &v) in a.iter().enumerate() {
                        let feature = c as usize * size + i;
                        output[to_layout.offset(feature, 0, 0)] = v;
                        active.push(feature as u32);
                    }
                }
            }
            Operation::Linear(linear) => {
                self.pairs.clear();
                let read = present.iter().filter(|&&c| linear.mask.channel(c));
                self.pairs
                    .extend(read.map(|&c| (c, x[layout.offset(c as usize, 0, 0)])));
                // Planned to be contiguous.
                linear.run(&self.pairs, &mut output[..linear.matrix.outputs]);
                active.extend((0..linear.matrix.outputs as u32).filter(|&f| linear.mask.filter(f as usize)));
                out.linear += (self.pairs.len() * active.len()) as u64;
            }
            Operation::Norm { scale, shift, .. } => {
                let mut inputs = present.iter().peekable();
                for c in 0..layout.channels {
                    a.fill(0.0);
                    if inputs.next_if(|&&p| p as usize == c).is_some() {
                        plane::load(layout, x, c, a);
                    }
                    a.iter_mut().for_each(|v| *v = scale[c] * *v + shift[c]);
                    plane::store(to_layout, a, c, &mut output);
                    active.push(c as u32);
                }
            }
            Operation::Add { other, most } => {
                let (other_layout, z) = (
                    &program.tensors[*other].layout,
                    &self.slots[program.tensors[*other].slot],
                );
                let also = &self.active[*other];
                active.extend(present.iter().chain(also));
                active.sort_unstable();
                active.dedup();
                for &c in &active {
                    a.fill(0.0);
                    b.fill(0.0);
                    if present.binary_search(&c).is_ok() {
                        plane::load(layout, x, c as usize, a);
                    }
                    if also.binary_search(&c).is_ok() {
                        plane::load(other_layout, z, c as usize, b);
                    }
                    for (b, a) in b.iter_mut().zip(&*a) {
                        let sum = *a + *b;
                        *b = most.map_or(sum, |most| plane::clamp(sum, most));
                    }
                    plane::store(to_layout, b, c as usize, &mut output);
                }
            }
            Operation::Multiply { by } => {
                let (by_layout, z) = (&program.tensors[*by].layout, &self.slots[program.tensors[*by].slot]);
                let factors = &self.active[*by];
                let both = present.iter().filter(|c| factors.binary_search(c).is_ok());
                active.extend(both);
                let is_whole = [by_layout.height, by_layout.width] == [layout.height, layout.width];
                for c in active.iter().map(|&c| c as usize) {
                    plane::load(layout, x, c, a);
                    if is_whole {
                        plane::load(by_layout, z, c, b);
                        a.iter_mut().zip(&*b).for_each(|(a, b)| *a *= b);
                    } else {
                        let factor = z[by_layout.offset(c, 0, 0)];
                        a.iter_mut().for_each(|a| *a *= factor);
                    }
                    plane::store(to_layout, a, c, &mut output);
                }
            }
            Operation::Activate(function) => {
                active.extend_from_slice(present);
                for c in present.iter().map(|&c| c as usize) {
                    plane::load(layout, x, c, a);
                    function.apply(a, b);
                    plane::store(to_layout, b, c, &mut output);
                }
                if !function.keeps_zero() && present.len() < layout.channels {
                    b.fill(function.at(0.0));
                    for c in (0..layout.channels as u32).filter(|c| present.binary_search(c).is_err()) {
                        plane::store(to_layout, b, c as usize, &mut output);
                    }
                    active.clear();
                    active.extend(0..layout.channels as u32);
                }
            }
            Operation::Concat { others } => {
                let mut first = 0;
                for &part in [from].iter().chain(others) {
                    let Tensor { layout, slot } = &program.tensors[part];
                    for &c in &self.active[part] {
                        plane::load(layout, &self.slots[*slot], c as usize, a);
                        plane::store(to_layout, a, first + c as usize, &mut output);
                        active.push(first as u32 + c);
                    }
                    first += layout.channels;
                }
            }
            Operation::Select { channels } => {
                for (at, &c) in channels.iter().enumerate() {
                    if present.binary_search(&(c as u32)).is_ok() {
                        plane::load(layout, x, c, a);
                        plane::store(to_layout, a, at, &mut output);
                        active.push(at as u32);
                    }
                }
            }
            Operation::LayerNorm { eps, gamma, beta } => {
                active.extend(0..layout.channels as u32);
                let share = 1.0 / layout.channels as f32;
                let var = &mut spare[..size];
                // Channels that are absent are zero.
                b.fill(0.0);
                for &c in present {
                    plane::load(layout, x, c as usize, a);
                    b.iter_mut().zip(&*a).for_each(|(sum, v)| *sum += v);
                }
                b.iter_mut().for_each(|sum| *sum *= share);
                let absent = (layout.channels - present.len()) as f32;
                var.iter_mut()
                    .zip(&*b)
                    .for_each(|(var, mean)| *var = absent * mean * mean);
                for &c in present {
                    plane::load(layout, x, c as usize, a);
                    let off = a.iter().zip(&*b).map(|(v, mean)| (v - mean) * (v - mean));
                    var.iter_mut().zip(off).for_each(|(sum, square)| *sum += square);
                }
                var.iter_mut().for_each(|v| *v = 1.0 / (*v * share + eps).sqrt());
                for c in 0..layout.channels {
                    a.fill(0.0);
                    if present.binary_search(&(c as u32)).is_ok() {
                        plane::load(layout, x, c, a);
                    }
                    for ((v, mean), inverse) in a.iter_mut().zip(&*b).zip(&*var) {
                        *v = (*v - mean) * inverse * gamma[c] + beta[c];
                    }
                    plane::store(to_layout, a, c, &mut output);
                }
            }
            Operation::Lrn {
                size,
                alpha,
                beta,
                bias,
            } => {
                active.extend_from_slice(present);
                for c in present.iter().map(|&c| c as usize) {
                    b.fill(0.0);
                    let neighbors = c.saturating_sub((size - 1) / 2)..=c + size / 2;
                    for &k in present.iter().filter(|&&k| neighbors.contains(&(k as usize))) {
                        plane::load(layout, x, k as usize, a);
                        b.iter_mut().zip(&*a).for_each(|(sum, v)| *sum += v * v);
                    }
                    plane::load(layout, x, c, a);
                    for (v, sum) in a.iter_mut().zip(&*b) {
                        *v /= (bias + alpha / *size as f32 * sum).powf(*beta);
                    }
                    plane::store(to_layout, a, c, &mut output);
                }
            }
            _ => {
                active.extend_from_slice(present);
                for &c in present {
                    let c = c as usize;
                    if let Operation::Mean = operation {
                        // Padding is zero, so all of the plane may be added.
                        output[to_layout.offset(c, 0, 0)] =
                            plane::sum(plane::padded(layout, x, c), |v| v) / size as f32;
                        continue;
                    }
                    plane::load(layout, x, c, a);
                    match operation {
                        Operation::MaxPool(window) => {
                            plane::max_pool(a, [layout.height, layout.width], *window, b, to_layout.width)
                        }
                        Operation::AvgPool(window) => {
                            plane::avg_pool(a, [layout.height, layout.width], *window, b, to_layout.width)
                        }
                        Operation::Place { top, left, stride } => {
                            plane::place(a, layout.width, [*top, *left], *stride, b, to_layout.width)
                        }
                        Operation::Upsample { scale } => plane::upsample(a, layout.width, *scale, b),
                        Operation::Resize { rows, columns } => plane::resize(a, layout.width, [rows, columns], b),
                        Operation::Relu { most } => {
                            b.iter_mut().zip(&*a).for_each(|(b, a)| *b = plane::clamp(*a, *most))
                        }
                        _ => b.copy_from_slice(a),
                    }
                    plane::store(to_layout, b, c, &mut output);
                }
            }
        }
        self.slots[program.tensors[to].slot] = output;
        self.active[to] = active;
    }
}
