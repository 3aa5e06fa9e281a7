//! ONNX operators that enlarge or shrink planes.
//! Knows nothing of layers.

use super::onnx_builder::{Form, OnnxNetBuilder, Operand};
use super::onnx_graph::{attribute, label};
use super::onnx_operands::{data, known, text, whole};
use super::onnx_pb::NodeProto;
use super::onnx_tensor::Constant;
use anyhow::{Result, bail, ensure};
use model::resample::{Coordinates, Interpolation, taps};
use model::spec::Op;

/// Resize, or Upsample of older operator sets: copies of each pixel where it is that, or else pixels made from those around.
pub(crate) fn resize(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    ensure!(form == Form::Planes, "of a flat value, expected planes");
    let is_resize = node.op_type == "Resize";
    let coordinates = match text(node, "coordinate_transformation_mode").as_str() {
        _ if !is_resize => Coordinates::Asymmetric,
        "" | "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => bail!("of pixels taken from {other}"),
    };
    let interpolation = match (text(node, "mode").as_str(), text(node, "nearest_mode").as_str()) {
        ("linear", _) => Interpolation::Linear,
        ("" | "nearest", _) if !is_resize => Interpolation::Floor,
        ("" | "nearest", "" | "round_prefer_floor") => Interpolation::PreferFloor,
        ("" | "nearest", "round_prefer_ceil") => Interpolation::PreferCeil,
        ("" | "nearest", "floor") => Interpolation::Floor,
        ("" | "nearest", "ceil") => Interpolation::Ceil,
        ("" | "nearest", other) => bail!("of pixels taken by {other}"),
        (mode, _) => bail!("by mode {mode}, expected nearest or linear"),
    };
    let asks = |name: &str| attribute(node, name).is_some_and(|a| a.i != 0);
    ensure!(!asks("antialias"), "with antialias");
    ensure!(!asks("exclude_outside"), "with exclude_outside");
    let policy = text(node, "keep_aspect_ratio_policy");
    ensure!(
        matches!(policy.as_str(), "" | "stretch"),
        "by policy {policy}, expected stretch"
    );
    let named = attribute(node, "axes").map(|a| &a.ints[..]);
    ensure!(
        matches!(named, None | Some([2, 3] | [0, 1, 2, 3])),
        "along axes {named:?}, expected height and width"
    );
    let [c, h, w] = net.shapes[id];
    let sizes = if is_resize { whole(net, node, "sizes", 3)? } else { None };
    let (size, scale) = match sizes {
        Some(sizes) => {
            let size = match sizes[..] {
                [tall, wide] | [_, _, tall, wide] => [tall, wide].map(|n| usize::try_from(n).unwrap_or(0)),
                _ => bail!("to sizes {sizes:?}"),
            };
            ensure!(
                sizes.len() == 2 || sizes[1] == c as i64,
                "to {} channels, expected {c}",
                sizes[1]
            );
            (size, [size[0] as f32 / h as f32, size[1] as f32 / w as f32])
        }
        None => {
            let at = if is_resize && node.input.len() > 2 { 2 } else { 1 };
            let scales = match (known(net, node, at)?.as_deref(), attribute(node, "scales")) {
                (Some(Constant::Floats(a)), _) => a.data.clone(),
                (_, Some(a)) => a.floats.clone(),
                _ => bail!("by a scale that is not known"),
            };
            let scale = match scales[..] {
                [tall, wide] | [1.0, 1.0, tall, wide] => [tall, wide],
                _ => bail!("by scales {scales:?}, expected those of height and width"),
            };
            let sane = scale.iter().all(|s| s.is_finite() && *s > 0.0 && *s < 1e6);
            ensure!(sane, "by scales {scales:?}, expected numbers above 0");
            (
                [(h, 0), (w, 1)].map(|(n, k)| (n as f32 * scale[k]).floor() as usize),
                scale,
            )
        }
    };
    ensure!(size.iter().all(|&n| (1..=1 << 20).contains(&n)), "to {size:?} pixels");
    if size == [h, w] && scale == [1.0; 2] {
        return Ok(Operand::Node { id, form });
    }
    let times = size[0] / h;
    let of_axis = |from: usize, k: usize| taps([from, size[k]], scale[k], coordinates, interpolation);
    let is_copied = |from: usize, k: usize| {
        let mut pixels = of_axis(from, k).enumerate();
        size[k] == times * from && pixels.all(|(x, tap)| tap.share == 0.0 && tap.first == x / times)
    };
    let op = if times > 0 && is_copied(h, 0) && is_copied(w, 1) {
        Op::Upsample { scale: times }
    } else {
        Op::Resize {
            size,
            scale,
            coordinates,
            interpolation,
        }
    };
    let id = net.push(label(node), op, vec![id])?;
    Ok(Operand::Node { id, form })
}
