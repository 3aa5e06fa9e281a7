//! Forward 3×3 convolution with stride 1 by Winograd's minimal filtering, over active lists: fewer
//! multiplications than the direct plan, at rounding errors of about 1e-5 of the largest output.
//! Knows nothing of instruction sets.
//!
//! Tiles of 2×2 or 4×4 outputs are transformed (16 or 36 elements each), multiplied channel by
//! channel with transformed weights, and transformed back. It reads what the direct plan reads, sorting a
//! channel's pixels on the way into as many phases as a tile is wide, so that the same element of neighboring
//! tiles is a contiguous run. The products are the tiles of a 1×1 convolution, one for each element.
#![expect(
    unsafe_code,
    reason = "calls tiles with checked offsets; threads write disjoint rows"
)]

use super::columns::{Columns, TapTable};
use super::conv::ConvCall;
use super::conv_tile::{Bounds, ConvTask, ListedColumn};
use super::kernel::Kernel;
use super::lanes::LaneMap;
use super::pool::{Pool, SharedPointer};
use super::scratch::PlanScratch;
use super::shape::{ConvShape, Layout};
use super::sweep::{Positions, Sweep};
use super::tile::Tiles;
use super::winograd_tile::{InputTask, OutputTask, SplitTask, WinogradResidual};
use super::winograd_weights::{WeightOrder, WeightsTask};
use super::{winograd_size, winograd_weights};

/// A 3×3 convolution with stride 1, ready to run. It has its own weights; the layouts are those of the direct plan.
#[derive(Clone, Debug)]
pub struct WinogradPlan {
    tiles: &'static Tiles,
    shape: ConvShape,
    /// Outputs of a tile, along each side.
    size: usize,
    input: Layout,
    output: Layout,
    residual: Option<Layout>,
    table: TapTable,
    /// Floats of a channel's row of tiles: those of the largest block.
    row: usize,
    /// Where the elements of tile 0 are in a channel's block, sorted into phases.
    elements: Vec<u32>,
    phase_len: usize,
    phase_pitch: usize,
    blocks: Vec<Block>,
}

/// Some rows of tiles, transformed and multiplied together.
#[derive(Clone, Debug)]
struct Block {
    /// Where it starts in a plane.
    first: usize,
    rows: usize,
    vectors: usize,
    sweep: Sweep,
    identity: LaneMap,
    output: Vec<LaneMap>,
    residual: Vec<LaneMap>,
}

impl WinogradPlan {
    /// The plan that [`Self::best_size`] advises for all channels and filters.
    pub fn new(kernel: Kernel, shape: &ConvShape, output: Layout, residual: Option<Layout>) -> Option<Self> {
        let size = Self::best_size(kernel, shape, [shape.in_channels, shape.filters])?;
        Self::with_size(kernel, shape, size, output, residual)
    }

    /// The tile size that should be fastest when so many channels and filters are active; `None` where
    /// the direct convolution should be faster, or [`Self::with_size`] cannot do it.
    ///
    /// The rule: with C channels, F filters, T vectors of tiles, n elements a tile and P vectors of positions,
    /// 7/5 n (C F + a C + b F) T must be less than (9 C + 8) F P. The costs a and b of transforms belong to the
    /// kernel. So many channels and small planes favor it; what small planes waste in vectors of tiles, or few
    /// channels in transforms, speaks against it, and so do weights that no cache can hold.
    pub fn best_size(kernel: Kernel, shape: &ConvShape, [channels, filters]: [usize; 2]) -> Option<usize> {
        winograd_size::best(kernel.tiles?, shape, [channels, filters])
    }

    /// Whether this plan should be faster than the direct one when so many channels and filters are active,
    /// by the rule of [`Self::best_size`]. Depends on the counts alone.
    pub fn pays(&self, active: [usize; 2]) -> bool {
        self.pays_against(9 * active[0], active)
    }

    /// The same where the direct one would read no more than so many columns of these channels.
    pub fn pays_against(&self, columns: usize, active: [usize; 2]) -> bool {
        winograd_size::pays(self.tiles, &self.shape, self.size, active, columns)
    }

