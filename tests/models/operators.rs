//! Small networks of operators that the zoo does not have, a kind of network each.

use model::resample::{Coordinates, Interpolation};
use model::spec::{NetSpec, Node, Op, Pad};
use model::{Activation, Head};

struct Graph {
    spec: NetSpec,
}

impl Graph {
    fn new(name: &str, input: [usize; 3]) -> Self {
        let mut graph = Self {
            spec: NetSpec {
                name: name.into(),
                input,
                nodes: vec![],
            },
        };
        graph.push("image", Op::Input, &[]);
        graph
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[usize]) -> usize {
        self.spec.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
        });
        self.spec.nodes.len() - 1
    }

    /// A convolution of an odd kernel that keeps the size at stride 1.
    fn conv(&mut self, name: &str, x: usize, filters: usize, [kernel, stride, groups]: [usize; 3]) -> usize {
        let op = Op::Conv {
            filters,
            kernel,
            stride,
            pad: Pad::all(kernel / 2),
            bias: true,
            groups,
        };
        self.push(name, op, &[x])
    }

    fn norm(&mut self, name: &str, x: usize) -> usize {
        self.push(
            name,
            Op::Norm {
                eps: 1e-3,
                affine: true,
            },
            &[x],
        )
    }

    fn act(&mut self, function: Activation, x: usize) -> usize {
        let name = format!("{}{}", function.name(), self.spec.nodes.len());
        self.push(&name, Op::Activation { function }, &[x])
    }

    fn head(mut self, x: usize) -> NetSpec {
        let x = self.push("pool", Op::GlobalAvgPool, &[x]);
        let x = self.push("flatten", Op::Flatten, &[x]);
        self.push("classifier", Op::Linear { outputs: 5, bias: true }, &[x]);
        self.spec
    }
}

/// MobileNetV3, EfficientNet: inverted residuals with squeeze-and-excitation, every activation.
pub(crate) fn excited() -> NetSpec {
    let mut g = Graph::new("excited", [3, 12, 10]);
    let x = g.conv("stem", 0, 6, [3, 2, 1]);
    let x = g.norm("stem.norm", x);
    let mut x = g.act(Activation::HardSwish, x);
    let functions = [
        [Activation::Silu, Activation::Sigmoid],
        [
            Activation::Mish,
            Activation::HardSigmoid {
                slope: 1.0 / 6.0,
                offset: 0.5,
            },
        ],
        [Activation::Gelu, Activation::Tanh],
        [Activation::Elu { scale: 0.5 }, Activation::Softplus],
        [
            Activation::LeakyRelu { slope: 0.2 },
            Activation::Clip {
                least: Some(0.1),
                most: None,
            },
        ],
    ];
    for (i, [inner, gate]) in functions.into_iter().enumerate() {
        let of = |what: &str| format!("block{i}.{what}");
        let y = g.conv(&of("expand"), x, 8 + i, [1, 1, 1]);
        let y = g.act(inner, y);
        let y = g.conv(&of("deep"), y, 8 + i, [3, 1, 8 + i]);
        let y = g.norm(&of("deep.norm"), y);
        let y = g.act(inner, y);
        let z = g.push(&of("mean"), Op::GlobalAvgPool, &[y]);
        let z = g.conv(&of("squeeze"), z, 3, [1, 1, 1]);
        let z = g.push(&of("squeeze.relu"), Op::Relu, &[z]);
        let z = g.conv(&of("excite"), z, 8 + i, [1, 1, 1]);
        let z = g.act(gate, z);
        let y = g.push(&of("scale"), Op::Mul, &[y, z]);
        let y = g.conv(&of("project"), y, 6, [1, 1, 1]);
        x = g.push(&of("add"), Op::Add, &[y, x]);
    }
    g.head(x)
}

