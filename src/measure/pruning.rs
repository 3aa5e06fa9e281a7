//! What a target leaves of a model before anything is trained: which channels go, by a score and by how the cut is spread over
//! layers. Searches choose densities; here one number does. Knows nothing of images.

use anyhow::Result;
use event::{Dimension, Unit};
use infer::{LatencySurface, LayerLatencyOptions};
use model::{Checkpoint, Masks};
use prune::{Scope, Score, Sites};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Least share of a layer that stays.
pub const FLOOR: f32 = 0.05;
/// A threshold of so many times a layer's mean score leaves nothing but floors.
const HIGHEST_THRESHOLD: f64 = 32.0;
/// Least that anything costs, in whatever unit.
const LEAST: f64 = 1e-9;
/// The deepest power that a vector of densities is raised to.
const DEEPEST: f64 = 12.0;
/// How layers are timed for a target in milliseconds: coarsely, since somebody waits.
const TIMED: LayerLatencyOptions = LayerLatencyOptions {
    widths: 3,
    budget: Duration::from_millis(2),
    threads: 1,
};
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
    /// Layers lose as much as costs the same accuracy, each cut alone, as measured on some images.
    Sensitivity,
    /// As the vector of densities in [`Pruning::vector`], deeper or shallower in proportion of logarithms.
    Vector,
    /// Exactly that vector, whatever it costs: layers set by hand.
    Given,
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
    /// What is counted: weights, MACs, or milliseconds by the measured times of single layers.
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
    /// Densities by the first layer of each group, for [`Spread::Vector`] and [`Spread::Given`]; 1 where none is said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vector: BTreeMap<String, f32>,
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
            vector: BTreeMap::new(),
        }
    }
}

impl Pruning {
    /// Whether two differ in nothing but how deep they go.
    pub fn is_like(&self, other: &Self) -> bool {
        let mut other = Self {
            times: self.times,
            ..other.clone()
        };
        // Layers that are set by hand are one way, however they are set.
        if self.spread == Spread::Given {
            other.vector.clone_from(&self.vector);
        }
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
    /// Groups whose sensitivity is measured, of all.
    pub sensitivity: [usize; 2],
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

/// Densities that a layer is cut to alone, to see what that costs.
pub(crate) const LEVELS: [f32; 3] = [0.75, 0.5, 0.25];
/// What a layer is taken to lose from density 1 to 0 beside what was measured, so that of equals all go alike.
const SLOPE: f64 = 0.02;

/// Plans cuts of one model. Scores are computed once each.
#[derive(Default)]
pub(crate) struct Planner {
    ranked: Option<((ScoreName, usize), Sites)>,
    /// Times of single layers over their widths, once somebody asked for milliseconds.
    times: Option<Vec<LatencySurface>>,
    /// By site: accuracy lost at each of [`LEVELS`], as far as it was measured.
    losses: Vec<[f32; 3]>,
}

/// What is spent at densities, in a unit.
struct Counter<'a> {
    sites: &'a Sites,
    unit: Unit,
    times: &'a [LatencySurface],
}

impl Counter<'_> {
    fn spent(&self, densities: &[f32]) -> f64 {
        let cost = || self.sites.cost(densities);
        match self.unit {
            Unit::Weights => cost().weights as f64,
            Unit::Macs => cost().macs as f64,
            Unit::Ms => {
                let layers = self.sites.layers_left(densities);
                let of = |&(name, filters, columns): &(&str, usize, usize)| {
                    let surface = self.times.iter().find(|s| s.name == name);
                    surface.map_or(0.0, |s| s.at(filters, columns))
                };
                layers.iter().map(of).sum()
            }
        }
    }
}

impl Planner {
    /// Scores channels, if that was not done in this way before.
    fn rank(&mut self, model: &mut Checkpoint, cut: &Pruning) -> Result<()> {
        let key = (cut.score, cut.multiple);
        if self.ranked.as_ref().is_none_or(|(known, _)| *known != key) {
            model.header.width_multiple = cut.multiple;
            let scope = Scope::new(&[Dimension::Filter], FLOOR, cut.unit).by(cut.score.score());
            self.ranked = Some((key, Sites::new(model, &scope)?));
            self.losses.clear();
        }
        Ok(())
    }

    /// The next site whose sensitivity is not measured yet, cut alone to each of [`LEVELS`]; none if all are.
    ///
    /// # Errors
    /// Weights that do not fit.
    pub(crate) fn unmeasured(&self, model: &Checkpoint) -> Result<Option<Vec<Masks>>> {
        let Some((_, sites)) = &self.ranked else {
            return Ok(None);
        };
        let site = self.losses.len();
        if site >= sites.list.len() {
            return Ok(None);
        }
        let at = |level: f32| {
            let mut densities = vec![1.0; sites.list.len()];
            densities[site] = level;
            sites.masks(&densities, &model.weights)
        };
        LEVELS.into_iter().map(at).collect::<Result<Vec<_>>>().map(Some)
    }

    /// What that site lost at each of the levels.
    pub(crate) fn measured(&mut self, losses: [f32; 3]) {
        self.losses.push(losses);
    }

    /// Sites whose sensitivity is measured, of all.
    fn progress(&self) -> [usize; 2] {
        let all = self.ranked.as_ref().map_or(0, |(_, sites)| sites.list.len());
        [self.losses.len(), all]
    }

