//! Products of bytes with AVX-512 VNNI, AVX-VNNI and plain AVX2. Knows nothing beyond their lanes.
#![expect(unsafe_code, reason = "std::arch intrinsics")]

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::avx512::Avx512;
use super::conv_tile;
use super::products::byte_products;
use super::tile::{by_m, compile_tile, instantiate_bytes};

#[inline(always)]
unsafe fn load256(at: *const f32) -> __m256i {
    // SAFETY: eight lanes are there to read.
    unsafe { _mm256_loadu_si256(at.cast()) }
}

#[inline(always)]
unsafe fn load_row256(at: *const f32, _pitch: usize) -> __m256i {
    // SAFETY: eight lanes, one row, are there to read.
    unsafe { load256(at) }
}

#[inline(always)]
unsafe fn sums256(sums: __m256i) -> Avx2 {
    // SAFETY: no memory is touched.
    unsafe { Avx2(_mm256_cvtepi32_ps(sums)) }
}

/// u8 · i8 in four pairs, without instructions of its own. The one that AVX2 has for it saturates.
#[inline(always)]
unsafe fn add_pairs(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
    // SAFETY: no memory is touched.
    unsafe {
        let (x_even, x_odd) = (_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(x));
        let (w_even, w_odd) = (
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)),
            _mm256_srai_epi16::<8>(w),
        );
        let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(x_even, w_even));
        _mm256_add_epi32(sums, _mm256_madd_epi16(x_odd, w_odd))
    }
}

pub(crate) mod vnni512 {
    use super::*;

    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m512i {
        // SAFETY: sixteen lanes are there to read.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn load_rows(at: *const f32, pitch: usize) -> __m512i {
        // SAFETY: two rows of eight lanes are there to read.
        unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load256(at)), load256(at.add(pitch))) }
    }

    #[inline(always)]
    unsafe fn low(x: Bytes512) -> Bytes256 {
        // SAFETY: no memory is touched.
        unsafe { Bytes256(_mm512_castsi512_si256(x.0)) }
    }

    #[inline(always)]
    unsafe fn sums(sums: __m512i) -> Avx512 {
        // SAFETY: no memory is touched.
        unsafe { Avx512(_mm512_cvtepi32_ps(sums)) }
    }

    byte_products!(
        Bytes512(__m512i), 16, Avx512, Bytes256,
        zero: _mm512_setzero_si512, broadcast: _mm512_set1_epi32, load: load, load_rows: load_rows,
        low: low, add_products: _mm512_dpbusd_epi32, sums: sums
    );
    byte_products!(
        Bytes256(__m256i), 8, Avx2, Self,
        zero: _mm256_setzero_si256, broadcast: _mm256_set1_epi32, load: load256, load_rows: load_row256,
        low: std::convert::identity, add_products: _mm256_dpbusd_epi32, sums: sums256
    );
    instantiate_bytes!(
        TILES: Bytes512, [target_feature(enable = "avx512f,avx512vl,avx512vnni")], conv,
        rows: true, tail: Some(by_m!(conv: false, true)),
        filters: [8, 8, 8, 6, 5, 4], tail_filters: [8, 8, 6, 5, 4, 3]
    );
}

pub(crate) mod vnni256 {
    use super::*;

    byte_products!(
        Bytes256(__m256i), 8, Avx2, Self,
        zero: _mm256_setzero_si256, broadcast: _mm256_set1_epi32, load: load256, load_rows: load_row256,
        low: std::convert::identity, add_products: _mm256_dpbusd_avx_epi32, sums: sums256
    );
    instantiate_bytes!(
        TILES: Bytes256, [target_feature(enable = "avx2,fma,avxvnni")], conv2,
        rows: true, tail: None, filters: [8, 6, 0, 0, 0, 0], tail_filters: [0; 6]
    );
}

pub(crate) mod pairs256 {
    use super::*;

    byte_products!(
        Bytes256(__m256i), 8, Avx2, Self,
        zero: _mm256_setzero_si256, broadcast: _mm256_set1_epi32, load: load256, load_rows: load_row256,
        low: std::convert::identity, add_products: add_pairs, sums: sums256
    );
    instantiate_bytes!(
        TILES: Bytes256, [target_feature(enable = "avx2,fma")], conv2,
        rows: true, tail: None, filters: [8, 4, 0, 0, 0, 0], tail_filters: [0; 6]
    );
}
