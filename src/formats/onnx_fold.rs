//! Operators on values that are known without an image: the shapes and weights that exporters compute inside the graph.
//! Knows nothing of networks.
//!
//! rten is linked and folds constants too, but not for a file that nobody has checked: it evaluates whatever the graph
//! asks for at whatever size, before anyone can count the numbers; and it folds while it rewrites the graph into its own
//! operators, and the names of layers and the norms are lost with that.

use super::onnx_graph::attribute;
use super::onnx_int8;
use super::onnx_pb::NodeProto;
use super::onnx_tensor::{Constant, Ints, constant};
use anyhow::{Context, Result, bail, ensure};
use model::Array;
use model::spec::MOST_NUMBERS;
use std::path::Path;

/// Stands in shapes for the number of images, which is not known.
pub(crate) const BATCH: i64 = i64::MIN;

const LONGEST_SHAPE: usize = 4096;

/// Operators that are done here when all they read is known.
pub(crate) const FOLDED: [&str; 16] = [
    "Constant",
    "ConstantOfShape",
    "DequantizeLinear",
    "Range",
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Transpose",
    "Unsqueeze",
    "Squeeze",
    "Concat",
    "Gather",
    "Add",
    "Mul",
    "Div",
];

/// The result of an operator of [`FOLDED`].
///
/// # Errors
/// A use of it that is not needed for networks.
pub(crate) fn fold(node: &NodeProto, inputs: &[&Constant], folder: Option<&Path>) -> Result<Constant> {
    if node.op_type == "Constant" {
        return literal(node, folder);
    }
    let first = *inputs.first().context("no input")?;
    if inputs.iter().any(|c| matches!(c, Constant::Places(_))) {
        return places(node, inputs);
    }
    match node.op_type.as_str() {
        "ConstantOfShape" => constant_of_shape(node, first, folder),
        "DequantizeLinear" => onnx_int8::fold(node, inputs),
        "Range" => range(inputs),
        "Identity" => Ok(first.clone()),
        "Cast" => {
            let to = attribute(node, "to").map_or(0, |a| a.i);
            // float32 to itself; whole numbers to whole numbers.
            let same = matches!((first, to), (Constant::Floats(_), 1) | (Constant::Ints(_), 6 | 7));
            ensure!(same, "of constants to type {to}");
            Ok(first.clone())
        }
        "Reshape" | "Flatten" | "Unsqueeze" | "Squeeze" => {
            let shape = new_shape(node, first.shape(), inputs.get(1).copied())?;
            Ok(with_shape(first.clone(), shape))
        }
        "Transpose" => transpose(first),
        "Concat" => {
            let parts: Option<Vec<&Ints>> = inputs.iter().map(|c| c.as_ints()).collect();
            let parts = parts.context("of numbers that are not whole")?;
            // Shapes are short; a chain of joins to oneself would double each time.
            let n = parts.iter().map(|i| i.data.len()).sum::<usize>();
            ensure!(n <= LONGEST_SHAPE, "of {n} numbers");
            Ok(Constant::list(parts.iter().flat_map(|i| &i.data).copied().collect()))
        }
        "Gather" => {
            let second = inputs.get(1).and_then(|c| c.as_ints());
            let (from, at) = first.as_ints().zip(second).context("of numbers that are not whole")?;
            ensure!(
                from.shape.len() == 1 && attribute(node, "axis").map_or(0, |a| a.i) == 0,
                "along another axis than the first"
            );
            let pick = |&i: &i64| from.data.get(position(i, from.data.len())?).copied();
            let data: Option<Vec<i64>> = at.data.iter().map(pick).collect();
            Ok(Constant::ints(
                at.shape.clone(),
                data.context("of a place that is not there")?,
            ))
        }
        op => elementwise(op, first, inputs.get(1).context("one input")?),
    }
}

