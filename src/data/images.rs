//! Images as bytes, with their labels.

use super::answers::Answers;

/// The most pixel bytes one data set may hold in memory; more is refused before anything is allocated.
pub(crate) const MAX_BYTES: u64 = 4 << 30;

/// Size of one image, in the order in which its bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 (gray) or 3 (red, green, blue planes).
    pub channels: usize,
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
}

impl ImageShape {
    /// Bytes of one image.
    pub fn bytes(self) -> usize {
        self.channels * self.height * self.width
    }
}

impl std::fmt::Display for ImageShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// Images of one shape and their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Size of each image.
    pub shape: ImageShape,
    /// `[n, channels, height, width]`, 0 black to 255 white.
    pub pixels: Vec<u8>,
    /// `[n]`, each an index into [`Dataset::classes`].
    pub labels: Vec<u16>,
    /// What a network gave for some of them, where that is more than a class.
    pub answers: Option<Answers>,
}

impl Images {
    /// No images yet.
    pub fn empty(shape: ImageShape) -> Self {
        Self {
            shape,
            pixels: Vec::new(),
            labels: Vec::new(),
            answers: None,
        }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn image(&self, index: u32) -> &[u8] {
        let bytes = self.shape.bytes();
        &self.pixels[index as usize * bytes..][..bytes]
    }
}
