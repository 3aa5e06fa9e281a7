//! A checkpoint at one density as an ONNX model of standard operators.
//! Knows nothing of files or of who will run it.
//!
//! Input `image`, float32 `[batch, c, h, w]`, normalized; output `logits`, `[batch, classes]`, or several by their names. Norms that follow a
//! convolution are folded into it, which is exact: a gate multiplies after its norm. Dropout is left out. Masked weights are
//! zeros of a dense kernel and masked filters give zeros, so a masked net costs another runtime what the whole one does;
//! only a cut one is smaller.

use super::onnx_export_ops as ops;
use super::onnx_gate;
use super::onnx_int8;
use super::onnx_pb::{ModelProto, OperatorSetIdProto};
use super::onnx_proto::{GraphBuilder, batch_of, float, int, ints, property};
use model::checkpoint::{Checkpoint, Moments, NormStats};
use model::spec::{NetSpec, Op, Pad, Shape, Shift};
use model::steps::{ConvStep, Step, steps};
use model::{Array, Density, Head};

use anyhow::{Context, Result, bail, ensure};
use prost::Message;

/// Operators are meant as this version of the standard has them.
const OPSET: i64 = 17;

/// Keys of the metadata: JSON lists of class names and of the normalization's means and deviations, then plain text.
pub const ONNX_KEYS: [&str; 6] = ["classes", "mean", "std", "density", "method", "network"];

const MOST_BYTES: usize = (2 << 30) - 1;

/// The bytes of an ONNX file that computes what the engine computes at this density.
///
/// # Errors
/// A checkpoint whose parts do not fit, a gate that stands by itself, or 2 GiB and more.
pub fn onnx_bytes(model: &Checkpoint, density: Density) -> Result<Vec<u8>> {
    let proto = if model.masks.is_empty() {
        to_proto(model, density)?
    } else {
        let mut zeroed = model.clone();
        prune::zero(&mut zeroed)?;
        to_proto(&zeroed, density)?
    };
    let bytes = proto.encoded_len();
    ensure!(
        bytes <= MOST_BYTES,
        "the ONNX file would have {bytes} bytes, at most {MOST_BYTES} are possible"
    );
    Ok(proto.encode_to_vec())
}

fn to_proto(model: &Checkpoint, density: Density) -> Result<ModelProto> {
    model.check()?;
    let spec = model.spec();
    let outputs = spec.outputs()?;
    let ends: Vec<String> = ["image".to_owned()]
        .into_iter()
        .chain(outputs.iter().map(|o| o.name.clone()))
        .collect();
    let mut writer = Writer {
        model,
        spec,
        density,
        stats: model.stats_at(density),
        shapes: spec.shapes()?,
        consumers: spec.consumers(),
        values: vec![None; spec.nodes.len()],
        graph: GraphBuilder::with_ends(&ends.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    writer.values[0] = Some(WrittenTensor {
        name: "image".into(),
        flat: false,
    });
    for step in steps(spec) {
        let (node, value) = match step {
            Step::Conv(step) => (step.output, writer.conv(&step)?),
            Step::Node(i) if matches!(spec.nodes[i].op, Op::Outputs { .. }) => break,
            Step::Node(i) => (i, writer.node(i)?),
        };
        writer.values[node] = Some(value);
    }
    let last = spec.nodes.len() - 1;
    if let Op::Outputs { heads } = &spec.nodes[last].op {
        let each: Vec<(&Head, &usize)> = heads.iter().zip(&spec.nodes[last].inputs).collect();
        for parts in each.chunk_by(|_, (next, _)| next.joins.is_some()) {
            writer.output(parts)?;
        }
    } else {
        let logits = writer.flat(last, "logits.flat")?;
        writer.graph.end("Identity", "logits", &[&logits]);
    }
    let header = &model.header;
    let numbers = |v: &[f32]| serde_json::to_string(v);
    let values = [
        serde_json::to_string(&header.classes)?,
        numbers(&header.normalization.mean)?,
        numbers(&header.normalization.std)?,
        density.to_string(),
        header.method.clone(),
        spec.name.clone(),
    ];
    let mut graph = writer.graph.proto;
    graph.name = spec.name.clone();
    graph.input = vec![batch_of("image", &spec.input)];
    graph.output = outputs.iter().map(|o| batch_of(&o.name, &o.shape)).collect();
    Ok(ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        producer_name: "secateur".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        metadata_props: ONNX_KEYS
            .iter()
            .zip(values)
            .map(|(key, value)| property(key, value))
            .collect(),
    })
}

/// A node's value in the file.
#[derive(Clone)]
struct WrittenTensor {
    name: String,
    /// `[batch, features]`; otherwise `[batch, c, h, w]`.
    flat: bool,
}

struct Writer<'a> {
    model: &'a Checkpoint,
    spec: &'a NetSpec,
    density: Density,
    stats: NormStats,
    shapes: Vec<Shape>,
    consumers: Vec<Vec<usize>>,
    values: Vec<Option<WrittenTensor>>,
    graph: GraphBuilder,
}

