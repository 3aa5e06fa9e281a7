//! ADMM pruning (the core of AutoCompress, arXiv 1907.03141, section "ADMM-based structured weight pruning"):
//! weights are trained towards the nearest sparse ones until they are nearly sparse themselves.
//! Knows nothing of how densities are found.
//!
//! ```text
//! Z = Π(W), U = 0
//! repeat:  W ← some steps of  min loss + Σ ρ/2 ‖W − Z + U‖²,  the learning rate falling to zero
//!          Z ← Π(W + U);  U ← U + W − Z;  ρ ← growth · ρ
//! W ← Π(W); retrain with what is zero held zero
//! ```

use crate::budget::Budget;
use crate::locks::{EarlierSearches, Lock, check_densities, check_sites, held_densities};
use crate::pipeline::{PruningTarget, TrainingStage, check_dimensions, check_target, cut, retrain, trained_model};
use crate::search_loop::SearchResult;
use anyhow::{Context, Result};
use event::{BadInput, Dimension, Event, Residual, Unit};
use model::mask::kept_entries;
use model::{Array, Checkpoint, Weights};
use prune::{Scope, Sites};
use search::Space;
use serde::{Deserialize, Serialize};
use settings::settings;
use std::ops::Range;
use train::optimizer::Gradients;
use train::{Ctx, Penalty, TrainConfig, TrainingPlan};

/// Σ lr·ρ / (1 − momentum) until the first update, where ρ is not given. Much less, and U grows faster than W falls: W + U of
/// what was pruned outgrows what was kept, and Z is another one at every update.
const FIRST_PULL: f64 = 0.5;

/// The largest final ‖W − Z‖ / ‖W‖ of a layer that counts as converged.
const CONVERGED: f32 = 0.1;

settings! {
    /// How the W step is done.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct AdmmSchedule {
        /// Epochs of training for each dimension.
        pub epochs: u32 = 3, number(within(1, 100_000); "epochs");
        /// Highest learning rate; it falls to zero before each update and begins anew after it.
        pub lr: f32 = 0.02, number(above(0));
        /// Updates of Z and U for each dimension, evenly spread over the steps.
        pub updates: u32 = 10, number(within(1, 10_000); "updates");
        /// Epochs between two updates of Z and U, in place of `updates`; 0: as `updates` says.
        pub every: u32 = 0, number(at_least(0); "epochs");
        /// ρ, the weight of the penalty (arXiv 1804.03294), until the first update; 0: as the schedule needs it, so that
        /// Σ lr·ρ / (1 − momentum) until then is 0.5.
        pub rho: f32 = 0.0, number(at_least(0));
        /// ρ is multiplied by this at each update.
        pub growth: f32 = 1.3, number(at_least(1); "×");
        /// Whether a filter's γ, β and bias are pulled along with its weights. The paper pulls weights alone; but where a norm
        /// follows, small weights are scaled up again, and pruning them then changes as much as before.
        pub norms: bool = true, other;
    }
}

impl AdmmSchedule {
    fn training(&self) -> TrainingStage {
        TrainingStage {
            epochs: self.epochs,
            lr: self.lr,
        }
    }

    /// The steps after which Z and U are updated.
    fn due(&self, steps_per_epoch: u64) -> Vec<u64> {
        let steps = steps_per_epoch * u64::from(self.epochs);
        let (every, updates) = (
            u64::from(self.every) * steps_per_epoch,
            u64::from(self.updates).min(steps),
        );
        match every {
            0 => (1..=updates).map(|i| i * steps / updates).collect(),
            _ => (1..=steps / every).map(|i| i * every).collect(),
        }
    }

    /// ρ until the first update.
    fn first_rho(&self, due: &[u64], train: &TrainConfig) -> f32 {
        if self.rho > 0.0 {
            return self.rho;
        }
        let steps = due.first().copied().unwrap_or(1);
        (FIRST_PULL / train.reach(steps).max(1e-9)) as f32
    }
}

/// ADMM's state along one dimension, as a penalty on the weights.
#[derive(Clone, Debug)]
pub struct AdmmState {
    sites: Sites,
    densities: Vec<f32>,
    dimension: Dimension,
    /// Z; the arrays that are not projected follow the weights.
    target: Weights,
    /// U, of the projected arrays.
    dual: Gradients,
    rho: f32,
    growth: f32,
    norms: bool,
    /// Steps after which it is updated, rising.
    due: Vec<u64>,
    updates: u32,
}

