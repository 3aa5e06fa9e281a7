//! HALP (Shen et al., arXiv 2110.10811): how many filters each layer keeps is a knapsack. A filter is worth its first-order
//! importance and costs what its layer takes longer with it on this machine; the most worth within the budget is found by dynamic
//! programming.
//! Knows nothing of how layers are timed or knapsacks packed.
//!
//! ```text
//! for each pass, with a budget that falls by equal factors to the target:
//!     I_l(i) = (Σ w·∂loss/∂w)²  of the filters of each layer, falling                     (of γ and β behind norms)
//!     T_l(k): what layer l takes with its k most important filters and the inputs it has now
//!     keep k_l filters:  max Σ_l Σ_{i ≤ k_l} I_l(i)   with   Σ_l T_l(k_l) ≤ C;   train
//! ```
//!
//! With fewer inputs layers take less than T_l says, so C is chosen such that what is left just meets the pass's budget.

use crate::budget::Budget;
use crate::pipeline::{PruningTarget, TrainingStage, check_target, cut, retrain, trained_model};
use crate::ranking::Ranking;
use anyhow::Result;
use event::{BadInput, Dimension, Unit};
use model::Checkpoint;
use prune::{Scope, Sites};
use search::{Choice, Space, knapsack};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::Ctx;

/// Halvings of the interval in which C is looked for.
const HALVINGS: usize = 20;

settings! {
    /// Settings of the latency knapsack.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct HalpConfig {
        /// How much is pruned. The paper counts milliseconds; filters can be priced in MACs or weights as well.
        pub target: PruningTarget = PruningTarget { unit: Unit::Ms, times: 2.0 }, section;
        /// Least share of a layer that stays in one pass.
        pub floor: f32 = 0.05, number(above(0), at_most(1));
        /// Channels are cut so that what is left is a multiple of this, or all, as vector code runs fastest on (16 where files run
        /// with AVX-512); layers of fewer channels are cut to any width, and 1 leaves all widths free.
        pub width_multiple: usize = 8, number(within(1, 1024); "channels");
        /// How often filters are scored and cut; each pass takes its equal share, as a factor.
        pub passes: u32 = 3, number(within(1, 64); "passes");
        /// Training between two passes.
        pub between: TrainingStage = TrainingStage { epochs: 1, ..TrainingStage::default() }, section;
        /// Training after the last pass.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
}

/// Prunes the network, or the model to start from.
pub(crate) fn run(ctx: &mut Ctx, config: &HalpConfig) -> Result<Checkpoint> {
    let unit = config.target.unit;
    let scope = |floor: f32| Scope::new(&[Dimension::Filter], floor, unit);
    let least = scope(config.floor.powi(config.passes as i32).max(f32::MIN_POSITIVE));
    check_target(ctx, &config.target, &least, (&[], config.width_multiple))?;
    let (mut model, _) = trained_model(ctx, &[], config.width_multiple)?;
    let budget = Budget::new(ctx, unit, &model)?;
    let unpruned = budget.unpruned(&Sites::new(&model, &scope(config.floor)).map_err(BadInput::of)?);
    for pass in 1..=config.passes {
        let score = Ranking::Taylor.score(ctx, &format!("pass {pass}/ranking"), &model)?;
        let sites = Sites::new(&model, &scope(config.floor).by(score)).map_err(BadInput::of)?;
        let share = f64::from(pass) / f64::from(config.passes);
        let limit = unpruned / config.target.times.powf(share);
        let densities = packed(&sites, &budget, config.floor, limit).map_err(BadInput::of)?;
        model = cut(&model, &sites.masks(&densities, &model.weights)?)?;
        let training = if pass < config.passes {
            &config.between
        } else {
            &config.retrain
        };
        model = retrain(ctx, &format!("pass {pass}/retraining"), "halp", &model, training)?;
    }
    budget.report_latency(ctx, &model, unpruned / config.target.times)?;
    Ok(model)
}

