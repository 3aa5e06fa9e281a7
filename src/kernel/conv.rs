//! Forward convolution and its input gradient over active lists: both are sweeps of tiles over a
//! plane of positions. Knows nothing of instruction sets.
#![expect(
    unsafe_code,
    reason = "calls tiles with checked offsets; threads write disjoint planes"
)]

use super::columns::{Columns, TapTable};
use super::shape::{ConvShape, Layout};
use super::tile::{ConvTask, LaneMap, Residual, Segment, Tiles};
use super::{Kernel, Pool, check_list, reference};

/// A convolution, or the input gradient of one, ready to run.
///
/// As an input gradient it maps output gradients to input gradients: its rows ("filters") are the
/// input channels, its columns belong to the filters, and its weights are [`transpose_weights`]'s.
#[derive(Clone, Debug)]
pub struct ConvPlan {
    kernel: Kernel,
    shape: ConvShape,
    direction: Direction,
    input: Layout,
    output: Layout,
    residual: Option<Layout>,
    table: TapTable,
    sweeps: Vec<Sweep>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    InputGrad,
}

/// One pass over positions: a forward convolution has one, an input gradient one per output phase.
#[derive(Clone, Debug)]
struct Sweep {
    vectors: usize,
    /// Vectors are rows of eight.
    by_rows: bool,
    step: usize,
    lanes: LaneMap,
    residual: LaneMap,
}

/// What happens between accumulating and storing:
/// y = relu(scale[f] · acc + shift[f] + residual), each part optional.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One factor per filter; absent: 1.
    pub scale: Option<&'a [f32]>,
    /// One addend per filter; absent: 0.
    pub shift: Option<&'a [f32]>,
    /// In the plan's residual layout.
    pub residual: Option<&'a [f32]>,
    /// Negative results become zero.
    pub relu: bool,
}

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct ConvCall<'a> {
    /// In the plan's input layout.
    pub input: &'a [f32],
    /// `[rows, columns]`, all of them, contiguous.
    pub weights: &'a [f32],
    /// Made by this plan.
    pub columns: &'a Columns,
    /// Rows to compute, ascending. Planes of others are not touched.
    pub filters: &'a [u32],
    /// Applied when storing.
    pub epilogue: Epilogue<'a>,
}

/// `[filters, in_channels, taps]` to `[in_channels, filters, taps]`.
pub fn transpose_weights(shape: &ConvShape, weights: &[f32], transposed: &mut [f32]) {
    let taps = shape.taps();
    assert_eq!(weights.len(), shape.filters * shape.columns(), "weights");
    assert_eq!(transposed.len(), weights.len(), "transposed weights");
    for (c, row) in transposed.chunks_exact_mut(shape.filters * taps).enumerate() {
        for (f, to) in row.chunks_exact_mut(taps).enumerate() {
            to.copy_from_slice(&weights[(f * shape.in_channels + c) * taps..][..taps]);
        }
    }
}

impl ConvPlan {
    /// y = conv(x): reads [`Layout::input`], writes `output`, adds a residual in the layout given.
    pub fn forward(kernel: Kernel, shape: &ConvShape, output: Layout, residual: Option<Layout>) -> Self {
        let input = Layout::input(shape);
        let dims = (shape.filters, shape.out_h(), shape.out_w());
        assert_eq!((output.channels, output.height, output.width), dims, "output layout");
        let [kh, kw] = shape.kernel;
        let taps = (0..kh * kw)
            .map(|t| (0, input.padded_offset(t / kw, t % kw) as u32))
            .collect();
        let mut plan = Self::new(kernel, shape, Direction::Forward, input, output, residual, taps);
        plan.add_sweep(shape.out_h(), shape.out_w(), 1, [0, 0]);
        plan.check_reads();
        plan
    }

