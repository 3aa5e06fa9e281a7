//! Convolutions in groups through the kernels: depthwise ones by their own, others group by group.
//! Knows nothing of norms, gates or of which channels were chosen.

use super::compiled_mask::CompiledMask;
use super::conv_args::ConvArgs;
use kernel::{
    Columns, ConvCall, ConvPlan, ConvShape, DepthwiseCall, DepthwisePlan, DepthwiseTaps, Kernel, Layout, Pool,
};

/// Such a convolution, planned.
#[derive(Clone, Debug)]
pub(crate) enum GroupedConv {
    /// A channel a group.
    Depthwise(Box<DepthwisePlan>),
    /// Several channels a group.
    Groups(Box<Groups>),
}

#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// All filters over the channels of one group: the input's planes start at another channel for each.
    plan: ConvPlan,
    input: Layout,
    groups: usize,
    none: Columns,
}

/// The active columns of one image.
#[derive(Debug)]
pub(crate) enum GroupedLists {
    Depthwise(DepthwiseTaps),
    /// By group.
    Groups(Vec<Columns>),
}

impl GroupedConv {
    /// `shape` has all channels.
    pub(crate) fn new(
        kernel: Kernel,
        shape: &ConvShape,
        groups: usize,
        output: Layout,
        residual: Option<Layout>,
    ) -> Self {
        if groups == shape.in_channels {
            return Self::Depthwise(Box::new(DepthwisePlan::new(kernel, shape, output, residual)));
        }
        let one = ConvShape {
            in_channels: shape.in_channels / groups,
            ..*shape
        };
        let plan = ConvPlan::forward(kernel, &one, output, residual);
        Self::Groups(Box::new(Groups {
            none: plan.columns(),
            plan,
            input: Layout::input(shape),
            groups,
        }))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Depthwise(_) => "depthwise",
            Self::Groups(_) => "grouped",
        }
    }

    pub(crate) fn input(&self) -> &Layout {
        match self {
            Self::Depthwise(plan) => plan.input(),
            Self::Groups(groups) => &groups.input,
        }
    }

    pub(crate) fn output(&self) -> &Layout {
        match self {
            Self::Depthwise(plan) => plan.output(),
            Self::Groups(groups) => groups.plan.output(),
        }
    }

    /// Empty lists, with room for all columns.
    pub(crate) fn lists(&self) -> GroupedLists {
        match self {
            Self::Depthwise(plan) => GroupedLists::Depthwise(plan.taps(&[])),
            Self::Groups(groups) => GroupedLists::Groups((0..groups.groups).map(|_| groups.plan.columns()).collect()),
        }
    }

    /// Lists the columns of `channels` (ascending), less what is masked; `scratch` has room for a group's.
    pub(crate) fn list(&self, channels: &[u32], mask: &CompiledMask, lists: &mut GroupedLists, scratch: &mut Vec<u32>) {
        match (self, lists) {
            (Self::Depthwise(plan), GroupedLists::Depthwise(taps)) => {
                scratch.clear();
                scratch.extend(mask.columns_of(0));
                plan.set_taps(scratch, taps);
            }
            (Self::Groups(groups), GroupedLists::Groups(lists)) => {
                for (group, columns) in lists.iter_mut().enumerate() {
                    let each = groups.input.channels / groups.groups;
                    let (first, own) = (group * each, members(channels, group, each));
                    let within = own.iter().map(|&c| c - first as u32);
                    scratch.clear();
                    scratch.extend(within.flat_map(|c| mask.columns_of(c)));
                    columns.set_columns(scratch);
                }
            }
            _ => unreachable!("the lists are of another convolution"),
        }
    }

    /// Computes the listed filters; gives the weights it read.
    pub(crate) fn run(
        &self,
        run: ConvArgs,
        weights: &[f32],
        channels: &[u32],
        lists: &GroupedLists,
        mut pool: Option<&mut Pool>,
        output: &mut [f32],
    ) -> u64 {
        match (self, lists) {
            (Self::Depthwise(plan), GroupedLists::Depthwise(taps)) => {
                let call = DepthwiseCall {
                    input: run.input,
                    weights,
                    taps,
                    channels,
                    filters: run.filters,
                    epilogue: run.epilogue,
                };
                let read = match pool {
                    Some(pool) => plan.run_on(pool, &call, output),
                    None => plan.run(&call, output),
                };
                read as u64
            }
            (Self::Groups(groups), GroupedLists::Groups(lists)) => {
                let plane = groups.input.offset(1, 0, 0) - groups.input.offset(0, 0, 0);
                let channels = groups.input.channels / groups.groups;
                let filters = self.output().channels / groups.groups;
                let mut read = 0;
                for (group, columns) in lists.iter().enumerate() {
                    let call = ConvCall {
                        input: &run.input[group * channels * plane..],
                        weights,
                        columns,
                        filters: members(run.filters, group, filters),
                        epilogue: run.epilogue,
                    };
                    read += call.filters.len() * columns.len();
                    match &mut pool {
                        Some(pool) => groups.plan.run_on(pool, &call, output),
                        None => groups.plan.run(&call, output),
                    }
                }
                read as u64
            }
            _ => unreachable!("the lists are of another convolution"),
        }
    }

    /// The same as if no column lived.
    pub(crate) fn run_without_columns(&self, run: ConvArgs, weights: &[f32], lists: &GroupedLists, output: &mut [f32]) {
        match self {
            Self::Depthwise(_) => {
                self.run(run, weights, &[], lists, None, output);
            }
            Self::Groups(groups) => groups.plan.run(&run.call(weights, &groups.none), output),
        }
    }
}