/// Inception, DenseNet, SqueezeNet, ShuffleNet: branches side by side, parts, shuffles.
pub(crate) fn branched() -> NetSpec {
    let mut g = Graph::new("branched", [3, 12, 10]);
    let x = g.conv("stem", 0, 6, [3, 1, 1]);
    let x = g.push("stem.relu", Op::Relu, &[x]);
    let a = g.conv("a", x, 4, [1, 1, 1]);
    let b = g.conv("b", x, 5, [3, 1, 1]);
    let c = g.push(
        "c.pool",
        Op::MaxPool {
            kernel: 3,
            stride: 1,
            pad: Pad::all(1),
        },
        &[x],
    );
    let c = g.conv("c", c, 3, [1, 1, 1]);
    let mut x = g.push("inception", Op::Concat, &[a, b, c]);
    for i in 0..2 {
        let y = g.norm(&format!("dense{i}.norm"), x);
        let y = g.push(&format!("dense{i}.relu"), Op::Relu, &[y]);
        let y = g.conv(&format!("dense{i}.point"), y, 6, [1, 1, 1]);
        let y = g.norm(&format!("dense{i}.point.norm"), y);
        let y = g.push(&format!("dense{i}.point.relu"), Op::Relu, &[y]);
        let y = g.conv(&format!("dense{i}"), y, 4, [3, 1, 1]);
        x = g.push(&format!("dense{i}.concat"), Op::Concat, &[x, y]);
    }
    // 20 channels; one half passes by.
    let part = |first: usize| Op::Select {
        channels: (first..first + 10).collect(),
    };
    let left = g.push("left", part(0), &[x]);
    let right = g.push("right", part(10), &[x]);
    let y = g.conv("right.point", right, 10, [1, 1, 1]);
    let y = g.push("right.relu", Op::Relu, &[y]);
    let y = g.conv("right.deep", y, 10, [3, 1, 10]);
    let y = g.conv("right.out", y, 10, [1, 1, 1]);
    let x = g.push("unit", Op::Concat, &[left, y]);
    let shuffle = (0..20).map(|k| k % 2 * 10 + k / 2).collect();
    let x = g.push("shuffle", Op::Select { channels: shuffle }, &[x]);
    let x = g.conv("after", x, 6, [3, 2, 1]);
    let x = g.push(
        "some",
        Op::Select {
            channels: vec![5, 0, 2, 3],
        },
        &[x],
    );
    g.head(x)
}

/// AlexNet and what exporters write: pools of every kind, borders, local response normalization.
pub(crate) fn pooled() -> NetSpec {
    let mut g = Graph::new("pooled", [3, 19, 18]);
    let x = g.conv("stem", 0, 8, [5, 1, 1]);
    let x = g.push("stem.relu", Op::Relu, &[x]);
    let lrn = Op::Lrn {
        size: 5,
        alpha: 0.3,
        beta: 0.75,
        bias: 2.0,
    };
    let x = g.push("lrn", lrn, &[x]);
    let ceil = Pad {
        bottom: 1,
        right: 1,
        ..Pad::VALID
    };
    let max = Op::MaxPool {
        kernel: 3,
        stride: 2,
        pad: ceil,
    };
    let x = g.push("max", max, &[x]);
    let x = g.conv("middle", x, 7, [3, 1, 1]);
    let mean = Op::AvgPool {
        kernel: 3,
        stride: 2,
        pad: Pad::all(1),
    };
    let x = g.push("mean", mean, &[x]);
    let border = Pad {
        top: 1,
        left: 2,
        ..Pad::VALID
    };
    let x = g.push("border", Op::ZeroPad { pad: border }, &[x]);
    let x = g.conv("last", x, 6, [3, 2, 1]);
    g.head(x)
}

