//! Norm statistics measured anew under the masks that are set, layer by layer, so that a cut network is judged by what it can
//! compute and not by statistics of channels that are gone (as EagleEye does, arXiv 2007.02491).
//! Knows nothing of searches.

use super::conv::Conv;
use super::engine::Engine;
use super::plane;
use super::program::{Action, Program};
use super::walk::{ImageOut, Worker};
use crate::model::checkpoint::Moments;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An image in the middle of the network.
pub(super) type Walker = Mutex<(Worker, ImageOut)>;

fn open(walker: &Walker) -> MutexGuard<'_, (Worker, ImageOut)> {
    walker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Σ x and Σ x² of a channel over the images that have it.
#[derive(Clone, Copy, Default)]
struct Sums {
    positions: usize,
    first: f64,
    second: f64,
}

impl Engine {
    /// Gives every norm the mean and variance that these images, `[n, c, h, w]` normalized, have before it, each layer reading
    /// what the layers before it now say. They hold until densities are set. Norms of gated convolutions keep theirs, which
    /// were measured for each density; so do channels that are absent. Results do not depend on the number of threads.
    ///
    /// # Panics
    /// If `images` is not a whole number of images.
    pub fn renormalize(&mut self, images: &[f32]) {
        let size: usize = self.spec().input.iter().product();
        assert!(images.len().is_multiple_of(size), "not a whole number of images");
        let n = images.len() / size;
        while self.walkers.len() < n {
            let walker = (Worker::new(&self.program), ImageOut::new(&self.program));
            self.walkers.push(Mutex::new(walker));
        }
        for (walker, image) in self.walkers.iter().zip(images.chunks_exact(size)) {
            let (worker, _) = &mut *open(walker);
            worker.refold(&self.program);
            worker.load(&self.program, image);
        }
        let kept = self.model.stats_at(crate::model::Density::FULL);
        for index in 0..self.program.actions.len() {
            let raw = match &mut self.program.actions[index] {
                Action::Conv(conv) if conv.gate.is_none() && conv.norm.is_some() => Some(bare(conv)),
                _ => None,
            };
            if let Some((relu, residual)) = raw {
                self.step(n, index);
                let sums = self.sums(n, self.program.actions[index].writes());
                if let Action::Conv(conv) = &mut self.program.actions[index] {
                    (conv.relu, conv.residual) = (relu, residual);
                    if let Some(norm) = &conv.norm {
                        [conv.scale, conv.shift] = norm.fold(&moments(&sums, &kept[&norm.name]));
                    }
                }
            } else if let &Action::Norm { from, .. } = &self.program.actions[index] {
                let sums = self.sums(n, from);
                if let Action::Norm { norm, scale, shift, .. } = &mut self.program.actions[index] {
                    [*scale, *shift] = norm.fold(&moments(&sums, &kept[&norm.name]));
                }
            }
            self.step(n, index);
        }
        self.workers.iter_mut().for_each(|w| w.refold(&self.program));
    }

    /// One action on every image.
    fn step(&mut self, n: usize, index: usize) {
        let (program, walkers) = (&self.program, &self.walkers);
        let action = &program.actions[index];
        self.pool.run(n, &|i, _| {
            let (worker, out) = &mut *open(&walkers[i]);
            if let Action::Conv(conv) = action {
                worker.refold_one(conv);
            }
            worker.step(program, action, out, None);
        });
    }

    /// Sums over each channel of a tensor, image after image.
    fn sums(&self, n: usize, tensor: usize) -> Vec<Sums> {
        let mut sums = vec![Sums::default(); self.program.tensors[tensor].layout.channels];
        for walker in &self.walkers[..n] {
            open(walker).0.add_sums(&self.program, tensor, &mut sums);
        }
        sums
    }
}

/// Makes a convolution say its bare products; what it is to get back.
fn bare(conv: &mut Conv) -> (bool, Option<(usize, crate::kernel::Layout)>) {
    conv.scale.fill(1.0);
    conv.shift.fill(0.0);
    (std::mem::take(&mut conv.relu), conv.residual.take())
}

fn moments(sums: &[Sums], kept: &Moments) -> Moments {
    let of = |c: usize| {
        let Sums {
            positions,
            first,
            second,
        } = sums[c];
        if positions == 0 {
            return [kept.mean[c], kept.var[c]];
        }
        let mean = first / positions as f64;
        let var = (second / positions as f64 - mean * mean).max(0.0);
        [mean as f32, var as f32]
    };
    let both = || (0..sums.len()).map(of);
    Moments {
        mean: both().map(|[mean, _]| mean).collect(),
        var: both().map(|[_, var]| var).collect(),
    }
}

impl Worker {
    /// Adds what one image has in a tensor.
    fn add_sums(&self, program: &Program, tensor: usize, sums: &mut [Sums]) {
        let (layout, data, active) = self.tensor(program, tensor);
        for &c in active {
            // Padding is zero, so all of the plane may be added.
            let plane = plane::padded(layout, data, c as usize);
            let sum = &mut sums[c as usize];
            sum.positions += layout.height * layout.width;
            sum.first += f64::from(plane::sum(plane, |v| v));
            sum.second += f64::from(plane::sum(plane, |v| v * v));
        }
    }
}
