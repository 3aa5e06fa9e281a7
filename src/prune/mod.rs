//! How networks are made smaller: which channels belong together, which matter least, what is nearest to weights that are
//! sparse, and how what is masked is cut out. Plain arrays.
//! Knows nothing of training, of searches or of methods.

pub mod groups;
pub mod project;
pub mod saliency;

pub use groups::{Consumer, Group, Groups, groups};
pub use saliency::Score;
