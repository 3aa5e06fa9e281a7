//! Times networks of the zoo with random weights on random images.
//! Knows nothing of data sets, or of how rows are shown.

use super::engine::{Options, compile};
use super::latency;
use crate::data::Normalization;
use crate::kernel::Kernel;
use crate::model::checkpoint::{Checkpoint, Header, Moments, NormStats, SCHEMA};
use crate::model::mask::LayerMask;
use crate::model::spec::{NetSpec, Op, Shift};
use crate::model::{Density, Masks, weights, zoo};
use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Shape of the images and number of classes, those of CIFAR-10.
const IMAGE: [usize; 3] = [3, 32, 32];
const CLASSES: usize = 10;

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchInfer {
    /// A network of the zoo.
    pub arch: String,
    /// Its width.
    pub width: f32,
    /// Images a run.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Below 1 every convolution gets a gate; at 1 the network is plain.
    pub density: Density,
    /// For about how long.
    pub seconds: f64,
    /// Whose instructions.
    pub kernel: Kernel,
    /// Whether convolutions may be computed by Winograd's algorithm.
    pub winograd: bool,
    /// Share of each convolution's columns that is kept, drawn at random.
    pub columns: f64,
}

/// What was timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRow {
    /// Milliseconds a run: half were faster.
    pub median_ms: f64,
    /// A tenth was faster.
    pub p10_ms: f64,
    /// A tenth was slower.
    pub p90_ms: f64,
    /// Images a second, at the median.
    pub images_per_s: f64,
    /// The kernel that ran.
    pub kernel: String,
    /// MACs an image, measured.
    pub macs: u64,
    /// 10⁹ MACs a second, at the median.
    pub gmacs_per_s: f64,
}

impl BenchInfer {
    /// Compiles and times.
    ///
    /// # Errors
    /// An unknown network or one that cannot be built at this width.
    pub fn run(&self) -> Result<BenchRow> {
        let plain = zoo::build(&self.arch, IMAGE, CLASSES, self.width)?;
        let spec = if self.density == Density::FULL {
            plain
        } else {
            zoo::gated(&plain, Shift::Eq1)
        };
        let model = random_model(spec, 1)?;
        let mut engine = compile(
            &model,
            &Options {
                kernel: self.kernel,
                threads: self.threads,
                batch: self.batch,
                winograd: self.winograd,
            },
        )?;
        if self.columns < 1.0 {
            engine.set_masks(&random_masks(model.spec(), [1.0, self.columns], 3)?)?;
        }
        engine.set_density(self.density);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let images: Vec<f32> = (0..self.batch * IMAGE.iter().product::<usize>())
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        let time = latency::time(
            &mut engine,
            &images,
            Duration::from_secs_f64(self.seconds.clamp(0.0, 3600.0)),
        );
        let batch = engine.run(&images);
        let macs = batch.macs / batch.n.max(1) as u64;
        let images_per_s = self.batch as f64 / time.median_ms * 1e3;
        Ok(BenchRow {
            median_ms: time.median_ms,
            p10_ms: time.p10_ms,
            p90_ms: time.p90_ms,
            images_per_s,
            kernel: engine.kernel_name().to_owned(),
            macs,
            gmacs_per_s: macs as f64 * images_per_s / 1e9,
        })
    }
}

/// A model with initial weights and norms that change nothing.
pub(super) fn random_model(spec: NetSpec, seed: u64) -> Result<Checkpoint> {
    let shapes = spec.shapes()?;
    let is_norm = |i: &usize| matches!(spec.nodes[*i].op, Op::Norm { .. });
    let unit = |i: usize| {
        (
            spec.nodes[i].name.clone(),
            Moments {
                mean: vec![0.0; shapes[i][0]],
                var: vec![1.0; shapes[i][0]],
            },
        )
    };
    let stats: NormStats = (0..spec.nodes.len()).filter(is_norm).map(unit).collect();
    let header = Header {
        schema: SCHEMA,
        normalization: Normalization {
            mean: vec![0.0; spec.input[0]],
            std: vec![1.0; spec.input[0]],
        },
        classes: (0..spec.classes()?).map(|c| c.to_string()).collect(),
        method: "none".into(),
        data: "random".into(),
        densities: vec![Density::FULL],
        gate_densities: Vec::new(),
        metrics: vec![],
        recipe: String::new(),
        spec,
    };
    let weights = weights::init(&header.spec, seed)?;
    Ok(Checkpoint {
        weights,
        masks: Masks::new(),
        stats: BTreeMap::from([(Density::FULL, stats)]),
        header,
    })
}

/// Masks that keep these shares of every convolution's filters and columns, at least one of each, drawn anew for each seed.
pub(super) fn random_masks(spec: &NetSpec, [filters, columns]: [f64; 2], seed: u64) -> Result<Masks> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |n: usize, share: f64| {
        let kept = ((n as f64 * share).round() as usize).clamp(1, n);
        let mut bits: Vec<bool> = (0..n).map(|i| i < kept).collect();
        bits.shuffle(&mut rng);
        bits
    };
    let weights = weights::expected(spec)?;
    let mut mask = |node: usize| {
        let name = &spec.nodes[node].name;
        let shape = weights
            .get(&format!("{name}.weight"))
            .context("a convolution has weights")?;
        let mask = LayerMask {
            filters: draw(shape[0], filters),
            columns: draw(shape[1..].iter().product(), columns),
            elements: Vec::new(),
        };
        Ok((name.clone(), mask))
    };
    spec.convs().into_iter().map(&mut mask).collect()
}
