//! Small networks for tests and examples.

use crate::mask::LayerMask;
use crate::spec::{NetSpec, Node, Op, Pad};
use crate::{Checkpoint, Masks, random_model};

/// A node of a graph.
pub fn node(name: &str, op: Op, inputs: &[usize]) -> Node {
    Node {
        name: name.into(),
        op,
        inputs: inputs.to_vec(),
    }
}

/// A convolution of stride 1 in one group.
pub fn conv(filters: usize, kernel: usize, pad: usize, bias: bool) -> Op {
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
pub fn chain(pad: usize, bias: bool) -> Checkpoint {
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
    let mut model = random_model(spec, 1).expect("a valid network");
    model.weights.get_mut("a.bias").expect("a bias").data = vec![0.5, 2.0, -1.0];
    model
}

/// A mask without these filters.
pub fn without(model: &Checkpoint, name: &str, filters: &[usize]) -> Masks {
    let [n_filters, columns] = model.weight(name).matrix();
    let mut mask = LayerMask::whole(n_filters, columns);
    filters.iter().for_each(|&f| mask.filters[f] = false);
    Masks::from([(name.to_owned(), mask)])
}

/// How many filters a convolution has.
pub fn filters(model: &Checkpoint, name: &str) -> usize {
    model.weight(name).shape[0]
}
