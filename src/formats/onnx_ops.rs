//! Single ONNX operators as nodes of ours.
//! Knows nothing of files.

use super::onnx_builder::{OnnxNetBuilder, Operand};
use super::onnx_fold::{BATCH, axes};
use super::onnx_graph::{attribute, label};
use super::onnx_pb::NodeProto;
use super::onnx_tensor::Constant;
use anyhow::{Context, Result, bail, ensure};
use model::Array;
use model::checkpoint::Moments;
use model::spec::{Op, Pad};
use std::rc::Rc;

/// Operators on images that have a place here.
pub(crate) const SUPPORTED: [&str; 24] = [
    "Conv",
    "BatchNormalization",
    "Relu",
    "Clip",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "Add",
    "Gemm",
    "MatMul",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Dropout",
    "Identity",
    "Cast",
    "Shape",
    "Constant",
    "Softmax",
    "LogSoftmax",
    "Gather",
    "Concat",
];

/// Expresses a node that reads the image or what became of it.
///
/// # Errors
/// Why it cannot be expressed.
pub(crate) fn convert(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let name = label(node).to_owned();
    let (id, flat) = match node.op_type.as_str() {
        "Add" => return add(net, node),
        _ => data(net, node, 0)?,
    };
    let one = |net: &mut OnnxNetBuilder, op: Op, flat: bool| {
        Ok(Operand::Node {
            id: net.push(&name, op, vec![id])?,
            flat,
        })
    };
    let planes = || {
        ensure!(!flat, "reads a flat value, expected planes");
        Ok(())
    };
    match node.op_type.as_str() {
        "Conv" => planes().and_then(|()| conv(net, node, id)),
        "BatchNormalization" => norm(net, node, id, flat),
        "Relu" => one(net, Op::Relu, flat),
        "Clip" => {
            let (least, most) = (bound(net, node, 1, "min")?, bound(net, node, 2, "max")?);
            match (least, most) {
                (Some(0.0), Some(6.0)) => one(net, Op::Relu6, flat),
                (Some(0.0), None) => one(net, Op::Relu, flat),
                _ => bail!("to {least:?} … {most:?}, expected 0 … 6"),
            }
        }
        "MaxPool" | "AveragePool" => {
            planes()?;
            let op = pool(net, node, id)?;
            one(net, op, false)
        }
        "GlobalAveragePool" => planes().and_then(|()| one(net, Op::GlobalAvgPool, false)),
        "ReduceMean" => {
            planes()?;
            let axes = axes(node, known(net, node, 1)?.as_deref(), 4)?;
            ensure!(
                axes.as_deref() == Some(&[2, 3]),
                "over axes {axes:?}, expected height and width"
            );
            let flat = attribute(node, "keepdims").is_some_and(|a| a.i == 0);
            one(net, Op::GlobalAvgPool, flat)
        }
        "Gemm" | "MatMul" => {
            ensure!(flat, "reads planes, expected a flat value");
            linear(net, node, id)
        }
        "Flatten" => {
            let rank = if flat { 2 } else { 4 };
            let axis = attribute(node, "axis").map_or(1, |a| a.i);
            ensure!(axis == 1 || axis == 1 - rank, "from axis {axis}, expected 1");
            flatten(net, &name, id, flat)
        }
        "Reshape" => reshape(net, node, id, flat),
        "Squeeze" | "Unsqueeze" => {
            let is_squeeze = node.op_type == "Squeeze";
            let axes = axes(node, known(net, node, 1)?.as_deref(), 4)?;
            let [_, h, w] = net.shapes[id];
            ensure!(
                axes.as_deref() == Some(&[2, 3]) && h * w == 1 && flat != is_squeeze,
                "of axes {axes:?}, expected height and width of a single pixel"
            );
            Ok(Operand::Node { id, flat: is_squeeze })
        }
        "Dropout" => {
            let ratio = match known(net, node, 1)?.as_deref() {
                Some(Constant::Floats(a)) => a.data.first().copied(),
                _ => attribute(node, "ratio").map(|a| a.f),
            };
            let rate = ratio.unwrap_or(0.5);
            ensure!((0.0..0.99).contains(&rate), "of {rate}");
            one(net, Op::Dropout { rate }, flat)
        }
        "Identity" => Ok(Operand::Node { id, flat }),
        "Cast" => {
            ensure!(
                attribute(node, "to").is_some_and(|a| a.i == 1),
                "to another type than float32"
            );
            Ok(Operand::Node { id, flat })
        }
        "Shape" => {
            ensure!(node.attribute.is_empty(), "of a part");
            let [c, h, w] = net.shapes[id].map(|d| d as i64);
            let data = if flat { vec![BATCH, c] } else { vec![BATCH, c, h, w] };
            Ok(Operand::Constant(Rc::new(Constant::list(data))))
        }
        "Softmax" | "LogSoftmax" if node.output.first() == Some(&net.graph.output) => {
            net.notes.push(format!(
                "{name} ({}) at the end is left out: models here give logits",
                node.op_type
            ));
            Ok(Operand::Node { id, flat })
        }
        _ => bail!("of the image, not supported"),
    }
}

