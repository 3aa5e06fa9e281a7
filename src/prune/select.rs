//! Which weights a vector of densities keeps, and which densities a vector of thresholds means.

use super::saliency;
use super::sites::{Layer, Left, Sites, best};
use super::threshold::above;
use anyhow::{Context, Result};
use model::mask::LayerMask;
use model::{Masks, Weights};

impl Sites {
    /// The masks of a vector of densities, those of the start included: best scores first, exactly [`Sites::kept`] many.
    /// Filters go by the order of the last [`Sites::rank`], columns and single weights by `weights` in the rows that stay.
    ///
    /// A filter that is cut leaves its readers' columns unmasked, so that they can run as if it were absent;
    /// [`super::apply`] masks them too.
    ///
    /// # Errors
    /// An array that is missing.
    pub fn masks(&self, densities: &[f32], weights: &Weights) -> Result<Masks> {
        let counts = self.axis_counts(densities);
        let mut masks = Masks::new();
        for layer in &self.layers {
            let left = self.left(layer, &counts, densities);
            let mask = self.layer_mask(layer, left, weights)?;
            if mask.count() < mask.filters.len() * mask.columns.len() {
                masks.insert(self.spec.nodes[layer.node].name.clone(), mask);
            }
        }
        Ok(masks)
    }

    /// The masks of a vector of densities as they are counted: columns that read cut channels are masked, too.
    /// No weights are asked, so columns and single weights that are chosen by score stay.
    pub fn counted_masks(&self, densities: &[f32]) -> Masks {
        let counts = self.axis_counts(densities);
        let of = |layer: &Layer| {
            let left = self.left(layer, &counts, densities);
            let mask = LayerMask {
                columns: columns(layer, &left.channels),
                filters: left.rows,
                ..layer.mask.clone()
            };
            (self.spec.nodes[layer.node].name.clone(), mask)
        };
        let masks = self.layers.iter().map(of);
        masks
            .filter(|(_, mask)| mask.count() < mask.filters.len() * mask.columns.len())
            .collect()
    }

    /// The score of each channel of a filter site, by which [`Sites::masks`] chooses; empty for other sites.
    pub fn channel_scores(&self, site: usize) -> &[f32] {
        let axis = self.axes.iter().find(|axis| axis.site == Some(site));
        axis.map_or(&[], |axis| &axis.scores)
    }

    /// ADMM's Z: the weights, W + U, with all zeroed that these densities do not keep of *them*, and what was kept.
    /// For one dimension this is the nearest point (for a group: of all its layers together), for several a heuristic.
    ///
    /// # Errors
    /// An array that is missing.
    pub fn project(&self, densities: &[f32], weights: &mut Weights) -> Result<Masks> {
        let mut sites = self.clone();
        sites.scope.score = super::Score::L2;
        sites.rank(weights)?;
        let masks = sites.masks(densities, weights)?;
        for (name, mask) in &masks {
            let name = format!("{name}.weight");
            let array = weights.get_mut(&name).with_context(|| format!("{name} is missing"))?;
            mask.zero(&mut array.data);
        }
        Ok(masks)
    }

    /// Purification (arXiv 1907.03141): the densities at which a site loses what scores below τ · its mean, one τ a site.
    /// Means are over what the sites before it left; floors hold.
    ///
    /// # Errors
    /// An array that is missing.
    pub fn densities_above(&self, thresholds: &[f32], weights: &Weights) -> Result<Vec<f32>> {
        assert_eq!(thresholds.len(), self.list.len(), "one threshold a site");
        let mut densities = vec![1.0; self.list.len()];
        let share = |scores: Vec<f32>, site: usize| {
            let kept = above(&scores, thresholds[site]).iter().filter(|&&k| k).count();
            kept as f32 / scores.len().max(1) as f32
        };
        for axis in &self.axes {
            if let Some(site) = axis.site {
                densities[site] = share(select(&axis.scores, &axis.unmasked), site);
            }
        }
        let counts = self.axis_counts(&densities);
        let score = &self.scope.score;
        for layer in &self.layers {
            if let Some(site) = layer.channel {
                let left = self.left(layer, &counts, &densities);
                densities[site] = share(select(&layer.channel_scores, &left.channels), site);
            }
            if let Some(site) = layer.column {
                let left = self.left(layer, &counts, &densities);
                let scores = saliency::columns(&self.spec, weights, layer.node, Some(&left.rows), score)?;
                densities[site] = share(select(&scores, &columns(layer, &left.channels)), site);
            }
            if let Some(site) = layer.element {
                let left = self.left(layer, &counts, &densities);
                let scores = saliency::elements(&self.spec, weights, layer.node, score)?;
                let columns = self.layer_columns(layer, &left, weights)?;
                densities[site] = share(select(&scores, &elements(layer, &left, &columns)), site);
            }
        }
        Ok(densities)
    }

