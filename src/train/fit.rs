//! The training loop. Knows nothing of where densities, masks and penalties come from, or of who listens.

use crate::backward::{BatchGradients, TrainingBatch, backward};
use crate::context::Ctx;
use crate::evaluate::{checkpoint_of, evaluate_epoch};
use crate::finite;
use crate::net::{ForwardOptions, Net, Norms};
use crate::optimizer::{self, EntryMasks, Rates, Sgd};
use crate::plan::{Penalty, TrainingPlan};
use crate::stage_memory::Snapshot;
use crate::teacher::Teacher;
use crate::{saliency_bound, sparse_conv};
use anyhow::{Context, Result, ensure};
use data::batch;
use data::batch::Epoch;
use event::{BadInput, Cancelled, Event};
use model::spec::{Op, Subsample};
use model::{Array, Checkpoint, Density, NetSpec, Weights, mask, weights};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Trains a network as planned, as the stage called `stage`, from `start`'s weights or random ones; measures it on the
/// validation images after every epoch but the last, and its norm statistics at the end.
///
/// # Errors
/// [`Cancelled`]; a loss or a weight that is not a number (with the step and the layer); [`BadInput`] if `start` does not fit the network.
pub fn fit(
    ctx: &mut Ctx,
    stage: &str,
    plan: &TrainingPlan,
    start: Option<&Checkpoint>,
    penalty: Option<&mut dyn Penalty>,
) -> Result<Checkpoint> {
    let snapshot = ctx.stage(stage, |ctx, begun| {
        let mut training = Training::new(ctx, stage, plan, start, penalty)?;
        if let Some(snapshot) = begun {
            training.restore(snapshot)?;
        }
        Ok(Snapshot {
            model: Some(training.run(ctx)?),
            ..Snapshot::default()
        })
    })?;
    snapshot.model()
}

/// Trains a model for so many steps, its masks held, with one rise and fall of the learning rate and without a word: how good
/// a candidate of a search may become. The same images in the same order for each candidate.
///
/// # Errors
/// As [`fit`].
pub fn tune(ctx: &Ctx, plan: &TrainingPlan, start: &Checkpoint, steps: u64) -> Result<Checkpoint> {
    let mut training = Training::new(ctx, "", plan, Some(start), None)?;
    training.steps = steps;
    while training.progress.steps < steps {
        ctx.check()?;
        let epoch = training.begin_step(ctx);
        training.step(ctx, epoch)?;
    }
    training.net.set(&training.weights);
    checkpoint_of(ctx, plan, &training.net, training.weights, plan.grid.clone())
}

struct Training<'a, 'p> {
    stage: &'a str,
    plan: &'a TrainingPlan<'a>,
    penalty: Option<&'p mut dyn Penalty>,
    net: Net,
    weights: Weights,
    masks: EntryMasks,
    sgd: Sgd,
    teacher: Option<Teacher>,
    progress: TrainingProgress,
    /// This epoch's images in their order.
    order: Vec<u32>,
    steps_per_epoch: u64,
    steps: u64,
}

/// How far a training is after a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct TrainingProgress {
    steps: u64,
    /// Steps planned when it was remembered: whoever reads a checkpoint sees whether there are any left.
    #[serde(default)]
    of: u64,
    /// Whether [`saliency_bound`] holds after each step. Runs of older versions go on without.
    #[serde(default)]
    bound_saliencies: bool,
    /// What predictors read. Runs of older versions have read means.
    #[serde(default)]
    subsample: Subsample,
    /// Sums since the last `step` event.
    loss: f64,
    right: f64,
    images: usize,
}

/// The state at a step's end, before any event about it. Weights and velocities do not change until the next step's end.
struct ResumePoint {
    said: u64,
    progress: TrainingProgress,
    /// When it is about to change.
    penalty: Option<Weights>,
}

