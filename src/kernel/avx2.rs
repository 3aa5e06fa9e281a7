//! The tiles with AVX2 and FMA. Knows nothing beyond its eight lanes.
#![expect(unsafe_code, reason = "std::arch intrinsics")]
#![expect(clippy::needless_range_loop, reason = "a transposition is indices")]

use std::arch::x86_64::*;

use super::tile::{self, ConvTask, DotTask, OuterTask, Tiles, Vector, by_m, instantiate};

#[derive(Clone, Copy)]
struct Avx2(__m256);

// SAFETY (all blocks below): `TILES` is reachable only through a `Kernel`, which exists only where
// the processor has AVX2 and FMA; pointers are the callers' duty.
#[expect(clippy::undocumented_unsafe_blocks, reason = "said once above")]
impl Vector for Avx2 {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(at)) }
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
    unsafe fn relu(self) -> Self {
        unsafe { Self(_mm256_max_ps(self.0, _mm256_setzero_ps())) }
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
    unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        unsafe {
            let mut a = [_mm256_setzero_ps(); 8];
            let mut b = a;
            for i in 0..8 {
                a[i] = _mm256_loadu_ps(from.add(i * from_pitch));
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

instantiate!(
    Avx2, [target_feature(enable = "avx2,fma")], rows: true,
    conv_filters: [8, 6, 0, 0, 0, 0], dot_max: (3, 3), outer_max: (6, 2)
);
