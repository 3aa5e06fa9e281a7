//! Which part of a layer lives: densities, static masks, and the active lists of one batch.
//! Knows nothing of how they are chosen.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kept share of channels, in whole percent 1–100, so that ⌈C·d⌉ is exact.
/// (In floating point 0.1 subtracted five times from 1 keeps 33 of 64 channels.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Density(u8);

impl Density {
    /// Everything is kept.
    pub const FULL: Self = Self(100);

    /// From whole percent.
    ///
    /// # Errors
    /// Outside 1–100.
    pub fn percent(percent: u32) -> Result<Self> {
        match u8::try_from(percent) {
            Ok(p @ 1..=100) => Ok(Self(p)),
            _ => bail!(
                "density {}, expected more than 0 and at most 1",
                f64::from(percent) / 100.0
            ),
        }
    }

    /// From a fraction such as 0.5, rounded to whole percent.
    ///
    /// # Errors
    /// Outside (0, 1] or not a number.
    pub fn fraction(d: f64) -> Result<Self> {
        if !(d > 0.0 && d <= 1.0) {
            bail!("density {d}, expected more than 0 and at most 1");
        }
        Ok(Self((d * 100.0).round().max(1.0) as u8))
    }

    /// Whole percent.
    pub fn as_percent(self) -> u8 {
        self.0
    }

    /// As a fraction in (0, 1].
    pub fn as_fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// k = ⌈C·d⌉, exactly.
    pub fn of(self, channels: usize) -> usize {
        (usize::from(self.0) * channels).div_ceil(100)
    }
}

impl Serialize for Density {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.as_fraction())
    }
}

impl<'de> Deserialize<'de> for Density {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::fraction(f64::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for Density {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_fraction())
    }
}

/// The static mask of one convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerMask {
    /// One entry a filter.
    pub filters: Vec<bool>,
    /// One entry a column (input channel, ky, kx).
    pub columns: Vec<bool>,
}

/// Static masks by convolution name. A layer without an entry is whole.
pub type Masks = BTreeMap<String, LayerMask>;

/// Which channels run, for each image of a batch: sorted indices, image after image.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Active {
    /// Channels of the layer.
    pub channels: usize,
    ends: Vec<u32>,
    indices: Vec<u32>,
}

impl Active {
    /// No image yet.
    pub fn new(channels: usize) -> Self {
        Self {
            channels,
            ends: Vec::new(),
            indices: Vec::new(),
        }
    }

    /// Adds the next image's channels, in rising order.
    pub fn push(&mut self, channels: impl IntoIterator<Item = u32>) {
        self.indices.extend(channels);
        self.ends.push(self.indices.len() as u32);
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.ends.len()
    }

    /// The active channels of image `n`, rising.
    pub fn image(&self, n: usize) -> &[u32] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] as usize };
        &self.indices[start..self.ends[n] as usize]
    }

    /// 1 where active, 0 elsewhere: `[images, channels]`.
    pub fn as_mask(&self) -> Vec<f32> {
        let mut mask = vec![0.0; self.images() * self.channels];
        for n in 0..self.images() {
            for &c in self.image(n) {
                mask[n * self.channels + c as usize] = 1.0;
            }
        }
        mask
    }

    /// Channels active in either, image by image: what a residual sum carries.
    pub fn union(&self, other: &Self) -> Self {
        let mut out = Self::new(self.channels);
        for n in 0..self.images() {
            let mut both: Vec<u32> = self.image(n).iter().chain(other.image(n)).copied().collect();
            both.sort_unstable();
            both.dedup();
            out.push(both);
        }
        out
    }
}

/// The k entries of `saliency` that are largest in absolute value, as rising indices (equation 2).
/// Of equal entries the one with the lower index wins, so exactly k are chosen.
pub fn winners(saliency: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..saliency.len() as u32).collect();
    if k < order.len() {
        // total_cmp puts NaN first, so a diverged predictor still gives k winners.
        let rank = |&a: &u32, &b: &u32| {
            saliency[b as usize]
                .abs()
                .total_cmp(&saliency[a as usize].abs())
                .then(a.cmp(&b))
        };
        if k > 0 {
            order.select_nth_unstable_by(k - 1, rank);
        }
        order.truncate(k);
        order.sort_unstable();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact() {
        let k = |c: usize| [90, 80, 70, 60, 50, 40, 30, 20, 10].map(|p| Density::percent(p).expect("valid").of(c));
        assert_eq!(k(64), [58, 52, 45, 39, 32, 26, 20, 13, 7]);
        assert_eq!(k(128), [116, 103, 90, 77, 64, 52, 39, 26, 13]);
        assert_eq!(k(192), [173, 154, 135, 116, 96, 77, 58, 39, 20]);
        let mut d = 1.0;
        for _ in 0..5 {
            d -= 0.1;
        }
        assert_eq!(Density::fraction(d).expect("valid").of(64), 32);
    }

    #[test]
    fn densities_outside_the_unit_interval_are_refused() {
        for d in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
            assert!(Density::fraction(d).is_err(), "{d}");
        }
        assert_eq!(Density::fraction(0.001).expect("valid").as_percent(), 1);
    }

    #[test]
    fn winners_are_exactly_k_and_ties_go_to_the_lower_index() {
        let cases: [(&[f32], usize, &[u32]); 6] = [
            (&[3.0, 1.0, 2.0, 0.0], 2, &[0, 2]),
            (&[5.0, 0.0, 0.0, 0.0], 2, &[0, 1]),
            (&[1.0, 1.0, 1.0, 1.0], 2, &[0, 1]),
            (&[-3.0, 1.0, 2.0], 1, &[0]),
            (&[1.0, 2.0], 2, &[0, 1]),
            (&[1.0, 2.0], 0, &[]),
        ];
        for (saliency, k, expected) in cases {
            assert_eq!(winners(saliency, k), expected, "{saliency:?}");
        }
    }

    #[test]
    fn a_sum_carries_the_union() {
        let (mut a, mut b) = (Active::new(4), Active::new(4));
        a.push([0, 2]);
        b.push([2, 3]);
        assert_eq!(a.union(&b).image(0), [0, 2, 3]);
        assert_eq!(a.as_mask(), [1.0, 0.0, 1.0, 0.0]);
    }
}
