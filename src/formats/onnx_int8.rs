//! Convolutions of bytes as ONNX says them: QuantizeLinear and DequantizeLinear around float operators, which other runtimes
//! fuse into integer ones. Knows nothing of networks.

use super::onnx_builder::{OnnxNetBuilder, Operand};
use super::onnx_graph::attribute;
use super::onnx_operands::{data, floats, known};
use super::onnx_pb::NodeProto;
use super::onnx_proto::{GraphBuilder, int};
use super::onnx_tensor::Constant;
use anyhow::{Context, Result, ensure};
use model::{Array, ByteInput};

/// What a convolution reads: its input, weights and bias, through bytes if it has a byte input. Results are scaled by `factors`,
/// all one of a convolution of floats, and shifted by `bias`.
pub(crate) fn write_operands(
    graph: &mut GraphBuilder,
    name: &str,
    x: &str,
    (weight, factors, bias): (&Array, &[f32], &[f32]),
    input: Option<ByteInput>,
) -> [String; 3] {
    let of = |what: &str| format!("{name}.{what}");
    match input {
        Some(input) => {
            let x = write_input(graph, name, x, input);
            let [weight, bias] = write_layer(graph, name, weight, (factors, bias), input);
            [x, weight, bias]
        }
        None => {
            let weight = graph.floats(&of("weight"), &weight.shape, &weight.data);
            [x.to_owned(), weight, graph.floats(&of("bias"), &[bias.len()], bias)]
        }
    }
}

/// A value through bytes and back. Returns what a convolution reads.
fn write_input(graph: &mut GraphBuilder, name: &str, x: &str, input: ByteInput) -> String {
    let of = |what: &str| format!("{name}.{what}");
    let step = graph.floats(&of("input.step"), &[], &[input.step]);
    let zero = graph.unsigned_byte(&of("input.zero"), input.zero);
    let bytes = graph.node("QuantizeLinear", &of("input.bytes"), [x, &step, &zero], vec![]);
    graph.node("DequantizeLinear", &of("input"), [&bytes, &step, &zero], vec![])
}

/// Weights and bias of a convolution whose results are scaled by `factors` and shifted by `bias`. Returns their names.
fn write_layer(
    graph: &mut GraphBuilder,
    name: &str,
    weight: &Array,
    (factors, bias): (&[f32], &[f32]),
    input: ByteInput,
) -> [String; 2] {
    let of = |what: &str| format!("{name}.{what}");
    let filters = factors.len();
    let (mut bytes, mut steps) = (Vec::with_capacity(weight.data.len()), Vec::with_capacity(filters));
    for (row, &factor) in weight
        .data
        .chunks_exact((weight.data.len() / filters.max(1)).max(1))
        .zip(factors)
    {
        let (step, row) = kernel::signed_bytes(row);
        // A step is positive, and so the sign of a factor is the bytes'.
        let step = step * factor;
        bytes.extend(row.map(|byte| if step < 0.0 { -byte } else { byte } * i8::from(step != 0.0)));
        steps.push(if step == 0.0 { 1.0 } else { step.abs() });
    }
    let along = || vec![int("axis", 0)];
    let step = graph.floats(&of("weight.step"), &[filters], &steps);
    let zero = graph.signed_bytes(&of("weight.zero"), &[filters], &vec![0; filters]);
    let bytes = graph.signed_bytes(&of("weight.bytes"), &weight.shape, &bytes);
    let weight = graph.node("DequantizeLinear", &of("weight"), [&bytes, &step, &zero], along());
    let unit: Vec<f32> = steps.iter().map(|step| step * input.step).collect();
    let whole: Vec<f32> = bias
        .iter()
        .zip(&unit)
        .map(|(b, unit)| (b / unit).round_ties_even())
        .collect();
    // What 32 bits do not hold stays a float.
    if whole.iter().any(|v| v.abs() >= 2e9) {
        return [weight, graph.floats(&of("bias"), &[filters], bias)];
    }
    let whole: Vec<i32> = whole.iter().map(|&v| v as i32).collect();
    let unit = graph.floats(&of("bias.step"), &[filters], &unit);
    let whole = graph.whole(&of("bias.whole"), &whole);
    let bias = graph.node("DequantizeLinear", &of("bias"), [&whole, &unit], along());
    [weight, bias]
}

/// QuantizeLinear or DequantizeLinear of a value that depends on the image: the value, its bytes remembered.
pub(crate) fn read(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let step = floats(net, node, 1)?;
    ensure!(
        step.data.len() == 1,
        "of {} steps, expected one for all channels",
        step.data.len()
    );
    let zero = match known(net, node, 2)?.as_deref() {
        None => Some(0),
        Some(Constant::Ints(zero)) => zero.data.first().copied(),
        Some(_) => None,
    };
    let zero = zero.context("a byte of zero that is not whole")?;
    if let (true, Some(output), Ok(zero)) = (
        node.op_type == "DequantizeLinear",
        node.output.first(),
        u8::try_from(zero),
    ) {
        net.byte_values.insert(
            output.clone(),
            ByteInput {
                step: step.data[0],
                zero,
            },
        );
    }
    Ok(Operand::Node { id, form })
}

/// DequantizeLinear of a constant.
pub(crate) fn fold(node: &NodeProto, inputs: &[&Constant]) -> Result<Constant> {
    let (Some(Constant::Ints(whole)), Some(Constant::Floats(step))) = (inputs.first(), inputs.get(1)) else {
        anyhow::bail!("of numbers that are not whole, or of a step that is")
    };
    let zero: Vec<i64> = match inputs.get(2) {
        None => vec![0; step.data.len()],
        Some(Constant::Ints(zero)) => zero.data.clone(),
        Some(_) => anyhow::bail!("of a zero that is not whole"),
    };
    let axis = attribute(node, "axis").map_or(1, |a| a.i);
    let rank = whole.shape.len() as i64;
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok();
    let n = step.data.len();
    let after = match axis {
        _ if n == 1 => 1,
        Some(axis) if whole.shape.get(axis) == Some(&n) => whole.shape[axis + 1..].iter().product::<usize>(),
        _ => anyhow::bail!("{n} steps for shape {:?}", whole.shape),
    };
    ensure!(zero.len() == n, "{n} steps and {} zeros", zero.len());
    let numbers = whole.data.iter().enumerate().map(|(i, v)| {
        let k = i / after.max(1) % n.max(1);
        (v - zero[k]) as f32 * step.data[k]
    });
    Ok(Constant::floats(whole.shape.clone(), numbers.collect()))
}
