//! Winograd's transform of weights. Knows nothing of which filters are active.

/// Floats from one filter's weights to the next: an odd number of cache lines, so that the rows of a tile do
/// not fall on the same cache sets.
pub(super) fn row_len(channels: usize, size: usize) -> usize {
    (((size + 2) * (size + 2) * channels).div_ceil(16) * 16) | 16
}

/// G g Gᵀ of every 3×3 kernel: `[filters, channels, 3, 3]` to `[filters]` rows of `[elements, channels]`,
/// [`row_len`] apart, for tiles of `size` × `size` outputs, 2 or 4. Summed in f64: what is lost here no tile
/// can bring back.
pub(super) fn transform(weights: &[f32], channels: usize, size: usize) -> Vec<f32> {
    let g: &[[f64; 3]] = if size == 2 { &G2 } else { &G4 };
    let (n, row_len) = (g.len(), row_len(channels, size));
    let mut transformed = vec![0.0; weights.len() / (9 * channels) * row_len];
    for (row, weights) in transformed
        .chunks_exact_mut(row_len)
        .zip(weights.chunks_exact(9 * channels))
    {
        for (c, w) in weights.chunks_exact(9).enumerate() {
            for (i, left) in g.iter().enumerate() {
                for (j, right) in g.iter().enumerate() {
                    let sum: f64 = (0..9)
                        .map(|tap| left[tap / 3] * f64::from(w[tap]) * right[tap % 3])
                        .sum();
                    row[(i * n + j) * channels + c] = sum as f32;
                }
            }
        }
    }
    transformed
}

const G2: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

const G4: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_are_the_outer_taps() {
        let w: Vec<f32> = (1..=9).map(|i| i as f32).collect();
        let two = transform(&w, 1, 2);
        assert_eq!([two[0], two[3], two[12], two[15]], [1.0, 3.0, 7.0, 9.0]);
        // The second element of a row is half the sum of its taps, here of the first row.
        assert_eq!(two[1], 3.0);
        let four = transform(&w, 1, 4);
        assert_eq!(
            [four[0], four[5], four[30], four[35]],
            [1.0 / 16.0, 3.0 / 4.0, 7.0 / 4.0, 9.0]
        );
    }
}
