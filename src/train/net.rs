//! The network on burn: forward through a spec's steps, with batch statistics (training) or stored ones (evaluation).
//! Parameters are flat named tensors, so that optimizers, masks and checkpoints see plain arrays. Knows nothing of loops or losses.
//!
//! A batch may hold several *groups* of images that run at different densities (elastic training); each group is normalized by its own statistics.

use crate::conv_step::{ConvStepArgs, Statistics};
use crate::norm_statistics::{BatchMoments, NormStatistics};
use crate::sparse_conv::{PlaneMeans, SparseArgs};
use crate::{conv_step, fake_bytes, planes, sparse_conv};
use anyhow::{Result, ensure};
use burn::backend::DispatchDevice;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData, activation};
use kernel::ConvShape;
use model::ByteInput;
use model::checkpoint::NormStats;
use model::mask::{Active, Density, winners};
use model::resample::plane_taps;
use model::spec::{GateForm, NetSpec, Op, Shape, Shift, Subsample};
use model::steps::{ConvStep, Step, steps};
use model::weights::Weights;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How norms get their statistics in one forward pass.
pub enum Norms<'a> {
    /// From the batch; returned in [`Output::moments`].
    Batch(NormStatistics),
    /// As stored with the model.
    Stored(&'a NormStats),
}

/// Options of one forward pass.
pub struct ForwardOptions<'a> {
    /// One entry per group of images (equal groups, in batch order), each with one density per gate.
    pub groups: &'a [Vec<Density>],
    /// Where norm statistics come from.
    pub norms: Norms<'a>,
    /// Seed of dropout; `None` switches dropout off.
    pub dropout: Option<u64>,
}

/// What a gate did to a batch.
pub struct GateTrace {
    /// The gate's node.
    pub node: usize,
    /// g(x) before the winners are taken: `[images, channels]`.
    pub saliency: Vec<f32>,
    /// The winners.
    pub active: Arc<Active>,
}

/// What a forward pass gives.
pub struct Output {
    /// `[images, classes]`, or all numbers of all outputs ([`model::NetOutput`]).
    pub logits: Tensor<2>,
    /// Σ over gates of the mean over images of ‖g‖₁: what λ multiplies.
    pub l1: Option<Tensor<1>>,
    /// One entry per gate.
    pub gates: Vec<GateTrace>,
    /// Batch statistics of each norm (over the last group) and how many positions they were taken over, per channel.
    pub moments: BTreeMap<String, BatchMoments>,
}

/// A network ready to run.
pub struct Net {
    /// The graph.
    pub spec: Arc<NetSpec>,
    /// Parameters by name, flat, without gradient.
    pub params: BTreeMap<String, Tensor<1>>,
    /// Inputs of convolutions that are rounded to bytes, and their weights with them, by node.
    bytes: BTreeMap<usize, ByteInput>,
    steps: Vec<Step>,
    shapes: Vec<Shape>,
    device: Device,
    /// Whether layers skip inactive channels ([`crate::sparse_conv`]); otherwise they are computed whole and masked.
    /// True on the `flex` device.
    pub sparse: bool,
}

struct NodeOutput {
    tensor: Tensor<4>,
    /// Channels that may be non-zero; `None` means all.
    active: Option<Arc<Active>>,
    /// Plane means, if the layer that gave the tensor knows them.
    means: Option<PlaneMeans>,
}

impl NodeOutput {
    fn new(tensor: Tensor<4>, active: Option<Arc<Active>>) -> Self {
        Self {
            tensor,
            active,
            means: None,
        }
    }
}

impl Net {
    /// A network with these weights on a device (given without autodiff).
    ///
    /// # Errors
    /// Weights that do not fit the spec.
    pub fn new(spec: Arc<NetSpec>, weights: &Weights, device: &Device) -> Result<Self> {
        model::weights::check(&spec, weights)?;
        let steps = steps(&spec);
        let alone = steps.iter().find_map(|step| match step {
            Step::Node(i) if matches!(spec.nodes[*i].op, Op::Gate(_)) => Some(&spec.nodes[*i].name),
            _ => None,
        });
        if let Some(name) = alone {
            anyhow::bail!(
                "node {name}: a gate that does not follow a convolution it reads the input of, or that shares it"
            );
        }
        let params = tensors(weights, device);
        Ok(Self {
            steps,
            shapes: spec.shapes()?,
            spec,
            bytes: BTreeMap::new(),
            params,
            device: device.clone(),
            sparse: matches!(device.as_dispatch(), DispatchDevice::Flex(_)),
        })
    }

