//! The table of tiles that an instruction set fills in. Knows nothing of what a tile computes.

use super::conv_tile::ConvTile;
use super::depthwise_small::SmallTile;
use super::depthwise_tile::DepthwiseTable;
use super::grad_tile::{BatchGradTile, DotTile, OuterTile, TransposeRows};
use super::narrow_tile::NarrowTable;
use super::winograd_tile::{InputTransform, OutputTransform, SplitRows};
use super::winograd_weights::WeightsTransform;

/// By `[n - 1][m - 1]`.
pub(crate) type ConvTable = [[ConvTile; 8]; 6];

/// The tiles that compute convolutions, of floats or of bytes.
#[derive(Debug)]
pub(crate) struct ConvTiles {
    pub(crate) lanes: usize,
    pub(crate) flat: ConvTable,
    /// With vectors made of rows of eight; `None` where vectors are shorter than that.
    pub(crate) rows: Option<ConvTable>,
    /// With half a vector more; `None` where halves are no cheaper.
    pub(crate) tail: Option<ConvTable>,
    /// Filters a tile of n vectors can hold in registers, by n - 1; 0 where n does not fit.
    pub(crate) filters: [usize; 6],
    /// The same with half a vector more.
    pub(crate) tail_filters: [usize; 6],
}

/// The tiles of one instruction set.
#[derive(Debug)]
pub(crate) struct Tiles {
    pub(crate) lanes: usize,
    pub conv: ConvTiles,
    pub depthwise: DepthwiseTable,
    pub(crate) depthwise_rows: Option<DepthwiseTable>,
    pub(crate) depthwise_tail: Option<DepthwiseTable>,
    pub(crate) depthwise_small: SmallTile,
    pub narrow: NarrowTable,
    /// Positions that a tile of 1, 2 and 4 panels can hold in registers.
    pub(crate) narrow_positions: [usize; 3],
    pub dot: [[DotTile; 3]; 9],
    /// The largest (filters, columns) of a dot tile.
    pub(crate) dot_max: (usize, usize),
    pub outer: [[OuterTile; 8]; 3],
    /// With half vectors; `None` where halves are no cheaper.
    pub(crate) outer_half: Option<[[OuterTile; 8]; 3]>,
    /// The largest (filters, vectors) of an outer tile.
    pub(crate) outer_max: (usize, usize),
    /// By `[m - 1]`.
    pub(crate) batch_grad: [BatchGradTile; 8],
    /// Filters and vectors of a batch gradient's tile.
    pub(crate) batch_grad_size: [usize; 2],
    pub transpose: TransposeRows,
    /// For tiles of 2×2 and of 4×4 outputs.
    pub(crate) winograd_split: [SplitRows; 2],
    pub(crate) winograd_input: [InputTransform; 2],
    pub(crate) winograd_output: [OutputTransform; 2],
    pub(crate) winograd_weights: [WeightsTransform; 2],
    pub planes: super::plane_passes::PlanePasses,
    /// What transforming an element of a vector of tiles costs in multiply-adds of a vector: in, out.
    pub(crate) winograd_costs: [usize; 2],
}

