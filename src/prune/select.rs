//! Which weights a vector of densities keeps, and which densities a vector of thresholds means.
//! Knows nothing of searches.

use super::project::zero;
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
    /// [`super::surgery::apply`] masks them too.
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
            let array = weights.get_mut(&format!("{name}.weight"));
            zero(
                &mut array.with_context(|| format!("{name}.weight is missing"))?.data,
                mask,
            );
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
                densities[site] = share(of(&axis.scores, &axis.alive), site);
            }
        }
        let counts = self.axis_counts(&densities);
        let score = &self.scope.score;
        for layer in &self.layers {
            if let Some(site) = layer.channel {
                let left = self.left(layer, &counts, &densities);
                densities[site] = share(of(&layer.channel_scores, &left.channels), site);
            }
            if let Some(site) = layer.column {
                let left = self.left(layer, &counts, &densities);
                let scores = saliency::columns(&self.spec, weights, layer.node, Some(&left.rows), score)?;
                densities[site] = share(of(&scores, &columns(layer, &left.channels)), site);
            }
            if let Some(site) = layer.element {
                let left = self.left(layer, &counts, &densities);
                let scores = saliency::elements(&self.spec, weights, layer.node, score)?;
                let columns = self.layer_columns(layer, &left, weights)?;
                densities[site] = share(of(&scores, &elements(layer, &left, &columns)), site);
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
fn of(scores: &[f32], chosen: &[bool]) -> Vec<f32> {
    scores
        .iter()
        .zip(chosen)
        .filter(|(_, k)| **k)
        .map(|(s, _)| *s)
        .collect()
}
