//! Measures the open model while somebody drags a slider: the newest question replaces the old one,
//! a first answer comes at once and is refined until all validation images were measured. A cut is counted before it is measured,
//! and once it was measured the targets around it are, too.
//! Knows nothing of training.

pub use crate::answer::{Answer, OpenModel, Response};
use crate::images::{self, ClassSums, Prediction, Thumbnails};
use crate::pruning::{Planned, Planner, Spread};
use crate::requests::Request;
use crate::sources::{fitting, is_unsaid};
pub use crate::sources::{reading, valid_split};
use crate::subject::{CALIBRATION, Client, Subject, between_batches, look};
use crate::{Pruning, Question, Requests};
use anyhow::{Result, ensure};
use crossbeam_channel::Sender;
use data::{Dataset, ImageShape, Images};
use infer::{Engine, EvalMetrics, EvaluatedBatch, Latency, Options, argmax, evaluate};
use model::{Checkpoint, Density, Fractions, Precision, cost};
use record::folder::threads;
use record::{Experiment, ModelRef};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time spent measuring between two answers; the first comes sooner.
const REFINE: Duration = Duration::from_millis(250);
const FIRST: Duration = Duration::from_millis(50);
/// Time spent on latency in the first answer and once more at the end.
const LATENCY: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];
/// Images a run of the engine, and MACs that a run may take: a newer question waits for it.
const BATCH: usize = 32;
const BATCH_MACS: u64 = 4_000_000_000;

/// Time that norms are measured in before the first answer about a cut, and that its images take.
const FIRST_NORMS: Duration = Duration::from_millis(25);
const FIRST_IMAGES: Duration = Duration::from_millis(25);
/// Time that norms are measured in after that, when nothing newer was asked for a while.
const NORMS: Duration = Duration::from_millis(400);
const REST: Duration = Duration::from_millis(120);
/// Images that the curve over targets is measured on, before the rest is.
const CURVE_IMAGES: usize = 512;
/// The targets of that curve.
const CURVE: [f64; 10] = [1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0];

/// Some images, measured.
struct Measured {
    metrics: EvalMetrics,
    seen: Vec<Prediction>,
    classes: ClassSums,
}

struct ProbeState {
    engine: Engine,
    model: Checkpoint,
    planner: Planner,
    subject: Subject,
    /// Whether somebody has said what the images are.
    is_labeled: bool,
    /// The class of each image with every channel running, as far as that was measured, and how long one takes.
    dense: Vec<u16>,
    dense_latency: Option<Latency>,
    /// Targets that were measured in passing, for cuts like this one at these densities.
    curve: Option<(Question, Vec<f64>)>,
    /// Densities that were measured in passing.
    stairs: Vec<Density>,
}

/// The probe's thread: serves requests until they are closed.
pub fn serve(requests: &Requests, responses: &Sender<Response>, wake: &dyn Fn()) {
    let client = Client {
        requests,
        responses,
        wake,
    };
    let mut state: Option<ProbeState> = None;
    while let Some(request) = requests.next() {
        let is_question = matches!(request, Request::Ask(_));
        let done = match (request, &mut state) {
            (Request::Open(from), _) => open(from, &mut state, &client),
            (Request::Images(source), Some(state)) => {
                state.take_images(&source, &client);
                Ok(())
            }
            (Request::Ask(question), Some(state)) => match question.cut.clone() {
                Some(cut) => answer_cut(state, question, &cut, &client),
                None => answer(state, question, &client),
            },
            (Request::Look(image), Some(state)) => {
                look(&mut state.engine, &state.subject, image).map(|detail| client.send(Response::Looked(detail)))
            }
            (_, None) => Ok(()),
        };
        if let Err(e) = done {
            let text = format!("{e:#}");
            // A model that was opened, and then could not be compiled, is not measured either.
            client.send(if is_question || state.is_none() {
                Response::NotMeasured(text)
            } else {
                Response::Failed(text)
            });
        }
    }
}