    /// dx from dy: reads [`Layout::output_grad`], writes `output`.
    pub fn input_grad(kernel: Kernel, shape: &ConvShape, output: Layout) -> Self {
        let input = Layout::output_grad(shape);
        let dims = (shape.in_channels, shape.in_h, shape.in_w);
        assert_eq!((output.channels, output.height, output.width), dims, "output layout");
        let [kh, kw] = shape.kernel;
        let s = shape.stride;
        // Pixel y = s·i + a meets kernel row r at output row (y + top - r) / s, so r decides a.
        let axis = |r: usize, pad: usize, before: usize, size: usize| {
            let a = (r + s * pad - pad) % s;
            let at = (a + pad) as isize - r as isize;
            (a < size).then(|| (a, (at / s as isize + before as isize) as usize))
        };
        let taps = (0..kh * kw)
            .map(|t| {
                let y = axis(t / kw, shape.pad.top, input.top, shape.in_h);
                let x = axis(t % kw, shape.pad.left, input.left, shape.in_w);
                // A tap no pixel meets goes to a sweep without positions.
                let (Some((a, y)), Some((b, x))) = (y, x) else {
                    return ((s * s) as u32, 0);
                };
                ((a * s + b) as u32, input.padded_offset(y, x) as u32)
            })
            .collect();
        let mut plan = Self::new(kernel, shape, Direction::InputGrad, input, output, None, taps);
        for phase in 0..s * s {
            let [a, b] = [phase / s, phase % s];
            plan.add_sweep(
                (shape.in_h - a.min(shape.in_h)).div_ceil(s),
                (shape.in_w - b.min(shape.in_w)).div_ceil(s),
                s,
                [a, b],
            );
        }
        plan.add_sweep(0, 0, 1, [0, 0]);
        plan.check_reads();
        plan
    }

    fn new(
        kernel: Kernel,
        shape: &ConvShape,
        direction: Direction,
        input: Layout,
        output: Layout,
        residual: Option<Layout>,
        taps: Vec<(u32, u32)>,
    ) -> Self {
        if let Some(r) = residual {
            let dims = (output.channels, output.height, output.width);
            assert_eq!((r.channels, r.height, r.width), dims, "residual layout");
        }
        assert!(
            input.len().max(output.len()) < u32::MAX as usize,
            "planes too large for offsets"
        );
        let sweeps = match direction {
            Direction::Forward => 1,
            Direction::InputGrad => shape.stride * shape.stride + 1,
        };
        let table = TapTable {
            channels: input.channels,
            channel_len: input.channel_len,
            sweeps,
            taps,
        };
        Self {
            kernel,
            shape: *shape,
            direction,
            input,
            output,
            residual,
            table,
            sweeps: Vec::new(),
        }
    }

    /// Positions `rows` × `width`; position (y, x) is pixel (y·stride + a, x·stride + b) of the output.
    fn add_sweep(&mut self, rows: usize, width: usize, stride: usize, [a, b]: [usize; 2]) {
        let Some(tiles) = self.kernel.tiles else {
            return;
        };
        let (lanes, pitch) = (tiles.lanes, self.input.pitch);
        let flat = if rows * width == 0 {
            0
        } else {
            ((rows - 1) * pitch + width).div_ceil(lanes)
        };
        let per_vector = lanes / 8;
        let by_rows = tiles.conv_rows.is_some() && width <= 8 && rows.div_ceil(per_vector.max(1)) < flat;
        let vectors = if by_rows { rows.div_ceil(per_vector) } else { flat };
        let at = |vector: usize, lane: usize| {
            let (y, x) = if by_rows {
                (vector * per_vector + lane / 8, lane % 8)
            } else {
                let p = vector * lanes + lane;
                (p / pitch, p % pitch)
            };
            (y < rows && x < width).then_some((y * stride + a, x * stride + b))
        };
        let map = |layout: &Layout| lane_map(vectors, lanes, |v, l| at(v, l).map(|(y, x)| layout.offset(0, y, x)));
        self.sweeps.push(Sweep {
            vectors,
            by_rows,
            step: if by_rows { per_vector * pitch } else { lanes },
            lanes: map(&self.output),
            residual: self.residual.as_ref().map(map).unwrap_or_default(),
        });
    }

    /// What makes the tiles' raw loads sound: the furthest one of any list is inside the input.
    fn check_reads(&self) {
        for (i, sweep) in self.sweeps.iter().enumerate().filter(|s| s.1.vectors > 0) {
            let tap = self
                .table
                .taps
                .iter()
                .filter(|t| t.0 as usize == i)
                .map(|t| t.1 as usize)
                .max();
            let Some(tap) = tap else { continue };
            let span = if sweep.by_rows { sweep.step + 8 } else { sweep.step };
            let end = self.input.channels.saturating_sub(1) * self.input.channel_len
                + tap
                + (sweep.vectors - 1) * sweep.step
                + span;
            assert!(end <= self.input.len(), "reads past the input");
        }
    }

