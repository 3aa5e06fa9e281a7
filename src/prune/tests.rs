//! Small models that the tests of this module share.
//! Knows nothing of what is tested on them.

use crate::data::Normalization;
use crate::model::checkpoint::{Checkpoint, Header, Moments, SCHEMA};
use crate::model::mask::LayerMask;
use crate::model::spec::{NetSpec, Node, Op, Pad};
use crate::model::{Density, Masks, weights};
use std::collections::BTreeMap;

/// A model with initial weights and norms that change nothing.
pub(crate) fn model(spec: NetSpec, seed: u64) -> Checkpoint {
    let shapes = spec.shapes().expect("shapes");
    let norms = (0..spec.nodes.len()).filter(|&i| matches!(spec.nodes[i].op, Op::Norm { .. }));
    let unit = |i: usize| Moments {
        mean: vec![0.0; shapes[i][0]],
        var: vec![1.0; shapes[i][0]],
    };
    let stats = norms.map(|i| (spec.nodes[i].name.clone(), unit(i))).collect();
    Checkpoint {
        weights: weights::init(&spec, seed).expect("init"),
        masks: Masks::new(),
        stats: BTreeMap::from([(Density::FULL, stats)]),
        header: Header {
            schema: SCHEMA,
            normalization: Normalization {
                mean: vec![0.0; spec.input[0]],
                std: vec![1.0; spec.input[0]],
            },
            classes: (0..spec.classes().expect("classes")).map(|i| i.to_string()).collect(),
            method: "none".into(),
            data: "none".into(),
            densities: vec![Density::FULL],
            gate_densities: Vec::new(),
            metrics: vec![],
            recipe: String::new(),
            spec,
        },
    }
}

pub(crate) fn node(name: &str, op: Op, inputs: &[usize]) -> Node {
    Node {
        name: name.into(),
        op,
        inputs: inputs.to_vec(),
    }
}

pub(crate) fn conv(filters: usize, kernel: usize, pad: usize, bias: bool) -> Op {
    Op::Conv {
        filters,
        kernel,
        stride: 1,
        pad: Pad::all(pad),
        bias,
        groups: 1,
    }
}

/// image(2, 4×4) → a: 3 filters 1×1 with bias → relu → b: 2 filters 3×3 → relu → flat → last
pub(crate) fn chain(pad: usize, bias: bool) -> Checkpoint {
    let spec = NetSpec {
        name: "chain".into(),
        input: [2, 4, 4],
        nodes: vec![
            node("x", Op::Input, &[]),
            node("a", conv(3, 1, 0, true), &[0]),
            node("a.relu", Op::Relu, &[1]),
            node("b", conv(2, 3, pad, bias), &[2]),
            node("b.relu", Op::Relu, &[3]),
            node("flat", Op::Flatten, &[4]),
            node(
                "last",
                Op::Linear {
                    outputs: 2,
                    bias: false,
                },
                &[5],
            ),
        ],
    };
    let mut model = model(spec, 1);
    model.weights.get_mut("a.bias").expect("there").data = vec![0.5, 2.0, -1.0];
    model
}

/// A mask without these filters.
pub(super) fn without(model: &Checkpoint, name: &str, filters: &[usize]) -> Masks {
    let shape = &model.weights[&format!("{name}.weight")].shape;
    let mut mask = LayerMask::whole(shape[0], shape[1..].iter().product());
    filters.iter().for_each(|&f| mask.filters[f] = false);
    Masks::from([(name.to_owned(), mask)])
}

pub(super) fn filters(model: &Checkpoint, name: &str) -> usize {
    model.weights[&format!("{name}.weight")].shape[0]
}
