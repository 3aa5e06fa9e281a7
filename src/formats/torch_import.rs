//! A state dict with torchvision's names, or with ours, as a checkpoint.
//! Knows nothing of files' insides.
//!
//! A convolution's bias before a norm moves into the norm's mean.

use super::foreign::ForeignModel;
use super::tensors::Tensors;
use super::torch_names::modules;
use super::torch_spec::spec_of;
use anyhow::{Result, ensure};
use model::checkpoint::{Moments, NormStats};
use model::spec::{NetSpec, Op, Shape};
use model::{Array, Masks, Weights, torchvision, weights};
use std::collections::{BTreeMap, BTreeSet};

/// Finds every array of the architecture among the tensors.
///
/// # Errors
/// As [`spec_of`]; one line naming every tensor that is missing, of another shape, or not part of the network.
pub(crate) fn read(
    arch: &str,
    tensors: &Tensors,
    classes: Option<usize>,
    input: Option<Shape>,
) -> Result<ForeignModel> {
    let spec = spec_of(arch, tensors, classes, input)?;
    let modules = modules(&spec, tensors);
    let mut find = Find {
        tensors,
        is_torchvision: torchvision::NAMES.contains(&arch),
        used: BTreeSet::new(),
        wrong: Vec::new(),
    };
    // By our name: whose tensor it is.
    let mut weights_from = BTreeMap::new();
    let mut stats_from = BTreeMap::new();
    let expected = weights::expected(&spec)?;
    for (name, shape) in &expected {
        let (node, what) = name.rsplit_once('.').unwrap_or((name, ""));
        let theirs = match what {
            "gamma" => &["weight", "gamma"][..],
            "beta" => &["bias", "beta"],
            _ => &[what][..],
        };
        if let Some(tensor) = find.one(&modules[node], theirs, shape) {
            weights_from.insert(name.clone(), tensor);
        }
    }
    let shapes = spec.shapes()?;
    for (i, node) in spec.nodes.iter().enumerate() {
        if !matches!(node.op, Op::Norm { .. }) {
            continue;
        }
        let shape = [shapes[i][0]];
        let mean = find.one(&modules[&node.name], &["running_mean", "mean"], &shape);
        let var = find.one(&modules[&node.name], &["running_var", "var"], &shape);
        // A bias before a norm only moves its mean.
        let conv = &spec.nodes[node.inputs[0]];
        let bias = format!("{}.bias", modules[&conv.name]);
        let has_bias = matches!(conv.op, Op::Conv { bias: false, .. }) && tensors.entries.contains_key(&bias);
        let bias = if has_bias {
            find.one(&modules[&conv.name], &["bias"], &shape)
        } else {
            None
        };
        if let (Some(mean), Some(var)) = (mean, var) {
            stats_from.insert(node.name.clone(), [Some(mean), Some(var), bias]);
        }
    }
    find.finish(&spec)?;
    tensors.check_size(weights_from.values().chain(stats_from.values().flatten().flatten()))?;
    let mut out = Weights::new();
    for (name, from) in &weights_from {
        out.insert(
            name.clone(),
            Array {
                shape: expected[name].clone(),
                data: tensors.floats(from)?,
            },
        );
    }
    let mut stats = NormStats::new();
    for (name, from) in &stats_from {
        let [mean, var, bias] = from
            .each_ref()
            .map(|f| f.as_ref().map(|f| tensors.floats(f)).transpose());
        let (mut mean, var) = (mean?.unwrap_or_default(), var?.unwrap_or_default());
        if let Some(bias) = bias? {
            mean.iter_mut().zip(bias).for_each(|(m, b)| *m -= b);
        }
        stats.insert(name.clone(), Moments { mean, var });
    }
    Ok(ForeignModel {
        spec,
        weights: out,
        stats,
        masks: Masks::new(),
        density: None,
        byte_inputs: Default::default(),
        normalization: None,
        classes: None,
        notes: if arch == "googlenet" {
            vec![
                "classifiers on the sides are left out; torchvision's own weights want pixels of mean 0.5 and deviation 0.5 \
                 (--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5)"
                    .into(),
            ]
        } else {
            vec![]
        },
    })
}

struct Find<'a> {
    tensors: &'a Tensors,
    /// Linear layers of positions have no axes of one pixel there, and factors of channels are modules' own.
    is_torchvision: bool,
    used: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Find<'_> {
    /// The tensor of a module under one of some names, if it is there and of the right shape. What is wrong is noted.
    fn one(&mut self, module: &str, names: &[&str], shape: &[usize]) -> Option<String> {
        let own = Some(module.to_owned()).filter(|_| self.is_torchvision);
        let full = names.iter().map(|n| format!("{module}.{n}")).chain(own);
        let Some(name) = full.into_iter().find(|n| self.tensors.entries.contains_key(n)) else {
            self.wrong.push(format!("{module}.{} is missing", names[0]));
            return None;
        };
        self.used.insert(name.clone());
        let got = self.tensors.shape(&name).unwrap_or(&[]);
        let long = |sizes: &[usize]| sizes.iter().copied().filter(|n| *n > 1).collect::<Vec<_>>();
        if got != shape && (!self.is_torchvision || long(got) != long(shape)) {
            self.wrong.push(format!("{name} has shape {got:?}, expected {shape:?}"));
            return None;
        }
        Some(name)
    }

    fn finish(mut self, spec: &NetSpec) -> Result<()> {
        let missing = self.wrong.iter().filter(|text| text.ends_with("is missing")).count();
        let hint = if missing > self.used.len() {
            format!("not the weights of a {}? ", spec.name)
        } else {
            String::new()
        };
        let extra = self.tensors.entries.keys().filter(|name| !self.used.contains(*name));
        let is_aside = |name: &&String| spec.name == "googlenet" && name.starts_with("aux");
        let extra = extra.filter(|name| !name.ends_with("num_batches_tracked") && !is_aside(name));
        self.wrong
            .extend(extra.map(|name| format!("{name} is not part of {}", spec.name)));
        ensure!(self.wrong.is_empty(), "{hint}{}", self.wrong.join("; "));
        Ok(())
    }
}