impl AdmmState {
    /// Towards these densities of `sites`, all of one dimension: Z = Π(W), U = 0.
    ///
    /// # Errors
    /// An array that is missing.
    pub fn new(
        sites: Sites,
        densities: Vec<f32>,
        weights: &Weights,
        how: &AdmmSchedule,
        (train, steps_per_epoch): (&TrainConfig, u64),
    ) -> Result<Self> {
        let due = how.due(steps_per_epoch);
        let mut admm = Self {
            dimension: sites.list.first().map_or(Dimension::Filter, |s| s.dimension),
            sites,
            densities,
            target: weights.clone(),
            dual: Gradients::new(),
            rho: how.first_rho(&due, train),
            growth: how.growth,
            norms: how.norms,
            due,
            updates: 0,
        };
        let projected = admm.project()?;
        admm.dual = projected
            .into_iter()
            .map(|name| (name.clone(), vec![0.0; weights[&name].data.len()]))
            .collect();
        Ok(admm)
    }

    /// Z ← Π(Z). Gives the names of the arrays that Π touches.
    fn project(&mut self) -> Result<Vec<String>> {
        let masks = self.sites.project(&self.densities, &mut self.target)?;
        if !self.norms {
            return Ok(masks.keys().map(|layer| format!("{layer}.weight")).collect());
        }
        let kept = kept_entries(self.sites.spec(), &masks)?;
        for (name, kept) in &kept {
            let array = self
                .target
                .get_mut(name)
                .with_context(|| format!("{name} is missing"))?;
            let pruned = array.data.iter_mut().zip(kept).filter(|(_, kept)| !**kept);
            pruned.for_each(|(z, _)| *z = 0.0);
        }
        Ok(kept.into_keys().collect())
    }

    /// Where the steps since the last update, or those until the next, begin and end.
    fn between(&self, step: u64, steps: u64) -> Range<u64> {
        let next = self.due.partition_point(|&due| due <= step);
        let before = next.checked_sub(1).map_or(0, |i| self.due[i]);
        before..self.due.get(next).copied().unwrap_or(steps)
    }
}

/// ‖v‖₂, summed in double precision.
fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

/// ‖a − b‖ / ‖a‖.
fn relative_distance(a: &[f32], b: &[f32]) -> f32 {
    let apart = norm(a.iter().zip(b).map(|(a, b)| a - b));
    (apart / norm(a.iter().copied()).max(1e-30)) as f32
}

impl Penalty for AdmmState {
    /// ρ (W − Z + U).
    fn add(&self, weights: &Weights, gradients: &mut Gradients) {
        for (name, u) in &self.dual {
            let Some(g) = gradients.get_mut(name) else { continue };
            let (w, z) = (&weights[name].data, &self.target[name].data);
            for (((g, w), z), u) in g.iter_mut().zip(w).zip(z).zip(u) {
                *g += self.rho * (w - z + u);
            }
        }
    }

    /// The rate falls until the next update (as in the code of the paper's group).
    fn schedule(&self, step: u64, steps: u64) -> Range<u64> {
        self.between(step, steps)
    }

    fn is_due(&self, done: u64) -> bool {
        self.due.binary_search(&done).is_ok()
    }

    /// Z ← Π(W + U); U ← U + W − Z.
    fn update(&mut self, weights: &Weights) -> Result<Option<Event>> {
        let before = std::mem::replace(&mut self.target, weights.clone());
        for (name, u) in &self.dual {
            if let Some(z) = self.target.get_mut(name) {
                z.data.iter_mut().zip(u).for_each(|(z, u)| *z += u);
            }
        }
        self.project()?;
        let mut layers = Vec::new();
        for (name, u) in &mut self.dual {
            let (w, z) = (&weights[name].data, &self.target[name].data);
            u.iter_mut().zip(w).zip(z).for_each(|((u, w), z)| *u += w - z);
            let Some(layer) = name.strip_suffix(".weight") else {
                continue;
            };
            let moved = norm(z.iter().zip(&before[name].data).map(|(z, before)| z - before));
            layers.push(Residual {
                layer: layer.to_owned(),
                dimension: self.dimension,
                value: relative_distance(w, z),
                moved: (moved / norm(w.iter().copied()).max(1e-30)) as f32,
            });
        }
        let rho = self.rho;
        self.rho *= self.growth;
        self.updates += 1;
        Ok(Some(Event::Residuals {
            update: self.updates,
            rho,
            layers,
        }))
    }

    fn save(&self) -> Weights {
        let flat = |v: &[f32]| Array {
            shape: vec![v.len()],
            data: v.to_vec(),
        };
        let mut out = Weights::from([("now".to_owned(), flat(&[self.rho, self.updates as f32]))]);
        for (name, u) in &self.dual {
            out.insert(format!("z:{name}"), self.target[name].clone());
            out.insert(format!("u:{name}"), flat(u));
        }
        out
    }

