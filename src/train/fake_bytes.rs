//! Numbers as the bytes they will become (quantization-aware training, arXiv 1712.05877): forward they are rounded, backward
//! the rounding is not there (straight through), and what lies outside the range takes no gradient.
//! Knows nothing of networks.

use burn::tensor::Tensor;
use model::ByteInput;

/// What a convolution of bytes reads.
pub(crate) fn input(x: Tensor<4>, bytes: ByteInput) -> Tensor<4> {
    let [least, most] = bytes.range();
    let inside = x.clamp(least, most);
    let rounded = inside
        .clone()
        .detach()
        .mul_scalar(1.0 / bytes.step)
        .round()
        .mul_scalar(bytes.step);
    straight_through(inside, rounded)
}

/// A convolution's weights, `[filters, in_channels, kh, kw]`, by steps of each filter's own.
pub(crate) fn weight(w: Tensor<4>) -> Tensor<4> {
    let [filters, channels, kh, kw] = w.dims();
    let rows = w.clone().detach().reshape([filters, channels * kh * kw]);
    let most = rows.clone().abs().max_dim(1);
    // A filter of zeros has any step.
    let step = most.clone().div_scalar(kernel::LARGEST_BYTE) + most.equal_elem(0.0).float();
    let rounded = (rows / step.clone()).round() * step;
    straight_through(w, rounded.reshape([filters, channels, kh, kw]))
}

/// `rounded`, with the gradient of `x`.
fn straight_through(x: Tensor<4>, rounded: Tensor<4>) -> Tensor<4> {
    let away = rounded - x.clone().detach();
    x + away
}
