//! Single planes in and out of kernel layouts, and the operations on them that are not convolutions.
//! Knows nothing of networks or of which channels are active.

use kernel::Layout;
use model::resample::Tap;
use model::spec::Pad;

/// Copies channel `c` out to a contiguous `[h, w]`.
pub(crate) fn load(layout: &Layout, data: &[f32], c: usize, plane: &mut [f32]) {
    let stride = layout.stride();
    for (y, row) in plane.chunks_exact_mut(layout.width).take(layout.height).enumerate() {
        if stride == 1 {
            row.copy_from_slice(&data[layout.offset(c, y, 0)..][..layout.width]);
            continue;
        }
        for first in 0..stride.min(layout.width) {
            let from = &data[layout.offset(c, y, first)..];
            for (to, from) in row[first..].iter_mut().step_by(stride).zip(from) {
                *to = *from;
            }
        }
    }
}

/// Copies a contiguous `[h, w]` to channel `c`. Writes pixels only, so the zeros around them stay.
pub(crate) fn store(layout: &Layout, plane: &[f32], c: usize, data: &mut [f32]) {
    let stride = layout.stride();
    for (y, row) in plane.chunks_exact(layout.width).take(layout.height).enumerate() {
        if stride == 1 {
            data[layout.offset(c, y, 0)..][..layout.width].copy_from_slice(row);
            continue;
        }
        for first in 0..stride.min(layout.width) {
            let to = &mut data[layout.offset(c, y, first)..];
            for (to, from) in to.iter_mut().zip(row[first..].iter().step_by(stride)) {
                *to = *from;
            }
        }
    }
}

/// All of channel `c`, padding included: a stretch whose other entries are zero.
pub(crate) fn padded<'a>(layout: &Layout, data: &'a [f32], c: usize) -> &'a [f32] {
    let len = layout.offset(1, 0, 0) - layout.offset(0, 0, 0);
    &data[c * len..(c + 1) * len]
}

pub(crate) fn clear(layout: &Layout, data: &mut [f32], c: usize) {
    let len = layout.offset(1, 0, 0) - layout.offset(0, 0, 0);
    data[c * len..(c + 1) * len].fill(0.0);
}

/// Σ `of(x)` over a stretch, in 32 strands: an order that depends on the length alone.
pub(crate) fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut strands = [0.0f32; 32];
    let (chunks, rest) = x.as_chunks::<32>();
    for chunk in chunks {
        for (s, &v) in strands.iter_mut().zip(chunk) {
            *s += of(v);
        }
    }
    strands.iter().sum::<f32>() + rest.iter().map(|&v| of(v)).sum::<f32>()
}

/// `x`, but at least 0 and at most `most`. NaN stays NaN, which `max` and `min` would hide.
#[inline]
pub(crate) fn clamp(x: f32, most: f32) -> f32 {
    if x <= 0.0 {
        0.0
    } else if x > most {
        most
    } else {
        x
    }
}

/// The larger number; NaN if either is.
#[inline]
fn larger(a: f32, b: f32) -> f32 {
    let larger = if b > a { b } else { a };
    if b.is_nan() { b } else { larger }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub kernel: usize,
    pub stride: usize,
    /// Never chosen or counted.
    pub pad: Pad,
}

impl Window {
    /// The part of an axis of `size` that window `at` of it sees, `before` it so much padding.
    fn part(self, at: usize, before: usize, size: usize) -> std::ops::Range<usize> {
        let start = at * self.stride;
        start.saturating_sub(before)..(start + self.kernel - before).min(size)
    }
}

/// Maximum over windows of `[h, w]`; padding is never chosen.
pub(crate) fn max_pool(from: &[f32], [h, w]: [usize; 2], window: Window, to: &mut [f32], out_w: usize) {
    if (window.kernel, window.stride) == (2, 2) && window.pad.is_none() {
        for (rows, out) in from.chunks_exact(2 * w).zip(to.chunks_exact_mut(out_w)) {
            let (above, below) = rows.split_at(w);
            for ((a, b), out) in above.chunks_exact(2).zip(below.chunks_exact(2)).zip(out) {
                *out = larger(larger(a[0], a[1]), larger(b[0], b[1]));
            }
        }
        return;
    }
    for (y, row) in to.chunks_exact_mut(out_w).enumerate() {
        let rows = window.part(y, window.pad.top, h);
        for (x, out) in row.iter_mut().enumerate() {
            let columns = window.part(x, window.pad.left, w);
            *out = rows
                .clone()
                .flat_map(|r| &from[r * w..][columns.clone()])
                .fold(f32::NEG_INFINITY, |most, &v| larger(most, v));
        }
    }
}

/// Mean over windows of `[h, w]`; padding is not counted.
pub(crate) fn avg_pool(from: &[f32], [h, w]: [usize; 2], window: Window, to: &mut [f32], out_w: usize) {
    for (y, row) in to.chunks_exact_mut(out_w).enumerate() {
        let rows = window.part(y, window.pad.top, h);
        for (x, out) in row.iter_mut().enumerate() {
            let columns = window.part(x, window.pad.left, w);
            let share = 1.0 / (rows.len() * columns.len()) as f32;
            let sum: f32 = rows.clone().flat_map(|r| &from[r * w..][columns.clone()]).sum();
            *out = sum * share;
        }
    }
}

