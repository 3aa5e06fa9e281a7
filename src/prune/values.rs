//! Which channels are constant: the same known number at every position of every image.
//!
//! A filter without weights gives its bias, a norm with γ = 0 its β, and what follows of such constants is constant too,
//! where no border shows: a padded window sees fewer of them. A value that depends on the density is none.
//! A masked filter's channel is zero, up to the end of its step.

use anyhow::Result;
use model::checkpoint::Checkpoint;
use model::spec::{GateForm, NetSpec, Op, Shape, Shift, Subsample};
use model::steps::{Step, steps};

/// A layer's weights with zeros where they are masked. `[filters, columns]`.
pub(crate) fn masked_weight(checkpoint: &Checkpoint, node: usize) -> Vec<f32> {
    let name = &checkpoint.spec().nodes[node].name;
    let mut weight = checkpoint.weight(name).data.clone();
    if let Some(mask) = checkpoint.masks.get(name) {
        mask.zero(&mut weight);
    }
    weight
}

/// For each node the norm that makes its bias void, where it has one: a bias before a norm does nothing.
pub(crate) fn norm_after(spec: &NetSpec) -> Vec<Option<usize>> {
    let mut out = vec![None; spec.nodes.len()];
    for step in steps(spec) {
        if let Step::Conv(step) = step {
            out[step.conv] = step.norm;
        }
    }
    out
}

/// Columns of a layer that read one feature.
pub(crate) fn taps(op: &Op) -> usize {
    match *op {
        Op::Conv { kernel, .. } => kernel * kernel,
        _ => 1,
    }
}

/// Groups of a convolution; one of anything else.
pub(crate) fn conv_groups(op: &Op) -> usize {
    match *op {
        Op::Conv { groups, .. } => groups,
        _ => 1,
    }
}

/// What the columns of feature `f` read, in each group of the layer.
pub(crate) fn of_column<'a>(
    values: &'a [Option<f32>],
    op: &Op,
    f: usize,
) -> impl Iterator<Item = &'a Option<f32>> + use<'a> {
    values.iter().skip(f).step_by(values.len() / conv_groups(op))
}

/// Whether a tap (ky, kx) of a convolution meets the image in every window, never its padding.
pub(crate) fn is_inside(op: &Op, input: Shape, output: Shape, tap: usize) -> bool {
    let Op::Conv {
        kernel, stride, pad, ..
    } = *op
    else {
        return true;
    };
    let fits = |k: usize, before: usize, size: usize, windows: usize| {
        k >= before && (windows - 1) * stride + k - before < size
    };
    fits(tap / kernel, pad.top, input[1], output[1]) && fits(tap % kernel, pad.left, input[2], output[2])
}

/// For each node the layer whose masked filters are dead there: itself, or the convolution of its step.
fn masked_by(spec: &NetSpec) -> Vec<usize> {
    let mut out: Vec<usize> = (0..spec.nodes.len()).collect();
    for step in steps(spec) {
        if let Step::Conv(step) = step {
            let gate = step.gate.map(|(gate, _)| gate);
            [step.norm, gate, Some(step.output)]
                .into_iter()
                .flatten()
                .for_each(|i| out[i] = step.conv);
        }
    }
    out
}

/// Whether a gate reads every channel that is not zero, whatever its weights.
pub(crate) fn is_scale_free(op: &Op) -> bool {
    matches!(op, Op::Gate(form) if form.subsample == Subsample::ScaleFree)
}

