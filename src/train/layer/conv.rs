//! The convolutions of one training layer, forward and back to the input: directly or by Winograd's algorithm,
//! image by image. Knows nothing of norms or batches.

use kernel::{
    Columns, ConvCall, ConvPlan, ConvShape, Epilogue, Kernel, Layout, PlanScratch, Pool, WeightOrder, WinogradPlan,
    transpose_weights,
};

pub(crate) struct LayerConv {
    direct: ConvPlan,
    winograd: Option<WinogradPlan>,
    order: WeightOrder,
    shape: ConvShape,
    /// Weights as the algorithms take them, set for each batch.
    transposed: Vec<f32>,
    transformed: Vec<f32>,
}

/// Active columns and scratch memory of one part of the batch.
pub(crate) struct LayerConvScratch {
    direct: Columns,
    winograd: Option<(Columns, PlanScratch)>,
}

impl LayerConv {
    /// y from x: reads [`Layout::input`], writes contiguous planes.
    pub(super) fn forward(kernel: Kernel, shape: &ConvShape) -> Self {
        let output = Layout::contiguous(shape.filters, shape.out_h(), shape.out_w());
        Self {
            direct: ConvPlan::forward(kernel, shape, output, None),
            winograd: WinogradPlan::new(kernel, shape, output, None),
            order: WeightOrder::Forward,
            shape: *shape,
            transposed: Vec::new(),
            transformed: Vec::new(),
        }
    }

    /// dx from dy: reads [`Layout::output_grad`], writes contiguous planes.
    pub(super) fn input_grad(kernel: Kernel, shape: &ConvShape) -> Self {
        let output = Layout::contiguous(shape.in_channels, shape.in_h, shape.in_w);
        let back = shape.input_grad();
        Self {
            direct: ConvPlan::input_grad(kernel, shape, output),
            winograd: back.and_then(|back| WinogradPlan::new(kernel, &back, output, None)),
            order: WeightOrder::InputGrad,
            shape: *shape,
            transposed: vec![0.0; shape.filters * shape.columns()],
            transformed: Vec::new(),
        }
    }

    pub(super) fn input(&self) -> &Layout {
        self.direct.input()
    }

    pub(super) fn lists(&self) -> LayerConvScratch {
        LayerConvScratch {
            direct: self.direct.columns(),
            winograd: self.winograd.as_ref().map(|plan| (plan.columns(), plan.scratch())),
        }
    }

    /// Brings `[filters, in_channels, kh, kw]` into the layouts that images with as many channels and filters as
    /// `active` says will take.
    pub(crate) fn set_weights(
        &mut self,
        pool: &mut Pool,
        weights: &[f32],
        active: impl IntoIterator<Item = [usize; 2]>,
    ) {
        let (mut direct, mut transform) = (false, false);
        for counts in active {
            let pays = self.winograd.as_ref().is_some_and(|plan| plan.pays(counts));
            direct |= !pays;
            transform |= pays;
        }
        if direct && self.order == WeightOrder::InputGrad {
            transpose_weights(&self.shape, weights, &mut self.transposed);
        }
        if let Some(plan) = self.winograd.as_ref().filter(|_| transform) {
            self.transformed.resize(plan.weights_len(), 0.0);
            plan.transform_on(pool, weights, self.order, &mut self.transformed);
        }
    }

    /// Reads the planes of `channels`, writes those of `rows`. `weights` are those of [`Self::set_weights`].
    pub(super) fn run(
        &self,
        lists: &mut LayerConvScratch,
        (input, weights): (&[f32], &[f32]),
        [channels, rows]: [&[u32]; 2],
        output: &mut [f32],
    ) {
        let epilogue = Epilogue::default();
        let filters = rows;
        if let (Some(plan), Some((columns, scratch))) = (&self.winograd, &mut lists.winograd)
            && plan.pays([channels.len(), rows.len()])
        {
            columns.set_channels(channels);
            let weights = &self.transformed;
            let call = ConvCall {
                input,
                weights,
                columns,
                filters,
                epilogue,
            };
            return plan.run(&call, scratch, output);
        }
        lists.direct.set_channels(channels);
        let call = ConvCall {
            input,
            weights: if self.order == WeightOrder::InputGrad {
                &self.transposed
            } else {
                weights
            },
            columns: &lists.direct,
            filters,
            epilogue,
        };
        self.direct.run(&call, output);
    }
}