    fn layer_mask(&self, layer: &Layer, left: Left, weights: &Weights) -> Result<LayerMask> {
        let mut mask = layer.mask.clone();
        mask.columns = self.layer_columns(layer, &left, weights)?;
        let [n, kept] = left.weight_counts;
        if kept < n {
            let scores = saliency::elements(&self.spec, weights, layer.node, &self.scope.score)?;
            mask.elements = best(&scores, &elements(layer, &left, &mask.columns), kept);
        }
        mask.filters = left.rows;
        Ok(mask)
    }

    /// Which columns stay. Those of channels that are cut upstream are left alone where nothing else masks columns.
    fn layer_columns(&self, layer: &Layer, left: &Left, weights: &Weights) -> Result<Vec<bool>> {
        if layer.channel.is_none() && layer.column.is_none() {
            return Ok(layer.mask.columns.clone());
        }
        let kept = columns(layer, &left.channels);
        let [n, wanted] = left.column_counts;
        if wanted == n {
            return Ok(kept);
        }
        let scores = saliency::columns(&self.spec, weights, layer.node, Some(&left.rows), &self.scope.score)?;
        Ok(best(&scores, &kept, wanted))
    }
}

/// The single weights that are left to choose from.
fn elements(layer: &Layer, left: &Left, columns: &[bool]) -> Vec<bool> {
    let mut kept: Vec<bool> = layer.elements(&left.rows, &left.channels).collect();
    kept.iter_mut()
        .enumerate()
        .for_each(|(i, k)| *k &= columns[i % columns.len()]);
    kept
}

/// The columns of these input channels that are not masked at the start.
fn columns(layer: &Layer, channels: &[bool]) -> Vec<bool> {
    let kept = |(c, &kept): (usize, &bool)| kept && channels[c / layer.block];
    layer.mask.columns.iter().enumerate().map(kept).collect()
}

