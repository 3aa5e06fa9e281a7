//! One training layer on plain slices: relu(scale · norm(conv(x)) + shift), forward and backward over a batch,
//! doing only the work of active channels. The arithmetic of [`crate::sparse_conv`].
//! Knows nothing of burn or of how scale and shift come about.
//!
//! ```text
//! forward   per image:   y = conv(x) for the computed filters; mean and spread of each plane
//!           per group:   mean, variance of each filter over its images
//!           per image:   out = relu(a·y + b) for the active filters, a = scale/σ, b = shift − a·mean; 0 elsewhere
//! backward  per image:   S1 = Σ dz, S2 = Σ dz·norm for the active filters, dz = dout where a·y + b > 0
//!           per group:   m1 = Σ scale·S1 / count, m2 = Σ scale·S2 / count
//!           per image:   dy = (scale·dz − m1 − norm·m2)/σ for the computed filters; dx, dW from it
//! ```
//! Computed filters are all of them when statistics are taken over all images (the paper: suppressed channels take part
//! in the statistics and so get a gradient through them), and the active ones otherwise.
//! Work is split into a fixed number of parts of the batch, so results do not depend on the number of threads.

mod backward;
mod conv;
mod forward;

use crate::layer_seconds::LayerSeconds;
use crate::norm_statistics::NormStatistics;
use conv::{LayerConv, LayerConvScratch};
use kernel::{Affine, BatchPlan, ConvShape, GradScratch, Kernel, Layout, WeightGradPlan};
use model::mask::Active;

/// Parts a batch is split into, whatever the number of threads.
const PARTS: usize = 8;

/// What a layer does to a batch.
#[derive(Clone, Copy)]
pub(crate) struct LayerCall<'a> {
    /// `[n, in_channels, h, w]`.
    pub x: &'a [f32],
    /// `[filters, in_channels, kh, kw]`.
    pub weight: &'a [f32],
    /// `[1 or n, filters]`.
    pub scale: &'a [f32],
    /// `[1 or n, filters]`.
    pub shift: &'a [f32],
    /// Images.
    pub n: usize,
    /// Equal groups of images with statistics of their own.
    pub groups: usize,
    /// Over which images statistics are taken.
    pub kind: NormStatistics,
    /// Added to the variance.
    pub eps: f32,
    /// Whether ReLU ends the layer.
    pub relu: bool,
    /// Input channels that may be non-zero; `None` means all.
    pub(crate) active_in: Option<&'a Active>,
    /// Active filters; `None` means all.
    pub(crate) active_out: Option<&'a Active>,
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardState {
    /// conv(x), `[n, filters, positions]`; only computed planes are meaningful.
    pub y: Vec<f32>,
    /// `[groups, filters]`.
    pub mean: Vec<f32>,
    /// `[groups, filters]`, biased.
    pub var: Vec<f32>,
    /// Positions the statistics were taken over, `[groups, filters]`.
    pub count: Vec<f32>,
    /// Mean of each output plane, `[n, filters]`: what the next gate reads. Zero for inactive filters.
    pub(crate) out_mean: Vec<f32>,
}

/// Gradients that reach a layer from the layers behind it.
#[derive(Clone, Copy)]
pub(crate) struct OutputGradients<'a> {
    /// Gradient of the output, `[n, filters, positions]`.
    pub grad: &'a [f32],
    /// Gradient of the mean of each output plane, `[n, filters]`; empty if no gate read the means. Needs ReLU.
    pub(crate) mean_grad: &'a [f32],
}

/// Gradients of a layer, to be written. The old content does not matter unless stated.
pub(crate) struct LayerGrads<'a> {
    /// `[n, in_channels, h, w]`; `None` for the first layer.
    pub x: Option<&'a mut [f32]>,
    /// `[filters, in_channels, kh, kw]`.
    pub weight: &'a mut [f32],
    /// `[1 or n, filters]`, zeros on entry.
    pub scale: &'a mut [f32],
    /// `[1 or n, filters]`, zeros on entry.
    pub shift: &'a mut [f32],
}

/// A layer of one shape, ready to run; owns all scratch.
pub(crate) struct LayerPlan {
    kernel: Kernel,
    shape: ConvShape,
    forward: LayerConv,
    input_grad: LayerConv,
    weight_grad: WeightGradPlan,
    /// For planes of a few positions: all channels of the whole batch at once.
    batch: Option<BatchPlan>,
    /// dy of the batch, where `batch` reads it.
    batch_grad: Vec<f32>,
    all_in: Vec<u32>,
    all_out: Vec<u32>,
    /// Made when images are first computed one by one.
    parts: Vec<BatchPart>,
    /// Time spent since it was last taken.
    pub seconds: LayerSeconds,
}

