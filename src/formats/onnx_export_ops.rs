//! Operations without weights of their own as ONNX nodes.
//! Knows nothing of networks: values come and go by name, as `[batch, c, h, w]` unless said otherwise.

use super::onnx_proto::{GraphBuilder, float, int, ints, text};
use model::resample::{Coordinates, Interpolation};
use model::spec::{Pad, Shape};
use model::{Activation, Head};

/// An activation; of any shape.
pub(crate) fn activation(graph: &mut GraphBuilder, name: &str, function: Activation, x: &str) -> String {
    let of = |what: &str| format!("{name}.{what}");
    match function {
        Activation::Sigmoid => graph.node("Sigmoid", name, [x], vec![]),
        Activation::HardSigmoid { slope, offset } => {
            let numbers = vec![float("alpha", slope), float("beta", offset)];
            graph.node("HardSigmoid", name, [x], numbers)
        }
        Activation::HardSwish => graph.node("HardSwish", name, [x], vec![]),
        Activation::Silu => {
            let gate = graph.node("Sigmoid", &of("sigmoid"), [x], vec![]);
            graph.node("Mul", name, [x, &gate], vec![])
        }
        Activation::Tanh => graph.node("Tanh", name, [x], vec![]),
        Activation::LeakyRelu { slope } => graph.node("LeakyRelu", name, [x], vec![float("alpha", slope)]),
        Activation::Elu { scale } => graph.node("Elu", name, [x], vec![float("alpha", scale)]),
        Activation::Softplus => graph.node("Softplus", name, [x], vec![]),
        Activation::Mish => {
            let plus = graph.node("Softplus", &of("softplus"), [x], vec![]);
            let gate = graph.node("Tanh", &of("tanh"), [&plus], vec![]);
            graph.node("Mul", name, [x, &gate], vec![])
        }
        Activation::Erf => graph.node("Erf", name, [x], vec![]),
        Activation::Gelu => {
            let root = graph.floats("root.two", &[], &[std::f32::consts::SQRT_2]);
            let [one, half] = [("one", 1.0), ("half", 0.5)].map(|(name, v)| graph.floats(name, &[], &[v]));
            let scaled = graph.node("Div", &of("scaled"), [x, &root], vec![]);
            let erf = graph.node("Erf", &of("erf"), [&scaled], vec![]);
            let gate = graph.node("Add", &of("gate"), [&erf, &one], vec![]);
            let twice = graph.node("Mul", &of("twice"), [x, &gate], vec![]);
            graph.node("Mul", name, [&twice, &half], vec![])
        }
        Activation::Clip { least, most } => {
            let mut bound = |value: Option<f32>, what: &str| {
                value.map_or_else(String::new, |v| graph.floats(&format!("{name}.{what}"), &[], &[v]))
            };
            let (least, most) = (bound(least, "min"), bound(most, "max"));
            graph.node("Clip", name, [x, &least, &most], vec![])
        }
    }
}

/// Some channels of `[height, width]`, in an order of their own: a slice, a shuffle, or whatever it is.
pub(crate) fn select(
    graph: &mut GraphBuilder,
    name: &str,
    (channels, from): (&[usize], usize),
    plane: Option<[usize; 2]>,
    x: &str,
) -> String {
    let of = |what: &str| format!("{name}.{what}");
    let numbers = |list: &[usize]| list.iter().map(|&n| n as i64).collect::<Vec<_>>();
    if let [first, .., last] | [first @ last] = channels
        && channels.iter().copied().eq(*first..=*last)
    {
        let bounds = [("starts", *first), ("ends", last + 1), ("axes", 1)];
        let [starts, ends, axes] = bounds.map(|(what, n)| graph.ints(&of(what), &[n as i64]));
        return graph.node("Slice", name, [x, &starts, &ends, &axes], vec![]);
    }
    if let (Some(parts), Some([h, w])) = (shuffle(channels, from), plane) {
        let whole = graph.ints(&of("whole"), &numbers(&[0, from, h, w]));
        let split = graph.ints(&of("parts"), &numbers(&[0, parts, from / parts, h, w]));
        let split = graph.node("Reshape", &of("split"), [x, &split], vec![]);
        let turned = graph.node(
            "Transpose",
            &of("turned"),
            [&split],
            vec![ints("perm", &[0, 2, 1, 3, 4])],
        );
        return graph.node("Reshape", name, [&turned, &whole], vec![]);
    }
    let places = graph.ints(&of("channels"), &numbers(channels));
    graph.node("Gather", name, [x, &places], vec![int("axis", 1)])
}

/// Into how many parts of equal size the channels are split, if then they are taken from each part in turn.
fn shuffle(channels: &[usize], from: usize) -> Option<usize> {
    let parts = channels.get(1).map(|&second| from / second.max(1))?;
    let is_it = parts > 1
        && from.is_multiple_of(parts)
        && channels.len() == from
        && channels
            .iter()
            .enumerate()
            .all(|(k, &c)| c == k % parts * (from / parts) + k / parts);
    is_it.then_some(parts)
}

pub(crate) fn zero_pad(graph: &mut GraphBuilder, name: &str, pad: Pad, x: &str) -> String {
    let sides = [0, 0, pad.top, pad.left, 0, 0, pad.bottom, pad.right].map(|n| n as i64);
    let sides = graph.ints(&format!("{name}.pads"), &sides);
    graph.node("Pad", name, [x, &sides], vec![])
}

