//! The algorithms of one convolution, direct and by Winograd's algorithm, and which one an image takes; or row by row, where the
//! kernels have no such convolution. Knows nothing of norms or gates.
//!
//! Direct and Winograd read and write the same layouts, so the choice is free for each image. It depends on nothing but the
//! mask and the numbers of active channels and filters.

use super::compiled_mask::CompiledMask;
use super::fallback_conv::{FallbackCall, FallbackConv};
use kernel::{
    Columns, ConvCall, ConvPlan, ConvShape, Epilogue, Form, ImagePlanes, Kernel, Layout, Pool, ProductPlan,
    WinogradPlan, WinogradScratch,
};

/// Plans and weights of one convolution.
#[derive(Clone, Debug)]
pub(crate) struct ConvAlgorithms {
    implementation: Implementation,
    /// `[filters, columns]`.
    weights: Vec<f32>,
    /// The weights without masked single ones; empty if there are none, or if those are zero already.
    masked: Vec<f32>,
    /// Whether what is masked of the channels that are read is zero. Winograd's tiles mix the columns of a channel and the
    /// weights of a filter, so they can leave out nothing else.
    reads_whole: bool,
    taps: usize,
}

#[derive(Clone, Debug)]
enum Implementation {
    Kernel(Box<Plans>),
    Fallback(Box<FallbackConv>),
}

#[derive(Clone, Debug)]
struct Plans {
    direct: ConvPlan,
    winograd: Option<(WinogradPlan, Vec<f32>)>,
    product: Option<Product>,
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
    Winograd,
    Product,
}

/// The columns of one image, for the form it takes. Made anew only when its channels change.
#[derive(Debug)]
pub(crate) struct ColumnLists {
    direct: Option<Columns>,
    winograd: Option<Columns>,
    product: Option<Columns>,
    way: Way,
    together: bool,
    made_for: Vec<u32>,
    filters: usize,
    is_made: bool,
    listed: Vec<u32>,
    /// How many columns are read, whichever form reads them.
    columns: usize,
}

/// What does not depend on the form.
#[derive(Clone, Copy)]
pub(crate) struct ConvArgs<'a> {
    pub input: &'a [f32],
    pub filters: &'a [u32],
    pub mask: &'a CompiledMask,
    pub epilogue: Epilogue<'a>,
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
        let winograd = (winograd && product.is_none())
            .then(|| WinogradPlan::new(kernel, shape, output, residual))
            .flatten();
        let direct = ConvPlan::forward(kernel, shape, output, residual);
        Self {
            implementation: Implementation::Kernel(Box::new(Plans {
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
            reads_whole: true,
            taps: shape.taps(),
        }
    }

    /// Of a convolution that the kernels do not have.
    pub(crate) fn fallback(rows: FallbackConv, weights: Vec<f32>) -> Self {
        Self {
            taps: rows.taps(),
            implementation: Implementation::Fallback(Box::new(rows)),
            weights,
            masked: Vec::new(),
            reads_whole: true,
        }
    }

    pub(crate) fn input(&self) -> &Layout {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.direct.input(),
            Implementation::Fallback(rows) => &rows.input,
        }
    }

    pub(crate) fn output(&self) -> &Layout {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.direct.output(),
            Implementation::Fallback(rows) => &rows.output,
        }
    }

    fn winograd(&self) -> Option<&(WinogradPlan, Vec<f32>)> {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.winograd.as_ref(),
            Implementation::Fallback(_) => None,
        }
    }

    /// How it is computed when all channels are active.
    pub(crate) fn name(&self) -> &'static str {
        match &self.implementation {
            Implementation::Kernel(_) if self.is_by_tiles() => "winograd",
            Implementation::Kernel(_) => "direct",
            Implementation::Fallback(_) => "fallback",
        }
    }

    fn product(&self) -> Option<&Product> {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.product.as_ref(),
            Implementation::Fallback(_) => None,
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
        let columns = self.weights.len() / self.output().channels.max(1);
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
                Implementation::Fallback(_) => None,
            },
            winograd: self.winograd().map(|(plan, _)| plan.columns()),
            product: self.product().map(|p| p.plan.columns()),
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
    pub(crate) fn make_room(&self, scratch: &mut WinogradScratch) {
        if let Some((plan, _)) = self.winograd() {
            plan.make_room(scratch);
        }
        if let Some(product) = self.product().filter(|p| !p.is_shared) {
            product.plan.make_room(scratch);
        }
    }

    /// Makes `scratch` large enough for [`Self::run_shared`].
    pub(crate) fn make_shared_room(&self, scratch: &mut WinogradScratch) {
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
        let Some(direct) = &mut lists.direct else { return };
        let living = || channels.iter().copied().filter(|&c| mask.channel(c));
        let read = living().count();
        lists.columns = if mask.splits_channels() {
            living().map(|c| mask.columns_of(c).count()).sum()
        } else {
            read * self.taps
        };
        let pays = |plan: &WinogradPlan| self.reads_whole && plan.pays_against(lists.columns, [read, filters]);
        lists.way = if self.product().is_some_and(|p| p.is_shared == together) {
            Way::Product
        } else if self.winograd().is_some_and(|(plan, _)| pays(plan)) {
            Way::Winograd
        } else {
            Way::Direct
        };
        let columns = match (lists.way, &mut lists.winograd, &mut lists.product) {
            (Way::Winograd, Some(columns), _) | (Way::Product, _, Some(columns)) => columns,
            _ => direct,
        };
        let takes_channels = lists.way == Way::Winograd || self.product().is_some_and(|p| p.weights.is_some());
        if mask.splits_channels() && !(takes_channels && lists.way != Way::Direct) {
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
        scratch: &mut WinogradScratch,
        pool: Option<&mut Pool>,
        output: &mut [f32],
    ) -> u64 {
        let filters = run.filters.len();
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
        match (&self.implementation, &lists.direct) {
            (Implementation::Kernel(plans), Some(columns)) => {
                let call = run.call(self.weights(), columns);
                match pool {
                    Some(pool) => plans.direct.run_on(pool, &call, output),
                    None => plans.direct.run(&call, output),
                }
                (filters * columns.len()) as u64
            }
            (Implementation::Fallback(rows), _) => rows.run(&run.fallback(self.weights(), &lists.made_for), output),
            (Implementation::Kernel(_), None) => unreachable!("the lists are of another convolution"),
        }
    }

    /// Computes the listed filters of several images that have the same channels, as [`Self::run`] does those of one.
    pub(crate) fn run_shared<I>(
        &self,
        run: ConvArgs,
        lists: &ColumnLists,
        pool: Option<&mut Pool>,
        scratch: &mut WinogradScratch,
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
    pub(crate) fn run_without_columns(&self, run: ConvArgs, output: &mut [f32]) {
        match &self.implementation {
            Implementation::Kernel(plans) => plans.direct.run(&run.call(self.weights(), &plans.none), output),
            Implementation::Fallback(rows) => {
                rows.run(&run.fallback(self.weights(), &[]), output);
            }
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

impl<'a> ConvArgs<'a> {
    fn call(self, weights: &'a [f32], columns: &'a Columns) -> ConvCall<'a> {
        ConvCall {
            input: self.input,
            weights,
            columns,
            filters: self.filters,
            epilogue: self.epilogue,
        }
    }

    fn fallback(self, weights: &'a [f32], active: &'a [u32]) -> FallbackCall<'a> {
        FallbackCall {
            input: self.input,
            active,
            weights,
            filters: self.filters,
            mask: self.mask,
            epilogue: self.epilogue,
        }
    }
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
