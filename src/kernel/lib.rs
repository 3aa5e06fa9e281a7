//! Convolution arithmetic that does only the work of the listed channels, and the threads for it.
//! Knows nothing of networks, images or burn: slices, shapes and lists in, slices out.
//!
//! Make a [`ConvPlan`] or [`WeightGradPlan`] once per layer; each call then takes lists of active
//! filters and columns and allocates nothing. Leaving a channel off a list equals masking it with
//! zeros. A [`WinogradPlan`] does the same with fewer multiplications where that pays, at a larger rounding
//! error. Results do not depend on how filters are split over threads.
//!
//! To add a kernel for another processor: one file beside `neon.rs`, and a line in [`Kernel::available`].

mod aligned;
mod columns;
mod conv;
mod conv_tile;
mod grad;
mod grad_tile;
mod lanes;
mod planes;
mod pool;
pub mod reference;
mod shape;
mod sweep;
mod tile;
mod vector;
mod winograd;
mod winograd_size;
mod winograd_tile;
mod winograd_weights;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;

pub use columns::Columns;
pub use conv::{ConvCall, ConvPlan, Epilogue, transpose_weights};
pub use grad::{GradScratch, WeightGradCall, WeightGradPlan};
pub use planes::{Affine, AffineGrad};
pub use pool::Pool;
pub use shape::{ConvShape, Layout, Pad};
pub use winograd::{WinogradPlan, WinogradScratch};
pub use winograd_weights::WeightOrder;

use tile::Tiles;

/// An implementation this machine can run: the value is the proof.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// `None` is the reference.
    tiles: Option<&'static Tiles>,
}

impl Kernel {
    /// All that run here, fastest first.
    pub fn available() -> Vec<Kernel> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl") {
                all.push(Kernel {
                    name: "avx512",
                    tiles: Some(&avx512::TILES),
                });
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                all.push(Kernel {
                    name: "avx2",
                    tiles: Some(&avx2::TILES),
                });
            }
        }
        #[cfg(target_arch = "aarch64")]
        all.push(Kernel {
            name: "neon",
            tiles: Some(&neon::TILES),
        });
        all.push(Kernel {
            name: "portable",
            tiles: Some(&generic::TILES),
        });
        all.push(Kernel {
            name: "reference",
            tiles: None,
        });
        all
    }

    /// The fastest that runs here.
    pub fn best() -> Kernel {
        Self::available()[0]
    }

    /// "avx512", "avx2", "neon", "portable" or "reference", if it runs here.
    pub fn by_name(name: &str) -> Option<Kernel> {
        Self::available().into_iter().find(|k| k.name == name)
    }

    /// Its name, as `by_name` takes it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel({})", self.name)
    }
}

/// Panics unless the list is strictly ascending and below `n`.
fn check_list(list: &[u32], n: usize, what: &str) {
    assert!(list.is_sorted_by(|a, b| a < b), "{what} must ascend");
    assert!(
        list.last().is_none_or(|&last| (last as usize) < n),
        "{what} out of range"
    );
}
