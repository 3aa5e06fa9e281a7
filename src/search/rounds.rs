//! How one hard target is reached in rounds of softer ones, each starting from what the last one left.
//! Knows nothing of what is pruned.

/// Rising rates ×2, ×4, ×8, … and at last `rate` itself (AutoCompress); none if nothing, or no number, is asked for.
pub fn doublings(rate: f64) -> Vec<f64> {
    if !rate.is_finite() || rate <= 1.0 {
        return Vec::new();
    }
    let mut rates = Vec::new();
    let mut next = 2.0;
    while next < rate {
        rates.push(next);
        next *= 2.0;
    }
    rates.push(rate);
    rates
}

/// The sparsity of each of `rounds` equal rounds, applied to what the one before left: 1 − (1 − s)^(1/N).
pub fn sparsity_each(sparsity: f64, rounds: u32) -> f64 {
    1.0 - (1.0 - sparsity).powf(1.0 / f64::from(rounds.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_double_until_the_last() {
        assert_eq!(doublings(52.2), [2.0, 4.0, 8.0, 16.0, 32.0, 52.2]);
        assert_eq!(doublings(8.0), [2.0, 4.0, 8.0]);
        assert_eq!(doublings(1.5), [1.5]);
        for rate in [1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert!(doublings(rate).is_empty());
        }
    }

    #[test]
    fn equal_rounds_add_up_to_the_whole() {
        let each = sparsity_each(0.8, 3);
        assert!((each - 0.415_196).abs() < 1e-6);
        for (round, total) in [(1, 0.415_196), (2, 0.658_005), (3, 0.8)] {
            assert!((1.0 - (1.0 - each).powi(round) - total).abs() < 1e-6);
        }
        assert!((sparsity_each(0.9, 3) - 0.535_841).abs() < 1e-6);
    }
}
