//! Mean and standard deviation of the pixels of each channel.

use serde::{Deserialize, Serialize};

use super::images::Images;

/// What is subtracted from, and then divides, the pixels of a channel once they are scaled to [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// `[channels]`, in units of pixel / 255.
    pub mean: Vec<f32>,
    /// `[channels]`, of the population (divided by n), in units of pixel / 255; never 0.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Measures all images given. Give the whole of [`Dataset::train`](super::Dataset::train), the images of `valid` among
    /// them, so that a model's normalization does not depend on the seed of the split.
    ///
    /// A channel that is the same everywhere gets the standard deviation 1.
    pub fn of(images: &Images) -> Self {
        let plane = images.shape.height * images.shape.width;
        let mut histograms = vec![[0_u64; 256]; images.shape.channels];
        for image in images.pixels.chunks_exact(images.shape.bytes().max(1)) {
            for (histogram, pixels) in histograms.iter_mut().zip(image.chunks_exact(plane)) {
                pixels.iter().for_each(|&pixel| histogram[usize::from(pixel)] += 1);
            }
        }
        let (mean, std) = histograms.iter().map(mean_and_std).unzip();
        Self { mean, std }
    }

    /// Per channel, the normalized value of each of the 256 pixel values.
    pub fn tables(&self) -> Vec<[f32; 256]> {
        let table = |(&mean, &std): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

/// Sums integers, so the result does not depend on the order of the images.
fn mean_and_std(histogram: &[u64; 256]) -> (f32, f32) {
    let (mut n, mut sum, mut squares) = (0_u64, 0_u64, 0_u64);
    for (pixel, &count) in (0_u64..).zip(histogram) {
        n += count;
        sum += pixel * count;
        squares += pixel * pixel * count;
    }
    let n = n.max(1) as f64;
    let mean = sum as f64 / n;
    let variance = squares as f64 / n - mean * mean;
    let std = if variance > 1e-9 { variance.sqrt() / 255.0 } else { 1.0 };
    ((mean / 255.0) as f32, std as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;

    #[test]
    fn each_channel_is_measured_on_its_own() {
        let shape = ImageShape {
            channels: 3,
            height: 1,
            width: 2,
        };
        let images = Images {
            shape,
            // Channel 0: 0, 255, 255, 0. Channel 1: 51 everywhere. Channel 2: 0, 0, 0, 255.
            pixels: vec![0, 255, 51, 51, 0, 0, 255, 0, 51, 51, 0, 255],
            labels: vec![0, 0],
            answers: None,
        };
        let norm = Normalization::of(&images);
        assert_eq!(norm.mean, [0.5, 0.2, 0.25]);
        assert_eq!(norm.std[..2], [0.5, 1.0]);
        assert!((norm.std[2] - 0.1875_f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn tables_scale_then_shift_then_divide() {
        let norm = Normalization {
            mean: vec![0.2],
            std: vec![0.5],
        };
        let table = norm.tables()[0];
        assert_eq!(table[0], -0.4);
        assert_eq!(table[51], 0.0);
        assert!((table[255] - 1.6).abs() < 1e-6);
    }
}
