//! How a network is compiled.

use kernel::Kernel;
use model::Precision;

/// How to compile.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whose instructions.
    pub kernel: Kernel,
    /// Threads of a run, the caller's included.
    pub threads: usize,
    /// Most images per run.
    pub batch: usize,
    /// Whether 3×3 convolutions may be computed by Winograd's algorithm where that should be faster.
    pub winograd: bool,
    /// What convolutions multiply; the model's own if nothing is said.
    pub precision: Option<Precision>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kernel: Kernel::best(),
            threads: 1,
            batch: 64,
            winograd: true,
            precision: None,
        }
    }
}
