//! Which tile size Winograd's algorithm should use for a shape, if any. Knows nothing of how it runs.

use super::shape::ConvShape;
use super::tile::Tiles;

/// The cheapest size for so many active channels and filters, unless the direct convolution costs about the same.
pub(super) fn best(tiles: &Tiles, shape: &ConvShape, [channels, filters]: [usize; 2]) -> Option<usize> {
    let (oh, ow) = (shape.out_h(), shape.out_w());
    let [a, b] = tiles.winograd_costs;
    let cost = |size: usize| {
        let (n, count) = ((size + 2) * (size + 2), oh.div_ceil(size) * ow.div_ceil(size));
        n * (channels * filters + a * channels + b * filters) * count.div_ceil(tiles.lanes)
    };
    let direct = 9 * channels * filters * (oh * (ow + 1)).div_ceil(tiles.lanes);
    let size = [2, 4]
        .into_iter()
        .filter(|&size| fits(tiles, shape, size))
        .min_by_key(|&size| cost(size))?;
    (cost(size) * 5 < direct * 4).then_some(size)
}

/// Whether there is such a transform and a block can hold a row of tiles.
pub(super) fn fits(tiles: &Tiles, shape: &ConvShape, size: usize) -> bool {
    let is_known = shape.kernel == [3, 3] && shape.stride == 1 && (size == 2 || size == 4);
    is_known && shape.out_w().div_ceil(size) <= most_vectors(tiles) * tiles.lanes
}

/// Vectors of tiles in a block: as many as leave room for a few filters in registers.
pub(super) fn most_vectors(tiles: &Tiles) -> usize {
    (1..=3).filter(|n| tiles.conv_filters[n - 1] >= 2).max().unwrap_or(1)
}
