//! The inner loop of a convolution: `M` filters and `N` vectors of positions in registers.
//! Knows nothing of shapes, strides or lists: those have become offsets here.
//!
//! ```text
//! acc[M][N] = 0
//! for (offset, weight) in columns:
//!     x[n] = input[offset + position n ..]          unaligned
//!     acc[m][n] += x[n] * weights[filter m][weight]  broadcast; of bytes, four products
//! store clamp(scale * acc + shift + residual)
//! ```
//!
//! 1. Positions run through the padding between rows: those lanes are computed and never stored.
//! 2. `ROWS`: a vector is made of whole eight-pixel rows instead, so that nothing is wasted.
//! 3. `TAIL`: half a vector more.
//!
//! Every element of a result is one chain of multiply-adds in list order, whatever the tile.
#![expect(unsafe_code, reason = "raw loads at offsets the plans have checked")]
#![expect(clippy::needless_range_loop, reason = "tiles are indexed by m and n throughout")]

use std::mem::MaybeUninit;

use super::lanes::LaneMap;
use super::products::Products;
use super::vector::Vector;

/// One entry of an active list: where its input starts and which weight of the row it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedColumn {
    pub offset: u32,
    pub weight: u32,
}

/// What all tiles of one convolution share.
pub(crate) struct ConvTask<'a> {
    pub input: *const f32,
    pub columns: &'a [ListedColumn],
    pub weights: *const f32,
    pub(crate) weight_row: usize,
    /// Floats from one vector of positions to the next.
    pub step: usize,
    pub(crate) pitch: usize,
    pub scale: Option<&'a [f32]>,
    pub shift: Option<&'a [f32]>,
    pub bounds: Bounds,
    pub output: *mut f32,
    pub(crate) output_plane: usize,
    pub(crate) lanes: &'a LaneMap,
    pub residual: Option<ConvResidual<'a>>,
}

/// What results lie between, infinite where there is no bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub floor: f32,
    pub ceiling: f32,
}

impl Bounds {
    pub(crate) const NONE: Self = Self {
        floor: f32::NEG_INFINITY,
        ceiling: f32::INFINITY,
    };

    /// Not `max` and `min`, which would hide NaN.
    pub(crate) fn clamp(self, x: f32) -> f32 {
        if x < self.floor {
            self.floor
        } else if x > self.ceiling {
            self.ceiling
        } else {
            x
        }
    }

    /// # Safety
    /// The machine has the vector's instructions.
    #[inline(always)]
    pub(crate) unsafe fn clamp_lanes<V: Vector>(self, x: V) -> V {
        // SAFETY: no memory is touched.
        unsafe { x.at_least(V::splat(self.floor)).at_most(V::splat(self.ceiling)) }
    }
}

/// What is added before the relu, and where its lanes are.
#[derive(Clone, Copy)]
pub(crate) struct ConvResidual<'a> {
    pub data: *const f32,
    pub plane: usize,
    pub(crate) lanes: &'a LaneMap,
}

/// Columns that share a line of weights.
const ASKED: usize = 16;

pub(crate) type ConvTile = unsafe fn(&ConvTask, &[u32], usize);

/// # Safety
/// `filters` has `M` entries; all offsets of the task, from vector `first` to `first + N` (and the
/// first half of the next, with `TAIL`), are in bounds.
#[inline(always)]
pub(crate) unsafe fn conv_tile<V: Products, const M: usize, const N: usize, const ROWS: bool, const TAIL: bool>(
    task: &ConvTask,
    filters: &[u32],
    first: usize,
) {
    // SAFETY: a load is at a listed column's offset from one of the vectors or in a filter's row of weights, and a store
    // touches lanes that have a place: the contract puts all of them in bounds. Spills are written whole before they are read.
    unsafe {
        let mut acc = [[V::zero(); N]; M];
        let mut tail = [V::Half::zero(); M];
        let mut rows = [task.weights; M];
        for m in 0..M {
            rows[m] = task.weights.add(filters[m] as usize * task.weight_row);
        }
        let input = task.input.add(first * task.step);
        let last = task.columns.len().saturating_sub(1);
        for (i, column) in task.columns.iter().enumerate() {
            // One vector of positions reads each weight once: asked for early, it waits a little less for memory.
            if N == 1 && i % ASKED == 0 {
                let [a, b] = [4, 5].map(|n| task.columns.get_unchecked((i + n * ASKED / 2).min(last)).weight as usize);
                for m in 0..M {
                    V::prefetch(rows[m].wrapping_add(a));
                    V::prefetch(rows[m].wrapping_add(b));
                }
            }
            let at = input.add(column.offset as usize);
            let mut x = [V::zero(); N];
            for n in 0..N {
                x[n] = if ROWS {
                    V::load_rows(at.add(n * task.step), task.pitch)
                } else {
                    V::load(at.add(n * V::LANES))
                };
            }
            let x_tail = if TAIL {
                V::Half::load(at.add(N * V::LANES))
            } else {
                V::Half::zero()
            };
            for m in 0..M {
                let w = V::broadcast(rows[m].add(column.weight as usize));
                for n in 0..N {
                    acc[m][n] = x[n].add_products(w, acc[m][n]);
                }
                if TAIL {
                    tail[m] = x_tail.add_products(w.low(), tail[m]);
                }
            }
        }

        let mut sums = [[V::Sum::splat(0.0); N]; M];
        let mut tail_sums = [<V::Sum as Vector>::Half::splat(0.0); M];
        for m in 0..M {
            for n in 0..N {
                sums[m][n] = acc[m][n].sums();
            }
            tail_sums[m] = tail[m].sums();
        }
        finish::<V::Sum, M, N, TAIL>(task, filters, first, sums, tail_sums);
    }
}

