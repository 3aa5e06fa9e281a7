//! Which form of product a shape should use, for how many images at once. Knows nothing of how it runs.
//!
//! A formula rather than a measurement: results by positions and by Winograd's tiles differ by rounding, so a choice that
//! followed the clock would give other numbers from one run to the next.

use super::product_form::Form;
use super::shape::{ConvShape, Layout};
use super::sweep::cover;
use super::tile::Tiles;
use super::winograd_size;

/// Vectors of positions that are multiplied together, if there are images enough.
const VECTORS: usize = 8;

/// Multiply-adds of a vector that gathering or scattering one costs.
const GATHER: usize = 36;

/// Fewest images that are worth transforming weights for that only they share.
const FEWEST: usize = 8;

pub(crate) fn fits(shape: &ConvShape, form: Form) -> bool {
    match form {
        Form::Positions => true,
        Form::Winograd(size) => shape.kernel == [3, 3] && shape.stride == 1 && (size == 2 || size == 4),
    }
}

/// Vectors of positions in registers that need the fewest loads for their multiply-adds.
pub(crate) fn widest(tiles: &Tiles) -> usize {
    // m n / (m + n), without fractions.
    let worth = |n: usize| tiles.conv.filters[n - 1] * n * 1000 / (tiles.conv.filters[n - 1] + n);
    (1..=4).max_by_key(|&n| worth(n)).unwrap_or(1)
}

/// The cheapest form and the images it takes at once, unless one image at a time is cheaper.
pub(crate) fn best(tiles: &Tiles, shape: &ConvShape, images: usize) -> Option<(Form, usize)> {
    let [c, f] = [shape.in_channels, shape.filters];
    let alone = alone(tiles, shape);
    let many = images >= FEWEST;
    [Form::Positions, Form::Winograd(2), Form::Winograd(4)]
        .into_iter()
        .filter(|&form| fits(shape, form) && (many || form == Form::Positions))
        .map(|form| {
            let n = form.size();
            let count = shape.out_h().div_ceil(n) * shape.out_w().div_ceil(n);
            let together = (VECTORS * tiles.lanes / count).clamp(1, images);
            let vectors = (together * count).div_ceil(tiles.lanes);
            let (rows, gathers) = match form {
                Form::Positions => (shape.taps() * c * (f + 4), f),
                Form::Winograd(n) => ((n + 2) * (n + 2) * c * f, (n + 2) * (n + 2) * c + n * n * f),
            };
            ((rows + gathers * GATHER) * vectors * images / together, form, together)
        })
        .min_by_key(|&(cost, ..)| cost)
        .filter(|&(cost, ..)| cost * 20 < alone * images * 19)
        .map(|(_, form, together)| (form, together))
}

/// What one image costs by the plan that it takes alone.
fn alone(tiles: &Tiles, shape: &ConvShape) -> usize {
    let [c, f] = [shape.in_channels, shape.filters];
    let (halves, _) = cover(&tiles.conv, shape.out_h(), shape.out_w(), Layout::input(shape).pitch);
    match winograd_size::best(tiles, shape, [c, f]) {
        Some(n) => winograd_size::cost(tiles, shape, n, [c, f]),
        None => shape.columns() * f * halves / 2,
    }
}
