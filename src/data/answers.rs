//! What a network gave for some images, to be compared with what another gives.
//! Knows nothing of networks.

use std::collections::BTreeMap;

/// Numbers of some images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Which of a network's numbers are kept, ascending.
    kept: Vec<u32>,
    /// By image, its row.
    rows: BTreeMap<u32, usize>,
    numbers: Vec<f32>,
}

impl Answers {
    /// None yet; of each image these numbers will be kept, ascending.
    pub fn of(kept: Vec<u32>) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// Which numbers are kept.
    pub fn kept(&self) -> &[u32] {
        &self.kept
    }

    /// Keeps an image's numbers, given all of them.
    pub fn put(&mut self, image: u32, all: &[f32]) {
        self.rows.insert(image, self.rows.len());
        self.numbers.extend(self.kept.iter().map(|&k| all[k as usize]));
    }

    /// The numbers kept of an image.
    pub fn get(&self, image: u32) -> Option<&[f32]> {
        let row = *self.rows.get(&image)?;
        let each = self.kept.len();
        Some(&self.numbers[row * each..(row + 1) * each])
    }

    /// Those of these images, which are numbered by their places here.
    pub fn at(&self, images: &[u32]) -> Self {
        let mut out = Self::of(self.kept.clone());
        for (place, &image) in (0..).zip(images) {
            if let Some(row) = self.get(image) {
                out.rows.insert(place, out.rows.len());
                out.numbers.extend_from_slice(row);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_by_image() {
        let mut answers = Answers::of(vec![0, 2]);
        answers.put(7, &[1.0, 2.0, 3.0]);
        answers.put(4, &[4.0, 5.0, 6.0]);
        assert_eq!(
            (answers.get(7), answers.get(4), answers.get(0)),
            (Some(&[1.0, 3.0][..]), Some(&[4.0, 6.0][..]), None)
        );
        let few = answers.at(&[1, 4, 7]);
        assert_eq!(
            (few.get(0), few.get(1), few.get(2)),
            (None, Some(&[4.0, 6.0][..]), Some(&[1.0, 3.0][..]))
        );
    }
}