    /// Rounds the inputs and weights of these convolutions to bytes from now on.
    pub fn set_bytes(&mut self, inputs: &BTreeMap<String, ByteInput>) {
        let found = |(name, &input): (&String, &ByteInput)| Some((self.spec.find(name)?, input));
        self.bytes = inputs.iter().filter_map(found).collect();
    }

    /// Takes over other weights of the same shapes.
    pub fn set(&mut self, weights: &Weights) {
        self.params = tensors(weights, &self.device);
    }

    /// The device it runs on, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs a batch, `images` `[n, c, h, w]`, with these parameters (tracked ones in training).
    ///
    /// # Errors
    /// Groups that do not divide the batch, or a wrong number of densities.
    pub fn forward(
        &self,
        params: &BTreeMap<String, Tensor<1>>,
        images: Tensor<4>,
        options: &ForwardOptions,
    ) -> Result<Output> {
        let n = images.dims()[0];
        let gates = self.spec.gates();
        ensure!(
            !options.groups.is_empty() && n.is_multiple_of(options.groups.len()),
            "{n} images do not make {} equal groups",
            options.groups.len()
        );
        ensure!(
            options.groups.iter().all(|g| g.len() == gates.len()),
            "a pass needs one density for each of the {} gates",
            gates.len()
        );
        let mut pass = ForwardPass {
            net: self,
            params,
            options,
            gates,
            l1: None,
            traces: Vec::new(),
            moments: BTreeMap::new(),
        };
        let mut values: Vec<Option<NodeOutput>> = (0..self.spec.nodes.len()).map(|_| None).collect();
        values[0] = Some(NodeOutput::new(images, None));
        for step in &self.steps {
            let (output, value) = match step {
                Step::Conv(step) => (step.output, pass.conv(step, &values)),
                Step::Node(i) => (*i, pass.node(*i, &values)),
            };
            values[output] = Some(value);
        }
        let logits = values.pop().flatten().map(|v| v.tensor.flatten::<2>(1, 3));
        let Some(logits) = logits else {
            anyhow::bail!("network {} has no output", self.spec.name)
        };
        Ok(Output {
            logits,
            l1: pass.l1,
            gates: pass.traces,
            moments: pass.moments,
        })
    }
}

/// Every array as a flat tensor on a device; copied on all threads.
pub fn tensors(weights: &Weights, device: &Device) -> BTreeMap<String, Tensor<1>> {
    let copies: Vec<(&String, Vec<f32>)> = (weights.par_iter().map(|(name, a)| (name, a.data.to_vec()))).collect();
    let tensor = |data: Vec<f32>| {
        let len = data.len();
        Tensor::from_data(TensorData::new(data, [len]), device)
    };
    let named = copies.into_iter();
    named.map(|(name, data)| (name.clone(), tensor(data))).collect()
}

struct ForwardPass<'a> {
    net: &'a Net,
    params: &'a BTreeMap<String, Tensor<1>>,
    options: &'a ForwardOptions<'a>,
    gates: Vec<usize>,
    l1: Option<Tensor<1>>,
    traces: Vec<GateTrace>,
    moments: BTreeMap<String, BatchMoments>,
}

