//! How networks are made smaller: which channels belong together, which matter least, what is nearest to weights that are
//! sparse, and how what is masked is cut out. Plain arrays.
//! Knows nothing of training, of searches or of methods.

mod apply;
mod find_sites;
pub mod groups;
pub mod saliency;
mod scope;
mod select;
pub mod sites;
pub mod surgery;
pub mod threshold;
mod values;

pub use apply::{apply, zero};
pub use groups::{Consumer, Group, Groups, groups};
pub use saliency::Score;
pub use scope::Scope;
pub use sites::{Sites, Spent};
pub use surgery::{Cut, cut};
