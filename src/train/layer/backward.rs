//! The backward pass of a training layer over a batch. Knows nothing of what its gradients are for.

use crate::layer::{BatchPart, ForwardState, LayerCall, LayerGrads, LayerPlan, OutputGradients, PARTS, counts};
use crate::layer_seconds::{LayerSeconds, lap};
use kernel::{AffineGrad, Layout, Pool, WeightGradCall};
use std::time::Instant;

/// Scale and shift, as sums over each filter's images: m1 and m2 of the module's formulas.
type GroupMeans = Vec<(f64, f64)>;

impl LayerPlan {
    /// Gradients from what comes back and what the forward pass left.
    pub(crate) fn backward(
        &mut self,
        pool: &mut Pool,
        call: &LayerCall,
        back: OutputGradients,
        saved: &ForwardState,
        grads: LayerGrads,
    ) {
        let LayerGrads {
            x,
            weight,
            scale,
            shift,
        } = grads;
        let mut clock = Instant::now();
        let means = self.pass(call, back, saved).sums(pool, scale, shift);
        self.seconds.norm += lap(&mut clock);
        if let Some(mut plan) = self.take_batch(call) {
            let mut dy = std::mem::take(&mut self.batch_grad);
            let pass = self.pass(call, back, saved);
            pass.batch_dy(pool, &means, &mut dy);
            let mut seconds = LayerSeconds {
                norm: lap(&mut clock),
                ..LayerSeconds::default()
            };
            plan.weight_grad(pool, call.n, call.x, &dy, weight);
            seconds.weight_grad = lap(&mut clock);
            if let Some(dx) = x {
                plan.input_grad(pool, call.weight, dx);
                pass.zero_inactive(pool, dx);
                seconds.input_grad = lap(&mut clock);
            }
            self.seconds += seconds;
            (self.batch, self.batch_grad) = (Some(plan), dy);
            return;
        }
        self.make_parts();
        let (all_in, all_out) = (&self.all_in, &self.all_out);
        if x.is_some() {
            // Here filters are the inputs.
            let active = counts(call, all_in, all_out).map(|[channels, filters]| [filters, channels]);
            self.input_grad.set_weights(pool, call.weight, active);
        }
        let mut parts = std::mem::take(&mut self.parts);
        self.pass(call, back, saved)
            .input_and_weight_grads(pool, &mut parts, &means, x);
        self.parts = parts;
        let passed = lap(&mut clock);
        let mut sum = LayerSeconds::default();
        self.parts
            .iter_mut()
            .for_each(|part| sum += std::mem::take(&mut part.seconds));
        // What threads spent, as shares of what passed.
        let share = passed / (sum.norm + sum.weight_grad + sum.input_grad).max(1e-9);
        let scratches = self.parts.iter_mut().map(|part| &mut part.weight_grad);
        // Parts are added in their order, so the sum does not depend on which thread computed which.
        self.weight_grad.finish(pool, scratches, weight);
        self.seconds += LayerSeconds {
            forward: 0.0,
            input_grad: sum.input_grad * share,
            weight_grad: sum.weight_grad * share + lap(&mut clock),
            norm: sum.norm * share,
        };
    }

    fn pass<'a>(
        &'a self,
        call: &'a LayerCall<'a>,
        back: OutputGradients<'a>,
        saved: &'a ForwardState,
    ) -> BackwardPass<'a> {
        BackwardPass {
            plan: self,
            call,
            back,
            saved,
        }
    }
}

struct BackwardPass<'a> {
    plan: &'a LayerPlan,
    call: &'a LayerCall<'a>,
    back: OutputGradients<'a>,
    saved: &'a ForwardState,
}

