//! The one loop over labelled images: batch by batch through an engine into metrics, for whoever measures a network.
//! Knows nothing of splits, or of why something is measured.

use super::batch::Batch;
use super::engine::Engine;
use super::metrics::EvalMetrics;
use anyhow::Result;
use data::{Answers, Images, Normalization, batch};
use model::spec::NetSpec;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

/// Images to measure on, and their labels.
#[derive(Clone, Copy, Debug)]
pub enum LabeledImages<'a> {
    /// Ready to run.
    Normalized {
        /// `[n, c, h, w]`.
        pixels: &'a [f32],
        /// One per image.
        labels: &'a [u16],
        /// What another network gave of them, by place; what is measured is agreement with it.
        answers: Option<&'a Answers>,
    },
    /// Bytes that are normalized batch by batch.
    Stored {
        /// Where they are.
        images: &'a Images,
        /// Which of them, in order.
        indices: &'a [u32],
        /// The model's own.
        normalization: &'a Normalization,
    },
}

impl LabeledImages<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Normalized { labels, .. } => labels.len(),
            Self::Stored { indices, .. } => indices.len(),
        }
    }

    fn answers(&self) -> Option<&Answers> {
        match *self {
            Self::Normalized { answers, .. } => answers,
            Self::Stored { images, .. } => images.answers.as_ref(),
        }
    }

    /// The number of the image at a place.
    fn index(&self, place: usize) -> u32 {
        match self {
            Self::Normalized { .. } => place as u32,
            Self::Stored { indices, .. } => indices[place],
        }
    }

    /// Pixels and labels of a range of images of `size` numbers each; what has to be made is made in `buffers`.
    fn range<'b>(
        &'b self,
        range: Range<usize>,
        size: usize,
        buffers: &'b mut (Vec<f32>, Vec<u16>),
    ) -> (&'b [f32], &'b [u16]) {
        match *self {
            Self::Normalized { pixels, labels, .. } => (&pixels[range.start * size..range.end * size], &labels[range]),
            Self::Stored {
                images,
                indices,
                normalization,
            } => {
                let indices = &indices[range];
                batch::fill(images, indices, None, normalization, &mut buffers.0);
                buffers.1.clear();
                buffers.1.extend(indices.iter().map(|&i| images.labels[i as usize]));
                (&buffers.0, &buffers.1)
            }
        }
    }
}

/// One batch of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct EvaluatedBatch<'a> {
    /// The network.
    pub spec: &'a NetSpec,
    /// What the engine gave.
    pub batch: &'a Batch,
    /// One per image.
    pub labels: &'a [u16],
    /// Of all batches so far, this one included.
    pub metrics: &'a EvalMetrics,
    /// How long the engine took.
    pub elapsed: Duration,
}

/// Measures an engine, as it is set, in batches of as many images as it was compiled for.
///
/// `check` is asked before each batch: a break ends the evaluation with the metrics so far. It may use the engine, if it
/// leaves densities and masks as it finds them. `observe` sees each batch after its run.
///
/// # Errors
/// Those of `check` and `observe`.
pub fn evaluate(
    engine: &mut Engine,
    images: LabeledImages,
    check: &mut dyn FnMut(&mut Engine) -> Result<ControlFlow<()>>,
    observe: &mut dyn FnMut(EvaluatedBatch) -> Result<()>,
) -> Result<EvalMetrics> {
    let mut metrics = EvalMetrics::new(engine.spec());
    let (size, most) = (engine.spec().input.iter().product(), engine.batch_size());
    let mut buffers = (Vec::new(), Vec::new());
    for start in (0..images.len()).step_by(most) {
        if check(engine)?.is_break() {
            break;
        }
        let range = start..images.len().min(start + most);
        let (pixels, labels) = images.range(range, size, &mut buffers);
        let began = Instant::now();
        engine.run(pixels);
        let elapsed = began.elapsed();
        let batch = engine.batch();
        metrics.add(batch, labels);
        if let Some(answers) = images.answers() {
            metrics.compare(batch, labels, answers, |i| answers.get(images.index(start + i)));
        }
        observe(EvaluatedBatch {
            spec: engine.spec(),
            batch,
            labels,
            metrics: &metrics,
            elapsed,
        })?;
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::super::engine::compile;
    use super::super::options::Options;
    use super::*;
    use model::{random_model, zoo};

    #[test]
    fn metrics_do_not_depend_on_batches_and_a_break_keeps_those_so_far() {
        let model = random_model(zoo::build("lenet5", [1, 28, 28], 10, 0.2).expect("builds"), 1).expect("builds");
        let pixels: Vec<f32> = (0..5 * 784).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let images = LabeledImages::Normalized {
            pixels: &pixels,
            labels: &[0, 1, 2, 3, 4],
            answers: None,
        };
        let measure = |batch: usize, most: usize| {
            let options = Options {
                batch,
                ..Options::default()
            };
            let mut engine = compile(&model, &options).expect("compiles");
            let (mut seen, mut checks) = (Vec::new(), 0);
            let mut check = |_: &mut Engine| {
                checks += 1;
                Ok(if checks > most {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            };
            let metrics = evaluate(&mut engine, images, &mut check, &mut |done| {
                seen.push((done.batch.n, done.labels.to_vec()));
                Ok(())
            });
            (metrics.expect("measures"), seen)
        };
        let (whole, seen) = measure(5, 9);
        assert_eq!((whole.n, seen), (5, vec![(5, vec![0, 1, 2, 3, 4])]));
        let (pairs, seen) = measure(2, 9);
        assert_eq!(pairs, whole);
        assert_eq!(seen, [(2, vec![0, 1]), (2, vec![2, 3]), (1, vec![4])]);
        assert_eq!(measure(2, 1).0.n, 2);
    }
}
