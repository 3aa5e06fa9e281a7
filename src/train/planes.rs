//! What is done to planes between convolutions, in burn's own operations: pools, activations, channels moved about.
//! Knows nothing of networks or of which channels are active.

use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Int, Tensor, TensorData, activation, module};
use model::Activation;
use model::resample::Tap;
use model::spec::Pad;

fn padded(x: Tensor<4>, pad: Pad, value: f32) -> Tensor<4> {
    if pad.is_none() {
        return x;
    }
    x.pad((pad.left, pad.right, pad.top, pad.bottom), PadMode::Constant(value))
}

pub(crate) fn zero_pad(x: Tensor<4>, pad: Pad) -> Tensor<4> {
    padded(x, pad, 0.0)
}

/// Maximum over windows; padding is never chosen.
pub(crate) fn max_pool(x: Tensor<4>, kernel: usize, stride: usize, pad: Pad) -> Tensor<4> {
    let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]);
    // burn pads both sides alike, and at most by half a window.
    if pad == Pad::all(pad.top) && 2 * pad.top <= kernel {
        return module::max_pool2d(x, options.with_padding([pad.top; 2]));
    }
    module::max_pool2d(padded(x, pad, f32::MIN), options)
}

/// Mean over windows; padding is not counted.
pub(crate) fn avg_pool(x: Tensor<4>, kernel: usize, stride: usize, pad: Pad) -> Tensor<4> {
    let mean = |x| module::avg_pool2d(x, AvgPoolOptions::new([kernel; 2]).with_stride([stride; 2]));
    if pad.is_none() {
        return mean(x);
    }
    let [_, _, h, w] = x.dims();
    let share = mean(zero_pad(Tensor::ones([1, 1, h, w], &x.device()), pad));
    mean(zero_pad(x, pad)) / share
}

/// A function of each number.
pub(crate) fn activate(x: Tensor<4>, function: Activation) -> Tensor<4> {
    let softplus = |x: Tensor<4>| x.clone().clamp_min(0.0) + x.abs().neg().exp().log1p();
    let hard_sigmoid = |x: Tensor<4>, slope: f32, offset: f32| (x * slope + offset).clamp(0.0, 1.0);
    match function {
        Activation::Sigmoid => activation::sigmoid(x),
        Activation::HardSigmoid { slope, offset } => hard_sigmoid(x, slope, offset),
        Activation::HardSwish => x.clone() * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Activation::Silu => x.clone() * activation::sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::LeakyRelu { slope } => x.clone().clamp_min(0.0) + x.clamp_max(0.0) * slope,
        Activation::Elu { scale } => x.clone().clamp_min(0.0) + (x.clamp_max(0.0).exp() - 1.0) * scale,
        Activation::Softplus => softplus(x),
        Activation::Mish => x.clone() * softplus(x).tanh(),
        Activation::Erf => x.erf(),
        Activation::Gelu => activation::gelu(x),
        Activation::Clip { least, most } => {
            let x = least.into_iter().fold(x, |x, bound| x.clamp_min(bound));
            most.into_iter().fold(x, |x, bound| x.clamp_max(bound))
        }
    }
}

/// Some channels, in an order of their own.
pub(crate) fn select(x: Tensor<4>, channels: &[usize]) -> Tensor<4> {
    let is_run = channels.windows(2).all(|pair| pair[1] == pair[0] + 1);
    match channels {
        [first, ..] if is_run => x.narrow(1, *first, channels.len()),
        _ => {
            let places: Vec<i32> = channels.iter().map(|&c| c as i32).collect();
            let places = Tensor::<1, Int>::from_data(TensorData::new(places, [channels.len()]), &x.device());
            x.select(1, places)
        }
    }
}

/// Every pixel as a square of equal ones.
pub(crate) fn upsample(x: Tensor<4>, scale: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let wide = x.reshape([n * c * h, w, 1]).repeat_dim(2, scale);
    let tall = wide.reshape([n * c, h, 1, w * scale]).repeat_dim(2, scale);
    tall.reshape([n, c, h * scale, w * scale])
}

/// Planes of another size, by pixels of rows and of columns.
pub(crate) fn resize(x: Tensor<4>, [rows, columns]: [&[Tap]; 2]) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let wide = along(x.reshape([n * c * h, w]), columns).reshape([n * c, h, columns.len()]);
    let turned = wide.swap_dims(1, 2).reshape([n * c * columns.len(), h]);
    let tall = along(turned, rows).reshape([n * c, columns.len(), rows.len()]);
    tall.swap_dims(1, 2).reshape([n, c, rows.len(), columns.len()])
}