impl<'a, 'p> Training<'a, 'p> {
    fn new(
        ctx: &Ctx,
        stage: &'a str,
        plan: &'a TrainingPlan<'a>,
        start: Option<&Checkpoint>,
        penalty: Option<&'p mut dyn Penalty>,
    ) -> Result<Self> {
        let (n, batch) = (ctx.data.splits.train.len(), plan.train.batch);
        if n < batch {
            let text = format!("{n} training images are less than one batch of {batch} (train.batch)");
            return Err(BadInput(text).into());
        }
        let mut weights = starting_weights(ctx.seed, &plan.spec, start)?;
        // A trained model that strays further keeps its function.
        let is_free = start.is_some_and(|s| s.is_gated() && !saliency_bound::holds(s.spec(), &s.weights));
        let bound_saliencies = saliency_bound::is_needed(&plan.spec) && !is_free;
        if bound_saliencies {
            saliency_bound::apply(&plan.spec, &mut weights);
        }
        let masks = mask::kept_entries(&plan.spec, &plan.masks)?;
        for (name, mask) in &masks {
            let Some(array) = weights.get_mut(name) else { continue };
            let pruned = array.data.iter_mut().zip(mask).filter(|(_, active)| !**active);
            pruned.for_each(|(w, _)| *w = 0.0);
        }
        let steps_per_epoch = (n / batch) as u64;
        let mut net = Net::new(Arc::new(plan.spec.clone()), &weights, &ctx.device)?;
        net.set_bytes(&plan.byte_inputs);
        Ok(Self {
            net,
            stage,
            plan,
            penalty,
            weights,
            masks,
            sgd: Sgd::default(),
            teacher: teacher_of(ctx, &plan.spec)?,
            progress: TrainingProgress {
                bound_saliencies,
                subsample: subsample(&plan.spec),
                ..TrainingProgress::default()
            },
            order: Vec::new(),
            steps_per_epoch,
            steps: steps_per_epoch * u64::from(plan.train.epochs),
        })
    }

