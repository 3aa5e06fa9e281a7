//! Measures the open model while somebody drags a slider: the newest question replaces the old one,
//! a first answer comes at once and is refined until all validation images were measured.
//! Knows nothing of training.

use crate::images::{ClassActivity, ClassSums, ImageDetail, ImageRef, Prediction, Thumbnails};
use crate::requests::Request;
use crate::{Question, Requests, images};
use anyhow::{Context, Result};
use crossbeam_channel::Sender;
use data::{Amount, Dataset, Images, PictureSize, Reading, Splits, batch};
use event::LayerState;
use infer::{Engine, EvalMetrics, EvaluatedBatch, LabeledImages, Latency, Options, argmax, evaluate};
use model::checkpoint::ModelHeader;
use model::spec::NetSpec;
use model::{Density, Fractions, Masks, cost};
use record::folder::threads;
use record::{Experiment, ModelRef};
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pictures that take turns when one is timed.
const TIMED: usize = 8;

/// Time spent measuring between two answers; the first comes sooner.
const REFINE: Duration = Duration::from_millis(250);
const FIRST: Duration = Duration::from_millis(50);
/// Time spent on latency in the first answer and once more at the end.
const LATENCY: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];
/// Images a run of the engine.
const BATCH: usize = 32;

/// The model that questions are about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenModel {
    /// Shown name.
    pub name: String,
    /// Where it came from.
    pub from: ModelRef,
    /// The model without its numbers.
    pub header: ModelHeader,
    /// Cost with nothing gated away.
    pub dense: cost::Cost,
    /// Its static masks.
    #[serde(skip)]
    pub masks: Arc<Masks>,
    /// Whether it is known which images it did not learn from.
    pub knows_split: bool,
}

/// The splits a model was made with. Of one that does not say, a twelfth of the training images is for validation, though it may
/// have learned from them; test images are no answer, since whoever measures often, chooses by what is measured.
pub fn valid_split(header: &ModelHeader, dataset: &Dataset) -> Splits {
    let n = dataset.train.len();
    match Experiment::of_model(header) {
        Some(e) if !e.data.valid.is_none() => data::split(dataset, e.split_seed(), e.data.valid.at_most_half(n)),
        _ => data::split(dataset, 0, Amount::Count(n / 12)),
    }
}

/// How pictures become images that a model takes: of its own size, otherwise as those that it was made with.
pub fn reading(header: &ModelHeader) -> Reading {
    let [_, height, width] = header.spec.input;
    Reading {
        size: PictureSize::Of(height, width),
        ..Experiment::of_model(header).map_or_else(Reading::default, |made| made.data.reading())
    }
}

/// What was measured for a question, so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// Images measured.
    pub n: usize,
    /// Of so many.
    pub of: usize,
    /// Of these, classified right.
    pub right: usize,
    /// MACs per image, averaged over the images measured.
    pub macs: u64,
    /// Bytes of weights and of activations read and written for an image, and the peak, from the measured active fractions.
    pub traffic: cost::Cost,
    /// Time for one image.
    pub latency: Option<Latency>,
    /// Layers as measured.
    pub layers: Arc<[LayerState]>,
    /// Time for one image with every channel running; only with the last answer to a question.
    pub dense_latency: Option<Latency>,
    /// Every image, in order; only with the last answer to a question.
    pub seen: Arc<[Prediction]>,
    /// How each class uses the channels; only with the last answer to a question.
    pub classes: Arc<[ClassActivity]>,
}

/// What the probe answers.
pub enum Response {
    /// A model was opened.
    Opened(Arc<OpenModel>),
    /// Its validation images were read.
    Images(Arc<Thumbnails>),
    /// A question was answered, better than before.
    Answered(Answer),
    /// An image was looked at.
    Looked(ImageDetail),
    /// It did not work; one line.
    Failed(String),
}

struct ProbeState {
    engine: Engine,
    subject: Subject,
    /// The class of each image with every channel running, as far as that was measured, and how long one takes.
    dense: Vec<u16>,
    dense_latency: Option<Latency>,
}

/// What is measured: the open model's validation images, at the newest question's densities.
struct Subject {
    images: Images,
    reading: Reading,
    indices: Vec<u32>,
    normalization: data::Normalization,
    masks: Arc<Masks>,
    classes: usize,
    question: Question,
}

