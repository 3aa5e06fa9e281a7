//! Shapes of convolutions and the padded-plane layout their operands live in.
//! Knows nothing of instructions or of which channels are active.

/// Zero rows and columns around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns left.
    pub left: usize,
    /// Columns right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub const fn all(n: usize) -> Self {
        Self {
            top: n,
            bottom: n,
            left: n,
            right: n,
        }
    }
}

/// One 2-D convolution over one image.
/// Weights are `[filters, in_channels, kh, kw]`, contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub filters: usize,
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// On both axes; gradients have 1 or 2.
    pub stride: usize,
    /// For gradients, less than the kernel on every side.
    pub pad: Padding,
}

impl ConvShape {
    /// Output height.
    pub fn out_h(&self) -> usize {
        (self.in_h + self.pad.top + self.pad.bottom - self.kernel[0]) / self.stride + 1
    }

    /// Output width.
    pub fn out_w(&self) -> usize {
        (self.in_w + self.pad.left + self.pad.right - self.kernel[1]) / self.stride + 1
    }

    /// Kernel positions: kh · kw.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Columns of the weight matrix: in_channels · kh · kw.
    pub fn columns(&self) -> usize {
        self.in_channels * self.taps()
    }

    /// Multiply-accumulates of `filters` filters over `columns` columns.
    pub fn macs(&self, filters: usize, columns: usize) -> u64 {
        (filters * columns * self.out_h() * self.out_w()) as u64
    }

    /// The convolution that the input gradient of this one is, over turned kernels; `None` with stride 2.
    /// It reads [`Layout::output_grad`].
    pub fn input_grad(&self) -> Option<ConvShape> {
        let [kh, kw] = self.kernel;
        (self.stride == 1).then(|| ConvShape {
            in_channels: self.filters,
            filters: self.in_channels,
            in_h: self.out_h(),
            in_w: self.out_w(),
            pad: Padding {
                top: kh - 1 - self.pad.top,
                bottom: kh - 1 - self.pad.bottom,
                left: kw - 1 - self.pad.left,
                right: kw - 1 - self.pad.right,
            },
            ..*self
        })
    }

    pub(crate) fn check(&self) {
        let [kh, kw] = self.kernel;
        let p = self.pad;
        assert!(
            self.stride > 0 && kh > 0 && kw > 0 && self.in_h > 0 && self.in_w > 0,
            "empty convolution"
        );
        assert!(
            self.in_h + p.top + p.bottom >= kh && self.in_w + p.left + p.right >= kw,
            "kernel larger than its input"
        );
    }

    /// What gradients want besides.
    fn check_grad(&self) {
        self.check();
        let ([kh, kw], p) = (self.kernel, self.pad);
        assert!(self.stride == 1 || self.stride == 2, "stride must be 1 or 2");
        assert!(
            p.top < kh && p.bottom < kh && p.left < kw && p.right < kw,
            "padding must be less than the kernel"
        );
    }

    /// The zeros the input gradient needs around an image of output gradients.
    fn grad_pad(&self) -> Padding {
        let axis = |size: usize, out: usize, k: usize, pad: usize| {
            let mut before = 0;
            let mut after = 0;
            for y in 0..size {
                for r in 0..k {
                    let at = y as isize + pad as isize - r as isize;
                    if at.rem_euclid(self.stride as isize) == 0 {
                        let at = at.div_euclid(self.stride as isize);
                        before = before.max(-at);
                        after = after.max(at - (out as isize - 1));
                    }
                }
            }
            (before as usize, after as usize)
        };
        let (top, bottom) = axis(self.in_h, self.out_h(), self.kernel[0], self.pad.top);
        let (left, right) = axis(self.in_w, self.out_w(), self.kernel[1], self.pad.left);
        Padding {
            top,
            bottom,
            left,
            right,
        }
    }

    /// One pitch for the input's (phase) planes and the output gradient's, so that
    /// a position has the same offset in both.
    fn pitch(&self) -> usize {
        let input = (self.in_w + self.pad.left.max(self.pad.right)).div_ceil(self.stride);
        let pad = self.grad_pad();
        input.max(self.out_w() + pad.left.max(pad.right))
    }
}

/// Zeros kept behind the last plane, so that whole vectors may be read there.
const SLACK: usize = 64;