    fn run(mut self, ctx: &mut Ctx) -> Result<Checkpoint> {
        let memory = ctx.run.memory;
        loop {
            // After an interruption the events of a step are emitted again, so the training resumes before them.
            let point = ResumePoint {
                said: memory.said(),
                progress: self.progress.clone(),
                penalty: self
                    .penalty
                    .as_ref()
                    .filter(|p| p.is_due(self.progress.steps))
                    .map(|p| p.save()),
            };
            // At the end, too: from there a fork learns on for longer.
            if memory.is_due() || self.progress.steps == self.steps {
                self.check_finite(ctx.done)?;
                memory.save(self.stage, self.snapshot(&point, ctx.done), false)?;
            }
            match self.advance(ctx) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    // What has diverged is not worth going on from.
                    if e.is::<Cancelled>() && self.check_finite(ctx.done).is_ok() {
                        memory.save(self.stage, self.snapshot(&point, ctx.done), false)?;
                    }
                    return Err(e);
                }
            }
        }
        self.net.set(&self.weights);
        let model = checkpoint_of(ctx, self.plan, &self.net, self.weights, self.plan.grid.clone())?;
        let [steps, epochs] = ctx.done;
        ctx.done = [steps + self.steps, epochs + u64::from(self.plan.train.epochs)];
        Ok(model)
    }

    /// # Errors
    /// The training has diverged: the step and the layer are named.
    fn check_finite(&self, done: [u64; 2]) -> Result<()> {
        finite::check(&self.weights).with_context(|| format!("step {}", done[0] + self.progress.steps))
    }

    fn is_epoch_end(&self) -> bool {
        self.progress.steps.is_multiple_of(self.steps_per_epoch)
    }

    /// What follows the step before, then the next step. False when all are done.
    fn advance(&mut self, ctx: &mut Ctx) -> Result<bool> {
        let done = self.progress.steps;
        if done > 0 {
            self.after_step(ctx)?;
        }
        // A fork may plan fewer steps than were done.
        if done >= self.steps {
            return Ok(false);
        }
        if self.is_epoch_end() {
            let (number, of) = (done / self.steps_per_epoch + 1, self.plan.train.epochs);
            let prefix = match self.stage {
                "" => String::new(),
                stage => format!("{stage}: "),
            };
            let progress = (ctx.done[0] + done) as f32 / ctx.steps.max(1) as f32;
            ctx.phase(format!("{prefix}epoch {number} of {of}"), progress)?;
        }
        let epoch = self.begin_step(ctx);
        self.step(ctx, epoch)?;
        Ok(true)
    }

    /// The epoch of the next step, whose images are in order then.
    fn begin_step(&mut self, ctx: &Ctx) -> Epoch {
        let epoch = Epoch {
            seed: ctx.seed,
            number: ctx.done[1] + self.progress.steps / self.steps_per_epoch,
        };
        if self.order.is_empty() || self.is_epoch_end() {
            self.order = batch::epoch_order(epoch, &ctx.data.splits.train);
        }
        epoch
    }

    /// Densities, a batch, gradients, the penalty's gradient, the update.
    fn step(&mut self, ctx: &Ctx, epoch: Epoch) -> Result<()> {
        let (plan, number) = (self.plan, self.progress.steps);
        let train = &plan.train;
        let at = (number % self.steps_per_epoch) as usize * train.batch;
        let indices = &self.order[at..at + train.batch];
        let mut densities = (plan.densities)(number, self.steps);
        if !indices.len().is_multiple_of(densities.len()) {
            densities.truncate(1);
        }
        let gates = self.net.spec.gates().len();
        let groups: Vec<Vec<Density>> = densities.iter().map(|&d| vec![d; gates]).collect();
        let data = &ctx.data;
        let (mut pixels, augment) = (Vec::new(), Some((&data.augment, epoch)));
        batch::fill(&data.dataset.train, indices, augment, &data.normalization, &mut pixels);
        let batch = TrainingBatch {
            teacher: self.teacher.as_mut().map(|teacher| teacher.targets(&pixels)),
            pixels,
            labels: &data.labels(indices),
            options: ForwardOptions {
                groups: &groups,
                norms: Norms::Batch(plan.norm_statistics),
                dropout: Some(ctx.seed ^ ((ctx.done[0] + number) << 20)),
            },
            label_smoothing: train.label_smoothing,
            lambda: plan.lambda,
            check: ctx.run.check,
        };
        let BatchGradients {
            loss,
            right,
            mut gradients,
        } = backward(&self.net, &self.weights, batch).map_err(|e| {
            // A stop must remain distinguishable from a failure.
            if e.is::<Cancelled>() {
                e
            } else {
                e.context(format!("step {}", ctx.done[0] + number + 1))
            }
        })?;
        let mut rates = Rates {
            lr: self.lr_at(number),
            momentum: train.momentum,
            weight_decay: train.weight_decay,
            clip_norm: train.clip_norm,
        };
        if let Some(penalty) = &self.penalty {
            // Only the loss's gradient is clipped: how hard the penalty pulls must not depend on it.
            optimizer::clip(&mut gradients, rates.clip_norm);
            rates.clip_norm = 0.0;
            penalty.add(&self.weights, &mut gradients);
        }
        self.sgd.step(&mut self.weights, &gradients, &self.masks, rates);
        if self.progress.bound_saliencies {
            saliency_bound::apply(&plan.spec, &mut self.weights);
        }
        sparse_conv::recycle(gradients);
        let progress = &mut self.progress;
        progress.steps += 1;
        progress.loss += f64::from(loss) * indices.len() as f64;
        progress.right += right;
        progress.images += indices.len();
        Ok(())
    }

    /// Events after a step; evaluation and the penalty's move after an epoch.
    fn after_step(&mut self, ctx: &mut Ctx) -> Result<()> {
        if self.is_epoch_end() {
            self.check_finite(ctx.done)?;
        }
        let (train, done) = (&self.plan.train, self.progress.steps);
        if done.is_multiple_of(train.log_every) || done == self.steps {
            let images = self.progress.images.max(1) as f64;
            ctx.emit(Event::Step {
                step: ctx.done[0] + done,
                loss: (self.progress.loss / images) as f32,
                top1: (self.progress.right / images) as f32,
                lr: self.lr_at(done - 1),
            })?;
            self.progress = TrainingProgress {
                steps: done,
                bound_saliencies: self.progress.bound_saliencies,
                subsample: self.progress.subsample,
                ..TrainingProgress::default()
            };
        }
        if self.is_epoch_end() {
            let epoch = (done / self.steps_per_epoch) as u32;
            if epoch < train.epochs {
                self.net.set(&self.weights);
                evaluate_epoch(ctx, self.plan, &self.net, &self.weights, [done, u64::from(epoch)])?;
            }
        }
        if let Some(penalty) = &mut self.penalty
            && penalty.is_due(done)
            && let Some(event) = penalty.update(&self.weights)?
        {
            ctx.emit(event)?;
        }
        Ok(())
    }

    /// The learning rate of a step.
    fn lr_at(&self, step: u64) -> f32 {
        let schedule = self
            .penalty
            .as_ref()
            .map_or(0..self.steps, |p| p.schedule(step, self.steps));
        self.plan
            .train
            .lr_at(step - schedule.start, schedule.end - schedule.start)
    }

    fn snapshot(&self, point: &ResumePoint, done: [u64; 2]) -> Snapshot {
        let mut arrays = Weights::new();
        let mut put = |kind: &str, name: &str, array: Array| arrays.insert(format!("{kind}:{name}"), array);
        for (name, array) in &self.weights {
            put("w", name, array.clone());
        }
        for (name, v) in &self.sgd.velocity {
            let shape = vec![v.len()];
            put("v", name, Array { shape, data: v.clone() });
        }
        let penalty = point.penalty.clone();
        let penalty = penalty.or_else(|| self.penalty.as_ref().map(|p| p.save()));
        for (name, array) in penalty.unwrap_or_default() {
            put("p", &name, array);
        }
        Snapshot {
            said: point.said,
            done,
            facts: serde_json::to_value(TrainingProgress {
                of: self.steps,
                ..point.progress.clone()
            })
            .unwrap_or_default(),
            arrays,
            model: None,
        }
    }

    fn restore(&mut self, snapshot: Snapshot) -> Result<()> {
        self.progress = snapshot.facts()?;
        let (now, then) = (subsample(&self.plan.spec), self.progress.subsample);
        ensure!(
            now == then,
            "this training began with predictors that read {then}: fork it with method.subsample={then} instead of {now}"
        );
        let mut penalty = Weights::new();
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
                Some(("p", name)) => drop(penalty.insert(name.to_owned(), array)),
                _ => {}
            }
        }
        if let Some(restored) = &mut self.penalty {
            restored.restore(penalty);
        }
        Ok(())
    }
}

