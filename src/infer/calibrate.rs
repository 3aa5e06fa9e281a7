//! Norm statistics measured anew under the masks that are set, layer by layer, so that a cut network is judged by what it can
//! compute and not by statistics of channels that are gone (as EagleEye does, arXiv 2007.02491).
//! Knows nothing of searches.

use super::conv::{Conv, Norm};
use super::engine::Engine;
use super::executor::{CalibrationImage, Executor, ImageOutput};
use super::plane;
use super::program::{Instruction, Operation, Program};
use model::Density;
use model::checkpoint::NormStats;
use std::sync::{Mutex, MutexGuard, PoisonError};

fn open(image: &CalibrationImage) -> MutexGuard<'_, (Executor, ImageOutput)> {
    image.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Σ x and Σ x² of a channel over the images that have it.
#[derive(Clone, Copy, Default)]
struct ChannelSums {
    positions: usize,
    first: f64,
    second: f64,
}

/// Most memory that images side by side may take: what is beyond is left out.
const MEMORY_LIMIT: usize = 1 << 30;

impl Engine {
    /// Gives every norm the mean and variance that these images, `[n, c, h, w]` normalized, have before it, each layer reading
    /// what the layers before it now say; gives them back by name. They hold until densities are set. Norms of gated
    /// convolutions keep theirs, which were measured for each density; so do channels that are absent. Of many images of a large
    /// network only the first are used, as many as a gigabyte holds. Results do not depend on the number of threads.
    ///
    /// # Panics
    /// If `images` is not a whole number of images.
    pub fn calibrate(&mut self, images: &[f32]) -> NormStats {
        let size: usize = self.spec().input.iter().product();
        assert!(images.len().is_multiple_of(size), "not a whole number of images");
        let room = MEMORY_LIMIT / self.executors[0].bytes().max(1);
        let n = (images.len() / size).min(room.max(1));
        while self.calibration_images.len() < n {
            let image = (Executor::new(&self.program), ImageOutput::new(&self.program));
            self.calibration_images.push(Mutex::new(image));
        }
        for (state, image) in self.calibration_images[..n].iter().zip(images.chunks_exact(size)) {
            let (executor, _) = &mut *open(state);
            executor.refold(&self.program);
            executor.load(&self.program, image);
        }
        let mut stats = self.model.stats_at(Density::FULL);
        for index in 0..self.program.instructions.len() {
            let raw = match &mut self.program.instructions[index].operation {
                Operation::Conv(conv) if conv.gate.is_none() && conv.norm.is_some() => Some(bare(conv)),
                _ => None,
            };
            if raw.is_some() {
                self.step(n, index);
            }
            let measured = match &self.program.instructions[index] {
                Instruction { to, .. } if raw.is_some() => Some(*to),
                Instruction {
                    from,
                    operation: Operation::Norm { .. },
                    ..
                } => Some(*from),
                _ => None,
            };
            let sums = measured.map(|tensor| self.sums(n, tensor)).unwrap_or_default();
            match &mut self.program.instructions[index].operation {
                Operation::Conv(conv) => {
                    if let (Some((most, residual)), Some(norm)) = (raw, &conv.norm) {
                        (conv.most, conv.residual) = (most, residual);
                        [conv.scale, conv.shift] = renew(&mut stats, norm, &sums);
                    }
                }
                Operation::Norm { norm, scale, shift, .. } => [*scale, *shift] = renew(&mut stats, norm, &sums),
                _ => {}
            }
            self.step(n, index);
        }
        self.refold();
        stats
    }

    fn step(&mut self, n: usize, index: usize) {
        let (program, calibration_images) = (&self.program, &self.calibration_images);
        let instruction = &program.instructions[index];
        self.pool.run(n, &|i, _| {
            let (executor, out) = &mut *open(&calibration_images[i]);
            if let Operation::Conv(conv) = &instruction.operation {
                executor.refold_one(conv);
            }
            executor.step(program, instruction, out, None);
        });
    }

    /// ChannelSums over each channel of a tensor, image after image.
    fn sums(&self, n: usize, tensor: usize) -> Vec<ChannelSums> {
        let mut sums = vec![ChannelSums::default(); self.program.tensors[tensor].layout.channels];
        for image in &self.calibration_images[..n] {
            open(image).0.add_sums(&self.program, tensor, &mut sums);
        }
        sums
    }
}

/// Makes a convolution say its bare products; what it is to get back.
fn bare(conv: &mut Conv) -> (Option<f32>, Option<(usize, kernel::Layout)>) {
    conv.scale.fill(1.0);
    conv.shift.fill(0.0);
    (conv.most.take(), conv.residual.take())
}

/// Takes what was measured into the statistics; scale and shift that follow.
fn renew(stats: &mut NormStats, norm: &Norm, sums: &[ChannelSums]) -> [Vec<f32>; 2] {
    let moments = stats.entry(norm.name.clone()).or_default();
    for (c, sum) in sums.iter().enumerate().filter(|(_, s)| s.positions > 0) {
        let n = sum.positions as f64;
        let mean = sum.first / n;
        moments.mean[c] = mean as f32;
        moments.var[c] = (sum.second / n - mean * mean).max(0.0) as f32;
    }
    norm.fold(moments)
}

impl Executor {
    /// Adds what one image has in a tensor.
    fn add_sums(&self, program: &Program, tensor: usize, sums: &mut [ChannelSums]) {
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