    fn restore(&mut self, saved: Weights) {
        for (key, array) in saved {
            match key.split_once(':') {
                Some(("z", name)) => drop(self.target.insert(name.to_owned(), array)),
                Some(("u", name)) => drop(self.dual.insert(name.to_owned(), array.data)),
                _ => {
                    if let [rho, updates] = array.data[..] {
                        (self.rho, self.updates) = (rho, updates as u32);
                    }
                }
            }
        }
    }
}

/// Trains a model towards sparse weights along one dimension, prunes it there, and cuts what is dead then. `found` has the
/// density of every site by its name; which parts stay follows from the weights after training.
///
/// # Errors
/// As [`train::fit`]; [`prune::cut`].
pub(crate) fn prune_along(
    ctx: &mut Ctx,
    stage: &str,
    method: &'static str,
    model: &Checkpoint,
    found: &SearchResult,
    dimension: Dimension,
    how: &AdmmSchedule,
) -> Result<Checkpoint> {
    // Floors held when the densities were found; sites may be smaller by now.
    let sites = Sites::new(model, &Scope::new(&[dimension], 0.0, Unit::Macs))?;
    let densities: Vec<f32> = sites
        .list
        .iter()
        .map(|s| found.density_of(&s.name, dimension))
        .collect();
    let training = how.training().over(&ctx.train);
    let steps_per_epoch = (ctx.data.splits.train.len() / training.batch) as u64;
    let mut admm = AdmmState::new(
        sites.clone(),
        densities.clone(),
        &model.weights,
        how,
        (&training, steps_per_epoch),
    )?;
    if admm.dual.is_empty() {
        return Ok(model.clone());
    }
    let plan = TrainingPlan::of_model(method, model, training);
    let near = train::fit(ctx, stage, &plan, Some(model), Some(&mut admm))?;
    let mut sparse = near.weights.clone();
    let masks = sites.project(&densities, &mut sparse)?;
    let residual = |layer: &String| {
        let name = format!("{layer}.weight");
        (
            layer.clone(),
            relative_distance(&near.weights[&name].data, &sparse[&name].data),
        )
    };
    let worst = masks.keys().map(residual).max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((layer, apart)) = worst.filter(|(_, apart)| *apart > CONVERGED) {
        let text = format!(
            "{stage} has not converged: ‖W − Z‖ / ‖W‖ of {layer} is {apart:.2}, expected at most {CONVERGED}; \
             more method.admm.epochs or a larger method.admm.rho bring it closer"
        );
        ctx.emit(Event::Warning { text })?;
    }
    let mut pruned = cut(&near, &masks)?;
    // What the cut costs before anything is retrained: little, if ADMM converged.
    train::validate(ctx, &mut pruned)?;
    Ok(pruned)
}

settings! {
    /// ADMM by itself: the same density everywhere, as far as floors allow.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct AdmmConfig {
        /// How much is pruned.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// In which ways, one after the other: filter, channel, column, or element alone.
        pub dimensions: Vec<Dimension> = vec![Dimension::Filter, Dimension::Column], other;
        /// Least share of a layer that stays.
        pub floor: f32 = 0.05, number(above(0), at_most(1));
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// Layers that are left alone, e.g. `[{ layer = "conv1" }]`; with `dimension` in that way only, with `density` pruned to
        /// that share once.
        pub locks: Vec<Lock> = Vec::new(), other;
        /// Training towards sparse weights.
        pub admm: AdmmSchedule = AdmmSchedule::default(), section;
        /// Training afterwards, with zeros held.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
    check dimensions_and_locks;
}

fn dimensions_and_locks(config: &AdmmConfig, _at: &str) -> Result<()> {
    check_dimensions(&config.dimensions)?;
    check_densities(&config.locks, config.floor)
}

