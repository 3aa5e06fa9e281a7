//! One density for each gate of a trained FBS network, annealed under a budget: a non-uniform frontier beside the uniform one.
//! Nothing is trained; the paper (arXiv 1810.05331) gives all layers the same density.
//! Knows nothing of how gates are computed.

use crate::budget::Budget;
use crate::locks::{EarlierSearches, Lock, check_densities, check_sites, held_densities};
use crate::pipeline::{PruningTarget, trained_model};
use crate::search_loop::SearchLoop;
use crate::search_target::SearchTarget;
use anyhow::{Result, ensure};
use event::{BadInput, Dimension, Site, Unit};
use infer::Engine;
use model::{Checkpoint, Density, Fractions, cost};
use search::{Anneal, AnnealConfig};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::Ctx;

settings! {
    /// Settings of the search for densities.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct DensitiesConfig {
        /// How much less than at density 1.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// Validation images that each trial is measured on.
        pub images: usize = 1000, number(at_least(1); "images");
        /// Layers whose gates are left alone, e.g. `[{ layer = "conv1" }]`; with `density` held at that density.
        pub locks: Vec<Lock> = Vec::new(), other;
        /// Annealing. Not guided: which layer can do with fewer channels is not known from its size.
        pub search: AnnealConfig = AnnealConfig { guided: false, ..AnnealConfig::default() }, section;
    }
    check unit_and_locks;
}

fn unit_and_locks(config: &DensitiesConfig, at: &str) -> Result<()> {
    ensure!(
        config.target.unit != Unit::Weights,
        "{at}.target.unit is weights, expected macs or ms: gates leave all weights where they are"
    );
    check_densities(&config.locks, 0.0)
}

/// The gates of a model as a search target.
struct Gates<'a> {
    model: &'a Checkpoint,
    budget: &'a Budget,
    sites: Vec<Site>,
}

impl<'a> Gates<'a> {
    fn new(model: &'a Checkpoint, budget: &'a Budget) -> Result<Self> {
        let spec = model.spec();
        let shapes = spec.shapes()?;
        let layers = cost::by_layer(spec, &model.masks, &Fractions::dense(spec))?;
        let mut sites = Vec::new();
        for gate in spec.gates() {
            // A gate follows its convolution, perhaps behind a norm.
            let conv = layers.iter().rev().find(|l| l.node < gate && l.cost.macs_conv > 0);
            sites.push(Site {
                name: conv.map_or_else(|| spec.nodes[gate].name.clone(), |l| l.name.clone()),
                dimension: Dimension::Gate,
                size: conv.map_or(0.0, |l| l.cost.macs as f64),
                choices: shapes[gate][0],
                step: 1,
                tied: Vec::new(),
            });
        }
        Ok(Self { model, budget, sites })
    }

    fn densities(densities: &[f32]) -> Vec<Density> {
        densities.iter().map(|&d| Density::floor(d)).collect()
    }
}

impl SearchTarget for Gates<'_> {
    fn model(&self) -> &Checkpoint {
        self.model
    }

    fn sites(&self) -> &[Site] {
        &self.sites
    }

    fn spent(&self, densities: &[f32]) -> f64 {
        match self.budget.unit {
            Unit::Ms => {
                let layers = infer::gated_layers(self.model, &Self::densities(densities));
                self.budget.ms(&layers.unwrap_or_default())
            }
            _ => self.cost(densities)[0] as f64,
        }
    }

    fn cost(&self, densities: &[f32]) -> [u64; 2] {
        let spec = self.model.spec();
        let cost = Fractions::nominal(spec, &Self::densities(densities))
            .and_then(|fractions| cost::total(spec, &self.model.masks, &fractions))
            .unwrap_or_default();
        [cost.macs, cost.params]
    }

    fn apply(&self, engine: &mut Engine, densities: &[f32]) -> Result<()> {
        engine.set_densities(&Self::densities(densities));
        Ok(())
    }

    fn model_at(&self, densities: &[f32]) -> Result<Checkpoint> {
        let mut model = self.model.clone();
        model.header.gate_densities = Self::densities(densities);
        Ok(model)
    }
}

/// Searches densities for the gates of the model to start from.
///
/// # Errors
/// [`event::Cancelled`]; [`BadInput`] without a gated model to start from; a budget that cannot be met.
pub(crate) fn run(ctx: &mut Ctx, config: &DensitiesConfig) -> Result<Checkpoint> {
    let gated = ctx.start.as_ref().is_some_and(Checkpoint::is_gated);
    if !gated {
        let text = "densities are searched for a model with gates: expected one as `start`";
        return Err(BadInput(text.into()).into());
    }
    let (model, _) = trained_model(ctx, &config.locks, 1)?;
    let budget = Budget::new(ctx, config.target.unit, &model)?;
    let gates = Gates::new(&model, &budget)?;
    check_sites(&config.locks, &gates.sites)?;
    let limit = gates.spent(&vec![1.0; gates.sites.len()]) / config.target.times;
    let lowest = model.header.densities.first().copied().unwrap_or(Density::FULL);
    let search = SearchLoop {
        name: "densities".into(),
        target: &gates,
        floor: lowest.as_fraction() as f32,
        held: held_densities(&config.locks, &gates.sites, &EarlierSearches::default()),
        first: Vec::new(),
        unit: budget.unit,
        limit,
        images: config.images,
        reward: &|top1, _| top1,
    };
    let anneal = Anneal::new(config.search.clone(), ctx.seed)?;
    let found = search.run(ctx, "search", anneal)?;
    let model = gates.model_at(&found.densities)?;
    budget.report_latency(ctx, &model, limit)?;
    Ok(model)
}