/// Every row of a matrix in another length.
fn along(x: Tensor<2>, pixels: &[Tap]) -> Tensor<2> {
    let from = x.dims()[1];
    let mut shares = vec![0.0f32; from * pixels.len()];
    for (at, tap) in pixels.iter().enumerate() {
        shares[tap.first * pixels.len() + at] += 1.0 - tap.share;
        shares[tap.second * pixels.len() + at] += tap.share;
    }
    let device = x.device();
    x.matmul(Tensor::from_data(
        TensorData::new(shares, [from, pixels.len()]),
        &device,
    ))
}

/// Zeros between pixels, `stride` − 1 of them.
pub(crate) fn spread(x: Tensor<4>, stride: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let more = Pad {
        bottom: stride - 1,
        right: stride - 1,
        ..Pad::VALID
    };
    // Each pixel in the corner of a square of zeros; the last squares' other rows and columns are cut off.
    let squares = zero_pad(x.reshape([n * c * h, w, 1, 1]), more);
    let all = squares.swap_dims(1, 2).reshape([n, c, h * stride, w * stride]);
    all.slice([0..n, 0..c, 0..(h - 1) * stride + 1, 0..(w - 1) * stride + 1])
}

/// Mean 0 and variance 1 over the channels of each position.
pub(crate) fn layer_norm(x: Tensor<4>, eps: f32) -> Tensor<4> {
    let off = x.clone() - x.mean_dim(1);
    let var = off.clone().square().mean_dim(1);
    off / (var + eps).sqrt()
}

/// Local response normalization.
pub(crate) fn lrn(x: Tensor<4>, size: usize, alpha: f32, beta: f32, bias: f32) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let squares = x.clone().square().reshape([n, 1, c, h * w]);
    let neighbors = Pad {
        top: (size - 1) / 2,
        bottom: size / 2,
        ..Pad::VALID
    };
    let options = AvgPoolOptions::new([size, 1]).with_stride([1, 1]);
    let means = module::avg_pool2d(zero_pad(squares, neighbors), options).reshape([n, c, h, w]);
    x / (means * alpha + bias).powf_scalar(beta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn row(data: &[f32], shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(data.to_vec(), shape), &Device::flex())
    }

    fn numbers(x: Tensor<4>) -> Vec<f32> {
        x.into_data().try_to_vec().expect("floats")
    }

    #[test]
    fn planes_grow_by_copies_and_by_zeros() {
        let x = || row(&[1.0, 2.0, 3.0, 4.0], [1, 1, 2, 2]);
        assert_eq!(
            numbers(upsample(x(), 2)),
            [
                1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0
            ]
        );
        assert_eq!(numbers(spread(x(), 2)), [1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0]);
    }

    #[test]
    fn channels_are_taken_in_any_order() {
        let x = || row(&[1.0, 2.0, 3.0], [1, 3, 1, 1]);
        assert_eq!(numbers(select(x(), &[1, 2])), [2.0, 3.0]);
        assert_eq!(numbers(select(x(), &[2, 0, 2])), [3.0, 1.0, 3.0]);
    }

    #[test]
    fn activations_are_those_of_the_engine() {
        let values: Vec<f32> = (-40..=40).map(|v| v as f32 / 4.0).collect();
        for function in [
            Activation::Sigmoid,
            Activation::HardSigmoid {
                slope: 0.2,
                offset: 0.5,
            },
            Activation::HardSwish,
            Activation::Silu,
            Activation::Tanh,
            Activation::LeakyRelu { slope: 0.1 },
            Activation::Elu { scale: 1.5 },
            Activation::Softplus,
            Activation::Mish,
            Activation::Erf,
            Activation::Gelu,
            Activation::Clip {
                least: Some(-1.0),
                most: Some(2.0),
            },
        ] {
            let got = numbers(activate(row(&values, [1, 1, 1, 81]), function));
            for (got, &x) in got.iter().zip(&values) {
                let want = function.at(x);
                assert!((got - want).abs() < 1e-5, "{function:?}({x}) is {got}, not {want}");
            }
        }
    }
}
