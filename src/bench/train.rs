//! Times a training step on random weights and images: forward, backward, update.
//! Knows nothing of data sets.

use crate::BenchRow;
use anyhow::{Context, Result};
use burn::tensor::Device;
use infer::LayerTime;
use kernel::Kernel;
use model::spec::{Op, Shift};
use model::{Density, Fractions, NetSpec, cost, weights, zoo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::Cell;
use std::time::Instant;
use train::backward::{TrainingBatch, backward};
use train::net::{ForwardOptions, Net, Norms};
use train::optimizer::{EntryMasks, Rates, Sgd};
use train::{NormStatistics, saliency_bound, sparse_conv};

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchTrain {
    /// A network of the zoo, for ten classes.
    pub arch: String,
    /// Channels, height and width of its images.
    pub input: [usize; 3],
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
    /// Whether to say where the time of each layer goes.
    pub by_layer: bool,
}

impl BenchTrain {
    /// Builds and times.
    ///
    /// # Errors
    /// An unknown network.
    pub fn run(&self) -> Result<BenchRow> {
        sparse_conv::configure(self.kernel, self.threads);
        let plain = zoo::build(&self.arch, self.input, 10, self.width)?;
        let spec = if self.density == Density::FULL {
            plain
        } else {
            zoo::gated(&plain, Shift::Eq1)
        };
        let gates = spec.gates().len();
        let densities = vec![self.density; gates];
        let macs = cost::total(&spec, &Default::default(), &Fractions::nominal(&spec, &densities)?)?.macs;
        let mut weights = weights::init(&spec, 1)?;
        let is_bound = saliency_bound::is_needed(&spec);
        if is_bound {
            saliency_bound::apply(&spec, &mut weights);
        }
        let net = Net::new(spec.clone().into(), &weights, &Device::flex())?;
        let mut sgd = Sgd::default();
        let rates = Rates {
            lr: 0.01,
            momentum: 0.9,
            weight_decay: 5e-4,
            clip_norm: 0.0,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let images: Vec<f32> = (0..self.batch * self.input.iter().product::<usize>())
            .map(|_| rng.random_range(-2.0..2.0))
            .collect();
        let labels: Vec<usize> = (0..self.batch).map(|i| i % 10).collect();
        let groups = [densities];
        let updating = Cell::new(0.0);
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
                teacher: None,
                lambda: 0.0,
                check: &|| Ok(()),
            };
            let learnt = backward(&net, &weights, lesson).with_context(|| format!("step {number}"))?;
            let at = Instant::now();
            sgd.step(&mut weights, &learnt.gradients, &EntryMasks::new(), rates);
            if is_bound {
                saliency_bound::apply(&spec, &mut weights);
            }
            sparse_conv::recycle(learnt.gradients);
            updating.set(updating.get() + at.elapsed().as_secs_f64());
            Ok(())
        };
        step(0)?;
        step(1)?;
        sparse_conv::take_seconds();
        updating.set(0.0);
        let mut times = Vec::new();
        let began = Instant::now();
        while times.len() < 7 || began.elapsed().as_secs_f64() < self.seconds {
            let at = Instant::now();
            step(times.len() as u64 + 2)?;
            times.push(at.elapsed().as_secs_f64() * 1e3);
        }
        let layers = if self.by_layer {
            layer_times(&spec, self.batch, &times, updating.get() * 1e3)
        } else {
            Vec::new()
        };
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
            layers,
        })
    }
}

/// Where the milliseconds of these steps went, per step: each convolution's parts, the optimizer, and the rest.
fn layer_times(spec: &NetSpec, batch: usize, steps: &[f64], updating: f64) -> Vec<LayerTime> {
    let n = steps.len() as f64;
    let mut rest = steps.iter().sum::<f64>() - updating;
    let mut layers = Vec::new();
    let shapes = spec.shapes().unwrap_or_default();
    for (node, seconds) in sparse_conv::take_seconds() {
        let [filters, h, w] = shapes[node];
        let Op::Conv { kernel, groups, .. } = spec.nodes[node].op else {
            continue;
        };
        let channels = shapes[spec.nodes[node].inputs[0]][0] / groups;
        let macs = (batch * filters * channels * kernel * kernel * h * w) as u64;
        let parts = [
            ("forward", seconds.forward, macs),
            ("input grad", seconds.input_grad, macs),
            ("weight grad", seconds.weight_grad, macs),
            ("norm", seconds.norm, 0),
        ];
        for (operation, seconds, macs) in parts.into_iter().filter(|part| part.1 > 0.0) {
            rest -= seconds * 1e3;
            layers.push(LayerTime {
                name: spec.nodes[node].name.clone(),
                operation: operation.into(),
                median_ms: seconds * 1e3 / n,
                macs,
            });
        }
    }
    for (name, ms) in [("optimizer", updating), ("rest", rest)] {
        layers.push(LayerTime {
            name: name.into(),
            operation: String::new(),
            median_ms: ms / n,
            macs: 0,
        });
    }
    layers
}
