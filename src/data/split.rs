//! Train, valid and test as lists of indices, and the seeded shuffle beneath them.

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dataset::{Dataset, Split};

/// Indices of the images of each split, rising. `train` and `valid` index [`Dataset::train`], `test` indexes [`Dataset::test`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Training images without those of `valid`.
    pub train: Vec<u32>,
    /// Carved from the training images by seed.
    pub valid: Vec<u32>,
    /// All test images.
    pub test: Vec<u32>,
}

impl Splits {
    /// Indices of one split.
    pub fn indices(&self, split: Split) -> &[u32] {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
            Split::Test => &self.test,
        }
    }
}

/// At most `n` of them, evenly spread: folders of images come class by class, and the first ones would all be of one class.
pub fn spread(indices: &[u32], n: usize) -> Vec<u32> {
    let n = n.min(indices.len());
    (0..n).map(|i| indices[i * indices.len() / n]).collect()
}

/// All of them, in an order in which any stretch is of all classes: steps of about the golden section, which has no common
/// divisor with their number.
pub fn mixed(indices: &[u32]) -> Vec<u32> {
    let n = indices.len();
    let common = |a: usize, b: usize| std::iter::successors(Some((a, b)), |&(a, b)| (b > 0).then(|| (b, a % b))).last();
    let golden = (n as f64 * 0.618_034) as usize;
    let step = (golden..n).find(|&s| common(n, s) == Some((1, 0))).unwrap_or(1);
    (0..n).map(|i| indices[i * step % n]).collect()
}

/// Carves `n_valid` images from the training images, the same ones for the same seed.
///
/// # Errors
/// When no training image would be left.
pub fn split(dataset: &Dataset, seed: u64, n_valid: usize) -> Result<Splits> {
    let n = dataset.train.len();
    ensure!(
        n_valid < n,
        "{}: {n_valid} validation images, expected fewer than the {n} training images",
        dataset.name
    );
    let mut order: Vec<u32> = (0..n as u32).collect();
    shuffle(mix([seed, RandomStream::Valid as u64, 0]), &mut order);
    let mut train = order.split_off(n_valid);
    let mut valid = order;
    train.sort_unstable();
    valid.sort_unstable();
    let test = (0..dataset.test.len() as u32).collect();
    Ok(Splits { train, valid, test })
}

/// Keeps draws with one seed but different ends apart.
#[derive(Clone, Copy)]
pub(crate) enum RandomStream {
    Valid = 1,
    Order = 2,
    Augment = 3,
}

/// One well-mixed number from three: the finalizer of SplitMix64 (Steele, Lea, Flood 2014), applied in a chain.
pub(crate) fn mix(words: [u64; 3]) -> u64 {
    words.into_iter().fold(0, |hash, word| {
        let mut z = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Fisher–Yates over a ChaCha stream. Written out because a library's shuffle may draw differently in its next version,
/// and then a resumed run would not see the images it would have seen.
pub(crate) fn shuffle(seed: u64, items: &mut [u32]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        let below = last as u128 + 1;
        let pick = (u128::from(rng.next_u64()) * below) >> 64;
        items.swap(last, pick as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
    use proptest::prelude::*;

    fn toy(n_train: usize) -> Dataset {
        synthetic::dataset(&synthetic::SyntheticConfig {
            n_train,
            n_test: 10,
            ..Default::default()
        })
    }

    #[test]
    fn valid_is_carved_from_train_and_never_from_test() {
        let dataset = toy(50);
        let splits = split(&dataset, 7, 20).unwrap();
        assert_eq!(splits.valid.len(), 20);
        assert_eq!(splits.test, (0..10).collect::<Vec<u32>>());
        let mut both = [splits.train, splits.valid].concat();
        both.sort_unstable();
        assert_eq!(both, (0..50).collect::<Vec<u32>>());
    }

    #[test]
    fn the_seed_decides() {
        let dataset = toy(50);
        let valid = |seed| split(&dataset, seed, 20).unwrap().valid;
        assert_eq!(valid(7), valid(7));
        assert_ne!(valid(7), valid(8));
    }

    #[test]
    fn some_of_many_are_of_all_classes() {
        let sorted: Vec<u32> = (0..1000).collect();
        let mut of_class = [0; 10];
        spread(&sorted, 50)
            .iter()
            .for_each(|&i| of_class[i as usize / 100] += 1);
        assert_eq!(of_class, [5; 10]);
        assert_eq!(spread(&sorted, 5000), sorted);
        assert!(spread(&sorted, 0).is_empty() && spread(&[], 7).is_empty());
    }

    #[test]
    fn any_stretch_of_mixed_ones_is_of_all_classes() {
        for n in [1, 2, 7, 1000, 5000] {
            let sorted: Vec<u32> = (0..n).collect();
            let mut mixed = mixed(&sorted);
            if n >= 1000 {
                for stretch in mixed.chunks_exact(100) {
                    let mut of_class = [0; 10];
                    stretch.iter().for_each(|&i| of_class[(i * 10 / n) as usize] += 1);
                    assert!(of_class.iter().all(|c| (6..=14).contains(c)), "{of_class:?}");
                }
            }
            mixed.sort_unstable();
            assert_eq!(mixed, sorted);
        }
        assert!(mixed(&[]).is_empty());
    }

    #[test]
    fn all_images_cannot_be_valid() {
        let error = split(&toy(50), 1, 50).unwrap_err().to_string();
        assert_eq!(
            error,
            "synthetic: 50 validation images, expected fewer than the 50 training images"
        );
    }

    #[test]
    fn shuffle_is_fair() {
        let mut counts = [[0_u32; 4]; 4];
        for seed in 0..4000 {
            let mut items = [0, 1, 2, 3];
            shuffle(mix([seed, 0, 0]), &mut items);
            for (place, &item) in items.iter().enumerate() {
                counts[place][item as usize] += 1;
            }
        }
        // Each count is binomial(4000, 1/4): 1000 ± 27; six deviations are allowed.
        assert!(
            counts.iter().flatten().all(|count| (836..1164).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn shuffle_keeps_every_item(seed: u64, n in 0_u32..300) {
            let mut items: Vec<u32> = (0..n).collect();
            shuffle(seed, &mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..n).collect::<Vec<u32>>());
        }
    }
}
