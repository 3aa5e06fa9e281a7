//! A small perceptron in plain slices, with its gradients and Adam: two hidden layers of rectified units, one output.
//! Slices, so that its state can be written down whole and steps are the same everywhere.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Inputs → hidden → hidden → 1. Parameters lie in one list: the weights of each layer, a row an input, then its biases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mlp {
    n_in: usize,
    hidden: usize,
    #[serde(with = "bits")]
    params: Vec<f32>,
}

/// What a batch left in each layer.
pub(crate) struct Trace {
    first: Vec<f32>,
    second: Vec<f32>,
    /// One number a sample, without an activation.
    pub out: Vec<f32>,
}

impl Mlp {
    /// Parameters uniform in ±1/√(inputs of the layer).
    pub(crate) fn new(n_in: usize, hidden: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut params = Vec::new();
        for (rows, columns) in [(n_in, hidden), (hidden, hidden), (hidden, 1)] {
            let bound = 1.0 / (rows as f32).sqrt();
            params.extend((0..(rows + 1) * columns).map(|_| rng.random_range(-bound..=bound)));
        }
        Self { n_in, hidden, params }
    }

    /// Where each layer's parameters begin, and where the last one's end.
    fn layout(&self) -> [usize; 4] {
        let first = (self.n_in + 1) * self.hidden;
        let second = first + (self.hidden + 1) * self.hidden;
        [0, first, second, second + self.hidden + 1]
    }

    pub(crate) fn n_params(&self) -> usize {
        self.params.len()
    }

    /// Outputs of a batch; `inputs` has a row a sample.
    pub(crate) fn run(&self, inputs: &[f32]) -> Trace {
        let [a, b, c, d] = self.layout();
        let mut first = linear(&self.params[a..b], inputs, self.n_in, self.hidden);
        rectify(&mut first);
        let mut second = linear(&self.params[b..c], &first, self.hidden, self.hidden);
        rectify(&mut second);
        let out = linear(&self.params[c..d], &second, self.hidden, 1);
        Trace { first, second, out }
    }

    /// Gradients of the inputs for gradients `d_out` of the outputs; those of the parameters are added to `grads`.
    pub(crate) fn back(&self, inputs: &[f32], trace: &Trace, d_out: &[f32], grads: Option<&mut [f32]>) -> Vec<f32> {
        let [a, b, c, d] = self.layout();
        let mut parts = grads.map(|grads| {
            let (first, rest) = grads.split_at_mut(b);
            let (second, third) = rest.split_at_mut(c - b);
            [first, second, third]
        });
        let sizes = [[self.n_in, self.hidden], [self.hidden, self.hidden], [self.hidden, 1]];
        let mut d_second = linear_back(&self.params[c..d], d_out, sizes[2]);
        stop_at_zero(&mut d_second, &trace.second);
        let mut d_first = linear_back(&self.params[b..c], &d_second, sizes[1]);
        stop_at_zero(&mut d_first, &trace.first);
        if let Some([first, second, third]) = &mut parts {
            linear_grads(third, &trace.second, d_out, sizes[2]);
            linear_grads(second, &trace.first, &d_second, sizes[1]);
            linear_grads(first, inputs, &d_first, sizes[0]);
        }
        linear_back(&self.params[a..b], &d_first, sizes[0])
    }

    /// Moves by the share `tau` towards another of the same shape.
    pub(crate) fn follow(&mut self, other: &Mlp, tau: f32) {
        for (own, other) in self.params.iter_mut().zip(&other.params) {
            *own += tau * (other - *own);
        }
    }
}

fn linear(params: &[f32], inputs: &[f32], n_in: usize, n_out: usize) -> Vec<f32> {
    let (weights, biases) = params.split_at(n_in * n_out);
    let mut out = Vec::with_capacity(inputs.len() / n_in * n_out);
    for sample in inputs.chunks_exact(n_in) {
        let from = out.len();
        out.extend_from_slice(biases);
        let row = &mut out[from..];
        for (x, weights) in sample.iter().zip(weights.chunks_exact(n_out)) {
            if *x != 0.0 {
                add_scaled(row, weights, *x);
            }
        }
    }
    out
}