/// The constant that each feature of each node is, by node; `None` where it is not known to be one.
/// The checkpoint has been checked.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub(crate) fn constants(checkpoint: &Checkpoint) -> Result<Vec<Vec<Option<f32>>>> {
    let spec = checkpoint.spec();
    let shapes = spec.shapes()?;
    let norms = norm_after(spec);
    let masked_by = masked_by(spec);
    let mut out: Vec<Vec<Option<f32>>> = Vec::with_capacity(spec.nodes.len());
    for (i, node) in spec.nodes.iter().enumerate() {
        let from = |k: usize| &out[node.inputs[k]];
        let array = |what: &str| {
            checkpoint
                .weights
                .get(&format!("{}.{what}", node.name))
                .map(|a| &a.data[..])
        };
        let mut values = match node.op {
            Op::Input => vec![None; shapes[i][0]],
            Op::Conv { .. } | Op::Linear { .. } => {
                let weight = masked_weight(checkpoint, i);
                let bias = array("bias").filter(|_| norms[i].is_none());
                let layer = LayerGeometry::new(spec, &shapes, i);
                let columns = (weight.len() / shapes[i][0]).max(1);
                let rows = weight.chunks_exact(columns).enumerate();
                rows.map(|(f, row)| Some(layer.sum(f, row, from(0))? + bias.map_or(0.0, |b| b[f])))
                    .collect()
            }
            Op::Norm { eps, .. } => {
                let (gamma, beta) = (array("gamma"), array("beta"));
                let of = |c: usize| {
                    let (gamma, beta) = (gamma.map_or(1.0, |g| g[c]), beta.map_or(0.0, |b| b[c]));
                    if gamma == 0.0 {
                        return Some(beta);
                    }
                    let mut stats = checkpoint
                        .stats
                        .values()
                        .map(|s| (s[&node.name].mean[c], s[&node.name].var[c]));
                    let (mean, var) = stats.next()?;
                    let x = from(0)[c].filter(|_| stats.all(|other| other == (mean, var)))?;
                    Some(beta + gamma * (x - mean) / (var + eps).sqrt())
                };
                (0..shapes[i][0]).map(of).collect()
            }
            Op::Gate(GateForm { shift, subsample }) => {
                let [phi, rho, beta] = ["phi", "rho", "beta"].map(|what| array(what).unwrap_or(&[]));
                let channels = shapes[i][0];
                let of = |c: usize| {
                    let mut g = rho[c];
                    for (q, x) in from(1).iter().enumerate().filter(|(q, _)| phi[q * channels + c] != 0.0) {
                        match x {
                            Some(0.0) => {}
                            // What a value comes to depends on all others.
                            Some(_) if subsample == Subsample::ScaleFree => g = f32::NAN,
                            Some(x) => g += x.abs() * phi[q * channels + c],
                            None => g = f32::NAN,
                        }
                    }
                    let silent = g <= 0.0;
                    // Who wins depends on the density, so nothing but zero is sure.
                    let zero = match shift {
                        Shift::Eq1 => silent || from(0)[c].is_some_and(|x| x + beta[c] == 0.0),
                        Shift::Released => beta[c] == 0.0 && (silent || from(0)[c] == Some(0.0)),
                    };
                    zero.then_some(0.0)
                };
                (0..channels).map(of).collect()
            }
            Op::Relu => from(0).iter().map(|x| x.map(|x| x.max(0.0))).collect(),
            Op::Relu6 => from(0).iter().map(|x| x.map(|x| x.clamp(0.0, 6.0))).collect(),
            Op::Activation { function } => from(0).iter().map(|x| x.map(|x| function.at(x))).collect(),
            Op::Mul => {
                let of = |(a, b): (&Option<f32>, &Option<f32>)| match (*a, *b) {
                    (Some(0.0), _) | (_, Some(0.0)) => Some(0.0),
                    (a, b) => Some(a? * b?),
                };
                from(0).iter().zip(from(1)).map(of).collect()
            }
            Op::Concat => node.inputs.iter().flat_map(|&j| &out[j]).copied().collect(),
            Op::Select { ref channels } => channels.iter().map(|&c| from(0)[c]).collect(),
            // Zeros among other constants are no constant.
            Op::ZeroPad { .. } | Op::Spread { .. } | Op::Lrn { .. } => {
                from(0).iter().map(|x| x.filter(|&x| x == 0.0)).collect()
            }
            Op::LayerNorm { .. } => vec![None; shapes[i][0]],
            Op::Outputs { .. } => Vec::new(),
            Op::Add => from(0).iter().zip(from(1)).map(|(a, b)| Some((*a)? + (*b)?)).collect(),
            Op::Flatten => {
                let [_, h, w] = shapes[node.inputs[0]];
                from(0).iter().flat_map(|&x| std::iter::repeat_n(x, h * w)).collect()
            }
            Op::MaxPool { .. }
            | Op::AvgPool { .. }
            | Op::GlobalAvgPool
            | Op::Upsample { .. }
            | Op::Resize { .. }
            | Op::Dropout { .. } => from(0).clone(),
        };
        if let Some(mask) = checkpoint.masks.get(&spec.nodes[masked_by[i]].name) {
            let dead = values.iter_mut().zip(&mask.filters).filter(|(_, kept)| !**kept);
            dead.for_each(|(v, _)| *v = Some(0.0));
        }
        out.push(values);
    }
    Ok(out)
}