pub(crate) fn upsample(graph: &mut GraphBuilder, name: &str, scale: usize, x: &str) -> String {
    let scales = graph.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, scale as f32, scale as f32]);
    let copies = vec![
        text("mode", "nearest"),
        text("coordinate_transformation_mode", "asymmetric"),
        text("nearest_mode", "floor"),
    ];
    graph.node("Resize", name, [x, "", &scales], copies)
}

/// The scale nearest to `scale` that leads from one length to the other, rounded down in float32 as runtimes do.
pub(crate) fn exact_scale([from, to]: [usize; 2], scale: f32) -> f32 {
    let leads = |scale: f32| (from as f32 * scale).floor() == to as f32;
    let around = [scale, to as f32 / from as f32, (to as f32 / from as f32).next_up()];
    around
        .into_iter()
        .find(|&s| leads(s))
        .unwrap_or((to as f32 + 0.25) / from as f32)
}

/// Planes in another size, `[height, width]` times as large.
pub(crate) fn resize(
    graph: &mut GraphBuilder,
    name: &str,
    [tall, wide]: [f32; 2],
    (coordinates, interpolation): (Coordinates, Interpolation),
    x: &str,
) -> String {
    let scales = graph.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, tall, wide]);
    let nearest = match interpolation {
        Interpolation::Linear => None,
        Interpolation::PreferFloor => Some("round_prefer_floor"),
        Interpolation::PreferCeil => Some("round_prefer_ceil"),
        Interpolation::Floor => Some("floor"),
        Interpolation::Ceil => Some("ceil"),
    };
    let from = match coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
    };
    let mut how = vec![
        text("mode", if nearest.is_some() { "nearest" } else { "linear" }),
        text("coordinate_transformation_mode", from),
    ];
    how.extend(nearest.map(|by| text("nearest_mode", by)));
    graph.node("Resize", name, [x, "", &scales], how)
}

/// Zeros between pixels: a transposed convolution by one pixel.
pub(crate) fn spread(graph: &mut GraphBuilder, name: &str, (stride, channels): (usize, usize), x: &str) -> String {
    let ones = graph.floats(&format!("{name}.ones"), &[channels, 1, 1, 1], &vec![1.0; channels]);
    let attributes = vec![
        ints("kernel_shape", &[1, 1]),
        ints("strides", &[stride; 2]),
        int("group", channels as i64),
    ];
    graph.node("ConvTranspose", name, [x, &ones], attributes)
}

/// Mean and variance over the channels of each position; `is_flat` if x is `[batch, features]`.
pub(crate) fn layer_norm(
    graph: &mut GraphBuilder,
    name: &str,
    (eps, gamma, beta): (f32, &[f32], &[f32]),
    (x, is_flat): (&str, bool),
) -> String {
    let of = |what: &str| format!("{name}.{what}");
    let gamma = graph.floats(&of("gamma"), &[gamma.len()], gamma);
    let beta = graph.floats(&of("beta"), &[beta.len()], beta);
    let attributes = vec![int("axis", -1), float("epsilon", eps)];
    if is_flat {
        return graph.node("LayerNormalization", name, [x, &gamma, &beta], attributes);
    }
    let last = graph.node("Transpose", &of("last"), [x], vec![ints("perm", &[0, 2, 3, 1])]);
    let done = graph.node("LayerNormalization", &of("norm"), [&last, &gamma, &beta], attributes);
    graph.node("Transpose", name, [&done], vec![ints("perm", &[0, 3, 1, 2])])
}

/// A value of this shape, flat if its view is, as other programs see it.
pub(crate) fn head(graph: &mut GraphBuilder, name: &str, head: &Head, [c, h, w]: Shape, mut x: String) -> String {
    let of = |what: &str| format!("{name}.{what}");
    let shaped = |graph: &mut GraphBuilder, what: &str, x: &str, sizes: &[usize]| {
        let all: Vec<i64> = [0].into_iter().chain(sizes.iter().map(|&n| n as i64)).collect();
        let shape = graph.ints(&of(&format!("{what}.shape")), &all);
        graph.node("Reshape", &of(what), [x, &shape], vec![])
    };
    if head.view.len() > 1 && head.view != [c, h, w] {
        x = shaped(graph, "view", &x, &head.view);
    }
    let mut sizes = head.view.clone();
    if !head.order.is_empty() {
        let axes: Vec<usize> = [0].into_iter().chain(head.order.iter().map(|axis| axis + 1)).collect();
        x = graph.node("Transpose", &of("turned"), [&x], vec![ints("perm", &axes)]);
        sizes = head.order.iter().map(|&axis| head.view[axis]).collect();
    }
    if sizes != head.shape {
        x = shaped(graph, "reshaped", &x, &head.shape);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_lead_to_their_sizes_in_float32() {
        for from in 1..60 {
            for to in 1..90 {
                let scale = exact_scale([from, to], to as f32 / from as f32);
                assert_eq!((from as f32 * scale).floor(), to as f32, "{from} to {to}");
                assert!(
                    (scale * from as f32 / to as f32 - 1.0).abs() < 1e-6,
                    "{from} to {to}: {scale}"
                );
            }
        }
        assert_eq!(exact_scale([5, 7], 1.5), 1.5);
    }

    #[test]
    fn a_shuffle_is_known_by_its_channels() {
        assert_eq!(shuffle(&[0, 3, 1, 4, 2, 5], 6), Some(2));
        assert_eq!(shuffle(&[0, 2, 4, 1, 3, 5], 6), Some(3));
        assert_eq!(shuffle(&[0, 3, 1, 4, 5, 2], 6), None);
        assert_eq!(shuffle(&[0, 3, 1, 4], 6), None);
        assert_eq!(shuffle(&[1, 0], 2), None);
    }
}
