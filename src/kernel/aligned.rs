//! Floats that start on a cache line. Knows nothing of what they mean.
#![expect(unsafe_code, reason = "views lines as the floats they are made of")]

use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct CacheLine([f32; 16]);

/// A zeroed buffer of a fixed length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aligned {
    lines: Vec<CacheLine>,
    len: usize,
}

impl Aligned {
    pub(crate) fn zeros(len: usize) -> Self {
        Self {
            lines: vec![CacheLine([0.0; 16]); len.div_ceil(16)],
            len,
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: lines are sixteen floats each without gaps, and `len` of them are there.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: lines are sixteen floats each without gaps, `len` of them are there, and they are borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