    /// The layout it reads.
    pub fn input(&self) -> &Layout {
        &self.input
    }

    /// The layout it writes.
    pub fn output(&self) -> &Layout {
        &self.output
    }

    /// An empty list of columns, with room for all.
    pub fn columns(&self) -> Columns {
        Columns::new(&self.table)
    }

    /// Computes the listed filters into `output`.
    pub fn run(&self, call: &ConvCall, output: &mut [f32]) {
        self.check(call, output);
        // SAFETY: checked; `output` is borrowed alone.
        unsafe { self.run_filters(call, call.filters, output.as_mut_ptr()) }
    }

    /// The same with filters split over the pool's threads; the same bits.
    pub fn run_on(&self, pool: &mut Pool, call: &ConvCall, output: &mut [f32]) {
        self.check(call, output);
        let n = pool.threads();
        let at = SharedOutput(output.as_mut_ptr());
        pool.run(n, &|task, _| {
            let part = call.filters.len() * task / n..call.filters.len() * (task + 1) / n;
            // SAFETY: checked; lists ascend, so tasks write different planes, and `run` returns
            // only when all have ended.
            unsafe { self.run_filters(call, &call.filters[part], at.get()) }
        });
    }

    fn check(&self, call: &ConvCall, output: &[f32]) {
        let rows = self.output.channels;
        check_list(call.filters, rows, "filters");
        assert!(call.columns.table == self.table, "columns of another plan");
        assert_eq!(
            call.weights.len(),
            rows * self.table.channels * self.table.taps.len(),
            "weights"
        );
        assert!(call.input.len() >= self.input.len(), "input too short");
        assert!(output.len() >= self.output.len(), "output too short");
        let e = &call.epilogue;
        assert!(
            e.scale.is_none_or(|s| s.len() >= rows) && e.shift.is_none_or(|s| s.len() >= rows),
            "epilogue too short"
        );
        assert_eq!(
            e.residual.is_some(),
            e.residual.is_some() && self.residual.is_some(),
            "no residual planned"
        );
        if let (Some(data), Some(layout)) = (e.residual, &self.residual) {
            assert!(data.len() >= layout.len(), "residual too short");
        }
    }

    /// # Safety
    /// `check` has passed and nobody else touches the planes of `filters` in `output`.
    unsafe fn run_filters(&self, call: &ConvCall, filters: &[u32], output: *mut f32) {
        let Some(tiles) = self.kernel.tiles else {
            // SAFETY: as above, and offsets of pixels are below the layout's length.
            let store =
                |f: usize, y: usize, x: usize, value: f32| unsafe { *output.add(self.output.offset(f, y, x)) = value };
            let columns = call.columns.lists.iter().flatten().map(|c| c.weight as usize);
            let epilogue = |f: usize, y: usize, x: usize, acc: f32| {
                let e = &call.epilogue;
                let residual = e
                    .residual
                    .zip(self.residual)
                    .map_or(0.0, |(data, layout)| data[layout.offset(f, y, x)]);
                let value = acc * e.scale.map_or(1.0, |s| s[f]) + e.shift.map_or(0.0, |s| s[f]) + residual;
                if e.relu { value.max(0.0) } else { value }
            };
            let read = |c: usize, y: usize, x: usize| call.input[self.input.offset(c, y, x)];
            let sum = match self.direction {
                Direction::Forward => reference::forward_at,
                Direction::InputGrad => reference::input_grad_at,
            };
            for &f in filters {
                for y in 0..self.output.height {
                    for x in 0..self.output.width {
                        let acc = sum(&self.shape, &read, call.weights, columns.clone(), [f as usize, y, x]);
                        store(f as usize, y, x, epilogue(f as usize, y, x, acc));
                    }
                }
            }
            return;
        };
        for (sweep, columns) in self.sweeps.iter().zip(&call.columns.lists) {
            let task = ConvTask {
                input: call.input.as_ptr(),
                columns,
                weights: call.weights.as_ptr(),
                weight_row: self.table.channels * self.table.taps.len(),
                step: sweep.step,
                pitch: self.input.pitch,
                scale: call.epilogue.scale,
                shift: call.epilogue.shift,
                relu: call.epilogue.relu,
                output,
                output_plane: self.output.channel_len,
                lanes: &sweep.lanes,
                residual: call
                    .epilogue
                    .residual
                    .zip(self.residual)
                    .map(|(data, layout)| Residual {
                        data: data.as_ptr(),
                        plane: layout.channel_len,
                        lanes: &sweep.residual,
                    }),
            };
            // SAFETY: lists and buffers are checked, and `check_reads` bounds every load.
            unsafe { run_tiles(tiles, sweep, &task, filters) }
        }
    }
}

