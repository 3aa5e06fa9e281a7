//! Products of a sparse vector and a matrix: linear layers and saliency predictors.
//! Knows nothing of convolutions.

use super::kept::Kept;

/// A linear layer ready to run.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// Its node.
    pub node: usize,
    pub kept: Kept,
    pub matrix: Matrix,
    /// The matrix without masked single weights, if there are any.
    pub masked: Option<Matrix>,
    pub bias: Option<Vec<f32>>,
}

impl Linear {
    /// y = W·x + b over (input, x) pairs. What dead outputs get means nothing.
    pub fn run(&self, x: &[(u32, f32)], y: &mut [f32]) {
        match &self.bias {
            Some(bias) => y.copy_from_slice(bias),
            None => y.fill(0.0),
        }
        self.masked.as_ref().unwrap_or(&self.matrix).add_rows(x, y);
    }

    /// Masks single weights, one entry a weight of `[outputs, inputs]`; none if empty.
    pub fn mask_weights(&mut self, elements: &[bool]) {
        self.masked = (!elements.is_empty()).then(|| {
            let mut masked = self.matrix.clone();
            let outputs = masked.outputs;
            let inputs = elements.len() / outputs.max(1);
            for (at, w) in masked.data.iter_mut().enumerate() {
                if !elements[at % outputs * inputs + at / outputs] {
                    *w = 0.0;
                }
            }
            masked
        });
    }
}

/// A matrix as `[inputs, outputs]`, so that an input that is not listed is a row that is not read.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub outputs: usize,
    pub data: Vec<f32>,
}

impl Matrix {
    /// From `[outputs, inputs]`.
    pub fn transposed(weight: &[f32], outputs: usize) -> Self {
        let inputs = weight.len() / outputs.max(1);
        let data = (0..weight.len())
            .map(|i| weight[i % outputs * inputs + i / outputs])
            .collect();
        Self { outputs, data }
    }

    /// `y += Σ x · row` over (input, x) pairs. Terms are added in the order of the list, four at a time.
    pub fn add_rows(&self, x: &[(u32, f32)], y: &mut [f32]) {
        let row = |i: u32| &self.data[i as usize * self.outputs..][..self.outputs];
        let (fours, rest) = x.as_chunks::<4>();
        for [(a, p), (b, q), (c, r), (d, s)] in fours {
            let rows = row(*a).iter().zip(row(*b)).zip(row(*c).iter().zip(row(*d)));
            for (y, ((a, b), (c, d))) in y.iter_mut().zip(rows) {
                *y += (p * a + q * b) + (r * c + s * d);
            }
        }
        for (i, v) in rest {
            for (y, w) in y.iter_mut().zip(row(*i)) {
                *y += v * w;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_inputs_count() {
        // [2 outputs, 6 inputs]
        let m = Matrix::transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0], 2);
        let mut y = [0.5, 0.0];
        m.add_rows(&[(0, 1.0), (1, 1.0), (3, 2.0), (4, 1.0), (5, -1.0)], &mut y);
        assert_eq!(y, [0.5 + 1.0 + 2.0 + 8.0 + 5.0 - 6.0, 10.0 + 20.0 + 80.0 + 50.0 - 60.0]);
    }
}
