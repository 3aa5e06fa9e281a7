//! The training step: the skipping layer against the masked one, reference vectors, and finite differences.

use crate::models::operators;
use burn::tensor::{Device, Tensor, TensorData};
use model::spec::{GateForm, NetSpec, Node, Op, Pad, Shift};
use model::weights::{Array, Weights};
use model::{Density, weights, zoo};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use train::NormStatistics;
use train::net::{ForwardOptions, Net, Norms};

struct Grads {
    logits: Vec<f32>,
    by_name: BTreeMap<String, Vec<f32>>,
    moments: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
}

/// A training forward and backward pass; the loss is Σ logits · a fixed pattern.
fn gradients(net: &Net, images: &[f32], n: usize, groups: &[Vec<Density>], kind: NormStatistics) -> Grads {
    let device = net.device().clone().autodiff();
    let [c, h, w] = net.spec.input;
    let x = Tensor::<4>::from_data(TensorData::new(images.to_vec(), [n, c, h, w]), &device);
    let params: BTreeMap<String, Tensor<1>> = net
        .params
        .iter()
        .map(|(k, p)| (k.clone(), p.clone().autodiff().require_grad()))
        .collect();
    let out = net
        .forward(
            &params,
            x,
            &ForwardOptions {
                groups,
                norms: Norms::Batch(kind),
                dropout: None,
            },
        )
        .expect("forward");
    let logits: Vec<f32> = out.logits.to_data().try_to_vec().expect("floats");
    let pattern: Vec<f32> = (0..logits.len())
        .map(|i| ((i * 7 + 3) % 11) as f32 / 11.0 - 0.4)
        .collect();
    let dims = out.logits.dims();
    let loss = (out.logits * Tensor::<2>::from_data(TensorData::new(pattern, dims), &device)).sum();
    let mut gradients = loss.backward();
    let by_name = params
        .iter()
        .filter_map(|(k, p)| {
            Some((
                k.clone(),
                p.grad_remove(&mut gradients)?.to_data().try_to_vec().expect("floats"),
            ))
        })
        .collect();
    let moments = out
        .moments
        .into_iter()
        .map(|(k, (m, _))| (k, (m.mean, m.var)))
        .collect();
    Grads {
        logits,
        by_name,
        moments,
    }
}

fn images(n: usize, size: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n * size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// max |a − b| relative to the largest |b|.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs())) / largest
}

fn percents(p: &[u32]) -> Vec<Density> {
    p.iter().map(|&p| Density::percent(p).expect("valid")).collect()
}

fn agree(spec: NetSpec, n: usize, groups: &[Vec<Density>], kind: NormStatistics, seed: u64) {
    let spec = Arc::new(spec);
    let weights = weights::init(&spec, seed).expect("init");
    let mut fast = Net::new(spec.clone(), &weights, &Device::flex()).expect("net");
    assert!(fast.sparse);
    let mut slow = Net::new(spec.clone(), &weights, &Device::flex()).expect("net");
    (fast.sparse, slow.sparse) = (true, false);
    let x = images(n, spec.input.iter().product(), seed);
    let a = gradients(&fast, &x, n, groups, kind);
    let b = gradients(&slow, &x, n, groups, kind);
    assert!(
        distance(&a.logits, &b.logits) < 1e-4,
        "logits differ by {}",
        distance(&a.logits, &b.logits)
    );
    assert_eq!(
        a.by_name.keys().collect::<Vec<_>>(),
        b.by_name.keys().collect::<Vec<_>>()
    );
    for (name, grad) in &a.by_name {
        let d = distance(grad, &b.by_name[name]);
        assert!(d < 2e-3, "gradient of {name} differs by {d}");
    }
    for (name, (mean, var)) in &a.moments {
        let (m, v) = &b.moments[name];
        assert!(
            distance(mean, m) < 1e-4 && distance(var, v) < 1e-4,
            "statistics of {name}"
        );
    }
    let again = gradients(&fast, &x, n, groups, kind);
    assert!(
        a.logits == again.logits && a.by_name == again.by_name,
        "two runs differ"
    );
}

