//! The nearest weights that are sparse: ADMM's Z step, Z = Π(W + U) (arXiv 1907.03141).
//! Knows nothing of graphs, of U or of how many are to be kept.
//!
//! Each projection keeps the parts of largest ‖·‖₂, unchanged, and zeroes the rest; always so many as asked, of equals those
//! of lower index. For filters and columns at once no order is exact: filters first, then columns by what is left.

use model::mask::{LayerMask, winners};

/// A weight matrix, `[filters, channels · taps]`, row-major: column `q·taps + r·kernel + s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Rows.
    pub filters: usize,
    /// Input channels.
    pub channels: usize,
    /// Columns of one input channel: kernel².
    pub taps: usize,
}

/// How many are to be kept, of what. More than there are means all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Rows.
    Filters(usize),
    /// Blocks of columns.
    Channels(usize),
    /// Columns.
    Columns(usize),
    /// Single weights.
    Elements(usize),
    /// Rows, then columns by their norm over these rows. A heuristic.
    FiltersThenColumns(usize, usize),
}

/// Which entries the projection keeps.
///
/// # Panics
/// If `weights` are not `shape`'s.
pub fn nearest(weights: &[f32], shape: Matrix, kept: Kept) -> LayerMask {
    let columns = shape.channels * shape.taps;
    assert_eq!(weights.len(), shape.filters * columns, "a matrix of {shape:?}");
    let mut mask = LayerMask::whole(shape.filters, columns);
    match kept {
        Kept::Filters(n) => mask.filters = filters_of(&[weights], shape.filters, n),
        Kept::Channels(n) => {
            let of_block = |sums: &[f32]| sums.iter().sum();
            let blocks = column_squares(weights, &mask)
                .chunks_exact(shape.taps.max(1))
                .map(of_block)
                .collect::<Vec<f32>>();
            mask.columns = top(&blocks, n)
                .into_iter()
                .flat_map(|k| std::iter::repeat_n(k, shape.taps))
                .collect();
        }
        Kept::Columns(n) => mask.columns = top(&column_squares(weights, &mask), n),
        Kept::Elements(n) => mask.elements = top(weights, n),
        Kept::FiltersThenColumns(filters, columns) => {
            mask.filters = filters_of(&[weights], shape.filters, filters);
            mask.columns = top(&column_squares(weights, &mask), columns);
        }
    }
    mask
}

/// Projects in place and says what was kept.
///
/// # Panics
/// If `weights` are not `shape`'s.
pub fn project(weights: &mut [f32], shape: Matrix, kept: Kept) -> LayerMask {
    let mask = nearest(weights, shape, kept);
    zero(weights, &mask);
    mask
}

/// Projects layers whose filters must be the same: keeps the `kept` channels whose rows in all `layers` together
/// have the largest norm. Each of `layers` is `[channels, its columns]`.
pub(crate) fn project_tied(layers: &mut [&mut [f32]], channels: usize, kept: usize) -> Vec<bool> {
    let views: Vec<&[f32]> = layers.iter().map(|l| &**l).collect();
    let keep = filters_of(&views, channels, kept);
    for layer in layers {
        let columns = (layer.len() / channels.max(1)).max(1);
        let dead = layer.chunks_exact_mut(columns).zip(&keep).filter(|(_, keep)| !**keep);
        dead.for_each(|(row, _)| row.fill(0.0));
    }
    keep
}

/// Zeroes what a mask leaves out.
pub fn zero(weights: &mut [f32], mask: &LayerMask) {
    for (f, row) in weights.chunks_exact_mut(mask.columns.len().max(1)).enumerate() {
        if !mask.filters[f] {
            row.fill(0.0);
            continue;
        }
        let dead = row.iter_mut().enumerate().filter(|(c, _)| !mask.keeps(f, *c));
        dead.for_each(|(_, w)| *w = 0.0);
    }
}

/// Marks the `n` largest magnitudes, of equals those of lower index.
pub(crate) fn top(scores: &[f32], n: usize) -> Vec<bool> {
    let mut keep = vec![false; scores.len()];
    winners(scores, n).into_iter().for_each(|i| keep[i as usize] = true);
    keep
}

fn filters_of(layers: &[&[f32]], filters: usize, n: usize) -> Vec<bool> {
    let mut squares = vec![0.0; filters];
    for layer in layers {
        let columns = (layer.len() / filters.max(1)).max(1);
        for (sum, row) in squares.iter_mut().zip(layer.chunks_exact(columns)) {
            *sum += row.iter().map(|v| v * v).sum::<f32>();
        }
    }
    top(&squares, n)
}

