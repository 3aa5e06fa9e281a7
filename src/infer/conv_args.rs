//! The operands of one convolution, whatever form computes it.

use kernel::{Columns, ConvCall, Epilogue};

/// What does not depend on the form.
#[derive(Clone, Copy)]
pub(crate) struct ConvArgs<'a> {
    pub input: &'a [f32],
    pub filters: &'a [u32],
    pub epilogue: Epilogue<'a>,
}

impl<'a> ConvArgs<'a> {
    pub(crate) fn call(self, weights: &'a [f32], columns: &'a Columns) -> ConvCall<'a> {
        ConvCall {
            input: self.input,
            weights,
            columns,
            filters: self.filters,
            epilogue: self.epilogue,
        }
    }
}
