//! Stochastic gradient descent with Nesterov momentum over named parameters.
//! Our own twenty lines, because pruning needs the loop open: masks that keep zeros zero, penalties added to gradients,
//! and a state that a checkpoint can hold as plain arrays. Knows nothing of networks.

use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// Parameters and gradients by name, each flattened.
pub type Tensors = BTreeMap<String, Tensor<1>>;

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
#[derive(Clone, Debug, Default)]
pub struct Sgd {
    /// Velocity of each parameter. Missing means zero.
    pub velocity: Tensors,
}

impl Sgd {
    /// One step: v ← μv + g, w ← w − lr·(g + μv), with g including the penalty.
    pub fn step(&mut self, params: &mut Tensors, mut grads: Tensors, rates: Rates) {
        let scale = clip_scale(&grads, rates.clip_norm);
        for (name, param) in params.iter_mut() {
            let Some(mut g) = grads.remove(name) else { continue };
            if scale < 1.0 {
                g = g.mul_scalar(scale);
            }
            if rates.weight_decay > 0.0 && name.ends_with(".weight") {
                g = g + param.clone().mul_scalar(rates.weight_decay);
            }
            let v = match self.velocity.remove(name) {
                Some(v) => v.mul_scalar(rates.momentum) + g.clone(),
                None => g.clone(),
            };
            let update = g + v.clone().mul_scalar(rates.momentum);
            *param = param.clone() - update.mul_scalar(rates.lr);
            self.velocity.insert(name.clone(), v);
        }
    }
}

fn clip_scale(grads: &Tensors, clip_norm: f32) -> f32 {
    if clip_norm == 0.0 {
        return 1.0;
    }
    let mut squares: Vec<Tensor<1>> = grads.values().map(|g| g.clone().square().sum()).collect();
    let Some(first) = squares.pop() else { return 1.0 };
    let norm = squares
        .into_iter()
        .fold(first, |a, b| a + b)
        .into_scalar::<f32>()
        .sqrt();
    if norm > clip_norm { clip_norm / norm } else { 1.0 }
}

/// A flat tensor of these numbers.
pub fn flat(data: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(data.to_vec(), [data.len()]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_follow_the_formula() {
        let device = Device::flex();
        let of = |v: &[f32]| Tensors::from([("a.weight".to_owned(), flat(v, &device))]);
        let (mut sgd, mut params) = (Sgd::default(), of(&[1.0, -2.0]));
        let rates = Rates {
            lr: 0.1,
            momentum: 0.5,
            weight_decay: 0.1,
            clip_norm: 0.0,
        };
        sgd.step(&mut params, of(&[0.4, 0.0]), rates);
        // g = [0.5, -0.2], v = g, w -= 0.1 * 1.5 g
        sgd.step(&mut params, of(&[0.0, 0.0]), rates);
        // g = 0.1 w = [0.0925, -0.197], v = 0.5 v + g = [0.3425, -0.297], w -= 0.1 (g + 0.5 v)
        let w = params["a.weight"].to_data().try_to_vec::<f32>().expect("floats");
        assert!(
            (w[0] - 0.898_625).abs() < 1e-6 && (w[1] + 1.935_45).abs() < 1e-6,
            "{w:?}"
        );
    }

    #[test]
    fn long_gradients_are_shortened_to_the_limit() {
        let device = Device::flex();
        let grads = Tensors::from([
            ("a".to_owned(), flat(&[3.0], &device)),
            ("b".to_owned(), flat(&[4.0], &device)),
        ]);
        assert!((clip_scale(&grads, 1.0) - 0.2).abs() < 1e-6);
        assert_eq!(clip_scale(&grads, 6.0), 1.0);
    }
}
