//! Models for tests: small, and with no number that hides a mistake.

pub(crate) mod operators;
pub(crate) mod torch;

use data::Normalization;
use model::checkpoint::{Checkpoint, ModelHeader, Moments, SCHEMA};
use model::spec::{NetSpec, Node, Op, Pad};
use model::{Density, Masks, weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// A density in whole percent.
pub(crate) fn percent(p: u32) -> Density {
    Density::percent(p).expect("valid")
}

/// A model in which no number is one that hides a mistake.
pub(crate) fn model(spec: NetSpec, seed: u64) -> Checkpoint {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shapes = spec.shapes().expect("shapes");
    let mut weights = weights::init(&spec, seed).expect("init");
    for (name, array) in &mut weights {
        let range = match name.rsplit('.').next() {
            Some("gamma") => 0.5..1.5,
            Some("beta" | "bias") => -0.3..0.3,
            Some("phi") => -0.1..0.1,
            Some("rho") => -0.2..1.0,
            _ => continue,
        };
        array.data.iter_mut().for_each(|v| *v = rng.random_range(range.clone()));
    }
    let densities = vec![percent(20), Density::FULL];
    let mut draw =
        |n: usize, range: std::ops::Range<f32>| (0..n).map(|_| rng.random_range(range.clone())).collect::<Vec<f32>>();
    let mut stats = BTreeMap::new();
    for &d in &densities {
        let mut of = BTreeMap::new();
        for (i, node) in spec.nodes.iter().enumerate() {
            if let Op::Norm { .. } = node.op {
                let n = shapes[i][0];
                let moments = Moments {
                    mean: draw(n, -0.2..0.2),
                    var: draw(n, 0.5..2.0),
                };
                of.insert(node.name.clone(), moments);
            }
        }
        stats.insert(d, of);
    }
    Checkpoint {
        weights,
        masks: Masks::new(),
        stats,
        header: ModelHeader {
            schema: SCHEMA,
            normalization: Normalization {
                mean: draw(spec.input[0], 0.2..0.5),
                std: draw(spec.input[0], 0.2..0.5),
            },
            classes: (0..spec.classes().expect("classes")).map(|i| i.to_string()).collect(),
            method: "none".into(),
            data: "random".into(),
            densities,
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

/// Groups, ReLU6, a lone norm, a bias without a norm, pools of every kind, a sum of flat values.
pub(crate) fn odd() -> NetSpec {
    let conv = |filters, kernel, stride, pad, groups| Op::Conv {
        filters,
        kernel,
        stride,
        pad,
        bias: true,
        groups,
    };
    let norm = || Op::Norm {
        eps: 1e-3,
        affine: true,
    };
    let lopsided = Pad {
        top: 0,
        bottom: 1,
        left: 2,
        right: 1,
    };
    let ops: [(&str, Op, &[usize]); 19] = [
        ("image", Op::Input, &[]),
        ("stem", conv(8, 3, 2, lopsided, 1), &[0]),
        ("stem.norm", norm(), &[1]),
        ("stem.relu", Op::Relu6, &[2]),
        ("depth", conv(8, 3, 1, Pad::all(1), 8), &[3]),
        ("depth.norm", norm(), &[4]),
        ("depth.relu", Op::Relu, &[5]),
        ("pairs", conv(8, 3, 1, Pad::all(1), 4), &[6]),
        ("sum", Op::Add, &[7, 6]),
        ("sum.norm", norm(), &[8]),
        (
            "max",
            Op::MaxPool {
                kernel: 3,
                stride: 2,
                pad: Pad::all(1),
            },
            &[9],
        ),
        (
            "mean",
            Op::AvgPool {
                kernel: 2,
                stride: 1,
                pad: Pad::VALID,
            },
            &[10],
        ),
        ("drop", Op::Dropout { rate: 0.5 }, &[11]),
        ("flatten", Op::Flatten, &[12]),
        (
            "hidden",
            Op::Linear {
                outputs: 6,
                bias: false,
            },
            &[13],
        ),
        ("hidden.norm", norm(), &[14]),
        ("hidden.relu", Op::Relu, &[15]),
        ("hidden.sum", Op::Add, &[16, 14]),
        ("head", Op::Linear { outputs: 5, bias: true }, &[17]),
    ];
    let nodes = ops.map(|(name, op, inputs)| Node {
        name: name.into(),
        op,
        inputs: inputs.to_vec(),
    });
    NetSpec {
        name: "odd".into(),
        input: [3, 13, 14],
        nodes: nodes.into(),
    }
}
