//! The inner loops of a weight gradient. Knows nothing of shapes or of which gradient this is.
//!
//! Large planes (`dot_tile`): `M` output gradients times `N` shifted inputs, summed along positions.
//! Small planes (`outer_tile`): the input is copied channels-last, lanes are channels, and the output
//! gradient is broadcast.
#![expect(unsafe_code, reason = "raw loads at offsets the plans have checked")]
#![expect(clippy::needless_range_loop, reason = "tiles are indexed by m and n throughout")]

use std::mem::MaybeUninit;

use super::conv_tile::ListedColumn;
use super::vector::{LanePiece, Vector};

/// What all tiles of one weight gradient along positions share.
pub(crate) struct DotTask<'a> {
    pub input: *const f32,
    pub columns: &'a [ListedColumn],
    pub dy: *const f32,
    pub(crate) dy_plane: usize,
    pub vectors: usize,
    /// Rows of sums, by filter.
    pub sums: *mut f32,
    pub(crate) sums_row: usize,
}

pub(crate) type DotTile = unsafe fn(&DotTask, &[u32], usize);

/// # Safety
/// `filters` has `M` entries, `columns` has `N` from `first`; planes hold `vectors` whole vectors.
#[inline(always)]
pub(crate) unsafe fn dot_tile<V: Vector, const M: usize, const N: usize>(
    task: &DotTask,
    filters: &[u32],
    first: usize,
) {
    // SAFETY: loads are the `vectors` whole vectors of listed planes, sums those of listed filters and columns: all in bounds.
    unsafe {
        let columns = &task.columns[first..first + N];
        let mut acc = [[V::splat(0.0); N]; M];
        let mut dy = [task.dy; M];
        for m in 0..M {
            dy[m] = task.dy.add(filters[m] as usize * task.dy_plane);
        }
        let mut x = [task.input; N];
        for n in 0..N {
            x[n] = task.input.add(columns[n].offset as usize);
        }
        for v in 0..task.vectors {
            let p = v * V::LANES;
            let mut g = [V::splat(0.0); M];
            for m in 0..M {
                g[m] = V::load(dy[m].add(p));
            }
            for n in 0..N {
                let x = V::load(x[n].add(p));
                for m in 0..M {
                    acc[m][n] = x.fma(g[m], acc[m][n]);
                }
            }
        }
        for m in 0..M {
            let row = task.sums.add(filters[m] as usize * task.sums_row);
            for n in 0..N {
                *row.add(columns[n].weight as usize) += acc[m][n].sum();
            }
        }
    }
}

/// What all tiles of one channels-last weight gradient share.
pub(crate) struct OuterTask<'a> {
    /// `[positions, lanes]`.
    pub input: *const f32,
    pub(crate) lanes: usize,
    /// Where in `input` a tap and block of lanes starts, and where its sums do in their row.
    pub starts: &'a [OuterStart],
    /// Where a block's lanes go.
    pub pieces: &'a [LanePiece],
    pub dy: *const f32,
    pub(crate) dy_plane: usize,
    pub rows: usize,
    pub width: usize,
    pub(crate) pitch: usize,
    /// Rows of sums, by filter: `[taps, channels]`.
    pub sums: *mut f32,
    pub(crate) sums_row: usize,
}

/// One vector of a channels-last tile: a kernel position and a block of listed channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OuterStart {
    pub input: u32,
    pub sums: u32,
    /// Its block's range in `pieces`.
    pub pieces: [u32; 2],
    /// The block is a whole vector of neighbors, from the first piece's place on.
    pub whole: bool,
}

pub(crate) type OuterTile = unsafe fn(&OuterTask, &[u32], usize);

