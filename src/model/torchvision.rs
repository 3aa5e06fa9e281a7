//! Networks of torchvision beside the zoo's own, each node under the name that torchvision's module has.
//! Knows nothing of weights.

use super::activation::Activation;
use super::spec::{NetSpec, Op, Pad, Shape};
use anyhow::{Result, bail, ensure};

/// All names that [`build`] knows.
pub const NAMES: [&str; 13] = [
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "densenet121",
    "densenet169",
    "densenet201",
    "squeezenet1_1",
    "googlenet",
    "regnet_y_400mf",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
    "convnext_tiny",
    "convnext_small",
];

/// A network by torchvision's name, at its usual widths.
///
/// # Errors
/// An unknown name, or an input too small for the network.
pub fn build(name: &str, input: Shape, classes: usize) -> Result<NetSpec> {
    ensure!(
        (1..=65_536).contains(&classes),
        "{classes} classes, expected 1 to 65536"
    );
    let mut b = ModuleBuilder::new(name, input);
    match name {
        "mobilenet_v3_small" => mobilenet_v3(&mut b, &SMALL, 1024, classes),
        "mobilenet_v3_large" => mobilenet_v3(&mut b, &LARGE, 1280, classes),
        "efficientnet_b0" => efficientnet(&mut b, classes),
        "densenet121" => densenet(&mut b, [6, 12, 24, 16], classes),
        "densenet169" => densenet(&mut b, [6, 12, 32, 32], classes),
        "densenet201" => densenet(&mut b, [6, 12, 48, 32], classes),
        "squeezenet1_1" => squeezenet(&mut b, classes),
        "googlenet" => googlenet(&mut b, classes),
        "regnet_y_400mf" => regnet(&mut b, classes),
        "shufflenet_v2_x1_0" => shufflenet(&mut b, classes),
        "mnasnet1_0" => mnasnet(&mut b, classes),
        "convnext_tiny" => convnext(&mut b, [3, 3, 9, 3], classes),
        "convnext_small" => convnext(&mut b, [3, 3, 27, 3], classes),
        _ => bail!("unknown network {name}, expected one of {}", NAMES.join(", ")),
    }
    b.spec.shapes()?;
    Ok(b.spec)
}

struct ModuleBuilder {
    spec: NetSpec,
    eps: f32,
}

/// A convolution: filters, kernel, stride, groups.
type ConvSizes = [usize; 4];

impl ModuleBuilder {
    fn new(name: &str, input: Shape) -> Self {
        Self {
            spec: NetSpec::of_input(name, input),
            eps: 1e-5,
        }
    }

    fn put(&mut self, name: &str, op: Op, inputs: &[usize]) -> usize {
        self.spec.push(name, op, inputs)
    }

    /// Padded by half of its kernel.
    fn conv(&mut self, name: &str, x: usize, [filters, kernel, stride, groups]: ConvSizes, bias: bool) -> usize {
        let pad = Pad::all(kernel / 2);
        self.conv_padded(name, x, [filters, kernel, stride, groups], bias, pad)
    }

    fn conv_padded(
        &mut self,
        name: &str,
        x: usize,
        [filters, kernel, stride, groups]: ConvSizes,
        bias: bool,
        pad: Pad,
    ) -> usize {
        let op = Op::Conv {
            filters,
            kernel,
            stride,
            pad,
            bias,
            groups,
        };
        self.put(name, op, &[x])
    }

    fn norm(&mut self, name: &str, x: usize) -> usize {
        let eps = self.eps;
        self.put(name, Op::Norm { eps, affine: true }, &[x])
    }

    fn act(&mut self, op: &Op, x: usize) -> usize {
        let name = format!("{}.{}", self.spec.nodes[x].name, op.kind());
        self.put(&name, op.clone(), &[x])
    }

    fn relu(&mut self, x: usize) -> usize {
        self.act(&Op::Relu, x)
    }

    /// `name.0`, `name.1`: convolution and norm, then maybe an activation.
    fn normed(&mut self, name: &str, x: usize, sizes: ConvSizes, then: Option<&Op>) -> usize {
        self.normed_as([&format!("{name}.0"), &format!("{name}.1")], x, sizes, then)
    }

