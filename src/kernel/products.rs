//! What a convolution's inner loop multiplies and adds up: floats, or four bytes in the place of a float.
//! Knows nothing of convolutions.
#![expect(unsafe_code, reason = "loads through pointers the plans have checked")]

use super::vector::Vector;

/// A few lanes of 32 bits. Pointers are to floats, whatever the bits mean.
///
/// # Safety
/// For all functions: the machine has the instructions, and pointers cover the lanes touched.
pub(crate) trait Products: Copy {
    const LANES: usize;
    /// What the sums become.
    type Sum: Vector;
    /// Half as many lanes; where there is no such thing, `Self`, and never used.
    type Half: Products<Sum = <Self::Sum as Vector>::Half>;
    unsafe fn zero() -> Self;
    /// One lane's bits in all lanes.
    unsafe fn broadcast(at: *const f32) -> Self;
    unsafe fn load(at: *const f32) -> Self;
    /// Rows of eight, `pitch` apart; for fewer lanes than eight this is never called.
    unsafe fn load_rows(at: *const f32, pitch: usize) -> Self;
    /// Asks for the line at an address that will be read soon, valid or not.
    unsafe fn prefetch(at: *const f32);
    /// The first half.
    unsafe fn low(self) -> Self::Half;
    /// `sums` and the products of `self`, the input, with weights.
    unsafe fn add_products(self, weights: Self, sums: Self) -> Self;
    /// The sums, as floats.
    unsafe fn sums(self) -> Self::Sum;
}

// SAFETY (all blocks below): each is the vector's own function, with its contract.
#[expect(clippy::undocumented_unsafe_blocks, reason = "said once above")]
impl<V: Vector> Products for V {
    const LANES: usize = V::LANES;
    type Sum = V;
    type Half = V::Half;
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { V::splat(0.0) }
    }
    #[inline(always)]
    unsafe fn broadcast(at: *const f32) -> Self {
        unsafe { V::splat(*at) }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        unsafe { <V as Vector>::load(at) }
    }
    #[inline(always)]
    unsafe fn load_rows(at: *const f32, pitch: usize) -> Self {
        unsafe { <V as Vector>::load_rows(at, pitch) }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { <V as Vector>::prefetch(at) }
    }
    #[inline(always)]
    unsafe fn low(self) -> V::Half {
        unsafe { <V as Vector>::low(self) }
    }
    #[inline(always)]
    unsafe fn add_products(self, weights: Self, sums: Self) -> Self {
        unsafe { self.fma(weights, sums) }
    }
    #[inline(always)]
    unsafe fn sums(self) -> V {
        self
    }
}

/// Implements [`Products`] of bytes for a vector of integers: inputs are unsigned, weights signed, sums of 32 bits.
macro_rules! byte_products {
    (
        $name:ident($inner:ty), $lanes:literal, $sum:ty, $half:ty,
        zero: $zero:expr, broadcast: $broadcast:expr, load: $load:expr, load_rows: $load_rows:expr,
        low: $low:expr, add_products: $add:expr, sums: $sums:expr
    ) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name($inner);

        // SAFETY (all blocks below): as where the instructions are named: the machine has them, and pointers cover the lanes.
        #[allow(
            clippy::undocumented_unsafe_blocks,
            unused_unsafe,
            reason = "said once above; some instructions are safe"
        )]
        impl $crate::products::Products for $name {
            const LANES: usize = $lanes;
            type Sum = $sum;
            type Half = $half;
            #[inline(always)]
            unsafe fn zero() -> Self {
                unsafe { Self($zero()) }
            }
            #[inline(always)]
            unsafe fn broadcast(at: *const f32) -> Self {
                unsafe { Self($broadcast(at.cast::<i32>().read())) }
            }
            #[inline(always)]
            unsafe fn load(at: *const f32) -> Self {
                unsafe { Self($load(at)) }
            }
            #[inline(always)]
            unsafe fn load_rows(at: *const f32, pitch: usize) -> Self {
                unsafe { Self($load_rows(at, pitch)) }
            }
            #[inline(always)]
            unsafe fn prefetch(at: *const f32) {
                unsafe { <$sum as $crate::vector::Vector>::prefetch(at) }
            }
            #[inline(always)]
            unsafe fn low(self) -> $half {
                unsafe { $low(self) }
            }
            #[inline(always)]
            unsafe fn add_products(self, weights: Self, sums: Self) -> Self {
                unsafe { Self($add(sums.0, self.0, weights.0)) }
            }
            #[inline(always)]
            unsafe fn sums(self) -> $sum {
                unsafe { $sums(self.0) }
            }
        }
    };
}
pub(crate) use byte_products;
