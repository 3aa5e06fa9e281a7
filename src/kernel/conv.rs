//! Forward convolution and its input gradient over active lists: both are sweeps of tiles over a
//! plane of positions. Knows nothing of instruction sets.
#![expect(
    unsafe_code,
    reason = "calls tiles with checked offsets; threads write disjoint planes"
)]

use super::columns::{Columns, TapTable, check_list};
use super::conv_tile::{Bounds, ConvResidual, ConvTask};
use super::kernel::Kernel;
use super::pool::{Pool, SharedPointer};
use super::reference;
use super::shape::{ConvShape, Layout};
use super::sweep::{Grid, Positions, Sweep};
use super::tile::ConvTiles;

/// A convolution, or the input gradient of one, ready to run.
///
/// As an input gradient it maps output gradients to input gradients: its rows ("filters") are the
/// input channels, its columns belong to the filters, and its weights are [`transpose_weights`]'s.
#[derive(Clone, Debug)]
pub struct ConvPlan {
    pub(crate) kernel: Kernel,
    /// `None` is the reference.
    tiles: Option<&'static ConvTiles>,
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

/// What happens between accumulating and storing:
/// y = min(relu(scale[f] · acc + shift[f] + residual), at_most), each part optional.
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
    /// Larger results become this.
    pub at_most: Option<f32>,
}

impl Epilogue<'_> {
    /// Panics unless all parts are long enough for so many filters and the residual's layout.
    pub(crate) fn check(&self, filters: usize, residual: Option<&Layout>) {
        self.check_factors(filters);
        self.check_residual(residual);
    }

    fn check_factors(&self, filters: usize) {
        assert!(
            self.scale.is_none_or(|s| s.len() >= filters) && self.shift.is_none_or(|s| s.len() >= filters),
            "epilogue too short"
        );
    }

    pub(crate) fn check_residual(&self, residual: Option<&Layout>) {
        if let Some(data) = self.residual {
            assert!(
                residual.is_some_and(|layout| data.len() >= layout.len()),
                "no residual planned, or too short"
            );
        }
    }

    /// What one sum of filter `f` becomes.
    pub(crate) fn at(&self, f: usize, acc: f32, residual: f32) -> f32 {
        let value = acc * self.scale.map_or(1.0, |s| s[f]) + self.shift.map_or(0.0, |s| s[f]) + residual;
        self.bounds().clamp(value)
    }

    /// What results lie between.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            floor: if self.relu { 0.0 } else { f32::NEG_INFINITY },
            ceiling: self.at_most.unwrap_or(f32::INFINITY),
        }
    }
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

