//! Which tile size Winograd's algorithm should use for a shape, if any, and when. Knows nothing of how it runs.

use super::shape::{ConvShape, Layout};
use super::sweep::cover;
use super::tile::Tiles;

/// Weights of a plan, in floats, beyond which they would be waited for: about what a large cache holds.
const MOST_WEIGHTS: usize = 9 << 19;

/// The cheapest size for so many active channels and filters, unless the direct convolution is cheaper.
pub(crate) fn best(tiles: &Tiles, shape: &ConvShape, active: [usize; 2]) -> Option<usize> {
    let size = [2, 4]
        .into_iter()
        .filter(|&size| fits(tiles, shape, size))
        .filter(|&size| (size + 2) * (size + 2) * shape.in_channels * shape.filters <= MOST_WEIGHTS)
        .min_by_key(|&size| cost(tiles, shape, size, active))?;
    pays(tiles, shape, size, active, 9 * active[0]).then_some(size)
}

/// Whether tiles of this size should be faster than the direct convolution of so many columns.
pub(crate) fn pays(tiles: &Tiles, shape: &ConvShape, size: usize, active: [usize; 2], columns: usize) -> bool {
    let (rows, width) = (shape.out_h(), shape.out_w());
    let (halves, _) = cover(&tiles.conv, rows, width, Layout::input(shape).pitch);
    let direct = (columns + 8) * active[1] * halves;
    // A multiply-add costs more here: its operands come from farther away.
    cost(tiles, shape, size, active) * 2 * 7 < direct * 5
}

/// Multiply-adds of vectors, with the transforms counted as such.
pub(crate) fn cost(tiles: &Tiles, shape: &ConvShape, size: usize, [channels, filters]: [usize; 2]) -> usize {
    let [a, b] = tiles.winograd_costs;
    let count = shape.out_h().div_ceil(size) * shape.out_w().div_ceil(size);
    (size + 2) * (size + 2) * (channels * filters + a * channels + b * filters) * count.div_ceil(tiles.lanes)
}

/// Whether there is such a transform and a block can hold a row of tiles.
pub(crate) fn fits(tiles: &Tiles, shape: &ConvShape, size: usize) -> bool {
    let is_known = shape.kernel == [3, 3] && shape.stride == 1 && (size == 2 || size == 4);
    is_known && shape.out_w().div_ceil(size) <= most_vectors(tiles) * tiles.lanes
}

/// Vectors of tiles in a block: as many as leave room for a few filters in registers.
pub(crate) fn most_vectors(tiles: &Tiles) -> usize {
    (1..=3).filter(|n| tiles.conv.filters[n - 1] >= 2).max().unwrap_or(1)
}
