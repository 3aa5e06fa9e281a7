//! Times a training step on random weights and images: forward, backward, update.
//! Knows nothing of data sets.

use super::optimizer::{Rates, Sgd, Tensors};
use crate::infer::BenchRow;
use crate::kernel::Kernel;
use crate::model::net::{Net, NormStatistics, Norms, Pass};
use crate::model::spec::Shift;
use crate::model::{Density, Fractions, cost, sparse_conv, weights, zoo};
use anyhow::Result;
use burn::tensor::{Device, Distribution, Tensor};
use std::time::Instant;

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchTrain {
    /// A network of the zoo, on 3×32×32 images of ten classes.
    pub arch: String,
    /// Its width.
    pub width: f32,
    /// Images a step.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Below 1 every convolution gets a gate.
    pub density: Density,
    /// For about how long.
    pub seconds: f64,
    /// Whose instructions.
    pub kernel: Kernel,
    /// Over which images norms are taken.
    pub norm_statistics: NormStatistics,
}

impl BenchTrain {
    /// Builds and times.
    ///
    /// # Errors
    /// An unknown network.
    pub fn run(&self) -> Result<BenchRow> {
        sparse_conv::configure(self.kernel, self.threads);
        let plain = zoo::build(&self.arch, [3, 32, 32], 10, self.width)?;
        let spec = if self.density == Density::FULL {
            plain
        } else {
            zoo::gated(&plain, Shift::Eq1)
        };
        let gates = spec.gates().len();
        let densities = vec![self.density; gates];
        let macs = cost::total(&spec, &Default::default(), &Fractions::nominal(&spec, &densities)?)?.macs;
        let device = Device::flex();
        let mut net = Net::new(spec.clone().into(), &weights::init(&spec, 1)?, &device)?;
        let mut sgd = Sgd::default();
        let rates = Rates {
            lr: 0.01,
            momentum: 0.9,
            weight_decay: 5e-4,
            clip_norm: 0.0,
        };
        let images = Tensor::<4>::random([self.batch, 3, 32, 32], Distribution::Normal(0.0, 1.0), &device);
        let labels: Vec<usize> = (0..self.batch).map(|i| i % 10).collect();
        let groups = [densities];
        let mut step = |number: u64| -> Result<()> {
            let params: Tensors = net
                .params
                .iter()
                .map(|(name, p)| (name.clone(), p.clone().autodiff().require_grad()))
                .collect();
            let pass = Pass {
                groups: &groups,
                norms: Norms::Batch(self.norm_statistics),
                dropout: None,
            };
            let out = net.forward(&params, images.clone().autodiff(), &pass)?;
            let loss = super::fit::cross_entropy(out.logits, &labels, 0.0);
            anyhow::ensure!(
                loss.clone().into_scalar::<f32>().is_finite(),
                "the loss is not a number at step {number}"
            );
            let mut gradients = loss.backward();
            let grads: Tensors = params
                .iter()
                .filter_map(|(name, p)| Some((name.clone(), p.grad_remove(&mut gradients)?)))
                .collect();
            sgd.step(&mut net.params, grads, rates);
            Ok(())
        };
        step(0)?;
        step(1)?;
        let mut times = Vec::new();
        let began = Instant::now();
        while times.len() < 7 || began.elapsed().as_secs_f64() < self.seconds {
            let at = Instant::now();
            step(times.len() as u64 + 2)?;
            times.push(at.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let q = |q: f64| times[(q * (times.len() - 1) as f64).round() as usize];
        let images_per_s = self.batch as f64 / q(0.5) * 1e3;
        // Forward, input gradient and weight gradient each do the convolutions once.
        let gmacs_per_s = 3.0 * macs as f64 * images_per_s / 1e9;
        Ok(BenchRow {
            median_ms: q(0.5),
            p10_ms: q(0.1),
            p90_ms: q(0.9),
            images_per_s,
            kernel: self.kernel.name().to_owned(),
            macs,
            gmacs_per_s,
        })
    }
}
