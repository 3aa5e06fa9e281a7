//! Winograd's transforms of one vector of tiles, lane by lane: F(2×2, 3×3) with `N` = 4 and
//! F(4×4, 3×3) with `N` = 6 (Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016).
//! Knows nothing of the products in between.
#![expect(unsafe_code, reason = "raw loads at offsets the plan has checked")]
#![expect(clippy::needless_range_loop, reason = "matrices are indexed by i and j throughout")]

use super::conv_tile::{Bounds, gather};
use super::lanes::LaneMap;
use super::vector::Vector;

/// What sorting the pixels of one block of tiles into phases needs, for any channel.
pub(crate) struct SplitTask {
    /// The block's first padded row in channel 0.
    pub input: *const f32,
    pub(crate) channel_len: usize,
    pub(crate) pitch: usize,
    /// Padded rows that are there.
    pub rows: usize,
    /// Columns from the left padding to the last pixel.
    pub width: usize,
    pub output: *mut f32,
    pub(crate) phase_len: usize,
    pub(crate) output_pitch: usize,
}

pub(crate) type SplitRows = unsafe fn(&SplitTask, usize);

/// Pixel (y, x) of the padded block to phase (y mod S, x mod S), where the same pixel of neighboring tiles
/// lies side by side. What is right of `width` becomes zero; rows that are not there are not touched.
///
/// # Safety
/// Rows are in bounds; phases hold all their rows and a vector more.
#[inline(always)]
pub(crate) unsafe fn split_rows<V: Vector, const S: usize>(task: &SplitTask, channel: usize) {
    // SAFETY: masked loads end with a row's `width`; a store ends at most a vector behind a row, for which phases have room.
    unsafe {
        let input = task.input.add(channel * task.channel_len);
        for y in 0..task.rows {
            let from = input.add(y * task.pitch);
            let to = task.output.add(y % S * S * task.phase_len + y / S * task.output_pitch);
            for x in (0..task.width).step_by(S * V::LANES) {
                let mut v = [V::splat(0.0); S];
                for i in 0..S {
                    let first = x + i * V::LANES;
                    let n = task.width.saturating_sub(first).min(V::LANES);
                    if n > 0 {
                        v[i] = V::load_masked(from.add(first), ((1u32 << n) - 1) as u16);
                    }
                }
                if S == 2 {
                    (v[0], v[1]) = v[0].unzip(v[1]);
                } else {
                    let ((a, b), (c, d)) = (v[0].unzip(v[1]), v[2].unzip(v[3]));
                    (v[0], v[2]) = a.unzip(c);
                    (v[1], v[3]) = b.unzip(d);
                }
                // The zeros behind a row's end are written over by the next row of the phase.
                for i in 0..S {
                    v[i].store(to.add(i * task.phase_len + x / S));
                }
            }
        }
    }
}

/// What all input transforms of one block of tiles share.
pub(crate) struct InputTask<'a> {
    /// One channel's block, in phases.
    pub input: *const f32,
    /// Offsets of the N · N elements of tile 0.
    pub elements: &'a [u32],
    pub(crate) pitch: usize,
    pub by_rows: bool,
    /// Floats from one vector of tiles to the next.
    pub step: usize,
    /// Where tiles go within a channel's row of `output`.
    pub(crate) lanes: &'a LaneMap,
    /// `[N · N, channels, row]`.
    pub output: *mut f32,
    pub(crate) output_row: usize,
    pub(crate) output_element: usize,
}

pub(crate) type InputTransform = unsafe fn(&InputTask, usize, usize);