/// A U-Net and ConvNeXt: enlarged by copies and by transposed convolutions, joined, normalized over channels.
pub(crate) fn enlarged() -> NetSpec {
    let mut g = Graph::new("enlarged", [3, 12, 8]);
    let x = g.conv("stem", 0, 6, [3, 1, 1]);
    let wide = g.push("stem.relu", Op::Relu, &[x]);
    let x = g.conv("down", wide, 8, [3, 2, 1]);
    let x = g.push("down.norm", Op::LayerNorm { eps: 1e-3 }, &[x]);
    let low = g.act(Activation::Gelu, x);
    let x = g.push("copies", Op::Upsample { scale: 2 }, &[low]);
    let x = g.push("joined", Op::Concat, &[wide, x]);
    let x = g.conv("merge", x, 5, [3, 1, 1]);
    let y = g.push("spread", Op::Spread { stride: 2 }, &[low]);
    // A transposed convolution of kernel 3, padding 1 and output padding 1.
    let up = Op::Conv {
        filters: 5,
        kernel: 3,
        stride: 1,
        pad: Pad {
            top: 1,
            left: 1,
            bottom: 2,
            right: 2,
        },
        bias: true,
        groups: 1,
    };
    let y = g.push("up", up, &[y]);
    let x = g.push("sum", Op::Add, &[x, y]);
    let x = g.act(Activation::HardSwish, x);
    g.head(x)
}

/// What segmenters do: planes in other sizes, by copies and between pixels.
pub(crate) fn resized() -> NetSpec {
    let mut g = Graph::new("resized", [3, 9, 7]);
    let wide = g.conv("stem", 0, 6, [3, 1, 1]);
    let low = g.conv("down", wide, 8, [3, 2, 1]);
    let low = g.push("down.relu", Op::Relu, &[low]);
    let to = |size: [usize; 2], coordinates, interpolation| Op::Resize {
        size,
        scale: [size[0] as f32 / 5.0, size[1] as f32 / 4.0],
        coordinates,
        interpolation,
    };
    let ways = [
        (Coordinates::HalfPixel, Interpolation::Linear),
        (Coordinates::AlignCorners, Interpolation::Linear),
        (Coordinates::Asymmetric, Interpolation::Floor),
    ];
    let mut parts = vec![wide];
    for (i, (coordinates, interpolation)) in ways.into_iter().enumerate() {
        parts.push(g.push(&format!("up{i}"), to([9, 7], coordinates, interpolation), &[low]));
    }
    let x = g.push("joined", Op::Concat, &parts);
    let x = g.conv("merge", x, 6, [3, 1, 1]);
    let x = g.act(Activation::Silu, x);
    g.head(x)
}

/// A YOLO: backbone, neck with enlarged planes and joins, two heads by anchors, and one of classes.
pub(crate) fn detector(input: [usize; 3]) -> NetSpec {
    let mut g = Graph::new("detector", input);
    let block = |g: &mut Graph, name: &str, x: usize, filters: usize, [kernel, stride]: [usize; 2]| {
        let x = g.conv(name, x, filters, [kernel, stride, 1]);
        let x = g.norm(&format!("{name}.norm"), x);
        g.act(Activation::Silu, x)
    };
    let x = block(&mut g, "stem", 0, 8, [3, 2]);
    let x = block(&mut g, "first", x, 8, [1, 1]);
    let part = |channels: std::ops::Range<usize>| Op::Select {
        channels: channels.collect(),
    };
    let left = g.push("left", part(0..4), &[x]);
    let right = g.push("right", part(4..8), &[x]);
    let y = block(&mut g, "inner", right, 4, [3, 1]);
    let y = g.push("inner.sum", Op::Add, &[right, y]);
    let x = g.push("parts", Op::Concat, &[left, right, y]);
    let near = block(&mut g, "merged", x, 12, [1, 1]);
    let far = block(&mut g, "down", near, 16, [3, 2]);
    let pool = Op::MaxPool {
        kernel: 3,
        stride: 1,
        pad: Pad::all(1),
    };
    let wide = g.push("pyramid", pool, &[far]);
    let x = g.push("scales", Op::Concat, &[far, wide]);
    let far = block(&mut g, "far", x, 16, [1, 1]);
    let x = g.push("up", Op::Upsample { scale: 2 }, &[far]);
    let x = g.push("neck", Op::Concat, &[x, near]);
    let near = block(&mut g, "near", x, 12, [3, 1]);
    let heads = [("p3", near), ("p4", far)].map(|(name, x)| g.conv(&format!("{name}.conv"), x, 10, [1, 1, 1]));
    let shapes = g.spec.shapes().expect("shapes");
    let [[_, h, w], [_, far_h, far_w]] = heads.map(|x| shapes[x]);
    let pooled = g.push("pooled", Op::GlobalAvgPool, &[far]);
    let flat = g.push("flat", Op::Flatten, &[pooled]);
    let classes = g.push("classifier", Op::Linear { outputs: 5, bias: true }, &[flat]);
    // Two anchors of five numbers each, as a list over anchors and pixels; and as the convolution gives them.
    let boxes = Head {
        name: "boxes".into(),
        view: vec![2, 5, h, w],
        order: vec![0, 2, 3, 1],
        shape: vec![2 * h * w, 5],
        joins: None,
    };
    let map = Head::plain("map", &[10, far_h, far_w]);
    let heads_of = vec![boxes, map, Head::plain("classes", &[5])];
    g.push(
        "outputs",
        Op::Outputs { heads: heads_of },
        &[heads[0], heads[1], classes],
    );
    g.spec
}

