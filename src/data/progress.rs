//! How far opening a data set has come.

use anyhow::Result;

/// How far opening a data set has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// In [0, 1].
    pub fraction: f32,
    /// What is being done now.
    pub text: String,
}

impl Progress {
    pub(crate) fn new(fraction: f32, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { fraction, text }
    }
}

/// Is told the progress. An error stops the work and comes back from it unchanged: this is how a caller cancels.
pub(crate) type OnProgress<'a> = dyn FnMut(Progress) -> Result<()> + 'a;
