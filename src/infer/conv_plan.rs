//! The two forms of one convolution, direct and by Winograd's algorithm, and which one an image takes.
//! Knows nothing of norms or gates.
//!
//! Both read and write the same layouts, so the choice is free for each image. It depends on nothing but the
//! numbers of active channels and filters.

use super::kept::Kept;
use crate::kernel::{
    Columns, ConvCall, ConvPlan, ConvShape, Epilogue, Kernel, Layout, Pool, WinogradPlan, WinogradScratch,
};

/// Plans and weights of one convolution.
#[derive(Clone, Debug)]
pub(super) struct Forms {
    direct: ConvPlan,
    /// `[filters, columns]`.
    weights: Vec<f32>,
    /// The weights without masked single ones; empty if there are none.
    masked: Vec<f32>,
    winograd: Option<(WinogradPlan, Vec<f32>)>,
    taps: usize,
}

/// The columns of one image, for the form it takes. Made anew only when its channels change.
#[derive(Debug)]
pub(super) struct Lists {
    direct: Columns,
    winograd: Option<Columns>,
    by_winograd: bool,
    made_for: Vec<u32>,
    is_made: bool,
    listed: Vec<u32>,
}

/// What does not depend on the form.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub input: &'a [f32],
    pub filters: &'a [u32],
    pub epilogue: Epilogue<'a>,
}

impl Forms {
    /// Winograd's form is there if it is allowed and pays with all channels.
    pub fn new(
        (kernel, winograd): (Kernel, bool),
        shape: &ConvShape,
        weights: Vec<f32>,
        output: Layout,
        residual: Option<Layout>,
    ) -> Self {
        let winograd = winograd
            .then(|| WinogradPlan::new(kernel, shape, output, residual))
            .flatten();
        Self {
            direct: ConvPlan::forward(kernel, shape, output, residual),
            winograd: winograd.map(|plan| {
                let transformed = plan.transform(&weights);
                (plan, transformed)
            }),
            weights,
            masked: Vec::new(),
            taps: shape.taps(),
        }
    }

    /// The layout it reads.
    pub fn input(&self) -> &Layout {
        self.direct.input()
    }

    /// The layout it writes.
    pub fn output(&self) -> &Layout {
        self.direct.output()
    }

    #[cfg(test)]
    pub fn has_winograd(&self) -> bool {
        self.winograd.is_some()
    }

    /// Masks single weights, one entry a weight; none if empty. Masked in place, they are read as zeros.
    pub fn mask_weights(&mut self, elements: &[bool]) {
        self.masked.clear();
        let pairs = self.weights.iter().zip(elements);
        self.masked.extend(pairs.map(|(&w, &kept)| if kept { w } else { 0.0 }));
    }

    /// Empty lists, with room for all columns.
    pub fn lists(&self) -> Lists {
        let channels = self.input().channels;
        Lists {
            direct: self.direct.columns(),
            winograd: self.winograd.as_ref().map(|(plan, _)| plan.columns()),
            by_winograd: false,
            made_for: Vec::with_capacity(channels),
            is_made: false,
            listed: Vec::with_capacity(channels * self.taps),
        }
    }

    /// Makes `scratch` large enough for its calls.
    pub fn make_room(&self, scratch: &mut WinogradScratch) {
        if let Some((plan, _)) = &self.winograd {
            plan.make_room(scratch);
        }
    }

    /// Chooses the form for one image and lists its columns: those of `channels`, less what is masked.
    pub fn list(&self, channels: &[u32], filters: usize, kept: &Kept, lists: &mut Lists) {
        let by_winograd = self.winograd.as_ref().is_some_and(|(plan, _)| {
            let read = channels.iter().filter(|&&c| kept.channel(c)).count();
            // Its tiles mix the columns of a channel and the weights of a filter.
            !kept.splits_channels() && self.masked.is_empty() && plan.pays([read, filters])
        });
        if lists.is_made && lists.by_winograd == by_winograd && lists.made_for == channels {
            return;
        }
        (lists.is_made, lists.by_winograd) = (true, by_winograd);
        lists.made_for.clear();
        lists.made_for.extend_from_slice(channels);
        lists.listed.clear();
        if kept.splits_channels() {
            lists.listed.extend(channels.iter().flat_map(|&c| kept.columns_of(c)));
            lists.direct.set_columns(&lists.listed);
            return;
        }
        lists.listed.extend(channels.iter().filter(|&&c| kept.channel(c)));
        match &mut lists.winograd {
            Some(columns) if by_winograd => columns.set_channels(&lists.listed),
            _ => lists.direct.set_channels(&lists.listed),
        }
    }

    /// Computes the listed filters into `output`; with a pool, on all its threads, to the same bits.
    pub fn run(
        &self,
        run: Run,
        lists: &Lists,
        scratch: &mut WinogradScratch,
        pool: Option<&mut Pool>,
        output: &mut [f32],
    ) {
        if let (Some((plan, weights)), Some(columns), true) = (&self.winograd, &lists.winograd, lists.by_winograd) {
            let call = run.call(weights, columns);
            match pool {
                Some(pool) => plan.run_on(pool, &call, scratch, output),
                None => plan.run(&call, scratch, output),
            }
            return;
        }
        self.run_direct(run, &lists.direct, pool, output);
    }

    /// The same without columns if `columns` is an empty list of [`Self::no_columns`].
    pub fn run_direct(&self, run: Run, columns: &Columns, pool: Option<&mut Pool>, output: &mut [f32]) {
        let weights = if self.masked.is_empty() {
            &self.weights
        } else {
            &self.masked
        };
        let call = run.call(weights, columns);
        match pool {
            Some(pool) => self.direct.run_on(pool, &call, output),
            None => self.direct.run(&call, output),
        }
    }

    /// A list of no column at all.
    pub fn no_columns(&self) -> Columns {
        self.direct.columns()
    }
}

impl<'a> Run<'a> {
    fn call(self, weights: &'a [f32], columns: &'a Columns) -> ConvCall<'a> {
        ConvCall {
            input: self.input,
            weights,
            columns,
            filters: self.filters,
            epilogue: self.epilogue,
        }
    }
}

impl Lists {
    /// Columns of the weight matrix that are listed.
    pub fn columns(&self, taps: usize) -> usize {
        match &self.winograd {
            Some(channels) if self.by_winograd => channels.len() * taps,
            _ => self.direct.len(),
        }
    }

    /// Whether the image takes Winograd's form.
    #[cfg(test)]
    pub fn by_winograd(&self) -> bool {
        self.by_winograd
    }

    /// Makes them anew for the next image.
    pub fn forget(&mut self) {
        self.is_made = false;
    }
}
