//! How long and how fast a network learns.
//! Knows nothing of what is learned.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Training of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Times each training image is seen.
    pub epochs: u32,
    /// Images a step.
    pub batch: usize,
    /// Highest learning rate.
    pub lr: f32,
    /// Share of all steps in which the rate rises linearly to `lr`; afterwards it falls along a cosine to zero.
    pub warmup: f32,
    /// Momentum of stochastic gradient descent (Nesterov).
    pub momentum: f32,
    /// L2 penalty on the weights of convolutions and linear layers.
    pub weight_decay: f32,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f32,
    /// Gradients are scaled down to this norm when they exceed it; 0 means never.
    pub clip_norm: f32,
    /// Steps between two `step` events.
    pub log_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 128,
            lr: 0.1,
            warmup: 0.2,
            momentum: 0.9,
            weight_decay: 5e-4,
            label_smoothing: 0.0,
            clip_norm: 5.0,
            log_every: 10,
        }
    }
}

impl TrainConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (1..=100_000).contains(&self.epochs),
            "train.epochs is {}, expected 1 to 100000",
            self.epochs
        );
        ensure!(
            (1..=65_536).contains(&self.batch),
            "train.batch is {}, expected 1 to 65536",
            self.batch
        );
        ensure!(
            self.lr > 0.0 && self.lr.is_finite(),
            "train.lr is {}, expected more than 0",
            self.lr
        );
        ensure!(
            (0.0..1.0).contains(&self.warmup),
            "train.warmup is {}, expected at least 0 and less than 1",
            self.warmup
        );
        ensure!(
            (0.0..1.0).contains(&self.momentum),
            "train.momentum is {}, expected at least 0 and less than 1",
            self.momentum
        );
        ensure!(
            self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
            "train.weight_decay is {}, expected at least 0",
            self.weight_decay
        );
        ensure!(
            (0.0..1.0).contains(&self.label_smoothing),
            "train.label_smoothing is {}, expected at least 0 and less than 1",
            self.label_smoothing
        );
        ensure!(
            self.clip_norm >= 0.0 && self.clip_norm.is_finite(),
            "train.clip_norm is {}, expected at least 0",
            self.clip_norm
        );
        ensure!(self.log_every > 0, "train.log_every is 0, expected at least 1");
        Ok(())
    }

    /// Learning rate of step `step` of `steps`: linear up, cosine down.
    pub(crate) fn lr_at(&self, step: u64, steps: u64) -> f32 {
        let t = (step as f32 + 0.5) / steps.max(1) as f32;
        if t < self.warmup {
            return self.lr * t / self.warmup;
        }
        let fall = (t - self.warmup) / (1.0 - self.warmup);
        self.lr * 0.5 * (1.0 + (std::f32::consts::PI * fall.min(1.0)).cos())
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
