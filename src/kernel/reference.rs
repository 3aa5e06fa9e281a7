//! The slow, obvious version of every operator: loops over indices, sums in f64.
//! Knows nothing of layouts, lists of offsets or threads.

use super::shape::ConvShape;

/// One output: Σ over columns of w[f, column] · x[c, y·stride + r - top, x·stride + s - left].
pub fn forward_at(
    shape: &ConvShape,
    input: &dyn Fn(usize, usize, usize) -> f32,
    weights: &[f32],
    columns: impl Iterator<Item = usize>,
    [f, y, x]: [usize; 3],
) -> f32 {
    let mut sum = 0.0;
    for column in columns {
        let (c, r, s) = split(shape, column);
        let iy = (y * shape.stride + r)
            .checked_sub(shape.pad.top)
            .filter(|&i| i < shape.in_h);
        let ix = (x * shape.stride + s)
            .checked_sub(shape.pad.left)
            .filter(|&i| i < shape.in_w);
        if let (Some(iy), Some(ix)) = (iy, ix) {
            sum += f64::from(weights[f * shape.columns() + column]) * f64::from(input(c, iy, ix));
        }
    }
    sum as f32
}

/// One input gradient: Σ over columns (f, r, s) of w[c, column] · dy[f, oy, ox] where the output
/// (oy, ox) meets pixel (y, x) at (r, s). Weights are `[in_channels, filters, kh, kw]`.
pub fn input_grad_at(
    shape: &ConvShape,
    dy: &dyn Fn(usize, usize, usize) -> f32,
    weights: &[f32],
    columns: impl Iterator<Item = usize>,
    [c, y, x]: [usize; 3],
) -> f32 {
    let meets = |at: usize, pad: usize, r: usize, n: usize| {
        let at = (at + pad).checked_sub(r)?;
        (at % shape.stride == 0 && at / shape.stride < n).then_some(at / shape.stride)
    };
    let mut sum = 0.0;
    for column in columns {
        let (f, r, s) = split(shape, column);
        let oy = meets(y, shape.pad.top, r, shape.out_h());
        let ox = meets(x, shape.pad.left, s, shape.out_w());
        if let (Some(oy), Some(ox)) = (oy, ox) {
            let w = weights[c * shape.filters * shape.taps() + column];
            sum += f64::from(w) * f64::from(dy(f, oy, ox));
        }
    }
    sum as f32
}

/// One weight gradient: Σ over outputs of dy[f, y, x] · the pixel the column meets there.
pub fn weight_grad_at(
    shape: &ConvShape,
    input: &dyn Fn(usize, usize, usize) -> f32,
    dy: &dyn Fn(usize, usize, usize) -> f32,
    f: usize,
    column: usize,
) -> f32 {
    let (c, r, s) = split(shape, column);
    let mut sum = 0.0;
    for y in 0..shape.out_h() {
        for x in 0..shape.out_w() {
            let iy = (y * shape.stride + r)
                .checked_sub(shape.pad.top)
                .filter(|&i| i < shape.in_h);
            let ix = (x * shape.stride + s)
                .checked_sub(shape.pad.left)
                .filter(|&i| i < shape.in_w);
            if let (Some(iy), Some(ix)) = (iy, ix) {
                sum += f64::from(dy(f, y, x)) * f64::from(input(c, iy, ix));
            }
        }
    }
    sum as f32
}

/// (channel, ky, kx) of a column.
fn split(shape: &ConvShape, column: usize) -> (usize, usize, usize) {
    let (tap, kw) = (column % shape.taps(), shape.kernel[1]);
    (column / shape.taps(), tap / kw, tap % kw)
}
