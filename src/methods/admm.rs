//! ADMM pruning (the core of AutoCompress, arXiv 1907.03141, section "ADMM-based structured weight pruning"):
//! weights are trained towards the nearest sparse ones until they are nearly sparse themselves.
//! Knows nothing of how densities are found.
//!
//! ```text
//! Z = Π(W), U = 0
//! repeat:  W ← a few epochs of  min loss + Σ ρ/2 ‖W − Z + U‖²
//!          Z ← Π(W + U);  U ← U + W − Z
//! W ← Π(W); retrain with what is zero held zero
//! ```

use crate::budget::Budget;
use crate::locks::{EarlierSearches, Lock, check_densities, check_sites, held_densities};
use crate::pipeline::{PruningTarget, TrainingStage, check_dimensions, cut, retrain, trained_model};
use crate::search_loop::SearchResult;
use anyhow::Result;
use event::{BadInput, Dimension, Event, Residual, Unit};
use model::{Array, Checkpoint, Weights};
use prune::{Scope, Sites};
use search::Space;
use serde::{Deserialize, Serialize};
use settings::settings;
use train::optimizer::Gradients;
use train::{Ctx, Penalty, TrainingPlan};

settings! {
    /// How the W step is done.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct AdmmSchedule {
        /// Epochs of training for each dimension.
        pub epochs: u32 = 3, number(within(1, 100_000); "epochs");
        /// Highest learning rate.
        pub lr: f32 = 0.02, number(above(0));
        /// Epochs between two updates of Z and U.
        pub every: u32 = 1, number(at_least(1); "epochs");
        /// ρ, the weight of the penalty (arXiv 1804.03294).
        pub rho: f32 = 0.01, number(at_least(0));
        /// ρ is multiplied by this at each update.
        pub growth: f32 = 1.3, number(at_least(1); "×");
    }
}

impl AdmmSchedule {
    fn training(&self) -> TrainingStage {
        TrainingStage {
            epochs: self.epochs,
            lr: self.lr,
        }
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
    every: u32,
    updates: u32,
}

impl AdmmState {
    /// Towards these densities of `sites`, all of one dimension: Z = Π(W), U = 0.
    ///
    /// # Errors
    /// An array that is missing.
    pub fn new(sites: Sites, densities: Vec<f32>, weights: &Weights, how: &AdmmSchedule) -> Result<Self> {
        let mut target = weights.clone();
        let masks = sites.project(&densities, &mut target)?;
        let names = masks.keys().map(|layer| format!("{layer}.weight"));
        Ok(Self {
            dual: names
                .map(|name| (name.clone(), vec![0.0; weights[&name].data.len()]))
                .collect(),
            dimension: sites.list.first().map_or(Dimension::Filter, |s| s.dimension),
            sites,
            densities,
            target,
            rho: how.rho,
            growth: how.growth,
            every: how.every,
            updates: 0,
        })
    }

    /// Z ← Π(W + U); U ← U + W − Z. Gives ‖W − Z‖ / ‖W‖ of each layer.
    ///
    /// # Errors
    /// An array that is missing.
    pub fn update(&mut self, weights: &Weights) -> Result<Vec<Residual>> {
        self.target.clone_from(weights);
        for (name, u) in &self.dual {
            if let Some(z) = self.target.get_mut(name) {
                z.data.iter_mut().zip(u).for_each(|(z, u)| *z += u);
            }
        }
        self.sites.project(&self.densities, &mut self.target)?;
        let mut residuals = Vec::new();
        for (name, u) in &mut self.dual {
            let (w, z) = (&weights[name].data, &self.target[name].data);
            u.iter_mut().zip(w).zip(z).for_each(|((u, w), z)| *u += w - z);
            let square = |sum: f64, v: f32| sum + f64::from(v) * f64::from(v);
            let apart = w.iter().zip(z).map(|(w, z)| w - z).fold(0.0, square).sqrt();
            let norm = w.iter().copied().fold(0.0, square).sqrt();
            residuals.push(Residual {
                layer: name.trim_end_matches(".weight").to_owned(),
                dimension: self.dimension,
                value: (apart / norm.max(1e-30)) as f32,
            });
        }
        self.rho *= self.growth;
        self.updates += 1;
        Ok(residuals)
    }
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