/// An SSD: class scores and boxes of two maps, by anchors, each joined to one list; and, as YOLOv8 has it, both maps side by side.
pub(crate) fn single_shot() -> NetSpec {
    let mut g = Graph::new("single-shot", [3, 12, 10]);
    let x = g.conv("stem", 0, 8, [3, 2, 1]);
    let near = g.act(Activation::HardSwish, x);
    let x = g.conv("down", near, 12, [3, 2, 1]);
    let far = g.push("down.relu", Op::Relu, &[x]);
    let (mut heads, mut from): (Vec<Head>, Vec<usize>) = Default::default();
    let [anchors, classes] = [2, 3];
    for (name, numbers) in [("scores", classes), ("boxes", 4)] {
        for (k, x) in [near, far].into_iter().enumerate() {
            let y = g.conv(&format!("{name}{k}"), x, anchors * numbers, [3, 1, 1]);
            let [_, h, w] = g.spec.shapes().expect("shapes")[y];
            heads.push(Head {
                view: vec![anchors, numbers, h, w],
                order: vec![2, 3, 0, 1],
                joins: (k > 0).then_some(0),
                ..Head::plain(name, &[anchors * h * w, numbers])
            });
            from.push(y);
        }
    }
    for (k, x) in [near, far].into_iter().enumerate() {
        let y = g.conv(&format!("all{k}"), x, 5, [1, 1, 1]);
        let [_, h, w] = g.spec.shapes().expect("shapes")[y];
        heads.push(Head {
            joins: (k > 0).then_some(1),
            ..Head::plain("all", &[5, h * w])
        });
        from.push(y);
    }
    g.push("outputs", Op::Outputs { heads }, &from);
    g.spec
}

/// ResNeXt, and AlexNet as it was published: convolutions of many groups and of few.
pub(crate) fn grouped() -> NetSpec {
    let mut g = Graph::new("grouped", [3, 12, 10]);
    let x = g.conv("stem", 0, 12, [3, 2, 1]);
    let x = g.norm("stem.norm", x);
    let mut x = g.push("stem.relu", Op::Relu, &[x]);
    for (i, groups) in [6, 2].into_iter().enumerate() {
        let of = |what: &str| format!("block{i}.{what}");
        let y = g.conv(&of("point"), x, 24, [1, 1, 1]);
        let y = g.norm(&of("point.norm"), y);
        let y = g.push(&of("point.relu"), Op::Relu, &[y]);
        let y = g.conv(&of("grouped"), y, 36, [3, 1, groups]);
        let y = g.norm(&of("grouped.norm"), y);
        let y = g.push(&of("grouped.relu"), Op::Relu, &[y]);
        let y = g.conv(&of("out"), y, 12, [1, 1, 1]);
        x = g.push(&of("add"), Op::Add, &[y, x]);
    }
    let x = g.conv("last", x, 16, [3, 1, 4]);
    let x = g.push("last.relu", Op::Relu, &[x]);
    g.head(x)
}

/// All of them.
pub(crate) fn all() -> [NetSpec; 8] {
    [
        excited(),
        branched(),
        pooled(),
        enlarged(),
        resized(),
        detector([3, 16, 12]),
        single_shot(),
        grouped(),
    ]
}
