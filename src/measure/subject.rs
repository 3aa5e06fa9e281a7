//! What is measured: a model's images under one question, and how an engine is made to stand at it.
//! Knows nothing of the order in which things are measured.

use crate::answer::{Answer, Response};
use crate::images::{self, ImageDetail, ImageRef};
use crate::pruning::{Planned, PruningPlan};
use crate::{Question, Requests};
use anyhow::{Context, Result};
use crossbeam_channel::Sender;
use data::{Images, Reading, batch};
use event::LayerState;
use infer::{Engine, EvalMetrics, LabeledImages, Latency, evaluate};
use model::spec::NetSpec;
use model::{Density, Fractions, Masks, Op, cost};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pictures that take turns when one is timed.
const TIMED: usize = 8;
/// Training images that norms are measured on before a cut is measured for good, as searches do before a trial.
pub(crate) const CALIBRATION: usize = 64;

/// Time in which pictures without classes get those that the whole network names, and how many get one at least.
const NAMING: Duration = Duration::from_secs(2);
const LEAST_NAMED: usize = 32;

/// The probe's connection to whoever asks.
pub(crate) struct Client<'a> {
    pub(crate) requests: &'a Requests,
    pub(crate) responses: &'a Sender<Response>,
    pub(crate) wake: &'a dyn Fn(),
}

impl Client<'_> {
    pub(crate) fn send(&self, response: Response) {
        drop(self.responses.send(response));
        (self.wake)();
    }
}

/// What is measured: the open model's validation images, at the newest question's densities. There may be none.
pub(crate) struct Subject {
    pub(crate) images: Images,
    pub(crate) reading: Reading,
    pub(crate) indices: Vec<u32>,
    /// Training images for norms.
    pub(crate) calibration: Vec<u32>,
    pub(crate) normalization: data::Normalization,
    /// Those of the file.
    pub(crate) masks: Arc<Masks>,
    pub(crate) classes: usize,
    pub(crate) question: Question,
    /// What could be cut, with nothing cut; none if nothing can be.
    pub(crate) whole: Option<Arc<PruningPlan>>,
    /// What the question leaves out.
    pub(crate) cut: Option<Planned>,
}

impl Subject {
    /// The masks that costs are counted by.
    pub(crate) fn counted(&self) -> &Masks {
        self.cut.as_ref().map_or(&self.masks, |cut| &cut.counted)
    }

    /// Makes the engine stand at the question: densities and masks, and under a cut norms measured anew on at most so many
    /// training images.
    pub(crate) fn stand(&self, engine: &mut Engine, norms: usize) -> Result<()> {
        engine.set_densities(&self.question.densities);
        engine.set_masks(self.cut.as_ref().map_or(&self.masks, |cut| &cut.masks))?;
        let few = &self.calibration[..self.calibration.len().min(norms)];
        if self.cut.is_some() && !few.is_empty() {
            let mut pixels = Vec::new();
            batch::fill(&self.images, few, None, &self.normalization, &mut pixels);
            engine.calibrate(&pixels);
        }
        Ok(())
    }

    /// Makes the engine stand at the whole model.
    pub(crate) fn stand_dense(&self, engine: &mut Engine) -> Result<()> {
        engine.set_densities(&vec![Density::FULL; engine.spec().gates().len()]);
        engine.set_masks(&self.masks)
    }

