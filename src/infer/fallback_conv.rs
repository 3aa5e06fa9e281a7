//! Convolutions that the kernels do not have, row by row on one thread: in groups (depthwise ones too), of a stride above 2,
//! of padding as wide as the kernel and more. Knows nothing of norms, gates or of which channels were chosen.

use super::compiled_mask::CompiledMask;
use kernel::{Epilogue, Layout};
use model::spec::{Op, Pad, Shape};
use std::ops::Range;

/// Such a convolution. Both layouts are contiguous.
#[derive(Clone, Debug)]
pub(crate) struct FallbackConv {
    pub input: Layout,
    pub output: Layout,
    kernel: usize,
    stride: usize,
    pad: Pad,
    /// Input channels and filters of one group.
    group: [usize; 2],
}

#[derive(Clone, Copy)]
pub(crate) struct FallbackCall<'a> {
    pub input: &'a [f32],
    /// Active input channels, ascending.
    pub active: &'a [u32],
    /// `[filters, in / groups, kernel, kernel]`.
    pub weights: &'a [f32],
    /// Filters to compute, rising.
    pub filters: &'a [u32],
    /// Its columns are those of one group.
    pub mask: &'a CompiledMask,
    /// Without a residual.
    pub epilogue: Epilogue<'a>,
}

