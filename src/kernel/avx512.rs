//! The tiles with AVX-512F. Knows nothing beyond its sixteen lanes.
#![expect(unsafe_code, reason = "std::arch intrinsics")]
#![expect(clippy::needless_range_loop, reason = "a transposition is indices")]

use std::arch::x86_64::*;

use super::tile::{self, ConvTask, DotTask, OuterTask, Piece, Tiles, Vector, by_m, instantiate};

#[derive(Clone, Copy)]
struct Avx512(__m512);

// SAFETY (all blocks below): `TILES` is reachable only through a `Kernel`, which exists only where
// the processor has AVX-512F; pointers are the callers' duty.
#[expect(clippy::undocumented_unsafe_blocks, reason = "said once above")]
impl Vector for Avx512 {
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(at)) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        unsafe { _mm512_storeu_ps(at, self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        unsafe { Self(_mm512_max_ps(self.0, _mm512_setzero_ps())) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    unsafe fn load_rows(at: *const f32, pitch: usize) -> Self {
        unsafe {
            let low = _mm512_castpd256_pd512(_mm256_castps_pd(_mm256_loadu_ps(at)));
            let high = _mm256_castps_pd(_mm256_loadu_ps(at.add(pitch)));
            Self(_mm512_castpd_ps(_mm512_insertf64x4::<1>(low, high)))
        }
    }
    #[inline(always)]
    unsafe fn store_lanes(self, at: *mut f32, from: usize, len: usize) {
        unsafe {
            let mask = ((1u32 << len) - 1) << from;
            // Lanes below `from` are masked out: nothing in front of `at` is touched.
            _mm512_mask_storeu_ps(at.wrapping_sub(from), mask as u16, self.0);
        }
    }
    #[inline(always)]
    unsafe fn store_strided(self, at: *mut f32, from: usize, len: usize, lane_step: usize, step: usize) {
        unsafe {
            let count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            // Target lane i takes source lane from + i / step * lane_step; steps are 1 or 2.
            let source = _mm512_srl_epi32(count, _mm_cvtsi32_si128(step as i32 - 1));
            let source = _mm512_sll_epi32(source, _mm_cvtsi32_si128(lane_step as i32 - 1));
            let source = _mm512_add_epi32(source, _mm512_set1_epi32(from as i32));
            let steps = if step == 2 { 0x5555_5555u32 } else { 0xffff_ffff };
            let mask = steps & ((1u64 << (len * step)) - 1) as u32;
            _mm512_mask_storeu_ps(at, mask as u16, _mm512_permutexvar_ps(source, self.0));
            if mask >> 16 != 0 {
                let source = _mm512_add_epi32(source, _mm512_set1_epi32(8 * lane_step as i32));
                _mm512_mask_storeu_ps(
                    at.wrapping_add(16),
                    (mask >> 16) as u16,
                    _mm512_permutexvar_ps(source, self.0),
                );
            }
        }
    }
    #[inline(always)]
    unsafe fn add_piece(self, at: *mut f32, piece: &Piece) {
        unsafe {
            let index = _mm512_loadu_si512(piece.index.as_ptr().cast());
            let spread = _mm512_permutexvar_ps(index, self.0);
            let old = _mm512_maskz_loadu_ps(piece.mask, at);
            _mm512_mask_storeu_ps(at, piece.mask, _mm512_add_ps(old, spread));
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        unsafe {
            let mut a = [_mm512_setzero_ps(); 16];
            let mut b = a;
            for i in 0..16 {
                a[i] = _mm512_loadu_ps(from.add(i * from_pitch));
            }
            for i in (0..16).step_by(2) {
                b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
                b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
            }
            for i in (0..16).step_by(4) {
                for j in 0..2 {
                    let x = _mm512_castps_pd(b[i + j]);
                    let y = _mm512_castps_pd(b[i + j + 2]);
                    a[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
                    a[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
                }
            }
            // a[4 q + k] holds, in its quarter l, position 4 l + k of channels 4 q .. 4 q + 4.
            for k in 0..4 {
                let even01 = _mm512_shuffle_f32x4::<0x88>(a[k], a[4 + k]);
                let odd01 = _mm512_shuffle_f32x4::<0xdd>(a[k], a[4 + k]);
                let even23 = _mm512_shuffle_f32x4::<0x88>(a[8 + k], a[12 + k]);
                let odd23 = _mm512_shuffle_f32x4::<0xdd>(a[8 + k], a[12 + k]);
                b[k] = _mm512_shuffle_f32x4::<0x88>(even01, even23);
                b[4 + k] = _mm512_shuffle_f32x4::<0x88>(odd01, odd23);
                b[8 + k] = _mm512_shuffle_f32x4::<0xdd>(even01, even23);
                b[12 + k] = _mm512_shuffle_f32x4::<0xdd>(odd01, odd23);
            }
            for i in 0..16 {
                _mm512_storeu_ps(to.add(i * to_pitch), b[i]);
            }
        }
    }
}

instantiate!(
    Avx512, [target_feature(enable = "avx512f")], rows: true,
    conv_filters: [8, 8, 8, 6, 5, 4], dot_max: (3, 9), outer_max: (8, 3)
);
