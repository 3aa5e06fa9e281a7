//! One training layer on plain slices: relu(scale · norm(conv(x)) + shift), forward and backward over a batch,
//! doing only the work of active channels. The arithmetic of [`super::sparse_conv`].
//! Knows nothing of burn or of how scale and shift come about.
//!
//! ```text
//! forward   per image:   y = conv(x) for the computed filters; mean and spread of each plane
//!           per group:   mean, variance of each filter over its images
//!           per image:   out = relu(a·y + b) for the active filters, a = scale/σ, b = shift − a·mean; 0 elsewhere
//! backward  per image:   S1 = Σ dz, S2 = Σ dz·norm for the active filters, dz = dout where out > 0
//!           per group:   m1 = Σ scale·S1 / count, m2 = Σ scale·S2 / count
//!           per image:   dy = (scale·dz − m1 − norm·m2)/σ for the computed filters; dx, dW from it
//! ```
//! Computed filters are all of them when statistics are taken over all images (the paper: suppressed channels take part
//! in the statistics and so get a gradient through them), and the active ones otherwise.
//! Work is split into a fixed number of parts of the batch, so results do not depend on the number of threads.

use super::mask::Active;
use super::net::NormStatistics;
use crate::kernel::{
    Columns, ConvCall, ConvPlan, ConvShape, Epilogue, GradScratch, Kernel, Layout, Pool, WeightGradCall,
    WeightGradPlan, transpose_weights,
};

/// Parts a batch is split into, whatever the number of threads.
const PARTS: usize = 8;

/// What a layer does to a batch.
#[derive(Clone, Copy)]
pub struct LayerCall<'a> {
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
    pub active_in: Option<&'a Active>,
    /// Filters that are wanted; `None` means all.
    pub active_out: Option<&'a Active>,
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// conv(x), `[n, filters, positions]`; only computed planes mean anything.
    pub y: Vec<f32>,
    /// `[groups, filters]`.
    pub mean: Vec<f32>,
    /// `[groups, filters]`, biased.
    pub var: Vec<f32>,
    /// Positions the statistics were taken over, `[groups, filters]`.
    pub count: Vec<f32>,
    /// Mean of each output plane, `[n, filters]`: what the next gate reads. Zero where not wanted.
    pub out_mean: Vec<f32>,
}

/// What comes back to a layer.
#[derive(Clone, Copy)]
pub struct LayerOut<'a> {
    /// What the forward pass gave, `[n, filters, positions]`.
    pub out: &'a [f32],
    /// Its gradient, of the same shape.
    pub grad: &'a [f32],
    /// Gradient of the mean of each output plane, `[n, filters]`; empty when nothing read the means. Needs ReLU.
    pub mean_grad: &'a [f32],
}

/// Gradients of a layer, to be written.
pub struct LayerGrads<'a> {
    /// `[n, in_channels, h, w]`, zeros on entry; `None` for the first layer.
    pub x: Option<&'a mut [f32]>,
    /// `[filters, in_channels, kh, kw]`, zeros on entry.
    pub weight: &'a mut [f32],
    /// `[1 or n, filters]`, zeros on entry.
    pub scale: &'a mut [f32],
    /// `[1 or n, filters]`, zeros on entry.
    pub shift: &'a mut [f32],
}

/// A layer of one shape, ready to run; owns all scratch.
pub struct LayerPlan {
    shape: ConvShape,
    forward: ConvPlan,
    input_grad: ConvPlan,
    weight_grad: WeightGradPlan,
    grad_layout: Layout,
    all_in: Vec<u32>,
    all_out: Vec<u32>,
    parts: Vec<Part>,
    transposed: Vec<f32>,
}

struct Part {
    planes: Vec<f32>,
    columns: Columns,
    grad_planes: Vec<f32>,
    grad_columns: Columns,
    weight_grad: GradScratch,
}

impl LayerPlan {
    /// Plans for one shape.
    pub fn new(kernel: Kernel, shape: ConvShape) -> Self {
        let forward = ConvPlan::forward(
            kernel,
            &shape,
            Layout::contiguous(shape.filters, shape.out_h(), shape.out_w()),
            None,
        );
        let input_grad = ConvPlan::input_grad(
            kernel,
            &shape,
            Layout::contiguous(shape.in_channels, shape.in_h, shape.in_w),
        );
        let weight_grad = WeightGradPlan::new(kernel, &shape);
        let grad_layout = Layout::output_grad(&shape);
        let part = || Part {
            planes: Layout::input(&shape).alloc(),
            columns: forward.columns(),
            grad_planes: grad_layout.alloc(),
            grad_columns: input_grad.columns(),
            weight_grad: weight_grad.scratch(),
        };
        let parts = (0..PARTS).map(|_| part()).collect();
        let transposed = vec![0.0; shape.filters * shape.columns()];
        let [all_in, all_out] = [shape.in_channels, shape.filters].map(|n| (0..n as u32).collect());
        Self {
            shape,
            forward,
            input_grad,
            weight_grad,
            grad_layout,
            all_in,
            all_out,
            parts,
            transposed,
        }
    }

