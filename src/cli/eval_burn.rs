//! `secateur eval --engine burn`: measures by the training library's own operations, the whole convolution and then the mask.

use super::eval_images::{BATCH, EvalImages, Evaluation, LatencyQuantiles, PutBatch};
use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use data::batch;
use infer::{OtherWorkSpan, argmax};
use model::{Density, Fractions, cost};
use std::time::{Duration, Instant};
use train::net::{ForwardOptions, Net, Norms};

/// Measures a model at one density of all its gates.
pub(crate) fn by_burn(eval: &EvalImages, density: Density, put: PutBatch) -> Result<Evaluation> {
    let spec = eval.model.spec();
    let device = Device::flex();
    let net = Net::new(spec.clone().into(), &eval.model.weights, &device)?;
    let stats = eval.model.stats_at(density);
    let groups = [vec![density; spec.gates().len()]];
    let [c, h, w] = spec.input;
    let forward = |pixels: Vec<f32>| {
        let n = pixels.len() / (c * h * w);
        let x = Tensor::<4>::from_data(TensorData::new(pixels, [n, c, h, w]), &device);
        net.forward(
            &net.params,
            x,
            &ForwardOptions {
                groups: &groups,
                norms: Norms::Stored(&stats),
                dropout: None,
            },
        )
    };
    let image = eval.pixels(&eval.indices[..1]);
    let load = infer::load_per_core();
    let (span, mut times) = (OtherWorkSpan::begin(), Vec::new());
    while times.len() < 20 {
        let began = Instant::now();
        forward(image.clone())?.logits.into_data();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let others = span.end();
    times.sort_by(f64::total_cmp);
    let of_classes = spec.logits()?;
    let numbers = spec.outputs()?.last().map_or(0, |o| o.range.end);
    let (mut right, mut first, mut spent) = (0, 0, Duration::ZERO);
    let mut active = vec![0u64; spec.gates().len()];
    for indices in eval.indices.chunks(BATCH) {
        let (pixels, labels) = (eval.pixels(indices), batch::labels(eval.images, indices));
        let began = Instant::now();
        let out = forward(pixels)?;
        let logits: Vec<f32> = out.logits.into_data().try_to_vec()?;
        spent += began.elapsed();
        for (sum, gate) in active.iter_mut().zip(&out.gates) {
            *sum += (0..gate.active.images())
                .map(|i| gate.active.image(i).len() as u64)
                .sum::<u64>();
        }
        right += logits
            .chunks_exact(numbers.max(1))
            .zip(&labels)
            .filter(|(row, label)| argmax(&row[of_classes.clone()]) == Some(usize::from(**label)))
            .count();
        put(&logits, &[], first)?;
        first += labels.len();
    }
    let shapes = spec.shapes()?;
    let channels: Vec<usize> = spec.gates().iter().map(|&g| shapes[g][0]).collect();
    let fraction = |i: usize| active[i] as f64 / (channels[i] * first) as f64;
    let gates = spec.gates();
    let fractions = Fractions::propagate(spec, |node| gates.iter().position(|&g| g == node).map(fraction));
    let cost = cost::total(spec, &eval.model.masks, &fractions)?;
    let all: usize = channels.iter().sum();
    let at = |q: f64| times[(q * (times.len() - 1) as f64).round() as usize];
    Ok(Evaluation {
        top1: right as f32 / first as f32,
        errors: Vec::new(),
        macs: cost.macs,
        macs_conv: cost.macs_conv,
        traffic: cost,
        active_fraction: if all == 0 {
            1.0
        } else {
            active.iter().sum::<u64>() as f64 / (all * first) as f64
        },
        latency: LatencyQuantiles {
            median: at(0.5),
            p10: at(0.1),
            p90: at(0.9),
            pictures: 1,
            load,
            others,
        },
        images_per_s: first as f64 / spent.as_secs_f64(),
    })
}
