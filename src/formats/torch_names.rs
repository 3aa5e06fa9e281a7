//! What torchvision, and common code around it, calls the parts of our networks.
//! Knows nothing of shapes or numbers.
//!
//! | ours | torchvision's |
//! |---|---|
//! | VGG `convS_I`, `.norm` | `features.N`, `features.N+1`; linear layers `classifier.N` |
//! | ResNet `stem`, `stageS.B.convI`, `.shortcut`, `classifier` | `conv1`, `layerS.B.convI`, `.downsample.0`, `fc` |
//! | MobileNetV2 `stem`, `blockN.expand`, `.depthwise`, `.project`, `last` | `features.0.0`, `features.N.conv.0.0`, `.1.0`, `.2`, `features.18.0` |
//! | networks of [`torchvision`] | the same |
//! | norm `gamma`, `beta`, mean, variance | `weight`, `bias`, `running_mean`, `running_var` |

use super::tensors::Tensors;
use model::spec::{NetSpec, Op};
use model::torchvision;
use std::collections::BTreeMap;

/// Whether it is a VGG of any depth.
pub(crate) fn is_vgg(arch: &str) -> bool {
    arch.starts_with("vgg")
}

/// Whether it is a ResNet of any depth, a wide one or a ResNeXt.
pub(crate) fn is_resnet(arch: &str) -> bool {
    arch.contains("resnet") || arch.starts_with("resnext")
}

/// By node: the module that holds its tensors: the first of the known names that is present, or else torchvision's.
pub(crate) fn modules(spec: &NetSpec, tensors: &Tensors) -> BTreeMap<String, String> {
    if torchvision::NAMES.contains(&&*spec.name) {
        return spec.nodes.iter().map(|n| (n.name.clone(), n.name.clone())).collect();
    }
    let mut feature = 0;
    let mut classifiers = numbered(tensors, &["classifier."]).into_iter();
    let mut out = BTreeMap::new();
    for node in &spec.nodes {
        let ours = node.name.clone();
        let mut names = if spec.name == "mobilenetv2" {
            mobilenet(&ours)
        } else {
            theirs(&ours)
        };
        if is_vgg(&spec.name) {
            // Convolution, norm, ReLU and pool each take a number.
            match node.op {
                Op::Conv { .. } | Op::Norm { .. } => names.push(format!("features.{feature}")),
                Op::Linear { .. } => names.extend(classifiers.next().map(|(n, _)| format!("classifier.{n}"))),
                _ => {}
            }
            feature += usize::from(matches!(
                node.op,
                Op::Conv { .. } | Op::Norm { .. } | Op::Relu | Op::MaxPool { .. }
            ));
        }
        let has = |name: String| tensors.entries.contains_key(&name);
        let is_present = |module: &&String| has(format!("{module}.weight")) || has(format!("{module}.running_mean"));
        names.push(ours.clone());
        let module = names
            .iter()
            .find(is_present)
            .or(names.first())
            .cloned()
            .unwrap_or_default();
        out.insert(ours, module);
    }
    out
}

/// Matrices whose name is one of the prefixes, a number and `.weight`, in the order of the numbers.
pub(crate) fn numbered(tensors: &Tensors, prefixes: &[&str]) -> Vec<(usize, String)> {
    let matrices = tensors.entries.iter().filter(|(_, entry)| entry.shape.len() == 2);
    let number = |name: &str| {
        let middle = name.strip_suffix(".weight")?;
        prefixes.iter().find_map(|p| middle.strip_prefix(p))?.parse().ok()
    };
    let mut numbered: Vec<_> = matrices
        .filter_map(|(name, _)| Some((number(name)?, name.clone())))
        .collect();
    numbered.sort();
    numbered
}

/// torchvision's names for a node of a ResNet, and those of common CIFAR code.
fn theirs(ours: &str) -> Vec<String> {
    match ours {
        "stem" => return vec!["conv1".into()],
        "stem.norm" => return vec!["bn1".into()],
        "classifier" => return vec!["fc".into(), "linear".into()],
        _ => {}
    }
    let Some((block, part)) = ours.strip_prefix("stage").and_then(|rest| {
        let (stage, rest) = rest.split_once('.')?;
        let (block, part) = rest.split_once('.')?;
        Some((format!("layer{stage}.{block}"), part))
    }) else {
        return vec![];
    };
    match part {
        "shortcut" => vec![format!("{block}.downsample.0"), format!("{block}.shortcut.0")],
        "shortcut.norm" => vec![format!("{block}.downsample.1"), format!("{block}.shortcut.1")],
        _ => match part.strip_suffix(".norm").and_then(|conv| conv.strip_prefix("conv")) {
            Some(number) => vec![format!("{block}.bn{number}")],
            None => vec![format!("{block}.{part}")],
        },
    }
}

/// torchvision's name for a node of MobileNetV2. The first block has no expansion.
fn mobilenet(ours: &str) -> Vec<String> {
    let (conv, is_norm) = ours.strip_suffix(".norm").map_or((ours, 0), |conv| (conv, 1));
    let in_block = || {
        let (block, part) = conv.strip_prefix("block")?.split_once('.')?;
        let first = usize::from(block != "1");
        Some(match part {
            "expand" => format!("features.{block}.conv.0.{is_norm}"),
            "depthwise" => format!("features.{block}.conv.{first}.{is_norm}"),
            "project" => format!("features.{block}.conv.{}", first + 1 + is_norm),
            _ => return None,
        })
    };
    match conv {
        "stem" => vec![format!("features.0.{is_norm}")],
        "last" => vec![format!("features.18.{is_norm}")],
        "classifier" => vec!["classifier.1".into()],
        _ => in_block().into_iter().collect(),
    }
}
