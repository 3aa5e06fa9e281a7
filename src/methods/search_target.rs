//! What is searched over: the sites of a model, what densities cost there, and how a compiled model takes them.
//! Knows nothing of searches or of accuracy.

use crate::budget::Budget;
use crate::pipeline::{self, TrainingStage};
use anyhow::Result;
use data::Split;
use event::Site;
use infer::{Engine, LatencyTable, Options};
use model::{Checkpoint, Density};
use prune::Sites;
use train::{Ctx, TrainConfig, TrainingPlan};

/// Training images that norms are measured on after the training of a trial.
const TUNED_CALIBRATION: usize = 512;

/// What is searched over: the sites of a model, what densities cost there, and how a compiled model takes them.
pub(crate) trait SearchTarget {
    /// The model that densities are applied to.
    fn model(&self) -> &Checkpoint;

    /// What is decided.
    fn sites(&self) -> &[Site];

    /// What densities spend, in the budget's unit.
    fn spent(&self, densities: &[f32]) -> f64;

    /// MACs per image and parameters.
    fn cost(&self, densities: &[f32]) -> [u64; 2];

    /// The times of layers that milliseconds are counted by.
    fn times(&self) -> Option<&LatencyTable> {
        None
    }

    /// Makes a compiled model run at these densities.
    ///
    /// # Errors
    /// They do not fit the model.
    fn apply(&self, engine: &mut Engine, densities: &[f32]) -> Result<()>;

    /// The model at these densities, as a file can hold it.
    ///
    /// # Errors
    /// They do not fit the model.
    fn model_at(&self, densities: &[f32]) -> Result<Checkpoint>;

    /// The pruned model after a little training, for a trial to be measured on; none if trials are measured untrained.
    ///
    /// # Errors
    /// As [`train::tune`].
    fn tuned(&self, _ctx: &Ctx, _densities: &[f32]) -> Result<Option<Checkpoint>> {
        Ok(None)
    }

    /// Steps of that training; part of the search's fingerprint.
    fn tuning_steps(&self) -> u64 {
        0
    }

    /// Inputs that norms are measured on before a trial, as a number of floats; part of the search's fingerprint.
    fn calibration_len(&self) -> usize {
        0
    }
}

/// Filters, channels, columns or single weights of a model, left out by masks.
pub(crate) struct Structures<'a> {
    model: &'a Checkpoint,
    sites: &'a Sites,
    budget: &'a Budget,
    /// Training images that norms are measured on anew under the masks of each trial, `[n, c, h, w]` normalized.
    calibration: Vec<f32>,
    /// Steps of training before each trial, and how they are done.
    tuning: Option<(u64, TrainConfig)>,
}

impl<'a> Structures<'a> {
    /// Trials run with norms measured anew on `calibration` training images. None leaves norms as they are, as the papers do;
    /// then deeply pruned models are all at chance, and the search cannot tell them apart.
    pub(crate) fn new(
        ctx: &Ctx,
        model: &'a Checkpoint,
        sites: &'a Sites,
        budget: &'a Budget,
        calibration: usize,
    ) -> Self {
        let indices = data::spread(&ctx.data.splits.train, calibration);
        Self {
            model,
            sites,
            budget,
            calibration: ctx.data.pixels(Split::Train, &indices),
            tuning: None,
        }
    }

    /// Trains for so many steps of `retrain` before each trial is measured. When cuts are deep, accuracy without any training
    /// tells little of accuracy after it.
    pub(crate) fn tuned_for(self, ctx: &Ctx, steps: u64, retrain: &TrainingStage) -> Self {
        Self {
            tuning: (steps > 0).then(|| (steps, retrain.over(&ctx.train))),
            ..self
        }
    }
}

impl SearchTarget for Structures<'_> {
    fn model(&self) -> &Checkpoint {
        self.model
    }

    fn sites(&self) -> &[Site] {
        &self.sites.list
    }

    fn spent(&self, densities: &[f32]) -> f64 {
        self.budget.spent(self.sites, densities)
    }

    fn cost(&self, densities: &[f32]) -> [u64; 2] {
        let cost = self.sites.cost(densities);
        [cost.macs, cost.params]
    }

    fn times(&self) -> Option<&LatencyTable> {
        self.budget.times()
    }

    fn apply(&self, engine: &mut Engine, densities: &[f32]) -> Result<()> {
        engine.set_masks(&self.sites.masks(densities, &self.model.weights)?)?;
        if !self.calibration.is_empty() {
            engine.calibrate(&self.calibration);
        }
        Ok(())
    }

    fn model_at(&self, densities: &[f32]) -> Result<Checkpoint> {
        let masks = self.sites.masks(densities, &self.model.weights)?;
        let mut model = prune::apply(self.model, &masks)?;
        if !self.calibration.is_empty() {
            let mut engine = infer::compile(&model, &Options::default())?;
            model.stats = [(Density::FULL, engine.calibrate(&self.calibration))].into();
        }
        // Those are of the model before.
        model.header.metrics.clear();
        Ok(model)
    }

    fn tuned(&self, ctx: &Ctx, densities: &[f32]) -> Result<Option<Checkpoint>> {
        let Some((steps, train)) = &self.tuning else {
            return Ok(None);
        };
        let cut = pipeline::cut(self.model, &self.sites.masks(densities, &self.model.weights)?)?;
        let plan = TrainingPlan {
            calibration: TUNED_CALIBRATION,
            ..TrainingPlan::of_model("trial", &cut, train.clone())
        };
        train::tune(ctx, &plan, &cut, *steps).map(Some)
    }

    fn tuning_steps(&self) -> u64 {
        self.tuning.as_ref().map_or(0, |(steps, _)| *steps)
    }

    fn calibration_len(&self) -> usize {
        self.calibration.len()
    }
}