/// Prunes with ADMM at uniform densities.
pub(crate) fn run(ctx: &mut Ctx, config: &AdmmConfig) -> Result<Checkpoint> {
    let unit = config.target.unit;
    let scope = Scope::new(&config.dimensions, config.floor, unit);
    check_target(ctx, &config.target, &scope, (&config.locks, config.width_multiple))?;
    let (mut model, _) = trained_model(ctx, &config.locks, config.width_multiple)?;
    let sites = Sites::new(&model, &scope).map_err(BadInput::of)?;
    check_sites(&config.locks, &sites.list)?;
    let budget = Budget::new(ctx, unit, &model)?;
    let limit = budget.unpruned(&sites) / config.target.times;
    let space = Space {
        sites: &sites.list,
        floor: vec![config.floor; sites.list.len()],
        locks: held_densities(&config.locks, &sites.list, &EarlierSearches::default()),
        budget: limit,
        spent: &|densities| budget.spent(&sites, densities),
    };
    let found = SearchResult {
        densities: space.uniform().map_err(BadInput::of)?,
        sites: sites.list.clone(),
        reward: 0.0,
        manual_locks: Vec::new(),
    };
    for &dimension in &config.dimensions {
        let stage = format!("{} ADMM", dimension.name());
        model = prune_along(ctx, &stage, "admm", &model, &found, dimension, &config.admm)?;
    }
    let model = retrain(ctx, "retraining", "admm", &model, &config.retrain)?;
    budget.report_latency(ctx, &model, limit)?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::toy::{conv, node};
    use model::{NetSpec, Op, random_model, zoo};

    /// With `rho` from the start, never growing.
    fn fixed(rho: f32) -> AdmmSchedule {
        AdmmSchedule {
            rho,
            growth: 1.0,
            ..AdmmSchedule::default()
        }
    }

    fn toward_half(how: &AdmmSchedule) -> (AdmmState, Weights) {
        let model = random_model(zoo::build("m-cifarnet", [3, 12, 12], 3, 0.1).expect("builds"), 1).expect("builds");
        let scope = Scope::new(&[Dimension::Filter], 0.1, Unit::Macs);
        let sites = Sites::new(&model, &scope).expect("sites");
        let densities = vec![0.5; sites.list.len()];
        let training = (&TrainConfig::default(), 20);
        let admm = AdmmState::new(sites, densities, &model.weights, how, training).expect("projects");
        (admm, model.weights)
    }

    fn residuals(admm: &mut AdmmState, weights: &Weights) -> Vec<Residual> {
        match admm.update(weights).expect("updates") {
            Some(Event::Residuals { layers, .. }) => layers,
            other => panic!("{other:?}"),
        }
    }

    fn none(weights: &Weights) -> Gradients {
        weights
            .iter()
            .map(|(name, a)| (name.clone(), vec![0.0; a.data.len()]))
            .collect()
    }

    #[test]
    fn updates_are_spread_over_the_steps_and_the_rate_falls_between_them() {
        let due = |updates, every| {
            let how = AdmmSchedule {
                epochs: 2,
                updates,
                every,
                ..AdmmSchedule::default()
            };
            how.due(10)
        };
        assert_eq!(due(4, 0), [5, 10, 15, 20]);
        assert_eq!(due(3, 0), [6, 13, 20]);
        assert_eq!(due(100, 0).len(), 20, "no more than one per step");
        assert_eq!(due(4, 1), [10, 20]);
        let (admm, _) = toward_half(&AdmmSchedule::default());
        assert_eq!(admm.due.len(), 10);
        assert_eq!(admm.schedule(0, 60), 0..6);
        assert_eq!(admm.schedule(5, 60), 0..6);
        assert_eq!(admm.schedule(6, 60), 6..12);
        assert_eq!(admm.schedule(59, 60), 54..60);
    }

    #[test]
    fn a_rho_that_is_not_given_follows_from_the_schedule() {
        let (how, train) = (AdmmSchedule::default(), TrainConfig::default());
        let due = how.due(20);
        let rho = f64::from(how.first_rho(&due, &train));
        assert!((rho * train.reach(due[0]) - FIRST_PULL).abs() < 1e-6, "{rho}");
        assert_eq!(fixed(0.25).first_rho(&due, &train), 0.25);
    }

    #[test]
    fn scale_and_shift_of_a_pruned_filter_are_pulled_along_unless_told_not_to() {
        let (admm, _) = toward_half(&fixed(1.0));
        let names = |admm: &AdmmState| admm.dual.keys().cloned().collect::<Vec<_>>();
        let with = names(&admm);
        assert!(with.iter().any(|n| n.ends_with(".gamma")) && with.iter().any(|n| n.ends_with(".beta")));
        let gamma = with.iter().find(|n| n.ends_with(".gamma")).expect("there");
        let zeros = admm.target[gamma].data.iter().filter(|g| **g == 0.0).count();
        assert_eq!(zeros, admm.target[gamma].data.len() / 2, "{gamma}");
        let published = AdmmSchedule {
            norms: false,
            ..fixed(1.0)
        };
        assert!(names(&toward_half(&published).0).iter().all(|n| n.ends_with(".weight")));
    }

    #[test]
    fn without_a_loss_weights_come_to_z_less_u_and_the_residual_falls_to_nothing() {
        let (mut admm, mut weights) = toward_half(&fixed(1.0));
        let mut found = Vec::new();
        for _ in 0..6 {
            for _ in 0..60 {
                let mut gradients = none(&weights);
                admm.add(&weights, &mut gradients);
                for (name, g) in &gradients {
                    let data = &mut weights.get_mut(name).expect("an array").data;
                    data.iter_mut().zip(g).for_each(|(w, g)| *w -= 0.2 * g);
                }
            }
            for (name, u) in &admm.dual {
                let (w, z) = (&weights[name].data, &admm.target[name].data);
                assert!(
                    w.iter().zip(z).zip(u).all(|((w, z), u)| (w - (z - u)).abs() < 1e-4),
                    "{name}"
                );
            }
            found.push(residuals(&mut admm, &weights));
        }
        let last = &found[5];
        assert!(last.iter().all(|r| r.value < 1e-3 && r.moved < 1e-3), "{found:?}");
    }

    /// One cycle on four filters of four columns, of which two are to stay: ρ = 0.1, lr = 0.5, 0.2 as the loss's gradient.
    #[test]
    fn a_cycle_is_that_of_the_paper() {
        const M: [f32; 16] = [
            3.0, -1.0, 0.0, 2.0, 0.5, 0.5, -0.5, 0.5, -2.0, 1.0, 4.0, -1.0, 1.0, 0.0, -1.0, 0.0,
        ];
        const W1: [f32; 16] = [
            2.9, -1.1, -0.1, 1.9, 0.375, 0.375, -0.575, 0.375, -2.1, 0.9, 3.9, -1.1, 0.85, -0.1, -1.05, -0.1,
        ];
        let linear = Op::Linear {
            outputs: 2,
            bias: false,
        };
        let spec = NetSpec {
            name: "m".into(),
            input: [4, 1, 1],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("m", conv(4, 1, 0, false), &[0]),
                node("flat", Op::Flatten, &[1]),
                node("last", linear, &[2]),
            ],
        };
        let mut model = random_model(spec, 1).expect("builds");
        model.weights.get_mut("m.weight").expect("there").data = M.to_vec();
        let sites = Sites::new(&model, &Scope::new(&[Dimension::Filter], 0.0, Unit::Macs)).expect("sites");
        let training = (&TrainConfig::default(), 20);
        let mut admm = AdmmState::new(sites, vec![0.5], &model.weights, &fixed(0.1), training).expect("projects");
        let mut gradients = Gradients::from([("m.weight".to_owned(), vec![0.2; 16])]);
        admm.add(&model.weights, &mut gradients);
        let w = &mut model.weights.get_mut("m.weight").expect("there").data;
        w.iter_mut()
            .zip(&gradients["m.weight"])
            .for_each(|(w, g)| *w -= 0.5 * g);
        let near = |got: &[f32], expected: &[f32]| got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(w, &W1), "{w:?}");

        let residuals = residuals(&mut admm, &model.weights);
        let stays = |i: usize| (i / 4).is_multiple_of(2);
        let part = |of: bool| -> Vec<f32> { (0..16).map(|i| if stays(i) == of { W1[i] } else { 0.0 }).collect() };
        let (z, u) = (&admm.target["m.weight"].data, &admm.dual["m.weight"]);
        assert!(near(z, &part(true)), "{z:?}");
        assert!(near(u, &part(false)), "{u:?}");
        let norm = W1.iter().map(|w| w * w).sum::<f32>().sqrt();
        assert!((residuals[0].value - 1.611_676 / norm).abs() < 1e-6, "{residuals:?}");
        // Each of the eight numbers that stay fell by 0.1.
        assert!(
            (residuals[0].moved - 0.08f32.sqrt() / norm).abs() < 1e-6,
            "{residuals:?}"
        );
        let penalty: f32 = W1.iter().zip(z).zip(u).map(|((w, z), u)| (w - z + u).powi(2)).sum();
        assert!((admm.rho / 2.0 * penalty - 0.5195).abs() < 1e-4);
    }

    #[test]
    fn its_state_comes_back() {
        let (mut one, weights) = toward_half(&fixed(0.5));
        one.update(&weights).expect("updates");
        let (mut other, _) = toward_half(&fixed(0.5));
        other.restore(one.save());
        assert_eq!(
            (&other.dual, other.rho, other.updates),
            (&one.dual, one.rho, one.updates)
        );
        let projected = |p: &AdmmState| p.dual.keys().map(|name| p.target[name].clone()).collect::<Vec<_>>();
        assert_eq!(projected(&other), projected(&one));
    }
}
