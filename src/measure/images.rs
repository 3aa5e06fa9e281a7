//! Single images as the open model sees them: the class it gives each, how sure it is, what it computed, and the class it gives
//! with every channel running. Knows nothing of windows.

use data::Images;
use infer::{Batch, argmax};
use model::{Fractions, Masks, NetSpec, cost};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Longer side of a thumbnail, in pixels.
const THUMB: usize = 32;

/// An image to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRef {
    /// A validation image, by its place among them.
    Valid(usize),
    /// A picture file, scaled to the model's input.
    File(PathBuf),
}

/// One validation image under a question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// What it is.
    pub label: u16,
    /// What the model says.
    pub said: u16,
    /// Probability the model gives to that.
    pub confidence: f32,
    /// MACs that were done for it.
    pub macs: u64,
    /// What the model says with every channel running, once that was measured.
    pub dense: Option<u16>,
}

/// How one class uses the channels of a gated layer: means over its images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassActivity {
    /// Images of the class.
    pub n: usize,
    /// By gate and channel: saliency before winners are taken.
    pub saliency: Vec<Vec<f32>>,
    /// By gate and channel: share of the images in which it was computed.
    pub active: Vec<Vec<f32>>,
}

/// One image looked at closely.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageDetail {
    /// Which one.
    pub picture: ImageRef,
    /// What it is, if that is known.
    pub label: Option<u16>,
    /// Its pixels as the model gets them, before normalization.
    pub image: Arc<Thumbnail>,
    /// Probability of each class.
    pub gated: Vec<f32>,
    /// The same with every channel running.
    pub dense: Vec<f32>,
    /// By gate: saliency of each channel, before winners are taken.
    pub saliency: Vec<Vec<f32>>,
    /// By gate: whether each channel was computed.
    pub active: Vec<Vec<bool>>,
    /// MACs that were done for it.
    pub macs: u64,
}

/// A small picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Thumbnail {
    /// Width and height.
    pub size: [usize; 2],
    /// RGB, row by row.
    pub rgb: Vec<u8>,
}

/// Thumbnails of all validation images, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnails {
    /// One an image.
    pub thumbs: Vec<Thumbnail>,
    /// The class of each; where nobody has said it, the one that the whole network names.
    pub labels: Vec<u16>,
    /// Whether somebody has said what they are.
    pub is_labeled: bool,
    /// The number of each in the data set, whatever of it is for validation.
    pub numbers: Vec<u32>,
}

impl Thumbnails {
    /// Of the images at `indices`.
    pub fn of(images: &Images, indices: &[u32], is_labeled: bool) -> Self {
        Self {
            thumbs: indices.iter().map(|&i| thumb(images, images.image(i))).collect(),
            labels: indices.iter().map(|&i| images.labels[i as usize]).collect(),
            is_labeled,
            numbers: indices.to_vec(),
        }
    }
}

/// One image as RGB, its longer side at most [`THUMB`] pixels: the mean of what falls into each.
pub fn thumb(images: &Images, bytes: &[u8]) -> Thumbnail {
    let (h, w, channels) = (images.shape.height, images.shape.width, images.shape.channels);
    let scale = h.max(w).div_ceil(THUMB).max(1);
    let size = [w.div_ceil(scale), h.div_ceil(scale)];
    let mut rgb = Vec::with_capacity(size[0] * size[1] * 3);
    for y in 0..size[1] {
        for x in 0..size[0] {
            for c in 0..3 {
                let plane = if channels >= 3 { c } else { 0 } * h * w;
                let rows = (y * scale)..((y + 1) * scale).min(h);
                let (mut sum, mut n) = (0u32, 0u32);
                for row in rows {
                    for column in (x * scale)..((x + 1) * scale).min(w) {
                        sum += u32::from(bytes[plane + row * w + column]);
                        n += 1;
                    }
                }
                rgb.push((sum / n.max(1)) as u8);
            }
        }
    }
    Thumbnail { size, rgb }
}

/// Probabilities from logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let each: Vec<f32> = logits.iter().map(|v| (v - top).exp()).collect();
    let sum: f32 = each.iter().sum();
    each.iter().map(|v| v / sum).collect()
}

