//! The engine against burn, network by network, and against itself.

use super::*;
use burn::tensor::{Device, Tensor, TensorData};
use kernel::Kernel;
use model::cost::Fractions;
use model::mask::{LayerMask, Masks};
use model::spec::{GateForm, NetSpec, Node, Op, Pad, Shift};
use model::{Checkpoint, Density, cost, mask, random_model, zoo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use train::NormStatistics;
use train::net::{ForwardOptions, Net, Norms, Output};

mod bytes;
mod masks;
mod odd;
mod winograd;

fn percent(p: u32) -> Density {
    Density::percent(p).expect("valid")
}

/// A model in which no number is one that hides a mistake: statistics, γ, β and ρ are all random.
fn model(spec: NetSpec, seed: u64) -> Checkpoint {
    let mut model = random_model(spec, seed).expect("builds");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (name, array) in &mut model.weights {
        match name.rsplit('.').next() {
            Some("gamma") => array.data.iter_mut().for_each(|v| *v = rng.random_range(0.5..1.5)),
            Some("beta" | "bias") => array.data.iter_mut().for_each(|v| *v = rng.random_range(-0.3..0.3)),
            // Small: π grows with the activations, and activations with π.
            Some("phi") => array.data.iter_mut().for_each(|v| *v = rng.random_range(-0.1..0.1)),
            Some("rho") => array.data.iter_mut().for_each(|v| *v = rng.random_range(-0.2..1.0)),
            _ => {}
        }
    }
    let full = model.stats[&Density::FULL].clone();
    model.stats.clear();
    model.header.densities = vec![percent(20), Density::FULL];
    for &d in &model.header.densities {
        let mut stats = full.clone();
        for m in stats.values_mut() {
            m.mean.iter_mut().for_each(|v| *v = rng.random_range(-0.2..0.2));
            m.var.iter_mut().for_each(|v| *v = rng.random_range(0.5..2.0));
        }
        model.stats.insert(d, stats);
    }
    model
}

fn images(spec: &NetSpec, n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n * spec.input.iter().product::<usize>())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect()
}

fn engine(model: &Checkpoint, threads: usize, kernel: Kernel) -> Engine {
    let options = Options {
        kernel,
        threads,
        batch: 8,
        winograd: true,
        precision: None,
    };
    compile(model, &options).expect("compiles")
}

fn direct_engine(model: &Checkpoint) -> Engine {
    let options = Options {
        batch: 8,
        winograd: false,
        ..Options::default()
    };
    compile(model, &options).expect("compiles")
}

/// How many convolutions are computed by Winograd's algorithm.
fn winograd_convs(model: &Checkpoint, options: &Options) -> usize {
    let program = plan::plan(model, options).expect("plans");
    program.convs().filter(|c| c.algorithms.is_by_tiles()).count()
}

/// The model without masks, but with zeros where they are.
fn zeroed(model: &Checkpoint) -> Checkpoint {
    let mut zeroed = model.clone();
    for (name, kept) in mask::kept_entries(model.spec(), &model.masks).expect("fits") {
        let array = zeroed.weights.get_mut(&name).expect("there");
        for (v, kept) in array.data.iter_mut().zip(kept) {
            if !kept {
                *v = 0.0;
            }
        }
    }
    zeroed.masks.clear();
    zeroed
}

/// The whole convolution, then the mask: masked weights are zero.
fn burn(model: &Checkpoint, images: &[f32], density: Density) -> Output {
    let spec = Arc::new(model.spec().clone());
    let weights = zeroed(model).weights;
    let device = Device::flex();
    let net = Net::new(spec.clone(), &weights, &device).expect("fits");
    let [c, h, w] = spec.input;
    let x = Tensor::from_data(
        TensorData::new(images.to_vec(), [images.len() / (c * h * w), c, h, w]),
        &device,
    );
    let groups = [vec![density; spec.gates().len()]];
    let stats = model.stats_at(density);
    net.forward(
        &net.params,
        x,
        &ForwardOptions {
            groups: &groups,
            norms: Norms::Stored(&stats),
            dropout: None,
        },
    )
    .expect("runs")
}

