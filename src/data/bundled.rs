//! Fashion-MNIST inside the binary, so that the first start needs nothing else.
//!
//! 60,000 training and 10,000 test images of 1×28×28 (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747), in the original IDX files.

use anyhow::Result;

use super::dataset::Dataset;
use super::idx;
use super::images::Images;

/// The name that stands for this data set wherever a path may be given.
pub const NAME: &str = "fashion-mnist";

/// Class names in the order of the labels.
pub const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// [`Dataset::checksum`] of these images: knows them again when they come from a folder.
pub const CHECKSUM: u64 = 0x1e2e_04bb_9e91_c10b;

type Packed = [(&'static str, &'static [u8]); 2];

// Statics, because the program holds a constant of 26 MB once for each place that names it.
static TRAIN: Packed = [
    (
        "train-images-idx3-ubyte.gz",
        include_bytes!("../../assets/fashion-mnist/train-images-idx3-ubyte.gz"),
    ),
    (
        "train-labels-idx1-ubyte.gz",
        include_bytes!("../../assets/fashion-mnist/train-labels-idx1-ubyte.gz"),
    ),
];

static TEST: Packed = [
    (
        "t10k-images-idx3-ubyte.gz",
        include_bytes!("../../assets/fashion-mnist/t10k-images-idx3-ubyte.gz"),
    ),
    (
        "t10k-labels-idx1-ubyte.gz",
        include_bytes!("../../assets/fashion-mnist/t10k-labels-idx1-ubyte.gz"),
    ),
];

/// Unpacks all of it, training and test images side by side on two threads.
///
/// # Errors
/// When the binary is damaged.
pub fn open() -> Result<Dataset> {
    let (train, test) = rayon::join(|| unpack(TRAIN), || unpack(TEST));
    Dataset::new(NAME.into(), classes(), train?, test?, Vec::new())
}

/// Unpacks the 10,000 test images alone: a seventh of the work, for a window that must show something soon.
///
/// # Errors
/// When the binary is damaged.
pub fn test() -> Result<Images> {
    unpack(TEST)
}

/// [`CLASSES`] as a data set holds them.
pub fn classes() -> Vec<String> {
    CLASSES.map(String::from).to_vec()
}

fn unpack(packed: Packed) -> Result<Images> {
    let [images, labels] = packed.map(|(name, bytes)| idx::Input {
        name: format!("bundled {name}"),
        reader: bytes,
        bytes: bytes.len() as u64,
    });
    idx::read_pair(images, labels, &mut |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageShape, Normalization};

    #[test]
    fn all_images_are_there() {
        let dataset = open().unwrap();
        assert_eq!(
            dataset.shape(),
            ImageShape {
                channels: 1,
                height: 28,
                width: 28
            }
        );
        for (images, each) in [(&dataset.train, 6000), (&dataset.test, 1000)] {
            let mut counts = [0; 10];
            images.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
            assert_eq!(counts, [each; 10]);
        }
        // The first five training labels and the statistics that the data set is known by.
        assert_eq!(dataset.train.labels[..5], [9, 0, 0, 3, 0]);
        let norm = Normalization::of(&dataset.train);
        assert!((norm.mean[0] - 0.2860).abs() < 5e-5 && (norm.std[0] - 0.3530).abs() < 5e-5);
        assert_eq!(dataset.checksum, CHECKSUM);
        assert_eq!(test().unwrap(), dataset.test);
    }
}
