//! What a target leaves of a model before anything is trained: which channels go, by a score and by how the cut is spread over
//! layers. Searches choose densities; here one number does. Knows nothing of images.

use anyhow::Result;
use event::{Dimension, Unit};
use model::{Checkpoint, Masks};
use prune::{Scope, Score, Sites};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Least share of a layer that stays.
pub const FLOOR: f32 = 0.05;
/// A threshold of so many times a layer's mean score leaves nothing but floors.
const HIGHEST_THRESHOLD: f64 = 32.0;
/// Halvings of the interval that holds the density or threshold which meets the target.
const HALVINGS: usize = 28;

/// How a cut is spread over layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Every layer keeps the same share.
    #[default]
    Uniform,
    /// One threshold for all layers: on scores as shares of their layer's mean, or on |γ| itself.
    Threshold,
}

/// Which channels go first: those of the lowest score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreName {
    /// Σ|w|.
    L1,
    /// ‖w‖₂.
    #[default]
    L2,
    /// |γ| of the norms on the channels.
    NormScale,
}

impl ScoreName {
    fn score(self) -> Score {
        match self {
            Self::L1 => Score::L1,
            Self::L2 => Score::L2,
            Self::NormScale => Score::NormScale,
        }
    }
}

/// A cut: how deep, how spread, by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pruning {
    /// What is counted: weights or MACs.
    pub unit: Unit,
    /// How many times less than the open model.
    pub times: f64,
    /// How it is spread over layers.
    pub spread: Spread,
    /// Which channels go first.
    pub score: ScoreName,
    /// What layers keep a multiple of, as vector code runs fast on; 1 takes any number.
    pub multiple: usize,
    /// Layers that are left alone, each by the first layer of its group.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held: BTreeSet<String>,
}

impl Default for Pruning {
    fn default() -> Self {
        Self {
            unit: Unit::Macs,
            times: 1.0,
            spread: Spread::default(),
            score: ScoreName::default(),
            multiple: 8,
            held: BTreeSet::new(),
        }
    }
}

impl Pruning {
    /// Whether two differ in nothing but how deep they go.
    pub fn is_like(&self, other: &Self) -> bool {
        let other = Self {
            times: self.times,
            ..other.clone()
        };
        *self == other
    }
}

/// A group of channels that can be cut, and what a cut leaves of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrunedGroup {
    /// The first layer of the group.
    pub name: String,
    /// Other layers that lose the same channels.
    pub tied: Vec<String>,
    /// The score of each channel.
    pub scores: Vec<f32>,
    /// Whether each channel stays.
    pub kept: Vec<bool>,
}

impl PrunedGroup {
    /// Whether this layer is of the group.
    pub fn has(&self, layer: &str) -> bool {
        self.name == layer || self.tied.iter().any(|t| t == layer)
    }

    /// Channels that stay.
    pub fn n_kept(&self) -> usize {
        self.kept.iter().filter(|&&k| k).count()
    }
}

/// What a cut leaves, counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PruningPlan {
    /// In network order.
    pub groups: Arc<[PrunedGroup]>,
    /// How many times less it is than the open model, in the unit that was asked for. Floors and held layers may keep it from
    /// the target.
    pub times: f64,
    /// The most that floors and held layers allow.
    pub most_times: f64,
    /// MACs per image, gates at density 1.
    pub macs: u64,
    /// Trainable numbers.
    pub params: u64,
}

/// A plan with the masks that follow from it.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) plan: Arc<PruningPlan>,
    /// For the engine.
    pub(crate) masks: Arc<Masks>,
    /// For counting.
    pub(crate) counted: Arc<Masks>,
}

/// Plans cuts of one model. Scores are computed once each.
#[derive(Default)]
pub(crate) struct Planner {
    ranked: Option<((ScoreName, usize), Sites)>,
}

impl Planner {
    /// What is left of the model.
    ///
    /// # Errors
    /// A network with nothing to cut, or without the scores.
    pub(crate) fn plan(&mut self, model: &mut Checkpoint, cut: &Pruning) -> Result<Planned> {
        let key = (cut.score, cut.multiple);
        if self.ranked.as_ref().is_none_or(|(known, _)| *known != key) {
            model.header.width_multiple = cut.multiple;
            let scope = Scope::new(&[Dimension::Filter], FLOOR, cut.unit).by(cut.score.score());
            self.ranked = Some((key, Sites::new(model, &scope)?));
        }
        let Some((_, sites)) = &self.ranked else {
            anyhow::bail!("no channels were scored");
        };
        let densities = densities(sites, model, cut)?;
        let masks = sites.masks(&densities, &model.weights)?;
        let counted = sites.counted_masks(&densities);
        let cost = sites.cost(&densities);
        let whole = spent(sites, cut.unit, &vec![1.0; densities.len()]);
        let held = |i: usize| cut.held.contains(&sites.list[i].name);
        let least: Vec<f32> = (0..densities.len()).map(|i| f32::from(u8::from(held(i)))).collect();
        let group = |(i, site): (usize, &event::Site)| {
            let scores = sites.channel_scores(i).to_vec();
            let kept = match masks.get(&site.name) {
                Some(mask) => mask.filters.clone(),
                None => vec![true; scores.len()],
            };
            PrunedGroup {
                name: site.name.clone(),
                tied: site.tied.clone(),
                scores,
                kept,
            }
        };
        let plan = PruningPlan {
            groups: sites.list.iter().enumerate().map(group).collect(),
            times: whole / spent(sites, cut.unit, &densities).max(1.0),
            most_times: whole / spent(sites, cut.unit, &least).max(1.0),
            macs: cost.macs,
            params: cost.params,
        };
        Ok(Planned {
            plan: Arc::new(plan),
            masks: Arc::new(masks),
            counted: Arc::new(counted),
        })
    }
}

