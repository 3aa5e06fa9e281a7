//! The algorithms of one convolution (direct, by Winograd's algorithm, as a matrix product, for narrow planes) and which one an
//! image takes; or its groups; or the one of bytes. Knows nothing of norms or gates.
//!
//! All of them read and write the same layouts, so the choice is free for each image. It depends on nothing but the
//! mask and the numbers of active channels and filters.

use super::compiled_mask::CompiledMask;
use super::conv_args::ConvArgs;
use super::grouped_conv::{GroupedConv, GroupedLists};
use kernel::{
    ByteCall, ByteColumns, BytePlan, ByteWeights, Columns, ConvPlan, ConvShape, Form, ImagePlanes, Kernel, Layout,
    NarrowPlan, Padding, PlanScratch, Pool, ProductPlan, WinogradPlan,
};
use model::ByteInput;

/// Plans and weights of one convolution.
#[derive(Clone, Debug)]
pub(crate) struct ConvAlgorithms {
    implementation: Implementation,
    /// `[filters, columns]`.
    weights: Vec<f32>,
    /// The weights without masked single ones; empty if there are none, or if those are zero already.
    masked: Vec<f32>,
    /// In place of floats.
    bytes: Option<Bytes>,
    /// Whether what is masked of the channels that are read is zero. Winograd's tiles mix the columns of a channel and the
    /// weights of a filter, so they can leave out nothing else.
    reads_whole: bool,
    taps: usize,
}

/// A convolution of bytes.
#[derive(Clone, Debug)]
struct Bytes {
    plan: BytePlan,
    weights: ByteWeights,
    input: ByteInput,
    /// Whether weights of columns or single ones are left out.
    is_masked: bool,
}

#[derive(Clone, Debug)]
enum Implementation {
    Kernel(Box<Plans>),
    Grouped(Box<GroupedConv>),
}

#[derive(Clone, Debug)]
struct Plans {
    direct: ConvPlan,
    winograd: Option<(WinogradPlan, Vec<f32>)>,
    product: Option<Product>,
    narrow: Option<(NarrowPlan, Vec<f32>)>,
    none: Columns,
}

/// Matrix products, of several images that have the same channels or of one alone.
#[derive(Clone, Debug)]
struct Product {
    plan: ProductPlan,
    /// Its own, unless it takes the plain ones.
    weights: Option<Vec<f32>>,
    is_shared: bool,
}

/// How an image's convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    /// As the direct form, with filters as lanes; its columns are those of the direct form.
    Narrow,
    Winograd,
    Product,
    Bytes,
}

/// The columns of one image, for the form it takes. Made anew only when its channels change.
#[derive(Debug)]
pub(crate) struct ColumnLists {
    direct: Option<Columns>,
    winograd: Option<Columns>,
    product: Option<Columns>,
    bytes: Option<ByteColumns>,
    grouped: Option<GroupedLists>,
    way: Way,
    together: bool,
    made_for: Vec<u32>,
    filters: usize,
    is_made: bool,
    listed: Vec<u32>,
    /// How many columns are read, whichever form reads them.
    columns: usize,
}

impl ConvAlgorithms {
    /// With Winograd's algorithm if it is allowed and pays with all channels. `images` come at once with the same channels.
    pub(crate) fn new(
        (kernel, winograd, images): (Kernel, bool, usize),
        shape: &ConvShape,
        weights: Vec<f32>,
        output: Layout,
        residual: Option<Layout>,
    ) -> Self {
        let product = ProductPlan::best_form(kernel, shape, images)
            .filter(|(form, _)| winograd || *form == Form::Positions)
            .and_then(|form| ProductPlan::new(kernel, shape, form, output, residual))
            .map(|plan| Product {
                weights: plan.transform(&weights),
                plan,
                is_shared: images > 1,
            });
        let winograd = (winograd && product.is_none() && is_below(shape.pad, shape.kernel))
            .then(|| WinogradPlan::new(kernel, shape, output, residual))
            .flatten();
        let direct = ConvPlan::forward(kernel, shape, output, residual);
        // A product of a single image's positions serves the same planes.
        let is_packed = product.as_ref().is_some_and(|p| !p.is_shared);
        let narrow = NarrowPlan::new(&direct).filter(|plan| !is_packed && plan.cost(shape.filters) < 1.0);
        Self {
            implementation: Implementation::Kernel(Box::new(Plans {
                narrow: narrow.map(|plan| {
                    let panels = plan.pack(&weights);
                    (plan, panels)
                }),
                none: direct.columns(),
                direct,
                product,
                winograd: winograd.map(|plan| {
                    let transformed = plan.transform(&weights);
                    (plan, transformed)
                }),
            })),
            weights,
            masked: Vec::new(),
            bytes: None,
            reads_whole: true,
            taps: shape.taps(),
        }
    }

