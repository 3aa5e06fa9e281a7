//! A convolution as matrix products over the positions, or Winograd's tiles, of several images: a weight that is read once meets all
//! of them. Knows nothing of instruction sets.
//!
//! Images that share their lists are multiplied together, as many as fill a few vectors. Of planes so small that rows with their
//! padding waste lanes, one image gains too: its positions are packed side by side.
//!
//! The products are the tiles of a 1×1 convolution. By positions ([`Form::Positions`]) every column is a row of inputs, and each
//! element of a result is the chain of multiply-adds that the direct plan makes, so the bits are the same.
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
use super::product_form::{Form, ImageAddress, ImagePlanes};
use super::product_size;
use super::scratch::{OwnBuffers, PlanScratch};
use super::shape::{ConvShape, Layout};
use super::tile::Tiles;
use super::winograd_tile::{InputTask, OutputTask, WinogradResidual};
use super::winograd_weights::{self, WeightOrder};

/// A convolution of up to so many images at once, ready to run. The layouts are those of the direct plan.
#[derive(Clone, Debug)]
pub struct ProductPlan {
    tiles: &'static Tiles,
    shape: ConvShape,
    form: Form,
    input: Layout,
    output: Layout,
    residual: Option<Layout>,
    table: TapTable,
    /// Images that are multiplied together.
    images: usize,
    /// Positions or tiles of one image.
    count: usize,
    /// Floats of a row of inputs or products.
    row: usize,
    /// `[taps or elements, count]`: the place in a channel.
    from: Vec<u32>,
    /// `[outputs of a tile, count]`: the place in a plane, if it has one.
    to: Vec<Option<u32>>,
    /// The same in a plane of the residual.
    residual_from: Vec<Option<u32>>,
    identity: LaneMap,
    /// Of a tile's outputs: a vector each.
    outputs: Vec<LaneMap>,
}

impl ProductPlan {
    /// The form and the number of images that should be fastest when so many come at once, if any is faster than one image at a
    /// time by the direct plan or Winograd's. Depends on the machine's instructions, the shape and `images` alone, so that results do.
    pub fn best_form(kernel: Kernel, shape: &ConvShape, images: usize) -> Option<(Form, usize)> {
        product_size::best(kernel.tiles?, shape, images)
    }

    /// A plan that multiplies up to `images` together; more come one block after the other. `None` where the form cannot be done,
    /// and for the reference kernel.
    pub fn new(
        kernel: Kernel,
        shape: &ConvShape,
        (form, images): (Form, usize),
        output: Layout,
        residual: Option<Layout>,
    ) -> Option<Self> {
        let tiles = kernel.tiles?;
        let input = Layout::input(shape);
        let dims = (shape.filters, shape.out_h(), shape.out_w());
        for layout in [Some(&output), residual.as_ref()].into_iter().flatten() {
            assert_eq!((layout.channels, layout.height, layout.width), dims, "output layout");
        }
        if !product_size::fits(shape, form) || images == 0 {
            return None;
        }
        let size = form.size();
        let [rows, columns] = [dims.1, dims.2].map(|n| n.div_ceil(size));
        let count = rows * columns;
        let row = (images * count).next_multiple_of(tiles.lanes);
        // What is outside of the padded image is read where a channel keeps zeros behind its last row.
        let zero = input.phase_len - 1;
        let inside = [
            input.top + shape.in_h + shape.pad.bottom,
            input.left + shape.in_w + shape.pad.right,
        ];
        let step = if form == Form::Positions { shape.stride } else { size };
        let window = form.window(shape);
        let from: Vec<u32> = (0..window[0] * window[1])
            .flat_map(|e| (0..count).map(move |t| (e, t)))
            .map(|(e, t)| {
                let y = t / columns * step + e / window[1];
                let x = t % columns * step + e % window[1];
                let place = if y < inside[0] && x < inside[1] {
                    input.padded_offset(y, x)
                } else {
                    zero
                };
                place as u32
            })
            .collect();
        assert!(
            from.iter().all(|&p| (p as usize) < input.channel_len),
            "reads past a channel"
        );
        let place = |layout: &Layout| {
            (0..size * size)
                .flat_map(|p| (0..count).map(move |t| (p, t)))
                .map(|(p, t)| {
                    let (y, x) = (t / columns * size + p / size, t % columns * size + p % size);
                    (y < dims.1 && x < dims.2).then(|| layout.offset(0, y, x) as u32)
                })
                .collect()
        };
        let vectors = row / tiles.lanes;
        let map =
            |at: &dyn Fn(usize, usize) -> usize| LaneMap::new(vectors, tiles.lanes, Vec::new(), |v, l| Some(at(v, l)));
        let taps = if form == Form::Positions { shape.taps() } else { 1 };
        let plan = Self {
            tiles,
            shape: *shape,
            form,
            table: TapTable {
                channels: shape.in_channels,
                channel_len: row * taps,
                sweeps: 1,
                taps: (0..taps).map(|tap| (0, (tap * row) as u32)).collect(),
            },
            images,
            count,
            row,
            from,
            to: place(&output),
            residual_from: residual.as_ref().map(place).unwrap_or_default(),
            identity: map(&|v, l| v * tiles.lanes + l),
            outputs: (0..size * size).map(|p| map(&|_, l| p * tiles.lanes + l)).collect(),
            input,
            output,
            residual,
        };
        assert!(
            plan.scratch_lens()[0] < u32::MAX as usize,
            "inputs too large for offsets"
        );
        Some(plan)
    }