/// ‖column‖² over the rows that the mask keeps.
fn column_squares(weights: &[f32], mask: &LayerMask) -> Vec<f32> {
    let mut squares = vec![0.0; mask.columns.len()];
    let rows = weights.chunks_exact(squares.len().max(1)).zip(&mask.filters);
    for (row, _) in rows.filter(|(_, kept)| **kept) {
        for (sum, v) in squares.iter_mut().zip(row) {
            *sum += v * v;
        }
    }
    squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const M: [f32; 16] = [
        3.0, -1.0, 0.0, 2.0, 0.5, 0.5, -0.5, 0.5, -2.0, 1.0, 4.0, -1.0, 1.0, 0.0, -1.0, 0.0,
    ];
    const SHAPE: Matrix = Matrix {
        filters: 4,
        channels: 2,
        taps: 2,
    };

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
    }

    fn set(bits: &[bool]) -> Vec<usize> {
        (0..bits.len()).filter(|&i| bits[i]).collect()
    }

    #[test]
    fn each_dimension_keeps_its_largest_norms() {
        let cases = [
            (Kept::Filters(2), vec![0, 2], vec![0, 1, 2, 3], 3.0),
            (Kept::Columns(2), vec![0, 1, 2, 3], vec![0, 2], 7.5),
            (Kept::Channels(1), vec![0, 1, 2, 3], vec![2, 3], 16.5),
            (Kept::FiltersThenColumns(2, 2), vec![0, 2], vec![0, 2], 10.0),
        ];
        for (kept, filters, columns, squared) in cases {
            let mut z = M;
            let mask = project(&mut z, SHAPE, kept);
            assert_eq!((set(&mask.filters), set(&mask.columns)), (filters, columns), "{kept:?}");
            assert_eq!(distance(&M, &z), squared, "{kept:?}");
        }
        let mut z = M;
        let mask = project(&mut z, SHAPE, Kept::Elements(6));
        assert_eq!((mask.count(), distance(&M, &z)), (6, 4.0));
        assert_eq!(set(&mask.elements), [0, 1, 3, 8, 9, 10], "of the ones the first two");
    }

    #[test]
    fn filters_then_columns_is_a_heuristic() {
        let m = [-3.0, 0.0, 0.0, 2.0, 2.0, -3.0, -2.0, 2.0, -1.0, -1.0, -3.0, 1.0];
        let shape = Matrix {
            filters: 3,
            channels: 4,
            taps: 1,
        };
        let mut z = m;
        let mask = project(&mut z, shape, Kept::FiltersThenColumns(2, 2));
        assert_eq!((set(&mask.filters), set(&mask.columns)), (vec![0, 1], vec![0, 1]));
        let energy = |z: &[f32]| z.iter().map(|v| v * v).sum::<f32>();
        assert_eq!(energy(&z), 22.0);
        // Columns first, then rows by what is left; and both by their whole norms.
        let mut z = m;
        project(&mut z, shape, Kept::Columns(2));
        assert_eq!(set(&project(&mut z, shape, Kept::Filters(2)).filters), [0, 2]);
        assert_eq!(energy(&z), 19.0);
        let mut z = m;
        let rows = nearest(&m, shape, Kept::Filters(2));
        project(&mut z, shape, Kept::Columns(2));
        zero(&mut z, &rows);
        assert_eq!(energy(&z), 17.0);
        let best = |rows: [usize; 2], columns: [usize; 2]| -> f32 {
            rows.iter()
                .flat_map(|r| columns.map(|c| m[r * 4 + c]))
                .map(|v| v * v)
                .sum()
        };
        assert_eq!(best([1, 2], [1, 2]), 23.0, "the optimum");
    }

    #[test]
    fn one_admm_cycle_moves_as_computed_by_hand() {
        let (lr, rho, gradient) = (0.5f32, 0.1f32, 0.2f32);
        let mut z = M;
        project(&mut z, SHAPE, Kept::Filters(2));
        let w: Vec<f32> = M
            .iter()
            .zip(&z)
            .map(|(w, z)| w - lr * (gradient + rho * (w - z)))
            .collect();
        let expected = [
            2.9, -1.1, -0.1, 1.9, 0.375, 0.375, -0.575, 0.375, -2.1, 0.9, 3.9, -1.1, 0.85, -0.1, -1.05, -0.1,
        ];
        assert!(distance(&w, &expected) < 1e-10);
        let mut z = w.clone();
        project(&mut z, SHAPE, Kept::Filters(2));
        assert_eq!(
            (&z[..4], &z[4..8], &z[8..12], &z[12..]),
            (&w[..4], &[0.0; 4][..], &w[8..12], &[0.0; 4][..])
        );
        assert!((distance(&w, &z).sqrt() - 1.611_676).abs() < 1e-5);
        // U¹ = W¹ − Z¹, so the penalty is (ρ/2)·‖2(W − Z)‖².
        assert!((rho / 2.0 * 4.0 * distance(&w, &z) - 0.5195).abs() < 1e-5);
    }

    #[test]
    fn tied_layers_keep_the_same_channels() {
        let (mut a, mut b) = ([1.0, 0.0, 2.0, 2.0, 3.0, 0.0], [3.0, 1.0, 0.5]);
        // 1 + 9, 8 + 1, 9 + 0.25: alone, a would keep 2 and b 0.
        let keep = project_tied(&mut [&mut a, &mut b], 3, 1);
        assert_eq!(keep, [true, false, false]);
        assert_eq!((a, b), ([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0]));
    }

    fn problem() -> impl Strategy<Value = (Matrix, Vec<f32>, Kept)> {
        (1usize..6, 1usize..5, 1usize..5).prop_flat_map(|(filters, channels, taps)| {
            let shape = Matrix {
                filters,
                channels,
                taps,
            };
            let n = filters * channels * taps;
            // Few values, so that there are ties.
            let weights = prop::collection::vec((-8i8..8).prop_map(|v| f32::from(v) / 4.0), n);
            let kept = (0usize..5, 0..=n, 0..=n).prop_map(move |(kind, a, b)| match kind {
                0 => Kept::Filters(a % (filters + 1)),
                1 => Kept::Channels(a % (channels + 1)),
                2 => Kept::Columns(a % (channels * taps + 1)),
                3 => Kept::Elements(a),
                _ => Kept::FiltersThenColumns(a % (filters + 1), b % (channels * taps + 1)),
            });
            (Just(shape), weights, kept)
        })
    }

    proptest! {
        #[test]
        fn projecting_is_idempotent_keeps_the_count_and_never_lengthens((shape, weights, kept) in problem()) {
            let norm = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>();
            let mut once = weights.clone();
            let mask = project(&mut once, shape, kept);
            prop_assert!(norm(&once) <= norm(&weights));
            let mut twice = once.clone();
            project(&mut twice, shape, kept);
            prop_assert_eq!(&twice, &once);
            for (i, (z, w)) in once.iter().zip(&weights).enumerate() {
                let columns = shape.channels * shape.taps;
                prop_assert_eq!(*z, if mask.keeps(i / columns, i % columns) { *w } else { 0.0 });
            }
            let ones = |bits: &[bool]| bits.iter().filter(|b| **b).count();
            let (count, wanted) = match kept {
                Kept::Filters(n) => (ones(&mask.filters), n),
                Kept::Channels(n) => (ones(&mask.columns), n * shape.taps),
                Kept::Columns(n) => (ones(&mask.columns), n),
                Kept::Elements(n) => (ones(&mask.elements), n),
                Kept::FiltersThenColumns(a, b) => (ones(&mask.filters) + ones(&mask.columns), a + b),
            };
            prop_assert_eq!(count, wanted);
        }

        #[test]
        fn what_is_kept_is_no_smaller_than_what_is_dropped((shape, weights, kept) in problem()) {
            let columns = shape.channels * shape.taps;
            let mask = nearest(&weights, shape, kept);
            let square = |of: &dyn Fn(usize) -> bool| (0..weights.len()).filter(|&i| of(i)).map(|i| weights[i] * weights[i]).sum::<f32>();
            let parts: Vec<(f32, bool)> = match kept {
                Kept::Filters(_) | Kept::FiltersThenColumns(..) => (0..shape.filters).map(|f| (square(&|i| i / columns == f), mask.filters[f])).collect(),
                Kept::Channels(_) => (0..shape.channels).map(|q| (square(&|i| i % columns / shape.taps == q), mask.columns[q * shape.taps])).collect(),
                Kept::Columns(_) => (0..columns).map(|c| (square(&|i| i % columns == c), mask.columns[c])).collect(),
                Kept::Elements(_) => (0..weights.len()).map(|e| (square(&|i| i == e), mask.elements[e])).collect(),
            };
            let least = parts.iter().filter(|p| p.1).map(|p| p.0).fold(f32::INFINITY, f32::min);
            let most = parts.iter().filter(|p| !p.1).map(|p| p.0).fold(0.0, f32::max);
            prop_assert!(least >= most, "{parts:?}");
        }
    }
}