/// Where the pixels of `[channels, height, width]` live in a flat buffer.
///
/// A plane is a channel's padded image, row after row at a constant pitch. Neighboring rows share
/// their side padding: the zeros right of a row are those left of the next. With stride 2 a channel
/// has four planes, one for each parity of (row, column). Only pixels are ever written; the zeros
/// between them are the padding, so allocate zeroed and reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Channels.
    pub channels: usize,
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    pub(crate) stride: usize,
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) pitch: usize,
    pub(crate) phase_len: usize,
    pub(crate) channel_len: usize,
    pub(crate) slack: usize,
}

impl Layout {
    /// Plain `[channels, height, width]` without padding.
    pub fn contiguous(channels: usize, height: usize, width: usize) -> Self {
        Self {
            channels,
            height,
            width,
            stride: 1,
            top: 0,
            left: 0,
            pitch: width,
            phase_len: height * width,
            channel_len: height * width,
            slack: 0,
        }
    }

    /// What a convolution reads its input from.
    pub fn input(shape: &ConvShape) -> Self {
        shape.check();
        Self::planes(
            [shape.in_channels, shape.in_h, shape.in_w],
            shape.stride,
            shape.pad,
            shape.pitch(),
        )
    }

    /// What both gradients read the output gradient from.
    pub fn output_grad(shape: &ConvShape) -> Self {
        shape.check_grad();
        Self::planes(
            [shape.filters, shape.out_h(), shape.out_w()],
            1,
            shape.grad_pad(),
            shape.pitch(),
        )
    }

    fn planes([channels, height, width]: [usize; 3], stride: usize, pad: Padding, pitch: usize) -> Self {
        let rows = (pad.top + height + pad.bottom).div_ceil(stride);
        // 16 more: a vector that starts on the last pixel meets zeros, not the next channel.
        let phase_len = rows * pitch + pad.left + 16;
        // An odd number of cache lines, so that channels do not fall on the same cache sets.
        let lines = (phase_len * stride * stride).div_ceil(16) | 1;
        Self {
            channels,
            height,
            width,
            stride,
            top: pad.top,
            left: pad.left,
            pitch,
            phase_len,
            channel_len: lines * 16,
            slack: SLACK + 2 * pitch,
        }
    }

    /// Floats a buffer of this layout must hold.
    pub fn len(&self) -> usize {
        self.channels * self.channel_len + self.slack
    }

    /// True when there are no channels and no slack.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A zeroed buffer.
    pub fn alloc(&self) -> Vec<f32> {
        vec![0.0; self.len()]
    }

    /// How many columns apart pixels of a row are that lie side by side.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Index of a pixel.
    pub fn offset(&self, channel: usize, y: usize, x: usize) -> usize {
        channel * self.channel_len + self.padded_offset(y + self.top, x + self.left)
    }

    /// Which places of a channel's planes hold no pixel.
    pub(crate) fn padding(&self) -> Vec<bool> {
        let mut padding = vec![true; self.channel_len];
        for y in 0..self.height {
            for x in 0..self.width {
                padding[self.offset(0, y, x)] = false;
            }
        }
        padding
    }

    /// Index within a channel of a position of the padded image.
    pub(crate) fn padded_offset(&self, y: usize, x: usize) -> usize {
        let s = self.stride;
        let phase = (y % s) * s + x % s;
        phase * self.phase_len + (y / s) * self.pitch + x / s
    }

    /// Copies the listed channels of a contiguous `[channels, height, width]` image in.
    pub fn pack(&self, image: &[f32], channels: &[u32], planes: &mut [f32]) {
        assert_eq!(image.len(), self.channels * self.height * self.width, "image size");
        assert!(planes.len() >= self.len(), "planes too short");
        for &c in channels {
            for y in 0..self.height {
                let row = &image[(c as usize * self.height + y) * self.width..][..self.width];
                if self.stride == 1 {
                    planes[self.offset(c as usize, y, 0)..][..self.width].copy_from_slice(row);
                    continue;
                }
                for first in 0..self.width.min(self.stride) {
                    let to = self.offset(c as usize, y, first);
                    let n = (self.width - first).div_ceil(self.stride);
                    for (to, from) in planes[to..to + n]
                        .iter_mut()
                        .zip(row[first..].iter().step_by(self.stride))
                    {
                        *to = *from;
                    }
                }
            }
        }
    }
}