/// A file that cannot be read leaves the open model as it was.
fn open(from: ModelRef, state: &mut Option<ProbeState>, client: &Client) -> Result<()> {
    let mut checkpoint = from.load()?;
    let name = match &from {
        ModelRef::Bundled => "bundled model".to_owned(),
        file => file.stem(),
    };
    // All that is measured of it is measured in bytes.
    let name = match checkpoint.precision() {
        Precision::F32 => name,
        Precision::Int8 => format!("{name} (int8)"),
    };
    let masks = Arc::new(checkpoint.masks.clone());
    let dense = cost::total(checkpoint.spec(), &masks, &Fractions::dense(checkpoint.spec()))?;
    *state = None;
    let recipe = Experiment::of_model(&checkpoint.header);
    // What the file says of itself is shown at once; images take a moment.
    client.send(Response::Opened(Arc::new(OpenModel {
        name,
        from,
        header: checkpoint.header.clone(),
        dense,
        masks: masks.clone(),
        knows_split: recipe.as_ref().is_some_and(|e| !e.data.valid.is_none()),
    })));
    let source = recipe.map_or_else(|| checkpoint.header.data.clone(), |e| e.data.source);
    let engine = infer::compile(
        &checkpoint,
        &Options {
            threads: threads(),
            batch: ((BATCH_MACS / dense.macs.max(1)) as usize).clamp(2, BATCH),
            ..Options::default()
        },
    )?;
    let [channels, height, width] = checkpoint.spec().input;
    let gates = checkpoint.spec().gates().len();
    let mut planner = Planner::default();
    // A network may have nothing that can be cut.
    let whole = planner.plan(&mut checkpoint, &Pruning::default()).ok();
    let mut opened = ProbeState {
        engine,
        planner,
        subject: Subject {
            images: Images {
                shape: ImageShape {
                    channels,
                    height,
                    width,
                },
                pixels: Vec::new(),
                labels: Vec::new(),
                answers: None,
            },
            reading: reading(&checkpoint.header),
            indices: Vec::new(),
            calibration: Vec::new(),
            normalization: checkpoint.header.normalization.clone(),
            masks,
            classes: checkpoint.header.classes.len(),
            question: uniform(gates, Density::FULL),
            whole: whole.map(|whole| whole.plan),
            cut: None,
        },
        model: checkpoint,
        is_labeled: true,
        dense: Vec::new(),
        dense_latency: None,
        curve: None,
        stairs: Vec::new(),
    };
    opened.take_images(&source, client);
    *state = Some(opened);
    Ok(())
}

/// Answers, better and better, until all images were measured or a newer request waits.
fn answer(state: &mut ProbeState, question: Question, client: &Client) -> Result<()> {
    state.set(question, None)?;
    let is_first = state.dense_latency.is_none();
    let ProbeState { engine, subject, .. } = state;
    let subject = &*subject;
    subject.stand(engine, 0)?;
    if is_first {
        // What needs no image, and no time on a large network, is there at once.
        let counted = subject.summary(engine.spec(), &EvalMetrics::new(engine.spec()), None)?;
        client.send(Response::Answered(counted));
    }
    let mut latency = subject.time(engine, LATENCY[0]);
    let (mut classes, mut seen) = (ClassSums::default(), Vec::new());
    let mut due = Instant::now() + FIRST;
    let mut check = |engine: &mut Engine| Ok(between_batches(engine, subject, client));
    let mut observe = |done: EvaluatedBatch| {
        let EvaluatedBatch {
            spec, batch, labels, ..
        } = done;
        classes.add(batch, labels, subject.classes);
        images::seen(batch, labels, spec, &subject.masks, &mut seen);
        if Instant::now() >= due {
            let so_far = subject.summary(spec, done.metrics, Some(latency))?;
            client.send(Response::Answered(so_far.of(&seen, subject.classes)));
            due = Instant::now() + REFINE;
        }
        Ok(())
    };
    let metrics = evaluate(
        engine,
        subject.images_in(0, subject.indices.len()),
        &mut check,
        &mut observe,
    )?;
    if metrics.n < subject.indices.len() {
        return Ok(());
    }
    latency = subject.time(engine, LATENCY[1]);
    let whole = subject.summary(engine.spec(), &metrics, Some(latency))?;
    let mut whole = whole.of(&seen, subject.classes);
    whole.classes = classes.means().into();
    state.finish(whole, seen, client)?;
    state.follow_densities(client)
}