fn linear_grads(grads: &mut [f32], inputs: &[f32], d_out: &[f32], [n_in, n_out]: [usize; 2]) {
    let (weights, biases) = grads.split_at_mut(n_in * n_out);
    for (sample, d_row) in inputs.chunks_exact(n_in).zip(d_out.chunks_exact(n_out)) {
        for (x, weights) in sample.iter().zip(weights.chunks_exact_mut(n_out)) {
            if *x != 0.0 {
                add_scaled(weights, d_row, *x);
            }
        }
        add_scaled(biases, d_row, 1.0);
    }
}

fn linear_back(params: &[f32], d_out: &[f32], [n_in, n_out]: [usize; 2]) -> Vec<f32> {
    let weights = &params[..n_in * n_out];
    let rows = d_out.chunks_exact(n_out);
    rows.flat_map(|d_row| weights.chunks_exact(n_out).map(move |w| dot(w, d_row)))
        .collect()
}

fn add_scaled(to: &mut [f32], from: &[f32], scale: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += scale * from;
    }
}

/// In eight sums, so that it can be done in vectors; always the same ones, so that the result is too.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn rectify(values: &mut [f32]) {
    for v in values {
        *v = v.max(0.0);
    }
}

fn stop_at_zero(grads: &mut [f32], values: &[f32]) {
    for (grad, value) in grads.iter_mut().zip(values) {
        if *value <= 0.0 {
            *grad = 0.0;
        }
    }
}

/// Adam (arXiv 1412.6980) with β = 0.9, 0.999 and ε = 1e-8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Adam {
    lr: f32,
    steps: i32,
    #[serde(with = "bits")]
    mean: Vec<f32>,
    #[serde(with = "bits")]
    square: Vec<f32>,
}

impl Adam {
    pub(crate) fn new(lr: f32, n_params: usize) -> Self {
        Self {
            lr,
            steps: 0,
            mean: vec![0.0; n_params],
            square: vec![0.0; n_params],
        }
    }

    pub(crate) fn step(&mut self, net: &mut Mlp, grads: &[f32]) {
        self.steps += 1;
        let unbias_mean = 1.0 / (1.0 - 0.9f32.powi(self.steps));
        let unbias_square = 1.0 / (1.0 - 0.999f32.powi(self.steps));
        let moments = self.mean.iter_mut().zip(self.square.iter_mut());
        for ((param, grad), (mean, square)) in net.params.iter_mut().zip(grads).zip(moments) {
            *mean += 0.1 * (grad - *mean);
            *square += 0.001 * (grad * grad - *square);
            *param -= self.lr * (*mean * unbias_mean) / ((*square * unbias_square).sqrt() + 1e-8);
        }
    }
}

