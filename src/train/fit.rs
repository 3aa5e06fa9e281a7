//! The training loop, in a screenful.
//! Knows nothing of where densities, masks and penalties come from or who listens.

use super::backward::{BatchGradients, TrainingBatch, backward};
use super::finish::{look, statistics};
use super::optimizer::{EntryMasks, Gradients, Rates, Sgd};
use super::{Ctx, Snapshot, TrainConfig};
use crate::net::{ForwardOptions, Net, NormStatistics, Norms};
use anyhow::{Result, ensure};
use data::batch;
use data::batch::Epoch;
use event::{BadInput, Cancelled, Event};
use model::mask::Masks;
use model::{Array, Checkpoint, Density, NetSpec, Weights, mask, weights};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a method asks of the loop.
#[derive(Clone)]
pub struct TrainingPlan<'a> {
    /// Name kept with the model.
    pub method: &'static str,
    /// The network to train.
    pub spec: NetSpec,
    /// How long and how fast.
    pub train: TrainConfig,
    /// What must stay zero.
    pub masks: Masks,
    /// λ of the saliency term.
    pub lambda: f32,
    /// Over which images norms are taken.
    pub norm_statistics: NormStatistics,
    /// Densities of a step (step, of steps): one entry for each equal part of the batch.
    pub densities: &'a dyn Fn(u64, u64) -> Vec<Density>,
    /// Densities to keep norm statistics for, rising.
    pub kept: Vec<Density>,
    /// Training images that statistics are measured on.
    pub calibration: usize,
}

impl TrainingPlan<'_> {
    /// Plain training of a network without gates.
    pub fn plain(method: &'static str, spec: NetSpec, train: TrainConfig) -> Self {
        Self {
            method,
            spec,
            train,
            masks: Masks::new(),
            lambda: 0.0,
            norm_statistics: NormStatistics::All,
            densities: &|_, _| vec![Density::FULL],
            kept: vec![Density::FULL],
            calibration: 2048,
        }
    }
}

/// A force on the weights beside the loss: a penalty's gradient.
pub trait Penalty {
    /// Adds its gradient to the loss's.
    fn add(&self, weights: &Weights, gradients: &mut Gradients);

    /// After epoch `epoch` of `of`: moves whatever it pulls towards. What it gives is said.
    ///
    /// # Errors
    /// The weights are not those it was made for.
    fn epoch(&mut self, epoch: u32, of: u32, weights: &Weights) -> Result<Option<Event>>;

    /// Its own state, to be remembered.
    fn save(&self) -> Weights;

    /// Takes back what [`Penalty::save`] gave.
    fn restore(&mut self, saved: Weights);
}

/// Where a training stands after a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct TrainingProgress {
    steps: u64,
    /// Sums since the last `step` event.
    loss: f64,
    right: usize,
    images: usize,
}

/// Trains a network as planned, as the stage called `stage`, from `start`'s weights or random ones; measures it on the
/// validation images after every epoch but the last, and its norm statistics at the end.
///
/// # Errors
/// [`Cancelled`]; a loss that is not a number (with the step); [`BadInput`] if `start` does not fit the network.
pub fn fit(
    ctx: &mut Ctx,
    stage: &str,
    plan: &TrainingPlan,
    start: Option<&Checkpoint>,
    mut pull: Option<&mut dyn Penalty>,
) -> Result<Checkpoint> {
    ctx.stage(stage, |ctx, begun| {
        let model = learn(ctx, stage, plan, start, &mut pull, begun)?;
        Ok(Snapshot {
            model: Some(model),
            ..Snapshot::default()
        })
    })?
    .model()
}

fn learn(
    ctx: &mut Ctx,
    stage: &str,
    plan: &TrainingPlan,
    start: Option<&Checkpoint>,
    pull: &mut Option<&mut dyn Penalty>,
    begun: Option<Snapshot>,
) -> Result<Checkpoint> {
    let train = &plan.train;
    let n = ctx.splits.train.len();
    if n < train.batch {
        let text = format!("{n} training images are less than one batch of {}", train.batch);
        return Err(BadInput(text).into());
    }
    let per_epoch = (n / train.batch) as u64;
    let steps = per_epoch * u64::from(train.epochs);
    let mut state = TrainingState {
        place: TrainingProgress::default(),
        weights: starting_weights(ctx.seed, &plan.spec, start)?,
        kept: mask::kept_entries(&plan.spec, &plan.masks)?,
        sgd: Sgd::default(),
    };
    state.clear_dead();
    let mut net = Net::new(Arc::new(plan.spec.clone()), &state.weights, &ctx.device)?;
    if let Some(snapshot) = begun {
        state.restore(snapshot, pull)?;
    }
    let mut order = Vec::new();
    loop {
        // Whatever follows a step may be told again after an interruption, so the place is marked before it.
        let mark = ResumePoint {
            said: ctx.memory.said(),
            place: state.place.clone(),
            pulled: pull
                .as_ref()
                .filter(|_| state.place.steps.is_multiple_of(per_epoch))
                .map(|p| p.save()),
        };
        if ctx.memory.is_due() {
            ctx.memory.save(stage, state.save(&mark, ctx.done, pull), false)?;
        }
        match on(ctx, stage, plan, &mut net, &mut state, pull, &mut order) {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => {
                if e.is::<Cancelled>() {
                    ctx.memory.save(stage, state.save(&mark, ctx.done, pull), false)?;
                }
                return Err(e);
            }
        }
    }
    net.set(&state.weights);
    let densities = plan.kept.clone();
    let model = statistics(ctx, plan, &net, state.weights, densities)?;
    ctx.done = [ctx.done[0] + steps, ctx.done[1] + u64::from(train.epochs)];
    Ok(model)
}