/// Answers about a cut: first what it leaves, then accuracy on as many images as take no time, then on some, then the targets
/// around it, then on all.
fn answer_cut(state: &mut ProbeState, question: Question, cut: &Pruning, client: &Client) -> Result<()> {
    let planned = state.planner.plan(&mut state.model, cut)?;
    state.set(question.clone(), Some(planned.clone()))?;
    let ProbeState { engine, subject, .. } = state;
    subject.stand(engine, 0)?;
    let counted = subject.summary(engine.spec(), &EvalMetrics::new(engine.spec()), None)?;
    client.send(Response::Answered(counted.clone()));
    let all = subject.indices.len();
    if all == 0 {
        let latency = Some(subject.time(engine, LATENCY[0]));
        if state.dense_latency.is_none() && !client.requests.has_newer() {
            subject.stand_dense(engine)?;
            state.dense_latency = Some(subject.time(engine, LATENCY[0]));
        }
        let dense_latency = state.dense_latency;
        client.send(Response::Answered(Answer {
            latency,
            dense_latency,
            ..counted
        }));
        return Ok(());
    }
    let one = subject.one_image(engine).as_secs_f64();
    // Norms take every layer twice.
    let within = |time: Duration, most: usize| ((time.as_secs_f64() / one) as usize).clamp(4, most.max(4));
    let some = all.min(CURVE_IMAGES);
    let few = within(FIRST_IMAGES, some);
    subject.stand(engine, within(FIRST_NORMS / 2, CALIBRATION))?;
    let Some(first) = state.measure(few, None, client)? else {
        return Ok(());
    };
    let latency = state.subject.time(&mut state.engine, LATENCY[0]);
    client.send(Response::Answered(state.answer(&first, latency)?));
    // Whoever still drags does not wait for norms.
    if client.requests.newer_within(REST) {
        return Ok(());
    }
    let norms = within(NORMS / 2, CALIBRATION);
    state.subject.stand(&mut state.engine, norms)?;
    let Some(mut measured) = state.measure(some, Some(latency), client)? else {
        return Ok(());
    };
    let mut latency = state.subject.time(&mut state.engine, LATENCY[0]);
    client.send(Response::Answered(state.answer(&measured, latency)?));
    if cut.spread == Spread::Sensitivity && state.planner.unmeasured(&state.model)?.is_some() {
        // The rest follows once it is known what each layer can lose.
        return match state.measure_sensitivity(client)? {
            true => answer_cut(state, question, cut, client),
            false => Ok(()),
        };
    }
    if cut.spread != Spread::Given && !state.follow_curve(&question, cut, norms, client)? {
        return Ok(());
    }
    state.set(question, Some(planned))?;
    state.subject.stand(&mut state.engine, norms)?;
    if some < all {
        measured = match state.measure(all, Some(latency), client)? {
            Some(measured) => measured,
            None => return Ok(()),
        };
    }
    latency = state.subject.time(&mut state.engine, LATENCY[1]);
    let whole = Answer {
        classes: measured.classes.means().into(),
        ..state.answer(&measured, latency)?
    };
    state.finish(whole, measured.seen, client)
}