impl ConvCall<'_> {
    /// Panics unless its lists, weights, scale and shift are those of a plan: so many filters, of so many weights each.
    pub(crate) fn check(&self, table: &TapTable, filters: usize, weight_row: usize) {
        check_list(self.filters, filters, "filters");
        assert!(self.columns.table == *table, "columns of another plan");
        assert_eq!(self.weights.len(), filters * weight_row, "weights");
        self.epilogue.check_factors(filters);
    }
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
        let tiles = kernel.tiles.map(|tiles| &tiles.conv);
        Self::of_taps((kernel, tiles), shape, input, (output, residual), taps)
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
        let tiles = kernel.tiles.map(|tiles| &tiles.conv);
        let table = TapTable::new(&input, s * s + 1, taps);
        let mut plan = Self::new(
            (kernel, tiles),
            shape,
            Direction::InputGrad,
            input,
            (output, None),
            table,
        );
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

    /// y = conv(x) of bytes, four in the place of a float: reads `input`, whose lanes have the places `taps` says, and writes
    /// the positions of `shape`'s output. The reference has no such thing.
    pub(crate) fn bytes(
        kernel: Kernel,
        shape: &ConvShape,
        input: Layout,
        (output, residual): (Layout, Option<Layout>),
        taps: Vec<(u32, u32)>,
    ) -> Option<Self> {
        let tiles = Some(kernel.byte_tiles()?);
        Some(Self::of_taps((kernel, tiles), shape, input, (output, residual), taps))
    }

    fn of_taps(
        with: (Kernel, Option<&'static ConvTiles>),
        shape: &ConvShape,
        input: Layout,
        to: (Layout, Option<Layout>),
        taps: Vec<(u32, u32)>,
    ) -> Self {
        let table = TapTable::new(&input, 1, taps);
        let mut plan = Self::new(with, shape, Direction::Forward, input, to, table);
        plan.add_sweep(shape.out_h(), shape.out_w(), 1, [0, 0]);
        plan.check_reads();
        plan
    }

    fn new(
        (kernel, tiles): (Kernel, Option<&'static ConvTiles>),
        shape: &ConvShape,
        direction: Direction,
        input: Layout,
        (output, residual): (Layout, Option<Layout>),
        table: TapTable,
    ) -> Self {
        if let Some(r) = residual {
            let dims = (output.channels, output.height, output.width);
            assert_eq!((r.channels, r.height, r.width), dims, "residual layout");
        }
        assert!(
            input.len().max(output.len()) < u32::MAX as usize,
            "planes too large for offsets"
        );
        Self {
            kernel,
            tiles,
            shape: *shape,
            direction,
            input,
            output,
            residual,
            table,
            sweeps: Vec::new(),
        }
    }

    fn add_sweep(&mut self, rows: usize, width: usize, stride: usize, phase: [usize; 2]) {
        let Some(tiles) = self.tiles else {
            return;
        };
        let positions = Positions {
            rows,
            width,
            pitch: self.input.pitch,
            stride,
            phase,
        };
        let mut sweep = Sweep::new(tiles, &positions, &self.output, self.residual.as_ref());
        let taps = self.table.taps.iter().filter(|t| t.0 as usize == self.sweeps.len());
        let columns = taps.count() * self.table.channels / 2;
        sweep.plan_grids(tiles, self.output.channels, columns);
        self.sweeps.push(sweep);
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
            let end = self.input.channels.saturating_sub(1) * self.input.channel_len + tap + sweep.span();
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
        match self.tiles {
            // SAFETY: `check` has passed; `output` is borrowed alone.
            Some(tiles) => unsafe { self.run_tiles(tiles, call, output.as_mut_ptr(), &self.grids(call), (0, 1)) },
            None => self.run_reference(call, output),
        }
    }

    /// The same with the tiles split over the pool's threads; the same bits. The reference has no tiles and stays on one.
    pub fn run_on(&self, pool: &mut Pool, call: &ConvCall, output: &mut [f32]) {
        self.check(call, output);
        let Some(tiles) = self.tiles else {
            return self.run_reference(call, output);
        };
        let at = SharedPointer(output.as_mut_ptr());
        // More parts than threads, so that one that was held up leaves work to the others.
        let parts = pool.threads() * 4;
        let grids = self.grids(call);
        pool.run(parts, &|task, _| {
            // From both ends: with two threads each keeps to its own half, whose weights it has cached.
            let part = if task % 2 == 0 { task / 2 } else { parts - 1 - task / 2 };
            // SAFETY: `check` has passed; parts are disjoint, and `run` returns only when all have ended.
            unsafe { self.run_tiles(tiles, call, at.get(), &grids, (part, parts)) }
        });
    }

    fn check(&self, call: &ConvCall, output: &[f32]) {
        assert_eq!(call.weights.len(), self.output.channels * self.all_columns(), "weights");
        self.check_call(call, output);
    }

    /// All but the weights.
    pub(crate) fn check_call(&self, call: &ConvCall, output: &[f32]) {
        check_list(call.filters, self.output.channels, "filters");
        assert!(call.columns.table == self.table, "columns of another plan");
        assert!(call.input.len() >= self.input.len(), "input too short");
        assert!(output.len() >= self.output.len(), "output too short");
        call.epilogue.check(self.output.channels, self.residual.as_ref());
    }

    /// Columns of the weight matrix.
    pub(crate) fn all_columns(&self) -> usize {
        self.table.channels * self.table.taps.len()
    }

    /// Where the last column starts in the input.
    pub(crate) fn last_offset(&self) -> usize {
        let tap = self.table.taps.iter().map(|t| t.1 as usize).max().unwrap_or(0);
        self.table.channels.saturating_sub(1) * self.table.channel_len + tap
    }

    pub(crate) fn residual(&self) -> Option<&Layout> {
        self.residual.as_ref()
    }

    fn run_reference(&self, call: &ConvCall, output: &mut [f32]) {
        let columns = call.columns.lists.iter().flatten().map(|c| c.weight as usize);
        let epilogue = |f: usize, y: usize, x: usize, acc: f32| {
            let e = &call.epilogue;
            let residual = e
                .residual
                .zip(self.residual)
                .map_or(0.0, |(data, layout)| data[layout.offset(f, y, x)]);
            e.at(f, acc, residual)
        };
        let read = |c: usize, y: usize, x: usize| call.input[self.input.offset(c, y, x)];
        let sum = match self.direction {
            Direction::Forward => reference::forward_at,
            Direction::InputGrad => reference::input_grad_at,
        };
        for f in call.filters.iter().map(|&f| f as usize) {
            for y in 0..self.output.height {
                for x in 0..self.output.width {
                    let acc = sum(&self.shape, &read, call.weights, columns.clone(), [f, y, x]);
                    output[self.output.offset(f, y, x)] = epilogue(f, y, x, acc);
                }
            }
        }
    }

    /// How each sweep is cut into tiles.
    fn grids(&self, call: &ConvCall) -> [Grid; MOST_SWEEPS] {
        let mut grids = [Grid::default(); MOST_SWEEPS];
        for (sweep, grid) in self.sweeps.iter().zip(&mut grids) {
            *grid = sweep.grid(call.filters.len());
        }
        grids
    }

    /// Runs part `part` of `parts` of every sweep's tiles.
    ///
    /// # Safety
    /// `check` has passed, and nobody else touches what these tiles write.
    unsafe fn run_tiles(
        &self,
        tiles: &ConvTiles,
        call: &ConvCall,
        output: *mut f32,
        grids: &[Grid; MOST_SWEEPS],
        (part, parts): (usize, usize),
    ) {
        for ((sweep, columns), grid) in self.sweeps.iter().zip(&call.columns.lists).zip(grids) {
            let task = ConvTask {
                input: call.input.as_ptr(),
                columns,
                weights: call.weights.as_ptr(),
                weight_row: self.table.channels * self.table.taps.len(),
                step: sweep.step,
                pitch: self.input.pitch,
                scale: call.epilogue.scale,
                shift: call.epilogue.shift,
                bounds: call.epilogue.bounds(),
                output,
                output_plane: self.output.channel_len,
                lanes: &sweep.lanes,
                residual: call
                    .epilogue
                    .residual
                    .zip(self.residual)
                    .map(|(data, layout)| ConvResidual {
                        data: data.as_ptr(),
                        plane: layout.channel_len,
                        lanes: &sweep.residual,
                    }),
            };
            let [from, to] = [part, part + 1].map(|i| grid.tiles(tiles) * i / parts);
            // SAFETY: `check` bounds lists, weights and buffers, `check_reads` every load; lanes are pixels of the output.
            unsafe { sweep.run(tiles, grid, from..to, &task, call.filters) }
        }
    }
}

/// The four phases of a gradient with stride 2, and one for what belongs to none.
const MOST_SWEEPS: usize = 5;
