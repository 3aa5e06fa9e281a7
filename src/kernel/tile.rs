//! The inner loops, once, over a small `Vector` trait; the files named after instruction sets only
//! instantiate them. Knows nothing of shapes, strides or lists: those have become offsets here.
//!
//! Convolution, for `M` filters and `N` vectors of positions (`conv_tile`):
//!
//! ```text
//! acc[M][N] = 0
//! for (offset, weight) in columns:
//!     x[n] = input[offset + position n ..]          unaligned
//!     acc[m][n] += x[n] * weights[filter m][weight]  broadcast
//! store relu(scale * acc + shift + residual)
//! ```
//!
//! 1. Positions run through the padding between rows: those lanes are computed and never stored.
//! 2. `ROWS`: a vector is made of whole eight-pixel rows instead, so that nothing is wasted.
//!
//! Weight gradient, large planes (`dot_tile`): `M` output gradients times `N` shifted inputs, summed
//! along positions. Small planes (`outer_tile`): the input is copied channels-last, lanes are
//! channels, and the output gradient is broadcast.
//!
//! Every element of a result is one chain of multiply-adds in list order, whatever the tile.
#![expect(unsafe_code, reason = "raw loads at offsets the plans have checked")]
#![expect(clippy::needless_range_loop, reason = "tiles are indexed by m and n throughout")]

use std::mem::MaybeUninit;

/// A few floats and the operations the loops need.
pub(super) trait Vector: Copy {
    const LANES: usize;
    /// # Safety
    /// Here and below: the machine has the instructions; pointers cover the lanes touched.
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(at: *const f32) -> Self;
    unsafe fn store(self, at: *mut f32);
    /// `self * b + c`
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn relu(self) -> Self;
    /// The sum of the lanes, in a fixed order.
    unsafe fn sum(self) -> f32;
    /// Rows of eight, `pitch` apart; for fewer lanes than eight this is never called.
    unsafe fn load_rows(at: *const f32, pitch: usize) -> Self;
    /// Writes lanes `from .. from + len` to `at`.
    #[inline(always)]
    unsafe fn store_lanes(self, at: *mut f32, from: usize, len: usize) {
        let mut lanes = [0.0f32; 16];
        // SAFETY: `lanes` holds the widest vector; the caller vouches for `at`.
        unsafe {
            self.store(lanes.as_mut_ptr());
            for i in 0..len {
                *at.add(i) = lanes[(from + i) & 15];
            }
        }
    }
    /// Writes lanes `from, from + lane_step, ..` to `at, at + step, ..`, `len` of them; steps are 1 or 2.
    #[inline(always)]
    unsafe fn store_strided(self, at: *mut f32, from: usize, len: usize, lane_step: usize, step: usize) {
        let mut lanes = [0.0f32; 16];
        // SAFETY: as for `store_lanes`.
        unsafe {
            self.store(lanes.as_mut_ptr());
            for i in 0..len {
                *at.add(i * step) = lanes[(from + i * lane_step) & 15];
            }
        }
    }
    /// Adds lane `index[i]` to `at[i]` where bit i of `mask` is set.
    #[inline(always)]
    unsafe fn add_piece(self, at: *mut f32, piece: &Piece) {
        let mut lanes = [0.0f32; 16];
        // SAFETY: the caller vouches for the masked lanes of `at`.
        unsafe {
            self.store(lanes.as_mut_ptr());
            let mut left = piece.mask;
            while left != 0 {
                let i = left.trailing_zeros() as usize & 15;
                *at.add(i) += lanes[piece.index[i] as usize & 15];
                left &= left - 1;
            }
        }
    }
    /// `to[i * to_pitch + j] = from[j * from_pitch + i]` for i, j in 0 .. LANES.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller vouches for both blocks.
                unsafe { *to.add(i * to_pitch + j) = *from.add(j * from_pitch + i) }
            }
        }
    }
}

