//! Times the quick evaluations of a search: trial masks, one after the other, on one compiled network, each with its norms
//! measured anew.
//! Knows nothing of searches, data sets, or of how rows are shown.

use crate::BenchRow;
use anyhow::{Result, ensure};
use infer::{Engine, LabeledImages, Options, compile, evaluate, quantiles};
use kernel::Kernel;
use model::spec::NetSpec;
use model::{Masks, random_masks, random_model, zoo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Instant;

/// Shape and number of the images of an evaluation, and classes: those of Fashion-MNIST.
const IMAGE: [usize; 3] = [1, 28, 28];
const IMAGES: usize = 1000;
const CLASSES: usize = 10;

const TRIALS: u64 = 8;

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchSearch {
    /// A network of the zoo.
    pub arch: String,
    /// Its width.
    pub width: f32,
    /// Images per run of the engine.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// How many times fewer MACs a trial should have than the whole network, at least 1.
    pub macs_ratio: f64,
    /// Whether trials mask columns too, in the same share as filters.
    pub columns: bool,
    /// Images that norms are measured anew on before each evaluation.
    pub calibration: usize,
    /// For about how long.
    pub seconds: f64,
    /// Whose instructions.
    pub kernel: Kernel,
}

/// What was timed. The times of the row are those of one evaluation, its `macs` are the trial's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRow {
    /// Times, speed and MACs.
    #[serde(flatten)]
    pub row: BenchRow,
    /// How many times fewer MACs the trials had, measured.
    pub macs_ratio: f64,
    /// evaluations per second, at the median.
    pub evals_per_s: f64,
    /// Images of an evaluation.
    pub images: usize,
    /// Images that norms were measured anew on each time.
    pub calibration: usize,
    /// "filters" or "filters+columns".
    pub masks: String,
}

impl BenchSearch {
    /// Compiles once, then times evaluations: masks set, all images run, accuracy and loss counted.
    ///
    /// # Errors
    /// An unknown network, or a ratio below 1.
    pub fn run(&self) -> Result<SearchRow> {
        ensure!(
            self.macs_ratio >= 1.0,
            "a MACs ratio of {}, expected 1 or more",
            self.macs_ratio
        );
        let model = random_model(zoo::build(&self.arch, IMAGE, CLASSES, self.width)?, 1)?;
        let options = Options {
            kernel: self.kernel,
            threads: self.threads,
            batch: self.batch,
            winograd: true,
            precision: None,
        };
        let mut engine = compile(&model, &options)?;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let size: usize = IMAGE.iter().product();
        let images: Vec<f32> = (0..IMAGES * size).map(|_| rng.random_range(-1.0..1.0)).collect();
        let labels: Vec<u16> = (0..IMAGES).map(|i| (i % CLASSES) as u16).collect();
        let dense = engine.run(&images[..size]).macs;
        let share = self.share(model.spec(), &mut engine, &images[..size])?;
        let trials = (0..TRIALS)
            .map(|seed| random_masks(model.spec(), self.shares(share), seed))
            .collect::<Result<Vec<Masks>>>()?;
        let mut evaluate = |i: usize| -> Result<(f64, u64)> {
            let at = Instant::now();
            engine.set_masks(&trials[i % trials.len()])?;
            if self.calibration > 0 {
                engine.calibrate(&images[..self.calibration.min(IMAGES) * size]);
            }
            let images = LabeledImages::Normalized {
                pixels: &images,
                labels: &labels,
                answers: None,
            };
            let mut check = |_: &mut Engine| Ok(ControlFlow::Continue(()));
            let metrics = evaluate(&mut engine, images, &mut check, &mut |_| Ok(()))?;
            Ok((at.elapsed().as_secs_f64() * 1e3, metrics.macs_sum / metrics.n as u64))
        };
        evaluate(0)?;
        let (mut times, mut macs) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while times.len() < 7 || began.elapsed().as_secs_f64() < self.seconds {
            let (time, cost) = evaluate(times.len())?;
            times.push(time);
            macs.push(cost);
        }
        let macs = macs.iter().sum::<u64>() / macs.len() as u64;
        let time = quantiles(&mut times);
        let images_per_s = IMAGES as f64 / time.median_ms * 1e3;
        Ok(SearchRow {
            row: BenchRow {
                median_ms: time.median_ms,
                p10_ms: time.p10_ms,
                p90_ms: time.p90_ms,
                images_per_s,
                kernel: self.kernel.name().to_owned(),
                macs,
                gmacs_per_s: macs as f64 * images_per_s / 1e9,
                layers: Vec::new(),
            },
            macs_ratio: dense as f64 / macs as f64,
            evals_per_s: 1e3 / time.median_ms,
            images: IMAGES,
            calibration: self.calibration,
            masks: if self.columns { "filters+columns" } else { "filters" }.to_owned(),
        })
    }

    fn shares(&self, share: f64) -> [f64; 2] {
        [share, if self.columns { share } else { 1.0 }]
    }

    /// The share of filters (and columns) that gives the ratio, by bisection on measured MACs.
    fn share(&self, spec: &NetSpec, engine: &mut Engine, image: &[f32]) -> Result<f64> {
        let dense = engine.run(image).macs;
        let [mut low, mut high] = [0.0, 1.0];
        for _ in 0..12 {
            let middle = (low + high) / 2.0;
            engine.set_masks(&random_masks(spec, self.shares(middle), 0)?)?;
            let too_many = engine.run(image).macs as f64 * self.macs_ratio > dense as f64;
            *(if too_many { &mut high } else { &mut low }) = middle;
        }
        Ok(high)
    }
}