    fn normed_as(&mut self, [conv, norm]: [&str; 2], x: usize, sizes: ConvSizes, then: Option<&Op>) -> usize {
        let x = self.conv(conv, x, sizes, false);
        let x = self.norm(norm, x);
        then.map_or(x, |op| self.act(op, x))
    }

    fn max_pool(&mut self, name: &str, x: usize, kernel: usize, stride: usize, pad: usize) -> usize {
        let pad = Pad::all(pad);
        self.put(name, Op::MaxPool { kernel, stride, pad }, &[x])
    }

    /// A last window that is not full counts, unless it would begin beyond the image.
    fn max_pool_ceil(&mut self, name: &str, x: usize, kernel: usize, stride: usize) -> usize {
        let shape = self.spec.shapes().ok().and_then(|shapes| shapes.get(x).copied());
        let [_, h, w] = shape.unwrap_or([1, kernel, kernel]);
        let more = |n: usize| {
            let windows = n.saturating_sub(kernel).div_ceil(stride);
            (windows * stride + kernel).saturating_sub(n)
        };
        let pad = Pad {
            bottom: more(h),
            right: more(w),
            ..Pad::VALID
        };
        self.put(name, Op::MaxPool { kernel, stride, pad }, &[x])
    }

    /// Factors of channels from their means (arXiv 1709.01507): `name.fc1`, `name.fc2`.
    fn excite(&mut self, name: &str, x: usize, [channels, squeezed]: [usize; 2], functions: [&Op; 2]) -> usize {
        let y = self.put(&format!("{name}.avgpool"), Op::GlobalAvgPool, &[x]);
        let y = self.conv(&format!("{name}.fc1"), y, [squeezed, 1, 1, 1], true);
        let y = self.act(functions[0], y);
        let y = self.conv(&format!("{name}.fc2"), y, [channels, 1, 1, 1], true);
        let y = self.act(functions[1], y);
        self.put(&format!("{name}.scale"), Op::Mul, &[x, y])
    }

    fn mean(&mut self, x: usize) -> usize {
        let x = self.put("avgpool", Op::GlobalAvgPool, &[x]);
        self.put("flatten", Op::Flatten, &[x])
    }

    fn linear(&mut self, name: &str, x: usize, outputs: usize) -> usize {
        self.put(name, Op::Linear { outputs, bias: true }, &[x])
    }

    fn dropout(&mut self, name: &str, x: usize, rate: f32) -> usize {
        self.put(name, Op::Dropout { rate }, &[x])
    }
}

fn activation(function: Activation) -> Op {
    Op::Activation { function }
}

/// The multiple of 8 nearest to a number, but not less than nine tenths of it.
fn divisible(n: f32) -> usize {
    let near = (((n + 4.0) / 8.0) as usize * 8).max(8);
    if (near as f32) < 0.9 * n { near + 8 } else { near }
}

/// Kernel, expanded channels, channels, whether they are excited, whether by HardSwish, stride.
type V3Block = (usize, usize, usize, bool, bool, usize);

