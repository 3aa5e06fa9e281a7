//! Which part of a layer is kept: densities, static masks, and the channels that are active for each image of a batch.

use super::spec::{NetSpec, Op};
use super::steps::{Step, steps};
use anyhow::{Result, bail, ensure};
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

    /// A share rounded down to whole percent, and at least 1 %: a budget that the share met stays met.
    pub fn floor(share: f32) -> Self {
        // A thousandth of a percent makes up for the rounding of float32.
        Self(((share * 100.0 + 1e-3).floor() as u8).clamp(1, 100))
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

impl std::str::FromStr for Density {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(number) => Self::fraction(number),
            Err(_) => bail!("density {text}, expected a number more than 0 and at most 1"),
        }
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

/// The static mask of one convolution or linear layer. It keeps filters × columns, less what `elements` leaves out.
///
/// A masked filter's channel is dead: its row, its bias, its norm's γ and β, and its gate's column are zero ([`kept_entries`]),
/// so the channel is zero everywhere and nothing downstream needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerMask {
    /// One entry a filter.
    pub filters: Vec<bool>,
    /// One entry a column (input channel, ky, kx).
    pub columns: Vec<bool>,
    /// One entry a weight, for non-structured pruning; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elements: Vec<bool>,
}

impl LayerMask {
    /// Nothing is masked.
    pub fn whole(filters: usize, columns: usize) -> Self {
        Self {
            filters: vec![true; filters],
            columns: vec![true; columns],
            elements: Vec::new(),
        }
    }

    /// Checks that it fits a layer of this size.
    ///
    /// # Errors
    /// One line naming the layer, what the mask has and what was expected.
    pub fn check(&self, layer: &str, [filters, columns]: [usize; 2]) -> Result<()> {
        ensure!(
            self.filters.len() == filters && self.columns.len() == columns,
            "the mask of {layer} is {}×{}, expected {filters}×{columns}",
            self.filters.len(),
            self.columns.len()
        );
        ensure!(
            self.elements.is_empty() || self.elements.len() == filters * columns,
            "the mask of {layer} has {} elements, expected {}",
            self.elements.len(),
            filters * columns
        );
        Ok(())
    }

    /// Whether weight `column` of `filter` is kept.
    pub fn keeps(&self, filter: usize, column: usize) -> bool {
        self.filters[filter]
            && self.columns[column]
            && (self.elements.is_empty() || self.elements[filter * self.columns.len() + column])
    }

    /// Zeroes what the mask leaves out of `weights`, `[filters, columns]`.
    pub fn zero(&self, weights: &mut [f32]) {
        for (f, row) in weights.chunks_exact_mut(self.columns.len().max(1)).enumerate() {
            let masked = row.iter_mut().enumerate().filter(|(c, _)| !self.keeps(f, *c));
            masked.for_each(|(_, w)| *w = 0.0);
        }
    }

    /// How many weights are kept.
    pub fn count(&self) -> usize {
        let ones = |bits: &[bool]| bits.iter().filter(|&&b| b).count();
        if self.elements.is_empty() {
            return ones(&self.filters) * ones(&self.columns);
        }
        let n = self.columns.len();
        (0..self.elements.len()).filter(|i| self.keeps(i / n, i % n)).count()
    }
}

/// Static masks by convolution or linear layer name. A layer without an entry is whole.
pub type Masks = BTreeMap<String, LayerMask>;

/// What both keep.
pub fn intersection(a: &Masks, b: &Masks) -> Masks {
    let mut out = a.clone();
    for (name, other) in b {
        let Some(mask) = out.get_mut(name) else {
            out.insert(name.clone(), other.clone());
            continue;
        };
        let and = |a: &mut Vec<bool>, b: &[bool]| a.iter_mut().zip(b).for_each(|(a, b)| *a &= b);
        and(&mut mask.filters, &other.filters);
        and(&mut mask.columns, &other.columns);
        if mask.elements.is_empty() {
            mask.elements.clone_from(&other.elements);
        } else {
            and(&mut mask.elements, &other.elements);
        }
    }
    out
}

/// For every array that masks touch, which entries are kept: weights, and of dead channels also bias, γ, β, φ and ρ.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn kept_entries(spec: &NetSpec, masks: &Masks) -> Result<BTreeMap<String, Vec<bool>>> {
    let shapes = spec.shapes()?;
    let mut out = BTreeMap::new();
    let mut layer = |node: usize, bias: bool| {
        let name = &spec.nodes[node].name;
        let mask = masks.get(name)?;
        let columns = mask.columns.len();
        let weights = (0..mask.filters.len() * columns).map(|i| mask.keeps(i / columns, i % columns));
        out.insert(format!("{name}.weight"), weights.collect::<Vec<bool>>());
        if bias {
            out.insert(format!("{name}.bias"), mask.filters.clone());
        }
        Some(mask)
    };
    let mut channels: Vec<(String, Vec<bool>)> = Vec::new();
    for step in steps(spec) {
        match step {
            Step::Node(i) => {
                if let Op::Linear { bias, .. } = spec.nodes[i].op {
                    layer(i, bias);
                }
            }
            Step::Conv(step) => {
                let bias = matches!(spec.nodes[step.conv].op, Op::Conv { bias: true, .. });
                let Some(mask) = layer(step.conv, bias) else { continue };
                let mut put = |node: usize, what: &str, kept: Vec<bool>| {
                    channels.push((format!("{}.{what}", spec.nodes[node].name), kept));
                };
                if let Some(norm) = step
                    .norm
                    .filter(|&n| matches!(spec.nodes[n].op, Op::Norm { affine: true, .. }))
                {
                    put(norm, "gamma", mask.filters.clone());
                    put(norm, "beta", mask.filters.clone());
                }
                if let Some((gate, _)) = step.gate {
                    put(gate, "rho", mask.filters.clone());
                    put(gate, "beta", mask.filters.clone());
                    put(gate, "phi", mask.filters.repeat(shapes[step.input][0]));
                }
            }
        }
    }
    out.extend(channels);
    Ok(out)
}

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
    fn a_dead_filter_takes_its_norm_and_gate_with_it() {
        let plain = super::super::zoo::build("m-cifarnet", [3, 12, 12], 3, 0.05).expect("builds");
        let spec = super::super::zoo::gated(&plain, super::super::spec::Shift::Eq1);
        let mut mask = LayerMask::whole(3, 27);
        mask.filters[1] = false;
        mask.columns[4] = false;
        let masks = Masks::from([("conv0".to_owned(), mask)]);
        let kept = kept_entries(&spec, &masks).expect("shapes");
        let dead = |name: &str| kept[name].iter().filter(|&&b| !b).count();
        assert_eq!(masks["conv0"].count(), 2 * 26);
        assert_eq!(dead("conv0.weight"), 27 + 2);
        assert_eq!(
            [dead("conv0.gate.rho"), dead("conv0.gate.beta"), dead("conv0.gate.phi")],
            [1, 1, 3]
        );
        assert!(!kept.contains_key("conv0.norm.gamma"), "under a gate a norm has none");
        let plain = kept_entries(&plain, &masks).expect("shapes");
        assert_eq!(
            (&plain["conv0.norm.gamma"], &plain["conv0.norm.beta"]),
            (&vec![true, false, true], &vec![true, false, true])
        );
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