    /// What it multiplies.
    pub fn form(&self) -> Form {
        self.form
    }

    /// An empty list; by tiles, only channels can be listed.
    pub fn columns(&self) -> Columns {
        Columns::new(&self.table)
    }

    /// Makes another plan's scratch large enough for this one too.
    pub fn make_room(&self, scratch: &mut PlanScratch) {
        scratch.make_room(self.scratch_lens(), self.images);
    }

    fn scratch_lens(&self) -> [usize; 2] {
        let taps = self.table.taps.len();
        [self.shape.in_channels * taps, self.shape.filters].map(|rows| self.elements() * self.element_len(rows))
    }

    /// Products by element of a tile.
    fn elements(&self) -> usize {
        match self.form {
            Form::Positions => 1,
            Form::Winograd(size) => (size + 2) * (size + 2),
        }
    }

    fn element_len(&self, rows: usize) -> usize {
        rows * self.row + 16
    }

    fn weight_row(&self) -> usize {
        match self.form {
            Form::Positions => self.shape.columns(),
            Form::Winograd(size) => winograd_weights::row_len(self.shape.in_channels, size),
        }
    }

    /// The weights it takes, from `[filters, in_channels, kh, kw]`; `None` where those are the same.
    pub fn transform(&self, weights: &[f32]) -> Option<Vec<f32>> {
        let Form::Winograd(size) = self.form else { return None };
        let mut to = vec![0.0; self.shape.filters * self.weight_row()];
        let (channels, filters) = (self.shape.in_channels, self.shape.filters);
        let table = self.tiles.winograd_weights[size / 4];
        winograd_weights::transform_rows(table, weights, WeightOrder::Forward, [channels, filters], &mut to);
        Some(to)
    }

    /// Computes the listed filters of all images; with a pool, on all its threads, to the same bits. `planes` says where an image's
    /// planes are; the call's own input and residual are not read.
    pub fn run<I>(
        &self,
        mut pool: Option<&mut Pool>,
        call: &ConvCall,
        scratch: &mut PlanScratch,
        images: &mut [I],
        planes: impl for<'a> Fn(&'a mut I) -> ImagePlanes<'a>,
    ) {
        // Its input and residual are not read.
        call.check(&self.table, self.shape.filters, self.weight_row());
        scratch.check(self.scratch_lens());
        // Many images are too much to copy for each thread.
        let is_apart = self.images == 1 && pool.as_ref().is_some_and(|pool| scratch.is_apart(pool));
        for block in images.chunks_mut(self.images) {
            scratch.images.clear();
            for image in block.iter_mut() {
                let image = planes(image);
                assert!(image.input.len() >= self.input.len(), "input too short");
                assert!(image.output.len() >= self.output.len(), "output too short");
                if let Some(data) = image.residual {
                    let planned = self.residual.map(|layout| data.len() >= layout.len());
                    assert_eq!(planned, Some(true), "residual not planned or too short");
                }
                scratch.images.push(ImageAddress {
                    input: image.input.as_ptr(),
                    residual: image.residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
                    output: image.output.as_mut_ptr(),
                });
            }
            let PlanScratch {
                inputs,
                products,
                images,
                own,
                ..
            } = &mut *scratch;
            let run = ProductBlock {
                plan: self,
                call,
                images,
                vectors: (images.len() * self.count).div_ceil(self.tiles.lanes),
                inputs: SharedPointer(inputs.as_mut_ptr()),
                products: SharedPointer(products.as_mut_ptr()),
            };
            match &mut pool {
                Some(pool) if is_apart => run.run_apart(pool, own),
                _ => run.run(pool.as_deref_mut()),
            }
        }
    }
}

