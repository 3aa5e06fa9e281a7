//! ONNX operators that move numbers about: reshapes, transposes, joins, splits, borders.
//! Knows nothing of layers.

use super::onnx_builder::{Form, Join, OnnxNetBuilder, Operand};
use super::onnx_fold::BATCH;
use super::onnx_graph::{attribute, label};
use super::onnx_operands::{data, known, text, whole};
use super::onnx_pb::NodeProto;
use super::onnx_tensor::{Constant, Ints};
use anyhow::{Context, Result, bail, ensure};
use model::Head;
use model::spec::{Op, Pad};

/// `[c, h, w]` → `[c·h·w]`.
pub(crate) fn flatten(net: &mut OnnxNetBuilder, name: &str, id: usize, form: Form) -> Result<Operand> {
    let id = match form {
        Form::Flat => id,
        Form::Planes => net.push(name, Op::Flatten, vec![id])?,
        // One pixel has one order.
        Form::Last if net.shapes[id][1..] == [1, 1] => net.push(name, Op::Flatten, vec![id])?,
        _ => bail!("of a value whose channels come last"),
    };
    Ok(Operand::Node { id, form: Form::Flat })
}

/// To `[batch, features]`, back to single pixels, or into two parts of the channels and back.
pub(crate) fn reshape(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let shape = known(net, node, 1)?;
    let Some(Constant::Ints(to)) = shape.as_deref() else {
        bail!("to a shape that is not known")
    };
    let [channels, height, width] = net.shapes[id];
    let features: usize = channels * height * width;
    let fixed_batch = net.graph.shape[0].map(|n| n as i64);
    let is_batch = |d: i64| d == BATCH || d == 0 || d == -1 || Some(d) == fixed_batch;
    let is = |d: i64, n: usize| d == -1 || d == n as i64;
    let is_plane = |h: i64, w: i64| is(h, height) && is(w, width);
    let at_most_one_open = to.data.iter().filter(|&&d| d == -1).count() <= 1;
    match (form, &to.data[..]) {
        _ if !at_most_one_open => {}
        (Form::Planes, &[n, c, h, w]) if is_batch(n) && (is(c, channels) || c == 0) && is_plane(h, w) => {
            return Ok(Operand::Node { id, form });
        }
        (Form::Planes, &[n, a, b, h, w]) if is_batch(n) && is_plane(h, w) => {
            if let Some(parts) = parts(channels, a, b) {
                let form = Form::Split(parts);
                return Ok(Operand::Node { id, form });
            }
        }
        (Form::Split(_), &[n, c, h, w]) if is_batch(n) && is(c, channels) && is_plane(h, w) => {
            let form = Form::Planes;
            return Ok(Operand::Node { id, form });
        }
        (Form::Flat | Form::Planes, &[n, f]) if is_batch(n) && is(f, features) => {
            return flatten(net, label(node), id, form);
        }
        (Form::Flat | Form::Planes, &[n, c, 1, 1]) if is_batch(n) && is(c, features) => {
            let Operand::Node { id, .. } = flatten(net, label(node), id, form)? else {
                bail!("no value")
            };
            let form = Form::Planes;
            return Ok(Operand::Node { id, form });
        }
        (Form::Planes | Form::Flat, &[-1]) => {
            let form = Form::Row;
            return Ok(Operand::Node { id, form });
        }
        (Form::View(_), &[n, f]) if is_batch(n) && is(f, features) && net.head(id, form).order.is_empty() => {
            return flatten(net, label(node), id, Form::Planes);
        }
        (_, &[n, ref rest @ ..]) if is_batch(n) && !matches!(form, Form::Row | Form::Joined(_)) => {
            let head = net.head(id, form);
            if let Some(shape) = resolved(rest, &head.shape) {
                let view = if head.order.is_empty() {
                    shape.clone()
                } else {
                    head.view
                };
                let form = net.view(Head { view, shape, ..head });
                return Ok(Operand::Node { id, form });
            }
        }
        _ => {}
    }
    let text: Vec<String> = to
        .data
        .iter()
        .map(|&d| if d == BATCH { "batch".into() } else { d.to_string() })
        .collect();
    bail!("to [{}], expected [batch, {features}]", text.join(", "))
}

