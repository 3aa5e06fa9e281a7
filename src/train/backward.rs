//! One batch: loss, the number of correct images, and the gradient of every weight.
//! Knows nothing of what becomes of gradients.

use crate::finite;
use crate::net::{ForwardOptions, Net, Norms, Output, tensors};
use crate::norm_statistics::NormStatistics;
use crate::optimizer::Gradients;
use crate::teacher::SoftTargets;
use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData, activation};
use event::Cancelled;
use model::{Density, Weights};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A batch to train on.
pub struct TrainingBatch<'a> {
    /// `[n, c, h, w]`, normalized.
    pub pixels: Vec<f32>,
    /// The class of each image.
    pub labels: &'a [usize],
    /// Densities, statistics, dropout.
    pub options: ForwardOptions<'a>,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f32,
    /// What a teacher says of these images.
    pub teacher: Option<SoftTargets>,
    /// λ of the saliency term.
    pub lambda: f32,
    /// Called between the forward and the backward pass; an error means: stop now.
    pub check: &'a dyn Fn() -> Result<(), Cancelled>,
}

impl<'a> TrainingBatch<'a> {
    /// A batch without dropout, label smoothing or saliency term, with norms over all of its images.
    pub(crate) fn plain(
        pixels: Vec<f32>,
        labels: &'a [usize],
        groups: &'a [Vec<Density>],
        check: &'a dyn Fn() -> Result<(), Cancelled>,
    ) -> Self {
        Self {
            pixels,
            labels,
            options: ForwardOptions {
                groups,
                norms: Norms::Batch(NormStatistics::All),
                dropout: None,
            },
            label_smoothing: 0.0,
            teacher: None,
            lambda: 0.0,
            check,
        }
    }
}

/// What a batch gives.
pub struct BatchGradients {
    /// Cross-entropy + λ·L1, mean over images; with a teacher the loss of [`crate::teacher`] in place of cross-entropy.
    pub loss: f32,
    /// Images classified right; without class logits the sum of their agreement with the teacher.
    pub right: f64,
    /// Gradient of the loss for every weight that has one.
    pub gradients: Gradients,
}

/// Cross-entropy + λ·L1 → gradients, at these weights.
///
/// # Errors
/// [`Cancelled`]; neither class logits nor a teacher; a loss that is not a number or diverges, with the layer.
pub fn backward(net: &Net, weights: &Weights, batch: TrainingBatch) -> Result<BatchGradients> {
    let device = net.device().clone().autodiff();
    let [c, h, w] = net.spec.input;
    let x = Tensor::<4>::from_data(TensorData::new(batch.pixels, [batch.labels.len(), c, h, w]), &device);
    let tracked = |(name, p): (String, Tensor<1>)| (name, p.autodiff().require_grad());
    let params: BTreeMap<_, _> = tensors(weights, net.device()).into_iter().map(tracked).collect();
    let Output { logits, l1, .. } = net.forward(&params, x, &batch.options)?;
    (batch.check)()?;
    let classes = net.spec.logits()?;
    let (right, mut loss) = if classes.is_empty() {
        let teacher = batch.teacher.as_ref();
        let teacher = teacher.with_context(|| format!("network {} gives no class logits", net.spec.name))?;
        let right = teacher.agreement(&logits.to_data().try_to_vec::<f32>()?);
        (right, teacher.loss(logits, None))
    } else {
        let of_classes = match logits.dims()[1] == classes.len() {
            true => logits.clone(),
            false => logits.clone().narrow(1, classes.start, classes.len()),
        };
        let right = count_right(&of_classes, batch.labels)? as f64;
        let loss = cross_entropy(of_classes, batch.labels, batch.label_smoothing);
        let loss = match &batch.teacher {
            Some(teacher) => teacher.loss(logits, Some(loss)),
            None => loss,
        };
        (right, loss)
    };
    if let Some(l1) = l1.filter(|_| batch.lambda > 0.0) {
        loss = loss + l1.mul_scalar(batch.lambda);
    }
    let value = loss.clone().into_scalar::<f32>();
    if !matches!(value.partial_cmp(&1e4), Some(Ordering::Less)) {
        return Err(finite::diverged(&format!("the loss is {value}"), weights));
    }
    let mut found = loss.backward();
    (batch.check)()?;
    let mut gradients = Gradients::new();
    for (name, p) in params {
        if let Some(g) = p.grad_remove(&mut found) {
            gradients.insert(name, g.into_data().try_into_vec()?);
        }
    }
    Ok(BatchGradients {
        loss: value,
        right,
        gradients,
    })
}

/// Mean over images of −Σ q·log softmax, q the one-hot target with `smoothing` spread over all classes.
fn cross_entropy(logits: Tensor<2>, labels: &[usize], smoothing: f32) -> Tensor<1> {
    let [n, classes] = logits.dims();
    let mut target = vec![smoothing / classes as f32; n * classes];
    for (image, &label) in labels.iter().enumerate() {
        target[image * classes + label] += 1.0 - smoothing;
    }
    let target = Tensor::<2>::from_data(TensorData::new(target, [n, classes]), &logits.device());
    (activation::log_softmax(logits, 1) * target)
        .sum()
        .div_scalar(-(n as f32))
}

fn count_right(logits: &Tensor<2>, labels: &[usize]) -> Result<usize> {
    let [_, classes] = logits.dims();
    let values: Vec<f32> = logits.to_data().try_to_vec()?;
    let best = |row: &[f32]| (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
    Ok(values
        .chunks_exact(classes)
        .zip(labels)
        .filter(|(row, label)| best(row) == **label)
        .count())
}
