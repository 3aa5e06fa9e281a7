//! ONNX operators that work number by number: activations, sums and products, with constants or with each other.
//! Knows nothing of layers.

use super::onnx_builder::{Form, OnnxNetBuilder, Operand};
use super::onnx_graph::{attribute, label};
use super::onnx_operands::{data, floats, known, row, text};
use super::onnx_pb::NodeProto;
use super::onnx_tensor::Constant;
use anyhow::{Result, bail, ensure};
use model::spec::{Node, Op, Pad};
use model::{Activation, Array};

/// The activation that an operator is, if it is one.
///
/// # Errors
/// Attributes that ours does not have.
pub(crate) fn activation(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Option<Op>> {
    let number = |name: &str, default: f32| attribute(node, name).map_or(default, |a| a.f);
    let function = match node.op_type.as_str() {
        "Relu" => return Ok(Some(Op::Relu)),
        "Clip" => {
            let (least, most) = (bound(net, node, 1, "min")?, bound(net, node, 2, "max")?);
            match (least, most) {
                (Some(0.0), Some(6.0)) => return Ok(Some(Op::Relu6)),
                (Some(0.0), None) => return Ok(Some(Op::Relu)),
                _ => Activation::Clip { least, most },
            }
        }
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid {
            slope: number("alpha", 0.2),
            offset: number("beta", 0.5),
        },
        "HardSwish" => Activation::HardSwish,
        "Swish" => {
            let alpha = number("alpha", 1.0);
            ensure!(alpha == 1.0, "alpha {alpha}, expected 1");
            Activation::Silu
        }
        "Tanh" => Activation::Tanh,
        "LeakyRelu" => Activation::LeakyRelu {
            slope: number("alpha", 0.01),
        },
        "Elu" => Activation::Elu {
            scale: number("alpha", 1.0),
        },
        "Softplus" => Activation::Softplus,
        "Mish" => Activation::Mish,
        "Erf" => Activation::Erf,
        "Gelu" => {
            let form = text(node, "approximate");
            ensure!(matches!(form.as_str(), "" | "none"), "approximated by {form}");
            Activation::Gelu
        }
        _ => return Ok(None),
    };
    Ok(Some(Op::Activation { function }))
}

fn bound(net: &mut OnnxNetBuilder, node: &NodeProto, at: usize, name: &str) -> Result<Option<f32>> {
    let value = match known(net, node, at)?.as_deref() {
        Some(Constant::Floats(a)) => a.data.first().copied(),
        Some(_) => bail!("{name} is a whole number"),
        None => attribute(node, name).map(|a| a.f),
    };
    Ok(value.filter(|v| v.abs() < f32::MAX))
}

/// x where it is positive, else slope·x, one slope a channel: max(x, 0) plus min(x, 0) scaled by channel.
pub(crate) fn prelu(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let slopes = row(&floats(net, node, 1)?, net.shapes[id][0], axes_after(form)?, 1.0)?.data;
    let name = label(node);
    if slopes.windows(2).all(|pair| pair[0] == pair[1]) {
        let function = Activation::LeakyRelu {
            slope: slopes.first().copied().unwrap_or(0.0),
        };
        let id = net.push(name, Op::Activation { function }, vec![id])?;
        return Ok(Operand::Node { id, form });
    }
    let positive = net.push(&format!("{name}.positive"), Op::Relu, vec![id])?;
    let function = Activation::Clip {
        least: None,
        most: Some(0.0),
    };
    let negative = net.push(&format!("{name}.negative"), Op::Activation { function }, vec![id])?;
    let none = vec![0.0; slopes.len()];
    let scaled = scale_by_channel(net, &format!("{name}.scaled"), negative, slopes, none)?;
    let id = net.push(name, Op::Add, vec![positive, scaled])?;
    Ok(Operand::Node { id, form })
}

/// Axes of one that follow the channels' in a constant of one number a channel.
fn axes_after(form: Form) -> Result<usize> {
    match form {
        Form::Planes => Ok(3),
        Form::Flat | Form::Last => Ok(1),
        Form::Split(_) | Form::Row | Form::View(_) | Form::Joined(_) => bail!("of a value that was reshaped"),
    }
}

/// Add, Sub, Mul or Div.
pub(crate) fn binary(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let sides = [known(net, node, 0).ok().flatten(), known(net, node, 1).ok().flatten()];
    let (at, constant) = match sides {
        [None, None] => {
            let (a, b) = (data(net, node, 0)?, data(net, node, 1)?);
            return two(net, node, a, b);
        }
        [None, Some(constant)] => (0, constant),
        [Some(constant), None] => (1, constant),
        _ => bail!("of two constants"),
    };
    let Constant::Floats(constant) = &*constant else {
        bail!("of whole numbers")
    };
    let (id, form) = data(net, node, at)?;
    let channels = net.shapes[id][0];
    let numbers = row(constant, channels, axes_after(form)?, 1.0)?.data;
    let all = |value: f32| vec![value; channels];
    let (scale, shift) = match (node.op_type.as_str(), at) {
        ("Add", _) => (all(1.0), numbers),
        ("Sub", 0) => (all(1.0), numbers.iter().map(|v| -v).collect()),
        ("Sub", _) => (all(-1.0), numbers),
        ("Mul", _) => (numbers, all(0.0)),
        ("Div", 0) => (numbers.iter().map(|v| 1.0 / v).collect(), all(0.0)),
        _ => bail!("of a constant by what depends on the image"),
    };
    let id = affine(net, node, (id, &node.input[at]), scale, shift)?;
    Ok(Operand::Node { id, form })
}

fn two(
    net: &mut OnnxNetBuilder,
    node: &NodeProto,
    (a, form): (usize, Form),
    (b, other): (usize, Form),
) -> Result<Operand> {
    ensure!(form == other, "of a flat value and planes");
    let name = label(node);
    let id = match node.op_type.as_str() {
        "Add" => net.push(name, Op::Add, vec![a, b])?,
        "Mul" => {
            let is_gelu = |half: usize, gate: usize| gelu_gate(net, gate).filter(|x| is_scaled(net, half, 0.5, *x));
            if let Some(x) = is_gelu(a, b).or_else(|| is_gelu(b, a)) {
                let function = Activation::Gelu;
                net.push(name, Op::Activation { function }, vec![x])?
            } else if let Some((function, of)) =
                product_with_itself(net, a, b).or_else(|| product_with_itself(net, b, a))
            {
                net.push(name, Op::Activation { function }, vec![of])?
            } else {
                let is_factor = |id: usize| net.shapes[id][1..] == [1, 1];
                let inputs = if is_factor(a) && !is_factor(b) { [b, a] } else { [a, b] };
                net.push(name, Op::Mul, inputs.to_vec())?
            }
        }
        _ => bail!("of two values that depend on the image"),
    };
    Ok(Operand::Node { id, form })
}

/// x · f(x) as one activation, where `x` and `f` are those nodes.
fn product_with_itself(net: &OnnxNetBuilder, x: usize, f: usize) -> Option<(Activation, usize)> {
    let node = |id: usize| &net.spec.nodes[id];
    let of = |id: usize| match node(id).op {
        Op::Activation { function } => Some((function, node(id).inputs[0])),
        _ => None,
    };
    let (function, from) = of(f)?;
    let whole = match function {
        Activation::Sigmoid if from == x => Activation::Silu,
        Activation::HardSigmoid { slope, offset } if from == x && (slope - 1.0 / 6.0).abs() < 1e-6 && offset == 0.5 => {
            Activation::HardSwish
        }
        Activation::Tanh if of(from) == Some((Activation::Softplus, x)) => Activation::Mish,
        _ => return None,
    };
    Some((whole, x))
}

/// For the factor 1 + erf(x / √2) of a Gelu, which x.
fn gelu_gate(net: &OnnxNetBuilder, gate: usize) -> Option<usize> {
    let node = &net.spec.nodes[gate];
    let erf = node.inputs.first().copied()?;
    let bias = net.weights.get(&format!("{}.bias", node.name))?;
    if !is_scaled(net, gate, 1.0, erf) || bias.data.iter().any(|v| *v != 1.0) {
        return None;
    }
    let Op::Activation {
        function: Activation::Erf,
    } = net.spec.nodes[erf].op
    else {
        return None;
    };
    let scaled = net.spec.nodes[erf].inputs[0];
    let x = net.spec.nodes[scaled].inputs.first().copied()?;
    let has_no_bias = matches!(net.spec.nodes[scaled].op, Op::Conv { bias: false, .. });
    (has_no_bias && is_scaled(net, scaled, std::f32::consts::FRAC_1_SQRT_2, x)).then_some(x)
}

/// Whether a node is `x` with every channel multiplied by `factor`.
fn is_scaled(net: &OnnxNetBuilder, node: usize, factor: f32, x: usize) -> bool {
    let Node { name, op, inputs } = &net.spec.nodes[node];
    let is_by_channel = matches!(*op, Op::Conv { kernel: 1, stride: 1, groups, .. } if groups == net.shapes[node][0]);
    let weight = net.weights.get(&format!("{name}.weight"));
    let is_factor = |w: &Array| w.shape.get(1) == Some(&1) && w.data.iter().all(|v| (v - factor).abs() < 1e-6);
    is_by_channel && inputs[..] == [x] && weight.is_some_and(is_factor)
}

/// scale · x + shift by channel: folded into the layer or norm that gives x if nobody else reads it, or else a layer of its own.
fn affine(
    net: &mut OnnxNetBuilder,
    node: &NodeProto,
    (id, read): (usize, &str),
    scale: Vec<f32>,
    shift: Vec<f32>,
) -> Result<usize> {
    if let (Op::Mul, &[a, b]) = (&net.spec.nodes[id].op, &net.spec.nodes[id].inputs[..]) {
        let is_half = scale.iter().all(|v| *v == 0.5) && shift.iter().all(|v| *v == 0.0);
        let is_gelu = |x: usize, gate: usize| gelu_gate(net, gate) == Some(x);
        if let Some(x) = [(a, b), (b, a)]
            .into_iter()
            .find(|&(x, gate)| is_half && is_gelu(x, gate))
        {
            let function = Activation::Gelu;
            return net.push(label(node), Op::Activation { function }, vec![x.0]);
        }
    }
    let is_alone = net.graph.reads.get(read) == Some(&1) && net.aliases(id) == 1;
    let name = net.spec.nodes[id].name.clone();
    let by_row = |array: &mut Array| {
        let columns = array.data.len() / scale.len().max(1);
        let rows = array.data.chunks_exact_mut(columns.max(1)).zip(&scale);
        rows.for_each(|(row, s)| row.iter_mut().for_each(|v| *v *= s));
    };
    let offset = match &mut net.spec.nodes[id].op {
        Op::Conv { bias, .. } | Op::Linear { bias, .. } if is_alone => {
            *bias = true;
            net.weights
                .get_mut(&format!("{name}.weight"))
                .into_iter()
                .for_each(by_row);
            net.weights
                .entry(format!("{name}.bias"))
                .or_insert_with(|| Array::filled(&[scale.len()], 0.0))
        }
        Op::Norm { affine: true, .. } if is_alone => {
            net.weights
                .get_mut(&format!("{name}.gamma"))
                .into_iter()
                .for_each(by_row);
            net.weights
                .entry(format!("{name}.beta"))
                .or_insert_with(|| Array::filled(&[scale.len()], 0.0))
        }
        _ => return scale_by_channel(net, label(node), id, scale, shift),
    };
    for ((v, s), t) in offset.data.iter_mut().zip(&scale).zip(&shift) {
        *v = *v * s + t;
    }
    // What was read is no more: the next of a chain finds its layer alone.
    net.values.remove(read);
    Ok(id)
}

/// One factor and addend a channel as a depthwise convolution of single pixels.
fn scale_by_channel(
    net: &mut OnnxNetBuilder,
    name: &str,
    id: usize,
    scale: Vec<f32>,
    shift: Vec<f32>,
) -> Result<usize> {
    let channels = scale.len();
    let bias = shift.iter().any(|v| *v != 0.0);
    let op = Op::Conv {
        filters: channels,
        kernel: 1,
        stride: 1,
        pad: Pad::VALID,
        bias,
        groups: channels,
    };
    let id = net.push(name, op, vec![id])?;
    let weight = Array {
        shape: vec![channels, 1, 1, 1],
        data: scale,
    };
    net.put_layer(id, weight, bias.then(|| shift.into()))?;
    Ok(id)
}