impl ProbeState {
    /// From now on this is asked; the engine stands where it stood.
    fn set(&mut self, question: Question, cut: Option<Planned>) -> Result<()> {
        let gates = self.engine.spec().gates().len();
        ensure!(
            question.densities.len() == gates,
            "a question with {} densities for {gates} gates",
            question.densities.len()
        );
        (self.subject.question, self.subject.cut) = (question, cut);
        Ok(())
    }

    /// Reads the model's images from a source.
    fn take_images(&mut self, source: &str, client: &Client) {
        let header = &self.model.header;
        let taken = fitting(source, header, &self.subject.reading).and_then(|dataset| self.stand_on(dataset, client));
        match taken {
            Ok(()) => {
                let Subject { images, indices, .. } = &self.subject;
                let strip = Arc::new(Thumbnails::of(images, indices, self.is_labeled));
                client.send(Response::Images(strip, source.to_owned()));
            }
            Err(_) if is_unsaid(source, &self.model.header) => {
                let why = "The file does not say which images the model was trained on.";
                client.send(Response::NoImages(why.into()));
            }
            Err(e) => client.send(Response::NoImages(format!("{e:#}"))),
        }
    }

    /// Measures on these images from now on. Where they have no classes, all of them serve, with those that the whole network
    /// names, so that what is measured is agreement with it; as many as it names in a moment.
    fn stand_on(&mut self, dataset: Dataset, client: &Client) -> Result<()> {
        let Self { subject, model, .. } = self;
        // Tuning by hand is tuning: it sees validation images, never test images.
        let splits = valid_split(&model.header, &dataset);
        // The first answers rest on the first images.
        subject.indices = data::mixed(&splits.valid);
        subject.calibration = data::spread(&splits.train, CALIBRATION);
        self.is_labeled = dataset.is_labeled;
        if !dataset.is_labeled {
            let all: Vec<u32> = (0..dataset.train.len() as u32).collect();
            subject.calibration = data::spread(&all, CALIBRATION);
            subject.indices = data::mixed(&all);
        }
        subject.images = dataset.train;
        self.dense.clear();
        (self.curve, self.stairs) = (None, Vec::new());
        if self.is_labeled || self.subject.indices.is_empty() {
            return Ok(());
        }
        self.subject.name_by_whole(&mut self.engine, client)
    }

    fn answer(&self, measured: &Measured, latency: Latency) -> Result<Answer> {
        let whole = self
            .subject
            .summary(self.engine.spec(), &measured.metrics, Some(latency))?;
        Ok(whole.of(&measured.seen, self.subject.classes))
    }

    /// Measures the first so many images as the engine stands, and answers on the way. None if something newer waits.
    fn measure(&mut self, images: usize, latency: Option<Latency>, client: &Client) -> Result<Option<Measured>> {
        self.measure_all(images, Some(latency), client)
    }

    /// The same without answers on the way.
    fn measure_quietly(&mut self, images: usize, client: &Client) -> Result<Option<Measured>> {
        self.measure_all(images, None, client)
    }

    fn measure_all(
        &mut self,
        images: usize,
        answers: Option<Option<Latency>>,
        client: &Client,
    ) -> Result<Option<Measured>> {
        let Self { engine, subject, .. } = self;
        let subject = &*subject;
        let (mut classes, mut seen) = (ClassSums::default(), Vec::new());
        let mut due = Instant::now() + REFINE;
        let mut check = |engine: &mut Engine| Ok(between_batches(engine, subject, client));
        let mut observe = |done: EvaluatedBatch| {
            classes.add(done.batch, done.labels, subject.classes);
            images::seen(done.batch, done.labels, done.spec, subject.counted(), &mut seen);
            if let Some(latency) = answers.filter(|_| Instant::now() >= due) {
                let so_far = subject.summary(done.spec, done.metrics, latency)?;
                client.send(Response::Answered(so_far.of(&seen, subject.classes)));
                due = Instant::now() + REFINE;
            }
            Ok(())
        };
        let images = images.min(subject.indices.len());
        let metrics = evaluate(engine, subject.images_in(0, images), &mut check, &mut observe)?;
        Ok((metrics.n == images).then_some(Measured { metrics, seen, classes }))
    }