/// Some images that are multiplied together. Parts write disjoint rows of the buffers and planes of the outputs, and read only what
/// an earlier round of parts wrote.
struct ProductBlock<'a> {
    plan: &'a ProductPlan,
    call: &'a ConvCall<'a>,
    images: &'a [ImageAddress],
    vectors: usize,
    inputs: SharedPointer<f32>,
    products: SharedPointer<f32>,
}

impl ProductBlock<'_> {
    fn run(&self, mut pool: Option<&mut Pool>) {
        let threads = pool.as_ref().map_or(1, |p| p.threads());
        let mut split = |parts: usize, work: &(dyn Fn(usize) + Sync)| match pool.as_deref_mut() {
            // From both ends: with two threads each keeps to its own half.
            Some(pool) => pool.run(parts, &|task, _| {
                work(if task % 2 == 0 { task / 2 } else { parts - 1 - task / 2 })
            }),
            None => (0..parts).for_each(work),
        };
        let columns = call_columns(self.call);
        let parts = columns.len().div_ceil(COLUMNS_EACH).min(threads * 4);
        split(parts, &|part| {
            let [from, to] = [part, part + 1].map(|i| columns.len() * i / parts);
            // SAFETY: `check` has passed; a channel belongs to the part that has its first column.
            unsafe { self.fill(columns, from..to) }
        });
        let (n_parts, groups) = self.grid();
        let parts = groups
            .div_ceil(GROUPS_EACH)
            .next_multiple_of(threads)
            .min(groups.max(1));
        split(parts, &|part| {
            let [from, to] = [part, part + 1].map(|i| groups * i / parts);
            // SAFETY: `check` has passed; filters differ, so parts write different rows and planes.
            unsafe { self.multiply((from..to, groups), n_parts) }
        });
    }

    /// On threads with their own buffers.
    fn run_apart(&self, pool: &mut Pool, own: &mut [OwnBuffers]) {
        own.iter_mut().for_each(|own| own.held = None);
        let columns = call_columns(self.call);
        let (n_parts, groups) = self.grid();
        let parts = (pool.threads() * 2).min(groups);
        pool.run_with(own, parts, &|task, own| {
            let part = if task % 2 == 0 { task / 2 } else { parts - 1 - task / 2 };
            let block = ProductBlock {
                inputs: SharedPointer(own.inputs.as_mut_ptr()),
                products: SharedPointer(own.products.as_mut_ptr()),
                ..*self
            };
            // SAFETY: `check` has passed, and own buffers are as large as the shared ones; filters differ.
            unsafe {
                if own.held.is_none() {
                    block.fill(columns, 0..columns.len());
                    own.held = Some(0);
                }
                let [from, to] = [part, part + 1].map(|i| groups * i / parts);
                block.multiply((from..to, groups), n_parts);
            }
        });
    }

    /// Parts of the vectors, and groups of the filters.
    fn grid(&self) -> (usize, usize) {
        let tiles = self.plan.tiles;
        let n_parts = self.vectors.div_ceil(product_size::widest(tiles));
        let most = tiles.conv.filters[self.vectors.div_ceil(n_parts) - 1];
        (n_parts, self.call.filters.len().div_ceil(most))
    }

    /// Rows of inputs of the channels whose first column is in the range.
    ///
    /// # Safety
    /// `check` has passed, and nobody else touches these channels' rows.
    unsafe fn fill(&self, columns: &[ListedColumn], range: std::ops::Range<usize>) {
        let plan = self.plan;
        let taps = plan.table.taps.len();
        let channel = |i: usize| columns[i].weight as usize / taps;
        for i in range {
            if i > 0 && channel(i - 1) == channel(i) {
                continue;
            }
            // SAFETY: the caller's.
            unsafe {
                match plan.form {
                    Form::Positions => self.fill_positions(channel(i)),
                    Form::Winograd(size) => self.fill_tiles(channel(i), size),
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::fill`].
    unsafe fn fill_positions(&self, channel: usize) {
        let plan = self.plan;
        let (taps, width) = (plan.table.taps.len(), plan.shape.out_w());
        for (i, image) in self.images.iter().enumerate() {
            for tap in 0..taps {
                // SAFETY: places lie in the channel, with the rest of their row behind them; the row of inputs holds all images.
                unsafe {
                    let plane = image.input.add(channel * plan.input.channel_len);
                    let to = self
                        .inputs
                        .get()
                        .add((channel * taps + tap) * plan.row + i * plan.count);
                    for first in (0..plan.count).step_by(width) {
                        let from = plane.add(plan.from[tap * plan.count + first] as usize);
                        let to = to.add(first);
                        match width {
                            2 => to
                                .cast::<[f32; 2]>()
                                .write_unaligned(from.cast::<[f32; 2]>().read_unaligned()),
                            4 => to
                                .cast::<[f32; 4]>()
                                .write_unaligned(from.cast::<[f32; 4]>().read_unaligned()),
                            8 => to
                                .cast::<[f32; 8]>()
                                .write_unaligned(from.cast::<[f32; 8]>().read_unaligned()),
                            _ => to.copy_from_nonoverlapping(from, width),
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::fill`].
    unsafe fn fill_tiles(&self, channel: usize, size: usize) {
        let plan = self.plan;
        let lanes = plan.tiles.lanes;
        let elements = plan.elements();
        let mut tiles = Lines([0.0; MOST_ELEMENTS * MOST_LANES]);
        let mut places = [0; MOST_ELEMENTS];
        (0..elements).for_each(|e| places[e] = (e * lanes) as u32);
        let task = InputTask {
            input: tiles.0.as_ptr(),
            elements: &places[..elements],
            pitch: 0,
            by_rows: false,
            step: 0,
            lanes: &plan.identity,
            output: self.inputs.get(),
            output_row: plan.row,
            output_element: plan.element_len(plan.shape.in_channels),
        };
        let at = tiles.0.as_mut_ptr();
        for vector in 0..self.vectors {
            for lane in 0..lanes {
                let t = vector * lanes + lane;
                let Some(image) = self.images.get(t / plan.count) else {
                    break;
                };
                let tile = t % plan.count;
                for e in 0..elements {
                    // SAFETY: places lie in the channel; lines hold all elements of all lanes.
                    unsafe {
                        let from = image.input.add(channel * plan.input.channel_len);
                        *at.add(e * lanes + lane) = *from.add(*plan.from.get_unchecked(e * plan.count + tile) as usize);
                    }
                }
            }
            // SAFETY: elements lie in `tiles`, and a row holds all vectors.
            unsafe { (plan.tiles.winograd_input[size / 4])(&task, channel, vector) }
        }
    }

    /// Products of some groups of filters, and their outputs.
    ///
    /// # Safety
    /// `check` has passed, and nobody else touches these filters' rows of `products` and planes of the outputs.
    unsafe fn multiply(&self, (range, groups): (std::ops::Range<usize>, usize), n_parts: usize) {
        let (plan, call) = (self.plan, self.call);
        let group = |g: usize| {
            let [from, to] = [g, g + 1].map(|i| call.filters.len() * i / groups);
            &call.filters[from..to]
        };
        let is_direct = plan.form == Form::Positions;
        let [c, f] = [plan.shape.in_channels * plan.table.taps.len(), plan.shape.filters];
        let has_residual = self.images.iter().any(|i| !i.residual.is_null());
        let bounds = call.epilogue.bounds();
        for element in 0..plan.elements() {
            let task = ConvTask {
                // SAFETY: both buffers hold `elements` such parts.
                input: unsafe { self.inputs.get().add(element * plan.element_len(c)) },
                columns: call_columns(call),
                weights: call.weights[element * if is_direct { 0 } else { c }..].as_ptr(),
                weight_row: plan.weight_row(),
                step: plan.tiles.lanes,
                pitch: 0,
                scale: call.epilogue.scale.filter(|_| is_direct),
                shift: call.epilogue.shift.filter(|_| is_direct),
                bounds: if is_direct && !has_residual {
                    bounds
                } else {
                    Bounds::NONE
                },
                // SAFETY: as above.
                output: unsafe { self.products.get().add(element * plan.element_len(f)) },
                output_plane: plan.row,
                lanes: &plan.identity,
                residual: None,
            };
            for g in range.clone() {
                let filters = group(g);
                for part in 0..n_parts {
                    let [from, to] = [part, part + 1].map(|i| self.vectors * i / n_parts);
                    // SAFETY: a row holds all vectors; the tile has these filters in registers.
                    unsafe { plan.tiles.conv.flat[to - from - 1][filters.len() - 1](&task, filters, from) }
                }
            }
        }
        for &filter in range.flat_map(group) {
            // SAFETY: the filter's products are there, and its planes are this part's alone.
            unsafe {
                match plan.form {
                    Form::Positions => self.store_positions(filter as usize, has_residual),
                    Form::Winograd(size) => self.store_tiles(filter as usize, size),
                }
            }
        }
    }

    /// # Safety
    /// The filter's products are computed, and nobody else touches its planes.
    unsafe fn store_positions(&self, filter: usize, has_residual: bool) {
        let (plan, bounds) = (self.plan, self.call.epilogue.bounds());
        for (i, image) in self.images.iter().enumerate() {
            // SAFETY: places lie in the filter's planes, products in its row.
            unsafe {
                let products = self.products.get().add(filter * plan.row + i * plan.count);
                let plane = image.output.add(filter * plan.output.channel_len);
                for (t, to) in plan.to.iter().enumerate() {
                    let Some(to) = to else { continue };
                    let mut y = *products.add(t);
                    if has_residual {
                        if let (Some(layout), false) = (&plan.residual, image.residual.is_null())
                            && let Some(at) = plan.residual_from[t]
                        {
                            y += *image.residual.add(filter * layout.channel_len + at as usize);
                        }
                        y = bounds.clamp(y);
                    }
                    *plane.add(*to as usize) = y;
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::store_positions`].
    unsafe fn store_tiles(&self, filter: usize, size: usize) {
        let plan = self.plan;
        let (lanes, pixels) = (plan.tiles.lanes, size * size);
        let mut outputs = Lines([0.0; MOST_ELEMENTS * MOST_LANES]);
        let mut residuals = Lines([0.0; MOST_ELEMENTS * MOST_LANES]);
        let layout = plan
            .residual
            .filter(|_| self.images.iter().any(|i| !i.residual.is_null()));
        let at = [outputs.0.as_mut_ptr(), residuals.0.as_mut_ptr()];
        let task = OutputTask {
            input: self.products.get(),
            input_row: plan.row,
            input_element: plan.element_len(plan.shape.filters),
            scale: self.call.epilogue.scale,
            shift: self.call.epilogue.shift,
            bounds: self.call.epilogue.bounds(),
            output: at[0],
            output_plane: 0,
            lanes: &plan.outputs,
            residual: layout.map(|_| WinogradResidual {
                data: at[1],
                plane: 0,
                lanes: &plan.outputs,
            }),
        };
        for vector in 0..self.vectors {
            let each = |work: &mut dyn FnMut(&ImageAddress, usize, usize)| {
                for lane in 0..lanes {
                    let t = vector * lanes + lane;
                    let Some(image) = self.images.get(t / plan.count) else {
                        break;
                    };
                    for pixel in 0..pixels {
                        work(image, pixel * plan.count + t % plan.count, pixel * lanes + lane);
                    }
                }
            };
            // SAFETY: places lie in the filter's planes; lines hold all outputs of all lanes.
            unsafe {
                if let Some(layout) = &layout {
                    each(&mut |image, place, line| {
                        if let (Some(from), false) = (plan.residual_from[place], image.residual.is_null()) {
                            *at[1].add(line) = *image.residual.add(filter * layout.channel_len + from as usize);
                        }
                    });
                }
                (plan.tiles.winograd_output[size / 4])(&task, filter, vector);
                each(&mut |image, place, line| {
                    if let Some(to) = plan.to[place] {
                        *image.output.add(filter * plan.output.channel_len + to as usize) = *at[0].add(line);
                    }
                });
            }
        }
    }
}

fn call_columns<'a>(call: &ConvCall<'a>) -> &'a [ListedColumn] {
    &call.columns.lists[0]
}

/// Elements of the largest tile, lanes of the widest vector.
const MOST_ELEMENTS: usize = 36;
const MOST_LANES: usize = 16;

#[repr(align(64))]
struct Lines([f32; MOST_ELEMENTS * MOST_LANES]);

/// Enough to be worth handing to a thread.
const COLUMNS_EACH: usize = 16;

/// Groups of filters whose products stay in the near cache until they are stored.
const GROUPS_EACH: usize = 8;
