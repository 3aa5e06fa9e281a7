//! Batches: images as normalized floats, in a seeded order, with seeded augmentation.
//! Knows nothing of tensors or of how images are stored on disk.
//!
//! Nothing here has a state. Order and augmentation are functions of seed, epoch and image, so a run that is resumed in the
//! middle of an epoch sees exactly what it would have seen, and the size of a batch changes no image in it.

use serde::{Deserialize, Serialize};
use settings::settings;

use super::images::Images;
use super::normalization::Normalization;
use super::split::{RandomStream, mix, shuffle};

settings! {
    /// How training images are varied. The default leaves them as they are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Augment {
        /// Pixels added on every side before a window of the image's own size is cut out at random; 0 is off. The padding is
        /// black (raw zero, before normalization), as in torchvision's `RandomCrop`.
        pub crop_pad: usize = 0, number(at_least(0); "pixels");
        /// Mirror every second image, left to right.
        pub flip: bool = false, other;
    }
}

/// One pass over the training images: what all its random choices follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The run's seed.
    pub seed: u64,
    /// Counted from 0.
    pub number: u64,
}

/// `indices` in the order in which this epoch visits them.
pub fn epoch_order(epoch: Epoch, indices: &[u32]) -> Vec<u32> {
    let mut order = indices.to_vec();
    shuffle(mix([epoch.seed, RandomStream::Order as u64, epoch.number]), &mut order);
    order
}

/// Writes the images at `indices` into `out` as normalized floats, `[indices.len(), channels, height, width]`, and drops
/// what `out` held before. `augment` is for training images only.
///
/// # Panics
/// When an index has no image, or `norm` has fewer channels than the images.
pub fn fill(
    images: &Images,
    indices: &[u32],
    augment: Option<(&Augment, Epoch)>,
    norm: &Normalization,
    out: &mut Vec<f32>,
) {
    let (height, width) = (images.shape.height, images.shape.width);
    let tables = norm.tables();
    assert!(
        tables.len() >= images.shape.channels,
        "normalization for {} channels, images have {}",
        tables.len(),
        images.shape.channels
    );
    out.clear();
    out.reserve(indices.len() * images.shape.bytes());
    for &index in indices {
        let view = augment.map_or(View::WHOLE, |(augment, epoch)| View::draw(augment, epoch, index));
        let planes = images.image(index).chunks_exact(height * width);
        for (plane, table) in planes.zip(&tables) {
            view.push_plane(plane, width, table, out);
        }
    }
}

/// Labels of the images at `indices`.
///
/// # Panics
/// When an index has no image.
pub fn labels(images: &Images, indices: &[u32]) -> Vec<u16> {
    indices.iter().map(|&index| images.labels[index as usize]).collect()
}

/// Which part of an image is seen: pixel (y, x) of the result is pixel (y + down, x + right) of the image, black outside;
/// mirrored afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    down: isize,
    right: isize,
    flip: bool,
}

impl View {
    const WHOLE: Self = Self {
        down: 0,
        right: 0,
        flip: false,
    };

    fn draw(augment: &Augment, epoch: Epoch, index: u32) -> Self {
        let seed = mix([epoch.seed, RandomStream::Augment as u64, epoch.number]);
        let bits = mix([seed, u64::from(index), 0]);
        let places = 2 * augment.crop_pad as u64 + 1;
        // 21 bits a choice, scaled down to 0..places.
        let shift = |bits: u64| (((bits & 0x1f_ffff) * places) >> 21) as isize - augment.crop_pad as isize;
        Self {
            down: shift(bits),
            right: shift(bits >> 21),
            flip: augment.flip && bits >> 63 == 1,
        }
    }

