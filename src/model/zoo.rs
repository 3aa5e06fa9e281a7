//! The named networks, each at any width, input size and class count.

use super::spec::{GateForm, NetSpec, Node, Op, Pad, Shape};
use anyhow::{Result, bail, ensure};

/// All names that [`build`] knows.
pub const NAMES: [&str; 17] = [
    "lenet5",
    "m-cifarnet",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "mobilenetv2",
];

/// A network of each kind, for tests that run over all kinds.
pub const KINDS: [&str; 7] = [
    "lenet5",
    "m-cifarnet",
    "vgg16",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "mobilenetv2",
];

/// Our name for a network that others call by another.
pub fn our_name(name: &str) -> &str {
    match name {
        "mobilenet_v2" => "mobilenetv2",
        "shufflenet_v2" => "shufflenet_v2_x1_0",
        "mnasnet" => "mnasnet1_0",
        _ => name
            .strip_suffix("_bn")
            .filter(|vgg| vgg.starts_with("vgg"))
            .unwrap_or(name),
    }
}

/// A network by name.
///
/// `width` multiplies every hidden channel count (rounded, at least 1).
///
/// # Errors
/// An unknown name, a width outside (0, 16], an input too small for the network.
pub fn build(name: &str, input: Shape, classes: usize, width: f32) -> Result<NetSpec> {
    ensure!(
        width > 0.0 && width <= 16.0,
        "model.width is {width}, expected more than 0 and at most 16"
    );
    ensure!(
        (1..=65_536).contains(&classes),
        "{classes} classes, expected 1 to 65536"
    );
    let mut b = NetBuilder::new(name, input, width);
    match name {
        "lenet5" => lenet5(&mut b),
        "m-cifarnet" => m_cifarnet(&mut b),
        "vgg11" => vgg(&mut b, [1, 1, 2, 2, 2]),
        "vgg13" => vgg(&mut b, [2, 2, 2, 2, 2]),
        "vgg16" => vgg(&mut b, [2, 2, 3, 3, 3]),
        "vgg19" => vgg(&mut b, [2, 2, 4, 4, 4]),
        "resnet18" => resnet(&mut b, Block::Basic, [2, 2, 2, 2]),
        "resnet34" => resnet(&mut b, Block::Basic, [3, 4, 6, 3]),
        "resnet50" => resnet(&mut b, Block::bottleneck(1, 64), [3, 4, 6, 3]),
        "resnet101" => resnet(&mut b, Block::bottleneck(1, 64), [3, 4, 23, 3]),
        "resnet152" => resnet(&mut b, Block::bottleneck(1, 64), [3, 8, 36, 3]),
        "wide_resnet50_2" => resnet(&mut b, Block::bottleneck(1, 128), [3, 4, 6, 3]),
        "wide_resnet101_2" => resnet(&mut b, Block::bottleneck(1, 128), [3, 4, 23, 3]),
        "resnext50_32x4d" => resnet(&mut b, Block::bottleneck(32, 4), [3, 4, 6, 3]),
        "resnext101_32x8d" => resnet(&mut b, Block::bottleneck(32, 8), [3, 4, 23, 3]),
        "resnext101_64x4d" => resnet(&mut b, Block::bottleneck(64, 4), [3, 4, 23, 3]),
        "mobilenetv2" => mobilenetv2(&mut b),
        _ => bail!("unknown network {name}, expected one of {}", NAMES.join(", ")),
    }
    b.linear("classifier", classes);
    b.spec.shapes()?;
    Ok(b.spec)
}

/// Puts an FBS gate on every convolution: its norm loses γ and β, the gate takes their place.
/// A convolution without a norm gets one. Identity paths of residual blocks stay ungated.
pub fn gated(spec: &NetSpec, form: impl Into<GateForm>) -> NetSpec {
    let form = form.into();
    let mut out = NetSpec {
        nodes: Vec::new(),
        ..spec.clone()
    };
    let consumers = spec.consumers();
    let mut moved = vec![0; spec.nodes.len()];
    for (i, node) in spec.nodes.iter().enumerate() {
        let mut node = node.clone();
        node.inputs = node.inputs.iter().map(|&j| moved[j]).collect();
        let source = spec.nodes[i].inputs.first().copied();
        let is_conv = |j: usize| matches!(spec.nodes[j].op, Op::Conv { .. });
        let normed = |j: usize| {
            consumers[j]
                .iter()
                .any(|&k| matches!(spec.nodes[k].op, Op::Norm { .. }))
        };
        let gate_of = match &mut node.op {
            Op::Norm { affine, .. } => source.filter(|&j| is_conv(j)).inspect(|_| *affine = false),
            Op::Conv { bias, .. } if !normed(i) => {
                *bias = false; // the norm would remove it
                Some(i)
            }
            _ => None,
        };
        out.nodes.push(node);
        if let Some(conv) = gate_of {
            if conv == i {
                out.nodes.push(Node {
                    name: format!("{}.norm", spec.nodes[i].name),
                    op: Op::Norm {
                        eps: 1e-3,
                        affine: false,
                    },
                    inputs: vec![out.nodes.len() - 1],
                });
            }
            let read = moved[spec.nodes[conv].inputs[0]];
            out.nodes.push(Node {
                name: format!("{}.gate", spec.nodes[conv].name),
                op: Op::Gate(form),
                inputs: vec![out.nodes.len() - 1, read],
            });
        }
        moved[i] = out.nodes.len() - 1;
    }
    out
}