#[track_caller]
fn close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    assert!(got.iter().chain(want).all(|v| v.is_finite()), "{what}: not finite");
    let size = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    let off = got.iter().zip(want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(off <= 1e-4 * size, "{what}: off by {off} of {size}");
}

#[track_caller]
fn agrees_with_burn(model: &Checkpoint, density: Density) {
    let what = format!("{} at {density}", model.spec().name);
    let x = images(model.spec(), 3, 9);
    let want = burn(model, &x, density);
    let logits = want.logits.into_data().try_to_vec::<f32>().expect("floats");
    for mut engine in [engine(model, 1, Kernel::best()), direct_engine(model)] {
        engine.set_density(density);
        let got = engine.run(&x);
        close(&got.logits, &logits, &what);
        for (gate, trace) in got.gates.iter().zip(&want.gates) {
            assert_eq!(gate.node, trace.node);
            close(&gate.saliency, &trace.saliency, &what);
        }
    }
}

fn small(name: &str) -> NetSpec {
    let (input, width) = match name {
        "lenet5" => ([1, 28, 28], 0.3),
        "resnet50" => ([3, 16, 16], 0.1),
        _ => ([3, 32, 32], 0.15),
    };
    zoo::build(name, input, 5, width).expect("builds")
}

/// Wide enough for Winograd's algorithm to pay on every machine that has tiles.
fn wide(name: &str) -> NetSpec {
    zoo::build(name, [3, 16, 16], 5, 0.5).expect("builds")
}

/// Masks some filters of every convolution but the first, and no column.
fn filter_masked(mut model: Checkpoint) -> Checkpoint {
    for &i in model.spec().clone().convs().iter().skip(1) {
        let name = model.spec().nodes[i].name.clone();
        let shape = model.weights[&format!("{name}.weight")].shape.clone();
        let mask = LayerMask {
            filters: (0..shape[0]).map(|f| f % 3 > 0).collect(),
            columns: vec![true; shape[1..].iter().product()],
            ..LayerMask::default()
        };
        model.masks.insert(name, mask);
    }
    model
}

/// Masks some filters and columns of every layer that has weights.
fn masked(mut model: Checkpoint, seed: u64) -> Checkpoint {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let spec = model.spec().clone();
    for &i in spec.convs().iter().skip(1).chain(spec.find("hidden").iter()) {
        let name = spec.nodes[i].name.clone();
        let weight = &model.weights[&format!("{name}.weight")];
        let mut draw = |n: usize, share: f64| (0..n).map(|_| rng.random_bool(share)).collect::<Vec<_>>();
        let filters = draw(weight.shape[0], 0.7);
        let columns = draw(weight.shape[1..].iter().product(), 0.6);
        model.masks.insert(
            name,
            LayerMask {
                filters,
                columns,
                ..LayerMask::default()
            },
        );
    }
    model
}

/// Grouped, depthwise, stride 3, padding above the kernel, ReLU6: all that the kernels leave to plain rows.
fn mobile() -> NetSpec {
    let conv = |filters, kernel, stride, pad, groups| Op::Conv {
        filters,
        kernel,
        stride,
        pad: Pad::all(pad),
        bias: true,
        groups,
    };
    let norm = || Op::Norm {
        eps: 1e-3,
        affine: true,
    };
    let ops: [(&str, Op, &[usize]); 17] = [
        ("image", Op::Input, &[]),
        ("stem", conv(8, 3, 3, 1, 1), &[0]),
        ("stem.norm", norm(), &[1]),
        ("stem.relu", Op::Relu6, &[2]),
        ("depth", conv(8, 3, 2, 1, 8), &[3]),
        ("depth.norm", norm(), &[4]),
        ("depth.relu", Op::Relu, &[5]),
        ("point", conv(6, 1, 1, 0, 1), &[6]),
        ("point.norm", norm(), &[7]),
        ("pairs", conv(6, 3, 1, 1, 3), &[8]),
        ("pairs.norm", norm(), &[9]),
        ("sum", Op::Add, &[10, 8]),
        ("sum.relu", Op::Relu6, &[11]),
        ("wide", conv(4, 1, 2, 2, 2), &[12]),
        ("pool", Op::GlobalAvgPool, &[13]),
        ("flatten", Op::Flatten, &[14]),
        ("classifier", Op::Linear { outputs: 5, bias: true }, &[15]),
    ];
    let nodes = ops.map(|(name, op, inputs)| Node {
        name: name.into(),
        op,
        inputs: inputs.to_vec(),
    });
    NetSpec {
        name: "mobile".into(),
        input: [3, 20, 17],
        nodes: nodes.into(),
    }
}

