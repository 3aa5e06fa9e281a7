//! Norm statistics at a density, measured over training images with fixed weights.
//! Exact averages instead of a running mean: there is no momentum to choose, and every density gets its own.
//! Knows nothing of training.

use crate::context::Ctx;
use crate::net::{ForwardOptions, Net, Norms};
use crate::norm_statistics::NormStatistics;
use anyhow::Result;
use burn::tensor::{Tensor, TensorData};
use data::Split;
use model::Density;
use model::checkpoint::{Moments, NormStats};
use std::collections::BTreeMap;

/// Images per forward pass; the statistics of a pass are those of its batch.
const BATCH: usize = 128;

/// Mean and variance of every norm at `densities` (one per gate), over `images` training images.
///
/// # Errors
/// [`event::Cancelled`]; the device failed.
pub(crate) fn calibrate(
    ctx: &Ctx,
    net: &Net,
    densities: &[Density],
    kind: NormStatistics,
    images: usize,
) -> Result<NormStats> {
    let chosen = data::spread(&ctx.data.splits.train, images);
    let [c, h, w] = net.spec.input;
    let mut sums: BTreeMap<String, MomentSums> = BTreeMap::new();
    for indices in chosen.chunks(BATCH) {
        ctx.check()?;
        let pixels = ctx.data.pixels(Split::Train, indices);
        let x = Tensor::<4>::from_data(TensorData::new(pixels, [indices.len(), c, h, w]), net.device());
        let options = ForwardOptions {
            groups: &[densities.to_vec()],
            norms: Norms::Batch(kind),
            dropout: None,
        };
        for (name, (moments, positions)) in net.forward(&net.params, x, &options)?.moments {
            sums.entry(name).or_default().add(&moments, &positions);
        }
    }
    Ok(sums.into_iter().map(|(name, s)| (name, s.moments())).collect())
}

/// Σ n, Σ n·mean, Σ n·(var + mean²) per channel.
#[derive(Default)]
struct MomentSums {
    n: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl MomentSums {
    fn add(&mut self, m: &Moments, positions: &[f32]) {
        for v in [&mut self.n, &mut self.first, &mut self.second] {
            v.resize(positions.len(), 0.0);
        }
        for (c, &n) in positions.iter().enumerate() {
            let (n, mean, var) = (f64::from(n), f64::from(m.mean[c]), f64::from(m.var[c]));
            self.n[c] += n;
            self.first[c] += n * mean;
            self.second[c] += n * (var + mean * mean);
        }
    }

    fn moments(&self) -> Moments {
        let mut out = Moments::default();
        for c in 0..self.n.len() {
            // A channel that never won has no statistics: mean 0, variance 1 leave its value as it is.
            let (mean, var) = if self.n[c] > 0.0 {
                let mean = self.first[c] / self.n[c];
                (mean, (self.second[c] / self.n[c] - mean * mean).max(0.0))
            } else {
                (0.0, 1.0)
            };
            out.mean.push(mean as f32);
            out.var.push(var as f32);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_different_size_add_up_to_the_whole() {
        // Channel values 1, 3 | 5: mean 3, variance 8/3. The second channel never won.
        let mut sums = MomentSums::default();
        let moments = |mean: f32, var: f32| Moments {
            mean: vec![mean, 0.0],
            var: vec![var, 0.0],
        };
        sums.add(&moments(2.0, 1.0), &[2.0, 0.0]);
        sums.add(&moments(5.0, 0.0), &[1.0, 0.0]);
        let m = sums.moments();
        assert!(
            (m.mean[0] - 3.0).abs() < 1e-6 && (m.var[0] - 8.0 / 3.0).abs() < 1e-5,
            "{m:?}"
        );
        assert_eq!((m.mean[1], m.var[1]), (0.0, 1.0));
    }
}