/// One entry of an active list: where its input starts and which weight of the row it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub offset: u32,
    pub weight: u32,
}

/// Lanes `lane, lane + lane_step, ..` go to `at, at + step, ..`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub at: u32,
    pub lane: u8,
    pub len: u8,
    pub lane_step: u8,
    pub step: u8,
}

/// How a block of listed channels spreads over sixteen neighboring channels of a row of sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub at: u32,
    pub mask: u16,
    /// The list's channels are neighbors: a whole vector is added as it is.
    pub whole: bool,
    pub index: [u32; 16],
}

/// For each vector of positions, where its lanes live in a plane.
#[derive(Clone, Debug, Default)]
pub(super) struct LaneMap {
    pub starts: Vec<u32>,
    pub segments: Vec<Segment>,
}

impl LaneMap {
    #[inline(always)]
    fn of(&self, vector: usize) -> &[Segment] {
        &self.segments[self.starts[vector] as usize..self.starts[vector + 1] as usize]
    }
}

/// What all tiles of one convolution share.
pub(super) struct ConvTask<'a> {
    pub input: *const f32,
    pub columns: &'a [Column],
    pub weights: *const f32,
    pub weight_row: usize,
    /// Floats from one vector of positions to the next.
    pub step: usize,
    pub pitch: usize,
    pub scale: Option<&'a [f32]>,
    pub shift: Option<&'a [f32]>,
    pub relu: bool,
    pub output: *mut f32,
    pub output_plane: usize,
    pub lanes: &'a LaneMap,
    pub residual: Option<Residual<'a>>,
}

/// What is added before the relu, and where its lanes are.
#[derive(Clone, Copy)]
pub(super) struct Residual<'a> {
    pub data: *const f32,
    pub plane: usize,
    pub lanes: &'a LaneMap,
}

pub(super) type ConvTile = unsafe fn(&ConvTask, &[u32], usize);

/// # Safety
/// `filters` has `M` entries; all offsets of the task, from vector `first` to `first + N`, are in bounds.
#[inline(always)]
pub(super) unsafe fn conv_tile<V: Vector, const M: usize, const N: usize, const ROWS: bool>(
    task: &ConvTask,
    filters: &[u32],
    first: usize,
) {
    // SAFETY: the caller vouches for the offsets.
    unsafe {
        let mut acc = [[V::splat(0.0); N]; M];
        let mut rows = [task.weights; M];
        for m in 0..M {
            rows[m] = task.weights.add(filters[m] as usize * task.weight_row);
        }
        let input = task.input.add(first * task.step);
        for column in task.columns {
            let at = input.add(column.offset as usize);
            let mut x = [V::splat(0.0); N];
            for n in 0..N {
                x[n] = if ROWS {
                    V::load_rows(at.add(n * task.step), task.pitch)
                } else {
                    V::load(at.add(n * V::LANES))
                };
            }
            for m in 0..M {
                let w = V::splat(*rows[m].add(column.weight as usize));
                for n in 0..N {
                    acc[m][n] = x[n].fma(w, acc[m][n]);
                }
            }
        }
        let mut spill = MaybeUninit::<[[V; N]; M]>::uninit();
        let acc = spilled(&acc, &mut spill);
        let mut planes = [task.output; M];
        for m in 0..M {
            let f = filters[m] as usize;
            planes[m] = task.output.add(f * task.output_plane);
            let scale = V::splat(task.scale.map_or(1.0, |s| s[f]));
            let shift = V::splat(task.shift.map_or(0.0, |s| s[f]));
            for n in 0..N {
                acc[m][n] = acc[m][n].fma(scale, shift);
                if let Some(r) = &task.residual {
                    acc[m][n] = acc[m][n].add(gather::<V>(r.data.add(f * r.plane), r.lanes.of(first + n)));
                }
            }
        }
        if task.relu {
            for m in 0..M {
                for n in 0..N {
                    acc[m][n] = acc[m][n].relu();
                }
            }
        }
        for n in 0..N {
            for s in task.lanes.of(first + n) {
                let at = s.at as usize;
                let (lane, len) = (s.lane as usize, s.len as usize);
                if len == V::LANES && s.step == 1 {
                    for m in 0..M {
                        acc[m][n].store(planes[m].add(at));
                    }
                } else if s.lane_step == 1 && s.step == 1 {
                    for m in 0..M {
                        acc[m][n].store_lanes(planes[m].add(at), lane, len);
                    }
                } else {
                    for m in 0..M {
                        acc[m][n].store_strided(planes[m].add(at), lane, len, s.lane_step as usize, s.step as usize);
                    }
                }
            }
        }
    }
}