/// One number everywhere: weights that are to be filled in.
fn constant_of_shape(node: &NodeProto, shape: &Constant, folder: Option<&Path>) -> Result<Constant> {
    let shape = shape.as_ints().context("of a shape that is not whole")?;
    let sizes: Option<Vec<usize>> = shape.data.iter().map(|&d| usize::try_from(d).ok()).collect();
    let sizes = sizes.with_context(|| format!("of shape {:?}", shape.data))?;
    let n = product(sizes.iter()).filter(|&n| n <= MOST_NUMBERS as usize);
    let n = n.with_context(|| format!("of shape {sizes:?}"))?;
    let value = attribute(node, "value").and_then(|a| a.t.as_ref());
    match value.map(|t| constant(t, folder)).transpose()? {
        None => Ok(Constant::floats(sizes, vec![0.0; n])),
        Some(Constant::Floats(one)) if one.data.len() == 1 => Ok(Constant::floats(sizes, vec![one.data[0]; n])),
        Some(Constant::Ints(one)) if one.data.len() == 1 => Ok(Constant::ints(sizes, vec![one.data[0]; n])),
        Some(_) => bail!("of a value that is not one number"),
    }
}

/// Whole numbers from one to another. Up to the number of images they are [`Constant::Places`]: taken as for two images, which is
/// enough to see where each number is taken from.
fn range(inputs: &[&Constant]) -> Result<Constant> {
    let one = |c: &&Constant| c.as_ints().and_then(|i| i.data.first().copied());
    let ends: Option<Vec<i64>> = inputs.iter().map(one).collect();
    match ends.as_deref() {
        Some([0, BATCH, 1]) => Ok(Constant::Places(Ints {
            shape: vec![2],
            data: vec![0, 1],
        })),
        Some(&[from, to, step]) if from != BATCH && to != BATCH && step > 0 => {
            let n = to
                .checked_sub(from)
                .map_or(0, |n| n.max(0) as u64)
                .div_ceil(step as u64);
            ensure!(n <= LONGEST_SHAPE as u64, "of {n} numbers");
            Ok(Constant::list((0..n as i64).map(|k| from + k * step).collect()))
        }
        _ => bail!("of numbers that are not known"),
    }
}

/// Most places that are followed.
const MOST_PLACES: usize = 1 << 22;

/// Arithmetic on places, as exporters compute strides with it: sums and products, each axis as long as the longer one's.
fn places(node: &NodeProto, inputs: &[&Constant]) -> Result<Constant> {
    let whole = |c: &&Constant| match c {
        Constant::Places(ints) | Constant::Ints(ints) => Some(ints.clone()),
        Constant::Floats(_) => None,
    };
    let operands: Option<Vec<Ints>> = inputs.iter().map(whole).collect();
    let operands = operands.context("of numbers that are not whole")?;
    let done = match (node.op_type.as_str(), &operands[..]) {
        ("Identity" | "Cast", [one]) => one.clone(),
        ("Unsqueeze" | "Squeeze" | "Reshape", [one, rest @ ..]) => Ints {
            shape: new_shape(
                node,
                &one.shape,
                rest.first().map(|r| Constant::Ints(r.clone())).as_ref(),
            )?,
            data: one.data.clone(),
        },
        (op @ ("Add" | "Mul"), [a, b]) => {
            let rank = a.shape.len().max(b.shape.len());
            let size = |of: &Ints, axis: usize| (axis + of.shape.len()).checked_sub(rank).map_or(1, |i| of.shape[i]);
            let longer = |axis| match (size(a, axis), size(b, axis)) {
                (x, y) if x == y || y == 1 => Some(x),
                (1, y) => Some(y),
                _ => None,
            };
            let shape: Option<Vec<usize>> = (0..rank).map(longer).collect();
            let shape = shape.with_context(|| format!("of shapes {:?} and {:?}", a.shape, b.shape))?;
            let n = product(shape.iter())
                .filter(|&n| n <= MOST_PLACES)
                .context("of too many numbers")?;
            let at = |of: &Ints, k: usize| {
                let (mut rest, mut place, mut stride) = (k, 0, 1);
                for axis in (0..rank).rev() {
                    let own = size(of, axis);
                    place += rest % shape[axis] % own * stride;
                    (rest, stride) = (rest / shape[axis], stride * own);
                }
                of.data.get(place).copied().filter(|&v| v != BATCH)
            };
            let of = |k: usize| {
                let (x, y) = (at(a, k)?, at(b, k)?);
                if op == "Add" {
                    x.checked_add(y)
                } else {
                    x.checked_mul(y)
                }
            };
            let data: Option<Vec<i64>> = (0..n).map(of).collect();
            Ints {
                data: data.context("of a number that is not known")?,
                shape,
            }
        }
        (op, _) => bail!("of places by {op}"),
    };
    Ok(Constant::Places(done))
}