impl<'a> Writer<'a> {
    fn value(&self, i: usize) -> Result<&WrittenTensor> {
        let name = || format!("node {} is read before it is computed", self.spec.nodes[i].name);
        self.values[i].as_ref().with_context(name)
    }

    /// The value of node `i` as `[batch, features]`.
    fn flat(&mut self, i: usize, name: &str) -> Result<String> {
        let WrittenTensor { name: from, flat } = self.value(i)?.clone();
        if flat {
            return Ok(from);
        }
        Ok(self.graph.node("Flatten", name, [&from], vec![int("axis", 1)]))
    }

    /// The value of node `i` as `[batch, c, h, w]`.
    fn planes(&mut self, i: usize, name: &str) -> Result<String> {
        let WrittenTensor { name: from, flat } = self.value(i)?.clone();
        if !flat {
            return Ok(from);
        }
        let axes = self.graph.ints("axes.hw", &[2, 3]);
        Ok(self.graph.node("Unsqueeze", name, [&from, &axes], vec![]))
    }

    /// One of several outputs, as other programs see it.
    fn output(&mut self, parts: &[(&Head, &usize)]) -> Result<()> {
        let name = &parts[0].0.name;
        let mut values = Vec::new();
        for (k, (head, from)) in parts.iter().enumerate() {
            let own = if parts.len() > 1 {
                format!("{name}.{k}")
            } else {
                name.clone()
            };
            let x = match head.view.len() {
                1 => self.flat(**from, &format!("{own}.flat"))?,
                _ => self.planes(**from, &format!("{own}.planes"))?,
            };
            let shape = self.shapes[**from];
            values.push(super::onnx_export_ops::head(&mut self.graph, &own, head, shape, x));
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        match parts[parts.len() - 1].0.joins {
            Some(axis) => self
                .graph
                .end_with("Concat", name, &values, vec![int("axis", axis as i64 + 1)]),
            None => self.graph.end("Identity", name, &values),
        }
        Ok(())
    }

    fn array(&self, node: usize, what: &str) -> Result<&'a Array> {
        let name = format!("{}.{what}", self.spec.nodes[node].name);
        let array = self.model.weights.get(&name);
        array.with_context(|| format!("{name} is missing"))
    }

    /// γ, β, mean and variance of a norm.
    fn norm(&self, node: usize) -> Result<[Vec<f32>; 4]> {
        let name = &self.spec.nodes[node].name;
        let Moments { mean, var } = self
            .stats
            .get(name)
            .with_context(|| format!("no statistics for {name}"))?;
        let [gamma, beta] = if let Op::Norm { affine: true, .. } = self.spec.nodes[node].op {
            [
                self.array(node, "gamma")?.data.clone(),
                self.array(node, "beta")?.data.clone(),
            ]
        } else {
            [vec![1.0; mean.len()], vec![0.0; mean.len()]]
        };
        Ok([gamma, beta, mean.clone(), var.clone()])
    }