/// All that changes while a network learns.
struct TrainingState {
    place: TrainingProgress,
    weights: Weights,
    kept: EntryMasks,
    sgd: Sgd,
}

impl TrainingState {
    fn clear_dead(&mut self) {
        for (name, kept) in &self.kept {
            let Some(array) = self.weights.get_mut(name) else {
                continue;
            };
            array
                .data
                .iter_mut()
                .zip(kept)
                .filter(|(_, kept)| !**kept)
                .for_each(|(w, _)| *w = 0.0);
        }
    }

    fn save(&self, mark: &ResumePoint, done: [u64; 2], pull: &Option<&mut dyn Penalty>) -> Snapshot {
        let mut arrays = Weights::new();
        let mut put = |kind: &str, name: &str, array: Array| arrays.insert(format!("{kind}:{name}"), array);
        for (name, array) in &self.weights {
            put("w", name, array.clone());
        }
        for (name, v) in &self.sgd.velocity {
            let shape = vec![v.len()];
            put("v", name, Array { shape, data: v.clone() });
        }
        let pulled = mark.pulled.clone().or_else(|| pull.as_ref().map(|p| p.save()));
        for (name, array) in pulled.unwrap_or_default() {
            put("p", &name, array);
        }
        Snapshot {
            said: mark.said,
            done,
            facts: serde_json::to_value(&mark.place).unwrap_or_default(),
            arrays,
            model: None,
        }
    }

    fn restore(&mut self, snapshot: Snapshot, pull: &mut Option<&mut dyn Penalty>) -> Result<()> {
        self.place = snapshot.facts()?;
        let mut pulled = Weights::new();
        for (key, array) in snapshot.arrays {
            match key.split_once(':') {
                Some(("w", name)) => {
                    let fits = self.weights.get(name).is_some_and(|w| w.shape == array.shape);
                    ensure!(
                        fits,
                        "the remembered {name} does not fit a network made with these settings: fork from an earlier event"
                    );
                    self.weights.insert(name.to_owned(), array);
                }
                Some(("v", name)) => drop(self.sgd.velocity.insert(name.to_owned(), array.data)),
                Some(("p", name)) => drop(pulled.insert(name.to_owned(), array)),
                _ => {}
            }
        }
        if let Some(pull) = pull {
            pull.restore(pulled);
        }
        Ok(())
    }
}

/// The state at a step's end, before anything was said of it. Weights and velocities do not change until the next step's end.
struct ResumePoint {
    said: u64,
    place: TrainingProgress,
    /// At the end of an epoch, when it is about to change.
    pulled: Option<Weights>,
}

/// What follows a step, then the next one. False when all are done.
fn on(
    ctx: &mut Ctx,
    stage: &str,
    plan: &TrainingPlan,
    net: &mut Net,
    state: &mut TrainingState,
    pull: &mut Option<&mut dyn Penalty>,
    order: &mut Vec<u32>,
) -> Result<bool> {
    let train = &plan.train;
    let per_epoch = (ctx.splits.train.len() / train.batch) as u64;
    let (done, steps) = (state.place.steps, per_epoch * u64::from(train.epochs));
    if done > 0 {
        after(ctx, plan, net, state, pull)?;
    }
    // A fork may plan fewer steps than were done.
    if done >= steps {
        return Ok(false);
    }
    let epoch = Epoch {
        seed: ctx.seed,
        number: ctx.done[1] + done / per_epoch,
    };
    if done.is_multiple_of(per_epoch) {
        let of = if stage.is_empty() {
            String::new()
        } else {
            format!("{stage}: ")
        };
        (ctx.emit)(Event::Phase {
            name: format!("{of}epoch {} of {}", done / per_epoch + 1, train.epochs),
            progress: (ctx.done[0] + done) as f32 / ctx.steps.max(1) as f32,
        })?;
    }
    if order.is_empty() || done.is_multiple_of(per_epoch) {
        *order = batch::epoch_order(epoch, &ctx.splits.train);
    }
    let at = (done % per_epoch) as usize * train.batch;
    one_step(ctx, plan, net, state, pull, epoch, &order[at..at + train.batch])?;
    Ok(true)
}