/// The `at`th input as one of our nodes.
fn data(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize) -> Result<(usize, bool)> {
    let name = node
        .input
        .get(at)
        .filter(|n| !n.is_empty())
        .with_context(|| format!("input {at} is missing"))?;
    match net.value(name)? {
        Operand::Node { id, flat } => Ok((id, flat)),
        _ => bail!("input {at} ({name}) does not depend on the image"),
    }
}

/// The `at`th input as a constant, if it is given.
fn known(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize) -> Result<Option<Rc<Constant>>> {
    match node.input.get(at).filter(|n| !n.is_empty()) {
        None => Ok(None),
        Some(name) => match net.value(name)? {
            Operand::Constant(constant) => Ok(Some(constant)),
            _ => bail!("input {at} ({name}) depends on the image, expected a constant"),
        },
    }
}

fn floats(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize) -> Result<Array> {
    match known(net, node, at)?.as_deref() {
        Some(Constant::Floats(array)) => Ok(array.clone()),
        Some(_) => bail!("input {at} is of whole numbers"),
        None => bail!("input {at} is missing"),
    }
}

/// A layer's own name: that of its weight tensor, as training programs call it, or else the node's.
fn layer_name(node: &NodeProto, endings: &[&str]) -> String {
    let weight = node.input.get(1).map_or("", String::as_str);
    let of_weight = endings.iter().find_map(|e| weight.strip_suffix(e));
    of_weight.filter(|n| !n.is_empty()).unwrap_or(label(node)).to_owned()
}

fn bound(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize, name: &str) -> Result<Option<f32>> {
    let value = match known(net, node, at)?.as_deref() {
        Some(Constant::Floats(a)) => a.data.first().copied(),
        Some(_) => bail!("{name} is a whole number"),
        None => attribute(node, name).map(|a| a.f),
    };
    Ok(value.filter(|v| v.abs() < f32::MAX))
}

fn both(node: &NodeProto, name: &str, default: Option<usize>) -> Result<usize> {
    let Some(a) = attribute(node, name) else {
        return default.with_context(|| format!("without {name}"));
    };
    match a.ints[..] {
        [h, w] if h == w && h >= 0 => Ok(h as usize),
        _ => bail!("{name} {:?}, expected two equal numbers", a.ints),
    }
}

fn pads(net: &OnnxNetBuilder, node: &NodeProto, id: usize, [kernel, stride]: [usize; 2]) -> Result<Pad> {
    let auto = attribute(node, "auto_pad").map_or(String::new(), |a| String::from_utf8_lossy(&a.s).into_owned());
    let [_, h, w] = net.shapes[id];
    match auto.as_str() {
        "SAME_UPPER" | "SAME_LOWER" => {
            ensure!(
                kernel > 0 && stride > 0 && kernel <= 1 << 20 && stride <= 1 << 20,
                "kernel {kernel}, stride {stride}"
            );
            let pad = Pad::same([h, w], kernel, stride);
            let turned = Pad {
                top: pad.bottom,
                bottom: pad.top,
                left: pad.right,
                right: pad.left,
            };
            Ok(if auto == "SAME_UPPER" { pad } else { turned })
        }
        "VALID" => Ok(Pad::VALID),
        "" | "NOTSET" => {
            let Some(a) = attribute(node, "pads") else {
                return Ok(Pad::VALID);
            };
            let sizes: Option<Vec<usize>> = a.ints.iter().map(|&p| usize::try_from(p).ok()).collect();
            match sizes.as_deref() {
                Some(&[top, left, bottom, right]) => Ok(Pad {
                    top,
                    bottom,
                    left,
                    right,
                }),
                _ => bail!("pads {:?}, expected four numbers of at least 0", a.ints),
            }
        }
        other => bail!("auto_pad {other}"),
    }
}

