//! relu(scale · norm(conv(x)) + shift), the layer that all networks here consist of, in burn's own operations:
//! the whole convolution, then the mask. It runs on every device; the fast form is [`crate::sparse_conv`].
//! Knows nothing of where scale and shift come from.

use crate::norm_statistics::{BatchMoments, NormStatistics};
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Tensor, TensorData, activation, module};
use model::checkpoint::Moments;
use model::mask::Active;
use model::spec::Pad;
use std::sync::Arc;

/// Where a norm's mean and variance come from.
#[derive(Clone, Copy)]
pub(crate) enum Statistics<'a> {
    /// From each group of the batch.
    Batch {
        groups: usize,
        kind: NormStatistics,
    },
    Stored(&'a Moments),
}

/// All of a layer but its tensors.
pub(crate) struct ConvStepArgs<'a> {
    /// Stride and groups; padding is added before.
    pub options: ConvOptions<2>,
    /// Zeros around the input.
    pub pad: Pad,
    /// Added to the variance.
    pub eps: f32,
    /// Whether ReLU ends the layer.
    pub relu: bool,
    /// Active filters; the others' scale and shift are 0.
    pub(crate) active_out: Option<Arc<Active>>,
    /// Norm statistics.
    pub statistics: Statistics<'a>,
}

/// Runs the layer: `x` `[n, c, h, w]`, `weight` `[filters, c, k, k]`, `scale` and `shift` `[1 or n, filters]`.
pub(crate) fn run(
    x: Tensor<4>,
    weight: Tensor<4>,
    scale: Tensor<2>,
    shift: Tensor<2>,
    args: &ConvStepArgs,
) -> (Tensor<4>, Option<BatchMoments>) {
    let y = convolve(x, weight, args.options.clone(), args.pad);
    let (y, moments) = normalize(y, scale, shift, args.eps, &args.statistics, args.active_out.as_deref());
    (if args.relu { activation::relu(y) } else { y }, moments)
}

/// A plain convolution with padding on each side as asked.
pub(crate) fn convolve(x: Tensor<4>, weight: Tensor<4>, options: ConvOptions<2>, pad: Pad) -> Tensor<4> {
    let x = if pad == Pad::VALID {
        x
    } else {
        x.pad((pad.left, pad.right, pad.top, pad.bottom), PadMode::Constant(0.0))
    };
    module::conv2d(x, weight, None, options)
}

/// scale · (y − mean)/√(var + ε) + shift, with statistics by group.
pub(crate) fn normalize(
    y: Tensor<4>,
    scale: Tensor<2>,
    shift: Tensor<2>,
    eps: f32,
    statistics: &Statistics,
    active: Option<&Active>,
) -> (Tensor<4>, Option<BatchMoments>) {
    let [n, c, h, w] = y.dims();
    let device = y.device();
    let per_channel = |t: Tensor<2>| {
        let rows = t.dims()[0];
        t.reshape([rows, c, 1, 1])
    };
    let (norm, moments) = match statistics {
        Statistics::Stored(m) => {
            let row = |v: Vec<f32>| Tensor::<4>::from_data(TensorData::new(v, [1, c, 1, 1]), &device);
            let inverse = row(m.var.iter().map(|v| 1.0 / (v + eps).sqrt()).collect());
            ((y - row(m.mean.clone())) * inverse, None)
        }
        Statistics::Batch { groups, kind } => {
            let size = n / groups;
            let y = y.reshape([*groups, size, c, h * w]);
            let mask = match (kind, active) {
                (NormStatistics::Active, Some(active)) => active.as_mask(),
                _ => vec![1.0; n * c],
            };
            let positions: Vec<f32> = (0..groups * c)
                .map(|i| (0..size).map(|k| mask[(i / c * size + k) * c + i % c]).sum::<f32>() * (h * w) as f32)
                .collect();
            // Each image's weight in its group's statistics. A channel that is active nowhere gets mean 0, variance 0.
            let weight: Vec<f32> = (0..n * c)
                .map(|i| mask[i] / positions[i / c / size * c + i % c].max(1.0))
                .collect();
            let weight = Tensor::<4>::from_data(TensorData::new(weight, [*groups, size, c, 1]), &device);
            let mean = (y.clone() * weight.clone()).sum_dims(&[1, 3]);
            let centered = y - mean.clone();
            let var = (centered.clone().square() * weight).sum_dims(&[1, 3]);
            let last = |t: &Tensor<4>| -> Vec<f32> {
                t.clone()
                    .slice_dim(0, groups - 1..*groups)
                    .to_data()
                    .try_to_vec()
                    .unwrap_or_default()
            };
            let moments = (
                Moments {
                    mean: last(&mean),
                    var: last(&var),
                },
                positions[(groups - 1) * c..].to_vec(),
            );
            let norm = centered / (var + eps).sqrt();
            (norm.reshape([n, c, h, w]), Some(moments))
        }
    };
    (norm * per_channel(scale) + per_channel(shift), moments)
}
