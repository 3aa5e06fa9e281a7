//! One pass over a plane of positions, cut into tiles. Knows nothing of which convolution it serves.
#![expect(unsafe_code, reason = "calls tiles")]

use std::ops::Range;

use super::conv_tile::ConvTask;
use super::lanes::LaneMap;
use super::shape::Layout;
use super::tile::ConvTiles;

/// A forward convolution has one sweep, an input gradient one per output phase.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// Whole vectors of positions.
    pub vectors: usize,
    /// Half a vector follows.
    pub tail: bool,
    /// Vectors are rows of eight.
    pub by_rows: bool,
    /// Floats from one vector to the next.
    pub step: usize,
    pub(crate) lanes: LaneMap,
    pub residual: LaneMap,
    /// Parts that positions are cut into, by number of filters.
    parts: Vec<u32>,
}

pub(crate) struct Positions {
    pub rows: usize,
    pub width: usize,
    pub(crate) pitch: usize,
    /// Position (y, x) is pixel (y · stride + phase[0], x · stride + phase[1]) of the planes written.
    pub stride: usize,
    pub phase: [usize; 2],
}

/// Half vectors that cover all positions, and whether they are made of rows of eight.
pub(crate) fn cover(tiles: &ConvTiles, rows: usize, width: usize, pitch: usize) -> (usize, bool) {
    if rows * width == 0 {
        return (0, false);
    }
    let (lanes, run) = (tiles.lanes, (rows - 1) * pitch + width);
    let flat = match tiles.tail {
        Some(_) if run > lanes => run.div_ceil(lanes / 2),
        _ => run.div_ceil(lanes) * 2,
    };
    let by_rows = rows.div_ceil((lanes / 8).max(1)) * 2;
    if tiles.rows.is_some() && width <= 8 && by_rows < flat {
        (by_rows, true)
    } else {
        (flat, false)
    }
}

impl Sweep {
    pub(crate) fn new(tiles: &ConvTiles, positions: &Positions, output: &Layout, residual: Option<&Layout>) -> Self {
        let &Positions {
            rows,
            width,
            pitch,
            stride,
            phase,
        } = positions;
        let lanes = tiles.lanes;
        let per_vector = (lanes / 8).max(1);
        let (halves, by_rows) = cover(tiles, rows, width, pitch);
        let at = |vector: usize, lane: usize| {
            let (y, x) = if by_rows {
                (vector * per_vector + lane / 8, lane % 8)
            } else {
                let p = vector * lanes + lane;
                (p / pitch, p % pitch)
            };
            (y < rows && x < width).then_some((y * stride + phase[0], x * stride + phase[1]))
        };
        let map = |layout: &Layout| {
            LaneMap::new(halves.div_ceil(2), lanes, layout.padding(), |v, l| {
                at(v, l).map(|(y, x)| layout.offset(0, y, x))
            })
        };
        Self {
            vectors: halves / 2,
            tail: halves % 2 == 1,
            by_rows,
            step: if by_rows { per_vector * pitch } else { lanes },
            lanes: map(output),
            residual: residual.map(map).unwrap_or_default(),
            parts: Vec::new(),
        }
    }

    /// Decides once how to cut for up to so many filters, if about this many columns are active.
    pub(crate) fn plan_grids(&mut self, tiles: &ConvTiles, filters: usize, columns: usize) {
        self.parts = (0..=filters)
            .map(|filters| self.best_grid(tiles, filters, columns).n_parts as u32)
            .collect();
    }

    /// Floats from the first position to the end of the last load.
    pub(crate) fn span(&self) -> usize {
        if self.vectors == 0 {
            return 0;
        }
        (self.vectors + usize::from(self.tail)) * self.step + if self.by_rows { 8 } else { 0 }
    }

    /// How it is cut for so many filters.
    pub(crate) fn grid(&self, filters: usize) -> Grid {
        Grid {
            filters,
            vectors: self.vectors,
            tail: self.tail,
            n_parts: self.parts[filters] as usize,
        }
    }

