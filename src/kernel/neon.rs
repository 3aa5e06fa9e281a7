//! The tiles with NEON. Knows nothing beyond its four lanes.
#![expect(unsafe_code, reason = "std::arch intrinsics")]

use std::arch::aarch64::*;

use super::plane_passes::compile_passes;
use super::tile::{Tiles, by_m, compile_tile, instantiate};
use super::vector::Vector;

#[derive(Clone, Copy)]
pub(crate) struct Neon(pub float32x4_t);

// SAFETY (all blocks below): NEON is part of every aarch64 target this is compiled for; only the floats
// that the trait names are touched.
#[expect(clippy::undocumented_unsafe_blocks, reason = "said once above")]
impl Vector for Neon {
    const LANES: usize = 4;
    type Half = Self;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(vdupq_n_f32(x)) }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        unsafe { Self(vld1q_f32(at)) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        unsafe { vst1q_f32(at, self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        unsafe { Self(vfmaq_f32(c.0, self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        unsafe { Self(vaddq_f32(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn at_least(self, floor: Self) -> Self {
        // NaN if either is.
        unsafe { Self(vmaxq_f32(self.0, floor.0)) }
    }
    #[inline(always)]
    unsafe fn at_most(self, ceiling: Self) -> Self {
        unsafe { Self(vminq_f32(self.0, ceiling.0)) }
    }
    #[inline(always)]
    unsafe fn low(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn widen(half: Self) -> Self {
        half
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { vaddvq_f32(self.0) }
    }
    #[inline(always)]
    unsafe fn unzip(self, b: Self) -> (Self, Self) {
        unsafe { (Self(vuzp1q_f32(self.0, b.0)), Self(vuzp2q_f32(self.0, b.0))) }
    }
    #[inline(always)]
    unsafe fn load_rows(at: *const f32, _pitch: usize) -> Self {
        unsafe { Self::load(at) }
    }
}

instantiate!(
    Neon, [target_feature(enable = "neon")], conv, rows: false, conv_tail: None, outer_half: None,
    depthwise_tail: None, narrow_positions: [8, 8, 6],
    conv_filters: [8, 8, 8, 6, 5, 4], conv_tail_filters: [0; 6], dot_max: (3, 8), outer_max: (8, 3),
    batch_grad: (6, 4), winograd_costs: [20, 30]
);
