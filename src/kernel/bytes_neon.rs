//! Products of bytes with NEON's mixed dot product (i8mm). Knows nothing beyond its four lanes.
#![expect(unsafe_code, reason = "std::arch intrinsics and one instruction that has none")]

use std::arch::aarch64::*;

use super::neon::Neon;
use super::products::byte_products;
use super::tile::{by_m, compile_tile, instantiate_bytes};

#[inline(always)]
unsafe fn load(at: *const f32) -> int32x4_t {
    // SAFETY: four lanes are there to read.
    unsafe { vld1q_s32(at.cast()) }
}

#[inline(always)]
unsafe fn load_row(at: *const f32, _pitch: usize) -> int32x4_t {
    // SAFETY: never called: rows are of eight.
    unsafe { load(at) }
}

#[inline(always)]
unsafe fn zero() -> int32x4_t {
    // SAFETY: no memory is touched.
    unsafe { vdupq_n_s32(0) }
}

#[inline(always)]
unsafe fn add_products(mut sums: int32x4_t, x: int32x4_t, w: int32x4_t) -> int32x4_t {
    // SAFETY: the tiles run only where the processor has the instruction, which touches these registers alone.
    unsafe {
        std::arch::asm!(
            ".arch_extension i8mm",
            "usdot {sums:v}.4s, {x:v}.16b, {w:v}.16b",
            sums = inout(vreg) sums, x = in(vreg) x, w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

#[inline(always)]
unsafe fn sums(sums: int32x4_t) -> Neon {
    // SAFETY: no memory is touched.
    unsafe { Neon(vcvtq_f32_s32(sums)) }
}

byte_products!(
    Bytes(int32x4_t), 4, Neon, Self,
    zero: zero, broadcast: vdupq_n_s32, load: load, load_rows: load_row,
    low: std::convert::identity, add_products: add_products, sums: sums
);
instantiate_bytes!(
    TILES: Bytes, [target_feature(enable = "neon,i8mm")], conv,
    rows: false, tail: None, filters: [8, 8, 8, 6, 5, 4], tail_filters: [0; 6]
);
