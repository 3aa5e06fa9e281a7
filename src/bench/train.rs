//! Times a training step on random weights and images: forward, backward, update.
//! Knows nothing of data sets.

use crate::BenchRow;
use anyhow::{Context, Result};
use burn::tensor::Device;
use kernel::Kernel;
use model::spec::Shift;
use model::{Density, Fractions, cost, weights, zoo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Instant;
use train::backward::{TrainingBatch, backward};
use train::net::{ForwardOptions, Net, Norms};
use train::optimizer::{EntryMasks, Rates, Sgd};
use train::{NormStatistics, sparse_conv};

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchTrain {
    /// A network of the zoo, on 3×32×32 images of ten classes.
    pub arch: String,
    /// Its width.
    pub width: f32,
    /// Images per step.
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
        let mut weights = weights::init(&spec, 1)?;
        let net = Net::new(spec.clone().into(), &weights, &Device::flex())?;
        let mut sgd = Sgd::default();
        let rates = Rates {
            lr: 0.01,
            momentum: 0.9,
            weight_decay: 5e-4,
            clip_norm: 0.0,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let images: Vec<f32> = (0..self.batch * 3 * 32 * 32)
            .map(|_| rng.random_range(-2.0..2.0))
            .collect();
        let labels: Vec<usize> = (0..self.batch).map(|i| i % 10).collect();
        let groups = [densities];
        let mut step = |number: u64| -> Result<()> {
            let lesson = TrainingBatch {
                pixels: images.clone(),
                labels: &labels,
                options: ForwardOptions {
                    groups: &groups,
                    norms: Norms::Batch(self.norm_statistics),
                    dropout: None,
                },
                label_smoothing: 0.0,
                lambda: 0.0,
                check: &|| Ok(()),
            };
            let learnt = backward(&net, &weights, lesson).with_context(|| format!("step {number}"))?;
            sgd.step(&mut weights, &learnt.gradients, &EntryMasks::new(), rates);
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
            layers: Vec::new(),
        })
    }
}