#[test]
fn the_skipping_layer_trains_as_the_masked_one() {
    let dense = zoo::build("m-cifarnet", [3, 14, 13], 5, 0.15).expect("builds");
    agree(dense.clone(), 6, &[vec![]], NormStatistics::All, 1);
    for shift in GateForm::ALL {
        let gated = zoo::gated(&dense, shift);
        for kind in [NormStatistics::All, NormStatistics::Active] {
            agree(gated.clone(), 6, &[percents(&[50; 8])], kind, 2);
            let elastic = [
                percents(&[100; 8]),
                percents(&[20; 8]),
                percents(&[37, 64, 80, 50, 41, 90, 33, 72]),
            ];
            agree(gated.clone(), 9, &elastic, kind, 3);
        }
    }
}

#[test]
fn one_thread_and_two_give_the_same_bits_with_every_kernel() {
    use kernel::Kernel;
    use train::sparse_conv;
    let spec = Arc::new(zoo::gated(
        &zoo::build("m-cifarnet", [3, 12, 12], 5, 0.15).expect("builds"),
        Shift::Eq1,
    ));
    let net = Net::new(spec.clone(), &weights::init(&spec, 2).expect("init"), &Device::flex()).expect("net");
    let x = images(10, 3 * 144, 8);
    let groups = [percents(&[100; 8]), percents(&[40; 8])];
    let mut logits = Vec::new();
    for kernel in Kernel::available() {
        let [a, b, c] = [1, 2, 3].map(|threads| {
            sparse_conv::configure(kernel, threads);
            gradients(&net, &x, 10, &groups, NormStatistics::All)
        });
        assert!(a.by_name == b.by_name && b.by_name == c.by_name, "{}", kernel.name());
        logits.push(a.logits);
    }
    let [.., reference] = &logits[..] else {
        panic!("the reference kernel is always there")
    };
    assert!(logits.iter().all(|l| distance(l, reference) < 1e-4));
}

#[test]
fn the_skipping_layer_trains_residual_networks() {
    let gated = zoo::gated(&zoo::build("resnet18", [3, 8, 8], 3, 0.06).expect("builds"), Shift::Eq1);
    let gates = gated.gates().len();
    agree(gated, 4, &[percents(&vec![60; gates])], NormStatistics::All, 4);
}

/// Papers' reference layer: 2 channels of 2×2, four 1×1 filters, statistics given.
fn reference_layer(shift: Shift) -> (NetSpec, Weights) {
    let node = |name: &str, op, inputs: Vec<usize>| Node {
        name: name.into(),
        op,
        inputs,
    };
    let spec = NetSpec {
        name: "reference".into(),
        input: [2, 2, 2],
        nodes: vec![
            node("image", Op::Input, vec![]),
            node(
                "conv",
                Op::Conv {
                    filters: 4,
                    kernel: 1,
                    stride: 1,
                    pad: Pad::VALID,
                    bias: false,
                    groups: 1,
                },
                vec![0],
            ),
            node(
                "norm",
                Op::Norm {
                    eps: 0.0,
                    affine: false,
                },
                vec![1],
            ),
            node("gate", Op::Gate(shift.into()), vec![2, 0]),
            node("relu", Op::Relu, vec![3]),
            node("flatten", Op::Flatten, vec![4]),
        ],
    };
    let array = |shape: &[usize], data: &[f32]| Array {
        shape: shape.to_vec(),
        data: data.to_vec(),
    };
    let weights = Weights::from([
        (
            "conv.weight".into(),
            array(&[4, 2, 1, 1], &[1., 0., 0., 1., 1., 1., 1., -1.]),
        ),
        (
            "gate.phi".into(),
            array(&[2, 4], &[0.5, -1., 0.25, 1., 0.5, 1.75, -0.75, -0.25]),
        ),
        ("gate.rho".into(), array(&[4], &[1., 0.5, 1., -2.])),
        ("gate.beta".into(), array(&[4], &[0.125, -0.25, 0., 0.25])),
    ]);
    (spec, weights)
}

struct Published {
    shift: Shift,
    /// The first two channels; the other two are zero.
    winners: [f32; 8],
    loss: f32,
    d_rho: [f32; 4],
    d_phi: [f32; 8],
    d_beta: [f32; 4],
}

