//! Single ONNX operators as nodes of ours: which there are, and who reads each.
//! Knows nothing of files.

use super::onnx_builder::{Form, Join, OnnxNetBuilder, Operand};
use super::onnx_elementwise::{activation, binary, prelu};
use super::onnx_fold::{BATCH, named_axes};
use super::onnx_graph::{attribute, label};
use super::onnx_int8;
use super::onnx_layers::{conv, conv_transpose, layer_norm, linear, lrn, mean, norm, pool};
use super::onnx_moves::{concat, flatten, gather, pad, reshape, slice, split, transpose};
use super::onnx_operands::{data, known, whole};
use super::onnx_pb::NodeProto;
use super::onnx_resize::resize;
use super::onnx_tensor::Constant;
use anyhow::{Result, bail, ensure};
use model::spec::Op;
use std::rc::Rc;

/// Operators on images that have a place here.
pub(crate) const SUPPORTED: [&str; 51] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Mish",
    "Mul",
    "PRelu",
    "Pad",
    "QuantizeLinear",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Upsample",
];

/// Expresses a node that reads the image or what became of it.
///
/// # Errors
/// Why it cannot be expressed.
pub(crate) fn convert(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let name = label(node);
    if let Some(operand) = of_joined(net, node)? {
        return Ok(operand);
    }
    match node.op_type.as_str() {
        "Add" | "Sub" | "Mul" | "Div" => return binary(net, node),
        "Concat" => return concat(net, node),
        "Conv" => return conv(net, node),
        "ConvTranspose" => return conv_transpose(net, node),
        "BatchNormalization" => return norm(net, node),
        "LayerNormalization" => return layer_norm(net, node),
        "LRN" => return lrn(net, node),
        "MaxPool" | "AveragePool" => return pool(net, node),
        "ReduceMean" => return mean(net, node),
        "Gemm" | "MatMul" => return linear(net, node),
        "PRelu" => return prelu(net, node),
        "Reshape" => return reshape(net, node),
        "Transpose" => return transpose(net, node),
        "Split" => return split(net, node),
        "Slice" => return slice(net, node),
        "Gather" => return gather(net, node),
        "Pad" => return pad(net, node),
        "QuantizeLinear" | "DequantizeLinear" => return onnx_int8::read(net, node),
        "Resize" | "Upsample" => return resize(net, node),
        _ => {}
    }
    let (id, form) = data(net, node, 0)?;
    if let Some(op) = activation(net, node)? {
        let id = net.push(name, op, vec![id])?;
        return Ok(Operand::Node { id, form });
    }
    match node.op_type.as_str() {
        "GlobalAveragePool" => {
            ensure!(form == Form::Planes, "reads a flat value, expected planes");
            let id = net.push(name, Op::GlobalAvgPool, vec![id])?;
            Ok(Operand::Node { id, form })
        }
        "Sum" => {
            let mut sum = id;
            for at in 1..node.input.len() {
                let (next, other) = data(net, node, at)?;
                ensure!(form == other, "of a flat value and planes");
                sum = net.push(name, Op::Add, vec![sum, next])?;
            }
            Ok(Operand::Node { id: sum, form })
        }
        "Flatten" => {
            let rank = if form == Form::Flat { 2 } else { 4 };
            let axis = attribute(node, "axis").map_or(1, |a| a.i);
            ensure!(axis == 1 || axis == 1 - rank, "from axis {axis}, expected 1");
            flatten(net, name, id, form)
        }
        "Squeeze" | "Unsqueeze" => {
            let is_squeeze = node.op_type == "Squeeze";
            let axes = named_axes(whole(net, node, "axes", 1)?, 4)?;
            let [_, h, w] = net.shapes[id];
            let from = if is_squeeze { Form::Planes } else { Form::Flat };
            ensure!(
                axes.as_deref() == Some(&[2, 3]) && h * w == 1 && form == from,
                "of axes {axes:?}, expected height and width of a single pixel"
            );
            let form = if is_squeeze { Form::Flat } else { Form::Planes };
            Ok(Operand::Node { id, form })
        }
        "Dropout" => {
            let ratio = match known(net, node, 1)?.as_deref() {
                Some(Constant::Floats(a)) => a.data.first().copied(),
                _ => attribute(node, "ratio").map(|a| a.f),
            };
            let rate = ratio.unwrap_or(0.5);
            ensure!((0.0..0.99).contains(&rate), "of {rate}");
            let id = net.push(name, Op::Dropout { rate }, vec![id])?;
            Ok(Operand::Node { id, form })
        }
        "Identity" => Ok(Operand::Node { id, form }),
        "Cast" => {
            ensure!(
                attribute(node, "to").is_some_and(|a| a.i == 1),
                "to another type than float32"
            );
            Ok(Operand::Node { id, form })
        }
        "Shape" => {
            let [c, h, w] = net.shapes[id].map(|d| d as i64);
            let sizes = match form {
                Form::Planes => vec![BATCH, c, h, w],
                Form::Flat => vec![BATCH, c],
                Form::Last => vec![BATCH, h, w, c],
                Form::Split([a, b]) => vec![BATCH, a as i64, b as i64, h, w],
                Form::Row => bail!("of all images in a row"),
                Form::View(_) | Form::Joined(_) => {
                    let shape = net.head(id, form).shape;
                    [BATCH].into_iter().chain(shape.into_iter().map(|n| n as i64)).collect()
                }
            };
            let rank = sizes.len() as i64;
            let place = |name: &str, default: i64| {
                let at = attribute(node, name).map_or(default, |a| a.i);
                (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize
            };
            let (start, end) = (place("start", 0), place("end", rank));
            let part = sizes.get(start..end).unwrap_or_default();
            Ok(Operand::Constant(Rc::new(Constant::list(part.to_vec()))))
        }
        "Softmax" | "LogSoftmax" if node.output.first().is_some_and(|o| net.graph.outputs.contains(o)) => {
            net.notes.push(format!(
                "{name} ({}) at the end is left out: models here give logits",
                node.op_type
            ));
            Ok(Operand::Node { id, form })
        }
        _ => bail!("of the image, not supported"),
    }
}

/// What becomes of joined values, which go to outputs: what works on each number does so on each part. None if the node reads none, or
/// leaves them as they are.
///
/// # Errors
/// Other operators.
fn of_joined(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Option<Operand>> {
    let mut joined = None;
    for name in node.input.iter().filter(|name| !name.is_empty()) {
        if let Operand::Node {
            id,
            form: form @ Form::Joined(_),
        } = net.value(name)?
        {
            joined = Some((id, form));
        }
    }
    let Some((id, form)) = joined else { return Ok(None) };
    if matches!(
        node.op_type.as_str(),
        "Concat" | "Transpose" | "Shape" | "Identity" | "Cast" | "Softmax" | "LogSoftmax"
    ) {
        return Ok(None);
    }
    let Some(op) = activation(net, node)? else {
        bail!("of joined outputs, which can only be turned, joined again, or given a function of each number")
    };
    let Join { axis, mut parts } = net.parts(id, form);
    for (id, _) in &mut parts {
        *id = net.push(label(node), op.clone(), vec![*id])?;
    }
    Ok(Some(net.join(Join { axis, parts })))
}