    /// A plan with tiles of `size` × `size` outputs, 2 or 4, whether it pays or not.
    /// `None` where that cannot be done: kernels other than 3×3, stride 2, other sizes, images more than
    /// two or three vectors of tiles wide, and the reference kernel.
    pub fn with_size(
        kernel: Kernel,
        shape: &ConvShape,
        size: usize,
        output: Layout,
        residual: Option<Layout>,
    ) -> Option<Self> {
        let tiles = kernel.tiles?;
        winograd_size::fits(tiles, shape, size).then(|| Self::with_tile(tiles, shape, size, output, residual))
    }

    fn with_tile(
        tiles: &'static Tiles,
        shape: &ConvShape,
        size: usize,
        output: Layout,
        residual: Option<Layout>,
    ) -> Self {
        let dims = (shape.filters, shape.out_h(), shape.out_w());
        for layout in [Some(&output), residual.as_ref()].into_iter().flatten() {
            assert_eq!((layout.channels, layout.height, layout.width), dims, "output layout");
        }
        let [tile_rows, tile_columns] = [dims.1, dims.2].map(|n| n.div_ceil(size));
        let input = Layout::input(shape);
        assert!(
            input.len().max(output.len()) < u32::MAX as usize,
            "planes too large for offsets"
        );
        let rows_each = (winograd_size::most_vectors(tiles) * tiles.lanes / tile_columns).clamp(1, tile_rows);
        let parts = tile_rows.div_ceil(rows_each);
        let phase_pitch = tile_columns + 1;
        // A vector more: rows are written in whole vectors.
        let phase_len = (rows_each + 1) * phase_pitch + tiles.lanes;
        let n = size + 2;
        let element = |y: usize, x: usize| {
            let phase = y % size * size + x % size;
            phase * phase_len + y / size * phase_pitch + x / size
        };
        let elements = (0..n * n).map(|e| element(e / n, e % n) as u32).collect();
        let blocks: Vec<_> = (0..parts)
            .map(|part| {
                let [first, end] = [part, part + 1].map(|i| tile_rows * i / parts);
                let place = |y: usize, x: usize| (y < dims.1 && x < dims.2).then_some((y, x));
                let rows = end * size + 2;
                Block::new(
                    tiles,
                    [first, end, tile_columns],
                    (
                        first * size * input.pitch,
                        rows.min(shape.pad.top + shape.in_h) - first * size,
                    ),
                    |layout, vectors, pixel| {
                        LaneMap::new(vectors, tiles.lanes, Vec::new(), |v, l| {
                            let t = v * tiles.lanes + l;
                            let (ty, tx) = (first + t / tile_columns, t % tile_columns);
                            let (y, x) = (ty * size + pixel / size, tx * size + pixel % size);
                            place(y, x).filter(|_| ty < end).map(|(y, x)| layout.offset(0, y, x))
                        })
                    },
                    (size * size, &output, residual.as_ref()),
                )
            })
            .collect();
        let row = blocks.iter().map(|b| b.vectors).max().unwrap_or(1) * tiles.lanes;
        let plan = Self {
            tiles,
            shape: *shape,
            size,
            input,
            output,
            residual,
            table: TapTable {
                channels: shape.in_channels,
                channel_len: row,
                sweeps: 1,
                taps: vec![(0, 0)],
            },
            row,
            elements,
            phase_len,
            phase_pitch,
            blocks,
        };
        plan.check_reads();
        plan
    }

    /// What makes raw loads and stores sound: the furthest ones are inside the input and the phases.
    fn check_reads(&self) {
        let last = (self.shape.in_channels - 1) * self.input.channel_len;
        for block in &self.blocks {
            let end = last + block.first + (block.rows - 1) * self.input.pitch + self.width();
            assert!(end <= self.input.len(), "reads past the input");
            assert!(block.rows.div_ceil(self.size) * self.phase_pitch + self.tiles.lanes <= self.phase_len);
        }
        assert!(self.phases_len() <= PHASES, "reads past the phases");
    }

    /// Floats of a channel's phases that are written or read.
    fn phases_len(&self) -> usize {
        let element = self.elements.iter().max().map_or(0, |&e| e as usize);
        let span = self.blocks.iter().map(|b| b.sweep.span()).max().unwrap_or(0);
        (self.size * self.size * self.phase_len).max(element + span)
    }

