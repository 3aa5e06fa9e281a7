//! A data set in memory, checked once when it is put together.

use super::class_names::label_notes;
use super::images::{ImageShape, Images};
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What people call it: `fashion-mnist`, `cifar-10`, or the name of its folder.
    pub name: String,
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Whether labels are of people, not of a network that named what it saw.
    pub is_labeled: bool,
    /// The training images. `valid` is carved from these by [`split`](super::split()).
    pub train: Images,
    /// The test images.
    pub test: Images,
    /// The same on every machine for the same pixels, labels and shape: tells data sets apart in a run's manifest.
    pub checksum: u64,
    /// What its owner should know: pictures skipped, pictures scaled, classes without images.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Puts a data set together and computes its checksum.
    ///
    /// # Errors
    /// When a split is empty, the splits differ in shape, pixels and labels do not match, or a label has no class.
    pub fn new(
        name: String,
        classes: Vec<String>,
        train: Images,
        test: Images,
        mut notes: Vec<String>,
    ) -> Result<Self> {
        for (split, images) in [("training", &train), ("test", &test)] {
            let (n, bytes) = (images.len(), images.shape.bytes());
            ensure!(n > 0 && bytes > 0, "{name}: no {split} images, expected at least one");
            ensure!(
                images.pixels.len() == n * bytes,
                "{name}: {} bytes of {split} pixels, expected {n} images of {bytes} bytes",
                images.pixels.len()
            );
            if let Some(at) = images
                .labels
                .iter()
                .position(|&label| usize::from(label) >= classes.len())
            {
                let label = images.labels[at];
                bail!(
                    "{name}: {split} label {label} at position {at}, expected less than {}",
                    classes.len()
                );
            }
        }
        ensure!(
            train.shape == test.shape,
            "{name}: test images are {}, expected {} like the training images",
            test.shape,
            train.shape
        );
        let checksum = checksum(&[&train, &test]);
        notes.extend(label_notes(&classes, &train.labels));
        Ok(Self {
            name,
            classes,
            is_labeled: true,
            train,
            test,
            checksum,
            notes,
        })
    }

    /// Size of each image.
    pub fn shape(&self) -> ImageShape {
        self.train.shape
    }

    /// The images that a split's indices point into.
    pub fn images(&self, split: Split) -> &Images {
        match split {
            Split::Train | Split::Valid => &self.train,
            Split::Test => &self.test,
        }
    }
}

/// Which images: to learn from, to choose by, or to report on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Weights are fitted to these.
    Train,
    /// Searches and tuning read these.
    Valid,
    /// Read once, when a run ends.
    Test,
}

impl Split {
    /// As files and commands have it.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }
}

/// FNV-1a over little-endian words of 8 bytes instead of single bytes, which is several times faster. The rotation carries
/// a word's high bits back down; a multiplication alone only moves bits up.
pub(crate) fn checksum(parts: &[&Images]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    for part in parts {
        let ImageShape {
            channels,
            height,
            width,
        } = part.shape;
        for count in [part.len(), channels, height, width] {
            add(count as u64);
        }
        let (words, rest) = part.pixels.as_chunks::<8>();
        words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
        rest.iter().for_each(|&byte| add(u64::from(byte)));
        part.labels.iter().for_each(|&label| add(u64::from(label)));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class_names::numbered_classes;

    fn images(pixels: &[u8], labels: &[u16]) -> Images {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 9,
        };
        Images {
            shape,
            pixels: pixels.to_vec(),
            labels: labels.to_vec(),
            answers: None,
        }
    }

    fn dataset(train: Images, test: Images) -> Result<Dataset> {
        Dataset::new("toy".into(), numbered_classes(2), train, test, Vec::new())
    }

    #[test]
    fn checksum_sees_every_pixel_label_and_split() {
        let base = images(&[0; 18], &[0, 1]);
        let mut seen = vec![checksum(&[&base, &base])];
        for at in 0..18 {
            let mut changed = base.clone();
            changed.pixels[at] = 128;
            seen.push(checksum(&[&changed, &base]));
            seen.push(checksum(&[&base, &changed]));
        }
        let swapped = images(&[0; 18], &[1, 0]);
        seen.push(checksum(&[&swapped, &base]));
        seen.push(checksum(&[&base, &swapped]));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn checksum_is_the_same_forever() {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let bytes = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        for word in [1, 1, 1, 9, bytes, 9, 1] {
            hash = (hash ^ word).wrapping_mul(1_099_511_628_211).rotate_left(29);
        }
        assert_eq!(checksum(&[&images(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[1])]), hash);
    }

    #[test]
    fn a_label_without_a_class_is_refused() {
        let error = dataset(images(&[0; 9], &[0]), images(&[0; 18], &[1, 2])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "toy: test label 2 at position 1, expected less than 2"
        );
    }

    #[test]
    fn splits_of_two_shapes_are_refused() {
        let mut test = images(&[0; 9], &[0]);
        test.shape = ImageShape {
            channels: 1,
            height: 3,
            width: 3,
        };
        let error = dataset(images(&[0; 9], &[0]), test).unwrap_err().to_string();
        assert_eq!(
            error,
            "toy: test images are 1×3×3, expected 1×1×9 like the training images"
        );
    }

    #[test]
    fn an_empty_split_is_refused() {
        let error = dataset(images(&[0; 9], &[0]), images(&[], &[])).unwrap_err();
        assert_eq!(error.to_string(), "toy: no test images, expected at least one");
    }
}
