//! Where a training layer's time goes. Knows nothing of who asks.

use std::ops::AddAssign;
use std::time::Instant;

/// Seconds spent on the parts of one layer's work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerSeconds {
    /// conv(x).
    pub forward: f64,
    /// Gradient of x.
    pub input_grad: f64,
    /// Gradient of the weights.
    pub weight_grad: f64,
    /// Norm, gate and ReLU, forward and back.
    pub norm: f64,
}

impl AddAssign for LayerSeconds {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.input_grad += other.input_grad;
        self.weight_grad += other.weight_grad;
        self.norm += other.norm;
    }
}

/// Seconds since `lap`, which is set to now.
pub(crate) fn lap(lap: &mut Instant) -> f64 {
    let now = Instant::now();
    (now - std::mem::replace(lap, now)).as_secs_f64()
}