    /// The images from the `first` one to before the `last`.
    pub(crate) fn images_in(&self, first: usize, last: usize) -> LabeledImages<'_> {
        LabeledImages::Stored {
            images: &self.images,
            indices: &self.indices[first..last],
            normalization: &self.normalization,
        }
    }

    /// Gives images without classes those that the whole network names; as many as it names in a moment.
    pub(crate) fn name_by_whole(&mut self, engine: &mut Engine, client: &Client) -> Result<()> {
        self.stand_dense(engine)?;
        let one = self.one_image(engine).as_secs_f64();
        let most = ((NAMING.as_secs_f64() / one) as usize).max(LEAST_NAMED);
        self.indices.truncate(most);
        // Whoever opens another model does not wait for this one's names.
        let mut check = |_: &mut Engine| {
            Ok(match client.requests.has_other_images() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        };
        let mut seen = Vec::new();
        let all = self.images_in(0, self.indices.len());
        evaluate(engine, all, &mut check, &mut |done| {
            images::seen(done.batch, done.labels, done.spec, &self.masks, &mut seen);
            Ok(())
        })?;
        self.indices.truncate(seen.len());
        for (&image, one) in self.indices.iter().zip(&seen) {
            self.images.labels[image as usize] = one.said;
        }
        Ok(())
    }

    /// Time that one image takes, roughly.
    pub(crate) fn one_image(&self, engine: &mut Engine) -> Duration {
        let mut pixels = Vec::new();
        batch::fill(&self.images, &self.indices[..1], None, &self.normalization, &mut pixels);
        engine.run(&pixels);
        let began = Instant::now();
        engine.run(&pixels);
        began.elapsed().max(Duration::from_micros(10))
    }

    /// Time for one image at the engine's densities; the first few take turns. Without images it is of noise.
    pub(crate) fn time(&self, engine: &mut Engine, budget: Duration) -> Latency {
        let mut pixels = Vec::new();
        let few = &self.indices[..self.indices.len().min(TIMED)];
        let size = engine.spec().input.iter().product();
        if few.is_empty() {
            // A fixed sequence that looks like noise: channels that choose by image have something to choose by.
            let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) >> 8;
            pixels.extend((0..size).map(|i| noise(i) as f32 / (1 << 23) as f32 - 1.0));
        } else {
            batch::fill(&self.images, few, None, &self.normalization, &mut pixels);
        }
        infer::latency_in_turn(engine, &pixels, size, budget)
    }

    /// What is known so far. Of no image it is what densities and masks promise.
    pub(crate) fn summary(&self, spec: &NetSpec, metrics: &EvalMetrics, latency: Option<Latency>) -> Result<Answer> {
        let (macs, traffic, layers) = if metrics.n > 0 {
            let traffic = metrics.cost(spec, self.counted())?;
            (metrics.macs(), traffic, metrics.layers(spec))
        } else {
            let fractions = Fractions::nominal(spec, &self.question.densities)?;
            let traffic = cost::total(spec, self.counted(), &fractions)?;
            (traffic.macs, traffic, self.promised(spec, &fractions)?)
        };
        let traffic = match self.cut {
            Some(_) => cut_traffic(spec, traffic, &layers)?,
            None => traffic,
        };
        Ok(Answer {
            question: self.question.clone(),
            n: metrics.n,
            of: self.indices.len(),
            right: metrics.right,
            macs,
            traffic,
            latency,
            layers: layers.into(),
            dense_latency: None,
            seen: Arc::default(),
            said: Arc::default(),
            by_class: Arc::default(),
            classes: Arc::default(),
            plan: self
                .cut
                .as_ref()
                .map(|cut| cut.plan.clone())
                .or_else(|| self.whole.clone()),
        })
    }

    /// Every convolution at these fractions and masks, in network order.
    fn promised(&self, spec: &NetSpec, fractions: &Fractions) -> Result<Vec<LayerState>> {
        let shapes = spec.shapes()?;
        let costs = cost::by_layer(spec, self.counted(), fractions)?;
        let macs: BTreeMap<usize, u64> = costs.iter().map(|l| (l.node, l.cost.macs)).collect();
        let layer = |conv: usize| {
            let name = spec.nodes[conv].name.clone();
            let channels = shapes[conv][0];
            let stays = |mask: &model::mask::LayerMask| mask.filters.iter().filter(|&&f| f).count();
            let left = self.counted().get(&name).map_or(channels, stays);
            LayerState {
                channels,
                kept: (left as f64 / channels.max(1) as f64 * fractions.0[conv]) as f32,
                macs: macs.get(&conv).copied().unwrap_or(0),
                saliency: Vec::new(),
                active: Vec::new(),
                name,
            }
        };
        Ok(spec.convs().into_iter().map(layer).collect())
    }
}

/// What a cut network reads and writes: masks say which weights are there, and what is kept of each layer which planes are.
fn cut_traffic(spec: &NetSpec, counted: cost::Cost, layers: &[LayerState]) -> Result<cost::Cost> {
    let mut kept: Vec<f64> = Vec::with_capacity(spec.nodes.len());
    for node in &spec.nodes {
        let own = layers.iter().find(|l| l.name == node.name).map(|l| f64::from(l.kept));
        let read = node.inputs.first().map_or(1.0, |&from| kept[from]);
        kept.push(match node.op {
            Op::Linear { .. } | Op::Input => 1.0,
            _ => own.unwrap_or(read),
        });
    }
    let planes = cost::total(spec, &Masks::new(), &Fractions(kept))?;
    Ok(cost::Cost {
        activation_bytes: planes.activation_bytes,
        peak_bytes: planes.peak_bytes,
        ..counted
    })
}

/// Breaks off for a newer request; looks at an image in passing.
pub(crate) fn between_batches(engine: &mut Engine, subject: &Subject, client: &Client) -> ControlFlow<()> {
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

/// One image at the newest question's densities, and with every channel running.
pub(crate) fn look(engine: &mut Engine, subject: &Subject, picture: ImageRef) -> Result<ImageDetail> {
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
        answers: None,
    };
    let mut pixels = Vec::new();
    batch::fill(&one, &[0], None, &subject.normalization, &mut pixels);
    subject.stand_dense(engine)?;
    let logits = engine.spec().logits()?;
    let dense = images::softmax(&engine.run(&pixels).logits[logits.clone()]);
    subject.stand(engine, CALIBRATION)?;
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
        gated: images::softmax(&run.logits[logits]),
        dense,
        saliency: run.gates.iter().map(|g| g.saliency.clone()).collect(),
        active: active.collect(),
        macs: images::macs_of(&run, 0, engine.spec(), subject.counted()),
    })
}
