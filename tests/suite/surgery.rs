//! Cutting changes no logit: random graphs with random masks, by a slow evaluator, by the engine and by burn.

use burn::tensor::{Device, Tensor, TensorData};
use data::Normalization;
use event::{Dimension, Site, Unit};
use infer::{Options, compile};
use model::checkpoint::{Checkpoint, ModelHeader, Moments, SCHEMA};
use model::cost::{Fractions, total};
use model::mask::{LayerMask, kept_entries};
use model::resample::{Coordinates, Interpolation};
use model::spec::{GateForm, NetSpec, Node, Op, Pad, Shift, Subsample};
use model::steps::{Step, steps};
use model::{Activation, Density, Head, Masks, weights, zoo};
use proptest::prelude::*;
use prune::{Cut, Place, Scope, Sites, apply, cut, groups};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use train::net::{ForwardOptions, Net, Norms};

fn percent(p: u32) -> Density {
    Density::percent(p).expect("valid")
}

/// A model in which no number hides a mistake: some γ, β, ρ and φ are zero, and some statistics are the same at both densities.
fn model(spec: NetSpec, seed: u64) -> Checkpoint {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shapes = spec.shapes().expect("shapes");
    let mut weights = weights::init(&spec, seed).expect("init");
    for (name, array) in &mut weights {
        for v in &mut array.data {
            let sometimes = rng.random_bool(0.3);
            *v = match name.rsplit('.').next() {
                Some("gamma") if sometimes => 0.0,
                Some("gamma") => rng.random_range(0.5..1.5),
                Some("beta" | "bias") if sometimes => 0.0,
                Some("beta" | "bias") => rng.random_range(-0.3..0.5),
                Some("phi") if sometimes => 0.0,
                Some("phi") => rng.random_range(-0.1..0.1),
                Some("rho") => rng.random_range(-0.2..1.0),
                _ => *v,
            };
        }
    }
    let mut stats = BTreeMap::new();
    let norms: Vec<usize> = (0..spec.nodes.len())
        .filter(|&i| matches!(spec.nodes[i].op, Op::Norm { .. }))
        .collect();
    for density in [50, 100] {
        let mut draw = |i: usize| {
            // By channel either the same numbers at every density, or not.
            let mut moments = Moments::default();
            let mut same = ChaCha8Rng::seed_from_u64(seed ^ i as u64);
            for _ in 0..shapes[i][0] {
                let (mean, var) = (same.random_range(-0.3..0.3), same.random_range(0.5..2.0));
                let other = same.random_bool(0.3);
                moments
                    .mean
                    .push(if other { rng.random_range(-0.3..0.3) } else { mean });
                moments.var.push(var);
            }
            (spec.nodes[i].name.clone(), moments)
        };
        stats.insert(percent(density), norms.iter().map(|&i| draw(i)).collect());
    }
    Checkpoint {
        weights,
        masks: Masks::new(),
        stats,
        header: ModelHeader {
            schema: SCHEMA,
            normalization: Normalization {
                mean: vec![0.0; spec.input[0]],
                std: vec![1.0; spec.input[0]],
            },
            classes: (0..spec.classes().expect("classes")).map(|i| i.to_string()).collect(),
            method: "none".into(),
            data: "none".into(),
            densities: vec![percent(50), percent(100)],
            gate_densities: Vec::new(),
            width_multiple: 1,
            byte_inputs: Default::default(),
            channels: Default::default(),
            metrics: vec![],
            recipe: String::new(),
            spec,
        },
    }
}

/// Masks whole groups of channels, single filters, columns, input channels and weights, all with these odds.
fn masked(model: &Checkpoint, odds: f64, seed: u64) -> Masks {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let spec = model.spec();
    let groups = groups(spec).expect("groups");
    let mut masks = Masks::new();
    let mut dead: Vec<Vec<bool>> = Vec::new();
    for group in &groups.list {
        let each = (0..group.channels).map(|_| group.fixed.is_none() && rng.random_bool(odds));
        dead.push(each.collect());
    }
    for (p, node) in spec.nodes.iter().enumerate() {
        if let Op::Conv { .. } | Op::Linear { .. } = node.op {
            let shape = &model.weights[&format!("{}.weight", spec.nodes[p].name)].shape;
            let [filters, columns] = [shape[0], shape[1..].iter().product()];
            let mut mask = LayerMask::whole(filters, columns);
            let taps = shape[2..].iter().product::<usize>();
            let blocks: Vec<bool> = (0..columns / taps).map(|_| rng.random_bool(odds)).collect();
            for (f, kept) in mask.filters.iter_mut().enumerate() {
                let at = groups.channels(p)[f];
                *kept = !dead[at.group][at.channel] && !rng.random_bool(odds / 8.0);
            }
            for (c, kept) in mask.columns.iter_mut().enumerate() {
                *kept = !blocks[c / taps] && !rng.random_bool(odds / 2.0);
            }
            if rng.random_bool(odds / 2.0) {
                mask.elements = (0..filters * columns).map(|_| !rng.random_bool(odds)).collect();
            }
            // Nothing may be emptied.
            mask.filters[0] |= !mask.filters.contains(&true);
            mask.columns[0] |= !mask.columns.contains(&true);
            if mask.count() == 0 {
                mask.elements.clear();
            }
            if rng.random_bool(0.8) {
                masks.insert(spec.nodes[p].name.clone(), mask);
            }
        }
    }
    masks
}

fn images(spec: &NetSpec, n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n * spec.input.iter().product::<usize>())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect()
}

