//! Numbers as people read them: few digits, a unit after a space.
//! Knows nothing of what is counted.

/// A count with a metric prefix, three digits: `21.3 M`.
pub fn count(n: u64) -> String {
    scaled(n as f64, 1000.0, &["", " k", " M", " G", " T"])
}

/// Bytes with a metric prefix: `412 kB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1000.0, &[" B", " kB", " MB", " GB", " TB"])
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    while value >= base * 0.9995 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", units[unit])
}

/// A whole number with thin groups: `10 000`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A share as percent with one decimal: `91.4 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A number in as few digits as it has, at most four after the point: `0.5`, `20`.
pub fn short(value: f64) -> String {
    format!("{}", (value * 1e4).round() / 1e4)
}

/// A difference of shares in points: `−0.3 points`.
pub fn points(share: f64) -> String {
    match share * 100.0 {
        p if p.abs() < 0.05 => "±0.0 points".to_owned(),
        p if p < 0.0 => format!("−{:.1} points", -p),
        p => format!("+{p:.1} points"),
    }
}

/// What shares of images are called: of images without labels they say how often a network agrees with its teacher.
pub fn quality(n_agreement: usize, of: usize) -> &'static str {
    match n_agreement {
        0 => "accuracy",
        n if n == of => "agreement",
        _ => "accuracy or agreement",
    }
}

/// With a capital letter.
pub fn capital(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// A share as whole percent, "under 1 %" where that would be zero.
pub fn whole_percent(share: f64) -> String {
    if share > 0.0 && share < 0.005 {
        return "under 1 %".into();
    }
    format!("{:.0} %", share * 100.0)
}

/// At most so many characters; the last one says that some were left out.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The last so many characters: the end of a layer's name says more than its beginning.
pub fn tail(text: &str, most: usize) -> String {
    let n = text.chars().count();
    if n <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(n - most.saturating_sub(1)).collect();
    format!("…{kept}")
}

/// Milliseconds, three digits: `1.92 ms`.
pub fn millis(ms: f64) -> String {
    let decimals = match ms {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{ms:.decimals$} ms")
}

/// A small number with three digits: `0.0123`, or `1.2e-5` where that would be mostly zeros.
pub fn small(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.0}");
    }
    // The exponent after rounding, so that 0.00999… is 0.0100.
    let rounded = format!("{value:.2e}");
    let exponent: i32 = rounded.split('e').nth(1).and_then(|e| e.parse().ok()).unwrap_or(0);
    match exponent {
        -3..=2 => format!("{value:.*}", (2 - exponent) as usize),
        e if e > 2 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    }
}

/// A loss with four decimals; one that has run away by its size: `3.1e14`.
pub fn loss(value: f32) -> String {
    if value.abs() >= 1e5 && value.is_finite() {
        format!("{value:.1e}")
    } else {
        format!("{value:.4}")
    }
}

/// A duration as a clock shows it: `2:05`, `1:02:05`.
pub fn clock(seconds: f64) -> String {
    let all = seconds.max(0.0).round() as u64;
    let (h, m, s) = (all / 3600, all / 60 % 60, all % 60);
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_beyond_reason_is_short() {
        let texts = [2.25, 3.087_456e14, f32::NAN, f32::INFINITY].map(loss);
        assert_eq!(texts, ["2.2500", "3.1e14", "NaN", "inf"]);
    }

    #[test]
    fn numbers_keep_three_digits_and_never_round_into_a_longer_one() {
        let counts = [0, 999, 1000, 9_994, 9_995, 21_300_000, 174_301_824, 999_600].map(count);
        assert_eq!(
            counts,
            ["0", "999", "1.00 k", "9.99 k", "10.0 k", "21.3 M", "174 M", "1.00 M"]
        );
        assert_eq!(
            [0.0, 0.000_012_3, 0.012_34, 0.009_999_99, 1.0, 12.34, 1234.5].map(small),
            ["0", "1.2e-5", "0.0123", "0.0100", "1.00", "12.3", "1234"]
        );
        assert_eq!([512, 412_345].map(bytes), ["512 B", "412 kB"]);
        assert_eq!([1.924, 12.3456, 123.4].map(millis), ["1.92 ms", "12.3 ms", "123 ms"]);
    }

    #[test]
    fn times_and_groups() {
        assert_eq!([5.4, 125.0, 3725.0].map(clock), ["0:05", "2:05", "1:02:05"]);
        assert_eq!([7, 5000, 1_234_567].map(grouped), ["7", "5 000", "1 234 567"]);
        assert_eq!([0.001, 0.314, 1.0].map(whole_percent), ["under 1 %", "31 %", "100 %"]);
        assert_eq!(percent(0.9137), "91.4 %");
        assert_eq!(
            [tail("layer1.0.conv1", 8), tail("conv1", 8)],
            ["….0.conv1", "conv1"].map(|t| t.replace("….", "…"))
        );
        assert_eq!([cut("Ankle boot", 9), cut("Bag", 9)], ["Ankle bo…", "Bag"]);
    }
}