struct NetBuilder {
    spec: NetSpec,
    width: f32,
}

impl NetBuilder {
    fn new(name: &str, input: Shape, width: f32) -> Self {
        Self {
            spec: NetSpec::of_input(name, input),
            width,
        }
    }

    fn scaled(&self, channels: usize) -> usize {
        ((channels as f32 * self.width).round() as usize).max(1)
    }

    fn last(&self) -> usize {
        self.spec.nodes.len() - 1
    }

    fn push(&mut self, name: &str, op: Op) -> usize {
        self.push_from(name, op, &[self.last()])
    }

    fn push_from(&mut self, name: &str, op: Op, inputs: &[usize]) -> usize {
        self.spec.push(name, op, inputs)
    }

    /// conv → norm [→ relu], `filters` before the width multiplier.
    fn conv(&mut self, name: &str, from: usize, c: ConvOf) -> usize {
        self.conv_of_width(name, from, c, 1)
    }

    /// The same, with filters that can be dealt out to `groups`.
    fn conv_of_width(&mut self, name: &str, from: usize, c: ConvOf, groups: usize) -> usize {
        let op = Op::Conv {
            filters: self.scaled(c.filters).next_multiple_of(groups),
            kernel: c.kernel,
            stride: c.stride,
            pad: c.pad,
            bias: false,
            groups: c.groups,
        };
        self.normed(name, from, op, c.eps, c.relu.then_some(Op::Relu))
    }

    /// op → norm [→ activation].
    fn normed(&mut self, name: &str, from: usize, op: Op, eps: f32, activation: Option<Op>) -> usize {
        self.push_from(name, op, &[from]);
        let last = self.push(&format!("{name}.norm"), Op::Norm { eps, affine: true });
        activation.map_or(last, |op| self.push(&format!("{name}.relu"), op))
    }

    fn linear(&mut self, name: &str, outputs: usize) {
        self.push(name, Op::Linear { outputs, bias: true });
    }

    fn half(&mut self, name: &str) {
        let [kernel, stride] = [2, 2];
        let pad = Pad::VALID;
        self.push(name, Op::MaxPool { kernel, stride, pad });
    }

    fn head(&mut self) {
        self.push("pool", Op::GlobalAvgPool);
        self.push("flatten", Op::Flatten);
    }
}

struct ConvOf {
    filters: usize,
    kernel: usize,
    stride: usize,
    pad: Pad,
    eps: f32,
    relu: bool,
    groups: usize,
}

/// The Caffe LeNet of the pruning literature: 20 and 50 filters of 5×5, 500 hidden units.
fn lenet5(b: &mut NetBuilder) {
    for (i, filters) in [20, 50].into_iter().enumerate() {
        let op = Op::Conv {
            filters: b.scaled(filters),
            kernel: 5,
            stride: 1,
            pad: Pad::VALID,
            bias: true,
            groups: 1,
        };
        b.push(&format!("conv{i}"), op);
        b.push(&format!("conv{i}.relu"), Op::Relu);
        b.half(&format!("pool{i}"));
    }
    b.push("flatten", Op::Flatten);
    b.linear("hidden", b.scaled(500));
    b.push("hidden.relu", Op::Relu);
}

/// The eight-convolution network of the FBS paper; dropout keeps half after conv3 and conv6.
fn m_cifarnet(b: &mut NetBuilder) {
    let [_, h, w] = b.spec.input;
    let mut size = [h, w];
    let layers = [
        (64, 1, false),
        (64, 1, true),
        (128, 2, true),
        (128, 1, true),
        (128, 1, true),
        (192, 2, true),
        (192, 1, true),
        (192, 1, true),
    ];
    for (i, (filters, stride, same)) in layers.into_iter().enumerate() {
        let pad = if same { Pad::same(size, 3, stride) } else { Pad::VALID };
        size = if same {
            size.map(|n| n.div_ceil(stride))
        } else {
            size.map(|n| n.saturating_sub(2))
        };
        b.conv(
            &format!("conv{i}"),
            b.last(),
            ConvOf {
                filters,
                kernel: 3,
                stride,
                pad,
                eps: 1e-3,
                relu: true,
                groups: 1,
            },
        );
        if i == 3 || i == 6 {
            b.push(&format!("dropout{i}"), Op::Dropout { rate: 0.5 });
        }
    }
    b.head();
}