/// The slow way, in double precision: one image, gates at density 1.
fn naive(model: &Checkpoint, image: &[f32]) -> Vec<f64> {
    let spec = model.spec();
    let shapes = spec.shapes().expect("shapes");
    let stats = &model.stats[&Density::FULL];
    // Where a masked filter is dead: from its convolution to the end of its step.
    let mut layers: Vec<usize> = (0..spec.nodes.len()).collect();
    for step in steps(spec) {
        if let Step::Conv(step) = step {
            (step.conv..=step.output).for_each(|i| layers[i] = step.conv);
        }
    }
    let mut values: Vec<Vec<f64>> = Vec::new();
    for (i, node) in spec.nodes.iter().enumerate() {
        let from = |k: usize| &values[node.inputs[k]];
        let shape = |k: usize| shapes[node.inputs[k]];
        let array = |what: &str| model.weights.get(&format!("{}.{what}", node.name)).map(|a| &a.data[..]);
        let weight = |f: usize, c: usize, columns: usize| match model.masks.get(&node.name) {
            Some(mask) if !mask.keeps(f, c) => 0.0,
            _ => f64::from(array("weight").expect("there")[f * columns + c]),
        };
        let [c, h, w] = shapes[i];
        let mut out = vec![0.0; c * h * w];
        match node.op {
            Op::Input => out = image.iter().map(|&v| f64::from(v)).collect(),
            Op::Conv {
                kernel,
                stride,
                pad,
                groups,
                ..
            } => {
                let [inputs, in_h, in_w] = shape(0);
                let each = inputs / groups;
                let is_void = matches!(spec.consumers()[i][..], [n] if matches!(spec.nodes[n].op, Op::Norm { .. }));
                for (at, out) in out.iter_mut().enumerate() {
                    let (f, y, x) = (at / (h * w), at / w % h, at % w);
                    *out = array("bias").filter(|_| !is_void).map_or(0.0, |b| f64::from(b[f]));
                    for column in 0..each * kernel * kernel {
                        let (q, ky, kx) = (column / kernel / kernel, column / kernel % kernel, column % kernel);
                        let (py, px) = (y * stride + ky, x * stride + kx);
                        if (pad.top..pad.top + in_h).contains(&py) && (pad.left..pad.left + in_w).contains(&px) {
                            let channel = f / (c / groups) * each + q;
                            let pixel = from(0)[(channel * in_h + py - pad.top) * in_w + px - pad.left];
                            *out += pixel * weight(f, column, each * kernel * kernel);
                        }
                    }
                }
            }
            Op::Linear { .. } => {
                for (f, out) in out.iter_mut().enumerate() {
                    let n = from(0).len();
                    let sum: f64 = (0..n).map(|q| from(0)[q] * weight(f, q, n)).sum();
                    *out = sum + array("bias").map_or(0.0, |b| f64::from(b[f]));
                }
            }
            Op::Norm { eps, .. } => {
                for (at, out) in out.iter_mut().enumerate() {
                    let f = at / (h * w);
                    let m = &stats[&node.name];
                    let get = |what: &str, or: f64| array(what).map_or(or, |a| f64::from(a[f]));
                    let x = (from(0)[at] - f64::from(m.mean[f])) / (f64::from(m.var[f]) + f64::from(eps)).sqrt();
                    *out = get("gamma", 1.0) * x + get("beta", 0.0);
                }
            }
            Op::Gate(form) => {
                let plane = shape(1)[1] * shape(1)[2];
                let mut means: Vec<f64> = from(1)
                    .chunks(plane)
                    .map(|p| p.iter().map(|v| v.abs()).sum::<f64>() / plane as f64)
                    .collect();
                if form.subsample == Subsample::ScaleFree {
                    let square = means.iter().map(|m| m * m).sum::<f64>() / means.len() as f64;
                    means.iter_mut().for_each(|m| *m /= square.sqrt().max(1e-6));
                }
                for (at, out) in out.iter_mut().enumerate() {
                    let f = at / (h * w);
                    let get = |what: &str, at: usize| f64::from(array(what).expect("there")[at]);
                    let g = means
                        .iter()
                        .enumerate()
                        .map(|(q, m)| m * get("phi", q * c + f))
                        .sum::<f64>()
                        + get("rho", f);
                    *out = match form.shift {
                        Shift::Eq1 => g.max(0.0) * (from(0)[at] + get("beta", f)),
                        Shift::Released => g.max(0.0) * from(0)[at] + get("beta", f),
                    };
                }
            }
            Op::Relu => out = from(0).iter().map(|v| v.max(0.0)).collect(),
            Op::Relu6 => out = from(0).iter().map(|v| v.clamp(0.0, 6.0)).collect(),
            Op::Add => out = from(0).iter().zip(from(1)).map(|(a, b)| a + b).collect(),
            Op::Flatten | Op::Dropout { .. } => out.clone_from(from(0)),
            Op::GlobalAvgPool => {
                let plane = shape(0)[1] * shape(0)[2];
                out = from(0)
                    .chunks(plane)
                    .map(|p| p.iter().sum::<f64>() / plane as f64)
                    .collect();
            }
            Op::MaxPool { kernel, stride, pad } | Op::AvgPool { kernel, stride, pad } => {
                let [_, in_h, in_w] = shape(0);
                for (at, out) in out.iter_mut().enumerate() {
                    let (f, y, x) = (at / (h * w), at / w % h, at % w);
                    let rows = (y * stride).max(pad.top)..(y * stride + kernel).min(in_h + pad.top);
                    let window: Vec<f64> = rows
                        .flat_map(|r| {
                            let columns = (x * stride).max(pad.left)..(x * stride + kernel).min(in_w + pad.left);
                            columns.map(move |s| (r, s))
                        })
                        .map(|(r, s)| from(0)[(f * in_h + r - pad.top) * in_w + s - pad.left])
                        .collect();
                    *out = match node.op {
                        Op::MaxPool { .. } => window.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                        _ => window.iter().sum::<f64>() / window.len() as f64,
                    };
                }
            }
            Op::Activation { function } => out = from(0).iter().map(|&v| activated(function, v)).collect(),
            Op::Mul => {
                let each = h * w / (shape(1)[1] * shape(1)[2]);
                for (at, out) in out.iter_mut().enumerate() {
                    *out = from(0)[at] * from(1)[at / each];
                }
            }
            Op::Concat | Op::Outputs { .. } => out = node.inputs.iter().flat_map(|&j| &values[j]).copied().collect(),
            Op::Select { ref channels } => {
                let plane = |c: &usize| &from(0)[c * h * w..(c + 1) * h * w];
                out = channels.iter().flat_map(plane).copied().collect();
            }
            Op::ZeroPad { pad } => {
                let [_, in_h, in_w] = shape(0);
                for (at, v) in from(0).iter().enumerate() {
                    let (f, y, x) = (at / (in_h * in_w), at / in_w % in_h, at % in_w);
                    out[(f * h + y + pad.top) * w + x + pad.left] = *v;
                }
            }
            Op::Upsample { scale } => {
                let [_, in_h, in_w] = shape(0);
                for (at, out) in out.iter_mut().enumerate() {
                    let (f, y, x) = (at / (h * w), at / w % h, at % w);
                    *out = from(0)[(f * in_h + y / scale) * in_w + x / scale];
                }
            }
            Op::Resize { size, scale, .. } => {
                // Linear by half pixels alone is tried.
                let [_, in_h, in_w] = shape(0);
                let place = |x: usize, k: usize, n: usize| {
                    let at = (x as f64 + 0.5) / f64::from(scale[k]) - 0.5;
                    at.clamp(0.0, n as f64 - 1.0)
                };
                assert_eq!(size, [h, w]);
                for (at, out) in out.iter_mut().enumerate() {
                    let (f, y, x) = (at / (h * w), place(at / w % h, 0, in_h), place(at % w, 1, in_w));
                    let weight = |p: f64, q: usize| (1.0 - (p - q as f64).abs()).max(0.0);
                    let pixels = (0..in_h * in_w)
                        .map(|p| weight(y, p / in_w) * weight(x, p % in_w) * from(0)[f * in_h * in_w + p]);
                    *out = pixels.sum();
                }
            }
            Op::Spread { stride } => {
                let [_, in_h, in_w] = shape(0);
                for (at, v) in from(0).iter().enumerate() {
                    let (f, y, x) = (at / (in_h * in_w), at / in_w % in_h, at % in_w);
                    out[(f * h + y * stride) * w + x * stride] = *v;
                }
            }
            Op::LayerNorm { eps } => {
                for (at, out) in out.iter_mut().enumerate() {
                    let (f, p) = (at / (h * w), at % (h * w));
                    let column: Vec<f64> = (0..c).map(|k| from(0)[k * h * w + p]).collect();
                    let mean = column.iter().sum::<f64>() / c as f64;
                    let var = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / c as f64;
                    let get = |what: &str| f64::from(array(what).expect("there")[f]);
                    *out = (column[f] - mean) / (var + f64::from(eps)).sqrt() * get("gamma") + get("beta");
                }
            }
            Op::Lrn {
                size,
                alpha,
                beta,
                bias,
            } => {
                for (at, out) in out.iter_mut().enumerate() {
                    let (f, p) = (at / (h * w), at % (h * w));
                    let (before, after) = ((size - 1) / 2, size / 2);
                    let near = (0..c).filter(|k| k + before >= f && *k <= f + after);
                    let sum: f64 = near.map(|k| from(0)[k * h * w + p].powi(2)).sum();
                    let scale = f64::from(bias) + f64::from(alpha) / size as f64 * sum;
                    *out = from(0)[at] / scale.powf(f64::from(beta));
                }
            }
        }
        if let Some(mask) = model.masks.get(&spec.nodes[layers[i]].name) {
            for (plane, _) in out.chunks_mut(h * w).zip(&mask.filters).filter(|(_, kept)| !**kept) {
                plane.fill(0.0);
            }
        }
        values.push(out);
    }
    values.pop().expect("nodes")
}