/// What the predictors of a network read.
fn subsample(spec: &NetSpec) -> Subsample {
    let of = |op: &Op| match op {
        Op::Gate(form) => Some(form.subsample),
        _ => None,
    };
    spec.nodes.iter().find_map(|node| of(&node.op)).unwrap_or_default()
}

/// Who teaches, if anybody does.
///
/// # Errors
/// [`BadInput`]: it gives other outputs than the network that learns.
fn teacher_of(ctx: &Ctx, learner: &NetSpec) -> Result<Option<Teacher>> {
    let Some(model) = ctx.teacher.as_ref().filter(|_| ctx.train.teacher_weight > 0.0) else {
        return Ok(None);
    };
    let sizes = |spec: &NetSpec| -> Result<Vec<String>> {
        let each = spec.outputs()?.into_iter();
        Ok(each.map(|o| format!("{} {:?}", o.name, o.shape)).collect())
    };
    let (gives, expected) = (sizes(model.spec())?, sizes(learner)?);
    if gives != expected {
        let text = format!(
            "train.teacher gives {}, expected {}",
            gives.join(", "),
            expected.join(", ")
        );
        return Err(BadInput(text).into());
    }
    Teacher::new(model, &ctx.data.normalization, (&ctx.train, ctx.threads)).map(Some)
}

/// The weights that `spec` begins with: random ones, and over them whatever `start` has by the same names.
///
/// # Errors
/// [`BadInput`]: `start` has an array of another shape, or shares none.
fn starting_weights(seed: u64, spec: &NetSpec, start: Option<&Checkpoint>) -> Result<Weights> {
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