    fn after_epoch(&mut self, epoch: u32, weights: &Weights) -> Result<Option<Event>> {
        if !epoch.is_multiple_of(self.every) {
            return Ok(None);
        }
        let layers = self.update(weights)?;
        Ok(Some(Event::Residuals {
            update: self.updates,
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
    let mut admm = AdmmState::new(sites.clone(), densities.clone(), &model.weights, how)?;
    if admm.dual.is_empty() {
        return Ok(model.clone());
    }
    let plan = TrainingPlan::of_model(method, model, how.training().over(&ctx.train));
    let near = train::fit(ctx, stage, &plan, Some(model), Some(&mut admm))?;
    let masks = sites.project(&densities, &mut near.weights.clone())?;
    cut(&near, &masks)
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
    let (mut model, _) = trained_model(ctx, &config.locks)?;
    let unit = config.target.unit;
    let sites = Sites::new(&model, &Scope::new(&config.dimensions, config.floor, unit)).map_err(BadInput::of)?;
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

    fn admm(rho: f32) -> (AdmmState, Weights) {
        let model = random_model(zoo::build("m-cifarnet", [3, 12, 12], 3, 0.1).expect("builds"), 1).expect("builds");
        let scope = Scope::new(&[Dimension::Filter], 0.1, Unit::Macs);
        let sites = Sites::new(&model, &scope).expect("sites");
        let densities = vec![0.5; sites.list.len()];
        let how = AdmmSchedule {
            rho,
            growth: 1.0,
            ..AdmmSchedule::default()
        };
        let admm = AdmmState::new(sites, densities, &model.weights, &how).expect("projects");
        (admm, model.weights)
    }

    fn none(weights: &Weights) -> Gradients {
        weights
            .iter()
            .map(|(name, a)| (name.clone(), vec![0.0; a.data.len()]))
            .collect()
    }

    #[test]
    fn without_rho_nothing_pulls() {
        let (admm, weights) = admm(0.0);
        let mut gradients = none(&weights);
        admm.add(&weights, &mut gradients);
        assert!(gradients.values().flatten().all(|g| *g == 0.0));
    }

    #[test]
    fn without_a_loss_weights_come_to_z_less_u_and_the_residual_falls_to_nothing() {
        let (mut admm, mut weights) = admm(1.0);
        let mut residuals = Vec::new();
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
            let worst = admm
                .update(&weights)
                .expect("updates")
                .iter()
                .map(|r| r.value)
                .fold(0.0, f32::max);
            residuals.push(worst);
        }
        assert!(residuals[5] < 1e-3, "{residuals:?}");
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
        let how = AdmmSchedule {
            rho: 0.1,
            growth: 1.0,
            ..AdmmSchedule::default()
        };
        let mut admm = AdmmState::new(sites, vec![0.5], &model.weights, &how).expect("projects");
        let mut gradients = Gradients::from([("m.weight".to_owned(), vec![0.2; 16])]);
        admm.add(&model.weights, &mut gradients);
        let w = &mut model.weights.get_mut("m.weight").expect("there").data;
        w.iter_mut()
            .zip(&gradients["m.weight"])
            .for_each(|(w, g)| *w -= 0.5 * g);
        let near = |got: &[f32], expected: &[f32]| got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(w, &W1), "{w:?}");

        let residuals = admm.update(&model.weights).expect("updates");
        let stays = |i: usize| (i / 4).is_multiple_of(2);
        let part = |of: bool| -> Vec<f32> { (0..16).map(|i| if stays(i) == of { W1[i] } else { 0.0 }).collect() };
        let (z, u) = (&admm.target["m.weight"].data, &admm.dual["m.weight"]);
        assert!(near(z, &part(true)), "{z:?}");
        assert!(near(u, &part(false)), "{u:?}");
        let norm = W1.iter().map(|w| w * w).sum::<f32>().sqrt();
        assert!((residuals[0].value - 1.611_676 / norm).abs() < 1e-6, "{residuals:?}");
        let penalty: f32 = W1.iter().zip(z).zip(u).map(|((w, z), u)| (w - z + u).powi(2)).sum();
        assert!((admm.rho / 2.0 * penalty - 0.5195).abs() < 1e-4);
    }

    #[test]
    fn its_state_comes_back() {
        let (mut one, weights) = admm(0.5);
        one.update(&weights).expect("updates");
        let (mut other, _) = admm(0.5);
        other.restore(one.save());
        assert_eq!(
            (&other.dual, other.rho, other.updates),
            (&one.dual, one.rho, one.updates)
        );
        let projected = |p: &AdmmState| p.dual.keys().map(|name| p.target[name].clone()).collect::<Vec<_>>();
        assert_eq!(projected(&other), projected(&one));
    }
}
