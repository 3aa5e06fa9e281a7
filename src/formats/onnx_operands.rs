//! What an ONNX operator reads: nodes of ours, constants, attributes.
//! Knows nothing of single operators.

use super::onnx_builder::{Form, OnnxNetBuilder, Operand};
use super::onnx_graph::{attribute, label};
use super::onnx_pb::NodeProto;
use super::onnx_tensor::{Constant, Ints};
use anyhow::{Context, Result, bail, ensure};
use model::Array;
use std::rc::Rc;

/// The `at`th input as one of our nodes.
pub(crate) fn data(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize) -> Result<(usize, Form)> {
    let name = node
        .input
        .get(at)
        .filter(|n| !n.is_empty())
        .with_context(|| format!("input {at} is missing"))?;
    match net.value(name)? {
        Operand::Node { id, form } => Ok((id, form)),
        _ => bail!("input {at} ({name}) does not depend on the image"),
    }
}

/// The `at`th input as a constant, if it is given.
pub(crate) fn known(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize) -> Result<Option<Rc<Constant>>> {
    match node.input.get(at).filter(|n| !n.is_empty()) {
        None => Ok(None),
        Some(name) => match net.value(name)? {
            Operand::Constant(constant) => Ok(Some(constant)),
            _ => bail!("input {at} ({name}) depends on the image, expected a constant"),
        },
    }
}

/// The `at`th input as an array of floats.
pub(crate) fn floats(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize) -> Result<Array> {
    match known(net, node, at)?.as_deref() {
        Some(Constant::Floats(array)) => Ok(array.clone()),
        Some(_) => bail!("input {at} is of whole numbers"),
        None => bail!("input {at} is missing"),
    }
}

/// Whole numbers as an attribute (in older operator sets) or as the `at`th input.
pub(crate) fn whole(net: &mut OnnxNetBuilder, node: &NodeProto, name: &str, at: usize) -> Result<Option<Vec<i64>>> {
    if let Some(a) = attribute(node, name) {
        return Ok(Some(a.ints.clone()));
    }
    match known(net, node, at)?.as_deref() {
        None => Ok(None),
        Some(Constant::Ints(Ints { data, .. })) => Ok(Some(data.clone())),
        Some(_) => bail!("{name} that are not whole numbers"),
    }
}

/// A layer's own name: that of its weight tensor, as training programs call it, or else the node's.
pub(crate) fn layer_name(node: &NodeProto, endings: &[&str]) -> String {
    let weight = node.input.get(1).map_or("", String::as_str);
    let of_weight = endings.iter().find_map(|e| weight.strip_suffix(e));
    of_weight.filter(|n| !n.is_empty()).unwrap_or(label(node)).to_owned()
}

/// Two equal whole numbers, one for height and one for width.
pub(crate) fn both(node: &NodeProto, name: &str, default: Option<usize>) -> Result<usize> {
    match pair(node, name, default.map(|n| [n, n]))? {
        [h, w] if h == w => Ok(h),
        other => bail!("{name} {other:?}, expected two equal numbers"),
    }
}

/// Two whole numbers, for height and width.
pub(crate) fn pair(node: &NodeProto, name: &str, default: Option<[usize; 2]>) -> Result<[usize; 2]> {
    let Some(a) = attribute(node, name) else {
        return default.with_context(|| format!("without {name}"));
    };
    let small = |n: i64| usize::try_from(n).ok().filter(|&n| n <= 1 << 20);
    match a.ints[..] {
        [h, w] => small(h).zip(small(w)).map(|(h, w)| [h, w]),
        _ => None,
    }
    .with_context(|| format!("{name} {:?}, expected two numbers of at least 0", a.ints))
}

/// Text of an attribute; empty if it is not given.
pub(crate) fn text(node: &NodeProto, name: &str) -> String {
    attribute(node, name).map_or(String::new(), |a| String::from_utf8_lossy(&a.s).into_owned())
}

/// A constant that has one number a channel, `after` axes of one following the channels'.
pub(crate) fn row(constant: &Array, channels: usize, after: usize, factor: f32) -> Result<Array> {
    let wrong = || {
        format!(
            "a constant of shape {:?}, expected one number for each of {channels}",
            constant.shape
        )
    };
    let from_end = constant.shape.len().checked_sub(after);
    let fits = match constant.data.len() {
        1 => true,
        n => n == channels && from_end.is_some_and(|c| constant.shape[c] == channels),
    };
    ensure!(fits, wrong());
    let data = (0..channels)
        .map(|i| factor * constant.data[if constant.data.len() == 1 { 0 } else { i }])
        .collect();
    Ok(Array {
        shape: vec![channels],
        data,
    })
}
