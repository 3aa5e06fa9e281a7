//! Times networks of the zoo with random weights on random images.
//! Knows nothing of data sets, or of how rows are shown.

use anyhow::Result;
use infer::{LayerTime, Options, RangeRule, compile, latency, layer_times, quantized};
use kernel::Kernel;
use model::spec::Shift;
use model::{Density, Precision, random_masks, random_model, zoo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Number of classes, that of CIFAR-10.
const CLASSES: usize = 10;

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchInfer {
    /// A network of the zoo.
    pub arch: String,
    /// Its width.
    pub width: f32,
    /// Channels, height and width of the images.
    pub input: [usize; 3],
    /// Images per run.
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
    /// What convolutions multiply.
    pub precision: Precision,
    /// Whether layers are timed one by one, too.
    pub by_layer: bool,
}

/// What was timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRow {
    /// Milliseconds per run: half were faster.
    pub median_ms: f64,
    /// A tenth was faster.
    pub p10_ms: f64,
    /// A tenth was slower.
    pub p90_ms: f64,
    /// Images per second, at the median.
    pub images_per_s: f64,
    /// The kernel that ran.
    pub kernel: String,
    /// MACs per image, measured.
    pub macs: u64,
    /// 10⁹ MACs per second, at the median.
    pub gmacs_per_s: f64,
    /// The parts of one image, if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerTime>,
}

impl BenchInfer {
    /// Compiles and times.
    ///
    /// # Errors
    /// An unknown network or one that cannot be built at this width.
    pub fn run(&self) -> Result<BenchRow> {
        let plain = crate::network::network(&self.arch, self.input, CLASSES, self.width)?;
        let spec = if self.density == Density::FULL {
            plain
        } else {
            zoo::gated(&plain, Shift::Eq1)
        };
        let mut model = random_model(spec, 1)?;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let images: Vec<f32> = (0..self.batch * self.input.iter().product::<usize>())
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        if self.precision == Precision::Int8 {
            let few = &images[..images.len().min(8 * self.input.iter().product::<usize>())];
            model = quantized(&model, few, RangeRule::DEFAULT, &[])?;
        }
        let mut engine = compile(
            &model,
            &Options {
                kernel: self.kernel,
                threads: self.threads,
                batch: self.batch,
                winograd: self.winograd,
                precision: Some(self.precision),
            },
        )?;
        if self.columns < 1.0 {
            engine.set_masks(&random_masks(model.spec(), [1.0, self.columns], 3)?)?;
        }
        engine.set_density(self.density);
        let budget = Duration::from_secs_f64(self.seconds.clamp(0.0, 3600.0));
        let time = latency(&mut engine, &images, budget);
        let layers = if self.by_layer {
            layer_times(&mut engine, &images[..self.input.iter().product()], budget)
        } else {
            Vec::new()
        };
        let batch = engine.run(&images);
        let macs = batch.macs / batch.n.max(1) as u64;
        let images_per_s = self.batch as f64 / time.median_ms * 1e3;
        Ok(BenchRow {
            median_ms: time.median_ms,
            p10_ms: time.p10_ms,
            p90_ms: time.p90_ms,
            images_per_s,
            kernel: match self.precision {
                Precision::F32 => engine.kernel_name().to_owned(),
                Precision::Int8 => format!("int8 {}", self.kernel.byte_name()),
            },
            macs,
            gmacs_per_s: macs as f64 * images_per_s / 1e9,
            layers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::cost;

    #[test]
    fn the_bench_says_what_it_ran() {
        let bench = BenchInfer {
            arch: "m-cifarnet".into(),
            width: 0.05,
            input: [3, 32, 32],
            batch: 2,
            threads: 1,
            density: Density::FULL,
            seconds: 0.0,
            kernel: Kernel::best(),
            winograd: true,
            columns: 1.0,
            precision: Precision::F32,
            by_layer: true,
        };
        let row = bench.run().expect("runs");
        let spec = zoo::build("m-cifarnet", [3, 32, 32], 10, 0.05).expect("builds");
        assert_eq!(
            (row.macs, row.kernel.as_str()),
            (cost::dense(&spec).expect("cost").macs, Kernel::best().name())
        );
        assert_eq!(row.layers.iter().map(|l| l.macs).sum::<u64>(), row.macs);
        assert!(row.p10_ms <= row.median_ms && row.median_ms <= row.p90_ms);
        let half = BenchInfer {
            columns: 0.5,
            ..bench.clone()
        };
        let share = half.run().expect("runs").macs as f64 / row.macs as f64;
        assert!(
            (0.45..0.55).contains(&share),
            "half of the columns is {share} of the MACs"
        );
        let bytes = BenchInfer {
            precision: Precision::Int8,
            ..bench.clone()
        };
        let bytes = bytes.run().expect("runs");
        assert_eq!(bytes.macs, row.macs);
        assert!(bytes.layers.iter().any(|l| l.operation == "int8"));
        let unknown = BenchInfer {
            arch: "vgg17".into(),
            ..bench
        };
        assert!(unknown.run().is_err());
    }
}