/// Writes out the table of a function's instances: `by_m!(8: tile, 3; true)` is `[tile::<1, 3, true>, ..]`.
macro_rules! by_m {
    (8: $f:ident, $n:literal $(; $($flag:literal),*)?) => {
        [
            $f::<1, $n $(, $($flag),*)?>, $f::<2, $n $(, $($flag),*)?>, $f::<3, $n $(, $($flag),*)?>,
            $f::<4, $n $(, $($flag),*)?>, $f::<5, $n $(, $($flag),*)?>, $f::<6, $n $(, $($flag),*)?>,
            $f::<7, $n $(, $($flag),*)?>, $f::<8, $n $(, $($flag),*)?>,
        ]
    };
    (6: $f:ident, $n:literal $(; $($flag:literal),*)?) => {
        [
            $f::<1, $n $(, $($flag),*)?>, $f::<2, $n $(, $($flag),*)?>, $f::<3, $n $(, $($flag),*)?>,
            $f::<4, $n $(, $($flag),*)?>, $f::<5, $n $(, $($flag),*)?>, $f::<6, $n $(, $($flag),*)?>,
            $f::<6, $n $(, $($flag),*)?>, $f::<6, $n $(, $($flag),*)?>,
        ]
    };
    (3: $f:ident, $n:literal) => { [$f::<1, $n>, $f::<2, $n>, $f::<3, $n>] };
    (depthwise: $f:ident; $rows:literal, $tail:literal) => {
        [
            $f::<1, $rows, $tail>, $f::<2, $rows, $tail>, $f::<3, $rows, $tail>,
            $f::<4, $rows, $tail>, $f::<5, $rows, $tail>, $f::<6, $rows, $tail>,
        ]
    };
    // Where registers hold no more than two vectors of positions.
    (conv2: $rows:literal, $tail:literal) => {
        [
            by_m!(8: conv, 1; $rows, $tail), by_m!(8: conv, 2; $rows, $tail), by_m!(8: conv, 2; $rows, $tail),
            by_m!(8: conv, 2; $rows, $tail), by_m!(8: conv, 2; $rows, $tail), by_m!(8: conv, 2; $rows, $tail),
        ]
    };
    (conv: $rows:literal, $tail:literal) => {
        [
            by_m!(8: conv, 1; $rows, $tail), by_m!(8: conv, 2; $rows, $tail), by_m!(8: conv, 3; $rows, $tail),
            by_m!(6: conv, 4; $rows, $tail), by_m!(6: conv, 5; $rows, $tail), by_m!(6: conv, 6; $rows, $tail),
        ]
    };
}