    /// Columns that are read of a padded row.
    fn width(&self) -> usize {
        self.shape.pad.left + self.shape.in_w
    }

    /// The layout it reads.
    pub fn input(&self) -> &Layout {
        &self.input
    }

    /// The layout it writes.
    pub fn output(&self) -> &Layout {
        &self.output
    }

    /// Outputs of a tile along each side: 2 or 4.
    pub fn size(&self) -> usize {
        self.size
    }

    /// An empty list; only channels can be listed, as tiles mix the kernel's positions.
    pub fn columns(&self) -> Columns {
        Columns::new(&self.table)
    }

    /// Memory for one call at a time.
    pub fn scratch(&self) -> PlanScratch {
        let mut scratch = PlanScratch::default();
        self.make_room(&mut scratch);
        scratch
    }

    /// Makes another plan's scratch large enough for this one too.
    pub fn make_room(&self, scratch: &mut PlanScratch) {
        scratch.make_room(self.scratch_lens(), 0);
    }

    fn scratch_lens(&self) -> [usize; 2] {
        [self.shape.in_channels, self.shape.filters].map(|rows| self.elements.len() * self.element_len(rows))
    }

    /// Floats from one element of the tiles to the next: a line more than the rows need, so that the
    /// elements of a tile do not fall on the same cache sets.
    fn element_len(&self, rows: usize) -> usize {
        rows * self.row + 16
    }

    /// Floats of the weights this plan takes: G g Gᵀ, filter by filter.
    pub fn weights_len(&self) -> usize {
        self.shape.filters * self.weight_row()
    }

    /// `[filters, in_channels, 3, 3]` to the weights this plan takes.
    pub fn transform(&self, weights: &[f32]) -> Vec<f32> {
        let mut transformed = vec![0.0; self.weights_len()];
        self.transform_on(&mut Pool::new(1), weights, WeightOrder::Forward, &mut transformed);
        transformed
    }

    /// The same from either order, on all threads, into `to` of [`Self::weights_len`].
    pub fn transform_on(&self, pool: &mut Pool, weights: &[f32], order: WeightOrder, to: &mut [f32]) {
        assert_eq!(weights.len(), self.shape.filters * self.shape.columns(), "weights");
        assert_eq!(to.len(), self.weights_len(), "transformed weights");
        let task = WeightsTask {
            weights,
            order,
            channels: self.shape.in_channels,
            filters: self.shape.filters,
        };
        let row = self.weight_row();
        let mut parts: Vec<_> = to.chunks_mut(row * FILTERS_EACH).collect();
        pool.run_mut(&mut parts, &|part, rows| {
            for (i, row) in rows.chunks_exact_mut(row).enumerate() {
                // SAFETY: the table exists only where its instructions do.
                unsafe { (self.tiles.winograd_weights[self.size / 4])(&task, part * FILTERS_EACH + i, row) }
            }
        });
    }

    fn weight_row(&self) -> usize {
        winograd_weights::row_len(self.shape.in_channels, self.size)
    }

    /// Computes the listed filters into `output`. The call's weights are [`Self::transform`]'s.
    pub fn run(&self, call: &ConvCall, scratch: &mut PlanScratch, output: &mut [f32]) {
        self.run_parts(call, scratch, output, |parts, work| (0..parts).for_each(work));
    }

    /// The same on all threads of the pool; the same bits.
    pub fn run_on(&self, pool: &mut Pool, call: &ConvCall, scratch: &mut PlanScratch, output: &mut [f32]) {
        if scratch.is_apart(pool) {
            return self.run_apart(pool, call, scratch, output);
        }
        self.run_parts(call, scratch, output, |parts, work| {
            pool.run(parts, &|part, _| work(part))
        });
    }