/// The probe's connection to whoever asks.
struct Client<'a> {
    requests: &'a Requests,
    responses: &'a Sender<Response>,
    wake: &'a dyn Fn(),
}

impl Client<'_> {
    fn send(&self, response: Response) {
        drop(self.responses.send(response));
        (self.wake)();
    }
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
        let done = match (request, &mut state) {
            (Request::Open(from), _) => open(from, &mut state, &client),
            (Request::Ask(question), Some(state)) => answer(state, question, &client),
            (Request::Look(image), Some(state)) => {
                look(&mut state.engine, &state.subject, image).map(|detail| client.send(Response::Looked(detail)))
            }
            (_, None) => Ok(()),
        };
        if let Err(e) = done {
            client.send(Response::Failed(format!("{e:#}")));
        }
    }
}

/// A file that cannot be read leaves the open model as it was.
fn open(from: ModelRef, state: &mut Option<ProbeState>, client: &Client) -> Result<()> {
    let checkpoint = from.load()?;
    let name = match &from {
        ModelRef::Bundled => "bundled model".to_owned(),
        file => file.stem(),
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
    let reading = reading(&checkpoint.header);
    let open = || {
        let mut dataset = data::open(&source, &reading, &mut |_| Ok(()))?;
        dataset.match_classes(&checkpoint.header.classes)?;
        Ok::<_, anyhow::Error>(dataset)
    };
    let dataset = open().context("the images this model was trained on")?;
    // Tuning by hand is tuning: it sees validation images, never test images.
    // The first answers rest on the first images.
    let indices = data::mixed(&valid_split(&checkpoint.header, &dataset).valid);
    let images = dataset.train;
    let engine = infer::compile(
        &checkpoint,
        &Options {
            threads: threads(),
            batch: BATCH,
            ..Options::default()
        },
    )?;
    client.send(Response::Images(Arc::new(Thumbnails::of(&images, &indices))));
    let gates = checkpoint.spec().gates().len();
    *state = Some(ProbeState {
        engine,
        subject: Subject {
            images,
            reading,
            indices,
            normalization: checkpoint.header.normalization,
            masks,
            classes: checkpoint.header.classes.len(),
            question: uniform(gates, Density::FULL),
        },
        dense: Vec::new(),
        dense_latency: None,
    });
    Ok(())
}

/// Answers, better and better, until all images were measured or a newer request waits.
fn answer(state: &mut ProbeState, question: Question, client: &Client) -> Result<()> {
    let ProbeState { engine, subject, .. } = state;
    let gates = engine.spec().gates().len();
    anyhow::ensure!(
        question.densities.len() == gates,
        "a question with {} densities for {gates} gates",
        question.densities.len()
    );
    subject.question = question;
    engine.set_densities(&subject.question.densities);
    let subject = &*subject;
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
            client.send(Response::Answered(subject.summary(spec, done.metrics, latency)?));
            due = Instant::now() + REFINE;
        }
        Ok(())
    };
    let metrics = evaluate(engine, subject.images_from(0), &mut check, &mut observe)?;
    if metrics.n < subject.indices.len() {
        return Ok(());
    }
    latency = subject.time(engine, LATENCY[1]);
    let mut whole = subject.summary(engine.spec(), &metrics, latency)?;
    whole.classes = classes.means().into();
    whole.dense_latency = state.dense_latency;
    state.put_dense(&mut seen);
    whole.seen = seen.clone().into();
    client.send(Response::Answered(whole.clone()));
    // What every channel running would say is measured once, when nobody waits for anything else.
    if state.dense.len() < state.subject.indices.len() {
        state.measure_dense(client)?;
        if state.dense_latency.is_none() {
            return Ok(());
        }
        whole.dense_latency = state.dense_latency;
        state.put_dense(&mut seen);
        whole.seen = seen.into();
        client.send(Response::Answered(whole));
    }
    Ok(())
}

/// Breaks off for a newer request; looks at an image in passing.
fn between_batches(engine: &mut Engine, subject: &Subject, client: &Client) -> ControlFlow<()> {
    if client.requests.has_newer() {
        return ControlFlow::Break(());
    }
    if let Some(image) = client.requests.take_image() {
        client.send(match look(engine, subject, image) {
            Ok(detail) => Response::Looked(detail),
            Err(e) => Response::Failed(format!("{e:#}")),
        });
    }
    ControlFlow::Continue(())
}

