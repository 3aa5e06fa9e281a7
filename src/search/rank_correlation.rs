//! Spearman's rank correlation: whether one score puts candidates in the order of another.
//! Knows nothing of what is scored.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Candidates drawn anew, with repetition, for the interval.
const RESAMPLES: usize = 2000;

/// A rank correlation with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankCorrelation {
    /// ρ, from −1 to 1; 0 where one of the scores is the same for all.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl RankCorrelation {
    /// Of two scores of the same candidates. The interval is that of the 2.5 and 97.5 percentiles over candidates drawn anew;
    /// draws in which a score is the same for all count as 0.
    ///
    /// # Panics
    /// Unless both have the same length.
    pub fn new(a: &[f32], b: &[f32], seed: u64) -> Self {
        assert_eq!(a.len(), b.len(), "two scores a candidate");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draws: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let drawn = (0..a.len()).map(|_| rng.random_range(0..a.len()));
                let (a, b): (Vec<f32>, Vec<f32>) = drawn.map(|i| (a[i], b[i])).unzip();
                spearman(&a, &b)
            })
            .collect();
        draws.sort_by(f64::total_cmp);
        let at = |share: f64| draws[(share * (RESAMPLES - 1) as f64).round() as usize];
        Self {
            value: spearman(a, b),
            low: at(0.025),
            high: at(0.975),
        }
    }
}

impl fmt::Display for RankCorrelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} (95 %: {:.2} to {:.2})", self.value, self.low, self.high)
    }
}

/// The correlation of ranks; equal values share the mean of their ranks.
fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    if spread > 0.0 { product(&a, &b) / spread } else { 0.0 }
}

/// The place of each value, from 0.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let first = order.iter().position(|i| *i == equal[0]).unwrap_or(0);
        let mean = first as f64 + (equal.len() as f64 - 1.0) / 2.0;
        equal.iter().for_each(|&i| ranks[i] = mean);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_alone_counts_and_equal_values_share_ranks() {
        let rising = [0.1, 0.2, 0.3, 0.9];
        assert_eq!(spearman(&rising, &[1.0, 4.0, 9.0, 16.0]), 1.0);
        assert_eq!(spearman(&rising, &[4.0, 3.0, 2.0, 1.0]), -1.0);
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 7.0]), [1.5, 0.0, 1.5, 3.0]);
        // Ranks 0 1 2 3 4 and 1 0 3 2 4: 1 − 6·4 / (5·24).
        let swapped = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]);
        assert!((swapped - 0.8).abs() < 1e-12, "{swapped}");
        assert_eq!(spearman(&rising, &[0.5; 4]), 0.0);
    }

    #[test]
    fn the_interval_holds_the_value_and_narrows_with_more_candidates() {
        let scores = |n: usize| -> (Vec<f32>, Vec<f32>) {
            let noisy = |i: usize| i as f32 + 0.3 * n as f32 * ((i * 37 % 11) as f32 / 11.0);
            ((0..n).map(|i| i as f32).collect(), (0..n).map(noisy).collect())
        };
        let of = |n: usize| {
            let (a, b) = scores(n);
            RankCorrelation::new(&a, &b, 3)
        };
        let [few, many] = [12, 200].map(of);
        for c in [few, many] {
            assert!(
                c.low <= c.value && c.value <= c.high && c.low >= -1.0 && c.high <= 1.0,
                "{c}"
            );
        }
        assert!(many.high - many.low < 0.5 * (few.high - few.low), "{few} {many}");
        assert_eq!(of(12), few, "the seed decides it");
    }
}