/// Share of normal numbers below x, by Simpson's rule over their density.
fn normal(x: f64) -> f64 {
    // Beyond, it is 0 or 1, and steps over so long a way would be too wide for the bell.
    let x = x.clamp(-9.0, 9.0);
    let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
    let n = 200;
    let step = x / f64::from(n);
    let weight = |k: i32| {
        if k == 0 || k == n {
            1.0
        } else {
            f64::from(2 + 2 * (k % 2))
        }
    };
    let area: f64 = (0..=n).map(|k| weight(k) * density(f64::from(k) * step)).sum();
    0.5 + area * step / 3.0
}

/// By other formulas than the engine's, in double precision.
fn activated(function: Activation, x: f64) -> f64 {
    let logistic = |x: f64| 0.5 * (1.0 + (0.5 * x).tanh());
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    let wide = f64::from;
    match function {
        Activation::Sigmoid => logistic(x),
        Activation::HardSigmoid { slope, offset } => (wide(slope) * x + wide(offset)).clamp(0.0, 1.0),
        Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::Silu => x * logistic(x),
        Activation::Tanh => (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
        Activation::LeakyRelu { slope } => x.max(0.0) + wide(slope) * x.min(0.0),
        Activation::Elu { scale } => x.max(0.0) + wide(scale) * (x.min(0.0).exp() - 1.0),
        Activation::Softplus => softplus(x),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Gelu => x * normal(x),
        Activation::Erf => 2.0 * normal(x * std::f64::consts::SQRT_2) - 1.0,
        Activation::Clip { least, most } => {
            let x = least.map_or(x, |bound| x.max(wide(bound)));
            most.map_or(x, |bound| x.min(wide(bound)))
        }
    }
}

fn naive_all(model: &Checkpoint, images: &[f32]) -> Vec<f64> {
    let size = model.spec().input.iter().product();
    images.chunks(size).flat_map(|image| naive(model, image)).collect()
}

/// What masks leave out zeroed: all that burn knows of them.
fn zeroed(model: &Checkpoint) -> Checkpoint {
    let mut model = model.clone();
    for (name, kept) in kept_entries(model.spec(), &model.masks).expect("shapes") {
        let data = &mut model.weights.get_mut(&name).expect("there").data;
        data.iter_mut()
            .zip(kept)
            .filter(|(_, kept)| !kept)
            .for_each(|(v, _)| *v = 0.0);
    }
    model
}

fn engine(model: &Checkpoint, images: &[f32]) -> Vec<f64> {
    let options = Options {
        threads: 1,
        batch: 8,
        ..Options::default()
    };
    let mut engine = compile(model, &options).expect("compiles");
    engine.run(images).logits.iter().map(|&v| f64::from(v)).collect()
}

fn burn(model: &Checkpoint, images: &[f32]) -> Vec<f64> {
    let model = zeroed(model);
    let spec = Arc::new(model.spec().clone());
    let device = Device::flex();
    let net = Net::new(spec.clone(), &model.weights, &device).expect("fits");
    let [c, h, w] = spec.input;
    let x = Tensor::from_data(
        TensorData::new(images.to_vec(), [images.len() / (c * h * w), c, h, w]),
        &device,
    );
    let pass = ForwardOptions {
        groups: &[vec![Density::FULL; spec.gates().len()]],
        norms: Norms::Stored(&model.stats[&Density::FULL]),
        dropout: None,
    };
    let logits = net.forward(&net.params, x, &pass).expect("runs").logits;
    logits
        .into_data()
        .try_to_vec::<f32>()
        .expect("floats")
        .into_iter()
        .map(f64::from)
        .collect()
}

#[track_caller]
fn close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    assert!(got.iter().chain(want).all(|v| v.is_finite()), "{what}: not finite");
    // Logits near zero are differences of numbers of about 1.
    let size = want.iter().fold(0.1f64, |m, v| m.max(v.abs()));
    let off = got.iter().zip(want).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(off <= 1e-5 * size, "{what}: off by {off} of {size}");
}

