//! How long and how fast a network learns.
//! Knows nothing of what is learned.

use serde::{Deserialize, Serialize};
use settings::settings;

settings! {
    /// Training of one network.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct TrainConfig {
        /// Passes over the training images.
        pub epochs: u32 = 10, number(within(1, 100_000); "epochs");
        /// Images per step.
        pub batch: usize = 128, number(within(1, 65_536); "images");
        /// Highest learning rate: it rises linearly at first and then falls along a cosine to zero.
        pub lr: f32 = 0.1, number(above(0));
        /// Share of all steps in which the learning rate rises.
        pub warmup: f32 = 0.2, number(at_least(0), below(1));
        /// Momentum of stochastic gradient descent (Nesterov).
        pub momentum: f32 = 0.9, number(at_least(0), below(1));
        /// L2 penalty on the weights of convolutions and linear layers.
        pub weight_decay: f32 = 5e-4, number(at_least(0));
        /// Share of the target spread evenly over all classes.
        pub label_smoothing: f32 = 0.0, number(at_least(0), below(1));
        /// A trained model whose outputs are learned beside the labels (distillation, arXiv 1503.02531): a file, or `self`, the
        /// model that pruning begins with. With it, pictures need no classes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub teacher: Option<String> = None, other;
        /// Logits are divided by this before both softmaxes are compared.
        pub teacher_temperature: f32 = 4.0, number(above(0), at_most(1000));
        /// Share of the loss that is the teacher's; the labels have the rest. 1 where pictures have no classes.
        pub teacher_weight: f32 = 0.9, number(within(0, 1));
        /// Gradients are scaled down to this norm when they exceed it; 0 means never.
        pub clip_norm: f32 = 5.0, number(at_least(0));
        /// Steps between two points of the training curve.
        pub log_every: u64 = 10, number(at_least(1); "steps");
    }
}

impl TrainConfig {
    /// Learning rate of step `step` of `steps`: linear up, cosine down.
    pub fn lr_at(&self, step: u64, steps: u64) -> f32 {
        let t = (step as f32 + 0.5) / steps.max(1) as f32;
        if t < self.warmup {
            return self.lr * t / self.warmup;
        }
        let fall = (t - self.warmup) / (1.0 - self.warmup);
        self.lr * 0.5 * (1.0 + (std::f32::consts::PI * fall.min(1.0)).cos())
    }

    /// How far a constant gradient of 1 moves a weight in `steps` steps: Σ lr / (1 − momentum).
    pub fn reach(&self, steps: u64) -> f64 {
        let sum: f64 = (0..steps).map(|step| f64::from(self.lr_at(step, steps))).sum();
        sum / (1.0 - f64::from(self.momentum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_zero() {
        let config = TrainConfig {
            lr: 1.0,
            warmup: 0.25,
            ..TrainConfig::default()
        };
        let at: Vec<f32> = [0, 12, 24, 62, 99].map(|s| config.lr_at(s, 100)).to_vec();
        assert!(
            (at[0] - 0.02).abs() < 1e-6 && (at[1] - 0.5).abs() < 1e-6 && at[2] > 0.97,
            "{at:?}"
        );
        assert!((at[3] - 0.5).abs() < 1e-3 && at[4] < 1e-3, "{at:?}");
    }
}