#[test]
fn the_published_reference_vectors_come_out() {
    use model::checkpoint::Moments;
    let stats = BTreeMap::from([(
        "norm".to_owned(),
        Moments {
            mean: vec![1., 1., 2., 0.],
            var: vec![1., 4., 1., 4.],
        },
    )]);
    let x = [1., 0., 2., 3., 0., 3., 1., 0.];
    let zeros = [0.0f32; 8];
    let cases = [
        Published {
            shift: Shift::Eq1,
            winners: [0.28125, 0., 2.53125, 4.78125, 0., 0.5625, 0., 0.],
            loss: 8.15625,
            d_rho: [3.375, 0.75, 0., 0.],
            d_phi: [5.0625, 1.125, 0., 0., 3.375, 0.75, 0., 0.],
            d_beta: [6.75, 0.75, 0., 0.],
        },
        Published {
            shift: Shift::Released,
            winners: [0.125, 0., 2.375, 4.625, 0., 0.5, 0., 0.],
            loss: 7.625,
            d_rho: [3., 1., 0., 0.],
            d_phi: [4.5, 1.5, 0., 0., 3., 1., 0., 0.],
            d_beta: [3., 1., 0., 0.],
        },
    ];
    for Published {
        shift,
        winners,
        loss,
        d_rho,
        d_phi,
        d_beta,
    } in cases
    {
        let (spec, weights) = reference_layer(shift);
        let net = Net::new(spec.into(), &weights, &Device::flex()).expect("net");
        let params: BTreeMap<String, Tensor<1>> = net
            .params
            .iter()
            .map(|(k, p)| (k.clone(), p.clone().autodiff().require_grad()))
            .collect();
        let device = net.device().clone().autodiff();
        let image = Tensor::<4>::from_data(TensorData::new(x.to_vec(), [1, 2, 2, 2]), &device);
        let groups = [percents(&[50])];
        let pass = ForwardOptions {
            groups: &groups,
            norms: Norms::Stored(&stats),
            dropout: None,
        };
        let out = net.forward(&params, image, &pass).expect("forward");
        assert_eq!(out.gates[0].saliency, [2.25, 0.75, 0.625, 0.], "{shift:?}");
        assert_eq!(out.gates[0].active.image(0), [0, 1], "{shift:?}");
        assert_eq!(out.l1.expect("a gate").into_scalar::<f32>(), 3.625, "over all channels");
        let y: Vec<f32> = out.logits.to_data().try_to_vec().expect("floats");
        assert_eq!(y, [winners, zeros].concat(), "{shift:?}");
        let sum = out.logits.sum();
        assert_eq!(sum.clone().into_scalar::<f32>(), loss, "{shift:?}");
        let mut gradients = sum.backward();
        let mut grad = |name: &str| -> Vec<f32> {
            params[name]
                .grad_remove(&mut gradients)
                .expect(name)
                .to_data()
                .try_to_vec()
                .expect("floats")
        };
        assert_eq!(grad("gate.rho"), d_rho, "{shift:?}");
        assert_eq!(grad("gate.phi"), d_phi, "{shift:?}");
        assert_eq!(grad("gate.beta"), d_beta, "{shift:?}");
    }
}

/// Every operator that networks from elsewhere have: each array is moved a little along its gradient, and the loss must move as far
/// as that says.
#[test]
fn gradients_of_every_operator_agree_with_finite_differences() {
    for spec in operators::all() {
        let name = spec.name.clone();
        let weights = crate::models::model(spec.clone(), 3).weights;
        let n = 3;
        let size: usize = spec.input.iter().product();
        let images: Vec<f32> = (0..n * size)
            .map(|i| ((i * 37 + i / 5) % 101) as f32 / 50.0 - 1.0)
            .collect();
        let spec = Arc::new(spec);
        let at = |weights: &Weights, sparse: bool| {
            let mut net = Net::new(spec.clone(), weights, &Device::flex()).expect("net");
            net.sparse = sparse;
            gradients(&net, &images, n, &[vec![]], NormStatistics::All)
        };
        let loss = |weights: &Weights| -> f64 {
            let pattern = |i: usize| f64::from(((i * 7 + 3) % 11) as f32 / 11.0 - 0.4);
            let logits = at(weights, false).logits;
            logits.iter().enumerate().map(|(i, v)| f64::from(*v) * pattern(i)).sum()
        };
        let [found, skipping] = [false, true].map(|sparse| at(&weights, sparse).by_name);
        let norm = |g: &[f32]| g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let largest = found.values().map(|g| norm(g)).fold(0.0, f64::max);
        assert!(!found.is_empty() && largest > 0.0, "{name}");
        for (array, gradient) in &found {
            let pairs = gradient.iter().zip(&skipping[array]);
            let off = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(
                f64::from(off) < 1e-3 * largest,
                "{name}: {array} where layers skip: {off} of {largest}"
            );
            let size = norm(gradient);
            if size < 1e-2 * largest {
                continue;
            }
            // Far enough that rounding does not show, and near enough that few kinks are crossed.
            let step = 2e-3 / size;
            let moved = |sign: f64| {
                let mut weights = weights.clone();
                let data = &mut weights.get_mut(array).expect("there").data;
                let each = data.iter_mut().zip(gradient);
                each.for_each(|(w, g)| *w += (sign * step * f64::from(*g)) as f32);
                loss(&weights)
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step * size);
            assert!(
                (slope - size).abs() < 0.06 * size,
                "{name}: {array} has a gradient of {size}, and the loss moves by {slope}"
            );
        }
    }
}