    /// Factor and addend per channel that do what the norm does.
    fn folded(&self, node: usize) -> Result<[Vec<f32>; 2]> {
        let Op::Norm { eps, .. } = self.spec.nodes[node].op else {
            unreachable!("a norm is a norm")
        };
        let [gamma, beta, mean, var] = self.norm(node)?;
        let scale: Vec<f32> = gamma.iter().zip(var).map(|(g, v)| g / (v + eps).sqrt()).collect();
        let shift = scale.iter().zip(mean).zip(&beta).map(|((s, m), b)| b - s * m).collect();
        Ok([scale, shift])
    }

    fn conv(&mut self, step: &ConvStep) -> Result<WrittenTensor> {
        let node = &self.spec.nodes[step.conv];
        let Op::Conv {
            filters,
            stride,
            pad,
            bias,
            groups,
            ..
        } = node.op
        else {
            unreachable!("a conv step begins with a convolution")
        };
        let mut weight = self.array(step.conv, "weight")?.clone();
        let input = self.model.header.byte_inputs.get(&node.name).copied();
        let input = input.filter(|_| groups == 1 && self.transposed(step.conv).is_none());
        let mut factors = vec![1.0; filters];
        let mut shift = match step.norm {
            Some(norm) if input.is_some() => {
                let shift;
                [factors, shift] = self.folded(norm)?;
                shift
            }
            Some(norm) => {
                let [scale, shift] = self.folded(norm)?;
                let columns = weight.data.len() / filters.max(1);
                weight
                    .data
                    .chunks_exact_mut(columns.max(1))
                    .zip(&scale)
                    .for_each(|(row, s)| row.iter_mut().for_each(|w| *w *= s));
                shift
            }
            None if bias => self.array(step.conv, "bias")?.data.clone(),
            None => vec![0.0; filters],
        };
        // π·(norm + β): β moves into the convolution. π·norm + m·β: it stays outside.
        if let Some((gate, _)) = step.gate.filter(|(_, form)| form.shift == Shift::Eq1) {
            ensure!(
                step.norm.is_some(),
                "node {}: a gate on a convolution without a norm",
                node.name
            );
            let beta = &self.array(gate, "beta")?.data;
            shift.iter_mut().zip(beta).for_each(|(s, b)| *s += b);
        }
        let name = node.name.clone();
        let x = self.planes(step.input, &format!("{name}.planes"))?;
        let (op, mut attributes) = match self.transposed(step.conv) {
            Some((stride, cut, more)) => {
                weight = turned(&weight, groups);
                let padding = vec![
                    ints("strides", &[stride; 2]),
                    ints("pads", &sides(cut)),
                    ints("output_padding", &more),
                ];
                ("ConvTranspose", padding)
            }
            None => {
                let kept = narrowed(&mut weight, pad);
                let padding = vec![
                    ints("strides", &[stride; 2]),
                    ints("pads", &sides(kept.pad)),
                    ints("dilations", &kept.dilations),
                ];
                ("Conv", padding)
            }
        };
        attributes.push(ints("kernel_shape", &weight.shape[2..]));
        attributes.push(int("group", groups as i64));
        let numbers = (&weight, &factors[..], &shift[..]);
        let [read, w, b] = onnx_int8::write_operands(&mut self.graph, &name, &x, numbers, input);
        let mut y = self.graph.node(op, &name, [&read, &w, &b], attributes);
        if let Some((gate, form)) = step.gate {
            let gate = onnx_gate::OnnxGate {
                name: &self.spec.nodes[gate].name,
                signed: is_signed(self.spec, step.input),
                k: self.density.of(filters),
                form,
                phi: self.array(gate, "phi")?,
                rho: self.array(gate, "rho")?,
                beta: self.array(gate, "beta")?,
            };
            y = onnx_gate::write(&mut self.graph, &gate, &x, &y);
        }
        if step.relu {
            y = self
                .graph
                .node("Relu", &self.spec.nodes[step.output].name.clone(), [&y], vec![]);
        }
        Ok(WrittenTensor { name: y, flat: false })
    }