/// Every pixel of a plane of width `w` as a square of equal ones.
pub(crate) fn upsample(from: &[f32], w: usize, scale: usize, to: &mut [f32]) {
    for (rows, row) in to.chunks_exact_mut(scale * scale * w).zip(from.chunks_exact(w)) {
        for out in rows.chunks_exact_mut(scale * w) {
            for (square, &v) in out.chunks_exact_mut(scale).zip(row) {
                square.fill(v);
            }
        }
    }
}

/// A plane of width `w` in another size.
pub(crate) fn resize(from: &[f32], w: usize, [rows, columns]: [&[Tap]; 2], to: &mut [f32]) {
    for (out, row) in to.chunks_exact_mut(columns.len()).zip(rows) {
        let [above, below] = [row.first, row.second].map(|r| &from[r * w..(r + 1) * w]);
        for (out, column) in out.iter_mut().zip(columns) {
            let between = |line: &[f32]| mixed(line[column.first], line[column.second], column.share);
            *out = mixed(between(above), between(below), row.share);
        }
    }
}

/// a, and so much of the way to b; a share of nothing hides what is not a number.
fn mixed(a: f32, b: f32, share: f32) -> f32 {
    if share == 0.0 { a } else { a + share * (b - a) }
}

/// A plane of width `w` in a larger one of width `out_w`: first row and column, and distance of neighbors.
pub(crate) fn place(from: &[f32], w: usize, [top, left]: [usize; 2], stride: usize, to: &mut [f32], out_w: usize) {
    to.fill(0.0);
    for (y, row) in from.chunks_exact(w).enumerate() {
        let out = &mut to[(top + y * stride) * out_w + left..];
        for (out, &v) in out.iter_mut().step_by(stride).zip(row) {
            *out = v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::{ConvShape, Kernel, Padding, WinogradPlan};

    #[test]
    fn a_plane_comes_back_from_every_layout_and_padding_stays_zero() {
        for (stride, width) in [(1, 5), (2, 5), (2, 4), (2, 1)] {
            let shape = ConvShape {
                in_channels: 2,
                filters: 1,
                in_h: 3,
                in_w: width,
                kernel: [3, 3],
                stride,
                pad: Padding {
                    top: 1,
                    bottom: 1,
                    left: 2,
                    right: 1,
                },
            };
            let output = Layout::contiguous(1, shape.out_h(), shape.out_w());
            let tiled = [2, 4].map(|size| WinogradPlan::with_size(Kernel::best(), &shape, size, output, None));
            let layouts = tiled.iter().flatten().map(|plan| *plan.input());
            for layout in layouts.chain([Layout::input(&shape)]) {
                let mut data = layout.alloc();
                let plane: Vec<f32> = (1..=3 * width).map(|v| v as f32).collect();
                store(&layout, &plane, 1, &mut data);
                let mut back = vec![0.0; plane.len()];
                load(&layout, &data, 1, &mut back);
                assert_eq!(back, plane, "{layout:?}");
                assert_eq!(sum(padded(&layout, &data, 1), |v| v), plane.iter().sum::<f32>());
                assert_eq!(sum(padded(&layout, &data, 0), f32::abs), 0.0);
            }
        }
    }

    #[test]
    fn pools_on_hand_made_planes() {
        let plane: Vec<f32> = (0..9).map(|v| v as f32 - 9.0).collect();
        let mut out = [0.0; 4];
        max_pool(
            &plane,
            [3, 3],
            Window {
                kernel: 3,
                stride: 2,
                pad: Pad::all(1),
            },
            &mut out,
            2,
        );
        assert_eq!(out, [-5.0, -4.0, -2.0, -1.0]);
        avg_pool(
            &plane,
            [3, 3],
            Window {
                kernel: 2,
                stride: 1,
                pad: Pad::VALID,
            },
            &mut out,
            2,
        );
        assert_eq!(out, [-7.0, -6.0, -4.0, -3.0]);
        let mut one = [0.0];
        max_pool(
            &plane,
            [3, 3],
            Window {
                kernel: 2,
                stride: 2,
                pad: Pad::VALID,
            },
            &mut one,
            1,
        );
        assert_eq!(one, [-5.0]);
    }
    #[test]
    fn a_padded_mean_counts_what_is_there() {
        let plane = [1.0, 2.0, 3.0, 4.0];
        let window = Window {
            kernel: 2,
            stride: 2,
            pad: Pad {
                top: 1,
                right: 1,
                ..Pad::VALID
            },
        };
        let mut out = [0.0];
        avg_pool(&plane, [2, 2], window, &mut out, 1);
        assert_eq!(out, [1.5]);
    }

    #[test]
    fn planes_grow_by_copies_and_by_zeros() {
        let plane = [1.0, 2.0];
        let mut out = [9.0; 8];
        upsample(&plane, 2, 2, &mut out);
        assert_eq!(out, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
        let mut out = [9.0; 8];
        place(&plane, 2, [1, 1], 2, &mut out, 4);
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 2.0]);
    }
}
