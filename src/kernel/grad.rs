//! Weight gradients over active lists, one image at a time, added into a dense buffer.
//! Knows nothing of batches: whoever calls it in image order gets the same bits every time.
#![expect(unsafe_code, reason = "calls tiles with checked offsets")]

use super::aligned::Aligned;
use super::columns::{Columns, TapTable, check_list};
use super::grad_tile::{DotTask, OuterStart, OuterTask};
use super::kernel::Kernel;
use super::pool::Pool;
use super::reference;
use super::shape::{ConvShape, Layout};
use super::tile::Tiles;
use super::vector::LanePiece;

/// The weight gradient of one convolution, ready to run.
///
/// A gradient element depends only on its own filter and channel, so a batch may be split over
/// threads by filters: each thread takes its rows for all images in order, and the sum is the same.
#[derive(Clone, Debug)]
pub struct WeightGradPlan {
    kernel: Kernel,
    shape: ConvShape,
    input: Layout,
    dy: Layout,
    table: TapTable,
}

/// Memory for one thread's runs of a plan, and the sums they leave until [`WeightGradPlan::finish`].
#[derive(Clone, Debug)]
pub struct GradScratch {
    columns: Columns,
    /// Channels-last input: `[positions, lanes]`.
    input: Aligned,
    starts: Vec<OuterStart>,
    pieces: Vec<LanePiece>,
    /// `[filters, taps, sums_channels]`: channels last, where lanes are.
    sums: Aligned,
}

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct WeightGradCall<'a> {
    /// In [`Layout::input`].
    pub input: &'a [f32],
    /// In [`Layout::output_grad`].
    pub dy: &'a [f32],
    /// Input channels whose columns are wanted, ascending.
    pub channels: &'a [u32],
    /// Filters whose rows are wanted, ascending.
    pub filters: &'a [u32],
}

impl WeightGradPlan {
    /// Plans for one shape.
    pub fn new(kernel: Kernel, shape: &ConvShape) -> Self {
        let (input, dy) = (Layout::input(shape), Layout::output_grad(shape));
        let [kh, kw] = shape.kernel;
        let taps: Vec<_> = (0..kh * kw)
            .map(|t| (0, input.padded_offset(t / kw, t % kw) as u32))
            .collect();
        let table = TapTable {
            channels: input.channels,
            channel_len: input.channel_len,
            sweeps: 1,
            taps,
        };
        let plan = Self {
            kernel,
            shape: *shape,
            input,
            dy,
            table,
        };
        if let Some(tiles) = kernel.tiles {
            // What makes the tiles' raw loads sound: the last channel's last vector is inside.
            let run = plan.run_vectors(tiles) * tiles.lanes;
            let tap = plan.table.taps.iter().map(|t| t.1 as usize).max().unwrap_or(0);
            assert!(tap + run <= input.channel_len + input.slack, "reads past the input");
            assert!(
                dy.offset(0, 0, 0) + run <= dy.channel_len,
                "reads past the output gradient"
            );
            assert!(
                input.pitch == dy.pitch && input.channel_len % tiles.lanes == 0,
                "planes do not match"
            );
        }
        plan
    }

    /// Memory for one thread.
    pub fn scratch(&self) -> GradScratch {
        let lanes = self.kernel.tiles.map_or(1, |t| t.lanes);
        let channels = self.shape.in_channels.next_multiple_of(lanes);
        // Whether lanes are channels depends on the list; the widest list asks most for it.
        let outer = (1..=self.shape.in_channels).any(|n| self.kernel.tiles.is_some_and(|t| self.is_outer(t, n)));
        GradScratch {
            columns: Columns::new(&self.table),
            input: Aligned::zeros(if outer { self.input.channel_len * channels } else { 0 }),
            starts: Vec::with_capacity(self.shape.taps() * channels / lanes),
            pieces: Vec::with_capacity(channels),
            sums: Aligned::zeros(self.shape.filters * self.sums_row()),
        }
    }

    /// Adds Σ dy[f] · shifted x[c] of one image to the sums of the listed filters and channels.
    pub fn run(&self, call: &WeightGradCall, scratch: &mut GradScratch) {
        check_list(call.channels, self.shape.in_channels, "channels");
        check_list(call.filters, self.shape.filters, "filters");
        assert!(call.input.len() >= self.input.len(), "input too short");
        assert!(call.dy.len() >= self.dy.len(), "output gradient too short");
        assert!(scratch.columns.table == self.table, "scratch of another plan");
        assert_eq!(
            scratch.sums.len(),
            self.shape.filters * self.sums_row(),
            "scratch of another plan"
        );
        if call.filters.is_empty() || call.channels.is_empty() {
            return;
        }
        let Some(tiles) = self.kernel.tiles else {
            return self.run_reference(call, &mut scratch.sums);
        };
        if self.is_outer(tiles, call.channels.len()) {
            self.run_outer(tiles, call, scratch);
        } else {
            self.run_dots(tiles, call, scratch);
        }
    }