    fn positions(&self) -> usize {
        self.shape.out_h() * self.shape.out_w()
    }

    /// Runs the layer into `out` `[n, filters, out_h, out_w]`, zeros on entry.
    pub fn forward(&mut self, pool: &mut Pool, call: &LayerCall, out: &mut [f32], mut y: Vec<f32>) -> Saved {
        let (filters, positions) = (self.shape.filters, self.positions());
        let image = self.shape.in_channels * self.shape.in_h * self.shape.in_w;
        let each = call.n.div_ceil(PARTS);
        y.resize(call.n * filters * positions, 0.0);
        let mut moments = vec![(0.0f32, 0.0f32); call.n * filters];
        let (plan, all_in, all_out) = (&self.forward, &self.all_in, &self.all_out);
        let mut tasks: Vec<_> = (self.parts.iter_mut())
            .zip(
                y.chunks_mut(each * filters * positions)
                    .zip(moments.chunks_mut(each * filters)),
            )
            .enumerate()
            .map(|(i, (part, (y, moments)))| (i * each, part, y, moments))
            .collect();
        pool.run_mut(&mut tasks, &|_, (first, part, y, moments)| {
            for (i, (y, moments)) in y
                .chunks_exact_mut(filters * positions)
                .zip(moments.chunks_exact_mut(filters))
                .enumerate()
            {
                let n = *first + i;
                let channels = call.active_in.map_or(&all_in[..], |a| a.image(n));
                let computed = call.computed(n, all_out);
                plan.input()
                    .pack(&call.x[n * image..][..image], channels, &mut part.planes);
                part.columns.set_channels(channels);
                let epilogue = Epilogue::default();
                plan.run(
                    &ConvCall {
                        input: &part.planes,
                        weights: call.weight,
                        columns: &part.columns,
                        filters: computed,
                        epilogue,
                    },
                    y,
                );
                for &f in computed {
                    moments[f as usize] = plane_moments(&y[f as usize * positions..][..positions]);
                }
            }
        });
        let mut saved = Saved { y, ..Saved::default() };
        self.combine(call, &moments, &mut saved);
        let mut out_mean = vec![0.0; call.n * filters];
        let saved_ref = &saved;
        let mut tasks: Vec<_> = out
            .chunks_mut(each * filters * positions)
            .zip(out_mean.chunks_mut(each * filters))
            .enumerate()
            .map(|(i, (out, means))| (i * each, out, means))
            .collect();
        pool.run_mut(&mut tasks, &|_, (first, out, means)| {
            for (i, (out, means)) in out
                .chunks_exact_mut(filters * positions)
                .zip(means.chunks_exact_mut(filters))
                .enumerate()
            {
                let n = *first + i;
                for &f in call.wanted(n, all_out) {
                    let f = f as usize;
                    let (mean, inv) = saved_ref.norm(call, n, f, filters);
                    let a = call.scale_at(n, f, filters) * inv;
                    let b = call.shift_at(n, f, filters) - a * mean;
                    let floor = if call.relu { 0.0 } else { f32::NEG_INFINITY };
                    let y = &saved_ref.y[(n * filters + f) * positions..][..positions];
                    let out = &mut out[f * positions..][..positions];
                    for (out, y) in out.iter_mut().zip(y) {
                        *out = (a * y + b).max(floor);
                    }
                    means[f] = plane_sum(out, |v| v) / positions as f32;
                }
            }
        });
        saved.out_mean = out_mean;
        saved
    }

