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
mod batch;
mod bytes;
mod bytes_generic;
mod columns;
mod conv;
mod conv_tile;
mod depthwise;
mod depthwise_small;
mod depthwise_tile;
mod grad;
mod grad_tile;
mod kernel;
mod lanes;
mod narrow;
mod narrow_tile;
mod plane_passes;
mod planes;
mod pool;
mod product;
mod product_form;
mod product_size;
mod products;
pub mod reference;
mod scratch;
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
#[cfg(target_arch = "aarch64")]
mod bytes_neon;
#[cfg(target_arch = "x86_64")]
mod bytes_x86;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;

pub use batch::BatchPlan;
pub use bytes::{ByteCall, ByteColumns, BytePlan, ByteWeights, LARGEST_BYTE, signed_bytes};
pub use columns::Columns;
pub use conv::{ConvCall, ConvPlan, Epilogue, transpose_weights};
pub use depthwise::{DepthwiseCall, DepthwisePlan, DepthwiseTaps};
pub use grad::{GradScratch, WeightGradCall, WeightGradPlan};
pub use kernel::Kernel;
pub use narrow::NarrowPlan;
pub use plane_passes::{Affine, AffineGrad, ByteMap};
pub use pool::Pool;
pub use product::ProductPlan;
pub use product_form::{Form, ImagePlanes};
pub use scratch::PlanScratch;
pub use shape::{ConvShape, Layout, Padding};
pub use winograd::WinogradPlan;
pub use winograd_weights::WeightOrder;