    fn best_grid(&self, tiles: &ConvTiles, filters: usize, columns: usize) -> Grid {
        let mut best = (usize::MAX, Grid::default());
        if filters == 0 || self.vectors == 0 {
            return best.1;
        }
        for most in (1..=6).filter(|n| tiles.filters[n - 1] > 0) {
            let n_parts = self.vectors.div_ceil(most);
            if self.tail && tiles.tail_filters[self.vectors / n_parts - 1] == 0 {
                continue;
            }
            let grid = Grid {
                filters,
                vectors: self.vectors,
                tail: self.tail,
                n_parts,
            };
            let mut cost = 0;
            let larger = self.vectors % n_parts;
            for (part, times) in [(0, larger), (larger, n_parts - larger - 1), (n_parts - 1, 1)] {
                if times > 0 {
                    cost += times * grid.part_cost(tiles, part, columns);
                }
            }
            if cost < best.0 {
                best = (cost, grid);
            }
        }
        best.1
    }

    /// Runs the tiles of a range of the grid.
    ///
    /// # Safety
    /// All offsets of the task are in bounds for all vectors of the sweep and all filters.
    pub(crate) unsafe fn run(
        &self,
        tiles: &ConvTiles,
        grid: &Grid,
        range: Range<usize>,
        task: &ConvTask,
        filters: &[u32],
    ) {
        let mut tile = 0;
        for part in 0..grid.n_parts {
            let (vectors, tail) = grid.part(part);
            let m_parts = grid.m_parts(tiles, part);
            let in_part = range.start.max(tile)..range.end.min(tile + m_parts);
            let table = match (&tiles.rows, &tiles.tail) {
                (Some(rows), _) if self.by_rows => rows,
                (_, Some(with_tail)) if tail => with_tail,
                _ => &tiles.flat,
            };
            for m in in_part {
                let [from, to] = [m - tile, m - tile + 1].map(|i| filters.len() * i / m_parts);
                // SAFETY: the tile covers vectors of this sweep and some of these filters, no others.
                unsafe { table[vectors.len() - 1][to - from - 1](task, &filters[from..to], vectors.start) }
            }
            tile += m_parts;
        }
    }
}

/// Parts of positions, each cut into parts of filters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Grid {
    filters: usize,
    vectors: usize,
    tail: bool,
    n_parts: usize,
}

impl Grid {
    pub(crate) fn tiles(&self, tiles: &ConvTiles) -> usize {
        (0..self.n_parts).map(|part| self.m_parts(tiles, part)).sum()
    }

    /// A part's vectors, and whether the tail is in it. Larger parts come first, the tail is in the last.
    fn part(&self, part: usize) -> (Range<usize>, bool) {
        let (each, larger) = (self.vectors / self.n_parts, self.vectors % self.n_parts);
        let start = part * each + part.min(larger);
        let end = start + each + usize::from(part < larger);
        (start..end, self.tail && part + 1 == self.n_parts)
    }

    fn m_parts(&self, tiles: &ConvTiles, part: usize) -> usize {
        let (vectors, tail) = self.part(part);
        let most = if tail { tiles.tail_filters } else { tiles.filters };
        self.filters.div_ceil(most[vectors.len() - 1])
    }

    fn part_cost(&self, tiles: &ConvTiles, part: usize, columns: usize) -> usize {
        let (vectors, tail) = self.part(part);
        let (n, half) = (vectors.len(), usize::from(tail));
        let m_parts = self.m_parts(tiles, part);
        let (each, larger) = (self.filters / m_parts, self.filters % m_parts);
        let mut cost = 0;
        for (m, times) in [(each + 1, larger), (each, m_parts - larger)] {
            // Multiply-adds (no fewer than their latency hides), loads, the loop; a call.
            let column = (4 * m * n + 2 * m * half).max(32) + 2 * (n + half) + 2 * m + 8;
            cost += times * (column * columns + 160);
        }
        cost
    }
}
