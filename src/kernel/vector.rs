//! The few operations the inner loops need, over however many lanes an instruction set has.
//! Knows nothing of convolutions.
#![expect(unsafe_code, reason = "loads and stores through pointers the plans have checked")]

/// Some lanes of a vector and the neighboring floats they belong to: where bit i of `mask` is set,
/// lane `index[i]` belongs to `at + i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LanePiece {
    pub at: i32,
    pub mask: u16,
    pub index: [u8; 16],
}

/// A few floats.
///
/// # Safety
/// For all functions: the machine has the instructions, and pointers cover the lanes touched.
pub(crate) trait Vector: Copy {
    const LANES: usize;
    /// Half as many lanes at half the cost; where there is no such thing, `Self`, and never used.
    type Half: Vector;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(at: *const f32) -> Self;
    unsafe fn store(self, at: *mut f32);
    /// Asks for the line at an address that will be read soon, valid or not; nothing where there is no such instruction.
    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}
    /// `self * b + c`
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    /// The larger of both; NaN stays NaN.
    unsafe fn at_least(self, floor: Self) -> Self;
    /// The smaller of both; NaN stays NaN.
    unsafe fn at_most(self, ceiling: Self) -> Self;
    /// The sum of the lanes, in a fixed order.
    unsafe fn sum(self) -> f32;
    /// Rows of eight, `pitch` apart; for fewer lanes than eight this is never called.
    unsafe fn load_rows(at: *const f32, pitch: usize) -> Self;
    /// The first half.
    unsafe fn low(self) -> Self::Half;
    /// `half` and as many lanes of anything.
    unsafe fn widen(half: Self::Half) -> Self;
    /// Writes lane i to `at + i` where bit i of `mask` is set. Where bit i of `zeros` is set,
    /// a zero may be written.
    #[inline(always)]
    unsafe fn store_masked(self, at: *mut f32, mask: u16, _zeros: u16) {
        // SAFETY: only floats whose bit is set are touched; `wrapping_add`, as `at` itself need not be one.
        unsafe {
            if usize::from(mask) == (1 << Self::LANES) - 1 {
                return self.store(at);
            }
            let lanes = self.lanes();
            for i in 0..Self::LANES {
                if mask >> i & 1 == 1 {
                    *at.wrapping_add(i) = lanes[i & 15];
                }
            }
        }
    }
    /// Lane i from `at + i` where bit i of `mask` is set, else 0.
    #[inline(always)]
    unsafe fn load_masked(at: *const f32, mask: u16) -> Self {
        // SAFETY: only floats whose bit is set are read, or sixteen of our own, which are as many as the widest vector.
        unsafe {
            if usize::from(mask) == (1 << Self::LANES) - 1 {
                return Self::load(at);
            }
            let mut lanes = [0.0f32; 16];
            for i in 0..Self::LANES {
                if mask >> i & 1 == 1 {
                    lanes[i & 15] = *at.wrapping_add(i);
                }
            }
            Self::load(lanes.as_ptr())
        }
    }
    /// Every `step`-th float.
    #[inline(always)]
    unsafe fn load_apart(at: *const f32, step: usize) -> Self {
        let mut lanes = [0.0f32; 16];
        // SAFETY: LANES floats `step` apart are the caller's; sixteen are the widest vector.
        unsafe {
            for i in 0..Self::LANES {
                lanes[i & 15] = *at.add(i * step);
            }
            Self::load(lanes.as_ptr())
        }
    }
    /// Lane `index[i]` as lane i where bit i of the mask is set, else 0.
    #[inline(always)]
    unsafe fn spread(self, piece: &LanePiece) -> Self {
        // SAFETY: sixteen floats are the widest vector.
        unsafe {
            let lanes = self.lanes();
            let mut to = [0.0f32; 16];
            for i in 0..Self::LANES {
                if piece.mask >> i & 1 == 1 {
                    to[i & 15] = lanes[usize::from(piece.index[i & 15]) & 15];
                }
            }
            Self::load(to.as_ptr())
        }
    }
    /// The even and the odd lanes of `self` and `b` in a row.
    #[inline(always)]
    unsafe fn unzip(self, b: Self) -> (Self, Self) {
        // SAFETY: sixteen floats are the widest vector.
        unsafe {
            let both = [self.lanes(), b.lanes()];
            let mut to = [[0.0f32; 16]; 2];
            for i in 0..2 * Self::LANES {
                to[i % 2][i / 2] = both[i / Self::LANES][i % Self::LANES];
            }
            (Self::load(to[0].as_ptr()), Self::load(to[1].as_ptr()))
        }
    }
    /// `to[i * to_pitch + j] = from[j][i]` for i, j in 0 .. LANES.
    #[inline(always)]
    unsafe fn transpose(from: &[*const f32; 16], to: *mut f32, to_pitch: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: both blocks are LANES rows of LANES floats.
                unsafe { *to.add(i * to_pitch + j) = *from[j & 15].add(i) }
            }
        }
    }
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; 16] {
        let mut lanes = [0.0f32; 16];
        // SAFETY: sixteen floats are the widest vector.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
}
