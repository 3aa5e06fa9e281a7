//! Graphs that the zoo does not have, and convolutions that the kernels do not.

use super::*;

/// Every operation in a place where the zoo does not have it.
#[test]
fn odd_graphs_agree_with_burn() {
    let conv = |filters, kernel, stride| Op::Conv {
        filters,
        kernel,
        stride,
        pad: Pad::all(kernel / 2),
        bias: true,
        groups: 1,
    };
    let norm = || Op::Norm {
        eps: 1e-3,
        affine: true,
    };
    let list: [(&str, Op, &[usize]); 17] = [
        ("x", Op::Input, &[]),
        ("a", conv(6, 3, 1), &[0]),
        (
            "a.norm",
            Op::Norm {
                eps: 1e-3,
                affine: false,
            },
            &[1],
        ),
        ("a.gate", Op::Gate(Shift::Released.into()), &[2, 0]),
        ("drop", Op::Dropout { rate: 0.5 }, &[3]),
        ("b", conv(6, 5, 1), &[4]),
        ("self", Op::Add, &[5, 4]),
        ("norm", norm(), &[6]),
        ("c", conv(7, 3, 2), &[7]),
        (
            "max",
            Op::MaxPool {
                kernel: 3,
                stride: 2,
                pad: Pad::all(1),
            },
            &[3],
        ),
        ("d", conv(7, 1, 1), &[9]),
        ("d.relu", Op::Relu, &[10]),
        ("sum", Op::Add, &[8, 11]),
        ("relu", Op::Relu, &[12]),
        (
            "avg",
            Op::AvgPool {
                kernel: 2,
                stride: 2,
                pad: Pad::VALID,
            },
            &[13],
        ),
        ("flat", Op::Flatten, &[14]),
        (
            "out",
            Op::Linear {
                outputs: 4,
                bias: false,
            },
            &[15],
        ),
    ];
    let nodes = list
        .into_iter()
        .map(|(name, op, inputs)| Node {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
        })
        .collect();
    let model = model(
        NetSpec {
            name: "odd".into(),
            input: [2, 9, 9],
            nodes,
        },
        5,
    );
    agrees_with_burn(&model, percent(100));
    agrees_with_burn(&model, percent(40));
    agrees_with_burn(&masked(model, 1), percent(40));
}

#[test]
fn what_the_kernels_do_not_have_is_computed_row_by_row() {
    let mut plain = model(mobile(), 5);
    // Far enough from zero that ReLU6 meets both of its ends.
    let gamma = &mut plain.weights.get_mut("stem.norm.gamma").expect("there").data;
    gamma.iter_mut().for_each(|v| *v *= 8.0);
    agrees_with_burn(&plain, Density::FULL);
    agrees_with_burn(&masked(plain, 4), Density::FULL);
    for form in GateForm::ALL {
        let gated = model(zoo::gated(&mobile(), form), 5);
        for p in [100, 50] {
            agrees_with_burn(&gated, percent(p));
            agrees_with_burn(&masked(gated.clone(), 4), percent(p));
        }
    }
}

#[test]
fn a_number_that_is_none_reaches_the_logits() {
    let nan = |spec: NetSpec, pixels: std::ops::Range<usize>| {
        let mut image = images(&spec, 1, 1);
        image[pixels].fill(f32::NAN);
        for kernel in Kernel::available() {
            let mut engine = engine(&model(spec.clone(), 5), 1, kernel);
            let logits = &engine.run(&image).logits;
            assert!(logits.iter().all(|v| v.is_nan()), "{} by {kernel:?}", spec.name);
        }
    };
    for name in ["lenet5", "m-cifarnet", "resnet18"] {
        let spec = small(name);
        let middle = spec.input[2] * (spec.input[1] / 2) + spec.input[2] / 2;
        nan(spec, middle..middle + 1);
    }
    // Its last convolution skips pixels, so all are NaN.
    nan(mobile(), 0..3 * 20 * 17);
}

#[test]
fn a_dead_channel_of_a_depthwise_convolution_costs_nothing_and_is_not_read_behind_it() {
    let mut net = model(mobile(), 5);
    let dense = engine(&net, 1, Kernel::best()).run(&images(net.spec(), 1, 1)).clone();
    let mut mask = LayerMask::whole(8, 9);
    mask.filters[3] = false;
    net.masks.insert("depth".into(), mask);
    agrees_with_burn(&net, Density::FULL);
    for array in ["depth.weight", "depth.norm.gamma", "depth.norm.beta"] {
        let data = &mut net.weights.get_mut(array).expect("there").data;
        let each = data.len() / 8;
        data[3 * each..][..each].fill(f32::NAN);
    }
    let mut engine = engine(&net, 1, Kernel::best());
    let batch = engine.run(&images(net.spec(), 1, 1));
    assert!(batch.logits.iter().all(|v| v.is_finite()), "a dead channel was read");
    // Its own 3×3 on 4×3 positions, and its column of the 1×1 behind it.
    assert_eq!(dense.macs - batch.macs, (9 + 6) * 4 * 3);
}

#[test]
fn grouped_convolutions_count_what_they_compute() {
    let net = model(mobile(), 5);
    let mut engine = engine(&net, 2, Kernel::best());
    let batch = engine.run(&images(net.spec(), 2, 1));
    let cost = cost::dense(net.spec()).expect("cost");
    assert_eq!((batch.macs, batch.macs_conv), (2 * cost.macs, 2 * cost.macs_conv));
}

#[test]
fn a_stride_beyond_the_image_agrees_with_burn() {
    for (stride, size) in [(5, 6), (64, 6), (64, 70), (1000, 6)] {
        let mut spec = mobile();
        spec.input = [3, size, size + 1];
        let Op::Conv { stride: first, .. } = &mut spec.nodes[1].op else {
            panic!("a convolution")
        };
        *first = stride;
        agrees_with_burn(&model(spec, 1), Density::FULL);
    }
}