/// # Safety
/// `filters` has `M` entries, `starts` has `N` from `first`; all positions, sums and pieces (whole
/// vectors of sums) are in bounds.
#[inline(always)]
pub(crate) unsafe fn outer_tile<V: Vector, const M: usize, const N: usize>(
    task: &OuterTask,
    filters: &[u32],
    first: usize,
) {
    // SAFETY: positions, starts and pieces are in bounds; `spill` is written for every m and n before it is read.
    unsafe {
        let starts = &task.starts[first..first + N];
        let mut acc = [[V::splat(0.0); N]; M];
        let mut dy = [task.dy; M];
        let mut rows = [task.sums; M];
        for m in 0..M {
            dy[m] = task.dy.add(filters[m] as usize * task.dy_plane);
            rows[m] = task.sums.add(filters[m] as usize * task.sums_row);
        }
        let mut input = [task.input; N];
        for n in 0..N {
            input[n] = task.input.add(starts[n].input as usize);
        }
        for row in 0..task.rows {
            for p in row * task.pitch..row * task.pitch + task.width {
                let mut x = [V::splat(0.0); N];
                for n in 0..N {
                    x[n] = V::load(input[n].add(p * task.lanes));
                }
                for m in 0..M {
                    let g = V::splat(*dy[m].add(p));
                    for n in 0..N {
                        acc[m][n] = x[n].fma(g, acc[m][n]);
                    }
                }
            }
        }
        // In memory, where loops may index them: else the compiler would keep them there all along.
        let mut spill = MaybeUninit::<[[V; N]; M]>::uninit();
        let sums = spill.as_mut_ptr().cast::<V>();
        for m in 0..M {
            for n in 0..N {
                sums.add(m * N + n).write(acc[m][n]);
            }
        }
        for n in 0..N {
            let start = &starts[n];
            for piece in &task.pieces[start.pieces[0] as usize..start.pieces[1] as usize] {
                let at = start.sums as usize + piece.at as usize;
                for m in 0..M {
                    let at = rows[m].add(at);
                    let sum = *sums.add(m * N + n);
                    let sum = if start.whole { sum } else { sum.spread(piece) };
                    V::load(at).add(sum).store(at);
                }
            }
        }
    }
}

/// From rows of planes (plane length, list, plane length used) to `[positions, lanes]`.
pub(crate) type TransposeRows = unsafe fn(*const f32, usize, &[u32], usize, *mut f32, usize);

/// Copies the listed planes channels-last; lanes past the list hold copies of the last block's first channel.
///
/// # Safety
/// Planes hold `len` floats, a multiple of `LANES`; `to` holds `len * lanes`.
#[inline(always)]
pub(crate) unsafe fn transpose_rows<V: Vector>(
    from: *const f32,
    plane: usize,
    channels: &[u32],
    len: usize,
    to: *mut f32,
    lanes: usize,
) {
    // SAFETY: a block reads LANES planes (a short one its first again) at LANES of `len` positions, and writes as many rows of
    // `lanes` floats.
    unsafe {
        for (block, group) in channels.chunks(V::LANES).enumerate() {
            let to = to.add(block * V::LANES);
            let mut rows = [from.add(group[0] as usize * plane); 16];
            for (row, &c) in rows.iter_mut().zip(group) {
                *row = from.add(c as usize * plane);
            }
            for p in (0..len).step_by(V::LANES) {
                V::transpose(&rows, to.add(p * lanes), lanes);
                for row in &mut rows {
                    *row = row.wrapping_add(V::LANES);
                }
            }
        }
    }
}

/// What all tiles of a weight gradient over a whole batch share.
pub(crate) struct BatchGradTask<'a> {
    /// `[input positions, images, lanes]` of one block of channels.
    pub input: *const f32,
    /// `[filters, output positions, images]`.
    pub dy: *const f32,
    pub(crate) dy_plane: usize,
    pub images: usize,
    /// Output and input positions that one kernel position brings together.
    pub pairs: &'a [[usize; 2]],
    /// `[M, lanes]`, written.
    pub sums: *mut f32,
}

pub(crate) type BatchGradTile = unsafe fn(&BatchGradTask, usize);

/// Sums over images and positions of `M` filters, from `first`, times `N` vectors of channels.
///
/// # Safety
/// All pairs, images, filters and lanes are in bounds.
#[inline(always)]
pub(crate) unsafe fn batch_grad_tile<V: Vector, const M: usize, const N: usize>(task: &BatchGradTask, first: usize) {
    // SAFETY: as the contract says.
    unsafe {
        let lanes = N * V::LANES;
        let mut acc = [[V::splat(0.0); N]; M];
        for &[p, q] in task.pairs {
            let x = task.input.add(q * task.images * lanes);
            let mut dy = [task.dy; M];
            for m in 0..M {
                dy[m] = task.dy.add((first + m) * task.dy_plane + p * task.images);
            }
            for i in 0..task.images {
                let mut vectors = [V::splat(0.0); N];
                for n in 0..N {
                    vectors[n] = V::load(x.add(i * lanes + n * V::LANES));
                }
                for m in 0..M {
                    let g = V::splat(*dy[m].add(i));
                    for n in 0..N {
                        acc[m][n] = vectors[n].fma(g, acc[m][n]);
                    }
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                acc[m][n].store(task.sums.add(m * lanes + n * V::LANES));
            }
        }
    }
}