#[test]
fn every_plain_network_agrees_with_burn() {
    for name in zoo::KINDS {
        agrees_with_burn(&model(small(name), 1), Density::FULL);
    }
}

#[test]
fn every_gated_network_agrees_with_burn_at_every_density_and_shift() {
    for name in zoo::KINDS {
        for form in GateForm::ALL {
            let model = model(zoo::gated(&small(name), form), 2);
            // 60 has no statistics of its own.
            for p in [100, 60, 20] {
                agrees_with_burn(&model, percent(p));
            }
        }
    }
}

#[test]
fn every_kernel_gives_the_reference_result() {
    for spec in [
        small("resnet18"),
        zoo::gated(
            &zoo::build("m-cifarnet", [3, 14, 14], 5, 0.1).expect("builds"),
            Shift::Eq1,
        ),
    ] {
        let model = model(spec, 6);
        let x = images(model.spec(), 1, 7);
        let mut reference = engine(&model, 1, Kernel::by_name("reference").expect("always there"));
        reference.set_density(percent(50));
        let want = reference.run(&x).clone();
        for kernel in Kernel::available() {
            let mut engine = engine(&model, 1, kernel);
            engine.set_density(percent(50));
            let got = engine.run(&x);
            close(&got.logits, &want.logits, kernel.name());
            assert_eq!(
                (got.macs, got.macs_conv),
                (want.macs, want.macs_conv),
                "{}",
                kernel.name()
            );
        }
    }
}

#[test]
fn threads_and_batches_change_no_bit() {
    for spec in [
        small("m-cifarnet"),
        small("resnet18"),
        wide("m-cifarnet"),
        wide("resnet18"),
    ] {
        let name = &spec.name;
        let model = model(zoo::gated(&spec, Shift::Eq1), 8);
        let x = images(model.spec(), 8, 9);
        let size = x.len() / 8;
        let mut one = engine(&model, 1, Kernel::best());
        one.set_density(percent(50));
        let want = one.run(&x).clone();
        assert!(want.logits.iter().all(|v| v.is_finite()));
        for threads in [1, 2, 3] {
            let mut engine = engine(&model, threads, Kernel::best());
            engine.set_density(percent(50));
            assert!(engine.run(&x) == &want, "{name}, {threads} threads");
            assert!(engine.run(&x) == &want, "{name}, {threads} threads, again");
            let (mut logits, mut macs) = (Vec::new(), 0);
            for image in x.chunks_exact(size) {
                let batch = engine.run(image);
                logits.extend_from_slice(&batch.logits);
                macs += batch.macs;
            }
            assert_eq!(
                (logits, macs),
                (want.logits.clone(), want.macs),
                "{name}, {threads} threads, batch 1"
            );
        }
    }
}

#[test]
fn an_image_is_not_changed_by_the_ones_before_it() {
    let model = model(zoo::gated(&small("resnet18"), Shift::Released), 8);
    let [x, y] = [1, 2].map(|seed| images(model.spec(), 1, seed));
    let mut fresh = engine(&model, 1, Kernel::best());
    fresh.set_density(percent(30));
    let want = fresh.run(&y).clone();
    let mut used = engine(&model, 1, Kernel::best());
    used.run(&x);
    used.set_density(percent(30));
    used.run(&x);
    assert!(used.run(&y) == &want);
}

