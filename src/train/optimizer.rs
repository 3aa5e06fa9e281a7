//! Stochastic gradient descent with Nesterov momentum over named arrays, in one pass over memory.
//! Not burn's, because pruning needs masks that keep zeros zero, penalties added to gradients, and a state that a checkpoint
//! can hold as plain arrays. Knows nothing of networks.

use model::Weights;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Gradients by name, each flattened.
pub type Gradients = BTreeMap<String, Vec<f32>>;

/// For arrays that masks touch, which entries are active.
pub type EntryMasks = BTreeMap<String, Vec<bool>>;

const CHUNK: usize = 16_384;

/// The numbers of one update.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f32,
    /// L2 penalty, on parameters whose name ends in `.weight`.
    pub weight_decay: f32,
    /// Largest allowed norm of all gradients together; 0 means any.
    pub clip_norm: f32,
}

/// The optimizer's memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sgd {
    /// Velocity of each parameter. Missing means zero.
    pub velocity: Gradients,
}

impl Sgd {
    /// One step: v ← μv + g, w ← w − lr·(g + μv), with g including the penalty. Entries that masks leave out stay zero,
    /// whatever momentum and weight decay are.
    pub fn step(&mut self, weights: &mut Weights, grads: &Gradients, kept: &EntryMasks, rates: Rates) {
        let scale = clip_scale(grads, rates.clip_norm);
        for (name, array) in weights {
            let Some(g) = grads.get(name) else { continue };
            let velocity = self.velocity.entry(name.clone()).or_default();
            velocity.resize(array.data.len(), 0.0);
            let decay = if name.ends_with(".weight") {
                rates.weight_decay
            } else {
                0.0
            };
            let parts = array
                .data
                .par_chunks_mut(CHUNK)
                .zip(velocity.par_chunks_mut(CHUNK))
                .zip(g.par_chunks(CHUNK));
            parts.for_each(|((w, v), g)| {
                for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
                    let g = g * scale + decay * *w;
                    *v = rates.momentum * *v + g;
                    *w -= rates.lr * (g + rates.momentum * *v);
                }
            });
            if let Some(kept) = kept.get(name) {
                for ((w, v), _) in array
                    .data
                    .iter_mut()
                    .zip(velocity)
                    .zip(kept)
                    .filter(|(_, kept)| !**kept)
                {
                    (*w, *v) = (0.0, 0.0);
                }
            }
        }
    }
}

/// Scales gradients down to a norm of `clip_norm` when they exceed it; 0 means never.
pub(crate) fn clip(grads: &mut Gradients, clip_norm: f32) {
    let scale = clip_scale(grads, clip_norm);
    if scale < 1.0 {
        for g in grads.values_mut() {
            g.par_chunks_mut(CHUNK).flatten().for_each(|g| *g *= scale);
        }
    }
}

/// Sums in a fixed order, so that the number of threads does not matter.
fn clip_scale(grads: &Gradients, clip_norm: f32) -> f32 {
    if clip_norm == 0.0 {
        return 1.0;
    }
    let square = |part: &[f32]| part.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    let squares: f64 = grads
        .values()
        .map(|g| {
            g.par_chunks(CHUNK)
                .map(square)
                .collect::<Vec<f64>>()
                .iter()
                .sum::<f64>()
        })
        .sum();
    let norm = squares.sqrt() as f32;
    if norm > clip_norm { clip_norm / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Array;

    fn of(v: &[f32]) -> Gradients {
        Gradients::from([("a.weight".to_owned(), v.to_vec())])
    }

    fn weights(v: &[f32]) -> Weights {
        let array = Array {
            shape: vec![v.len()],
            data: v.to_vec(),
        };
        Weights::from([("a.weight".to_owned(), array)])
    }

    const RATES: Rates = Rates {
        lr: 0.1,
        momentum: 0.5,
        weight_decay: 0.1,
        clip_norm: 0.0,
    };

    #[test]
    fn two_steps_follow_the_formula() {
        let (mut sgd, mut params) = (Sgd::default(), weights(&[1.0, -2.0]));
        sgd.step(&mut params, &of(&[0.4, 0.0]), &EntryMasks::new(), RATES);
        // g = [0.5, -0.2], v = g, w -= 0.1 * 1.5 g
        sgd.step(&mut params, &of(&[0.0, 0.0]), &EntryMasks::new(), RATES);
        // g = 0.1 w = [0.0925, -0.197], v = 0.5 v + g = [0.3425, -0.297], w -= 0.1 (g + 0.5 v)
        let w = &params["a.weight"].data;
        assert!(
            (w[0] - 0.898_625).abs() < 1e-6 && (w[1] + 1.935_45).abs() < 1e-6,
            "{w:?}"
        );
    }

    #[test]
    fn zeros_stay_zero_under_momentum_and_decay() {
        let (mut sgd, mut params) = (Sgd::default(), weights(&[1.0, -2.0]));
        sgd.step(&mut params, &of(&[0.4, 0.3]), &EntryMasks::new(), RATES);
        let kept = EntryMasks::from([("a.weight".to_owned(), vec![true, false])]);
        for _ in 0..3 {
            sgd.step(&mut params, &of(&[0.4, 0.3]), &kept, RATES);
            assert_eq!(params["a.weight"].data[1], 0.0);
        }
        assert_ne!(params["a.weight"].data[0], 0.0);
    }

    #[test]
    fn long_gradients_are_shortened_to_the_limit() {
        let grads = Gradients::from([("a".to_owned(), vec![3.0]), ("b".to_owned(), vec![4.0])]);
        assert!((clip_scale(&grads, 1.0) - 0.2).abs() < 1e-6);
        assert_eq!(clip_scale(&grads, 6.0), 1.0);
    }
}
