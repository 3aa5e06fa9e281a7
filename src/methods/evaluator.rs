//! What a trial is judged by: accuracy on validation images, less what is lost on images that the search must keep.
//! Knows nothing of how candidates are made.

use crate::search_target::SearchTarget;
use anyhow::Result;
use data::{Answers, Split};
use infer::{Engine, LabeledImages, Options, argmax, evaluate};
use std::ops::ControlFlow;
use train::{Ctx, Judged, Protected};

/// Images a run of the engine takes.
const BATCH: usize = 64;

/// A compiled model and the validation images that trials are measured on.
pub(crate) struct Evaluator {
    engine: Engine,
    options: Options,
    pixels: Vec<f32>,
    labels: Vec<u16>,
    answers: Option<Answers>,
    /// The images, by their number in the data set.
    indices: Vec<u32>,
    /// Images that a trial's accuracy is of; those behind them are only protected.
    n: usize,
    protects: Vec<Protected>,
    /// Of each of `protects`, the places of its images, and the share of them that the whole network has right.
    places: Vec<(Vec<usize>, f32)>,
}

impl Evaluator {
    /// For trials of this target, on so many images.
    ///
    /// # Errors
    /// [`event::Cancelled`]; the engine cannot run the model.
    pub(crate) fn new(ctx: &Ctx, target: &dyn SearchTarget, images: usize) -> Result<Self> {
        let options = Options {
            threads: ctx.threads,
            batch: BATCH,
            ..Options::default()
        };
        let indices = data::spread(ctx.data.splits.indices(Split::Valid), images.max(1));
        let mut evaluator = Self {
            engine: infer::compile(target.model(), &options)?,
            options,
            pixels: Vec::new(),
            labels: Vec::new(),
            answers: None,
            n: indices.len(),
            indices,
            protects: Vec::new(),
            places: Vec::new(),
        };
        evaluator.read(ctx);
        evaluator.protect(ctx, target, &ctx.data.protected)?;
        Ok(evaluator)
    }

    /// From now on, keeps these images as right as the whole network has them, and no others.
    ///
    /// # Errors
    /// [`event::Cancelled`]; the engine cannot run the model.
    pub(crate) fn protect(&mut self, ctx: &Ctx, target: &dyn SearchTarget, wanted: &[Protected]) -> Result<()> {
        if self.protects == wanted {
            return Ok(());
        }
        self.protects = wanted.to_vec();
        self.indices.truncate(self.n);
        let stored = ctx.data.dataset.images(Split::Valid);
        let places: Vec<Vec<usize>> = wanted
            .iter()
            .map(|one| match *one {
                Protected::Class(class) => (0..self.n)
                    .filter(|&i| stored.labels[self.indices[i] as usize] == class)
                    .collect(),
                Protected::Image(index) => {
                    self.indices.push(index);
                    vec![self.indices.len() - 1]
                }
            })
            .collect();
        self.read(ctx);
        self.places = places.into_iter().map(|places| (places, 0.0)).collect();
        if !self.places.is_empty() {
            let (_, right) = self.measure(ctx, target, &vec![1.0; target.sites().len()])?;
            for (places, whole) in &mut self.places {
                *whole = share(&right, places);
            }
        }
        Ok(())
    }

    fn read(&mut self, ctx: &Ctx) {
        let stored = ctx.data.dataset.images(Split::Valid);
        self.pixels = ctx.data.pixels(Split::Valid, &self.indices);
        self.labels = self.indices.iter().map(|&i| stored.labels[i as usize]).collect();
        self.answers = stored.answers.as_ref().map(|answers| answers.at(&self.indices));
    }

    /// Images of a trial.
    pub(crate) fn images(&self) -> usize {
        self.n
    }

    /// The share of them classified right at these densities.
    ///
    /// # Errors
    /// [`event::Cancelled`]; densities that do not fit the target.
    pub(crate) fn top1(&mut self, ctx: &Ctx, target: &dyn SearchTarget, densities: &[f32]) -> Result<f32> {
        Ok(self.judge(ctx, target, densities)?.top1)
    }

    /// The same, with what is lost on protected images.
    ///
    /// # Errors
    /// [`event::Cancelled`]; densities that do not fit the target.
    pub(crate) fn judge(&mut self, ctx: &Ctx, target: &dyn SearchTarget, densities: &[f32]) -> Result<Judged> {
        let (top1, right) = self.measure(ctx, target, densities)?;
        if self.places.is_empty() {
            return Ok(Judged { top1, lost: 0.0 });
        }
        let n_right = right[..self.n].iter().filter(|&&r| r).count();
        let lost = |(places, whole): &(Vec<usize>, f32)| (whole - share(&right, places)).max(0.0);
        Ok(Judged {
            top1: (n_right as f64 / self.n.max(1) as f64) as f32,
            lost: self.places.iter().map(lost).sum(),
        })
    }

    /// Accuracy over all images, and whether each is classified right; the latter where something is protected.
    fn measure(&mut self, ctx: &Ctx, target: &dyn SearchTarget, densities: &[f32]) -> Result<(f32, Vec<bool>)> {
        let mut tuned = match target.tuned(ctx, densities)? {
            Some(model) => Some(infer::compile(&model, &self.options)?),
            None => None,
        };
        let engine = match &mut tuned {
            Some(engine) => engine,
            None => {
                target.apply(&mut self.engine, densities)?;
                &mut self.engine
            }
        };
        let images = LabeledImages::Normalized {
            pixels: &self.pixels,
            labels: &self.labels,
            answers: self.answers.as_ref(),
        };
        let mut right = Vec::with_capacity(self.labels.len());
        let mut check = |_: &mut Engine| Ok(ControlFlow::Continue(ctx.check()?));
        let is_watched = !self.places.is_empty();
        let metrics = evaluate(engine, images, &mut check, &mut |done| {
            if !is_watched {
                return Ok(());
            }
            let numbers = (done.batch.logits.len() / done.batch.n.max(1)).max(1);
            let logits = done.spec.logits()?;
            for (row, &label) in done.batch.logits.chunks_exact(numbers).zip(done.labels) {
                let row = &row[logits.clone()];
                // What is not a number is no answer, though some index is its largest.
                let answers = !row.iter().any(|v| v.is_nan());
                right.push(answers && argmax(row) == Some(usize::from(label)));
            }
            Ok(())
        })?;
        Ok((metrics.top1(), right))
    }
}

fn share(right: &[bool], places: &[usize]) -> f32 {
    let n = places.iter().filter(|&&i| right[i]).count();
    n as f32 / places.len().max(1) as f32
}