/// Numbers as the hexadecimal digits of their bits: exact, and shorter than decimals.
pub(crate) mod bits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Write;

    pub(crate) fn serialize<S: Serializer>(values: &[f32], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(8 * values.len());
        for value in values {
            write!(text, "{:08x}", value.to_bits()).map_err(serde::ser::Error::custom)?;
        }
        to.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.as_bytes().chunks(8);
        digits
            .map(|eight| {
                let eight = std::str::from_utf8(eight).map_err(D::Error::custom)?;
                if eight.len() != 8 {
                    return Err(D::Error::custom("a number cut off"));
                }
                u32::from_str_radix(eight, 16)
                    .map(f32::from_bits)
                    .map_err(D::Error::custom)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn net(n_in: usize, hidden: usize) -> Mlp {
        Mlp::new(n_in, hidden, &mut ChaCha8Rng::seed_from_u64(5))
    }

    #[test]
    fn it_computes_what_is_written_by_hand() {
        let mut net = net(2, 2);
        // Rows are inputs: h1 = relu(x0 − x1 + 1), relu(2·x1); h2 = relu(h1_0 + h1_1), relu(−h1_0); y = 3·h2_0 + h2_1 − 1.
        net.params = vec![1., 0., -1., 2., 1., 0., 1., -1., 1., 0., 0., 0., 3., 1., -1.];
        assert_eq!(
            net.run(&[2.0, 1.0, 0.0, 4.0]).out,
            [3.0 * (2.0 + 2.0) - 1.0, 3.0 * 8.0 - 1.0]
        );
    }

    #[test]
    fn gradients_agree_with_differences() {
        let mut net = net(3, 9);
        let inputs = [0.3, -0.2, 0.9, 0.7, 0.5, -0.4];
        let weights = [1.0, -2.0];
        let value =
            |net: &Mlp, inputs: &[f32]| -> f32 { net.run(inputs).out.iter().zip(weights).map(|(o, w)| o * w).sum() };
        let mut grads = vec![0.0; net.n_params()];
        let d_inputs = net.back(&inputs, &net.run(&inputs), &weights, Some(&mut grads));
        assert_eq!(d_inputs, net.back(&inputs, &net.run(&inputs), &weights, None));
        for (i, grad) in grads.into_iter().enumerate() {
            let kept = net.params[i];
            let mut at = |v: f32| {
                net.params[i] = v;
                value(&net, &inputs)
            };
            let slope = (at(kept + 1e-3) - at(kept - 1e-3)) / 2e-3;
            net.params[i] = kept;
            assert!((slope - grad).abs() < 5e-3, "parameter {i}: {slope} {grad}");
        }
        for i in 0..inputs.len() {
            let at = |v: f32| {
                let mut moved = inputs;
                moved[i] += v;
                value(&net, &moved)
            };
            let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((slope - d_inputs[i]).abs() < 5e-3, "input {i}: {slope} {}", d_inputs[i]);
        }
    }

    #[test]
    fn adams_first_steps_are_the_rate_long() {
        let mut net = net(1, 1);
        let before = net.params.clone();
        let mut adam = Adam::new(0.01, net.n_params());
        let grads = [0.5, -0.5, 0.0, 4.0, -1e-3, 0.5];
        adam.step(&mut net, &grads);
        for ((new, old), grad) in net.params.iter().zip(&before).zip(grads) {
            let expected = if grad == 0.0 { 0.0 } else { -0.01 * grad.signum() };
            assert!((new - old - expected).abs() < 1e-6, "{grad}");
        }
        // Two equal gradients leave the second step as long as the first.
        adam.step(&mut net, &grads);
        assert!((net.params[0] - before[0] + 0.02).abs() < 1e-5);
    }

    #[test]
    fn following_goes_a_share_of_the_way() {
        let (mut slow, fast) = (net(1, 1), Mlp::new(1, 1, &mut ChaCha8Rng::seed_from_u64(6)));
        let expected = slow.params[0] + 0.25 * (fast.params[0] - slow.params[0]);
        slow.follow(&fast, 0.25);
        assert_eq!(slow.params[0], expected);
        slow.follow(&fast, 1.0);
        assert!((slow.params[3] - fast.params[3]).abs() < 1e-6);
    }

    #[test]
    fn what_is_saved_comes_back_to_the_bit() {
        let mut net = net(3, 4);
        net.params[0] = -0.0;
        net.params[1] = 1.0e-40;
        let text = serde_json::to_string(&net).unwrap();
        let back: Mlp = serde_json::from_str(&text).unwrap();
        let of = |net: &Mlp| net.params.iter().map(|p| p.to_bits()).collect::<Vec<_>>();
        assert_eq!(of(&back), of(&net));
        assert!(serde_json::from_str::<Mlp>(&text.replacen("80000000", "8000", 1)).is_err());
    }
}