impl FallbackConv {
    /// The convolution `op` from `input` to `output`.
    pub(crate) fn new(op: &Op, input: Shape, output: Shape) -> Self {
        let &Op::Conv {
            filters,
            kernel,
            stride,
            pad,
            groups,
            ..
        } = op
        else {
            unreachable!("rows are of a convolution")
        };
        let contiguous = |[c, h, w]: Shape| Layout::contiguous(c, h, w);
        Self {
            input: contiguous(input),
            output: contiguous(output),
            kernel,
            stride,
            pad,
            group: [input[0] / groups, filters / groups],
        }
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Computes the listed filters; gives the weights it read.
    pub(crate) fn run(&self, call: &FallbackCall, output: &mut [f32]) -> u64 {
        let plane = self.output.height * self.output.width;
        let size = self.input.height * self.input.width;
        let [channels, filters] = self.group;
        let taps = self.taps();
        let mut read = 0;
        for &filter in call.filters {
            let f = filter as usize;
            let y = &mut output[f * plane..][..plane];
            y.fill(0.0);
            let first = f / filters * channels;
            let below = |bound: usize| call.active.partition_point(|&c| (c as usize) < bound);
            for &c in &call.active[below(first)..below(first + channels)] {
                let x = &call.input[c as usize * size..][..size];
                let column = (c as usize - first) * taps;
                let weights = &call.weights[f * channels * taps + column..][..taps];
                for (tap, &w) in weights
                    .iter()
                    .enumerate()
                    .filter(|(tap, _)| call.mask.column(column + tap))
                {
                    self.add_tap(x, [tap / self.kernel, tap % self.kernel], w, y);
                    read += 1;
                }
            }
            finish(y, f, &call.epilogue);
        }
        read
    }

    /// `y += w · x`, shifted by one position of the kernel.
    fn add_tap(&self, x: &[f32], [ky, kx]: [usize; 2], w: f32, y: &mut [f32]) {
        let (width, out_width) = (self.input.width, self.output.width);
        let rows = self.inside(ky, self.pad.top, [self.input.height, self.output.height]);
        let columns = self.inside(kx, self.pad.left, [width, out_width]);
        if columns.is_empty() {
            return;
        }
        let left = columns.start * self.stride + kx - self.pad.left;
        for row in rows {
            let from = &x[(row * self.stride + ky - self.pad.top) * width..][left..width];
            let to = &mut y[row * out_width..][columns.clone()];
            if self.stride == 1 {
                to.iter_mut().zip(from).for_each(|(y, x)| *y += w * x);
            } else {
                let from = from.iter().step_by(self.stride);
                to.iter_mut().zip(from).for_each(|(y, x)| *y += w * x);
            }
        }
    }

    /// Output places along one axis at which position `k` of the kernel meets the image.
    fn inside(&self, k: usize, pad: usize, [size, out]: [usize; 2]) -> Range<usize> {
        let first = pad.saturating_sub(k).div_ceil(self.stride);
        let end = (size + pad).saturating_sub(k).div_ceil(self.stride);
        first..end.min(out).max(first)
    }
}

fn finish(y: &mut [f32], f: usize, epilogue: &Epilogue) {
    let scale = epilogue.scale.map_or(1.0, |s| s[f]);
    let shift = epilogue.shift.map_or(0.0, |s| s[f]);
    for v in y {
        *v = scale * *v + shift;
        // Not `max`: a number that is none must stay visible.
        if epilogue.relu && *v < 0.0 {
            *v = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mask::LayerMask;
    use proptest::prelude::*;

    fn oracle(op: &Op, [c, h, w]: Shape, [filters, out_h, out_w]: Shape, x: &[f32], weights: &[f32]) -> Vec<f32> {
        let &Op::Conv {
            kernel,
            stride,
            pad,
            groups,
            ..
        } = op
        else {
            unreachable!("a convolution")
        };
        let (each, of) = (c / groups, filters / groups);
        let mut y = vec![0.0; filters * out_h * out_w];
        for (at, y) in y.iter_mut().enumerate() {
            let (f, row, column) = (at / (out_h * out_w), at / out_w % out_h, at % out_w);
            for i in 0..each * kernel * kernel {
                let (c, ky, kx) = (f / of * each + i / (kernel * kernel), i / kernel % kernel, i % kernel);
                let (iy, ix) = (row * stride + ky, column * stride + kx);
                if (pad.top..pad.top + h).contains(&iy) && (pad.left..pad.left + w).contains(&ix) {
                    *y += weights[f * each * kernel * kernel + i] * x[(c * h + iy - pad.top) * w + ix - pad.left];
                }
            }
        }
        y
    }

    proptest! {
        #[test]
        fn any_grouped_convolution_is_its_definition(
            groups in 1usize..4, each in 1usize..3, of in 1usize..3, kernel in 1usize..4, stride in 1usize..4,
            pads in prop::array::uniform4(0usize..5), size in prop::array::uniform2(1usize..8),
        ) {
            let [top, bottom, left, right] = pads;
            let pad = Pad { top, bottom, left, right };
            prop_assume!(size[0] + top + bottom >= kernel && size[1] + left + right >= kernel);
            let op = Op::Conv { filters: groups * of, kernel, stride, pad, bias: false, groups };
            let input = [groups * each, size[0], size[1]];
            let out = |n: usize, pad: usize| (n + pad - kernel) / stride + 1;
            let output = [groups * of, out(size[0], top + bottom), out(size[1], left + right)];
            let numbers = |n: usize| (0..n).map(|i| (i * 7 % 11) as f32 - 5.0).collect::<Vec<f32>>();
            let (x, weights) = (numbers(input.iter().product()), numbers(groups * of * each * kernel * kernel));
            let (active, filters): (Vec<u32>, Vec<u32>) =
                ((0..input[0] as u32).collect(), (0..output[0] as u32).collect());
            let mut y = vec![9.0; output.iter().product()];
            let call = FallbackCall {
                input: &x,
                active: &active,
                weights: &weights,
                filters: &filters,
                mask: &CompiledMask::whole(groups * of, each, kernel * kernel),
                epilogue: Epilogue::default(),
            };
            let read = FallbackConv::new(&op, input, output).run(&call, &mut y);
            prop_assert_eq!(&y, &oracle(&op, input, output, &x, &weights));
            prop_assert_eq!(read, weights.len() as u64);
        }
    }

    #[test]
    fn absent_channels_and_masked_columns_are_not_read() {
        let op = Op::Conv {
            filters: 2,
            kernel: 1,
            stride: 1,
            pad: Pad::VALID,
            bias: false,
            groups: 1,
        };
        let mut mask = CompiledMask::whole(2, 3, 1);
        mask.set(Some(&LayerMask {
            columns: vec![true, true, false],
            ..LayerMask::whole(2, 3)
        }));
        let call = FallbackCall {
            input: &[1.0, 2.0, f32::NAN, f32::NAN, f32::NAN, f32::NAN],
            active: &[0, 2],
            weights: &[1.0, 1.0, 1.0, -1.0, 1.0, 1.0],
            filters: &[0, 1],
            mask: &mask,
            epilogue: Epilogue {
                scale: Some(&[2.0, 2.0]),
                shift: Some(&[0.5, 3.0]),
                residual: None,
                relu: true,
            },
        };
        let mut y = [0.0; 4];
        assert_eq!(FallbackConv::new(&op, [3, 1, 2], [2, 1, 2]).run(&call, &mut y), 2);
        assert_eq!(y, [2.5, 4.5, 1.0, 0.0]);
    }
}