struct LayerGeometry {
    taps: usize,
    /// Filters that read the same channels, and channels they read.
    rows: usize,
    channels: usize,
    /// By tap, whether padding is never seen.
    inside: Vec<bool>,
}

impl LayerGeometry {
    fn new(spec: &NetSpec, shapes: &[Shape], node: usize) -> Self {
        let op = &spec.nodes[node].op;
        let input = shapes[spec.nodes[node].inputs[0]];
        let (taps, groups) = (taps(op), conv_groups(op));
        Self {
            taps,
            rows: shapes[node][0] / groups,
            channels: input[0] / groups,
            inside: (0..taps).map(|t| is_inside(op, input, shapes[node], t)).collect(),
        }
    }

    /// Σ w·x of filter `f`, if all that it reads is constant.
    fn sum(&self, f: usize, row: &[f32], x: &[Option<f32>]) -> Option<f32> {
        let first = f / self.rows * self.channels;
        let mut sum = 0.0;
        for (column, &w) in row.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let x = x[first + column / self.taps]?;
            if x != 0.0 && !self.inside[column % self.taps] {
                return None;
            }
            sum += f64::from(w * x);
        }
        Some(sum as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::random_model;
    use model::toy::{conv, node};

    #[test]
    fn constants_pass_where_no_border_shows() {
        let spec = NetSpec {
            name: "t".into(),
            input: [1, 4, 4],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(2, 1, 0, true), &[0]),
                node("relu", Op::Relu, &[1]),
                node("open", conv(2, 3, 0, true), &[2]),
                node("padded", conv(2, 3, 1, true), &[2]),
                node("flat", Op::Flatten, &[3]),
                node("last", Op::Linear { outputs: 2, bias: true }, &[5]),
            ],
        };
        let mut model = random_model(spec, 1).expect("builds");
        let mut set = |name: &str, data: &[f32]| model.weights.get_mut(name).expect("there").data.copy_from_slice(data);
        set("a.weight", &[0.0, 2.0]);
        set("a.bias", &[3.0, 5.0]);
        // Filter 0 reads channel 0 alone, filter 1 nothing at all.
        let mut row = [0.0; 36];
        row[..9].fill(0.5);
        set("open.weight", &row);
        set("open.bias", &[1.0, -2.0]);
        row.fill(0.0);
        row[4] = 2.0; // the middle of channel 0
        row[18] = 1.0; // a corner
        set("padded.weight", &row);
        let c = constants(&model).expect("shapes");
        assert_eq!(c[1], [Some(3.0), None]);
        assert_eq!(c[3], [Some(1.0 + 13.5), Some(-2.0)]);
        assert_eq!(
            c[4],
            [Some(6.0), None],
            "the middle never sees the border, the corner does"
        );
        assert_eq!(c[5].len(), 8);
        assert!(c[6].iter().all(Option::is_some));
    }

    #[test]
    fn norms_give_what_their_statistics_agree_on() {
        let spec = NetSpec {
            name: "t".into(),
            input: [1, 2, 2],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(2, 1, 0, true), &[0]),
                node("norm", Op::Norm { eps: 0.0, affine: true }, &[1]),
                node("relu", Op::Relu, &[2]),
            ],
        };
        let mut model = random_model(spec, 1).expect("builds");
        let mut set = |name: &str, data: &[f32]| model.weights.get_mut(name).expect("there").data.copy_from_slice(data);
        set("a.weight", &[0.0, 2.0]);
        set("a.bias", &[9.0, 9.0]);
        set("norm.gamma", &[2.0, 0.0]);
        set("norm.beta", &[1.0, 0.5]);
        let stats = model.stats.get_mut(&model::Density::FULL).expect("there");
        let moments = stats.get_mut("norm").expect("there");
        (moments.mean, moments.var) = (vec![-1.0, 7.0], vec![4.0, 1.0]);
        // The bias is void before a norm: 1 + 2·(0 + 1)/2.
        let c = constants(&model).expect("shapes");
        assert_eq!(c[3], [Some(2.0), Some(0.5)]);
        let mut other = model.stats[&model::Density::FULL].clone();
        other.get_mut("norm").expect("there").mean[0] = 0.0;
        model.stats.insert(model::Density::percent(50).expect("valid"), other);
        assert_eq!(constants(&model).expect("shapes")[3], [None, Some(0.5)]);
    }
}