/// Scales, shifts, adds the residual, clamps and stores.
///
/// # Safety
/// As for [`conv_tile`].
#[inline(always)]
pub(crate) unsafe fn finish<V: Vector, const M: usize, const N: usize, const TAIL: bool>(
    task: &ConvTask,
    filters: &[u32],
    first: usize,
    mut acc: [[V; N]; M],
    tail: [V::Half; M],
) {
    // SAFETY: as in `conv_tile`.
    unsafe {
        // With a residual, what is here is not yet what is clamped.
        let early = if task.residual.is_some() {
            Bounds::NONE
        } else {
            task.bounds
        };
        let mut planes = [task.output; M];
        let mut wide_tail = [V::splat(0.0); M];
        for m in 0..M {
            let f = filters[m] as usize;
            planes[m] = task.output.add(f * task.output_plane);
            let scale = V::splat(task.scale.map_or(1.0, |s| s[f]));
            let shift = V::splat(task.shift.map_or(0.0, |s| s[f]));
            for n in 0..N {
                acc[m][n] = early.clamp_lanes(acc[m][n].fma(scale, shift));
            }
            if TAIL {
                wide_tail[m] = early.clamp_lanes(V::widen(tail[m]).fma(scale, shift));
            }
        }
        if task.residual.is_none() && task.lanes.is_plain(first, first + N + TAIL as usize) {
            for n in 0..N {
                let head = task.lanes.heads[first + n];
                for m in 0..M {
                    acc[m][n].store_masked(planes[m].wrapping_offset(head.at as isize), head.mask, head.zeros);
                }
            }
            if TAIL {
                let head = task.lanes.heads[first + N];
                for m in 0..M {
                    wide_tail[m].store_masked(planes[m].wrapping_offset(head.at as isize), head.mask, head.zeros);
                }
            }
            return;
        }
        // In memory, where loops may index them: else the compiler would keep them there all along.
        let mut spill = MaybeUninit::<[[V; N]; M]>::uninit();
        let at = spill.as_mut_ptr().cast::<V>();
        for m in 0..M {
            for n in 0..N {
                at.add(m * N + n).write(acc[m][n]);
            }
        }
        for n in 0..N {
            store_vector::<V, M>(task, filters, at.add(n), N, first + n);
        }
        if TAIL {
            let mut spill = MaybeUninit::<[V; M]>::uninit();
            let at = spill.as_mut_ptr().cast::<V>();
            for m in 0..M {
                at.add(m).write(wide_tail[m]);
            }
            store_vector::<V, M>(task, filters, at, 1, first + N);
        }
    }
}

/// Adds the residual and stores one vector of positions of `M` filters, `pitch` apart at `acc`.
///
/// # Safety
/// As for [`conv_tile`].
#[inline(always)]
unsafe fn store_vector<V: Vector, const M: usize>(
    task: &ConvTask,
    filters: &[u32],
    acc: *mut V,
    pitch: usize,
    vector: usize,
) {
    // SAFETY: every lane with a place is in bounds of its filter's plane; `acc` holds `M` vectors, `pitch` apart.
    unsafe {
        if let Some(r) = &task.residual {
            for m in 0..M {
                let plane = r.data.add(filters[m] as usize * r.plane);
                let x = (*acc.add(m * pitch)).add(gather(plane, r.lanes, vector));
                *acc.add(m * pitch) = task.bounds.clamp_lanes(x);
            }
        }
        let head = task.lanes.heads[vector];
        if head.mask != 0 {
            for m in 0..M {
                let plane = task.output.add(filters[m] as usize * task.output_plane);
                (*acc.add(m * pitch)).store_masked(plane.wrapping_offset(head.at as isize), head.mask, head.zeros);
            }
        }
        for piece in task.lanes.pieces(vector) {
            for m in 0..M {
                let plane = task.output.add(filters[m] as usize * task.output_plane);
                let x = (*acc.add(m * pitch)).spread(piece);
                x.store_masked(plane.wrapping_offset(piece.at as isize), piece.mask, 0);
            }
        }
    }
}

/// # Safety
/// All places of the vector are in bounds of `plane`.
#[inline(always)]
pub(crate) unsafe fn gather<V: Vector>(plane: *const f32, map: &LaneMap, vector: usize) -> V {
    // SAFETY: masks and pieces name places of the vector alone; sixteen floats are the widest vector.
    unsafe {
        let head = map.heads[vector];
        let x = V::load_masked(plane.wrapping_offset(head.at as isize), head.mask);
        let pieces = map.pieces(vector);
        if pieces.is_empty() {
            return x;
        }
        let mut lanes = x.lanes();
        for piece in pieces {
            for i in (0..V::LANES).filter(|i| piece.mask >> i & 1 == 1) {
                lanes[usize::from(piece.index[i & 15]) & 15] =
                    *plane.wrapping_offset(piece.at as isize).wrapping_add(i);
            }
        }
        V::load(lanes.as_ptr())
    }
}