impl BackwardPass<'_> {
    /// The plane of image `n` and filter `f` in tensors like the output.
    fn plane(&self, n: usize, f: usize) -> std::ops::Range<usize> {
        let positions = self.plan.positions();
        let at = (n * self.plan.shape.filters + f) * positions;
        at..at + positions
    }

    /// The gradient of one plane but for the norm's part in it.
    fn gradient(&self, n: usize, f: usize) -> (AffineGrad, f32) {
        let filters = self.plan.shape.filters;
        let (affine, mean, inverse) = self.saved.affine(self.call, n, f, filters);
        // Every pixel of a plane has the same share in its mean.
        let share = self.back.mean_grad.get(n * filters + f);
        let share = share.map_or(0.0, |g| g / self.plan.positions() as f32);
        let of = AffineGrad {
            affine,
            share,
            mean,
            scale: affine.a,
            m1: 0.0,
            m2: 0.0,
        };
        (of, inverse)
    }

    /// Adds up the gradients of scale and shift, and what the norm hands back to every pixel.
    fn sums(&self, pool: &mut Pool, scale: &mut [f32], shift: &mut [f32]) -> GroupMeans {
        let (call, filters) = (self.call, self.plan.shape.filters);
        let each = call.n.div_ceil(PARTS);
        let mut sums = vec![(0.0f32, 0.0f32); call.n * filters];
        let mut tasks: Vec<_> = sums.chunks_mut(each * filters).collect();
        pool.run_mut(&mut tasks, &|part, sums| {
            for (i, sums) in sums.chunks_exact_mut(filters).enumerate() {
                let n = part * each + i;
                for &f in call.active_filters(n, &self.plan.all_out) {
                    let (of, inverse) = self.gradient(n, f as usize);
                    let at = self.plane(n, f as usize);
                    let kernel = self.plan.kernel;
                    let (s1, s2) = kernel.affine_grad_sums(&self.back.grad[at.clone()], &self.saved.y[at], &of);
                    sums[f as usize] = (s1, s2 * inverse);
                }
            }
        });
        let size = call.n / call.groups;
        let mut means = vec![(0.0f64, 0.0f64); call.groups * filters];
        for n in 0..call.n {
            let row = if scale.len() > filters { n * filters } else { 0 };
            for f in 0..filters {
                let (s1, s2) = sums[n * filters + f];
                shift[row + f] += s1;
                scale[row + f] += s2;
                let factor = f64::from(call.scale_at(n, f, filters));
                let mean = &mut means[n / size * filters + f];
                *mean = (mean.0 + factor * f64::from(s1), mean.1 + factor * f64::from(s2));
            }
        }
        for (mean, &count) in means.iter_mut().zip(&self.saved.count) {
            let count = f64::from(count.max(1.0));
            *mean = (mean.0 / count, mean.1 / count);
        }
        means
    }

    /// dy of every image, and from it the sums of dW, and dx.
    fn input_and_weight_grads(
        &self,
        pool: &mut Pool,
        parts: &mut [BatchPart],
        means: &GroupMeans,
        dx: Option<&mut [f32]>,
    ) {
        let (plan, call) = (self.plan, self.call);
        let shape = &plan.shape;
        let positions = shape.in_h * shape.in_w;
        let image = shape.in_channels * positions;
        let each = call.n.div_ceil(PARTS);
        let dx: Vec<Option<&mut [f32]>> = match dx {
            Some(dx) => dx.chunks_mut(each * image).map(Some).collect(),
            None => (0..PARTS).map(|_| None).collect(),
        };
        let mut tasks: Vec<_> = parts.iter_mut().zip(dx).collect();
        pool.run_mut(&mut tasks, &|i, (part, dx)| {
            let first = i * each;
            for n in first..(first + each).min(call.n) {
                let mut clock = Instant::now();
                let channels = call.active_channels(n, &plan.all_in);
                let computed = call.computed(n, &plan.all_out);
                self.dy(n, computed, means, part);
                part.seconds.norm += lap(&mut clock);
                Layout::input(shape).pack(&call.x[n * image..][..image], channels, &mut part.planes);
                plan.weight_grad.run(
                    &WeightGradCall {
                        input: &part.planes,
                        dy: &part.grad_planes,
                        channels,
                        filters: computed,
                    },
                    &mut part.weight_grad,
                );
                part.seconds.weight_grad += lap(&mut clock);
                let Some(dx) = dx else { continue };
                let dx = &mut dx[(n - first) * image..][..image];
                let operands = (&part.grad_planes[..], call.weight);
                plan.input_grad
                    .run(&mut part.grad_lists, operands, [computed, channels], dx);
                zero_others(dx, positions, channels);
                part.seconds.input_grad += lap(&mut clock);
            }
        });
    }

    /// dy of the batch.
    fn batch_dy(&self, pool: &mut Pool, means: &GroupMeans, dy: &mut Vec<f32>) {
        let (call, shape) = (self.call, &self.plan.shape);
        let (filters, positions) = (shape.filters, self.plan.positions());
        let each = call.n.div_ceil(PARTS);
        dy.resize(call.n * filters * positions, 0.0);
        let mut tasks: Vec<&mut [f32]> = dy.chunks_mut(each * filters * positions).collect();
        pool.run_mut(&mut tasks, &|part, dy| {
            for (i, dy) in dy.chunks_exact_mut(filters * positions).enumerate() {
                let n = part * each + i;
                let computed = call.computed(n, &self.plan.all_out);
                if computed.len() < filters {
                    dy.fill(0.0);
                }
                for (&f, of) in computed.iter().zip(self.gradients(n, computed, means)) {
                    let f = f as usize;
                    let (at, to) = (self.plane(n, f), &mut dy[f * positions..][..positions]);
                    (self.plan.kernel).affine_grad(&self.back.grad[at.clone()], &self.saved.y[at], &of, to);
                }
            }
        });
    }

    /// Zeros the gradients of inactive channels.
    fn zero_inactive(&self, pool: &mut Pool, dx: &mut [f32]) {
        let Some(active) = self.call.active_in else { return };
        let shape = &self.plan.shape;
        let positions = shape.in_h * shape.in_w;
        let mut images: Vec<&mut [f32]> = dx.chunks_mut(shape.in_channels * positions).collect();
        pool.run_mut(&mut images, &|n, dx| zero_others(dx, positions, active.image(n)));
    }

    /// For each of these filters of image `n`, ascending: how dy comes from what comes back.
    fn gradients<'b>(
        &'b self,
        n: usize,
        computed: &'b [u32],
        means: &'b GroupMeans,
    ) -> impl Iterator<Item = AffineGrad> + 'b {
        let mut active = self.call.active_filters(n, &self.plan.all_out).iter().peekable();
        computed.iter().map(move |&f| {
            let (of, inverse) = self.gradient(n, f as usize);
            let (m1, m2) = means[n / (self.call.n / self.call.groups) * self.plan.shape.filters + f as usize];
            let is_active = active.next_if(|&&w| w == f).is_some();
            AffineGrad {
                scale: if is_active { of.scale } else { 0.0 },
                m1: m1 as f32 * inverse,
                m2: m2 as f32 * inverse * inverse,
                ..of
            }
        })
    }

    /// Gradients of conv(x) of one image, into padded planes.
    fn dy(&self, n: usize, computed: &[u32], means: &GroupMeans, part: &mut BatchPart) {
        let width = self.plan.shape.out_w();
        let layout = self.plan.input_grad.input();
        for (&f, of) in computed.iter().zip(self.gradients(n, computed, means)) {
            let at = self.plane(n, f as usize);
            (self.plan.kernel).affine_grad(&self.back.grad[at.clone()], &self.saved.y[at], &of, &mut part.plane);
            for (y, row) in part.plane.chunks_exact(width).enumerate() {
                part.grad_planes[layout.offset(f as usize, y, 0)..][..width].copy_from_slice(row);
            }
        }
    }
}

/// Zeros the planes of channels that are not listed.
fn zero_others(planes: &mut [f32], positions: usize, listed: &[u32]) {
    let mut listed = listed.iter().peekable();
    for (c, plane) in planes.chunks_exact_mut(positions).enumerate() {
        if listed.next_if(|&&r| r as usize == c).is_none() {
            plane.fill(0.0);
        }
    }
}