    /// Of bytes. Floats where sums would not fit.
    pub(crate) fn of_bytes(
        kernel: Kernel,
        (shape, input): (&ConvShape, ByteInput),
        weights: Vec<f32>,
        output: Layout,
        residual: Option<Layout>,
    ) -> Self {
        let bytes = BytePlan::new(kernel, shape, output, residual).map(|plan| Bytes {
            weights: plan.pack(&weights),
            plan,
            input,
            is_masked: false,
        });
        let direct = ConvPlan::forward(kernel, shape, output, residual);
        Self {
            implementation: Implementation::Kernel(Box::new(Plans {
                none: direct.columns(),
                direct,
                winograd: None,
                product: None,
                narrow: None,
            })),
            weights,
            masked: Vec::new(),
            bytes,
            reads_whole: true,
            taps: shape.taps(),
        }
    }

    /// In groups, `shape` having all channels.
    pub(crate) fn grouped(
        kernel: Kernel,
        (shape, groups): (&ConvShape, usize),
        weights: Vec<f32>,
        output: Layout,
        residual: Option<Layout>,
    ) -> Self {
        let conv = GroupedConv::new(kernel, shape, groups, output, residual);
        Self {
            taps: shape.taps(),
            implementation: Implementation::Grouped(Box::new(conv)),
            weights,
            masked: Vec::new(),
            bytes: None,
            reads_whole: true,
        }
    }

