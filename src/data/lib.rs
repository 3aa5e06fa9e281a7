//! Images in, batches out: data sets held as bytes, checked once when they are opened.
//!
//! Entry points: [`open()`] reads a data set, [`split()`] carves the validation images, [`batch::fill`] makes a batch.
//! Knows nothing of networks, tensors or training.
//!
//! Every reader ends in [`Dataset::new`], so what the rest of the program gets always has images and labels that match,
//! one size for all pictures, and labels below the number of classes.
#![forbid(unsafe_code)]

mod answers;
pub mod batch;
pub mod bundled;
pub mod cifar;
mod class_names;
mod classes;
mod dataset;
pub mod folder;
pub mod idx;
mod images;
mod layout;
mod normalization;
mod open;
mod picture;
mod progress;
mod reading;
mod split;
mod stream;
pub mod synthetic;

pub use answers::Answers;
pub use batch::{Augment, Epoch};
pub use dataset::{Dataset, Split};
pub use images::{ImageShape, Images};
pub use normalization::Normalization;
pub use open::{is_path, open, open_unlabeled};
pub use picture::{picture, picture_from_bytes};
pub use progress::Progress;
pub use reading::{Background, Fit, PictureSize, Reading};
pub use split::{Amount, Splits, mixed, split, split_notes, spread};