/// Moves accumulators to memory. What follows the inner loop may index them as it likes there, without
/// which the compiler would keep them in memory all along.
#[inline(always)]
fn spilled<'a, V: Vector, const M: usize, const N: usize>(
    acc: &[[V; N]; M],
    spill: &'a mut MaybeUninit<[[V; N]; M]>,
) -> &'a mut [[V; N]; M] {
    let to = spill.as_mut_ptr().cast::<V>();
    for m in 0..M {
        for n in 0..N {
            // SAFETY: `spill` has M · N places, and all are written before it is read.
            unsafe { to.add(m * N + n).write(acc[m][n]) };
        }
    }
    // SAFETY: written above.
    unsafe { spill.assume_init_mut() }
}

/// # Safety
/// All segments are in bounds of `plane`.
#[inline(always)]
unsafe fn gather<V: Vector>(plane: *const f32, segments: &[Segment]) -> V {
    let mut lanes = [0.0f32; 16];
    for s in segments {
        for i in 0..s.len as usize {
            let lane = (s.lane as usize + i * s.lane_step as usize) & 15;
            // SAFETY: as above.
            lanes[lane] = unsafe { *plane.add(s.at as usize + i * s.step as usize) };
        }
    }
    // SAFETY: sixteen floats, the widest vector.
    unsafe { V::load(lanes.as_ptr()) }
}

/// What all tiles of one weight gradient along positions share.
pub(super) struct DotTask<'a> {
    pub input: *const f32,
    pub columns: &'a [Column],
    pub dy: *const f32,
    pub dy_plane: usize,
    pub vectors: usize,
    /// Rows of sums, by filter.
    pub sums: *mut f32,
    pub sums_row: usize,
}

pub(super) type DotTile = unsafe fn(&DotTask, &[u32], usize);

/// # Safety
/// `filters` has `M` entries, `columns` has `N` from `first`; planes hold `vectors` whole vectors.
#[inline(always)]
pub(super) unsafe fn dot_tile<V: Vector, const M: usize, const N: usize>(
    task: &DotTask,
    filters: &[u32],
    first: usize,
) {
    // SAFETY: the caller vouches for the offsets.
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
pub(super) struct OuterTask<'a> {
    /// `[positions, lanes]`, lanes a multiple of the vector.
    pub input: *const f32,
    pub lanes: usize,
    /// Where in `input` a tap and block of lanes starts, and where its sums do in their row.
    pub starts: &'a [OuterStart],
    /// Where a block's lanes go.
    pub pieces: &'a [Piece],
    pub dy: *const f32,
    pub dy_plane: usize,
    pub rows: usize,
    pub width: usize,
    pub pitch: usize,
    /// Rows of sums, by filter: `[taps, channels]`.
    pub sums: *mut f32,
    pub sums_row: usize,
}

/// One vector of a channels-last tile: a kernel position and a block of listed channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct OuterStart {
    pub input: u32,
    pub sums: u32,
    /// Its block's range in `pieces`.
    pub pieces: [u32; 2],
}

pub(super) type OuterTile = unsafe fn(&OuterTask, &[u32], usize);

