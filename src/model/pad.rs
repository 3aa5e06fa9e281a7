//! Borders of zeros around planes.
//! Knows nothing of graphs.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Zeros around a plane, in pixels. TensorFlow's SAME with stride 2 is asymmetric, so all four are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Pad {
    /// No padding (VALID).
    pub const VALID: Self = Self {
        top: 0,
        bottom: 0,
        left: 0,
        right: 0,
    };

    /// The same number of zeros on every side.
    pub fn all(n: usize) -> Self {
        Self {
            top: n,
            bottom: n,
            left: n,
            right: n,
        }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::VALID
    }

    /// Size of a plane with its border.
    ///
    /// `[height, width]` in and out.
    pub fn around(self, [h, w]: [usize; 2]) -> [usize; 2] {
        [h + self.top + self.bottom, w + self.left + self.right]
    }

    /// Whether every side is narrower than the kernel, so that every window meets the image.
    pub fn is_below(self, kernel: usize) -> bool {
        [self.top, self.bottom, self.left, self.right]
            .into_iter()
            .all(|n| n < kernel)
    }

    /// TensorFlow's SAME: out = ⌈in / stride⌉, the odd zero goes below and to the right.
    pub fn same(size: [usize; 2], kernel: usize, stride: usize) -> Self {
        let split = |n: usize| {
            let total = ((n.div_ceil(stride) - 1) * stride + kernel).saturating_sub(n);
            (total / 2, total - total / 2)
        };
        let ((top, bottom), (left, right)) = (split(size[0]), split(size[1]));
        Self {
            top,
            bottom,
            left,
            right,
        }
    }
}

impl From<Pad> for kernel::Padding {
    fn from(pad: Pad) -> Self {
        let Pad {
            top,
            bottom,
            left,
            right,
        } = pad;
        Self {
            top,
            bottom,
            left,
            right,
        }
    }
}

/// Padding as files have it: one number where all sides are equal.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum WrittenPad {
    All(usize),
    Sides(Pad),
}

pub(crate) fn read_pad<'de, D: Deserializer<'de>>(from: D) -> Result<Pad, D::Error> {
    Ok(match WrittenPad::deserialize(from)? {
        WrittenPad::All(n) => Pad::all(n),
        WrittenPad::Sides(pad) => pad,
    })
}

pub(crate) fn write_pad<S: Serializer>(pad: &Pad, to: S) -> Result<S::Ok, S::Error> {
    let written = if *pad == Pad::all(pad.top) {
        WrittenPad::All(pad.top)
    } else {
        WrittenPad::Sides(*pad)
    };
    written.serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_that_of_tensorflow() {
        let pads = |n, s| {
            let p = Pad::same([n, n], 3, s);
            (p.top, p.bottom)
        };
        assert_eq!([pads(30, 1), pads(30, 2), pads(15, 2)], [(1, 1), (0, 1), (1, 1)]);
    }

    #[test]
    fn a_pad_is_one_number_or_four_sides() {
        #[derive(Debug, PartialEq, Deserialize, Serialize)]
        struct Pool {
            #[serde(serialize_with = "write_pad", deserialize_with = "read_pad")]
            pad: Pad,
        }
        let lopsided = Pad {
            bottom: 1,
            ..Pad::VALID
        };
        for (pad, text) in [
            (Pad::all(1), r#"{"pad":1}"#),
            (lopsided, r#"{"pad":{"top":0,"bottom":1,"left":0,"right":0}}"#),
        ] {
            let pool = Pool { pad };
            assert_eq!(serde_json::to_string(&pool).expect("writes"), text);
            assert_eq!(serde_json::from_str::<Pool>(text).expect("reads"), pool);
        }
    }
}
