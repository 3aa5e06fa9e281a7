//! The forward pass of a training layer over a batch. Knows nothing of gradients.

use crate::layer::{ForwardState, LayerCall, LayerPlan, PARTS, counts};
use crate::layer_seconds::lap;
use kernel::Pool;
use std::time::Instant;

impl LayerPlan {
    /// Runs the layer into `out` `[n, filters, out_h, out_w]`, all of which is written. `y` is memory that may be used.
    pub(crate) fn forward(
        &mut self,
        pool: &mut Pool,
        call: &LayerCall,
        out: &mut [f32],
        mut y: Vec<f32>,
    ) -> ForwardState {
        let (filters, positions, kernel) = (self.shape.filters, self.positions(), self.kernel);
        let each = call.n.div_ceil(PARTS);
        let mut clock = Instant::now();
        y.resize(call.n * filters * positions, 0.0);
        let mut moments = vec![(0.0f32, 0.0f32); call.n * filters];
        if let Some(mut plan) = self.take_batch(call) {
            plan.forward(pool, call.n, call.x, call.weight, &mut y);
            self.batch = Some(plan);
            let all_out = &self.all_out;
            let mut tasks: Vec<_> = (y.chunks(each * filters * positions))
                .zip(moments.chunks_mut(each * filters))
                .collect();
            pool.run_mut(&mut tasks, &|part, (y, moments)| {
                for (i, (y, moments)) in y
                    .chunks_exact(filters * positions)
                    .zip(moments.chunks_exact_mut(filters))
                    .enumerate()
                {
                    for &f in call.computed(part * each + i, all_out) {
                        moments[f as usize] = kernel.moments(&y[f as usize * positions..][..positions]);
                    }
                }
            });
        } else {
            self.one_by_one(pool, call, &mut y, &mut moments);
        }
        self.seconds.forward += lap(&mut clock);
        let mut saved = ForwardState {
            y,
            ..ForwardState::default()
        };
        self.combine(call, &moments, &mut saved);
        let all_out = &self.all_out;
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
                let mut active = call.active_filters(n, all_out).iter().peekable();
                for (f, out) in out.chunks_exact_mut(positions).enumerate() {
                    if active.next_if(|&&w| w as usize == f).is_none() {
                        out.fill(0.0);
                        continue;
                    }
                    let (affine, ..) = saved_ref.affine(call, n, f, filters);
                    let y = &saved_ref.y[(n * filters + f) * positions..][..positions];
                    means[f] = kernel.affine(y, affine, out) / positions as f32;
                }
            }
        });
        saved.out_mean = out_mean;
        self.seconds.norm += lap(&mut clock);
        saved
    }

    /// y and the moments of its planes, image by image.
    fn one_by_one(&mut self, pool: &mut Pool, call: &LayerCall, y: &mut [f32], moments: &mut [(f32, f32)]) {
        self.make_parts();
        let (filters, positions, kernel) = (self.shape.filters, self.positions(), self.kernel);
        let image = self.shape.in_channels * self.shape.in_h * self.shape.in_w;
        let each = call.n.div_ceil(PARTS);
        let (all_in, all_out) = (&self.all_in, &self.all_out);
        self.forward
            .set_weights(pool, call.weight, counts(call, all_in, all_out));
        let conv = &self.forward;
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
                let channels = call.active_channels(n, all_in);
                let computed = call.computed(n, all_out);
                conv.input()
                    .pack(&call.x[n * image..][..image], channels, &mut part.planes);
                conv.run(&mut part.lists, (&part.planes, call.weight), [channels, computed], y);
                for &f in computed {
                    moments[f as usize] = kernel.moments(&y[f as usize * positions..][..positions]);
                }
            }
        });
    }

    /// Mean and variance of each filter in each group, from those of each plane, in image order.
    fn combine(&self, call: &LayerCall, moments: &[(f32, f32)], saved: &mut ForwardState) {
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
}