/// # Safety
/// `filters` has `M` entries, `starts` has `N` from `first`; all positions, sums and
/// pieces are in bounds.
#[inline(always)]
pub(super) unsafe fn outer_tile<V: Vector, const M: usize, const N: usize>(
    task: &OuterTask,
    filters: &[u32],
    first: usize,
) {
    // SAFETY: the caller vouches for the offsets.
    unsafe {
        let starts = &task.starts[first..first + N];
        let mut acc = [[V::splat(0.0); N]; M];
        let mut dy = [task.dy; M];
        for m in 0..M {
            dy[m] = task.dy.add(filters[m] as usize * task.dy_plane);
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
        let mut spill = MaybeUninit::<[[V; N]; M]>::uninit();
        let acc = spilled(&acc, &mut spill);
        for n in 0..N {
            let start = &starts[n];
            for piece in &task.pieces[start.pieces[0] as usize..start.pieces[1] as usize] {
                for m in 0..M {
                    let row = task.sums.add(filters[m] as usize * task.sums_row + start.sums as usize);
                    let at = row.add(piece.at as usize);
                    if piece.whole {
                        V::load(at).add(acc[m][n]).store(at);
                    } else {
                        acc[m][n].add_piece(at, piece);
                    }
                }
            }
        }
    }
}

/// `[rows listed, len]` to `[len, lanes]`: pointers to rows, `lanes` a multiple of `LANES`.
pub(super) type TransposeRows = unsafe fn(*const f32, usize, &[u32], usize, *mut f32, usize);

/// Copies the listed planes channels-last; lanes past the list are left as they are.
///
/// # Safety
/// Planes hold `len` floats, a multiple of `LANES`; `to` holds `len * lanes`.
#[inline(always)]
pub(super) unsafe fn transpose_rows<V: Vector>(
    from: *const f32,
    plane: usize,
    channels: &[u32],
    len: usize,
    to: *mut f32,
    lanes: usize,
) {
    // SAFETY: the caller vouches for both sides; a block is LANES planes by LANES positions.
    unsafe {
        for (block, group) in channels.chunks(V::LANES).enumerate() {
            let to = to.add(block * V::LANES);
            let even = group.len() == V::LANES
                && group
                    .windows(2)
                    .all(|w| w[1].wrapping_sub(w[0]) == group[1].wrapping_sub(group[0]));
            if even && V::LANES > 1 {
                let pitch = (group[1] - group[0]) as usize * plane;
                let from = from.add(group[0] as usize * plane);
                for p in (0..len).step_by(V::LANES) {
                    V::transpose(from.add(p), pitch, to.add(p * lanes), lanes);
                }
                continue;
            }
            let mut rows = [0.0f32; 256];
            for p in (0..len).step_by(V::LANES) {
                for (j, &c) in group.iter().enumerate() {
                    V::load(from.add(c as usize * plane + p)).store(rows.as_mut_ptr().add(j * V::LANES));
                }
                V::transpose(rows.as_ptr(), V::LANES, to.add(p * lanes), lanes);
            }
        }
    }
}

/// The tiles of one instruction set, by `[n - 1][m - 1]`.
pub(super) struct Tiles {
    pub lanes: usize,
    pub conv: [[ConvTile; 8]; 6],
    /// The same with vectors made of rows of eight; `None` where vectors are shorter than that.
    pub conv_rows: Option<[[ConvTile; 8]; 6]>,
    /// Filters a tile of n vectors can hold in registers, by n - 1; 0 where n does not fit.
    pub conv_filters: [usize; 6],
    pub dot: [[DotTile; 3]; 9],
    /// The largest (filters, columns) of a dot tile.
    pub dot_max: (usize, usize),
    pub outer: [[OuterTile; 8]; 3],
    /// The largest (filters, vectors) of an outer tile.
    pub outer_max: (usize, usize),
    pub transpose: TransposeRows,
}

/// Writes out the table of a function's instances: `by_m!(8: tile, 3; true)` is `[tile::<1, 3, true>, ..]`.
macro_rules! by_m {
    (8: $f:ident, $n:literal $(; $rows:literal)?) => {
        [
            $f::<1, $n $(, $rows)?>, $f::<2, $n $(, $rows)?>, $f::<3, $n $(, $rows)?>, $f::<4, $n $(, $rows)?>,
            $f::<5, $n $(, $rows)?>, $f::<6, $n $(, $rows)?>, $f::<7, $n $(, $rows)?>, $f::<8, $n $(, $rows)?>,
        ]
    };
    (6: $f:ident, $n:literal $(; $rows:literal)?) => {
        [
            $f::<1, $n $(, $rows)?>, $f::<2, $n $(, $rows)?>, $f::<3, $n $(, $rows)?>, $f::<4, $n $(, $rows)?>,
            $f::<5, $n $(, $rows)?>, $f::<6, $n $(, $rows)?>, $f::<6, $n $(, $rows)?>, $f::<6, $n $(, $rows)?>,
        ]
    };
    (3: $f:ident, $n:literal) => { [$f::<1, $n>, $f::<2, $n>, $f::<3, $n>] };
}

/// The functions of an instruction set and the table of them.
macro_rules! instantiate {
    ($vector:ty, [$($feature:meta),*], rows: $rows:expr, conv_filters: $conv:expr, dot_max: $dot:expr, outer_max: $outer:expr) => {
        $(#[$feature])*
        unsafe fn conv<const M: usize, const N: usize, const ROWS: bool>(task: &ConvTask, filters: &[u32], first: usize) {
            // SAFETY: the caller vouches for the offsets.
            unsafe { tile::conv_tile::<$vector, M, N, ROWS>(task, filters, first) }
        }

        $(#[$feature])*
        unsafe fn dot<const M: usize, const N: usize>(task: &DotTask, filters: &[u32], first: usize) {
            // SAFETY: the caller vouches for the offsets.
            unsafe { tile::dot_tile::<$vector, M, N>(task, filters, first) }
        }

        $(#[$feature])*
        unsafe fn outer<const M: usize, const N: usize>(task: &OuterTask, filters: &[u32], first: usize) {
            // SAFETY: the caller vouches for the offsets.
            unsafe { tile::outer_tile::<$vector, M, N>(task, filters, first) }
        }

        $(#[$feature])*
        unsafe fn transpose(from: *const f32, plane: usize, channels: &[u32], len: usize, to: *mut f32, lanes: usize) {
            // SAFETY: the caller vouches for the offsets.
            unsafe { tile::transpose_rows::<$vector>(from, plane, channels, len, to, lanes) }
        }

        pub(super) static TILES: Tiles = Tiles {
            lanes: <$vector as Vector>::LANES,
            conv: [
                by_m!(8: conv, 1; false), by_m!(8: conv, 2; false), by_m!(8: conv, 3; false),
                by_m!(6: conv, 4; false), by_m!(6: conv, 5; false), by_m!(6: conv, 6; false),
            ],
            conv_rows: if $rows {
                Some([
                    by_m!(8: conv, 1; true), by_m!(8: conv, 2; true), by_m!(8: conv, 3; true),
                    by_m!(6: conv, 4; true), by_m!(6: conv, 5; true), by_m!(6: conv, 6; true),
                ])
            } else {
                None
            },
            conv_filters: $conv,
            dot: [
                by_m!(3: dot, 1), by_m!(3: dot, 2), by_m!(3: dot, 3), by_m!(3: dot, 4), by_m!(3: dot, 5),
                by_m!(3: dot, 6), by_m!(3: dot, 7), by_m!(3: dot, 8), by_m!(3: dot, 9),
            ],
            dot_max: $dot,
            outer: [by_m!(8: outer, 1), by_m!(8: outer, 2), by_m!(8: outer, 3)],
            outer_max: $outer,
            transpose,
        };
    };
}
pub(super) use {by_m, instantiate};
