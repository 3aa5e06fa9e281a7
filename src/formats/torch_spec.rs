//! Which network a state dict is: the named architecture, with the widths, the first layer and the head that its shapes say.
//! Knows nothing of numbers.

use super::tensors::Tensors;
use super::torch_names::{is_resnet, is_vgg, modules, numbered};
use anyhow::{Context, Result, ensure};
use model::spec::{NetSpec, Node, Op, Shape};
use model::{torchvision, zoo};

/// What PyTorch adds to the variance.
const EPS: f32 = 1e-5;

/// Channels of the first convolution at width 1.
fn stem_filters(arch: &str) -> usize {
    match arch {
        "lenet5" => 20,
        "mobilenetv2" => 32,
        _ => 64,
    }
}

/// The first convolution's names: torchvision's, then ours.
fn stem_names(arch: &str) -> [&'static str; 2] {
    match arch {
        _ if is_vgg(arch) => ["features.0", "conv1_1"],
        _ if is_resnet(arch) => ["conv1", "stem"],
        "mobilenetv2" => ["features.0.0", "stem"],
        _ => ["conv0", "conv0"],
    }
}

/// The network whose weights these are.
///
/// # Errors
/// No first convolution or no last linear layer by a known name, a class count or input other than asked for.
pub(crate) fn spec_of(arch: &str, tensors: &Tensors, classes: Option<usize>, input: Option<Shape>) -> Result<NetSpec> {
    if torchvision::NAMES.contains(&arch) {
        return of_torchvision(arch, tensors, classes, input);
    }
    let weight = |name: &str| Some(format!("{name}.weight")).filter(|n| tensors.entries.contains_key(n));
    let stem = stem_names(arch).into_iter().find_map(weight);
    let stem = stem.with_context(|| {
        let [theirs, ours] = stem_names(arch);
        format!(
            "no tensor {theirs}.weight{}: not a {arch}",
            if theirs == ours {
                String::new()
            } else {
                format!(" or {ours}.weight")
            }
        )
    })?;
    let &[filters, channels, kernel, other] = tensors.shape(&stem).unwrap_or(&[]) else {
        anyhow::bail!(
            "{stem} has {} axes, expected 4",
            tensors.shape(&stem).map_or(0, <[usize]>::len)
        )
    };
    ensure!(
        kernel == other,
        "{stem} has a kernel of {kernel}×{other}, expected a square one"
    );
    let head = head(arch, tensors)?;
    let last = head.last().context("no linear layer")?;
    let outputs = tensors.shape(last).and_then(|s| s.first().copied()).unwrap_or(0);
    if let Some(classes) = classes {
        ensure!(
            outputs == classes,
            "{last} is for {outputs} classes, asked for {classes}"
        );
    }
    let imagenet = is_resnet(arch) && kernel == 7;
    let flat = tensors.shape(&head[0]).and_then(|s| s.get(1).copied()).unwrap_or(0);
    let size = match arch {
        "lenet5" => {
            let per_map = tensors
                .shape("conv1.weight")
                .and_then(|s| s.first().copied())
                .unwrap_or(1);
            (flat / per_map.max(1)).isqrt() * 4 + 12
        }
        _ if is_vgg(arch) => 32 * vgg_map(flat, filters),
        "mobilenetv2" => 224,
        _ if imagenet => 224,
        _ => 32,
    };
    let input = input.unwrap_or([channels, size, size]);
    ensure!(
        input[0] == channels,
        "{stem} reads {channels} channels, the input has {}",
        input[0]
    );
    // A guess, for layers that are missing.
    let width = (filters as f32 / stem_filters(arch) as f32).clamp(0.001, 16.0);
    // Without the stem for large images, such images would take more memory than there may be.
    let built = if imagenet { [channels, 32, 32] } else { input };
    let mut spec = zoo::build(arch, built, outputs, width)?;
    if imagenet {
        zoo::imagenet_stem(&mut spec);
        spec.input = input;
    }
    let is_norm = |name: &String| {
        [".running_mean", ".mean", ".gamma"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    if is_vgg(arch) && !tensors.entries.keys().any(is_norm) {
        zoo::without_norms(&mut spec);
    }
    if is_vgg(arch) && (head.len() > 1 || vgg_map(flat, filters) > 1) {
        vgg_head(&mut spec, tensors, &head, vgg_map(flat, filters) > 1);
    }
    for node in &mut spec.nodes {
        if let Op::Norm { eps, .. } = &mut node.op {
            *eps = EPS;
        }
    }
    each_width(&mut spec, tensors);
    spec.shapes()?;
    Ok(spec)
}

/// A network whose layers have torchvision's names: its first and last weights say the channels of an image and the classes.
fn of_torchvision(arch: &str, tensors: &Tensors, classes: Option<usize>, input: Option<Shape>) -> Result<NetSpec> {
    let usual = torchvision::build(arch, [3, 224, 224], 1000)?;
    let mut layers = usual
        .nodes
        .iter()
        .filter(|n| matches!(n.op, Op::Conv { .. } | Op::Linear { .. }));
    let size = |axis: usize, layer: Option<&Node>| -> Result<usize> {
        let name = layer.map_or(String::new(), |n| format!("{}.weight", n.name));
        let size = tensors.shape(&name).and_then(|s| s.get(axis).copied());
        size.with_context(|| format!("no tensor {name}: not a {arch}"))
    };
    let channels = size(1, layers.next())?;
    let outputs = size(0, layers.next_back())?;
    if let Some(classes) = classes {
        ensure!(
            outputs == classes,
            "the last layer is for {outputs} classes, asked for {classes}"
        );
    }
    let input = input.unwrap_or([channels, 224, 224]);
    ensure!(
        input[0] == channels,
        "the first layer reads {channels} channels, the input has {}",
        input[0]
    );
    torchvision::build(arch, input, outputs)
}

/// Gives every layer the width of its own weight: rounding, or cutting, may have made them uneven.
fn each_width(spec: &mut NetSpec, tensors: &Tensors) {
    let modules = modules(spec, tensors);
    let Some((_, hidden)) = spec.nodes.split_last_mut() else {
        return;
    };
    for node in hidden {
        let own = tensors.shape(&format!("{}.weight", modules[&node.name]));
        match (&mut node.op, own) {
            (Op::Conv { filters, groups, .. }, Some(&[n, columns, _, _])) => {
                // Depthwise stays depthwise; other groups are as many as they were.
                *groups = if *groups > 1 && columns == 1 { n } else { *groups };
                *filters = n;
            }
            (Op::Linear { outputs, .. }, Some(&[n, _])) => *outputs = n,
            _ => {}
        }
    }
}

/// Side of the map that VGG's first linear layer reads: its last stage has eight times the channels of its first.
fn vgg_map(flat: usize, filters: usize) -> usize {
    (flat / filters.saturating_mul(8).max(1)).isqrt().max(1)
}

/// Weights of the linear layers at the end, in order.
fn head(arch: &str, tensors: &Tensors) -> Result<Vec<String>> {
    let known: &[&str] = match arch {
        "lenet5" => &["hidden.weight", "classifier.weight"],
        _ => &["fc.weight", "linear.weight", "classifier.weight"],
    };
    let is_present = |name: &&&str| tensors.entries.contains_key(**name);
    let mut head: Vec<String> = known.iter().filter(is_present).map(|n| (*n).to_owned()).collect();
    if head.is_empty() || is_vgg(arch) {
        // A sequence `classifier.N`, or `hiddenN` and `classifier`; other members have no matrix.
        let numbered = numbered(tensors, &["classifier.", "hidden"]);
        head.splice(..0, numbered.into_iter().map(|(_, name)| name));
    }
    ensure!(!head.is_empty(), "no tensor {}: not a {arch}", known.join(" or "));
    Ok(head)
}

/// Linear layers with ReLU and dropout between them, on the whole last map or on its mean.
fn vgg_head(spec: &mut NetSpec, tensors: &Tensors, head: &[String], whole_map: bool) {
    let keep = spec.find("pool").unwrap_or(spec.nodes.len());
    let classifier = spec.nodes.pop();
    if whole_map {
        spec.nodes.truncate(keep);
        push(spec, "flatten".into(), Op::Flatten);
    }
    for (i, name) in head[..head.len() - 1].iter().enumerate() {
        let outputs = tensors.shape(name).map_or(0, |s| s[0]);
        push(spec, format!("hidden{i}"), Op::Linear { outputs, bias: true });
        push(spec, format!("hidden{i}.relu"), Op::Relu);
        push(spec, format!("hidden{i}.dropout"), Op::Dropout { rate: 0.5 });
    }
    if let Some(classifier) = classifier {
        push(spec, classifier.name, classifier.op);
    }
}

fn push(spec: &mut NetSpec, name: String, op: Op) {
    let inputs = vec![spec.nodes.len() - 1];
    spec.nodes.push(Node { name, op, inputs });
}