impl ProbeState {
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
        } = self;
        let full = vec![Density::FULL; engine.spec().gates().len()];
        let mut check = |engine: &mut Engine| {
            let flow = between_batches(engine, subject, client);
            engine.set_densities(&full);
            Ok(flow)
        };
        let images = subject.images_from(dense.len());
        evaluate(engine, images, &mut check, &mut |done| {
            let classes = (done.batch.logits.len() / done.batch.n.max(1)).max(1);
            let rows = done.batch.logits.chunks_exact(classes);
            dense.extend(rows.map(|row| argmax(row).unwrap_or(0) as u16));
            Ok(())
        })?;
        let is_wanted = dense.len() == subject.indices.len() && between_batches(engine, subject, client).is_continue();
        if dense_latency.is_none() && is_wanted {
            engine.set_densities(&full);
            *dense_latency = Some(subject.time(engine, LATENCY[1]));
        }
        engine.set_densities(&subject.question.densities);
        Ok(())
    }
}

impl Subject {
    /// The images from the `first` one on.
    fn images_from(&self, first: usize) -> LabeledImages<'_> {
        LabeledImages::Stored {
            images: &self.images,
            indices: &self.indices[first..],
            normalization: &self.normalization,
        }
    }

    /// Time for one image at the engine's densities; the first few take turns.
    fn time(&self, engine: &mut Engine, budget: Duration) -> Latency {
        let mut pixels = Vec::new();
        let few = &self.indices[..self.indices.len().min(TIMED)];
        batch::fill(&self.images, few, None, &self.normalization, &mut pixels);
        infer::latency_in_turn(engine, &pixels, pixels.len() / few.len(), budget)
    }

    fn summary(&self, spec: &NetSpec, metrics: &EvalMetrics, latency: Latency) -> Result<Answer> {
        Ok(Answer {
            question: self.question.clone(),
            n: metrics.n,
            of: self.indices.len(),
            right: metrics.right,
            macs: metrics.macs(),
            traffic: metrics.cost(spec, &self.masks)?,
            latency: Some(latency),
            layers: metrics.layers(spec).into(),
            dense_latency: None,
            seen: Arc::default(),
            classes: Arc::default(),
        })
    }
}

/// One image at the newest question's densities, and with every channel running.
fn look(engine: &mut Engine, subject: &Subject, picture: ImageRef) -> Result<ImageDetail> {
    let (bytes, label) = match &picture {
        ImageRef::Valid(i) => {
            let &index = subject
                .indices
                .get(*i)
                .with_context(|| format!("no validation image {i}, there are {}", subject.indices.len()))?;
            let label = subject.images.labels[index as usize];
            (subject.images.image(index).to_vec(), Some(label))
        }
        ImageRef::File(path) => (data::picture(path, subject.images.shape, &subject.reading)?, None),
    };
    let one = Images {
        shape: subject.images.shape,
        pixels: bytes,
        labels: vec![label.unwrap_or(0)],
    };
    let mut pixels = Vec::new();
    batch::fill(&one, &[0], None, &subject.normalization, &mut pixels);
    let gates = engine.spec().gates().len();
    engine.set_densities(&vec![Density::FULL; gates]);
    let dense = images::softmax(&engine.run(&pixels).logits);
    engine.set_densities(&subject.question.densities);
    let run = engine.run(&pixels).clone();
    let active = run.gates.iter().map(|g| {
        let mut on = vec![false; g.active.channels];
        g.active.image(0).iter().for_each(|&c| on[c as usize] = true);
        on
    });
    Ok(ImageDetail {
        picture,
        label,
        image: Arc::new(images::thumb(&one, one.image(0))),
        gated: images::softmax(&run.logits),
        dense,
        saliency: run.gates.iter().map(|g| g.saliency.clone()).collect(),
        active: active.collect(),
        macs: images::macs_of(&run, 0, engine.spec(), &subject.masks),
    })
}

/// A question for one density everywhere.
pub fn uniform(gates: usize, density: Density) -> Question {
    Question {
        densities: vec![density; gates],
    }
}