/// A position that may count from the end.
fn position(i: i64, len: usize) -> Option<usize> {
    let i = if i < 0 { i.checked_add(len as i64)? } else { i };
    usize::try_from(i).ok().filter(|&i| i < len)
}

fn literal(node: &NodeProto, folder: Option<&Path>) -> Result<Constant> {
    let a = node.attribute.first().context("without a value")?;
    Ok(match a.name.as_str() {
        "value" => constant(a.t.as_ref().context("without a value")?, folder)?,
        "value_int" => Constant::ints(vec![], vec![a.i]),
        "value_ints" => Constant::list(a.ints.clone()),
        "value_float" => Constant::floats(vec![], vec![a.f]),
        "value_floats" => Constant::floats(vec![a.floats.len()], a.floats.clone()),
        other => bail!("given as {other}"),
    })
}

fn with_shape(constant: Constant, shape: Vec<usize>) -> Constant {
    match constant {
        Constant::Floats(a) => Constant::floats(shape, a.data),
        Constant::Ints(i) => Constant::ints(shape, i.data),
        Constant::Places(i) => Constant::Places(Ints { shape, ..i }),
    }
}

/// Axes as an operator names them: an attribute before opset 13, then an input; from the end if negative.
fn axes(node: &NodeProto, second: Option<&Constant>, rank: usize) -> Result<Option<Vec<usize>>> {
    let named = match (attribute(node, "axes"), second) {
        (Some(a), _) => Some(a.ints.clone()),
        (None, Some(Constant::Ints(i))) => Some(i.data.clone()),
        (None, Some(_)) => bail!("axes that are not whole numbers"),
        (None, None) => None,
    };
    named_axes(named, rank)
}

/// Axes in order, each once; counted from the end if negative.
pub(crate) fn named_axes(named: Option<Vec<i64>>, rank: usize) -> Result<Option<Vec<usize>>> {
    let Some(named) = named else { return Ok(None) };
    let places: Option<Vec<usize>> = named.iter().map(|&a| position(a, rank)).collect();
    let mut places = places.with_context(|| format!("axes {named:?} of {rank}"))?;
    places.sort_unstable();
    places.dedup();
    Ok(Some(places))
}

