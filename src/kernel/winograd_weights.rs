//! Winograd's transform of weights. Knows nothing of which filters are active.
#![expect(clippy::needless_range_loop, reason = "matrices are indexed by i and j throughout")]

/// Whose rows the transformed weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightOrder {
    /// The weights are `[filters, in_channels, 3, 3]` of the plan itself.
    Forward,
    /// The plan is the input gradient of a convolution whose weights these are: `[in_channels, filters, 3, 3]`
    /// in terms of the plan. Kernels are turned by half a turn.
    InputGrad,
}

/// Floats from one filter's weights to the next: an odd number of cache lines, so that the rows of a tile do
/// not fall on the same cache sets.
pub(crate) fn row_len(channels: usize, size: usize) -> usize {
    (((size + 2) * (size + 2) * channels).div_ceil(16) * 16) | 16
}

/// What the transforms of all rows share.
pub(crate) struct WeightsTask<'a> {
    pub weights: &'a [f32],
    pub order: WeightOrder,
    pub channels: usize,
    pub filters: usize,
}

pub(crate) type WeightsTransform = unsafe fn(&WeightsTask, usize, &mut [f32]);

/// All rows, into `to` of [`row_len`] floats each.
#[expect(unsafe_code, reason = "calls a transform of the tiles' table")]
pub(crate) fn transform_rows(
    transform: WeightsTransform,
    weights: &[f32],
    order: WeightOrder,
    [channels, filters]: [usize; 2],
    to: &mut [f32],
) {
    assert_eq!(weights.len(), filters * channels * 9, "weights");
    let task = WeightsTask {
        weights,
        order,
        channels,
        filters,
    };
    for (filter, row) in to.chunks_exact_mut(to.len() / filters).enumerate() {
        // SAFETY: the table exists only where its instructions do.
        unsafe { transform(&task, filter, row) }
    }
}

/// Kernels that are transformed side by side.
const LANES: usize = 8;

type Lanes = [f64; LANES];

/// G g Gᵀ of one filter's 3×3 kernels: `[N · N, channels]`. In f64: what is lost here no tile can bring back.
#[inline(always)]
pub(crate) fn transform_row<const N: usize>(task: &WeightsTask, filter: usize, row: &mut [f32]) {
    let channels = task.channels;
    for first in (0..channels).step_by(LANES) {
        let n = LANES.min(channels - first);
        let mut g = [[[0.0; LANES]; 3]; 3];
        for lane in 0..n {
            let c = first + lane;
            let (at, flip) = match task.order {
                WeightOrder::Forward => (filter * channels + c, false),
                WeightOrder::InputGrad => (c * task.filters + filter, true),
            };
            let taps = &task.weights[at * 9..][..9];
            for tap in 0..9 {
                g[tap / 3][tap % 3][lane] = f64::from(taps[if flip { 8 - tap } else { tap }]);
            }
        }
        let columns = [0, 1, 2].map(|j| line::<N>([g[0][j], g[1][j], g[2][j]]));
        for i in 0..N {
            let done = line::<N>([columns[0][i], columns[1][i], columns[2][i]]);
            for j in 0..N {
                let to = &mut row[(i * N + j) * channels + first..][..n];
                for (to, v) in to.iter_mut().zip(done[j]) {
                    *to = v as f32;
                }
            }
        }
    }
}

#[inline(always)]
fn line<const N: usize>(g: [Lanes; 3]) -> [Lanes; N] {
    let mut t = [[0.0; LANES]; N];
    for l in 0..LANES {
        let outer = g[0][l] + g[2][l];
        if N == 4 {
            t[0][l] = g[0][l];
            t[1][l] = (outer + g[1][l]) / 2.0;
            t[2][l] = (outer - g[1][l]) / 2.0;
            t[3][l] = g[2][l];
        } else {
            let (even, odd) = (g[0][l] / 24.0 + g[2][l] / 6.0, g[1][l] / 12.0);
            t[0][l] = g[0][l] / 4.0;
            t[1][l] = (outer + g[1][l]) * (-1.0 / 6.0);
            t[2][l] = (outer - g[1][l]) * (-1.0 / 6.0);
            t[3][l] = even + odd;
            t[4][l] = even - odd;
            t[5][l] = g[2][l];
        }
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform<const N: usize>(weights: &[f32], order: WeightOrder) -> Vec<f32> {
        let task = WeightsTask {
            weights,
            order,
            channels: 1,
            filters: 1,
        };
        let mut row = vec![0.0; N * N];
        transform_row::<N>(&task, 0, &mut row);
        row
    }

    #[test]
    fn corners_are_the_outer_taps() {
        let w: Vec<f32> = (1..=9).map(|i| i as f32).collect();
        let two = transform::<4>(&w, WeightOrder::Forward);
        assert_eq!([two[0], two[3], two[12], two[15]], [1.0, 3.0, 7.0, 9.0]);
        // The second element of a row is half the sum of its taps, here of the first row.
        assert_eq!(two[1], 3.0);
        let four = transform::<6>(&w, WeightOrder::Forward);
        assert_eq!(
            [four[0], four[5], four[30], four[35]],
            [1.0 / 16.0, 3.0 / 4.0, 7.0 / 4.0, 9.0]
        );
        // 7/24 + 8/12 + 9/6, the last row by the fourth line.
        assert!((four[33] - 59.0 / 24.0).abs() < 1e-6);
    }

    #[test]
    fn the_way_back_turns_kernels() {
        let w: Vec<f32> = (1..=9).map(|i| i as f32).collect();
        let turned: Vec<f32> = w.iter().rev().copied().collect();
        assert_eq!(
            transform::<6>(&w, WeightOrder::InputGrad),
            transform::<6>(&turned, WeightOrder::Forward)
        );
    }
}