    pub(crate) fn input(&self) -> &Layout {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.direct.input(),
            Implementation::Grouped(conv) => conv.input(),
        }
    }

    pub(crate) fn output(&self) -> &Layout {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.direct.output(),
            Implementation::Grouped(conv) => conv.output(),
        }
    }

    fn winograd(&self) -> Option<&(WinogradPlan, Vec<f32>)> {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.winograd.as_ref(),
            Implementation::Grouped(_) => None,
        }
    }

    fn narrow(&self) -> Option<&(NarrowPlan, Vec<f32>)> {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.narrow.as_ref(),
            Implementation::Grouped(_) => None,
        }
    }

    /// Whether every filter reads all channels.
    pub(crate) fn has_one_group(&self) -> bool {
        matches!(self.implementation, Implementation::Kernel(_))
    }

    /// Whether it multiplies bytes.
    pub(crate) fn is_bytes(&self) -> bool {
        self.bytes.is_some()
    }

    /// How it is computed when all channels are active.
    pub(crate) fn name(&self) -> &'static str {
        match &self.implementation {
            _ if self.bytes.is_some() => "int8",
            Implementation::Kernel(_) if self.is_by_tiles() => "winograd",
            Implementation::Kernel(plans) if plans.product.is_some() => "product",
            Implementation::Kernel(plans) if plans.narrow.is_some() => "narrow",
            Implementation::Kernel(_) => "direct",
            Implementation::Grouped(conv) => conv.name(),
        }
    }

    fn product(&self) -> Option<&Product> {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.product.as_ref(),
            Implementation::Grouped(_) => None,
        }
    }

    /// Whether images with the same channels should be computed together.
    pub(crate) fn is_shared(&self) -> bool {
        let can = |p: &Product| p.is_shared && (self.reads_whole || p.plan.form() == Form::Positions);
        self.product().is_some_and(can)
    }

    /// Whether Winograd's algorithm computes it when all channels are active.
    pub(crate) fn is_by_tiles(&self) -> bool {
        let by_tiles = |p: &Product| p.plan.form() != Form::Positions;
        self.winograd().is_some() || self.product().is_some_and(by_tiles)
    }

    /// Takes over a mask, and one of single weights (an entry per weight, empty if there is none), which are read as zeros.
    pub(crate) fn set_mask(&mut self, mask: &CompiledMask, elements: &[bool]) {
        self.masked.clear();
        let pairs = || self.weights.iter().zip(elements);
        if pairs().any(|(&w, &lives)| w != 0.0 && !lives) {
            self.masked
                .extend(pairs().map(|(&w, &lives)| if lives { w } else { 0.0 }));
        }
        let weights = if self.masked.is_empty() {
            &self.weights
        } else {
            &self.masked
        };
        if let Implementation::Kernel(plans) = &mut self.implementation
            && let Some((plan, panels)) = &mut plans.narrow
        {
            plan.pack_into(weights, panels);
        }
        let columns = self.weights.len() / self.output().channels.max(1);
        let is_cut = !self.masked.is_empty() || mask.splits_channels();
        if let Some(Bytes {
            plan,
            weights: bytes,
            is_masked,
            ..
        }) = &mut self.bytes
            && (is_cut || *is_masked)
        {
            *is_masked = is_cut;
            // All columns of a channel are read, so those that are masked are zero.
            let lives =
                |i: usize| mask.column(i % columns.max(1)) || !mask.channel((i % columns.max(1) / self.taps) as u32);
            let living = weights.iter().enumerate().map(|(i, &w)| if lives(i) { w } else { 0.0 });
            *bytes = plan.pack(&living.collect::<Vec<_>>());
        }
        let masked = |column: usize| mask.channel((column / self.taps) as u32) && !mask.column(column);
        let rows = || self.weights.chunks_exact(columns.max(1)).enumerate();
        let is_zero = |row: &[f32]| row.iter().enumerate().all(|(i, &w)| w == 0.0 || !masked(i));
        self.reads_whole = self.masked.is_empty()
            && (!mask.splits_channels() || rows().all(|(f, row)| !mask.filter(f) || is_zero(row)));
    }

    /// Empty lists, with room for all columns.
    pub(crate) fn lists(&self) -> ColumnLists {
        let channels = self.input().channels;
        ColumnLists {
            direct: match &self.implementation {
                Implementation::Kernel(plans) => Some(plans.direct.columns()),
                Implementation::Grouped(_) => None,
            },
            grouped: match &self.implementation {
                Implementation::Kernel(_) => None,
                Implementation::Grouped(conv) => Some(conv.lists()),
            },
            winograd: self.winograd().map(|(plan, _)| plan.columns()),
            product: self.product().map(|p| p.plan.columns()),
            bytes: self.bytes.as_ref().map(|b| b.plan.columns()),
            way: Way::Direct,
            together: false,
            made_for: Vec::with_capacity(channels),
            filters: 0,
            is_made: false,
            listed: Vec::with_capacity(channels * self.taps),
            columns: 0,
        }
    }

    /// Makes `scratch` large enough for its calls.
    pub(crate) fn make_room(&self, scratch: &mut PlanScratch) {
        if let Some((plan, _)) = self.winograd() {
            plan.make_room(scratch);
        }
        if let Some(product) = self.product().filter(|p| !p.is_shared) {
            product.plan.make_room(scratch);
        }
        if let Some(bytes) = &self.bytes {
            bytes.plan.make_room(scratch);
        }
    }

    /// Makes `scratch` large enough for [`Self::run_shared`].
    pub(crate) fn make_shared_room(&self, scratch: &mut PlanScratch) {
        if let Some(product) = self.product() {
            product.plan.make_room(scratch);
        }
    }

    /// Chooses the way for one image, or several together, and lists its columns: those of `channels`, less what is masked.
    pub(crate) fn list(
        &self,
        (channels, together): (&[u32], bool),
        filters: usize,
        mask: &CompiledMask,
        lists: &mut ColumnLists,
    ) {
        if lists.is_made && lists.made_for == channels && lists.filters == filters && lists.together == together {
            return;
        }
        lists.together = together;
        lists.made_for.clear();
        lists.made_for.extend_from_slice(channels);
        (lists.is_made, lists.filters) = (true, filters);
        lists.listed.clear();
        if let (Implementation::Grouped(conv), Some(grouped)) = (&self.implementation, &mut lists.grouped) {
            conv.list(channels, mask, grouped, &mut lists.listed);
        }
        let Some(direct) = &mut lists.direct else { return };
        let living = || channels.iter().copied().filter(|&c| mask.channel(c));
        let read = living().count();
        lists.columns = if mask.splits_channels() {
            living().map(|c| mask.columns_of(c).count()).sum()
        } else {
            read * self.taps
        };
        if let (Some(Bytes { plan, .. }), Some(columns)) = (&self.bytes, &mut lists.bytes) {
            lists.way = Way::Bytes;
            lists.listed.extend(living());
            plan.set_channels(&lists.listed, columns);
            return;
        }
        let narrow = self.narrow().map_or(1.0, |(plan, _)| plan.cost(filters)).min(1.0);
        // As many columns as the direct form reads in the time that the faster of both others takes.
        let columns = ((lists.columns + 8) as f64 * narrow).ceil() as usize;
        let pays =
            |plan: &WinogradPlan| self.reads_whole && plan.pays_against(columns.saturating_sub(8), [read, filters]);
        lists.way = if self.product().is_some_and(|p| p.is_shared == together) {
            Way::Product
        } else if self.winograd().is_some_and(|(plan, _)| pays(plan)) {
            Way::Winograd
        } else if narrow < 1.0 {
            Way::Narrow
        } else {
            Way::Direct
        };
        let columns = match (lists.way, &mut lists.winograd, &mut lists.product) {
            (Way::Winograd, Some(columns), _) | (Way::Product, _, Some(columns)) => columns,
            _ => direct,
        };
        let takes_channels = match lists.way {
            Way::Winograd => true,
            Way::Product => self.product().is_some_and(|p| p.weights.is_some()),
            Way::Narrow | Way::Direct | Way::Bytes => false,
        };
        if mask.splits_channels() && !takes_channels {
            lists.listed.extend(living().flat_map(|c| mask.columns_of(c)));
            columns.set_columns(&lists.listed);
        } else {
            lists.listed.extend(living());
            columns.set_channels(&lists.listed);
        }
    }

    /// Computes the listed filters into `output`; with a pool, kernels run on all its threads, to the same bits.
    /// Gives the weights it read: MACs of one position.
    pub(crate) fn run(
        &self,
        run: ConvArgs,
        lists: &ColumnLists,
        scratch: &mut PlanScratch,
        pool: Option<&mut Pool>,
        output: &mut [f32],
    ) -> u64 {
        let filters = run.filters.len();
        if let (Some(bytes), Some(columns)) = (&self.bytes, &lists.bytes) {
            let call = ByteCall {
                input: run.input,
                step: bytes.input.step,
                zero: bytes.input.zero,
                weights: &bytes.weights,
                columns,
                filters: run.filters,
                epilogue: run.epilogue,
            };
            bytes.plan.run(pool, &call, scratch, output);
            return (filters * lists.columns) as u64;
        }
        if lists.way == Way::Product {
            let mut image = [ImagePlanes {
                input: run.input,
                residual: run.epilogue.residual,
                output,
            }];
            return self.run_shared(run, lists, pool, scratch, &mut image, |image| ImagePlanes {
                input: image.input,
                residual: image.residual,
                output: image.output,
            });
        }
        if let (Some((plan, weights)), Some(columns), Way::Winograd) = (self.winograd(), &lists.winograd, lists.way) {
            let call = run.call(weights, columns);
            match pool {
                Some(pool) => plan.run_on(pool, &call, scratch, output),
                None => plan.run(&call, scratch, output),
            }
            return (filters * lists.columns) as u64;
        }
        if let (Some((plan, panels)), Some(columns), true) = (self.narrow(), &lists.direct, lists.way == Way::Narrow) {
            let call = run.call(panels, columns);
            match pool {
                Some(pool) => plan.run_on(pool, &call, output),
                None => plan.run(&call, output),
            }
            return (filters * columns.len()) as u64;
        }
        match (&self.implementation, &lists.direct) {
            (Implementation::Kernel(plans), Some(columns)) => {
                let call = run.call(self.weights(), columns);
                match pool {
                    Some(pool) => plans.direct.run_on(pool, &call, output),
                    None => plans.direct.run(&call, output),
                }
                (filters * columns.len()) as u64
            }
            (Implementation::Grouped(conv), None) if let Some(grouped) = &lists.grouped => {
                conv.run(run, self.weights(), &lists.made_for, grouped, pool, output)
            }
            _ => unreachable!("the lists are of another convolution"),
        }
    }

    /// Computes the listed filters of several images that have the same channels, as [`Self::run`] does those of one.
    pub(crate) fn run_shared<I>(
        &self,
        run: ConvArgs,
        lists: &ColumnLists,
        pool: Option<&mut Pool>,
        scratch: &mut PlanScratch,
        images: &mut [I],
        planes: impl for<'a> Fn(&'a mut I) -> ImagePlanes<'a>,
    ) -> u64 {
        let (Some(product), Some(columns)) = (self.product(), &lists.product) else {
            unreachable!("the lists are of another convolution")
        };
        let weights = product.weights.as_deref().unwrap_or(self.weights());
        let filters = run.filters.len();
        product
            .plan
            .run(pool, &run.call(weights, columns), scratch, images, planes);
        (filters * lists.columns) as u64
    }

    /// The same as if no column lived: scale, shift and residual alone.
    pub(crate) fn run_without_columns(&self, run: ConvArgs, lists: &ColumnLists, output: &mut [f32]) {
        match (&self.implementation, &lists.grouped) {
            (Implementation::Kernel(plans), _) => plans.direct.run(&run.call(self.weights(), &plans.none), output),
            (Implementation::Grouped(conv), Some(lists)) => {
                conv.run_without_columns(run, self.weights(), lists, output);
            }
            _ => unreachable!("the lists are of another convolution"),
        }
    }

    fn weights(&self) -> &[f32] {
        if self.masked.is_empty() {
            &self.weights
        } else {
            &self.masked
        }
    }
}

/// Whether every window meets the image.
fn is_below(pad: Padding, [kh, kw]: [usize; 2]) -> bool {
    pad.top < kh && pad.bottom < kh && pad.left < kw && pad.right < kw
}

impl ColumnLists {
    /// Whether the image takes Winograd's form.
    #[cfg(test)]
    pub(crate) fn by_winograd(&self) -> bool {
        self.way == Way::Winograd
    }

    /// Makes them anew for the next image.
    pub(crate) fn forget(&mut self) {
        self.is_made = false;
    }
}
