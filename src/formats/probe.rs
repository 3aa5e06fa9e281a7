//! The images that a written file is tried on.
//! Knows nothing of networks' insides or of files.

use anyhow::{Result, ensure};
use data::{Dataset, ImageShape, Images, batch, bundled};
use model::{Checkpoint, cost};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many images are enough to meet every channel of the networks we know.
const IMAGES: usize = 64;

/// Most pixels: of large images, fewer are tried.
const MOST_PIXELS: usize = 1 << 26;

/// Most multiplications: of networks that take seconds an image, fewer are tried,
const MOST_MACS: u64 = 24_000_000_000;

/// but so many.
const FEWEST: u64 = 4;

/// How many images a model is tried on.
fn images_of(model: &Checkpoint) -> usize {
    let macs = cost::dense(model.spec()).map_or(1, |cost| cost.macs.max(1));
    let size: usize = model.spec().input.iter().product();
    let affordable = (MOST_MACS / macs).clamp(FEWEST, IMAGES as u64) as usize;
    (MOST_PIXELS / size.max(1)).clamp(1, affordable)
}

/// Normalized images for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Where they are from, for people.
    pub source: String,
    /// `[n, c, h, w]`, as the model takes them.
    pub pixels: Vec<f32>,
    /// Images.
    pub n: usize,
}

impl Probe {
    /// The first test images of a data set.
    ///
    /// # Errors
    /// Images of another shape than the model takes.
    pub fn of(model: &Checkpoint, data: &Dataset) -> Result<Self> {
        let [c, h, w] = model.spec().input;
        ensure!(
            fits(model, data.shape()),
            "{}: images are {}, the model expects {c}×{h}×{w}",
            data.name,
            data.shape()
        );
        Ok(Self::first(model, &data.name, &data.test))
    }

    /// Bundled test images if the model takes such, otherwise noise of deviation 1, the same every time.
    ///
    /// # Errors
    /// The bundled images are damaged.
    pub fn default_for(model: &Checkpoint) -> Result<Self> {
        let test = bundled::test()?;
        if fits(model, test.shape) {
            return Ok(Self::first(model, bundled::NAME, &test));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let size = model.spec().input.iter().product::<usize>();
        // Sums of uniform numbers: near enough to the normal images a model sees.
        let mut draw = || (0..3).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>();
        let n = images_of(model);
        Ok(Self {
            source: "noise".into(),
            pixels: (0..n * size).map(|_| draw()).collect(),
            n,
        })
    }

    fn first(model: &Checkpoint, name: &str, images: &Images) -> Self {
        let n = images.len().min(images_of(model));
        let indices: Vec<u32> = (0..n as u32).collect();
        let mut pixels = Vec::new();
        batch::fill(images, &indices, None, &model.header.normalization, &mut pixels);
        Self {
            source: format!("{name} test"),
            pixels,
            n,
        }
    }
}

fn fits(model: &Checkpoint, shape: ImageShape) -> bool {
    [shape.channels, shape.height, shape.width] == model.spec().input
}
