//! Products of a sparse vector and a matrix: linear layers and saliency predictors.
//! Knows nothing of convolutions.

use super::compiled_mask::CompiledMask;
use kernel::Kernel;

/// A linear layer ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub kernel: Kernel,
    /// Its node.
    pub node: usize,
    pub mask: CompiledMask,
    pub matrix: TransposedMatrix,
    /// The matrix without masked single weights, if there are any.
    pub masked: Option<TransposedMatrix>,
    pub bias: Option<Vec<f32>>,
}

impl Linear {
    /// y = W·x + b over (input, x) pairs. What masked outputs get means nothing.
    pub(crate) fn run(&self, x: &[(u32, f32)], y: &mut [f32]) {
        match &self.bias {
            Some(bias) => y.copy_from_slice(bias),
            None => y.fill(0.0),
        }
        self.kernel
            .add_rows(x, &self.masked.as_ref().unwrap_or(&self.matrix).data, y);
    }

    /// Masks single weights, one entry a weight of `[outputs, inputs]`; none if empty.
    pub(crate) fn mask_weights(&mut self, elements: &[bool]) {
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
pub(crate) struct TransposedMatrix {
    pub outputs: usize,
    pub data: Vec<f32>,
}

impl TransposedMatrix {
    /// From `[outputs, inputs]`.
    pub(crate) fn transposed(weight: &[f32], outputs: usize) -> Self {
        let inputs = weight.len() / outputs.max(1);
        let data = (0..weight.len())
            .map(|i| weight[i % outputs * inputs + i / outputs])
            .collect();
        Self { outputs, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_inputs_count() {
        // [2 outputs, 6 inputs]
        let m = TransposedMatrix::transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0], 2);
        let mut y = [0.5, 0.0];
        Kernel::best().add_rows(&[(0, 1.0), (1, 1.0), (3, 2.0), (4, 1.0), (5, -1.0)], &m.data, &mut y);
        assert_eq!(y, [0.5 + 1.0 + 2.0 + 8.0 + 5.0 - 6.0, 10.0 + 20.0 + 80.0 + 50.0 - 60.0]);
    }
}