struct Builder {
    spec: NetSpec,
    /// Whether convolutions may have groups.
    grouped: bool,
}

impl Builder {
    fn push(&mut self, op: Op, inputs: &[usize]) -> usize {
        let n = self.spec.nodes.len();
        self.spec.nodes.push(Node {
            name: format!("{}{n}", op.kind()),
            op,
            inputs: inputs.to_vec(),
        });
        n
    }

    fn shape(&self, node: usize) -> [usize; 3] {
        self.spec.shapes().expect("shapes")[node]
    }

    fn norm(&mut self, x: usize, affine: bool) -> usize {
        self.push(Op::Norm { eps: 1e-3, affine }, &[x])
    }

    fn conv(&mut self, x: usize, filters: usize, kernel: usize, pad: Pad, n: u8) -> usize {
        let [_, h, w] = self.shape(x);
        let fits = kernel <= (h + pad.top + pad.bottom).min(w + pad.left + pad.right);
        let op = Op::Conv {
            filters,
            kernel: if fits { kernel } else { 1 },
            stride: 1 + usize::from(n & 1),
            pad: if fits { pad } else { Pad::VALID },
            bias: n & 2 > 0,
            groups: 1,
        };
        self.push(op, &[x])
    }

    /// One block: what kind, and three numbers to vary it.
    fn block(&mut self, x: usize, [kind, a, b, n]: [u8; 4]) -> usize {
        let [channels, h, w] = self.shape(x);
        // Below every window.
        let window = Pad {
            top: usize::from(n >> 2 & 1),
            bottom: usize::from(n >> 3 & 1),
            left: usize::from(n >> 4 & 1),
            right: usize::from(n >> 5 & 1),
        };
        let filters = 1 + usize::from(a) % 5;
        let kernel = 1 + usize::from(b) % 3;
        let side = |shift: u8| usize::from(n >> shift & 1).min(kernel - 1);
        let pad = Pad {
            top: side(2),
            bottom: side(3),
            left: side(4),
            right: side(5),
        };
        let function = [
            Activation::Sigmoid,
            Activation::HardSigmoid {
                slope: 0.2,
                offset: 0.5,
            },
            Activation::HardSwish,
            Activation::Silu,
            Activation::Tanh,
            Activation::LeakyRelu { slope: 0.1 },
            Activation::Elu { scale: 0.7 },
            Activation::Softplus,
            Activation::Mish,
            Activation::Gelu,
            Activation::Clip {
                least: Some(-0.5),
                most: None,
            },
        ][usize::from(n) % 11];
        match kind % 20 {
            0 | 1 => {
                let y = self.conv(x, filters, kernel, pad, n);
                let y = if a & 64 > 0 { y } else { self.norm(y, a & 32 == 0) };
                match b >> 5 {
                    0 | 1 => y,
                    2 => self.push(Op::Relu6, &[y]),
                    _ => self.push(Op::Relu, &[y]),
                }
            }
            2 => {
                let y = self.conv(x, filters, kernel, pad, n & !2);
                let y = self.norm(y, false);
                let form = GateForm::ALL[usize::from(a >> 6) % 3];
                let y = self.push(Op::Gate(form), &[y, x]);
                if b & 64 > 0 { y } else { self.push(Op::Relu, &[y]) }
            }
            3 => {
                let same = Pad::all(1);
                let y = self.conv(x, filters, 3, same, n & 2);
                let y = self.norm(y, true);
                let y = self.push(Op::Relu, &[y]);
                let y = self.conv(y, channels, 3, same, 0);
                let y = self.norm(y, a & 64 > 0);
                let y = self.push(Op::Add, &[y, x]);
                if b & 64 > 0 { y } else { self.push(Op::Relu, &[y]) }
            }
            4 => {
                let (left, right) = (
                    self.conv(x, filters, 1, Pad::VALID, n),
                    self.conv(x, filters, 1, Pad::VALID, n ^ 2),
                );
                self.push(Op::Add, &[left, right])
            }
            5 if self.grouped => {
                let op = Op::Conv {
                    filters: channels,
                    kernel: if h.min(w) >= 3 { 3 } else { 1 },
                    stride: 1,
                    pad: if h.min(w) >= 3 { Pad::all(1) } else { Pad::VALID },
                    bias: n & 2 > 0,
                    groups: channels,
                };
                let y = self.push(op, &[x]);
                let y = if a & 64 > 0 { y } else { self.norm(y, true) };
                if b & 64 > 0 { y } else { self.push(Op::Relu, &[y]) }
            }
            6 if self.grouped => {
                // Few groups lose the same channels each; of many some go whole.
                let groups = if a & 64 > 0 { 7 } else { 2 + 2 * usize::from(b & 32 > 0) };
                let op = |filters: usize, kernel: usize| Op::Conv {
                    filters: groups * filters,
                    kernel,
                    stride: 1,
                    pad: Pad::all(kernel / 2),
                    bias: n & 2 > 0,
                    groups,
                };
                let y = self.conv(x, groups * (1 + filters % 2), 1, Pad::VALID, 2);
                let y = if b & 64 > 0 { self.norm(y, true) } else { y };
                let y = self.push(op(1 + filters % 3, if h.min(w) >= 3 { 3 } else { 1 }), &[y]);
                if b & 32 > 0 { y } else { self.norm(y, true) }
            }
            7 if h.min(w) >= 3 => self.push(
                match n % 3 {
                    0 => Op::MaxPool {
                        kernel: 2,
                        stride: 2,
                        pad: Pad::VALID,
                    },
                    1 => Op::MaxPool {
                        kernel: 3,
                        stride: 2,
                        pad: if a & 64 > 0 { Pad::all(1) } else { window },
                    },
                    _ => Op::AvgPool {
                        kernel: 2 + usize::from(a >> 6 & 1),
                        stride: 1 + usize::from(a >> 5 & 1),
                        pad: if a & 64 > 0 { window } else { Pad::VALID },
                    },
                },
                &[x],
            ),
            8 => {
                let y = self.norm(x, true);
                self.push(Op::Relu, &[y])
            }
            9 => self.push(Op::Dropout { rate: 0.5 }, &[x]),
            10 | 11 => self.push(Op::Activation { function }, &[x]),
            // Squeeze and excitation.
            12 => {
                let y = self.push(Op::GlobalAvgPool, &[x]);
                let y = self.conv(y, filters, 1, Pad::VALID, 2);
                let y = self.push(Op::Relu, &[y]);
                let y = self.conv(y, channels, 1, Pad::VALID, 2);
                let y = self.push(Op::Activation { function }, &[y]);
                self.push(Op::Mul, &[x, y])
            }
            // Branches side by side, one of them maybe the input itself.
            13 | 14 => {
                let y = self.conv(x, filters, 3, Pad::all(1), 2);
                let y = if a & 64 > 0 { self.norm(y, true) } else { y };
                let z = if b & 64 > 0 {
                    x
                } else {
                    self.conv(x, 2, 1, Pad::VALID, 0)
                };
                self.push(Op::Concat, &if b & 32 > 0 { [y, z] } else { [z, y] })
            }
            // A part goes its own way, and comes back shuffled.
            15 if channels > 1 => {
                let half = channels / 2;
                let left = self.push(
                    Op::Select {
                        channels: (0..half).collect(),
                    },
                    &[x],
                );
                let right = self.push(
                    Op::Select {
                        channels: (half..channels).collect(),
                    },
                    &[x],
                );
                let y = self.conv(left, half, 1, Pad::VALID, 2);
                let y = if b & 64 > 0 { self.push(Op::Add, &[y, left]) } else { y };
                let y = self.push(Op::Relu, &[y]);
                let y = self.push(Op::Concat, &[y, right]);
                let channels = (0..channels).map(|k| (k * 2 + k / half.max(1)) % channels).collect();
                self.push(Op::Select { channels }, &[y])
            }
            16 if h * w < 400 => {
                let size = [h + 1 + usize::from(n) % 3, w + usize::from(n) % 5];
                let op = match a >> 6 {
                    0 => Op::Upsample { scale: 2 },
                    1 => Op::Spread { stride: 2 },
                    _ => Op::Resize {
                        size,
                        scale: [size[0] as f32 / h as f32, size[1] as f32 / w as f32],
                        coordinates: Coordinates::HalfPixel,
                        interpolation: Interpolation::Linear,
                    },
                };
                let y = self.push(op, &[x]);
                self.conv(y, filters, 3, Pad::all(1), n)
            }
            17 => self.push(Op::ZeroPad { pad: window }, &[x]),
            18 => {
                let y = self.conv(x, 3, 1, Pad::VALID, 2);
                let op = if a & 64 > 0 {
                    Op::LayerNorm { eps: 1e-2 }
                } else {
                    Op::Lrn {
                        size: 1 + usize::from(b) % 4,
                        alpha: 0.5,
                        beta: 0.75,
                        bias: 1.0,
                    }
                };
                let y = self.push(op, &[y]);
                if b & 64 > 0 {
                    y
                } else {
                    self.push(Op::Activation { function }, &[y])
                }
            }
            _ => {
                let (left, right) = (
                    self.conv(x, filters, 1, Pad::VALID, 2),
                    self.conv(x, filters, 1, Pad::VALID, 2),
                );
                self.push(Op::Mul, &[left, right])
            }
        }
    }
}

