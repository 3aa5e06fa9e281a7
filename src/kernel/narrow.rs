//! Convolution onto planes of few positions, where vectors of positions would be mostly padding: lanes are filters instead,
//! and weights are packed in panels of as many filters as there are lanes. Knows nothing of instruction sets.
//!
//! Its lists of columns and its results are those of the direct plan, to the bit. Filters of a panel are computed together and
//! only the listed ones stored; panels without any are left out.
#![expect(
    unsafe_code,
    reason = "calls tiles with checked offsets; threads write disjoint planes"
)]

use super::conv::{ConvCall, ConvPlan};
use super::narrow_tile::NarrowTask;
use super::pool::{Pool, SharedPointer};
use super::sweep::cover;
use super::tile::Tiles;
use std::ops::Range;

/// A convolution with few output positions, ready to run. It has its own weights; layouts and columns are those of the direct
/// plan.
#[derive(Clone, Debug)]
pub struct NarrowPlan {
    tiles: &'static Tiles,
    direct: ConvPlan,
    places: Vec<[u32; 3]>,
    /// Panels and positions of a tile.
    tile: [usize; 2],
    /// Half vectors in which the direct plan covers all positions.
    halves: usize,
}

impl NarrowPlan {
    /// Output positions, at most.
    const MOST: usize = 32;

    /// For what `direct` computes; `None` where that has no need of it: many positions, and the reference kernel.
    pub fn new(direct: &ConvPlan) -> Option<Self> {
        let tiles = direct.kernel.tiles?;
        let (input, output) = (direct.input(), direct.output());
        let n = output.height * output.width;
        let (halves, _) = cover(&tiles.conv, output.height, output.width, input.pitch);
        // A tile of one vector less than this has fewer lanes to waste.
        if !(1..=Self::MOST).contains(&n) || n * 2 >= halves * tiles.lanes {
            return None;
        }
        let places: Vec<[u32; 3]> = (0..n)
            .map(|p| {
                let (y, x) = (p / output.width, p % output.width);
                let residual = direct.residual().map_or(0, |r| r.offset(0, y, x));
                [y * input.pitch + x, output.offset(0, y, x), residual].map(|at| at as u32)
            })
            .collect();
        let most = tiles.narrow_positions;
        // As few passes over the weights as registers allow, and then as many panels as do.
        let passes = n.div_ceil(most[0].min(8));
        let each = n.div_ceil(passes);
        let panels = (0..3).rev().find(|&i| most[i] >= each).unwrap_or(0);
        let last = direct.last_offset() + places.iter().map(|p| p[0] as usize).max().unwrap_or(0);
        assert!(last < input.len(), "reads past the input");
        Some(Self {
            tiles,
            direct: direct.clone(),
            places,
            tile: [1 << panels, each],
            halves,
        })
    }

    /// Weights `[filters, columns]` in panels.
    pub fn pack(&self, weights: &[f32]) -> Vec<f32> {
        let mut panels = vec![0.0; self.panels() * self.direct.all_columns() * self.tiles.lanes];
        self.pack_into(weights, &mut panels);
        panels
    }

    /// The same over panels that [`Self::pack`] made.
    pub fn pack_into(&self, weights: &[f32], panels: &mut [f32]) {
        let (columns, lanes) = (self.direct.all_columns(), self.tiles.lanes);
        for (f, row) in weights.chunks_exact(columns.max(1)).enumerate() {
            let panel = &mut panels[f / lanes * columns * lanes..][..columns * lanes];
            for (to, &w) in panel[f % lanes..].iter_mut().step_by(lanes).zip(row) {
                *to = w;
            }
        }
    }

    fn panels(&self) -> usize {
        self.direct.output().channels.div_ceil(self.tiles.lanes)
    }

    /// What it costs beside the direct plan with so many active filters: less than 1 where it should be faster.
    pub fn cost(&self, filters: usize) -> f64 {
        let own = self.panels() * self.places.len() * 2;
        own as f64 / (filters * self.halves).max(1) as f64
    }

    /// As [`ConvPlan::run`], with weights from [`Self::pack`].
    pub fn run(&self, call: &ConvCall, output: &mut [f32]) {
        self.check(call, output);
        // SAFETY: `check` has passed; `output` is borrowed alone.
        unsafe { self.run_tiles(call, output.as_mut_ptr(), 0..self.groups()) }
    }

    /// The same with panels split over the pool's threads; the same bits.
    pub fn run_on(&self, pool: &mut Pool, call: &ConvCall, output: &mut [f32]) {
        self.check(call, output);
        let at = SharedPointer(output.as_mut_ptr());
        let parts = (pool.threads() * 4).min(self.groups());
        pool.run(parts, &|task, _| {
            // From both ends: with two threads each keeps to its own half, whose weights it has cached.
            let part = if task % 2 == 0 { task / 2 } else { parts - 1 - task / 2 };
            let [from, to] = [part, part + 1].map(|i| self.groups() * i / parts);
            // SAFETY: `check` has passed; parts are disjoint, and `run` returns only when all have ended.
            unsafe { self.run_tiles(call, at.get(), from..to) }
        });
    }

    fn check(&self, call: &ConvCall, output: &[f32]) {
        let columns = self.direct.all_columns();
        assert_eq!(
            call.weights.len(),
            self.panels() * columns * self.tiles.lanes,
            "weights"
        );
        self.direct.check_call(call, output);
    }

    /// Groups of panels.
    fn groups(&self) -> usize {
        self.panels().div_ceil(self.tile[0])
    }

    /// # Safety
    /// `check` has passed, and nobody else touches the planes of these groups' filters.
    unsafe fn run_tiles(&self, call: &ConvCall, output: *mut f32, groups: Range<usize>) {
        let (lanes, [width, each]) = (self.tiles.lanes, self.tile);
        let task = NarrowTask {
            input: call.input.as_ptr(),
            columns: &call.columns.lists[0],
            panels: call.weights.as_ptr(),
            panel: self.direct.all_columns() * lanes,
            filters: self.direct.output().channels,
            scale: call.epilogue.scale,
            shift: call.epilogue.shift,
            bounds: call.epilogue.bounds(),
            output,
            output_plane: self.direct.output().channel_len,
            places: &self.places,
            residual: call
                .epilogue
                .residual
                .zip(self.direct.residual())
                .map(|(data, layout)| (data.as_ptr(), layout.channel_len)),
        };
        let below = |f: usize| call.filters.partition_point(|&x| (x as usize) < f);
        for group in groups {
            let mut first = group * width;
            let end = (first + width).min(self.panels());
            while first < end {
                // The last group may be short of panels.
                let n = (0..3).rev().find(|&i| first + (1 << i) <= end).unwrap_or(0);
                let next = first + (1 << n);
                let filters = &call.filters[below(first * lanes)..below(next * lanes)];
                if !filters.is_empty() {
                    for at in (0..self.places.len()).step_by(each) {
                        let p = each.min(self.places.len() - at);
                        // SAFETY: `new` and `check` have bounded all offsets of these panels and positions.
                        unsafe { self.tiles.narrow[n][p - 1](&task, filters, [first, at]) }
                    }
                }
                first = next;
            }
        }
    }
}