/// MACs of image `i` of a batch, from the channels that were computed for it.
pub fn macs_of(batch: &Batch, i: usize, spec: &NetSpec, masks: &Masks) -> u64 {
    let share = |node: usize| {
        let gate = batch.gates.iter().find(|g| g.node == node)?;
        Some(gate.active.image(i).len() as f64 / gate.active.channels.max(1) as f64)
    };
    let fractions = Fractions::propagate(spec, share);
    cost::total(spec, masks, &fractions).map_or(0, |c| c.macs)
}

/// The prediction for each image of a batch; none without class logits.
pub fn seen(batch: &Batch, labels: &[u16], spec: &NetSpec, masks: &Masks, out: &mut Vec<Prediction>) {
    let numbers = (batch.logits.len() / batch.n.max(1)).max(1);
    let logits = spec.logits().unwrap_or_default();
    if logits.is_empty() {
        return;
    }
    for (i, (row, &label)) in batch.logits.chunks_exact(numbers).zip(labels).enumerate() {
        let row = &row[logits.clone()];
        let said = argmax(row).unwrap_or(0);
        out.push(Prediction {
            label,
            said: said as u16,
            confidence: softmax(row)[said],
            macs: macs_of(batch, i, spec, masks),
            dense: None,
        });
    }
}

/// Images of a class; gates × channels: sums of saliency, and how often each channel was active.
type Sums = (usize, Vec<Vec<f64>>, Vec<Vec<u64>>);

/// Sums over the images of each class.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassSums {
    each: Vec<Sums>,
}

impl ClassSums {
    pub(crate) fn add(&mut self, batch: &Batch, labels: &[u16], classes: usize) {
        let zeros = || {
            let channels = |of: &dyn Fn(usize) -> usize| batch.gates.iter().map(|g| of(g.active.channels)).collect();
            let sizes: Vec<usize> = channels(&|n| n);
            (
                0,
                sizes.iter().map(|&n| vec![0.0; n]).collect(),
                sizes.iter().map(|&n| vec![0; n]).collect(),
            )
        };
        if self.each.is_empty() {
            self.each = (0..classes).map(|_| zeros()).collect();
        }
        for (i, &label) in labels.iter().enumerate() {
            let Some((n, saliency, active)) = self.each.get_mut(usize::from(label)) else {
                continue;
            };
            *n += 1;
            for (g, gate) in batch.gates.iter().enumerate() {
                let channels = gate.active.channels;
                let row = &gate.saliency[i * channels..][..channels];
                saliency[g]
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, &v)| *sum += f64::from(v));
                gate.active.image(i).iter().for_each(|&c| active[g][c as usize] += 1);
            }
        }
    }

    pub(crate) fn means(&self) -> Vec<ClassActivity> {
        let mean = |(n, saliency, active): &Sums| {
            let by = |v: f64| (v / (*n).max(1) as f64) as f32;
            ClassActivity {
                n: *n,
                saliency: saliency.iter().map(|g| g.iter().map(|&v| by(v)).collect()).collect(),
                active: active
                    .iter()
                    .map(|g| g.iter().map(|&v| by(v as f64)).collect())
                    .collect(),
            }
        };
        self.each.iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::ImageShape;

    #[test]
    fn thumbnails_are_small_gray_becomes_rgb_and_large_images_are_averaged() {
        let images = |channels, side| Images {
            shape: ImageShape {
                channels,
                height: side,
                width: side,
            },
            pixels: (0..channels * side * side).map(|i| (i % 251) as u8).collect(),
            labels: vec![0],
            answers: None,
        };
        let gray = images(1, 2);
        let small = thumb(&gray, gray.image(0));
        assert_eq!((small.size, &small.rgb[..6]), ([2, 2], &[0, 0, 0, 1, 1, 1][..]));
        let color = images(3, 64);
        let halved = thumb(&color, color.image(0));
        assert_eq!(halved.size, [32, 32]);
        // Pixels 0, 1, 64, 65 of the first plane.
        assert_eq!(halved.rgb[0], 32);
    }

    #[test]
    fn probabilities_sum_to_one_also_for_large_logits() {
        let p = softmax(&[1000.0, 999.0, 0.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6 && p[0] > p[1] && p[2] == 0.0);
    }
}