fn new_shape(node: &NodeProto, old: &[usize], second: Option<&Constant>) -> Result<Vec<usize>> {
    let n: usize = old.iter().product();
    Ok(match node.op_type.as_str() {
        "Flatten" => {
            let axis = attribute(node, "axis").map_or(1, |a| a.i);
            let axis = usize::try_from(axis)
                .ok()
                .filter(|&a| a <= old.len())
                .with_context(|| format!("axis {axis}"))?;
            vec![old[..axis].iter().product(), old[axis..].iter().product()]
        }
        "Squeeze" => match axes(node, second, old.len())? {
            Some(axes) => {
                ensure!(axes.iter().all(|&a| old[a] == 1), "an axis that is not 1");
                (0..old.len()).filter(|a| !axes.contains(a)).map(|a| old[a]).collect()
            }
            None => old.iter().copied().filter(|&d| d != 1).collect(),
        },
        "Unsqueeze" => {
            let count = attribute(node, "axes")
                .map_or_else(|| second.map_or(0, |c| c.shape().iter().product()), |a| a.ints.len());
            ensure!(count <= 8, "{count} new axes");
            let axes = axes(node, second, old.len() + count)?.context("without axes")?;
            ensure!(axes.len() == count, "an axis twice");
            let mut rest = old.iter();
            let size = |a| {
                if axes.contains(&a) {
                    1
                } else {
                    *rest.next().unwrap_or(&1)
                }
            };
            (0..old.len() + count).map(size).collect()
        }
        _ => {
            let to = &second
                .and_then(Constant::as_ints)
                .context("to a shape that is not known")?
                .data;
            let wrong = || format!("to {to:?}");
            let known = |(i, &d): (usize, &i64)| match d {
                0 => old.get(i).copied(),
                _ => usize::try_from(d).ok(),
            };
            let sizes: Vec<Option<usize>> = to.iter().enumerate().map(known).collect();
            let product = product(sizes.iter().flatten()).filter(|&p| p > 0).with_context(wrong)?;
            ensure!(to.iter().filter(|&&d| d == -1).count() <= 1, wrong());
            let shape: Vec<usize> = sizes.into_iter().map(|d| d.unwrap_or(n / product)).collect();
            ensure!(self::product(shape.iter()) == Some(n), wrong());
            shape
        }
    })
}

fn product<'a>(mut sizes: impl Iterator<Item = &'a usize>) -> Option<usize> {
    sizes.try_fold(1usize, |p, &d| p.checked_mul(d))
}

/// Rows and columns changed for each other.
fn transpose(of: &Constant) -> Result<Constant> {
    let Constant::Floats(Array { shape, data }) = of else {
        bail!("of whole numbers")
    };
    let &[rows, columns] = &shape[..] else {
        bail!("of {} axes", shape.len())
    };
    let data = (0..data.len()).map(|i| data[i % rows * columns + i / rows]).collect();
    Ok(Constant::floats(vec![columns, rows], data))
}

