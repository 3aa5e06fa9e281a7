//! The widths that a layer may be cut to. Vector code runs slowly on widths between its multiples.
//! Knows nothing of networks.
//!
//! With a multiple of m, a layer of n channels keeps all of them or a multiple of m, at least one. A layer of fewer than m
//! channels keeps any number.

/// What the widths of so many channels are multiples of.
pub(crate) fn step(channels: usize, multiple: usize) -> usize {
    if channels < multiple { 1 } else { multiple.max(1) }
}

/// The width nearest to `wanted`, of two that are as near the larger, but no less than that for `least`.
pub(crate) fn nearest(wanted: f64, least: usize, channels: usize, multiple: usize) -> usize {
    let step = step(channels, multiple);
    let below = (wanted / step as f64).floor() as usize * step;
    let above = (below + step).min(channels);
    let chosen = if wanted - (below as f64) < above as f64 - wanted {
        below
    } else {
        above
    };
    chosen.max(at_least(least.max(1), channels, multiple)).min(channels)
}

/// The smallest width that is no less than `n`.
pub(crate) fn at_least(n: usize, channels: usize, multiple: usize) -> usize {
    n.next_multiple_of(step(channels, multiple)).min(channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn widths_are_multiples_or_whole() {
        let of_45 = |wanted| nearest(wanted, 1, 45, 8);
        assert_eq!(
            [0.0, 3.0, 11.9, 12.0, 39.0, 42.4, 42.5, 45.0].map(of_45),
            [8, 8, 8, 16, 40, 40, 45, 45]
        );
        // A floor is rounded up, and a narrow layer takes any width.
        assert_eq!(nearest(3.0, 9, 45, 8), 16);
        assert_eq!([1.4, 2.5, 6.0].map(|wanted| nearest(wanted, 1, 7, 8)), [1, 3, 6]);
        assert_eq!([0, 1, 40, 41].map(|n| at_least(n, 45, 8)), [0, 8, 40, 45]);
    }

    proptest! {
        #[test]
        fn a_multiple_of_one_is_plain_rounding(share in 0.0f64..=1.0, channels in 1usize..300, least in 1usize..20) {
            let wanted = share * channels as f64;
            prop_assert_eq!(nearest(wanted, least, channels, 1), (wanted.round() as usize).max(least).min(channels));
        }

        #[test]
        fn more_is_never_less(share in 0.0f64..=1.0, more in 0.0f64..=1.0, channels in 1usize..300, multiple in 1usize..40) {
            let at = |share: f64| nearest(share * channels as f64, 1, channels, multiple);
            prop_assert!(at(share.min(more)) <= at(share.max(more)));
            let n = at(share);
            prop_assert!(n == channels || n.is_multiple_of(step(channels, multiple)));
        }
    }
}