    fn push_plane(self, plane: &[u8], width: usize, table: &[f32; 256], out: &mut Vec<f32>) {
        if self == Self::WHOLE {
            out.extend(plane.iter().map(|&pixel| table[usize::from(pixel)]));
            return;
        }
        for y in 0..plane.len() / width {
            let row = y
                .checked_add_signed(self.down)
                .and_then(|y| plane.chunks_exact(width).nth(y));
            out.extend((0..width).map(|x| {
                let x = if self.flip { width - 1 - x } else { x };
                let pixel = row.and_then(|row| row.get(x.checked_add_signed(self.right)?));
                table[usize::from(pixel.copied().unwrap_or(0))]
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;
    use proptest::prelude::*;

    /// Two images of 2×3; normalization leaves pixel values as they are.
    fn toy() -> (Images, Normalization) {
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 3,
        };
        let images = Images {
            shape,
            pixels: (1..=12).collect(),
            labels: vec![4, 9],
            answers: None,
        };
        let norm = Normalization {
            mean: vec![0.0],
            std: vec![1.0 / 255.0],
        };
        (images, norm)
    }

    fn seen(view: View) -> Vec<f32> {
        let mut out = Vec::new();
        view.push_plane(
            &[1, 2, 3, 4, 5, 6],
            3,
            &std::array::from_fn(|pixel| pixel as f32),
            &mut out,
        );
        out
    }

    #[test]
    fn images_come_in_the_order_asked_for() {
        let (images, norm) = toy();
        let mut out = vec![99.0; 40];
        fill(&images, &[1, 0, 1], None, &norm, &mut out);
        let rounded: Vec<f32> = out.iter().map(|value| value.round()).collect();
        let (first, second) = ([1., 2., 3., 4., 5., 6.], [7., 8., 9., 10., 11., 12.]);
        assert_eq!(rounded, [second, first, second].concat());
        assert_eq!(labels(&images, &[1, 0, 1]), [9, 4, 9]);
    }

    #[test]
    fn each_channel_has_its_own_normalization() {
        let shape = ImageShape {
            channels: 2,
            height: 1,
            width: 1,
        };
        let images = Images {
            shape,
            pixels: vec![255, 255],
            labels: vec![0],
            answers: None,
        };
        let norm = Normalization {
            mean: vec![0.5, 0.0],
            std: vec![0.25, 2.0],
        };
        let mut out = Vec::new();
        fill(&images, &[0], None, &norm, &mut out);
        assert_eq!(out, [2.0, 0.5]);
    }

    #[test]
    fn a_view_beyond_the_edge_is_black() {
        let view = View {
            down: 1,
            right: -1,
            flip: false,
        };
        assert_eq!(seen(view), [0., 4., 5., 0., 0., 0.]);
    }

    #[test]
    fn the_crop_is_mirrored_not_the_image() {
        let view = View {
            down: -1,
            right: 1,
            flip: true,
        };
        assert_eq!(seen(view), [0., 0., 0., 0., 3., 2.]);
    }

    #[test]
    fn padding_is_black_before_normalization() {
        let (images, _) = toy();
        let norm = Normalization {
            mean: vec![0.5],
            std: vec![0.25],
        };
        let augment = Augment {
            crop_pad: 500,
            flip: false,
        };
        let mut out = Vec::new();
        fill(
            &images,
            &[0],
            Some((&augment, Epoch { seed: 3, number: 0 })),
            &norm,
            &mut out,
        );
        assert_eq!(out, [-2.0; 6]);
    }

    #[test]
    fn all_offsets_and_both_sides_are_drawn_about_equally() {
        let augment = Augment {
            crop_pad: 2,
            flip: true,
        };
        let mut counts = [0_u32; 50];
        for index in 0..50_000 {
            let View { down, right, flip } = View::draw(&augment, Epoch { seed: 1, number: 2 }, index);
            counts[(((down + 2) * 5 + right + 2) * 2) as usize + usize::from(flip)] += 1;
        }
        // Each count is binomial(50000, 1/50): 1000 ± 31; six deviations are allowed.
        assert!(counts.iter().all(|count| (810..1190).contains(count)), "{counts:?}");
    }

    #[test]
    fn epochs_and_seeds_differ_and_repeat() {
        let indices: Vec<u32> = (100..200).collect();
        let order = |seed, number| epoch_order(Epoch { seed, number }, &indices);
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let mut sorted = order(1, 0);
        sorted.sort_unstable();
        assert_eq!(sorted, indices);
    }

    proptest! {
        #[test]
        fn an_image_does_not_depend_on_its_batch(seed: u64, number in 0_u64..100, cut in 0_usize..6) {
            let (images, norm) = toy();
            let augment = Augment { crop_pad: 1, flip: true };
            let indices = [0, 1, 1, 0, 1];
            let run = |indices: &[u32]| {
                let mut out = Vec::new();
                fill(&images, indices, Some((&augment, Epoch { seed, number })), &norm, &mut out);
                out
            };
            let (left, right) = indices.split_at(cut.min(5));
            prop_assert_eq!(run(&indices), [run(left), run(right)].concat());
        }
    }
}