/// CIFAR VGG: 3×3 convolutions without bias, so many in each of five stages, five max-pools, one linear layer.
/// On inputs below 32 pixels the last pools that no longer fit are left out.
fn vgg(b: &mut NetBuilder, convs: [usize; 5]) {
    let mut size = b.spec.input[1].min(b.spec.input[2]);
    for (stage, (filters, convs)) in [64, 128, 256, 512, 512].into_iter().zip(convs).enumerate() {
        for i in 0..convs {
            let conv = ConvOf {
                filters,
                kernel: 3,
                stride: 1,
                pad: Pad::all(1),
                eps: 1e-5,
                relu: true,
                groups: 1,
            };
            b.conv(&format!("conv{}_{}", stage + 1, i + 1), b.last(), conv);
        }
        if size >= 2 {
            b.half(&format!("pool{}", stage + 1));
            size /= 2;
        }
    }
    b.head();
}

/// MobileNetV2 (arXiv 1801.04381): a stem of stride 2, seventeen blocks of expansion, depthwise convolution and linear
/// projection, a last 1×1 convolution. Strides are the paper's whatever the image's size.
fn mobilenetv2(b: &mut NetBuilder) {
    let conv =
        |b: &mut NetBuilder, name: &str, from: usize, [filters, kernel, stride, groups]: [usize; 4], relu: bool| {
            let op = Op::Conv {
                filters,
                kernel,
                stride,
                pad: Pad::all(kernel / 2),
                bias: false,
                groups,
            };
            b.normed(name, from, op, 1e-5, relu.then_some(Op::Relu6))
        };
    let mut channels = b.scaled(32);
    let mut x = conv(b, "stem", 0, [channels, 3, 2, 1], true);
    let mut block = 0;
    for [expansion, filters, blocks, stride] in [
        [1, 16, 1, 1],
        [6, 24, 2, 2],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ] {
        let filters = b.scaled(filters);
        for i in 0..blocks {
            block += 1;
            let name = format!("block{block}");
            let (stride, hidden) = (if i == 0 { stride } else { 1 }, channels * expansion);
            let mut y = x;
            if expansion > 1 {
                y = conv(b, &format!("{name}.expand"), y, [hidden, 1, 1, 1], true);
            }
            y = conv(b, &format!("{name}.depthwise"), y, [hidden, 3, stride, hidden], true);
            y = conv(b, &format!("{name}.project"), y, [filters, 1, 1, 1], false);
            let adds = stride == 1 && channels == filters;
            x = if adds {
                b.push_from(&format!("{name}.add"), Op::Add, &[y, x])
            } else {
                y
            };
            channels = filters;
        }
    }
    conv(b, "last", x, [b.scaled(1280), 1, 1, 1], true);
    b.head();
}

/// Least side of images that ResNets shrink before their first block.
const LARGE_SIDE: usize = 128;

/// Gives a ResNet the first layers that suit its images' size; other networks stay as they are.
pub fn stem_for(spec: &mut NetSpec, arch: &str, [_, height, width]: [usize; 3]) {
    if arch.starts_with("resnet") && height.min(width) >= LARGE_SIDE {
        imagenet_stem(spec);
    }
}

/// Turns the first layer of a ResNet into those for large images: 7×7 of stride 2, then a max-pool.
pub fn imagenet_stem(spec: &mut NetSpec) {
    if let Op::Conv {
        kernel, stride, pad, ..
    } = &mut spec.nodes[1].op
    {
        (*kernel, *stride, *pad) = (7, 2, Pad::all(3));
    }
    // image, stem, stem.norm, stem.relu
    let relu = 3;
    for node in &mut spec.nodes[relu + 1..] {
        node.inputs.iter_mut().filter(|i| **i >= relu).for_each(|i| *i += 1);
    }
    let pool = Node {
        name: "stem.pool".into(),
        op: Op::MaxPool {
            kernel: 3,
            stride: 2,
            pad: Pad::all(1),
        },
        inputs: vec![relu],
    };
    spec.nodes.insert(relu + 1, pool);
}