/// The sizes that a reshape asks for: 0 is that of before, −1 whatever is left.
fn resolved(asked: &[i64], before: &[usize]) -> Option<Vec<usize>> {
    let all: usize = before.iter().product();
    let known = |(axis, &size): (usize, &i64)| match size {
        0 => before.get(axis).copied(),
        -1 => Some(1),
        n => usize::try_from(n).ok(),
    };
    let mut sizes: Vec<usize> = asked.iter().enumerate().map(known).collect::<Option<_>>()?;
    let product = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    if let Some(open) = asked.iter().position(|&n| n == -1) {
        sizes[open] = all.checked_div(product)?;
    }
    (sizes.len() <= 6 && !sizes.is_empty() && sizes.iter().product::<usize>() == all).then_some(sizes)
}

/// Two factors of a number of channels, one of which may be left open.
fn parts(channels: usize, a: i64, b: i64) -> Option<[usize; 2]> {
    let known = |d: i64| usize::try_from(d).ok().filter(|&d| d > 0 && channels.is_multiple_of(d));
    let [a, b] = match (known(a), known(b)) {
        (Some(a), Some(b)) => [a, b],
        (Some(a), None) if b == -1 => [a, channels / a],
        (None, Some(b)) if a == -1 => [channels / b, b],
        _ => return None,
    };
    (a.checked_mul(b) == Some(channels)).then_some([a, b])
}

/// Channels last and back, or a shuffle between two reshapes; outputs in any order.
pub(crate) fn transpose(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let order = attribute(node, "perm").map_or(&[][..], |a| &a.ints);
    let Form::Joined(_) = form else {
        let (id, form) = turned(net, label(node), (id, form), order)?;
        return Ok(Operand::Node { id, form });
    };
    let Join { axis, mut parts } = net.parts(id, form);
    for part in &mut parts {
        *part = turned(net, label(node), *part, order)?;
    }
    let axis = order.iter().position(|&from| from == axis as i64 + 1);
    let axis = axis
        .and_then(|at| at.checked_sub(1))
        .context("of joined outputs, the batch too")?;
    Ok(net.join(Join { axis, parts }))
}

fn turned(net: &mut OnnxNetBuilder, name: &str, (id, form): (usize, Form), order: &[i64]) -> Result<(usize, Form)> {
    let form = match (form, order) {
        (Form::Planes, [0, 2, 3, 1]) => Form::Last,
        (Form::Last, [0, 3, 1, 2]) => Form::Planes,
        (Form::Split([a, b]), [0, 2, 1, 3, 4]) => {
            let channels = (0..a * b).map(|k| k % a * b + k / a).collect();
            let id = net.push(name, Op::Select { channels }, vec![id])?;
            return Ok((id, Form::Split([b, a])));
        }
        _ => {
            let head = net.head(id, form);
            let axes: Option<Vec<usize>> = order.iter().map(|&axis| usize::try_from(axis).ok()).collect();
            let turned = match axes.as_deref() {
                Some([0, rest @ ..]) if rest.len() == head.shape.len() && head.order.is_empty() => rest,
                _ => bail!("of axes {order:?}, expected channels last, back, or a shuffle of channels"),
            };
            let mut each = turned.to_vec();
            each.sort_unstable();
            let is_each = each.into_iter().eq(1..=head.shape.len());
            ensure!(is_each, "of axes {order:?}, expected each once");
            let order: Vec<usize> = turned.iter().map(|axis| axis - 1).collect();
            let shape = order.iter().map(|&axis| head.shape[axis]).collect();
            net.view(Head { order, shape, ..head })
        }
    };
    Ok((id, form))
}

/// The axis that channels stand on, and how many axes there are.
fn channel_axis(form: Form) -> [i64; 2] {
    match form {
        Form::Planes => [1, 4],
        Form::Flat => [1, 2],
        Form::Last => [3, 4],
        Form::Split(_) => [1, 5],
        Form::Row | Form::View(_) | Form::Joined(_) => [i64::MAX, 0],
    }
}

fn is_channels(form: Form, axis: i64) -> bool {
    let [channels, axes] = channel_axis(form);
    matches!(form, Form::Planes | Form::Flat | Form::Last) && (axis == channels || axis == channels - axes)
}