/// A three-layer gated network, small enough that every parameter can be nudged.
#[test]
fn gradients_of_three_layers_agree_with_finite_differences() {
    let node = |name: &str, op, inputs: Vec<usize>| Node {
        name: name.into(),
        op,
        inputs,
    };
    let mut nodes = vec![node("image", Op::Input, vec![])];
    for i in 0..3 {
        let last = nodes.len() - 1;
        let stride = if i == 1 { 2 } else { 1 };
        nodes.push(node(
            &format!("conv{i}"),
            Op::Conv {
                filters: 4,
                kernel: 3,
                stride,
                pad: Pad::all(1),
                bias: false,
                groups: 1,
            },
            vec![last],
        ));
        nodes.push(node(
            &format!("norm{i}"),
            Op::Norm {
                eps: 1e-3,
                affine: true,
            },
            vec![last + 1],
        ));
        nodes.push(node(&format!("relu{i}"), Op::Relu, vec![last + 2]));
    }
    let dense = NetSpec {
        name: "three".into(),
        input: [2, 6, 6],
        nodes,
    };
    let mut gated = zoo::gated(&dense, Shift::Eq1);
    let last = gated.nodes.len() - 1;
    gated.nodes.push(node("flatten", Op::Flatten, vec![last]));
    gated.nodes.push(node(
        "classifier",
        Op::Linear { outputs: 3, bias: true },
        vec![last + 1],
    ));
    let spec = Arc::new(gated);
    for kind in [NormStatistics::All, NormStatistics::Active] {
        let weights = weights::init(&spec, 11).expect("init");
        let x = images(4, 72, 5);
        // At density 1 no winner changes under a nudge, so the function is smooth but for ReLU's corners.
        let groups = [percents(&[100; 3])];
        let net = Net::new(spec.clone(), &weights, &Device::flex()).expect("net");
        let exact = gradients(&net, &x, 4, &groups, kind);
        let loss = |weights: &Weights| -> f64 {
            let net = Net::new(spec.clone(), weights, &Device::flex()).expect("net");
            let out = gradients(&net, &x, 4, &groups, kind).logits;
            out.iter()
                .enumerate()
                .map(|(i, &v)| f64::from(v) * (f64::from(((i * 7 + 3) % 11) as f32) / 11.0 - 0.4))
                .sum()
        };
        let (mut checked, mut wrong) = (0, 0);
        for (name, array) in &weights {
            for i in (0..array.data.len()).step_by(array.data.len().div_ceil(12)) {
                let nudge = |by: f32| {
                    let mut w = weights.clone();
                    w.get_mut(name).expect("there").data[i] += by;
                    loss(&w)
                };
                let step = 2e-3;
                let slope = (nudge(step) - nudge(-step)) / f64::from(2.0 * step);
                let got = f64::from(exact.by_name[name][i]);
                checked += 1;
                // A nudge across a ReLU corner makes a difference quotient useless: a few may.
                if (slope - got).abs() > 0.03 * (1.0 + slope.abs().max(got.abs())) {
                    wrong += 1;
                }
            }
        }
        assert!(
            checked > 80 && wrong * 25 < checked,
            "{kind:?}: {wrong} of {checked} differ"
        );
    }
}

