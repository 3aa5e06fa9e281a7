//! Train, valid and test as lists of indices, and the seeded shuffle beneath them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use super::class_names::few;
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

/// How many images: a count, or a share below 1 of each class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many of all.
    Count(usize),
    /// This share of each class, below 1.
    Share(f64),
}

impl Amount {
    /// What is taken instead of a count that leaves nothing to train on.
    const FEW: Self = Self::Share(0.1);

    /// Whether it is none.
    pub fn is_none(self) -> bool {
        self == Self::Count(0)
    }

    /// The amount that is drawn from so many images.
    fn of(self, n: usize) -> Self {
        match self {
            Self::Count(count) if count > 0 && count >= n => Self::FEW,
            fitting => fitting,
        }
    }

    /// The same, or at most half of so many images where it is a count that leaves some to train on.
    pub fn at_most_half(self, n: usize) -> Self {
        match self.of(n) {
            Self::Count(count) => Self::Count(count.min(n / 2)),
            share => share,
        }
    }

    /// Whether the images drawn for this are among those drawn for `other` by the same seed, whatever the images.
    pub fn is_within(self, other: Self) -> bool {
        match (self, other) {
            (Self::Count(a), Self::Count(b)) => a <= b,
            (Self::Share(a), Self::Share(b)) => a <= b,
            _ => self.is_none(),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl settings::Number for Amount {
    fn number(&self) -> Option<f64> {
        Some(match *self {
            Self::Count(count) => count as f64,
            Self::Share(share) => share,
        })
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => count.serialize(serializer),
            Self::Share(share) => share.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number > 0.0 && number < 1.0 {
            Ok(Self::Share(number))
        } else if number >= 0.0 && number.fract() == 0.0 && number <= f64::from(u32::MAX) {
            Ok(Self::Count(number as usize))
        } else {
            Err(D::Error::custom(format!(
                "{number} images, expected a count such as 5000, or a share below 1 such as 0.1"
            )))
        }
    }
}

/// Carves images for validation from the training images, the same ones for the same seed: a count from all of them, a share
/// from each class, of which at least one image stays to train on and, of two or more, at least one validates. A count that
/// would leave nothing to train on becomes a tenth of each class, see [`split_notes`].
pub fn split(dataset: &Dataset, seed: u64, valid: Amount) -> Splits {
    let n = dataset.train.len();
    let mut order: Vec<u32> = (0..n as u32).collect();
    shuffle(mix([seed, RandomStream::Valid as u64, 0]), &mut order);
    let (mut train, mut valid) = match valid.of(n) {
        Amount::Count(count) => {
            let train = order.split_off(count.min(n));
            (train, order)
        }
        Amount::Share(share) => {
            let mut wanted = class_counts(dataset, order.iter());
            for count in &mut wanted {
                let some = (*count as f64 * share).round() as usize;
                *count = some.clamp(usize::from(*count > 1), count.saturating_sub(1));
            }
            order.into_iter().partition(|&at| {
                let wanted = &mut wanted[usize::from(dataset.train.labels[at as usize])];
                let validates = *wanted > 0;
                *wanted -= usize::from(validates);
                !validates
            })
        }
    };
    train.sort_unstable();
    valid.sort_unstable();
    let test = (0..dataset.test.len() as u32).collect();
    Splits { train, valid, test }
}

fn class_counts<'a>(dataset: &Dataset, indices: impl Iterator<Item = &'a u32>) -> Vec<usize> {
    let mut counts = vec![0; dataset.classes.len()];
    indices.for_each(|&at| counts[usize::from(dataset.train.labels[at as usize])] += 1);
    counts
}

/// What should be known of splits that [`split`] made.
pub fn split_notes(dataset: &Dataset, valid: Amount, splits: &Splits) -> Vec<String> {
    let n = dataset.train.len();
    let mut notes = Vec::new();
    if valid.of(n) != valid {
        notes.push(format!(
            "data.valid is {valid}, and there are {n} training images: instead, a tenth of each class validates, {} images",
            splits.valid.len()
        ));
    } else if splits.valid.len() > splits.train.len() {
        notes.push(format!(
            "more images validate than train: {} and {} (data.valid)",
            splits.valid.len(),
            splits.train.len()
        ));
    }
    let (all, some) = (
        class_counts(dataset, (0..n as u32).collect::<Vec<_>>().iter()),
        class_counts(dataset, splits.valid.iter()),
    );
    let unseen = dataset.classes.iter().zip(all.iter().zip(&some));
    let unseen: Vec<String> = unseen
        .filter(|(_, (all, some))| **all > 0 && **some == 0)
        .map(|(class, _)| class.clone())
        .collect();
    if !unseen.is_empty() && !splits.valid.is_empty() {
        notes.push(format!(
            "no image validates of {}; a data.valid below 1 takes that share of each class",
            few(&unseen)
        ));
    }
    notes
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
        let splits = split(&dataset, 7, Amount::Count(20));
        assert_eq!(splits.valid.len(), 20);
        assert_eq!(splits.test, (0..10).collect::<Vec<u32>>());
        let mut both = [splits.train, splits.valid].concat();
        both.sort_unstable();
        assert_eq!(both, (0..50).collect::<Vec<u32>>());
    }

    #[test]
    fn the_seed_decides() {
        let dataset = toy(50);
        let valid = |seed| split(&dataset, seed, Amount::Count(20)).valid;
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

    /// Classes of these sizes, one after the other.
    fn uneven(sizes: &[usize]) -> Dataset {
        let mut dataset = toy(sizes.iter().sum());
        let labels = sizes.iter().enumerate().flat_map(|(class, &n)| vec![class as u16; n]);
        dataset.train.labels = labels.collect();
        dataset
    }

    fn of_class(dataset: &Dataset, indices: &[u32], n: usize) -> Vec<usize> {
        class_counts(dataset, indices.iter())[..n].to_vec()
    }

    #[test]
    fn a_share_is_drawn_from_each_class_and_leaves_some_of_each() {
        let dataset = uneven(&[300, 12, 3, 2, 1]);
        let splits = split(&dataset, 7, Amount::Share(0.1));
        assert_eq!(of_class(&dataset, &splits.valid, 5), [30, 1, 1, 1, 0]);
        assert_eq!(of_class(&dataset, &splits.train, 5), [270, 11, 2, 1, 1]);
        let most = split(&dataset, 7, Amount::Share(0.99));
        assert_eq!(of_class(&dataset, &most.train, 5), [3, 1, 1, 1, 1]);
        let less = split(&dataset, 7, Amount::Share(0.05));
        assert!(
            less.valid.iter().all(|at| splits.valid.contains(at)),
            "less is among more"
        );
        assert_ne!(split(&dataset, 8, Amount::Share(0.1)).valid, splits.valid);
    }

    #[test]
    fn a_count_that_leaves_nothing_to_train_on_becomes_a_tenth_and_that_is_said() {
        let dataset = uneven(&[300, 12, 3]);
        let asked = Amount::Count(5000);
        let splits = split(&dataset, 7, asked);
        assert_eq!(splits, split(&dataset, 7, Amount::Share(0.1)));
        assert_eq!(
            split_notes(&dataset, asked, &splits),
            [
                "data.valid is 5000, and there are 315 training images: instead, a tenth of each class validates, 32 images"
            ]
        );
        let asked = Amount::Count(250);
        let notes = split_notes(&dataset, asked, &split(&dataset, 7, asked));
        assert!(
            notes[0].starts_with("more images validate than train: 250 and 65"),
            "{notes:?}"
        );
        let asked = Amount::Count(1);
        let notes = split_notes(&dataset, asked, &split(&dataset, 7, asked));
        assert!(
            notes[0].starts_with("no image validates of thick 0°, thin 36°; "),
            "{notes:?}"
        );
        assert!(split_notes(&dataset, Amount::Share(0.1), &splits).is_empty());
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        let read = |text: &str| serde_json::from_str::<Amount>(text).map_err(|e| e.to_string());
        for (text, amount) in [
            ("5000", Amount::Count(5000)),
            ("0.25", Amount::Share(0.25)),
            ("0", Amount::Count(0)),
        ] {
            assert_eq!(read(text), Ok(amount));
            assert_eq!(serde_json::to_string(&amount).unwrap(), text);
        }
        for text in ["1.5", "-1", "1e30"] {
            assert!(read(text).is_err_and(|e| e.contains("expected a count")), "{text}");
        }
        let [few, many] = [Amount::Count(5), Amount::Count(9)];
        assert!(few.is_within(many) && !many.is_within(few) && !few.is_within(Amount::Share(0.5)));
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
