//! The tiles in plain Rust, for the compiler to vectorize: what runs where nothing better does.
//! Knows nothing of any instruction set.
#![expect(unsafe_code, reason = "the `Vector` trait works on pointers")]

use super::plane_passes::compile_passes;
use super::tile::{Tiles, by_m, compile_tile, instantiate};
use super::vector::Vector;

#[derive(Clone, Copy)]
pub(crate) struct Portable(pub [f32; 8]);

impl Vector for Portable {
    const LANES: usize = 8;
    type Half = Self;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: eight floats are there to read, and an array of floats is aligned as they are.
        unsafe { Self(*at.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: eight floats are there to write, and an array of floats is aligned as they are.
        unsafe { *at.cast() = self.0 }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // Two roundings: `mul_add` is a library call where there is no such instruction.
        Self(std::array::from_fn(|i| c.0[i] + self.0[i] * b.0[i]))
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + b.0[i]))
    }
    #[inline(always)]
    unsafe fn at_least(self, floor: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] < floor.0[i] { floor.0[i] } else { self.0[i] }
        }))
    }
    #[inline(always)]
    unsafe fn at_most(self, ceiling: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] > ceiling.0[i] {
                ceiling.0[i]
            } else {
                self.0[i]
            }
        }))
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
        let x = self.0;
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }
    #[inline(always)]
    unsafe fn load_rows(at: *const f32, _pitch: usize) -> Self {
        // SAFETY: eight floats, one row, are there to read.
        unsafe { Self::load(at) }
    }
}

instantiate!(
    Portable, [], conv2, rows: true, conv_tail: None, outer_half: None,
    depthwise_tail: None, narrow_positions: [6, 2, 1],
    conv_filters: [4, 2, 0, 0, 0, 0], conv_tail_filters: [0; 6], dot_max: (2, 2), outer_max: (4, 1),
    batch_grad: (4, 1), winograd_costs: [20, 30]
);
