//! What an axis runs from and to, and its ticks.
//! Knows nothing of drawing.

use super::chart::ChartAxis;

/// Values at the two ends, with a margin; names run from half before the first to half after the last.
pub(crate) fn range(axis: &ChartAxis, values: impl Iterator<Item = [f64; 2]>, margin: f64) -> [f64; 2] {
    if !axis.names.is_empty() {
        let last = axis.names.len() as f64 - 0.5;
        return if axis.is_downward { [last, -0.5] } else { [-0.5, last] };
    }
    let fixed = axis.include.iter().map(|&v| [v, v]);
    let [mut low, mut high] = values
        .chain(fixed)
        .filter(|v| v.iter().all(|v| v.is_finite()))
        .fold([f64::MAX, f64::MIN], |[l, h], [a, b]| [l.min(a), h.max(b)]);
    if low > high {
        return [0.0, 1.0];
    }
    let [least, most] = axis.within.unwrap_or([f64::MIN, f64::MAX]);
    // What is measured beyond is seen.
    let [least, most] = [least.min(low), most.max(high)];
    if high - low < 1e-12 * high.abs().max(1.0) {
        (low, high) = (low - 0.5, high + 0.5);
    }
    let pad = (high - low) * margin;
    // Zero is a wall where it is wanted.
    let low_end = if axis.include.contains(&0.0) && low == 0.0 {
        0.0
    } else {
        low - pad
    };
    [low_end.max(least), (high + pad).min(most)]
}

/// At most so many marks at 1, 2 or 5 times a power of ten, with their numbers.
pub(crate) fn ticks([low, high]: [f64; 2], most: f64) -> Vec<(f64, String)> {
    let least = (high - low) / most.max(1.0);
    if !(least.is_finite() && least > 0.0) {
        return Vec::new();
    }
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|&s| s >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    let largest = (first.unsigned_abs().max(last.unsigned_abs())) as f64 * step;
    let values = (first..=last).map(|i| i as f64 * step);
    values.map(|v| (v, number(v, step, largest))).collect()
}

/// A tick's number; with an exponent where it would be long without one.
fn number(v: f64, step: f64, largest: f64) -> String {
    let places = step.log10().floor();
    if v == 0.0 {
        return "0".into();
    }
    if largest < 1e6 && places >= -5.0 {
        return format!("{v:.*}", -places.min(0.0) as usize);
    }
    // As many digits as tell neighbors apart.
    let digits = (largest.log10().floor() - places).clamp(0.0, 15.0) as usize;
    let text = format!("{v:.digits$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => {
            format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(range: [f64; 2], most: f64) -> String {
        let all: Vec<String> = ticks(range, most).into_iter().map(|t| t.1).collect();
        all.join(" ")
    }

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        assert_eq!(words([0.0, 33.0], 7.0), "0 5 10 15 20 25 30");
        assert_eq!(words([0.912, 0.934], 4.0), "0.92 0.93");
        assert_eq!(words([-0.3, 0.31], 3.0), "0");
        assert_eq!(words([0.0, 0.6], 3.0), "0 0.2 0.4 0.6");
        assert_eq!(words([5.0, 5.0], 3.0), "");
    }

    #[test]
    fn numbers_of_any_size_stay_short() {
        assert_eq!(words([0.0, 1.02e7], 6.0), "0 2e6 4e6 6e6 8e6 1e7");
        assert_eq!(words([0.0, 3.4e38], 4.0), "0 1e38 2e38 3e38");
        assert_eq!(words([1_234_560.0, 1_234_600.0], 2.0), "1.23456e6 1.23458e6 1.2346e6");
        assert_eq!(words([0.0, 3e-9], 3.0), "0 1e-9 2e-9 3e-9");
        assert_eq!(words([f64::MIN, f64::MAX], 3.0), "");
        for range in [[0.0, 1e300], [-1e12, 1e12], [1e15, 1e15 + 8.0], [0.0, 1e-300]] {
            let all = ticks(range, 5.0);
            assert!(all.len() <= 6 && all.iter().all(|t| t.1.len() < 21), "{all:?}");
        }
    }

    #[test]
    fn an_axis_ends_where_its_values_must() {
        let accuracy = ChartAxis::new("accuracy, %").within([0.0, 100.0]);
        let of = |low: f64, high: f64| range(&accuracy, [[low, low], [high, high]].into_iter(), 0.05);
        assert_eq!(of(20.0, 100.0), [16.0, 100.0]);
        assert_eq!(of(0.0, 100.0), [0.0, 100.0]);
        assert_eq!(of(40.0, 60.0), [39.0, 61.0]);
        // One value has an axis, too.
        assert_eq!(of(100.0, 100.0), [99.45, 100.0]);
        assert_eq!(of(0.0, 0.0), [0.0, 0.55]);
        assert_eq!(of(50.0, 50.0), [49.45, 50.55]);
        // What is measured beyond is seen.
        assert_eq!(of(40.0, 101.0)[1], 101.0);
    }
}