/// Bᵀ d B of one vector of tiles of one channel.
///
/// # Safety
/// All offsets of the task are in bounds for this channel and vector.
#[inline(always)]
pub(crate) unsafe fn input_transform<V: Vector, const N: usize>(task: &InputTask, channel: usize, vector: usize) {
    // SAFETY: elements lie in the block's phases, and lanes have their places in this channel's row.
    unsafe {
        let input = task.input.add(vector * task.step);
        let mut d = [[V::splat(0.0); N]; N];
        for j in 0..N {
            let mut column = [V::splat(0.0); N];
            for i in 0..N {
                let at = input.add(task.elements[i * N + j] as usize);
                column[i] = if task.by_rows {
                    V::load_rows(at, task.pitch)
                } else {
                    V::load(at)
                };
            }
            let column = input_line(column);
            for i in 0..N {
                d[i][j] = column[i];
            }
        }
        let head = task.lanes.heads[vector];
        let pieces = task.lanes.pieces(vector);
        let output = task.output.add(channel * task.output_row);
        for i in 0..N {
            let row = input_line(d[i]);
            for j in 0..N {
                let output = output.add((i * N + j) * task.output_element);
                row[j].store_masked(output.wrapping_offset(head.at as isize), head.mask, 0);
                for piece in pieces {
                    let at = output.wrapping_offset(piece.at as isize);
                    row[j].spread(piece).store_masked(at, piece.mask, 0);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn input_line<V: Vector, const N: usize>(d: [V; N]) -> [V; N] {
    // SAFETY: no memory is touched.
    unsafe {
        let minus = |a: V, b: V| b.fma(V::splat(-1.0), a);
        let mut t = [V::splat(0.0); N];
        if N == 4 {
            t[0] = minus(d[0], d[2]);
            t[1] = d[1].add(d[2]);
            t[2] = minus(d[2], d[1]);
            t[3] = minus(d[1], d[3]);
        } else {
            let (four, five) = (V::splat(4.0), V::splat(-5.0));
            let a = d[2].fma(V::splat(-4.0), d[4]);
            let b = d[1].fma(V::splat(-4.0), d[3]);
            let c = minus(d[4], d[2]);
            let e = minus(d[3], d[1]);
            t[0] = d[0].fma(four, d[2].fma(five, d[4]));
            t[1] = a.add(b);
            t[2] = minus(a, b);
            t[3] = e.fma(V::splat(2.0), c);
            t[4] = e.fma(V::splat(-2.0), c);
            t[5] = d[1].fma(four, d[3].fma(five, d[5]));
        }
        t
    }
}

/// What all output transforms of one block of tiles share.
pub(crate) struct OutputTask<'a> {
    /// `[N · N, filters, row]`.
    pub input: *const f32,
    pub(crate) input_row: usize,
    pub(crate) input_element: usize,
    pub scale: Option<&'a [f32]>,
    pub shift: Option<&'a [f32]>,
    pub bounds: Bounds,
    pub output: *mut f32,
    pub(crate) output_plane: usize,
    /// Where tiles' pixels go, by row and column in the tile.
    pub(crate) lanes: &'a [LaneMap],
    pub residual: Option<WinogradResidual<'a>>,
}

/// What is added before the relu, and where its lanes are, by row and column in the tile.
pub(crate) struct WinogradResidual<'a> {
    pub data: *const f32,
    pub plane: usize,
    pub(crate) lanes: &'a [LaneMap],
}

pub(crate) type OutputTransform = unsafe fn(&OutputTask, usize, usize);

/// relu(scale · Aᵀ m A + shift + residual) of one vector of tiles of one filter.
///
/// # Safety
/// All offsets of the task are in bounds for this filter and vector.
#[inline(always)]
pub(crate) unsafe fn output_transform<V: Vector, const N: usize>(task: &OutputTask, filter: usize, vector: usize) {
    // SAFETY: the filter's products are in bounds for this vector, and lanes have their places in its plane.
    unsafe {
        let input = task.input.add(filter * task.input_row + vector * V::LANES);
        let size = N - 2;
        let mut m = [[V::splat(0.0); N]; N];
        for j in 0..N {
            let mut column = [V::splat(0.0); N];
            for i in 0..N {
                column[i] = V::load(input.add((i * N + j) * task.input_element));
            }
            let column = output_line(column);
            for i in 0..size {
                m[i][j] = column[i];
            }
        }
        let scale = V::splat(task.scale.map_or(1.0, |s| s[filter]));
        let shift = V::splat(task.shift.map_or(0.0, |s| s[filter]));
        let output = task.output.add(filter * task.output_plane);
        for i in 0..size {
            let row = output_line(m[i]);
            for j in 0..size {
                let mut y = row[j].fma(scale, shift);
                if let Some(r) = &task.residual {
                    y = y.add(gather(r.data.add(filter * r.plane), &r.lanes[i * size + j], vector));
                }
                let y = task.bounds.clamp_lanes(y);
                let map = &task.lanes[i * size + j];
                let head = map.heads[vector];
                if head.mask != 0 {
                    y.store_masked(output.wrapping_offset(head.at as isize), head.mask, 0);
                }
                for piece in map.pieces(vector) {
                    let at = output.wrapping_offset(piece.at as isize);
                    y.spread(piece).store_masked(at, piece.mask, 0);
                }
            }
        }
    }
}

/// Aᵀ m of one line; the last two are not used.
#[inline(always)]
unsafe fn output_line<V: Vector, const N: usize>(m: [V; N]) -> [V; N] {
    // SAFETY: no memory is touched.
    unsafe {
        let minus = |a: V, b: V| b.fma(V::splat(-1.0), a);
        let mut y = [V::splat(0.0); N];
        let sum = m[1].add(m[2]);
        let difference = minus(m[1], m[2]);
        if N == 4 {
            y[0] = m[0].add(sum);
            y[1] = minus(difference, m[3]);
        } else {
            let sum2 = m[3].add(m[4]);
            let difference2 = minus(m[3], m[4]);
            y[0] = m[0].add(sum.add(sum2));
            y[1] = difference2.fma(V::splat(2.0), difference);
            y[2] = sum2.fma(V::splat(4.0), sum);
            y[3] = difference2.fma(V::splat(8.0), difference.add(m[5]));
        }
        y
    }
}