fn conv(net: &mut OnnxNetBuilder, node: &NodeProto, id: usize) -> Result<Operand> {
    let weight = floats(net, node, 1)?;
    let &[filters, each, kernel, width] = &weight.shape[..] else {
        bail!("a weight of {} axes, expected 4 (two dimensions)", weight.shape.len())
    };
    ensure!(kernel == width, "a kernel of {kernel}×{width}, expected a square one");
    ensure!(
        both(node, "kernel_shape", Some(kernel))? == kernel,
        "a kernel_shape that is not the weight's"
    );
    ensure!(both(node, "dilations", Some(1))? == 1, "dilated");
    let stride = both(node, "strides", Some(1))?;
    let groups = attribute(node, "group").map_or(1, |a| a.i);
    let groups = usize::try_from(groups)
        .ok()
        .filter(|&g| g > 0)
        .with_context(|| format!("{groups} groups"))?;
    let channels = net.shapes[id][0];
    ensure!(
        each.checked_mul(groups) == Some(channels),
        "a weight for {each}×{groups} channels, the input has {channels}"
    );
    let pad = pads(net, node, id, [kernel, stride])?;
    let bias = match node.input.get(2) {
        Some(name) if !name.is_empty() => Some(floats(net, node, 2)?),
        _ => None,
    };
    ensure!(
        bias.as_ref().is_none_or(|b| b.shape == [filters]),
        "a bias that is not one number a filter"
    );
    let op = Op::Conv {
        filters,
        kernel,
        stride,
        pad,
        bias: bias.is_some(),
        groups,
    };
    let id = net.push(&layer_name(node, &[".weight"]), op, vec![id])?;
    put_layer(net, id, weight, bias)?;
    Ok(Operand::Node { id, flat: false })
}

fn put_layer(net: &mut OnnxNetBuilder, id: usize, weight: Array, bias: Option<Array>) -> Result<()> {
    net.take_room(weight.data.len())?;
    let name = &net.spec.nodes[id].name;
    net.weights.insert(format!("{name}.weight"), weight);
    if let Some(bias) = bias {
        net.weights.insert(format!("{name}.bias"), bias);
    }
    Ok(())
}

fn norm(net: &mut OnnxNetBuilder, node: &NodeProto, id: usize, flat: bool) -> Result<Operand> {
    ensure!(
        attribute(node, "training_mode").is_none_or(|a| a.i == 0),
        "in training mode"
    );
    let channels = net.shapes[id][0];
    let mut arrays = Vec::new();
    for at in 1..5 {
        let array = floats(net, node, at)?;
        ensure!(
            array.shape == [channels],
            "input {at} of shape {:?}, expected [{channels}]",
            array.shape
        );
        arrays.push(array);
    }
    let eps = attribute(node, "epsilon").map_or(1e-5, |a| a.f);
    ensure!(eps.is_finite() && eps >= 0.0, "epsilon {eps}");
    let id = net.push(
        &layer_name(node, &[".weight", ".gamma"]),
        Op::Norm { eps, affine: true },
        vec![id],
    )?;
    let name = net.spec.nodes[id].name.clone();
    let [gamma, beta, mean, var]: [Array; 4] = arrays.try_into().ok().context("four inputs")?;
    net.weights.insert(format!("{name}.gamma"), gamma);
    net.weights.insert(format!("{name}.beta"), beta);
    net.stats.insert(
        name,
        Moments {
            mean: mean.data,
            var: var.data,
        },
    );
    Ok(Operand::Node { id, flat })
}

fn pool(net: &mut OnnxNetBuilder, node: &NodeProto, id: usize) -> Result<Op> {
    let kernel = both(node, "kernel_shape", None)?;
    let stride = both(node, "strides", Some(1))?;
    ensure!(both(node, "dilations", Some(1))? == 1, "dilated");
    ensure!(kernel > 0 && stride > 0, "kernel {kernel}, stride {stride}");
    let pad = pads(net, node, id, [kernel, stride])?;
    let top = pad.top;
    ensure!(
        pad == Pad::all(top),
        "padding {top}, {}, {}, {}, expected the same on every side",
        pad.left,
        pad.bottom,
        pad.right
    );
    ensure!(top <= kernel / 2, "padding {top} of a window of {kernel}");
    if attribute(node, "ceil_mode").is_some_and(|a| a.i != 0) {
        let [_, h, w] = net.shapes[id];
        let whole = [h, w].iter().all(|n| {
            (n + 2 * top)
                .checked_sub(kernel)
                .is_some_and(|rest| rest.is_multiple_of(stride))
        });
        ensure!(whole, "ceil_mode adds a window that is not full");
    }
    if node.op_type == "MaxPool" {
        return Ok(Op::MaxPool {
            kernel,
            stride,
            pad: top,
        });
    }
    ensure!(top == 0, "padding {top}, expected 0");
    Ok(Op::AvgPool { kernel, stride })
}