/// What is said after a step, and done after an epoch.
fn after(
    ctx: &mut Ctx,
    plan: &TrainingPlan,
    net: &mut Net,
    state: &mut TrainingState,
    pull: &mut Option<&mut dyn Penalty>,
) -> Result<()> {
    let train = &plan.train;
    let per_epoch = (ctx.splits.train.len() / train.batch) as u64;
    let (done, steps) = (state.place.steps, per_epoch * u64::from(train.epochs));
    if done.is_multiple_of(train.log_every) || done == steps {
        let images = state.place.images.max(1) as f64;
        (ctx.emit)(Event::Step {
            step: ctx.done[0] + done,
            loss: (state.place.loss / images) as f32,
            top1: (state.place.right as f64 / images) as f32,
            lr: train.lr_at(done - 1, steps),
        })?;
        state.place = TrainingProgress {
            steps: done,
            ..TrainingProgress::default()
        };
    }
    if done.is_multiple_of(per_epoch) {
        let epoch = (done / per_epoch) as u32;
        if epoch < train.epochs {
            net.set(&state.weights);
            look(ctx, plan, net, &state.weights, epoch)?;
        }
        if let Some(pull) = pull
            && let Some(event) = pull.epoch(epoch, train.epochs, &state.weights)?
        {
            (ctx.emit)(event)?;
        }
    }
    Ok(())
}

/// The weights that `spec` begins with: random ones, and over them whatever `start` has by the same names.
///
/// # Errors
/// [`BadInput`]: `start` has an array of another shape, or shares none.
pub(crate) fn starting_weights(seed: u64, spec: &NetSpec, start: Option<&Checkpoint>) -> Result<Weights> {
    let mut weights = weights::init(spec, seed)?;
    let Some(from) = start else { return Ok(weights) };
    let mut taken = 0;
    for (name, to) in &mut weights {
        let Some(array) = from.weights.get(name) else { continue };
        if array.shape != to.shape {
            return Err(BadInput(format!(
                "the model to start from has {name} of shape {:?}, expected {:?}",
                array.shape, to.shape
            ))
            .into());
        }
        to.data.clone_from(&array.data);
        taken += 1;
    }
    if taken == 0 {
        return Err(BadInput(format!("the model to start from shares no weights with {}", spec.name)).into());
    }
    Ok(weights)
}

/// Densities, a batch, gradients, the pull, the update.
fn one_step(
    ctx: &Ctx,
    plan: &TrainingPlan,
    net: &Net,
    state: &mut TrainingState,
    pull: &Option<&mut dyn Penalty>,
    epoch: Epoch,
    indices: &[u32],
) -> Result<()> {
    let number = state.place.steps;
    let steps = (ctx.splits.train.len() / plan.train.batch) as u64 * u64::from(plan.train.epochs);
    let mut densities = (plan.densities)(number, steps);
    if !indices.len().is_multiple_of(densities.len()) {
        densities.truncate(1);
    }
    let gates = net.spec.gates().len();
    let groups: Vec<Vec<Density>> = densities.iter().map(|&d| vec![d; gates]).collect();
    let mut pixels = Vec::new();
    let augment = Some((&ctx.augment, epoch));
    batch::fill(&ctx.data.train, indices, augment, &ctx.normalization, &mut pixels);
    let labels = batch::labels(&ctx.data.train, indices).into_iter().map(usize::from);
    let labels: Vec<usize> = labels.collect();
    let lesson = TrainingBatch {
        pixels,
        labels: &labels,
        pass: ForwardOptions {
            groups: &groups,
            norms: Norms::Batch(plan.norm_statistics),
            dropout: Some(ctx.seed ^ ((ctx.done[0] + number) << 20)),
        },
        label_smoothing: plan.train.label_smoothing,
        lambda: plan.lambda,
        check: ctx.check,
    };
    let BatchGradients {
        loss,
        right,
        mut gradients,
    } = backward(net, &state.weights, lesson).map_err(|e| {
        // A stop must stay one that can be told from a failure.
        if e.is::<Cancelled>() {
            e
        } else {
            e.context(format!("step {}", ctx.done[0] + number + 1))
        }
    })?;
    if let Some(pull) = pull {
        pull.add(&state.weights, &mut gradients);
    }
    let rates = Rates {
        lr: plan.train.lr_at(number, steps),
        momentum: plan.train.momentum,
        weight_decay: plan.train.weight_decay,
        clip_norm: plan.train.clip_norm,
    };
    state.sgd.step(&mut state.weights, &gradients, &state.kept, rates);
    let place = &mut state.place;
    place.steps += 1;
    place.loss += f64::from(loss) * indices.len() as f64;
    place.right += right;
    place.images += indices.len();
    Ok(())
}
