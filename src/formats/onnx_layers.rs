//! ONNX operators with weights or windows as layers of ours.
//! Knows nothing of graphs.

use super::onnx_builder::{Form, OnnxNetBuilder, Operand};
use super::onnx_graph::{attribute, label};
use super::onnx_operands::{both, data, floats, layer_name, pair, row, text, whole};
use super::onnx_pb::NodeProto;
use anyhow::{Context, Result, bail, ensure};
use model::Array;
use model::checkpoint::Moments;
use model::mask::LayerMask;
use model::spec::{Op, Pad};

/// An input of planes.
fn planes(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<usize> {
    let (id, form) = data(net, node, 0)?;
    ensure!(form == Form::Planes, "reads a flat value, expected planes");
    Ok(id)
}

/// Padding for windows of `[height, width]`.
fn pads(
    net: &OnnxNetBuilder,
    node: &NodeProto,
    id: usize,
    [kernel_h, kernel_w]: [usize; 2],
    stride: usize,
) -> Result<Pad> {
    let auto = text(node, "auto_pad");
    let [_, h, w] = net.shapes[id];
    match auto.as_str() {
        "SAME_UPPER" | "SAME_LOWER" => {
            ensure!(
                kernel_h > 0 && kernel_w > 0 && stride > 0,
                "kernel {kernel_h}×{kernel_w}, stride {stride}"
            );
            let rows = Pad::same([h, w], kernel_h, stride);
            let columns = Pad::same([h, w], kernel_w, stride);
            let pad = Pad {
                left: columns.left,
                right: columns.right,
                ..rows
            };
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
            let size = |&p: &i64| usize::try_from(p).ok().filter(|&p| p <= 1 << 20);
            let sizes: Option<Vec<usize>> = a.ints.iter().map(size).collect();
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

fn n_groups(node: &NodeProto) -> Result<usize> {
    let groups = attribute(node, "group").map_or(1, |a| a.i);
    usize::try_from(groups)
        .ok()
        .filter(|&g| g > 0)
        .with_context(|| format!("{groups} groups"))
}

fn bias_of(net: &mut OnnxNetBuilder, node: &NodeProto, filters: usize) -> Result<Option<Array>> {
    let bias = match node.input.get(2) {
        Some(name) if !name.is_empty() => Some(floats(net, node, 2)?),
        _ => None,
    };
    ensure!(
        bias.as_ref().is_none_or(|b| b.shape == [filters]),
        "a bias that is not one number a filter"
    );
    Ok(bias)
}

/// A convolution. One whose kernel is not square, or dilated, becomes a square one with masked columns: the engine skips them.
pub(crate) fn conv(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let id = planes(net, node)?;
    let weight = floats(net, node, 1)?;
    let &[filters, each, height, width] = &weight.shape[..] else {
        bail!("a weight of {} axes, expected 4 (two dimensions)", weight.shape.len())
    };
    ensure!(
        pair(node, "kernel_shape", Some([height, width]))? == [height, width],
        "a kernel_shape that is not the weight's"
    );
    let dilations = pair(node, "dilations", Some([1, 1]))?;
    ensure!(
        !dilations.contains(&0) && height > 0 && width > 0,
        "dilations {dilations:?}, a kernel of {height}×{width}"
    );
    let stride = both(node, "strides", Some(1))?;
    let groups = n_groups(node)?;
    let channels = net.shapes[id][0];
    ensure!(
        each.checked_mul(groups) == Some(channels),
        "a weight for {each}×{groups} channels, the input has {channels}"
    );
    let extent = [(height, dilations[0]), (width, dilations[1])].map(|(n, d)| (n - 1).saturating_mul(d) + 1);
    let mut pad = pads(net, node, id, extent, stride)?;
    let kernel = extent[0].max(extent[1]);
    pad.bottom += kernel - extent[0];
    pad.right += kernel - extent[1];
    let bias = bias_of(net, node, filters)?;
    let op = Op::Conv {
        filters,
        kernel,
        stride,
        pad,
        bias: bias.is_some(),
        groups,
    };
    let id = net.push(&layer_name(node, &[".weight"]), op, vec![id])?;
    if let Some(&input) = node
        .input
        .first()
        .and_then(|x| net.byte_values.get(x))
        .filter(|_| groups == 1)
    {
        net.byte_inputs.insert(net.spec.nodes[id].name.clone(), input);
    }
    let operand = Operand::Node { id, form: Form::Planes };
    if [height, width] == [kernel; 2] {
        net.put_layer(id, weight, bias)?;
        return Ok(operand);
    }
    // Into the square's upper left corner, as the padding was made larger below and to the right.
    let taps = kernel * kernel;
    let room = filters.checked_mul(each).and_then(|n| n.checked_mul(taps));
    net.take_room(room.context("a kernel of too many numbers")?)?;
    let tap = |k: usize| k / width % height * dilations[0] * kernel + k % width * dilations[1];
    let mut square = Array::filled(&[filters, each, kernel, kernel], 0.0);
    let mut mask = LayerMask::whole(filters, each * taps);
    mask.columns.fill(false);
    for (k, &v) in weight.data.iter().enumerate() {
        let column = k / (height * width) % each.max(1) * taps + tap(k);
        square.data[k / (each * height * width).max(1) * each * taps + column] = v;
        mask.columns[column] = true;
    }
    net.put_layer(id, square, bias)?;
    let name = net.spec.nodes[id].name.clone();
    net.masks.insert(name, mask);
    Ok(operand)
}

/// A transposed convolution: zeros between the pixels, then a convolution with the kernel turned round.
pub(crate) fn conv_transpose(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let id = planes(net, node)?;
    let weight = floats(net, node, 1)?;
    let &[inputs, each, kernel, width] = &weight.shape[..] else {
        bail!("a weight of {} axes, expected 4 (two dimensions)", weight.shape.len())
    };
    ensure!(
        kernel == width && kernel > 0,
        "a kernel of {kernel}×{width}, expected a square one"
    );
    ensure!(both(node, "dilations", Some(1))? == 1, "dilated");
    ensure!(attribute(node, "output_shape").is_none(), "with an output_shape");
    let stride = both(node, "strides", Some(1))?;
    let more = pair(node, "output_padding", Some([0, 0]))?;
    let groups = n_groups(node)?;
    let channels = net.shapes[id][0];
    ensure!(
        inputs == channels && channels.is_multiple_of(groups) && stride > 0,
        "a weight for {inputs} channels in {groups} groups, stride {stride}; the input has {channels}"
    );
    let auto = text(node, "auto_pad");
    ensure!(matches!(auto.as_str(), "" | "NOTSET" | "VALID"), "auto_pad {auto}");
    let cut = pads(net, node, id, [kernel; 2], stride)?;
    ensure!(
        cut.is_below(kernel),
        "pads of {kernel} and more of a kernel of {kernel}, expected less"
    );
    let pad = Pad {
        top: kernel - 1 - cut.top,
        left: kernel - 1 - cut.left,
        bottom: kernel - 1 - cut.bottom + more[0],
        right: kernel - 1 - cut.right + more[1],
    };
    let filters = each.checked_mul(groups).context("too many filters")?;
    let bias = bias_of(net, node, filters)?;
    let own = channels / groups;
    let mut turned = Array::filled(&[filters, own, kernel, kernel], 0.0);
    let taps = kernel * kernel;
    for (k, &v) in weight.data.iter().enumerate() {
        let (channel, filter, tap) = (k / taps / each, k / taps % each, k % taps);
        let (group, channel) = (channel / own, channel % own);
        turned.data[((group * each + filter) * own + channel) * taps + (taps - 1 - tap)] = v;
    }
    let name = layer_name(node, &[".weight"]);
    let spread = match stride {
        1 => id,
        _ => net.push(&format!("{name}.spread"), Op::Spread { stride }, vec![id])?,
    };
    let op = Op::Conv {
        filters,
        kernel,
        stride: 1,
        pad,
        bias: bias.is_some(),
        groups,
    };
    let id = net.push(&name, op, vec![spread])?;
    net.put_layer(id, turned, bias)?;
    Ok(Operand::Node { id, form: Form::Planes })
}

/// Batch normalization.
pub(crate) fn norm(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    ensure!(
        matches!(form, Form::Planes | Form::Flat),
        "of a value whose channels come last"
    );
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
    Ok(Operand::Node { id, form })
}

/// Mean and variance over the channels of each position, where channels come last.
pub(crate) fn layer_norm(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let rank = match form {
        Form::Last => 4,
        Form::Flat => 2,
        _ => bail!("over planes, expected channels last"),
    };
    let axis = attribute(node, "axis").map_or(-1, |a| a.i);
    ensure!(
        axis == -1 || axis == rank - 1,
        "over axes from {axis} on, expected the channels alone"
    );
    let eps = attribute(node, "epsilon").map_or(1e-5, |a| a.f);
    let channels = net.shapes[id][0];
    let gamma = row(&floats(net, node, 1)?, channels, 1, 1.0)?;
    let beta = match node.input.get(2) {
        Some(name) if !name.is_empty() => row(&floats(net, node, 2)?, channels, 1, 1.0)?,
        _ => Array::filled(&[channels], 0.0),
    };
    let id = net.push(&layer_name(node, &[".weight"]), Op::LayerNorm { eps }, vec![id])?;
    let name = net.spec.nodes[id].name.clone();
    net.weights.insert(format!("{name}.gamma"), gamma);
    net.weights.insert(format!("{name}.beta"), beta);
    Ok(Operand::Node { id, form })
}

/// Local response normalization.
pub(crate) fn lrn(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let id = planes(net, node)?;
    let number = |name: &str, default: f32| attribute(node, name).map_or(default, |a| a.f);
    let size = attribute(node, "size").map_or(0, |a| a.i);
    let op = Op::Lrn {
        size: usize::try_from(size).ok().with_context(|| format!("of size {size}"))?,
        alpha: number("alpha", 1e-4),
        beta: number("beta", 0.75),
        bias: number("bias", 1.0),
    };
    let id = net.push(label(node), op, vec![id])?;
    Ok(Operand::Node { id, form: Form::Planes })
}

/// MaxPool or AveragePool.
pub(crate) fn pool(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let mut id = planes(net, node)?;
    let is_mean = node.op_type == "AveragePool";
    let kernels = pair(node, "kernel_shape", None)?;
    let done = |id: usize| Ok(Operand::Node { id, form: Form::Planes });
    let [_, h, w] = net.shapes[id];
    ensure!(pair(node, "dilations", Some([1, 1]))? == [1, 1], "dilated");
    if is_mean && kernels == [h, w] && pads(net, node, id, kernels, 1)?.is_none() {
        let id = net.push(label(node), Op::GlobalAvgPool, vec![id])?;
        return done(id);
    }
    let kernel = both(node, "kernel_shape", None)?;
    let stride = both(node, "strides", Some(1))?;
    ensure!(kernel > 0 && stride > 0, "kernel {kernel}, stride {stride}");
    let mut pad = pads(net, node, id, [kernel; 2], stride)?;
    let mut size = [h, w];
    if is_mean && attribute(node, "count_include_pad").is_some_and(|a| a.i != 0) && !pad.is_none() {
        id = net.push(&format!("{}.border", label(node)), Op::ZeroPad { pad }, vec![id])?;
        size = pad.around(size);
        pad = Pad::VALID;
    }
    if attribute(node, "ceil_mode").is_some_and(|a| a.i != 0) {
        // A last window that is not full sees padding, unless it would see nothing else.
        let end = |n: usize, before: usize, after: usize| {
            let mut last = (n + before + after).saturating_sub(kernel).div_ceil(stride);
            if last * stride >= n + before {
                last = last.saturating_sub(1);
            }
            (last * stride + kernel).saturating_sub(n + before).max(after)
        };
        pad.bottom = end(size[0], pad.top, pad.bottom);
        pad.right = end(size[1], pad.left, pad.right);
    }
    let op = if is_mean {
        Op::AvgPool { kernel, stride, pad }
    } else {
        Op::MaxPool { kernel, stride, pad }
    };
    let id = net.push(label(node), op, vec![id])?;
    done(id)
}

/// Means over height and width.
pub(crate) fn mean(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let (expected, rank) = match form {
        Form::Planes => ([2, 3], 4),
        Form::Last => ([1, 2], 4),
        _ => bail!("reads a flat value, expected planes"),
    };
    let axes = super::onnx_fold::named_axes(whole(net, node, "axes", 1)?, rank)?;
    let keeps = attribute(node, "keepdims").is_none_or(|a| a.i != 0);
    let channels = if form == Form::Planes { 1 } else { 3 };
    if axes.as_deref() == Some(&[channels]) && keeps {
        // One filter that weighs all channels alike.
        let channels = net.shapes[id][0];
        let op = Op::Conv {
            filters: 1,
            kernel: 1,
            stride: 1,
            pad: Pad::VALID,
            bias: false,
            groups: 1,
        };
        let id = net.push(label(node), op, vec![id])?;
        net.put_layer(id, Array::filled(&[1, channels, 1, 1], 1.0 / channels as f32), None)?;
        return Ok(Operand::Node { id, form });
    }
    ensure!(
        axes.as_deref() == Some(&expected),
        "over axes {axes:?}, expected height and width, or the channels"
    );
    let is_flat = attribute(node, "keepdims").is_some_and(|a| a.i == 0);
    let id = net.push(label(node), Op::GlobalAvgPool, vec![id])?;
    let form = if is_flat { Form::Flat } else { form };
    Ok(Operand::Node { id, form })
}

/// Gemm or MatMul by a constant: a linear layer, or where channels come last a convolution of single pixels.
pub(crate) fn linear(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let is_gemm = node.op_type == "Gemm";
    let is_each_pixel = form == Form::Last && !is_gemm;
    ensure!(
        form == Form::Flat || is_each_pixel,
        "reads planes, expected a flat value"
    );
    let weight = floats(net, node, 1)?;
    let &[rows, columns] = &weight.shape[..] else {
        bail!("a weight of {} axes, expected 2", weight.shape.len())
    };
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
    let shape = if is_each_pixel {
        vec![outputs, inputs, 1, 1]
    } else {
        vec![outputs, inputs]
    };
    let weight = Array { shape, data };
    let bias = match node.input.get(2) {
        Some(name) if is_gemm && !name.is_empty() => Some(row(&floats(net, node, 2)?, outputs, 1, number("beta"))?),
        _ => None,
    };
    let op = if is_each_pixel {
        Op::Conv {
            filters: outputs,
            kernel: 1,
            stride: 1,
            pad: Pad::VALID,
            bias: false,
            groups: 1,
        }
    } else {
        Op::Linear {
            outputs,
            bias: bias.is_some(),
        }
    };
    let id = net.push(&layer_name(node, &[".weight"]), op, vec![id])?;
    net.put_layer(id, weight, bias)?;
    Ok(Operand::Node { id, form })
}