fn elementwise(op: &str, a: &Constant, b: &Constant) -> Result<Constant> {
    let [of_a, of_b] = [a, b].map(|c| c.shape().iter().product::<usize>());
    let (short, long) = if of_a == 1 { (a, b) } else { (b, a) };
    ensure!(
        of_a == 1 || of_b == 1 || a.shape() == b.shape(),
        "of shapes {:?} and {:?}",
        a.shape(),
        b.shape()
    );
    let is_wider = long.shape().len() >= short.shape().len();
    let shape = if is_wider { long } else { short }.shape().to_vec();
    let all = 0..if of_a == 1 { of_b } else { of_a };
    match (a, b) {
        (Constant::Floats(a), Constant::Floats(b)) => {
            let at = |x: &[f32], i: usize| x[if x.len() == 1 { 0 } else { i }];
            let of = |x: f32, y: f32| match op {
                "Add" => x + y,
                "Mul" => x * y,
                _ => x / y,
            };
            let data = all.map(|i| of(at(&a.data, i), at(&b.data, i))).collect();
            Ok(Constant::floats(shape, data))
        }
        (Constant::Ints(a), Constant::Ints(b)) => {
            let at = |x: &[i64], i: usize| Some(x[if x.len() == 1 { 0 } else { i }]).filter(|&v| v != BATCH);
            let of = |i: usize| {
                let (x, y) = (at(&a.data, i)?, at(&b.data, i)?);
                match op {
                    "Add" => x.checked_add(y),
                    "Mul" => x.checked_mul(y),
                    _ => x.checked_div(y),
                }
            };
            let data: Option<Vec<i64>> = all.map(of).collect();
            Ok(Constant::ints(shape, data.context("of a number that is not known")?))
        }
        _ => bail!("of numbers of two kinds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx_proto;

    fn ints(data: &[i64]) -> Constant {
        Constant::list(data.to_vec())
    }

    fn floats(shape: &[usize], data: &[f32]) -> Constant {
        Constant::floats(shape.to_vec(), data.to_vec())
    }

    fn run(op: &str, inputs: &[&Constant], axis: i64) -> Result<Constant> {
        let node = NodeProto {
            op_type: op.into(),
            attribute: vec![onnx_proto::int("axis", axis)],
            ..NodeProto::default()
        };
        fold(&node, inputs, None)
    }

    #[test]
    fn a_shape_is_taken_apart_and_put_together() {
        let shape = ints(&[BATCH, 3, 4, 5]);
        let batch = run("Gather", &[&shape, &ints(&[0])], 0).expect("gathers");
        assert_eq!(batch, ints(&[BATCH]));
        assert_eq!(
            run("Concat", &[&batch, &ints(&[-1])], 0).expect("joins"),
            ints(&[BATCH, -1])
        );
        assert_eq!(
            run("Mul", &[&ints(&[3, 4]), &ints(&[5])], 0).expect("multiplies"),
            ints(&[15, 20])
        );
        assert!(
            run("Mul", &[&batch, &ints(&[5])], 0).is_err(),
            "the batch is not a number"
        );
        assert!(run("Gather", &[&shape, &ints(&[4])], 0).is_err());
    }

    #[test]
    fn weights_are_turned_round() {
        let w = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            run("Transpose", &[&w], 0).expect("turns"),
            floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])
        );
        assert_eq!(
            run("Reshape", &[&w, &ints(&[3, -1])], 0).expect("reshapes"),
            floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        );
        assert!(run("Reshape", &[&w, &ints(&[4, -1])], 0).is_err());
        assert_eq!(
            run("Unsqueeze", &[&floats(&[2], &[1.0, 2.0]), &ints(&[0, -1])], 0)
                .expect("widens")
                .shape(),
            [1, 2, 1]
        );
        assert_eq!(
            run("Squeeze", &[&floats(&[1, 2, 1], &[1.0, 2.0])], 0)
                .expect("narrows")
                .shape(),
            [2]
        );
    }

    #[test]
    fn places_are_followed_for_two_images() {
        let places = run("Range", &[&ints(&[0]), &ints(&[BATCH]), &ints(&[1])], 0).expect("places");
        let strided = run("Mul", &[&places, &Constant::ints(vec![], vec![3])], 0).expect("multiplies");
        let columns = run("Unsqueeze", &[&strided, &ints(&[1])], 0).expect("widens");
        let all = run("Add", &[&columns, &ints(&[0, 1, 2])], 0).expect("adds");
        let want = Ints {
            shape: vec![2, 3],
            data: vec![0, 1, 2, 3, 4, 5],
        };
        assert_eq!(all, Constant::Places(want));
        assert_eq!(
            run("Range", &[&ints(&[2]), &ints(&[9]), &ints(&[3])], 0).expect("counts"),
            ints(&[2, 5, 8])
        );
        let zeros = run("ConstantOfShape", &[&ints(&[2, 2])], 0).expect("fills");
        assert_eq!(zeros, floats(&[2, 2], &[0.0; 4]));
        for shape in [&[-1][..], &[1 << 40, 1 << 40], &[1 << 40]] {
            assert!(run("ConstantOfShape", &[&ints(shape)], 0).is_err());
        }
    }

    #[test]
    fn no_number_makes_it_panic() {
        for a in [i64::MIN, -1, 0, i64::MAX] {
            for b in [i64::MIN, -1, 0, i64::MAX] {
                for op in FOLDED {
                    drop(run(op, &[&ints(&[a]), &ints(&[b])], b));
                    drop(run(op, &[&floats(&[1], &[1.0]), &ints(&[a, b])], a));
                }
            }
        }
    }
}