/// A network of these blocks.
fn net(blocks: &[[u8; 4]], head: [u8; 4], grouped: bool) -> NetSpec {
    let mut b = Builder {
        grouped,
        spec: NetSpec {
            name: "random".into(),
            input: [2, 7, 6],
            nodes: vec![],
        },
    };
    let mut x = b.push(Op::Input, &[]);
    for &block in blocks {
        x = b.block(x, block);
    }
    if head[0] & 1 > 0 {
        x = b.push(Op::GlobalAvgPool, &[x]);
    }
    x = b.push(Op::Flatten, &[x]);
    if head[1] & 1 > 0 {
        x = b.push(
            Op::Linear {
                outputs: 1 + usize::from(head[1]) % 7,
                bias: head[1] & 32 > 0,
            },
            &[x],
        );
        if head[2] & 1 > 0 {
            x = b.norm(x, true);
        }
        x = b.push(Op::Relu, &[x]);
    }
    let last = b.push(
        Op::Linear {
            outputs: 3,
            bias: head[3] & 1 > 0,
        },
        &[x],
    );
    // Any value on the way may be an output, too, also one that goes on.
    let other = usize::from(head[2]) % b.spec.nodes.len();
    // What a gate multiplies is nobody else's.
    let gates = b.spec.nodes.iter().filter(|n| matches!(n.op, Op::Gate(_)));
    let mut gated = gates.flat_map(|gate| [gate.inputs[0], b.spec.nodes[gate.inputs[0]].inputs[0]]);
    if head[3] & 6 == 6 && !gated.any(|i| i == other) {
        let heads = vec![Head::plain("logits", &[3]), Head::plain("other", &b.shape(other))];
        b.push(Op::Outputs { heads }, &[last, other]);
    }
    b.spec
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_network_says_what_the_masked_one_said(
        blocks in prop::collection::vec(any::<[u8; 4]>(), 1..7),
        head: [u8; 4],
        seed: u64,
        odds in prop::sample::select(vec![0.1, 0.3, 0.6]),
        grouped: bool,
        applied: bool,
        multiple in prop::sample::select(vec![1, 1, 2, 3, 4]),
    ) {
        let spec = net(&blocks, head, grouped);
        let mut model = model(spec, seed);
        let masks = masked(&model, odds, seed);
        if applied {
            // Masks that leave nothing are refused.
            let Ok(made) = apply(&model, &masks) else { return Ok(()) };
            model = made;
        } else {
            model.masks = masks;
        }
        model.header.width_multiple = multiple;
        let Cut { checkpoint: small, notes } = cut(&model).expect("cuts");
        assert_widths(&model, &small);
        let x = images(model.spec(), 2, seed);
        let want = naive_all(&model, &x);
        close(&naive_all(&small, &x), &want, "naive");
        assert_subset(&zeroed(&model), &small);
        // To burn and the engine a masked filter is dead, whatever constant follows from it here; where none is left they agree.
        let all_live = |m: &Checkpoint| m.masks.values().all(|mask| !mask.filters.contains(&false));
        for (m, what) in [(&model, "masked"), (&small, "cut")] {
            if all_live(m) {
                close(&burn(m, &x), &want, &format!("burn, {what}"));
                close(&engine(m, &x), &want, &format!("engine, {what}"));
            }
        }
        let params = |m: &Checkpoint| m.weights.values().map(|a| a.data.len()).sum::<usize>();
        // A fold may add a bias to each layer.
        let layers = |m: &Checkpoint| m.weights.iter().filter(|(n, _)| n.ends_with(".weight")).map(|(_, a)| a.shape[0]).sum::<usize>();
        prop_assert!(params(&small) <= params(&model) + layers(&small));
        let left = groups(small.spec()).expect("groups");
        for group in left.list.iter().filter(|g| applied && multiple == 1 && notes.is_empty() && g.fixed.is_none()) {
            let is_masked = |c: usize, p: &Place| {
                let mask = small.masks.get(&small.spec().nodes[p.node].name);
                p.filter(c).is_none_or(|f| mask.is_some_and(|m| !m.filters[f]))
            };
            let dead = |c: usize| group.producers.iter().all(|p| is_masked(c, p));
            // The last channel stays, dead or not.
            prop_assert!(group.channels == 1 || !(0..group.channels).any(dead), "{} could be smaller", group.name);
        }
        let again = cut(&small).expect("cuts");
        prop_assert_eq!(again.checkpoint.spec(), small.spec(), "once is enough: {:?}", notes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_network_costs_no_more_when_cut_than_was_counted(
        blocks in prop::collection::vec(any::<[u8; 4]>(), 1..7),
        head: [u8; 4],
        seed: u64,
        share in 0.0f32..1.0,
        grouped: bool,
        multiple in prop::sample::select(vec![1, 3]),
    ) {
        let mut model = model(net(&blocks, head, grouped), seed);
        model.header.width_multiple = multiple;
        let scope = Scope::new(&[Dimension::Filter], 0.0, Unit::Macs);
        // There may be nothing to prune.
        let Ok(sites) = Sites::new(&model, &scope) else { return Ok(()) };
        let densities = vec![share; sites.list.len()];
        let masks = sites.masks(&densities, &model.weights).expect("masks");
        let small = cut(&apply(&model, &masks).expect("applies")).expect("cuts").checkpoint;
        let (counted, cost) = (sites.cost(&densities), total(small.spec(), &small.masks, &Fractions::dense(small.spec())).expect("cost"));
        // A layer keeps its last channel, dead or not; what is dead is not counted.
        let has_last = groups(small.spec()).expect("groups").list.iter().any(|g| g.channels == 1);
        prop_assert!(cost.macs <= counted.macs || has_last, "{cost:?} for {counted:?}");
    }
}

#[test]
fn what_a_norm_before_its_convolution_holds_is_counted() {
    // Two blocks of norm, ReLU, convolution, twice, then a sum: ResNet with pre-activation.
    let mut b = Builder {
        grouped: false,
        spec: NetSpec {
            name: "pre-activation".into(),
            input: [2, 7, 6],
            nodes: vec![],
        },
    };
    let image = b.push(Op::Input, &[]);
    let mut x = b.conv(image, 8, 3, Pad::all(1), 0);
    for _ in 0..2 {
        let mut y = x;
        for _ in 0..2 {
            y = b.norm(y, true);
            y = b.push(Op::Relu, &[y]);
            y = b.conv(y, 8, 3, Pad::all(1), 0);
        }
        x = b.push(Op::Add, &[y, x]);
    }
    for op in [
        Op::Norm {
            eps: 1e-3,
            affine: true,
        },
        Op::Relu,
        Op::GlobalAvgPool,
        Op::Flatten,
    ] {
        x = b.push(op, &[x]);
    }
    b.push(Op::Linear { outputs: 3, bias: true }, &[x]);
    let mut model = model(b.spec, 1);
    // Nothing else is constant.
    let gammas = model.weights.iter_mut().filter(|(name, _)| name.ends_with("gamma"));
    gammas.for_each(|(_, a)| a.data.fill(1.1));
    let stats = model.stats[&Density::FULL].clone();
    model.stats.values_mut().for_each(|s| s.clone_from(&stats));
    let sites = Sites::new(&model, &Scope::new(&[Dimension::Filter], 0.0, Unit::Macs)).expect("sites");
    let densities = vec![0.4; sites.list.len()];
    let small =
        cut(&apply(&model, &sites.masks(&densities, &model.weights).expect("masks")).expect("applies")).expect("cuts");
    assert!(
        small.notes.iter().any(|n| n.contains("pads with zeros")),
        "{:?}",
        small.notes
    );
    let cost = total(
        small.checkpoint.spec(),
        &small.checkpoint.masks,
        &Fractions::dense(small.checkpoint.spec()),
    )
    .expect("cost");
    let counted = sites.cost(&densities);
    assert_eq!((cost.macs, cost.params), (counted.macs, counted.params));
}

/// Every layer's weights are some rows and columns of what they were, to the bit and in order, whichever the program says; zeros
/// where they read what pads a width.
fn assert_subset(whole: &Checkpoint, small: &Checkpoint) {
    // The first places at which these follow each other.
    let places = |n: usize, of: usize, fits: &dyn Fn(usize, usize) -> bool| {
        let mut next = 0;
        let place = |k: usize| {
            next += (next..of).position(|at| fits(k, at))? + 1;
            Some(next - 1)
        };
        (0..n).map(place).collect::<Option<Vec<usize>>>()
    };
    for (name, array) in small.weights.iter().filter(|(name, _)| name.ends_with(".weight")) {
        let before = &whole.weights[name];
        let ([rows, columns], [all_rows, all_columns]) = (array.matrix(), before.matrix());
        let row = |r: usize| &array.data[r * columns..][..columns];
        let row_before = |r: usize| &before.data[r * all_columns..][..all_columns];
        let live: Vec<usize> = (0..rows).filter(|&r| row(r).iter().any(|w| *w != 0.0)).collect();
        let is_part = |k: usize, at: usize| {
            let (part, of) = (row(live[k]), row_before(at));
            places(columns, all_columns, &|c, from| part[c] == of[from] || part[c] == 0.0).is_some()
        };
        let from = places(live.len(), all_rows, &is_part).unwrap_or_else(|| panic!("{name} has other rows"));
        let same = |c: usize, at: usize| {
            let mut pairs = live.iter().zip(&from).map(|(&r, &f)| (row(r)[c], row_before(f)[at]));
            pairs.all(|(now, before)| now == before || now == 0.0)
        };
        assert!(
            places(columns, all_columns, &same).is_some(),
            "{name} has other columns"
        );
    }
}

/// What was cut leaves multiples of what the header says; layers of fewer channels may have any width.
fn assert_widths(whole: &Checkpoint, small: &Checkpoint) {
    if whole.is_gated() {
        return;
    }
    let multiple = small.header.width_multiple;
    // Parts of a layer that go different ways have a width each.
    let groups = groups(whole.spec()).expect("groups");
    let widths = |m: &Checkpoint| -> Vec<usize> {
        let nodes = m.spec().nodes.iter().enumerate();
        // Of fewer tied channels than the multiple, any number stays.
        let undivided = nodes.filter(|(i, _)| match groups.of_node(*i)[..] {
            [group] => groups.list[group].channels >= multiple,
            _ => false,
        });
        let weights = undivided.map(|(_, n)| m.weights.get(&format!("{}.weight", n.name)));
        weights.flatten().map(|w| w.shape[0]).collect()
    };
    for (before, after) in widths(whole).into_iter().zip(widths(small)) {
        let fits = after == before || before < multiple || after.is_multiple_of(multiple);
        assert!(fits, "{after} of {before}, in multiples of {multiple}");
    }
}

#[test]
fn widths_of_every_network_are_multiples_though_columns_fall_away_too() {
    for name in zoo::KINDS {
        let mut model = model(zoo::build(name, [3, 32, 32], 5, 0.25).expect("builds"), 4);
        model.header.width_multiple = 8;
        let sites = Sites::new(&model, &Scope::default()).expect("sites");
        let share = |s: &Site| if s.dimension == Dimension::Filter { 0.55 } else { 0.1 };
        let densities: Vec<f32> = sites.list.iter().map(share).collect();
        let masked = apply(&model, &sites.masks(&densities, &model.weights).expect("masks")).expect("applies");
        let small = cut(&masked).expect("cuts").checkpoint;
        assert_widths(&model, &small);
        let cost = |m: &Checkpoint| {
            total(m.spec(), &m.masks, &Fractions::dense(m.spec()))
                .expect("cost")
                .macs
        };
        assert!(cost(&small) <= sites.cost(&densities).macs, "{name}: budgets hold");
        assert!(cost(&small) < cost(&model) / 4, "{name}: something is cut");
        let x = images(masked.spec(), 1, 3);
        close(&engine(&small, &x), &engine(&masked, &x), name);
    }
}

/// Cuts a network of the zoo: half of the channels of each group, a third of the columns of what is left.
fn zoo_model(name: &str, gated: Option<GateForm>) -> (Checkpoint, Checkpoint) {
    let mut spec = zoo::build(name, [3, 32, 32], 5, 0.1).expect("builds");
    if let Some(form) = gated {
        spec = zoo::gated(&spec, form);
    }
    let model = model(spec, 4);
    let scope = Scope::default();
    let sites = Sites::new(&model, &scope).expect("sites");
    let share = |s: &Site| if s.dimension == Dimension::Filter { 0.5 } else { 0.67 };
    let densities: Vec<f32> = sites.list.iter().map(share).collect();
    let masks = sites.masks(&densities, &model.weights).expect("masks");
    let masked = apply(&model, &masks).expect("applies");
    let cost = |m: &Checkpoint| total(m.spec(), &m.masks, &Fractions::dense(m.spec())).expect("cost");
    let small = cut(&masked).expect("cuts").checkpoint;
    let spent = sites.cost(&densities);
    let (before, after) = (cost(&masked), cost(&small));
    assert!(
        after.macs <= spent.macs && after.params <= spent.params,
        "{name}: {after:?} for {spent:?}"
    );
    assert!(after.params < before.params, "{name}");
    (masked, small)
}

#[test]
fn every_network_is_cut_to_what_was_counted_and_runs_the_same_in_burn_and_in_the_engine() {
    for name in zoo::KINDS {
        for gated in [None].into_iter().chain(GateForm::ALL.map(Some)) {
            let (masked, small) = zoo_model(name, gated);
            let x = images(masked.spec(), 2, 3);
            let want = burn(&masked, &x);
            close(&engine(&masked, &x), &want, name);
            close(&engine(&small, &x), &want, name);
            close(&burn(&small, &x), &want, name);
            let file = small.to_bytes().expect("writes");
            assert_eq!(Checkpoint::from_bytes(&file).expect("reads"), small);
        }
    }
}

#[test]
fn networks_with_depthwise_convolutions_run_the_same_when_cut() {
    // conv relu, depthwise norm relu, conv norm relu
    let spec = net(&[[0, 64, 2, 2], [5, 0, 0, 2], [0, 3, 2, 60]], [1, 0, 0, 1], true);
    let mut model = model(spec, 1);
    for (name, array) in &mut model.weights {
        if name.ends_with("gamma") {
            array.data.fill(1.1);
        }
    }
    let groups = groups(model.spec()).expect("groups");
    let tied = &groups.list[1];
    assert_eq!(tied.producers.len(), 2);
    let mut masks = Masks::new();
    for p in &tied.producers {
        let name = &model.spec().nodes[p.node].name;
        let shape = &model.weights[&format!("{name}.weight")].shape;
        let mut mask = LayerMask::whole(shape[0], shape[1..].iter().product());
        [1, 3].iter().for_each(|&c: &usize| mask.filters[c] = false);
        masks.insert(name.clone(), mask);
    }
    let masked = apply(&model, &masks).expect("applies");
    let small = cut(&masked).expect("cuts").checkpoint;
    let deep = small.spec().nodes[tied.producers[1].node].clone();
    assert!(
        matches!(
            deep.op,
            Op::Conv {
                filters: 3,
                groups: 3,
                ..
            }
        ),
        "{deep:?}"
    );
    let x = images(masked.spec(), 2, 3);
    let want = naive_all(&masked, &x);
    for run in [burn, engine] {
        close(&run(&masked, &x), &want, "masked");
        close(&run(&small, &x), &want, "cut");
    }
}
