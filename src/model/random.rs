//! Models with random weights, and random masks: what time depends on and nothing else.

use crate::checkpoint::{Checkpoint, ModelHeader, Moments, NormStats, SCHEMA};
use crate::mask::LayerMask;
use crate::spec::{NetSpec, Op};
use crate::{Density, Masks, weights};
use anyhow::{Context, Result};
use data::Normalization;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// A model with initial weights and norms that change nothing.
pub fn random_model(spec: NetSpec, seed: u64) -> Result<Checkpoint> {
    let shapes = spec.shapes()?;
    let is_norm = |i: &usize| matches!(spec.nodes[*i].op, Op::Norm { .. });
    let unit = |i: usize| {
        (
            spec.nodes[i].name.clone(),
            Moments {
                mean: vec![0.0; shapes[i][0]],
                var: vec![1.0; shapes[i][0]],
            },
        )
    };
    let stats: NormStats = (0..spec.nodes.len()).filter(is_norm).map(unit).collect();
    let header = ModelHeader {
        schema: SCHEMA,
        normalization: Normalization {
            mean: vec![0.0; spec.input[0]],
            std: vec![1.0; spec.input[0]],
        },
        classes: (0..spec.classes()?).map(|c| c.to_string()).collect(),
        method: "none".into(),
        data: "random".into(),
        densities: vec![Density::FULL],
        gate_densities: Vec::new(),
        width_multiple: 1,
        byte_inputs: Default::default(),
        channels: Default::default(),
        metrics: vec![],
        recipe: String::new(),
        spec,
    };
    let weights = weights::init(&header.spec, seed)?;
    Ok(Checkpoint {
        weights,
        masks: Masks::new(),
        stats: BTreeMap::from([(Density::FULL, stats)]),
        header,
    })
}

/// Masks that keep these shares of every convolution's filters and columns, at least one of each, drawn anew for each seed.
pub fn random_masks(spec: &NetSpec, [filters, columns]: [f64; 2], seed: u64) -> Result<Masks> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |n: usize, share: f64| {
        let kept = ((n as f64 * share).round() as usize).clamp(1, n);
        let mut bits: Vec<bool> = (0..n).map(|i| i < kept).collect();
        bits.shuffle(&mut rng);
        bits
    };
    let weights = weights::expected(spec)?;
    let mut mask = |node: usize| {
        let name = &spec.nodes[node].name;
        let shape = weights
            .get(&format!("{name}.weight"))
            .context("a convolution has weights")?;
        let mask = LayerMask {
            filters: draw(shape[0], filters),
            columns: draw(shape[1..].iter().product(), columns),
            elements: Vec::new(),
        };
        Ok((name.clone(), mask))
    };
    spec.convs().into_iter().map(&mut mask).collect()
}
