//! The inner loop of a depthwise convolution onto planes of a few positions: lanes are filters, as a plane would be mostly padding
//! of a vector. Knows nothing of shapes, strides or lists: those have become offsets here.
//!
//! Every element of a result is the same chain of multiply-adds as in `depthwise_tile`.
#![expect(unsafe_code, reason = "raw loads at offsets the plans have checked")]
#![expect(clippy::needless_range_loop, reason = "positions index several arrays")]

use super::conv_tile::{Bounds, ListedColumn};
use super::vector::Vector;
use std::mem::MaybeUninit;

/// Positions of a plane, in and out, at most.
pub(crate) const MOST_POSITIONS: usize = 4;
/// Kernel positions, at most.
pub(crate) const MOST_TAPS: usize = 32;
/// For an output position that a kernel position reads padding for.
pub(crate) const OUTSIDE: u8 = u8::MAX;

/// What all blocks of one depthwise convolution share.
pub(crate) struct SmallTask<'a> {
    /// Planes side by side, without padding.
    pub input: *const f32,
    /// Input positions, and output positions.
    pub positions: [usize; 2],
    /// Filters of one channel.
    pub multiplier: u32,
    /// `[filters, taps]`.
    pub weights: &'a [f32],
    pub taps: usize,
    /// Active kernel positions.
    pub list: &'a [ListedColumn],
    /// By kernel position: the input position it reads for each output position.
    pub sources: &'a [[u8; MOST_POSITIONS]],
    pub scale: Option<&'a [f32]>,
    pub shift: Option<&'a [f32]>,
    pub bounds: Bounds,
    pub output: *mut f32,
    pub(crate) output_plane: usize,
    /// By output position: its place in a plane.
    pub places: &'a [usize],
}

pub(crate) type SmallTile = unsafe fn(&SmallTask, &[u32]);

/// Computes the listed filters.
///
/// # Safety
/// All planes, weights and places of the listed filters are in bounds, and lists are ascending; there are at most
/// [`MOST_POSITIONS`] and [`MOST_TAPS`].
#[inline(always)]
pub(crate) unsafe fn small_tile<V: Vector>(task: &SmallTask, filters: &[u32]) {
    let mut rows = MaybeUninit::uninit();
    for filters in filters.chunks(V::LANES) {
        let block = FilterBlock {
            filters,
            is_whole: filters.len() == V::LANES && (filters[filters.len() - 1] - filters[0]) as usize == V::LANES - 1,
        };
        // SAFETY: a block is as many filters as there are lanes, or fewer; the contract is the same.
        unsafe {
            let x = block.inputs::<V>(task);
            let weights = block.weights::<V>(task, &mut rows);
            let mut acc = [V::splat(0.0); MOST_POSITIONS];
            for tap in task.list {
                let weight = match weights {
                    Some(rows) => V::load(rows.add(tap.weight as usize * 16)),
                    None => block.of(task.weights.as_ptr().add(tap.weight as usize), task.taps),
                };
                let sources = task.sources.get_unchecked(tap.weight as usize);
                for q in 0..task.positions[1] {
                    if sources[q] != OUTSIDE {
                        acc[q] = x[usize::from(sources[q]) % MOST_POSITIONS].fma(weight, acc[q]);
                    }
                }
            }
            let of = |list: Option<&[f32]>, or: f32| list.map_or(V::splat(or), |list| block.of(list.as_ptr(), 1));
            let (scale, shift) = (of(task.scale, 1.0), of(task.shift, 0.0));
            for q in 0..task.positions[1] {
                let y = task.bounds.clamp_lanes(acc[q].fma(scale, shift));
                let to = task.output.add(task.places[q]);
                if block.is_whole && task.output_plane == 1 {
                    y.store(to.add(block.filters[0] as usize));
                    continue;
                }
                for (y, &f) in y.lanes().iter().zip(block.filters) {
                    *to.add(f as usize * task.output_plane) = *y;
                }
            }
        }
    }
}

/// As many filters as there are lanes, or fewer.
struct FilterBlock<'a> {
    filters: &'a [u32],
    /// No lane is without a filter, and filters follow each other.
    is_whole: bool,
}

impl FilterBlock<'_> {
    /// A number of each filter, those of neighbors `step` apart; zeros in lanes without a filter.
    ///
    /// # Safety
    /// The filters' numbers are in bounds.
    #[inline(always)]
    unsafe fn of<V: Vector>(&self, at: *const f32, step: usize) -> V {
        // SAFETY: by the contract; sixteen floats are the widest vector.
        unsafe {
            if self.is_whole {
                let first = at.add(self.filters[0] as usize * step);
                return if step == 1 {
                    V::load(first)
                } else {
                    V::load_apart(first, step)
                };
            }
            let mut lanes = [0.0f32; 16];
            for (lane, &f) in lanes.iter_mut().zip(self.filters) {
                *lane = *at.add(f as usize * step);
            }
            V::load(lanes.as_ptr())
        }
    }

    /// By position: the input of each filter's channel.
    ///
    /// # Safety
    /// As [`small_tile`].
    #[inline(always)]
    unsafe fn inputs<V: Vector>(&self, task: &SmallTask) -> [V; MOST_POSITIONS] {
        let n = task.positions[0];
        // SAFETY: planes of listed filters are in bounds, whole vectors of them side by side too.
        unsafe {
            let mut x = [V::splat(0.0); MOST_POSITIONS];
            if self.is_whole && task.multiplier == 1 && n != 3 {
                let from = task.input.add(self.filters[0] as usize * n);
                let load = |i: usize| V::load(from.add(i * V::LANES));
                match n {
                    1 => x[0] = load(0),
                    2 => (x[0], x[1]) = load(0).unzip(load(1)),
                    _ => {
                        let (even, odd) = load(0).unzip(load(1));
                        let (later_even, later_odd) = load(2).unzip(load(3));
                        (x[0], x[2]) = even.unzip(later_even);
                        (x[1], x[3]) = odd.unzip(later_odd);
                    }
                }
                return x;
            }
            for p in 0..n {
                let mut lanes = [0.0f32; 16];
                for (lane, &f) in lanes.iter_mut().zip(self.filters) {
                    *lane = *task.input.add((f / task.multiplier) as usize * n + p);
                }
                x[p] = V::load(lanes.as_ptr());
            }
            x
        }
    }

    /// Rows of sixteen floats by kernel position, turned over in registers; `None` where that is not worth it, or would read
    /// behind the last weight.
    ///
    /// # Safety
    /// As [`small_tile`].
    #[inline(always)]
    unsafe fn weights<V: Vector>(
        &self,
        task: &SmallTask,
        rows: &mut MaybeUninit<[[f32; 16]; MOST_TAPS]>,
    ) -> Option<*const f32> {
        let end = self.filters.last().map_or(0, |&f| f as usize * task.taps) + task.taps.next_multiple_of(V::LANES);
        if task.list.len() < 4 || self.filters.len() < V::LANES || end > task.weights.len() {
            return None;
        }
        let rows = rows.as_mut_ptr().cast::<f32>();
        for first in (0..task.taps).step_by(V::LANES) {
            let mut from = [task.weights.as_ptr(); 16];
            // SAFETY: whole vectors of every filter's weights are in bounds, and rows follow each other 16 floats apart; a multiple
            // of the lanes that is no more than MOST_TAPS, which is one.
            unsafe {
                for (from, &f) in from.iter_mut().zip(self.filters) {
                    *from = from.add(f as usize * task.taps + first);
                }
                V::transpose(&from, rows.add(first * 16), 16);
            }
        }
        Some(rows)
    }
}