impl ForwardPass<'_> {
    fn param(&self, node: usize, what: &str) -> Tensor<1> {
        self.params[&format!("{}.{what}", self.net.spec.nodes[node].name)].clone()
    }

    /// Scale and shift of a norm, `[1, channels]`.
    fn affine(&self, norm: usize, affine: bool, channels: usize, device: &Device) -> [Tensor<2>; 2] {
        if affine {
            ["gamma", "beta"].map(|what| self.param(norm, what).reshape([1, channels]))
        } else {
            [
                Tensor::ones([1, channels], device),
                Tensor::zeros([1, channels], device),
            ]
        }
    }

    /// Where the norm called `norm` gets its statistics, if need be over the images that `kind` says.
    fn statistics(&self, norm: &str, kind: NormStatistics) -> Statistics<'_> {
        match &self.options.norms {
            Norms::Batch(_) => Statistics::Batch {
                groups: self.options.groups.len(),
                kind,
            },
            Norms::Stored(stats) => Statistics::Stored(&stats[norm]),
        }
    }

    fn conv(&mut self, step: &ConvStep, values: &[Option<NodeOutput>]) -> NodeOutput {
        let x = value(values, step.input);
        let Op::Conv {
            filters,
            kernel,
            stride,
            pad,
            bias,
            groups,
        } = self.net.spec.nodes[step.conv].op
        else {
            unreachable!("a conv step begins with a convolution")
        };
        let channels = self.net.shapes[step.input][0];
        let weight = self
            .param(step.conv, "weight")
            .reshape([filters, channels / groups, kernel, kernel]);
        let (data, weight) = match self.net.bytes.get(&step.conv) {
            Some(&input) => (fake_bytes::input(x.tensor.clone(), input), fake_bytes::weight(weight)),
            None => (x.tensor.clone(), weight),
        };
        let Some(norm) = step.norm else {
            let mut y = conv_step::convolve(data, weight, unpadded(stride, groups), pad);
            if bias {
                y = y + self.param(step.conv, "bias").reshape([1, filters, 1, 1]);
            }
            return NodeOutput::new(if step.relu { activation::relu(y) } else { y }, None);
        };
        let Op::Norm { eps, affine } = self.net.spec.nodes[norm].op else {
            unreachable!("the norm of a conv step is a norm")
        };
        // Every kind of layer is relu(scale · norm(conv(x)) + shift), scale and shift [1 or images, filters].
        let (scale, shift, active) = match step.gate {
            Some((gate, form)) => self.gate(gate, form, x),
            None => {
                let [scale, shift] = self.affine(norm, affine, filters, &x.tensor.device());
                (scale, shift, None)
            }
        };
        let name = &self.net.spec.nodes[norm].name;
        let (tensor, moments, means) = match &self.options.norms {
            &Norms::Batch(kind) if self.net.sparse && groups == 1 && stride <= 2 && pad.is_below(kernel) => {
                let [_, in_h, in_w] = self.net.shapes[step.input];
                let shape = ConvShape {
                    in_channels: channels,
                    filters,
                    in_h,
                    in_w,
                    kernel: [kernel; 2],
                    stride,
                    pad: pad.into(),
                };
                let args = SparseArgs {
                    layer: step.conv,
                    shape,
                    groups: self.options.groups.len(),
                    kind,
                    eps,
                    relu: step.relu,
                    active_in: x.active.clone(),
                    active_out: active.clone(),
                };
                let (tensor, moments, means) = sparse_conv::run(data, weight, scale, shift, args);
                (tensor, Some(moments), means)
            }
            _ => {
                let kind = match self.options.norms {
                    Norms::Batch(kind) => kind,
                    Norms::Stored(_) => NormStatistics::All,
                };
                let args = ConvStepArgs {
                    options: unpadded(stride, groups),
                    pad,
                    eps,
                    relu: step.relu,
                    active_out: active.clone(),
                    statistics: self.statistics(name, kind),
                };
                let (tensor, moments) = conv_step::run(data, weight, scale, shift, &args);
                (tensor, moments, None)
            }
        };
        self.moments.extend(moments.map(|moments| (name.clone(), moments)));
        NodeOutput { tensor, active, means }
    }

    /// Equations (2)–(4): saliency from the input, winners for each image, scale π and the shift.
    fn gate(&mut self, gate: usize, form: GateForm, x: &NodeOutput) -> (Tensor<2>, Tensor<2>, Option<Arc<Active>>) {
        let [n, channels, _, _] = x.tensor.dims();
        let filters = self.net.shapes[gate][0];
        let ss = match &x.means {
            Some(means) => sparse_conv::plane_means(x.tensor.clone(), means.clone()),
            None => {
                // The image is signed; after ReLU the L1 norm is the mean.
                let signed = self.is_signed(self.net.spec.nodes[gate].inputs[1]);
                let magnitudes = if signed {
                    x.tensor.clone().abs()
                } else {
                    x.tensor.clone()
                };
                magnitudes.mean_dims(&[2, 3]).reshape([n, channels])
            }
        };
        let ss = match form.subsample {
            Subsample::Mean => ss,
            Subsample::ScaleFree => {
                let root = ss.clone().square().mean_dim(1).sqrt().clamp_min(Subsample::LEAST);
                ss / root
            }
        };
        let phi = self.param(gate, "phi").reshape([channels, filters]);
        let g = activation::relu(ss.matmul(phi) + self.param(gate, "rho").reshape([1, filters]));
        let saliency: Vec<f32> = g.to_data().try_to_vec().unwrap_or_default();
        let position = self.gates.iter().position(|&i| i == gate).unwrap_or(0);
        let mut active = Active::new(filters);
        for (image, row) in saliency.chunks_exact(filters).enumerate() {
            let density = self.options.groups[image * self.options.groups.len() / n][position];
            active.push(winners(row, density.of(filters)));
        }
        let active = Arc::new(active);
        let l1 = g.clone().sum().div_scalar(n as f32);
        self.l1 = Some(match self.l1.take() {
            Some(sum) => sum + l1,
            None => l1,
        });
        // The winner mask takes no gradient: losers' filters, shifts and predictor columns stay as they are.
        let mask = Tensor::<2>::from_data(TensorData::new(active.as_mask(), [n, filters]), &g.device());
        let pi = g * mask.clone();
        let beta = self.param(gate, "beta").reshape([1, filters]);
        let shift = match form.shift {
            Shift::Eq1 => pi.clone() * beta,
            Shift::Released => mask * beta,
        };
        self.traces.push(GateTrace {
            node: gate,
            saliency,
            active: active.clone(),
        });
        (pi, shift, Some(active))
    }

    fn is_signed(&self, mut node: usize) -> bool {
        let nodes = &self.net.spec.nodes;
        while matches!(
            nodes[node].op,
            Op::Dropout { .. } | Op::MaxPool { .. } | Op::AvgPool { .. } | Op::GlobalAvgPool
        ) {
            node = nodes[node].inputs[0];
        }
        !matches!(nodes[node].op, Op::Relu | Op::Relu6)
    }

    fn node(&mut self, i: usize, values: &[Option<NodeOutput>]) -> NodeOutput {
        let node = &self.net.spec.nodes[i];
        let from = |k: usize| value(values, node.inputs[k]);
        let [channels, ..] = self.net.shapes[node.inputs.first().copied().unwrap_or(0)];
        let NodeOutput { tensor, active, means } = from(0);
        let (x, same) = (tensor.clone(), active.clone());
        match node.op {
            Op::Relu => NodeOutput::new(activation::relu(x), same),
            Op::Relu6 => NodeOutput::new(x.clamp(0.0, 6.0), same),
            Op::MaxPool { kernel, stride, pad } => NodeOutput::new(planes::max_pool(x, kernel, stride, pad), same),
            Op::AvgPool { kernel, stride, pad } => NodeOutput::new(planes::avg_pool(x, kernel, stride, pad), same),
            Op::Mul => {
                // Zero where either is, so either list will do.
                let active = same.or_else(|| from(1).active.clone());
                NodeOutput::new(x * from(1).tensor.clone(), active)
            }
            Op::Activation { function } => {
                NodeOutput::new(planes::activate(x, function), same.filter(|_| function.keeps_zero()))
            }
            Op::Concat => {
                let parts = (0..node.inputs.len()).map(|k| from(k).tensor.clone());
                NodeOutput::new(Tensor::cat(parts.collect(), 1), None)
            }
            Op::Select { ref channels } => NodeOutput::new(planes::select(x, channels), None),
            Op::ZeroPad { pad } => NodeOutput::new(planes::zero_pad(x, pad), same),
            Op::Upsample { scale } => NodeOutput::new(planes::upsample(x, scale), same),
            Op::Resize {
                size,
                scale,
                coordinates,
                interpolation,
            } => {
                let [_, _, h, w] = x.dims();
                let [rows, columns] = plane_taps([h, w], size, scale, coordinates, interpolation);
                NodeOutput::new(planes::resize(x, [&rows, &columns]), same)
            }
            Op::Spread { stride } => NodeOutput::new(planes::spread(x, stride), same),
            Op::LayerNorm { eps } => {
                let [gamma, beta] = ["gamma", "beta"].map(|what| self.param(i, what).reshape([1, channels, 1, 1]));
                NodeOutput::new(planes::layer_norm(x, eps) * gamma + beta, None)
            }
            Op::Lrn {
                size,
                alpha,
                beta,
                bias,
            } => NodeOutput::new(planes::lrn(x, size, alpha, beta, bias), same),
            Op::GlobalAvgPool => NodeOutput::new(x.mean_dims(&[2, 3]), same),
            Op::Add => {
                let other = from(1);
                let active = match (same, &other.active) {
                    (Some(a), Some(b)) => Some(Arc::new(a.union(b))),
                    _ => None,
                };
                NodeOutput::new(x + other.tensor.clone(), active)
            }
            Op::Dropout { rate } => match self.options.dropout.filter(|_| rate > 0.0) {
                Some(seed) => NodeOutput::new(dropout(seed, i, rate, x), same),
                None => NodeOutput {
                    tensor: x,
                    active: same,
                    means: means.clone(),
                },
            },
            Op::Flatten => {
                let [n, c, h, w] = x.dims();
                NodeOutput::new(x.reshape([n, c * h * w, 1, 1]), if h * w == 1 { same } else { None })
            }
            Op::Linear { outputs, bias } => {
                let n = x.dims()[0];
                let weight = self.param(i, "weight").reshape([outputs, channels]);
                let mut y = x.reshape([n, channels]).matmul(weight.transpose());
                if bias {
                    y = y + self.param(i, "bias").reshape([1, outputs]);
                }
                NodeOutput::new(y.reshape([n, outputs, 1, 1]), None)
            }
            // A norm or gate that does not follow a convolution directly.
            Op::Norm { eps, affine } => NodeOutput::new(self.lone_norm(i, eps, affine, x), None),
            Op::Outputs { .. } => {
                let n = x.dims()[0];
                let parts = (0..node.inputs.len()).map(|k| from(k).tensor.clone().reshape([n as i64, -1, 1, 1]));
                NodeOutput::new(Tensor::cat(parts.collect(), 1), None)
            }
            Op::Gate { .. } | Op::Conv { .. } | Op::Input => unreachable!("{} is part of a conv step", node.name),
        }
    }

    fn lone_norm(&mut self, i: usize, eps: f32, affine: bool, x: Tensor<4>) -> Tensor<4> {
        let channels = x.dims()[1];
        let [scale, shift] = self.affine(i, affine, channels, &x.device());
        let name = &self.net.spec.nodes[i].name;
        let statistics = self.statistics(name, NormStatistics::All);
        let (y, moments) = conv_step::normalize(x, scale, shift, eps, &statistics, None);
        self.moments.extend(moments.map(|moments| (name.clone(), moments)));
        y
    }
}

/// Bits drawn on the host from (seed, node), so that a step can be repeated exactly on any device.
fn dropout(seed: u64, node: usize, rate: f32, x: Tensor<4>) -> Tensor<4> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(node as u64);
    let mut bytes = vec![0u8; x.dims().iter().product()];
    rng.fill_bytes(&mut bytes);
    let limit = (rate * 256.0).round() as u16;
    let keep = 256.0 / f32::from(256 - limit);
    let mask: Vec<f32> = bytes
        .iter()
        .map(|&b| if u16::from(b) < limit { 0.0 } else { keep })
        .collect();
    let mask = Tensor::<4>::from_data(TensorData::new(mask, x.dims()), &x.device());
    x * mask
}

fn value(values: &[Option<NodeOutput>], i: usize) -> &NodeOutput {
    match &values[i] {
        Some(v) => v,
        None => unreachable!("node {i} is computed before it is read"),
    }
}

/// Options of a convolution whose padding was already added.
fn unpadded(stride: usize, groups: usize) -> ConvOptions<2> {
    ConvOptions::new([stride, stride], [0, 0], [1, 1], groups)
}