    /// Mean and variance of each filter in each group, from those of each plane, in image order.
    fn combine(&self, call: &LayerCall, moments: &[(f32, f32)], saved: &mut Saved) {
        let (filters, positions) = (self.shape.filters, self.positions() as f64);
        let size = call.n / call.groups;
        let mut sums = vec![(0.0f64, 0.0f64, 0.0f64); call.groups * filters];
        let each = |f: &mut dyn FnMut(usize, usize)| {
            for n in 0..call.n {
                for &c in call.computed(n, &self.all_out) {
                    f(n * filters + c as usize, n / size * filters + c as usize);
                }
            }
        };
        each(&mut |plane, at| {
            sums[at].0 += 1.0;
            sums[at].1 += f64::from(moments[plane].0);
        });
        saved.mean = sums.iter().map(|s| (s.1 / s.0.max(1.0)) as f32).collect();
        each(&mut |plane, at| {
            let (mean, spread) = moments[plane];
            let off = f64::from(mean) - sums[at].1 / sums[at].0;
            sums[at].2 += f64::from(spread) + positions * off * off;
        });
        saved.count = sums.iter().map(|s| (s.0 * positions) as f32).collect();
        saved.var = sums.iter().map(|s| (s.2 / (s.0 * positions).max(1.0)) as f32).collect();
    }

    /// Gradients from what comes back and what the forward pass left.
    pub fn backward(&mut self, pool: &mut Pool, call: &LayerCall, back: LayerOut, saved: &Saved, grads: LayerGrads) {
        let (filters, positions) = (self.shape.filters, self.positions());
        let image = self.shape.in_channels * self.shape.in_h * self.shape.in_w;
        let each = call.n.div_ceil(PARTS);
        let all_out = &self.all_out;
        let LayerOut {
            out,
            grad: dout,
            mean_grad,
        } = back;
        // Every pixel of a plane has the same share in its mean.
        let share = |n: usize, f: usize| mean_grad.get(n * filters + f).map_or(0.0, |g| g / positions as f32);
        let plane = |n: usize, f: usize| (n * filters + f) * positions..(n * filters + f + 1) * positions;
        let mut sums = vec![(0.0f32, 0.0f32); call.n * filters];
        let mut tasks: Vec<_> = sums
            .chunks_mut(each * filters)
            .enumerate()
            .map(|(i, s)| (i * each, s))
            .collect();
        pool.run_mut(&mut tasks, &|_, (first, sums)| {
            for (i, sums) in sums.chunks_exact_mut(filters).enumerate() {
                let n = *first + i;
                for &f in call.wanted(n, all_out) {
                    let at = plane(n, f as usize);
                    let (mean, inv) = saved.norm(call, n, f as usize, filters);
                    let (s1, s2) = plane_sums(
                        [&dout[at.clone()], &out[at.clone()], &saved.y[at]],
                        share(n, f as usize),
                        mean,
                        call.relu,
                    );
                    sums[f as usize] = (s1, s2 * inv);
                }
            }
        });
        let size = call.n / call.groups;
        let mut m = vec![(0.0f64, 0.0f64); call.groups * filters];
        for n in 0..call.n {
            for f in 0..filters {
                let (s1, s2) = sums[n * filters + f];
                let row = if grads.scale.len() > filters { n * filters } else { 0 };
                grads.shift[row + f] += s1;
                grads.scale[row + f] += s2;
                let scale = f64::from(call.scale_at(n, f, filters));
                m[n / size * filters + f].0 += scale * f64::from(s1);
                m[n / size * filters + f].1 += scale * f64::from(s2);
            }
        }
        for (m, &count) in m.iter_mut().zip(&saved.count) {
            let count = f64::from(count.max(1.0));
            *m = (m.0 / count, m.1 / count);
        }

        if grads.x.is_some() {
            transpose_weights(&self.shape, call.weight, &mut self.transposed);
        }
        let (layout, input_grad, forward, weight_grad) =
            (&self.grad_layout, &self.input_grad, &self.forward, &self.weight_grad);
        let (all_in, transposed, width) = (&self.all_in, &self.transposed, self.shape.out_w());
        let dx: Vec<Option<&mut [f32]>> = match grads.x {
            Some(dx) => dx.chunks_mut(each * image).map(Some).collect(),
            None => (0..PARTS).map(|_| None).collect(),
        };
        let mut tasks: Vec<_> = self
            .parts
            .iter_mut()
            .zip(dx)
            .enumerate()
            .map(|(i, (part, dx))| (i * each, part, dx))
            .collect();
        pool.run_mut(&mut tasks, &|_, (first, part, dx)| {
            for n in *first..(*first + each).min(call.n) {
                let channels = call.active_in.map_or(&all_in[..], |a| a.image(n));
                let computed = call.computed(n, all_out);
                let mut wanted = call.wanted(n, all_out).iter().peekable();
                for &f in computed {
                    let c = f as usize;
                    let is_wanted = wanted.next_if(|&&w| w == f).is_some();
                    let (mean, inv) = saved.norm(call, n, c, filters);
                    let (m1, m2) = m[n / size * filters + c];
                    let (m1, m2) = (m1 as f32 * inv, m2 as f32 * inv * inv);
                    let scale = if is_wanted {
                        call.scale_at(n, c, filters) * inv
                    } else {
                        0.0
                    };
                    let (at, share) = (plane(n, c).start, share(n, c));
                    for y in 0..positions / width {
                        let row = at + y * width..at + (y + 1) * width;
                        let to = &mut part.grad_planes[layout.offset(c, y, 0)..][..width];
                        let (dout, out, y) = (&dout[row.clone()], &out[row.clone()], &saved.y[row]);
                        for (((to, &d), &o), &y) in to.iter_mut().zip(dout).zip(out).zip(y) {
                            let dz = if o > 0.0 || !call.relu { d + share } else { 0.0 };
                            *to = scale * dz - m1 - (y - mean) * m2;
                        }
                    }
                }
                forward
                    .input()
                    .pack(&call.x[n * image..][..image], channels, &mut part.planes);
                weight_grad.run(
                    &WeightGradCall {
                        input: &part.planes,
                        dy: &part.grad_planes,
                        channels,
                        filters: computed,
                    },
                    &mut part.weight_grad,
                );
                if let Some(dx) = dx {
                    part.grad_columns.set_channels(computed);
                    let call = ConvCall {
                        input: &part.grad_planes,
                        weights: transposed,
                        columns: &part.grad_columns,
                        filters: channels,
                        epilogue: Epilogue::default(),
                    };
                    input_grad.run(&call, &mut dx[(n - *first) * image..][..image]);
                }
            }
        });
        // Parts are added in their order, so the sum does not depend on who computed which.
        for part in &mut self.parts {
            weight_grad.finish(&mut part.weight_grad, 0, grads.weight);
        }
    }
}

