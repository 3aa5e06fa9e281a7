//! The tiles with AVX2 and FMA. Knows nothing beyond its eight lanes.
#![expect(unsafe_code, reason = "std::arch intrinsics")]

use std::arch::x86_64::*;

use super::plane_passes::compile_passes;
use super::tile::{Tiles, by_m, compile_tile, instantiate};
use super::vector::{LanePiece, Vector};

#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub __m256);

// SAFETY (all blocks below): `TILES` is reachable only through a `Kernel`, which exists only where
// the processor has AVX2 and FMA; only the floats that the trait names are touched.
#[expect(clippy::undocumented_unsafe_blocks, reason = "said once above")]
impl Vector for Avx2 {
    const LANES: usize = 8;
    type Half = Self;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(at)) }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch(at.cast(), _MM_HINT_T0) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        unsafe { _mm256_storeu_ps(at, self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn at_least(self, floor: Self) -> Self {
        // Of a NaN and a number the instruction returns its second operand.
        unsafe { Self(_mm256_max_ps(floor.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn at_most(self, ceiling: Self) -> Self {
        unsafe { Self(_mm256_min_ps(ceiling.0, self.0)) }
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
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn load_rows(at: *const f32, _pitch: usize) -> Self {
        unsafe { Self::load(at) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, at: *mut f32, mask: u16, zeros: u16) {
        unsafe {
            if mask == 0xff {
                return self.store(at);
            }
            if mask | zeros == 0xff {
                return Self(_mm256_and_ps(self.0, lane_mask(mask))).store(at);
            }
            if mask & (mask << 1) == 0 {
                let lanes = self.lanes();
                let mut left = mask;
                while left != 0 {
                    let lane = left.trailing_zeros() as usize;
                    left &= left - 1;
                    *at.wrapping_add(lane) = lanes[lane & 7];
                }
                return;
            }
            // Runs of lanes, in steps of 4, 2 and 1: masked stores are slow on some processors.
            let mut left = mask;
            while left != 0 {
                let first = left.trailing_zeros();
                let len = (left >> first).trailing_ones();
                left &= !(((1 << len) - 1) << first);
                let shift = _mm256_add_epi32(
                    _mm256_set1_epi32(first as i32),
                    _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                );
                let run = _mm256_permutevar8x32_ps(self.0, shift);
                let mut at = at.wrapping_add(first as usize);
                let mut low = _mm256_castps256_ps128(run);
                if len & 4 != 0 {
                    _mm_storeu_ps(at, low);
                    at = at.wrapping_add(4);
                    low = _mm256_extractf128_ps::<1>(run);
                }
                if len & 2 != 0 {
                    _mm_storel_pd(at.cast(), _mm_castps_pd(low));
                    at = at.wrapping_add(2);
                    low = _mm_movehl_ps(low, low);
                }
                if len & 1 != 0 {
                    _mm_store_ss(at, low);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn load_masked(at: *const f32, mask: u16) -> Self {
        unsafe { Self(_mm256_maskload_ps(at, _mm256_castps_si256(lane_mask(mask)))) }
    }
    #[inline(always)]
    unsafe fn spread(self, piece: &LanePiece) -> Self {
        unsafe {
            let index = _mm256_cvtepu8_epi32(_mm_loadl_epi64(piece.index.as_ptr().cast()));
            Self(_mm256_and_ps(
                _mm256_permutevar8x32_ps(self.0, index),
                lane_mask(piece.mask),
            ))
        }
    }
    #[inline(always)]
    unsafe fn unzip(self, b: Self) -> (Self, Self) {
        unsafe {
            let sorted = |half: __m256| _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(_mm256_castps_pd(half)));
            (
                Self(sorted(_mm256_shuffle_ps::<0x88>(self.0, b.0))),
                Self(sorted(_mm256_shuffle_ps::<0xdd>(self.0, b.0))),
            )
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: &[*const f32; 16], to: *mut f32, to_pitch: usize) {
        unsafe {
            let mut a = [_mm256_setzero_ps(); 8];
            let mut b = a;
            for i in 0..8 {
                a[i] = _mm256_loadu_ps(from[i]);
            }
            for i in (0..8).step_by(2) {
                b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
                b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
            }
            for i in (0..8).step_by(4) {
                for j in 0..2 {
                    a[i + 2 * j] = _mm256_shuffle_ps::<0x44>(b[i + j], b[i + j + 2]);
                    a[i + 2 * j + 1] = _mm256_shuffle_ps::<0xee>(b[i + j], b[i + j + 2]);
                }
            }
            for k in 0..4 {
                _mm256_storeu_ps(to.add(k * to_pitch), _mm256_permute2f128_ps::<0x20>(a[k], a[4 + k]));
                _mm256_storeu_ps(
                    to.add((4 + k) * to_pitch),
                    _mm256_permute2f128_ps::<0x31>(a[k], a[4 + k]),
                );
            }
        }
    }
}

/// All ones where a bit is set.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
unsafe fn lane_mask(bits: u16) -> __m256 {
    // SAFETY: whoever has an `Avx2` runs on a processor that has it.
    unsafe {
        let lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let bits = _mm256_set1_epi32(i32::from(bits));
        _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(bits, lanes), lanes))
    }
}

instantiate!(
    Avx2, [target_feature(enable = "avx2,fma")], conv2, rows: true, conv_tail: None, outer_half: None,
    depthwise_tail: None, narrow_positions: [8, 6, 3],
    conv_filters: [8, 6, 0, 0, 0, 0], conv_tail_filters: [0; 6], dot_max: (3, 3), outer_max: (6, 2),
    batch_grad: (4, 2), winograd_costs: [20, 30]
);
