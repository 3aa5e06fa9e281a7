//! How other programs see one of a network's values.
//! Knows nothing of graphs.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One of a network's values by name: its `[c, h, w]` numbers as `view`, with the axes in `order`, then as `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What they call it.
    pub name: String,
    /// Sizes that the numbers are taken to have, without the batch.
    pub view: Vec<usize>,
    /// The view's axes as they come out; none if they stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<usize>,
    /// Sizes as they come out, without the batch.
    pub shape: Vec<usize>,
}

/// Most axes of an output.
const MOST_AXES: usize = 8;

impl Head {
    /// A value that comes out with these sizes, nothing turned.
    pub fn plain(name: &str, shape: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            view: shape.to_vec(),
            order: Vec::new(),
            shape: shape.to_vec(),
        }
    }

    /// One image's numbers as they come out.
    pub fn arranged(&self, numbers: &[f32]) -> Vec<f32> {
        if self.order.is_empty() {
            return numbers.to_vec();
        }
        let mut strides = vec![1; self.view.len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * self.view[axis];
        }
        let turned = |mut at: usize| {
            let mut from = 0;
            for &axis in self.order.iter().rev() {
                from += at % self.view[axis] * strides[axis];
                at /= self.view[axis];
            }
            numbers[from]
        };
        (0..numbers.len()).map(turned).collect()
    }

    /// # Errors
    /// Sizes that are not those of `from`, or axes that are not each there once.
    fn check(&self, from: [usize; 3]) -> Result<()> {
        let numbers: usize = from.iter().product();
        for sizes in [&self.view, &self.shape] {
            let product = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
            ensure!(
                (1..=MOST_AXES).contains(&sizes.len()) && product == Some(numbers),
                "output {} has sizes {sizes:?}, expected {numbers} numbers",
                self.name
            );
        }
        let mut axes = self.order.clone();
        axes.sort_unstable();
        ensure!(
            axes.is_empty() || axes.iter().copied().eq(0..self.view.len()),
            "output {} has its axes in order {:?}, expected each of {} once",
            self.name,
            self.order,
            self.view.len()
        );
        Ok(())
    }
}

/// Checks the heads of values of these shapes; gives how many numbers they are.
///
/// # Errors
/// As many heads as inputs are expected, each with a name of its own and sizes that fit.
pub(crate) fn check_heads(heads: &[Head], from: &[[usize; 3]]) -> Result<usize> {
    ensure!(
        !heads.is_empty() && heads.len() == from.len(),
        "{} outputs of {} values, expected one of each",
        heads.len(),
        from.len()
    );
    let mut names = BTreeSet::new();
    for (head, shape) in heads.iter().zip(from) {
        ensure!(
            !head.name.is_empty() && names.insert(&head.name),
            "two outputs are called {:?}",
            head.name
        );
        head.check(*shape)?;
    }
    Ok(from.iter().map(|s| s.iter().product::<usize>()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_in_the_order_of_the_axes() {
        // Two anchors of three numbers on one row of two pixels: anchors, pixels, numbers.
        let head = Head {
            name: "boxes".into(),
            view: vec![2, 3, 1, 2],
            order: vec![0, 2, 3, 1],
            shape: vec![4, 3],
        };
        let numbers: Vec<f32> = (0..12u8).map(f32::from).collect();
        let want = [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0];
        assert_eq!(head.arranged(&numbers), want);
    }
}