    /// What is left of the model.
    ///
    /// # Errors
    /// A network with nothing to cut, or without the scores.
    pub(crate) fn plan(&mut self, model: &mut Checkpoint, cut: &Pruning) -> Result<Planned> {
        self.rank(model, cut)?;
        if cut.unit == Unit::Ms && self.times.is_none() {
            self.times = Some(infer::latency_surfaces(model.spec(), TIMED, &mut || Ok(()))?);
        }
        let Some((_, sites)) = &self.ranked else {
            anyhow::bail!("no channels were scored");
        };
        let counter = Counter {
            sites,
            unit: cut.unit,
            times: self.times.as_deref().unwrap_or_default(),
        };
        let densities = densities(&counter, model, cut, &self.losses)?;
        let masks = sites.masks(&densities, &model.weights)?;
        let counted = sites.counted_masks(&densities);
        let cost = sites.cost(&densities);
        let whole = counter.spent(&vec![1.0; densities.len()]);
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
            times: whole / counter.spent(&densities).max(LEAST),
            most_times: whole / counter.spent(&least).max(LEAST),
            macs: cost.macs,
            params: cost.params,
            sensitivity: self.progress(),
        };
        Ok(Planned {
            plan: Arc::new(plan),
            masks: Arc::new(masks),
            counted: Arc::new(counted),
        })
    }
}

/// The densities of all sites: as high as the target allows, or as low as they get where it cannot be met.
fn densities(counter: &Counter, model: &Checkpoint, cut: &Pruning, losses: &[[f32; 3]]) -> Result<Vec<f32>> {
    let sites = counter.sites;
    let n = sites.list.len();
    let given = |site: &event::Site| cut.vector.get(&site.name).copied().unwrap_or(1.0);
    if cut.spread == Spread::Given {
        let all = sites.list.iter();
        return Ok(all
            .map(|site| {
                if cut.held.contains(&site.name) {
                    1.0
                } else {
                    given(site)
                }
            })
            .collect());
    }
    let budget = counter.spent(&vec![1.0; n]) / cut.times.max(1.0);
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
            Spread::Sensitivity => (0..n).map(|i| density_at(losses.get(i), share)).collect(),
            Spread::Vector | Spread::Given => {
                // Twice the vector's logarithm is a cut twice as deep.
                let deeper = share * DEEPEST;
                sites
                    .list
                    .iter()
                    .map(|site| f64::from(given(site)).powf(deeper) as f32)
                    .collect()
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
    if counter.spent(&whole) <= budget {
        return Ok(whole);
    }
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if counter.spent(&at(middle)?) <= budget {
            high = middle;
        } else {
            low = middle;
        }
    }
    at(high)
}

/// The least density at which a layer loses no more accuracy than `loss`: between the levels that were measured, in proportion.
/// A layer that was not measured loses in proportion to what is cut.
fn density_at(losses: Option<&[f32; 3]>, loss: f64) -> f32 {
    let Some(losses) = losses else {
        return (1.0 - loss) as f32;
    };
    let mut at = [1.0, 0.0];
    let measured = LEVELS.iter().zip(losses).map(|(&d, &l)| [f64::from(d), f64::from(l)]);
    for [density, lost] in measured.chain([[0.0, 1.0]]) {
        // More cut is never taken to cost less.
        let next = [density, (lost + SLOPE * (1.0 - density)).max(at[1] + 1e-6)];
        if loss < next[1] {
            let share = (loss - at[1]).max(0.0) / (next[1] - at[1]);
            return (at[0] + (next[0] - at[0]) * share) as f32;
        }
        at = next;
    }
    0.0
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
                        vector: BTreeMap::new(),
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
    fn a_target_in_milliseconds_is_met_by_the_times_of_layers() {
        let cut = Pruning {
            unit: Unit::Ms,
            times: 2.0,
            multiple: 1,
            ..Pruning::default()
        };
        let plan = plan(&resnet(), &cut).plan;
        assert!(plan.times >= 2.0 && plan.times < 4.0, "{}", plan.times);
        assert!(plan.most_times > plan.times);
    }

    #[test]
    fn layers_that_lose_little_are_cut_deeper_and_a_vector_is_followed() {
        let mut model = resnet();
        let mut planner = Planner::default();
        let mut cut = Pruning {
            times: 2.0,
            multiple: 1,
            spread: Spread::Sensitivity,
            ..Pruning::default()
        };
        planner.plan(&mut model, &cut).expect("plans");
        let mut masked = 0;
        while let Some(levels) = planner.unmeasured(&model).expect("masks") {
            assert_eq!(levels.len(), LEVELS.len());
            let is_robust = masked % 2 == 0;
            planner.measured(if is_robust { [0.0, 0.0, 0.01] } else { [0.2, 0.5, 0.8] });
            masked += 1;
        }
        assert_eq!(planner.progress(), [masked, masked]);
        let left = planner.plan(&mut model, &cut).expect("plans").plan;
        let share = |g: &PrunedGroup| g.n_kept() as f64 / g.kept.len() as f64;
        let mean = |odd: usize| {
            let of: Vec<f64> = left.groups.iter().skip(odd).step_by(2).map(share).collect();
            of.iter().sum::<f64>() / of.len() as f64
        };
        assert!(left.times >= 2.0 && mean(0) < mean(1) - 0.2, "{} {}", mean(0), mean(1));
        cut.spread = Spread::Vector;
        cut.vector = [(left.groups[0].name.clone(), 0.5), (left.groups[1].name.clone(), 0.9)].into();
        cut.times = 1.05;
        let left = planner.plan(&mut model, &cut).expect("plans").plan;
        let shares: Vec<f64> = left.groups.iter().map(share).collect();
        assert!(
            shares[0] < shares[1] && shares[2..].iter().all(|&s| s == 1.0),
            "{shares:?}"
        );
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
