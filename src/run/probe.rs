//! Measures the open model while somebody drags a slider: the newest question replaces the old one,
//! a first answer comes at once and is refined until all validation images were measured.
//! Knows nothing of training.

use super::command::{ModelRef, Question};
use super::experiment::Experiment;
use super::folder::threads;
use crate::data::{self, Images, batch};
use crate::event::LayerState;
use crate::infer::{self, Engine, Latency, Options, Tally};
use crate::model::{Checkpoint, Density, Fractions, cost};
use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time spent measuring between two answers; the first comes sooner.
const REFINE: Duration = Duration::from_millis(250);
/// Time to the first answer.
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
    pub header: crate::model::checkpoint::Header,
    /// Cost with nothing gated away.
    pub dense: cost::Cost,
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
    /// MACs an image, averaged over the images measured.
    pub macs: u64,
    /// Bytes of weights and of activations read and written for an image, and the peak, from the measured active fractions.
    pub traffic: cost::Cost,
    /// Time for one image.
    pub latency: Option<Latency>,
    /// Layers as measured.
    pub layers: Arc<[LayerState]>,
}

/// What the probe says.
pub enum Said {
    /// A model was opened.
    Opened(Arc<OpenModel>),
    /// A question was answered, better than before.
    Answered(Answer),
    /// It did not work; one line.
    Failed(String),
}

/// What the probe is asked.
pub enum Asked {
    /// Open this.
    Open(ModelRef),
    /// Measure this.
    Ask(Question),
}

struct Subject {
    engine: Engine,
    images: Images,
    indices: Vec<u32>,
    normalization: data::Normalization,
}

/// The probe's thread: serves requests until their channel closes.
pub fn serve(asked: &Receiver<Asked>, said: &Sender<Said>, wake: &dyn Fn()) {
    let mut subject: Option<Subject> = None;
    let mut next = asked.recv().ok();
    while let Some(request) = next.take() {
        let result = match request {
            Asked::Open(from) => open(from, &mut subject, said, wake).map(|()| None),
            Asked::Ask(question) => match &mut subject {
                Some(subject) => answer(subject, question, asked, said, wake),
                None => Ok(None),
            },
        };
        next = match result {
            Ok(newer) => newer,
            Err(e) => {
                drop(said.send(Said::Failed(format!("{e:#}"))));
                wake();
                None
            }
        };
        if next.is_none() {
            next = asked.recv().ok();
        }
        // Of several waiting questions only the newest matters.
        while let (Some(Asked::Ask(_)), Ok(newer)) = (&next, asked.try_recv()) {
            next = Some(newer);
        }
    }
}

/// The file inside the program.
pub const BUNDLED: &[u8] = include_bytes!("../../assets/models/fbs-fashion.safetensors");

/// A file that cannot be read leaves the open model as it was.
fn open(from: ModelRef, subject: &mut Option<Subject>, said: &Sender<Said>, wake: &dyn Fn()) -> Result<()> {
    let (checkpoint, name) = match &from {
        ModelRef::Bundled => (
            Checkpoint::from_bytes(BUNDLED).context("the bundled model")?,
            "bundled model".to_owned(),
        ),
        ModelRef::File(path) => (
            Checkpoint::load(path)?,
            path.file_stem()
                .map_or_else(String::new, |s| s.to_string_lossy().into_owned()),
        ),
    };
    let dense = cost::dense(checkpoint.spec())?;
    *subject = None;
    // What the file says of itself is shown at once; images take a moment.
    drop(said.send(Said::Opened(Arc::new(OpenModel {
        name,
        from,
        header: checkpoint.header.clone(),
        dense,
    }))));
    wake();
    let recipe = Experiment::parse(&checkpoint.header.recipe, &[]);
    let (source, valid, seed) = match &recipe {
        Ok(e) => (e.data.source.clone(), e.data.valid, e.seed),
        Err(_) => (checkpoint.header.data.clone(), 0, 0),
    };
    let dataset = data::open(&source, &mut |_| Ok(())).context("the images this model was trained on")?;
    let splits = data::split(&dataset, seed, valid)?;
    // Tuning by hand is tuning: it sees validation images, never test images. A model without a recipe has none to give.
    let indices = if splits.valid.is_empty() {
        splits.test
    } else {
        splits.valid
    };
    let images = if valid > 0 { dataset.train } else { dataset.test };
    let engine = infer::compile(
        &checkpoint,
        &Options {
            threads: threads(),
            batch: BATCH,
            ..Options::default()
        },
    )?;
    *subject = Some(Subject {
        engine,
        images,
        indices,
        normalization: checkpoint.header.normalization,
    });
    Ok(())
}

/// Answers, better and better, until all images were measured or a newer request arrives (which is returned).
fn answer(
    subject: &mut Subject,
    question: Question,
    asked: &Receiver<Asked>,
    said: &Sender<Said>,
    wake: &dyn Fn(),
) -> Result<Option<Asked>> {
    let Subject {
        engine,
        images,
        indices,
        normalization,
    } = subject;
    let gates = engine.spec().gates().len();
    anyhow::ensure!(
        question.densities.len() == gates,
        "a question with {} densities for {gates} gates",
        question.densities.len()
    );
    engine.set_densities(&question.densities);
    let mut pixels = Vec::new();
    batch::fill(images, &indices[..1], None, normalization, &mut pixels);
    let mut latency = infer::latency(engine, &pixels, LATENCY[0]);
    let mut tally = Tally::new(engine.spec());
    let (mut due, mut last) = (Instant::now() + FIRST, 0);
    for chunk in indices.chunks(BATCH) {
        if let Ok(newer) = asked.try_recv() {
            return Ok(Some(newer));
        }
        batch::fill(images, chunk, None, normalization, &mut pixels);
        tally.add(engine.run(&pixels), chunk.iter().map(|&i| images.labels[i as usize]));
        last += chunk.len();
        let done = last == indices.len();
        if done {
            batch::fill(images, &indices[..1], None, normalization, &mut pixels);
            latency = infer::latency(engine, &pixels, LATENCY[1]);
        }
        if done || Instant::now() >= due {
            drop(said.send(Said::Answered(summary(
                engine,
                &question,
                &tally,
                indices.len(),
                latency,
            )?)));
            wake();
            due = Instant::now() + REFINE;
        }
    }
    Ok(None)
}

fn summary(engine: &Engine, question: &Question, tally: &Tally, of: usize, latency: Latency) -> Result<Answer> {
    let spec = engine.spec();
    let layers = tally.layers(spec);
    let gates = spec.gates();
    let fraction = |node: usize| {
        gates
            .iter()
            .position(|&g| g == node)
            .and_then(|i| layers.get(i))
            .map(|l| f64::from(l.kept))
    };
    let traffic = cost::total(spec, &crate::model::Masks::new(), &Fractions::propagate(spec, fraction))?;
    Ok(Answer {
        question: question.clone(),
        n: tally.n,
        of,
        right: tally.right,
        macs: tally.macs(),
        traffic,
        latency: Some(latency),
        layers: layers.into(),
    })
}

/// A question for one density everywhere.
pub fn uniform(gates: usize, density: Density) -> Question {
    Question {
        densities: vec![density; gates],
    }
}
