//! What a method asks of the training loop: a plan, and a penalty beside the loss.
//! Knows nothing of the loop.

use crate::config::TrainConfig;
use crate::norm_statistics::NormStatistics;
use crate::optimizer::Gradients;
use anyhow::Result;
use event::Event;
use model::mask::Masks;
use model::{ByteInput, Checkpoint, Density, NetSpec, Weights};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a method asks of the training loop.
#[derive(Clone)]
pub struct TrainingPlan<'a> {
    /// The method's name, stored with the model.
    pub method: &'static str,
    /// The network to train.
    pub spec: NetSpec,
    /// How long and how fast.
    pub train: TrainConfig,
    /// What must stay zero.
    pub masks: Masks,
    /// The channels that are left of a network that was cut, as in [`model::checkpoint::ModelHeader`].
    pub channels: BTreeMap<String, Vec<u32>>,
    /// λ of the saliency term.
    pub lambda: f32,
    /// Over which images norms take their statistics.
    pub norm_statistics: NormStatistics,
    /// Densities of a step (step, of steps): one entry for each equal part of the batch.
    pub densities: &'a dyn Fn(u64, u64) -> Vec<Density>,
    /// Densities that the model gets norm statistics for, rising.
    pub grid: Vec<Density>,
    /// Training images that statistics are measured on.
    pub calibration: usize,
    /// Inputs of convolutions that are rounded to bytes while it trains, kept with the model.
    pub byte_inputs: BTreeMap<String, ByteInput>,
    /// What widths that are cut are multiples of, kept with the model.
    pub width_multiple: usize,
}

impl TrainingPlan<'_> {
    /// Plain training of a network without gates.
    pub fn plain(method: &'static str, spec: NetSpec, train: TrainConfig) -> Self {
        Self {
            method,
            spec,
            train,
            masks: Masks::new(),
            channels: BTreeMap::new(),
            lambda: 0.0,
            norm_statistics: NormStatistics::All,
            densities: &|_, _| vec![Density::FULL],
            grid: vec![Density::FULL],
            calibration: 2048,
            byte_inputs: BTreeMap::new(),
            width_multiple: 1,
        }
    }

    /// Plain training of a model, its masks held.
    pub fn of_model(method: &'static str, model: &Checkpoint, train: TrainConfig) -> Self {
        Self {
            masks: model.masks.clone(),
            width_multiple: model.header.width_multiple,
            channels: model.header.channels.clone(),
            ..Self::plain(method, model.spec().clone(), train)
        }
    }
}

/// A penalty beside the loss, given by its gradient.
pub trait Penalty {
    /// Adds its gradient to the loss's.
    fn add(&self, weights: &Weights, gradients: &mut Gradients);

    /// The steps, of `steps` in all, over which the learning rate rises and falls once; `step` is one of them.
    fn schedule(&self, _step: u64, steps: u64) -> Range<u64> {
        0..steps
    }

    /// Whether it is updated once so many steps are done.
    fn is_due(&self, _done: u64) -> bool {
        false
    }

    /// Moves what it pulls towards when that is due, and gives an event to emit.
    ///
    /// # Errors
    /// The weights are not those it was made for.
    fn update(&mut self, _weights: &Weights) -> Result<Option<Event>> {
        Ok(None)
    }

    /// Its own state, to be remembered.
    fn save(&self) -> Weights {
        Weights::new()
    }

    /// Takes back what [`Penalty::save`] gave.
    fn restore(&mut self, _saved: Weights) {}
}
