//! What torchvision, and common code around it, calls the parts of our networks.
//! Knows nothing of shapes or numbers.
//!
//! | ours | torchvision's |
//! |---|---|
//! | VGG `convS_I`, `.norm` | `features.N`, `features.N+1`; linear layers `classifier.N` |
//! | ResNet `stem`, `stageS.B.convI`, `.shortcut`, `classifier` | `conv1`, `layerS.B.convI`, `.downsample.0`, `fc` |
//! | norm `gamma`, `beta`, mean, variance | `weight`, `bias`, `running_mean`, `running_var` |

use super::tensors::Tensors;
use model::spec::{NetSpec, Op};
use std::collections::BTreeMap;

/// By node: the module its tensors are under. The first of the known names that is there; torchvision's if none is.
pub(crate) fn modules(spec: &NetSpec, tensors: &Tensors) -> BTreeMap<String, String> {
    let mut feature = 0;
    let mut classifiers = numbered_classifiers(tensors).into_iter();
    let mut out = BTreeMap::new();
    for node in &spec.nodes {
        let ours = node.name.clone();
        let mut names = theirs(&ours);
        if spec.name == "vgg16" {
            // Convolution, norm, ReLU and pool each take a number.
            match node.op {
                Op::Conv { .. } | Op::Norm { .. } => names.push(format!("features.{feature}")),
                Op::Linear { .. } => names.extend(classifiers.next()),
                _ => {}
            }
            feature += usize::from(matches!(
                node.op,
                Op::Conv { .. } | Op::Norm { .. } | Op::Relu | Op::MaxPool { .. }
            ));
        }
        let there = |module: &&String| {
            ["weight", "running_mean"]
                .iter()
                .any(|what| tensors.entries.contains_key(&format!("{module}.{what}")))
        };
        names.push(ours.clone());
        let module = names.iter().find(there).or(names.first()).cloned().unwrap_or_default();
        out.insert(ours, module);
    }
    out
}

/// Modules `classifier.N` that hold a matrix, in order.
pub(crate) fn numbered_classifiers(tensors: &Tensors) -> Vec<String> {
    let mut numbers: Vec<usize> = tensors
        .entries
        .iter()
        .filter(|(_, entry)| entry.shape.len() == 2)
        .filter_map(|(name, _)| name.strip_prefix("classifier.")?.strip_suffix(".weight")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|n| format!("classifier.{n}")).collect()
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
