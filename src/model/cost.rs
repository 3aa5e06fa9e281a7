//! What a network costs for one image: MACs, parameters, memory traffic and peak memory, layer by layer.
//! Arithmetic on a spec; knows nothing of time (that is measured) or of weights.
//!
//! Conventions (FBS, arXiv 1810.05331, and its code): a MAC is one multiply–accumulate, biases and norms are free, float32.
//! Under densities δ a layer does `k²·C_in·δ_in·C_out·δ_out·H·W` MACs; a gate adds its predictor, `⌊C_in·δ_in⌋·C_out`,
//! and one multiplication for each output element, counted densely.

use super::mask::{Density, LayerMask, Masks};
use super::spec::{NetSpec, Op, Shape};
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Bytes of one float32.
const FLOAT: f64 = 4.0;

/// The cost of a network, or of a part of it, for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Multiply–accumulates: convolutions, linear layers, predictors and gates.
    pub macs: u64,
    /// Of these, convolutions and linear layers alone.
    pub macs_conv: u64,
    /// Trainable numbers.
    pub params: u64,
    /// Weights read, in bytes.
    pub weight_bytes: u64,
    /// Activations read and written, in bytes.
    pub activation_bytes: u64,
    /// Largest amount of activations alive at once, in bytes.
    pub peak_bytes: u64,
}

/// One layer's share of the cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerCost {
    /// Node index in the spec.
    pub node: usize,
    /// The layer's name.
    pub name: String,
    /// Its cost; `peak_bytes` is what is alive while it runs.
    pub cost: Cost,
}

/// The active fraction δ of each node's channels, 0 to 1: nominal from densities, or measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Fractions(pub Vec<f64>);

impl Fractions {
    /// Everything active.
    pub fn dense(spec: &NetSpec) -> Self {
        Self(vec![1.0; spec.nodes.len()])
    }

    /// What densities promise: exactly ⌈C·d⌉ channels behind each gate, carried through norms, pools and dropout.
    /// `densities` has one entry a gate, in network order; a sum of two sets is taken as the union of independent ones.
    ///
    /// # Errors
    /// As [`NetSpec::shapes`].
    pub fn nominal(spec: &NetSpec, densities: &[Density]) -> Result<Self> {
        let shapes = spec.shapes()?;
        let gates = spec.gates();
        let behind = |i: usize| {
            gates
                .iter()
                .position(|&g| g == i)
                .and_then(|g| densities.get(g))
                .copied()
        };
        Ok(Self::propagate(spec, |i| {
            let channels = shapes[i][0];
            behind(i).map(|d| d.of(channels) as f64 / channels as f64)
        }))
    }

    /// Fractions known at the gates (`gate_fraction` by node index), carried on through the graph.
    pub fn propagate(spec: &NetSpec, gate_fraction: impl Fn(usize) -> Option<f64>) -> Self {
        let mut out: Vec<f64> = Vec::with_capacity(spec.nodes.len());
        // Who counts anything asks for the shapes too, and hears what is wrong with them.
        let shapes = spec.shapes().unwrap_or_default();
        for (i, node) in spec.nodes.iter().enumerate() {
            let from = |k: usize| out[node.inputs[k]];
            let fraction = match node.op {
                Op::Input | Op::Conv { .. } | Op::Linear { .. } => 1.0,
                Op::Gate { .. } => gate_fraction(i).unwrap_or(1.0),
                Op::Add => 1.0 - (1.0 - from(0)) * (1.0 - from(1)),
                Op::Mul => from(0).min(from(1)),
                Op::Activation { function } if !function.keeps_zero() => 1.0,
                Op::LayerNorm { .. } => 1.0,
                Op::Concat => {
                    let size = |k: &usize| shapes.get(*k).map_or(1.0, |s| s[0] as f64);
                    let all: f64 = node.inputs.iter().map(size).sum();
                    node.inputs.iter().map(|k| out[*k] * size(k)).sum::<f64>() / all
                }
                _ => from(0),
            };
            out.push(fraction);
        }
        // A convolution computes only what its gate lets through; its own output is as sparse as that.
        for i in (0..spec.nodes.len()).rev() {
            if let (Op::Gate { .. }, [normed, _]) = (&spec.nodes[i].op, &spec.nodes[i].inputs[..]) {
                let mut j = *normed;
                while matches!(spec.nodes[j].op, Op::Norm { .. } | Op::Conv { .. }) {
                    out[j] = out[i];
                    if matches!(spec.nodes[j].op, Op::Conv { .. }) {
                        break;
                    }
                    j = spec.nodes[j].inputs[0];
                }
            }
        }
        Self(out)
    }
}