    /// For a convolution of spread pixels: stride, pads and output padding of the transposed convolution that both are.
    fn transposed(&self, conv: usize) -> Option<(usize, Pad, [usize; 2])> {
        let node = &self.spec.nodes[conv];
        let Op::Conv {
            kernel, stride: 1, pad, ..
        } = node.op
        else {
            return None;
        };
        let Op::Spread { stride } = self.spec.nodes[node.inputs[0]].op else {
            return None;
        };
        let most = kernel - 1;
        let more = [pad.bottom, pad.right].map(|n| n.saturating_sub(most));
        let cut = Pad {
            top: most.checked_sub(pad.top)?,
            left: most.checked_sub(pad.left)?,
            bottom: most.saturating_sub(pad.bottom),
            right: most.saturating_sub(pad.right),
        };
        more.iter().all(|&n| n < stride).then_some((stride, cut, more))
    }

    fn node(&mut self, i: usize) -> Result<WrittenTensor> {
        let node = &self.spec.nodes[i];
        let first = node.inputs.first().copied().unwrap_or(0);
        let name = node.name.clone();
        let WrittenTensor { name: x, flat } = self.value(first)?.clone();
        let as_planes = format!("{name}.planes");
        let (name, flat) = match node.op {
            Op::Relu => (self.graph.node("Relu", &name, [&x], vec![]), flat),
            Op::Relu6 => {
                let zero = self.graph.floats("zero", &[], &[0.0]);
                let six = self.graph.floats("six", &[], &[6.0]);
                (self.graph.node("Clip", &name, [&x, &zero, &six], vec![]), flat)
            }
            Op::MaxPool { kernel, stride, pad } | Op::AvgPool { kernel, stride, pad } => {
                let x = self.planes(first, &as_planes)?;
                let mut window = vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2])];
                if !pad.is_none() {
                    window.push(ints("pads", &sides(pad)));
                }
                let is_mean = matches!(node.op, Op::AvgPool { .. });
                let op = if is_mean { "AveragePool" } else { "MaxPool" };
                (self.graph.node(op, &name, [&x], window), false)
            }
            Op::GlobalAvgPool => {
                let x = self.planes(first, &as_planes)?;
                (self.graph.node("GlobalAveragePool", &name, [&x], vec![]), false)
            }
            Op::Add => {
                let other = self.value(node.inputs[1])?.clone();
                let [x, z] = if flat == other.flat {
                    [x, other.name]
                } else {
                    [
                        self.flat(first, &format!("{name}.first"))?,
                        self.flat(node.inputs[1], &format!("{name}.second"))?,
                    ]
                };
                (self.graph.node("Add", &name, [&x, &z], vec![]), flat || other.flat)
            }
            Op::Mul => {
                let other = self.value(node.inputs[1])?.clone();
                let [x, z] = if flat == other.flat {
                    [x, other.name]
                } else {
                    [
                        self.planes(first, &format!("{name}.first"))?,
                        self.planes(node.inputs[1], &format!("{name}.second"))?,
                    ]
                };
                (self.graph.node("Mul", &name, [&x, &z], vec![]), flat && other.flat)
            }
            Op::Activation { function } => (ops::activation(&mut self.graph, &name, function, &x), flat),
            Op::Concat => {
                let mut all_flat = true;
                for &j in &node.inputs {
                    all_flat &= self.value(j)?.flat;
                }
                let mut parts = Vec::new();
                for (k, &j) in node.inputs.iter().enumerate() {
                    parts.push(if all_flat {
                        self.value(j)?.name.clone()
                    } else {
                        self.planes(j, &format!("{name}.{k}"))?
                    });
                }
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                (
                    self.graph.node_from("Concat", &name, &parts, vec![int("axis", 1)]),
                    all_flat,
                )
            }
            Op::Select { ref channels } => {
                let [from, h, w] = self.shapes[first];
                let plane = (!flat).then_some([h, w]);
                (ops::select(&mut self.graph, &name, (channels, from), plane, &x), flat)
            }
            Op::ZeroPad { pad } => {
                let x = self.planes(first, &as_planes)?;
                (ops::zero_pad(&mut self.graph, &name, pad, &x), false)
            }
            Op::Upsample { scale } => {
                let x = self.planes(first, &as_planes)?;
                (ops::upsample(&mut self.graph, &name, scale, &x), false)
            }
            Op::Resize {
                size,
                scale,
                coordinates,
                interpolation,
            } => {
                let x = self.planes(first, &as_planes)?;
                let [_, h, w] = self.shapes[first];
                let scales = [(h, 0), (w, 1)].map(|(from, k)| ops::exact_scale([from, size[k]], scale[k]));
                let how = (coordinates, interpolation);
                (ops::resize(&mut self.graph, &name, scales, how, &x), false)
            }
            // Written with the convolutions that read it.
            Op::Spread { .. } if self.consumers[i].iter().all(|&j| self.transposed(j).is_some()) => (x, flat),
            Op::Spread { stride } => {
                let x = self.planes(first, &as_planes)?;
                let channels = self.shapes[i][0];
                (ops::spread(&mut self.graph, &name, (stride, channels), &x), false)
            }
            Op::LayerNorm { eps } => {
                let [gamma, beta] = [self.array(i, "gamma")?, self.array(i, "beta")?];
                let numbers = (eps, &gamma.data[..], &beta.data[..]);
                (ops::layer_norm(&mut self.graph, &name, numbers, (&x, flat)), flat)
            }
            Op::Lrn {
                size,
                alpha,
                beta,
                bias,
            } => {
                let x = self.planes(first, &as_planes)?;
                let numbers = vec![
                    int("size", size as i64),
                    float("alpha", alpha),
                    float("beta", beta),
                    float("bias", bias),
                ];
                (self.graph.node("LRN", &name, [&x], numbers), false)
            }
            Op::Dropout { .. } => (x, flat),
            Op::Flatten => (self.flat(first, &name)?, true),
            Op::Linear { bias, .. } => {
                let x = self.flat(first, &format!("{name}.flat"))?;
                let weight = self.array(i, "weight")?;
                let bias = if bias {
                    self.array(i, "bias")?.data.clone()
                } else {
                    vec![0.0; weight.shape[0]]
                };
                let w = format!("{name}.weight");
                let w = self.graph.floats(&w, &weight.shape, &weight.data);
                let b = self.graph.floats(&format!("{name}.bias"), &[bias.len()], &bias);
                let transposed = vec![int("transB", 1)];
                (self.graph.node("Gemm", &name, [&x, &w, &b], transposed), true)
            }
            Op::Norm { eps, .. } => {
                let mut inputs = vec![x];
                for (what, data) in ["gamma", "beta", "mean", "var"].into_iter().zip(self.norm(i)?) {
                    inputs.push(self.graph.floats(&format!("{name}.{what}"), &[data.len()], &data));
                }
                let inputs: [&str; 5] = std::array::from_fn(|i| &*inputs[i]);
                let epsilon = vec![float("epsilon", eps)];
                (self.graph.node("BatchNormalization", &name, inputs, epsilon), flat)
            }
            Op::Gate { .. } => bail!("node {name}: a gate that does not follow a convolution it reads the input of"),
            Op::Conv { .. } | Op::Input | Op::Outputs { .. } => unreachable!("{name} is not a step of its own"),
        };
        Ok(WrittenTensor { name, flat })
    }
}