/// The scores of those that are chosen.
fn select(scores: &[f32], chosen: &[bool]) -> Vec<f32> {
    scores
        .iter()
        .zip(chosen)
        .filter(|(_, k)| **k)
        .map(|(s, _)| *s)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::scope::Scope;
    use super::*;
    use Dimension::{Channel, Column, Element, Filter};
    use event::{Dimension, Unit};
    use model::random_model;
    use model::spec::{NetSpec, Op};
    use model::toy::{conv, node};
    use proptest::prelude::*;

    /// Projects one convolution, `[filters, channels · kernel²]`, to these densities, and says what was kept.
    fn project(
        weights: &mut [f32],
        [filters, channels, kernel]: [usize; 3],
        densities: &[(Dimension, f32)],
    ) -> LayerMask {
        let spec = NetSpec {
            name: "one".into(),
            input: [channels, kernel, kernel],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(filters, kernel, 0, false), &[0]),
                node("flat", Op::Flatten, &[1]),
                node(
                    "last",
                    Op::Linear {
                        outputs: 1,
                        bias: false,
                    },
                    &[2],
                ),
            ],
        };
        let model = random_model(spec, 1).expect("builds");
        let dimensions: Vec<Dimension> = densities.iter().map(|(dimension, _)| *dimension).collect();
        let sites = Sites::new(&model, &Scope::new(&dimensions, 0.0, Unit::Weights)).expect("sites");
        let of = |s: &event::Site| {
            densities
                .iter()
                .find(|d| s.name == "a" && d.0 == s.dimension)
                .map_or(1.0, |d| d.1)
        };
        let densities: Vec<f32> = sites.list.iter().map(of).collect();
        let mut all = model.weights;
        all.get_mut("a.weight").expect("there").data.copy_from_slice(weights);
        let masks = sites.project(&densities, &mut all).expect("projects");
        weights.copy_from_slice(&all["a.weight"].data);
        let whole = LayerMask::whole(filters, channels * kernel * kernel);
        masks.get("a").cloned().unwrap_or(whole)
    }

    const M: [f32; 16] = [
        3.0, -1.0, 0.0, 2.0, 0.5, 0.5, -0.5, 0.5, -2.0, 1.0, 4.0, -1.0, 1.0, 0.0, -1.0, 0.0,
    ];
    const SHAPE: [usize; 3] = [4, 4, 1];

    fn squared(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
    }

    fn set(bits: &[bool]) -> Vec<usize> {
        (0..bits.len()).filter(|&i| bits[i]).collect()
    }

    #[test]
    fn each_dimension_keeps_its_largest_norms() {
        let all = vec![0, 1, 2, 3];
        let cases = [
            (vec![(Filter, 0.5)], vec![0, 2], all.clone(), 3.0),
            (vec![(Column, 0.5)], all.clone(), vec![0, 2], 7.5),
            (vec![(Channel, 0.5)], all, vec![0, 2], 7.5),
            (vec![(Filter, 0.5), (Column, 0.5)], vec![0, 2], vec![0, 2], 10.0),
        ];
        for (densities, filters, columns, distance) in cases {
            let mut z = M;
            let mask = project(&mut z, SHAPE, &densities);
            assert_eq!(
                (set(&mask.filters), set(&mask.columns)),
                (filters, columns),
                "{densities:?}"
            );
            assert_eq!(squared(&M, &z), distance, "{densities:?}");
        }
        let mut z = M;
        let mask = project(&mut z, SHAPE, &[(Element, 6.0 / 16.0)]);
        assert_eq!((mask.count(), squared(&M, &z)), (6, 4.0));
        assert_eq!(
            set(&mask.elements),
            [0, 1, 3, 8, 9, 10],
            "of equal weights the first two"
        );
    }

    #[test]
    fn filters_then_columns_is_a_heuristic() {
        let m = [-3.0, 0.0, 0.0, 2.0, 2.0, -3.0, -2.0, 2.0, -1.0, -1.0, -3.0, 1.0];
        let mut z = m;
        let mask = project(&mut z, [3, 4, 1], &[(Filter, 2.0 / 3.0), (Column, 0.5)]);
        assert_eq!((set(&mask.filters), set(&mask.columns)), (vec![0, 1], vec![0, 1]));
        assert_eq!(squared(&z, &[0.0; 12]), 22.0);
        let best: f32 = [5, 6, 9, 10].into_iter().map(|i: usize| m[i] * m[i]).sum();
        assert_eq!(best, 23.0, "filters 1 and 2 with columns 1 and 2 are the optimum");
    }

    #[test]
    fn one_admm_cycle_moves_as_computed_by_hand() {
        let (lr, rho, gradient) = (0.5f32, 0.1f32, 0.2f32);
        let mut z = M;
        project(&mut z, SHAPE, &[(Filter, 0.5)]);
        let w: Vec<f32> = M
            .iter()
            .zip(&z)
            .map(|(w, z)| w - lr * (gradient + rho * (w - z)))
            .collect();
        let expected = [
            2.9, -1.1, -0.1, 1.9, 0.375, 0.375, -0.575, 0.375, -2.1, 0.9, 3.9, -1.1, 0.85, -0.1, -1.05, -0.1,
        ];
        assert!(squared(&w, &expected) < 1e-10);
        let mut z = w.clone();
        project(&mut z, SHAPE, &[(Filter, 0.5)]);
        assert_eq!(z, [&w[..4], &[0.0; 4], &w[8..12], &[0.0; 4]].concat());
        assert!((squared(&w, &z).sqrt() - 1.611_676).abs() < 1e-5);
        // U¹ = W¹ − Z¹, so the penalty is (ρ/2)·‖2(W − Z)‖².
        assert!((rho / 2.0 * 4.0 * squared(&w, &z) - 0.5195).abs() < 1e-5);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn a_projection_is_nearest_idempotent_and_keeps_the_count(
            shape in (2usize..6, 2usize..5, 1usize..3),
            // Few values, so that there are ties.
            values in prop::collection::vec(-8i8..8, 100),
            kind in 0usize..4,
            percent in 0u32..=100,
        ) {
            let [filters, channels, kernel] = [shape.0, shape.1, shape.2];
            let (taps, columns) = (kernel * kernel, channels * kernel * kernel);
            let weights: Vec<f32> = values[..filters * columns].iter().map(|&v| f32::from(v) / 4.0).collect();
            let dimension = [Filter, Channel, Column, Element][kind];
            // Of each weight the part that stays or goes with it, and how many parts there are.
            let part = |i: usize| [i / columns, i % columns / taps, i % columns, i][kind];
            let parts = part(weights.len() - 1) + 1;
            let n = (parts * percent as usize / 100).max(1);
            let densities = [(dimension, n as f32 / parts as f32)];
            let mut z = weights.clone();
            let mask = project(&mut z, [filters, channels, kernel], &densities);
            let mut again = z.clone();
            project(&mut again, [filters, channels, kernel], &densities);
            prop_assert_eq!(&again, &z);

            let (mut squares, mut kept) = (vec![0.0; parts], vec![false; parts]);
            for (i, (&w, &z)) in weights.iter().zip(&z).enumerate() {
                let keeps = mask.keeps(i / columns, i % columns);
                prop_assert_eq!(z, if keeps { w } else { 0.0 });
                squares[part(i)] += w * w;
                kept[part(i)] = keeps;
            }
            prop_assert_eq!(set(&kept).len(), n);
            let of = |what: bool| squares.iter().zip(&kept).filter(move |(_, k)| **k == what).map(|(s, _)| *s);
            prop_assert!(of(true).fold(f32::INFINITY, f32::min) >= of(false).fold(0.0, f32::max), "{squares:?} {kept:?}");
        }
    }
}