    /// On threads with their own buffers: blocks, and a block's filters where those are too few.
    fn run_apart(&self, pool: &mut Pool, call: &ConvCall, scratch: &mut PlanScratch, output: &mut [f32]) {
        self.check(call, scratch, output);
        scratch.own.iter_mut().for_each(|own| own.held = None);
        let output = SharedPointer(output.as_mut_ptr());
        let each = (pool.threads() * 2).div_ceil(self.blocks.len());
        let parts = self.blocks.len() * each;
        pool.run_with(&mut scratch.own, parts, &|task, own| {
            // From both ends: with two threads each keeps to its own half.
            let part = if task % 2 == 0 { task / 2 } else { parts - 1 - task / 2 };
            let at = part / each;
            let block = &self.blocks[at];
            let groups = call
                .filters
                .len()
                .div_ceil(self.tiles.conv.filters[block.vectors - 1].max(1));
            let [from, to] = [part % each, part % each + 1].map(|i| groups * i / each);
            if from == to {
                return;
            }
            let buffers = Buffers {
                inputs: SharedPointer(own.inputs.as_mut_ptr()),
                products: SharedPointer(own.products.as_mut_ptr()),
                output: SharedPointer(output.get()),
            };
            if own.held != Some(at) {
                // SAFETY: checked, and own buffers are as large as the shared ones.
                unsafe { self.transform_input(call, block, &call.columns.lists[0], &buffers) }
                own.held = Some(at);
            }
            for g in from..to {
                let [from, to] = [g, g + 1].map(|i| call.filters.len() * i / groups);
                // SAFETY: checked; parts write different planes or different rows of them.
                unsafe { self.multiply(call, block, &call.filters[from..to], &buffers) }
            }
        });
    }

    fn run_parts(
        &self,
        call: &ConvCall,
        scratch: &mut PlanScratch,
        output: &mut [f32],
        mut run: impl FnMut(usize, &(dyn Fn(usize) + Sync)),
    ) {
        self.check(call, scratch, output);
        let channels = &call.columns.lists[0];
        let buffers = Buffers {
            inputs: SharedPointer(scratch.inputs.as_mut_ptr()),
            products: SharedPointer(scratch.products.as_mut_ptr()),
            output: SharedPointer(output.as_mut_ptr()),
        };
        for block in &self.blocks {
            let parts = channels.len().div_ceil(CHANNELS_EACH);
            run(parts, &|part| {
                let channels = &channels[part * CHANNELS_EACH..channels.len().min((part + 1) * CHANNELS_EACH)];
                // SAFETY: checked; a channel's row of `inputs` is written by one part alone.
                unsafe { self.transform_input(call, block, channels, &buffers) }
            });
            let most = self.tiles.conv.filters[block.vectors - 1].max(1);
            let parts = call.filters.len().div_ceil(most);
            run(parts, &|part| {
                let [from, to] = [part, part + 1].map(|i| call.filters.len() * i / parts);
                // SAFETY: checked; filters differ, so parts write different rows and planes.
                unsafe { self.multiply(call, block, &call.filters[from..to], &buffers) }
            });
        }
    }

    fn check(&self, call: &ConvCall, scratch: &PlanScratch, output: &[f32]) {
        call.check(&self.table, self.shape.filters, self.weight_row());
        scratch.check(self.scratch_lens());
        assert!(call.input.len() >= self.input.len(), "input too short");
        assert!(output.len() >= self.output.len(), "output too short");
        call.epilogue.check_residual(self.residual.as_ref());
    }

    /// # Safety
    /// `check` has passed, and nobody else touches these channels' rows of `inputs`.
    unsafe fn transform_input(&self, call: &ConvCall, block: &Block, channels: &[ListedColumn], buffers: &Buffers) {
        // Rows below the image stay as they are here.
        let mut phases = Phases([0.0; PHASES]);
        let split = SplitTask {
            input: call.input[block.first..].as_ptr(),
            channel_len: self.input.channel_len,
            pitch: self.input.pitch,
            rows: block.rows,
            width: self.width(),
            output: phases.0.as_mut_ptr(),
            phase_len: self.phase_len,
            output_pitch: self.phase_pitch,
        };
        let task = InputTask {
            input: split.output,
            elements: &self.elements,
            pitch: self.phase_pitch,
            by_rows: block.sweep.by_rows,
            step: block.sweep.step,
            lanes: &block.sweep.lanes,
            output: buffers.inputs.get(),
            output_row: self.row,
            output_element: self.element_len(self.shape.in_channels),
        };
        for channel in channels.iter().map(|c| c.weight as usize) {
            // SAFETY: `check_reads` bounds every load and store, and these channels' rows are this part's alone.
            unsafe {
                (self.tiles.winograd_split[self.size / 4])(&split, channel);
                for vector in 0..block.sweep.lanes.heads.len() {
                    (self.tiles.winograd_input[self.size / 4])(&task, channel, vector)
                }
            }
        }
    }

