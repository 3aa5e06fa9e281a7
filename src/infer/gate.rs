//! The FBS decision at inference (arXiv 1810.05331, equations 2–4): saliencies from channel means, then winners.
//! Knows nothing of convolutions or of what the decision is used for.

use super::linear::TransposedMatrix;
use super::plane;
use kernel::{Kernel, Layout};
use model::spec::{GateForm, Subsample};

/// One gate, with its numbers laid out.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub kernel: Kernel,
    /// Its node.
    pub node: usize,
    /// Its place among the gates of the network.
    pub index: usize,
    pub form: GateForm,
    /// φ.
    pub phi: TransposedMatrix,
    /// ρ.
    pub rho: Vec<f32>,
    /// β.
    pub beta: Vec<f32>,
    /// Winners per image.
    pub k: usize,
}

#[derive(Debug, Default)]
pub(crate) struct GateScratch {
    means: Vec<(u32, f32)>,
    keys: Vec<u32>,
}

impl GateScratch {
    /// For at most so many channels, on either side.
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            means: Vec::with_capacity(channels),
            keys: Vec::with_capacity(channels),
        }
    }
}

impl Gate {
    /// g = relu(ss·φ + ρ), ss the mean magnitude of each active channel of `x`, perhaps scale-free.
    /// Padding is zero, so the sum runs over whole padded planes.
    pub(crate) fn saliency(
        &self,
        x: &[f32],
        layout: &Layout,
        active: &[u32],
        scratch: &mut GateScratch,
        g: &mut [f32],
    ) {
        let share = 1.0 / (layout.height * layout.width) as f32;
        scratch.means.clear();
        scratch.means.extend(
            active
                .iter()
                .map(|&c| (c, self.kernel.sum_abs(plane::padded(layout, x, c as usize)) * share)),
        );
        if self.form.subsample == Subsample::ScaleFree {
            let squares: f32 = scratch.means.iter().map(|(_, mean)| mean * mean).sum();
            let root = (squares / layout.channels as f32).sqrt().max(Subsample::LEAST);
            scratch.means.iter_mut().for_each(|(_, mean)| *mean /= root);
        }
        g.copy_from_slice(&self.rho);
        self.kernel.add_rows(&scratch.means, &self.phi.data, g);
        for v in g {
            // Not `max`: NaN must stay visible.
            if *v < 0.0 {
                *v = 0.0;
            }
        }
    }

    /// The k winners of equation (2) into `out`, rising: as [`model::mask::winners`], without allocating.
    pub(crate) fn winners(&self, saliency: &[f32], scratch: &mut GateScratch, out: &mut Vec<u32>) {
        out.clear();
        if self.k == 0 {
            return;
        }
        if self.k >= saliency.len() {
            out.extend(0..saliency.len() as u32);
            return;
        }
        // As bits, magnitudes compare like numbers, NaN above all.
        scratch.keys.clear();
        scratch.keys.extend(saliency.iter().map(|v| v.abs().to_bits()));
        let limit = self.kernel.kth_largest(&scratch.keys, self.k);
        let above = scratch.keys.iter().filter(|&&key| key > limit).count();
        // Of equal ones the lowest indices win.
        let mut equal = self.k - above;
        for (i, &key) in scratch.keys.iter().enumerate() {
            if key > limit {
                out.push(i as u32);
            } else if key == limit && equal > 0 {
                equal -= 1;
                out.push(i as u32);
            }
        }
    }
}

/// Which channels ran, for each image of a batch: rising indices, image after image. Keeps its memory when cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveSets {
    /// Channels of the layer.
    pub channels: usize,
    ends: Vec<usize>,
    indices: Vec<u32>,
}

impl ActiveSets {
    /// Empty, with room for so many images.
    pub fn with_room(channels: usize, images: usize) -> Self {
        Self {
            channels,
            ends: Vec::with_capacity(images),
            indices: Vec::with_capacity(images * channels),
        }
    }

    /// Forgets all images.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.indices.clear();
    }

    /// Adds the next image's channels, rising.
    pub fn push(&mut self, channels: &[u32]) {
        self.indices.extend_from_slice(channels);
        self.ends.push(self.indices.len());
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.ends.len()
    }

    /// The active channels of image `n`.
    pub fn image(&self, n: usize) -> &[u32] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.indices[start..self.ends[n]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mask;
    use proptest::prelude::*;

    fn gate(k: usize) -> Gate {
        let phi = TransposedMatrix::transposed(&[1.0, 0.0, 0.0, 1.0, -1.0, -1.0], 3);
        Gate {
            kernel: Kernel::best(),
            node: 0,
            index: 0,
            form: GateForm::default(),
            phi,
            rho: vec![0.5, 0.0, 0.25],
            beta: vec![0.0; 3],
            k,
        }
    }

    #[test]
    fn saliency_is_read_from_mean_magnitudes() {
        let layout = Layout::contiguous(2, 1, 2);
        let mut g = [9.0; 3];
        let x = [1.0, -3.0, 4.0, 4.0];
        gate(1).saliency(&x, &layout, &[0, 1], &mut GateScratch::new(3), &mut g);
        assert_eq!(g, [2.5, 4.0, 0.0]);
        gate(1).saliency(&x, &layout, &[0], &mut GateScratch::new(3), &mut g);
        assert_eq!(g, [2.5, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn winners_are_those_of_the_model(saliency in prop::collection::vec(0u8..6, 1..40), k in 0usize..40) {
            let saliency: Vec<f32> = saliency.iter().map(|&v| f32::from(v)).collect();
            let k = k.min(saliency.len());
            let mut out = Vec::new();
            gate(k).winners(&saliency, &mut GateScratch::new(40), &mut out);
            prop_assert_eq!(out, mask::winners(&saliency, k));
        }
    }
}