/// Takes the norms of a network's convolutions out, which get biases in their place.
pub fn without_norms(spec: &mut NetSpec) {
    let mut moved: Vec<usize> = Vec::with_capacity(spec.nodes.len());
    let mut nodes: Vec<Node> = Vec::with_capacity(spec.nodes.len());
    for mut node in std::mem::take(&mut spec.nodes) {
        node.inputs.iter_mut().for_each(|i| *i = moved[*i]);
        if let Op::Norm { .. } = node.op {
            let conv = node.inputs[0];
            if let Op::Conv { bias, .. } = &mut nodes[conv].op {
                *bias = true;
                moved.push(conv);
                continue;
            }
        }
        moved.push(nodes.len());
        nodes.push(node);
    }
    spec.nodes = nodes;
}

/// What a ResNet is made of.
#[derive(Clone, Copy)]
enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 in so many groups, 1×1 to four times the stage's filters. The inner ones have `inner` times those.
    Bottleneck { groups: usize, inner: f64 },
}

impl Block {
    /// As ResNeXt (arXiv 1611.05431) counts: groups, and the width of each in the first stage. Wide ResNets have one of 128.
    fn bottleneck(groups: usize, width: usize) -> Self {
        let inner = (groups * width) as f64 / 64.0;
        Self::Bottleneck { groups, inner }
    }
}

/// CIFAR ResNet: 3×3 stem without max-pool, stages of 64, 128, 256, 512 with strides 1, 2, 2, 2.
fn resnet(b: &mut NetBuilder, block: Block, blocks: [usize; 4]) {
    let conv = |filters, kernel, stride, relu| ConvOf {
        filters,
        kernel,
        stride,
        pad: Pad::all(kernel / 2),
        eps: 1e-5,
        relu,
        groups: 1,
    };
    let mut x = b.conv("stem", 0, conv(64, 3, 1, true));
    let mut channels = 64;
    for (stage, n) in blocks.into_iter().enumerate() {
        let filters = 64 << stage;
        for i in 0..n {
            let name = format!("stage{}.{i}", stage + 1);
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let (y, out) = match block {
                Block::Bottleneck { groups, inner } => {
                    let (inner, out) = ((inner * filters as f64) as usize, 4 * filters);
                    let grouped = |kernel, stride| ConvOf {
                        groups: if kernel > 1 { groups } else { 1 },
                        ..conv(inner, kernel, stride, true)
                    };
                    // As wide as the groups that read it need it to be.
                    let y = b.conv_of_width(&format!("{name}.conv1"), x, grouped(1, 1), groups);
                    let y = b.conv_of_width(&format!("{name}.conv2"), y, grouped(3, stride), groups);
                    (b.conv(&format!("{name}.conv3"), y, conv(out, 1, 1, false)), out)
                }
                Block::Basic => {
                    let y = b.conv(&format!("{name}.conv1"), x, conv(filters, 3, stride, true));
                    (b.conv(&format!("{name}.conv2"), y, conv(filters, 3, 1, false)), filters)
                }
            };
            let identity = if stride == 1 && channels == out {
                x
            } else {
                b.conv(&format!("{name}.shortcut"), x, conv(out, 1, stride, false))
            };
            b.push_from(&format!("{name}.add"), Op::Add, &[y, identity]);
            x = b.push(&format!("{name}.relu"), Op::Relu);
            channels = out;
        }
    }
    b.head();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost;

    /// Parameters as torchvision has them, with 1000 classes and the stem for large images.
    #[test]
    fn networks_are_as_large_as_torchvisions() {
        for (name, params) in [
            ("resnet18", 11_689_512),
            ("resnet34", 21_797_672),
            ("resnet50", 25_557_032),
            ("resnet101", 44_549_160),
            ("resnet152", 60_192_808),
            ("wide_resnet50_2", 68_883_240),
            ("wide_resnet101_2", 126_886_696),
            ("resnext50_32x4d", 25_028_904),
            ("resnext101_32x8d", 88_791_336),
            ("resnext101_64x4d", 83_455_272),
            ("mobilenetv2", 3_504_872),
        ] {
            let mut spec = build(name, [3, 32, 32], 1000, 1.0).expect("builds");
            if name != "mobilenetv2" {
                imagenet_stem(&mut spec);
            }
            assert_eq!(cost::dense(&spec).expect("fits").params, params, "{name}");
        }
    }

    #[test]
    fn every_width_can_be_dealt_out_to_groups() {
        for name in NAMES {
            for width in [0.02, 0.13, 0.5, 0.9] {
                build(name, [3, 32, 32], 10, width).unwrap_or_else(|e| panic!("{name} at {width}: {e}"));
            }
        }
    }
}