#[test]
fn measured_macs_are_the_nominal_ones() {
    let plain = small("vgg16");
    let mut dense = engine(&model(plain.clone(), 1), 1, Kernel::best());
    let batch = dense.run(&images(&plain, 2, 1));
    let cost = cost::dense(&plain).expect("cost");
    assert_eq!((batch.macs, batch.macs_conv), (2 * cost.macs, 2 * cost.macs_conv));

    let spec = zoo::gated(&small("m-cifarnet"), Shift::Eq1);
    let mut model = model(spec.clone(), 2);
    // Saliencies that are all above zero.
    for (_, array) in model
        .weights
        .iter_mut()
        .filter(|(name, _)| name.ends_with("phi") || name.ends_with("rho"))
    {
        array.data.iter_mut().for_each(|v| *v = v.abs().max(0.01));
    }
    let mut engine = engine(&model, 1, Kernel::best());
    for p in [100, 50, 20] {
        engine.set_density(percent(p));
        let batch = engine.run(&images(&spec, 2, 1));
        let fractions = Fractions::nominal(&spec, &[percent(p); 8]).expect("fractions");
        let cost = cost::total(&spec, &model.masks, &fractions).expect("cost");
        assert_eq!(
            (batch.macs, batch.macs_conv),
            (2 * cost.macs, 2 * cost.macs_conv),
            "{p}"
        );
        assert_eq!(
            batch.layers.iter().map(|l| l.macs).sum::<u64>() + 2 * classifier(&spec, p),
            batch.macs
        );
    }
}

fn classifier(spec: &NetSpec, p: u32) -> u64 {
    let shapes = spec.shapes().expect("shapes");
    let last = *spec.convs().last().expect("some");
    (percent(p).of(shapes[last][0]) * spec.classes().expect("classes")) as u64
}

#[test]
fn a_winner_of_saliency_zero_costs_nothing() {
    let spec = zoo::gated(&small("m-cifarnet"), Shift::Eq1);
    let mut silent = model(spec.clone(), 2);
    for what in ["phi", "rho"] {
        silent
            .weights
            .get_mut(&format!("conv2.{what}").replace("conv2.", "conv2.gate."))
            .expect("there")
            .data
            .fill(-1.0);
    }
    agrees_with_burn(&silent, percent(50));
    let mut engine = engine(&silent, 1, Kernel::best());
    let batch = engine.run(&images(&spec, 1, 1));
    assert!(batch.gates[2].active.image(0).is_empty());
    assert_eq!(batch.layers[2].computed, 0);
}

#[test]
fn each_gate_may_have_its_own_density() {
    let spec = zoo::gated(&small("m-cifarnet"), Shift::Eq1);
    let model = model(spec.clone(), 2);
    let x = images(&spec, 2, 3);
    let mut engine = engine(&model, 1, Kernel::best());
    engine.set_densities(&[percent(40); 8]);
    let by_gate = engine.run(&x).clone();
    engine.set_density(percent(40));
    assert!(engine.run(&x) == &by_gate);
    let mut densities = [percent(100); 8];
    densities[3] = percent(20);
    engine.set_densities(&densities);
    let batch = engine.run(&x);
    let channels = batch.gates[3].active.channels;
    assert!(batch.gates[3].active.image(0).len() <= percent(20).of(channels));
    assert!(batch.gates[4].active.image(0).len() > percent(20).of(batch.gates[4].active.channels));
}

#[test]
fn tensors_share_buffers() {
    let model = model(small("resnet18"), 1);
    // Winograd's algorithm has layouts of its own.
    let options = Options {
        winograd: false,
        ..Options::default()
    };
    let program = plan::plan(&model, &options).expect("plans");
    // The four tensors of one layout that stage 1 begins with: never more than three are alive at once.
    let first = program.tensors[program.convs().next().expect("some").output].layout;
    assert_eq!(program.tensors.iter().filter(|t| t.layout == first).count(), 4);
    assert_eq!(program.slots.iter().filter(|&&l| l == first).count(), 3);
    for tensor in &program.tensors {
        assert_eq!(program.slots[tensor.slot], tensor.layout);
    }
}