/// Compiles a generic tile for vectors of one kind and their instructions.
macro_rules! compile_tile {
    (
        ($($feature:meta),*) $vector:ty;
        $name:ident<$($parameter:ident: $kind:ty),*>($($arg:ident: $type:ty),*) = $($tile:ident)::+
    ) => {
        $(#[$feature])*
        unsafe fn $name<$(const $parameter: $kind),*>($($arg: $type),*) {
            // SAFETY: this is the tile itself, and asks of its callers what the tile does, and its instructions besides.
            unsafe { $($tile)::+::<$vector, $($parameter),*>($($arg),*) }
        }
    };
}

/// The convolutions of bytes by an instruction set.
macro_rules! instantiate_bytes {
    (
        $name:ident: $vector:ty, [$($feature:meta),*], $conv:ident, rows: $rows:expr, tail: $tail:expr,
        filters: $filters:expr, tail_filters: $tail_filters:expr
    ) => {
        compile_tile! { ($($feature),*) $vector;
            conv<M: usize, N: usize, ROWS: bool, TAIL: bool>(task: &super::conv_tile::ConvTask, filters: &[u32], first: usize)
                = super::conv_tile::conv_tile
        }

        pub(crate) static $name: $crate::tile::ConvTiles = $crate::tile::ConvTiles {
            lanes: <$vector as $crate::products::Products>::LANES,
            flat: by_m!($conv: false, false),
            rows: if $rows { Some(by_m!($conv: true, false)) } else { None },
            tail: $tail,
            filters: $filters,
            tail_filters: $tail_filters,
        };
    };
}

/// The functions of an instruction set and the table of them.
macro_rules! instantiate {
    (
        $vector:ty, [$($feature:meta),*], $conv_table:ident, rows: $rows:expr,
        conv_tail: $conv_tail:expr, outer_half: $outer_half:expr,
        depthwise_tail: $depthwise_tail:expr, narrow_positions: $narrow:expr,
        conv_filters: $conv:expr, conv_tail_filters: $tail:expr, dot_max: $dot:expr, outer_max: $outer:expr,
        batch_grad: ($batch_m:literal, $batch_n:literal), winograd_costs: $costs:expr
    ) => {
        compile_tile! { ($($feature),*) $vector;
            conv<M: usize, N: usize, ROWS: bool, TAIL: bool>(task: &super::conv_tile::ConvTask, filters: &[u32], first: usize)
                = super::conv_tile::conv_tile
        }
        compile_tile! { ($($feature),*) $vector;
            depthwise<N: usize, ROWS: bool, TAIL: bool>(
                task: &super::depthwise_tile::DepthwiseTask, filters: &[u32], first: usize
            ) = super::depthwise_tile::depthwise_tile
        }
        compile_tile! { ($($feature),*) $vector;
            depthwise_small<>(task: &super::depthwise_small::SmallTask, filters: &[u32])
                = super::depthwise_small::small_tile
        }
        compile_tile! { ($($feature),*) $vector;
            narrow<P: usize, N: usize>(task: &super::narrow_tile::NarrowTask, filters: &[u32], at: [usize; 2])
                = super::narrow_tile::narrow_tile
        }
        compile_tile! { ($($feature),*) $vector;
            dot<M: usize, N: usize>(task: &super::grad_tile::DotTask, filters: &[u32], first: usize)
                = super::grad_tile::dot_tile
        }
        compile_tile! { ($($feature),*) $vector;
            outer<M: usize, N: usize>(task: &super::grad_tile::OuterTask, filters: &[u32], first: usize)
                = super::grad_tile::outer_tile
        }
        compile_tile! { ($($feature),*) $vector;
            batch_grad<M: usize, N: usize>(task: &super::grad_tile::BatchGradTask, first: usize)
                = super::grad_tile::batch_grad_tile
        }
        compile_tile! { ($($feature),*) $vector;
            transpose<>(from: *const f32, plane: usize, channels: &[u32], len: usize, to: *mut f32, lanes: usize)
                = super::grad_tile::transpose_rows
        }
        compile_tile! { ($($feature),*) $vector;
            winograd_split<S: usize>(task: &super::winograd_tile::SplitTask, channel: usize)
                = super::winograd_tile::split_rows
        }
        compile_tile! { ($($feature),*) $vector;
            winograd_input<N: usize>(task: &super::winograd_tile::InputTask, channel: usize, vector: usize)
                = super::winograd_tile::input_transform
        }
        compile_tile! { ($($feature),*) $vector;
            winograd_output<N: usize>(task: &super::winograd_tile::OutputTask, filter: usize, vector: usize)
                = super::winograd_tile::output_transform
        }

        $(#[$feature])*
        unsafe fn winograd_weights<const N: usize>(
            task: &super::winograd_weights::WeightsTask, filter: usize, row: &mut [f32],
        ) {
            super::winograd_weights::transform_row::<N>(task, filter, row);
        }

        super::plane_passes::each_pass!(compile_passes!($($feature),*));

        pub(crate) static TILES: Tiles = Tiles {
            lanes: <$vector as Vector>::LANES,
            conv: $crate::tile::ConvTiles {
                lanes: <$vector as Vector>::LANES,
                flat: by_m!($conv_table: false, false),
                rows: if $rows { Some(by_m!($conv_table: true, false)) } else { None },
                tail: $conv_tail,
                filters: $conv,
                tail_filters: $tail,
            },
            depthwise: by_m!(depthwise: depthwise; false, false),
            depthwise_rows: if $rows { Some(by_m!(depthwise: depthwise; true, false)) } else { None },
            depthwise_tail: $depthwise_tail,
            depthwise_small,
            narrow: [by_m!(8: narrow, 1), by_m!(8: narrow, 2), by_m!(8: narrow, 4)],
            narrow_positions: $narrow,
            dot: [
                by_m!(3: dot, 1), by_m!(3: dot, 2), by_m!(3: dot, 3), by_m!(3: dot, 4), by_m!(3: dot, 5),
                by_m!(3: dot, 6), by_m!(3: dot, 7), by_m!(3: dot, 8), by_m!(3: dot, 9),
            ],
            dot_max: $dot,
            outer: [by_m!(8: outer, 1), by_m!(8: outer, 2), by_m!(8: outer, 3)],
            outer_half: $outer_half,
            outer_max: $outer,
            batch_grad: by_m!(8: batch_grad, $batch_n),
            batch_grad_size: [$batch_m, $batch_n],
            transpose,
            winograd_split: [winograd_split::<2>, winograd_split::<4>],
            winograd_input: [winograd_input::<4>, winograd_input::<6>],
            winograd_output: [winograd_output::<4>, winograd_output::<6>],
            winograd_weights: [winograd_weights::<4>, winograd_weights::<6>],
            planes: PLANES,
            winograd_costs: $costs,
        };
    };
}
pub(crate) use {by_m, compile_tile, instantiate, instantiate_bytes};
