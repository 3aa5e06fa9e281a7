//! What a product multiplies, and where its images are. Knows nothing of how it runs.
#![expect(unsafe_code, reason = "lends addresses to the threads of a call")]

use super::shape::ConvShape;

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The columns of each position; any kernel and stride, the direct plan's weights and lists.
    Positions,
    /// Transformed tiles of so many outputs along each side, 2 or 4: 3×3 with stride 1 alone, Winograd's weights and lists.
    Winograd(usize),
}

/// One image's planes.
#[derive(Debug)]
pub struct ImagePlanes<'a> {
    /// In the plan's input layout.
    pub input: &'a [f32],
    /// In the plan's residual layout, if one is added.
    pub residual: Option<&'a [f32]>,
    /// In the plan's output layout.
    pub output: &'a mut [f32],
}

/// The same as addresses, for as long as a call lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageAddress {
    pub input: *const f32,
    pub residual: *const f32,
    pub output: *mut f32,
}

// SAFETY: only a call that holds the images follows these, and it says why no other thread is there.
unsafe impl Send for ImageAddress {}
// SAFETY: the same.
unsafe impl Sync for ImageAddress {}

impl Form {
    /// Outputs along each side of what is multiplied at once.
    pub(crate) fn size(self) -> usize {
        match self {
            Form::Positions => 1,
            Form::Winograd(size) => size,
        }
    }

    /// Rows and columns of the image that each one reads.
    pub(crate) fn window(self, shape: &ConvShape) -> [usize; 2] {
        match self {
            Form::Positions => shape.kernel,
            Form::Winograd(size) => [size + 2; 2],
        }
    }
}