fn spent(sites: &Sites, unit: Unit, densities: &[f32]) -> f64 {
    let cost = sites.cost(densities);
    match unit {
        Unit::Weights => cost.weights as f64,
        Unit::Macs | Unit::Ms => cost.macs as f64,
    }
}

/// The densities of all sites: as high as the target allows, or as low as they get where it cannot be met.
fn densities(sites: &Sites, model: &Checkpoint, cut: &Pruning) -> Result<Vec<f32>> {
    let n = sites.list.len();
    let budget = spent(sites, cut.unit, &vec![1.0; n]) / cut.times.max(1.0);
    let means: Vec<f64> = (0..n).map(|i| mean(sites.channel_scores(i))).collect();
    let mean_of_all = means.iter().sum::<f64>() / n as f64;
    let at = |share: f64| -> Result<Vec<f32>> {
        let mut all = match cut.spread {
            Spread::Uniform => vec![(1.0 - share) as f32; n],
            Spread::Threshold => {
                // Thresholds are times a layer's mean; |γ| can be compared between layers as it is.
                let scale = |mean: f64| match cut.score {
                    ScoreName::NormScale if mean > 0.0 => mean_of_all / mean,
                    _ => 1.0,
                };
                let thresholds: Vec<f32> = means
                    .iter()
                    .map(|&mean| (share * HIGHEST_THRESHOLD * scale(mean)) as f32)
                    .collect();
                sites.densities_above(&thresholds, &model.weights)?
            }
        };
        for (density, site) in all.iter_mut().zip(&sites.list) {
            if cut.held.contains(&site.name) {
                *density = 1.0;
            }
        }
        Ok(all)
    };
    let (mut low, mut high) = (0.0, 1.0);
    let whole = at(low)?;
    if spent(sites, cut.unit, &whole) <= budget {
        return Ok(whole);
    }
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if spent(sites, cut.unit, &at(middle)?) <= budget {
            high = middle;
        } else {
            low = middle;
        }
    }
    at(high)
}

fn mean(scores: &[f32]) -> f64 {
    scores.iter().map(|&s| f64::from(s)).sum::<f64>() / scores.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{cost, random_model, zoo};

    fn resnet() -> Checkpoint {
        let spec = zoo::build("resnet18", [3, 32, 32], 10, 0.125).expect("builds");
        random_model(spec, 1).expect("a model")
    }

    fn plan(model: &Checkpoint, cut: &Pruning) -> Planned {
        Planner::default().plan(&mut model.clone(), cut).expect("plans")
    }

    #[test]
    fn a_target_is_met_in_either_unit_and_what_is_counted_is_what_is_masked() {
        let model = resnet();
        for unit in [Unit::Macs, Unit::Weights] {
            for spread in [Spread::Uniform, Spread::Threshold] {
                for score in [ScoreName::L1, ScoreName::L2, ScoreName::NormScale] {
                    let cut = Pruning {
                        unit,
                        times: 3.0,
                        spread,
                        score,
                        multiple: 1,
                        held: BTreeSet::new(),
                    };
                    let Planned { plan, counted, .. } = plan(&model, &cut);
                    // Random models have equal γ: a threshold among equals takes all of them.
                    let is_coarse = (spread, score) == (Spread::Threshold, ScoreName::NormScale);
                    assert!(
                        plan.times >= 3.0 && (is_coarse || plan.times < 4.5),
                        "{cut:?}: {}",
                        plan.times
                    );
                    let fractions = model::Fractions::dense(model.spec());
                    let total = cost::total(model.spec(), &counted, &fractions).expect("counts");
                    assert_eq!(total.macs, plan.macs, "{cut:?}");
                }
            }
        }
    }

    #[test]
    fn what_stays_is_a_multiple_or_all() {
        let cut = Pruning {
            times: 3.0,
            multiple: 4,
            ..Pruning::default()
        };
        let plan = plan(&resnet(), &cut).plan;
        assert!(plan.times >= 3.0);
        for group in plan.groups.iter() {
            let (kept, all) = (group.n_kept(), group.kept.len());
            assert!(kept == all || kept.is_multiple_of(4), "{}: {kept} of {all}", group.name);
        }
    }

    #[test]
    fn deeper_cuts_take_more_of_the_same_channels_and_held_layers_none() {
        let model = resnet();
        let held = BTreeSet::from(["stage1.0.conv1".to_owned()]);
        let at = |times| Pruning {
            times,
            spread: Spread::Threshold,
            held: held.clone(),
            multiple: 1,
            ..Pruning::default()
        };
        let mut before: Option<PruningPlan> = None;
        for times in [1.0, 1.5, 2.0, 4.0, 1000.0] {
            let now = (*plan(&model, &at(times)).plan).clone();
            for (i, group) in now.groups.iter().enumerate() {
                assert!(group.n_kept() >= 1);
                if held.contains(&group.name) {
                    assert!(group.kept.iter().all(|&k| k));
                }
                if let Some(before) = &before {
                    let both = group.kept.iter().zip(&before.groups[i].kept);
                    assert!(both.clone().all(|(&now, &before)| before || !now), "{times}");
                }
            }
            if times == 1.0 {
                assert!((now.times - 1.0).abs() < 1e-9);
            }
            if times == 1000.0 {
                assert!((now.times - now.most_times).abs() < 0.01 * now.most_times, "{now:?}");
            }
            before = Some(now);
        }
    }
}
