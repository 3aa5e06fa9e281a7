//! Tests on pairs: whether two methods differ over the same seeds, and over the same images.
//! Knows nothing of methods.

use serde::Serialize;

/// Differences of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedT {
    /// Pairs.
    pub n: usize,
    /// Mean difference.
    pub mean: f64,
    /// Two-sided p-value of Student's t with n − 1 degrees of freedom; none of one pair, or where all differ by the same.
    pub p: Option<f64>,
}

/// A paired t-test; none without pairs.
pub fn paired_t(differences: &[f64]) -> Option<PairedT> {
    let n = differences.len();
    let [mean, sd] = mean_and_sd(differences)?;
    let p = (n > 1 && sd > 0.0).then(|| {
        let t = mean / (sd / (n as f64).sqrt());
        let freedom = n as f64 - 1.0;
        beta_share(freedom / (freedom + t * t), freedom / 2.0, 0.5)
    });
    Some(PairedT { n, mean, p })
}

/// Mean and standard deviation (n − 1; 0 of one value); none without values.
pub fn mean_and_sd(values: &[f64]) -> Option<[f64; 2]> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
    (!values.is_empty()).then(|| [mean, (squares / (n - 1.0).max(1.0)).sqrt()])
}

/// McNemar's exact test: the two-sided p-value that a fair coin decides which of two is right where only one is. `only` says how
/// often each alone is right.
pub fn mcnemar(only: [u64; 2]) -> f64 {
    let (n, fewer) = (only[0] + only[1], only[0].min(only[1]));
    let chance = |k: u64| {
        let ways = ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0);
        (ways - n as f64 * std::f64::consts::LN_2).exp()
    };
    (2.0 * (0..=fewer).map(chance).sum::<f64>()).min(1.0)
}

/// The regularized incomplete beta function I_x(a, b), by its continued fraction (Lentz's method).
fn beta_share(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on this side.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_share(1.0 - x, b, a);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    let tiny = 1e-300;
    let guarded = |v: f64| if v.abs() < tiny { tiny } else { v };
    let (mut c, mut d) = (1.0, 1.0 / guarded(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..300 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / guarded(1.0 + term * d);
            c = guarded(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() < 1e-15 * fraction.abs() {
            break;
        }
    }
    front.exp() * fraction / a
}

/// ln Γ(x) for x > 0, by Lanczos' approximation.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 6] = [
        76.180_091_729_471_46,
        -86.505_320_329_416_77,
        24.014_098_240_830_91,
        -1.231_739_572_450_155,
        0.120_865_097_386_617_9e-2,
        -0.539_523_938_495_3e-5,
    ];
    let series: f64 = TERMS.iter().zip(1..).map(|(t, i)| t / (x + f64::from(i))).sum();
    let base = x + 5.5;
    (x + 0.5) * base.ln() - base + (2.506_628_274_631_000_5 * (1.000_000_000_190_015 + series) / x).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_tables() {
        // Two-sided 5 % points of Student's t: 12.706 (1), 4.303 (2), 2.776 (4), 2.228 (10).
        for (t, freedom) in [(12.706, 1.0), (4.303, 2.0), (2.776, 4.0), (2.228, 10.0)] {
            let p = beta_share(freedom / (freedom + t * t), freedom / 2.0, 0.5);
            assert!((p - 0.05).abs() < 1e-4, "{freedom}: {p}");
        }
        // Mean 2, standard deviation 1, t = 2·√3, two degrees of freedom.
        let test = paired_t(&[1.0, 2.0, 3.0]).expect("pairs");
        assert!(
            (test.mean - 2.0).abs() < 1e-12 && (test.p.expect("p") - 0.074_18).abs() < 1e-4,
            "{test:?}"
        );
        assert_eq!(paired_t(&[0.5]).expect("a pair").p, None);
        assert_eq!((paired_t(&[]), paired_t(&[1.0, 1.0]).expect("pairs").p), (None, None));
    }

    #[test]
    fn only_images_on_which_they_differ_count() {
        // 2 · (1 + 10) / 2¹⁰
        assert!((mcnemar([1, 9]) - 22.0 / 1024.0).abs() < 1e-9);
        assert_eq!(mcnemar([9, 1]), mcnemar([1, 9]));
        assert_eq!((mcnemar([0, 0]), mcnemar([7, 7])), (1.0, 1.0));
        // Near the normal approximation: z = 40/√400 = 2.
        assert!((mcnemar([180, 220]) - 0.0512).abs() < 2e-3, "{}", mcnemar([180, 220]));
    }
}
