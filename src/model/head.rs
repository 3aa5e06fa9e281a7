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
    /// Of a part that follows the one before it in one output: the axis along which, the batch's not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<usize>,
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
            joins: None,
        }
    }

    /// One image's numbers of an output as they come out; those of its parts are given one after the other.
    pub fn joined(parts: &[Head], numbers: &[f32]) -> Vec<f32> {
        let axis = parts.iter().find_map(|part| part.joins).unwrap_or(0);
        let mut rest = numbers;
        let parts: Vec<(Vec<f32>, usize)> = parts
            .iter()
            .map(|part| {
                let (own, after) = rest.split_at(part.shape.iter().product());
                rest = after;
                (part.arranged(own), part.shape[axis..].iter().product())
            })
            .collect();
        let runs = parts.first().map_or(0, |(own, run)| own.len() / run);
        let run = |k: usize| parts.iter().flat_map(move |(own, run)| &own[k * run..][..*run]);
        (0..runs).flat_map(run).copied().collect()
    }

    /// Whether it continues what comes before it.
    fn follows(&self, before: &Head) -> bool {
        let beside = |(axis, (a, b)): (usize, (&usize, &usize))| a == b || self.joins == Some(axis);
        self.name == before.name
            && self.shape.len() == before.shape.len()
            && self.joins.is_some_and(|axis| axis < self.shape.len())
            && before.joins.is_none_or(|axis| self.joins == Some(axis))
            && self.shape.iter().zip(&before.shape).enumerate().all(beside)
    }

    /// One image's numbers as they come out.
    fn arranged(&self, numbers: &[f32]) -> Vec<f32> {
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
/// As many heads as inputs are expected, each with sizes that fit and a name of its own, or that of the one before it, to which it
/// is joined.
pub(crate) fn check_heads(heads: &[Head], from: &[[usize; 3]]) -> Result<usize> {
    ensure!(
        !heads.is_empty() && heads.len() == from.len(),
        "{} outputs of {} values, expected one of each",
        heads.len(),
        from.len()
    );
    let mut names = BTreeSet::new();
    for (i, (head, shape)) in heads.iter().zip(from).enumerate() {
        head.check(*shape)?;
        if let Some(axis) = head.joins {
            ensure!(
                i > 0 && head.follows(&heads[i - 1]),
                "output {} has a part of sizes {:?} along axis {axis}, which does not fit what comes before it",
                head.name,
                head.shape
            );
            continue;
        }
        ensure!(
            !head.name.is_empty() && names.insert(&head.name),
            "two outputs are called {:?}",
            head.name
        );
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
            joins: None,
        };
        let numbers: Vec<f32> = (0..12u8).map(f32::from).collect();
        let want = [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0];
        assert_eq!(head.arranged(&numbers), want);
        let more = Head {
            joins: Some(0),
            ..Head::plain("boxes", &[1, 3])
        };
        let all: Vec<f32> = (0..15u8).map(f32::from).collect();
        assert!(more.follows(&head));
        assert_eq!(
            Head::joined(&[head, more], &all),
            [&want[..], &[12.0, 13.0, 14.0]].concat()
        );
    }

    #[test]
    fn parts_come_out_side_by_side() {
        let part = |shape: &[usize], joins| Head {
            joins,
            ..Head::plain("scores", shape)
        };
        let parts = [part(&[2, 2], None), part(&[2, 1], Some(1)), part(&[2, 3], Some(1))];
        let numbers: Vec<f32> = (0..12u8).map(f32::from).collect();
        let want = [0.0, 1.0, 4.0, 6.0, 7.0, 8.0, 2.0, 3.0, 5.0, 9.0, 10.0, 11.0];
        assert_eq!(Head::joined(&parts, &numbers), want);
        assert!(check_heads(&parts, &[[4, 1, 1], [2, 1, 1], [1, 2, 3]]).is_ok());
        for (wrong, expected) in [
            (part(&[2, 2], Some(2)), "along axis 2, which does not fit"),
            (
                part(&[3, 2], Some(1)),
                "of sizes [3, 2] along axis 1, which does not fit",
            ),
            (part(&[2, 2, 1], Some(1)), "does not fit what comes before it"),
        ] {
            let from = [[4, 1, 1], [wrong.shape.iter().product(), 1, 1]];
            let refused = check_heads(&[parts[0].clone(), wrong], &from).expect_err(expected);
            assert!(refused.to_string().contains(expected), "{refused}");
        }
        assert!(
            check_heads(&parts[1..2], &[[2, 1, 1]]).is_err(),
            "nothing comes before it"
        );
    }
}