    /// Cuts each layer alone, and measures what that costs. False if something newer waits; what was measured is kept.
    fn measure_sensitivity(&mut self, client: &Client) -> Result<bool> {
        let one = self.subject.one_image(&mut self.engine).as_secs_f64();
        let images = ((FIRST_IMAGES.as_secs_f64() / one) as usize).clamp(16, 256);
        let images = images.min(self.subject.indices.len());
        self.subject.stand_dense(&mut self.engine)?;
        let right = |state: &mut Self| -> Result<Option<f32>> {
            let Self { engine, subject, .. } = state;
            let subject = &*subject;
            let mut check = |_: &mut Engine| {
                Ok(match client.requests.has_newer() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            };
            let metrics = evaluate(engine, subject.images_in(0, images), &mut check, &mut |_| Ok(()))?;
            Ok((metrics.n == images).then(|| metrics.right as f32 / images.max(1) as f32))
        };
        let Some(whole) = right(self)? else { return Ok(false) };
        while let Some(levels) = self.planner.unmeasured(&self.model)? {
            let mut losses = [0.0; 3];
            for (loss, masks) in losses.iter_mut().zip(&levels) {
                self.engine.set_masks(masks)?;
                let few = &self.subject.calibration[..self.subject.calibration.len().min(images / 2)];
                if !few.is_empty() {
                    let mut pixels = Vec::new();
                    let Subject {
                        images, normalization, ..
                    } = &self.subject;
                    data::batch::fill(images, few, None, normalization, &mut pixels);
                    self.engine.calibrate(&pixels);
                }
                let Some(now) = right(self)? else { return Ok(false) };
                *loss = (whole - now).max(0.0);
            }
            self.planner.measured(losses);
        }
        Ok(true)
    }

    /// Measures the targets around a cut that were not measured yet. False if something newer waits.
    fn follow_curve(&mut self, question: &Question, cut: &Pruning, norms: usize, client: &Client) -> Result<bool> {
        let is_same = |(of, _): &(Question, Vec<f64>)| {
            let is_like = of.cut.as_ref().is_some_and(|c| c.is_like(cut));
            is_like && of.densities == question.densities
        };
        if !self.curve.as_ref().is_some_and(is_same) {
            self.curve = Some((question.clone(), Vec::new()));
        }
        for times in CURVE {
            if self.curve.as_ref().is_some_and(|(_, done)| done.contains(&times)) {
                continue;
            }
            let cut = Pruning { times, ..cut.clone() };
            let planned = self.planner.plan(&mut self.model, &cut)?;
            let is_out_of_reach = planned.plan.times < times * 0.98;
            let at = Question {
                cut: Some(cut),
                ..question.clone()
            };
            self.set(at, Some(planned))?;
            let Self { engine, subject, .. } = &mut *self;
            let subject = &*subject;
            subject.stand(engine, norms)?;
            let latency = subject.time(engine, LATENCY[0]);
            let mut check = |engine: &mut Engine| Ok(between_batches(engine, subject, client));
            let images = subject.indices.len().min(CURVE_IMAGES);
            let mut seen = Vec::new();
            let mut observe = |done: EvaluatedBatch| {
                images::seen(done.batch, done.labels, done.spec, subject.counted(), &mut seen);
                Ok(())
            };
            let metrics = evaluate(engine, subject.images_in(0, images), &mut check, &mut observe)?;
            if metrics.n < images {
                return Ok(false);
            }
            let passed = subject.summary(engine.spec(), &metrics, Some(latency))?;
            client.send(Response::Passed(passed.of(&seen, subject.classes)));
            if let Some((_, done)) = &mut self.curve {
                done.push(times);
            }
            if is_out_of_reach {
                break;
            }
        }
        Ok(true)
    }

    /// Measures a gated model at densities from its highest to its lowest, once, on as many images as take little time each: what
    /// breaks first is then known before anybody drags there.
    fn follow_densities(&mut self, client: &Client) -> Result<()> {
        let gates = self.engine.spec().gates().len();
        let grid = &self.model.header.densities;
        let (Some(&low), Some(&high)) = (grid.iter().min(), grid.iter().max()) else {
            return Ok(());
        };
        if gates == 0 || low == high || self.subject.indices.is_empty() {
            return Ok(());
        }
        let asked = self.subject.question.clone();
        for percent in (u32::from(low.as_percent())..=u32::from(high.as_percent())).step_by(10) {
            let density = Density::percent(percent)?;
            if self.stairs.contains(&density) {
                continue;
            }
            if client.requests.newer_within(REST) {
                break;
            }
            self.set(uniform(gates, density), None)?;
            self.subject.stand(&mut self.engine, 0)?;
            let one = self.subject.one_image(&mut self.engine).as_secs_f64();
            let images = ((NORMS.as_secs_f64() / one) as usize).clamp(BATCH, CURVE_IMAGES);
            let latency = self.subject.time(&mut self.engine, LATENCY[0]);
            let Some(measured) = self.measure_quietly(images, client)? else {
                break;
            };
            client.send(Response::Passed(self.answer(&measured, latency)?));
            self.stairs.push(density);
        }
        self.set(asked, None)?;
        self.subject.stand(&mut self.engine, 0)
    }

    /// Sends the last answer to a question, and once more with what every channel running would say.
    fn finish(&mut self, mut whole: Answer, mut seen: Vec<Prediction>, client: &Client) -> Result<()> {
        whole.dense_latency = self.dense_latency;
        self.put_dense(&mut seen);
        whole.seen = seen.clone().into();
        client.send(Response::Answered(whole.clone()));
        // What every channel running would say is measured once, when nobody waits for anything else.
        if self.dense.len() < self.subject.indices.len() {
            self.measure_dense(client)?;
            if self.dense_latency.is_none() {
                return Ok(());
            }
            whole.dense_latency = self.dense_latency;
            self.put_dense(&mut seen);
            whole.seen = seen.into();
            client.send(Response::Answered(whole));
        }
        Ok(())
    }

    fn put_dense(&self, seen: &mut [Prediction]) {
        for (one, &dense) in seen.iter_mut().zip(&self.dense) {
            one.dense = Some(dense);
        }
    }

    /// Measures with every channel running, from where it was left.
    fn measure_dense(&mut self, client: &Client) -> Result<()> {
        let Self {
            engine,
            subject,
            dense,
            dense_latency,
            ..
        } = self;
        let subject = &*subject;
        let mut check = |engine: &mut Engine| {
            let flow = between_batches(engine, subject, client);
            subject.stand_dense(engine)?;
            Ok(flow)
        };
        let images = subject.images_in(dense.len(), subject.indices.len());
        evaluate(engine, images, &mut check, &mut |done| {
            let numbers = (done.batch.logits.len() / done.batch.n.max(1)).max(1);
            let logits = done.spec.logits()?;
            let rows = done.batch.logits.chunks_exact(numbers);
            dense.extend(rows.map(|row| argmax(&row[logits.clone()]).unwrap_or(0) as u16));
            Ok(())
        })?;
        let is_wanted = dense.len() == subject.indices.len() && between_batches(engine, subject, client).is_continue();
        if dense_latency.is_none() && is_wanted {
            subject.stand_dense(engine)?;
            *dense_latency = Some(subject.time(engine, LATENCY[1]));
        }
        subject.stand(engine, CALIBRATION)
    }
}

/// A question for one density everywhere.
pub fn uniform(gates: usize, density: Density) -> Question {
    Question::at(vec![density; gates])
}
