//! Products of bytes in plain Rust, for the compiler to vectorize. Knows nothing of any instruction set.
#![expect(unsafe_code, reason = "the `Products` trait works on pointers")]

use super::generic::Portable;
use super::products::byte_products;
use super::tile::{by_m, compile_tile, instantiate_bytes};

const LANES: usize = 8;

fn zero() -> [i32; LANES] {
    [0; LANES]
}

fn broadcast(four: i32) -> [i32; LANES] {
    [four; LANES]
}

#[inline(always)]
unsafe fn load(at: *const f32) -> [i32; LANES] {
    // SAFETY: eight lanes are there to read.
    unsafe { at.cast::<[i32; LANES]>().read_unaligned() }
}

#[inline(always)]
unsafe fn load_row(at: *const f32, _pitch: usize) -> [i32; LANES] {
    // SAFETY: eight lanes, one row, are there to read.
    unsafe { load(at) }
}

#[inline(always)]
fn add_products(sums: [i32; LANES], x: [i32; LANES], w: [i32; LANES]) -> [i32; LANES] {
    std::array::from_fn(|i| {
        let byte = |k: i32| ((x[i] >> (8 * k)) & 0xff) * ((w[i] << (24 - 8 * k)) >> 24);
        sums[i] + (byte(0) + byte(1)) + (byte(2) + byte(3))
    })
}

fn sums(sums: [i32; LANES]) -> Portable {
    Portable(sums.map(|s| s as f32))
}

byte_products!(
    Bytes([i32; LANES]), 8, Portable, Self,
    zero: zero, broadcast: broadcast, load: load, load_rows: load_row,
    low: std::convert::identity, add_products: add_products, sums: sums
);
instantiate_bytes!(
    TILES: Bytes, [], conv2, rows: true, tail: None, filters: [4, 2, 0, 0, 0, 0], tail_filters: [0; 6]
);