/// Weights `[out, in / groups, k, k]` of a convolution as a transposed one has them: `[in, out / groups, k, k]`, turned round.
fn turned(weight: &Array, groups: usize) -> Array {
    let &[filters, own, height, width] = &weight.shape[..] else {
        unreachable!("a convolution's weight has four axes")
    };
    let (each, taps) = (filters / groups, height * width);
    let mut out = Array::filled(&[own * groups, each, height, width], 0.0);
    for (k, &v) in weight.data.iter().enumerate() {
        let (filter, channel, tap) = (k / taps / own, k / taps % own, k % taps);
        let (group, filter) = (filter / each, filter % each);
        out.data[((group * own + channel) * each + filter) * taps + (taps - 1 - tap)] = v;
    }
    out
}

/// What remains of a kernel without its rows and columns of zeros.
struct Narrowed {
    pad: Pad,
    dilations: [usize; 2],
}

/// Takes rows and columns of zeros out of kernels: those at the ends, and those between others at equal distances.
fn narrowed(weight: &mut Array, pad: Pad) -> Narrowed {
    let whole = Narrowed { pad, dilations: [1, 1] };
    let &[filters, own, height, width] = &weight.shape[..] else {
        return whole;
    };
    let taps = height * width;
    let mut used = [vec![false; height], vec![false; width]];
    for (k, _) in weight.data.iter().enumerate().filter(|(_, v)| **v != 0.0) {
        used[0][k % taps / width] = true;
        used[1][k % width] = true;
    }
    let [rows, columns] = used.map(|used| evenly_spaced(&used));
    let before = [pad.top, pad.left];
    let after = [height, width];
    let mut out = whole;
    let kept = [rows, columns];
    for (axis, (kept, before)) in kept.iter().zip(before).enumerate() {
        let (Some(&first), Some(&last)) = (kept.first(), kept.last()) else {
            return out;
        };
        let end = [pad.bottom, pad.right][axis];
        // Padding cannot be less than none.
        if first > before || after[axis] - 1 - last > end {
            return Narrowed { pad, dilations: [1, 1] };
        }
        let sides = if axis == 0 {
            [&mut out.pad.top, &mut out.pad.bottom]
        } else {
            [&mut out.pad.left, &mut out.pad.right]
        };
        *sides[0] -= first;
        *sides[1] -= after[axis] - 1 - last;
        out.dilations[axis] = kept.get(1).map_or(1, |second| second - first);
    }
    let [rows, columns] = &kept;
    if rows.len() * columns.len() < taps {
        let kernels = weight.data.chunks_exact(taps);
        let each = kernels.flat_map(|kernel| {
            rows.iter()
                .flat_map(move |r| columns.iter().map(move |c| kernel[r * width + c]))
        });
        weight.data = each.collect();
        weight.shape = vec![filters, own, rows.len(), columns.len()];
    }
    out
}

/// The places that are used, if they are at equal distances; else all from the first to the last.
fn evenly_spaced(used: &[bool]) -> Vec<usize> {
    let places: Vec<usize> = (0..used.len()).filter(|&k| used[k]).collect();
    let [first, second, ..] = places[..] else { return places };
    let step = second - first;
    let is_even = places.windows(2).all(|pair| pair[1] - pair[0] == step);
    match places.last() {
        Some(&last) if !is_even => (first..=last).collect(),
        _ => places,
    }
}

/// Top, left, bottom, right.
fn sides(pad: Pad) -> [usize; 4] {
    [pad.top, pad.left, pad.bottom, pad.right]
}

/// Whether values of node `i` may be negative. After ReLU the mean magnitude is the mean.
fn is_signed(spec: &NetSpec, mut i: usize) -> bool {
    while let Op::Dropout { .. } | Op::MaxPool { .. } | Op::AvgPool { .. } | Op::GlobalAvgPool = spec.nodes[i].op {
        i = spec.nodes[i].inputs[0];
    }
    !matches!(spec.nodes[i].op, Op::Relu | Op::Relu6)
}
