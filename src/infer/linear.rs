//! Products of a sparse vector and a matrix: linear layers and saliency predictors.
//! Knows nothing of convolutions.

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

    /// Rows of `data`.
    pub fn inputs(&self) -> usize {
        self.data.len() / self.outputs.max(1)
    }

    /// Zeroes what is not kept, asked by (output, input).
    pub fn keep(&mut self, kept: impl Fn(usize, usize) -> bool) {
        let outputs = self.outputs.max(1);
        let off = self.data.iter_mut().enumerate().filter(|(i, _)| !kept(i % outputs, i / outputs));
        off.for_each(|(_, w)| *w = 0.0);
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