#[test]
fn a_gate_can_stand_for_a_norm_exactly() {
    // φ = 0, ρ = γ, β' = β/γ reproduces the trained norm at d = 1 when γ > 0.
    let dense = zoo::build("m-cifarnet", [1, 12, 12], 4, 0.1).expect("builds");
    let mut from = weights::init(&dense, 3).expect("init");
    for (i, (name, array)) in from.iter_mut().enumerate() {
        for (k, v) in array.data.iter_mut().enumerate() {
            if name.ends_with("gamma") {
                *v = 0.5 + ((i + k) % 5) as f32 * 0.2;
            } else if name.ends_with("norm.beta") {
                *v = ((i + 2 * k) % 7) as f32 * 0.1 - 0.3;
            }
        }
    }
    let gated = zoo::gated(&dense, Shift::Eq1);
    let mut to = weights::init(&gated, 4).expect("init");
    for (name, array) in &mut to {
        if let Some(same) = from.get(name) {
            array.clone_from(same);
        }
        let Some((conv, what)) = name.split_once(".gate.") else {
            continue;
        };
        let (gamma, beta) = (
            &from[&format!("{conv}.norm.gamma")].data,
            &from[&format!("{conv}.norm.beta")].data,
        );
        match what {
            "phi" => array.data.fill(0.0),
            "rho" => array.data.clone_from(gamma),
            _ => array.data = beta.iter().zip(gamma).map(|(b, g)| b / g).collect(),
        }
    }
    let x = images(4, 144, 9);
    let run = |spec: NetSpec, w: &Weights, densities: Vec<Density>| {
        let net = Net::new(spec.into(), w, &Device::flex()).expect("net");
        gradients(&net, &x, 4, &[densities], NormStatistics::All).logits
    };
    let (a, b) = (run(dense, &from, vec![]), run(gated, &to, percents(&[100; 8])));
    assert!(distance(&a, &b) < 1e-5, "{}", distance(&a, &b));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_densities_and_groups_agree(
        seed in 0u64..1000,
        groups in prop::collection::vec(prop::collection::vec(1u32..=100, 8), 1..4),
        per_group in 1usize..4,
        active in any::<bool>(),
    ) {
        let gated = zoo::gated(&zoo::build("m-cifarnet", [1, 9, 10], 3, 0.07).expect("builds"), Shift::Eq1);
        let groups: Vec<Vec<Density>> = groups.iter().map(|g| percents(g)).collect();
        let kind = if active { NormStatistics::Active } else { NormStatistics::All };
        agree(gated, per_group * groups.len(), &groups, kind, seed);
    }
}

/// The layer without its gate's ReLU order: π · relu(norm + β), π of the reference vectors.
#[test]
fn gating_before_or_after_relu_is_the_same_for_the_paper_and_not_for_the_released_code() {
    use model::checkpoint::Moments;
    let moments = Moments {
        mean: vec![1., 1., 2., 0.],
        var: vec![1., 4., 1., 4.],
    };
    let stats = BTreeMap::from([("norm".to_owned(), moments)]);
    let x = vec![1.0f32, 0., 2., 3., 0., 3., 1., 0.];
    let run = |spec: NetSpec, weights: &Weights, gates: usize| -> Vec<f32> {
        let net = Net::new(spec.into(), weights, &Device::flex()).expect("net");
        let image = Tensor::<4>::from_data(TensorData::new(x.clone(), [1, 2, 2, 2]), &Device::flex());
        let pass = ForwardOptions {
            groups: &[vec![Density::fraction(0.5).expect("valid"); gates]],
            norms: Norms::Stored(&stats),
            dropout: None,
        };
        let out = net.forward(&net.params, image, &pass).expect("forward");
        out.logits.to_data().try_to_vec().expect("floats")
    };
    // relu(norm + β), with β as the norm's own shift and no gate.
    let (mut plain, mut weights) = reference_layer(Shift::Eq1);
    let beta = weights["gate.beta"].clone();
    weights.retain(|name, _| !name.starts_with("gate."));
    weights.insert("norm.beta".into(), beta);
    weights.insert("norm.gamma".into(), Array::filled(&[4], 1.0));
    plain.nodes[2].op = Op::Norm { eps: 0.0, affine: true };
    plain.nodes.remove(3);
    plain.nodes[3].inputs = vec![2];
    plain.nodes[4].inputs = vec![3];
    let ungated = run(plain, &weights, 0);
    let pi = [2.25, 0.75, 0.0, 0.0];
    let after: Vec<f32> = ungated.iter().enumerate().map(|(i, v)| pi[i / 4] * v).collect();
    for (shift, same) in [(Shift::Eq1, true), (Shift::Released, false)] {
        let (spec, weights) = reference_layer(shift);
        let before = run(spec, &weights, 1);
        let equal = before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6);
        assert_eq!(equal, same, "{shift:?}: {before:?} {after:?}");
    }
}