    /// Products of a few filters, and their outputs.
    ///
    /// # Safety
    /// `check` has passed, and nobody else touches these filters' rows of `products` and planes of `output`.
    unsafe fn multiply(&self, call: &ConvCall, block: &Block, filters: &[u32], buffers: &Buffers) {
        let (c, f) = (self.shape.in_channels, self.shape.filters);
        for element in 0..self.elements.len() {
            let task = ConvTask {
                // SAFETY: both buffers hold `elements` such parts.
                input: unsafe { buffers.inputs.get().add(element * self.element_len(c)) },
                columns: &call.columns.lists[0],
                weights: call.weights[element * c..].as_ptr(),
                weight_row: self.weight_row(),
                step: self.tiles.lanes,
                pitch: 0,
                scale: None,
                shift: None,
                bounds: Bounds::NONE,
                // SAFETY: both buffers hold `elements` such parts.
                output: unsafe { buffers.products.get().add(element * self.element_len(f)) },
                output_plane: self.row,
                lanes: &block.identity,
                residual: None,
            };
            // SAFETY: a row holds the vectors of any block.
            unsafe { self.tiles.conv.flat[block.vectors - 1][filters.len() - 1](&task, filters, 0) }
        }
        let task = OutputTask {
            input: buffers.products.get(),
            input_row: self.row,
            input_element: self.element_len(f),
            scale: call.epilogue.scale,
            shift: call.epilogue.shift,
            bounds: call.epilogue.bounds(),
            output: buffers.output.get(),
            output_plane: self.output.channel_len,
            lanes: &block.output,
            residual: call
                .epilogue
                .residual
                .zip(self.residual)
                .map(|(data, layout)| WinogradResidual {
                    data: data.as_ptr(),
                    plane: layout.channel_len,
                    lanes: &block.residual,
                }),
        };
        for &filter in filters {
            for vector in 0..block.vectors {
                // SAFETY: a filter's lanes are pixels of its plane, which is this part's alone.
                unsafe { (self.tiles.winograd_output[self.size / 4])(&task, filter as usize, vector) }
            }
        }
    }
}

impl Block {
    /// Of tile rows `first .. end`, which start at `input.0` in a plane and read `input.1` rows. `map(layout, vectors, pixel)` says where pixels are.
    fn new(
        tiles: &Tiles,
        [first, end, columns]: [usize; 3],
        input: (usize, usize),
        map: impl Fn(&Layout, usize, usize) -> LaneMap,
        (pixels, output, residual): (usize, &Layout, Option<&Layout>),
    ) -> Self {
        let rows = end - first;
        let vectors = (rows * columns).div_ceil(tiles.lanes);
        let positions = Positions {
            rows,
            width: columns,
            pitch: columns + 1,
            stride: 1,
            phase: [0, 0],
        };
        let maps = |layout: &Layout| (0..pixels).map(|p| map(layout, vectors, p)).collect();
        Self {
            first: input.0,
            rows: input.1,
            vectors,
            sweep: Sweep::new(&tiles.conv, &positions, &Layout::contiguous(1, rows, columns), None),
            identity: LaneMap::new(vectors, tiles.lanes, Vec::new(), |v, l| Some(v * tiles.lanes + l)),
            output: maps(output),
            residual: residual.map(maps).unwrap_or_default(),
        }
    }
}

/// Floats for the phases of any block of one channel.
const PHASES: usize = 2048;

#[repr(align(64))]
struct Phases([f32; PHASES]);

/// Enough to be worth handing to a thread.
const CHANNELS_EACH: usize = 8;
const FILTERS_EACH: usize = 8;

/// Parts write disjoint rows and planes of these, and read only what an earlier round of parts wrote.
struct Buffers {
    inputs: SharedPointer<f32>,
    products: SharedPointer<f32>,
    output: SharedPointer<f32>,
}