/// Share of a batch's work that active channels must make up before all of them are computed at once, by output positions.
/// Image by image, weights are read anew for each.
fn batch_share(positions: usize) -> f64 {
    if positions <= 4 { 0.02 } else { 0.3 }
}

struct BatchPart {
    planes: Vec<f32>,
    lists: LayerConvScratch,
    grad_planes: Vec<f32>,
    grad_lists: LayerConvScratch,
    weight_grad: GradScratch,
    plane: Vec<f32>,
    /// Of this thread, in the backward pass.
    seconds: LayerSeconds,
}

impl LayerPlan {
    pub(crate) fn new(kernel: Kernel, shape: ConvShape) -> Self {
        let (forward, input_grad) = (
            LayerConv::forward(kernel, &shape),
            LayerConv::input_grad(kernel, &shape),
        );
        Self {
            kernel,
            shape,
            parts: Vec::new(),
            seconds: LayerSeconds::default(),
            forward,
            input_grad,
            weight_grad: WeightGradPlan::new(kernel, &shape),
            batch: BatchPlan::new(kernel, &shape),
            batch_grad: Vec::new(),
            all_in: (0..shape.in_channels as u32).collect(),
            all_out: (0..shape.filters as u32).collect(),
        }
    }

    fn positions(&self) -> usize {
        self.shape.out_h() * self.shape.out_w()
    }

    /// The plan for the whole batch, if it is faster than images one by one. The choice depends on nothing but the call.
    fn take_batch(&mut self, call: &LayerCall) -> Option<BatchPlan> {
        let plan = self.batch.take_if(|plan| plan.takes(call.n))?;
        let work = |[channels, filters]: [usize; 2]| (channels * filters) as f64;
        let active: f64 = counts(call, &self.all_in, &self.all_out).map(work).sum();
        let all = work([self.shape.in_channels, self.shape.filters]) * call.n as f64;
        if active >= batch_share(self.positions()) * all {
            return Some(plan);
        }
        self.batch = Some(plan);
        None
    }

    fn make_parts(&mut self) {
        if self.parts.is_empty() {
            let part = || BatchPart {
                planes: Layout::input(&self.shape).alloc(),
                lists: self.forward.lists(),
                grad_planes: Layout::output_grad(&self.shape).alloc(),
                grad_lists: self.input_grad.lists(),
                weight_grad: self.weight_grad.scratch(),
                plane: vec![0.0; self.positions()],
                seconds: LayerSeconds::default(),
            };
            self.parts = (0..PARTS).map(|_| part()).collect();
        }
    }
}

/// Numbers of active (channels, filters) of each image.
fn counts<'a>(call: &'a LayerCall, all_in: &'a [u32], all_out: &'a [u32]) -> impl Iterator<Item = [usize; 2]> {
    (0..call.n).map(|n| [call.active_channels(n, all_in).len(), call.computed(n, all_out).len()])
}

impl LayerCall<'_> {
    fn scale_at(&self, n: usize, f: usize, filters: usize) -> f32 {
        self.scale[if self.scale.len() > filters { n * filters + f } else { f }]
    }

    fn shift_at(&self, n: usize, f: usize, filters: usize) -> f32 {
        self.shift[if self.shift.len() > filters { n * filters + f } else { f }]
    }

    /// Active input channels of image `n`.
    fn active_channels<'a>(&'a self, n: usize, all: &'a [u32]) -> &'a [u32] {
        self.active_in.map_or(all, |a| a.image(n))
    }

    fn active_filters<'a>(&'a self, n: usize, all: &'a [u32]) -> &'a [u32] {
        self.active_out.map_or(all, |a| a.image(n))
    }

    /// Filters that are computed for image `n`.
    fn computed<'a>(&'a self, n: usize, all: &'a [u32]) -> &'a [u32] {
        match self.kind {
            NormStatistics::All => all,
            NormStatistics::Active => self.active_filters(n, all),
        }
    }
}

impl ForwardState {
    /// What filter `f` does to a plane of image `n`, and the mean and 1/σ it is normalized by.
    fn affine(&self, call: &LayerCall, n: usize, f: usize, filters: usize) -> (Affine, f32, f32) {
        let (mean, inverse) = self.norm(call, n, f, filters);
        let a = call.scale_at(n, f, filters) * inverse;
        let b = call.shift_at(n, f, filters) - a * mean;
        (Affine { a, b, relu: call.relu }, mean, inverse)
    }

    /// Mean and 1/σ that filter `f` of image `n` is normalized by.
    fn norm(&self, call: &LayerCall, n: usize, f: usize, filters: usize) -> (f32, f32) {
        let at = n / (call.n / call.groups) * filters + f;
        (self.mean[at], 1.0 / (self.var[at] + call.eps).sqrt())
    }
}