/// Those of an ascending list that belong to a group of `each`.
fn members(list: &[u32], group: usize, each: usize) -> &[u32] {
    let below = |bound: usize| list.partition_point(|&c| (c as usize) < bound);
    &list[below(group * each)..below((group + 1) * each)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::{Epilogue, Padding};
    use model::mask::LayerMask;
    use proptest::prelude::*;

    fn oracle(shape: &ConvShape, groups: usize, x: &[f32], weights: &[f32]) -> Vec<f32> {
        let (each, of) = (shape.in_channels / groups, shape.filters / groups);
        let [kernel, _] = shape.kernel;
        let (h, w, out_h, out_w) = (shape.in_h, shape.in_w, shape.out_h(), shape.out_w());
        let mut y = vec![0.0; shape.filters * out_h * out_w];
        for (at, y) in y.iter_mut().enumerate() {
            let (f, row, column) = (at / (out_h * out_w), at / out_w % out_h, at % out_w);
            for i in 0..each * kernel * kernel {
                let (c, ky, kx) = (f / of * each + i / (kernel * kernel), i / kernel % kernel, i % kernel);
                let (iy, ix) = (row * shape.stride + ky, column * shape.stride + kx);
                let Padding { top, left, .. } = shape.pad;
                if (top..top + h).contains(&iy) && (left..left + w).contains(&ix) {
                    *y += weights[f * each * kernel * kernel + i] * x[(c * h + iy - top) * w + ix - left];
                }
            }
        }
        y
    }

    proptest! {
        #[test]
        fn any_grouped_convolution_is_its_definition(
            groups in 1usize..4, each in 1usize..3, of in 1usize..3, kernel in 1usize..4, stride in 1usize..4,
            pads in prop::array::uniform4(0usize..5), size in prop::array::uniform2(1usize..8),
        ) {
            let [top, bottom, left, right] = pads;
            prop_assume!(size[0] + top + bottom >= kernel && size[1] + left + right >= kernel);
            let shape = ConvShape {
                in_channels: groups * each, filters: groups * of, in_h: size[0], in_w: size[1],
                kernel: [kernel; 2], stride, pad: Padding { top, bottom, left, right },
            };
            let numbers = |n: usize| (0..n).map(|i| (i * 7 % 11) as f32 - 5.0).collect::<Vec<f32>>();
            let x = numbers(shape.in_channels * shape.in_h * shape.in_w);
            let weights = numbers(groups * of * each * kernel * kernel);
            let channels: Vec<u32> = (0..shape.in_channels as u32).collect();
            let filters: Vec<u32> = (0..shape.filters as u32).collect();
            let output = Layout::contiguous(shape.filters, shape.out_h(), shape.out_w());
            let conv = GroupedConv::new(Kernel::best(), &shape, groups, output, None);
            let mut planes = conv.input().alloc();
            conv.input().pack(&x, &channels, &mut planes);
            let mask = CompiledMask::whole(groups * of, each, kernel * kernel);
            let mut lists = conv.lists();
            conv.list(&channels, &mask, &mut lists, &mut Vec::new());
            let run = ConvArgs { input: &planes, filters: &filters, epilogue: Epilogue::default() };
            let mut y = vec![9.0; output.len()];
            let read = conv.run(run, &weights, &channels, &lists, None, &mut y);
            prop_assert_eq!(&y, &oracle(&shape, groups, &x, &weights));
            prop_assert_eq!(read, weights.len() as u64);
        }
    }

    #[test]
    fn absent_channels_and_masked_columns_are_not_read() {
        let shape = ConvShape {
            in_channels: 6,
            filters: 2,
            in_h: 1,
            in_w: 2,
            kernel: [1, 1],
            stride: 1,
            pad: Padding::all(0),
        };
        let mut mask = CompiledMask::whole(2, 3, 1);
        mask.set(Some(&LayerMask {
            columns: vec![true, true, false],
            ..LayerMask::whole(2, 3)
        }));
        let output = Layout::contiguous(2, 1, 2);
        let conv = GroupedConv::new(Kernel::best(), &shape, 2, output, None);
        let nan = f32::NAN;
        let mut planes = conv.input().alloc();
        let x = [1.0, 2.0, nan, nan, nan, nan, 3.0, 4.0, 5.0, 6.0, nan, nan];
        conv.input().pack(&x, &[0, 1, 2, 3, 4, 5], &mut planes);
        let mut lists = conv.lists();
        conv.list(&[0, 2, 3, 4, 5], &mask, &mut lists, &mut Vec::new());
        let run = ConvArgs {
            input: &planes,
            filters: &[0, 1],
            epilogue: Epilogue {
                scale: Some(&[2.0, 2.0]),
                shift: Some(&[0.5, 3.0]),
                residual: None,
                relu: true,
                at_most: Some(6.0),
            },
        };
        let mut y = [9.0; 4];
        let weights = [1.0, 1.0, 1.0, -1.0, 1.0, 1.0];
        assert_eq!(conv.run(run, &weights, &[0, 2, 3, 4, 5], &lists, None, &mut y), 3);
        assert_eq!(y, [2.5, 4.5, 6.0, 6.0]);
        conv.run_without_columns(run, &weights, &lists, &mut y);
        assert_eq!(y, [0.5, 0.5, 3.0, 3.0]);
    }
}