const SMALL: [V3Block; 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

const LARGE: [V3Block; 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

/// MobileNetV3 (arXiv 1905.02244).
fn mobilenet_v3(b: &mut ModuleBuilder, blocks: &[V3Block], hidden: usize, classes: usize) {
    b.eps = 1e-3;
    let swish = activation(Activation::HardSwish);
    let hard = activation(Activation::HardSigmoid {
        slope: 1.0 / 6.0,
        offset: 0.5,
    });
    let mut channels = 16;
    let mut x = b.normed("features.0", 0, [channels, 3, 2, 1], Some(&swish));
    for (i, &(kernel, expanded, filters, excited, by_swish, stride)) in blocks.iter().enumerate() {
        let then = if by_swish { &swish } else { &Op::Relu };
        let (mut y, mut part) = (x, 0);
        let mut name = || {
            part += 1;
            format!("features.{}.block.{}", i + 1, part - 1)
        };
        if expanded != channels {
            y = b.normed(&name(), y, [expanded, 1, 1, 1], Some(then));
        }
        y = b.normed(&name(), y, [expanded, kernel, stride, expanded], Some(then));
        if excited {
            let squeezed = divisible(expanded as f32 / 4.0);
            y = b.excite(&name(), y, [expanded, squeezed], [&Op::Relu, &hard]);
        }
        y = b.normed(&name(), y, [filters, 1, 1, 1], None);
        if stride == 1 && channels == filters {
            y = b.put(&format!("features.{}.add", i + 1), Op::Add, &[y, x]);
        }
        (x, channels) = (y, filters);
    }
    x = b.normed(
        &format!("features.{}", blocks.len() + 1),
        x,
        [6 * channels, 1, 1, 1],
        Some(&swish),
    );
    x = b.mean(x);
    x = b.linear("classifier.0", x, hidden);
    x = b.act(&swish, x);
    x = b.dropout("classifier.2", x, 0.2);
    b.linear("classifier.3", x, classes);
}

/// EfficientNet-B0 (arXiv 1905.11946).
fn efficientnet(b: &mut ModuleBuilder, classes: usize) {
    let (silu, sigmoid) = (activation(Activation::Silu), activation(Activation::Sigmoid));
    let mut channels = 32;
    let mut x = b.normed("features.0", 0, [channels, 3, 2, 1], Some(&silu));
    let stages = [
        [1, 3, 1, 16, 1],
        [6, 3, 2, 24, 2],
        [6, 5, 2, 40, 2],
        [6, 3, 2, 80, 3],
        [6, 5, 1, 112, 3],
        [6, 5, 2, 192, 4],
        [6, 3, 1, 320, 1],
    ];
    for (stage, [expansion, kernel, stride, filters, blocks]) in stages.into_iter().enumerate() {
        for block in 0..blocks {
            let of = format!("features.{}.{block}", stage + 1);
            let (stride, expanded) = (if block == 0 { stride } else { 1 }, expansion * channels);
            let (mut y, mut part) = (x, 0);
            let mut name = || {
                part += 1;
                format!("{of}.block.{}", part - 1)
            };
            if expansion > 1 {
                y = b.normed(&name(), y, [expanded, 1, 1, 1], Some(&silu));
            }
            y = b.normed(&name(), y, [expanded, kernel, stride, expanded], Some(&silu));
            y = b.excite(&name(), y, [expanded, (channels / 4).max(1)], [&silu, &sigmoid]);
            y = b.normed(&name(), y, [filters, 1, 1, 1], None);
            if stride == 1 && channels == filters {
                y = b.put(&format!("{of}.add"), Op::Add, &[y, x]);
            }
            (x, channels) = (y, filters);
        }
    }
    x = b.normed("features.8", x, [1280, 1, 1, 1], Some(&silu));
    x = b.mean(x);
    x = b.dropout("classifier.0", x, 0.2);
    b.linear("classifier.1", x, classes);
}

/// DenseNet (arXiv 1608.06993), growing by 32 channels.
fn densenet(b: &mut ModuleBuilder, blocks: [usize; 4], classes: usize) {
    let mut channels = 64;
    let x = b.conv("features.conv0", 0, [channels, 7, 2, 1], false);
    let x = b.norm("features.norm0", x);
    let x = b.relu(x);
    let mut x = b.max_pool("features.pool0", x, 3, 2, 1);
    for (i, layers) in blocks.into_iter().enumerate() {
        for layer in 0..layers {
            let of = format!("features.denseblock{}.denselayer{}", i + 1, layer + 1);
            let y = b.norm(&format!("{of}.norm1"), x);
            let y = b.relu(y);
            let y = b.conv(&format!("{of}.conv1"), y, [128, 1, 1, 1], false);
            let y = b.norm(&format!("{of}.norm2"), y);
            let y = b.relu(y);
            let y = b.conv(&format!("{of}.conv2"), y, [32, 3, 1, 1], false);
            x = b.put(&format!("{of}.concat"), Op::Concat, &[x, y]);
            channels += 32;
        }
        if i < 3 {
            let of = format!("features.transition{}", i + 1);
            channels /= 2;
            let y = b.norm(&format!("{of}.norm"), x);
            let y = b.relu(y);
            let y = b.conv(&format!("{of}.conv"), y, [channels, 1, 1, 1], false);
            let mean = Op::AvgPool {
                kernel: 2,
                stride: 2,
                pad: Pad::VALID,
            };
            x = b.put(&format!("{of}.pool"), mean, &[y]);
        }
    }
    let x = b.norm("features.norm5", x);
    let x = b.relu(x);
    let x = b.mean(x);
    b.linear("classifier", x, classes);
}

/// SqueezeNet 1.1 (arXiv 1602.07360).
fn squeezenet(b: &mut ModuleBuilder, classes: usize) {
    let x = b.conv_padded("features.0", 0, [64, 3, 2, 1], true, Pad::VALID);
    let x = b.relu(x);
    let mut x = b.max_pool_ceil("features.2", x, 3, 2);
    for (at, squeezed, expanded) in [
        (3, 16, 64),
        (4, 16, 64),
        (5, 0, 0),
        (6, 32, 128),
        (7, 32, 128),
        (8, 0, 0),
        (9, 48, 192),
        (10, 48, 192),
        (11, 64, 256),
        (12, 64, 256),
    ] {
        let name = format!("features.{at}");
        if squeezed == 0 {
            x = b.max_pool_ceil(&name, x, 3, 2);
            continue;
        }
        let y = b.conv(&format!("{name}.squeeze"), x, [squeezed, 1, 1, 1], true);
        let y = b.relu(y);
        let parts = [1, 3].map(|kernel| {
            let part = b.conv(
                &format!("{name}.expand{kernel}x{kernel}"),
                y,
                [expanded, kernel, 1, 1],
                true,
            );
            b.relu(part)
        });
        x = b.put(&format!("{name}.concat"), Op::Concat, &parts);
    }
    let x = b.dropout("classifier.0", x, 0.5);
    let x = b.conv("classifier.1", x, [classes, 1, 1, 1], true);
    let x = b.relu(x);
    b.mean(x);
}

/// GoogLeNet (arXiv 1409.4842) with norms, without the classifiers on its sides.
fn googlenet(b: &mut ModuleBuilder, classes: usize) {
    b.eps = 1e-3;
    let conv = |b: &mut ModuleBuilder, name: &str, x: usize, sizes: ConvSizes| {
        b.normed_as(
            [&format!("{name}.conv"), &format!("{name}.bn")],
            x,
            sizes,
            Some(&Op::Relu),
        )
    };
    let x = conv(b, "conv1", 0, [64, 7, 2, 1]);
    let x = b.max_pool_ceil("maxpool1", x, 3, 2);
    let x = conv(b, "conv2", x, [64, 1, 1, 1]);
    let x = conv(b, "conv3", x, [192, 3, 1, 1]);
    let mut x = b.max_pool_ceil("maxpool2", x, 3, 2);
    for (name, [one, before, three, less, five, pooled]) in [
        ("3a", [64, 96, 128, 16, 32, 32]),
        ("3b", [128, 128, 192, 32, 96, 64]),
        ("maxpool3", [3, 0, 0, 0, 0, 0]),
        ("4a", [192, 96, 208, 16, 48, 64]),
        ("4b", [160, 112, 224, 24, 64, 64]),
        ("4c", [128, 128, 256, 24, 64, 64]),
        ("4d", [112, 144, 288, 32, 64, 64]),
        ("4e", [256, 160, 320, 32, 128, 128]),
        ("maxpool4", [2, 0, 0, 0, 0, 0]),
        ("5a", [256, 160, 320, 32, 128, 128]),
        ("5b", [384, 192, 384, 48, 128, 128]),
    ] {
        if before == 0 {
            x = b.max_pool_ceil(name, x, one, 2);
            continue;
        }
        let of = |branch: &str| format!("inception{name}.{branch}");
        let first = conv(b, &of("branch1"), x, [one, 1, 1, 1]);
        let second = conv(b, &of("branch2.0"), x, [before, 1, 1, 1]);
        let second = conv(b, &of("branch2.1"), second, [three, 3, 1, 1]);
        let third = conv(b, &of("branch3.0"), x, [less, 1, 1, 1]);
        // Three in torchvision, five in the paper.
        let third = conv(b, &of("branch3.1"), third, [five, 3, 1, 1]);
        let fourth = b.max_pool(&of("branch4.0"), x, 3, 1, 1);
        let fourth = conv(b, &of("branch4.1"), fourth, [pooled, 1, 1, 1]);
        x = b.put(&of("concat"), Op::Concat, &[first, second, third, fourth]);
    }
    let x = b.mean(x);
    let x = b.dropout("dropout", x, 0.2);
    b.linear("fc", x, classes);
}

/// RegNetY-400MF (arXiv 2003.13678): groups of 8 channels.
fn regnet(b: &mut ModuleBuilder, classes: usize) {
    let sigmoid = activation(Activation::Sigmoid);
    let mut channels = 32;
    let mut x = b.normed("stem", 0, [channels, 3, 2, 1], Some(&Op::Relu));
    for (stage, [width, depth]) in [[48, 1], [104, 3], [208, 6], [440, 6]].into_iter().enumerate() {
        for block in 0..depth {
            let of = format!("trunk_output.block{0}.block{0}-{block}", stage + 1);
            let stride = if block == 0 { 2 } else { 1 };
            let y = b.normed(&format!("{of}.f.a"), x, [width, 1, 1, 1], Some(&Op::Relu));
            let y = b.normed(&format!("{of}.f.b"), y, [width, 3, stride, width / 8], Some(&Op::Relu));
            let squeezed = (channels as f32 * 0.25).round_ties_even() as usize;
            let y = b.excite(&format!("{of}.f.se"), y, [width, squeezed], [&Op::Relu, &sigmoid]);
            let y = b.normed(&format!("{of}.f.c"), y, [width, 1, 1, 1], None);
            let identity = match block {
                0 => b.normed(&format!("{of}.proj"), x, [width, 1, stride, 1], None),
                _ => x,
            };
            let sum = b.put(&format!("{of}.add"), Op::Add, &[identity, y]);
            (x, channels) = (b.relu(sum), width);
        }
    }
    let x = b.mean(x);
    b.linear("fc", x, classes);
}

/// ShuffleNetV2 (arXiv 1807.11164).
fn shufflenet(b: &mut ModuleBuilder, classes: usize) {
    let x = b.normed("conv1", 0, [24, 3, 2, 1], Some(&Op::Relu));
    let mut x = b.max_pool("maxpool", x, 3, 2, 1);
    let mut channels = 24;
    for (stage, [width, units]) in [[116, 4], [232, 8], [464, 4]].into_iter().enumerate() {
        let half = width / 2;
        for unit in 0..units {
            let of = format!("stage{}.{unit}", stage + 2);
            let named =
                |branch: usize, [conv, norm]: [usize; 2]| [conv, norm].map(|n| format!("{of}.branch{branch}.{n}"));
            let normed = |b: &mut ModuleBuilder, names: [String; 2], x: usize, sizes: ConvSizes, relu: bool| {
                b.normed_as([&names[0], &names[1]], x, sizes, relu.then_some(&Op::Relu))
            };
            let (stride, passed, taken) = if unit == 0 {
                let y = normed(b, named(1, [0, 1]), x, [channels, 3, 2, channels], false);
                let y = normed(b, named(1, [2, 3]), y, [half, 1, 1, 1], true);
                (2, y, x)
            } else {
                let part = |b: &mut ModuleBuilder, name: &str, from: usize| {
                    let channels = (from..from + half).collect();
                    b.put(&format!("{of}.{name}"), Op::Select { channels }, &[x])
                };
                (1, part(b, "passed", 0), part(b, "taken", half))
            };
            let y = normed(b, named(2, [0, 1]), taken, [half, 1, 1, 1], true);
            let y = normed(b, named(2, [3, 4]), y, [half, 3, stride, half], false);
            let y = normed(b, named(2, [5, 6]), y, [half, 1, 1, 1], true);
            let joined = b.put(&format!("{of}.concat"), Op::Concat, &[passed, y]);
            let channels = (0..width).map(|k| k % 2 * half + k / 2).collect();
            x = b.put(&format!("{of}.shuffle"), Op::Select { channels }, &[joined]);
        }
        channels = width;
    }
    let x = b.normed("conv5", x, [1024, 1, 1, 1], Some(&Op::Relu));
    let x = b.mean(x);
    b.linear("fc", x, classes);
}

/// MnasNet-B1 (arXiv 1807.11626).
fn mnasnet(b: &mut ModuleBuilder, classes: usize) {
    let normed = |b: &mut ModuleBuilder, of: &str, first: usize, x: usize, sizes: ConvSizes, relu: bool| {
        let names = [first, first + 1].map(|n| format!("{of}.{n}"));
        b.normed_as([&names[0], &names[1]], x, sizes, relu.then_some(&Op::Relu))
    };
    let x = normed(b, "layers", 0, 0, [32, 3, 2, 1], true);
    let x = normed(b, "layers", 3, x, [32, 3, 1, 32], true);
    let mut x = normed(b, "layers", 6, x, [16, 1, 1, 1], false);
    let mut channels = 16;
    for (stack, [filters, kernel, stride, expansion, blocks]) in [
        [24, 3, 2, 3, 3],
        [40, 5, 2, 3, 3],
        [80, 5, 2, 6, 3],
        [96, 3, 1, 6, 2],
        [192, 5, 2, 6, 4],
        [320, 3, 1, 6, 1],
    ]
    .into_iter()
    .enumerate()
    {
        for block in 0..blocks {
            let of = format!("layers.{}.{block}.layers", stack + 8);
            let (stride, expanded) = (if block == 0 { stride } else { 1 }, channels * expansion);
            let y = normed(b, &of, 0, x, [expanded, 1, 1, 1], true);
            let y = normed(b, &of, 3, y, [expanded, kernel, stride, expanded], true);
            let y = normed(b, &of, 6, y, [filters, 1, 1, 1], false);
            x = if stride == 1 && channels == filters {
                b.put(&format!("{of}.add"), Op::Add, &[y, x])
            } else {
                y
            };
            channels = filters;
        }
    }
    let x = normed(b, "layers", 14, x, [1280, 1, 1, 1], true);
    let x = b.mean(x);
    let x = b.dropout("classifier.0", x, 0.2);
    b.linear("classifier.1", x, classes);
}

/// ConvNeXt (arXiv 2201.03545) of 96 channels in its first stage. Linear layers of positions are convolutions of single pixels, and
/// a layer's scale is one of a factor a channel.
fn convnext(b: &mut ModuleBuilder, blocks: [usize; 4], classes: usize) {
    let gelu = activation(Activation::Gelu);
    let norm = Op::LayerNorm { eps: 1e-6 };
    let mut x = b.conv_padded("features.0.0", 0, [96, 4, 4, 1], true, Pad::VALID);
    x = b.put("features.0.1", norm.clone(), &[x]);
    for (stage, n) in blocks.into_iter().enumerate() {
        let width = 96 << stage;
        if stage > 0 {
            let of = format!("features.{}", 2 * stage);
            x = b.put(&format!("{of}.0"), norm.clone(), &[x]);
            x = b.conv_padded(&format!("{of}.1"), x, [width, 2, 2, 1], true, Pad::VALID);
        }
        for block in 0..n {
            let of = format!("features.{}.{block}", 2 * stage + 1);
            let y = b.conv(&format!("{of}.block.0"), x, [width, 7, 1, width], true);
            let y = b.put(&format!("{of}.block.2"), norm.clone(), &[y]);
            let y = b.conv(&format!("{of}.block.3"), y, [4 * width, 1, 1, 1], true);
            let y = b.act(&gelu, y);
            let y = b.conv(&format!("{of}.block.5"), y, [width, 1, 1, 1], true);
            let y = b.conv(&format!("{of}.layer_scale"), y, [width, 1, 1, width], false);
            x = b.put(&format!("{of}.add"), Op::Add, &[y, x]);
        }
    }
    let x = b.put("avgpool", Op::GlobalAvgPool, &[x]);
    let x = b.put("classifier.0", norm, &[x]);
    let x = b.put("classifier.1", Op::Flatten, &[x]);
    b.linear("classifier.2", x, classes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost;

    /// As torchvision's own tables have them, with 1000 classes.
    #[test]
    fn networks_are_as_large_as_torchvisions() {
        for (name, params) in [
            ("mobilenet_v3_small", 2_542_856),
            ("mobilenet_v3_large", 5_483_032),
            ("efficientnet_b0", 5_288_548),
            ("densenet121", 7_978_856),
            ("densenet169", 14_149_480),
            ("densenet201", 20_013_928),
            ("squeezenet1_1", 1_235_496),
            ("googlenet", 6_624_904),
            ("regnet_y_400mf", 4_344_144),
            ("shufflenet_v2_x1_0", 2_278_604),
            ("mnasnet1_0", 4_383_312),
            ("convnext_tiny", 28_589_128),
            ("convnext_small", 50_223_688),
        ] {
            let spec = build(name, [3, 224, 224], 1000).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(cost::dense(&spec).expect("fits").params, params, "{name}");
            assert_eq!(spec.classes().expect("fits"), 1000, "{name}");
        }
        assert!(build("convnext_tiny", [3, 2, 2], 10).is_err());
    }
}