impl LayerCall<'_> {
    fn scale_at(&self, n: usize, f: usize, filters: usize) -> f32 {
        self.scale[if self.scale.len() > filters { n * filters + f } else { f }]
    }

    fn shift_at(&self, n: usize, f: usize, filters: usize) -> f32 {
        self.shift[if self.shift.len() > filters { n * filters + f } else { f }]
    }

    /// Filters whose output is wanted for image `n`.
    fn wanted<'a>(&'a self, n: usize, all: &'a [u32]) -> &'a [u32] {
        self.active_out.map_or(all, |a| a.image(n))
    }

    /// Filters that are computed for image `n`.
    fn computed<'a>(&'a self, n: usize, all: &'a [u32]) -> &'a [u32] {
        match self.kind {
            NormStatistics::All => all,
            NormStatistics::Active => self.wanted(n, all),
        }
    }
}

impl Saved {
    /// Mean and 1/σ that filter `f` of image `n` is normalized by.
    fn norm(&self, call: &LayerCall, n: usize, f: usize, filters: usize) -> (f32, f32) {
        let at = n / (call.n / call.groups) * filters + f;
        (self.mean[at], 1.0 / (self.var[at] + call.eps).sqrt())
    }
}

/// Lanes that a sum is kept in, so that it vectorizes.
const LANES: usize = 16;

/// Σ f(v) over a plane.
fn plane_sum(plane: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = plane.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&v| f(v)).sum::<f32>()
}

/// Mean of a plane and its sum of squares around it.
fn plane_moments(plane: &[f32]) -> (f32, f32) {
    let mean = plane_sum(plane, |v| v) / plane.len() as f32;
    (mean, plane_sum(plane, |v| (v - mean) * (v - mean)))
}

/// Σ dz and Σ dz·(y − mean), of the planes `[dout, out, y]`; `share` is added to every pixel's gradient.
fn plane_sums([dout, out, y]: [&[f32]; 3], share: f32, mean: f32, relu: bool) -> (f32, f32) {
    let (mut s1, mut s2) = ([0.0f32; LANES], [0.0f32; LANES]);
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let mut add = |lane: usize, d: f32, o: f32, y: f32| {
        let dz = if o > floor { d + share } else { 0.0 };
        s1[lane] += dz;
        s2[lane] += dz * (y - mean);
    };
    let (d, d_rest) = dout.as_chunks::<LANES>();
    let (o, o_rest) = out.as_chunks::<LANES>();
    let (v, v_rest) = y.as_chunks::<LANES>();
    for ((d, o), v) in d.iter().zip(o).zip(v) {
        for lane in 0..LANES {
            add(lane, d[lane], o[lane], v[lane]);
        }
    }
    for (lane, ((&d, &o), &v)) in d_rest.iter().zip(o_rest).zip(v_rest).enumerate() {
        add(lane, d, o, v);
    }
    (s1.iter().sum(), s2.iter().sum())
}