/// Cost of every layer that has one (convolutions, linear layers, gates), in network order.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn by_layer(spec: &NetSpec, masks: &Masks, fractions: &Fractions) -> Result<Vec<LayerCost>> {
    let shapes = spec.shapes()?;
    let alive = alive_bytes(spec, &shapes, fractions);
    let delta = |i: usize| fractions.0[i];
    let size = |i: usize| shapes[i].iter().product::<usize>() as f64;
    let mut out = Vec::new();
    for (i, node) in spec.nodes.iter().enumerate() {
        let input = node.inputs.first().copied().unwrap_or(0);
        let cost = match node.op {
            Op::Conv {
                filters,
                kernel,
                bias,
                groups,
                ..
            } => {
                let columns = shapes[input][0] / groups * kernel * kernel;
                let kept = kept(masks, &node.name, filters, columns);
                matmul(
                    kept,
                    if bias { filters } else { 0 },
                    shapes[i][1] * shapes[i][2],
                    [delta(input), delta(i)],
                    [size(input), size(i)],
                )
            }
            Op::Linear { outputs, bias } => matmul(
                kept(masks, &node.name, outputs, shapes[input][0]),
                if bias { outputs } else { 0 },
                1,
                [delta(input), delta(i)],
                [size(input), size(i)],
            ),
            Op::Norm { affine: true, .. } | Op::LayerNorm { .. } => Cost {
                params: 2 * shapes[i][0] as u64,
                ..Cost::default()
            },
            Op::Gate { .. } => {
                let (read, channels) = (shapes[node.inputs[1]][0], shapes[i][0]);
                let predictor = (read as f64 * delta(node.inputs[1]) + 1e-9).floor() * channels as f64;
                Cost {
                    macs: (predictor + size(i)).round() as u64,
                    params: (read * channels + 2 * channels) as u64,
                    weight_bytes: (FLOAT * predictor) as u64,
                    ..Cost::default()
                }
            }
            _ => continue,
        };
        out.push(LayerCost {
            node: i,
            name: node.name.clone(),
            cost: Cost {
                peak_bytes: alive[i],
                ..cost
            },
        });
    }
    Ok(out)
}

/// Cost of the whole network.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn total(spec: &NetSpec, masks: &Masks, fractions: &Fractions) -> Result<Cost> {
    let mut sum = Cost::default();
    for LayerCost { cost, .. } in by_layer(spec, masks, fractions)? {
        sum.macs += cost.macs;
        sum.macs_conv += cost.macs_conv;
        sum.params += cost.params;
        sum.weight_bytes += cost.weight_bytes;
        sum.activation_bytes += cost.activation_bytes;
        sum.peak_bytes = sum.peak_bytes.max(cost.peak_bytes);
    }
    Ok(sum)
}

/// Cost of the network with nothing masked and nothing gated away.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn dense(spec: &NetSpec) -> Result<Cost> {
    total(spec, &Masks::new(), &Fractions::dense(spec))
}

/// Weights of a layer that its mask keeps.
fn kept(masks: &Masks, name: &str, filters: usize, columns: usize) -> usize {
    masks.get(name).map_or(filters * columns, LayerMask::count)
}