/// Channels side by side, or what was reshaped for an output along any axis.
pub(crate) fn concat(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (_, form) = data(net, node, 0)?;
    let axis = attribute(node, "axis").map_or(1, |a| a.i);
    if let Form::Split(_) | Form::View(_) | Form::Joined(_) = form {
        return join(net, node, axis);
    }
    ensure!(is_channels(form, axis), "along axis {axis}, expected the channels'");
    let mut parts = Vec::new();
    for at in 0..node.input.len() {
        let (id, other) = data(net, node, at)?;
        ensure!(form == other, "of a flat value and planes");
        parts.push(id);
    }
    let id = match parts[..] {
        [one] => one,
        _ => net.push(label(node), Op::Concat, parts)?,
    };
    Ok(Operand::Node { id, form })
}

/// Outputs side by side.
fn join(net: &mut OnnxNetBuilder, node: &NodeProto, axis: i64) -> Result<Operand> {
    let (mut parts, mut first) = (Vec::new(), None::<Vec<usize>>);
    let mut along = 0;
    for at in 0..node.input.len() {
        let (id, form) = data(net, node, at)?;
        let shape = net.head(id, form).shape;
        let rank = shape.len() as i64 + 1;
        let first = first.get_or_insert_with(|| shape.clone());
        let place = if axis < 0 { axis + rank } else { axis };
        ensure!(
            (1..rank).contains(&place),
            "along axis {axis}, expected 1 to {}",
            rank - 1
        );
        along = place as usize - 1;
        let beside = first.len() == shape.len() && (0..shape.len()).all(|k| k == along || first[k] == shape[k]);
        ensure!(
            beside,
            "of sizes {first:?} and {shape:?}, expected the same but along axis {axis}"
        );
        match net.parts(id, form) {
            Join { axis, parts } if parts.len() > 1 && axis != along => {
                bail!("of what was joined along axis {}, expected the same axis", axis + 1)
            }
            join => parts.extend(join.parts),
        }
    }
    Ok(net.join(Join { axis: along, parts }))
}

/// Channels in runs; enters every output that is read, and gives the first.
pub(crate) fn split(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let axis = attribute(node, "axis").map_or(0, |a| a.i);
    ensure!(is_channels(form, axis), "along axis {axis}, expected the channels'");
    let channels = net.shapes[id][0];
    let n = node.output.len();
    let sizes = match whole(net, node, "split", 1)? {
        Some(sizes) => sizes,
        None => {
            let each = channels.div_ceil(n.max(1));
            let size = |k: usize| each.min(channels.saturating_sub(k * each)) as i64;
            (0..n).map(size).collect()
        }
    };
    let fits = sizes.len() == n && sizes.iter().all(|&s| s > 0);
    ensure!(
        fits && sizes.iter().map(|&s| i128::from(s)).sum::<i128>() == channels as i128,
        "into {n} parts of {sizes:?}, the input has {channels} channels"
    );
    let (mut first, mut operands) = (0, Vec::new());
    for (output, size) in node.output.iter().zip(&sizes) {
        let channels = (first..first + *size as usize).collect();
        first += *size as usize;
        if net.graph.reads.contains_key(output) {
            let id = net.push(output, Op::Select { channels }, vec![id])?;
            net.values.insert(output.clone(), Operand::Node { id, form });
        }
        operands.push(net.values.get(output).cloned());
    }
    Ok(operands.into_iter().next().flatten().unwrap_or(Operand::Unsupported))
}

/// Some channels, from one to another.
pub(crate) fn slice(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let starts = whole(net, node, "starts", 1)?.context("without starts")?;
    let ends = whole(net, node, "ends", 2)?.context("without ends")?;
    let axes = whole(net, node, "axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = whole(net, node, "steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let [channel, rank] = channel_axis(form);
    ensure!(
        [ends.len(), axes.len(), steps.len()] == [starts.len(); 3],
        "with {} starts, {} ends, {} axes, {} steps",
        starts.len(),
        ends.len(),
        axes.len(),
        steps.len()
    );
    let sizes = net.shapes[id].map(|d| d as i64);
    let mut channels: Option<Vec<usize>> = None;
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = if axis < 0 { axis + rank } else { axis };
        let is_all = start == 0 && step == 1;
        if axis == channel && matches!(form, Form::Planes | Form::Flat | Form::Last) {
            ensure!(step > 0, "in steps of {step}");
            let size = sizes[0];
            let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at }.clamp(0, size) as usize;
            let run: Vec<usize> = (place(start)..place(end)).step_by(step as usize).collect();
            ensure!(
                !run.is_empty() && channels.is_none(),
                "of channels {start} to {end} of {size}"
            );
            channels = Some(run);
        } else {
            let size = match (form, axis) {
                (_, 0) => i64::MAX,
                (Form::Planes, 2) | (Form::Last, 1) => sizes[1],
                (Form::Planes, 3) | (Form::Last, 2) => sizes[2],
                _ => bail!("along axis {axis}, expected the channels'"),
            };
            ensure!(
                is_all && (end >= size || axis == 0 && end > i64::from(i32::MAX)),
                "of a part of axis {axis}, expected all of it"
            );
        }
    }
    select(net, label(node), (id, form), channels)
}