/// The densities of most importance that meet a limit.
fn packed(sites: &Sites, budget: &Budget, floor: f32, limit: f64) -> Result<Vec<f32>> {
    let spent = |densities: &[f32]| budget.spent(sites, densities);
    let space = Space {
        sites: &sites.list,
        floor: vec![floor; sites.list.len()],
        locks: vec![None; sites.list.len()],
        budget: limit,
        spent: &spent,
    };
    space.check()?;
    let groups: Vec<Vec<(f32, Choice)>> = (0..sites.list.len())
        .map(|site| choices(sites, budget, floor, site))
        .collect();
    let choices: Vec<Vec<Choice>> = groups.iter().map(|g| g.iter().map(|c| c.1).collect()).collect();
    let whole: f64 = choices.iter().filter_map(|g| g.last()).map(|c| c.cost).sum();
    let mut best: Vec<f32> = vec![floor; sites.list.len()];
    let [mut low, mut high] = [0.0, whole];
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let chosen = knapsack(&choices, middle);
        let densities = chosen.map(|chosen| groups.iter().zip(chosen).map(|(g, i)| g[i].0).collect::<Vec<f32>>());
        match densities {
            Some(densities) if spent(&densities) > limit => high = middle,
            Some(densities) => (low, best) = (middle, densities),
            None => low = middle,
        }
    }
    space.exactly(&best)
}

/// Every width of a site, rising: its density, what the site's layers cost with it, and the importance of what is kept.
fn choices(sites: &Sites, budget: &Budget, floor: f32, site: usize) -> Vec<(f32, Choice)> {
    let (of, scores) = (&sites.list[site], sites.scores(site));
    let mut densities = vec![1.0; sites.list.len()];
    let widths = (of.step..of.choices).step_by(of.step).chain([of.choices]);
    let widths = widths.filter(|&k| k as f32 >= floor * of.choices as f32 - 1e-3 || k == of.choices);
    let each = widths.map(|kept| {
        densities[site] = kept as f32 / of.choices as f32;
        let own = |name: &str| name == of.name || of.tied.iter().any(|t| t == name);
        let layers = budget.by_layer(sites, &densities);
        let choice = Choice {
            cost: layers
                .iter()
                .filter(|(name, _)| own(name))
                .map(|(_, spent)| spent)
                .sum(),
            value: scores[..kept].iter().map(|s| f64::from(*s) * f64::from(*s)).sum(),
        };
        (densities[site], choice)
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{random_model, zoo};
    use prune::Score;

    #[test]
    fn what_matters_stays_and_the_limit_is_met() {
        let model = random_model(zoo::build("m-cifarnet", [3, 16, 16], 4, 0.2).expect("builds"), 1).expect("builds");
        // Filters of conv3 matter much more than all others.
        let mut by_weights = model.weights.clone();
        for (name, array) in &mut by_weights {
            if name.ends_with(".gamma") || name.ends_with(".beta") {
                let weight = if name.starts_with("conv3.norm") { 10.0 } else { 0.1 };
                array.data.iter_mut().for_each(|w| *w = weight);
            }
        }
        let score = Score::Taylor(std::sync::Arc::new(by_weights));
        let scope = Scope::new(&[Dimension::Filter], 0.05, Unit::Macs).by(score);
        let sites = Sites::new(&model, &scope).expect("sites");
        let budget = Budget::counting(Unit::Macs);
        let limit = budget.unpruned(&sites) / 6.0;
        let densities = packed(&sites, &budget, 0.05, limit).expect("packs");
        let spent = budget.spent(&sites, &densities);
        assert!(spent <= limit && spent > 0.9 * limit, "{spent} of {limit}");
        let most = densities.iter().copied().fold(0.0, f32::max);
        let at = sites.list.iter().position(|s| s.name == "conv3").expect("a site");
        assert!(densities[at] == most && most > 0.5, "{densities:?}");
        let text = packed(&sites, &budget, 0.9, limit).expect_err("too little").to_string();
        assert!(text.contains("cannot be met"), "{text}");
    }
}