struct SharedOutput(*mut f32);
// SAFETY: tasks write disjoint planes through it.
unsafe impl Sync for SharedOutput {}
impl SharedOutput {
    fn get(&self) -> *mut f32 {
        self.0
    }
}

/// # Safety
/// All offsets of the task are in bounds for all vectors of the sweep and all filters.
unsafe fn run_tiles(tiles: &Tiles, sweep: &Sweep, task: &ConvTask, filters: &[u32]) {
    if filters.is_empty() || sweep.vectors == 0 {
        return;
    }
    let table = if sweep.by_rows {
        tiles.conv_rows.as_ref().unwrap_or(&tiles.conv)
    } else {
        &tiles.conv
    };
    let (m_parts, n_parts) = best_split(tiles, filters.len(), sweep.vectors);
    for n_part in 0..n_parts {
        let [first, end] = [n_part, n_part + 1].map(|i| sweep.vectors * i / n_parts);
        for m_part in 0..m_parts {
            let [from, to] = [m_part, m_part + 1].map(|i| filters.len() * i / m_parts);
            // SAFETY: the caller's.
            unsafe { table[end - first - 1][to - from - 1](task, &filters[from..to], first) }
        }
    }
}

/// Into how many parts to cut filters and vectors so that the tiles take least time.
fn best_split(tiles: &Tiles, filters: usize, vectors: usize) -> (usize, usize) {
    let mut best = (usize::MAX, (1, 1));
    for (i, &most) in tiles.conv_filters.iter().enumerate().filter(|x| *x.1 > 0) {
        let (m_parts, n_parts) = (filters.div_ceil(most), vectors.div_ceil(i + 1));
        let mut cost = 0;
        for (m, m_times) in parts(filters, m_parts) {
            for (n, n_times) in parts(vectors, n_parts) {
                // Quarter cycles: multiply-adds (no fewer than their latency hides), loads, the loop.
                let each = (4 * m * n).max(32) + 2 * n + 2 * m + 8;
                cost += each * m_times * n_times;
            }
        }
        best = best.min((cost, (m_parts, n_parts)));
    }
    best.1
}

/// The two sizes, and how many of each, when `n` is cut evenly.
fn parts(n: usize, parts: usize) -> [(usize, usize); 2] {
    let larger = n % parts;
    [(n / parts + 1, larger), (n / parts, parts - larger)]
}

/// Groups the lanes that land in a plane into as few segments as possible.
fn lane_map(vectors: usize, lanes: usize, at: impl Fn(usize, usize) -> Option<usize>) -> LaneMap {
    let mut map = LaneMap {
        starts: vec![0],
        segments: Vec::new(),
    };
    for v in 0..vectors {
        let mut pairs: Vec<(usize, usize)> = (0..lanes).filter_map(|l| Some((at(v, l)?, l))).collect();
        pairs.sort_unstable();
        let mut rest = &pairs[..];
        while let [(at, lane), ..] = *rest {
            let deltas = |w: &[(usize, usize)]| Some((w[1].0 - w[0].0, w[1].1.checked_sub(w[0].1)?));
            let first = rest.get(..2).and_then(deltas).filter(|d| d.0 <= 2 && d.1 <= 2);
            let len = match first {
                Some(d) => 1 + rest.windows(2).take_while(|w| deltas(w) == Some(d)).count(),
                None => 1,
            };
            let (step, lane_step) = first.unwrap_or((1, 1));
            map.segments.push(Segment {
                at: at as u32,
                lane: lane as u8,
                len: len as u8,
                lane_step: lane_step as u8,
                step: step as u8,
            });
            rest = &rest[len..];
        }
        map.starts.push(map.segments.len() as u32);
    }
    map
}
