//! Adds batch norms behind convolutions that have none, for methods that need them: networks from other programs often come
//! with their norms folded into the convolutions. The function stays the same. Knows nothing of methods.

use crate::context::Ctx;
use crate::net::{ForwardOptions, Net, Norms};
use data::Split;
use model::checkpoint::Moments;
use model::spec::{NetSpec, Node, Op};
use model::{Array, Checkpoint, Weights, weights};

use anyhow::Result;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Training images that the statistics are measured on, and those of one forward pass.
const IMAGES: usize = 256;
const BATCH: usize = 64;

const EPS: f32 = 1e-5;

/// Adds a norm behind every convolution that has none. Its statistics are measured, and its γ and β undo them: the network's
/// outputs stay the same, nearly so with batch statistics, as in training.
///
/// # Errors
/// [`event::Cancelled`]; the device failed.
pub fn add_missing(ctx: &mut Ctx, model: Checkpoint) -> Result<Checkpoint> {
    let spec = model.spec();
    let bare: Vec<usize> = spec.convs().into_iter().filter(|&c| !has_norm(spec, c)).collect();
    if bare.is_empty() || model.is_gated() {
        return Ok(model);
    }
    let mut model = model;
    prune::zero(&mut model)?;
    let mut measured = BTreeMap::new();
    for (i, &conv) in bare.iter().enumerate() {
        let progress = i as f32 / bare.len() as f32;
        ctx.phase("putting norms behind convolutions".into(), progress)?;
        measured.insert(conv, measure(ctx, &model, conv)?);
    }
    let model = insert(&model, &measured);
    model.check()?;
    ctx.spec = model.spec().clone();
    Ok(model)
}

fn has_norm(spec: &NetSpec, conv: usize) -> bool {
    let is_norm = |&i: &usize| matches!(spec.nodes[i].op, Op::Norm { .. });
    spec.consumers()[conv].iter().any(is_norm)
}

/// Mean and variance of each channel of a convolution, bias included.
fn measure(ctx: &Ctx, model: &Checkpoint, conv: usize) -> Result<Moments> {
    let whole = model.spec();
    let spec = NetSpec {
        nodes: whole.nodes[..=conv].to_vec(),
        ..whole.clone()
    };
    let [channels, h, w] = spec.shapes()?[conv];
    let of_it = weights::expected(&spec)?;
    let weights: Weights = model
        .weights
        .iter()
        .filter(|(name, _)| of_it.contains_key(*name))
        .map(|(name, array)| (name.clone(), array.clone()))
        .collect();
    let net = Net::new(Arc::new(spec), &weights, &ctx.device)?;
    let stats = model.stats_at(model::Density::FULL);
    let chosen = data::spread(&ctx.data.splits.train, IMAGES);
    let mut sums = vec![[0.0f64; 2]; channels];
    for indices in chosen.chunks(BATCH) {
        ctx.check()?;
        let pixels = ctx.data.pixels(Split::Train, indices);
        let [c, height, width] = whole.input;
        let shape = [indices.len(), c, height, width];
        let x = Tensor::<4>::from_data(TensorData::new(pixels, shape), net.device());
        let options = ForwardOptions {
            groups: &[Vec::new()],
            norms: Norms::Stored(&stats),
            dropout: None,
        };
        let planes = net.forward(&net.params, x, &options)?.logits.into_data();
        let planes: Vec<f32> = planes.try_to_vec().unwrap_or_default();
        for (i, plane) in planes.chunks_exact(h * w).enumerate() {
            let [first, second] = &mut sums[i % channels];
            for &v in plane {
                *first += f64::from(v);
                *second += f64::from(v) * f64::from(v);
            }
        }
    }
    let n = (chosen.len() * h * w).max(1) as f64;
    let mut moments = Moments::default();
    for [first, second] in sums {
        let mean = first / n;
        moments.mean.push(mean as f32);
        moments.var.push((second / n - mean * mean).max(0.0) as f32);
    }
    Ok(moments)
}

/// The model with a norm of these statistics behind each of these convolutions, in place of its bias.
fn insert(model: &Checkpoint, measured: &BTreeMap<usize, Moments>) -> Checkpoint {
    let mut out = model.clone();
    let mut nodes: Vec<Node> = Vec::new();
    let mut moved = Vec::new();
    for (i, node) in model.spec().nodes.iter().enumerate() {
        let mut node = node.clone();
        node.inputs.iter_mut().for_each(|j| *j = moved[*j]);
        let conv = node.name.clone();
        let behind = measured.get(&i);
        if let (Op::Conv { bias, .. }, Some(_)) = (&mut node.op, behind) {
            *bias = false;
        }
        nodes.push(node);
        if let Some(Moments { mean, var }) = behind {
            let mut name = format!("{conv}.norm");
            while model.spec().find(&name).is_some() {
                name.push('_');
            }
            let bias = out.weights.remove(&format!("{conv}.bias"));
            let raw: Vec<f32> = match &bias {
                Some(bias) => mean.iter().zip(&bias.data).map(|(m, b)| m - b).collect(),
                None => mean.clone(),
            };
            let array = |data: Vec<f32>| Array {
                shape: vec![data.len()],
                data,
            };
            let gamma = var.iter().map(|v| (v + EPS).sqrt()).collect();
            out.weights.insert(format!("{name}.gamma"), array(gamma));
            out.weights.insert(format!("{name}.beta"), array(mean.clone()));
            for stats in out.stats.values_mut() {
                let moments = Moments {
                    mean: raw.clone(),
                    var: var.clone(),
                };
                stats.insert(name.clone(), moments);
            }
            nodes.push(Node {
                name,
                op: Op::Norm { eps: EPS, affine: true },
                inputs: vec![nodes.len() - 1],
            });
        }
        moved.push(nodes.len() - 1);
    }
    out.header.spec.nodes = nodes;
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use infer::{Options, compile};
    use model::toy::chain;

    #[test]
    fn a_norm_takes_the_place_of_a_bias_and_changes_nothing() {
        let before = chain(1, true);
        let moments = |n: usize| Moments {
            mean: (0..n).map(|i| 0.5 - i as f32).collect(),
            var: (0..n).map(|i| 0.25 + i as f32).collect(),
        };
        let after = insert(&before, &BTreeMap::from([(1, moments(3)), (3, moments(2))]));
        after.check().expect("fits");
        let names: Vec<&str> = after.spec().nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(
            names,
            ["x", "a", "a.norm", "a.relu", "b", "b.norm", "b.relu", "flat", "last"]
        );
        let pixels: Vec<f32> = (0..32).map(|i| (i * 7 % 5) as f32 - 2.0).collect();
        let logits = |m: &Checkpoint| {
            let mut engine = compile(m, &Options::default()).expect("compiles");
            engine.run(&pixels).logits.clone()
        };
        for (a, b) in logits(&before).iter().zip(logits(&after)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
