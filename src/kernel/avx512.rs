//! The tiles with AVX-512F and VL. Knows nothing beyond its sixteen lanes and AVX2's eight.
#![expect(unsafe_code, reason = "std::arch intrinsics")]
#![expect(clippy::needless_range_loop, reason = "a transposition is indices")]

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::plane_passes::compile_passes;
use super::tile::{Tiles, by_m, compile_tile, instantiate};
use super::vector::{LanePiece, Vector};

#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub __m512);

// SAFETY (all blocks below): `TILES` is reachable only through a `Kernel`, which exists only where
// the processor has AVX-512F and VL; only the floats that the trait names are touched.
#[expect(clippy::undocumented_unsafe_blocks, reason = "said once above")]
impl Vector for Avx512 {
    const LANES: usize = 16;
    type Half = Avx2;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(at)) }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch(at.cast(), _MM_HINT_T0) }
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
    unsafe fn at_least(self, floor: Self) -> Self {
        // Of a NaN and a number the instruction returns its second operand.
        unsafe { Self(_mm512_max_ps(floor.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn at_most(self, ceiling: Self) -> Self {
        unsafe { Self(_mm512_min_ps(ceiling.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn low(self) -> Avx2 {
        unsafe { Avx2(_mm512_castps512_ps256(self.0)) }
    }
    #[inline(always)]
    unsafe fn widen(half: Avx2) -> Self {
        unsafe { Self(_mm512_castps256_ps512(half.0)) }
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
    unsafe fn store_masked(self, at: *mut f32, mask: u16, _zeros: u16) {
        unsafe { _mm512_mask_storeu_ps(at, mask, self.0) }
    }
    #[inline(always)]
    unsafe fn load_masked(at: *const f32, mask: u16) -> Self {
        unsafe { Self(_mm512_maskz_loadu_ps(mask, at)) }
    }
    #[inline(always)]
    unsafe fn spread(self, piece: &LanePiece) -> Self {
        unsafe {
            let index = _mm512_cvtepu8_epi32(_mm_loadu_si128(piece.index.as_ptr().cast()));
            Self(_mm512_maskz_permutexvar_ps(piece.mask, index, self.0))
        }
    }
    #[inline(always)]
    unsafe fn unzip(self, b: Self) -> (Self, Self) {
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            (
                Self(_mm512_permutex2var_ps(self.0, even, b.0)),
                Self(_mm512_permutex2var_ps(self.0, odd, b.0)),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_apart(at: *const f32, step: usize) -> Self {
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let offsets = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(step as i32));
            Self(_mm512_i32gather_ps::<4>(offsets, at))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: &[*const f32; 16], to: *mut f32, to_pitch: usize) {
        unsafe {
            let mut a = [_mm512_setzero_ps(); 16];
            let mut b = a;
            for i in 0..16 {
                a[i] = _mm512_loadu_ps(from[i]);
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

compile_tile! { (target_feature(enable = "avx512f,avx512vl")) Avx2;
    outer_half<M: usize, N: usize>(task: &super::grad_tile::OuterTask, filters: &[u32], first: usize)
        = super::grad_tile::outer_tile
}

instantiate!(
    Avx512, [target_feature(enable = "avx512f,avx512vl")], conv, rows: true,
    conv_tail: Some(by_m!(conv: false, true)),
    outer_half: Some([by_m!(8: outer_half, 1), by_m!(8: outer_half, 2), by_m!(8: outer_half, 3)]),
    depthwise_tail: Some(by_m!(depthwise: depthwise; false, true)), narrow_positions: [8, 8, 6],
    conv_filters: [8, 8, 8, 6, 5, 4], conv_tail_filters: [8, 8, 6, 5, 4, 3], dot_max: (3, 9), outer_max: (8, 3),
    batch_grad: (6, 4), winograd_costs: [12, 14]
);
