//! The inner loop of a depthwise convolution: `N` vectors of positions of one channel in registers, channel after channel.
//! Knows nothing of shapes, strides or lists: those have become offsets here.
//!
//! Every element of a result is one chain of multiply-adds in the order of the kernel's positions, whatever the tile.
#![expect(unsafe_code, reason = "raw loads at offsets the plans have checked")]
#![expect(clippy::needless_range_loop, reason = "tiles are indexed by n throughout")]

use super::conv_tile::{ConvTask, finish};
use super::vector::Vector;

/// What all tiles of one depthwise convolution share; its columns and input are those of channel 0.
pub(crate) struct DepthwiseTask<'a> {
    pub conv: ConvTask<'a>,
    pub(crate) channel_len: usize,
    /// Filters of one channel.
    pub multiplier: u32,
}

pub(crate) type DepthwiseTile = unsafe fn(&DepthwiseTask, &[u32], usize);

/// By `[n - 1]`.
pub(crate) type DepthwiseTable = [DepthwiseTile; 6];

/// Vectors of a tile, at most.
pub(crate) fn most_vectors() -> usize {
    6
}

/// # Safety
/// All offsets of the task, from vector `first` to `first + N` (and the first half of the next, with `TAIL`), are in
/// bounds in every listed filter's channel.
#[inline(always)]
pub(crate) unsafe fn depthwise_tile<V: Vector, const N: usize, const ROWS: bool, const TAIL: bool>(
    task: &DepthwiseTask,
    filters: &[u32],
    first: usize,
) {
    // SAFETY: a load is at a listed position's offset from one of the vectors or in a filter's row of weights, all in
    // bounds by the contract.
    unsafe {
        let conv = &task.conv;
        for filter in filters {
            let channel = if task.multiplier == 1 {
                *filter
            } else {
                *filter / task.multiplier
            };
            let input = conv.input.add(channel as usize * task.channel_len + first * conv.step);
            let weights = conv.weights.add(*filter as usize * conv.weight_row);
            let mut acc = [[V::splat(0.0); N]; 1];
            let mut tail = [V::Half::splat(0.0); 1];
            for column in conv.columns {
                let at = input.add(column.offset as usize);
                let w = V::splat(*weights.add(column.weight as usize));
                for n in 0..N {
                    let x = if ROWS {
                        V::load_rows(at.add(n * conv.step), conv.pitch)
                    } else {
                        V::load(at.add(n * V::LANES))
                    };
                    acc[0][n] = x.fma(w, acc[0][n]);
                }
                if TAIL {
                    tail[0] = V::Half::load(at.add(N * V::LANES)).fma(w.low(), tail[0]);
                }
            }
            finish::<V, 1, N, TAIL>(conv, std::slice::from_ref(filter), first, acc, tail);
        }
    }
}