fn matmul(weights: usize, biases: usize, positions: usize, delta: [f64; 2], size: [f64; 2]) -> Cost {
    let used = weights as f64 * delta[0] * delta[1];
    let macs = (used * positions as f64).round() as u64;
    Cost {
        macs,
        macs_conv: macs,
        params: (weights + biases) as u64,
        weight_bytes: (FLOAT * used).round() as u64,
        activation_bytes: (FLOAT * (size[0] * delta[0] + size[1] * delta[1])).round() as u64,
        peak_bytes: 0,
    }
}

/// Bytes of activations alive while each node runs: from the node that makes a tensor to its last reader.
/// Norm, gate, ReLU, dropout and flatten work in place, so they and what they read are one tensor.
fn alive_bytes(spec: &NetSpec, shapes: &[Shape], fractions: &Fractions) -> Vec<u64> {
    let n = spec.nodes.len();
    let mut tensor: Vec<usize> = (0..n).collect();
    let mut last: Vec<usize> = (0..n).collect();
    for (i, node) in spec.nodes.iter().enumerate() {
        if matches!(
            node.op,
            Op::Norm { .. }
                | Op::Gate { .. }
                | Op::Relu
                | Op::Relu6
                | Op::Activation { .. }
                | Op::Dropout { .. }
                | Op::Flatten
        ) {
            tensor[i] = tensor[node.inputs[0]];
        }
        for &j in &node.inputs {
            last[tensor[j]] = last[tensor[j]].max(i);
        }
        last[tensor[i]] = last[tensor[i]].max(i);
    }
    // Outputs are values that are there already.
    let bytes = |i: usize| match spec.nodes[i].op {
        Op::Outputs { .. } => 0.0,
        _ => FLOAT * shapes[i].iter().product::<usize>() as f64 * fractions.0[i],
    };
    // What ends at a node is let go after it.
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); n];
    for t in (0..n).filter(|&t| tensor[t] == t) {
        ends[last[t]].push(t);
    }
    let mut alive = std::collections::BTreeSet::new();
    (0..n)
        .map(|at| {
            if tensor[at] == at {
                alive.insert(at);
            }
            let now = alive.iter().map(|&t| bytes(t)).sum::<f64>().round() as u64;
            ends[at].iter().for_each(|t| {
                alive.remove(t);
            });
            now
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::spec::Shift;
    use super::super::zoo;
    use super::*;

    fn m_cifarnet(gated: bool) -> NetSpec {
        let spec = zoo::build("m-cifarnet", [3, 32, 32], 10, 1.0).expect("builds");
        if gated { zoo::gated(&spec, Shift::Eq1) } else { spec }
    }

    #[test]
    fn zoo_counts_are_those_of_the_literature() {
        let cases = [
            ("m-cifarnet", 174_301_824, 1_296_074),
            ("vgg16", 313_201_664, 14_724_042),
            ("resnet18", 555_422_720, 11_173_962),
            ("resnet50", 1_297_829_888, 23_520_842),
        ];
        for (name, macs, params) in cases {
            let cost = dense(&zoo::build(name, [3, 32, 32], 10, 1.0).expect("builds")).expect("cost");
            assert_eq!((name, cost.macs, cost.params), (name, macs, params));
        }
        let lenet = dense(&zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds")).expect("cost");
        assert_eq!(lenet.params, 431_080);
    }

    #[test]
    fn m_cifarnet_layers_count_as_published() {
        let spec = m_cifarnet(false);
        let layers = by_layer(&spec, &Masks::new(), &Fractions::dense(&spec)).expect("cost");
        let macs: Vec<u64> = layers.iter().map(|l| l.cost.macs).filter(|&m| m > 0).collect();
        assert_eq!(
            macs,
            [
                1_555_200, 33_177_600, 16_588_800, 33_177_600, 33_177_600, 14_155_776, 21_233_664, 21_233_664, 1920
            ]
        );
    }

    #[test]
    fn gated_macs_follow_the_published_table() {
        let spec = m_cifarnet(true);
        let table = [
            (100, 174.302, 174.684),
            (90, 142.818, 143.186),
            (80, 113.437, 113.791),
            (70, 86.497, 86.837),
            (60, 64.009, 64.334),
            (50, 43.965, 44.275),
            (40, 28.934, 29.230),
            (30, 16.644, 16.927),
            (20, 7.444, 7.711),
            (10, 2.046, 2.300),
        ];
        for (percent, conv, all) in table {
            let d = Density::percent(percent).expect("valid");
            let cost = total(
                &spec,
                &Masks::new(),
                &Fractions::nominal(&spec, &[d; 8]).expect("fractions"),
            )
            .expect("cost");
            assert!(
                (cost.macs_conv as f64 / 1e6 - conv).abs() < 0.001,
                "{percent}: {}",
                cost.macs_conv
            );
            assert!(
                (cost.macs as f64 / 1e6 - all).abs() < 0.0015,
                "{percent}: {}",
                cost.macs
            );
        }
    }

    #[test]
    fn gated_parameters_grow_by_the_published_share() {
        // 1,439,626 / 1,296,074: predictors come in, ρ and the gate's β take the place of γ and β.
        assert_eq!(dense(&m_cifarnet(true)).expect("cost").params, 1_439_626);
    }

    #[test]
    fn memory_traffic_follows_the_published_formulas() {
        let spec = m_cifarnet(true);
        for (percent, weights, activations) in [(100, 5.172, 1.871), (50, 1.295, 0.942)] {
            let d = Density::percent(percent).expect("valid");
            let layers = by_layer(
                &spec,
                &Masks::new(),
                &Fractions::nominal(&spec, &[d; 8]).expect("fractions"),
            )
            .expect("cost");
            let convs = layers
                .iter()
                .filter(|l| matches!(spec.nodes[l.node].op, Op::Conv { .. }));
            let (w, a) = convs.fold((0, 0), |(w, a), l| {
                (w + l.cost.weight_bytes, a + l.cost.activation_bytes)
            });
            let close = |got: u64, want: f64| (got as f64 / 1e6 - want).abs() < 0.002;
            // The published weights count one shift a filter as well.
            let shifts = (1_088 * 4) as f64 / 1e6 * f64::from(percent) / 100.0;
            assert!((w as f64 / 1e6 + shifts - weights).abs() < 0.005, "{w}");
            assert!(close(a, activations), "{a}");
        }
    }

    #[test]
    fn masks_count_kept_rows_times_kept_columns() {
        // Layer 1: 8×4×3×3 keeps 4 filters and 18 of 36 columns.
        let spec = NetSpec {
            name: "pair".into(),
            input: [4, 8, 8],
            nodes: serde_json::from_str(
                r#"[{"name":"x","kind":"input","inputs":[]},
                    {"name":"a","kind":"conv","filters":8,"kernel":3,"stride":1,"pad":{"top":1,"bottom":1,"left":1,"right":1},"bias":false,"inputs":[0]}]"#,
            )
            .expect("parses"),
        };
        let half = |n: usize| (0..n).map(|i| i % 2 == 0).collect::<Vec<_>>();
        let masks = Masks::from([(
            "a".into(),
            LayerMask {
                filters: half(8),
                columns: half(36),
                ..LayerMask::default()
            },
        )]);
        let cost = total(&spec, &masks, &Fractions::dense(&spec)).expect("cost");
        assert_eq!((cost.params, cost.macs), (72, 72 * 64));
    }

    #[test]
    fn a_residual_shortcut_is_alive_while_its_branch_runs() {
        let spec = zoo::build("resnet18", [3, 32, 32], 10, 1.0).expect("builds");
        let plane = 64 * 32 * 32 * 4;
        assert_eq!(dense(&spec).expect("cost").peak_bytes, 3 * plane);
    }
}