    /// Writes the gradient, `[filters, in_channels, kh, kw]`: the sums of all these scratches, added in their order,
    /// on all threads of the pool. Clears them.
    pub fn finish<'a>(
        &self,
        pool: &mut Pool,
        scratches: impl IntoIterator<Item = &'a mut GradScratch>,
        grad: &mut [f32],
    ) {
        let (columns, taps) = (self.shape.columns(), self.shape.taps());
        assert_eq!(grad.len(), self.shape.filters * columns, "weight gradient");
        let (row, channels) = (self.sums_row(), self.sums_row() / taps);
        let each = self.shape.filters.div_ceil(pool.threads() * 4).max(1);
        let grads = grad.chunks_mut(each * columns);
        let mut tasks: Vec<(&mut [f32], Vec<&mut [f32]>)> = grads.map(|grad| (grad, Vec::new())).collect();
        for scratch in scratches {
            assert_eq!(scratch.sums.len(), self.shape.filters * row, "scratch of another plan");
            for (task, sums) in tasks.iter_mut().zip(scratch.sums.chunks_mut(each * row)) {
                task.1.push(sums);
            }
        }
        pool.run_mut(&mut tasks, &|_, (grad, parts)| {
            let Some((first, others)) = parts.split_first_mut() else {
                return grad.fill(0.0);
            };
            for other in others {
                self.kernel.add(other, first);
                other.fill(0.0);
            }
            for (grad, sums) in grad.chunks_exact_mut(columns).zip(first.chunks_exact(row)) {
                for (c, to) in grad.chunks_exact_mut(taps).enumerate() {
                    for (to, sum) in to.iter_mut().zip(sums[c..].iter().step_by(channels)) {
                        *to = *sum;
                    }
                }
            }
            first.fill(0.0);
        });
    }

    /// Floats of a filter's sums. Channels are rounded up to whole lines.
    fn sums_row(&self) -> usize {
        self.shape.taps() * self.shape.in_channels.next_multiple_of(16)
    }

    /// Vectors from the first output position to the last.
    fn run_vectors(&self, tiles: &Tiles) -> usize {
        ((self.dy.height - 1) * self.dy.pitch + self.dy.width).div_ceil(tiles.lanes)
    }

    /// Whether lanes are channels. Must not depend on filters, or splitting by them would change bits.
    fn is_outer(&self, tiles: &Tiles, channels: usize) -> bool {
        let positions = self.dy.height * self.dy.width;
        // Cycles per filter and tap: multiply-adds and, behind them, sums or scatter.
        let dots = channels * (self.run_vectors(tiles) + 4);
        let half = if tiles.outer_half.is_some() {
            tiles.lanes / 2
        } else {
            tiles.lanes
        };
        let outer = channels.div_ceil(half) * half * positions / tiles.lanes + channels / 2;
        outer < dots
    }

    fn run_dots(&self, tiles: &Tiles, call: &WeightGradCall, scratch: &mut GradScratch) {
        scratch.columns.set_channels(call.channels);
        let (taps, channels) = (self.shape.taps() as u32, self.sums_row() / self.shape.taps());
        for column in &mut scratch.columns.lists[0] {
            column.weight = column.weight % taps * channels as u32 + column.weight / taps;
        }
        let columns = &scratch.columns.lists[0];
        let task = DotTask {
            input: call.input.as_ptr(),
            columns,
            dy: call.dy[self.dy.offset(0, 0, 0)..].as_ptr(),
            dy_plane: self.dy.channel_len,
            vectors: self.run_vectors(tiles),
            sums: scratch.sums.as_mut_ptr(),
            sums_row: self.sums_row(),
        };
        let (m, n) = tiles.dot_max;
        for filters in call.filters.chunks(m) {
            let parts = columns.len().div_ceil(n);
            for part in 0..parts {
                let [first, end] = [part, part + 1].map(|i| columns.len() * i / parts);
                // SAFETY: lists and buffers are checked in `run`, offsets in `new`.
                unsafe { tiles.dot[end - first - 1][filters.len() - 1](&task, filters, first) }
            }
        }
    }

    fn run_outer(&self, tiles: &Tiles, call: &WeightGradCall, scratch: &mut GradScratch) {
        let lanes = call.channels.len().next_multiple_of(tiles.lanes);
        let channels = self.sums_row() / self.shape.taps();
        assert!(
            scratch.input.len() >= self.input.channel_len * lanes,
            "scratch too short"
        );
        // SAFETY: planes are whole vectors long, and the copy has room for all of them.
        unsafe {
            let (from, to) = (call.input.as_ptr(), scratch.input.as_mut_ptr());
            (tiles.transpose)(
                from,
                self.input.channel_len,
                call.channels,
                self.input.channel_len,
                to,
                lanes,
            );
        }
        scratch.starts.clear();
        scratch.pieces.clear();
        // Starts of whole blocks, then those of a last one that half vectors can hold.
        let mut whole_starts = 0;
        for (block, group) in call.channels.chunks(tiles.lanes).enumerate() {
            let is_half = tiles.outer_half.is_some() && group.len() <= tiles.lanes / 2;
            let block_lanes = if is_half { tiles.lanes / 2 } else { tiles.lanes };
            let first = scratch.pieces.len();
            push_pieces(&mut scratch.pieces, group, block_lanes);
            let pieces = [first as u32, scratch.pieces.len() as u32];
            let whole = group.len() == block_lanes && (group[block_lanes - 1] - group[0]) as usize == block_lanes - 1;
            scratch
                .starts
                .extend(self.table.taps.iter().enumerate().map(|(tap, t)| OuterStart {
                    input: t.1 * lanes as u32 + (block * tiles.lanes) as u32,
                    sums: (tap * channels) as u32,
                    pieces,
                    whole,
                }));
            if !is_half {
                whole_starts = scratch.starts.len();
            }
        }
        let task = OuterTask {
            input: scratch.input.as_ptr(),
            lanes,
            starts: &scratch.starts,
            pieces: &scratch.pieces,
            dy: call.dy[self.dy.offset(0, 0, 0)..].as_ptr(),
            dy_plane: self.dy.channel_len,
            rows: self.dy.height,
            width: self.dy.width,
            pitch: self.dy.pitch,
            sums: scratch.sums.as_mut_ptr(),
            sums_row: self.sums_row(),
        };
        let (m, n) = tiles.outer_max;
        let m_parts = call.filters.len().div_ceil(m);
        let kinds = [
            (Some(&tiles.outer), 0..whole_starts),
            (tiles.outer_half.as_ref(), whole_starts..task.starts.len()),
        ];
        for m_part in 0..m_parts {
            let [from, to] = [m_part, m_part + 1].map(|i| call.filters.len() * i / m_parts);
            for (table, starts) in &kinds {
                let Some(table) = table else { continue };
                let n_parts = starts.len().div_ceil(n);
                for n_part in 0..n_parts {
                    let [first, end] = [n_part, n_part + 1].map(|i| starts.start + starts.len() * i / n_parts);
                    // SAFETY: lists and buffers are checked in `run`, offsets in `new`.
                    unsafe { table[end - first - 1][to - from - 1](&task, &call.filters[from..to], first) }
                }
            }
        }
    }

    fn run_reference(&self, call: &WeightGradCall, sums: &mut [f32]) {
        let x = |c: usize, y: usize, x: usize| call.input[self.input.offset(c, y, x)];
        let dy = |f: usize, y: usize, x: usize| call.dy[self.dy.offset(f, y, x)];
        let (taps, channels) = (self.shape.taps(), self.sums_row() / self.shape.taps());
        for &f in call.filters {
            for &c in call.channels {
                for tap in 0..taps {
                    let column = c as usize * taps + tap;
                    let sum = reference::weight_grad_at(&self.shape, &x, &dy, f as usize, column);
                    sums[f as usize * self.sums_row() + tap * channels + c as usize] += sum;
                }
            }
        }
    }
}

/// How the lanes of one block, the channels of `group`, spread over a row of sums.
fn push_pieces(pieces: &mut Vec<LanePiece>, group: &[u32], lanes: usize) {
    if group.len() == lanes && (group[lanes - 1] - group[0]) as usize == lanes - 1 {
        pieces.push(LanePiece {
            at: group[0] as i32,
            ..LanePiece::default()
        });
        return;
    }
    for (lane, &c) in group.iter().enumerate() {
        let within = c as usize % lanes;
        let at = (c as usize - within) as i32;
        if lane == 0 || pieces.last().is_none_or(|p| p.at != at) {
            pieces.push(LanePiece {
                at,
                ..LanePiece::default()
            });
        }
        if let Some(piece) = pieces.last_mut() {
            piece.mask |= 1 << within;
            piece.index[within] = lane as u8;
        }
    }
}