/// Channels by number.
pub(crate) fn gather(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let axis = attribute(node, "axis").map_or(0, |a| a.i);
    let at = known(net, node, 1)?;
    if let (Form::Row, Some(Constant::Places(at))) = (form, at.as_deref()) {
        return from_row(net, id, at);
    }
    ensure!(is_channels(form, axis), "along axis {axis}, expected the channels'");
    let Some(Constant::Ints(at)) = at.as_deref() else {
        bail!("of numbers that are not whole")
    };
    ensure!(
        at.shape.len() == 1 && !at.data.is_empty(),
        "of a single channel, which leaves no channels"
    );
    let size = net.shapes[id][0] as i64;
    let place = |&k: &i64| usize::try_from(if k < 0 { k.checked_add(size)? } else { k }).ok();
    let channels: Option<Vec<usize>> = at.data.iter().map(place).collect();
    let channels = channels.with_context(|| format!("of channels {:?} of {size}", at.data))?;
    select(net, label(node), (id, form), Some(channels))
}

/// Numbers taken from a row of all images: a reshape, where each stays in its place.
fn from_row(net: &mut OnnxNetBuilder, id: usize, at: &Ints) -> Result<Operand> {
    let shape = net.shapes[id];
    let all: usize = shape.iter().product();
    let stays = at.data.len() == 2 * all && at.data.iter().copied().eq(0..2 * all as i64);
    let form = match at.shape[..] {
        _ if !stays => bail!("of numbers in another order than they have"),
        [2, c, h, w] if [c, h, w] == shape => Form::Planes,
        [2, features] if features == all && shape[1..] == [1, 1] => Form::Flat,
        [2, ref rest @ ..] => {
            let head = Head::plain("", rest);
            net.view(head)
        }
        _ => bail!("of images taken apart"),
    };
    Ok(Operand::Node { id, form })
}

fn select(
    net: &mut OnnxNetBuilder,
    name: &str,
    (id, form): (usize, Form),
    channels: Option<Vec<usize>>,
) -> Result<Operand> {
    let id = match channels {
        Some(channels) if !channels.iter().copied().eq(0..net.shapes[id][0]) => {
            net.push(name, Op::Select { channels }, vec![id])?
        }
        _ => id,
    };
    Ok(Operand::Node { id, form })
}

/// Zeros around planes.
pub(crate) fn pad(net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let (id, form) = data(net, node, 0)?;
    let mode = text(node, "mode");
    ensure!(
        matches!(mode.as_str(), "" | "constant"),
        "by mode {mode}, expected zeros"
    );
    let value = match known(net, node, 2)?.as_deref() {
        Some(Constant::Floats(a)) => a.data.first().copied().unwrap_or(0.0),
        _ => attribute(node, "value").map_or(0.0, |a| a.f),
    };
    ensure!(value == 0.0, "by {value}, expected zeros");
    ensure!(node.input.get(3).is_none_or(String::is_empty), "along named axes");
    let pads = whole(net, node, "pads", 1)?.context("without pads")?;
    let pads: Option<Vec<usize>> = pads.iter().map(|&p| usize::try_from(p).ok()).collect();
    let pad = match (form, pads.as_deref()) {
        (Form::Planes, Some(&[0, 0, top, left, 0, 0, bottom, right]))
        | (Form::Last, Some(&[0, top, left, 0, 0, bottom, right, 0])) => Pad {
            top,
            bottom,
            left,
            right,
        },
        _ => bail!("of other axes than height and width, or by less than 0"),
    };
    if pad.is_none() {
        return Ok(Operand::Node { id, form });
    }
    let id = net.push(label(node), Op::ZeroPad { pad }, vec![id])?;
    Ok(Operand::Node { id, form })
}
