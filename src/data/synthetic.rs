//! A small seeded data set for tests: bars to be told apart by direction and thickness.
//!
//! A bar lies anywhere and is brighter or darker than its background, so every class has the same mean image: a linear
//! model on pixels stays near chance, while a few convolutions see edges and learn it.

use std::f32::consts::PI;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dataset::{Dataset, checksum};
use super::images::{ImageShape, Images};

/// Directions, half a turn in equal steps.
const DIRECTIONS: u16 = 5;

const THICKNESSES: u16 = 2;

/// Classes of every synthetic data set.
pub(crate) const N_CLASSES: usize = (DIRECTIONS * THICKNESSES) as usize;

/// What to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticConfig {
    /// Same seed, same pixels.
    pub seed: u64,
    /// 1 or 3 channels; sides of at least 8 pixels, so that directions can be told apart.
    pub shape: ImageShape,
    pub(crate) n_train: usize,
    pub(crate) n_test: usize,
    /// Half the width of the uniform noise on every pixel, of 255.
    pub noise: f32,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        let shape = ImageShape {
            channels: 1,
            height: 16,
            width: 16,
        };
        Self {
            seed: 1,
            shape,
            n_train: 2000,
            n_test: 500,
            noise: 30.0,
        }
    }
}

/// Draws the data set; both splits hold at least one image.
pub fn dataset(config: &SyntheticConfig) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let train = draw(config, config.n_train.max(1), &mut rng);
    let test = draw(config, config.n_test.max(1), &mut rng);
    let mut classes = Vec::new();
    for direction in 0..DIRECTIONS {
        let degrees = direction * 180 / DIRECTIONS;
        classes.extend(["thin", "thick"].map(|thickness| format!("{thickness} {degrees}°")));
    }
    let checksum = checksum(&[&train, &test]);
    Dataset {
        is_labeled: true,
        name: "synthetic".into(),
        classes,
        train,
        test,
        checksum,
        notes: Vec::new(),
    }
}

fn draw(config: &SyntheticConfig, n: usize, rng: &mut ChaCha8Rng) -> Images {
    let mut images = Images::empty(config.shape);
    for at in 0..n {
        let label = (at % N_CLASSES) as u16;
        images.labels.push(label);
        push_bar(config, label, rng, &mut images.pixels);
    }
    images
}

fn push_bar(config: &SyntheticConfig, label: u16, rng: &mut ChaCha8Rng, pixels: &mut Vec<u8>) {
    let ImageShape {
        channels,
        height,
        width,
    } = config.shape;
    let side = height.min(width) as f32;
    let turn = f32::from(label / THICKNESSES) + between(rng, -0.15, 0.15);
    let (sin, cos) = (turn * PI / f32::from(DIRECTIONS)).sin_cos();
    let half_width = if label.is_multiple_of(THICKNESSES) {
        0.045
    } else {
        0.125
    } * side;
    let half_length = between(rng, 0.28, 0.38) * side;
    let center_y = height as f32 / 2.0 + between(rng, -0.2, 0.2) * height as f32;
    let center_x = width as f32 / 2.0 + between(rng, -0.2, 0.2) * width as f32;
    let sign = if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 };
    for _ in 0..channels {
        let contrast = sign * between(rng, 60.0, 100.0);
        for at in 0..height * width {
            let y = (at / width) as f32 + 0.5 - center_y;
            let x = (at % width) as f32 + 0.5 - center_x;
            // Signed distances to the bar's sides, softened over one pixel.
            let along = half_length - (x * cos + y * sin).abs();
            let across = half_width - (y * cos - x * sin).abs();
            let ink = (along.min(across) + 0.5).clamp(0.0, 1.0);
            let noise = between(rng, -config.noise, config.noise);
            pixels.push((127.5 + contrast * ink + noise) as u8);
        }
    }
}

fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    let unit = (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
    low + unit * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accuracy on the test images of the nearest class mean of `features`.
    fn nearest_mean(dataset: &Dataset, features: impl Fn(&[u8]) -> Vec<f32>) -> f32 {
        let all = |images: &Images| -> Vec<Vec<f32>> {
            (0..images.len() as u32).map(|at| features(images.image(at))).collect()
        };
        let train = all(&dataset.train);
        let mut means = vec![vec![0.0; train[0].len()]; N_CLASSES];
        for (feature, &label) in train.iter().zip(&dataset.train.labels) {
            for (mean, value) in means[usize::from(label)].iter_mut().zip(feature) {
                *mean += value / (dataset.train.len() / N_CLASSES) as f32;
            }
        }
        let distance = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
        let nearest = |feature: &[f32]| {
            (0..N_CLASSES).min_by(|&a, &b| distance(&means[a], feature).total_cmp(&distance(&means[b], feature)))
        };
        let right = all(&dataset.test)
            .iter()
            .zip(&dataset.test.labels)
            .filter(|(feature, label)| nearest(feature) == Some(usize::from(**label)))
            .count();
        right as f32 / dataset.test.len() as f32
    }

    /// Mean direction of the edges, twice the angle so that opposite edges agree, and how much edge there is for the ink.
    fn edges(image: &[u8], width: usize) -> Vec<f32> {
        let at = |y: usize, x: usize| f32::from(image[y * width + x]) - 127.5;
        let (mut cos, mut sin, mut edge, mut ink) = (0.0, 0.0, 0.0, 0.0);
        for y in 1..image.len() / width - 1 {
            for x in 1..width - 1 {
                let (dx, dy) = (at(y, x + 1) - at(y, x - 1), at(y + 1, x) - at(y - 1, x));
                cos += dx * dx - dy * dy;
                sin += 2.0 * dx * dy;
                edge += dx * dx + dy * dy;
                ink += at(y, x).powi(2);
            }
        }
        vec![cos / edge, sin / edge, 0.3 * edge / ink]
    }

    #[test]
    fn pixels_alone_do_not_tell_the_classes_apart_but_edges_do() {
        let dataset = dataset(&SyntheticConfig {
            noise: 10.0,
            ..Default::default()
        });
        let by_pixels = nearest_mean(&dataset, |image| image.iter().map(|&pixel| f32::from(pixel)).collect());
        let by_edges = nearest_mean(&dataset, |image| edges(image, 16));
        assert!(by_pixels < 0.3, "{by_pixels}");
        assert!(by_edges > 0.9, "{by_edges}");
    }

    #[test]
    fn the_seed_decides_and_the_splits_differ() {
        let of = |seed| {
            dataset(&SyntheticConfig {
                seed,
                n_train: 20,
                n_test: 20,
                ..Default::default()
            })
        };
        assert_eq!(of(3).checksum, of(3).checksum);
        assert_ne!(of(3).checksum, of(4).checksum);
        assert_ne!(of(3).train.pixels, of(3).test.pixels);
    }

    #[test]
    fn any_size_and_three_channels_make_a_valid_data_set() {
        let shape = ImageShape {
            channels: 3,
            height: 8,
            width: 12,
        };
        let Dataset {
            name,
            classes,
            train,
            test,
            ..
        } = dataset(&SyntheticConfig {
            shape,
            n_train: 30,
            n_test: 10,
            ..Default::default()
        });
        assert_eq!((classes.len(), train.len(), test.len()), (N_CLASSES, 30, 10));
        Dataset::new(name, classes, train, test, Vec::new()).unwrap();
    }
}
