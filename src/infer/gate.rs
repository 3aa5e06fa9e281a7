//! The FBS decision at inference (arXiv 1810.05331, equations 2–4): saliencies from channel means, then winners.
//! Knows nothing of convolutions or of what the decision is used for.

use super::linear::Matrix;
use super::plane;
use crate::kernel::Layout;
use crate::model::spec::Shift;

/// One gate, with its numbers laid out.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// Its node.
    pub node: usize,
    /// Its place among the gates of the network.
    pub index: usize,
    /// Where the shift stands.
    pub form: Shift,
    /// φ.
    pub phi: Matrix,
    /// ρ.
    pub rho: Vec<f32>,
    /// β.
    pub beta: Vec<f32>,
    /// Winners an image.
    pub k: usize,
}

/// Room for one decision.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    means: Vec<(u32, f32)>,
    keys: Vec<u64>,
}

impl Scratch {
    /// For at most so many channels, on either side.
    pub fn new(channels: usize) -> Self {
        Self {
            means: Vec::with_capacity(channels),
            keys: Vec::with_capacity(channels),
        }
    }
}

impl Gate {
    /// g = relu(ss·φ + ρ), ss the mean magnitude of each active channel of `x`.
    /// Padding is zero, so the sum runs over whole padded planes.
    pub fn saliency(&self, x: &[f32], layout: &Layout, active: &[u32], scratch: &mut Scratch, g: &mut [f32]) {
        let share = 1.0 / (layout.height * layout.width) as f32;
        scratch.means.clear();
        scratch.means.extend(
            active
                .iter()
                .map(|&c| (c, plane::sum(plane::padded(layout, x, c as usize), f32::abs) * share)),
        );
        g.copy_from_slice(&self.rho);
        self.phi.add_rows(&scratch.means, g);
        for v in g {
            // Not `max`: a number that is none must stay visible.
            if *v < 0.0 {
                *v = 0.0;
            }
        }
    }

    /// The k winners of equation (2) into `out`, rising: as [`crate::model::mask::winners`], without allocating.
    pub fn winners(&self, saliency: &[f32], scratch: &mut Scratch, out: &mut Vec<u32>) {
        out.clear();
        // Small keys win: first the large magnitudes (as bits they compare like numbers, NaN above all), then the low indices.
        let key = |(i, v): (usize, &f32)| (u64::from(!v.abs().to_bits()) << 32) | i as u64;
        let keys = &mut scratch.keys;
        keys.clear();
        keys.extend(saliency.iter().enumerate().map(key));
        let last = match self.k {
            0 => return,
            k if k >= keys.len() => u64::MAX,
            k => *keys.select_nth_unstable(k - 1).1,
        };
        out.extend(
            saliency
                .iter()
                .enumerate()
                .filter(|&(i, v)| key((i, v)) <= last)
                .map(|(i, _)| i as u32),
        );
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
    use crate::model::mask;
    use proptest::prelude::*;

    fn gate(k: usize) -> Gate {
        let phi = Matrix::transposed(&[1.0, 0.0, 0.0, 1.0, -1.0, -1.0], 3);
        Gate {
            node: 0,
            index: 0,
            form: Shift::Eq1,
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
        gate(1).saliency(&x, &layout, &[0, 1], &mut Scratch::new(3), &mut g);
        assert_eq!(g, [2.5, 4.0, 0.0]);
        gate(1).saliency(&x, &layout, &[0], &mut Scratch::new(3), &mut g);
        assert_eq!(g, [2.5, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn winners_are_those_of_the_model(saliency in prop::collection::vec(0u8..6, 1..40), k in 0usize..40) {
            let saliency: Vec<f32> = saliency.iter().map(|&v| f32::from(v)).collect();
            let k = k.min(saliency.len());
            let mut out = Vec::new();
            gate(k).winners(&saliency, &mut Scratch::new(40), &mut out);
            prop_assert_eq!(out, mask::winners(&saliency, k));
        }
    }
}
