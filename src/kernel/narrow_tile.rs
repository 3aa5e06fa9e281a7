//! The inner loop of a convolution with few positions: lanes are filters, `N` vectors of them at `P` positions in registers.
//! Knows nothing of shapes, strides or lists: those have become offsets here.
//!
//! Every element of a result is the same chain of multiply-adds as in `conv_tile`.
#![expect(unsafe_code, reason = "raw loads at offsets the plans have checked")]
#![expect(clippy::needless_range_loop, reason = "tiles are indexed by n and p throughout")]

use super::conv_tile::{Bounds, ListedColumn};
use super::vector::Vector;
use std::mem::MaybeUninit;

/// What all tiles of one convolution share.
pub(crate) struct NarrowTask<'a> {
    pub input: *const f32,
    pub columns: &'a [ListedColumn],
    /// `[panels, columns, lanes]`.
    pub panels: *const f32,
    /// Floats of a panel.
    pub(crate) panel: usize,
    pub filters: usize,
    pub scale: Option<&'a [f32]>,
    pub shift: Option<&'a [f32]>,
    pub bounds: Bounds,
    pub output: *mut f32,
    pub(crate) output_plane: usize,
    /// By position: where it starts in the input, in a plane of the output and of the residual.
    pub(crate) places: &'a [[u32; 3]],
    /// Numbers, floats of a plane.
    pub residual: Option<(*const f32, usize)>,
}

/// Columns between what is asked for and what is computed. Lists with gaps are not what processors foresee by themselves.
const AHEAD: usize = 16;

pub(crate) type NarrowTile = unsafe fn(&NarrowTask, &[u32], [usize; 2]);

/// By `[log2 n][p - 1]`.
pub(crate) type NarrowTable = [[NarrowTile; 8]; 3];

/// Computes panels `first .. first + N` at positions `at .. at + P` and stores the listed filters, which are theirs.
///
/// # Safety
/// All offsets of the task are in bounds for these panels and positions.
#[inline(always)]
pub(crate) unsafe fn narrow_tile<V: Vector, const P: usize, const N: usize>(
    task: &NarrowTask,
    filters: &[u32],
    [first, at]: [usize; 2],
) {
    // SAFETY: loads are at listed columns' offsets from one of the positions or in the panels; stores are to the
    // positions' places in listed filters' planes: the contract puts all of them in bounds. The spill is written whole.
    unsafe {
        let mut inputs = [task.input; P];
        for p in 0..P {
            inputs[p] = task.input.add(task.places[at + p][0] as usize);
        }
        let panels = task.panels.add(first * task.panel);
        let mut acc = [[V::splat(0.0); N]; P];
        let last = task.columns.len().saturating_sub(1);
        for (i, column) in task.columns.iter().enumerate() {
            let ahead = task.columns.get_unchecked((i + AHEAD).min(last));
            for n in 0..N {
                V::prefetch(panels.wrapping_add(ahead.weight as usize * V::LANES + n * task.panel));
            }
            let weights = panels.add(column.weight as usize * V::LANES);
            let mut w = [V::splat(0.0); N];
            for n in 0..N {
                w[n] = V::load(weights.add(n * task.panel));
            }
            for p in 0..P {
                let x = V::splat(*inputs[p].add(column.offset as usize));
                for n in 0..N {
                    acc[p][n] = x.fma(w[n], acc[p][n]);
                }
            }
        }
        // With a residual, what is here is not yet what is clamped.
        let early = if task.residual.is_some() {
            Bounds::NONE
        } else {
            task.bounds
        };
        for n in 0..N {
            let f = (first + n) * V::LANES;
            let mask = ((1u32 << task.filters.saturating_sub(f).min(V::LANES)) - 1) as u16;
            let of = |list: Option<&[f32]>, or: f32| {
                list.map_or(V::splat(or), |list| V::load_masked(list.as_ptr().wrapping_add(f), mask))
            };
            let (scale, shift) = (of(task.scale, 1.0), of(task.shift, 0.0));
            for p in 0..P {
                acc[p][n] = early.clamp_lanes(acc[p][n].fma(scale, shift));
            }
        }
        let mut spill = MaybeUninit::<[[V; N]; P]>::uninit();
        let lanes = spill.as_mut_ptr().cast::<V>();
        for p in 0..P {
            for n in 0..N {
                lanes.add(p * N + n).write(acc[p][n]);
            }
        }
        let lanes = lanes.cast::<f32>();
        for &f in filters {
            let f = f as usize;
            let lane = lanes.add(f - first * V::LANES);
            let plane = task.output.add(f * task.output_plane);
            for p in 0..P {
                let [_, to, from] = task.places[at + p];
                let mut v = *lane.add(p * N * V::LANES);
                if let Some((data, len)) = task.residual {
                    v = task.bounds.clamp(v + *data.add(f * len + from as usize));
                }
                *plane.add(to as usize) = v;
            }
        }
    }
}
