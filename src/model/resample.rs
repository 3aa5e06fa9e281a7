//! Enlarging and shrinking planes: where each pixel of the new size comes from, as the ONNX standard computes it (`Resize`).
//! Knows nothing of graphs.

use serde::{Deserialize, Serialize};

/// Which place of the old axis a pixel of the new one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinates {
    /// (x + 1/2) / scale − 1/2: pixels have a middle.
    HalfPixel,
    /// The same, but 0 on an axis of one pixel.
    PytorchHalfPixel,
    /// The first and the last pixels of both stand on each other.
    AlignCorners,
    /// x / scale.
    Asymmetric,
}

/// What is made of the pixels around a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Both neighbors, by their distance.
    Linear,
    /// The nearest; of two as near the lower.
    PreferFloor,
    /// The nearest; of two as near the upper.
    PreferCeil,
    /// The one below.
    Floor,
    /// The one above.
    Ceil,
}

/// One pixel of a new axis: (1 − share) · x\[first\] + share · x\[second\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// A pixel of the old axis.
    pub first: usize,
    /// The next, or the same.
    pub second: usize,
    /// Of the second, 0 to 1.
    pub share: f32,
}

/// The pixels of an axis of `to` that is made from one of `from`, `scale` times as long.
pub fn taps(
    [from, to]: [usize; 2],
    scale: f32,
    coordinates: Coordinates,
    interpolation: Interpolation,
) -> impl Iterator<Item = Tap> {
    let last = from.saturating_sub(1) as f32;
    let place = move |x: usize| match coordinates {
        Coordinates::PytorchHalfPixel if to <= 1 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (x as f32 + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if to <= 1 => 0.0,
        Coordinates::AlignCorners => x as f32 * last / (to - 1) as f32,
        Coordinates::Asymmetric => x as f32 / scale,
    };
    let tap = move |x: usize| {
        let at = place(x);
        let at = match interpolation {
            Interpolation::Linear => at,
            Interpolation::PreferFloor => (at - 0.5).ceil(),
            Interpolation::PreferCeil => (at + 0.5).floor(),
            Interpolation::Floor => at.floor(),
            Interpolation::Ceil => at.ceil(),
        };
        let at = at.clamp(0.0, last);
        let first = at.floor() as usize;
        Tap {
            first,
            second: (first + 1).min(from.saturating_sub(1)),
            share: at - at.floor(),
        }
    };
    (0..to).map(tap)
}

/// The rows and columns of planes of `size` that are made from planes of `[height, width]`; see [`taps`].
pub fn plane_taps(
    from: [usize; 2],
    size: [usize; 2],
    scale: [f32; 2],
    coordinates: Coordinates,
    interpolation: Interpolation,
) -> [Vec<Tap>; 2] {
    [0, 1].map(|k| taps([from[k], size[k]], scale[k], coordinates, interpolation).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(x: &[f32], to: usize, scale: f32, coordinates: Coordinates, interpolation: Interpolation) -> Vec<f32> {
        let of = |t: Tap| x[t.first] * (1.0 - t.share) + x[t.second] * t.share;
        taps([x.len(), to], scale, coordinates, interpolation).map(of).collect()
    }

    #[test]
    fn pixels_are_those_of_the_standards_examples() {
        use Coordinates::{AlignCorners, Asymmetric, HalfPixel, PytorchHalfPixel};
        use Interpolation::{Floor, Linear, PreferCeil, PreferFloor};
        // Rows of resize_upsample_scales_linear, its align_corners form, and downsampling by 0.6.
        let two = [1.0, 2.0];
        assert_eq!(resampled(&two, 4, 2.0, HalfPixel, Linear), [1.0, 1.25, 1.75, 2.0]);
        let aligned = resampled(&two, 4, 2.0, AlignCorners, Linear);
        assert!(
            (aligned[1] - 4.0 / 3.0).abs() < 1e-6 && aligned[3] == 2.0,
            "{aligned:?}"
        );
        let four = [1.0, 2.0, 3.0, 4.0];
        let less = resampled(&four, 2, 0.6, HalfPixel, Linear);
        assert!(
            (less[0] - 1.333_333).abs() < 1e-5 && (less[1] - 3.0).abs() < 1e-5,
            "{less:?}"
        );
        assert_eq!(resampled(&four, 1, 0.25, PytorchHalfPixel, Linear), [1.0]);
        assert_eq!(resampled(&two, 4, 2.0, Asymmetric, Linear), [1.0, 1.5, 2.0, 2.0]);
        assert_eq!(resampled(&two, 4, 2.0, Asymmetric, Floor), [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(resampled(&two, 4, 2.0, Asymmetric, PreferFloor), [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(resampled(&two, 4, 2.0, Asymmetric, PreferCeil), [1.0, 2.0, 2.0, 2.0]);
        assert_eq!(
            resampled(&four, 6, 1.5, HalfPixel, PreferFloor),
            [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]
        );
    }
}