fn linear(net: &mut OnnxNetBuilder, node: &NodeProto, id: usize) -> Result<Operand> {
    let weight = floats(net, node, 1)?;
    let &[rows, columns] = &weight.shape[..] else {
        bail!("a weight of {} axes, expected 2", weight.shape.len())
    };
    let is_gemm = node.op_type == "Gemm";
    let flag = |name: &str| is_gemm && attribute(node, name).is_some_and(|a| a.i != 0);
    ensure!(!flag("transA"), "of a turned input");
    let number = |name: &str| attribute(node, name).filter(|_| is_gemm).map_or(1.0, |a| a.f);
    let is_turned = flag("transB");
    let (outputs, inputs) = if is_turned { (rows, columns) } else { (columns, rows) };
    let channels = net.shapes[id][0];
    ensure!(
        inputs == channels,
        "a weight for {inputs} features, the input has {channels}"
    );
    let at = |i: usize| {
        if is_turned {
            i
        } else {
            i % inputs * outputs + i / inputs
        }
    };
    let alpha = number("alpha");
    let data = (0..weight.data.len()).map(|i| alpha * weight.data[at(i)]).collect();
    let weight = Array {
        shape: vec![outputs, inputs],
        data,
    };
    let bias = match node.input.get(2) {
        Some(name) if is_gemm && !name.is_empty() => Some(row(&floats(net, node, 2)?, outputs, 1, number("beta"))?),
        _ => None,
    };
    let op = Op::Linear {
        outputs,
        bias: bias.is_some(),
    };
    let id = net.push(&layer_name(node, &[".weight"]), op, vec![id])?;
    put_layer(net, id, weight, bias)?;
    Ok(Operand::Node { id, flat: true })
}

/// A constant that adds one number a channel, `after` axes of one following the channels'.
fn row(constant: &Array, channels: usize, after: usize, factor: f32) -> Result<Array> {
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

fn add(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let sides = [known(net, node, 0).ok().flatten(), known(net, node, 1).ok().flatten()];
    let (at, constant) = match sides {
        [None, None] => {
            let ((a, flat), (b, other)) = (data(net, node, 0)?, data(net, node, 1)?);
            ensure!(flat == other, "of a flat value and planes");
            let id = net.push(label(node), Op::Add, vec![a, b])?;
            return Ok(Operand::Node { id, flat });
        }
        [None, Some(constant)] => (0, constant),
        [Some(constant), None] => (1, constant),
        _ => bail!("of two constants"),
    };
    let Constant::Floats(constant) = &*constant else {
        bail!("of whole numbers")
    };
    let (id, flat) = data(net, node, at)?;
    let channels = net.shapes[id][0];
    // The sum may only move into the layer if nobody else reads the layer without it.
    let is_layer = matches!(
        net.spec.nodes[id].op,
        Op::Conv { bias: false, .. } | Op::Linear { bias: false, .. }
    );
    let is_alone = is_layer && net.graph.reads.get(&node.input[at]) == Some(&1) && net.aliases(id) == 1;
    let bias = match &mut net.spec.nodes[id].op {
        Op::Conv { bias, .. } | Op::Linear { bias, .. } if is_alone => bias,
        _ => bail!("of a constant to what is no layer without a bias"),
    };
    let row = row(constant, channels, if flat { 1 } else { 3 }, 1.0)?;
    *bias = true;
    let name = &net.spec.nodes[id].name;
    net.weights.insert(format!("{name}.bias"), row);
    Ok(Operand::Node { id, flat })
}

fn flatten(net: &mut OnnxNetBuilder, name: &str, id: usize, flat: bool) -> Result<Operand> {
    let id = if flat {
        id
    } else {
        net.push(name, Op::Flatten, vec![id])?
    };
    Ok(Operand::Node { id, flat: true })
}

/// To `[batch, features]`, or back to single pixels.
fn reshape(net: &mut OnnxNetBuilder, node: &NodeProto, id: usize, flat: bool) -> Result<Operand> {
    let shape = known(net, node, 1)?;
    let Some(Constant::Ints(to)) = shape.as_deref() else {
        bail!("to a shape that is not known")
    };
    let features: usize = net.shapes[id].iter().product();
    let fixed_batch = net.graph.shape[0].map(|n| n as i64);
    let is_batch = |d: i64| d == BATCH || d == 0 || Some(d) == fixed_batch;
    let is_all = |d: i64| d == features as i64;
    match to.data[..] {
        [n, f] if is_batch(n) && (f == -1 || is_all(f)) || n == -1 && is_all(f) => flatten(net, label(node), id, flat),
        [n, c, 1, 1] if (is_batch(n) || n == -1) && is_all(c) || is_batch(n) && c == -1 => {
            let Operand::Node { id, .. } = flatten(net, label(node), id, flat)? else {
                bail!("no value")
            };
            Ok(Operand::Node { id, flat: false })
        }
        _ => {
            let text: Vec<String> = to
                .data
                .iter()
                .map(|&d| if d == BATCH { "batch".into() } else { d.to_string() })
                .collect();
            bail!("to [{}], expected [batch, {features}]", text.join(", "))
        }
    }
}
