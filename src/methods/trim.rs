//! The end of a comparison on equal terms: every method's result is brought to exactly the same cost, by its own ranking, and
//! then trained in the same way.
//! Knows nothing of how a method came to its result.

use crate::baselines::BaselineConfig;
use crate::budget::Budget;
use crate::method::Method;
use crate::pipeline::{PruningTarget, TrainingStage, check_reach, retrain};
use anyhow::Result;
use event::{BadInput, Dimension, Event};
use model::Checkpoint;
use prune::{Resize, Scope, Score, Sites};
use search::{Greedy, Space};
use serde::{Deserialize, Serialize};
use settings::settings;
use train::{Ctx, TrainConfig};

settings! {
    /// Brings a method's result to an exact cost and trains it, so that methods can be compared.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct TrimConfig {
        /// The cost, compared with the model that the run starts from.
        pub target: PruningTarget = PruningTarget::default(), section;
        /// Channels are cut so that what is left is a multiple of this, or all; 1 leaves all widths free, and the cost exact.
        pub width_multiple: usize = 1, number(within(1, 1024); "channels");
        /// Training afterwards, with zeros held.
        pub retrain: TrainingStage = TrainingStage::default(), section;
    }
}

impl TrimConfig {
    /// Brings `model`, which `method` made from `whole`, to exactly the target, and trains it.
    ///
    /// # Errors
    /// [`event::Cancelled`]; [`BadInput`] for a model that cannot be resized.
    pub fn trim(&self, ctx: &mut Ctx, method: &Method, [whole, model]: [&Checkpoint; 2]) -> Result<Checkpoint> {
        let budget = Budget::new(ctx, self.target.unit, whole)?;
        let mut whole = whole.clone();
        whole.header.width_multiple = self.width_multiple;
        let resize = Resize::new(&whole, model, self.target.unit, method.ranking()).map_err(BadInput::of)?;
        let sites = &resize.sites;
        let limit = budget.unpruned(sites) / self.target.times;
        let space = Space {
            sites: &sites.list,
            // Of each site one choice stays.
            floor: vec![1e-6; sites.list.len()],
            locks: vec![None; sites.list.len()],
            budget: limit,
            spent: &|densities| budget.spent(sites, densities),
        };
        let densities = space.exactly(&resize.densities).map_err(BadInput::of)?;
        let name = format!(
            "trimmed from {:.4} to {:.4} of the target",
            budget.spent(sites, &resize.densities) / limit,
            budget.spent(sites, &densities) / limit
        );
        ctx.emit(Event::Phase { name, progress: 0.0 })?;
        retrain(
            ctx,
            "final training",
            method.kind(),
            &resize.at(&densities)?,
            &self.retrain,
        )
    }
}

impl Method {
    /// What it ranks filters by.
    fn ranking(&self) -> Score {
        match self {
            Self::Slimming(_) => Score::NormScale,
            Self::GroupNorm(_) => Score::GroupNorm,
            _ => Score::L2,
        }
    }

    /// The same with this target and these widths, and without the retraining at its end: in a comparison [`TrimConfig`] does
    /// that for all. None for what does not prune to a target.
    pub fn on_equal_terms(&self, target: PruningTarget, width_multiple: usize) -> Option<Self> {
        let mut method = self.clone();
        let (aims_at, widths, retrain) = match &mut method {
            Self::Dense | Self::Fbs(_) | Self::Densities(_) | Self::Signal(_) => return None,
            // Rounds and passes in between train by themselves.
            Self::AutoCompress(c) => (&mut c.target, &mut c.width_multiple, None),
            Self::Slimming(c) => {
                let retrain = (c.passes == 1).then_some(&mut c.retrain);
                (&mut c.target, &mut c.width_multiple, retrain)
            }
            Self::GroupNorm(c) => (&mut c.target, &mut c.width_multiple, Some(&mut c.retrain)),
            Self::Halp(c) => (&mut c.target, &mut c.width_multiple, Some(&mut c.retrain)),
            Self::Admm(c) => (&mut c.target, &mut c.width_multiple, Some(&mut c.retrain)),
            Self::Amc(c) => (&mut c.target, &mut c.width_multiple, Some(&mut c.retrain)),
            Self::Uniform(c) | Self::Random(c) | Self::Greedy(c) => {
                (&mut c.target, &mut c.width_multiple, Some(&mut c.retrain))
            }
        };
        (*aims_at, *widths) = (target, width_multiple);
        if let Some(retrain) = retrain {
            retrain.epochs = 0;
        }
        Some(method)
    }

    /// Epochs of training and trials that it takes by itself, from a trained model on.
    pub fn takes(&self, train: &TrainConfig) -> [u64; 2] {
        let trials = match self {
            Self::Dense | Self::Fbs(_) | Self::Slimming(_) | Self::GroupNorm(_) | Self::Halp(_) | Self::Admm(_) => 0,
            Self::Densities(c) => c.search.trials,
            Self::AutoCompress(c) => {
                let rounds = c.search.trials * c.rounds().len() as u64;
                rounds + c.purify.search.trials * u64::from(c.purify.passes)
            }
            Self::Amc(c) => c.search.trials,
            Self::Uniform(_) => 1,
            Self::Random(c) | Self::Greedy(c) => c.trials,
            Self::Signal(c) => c.candidates * c.steps.len() as u64,
        };
        [self.epochs(train, true), trials]
    }

    /// Checks, before anything is trained, that it can meet its target with this network. Milliseconds are not known then.
    ///
    /// # Errors
    /// One line with the target and the nearest that can be met.
    pub fn check_target(&self, model: &Checkpoint) -> Result<()> {
        let filters = [Dimension::Filter];
        // A site may come to its floor in every round or pass.
        let (target, (dimensions, floor, rounds), locks) = match self {
            Self::Dense | Self::Fbs(_) | Self::Densities(_) | Self::Signal(_) => return Ok(()),
            Self::Slimming(c) => (
                &c.target,
                (&filters[..], c.floor, c.passes as usize),
                (&[][..], c.width_multiple),
            ),
            Self::GroupNorm(c) => (&c.target, (&filters[..], c.floor, 1), (&[][..], c.width_multiple)),
            Self::Halp(c) => {
                let scope = (&filters[..], c.floor, c.passes as usize);
                (&c.target, scope, (&[][..], c.width_multiple))
            }
            Self::Admm(c) => (
                &c.target,
                (&c.dimensions[..], c.floor, 1),
                (&c.locks[..], c.width_multiple),
            ),
            Self::AutoCompress(c) => {
                let scope = (&c.dimensions[..], c.floor, c.rounds().len());
                (&c.target, scope, (&c.locks[..], c.width_multiple))
            }
            Self::Amc(c) => {
                let floor = BaselineConfig::default().floor;
                (&c.target, (&filters[..], floor, 1), (&c.locks[..], c.width_multiple))
            }
            Self::Uniform(c) | Self::Random(c) | Self::Greedy(c) => (
                &c.target,
                (&c.dimensions[..], c.floor, 1),
                (&c.locks[..], c.width_multiple),
            ),
        };
        let scope = Scope::new(
            dimensions,
            floor.powi(rounds as i32).max(f32::MIN_POSITIVE),
            target.unit,
        );
        if let Self::Greedy(c) = self {
            Greedy::new(c.trials, Sites::new(model, &scope)?.list.len())?;
        }
        check_reach(model.clone(), target, &scope, locks)
    }
}
