//! A batch through a network whose images all have the same channels: image by image up to the first layer whose weights they should
//! share, layer by layer from there. Knows nothing of results.
//!
//! The first layers have large planes and few weights, so an image alone keeps a thread's near cache busy. Later ones have more
//! weights than any near cache holds: there a weight that has been read meets all images.

use super::conv::{ActiveInput, Conv};
use super::executor::{Executor, ImageOutput};
use super::program::{Instruction, Operation, Program};
use kernel::{ImagePlanes, PlanScratch, Pool};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most images side by side.
pub(crate) const MOST_IMAGES: usize = 64;

/// What is kept of the images of a block between layers.
pub(crate) struct SharedLayers {
    /// The first instruction that all images do before any does the next.
    first: usize,
    /// The buffers that instructions from there use.
    slots: Vec<usize>,
    images: Vec<Mutex<ImageTensors>>,
    scratch: PlanScratch,
}

/// An image's own in place of an executor's.
struct ImageTensors {
    slots: Vec<Vec<f32>>,
    active: Vec<Vec<u32>>,
    /// The buffer that is written, while a layer runs.
    output: Vec<f32>,
}

impl SharedLayers {
    /// `None` if no layer gains.
    pub(crate) fn new(program: &Program, images: usize) -> Option<Self> {
        let first = program.instructions.iter().position(|i| shared(i).is_some())?;
        let tensors = program.instructions[first..]
            .iter()
            .flat_map(|i| i.reads().chain([i.to]));
        // An output may have been computed before all of them.
        let mut slots: Vec<usize> = tensors
            .chain(program.outputs.iter().copied())
            .map(|t| program.tensors[t].slot)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        let mut scratch = PlanScratch::default();
        for conv in program.instructions.iter().filter_map(shared) {
            conv.algorithms.make_shared_room(&mut scratch);
        }
        let tensors = || ImageTensors {
            slots: (0..program.slots.len())
                .map(|s| {
                    if slots.contains(&s) {
                        program.slots[s].alloc()
                    } else {
                        Vec::new()
                    }
                })
                .collect(),
            active: program
                .tensors
                .iter()
                .map(|t| Vec::with_capacity(t.layout.channels))
                .collect(),
            output: Vec::new(),
        };
        Some(Self {
            first,
            images: (0..images.min(MOST_IMAGES)).map(|_| Mutex::new(tensors())).collect(),
            slots,
            scratch,
        })
    }

    /// Runs as many images, `[c, h, w]` normalized, as there are `outs`.
    pub(crate) fn run(
        &mut self,
        program: &Program,
        pool: &mut Pool,
        executors: &mut [Executor],
        images: &[f32],
        outs: &[Mutex<ImageOutput>],
    ) {
        let size = images.len() / outs.len().max(1);
        let blocks = images.chunks(size * self.images.len());
        for (images, outs) in blocks.zip(outs.chunks(self.images.len())) {
            self.run_block(program, pool, executors, (images, size), outs);
        }
    }

    fn run_block(
        &mut self,
        program: &Program,
        pool: &mut Pool,
        executors: &mut [Executor],
        (images, size): (&[f32], usize),
        outs: &[Mutex<ImageOutput>],
    ) {
        let n = outs.len();
        pool.run_with(executors, n, &|i, executor| {
            let out = &mut lock(&outs[i]);
            executor.load(program, &images[i * size..][..size]);
            out.linear = 0;
            for instruction in &program.instructions[..self.first] {
                executor.step(program, instruction, out, None);
            }
            self.swap(i, executor);
        });
        let mut rest = &program.instructions[self.first..];
        while let [next, after @ ..] = rest {
            if let Some(conv) = shared(next) {
                self.conv(program, conv, pool, &mut executors[0], outs);
                rest = after;
                continue;
            }
            let alone;
            (alone, rest) = rest.split_at(rest.iter().position(|i| shared(i).is_some()).unwrap_or(rest.len()));
            pool.run_with(executors, n, &|i, executor| {
                self.swap(i, executor);
                for instruction in alone {
                    executor.step(program, instruction, &mut lock(&outs[i]), None);
                }
                self.swap(i, executor);
            });
        }
        for (i, out) in outs.iter().enumerate() {
            self.swap(i, &mut executors[0]);
            executors[0].read_logits(program, &mut lock(out));
            self.swap(i, &mut executors[0]);
        }
    }

    /// Lends an image's buffers to an executor, or takes them back.
    fn swap(&self, image: usize, executor: &mut Executor) {
        let own = &mut *lock(&self.images[image]);
        for &slot in &self.slots {
            std::mem::swap(&mut own.slots[slot], &mut executor.slots[slot]);
        }
        std::mem::swap(&mut own.active, &mut executor.active);
    }

    /// One convolution of all images.
    fn conv(
        &mut self,
        program: &Program,
        conv: &Conv,
        pool: &mut Pool,
        executor: &mut Executor,
        outs: &[Mutex<ImageOutput>],
    ) {
        let slot = |tensor: usize| program.tensors[tensor].slot;
        let [input, output] = [conv.input, conv.output].map(slot);
        let residual = conv.residual.map(|(tensor, layout)| (tensor, slot(tensor), layout));
        let images = &mut self.images[..outs.len()];
        let state = &mut executor.convs[conv.index];
        let active = |own: &ImageTensors| own.active[conv.input].len();
        let mut read = 0;
        for (i, own) in images.iter_mut().map(own).enumerate() {
            if i == 0 {
                let x = ActiveInput {
                    data: &own.slots[input],
                    active: &own.active[conv.input],
                };
                conv.choose(x, true, state, &mut executor.scratch);
                read = active(own);
            }
            debug_assert_eq!(active(own), read, "images without gates have the same channels");
            if let Some((tensor, slot, layout)) = &residual {
                conv.meet(
                    layout,
                    &mut own.slots[*slot],
                    &own.active[*tensor],
                    state,
                    &mut executor.scratch,
                );
            }
            own.output = std::mem::take(&mut own.slots[output]);
        }
        let weights = conv.compute_shared(state, Some(pool), &mut self.scratch, images, |image| {
            let own = own(image);
            ImagePlanes {
                input: &own.slots[input],
                residual: residual.as_ref().map(|r| &own.slots[r.1][..]),
                output: &mut own.output,
            }
        });
        for (own, out) in images.iter_mut().map(own).zip(outs) {
            let data = residual.as_ref().map(|r| &own.slots[r.1][..]);
            conv.compute_constant(&own.slots[input], data, state, &mut own.output);
            own.slots[output] = std::mem::take(&mut own.output);
            state.list_active(&mut own.active[conv.output]);
            lock(out).convs[conv.index] = (conv.macs(weights, read), state.computed.len() as u64);
        }
    }
}

/// The convolution, if all images do it together.
fn shared(instruction: &Instruction) -> Option<&Conv> {
    match &instruction.operation {
        Operation::Conv(conv) if conv.algorithms.is_shared() => Some(conv),
        _ => None,
    }
}

fn own(image: &mut Mutex<ImageTensors>) -> &mut ImageTensors {
    image.get_mut().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
