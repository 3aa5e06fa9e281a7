//! How networks are made smaller: which channels must be pruned together ([`groups()`]), how much each one matters
//! ([`saliency`]), what a search may decide ([`Sites`]), and how masked channels are removed for good ([`apply()`], [`cut()`]).
//! Knows nothing of training, of searches or of methods.
//!
//! ```
//! use event::{Dimension, Unit};
//! use model::{cost, random_model, zoo};
//! use prune::{Scope, Score, Sites, apply, cut};
//!
//! # fn main() -> anyhow::Result<()> {
//! let model = random_model(zoo::build("m-cifarnet", [3, 32, 32], 10, 0.25)?, 1)?;
//!
//! // Filters may go, those of smallest L1 norm first; every layer keeps at least a tenth of them.
//! let scope = Scope::new(&[Dimension::Filter], 0.1, Unit::Macs).by(Score::L1);
//! let sites = Sites::new(&model, &scope)?;
//!
//! // Half of the filters of every layer.
//! let densities = vec![0.5; sites.list.len()];
//! let masks = sites.masks(&densities, &model.weights)?;
//! let masked = apply(&model, &masks)?;
//! let smaller = cut(&masked)?.checkpoint;
//!
//! let (before, after) = (cost::dense(model.spec())?, cost::dense(smaller.spec())?);
//! assert_eq!(after.macs, sites.cost(&densities).macs);
//! assert!(after.macs < before.macs / 3 && after.params < before.params / 3);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod apply;
mod find_sites;
pub mod groups;
mod resize;
pub mod saliency;
mod scope;
mod select;
pub mod sites;
pub mod surgery;
pub mod threshold;
mod values;
mod width;

pub use apply::{apply, zero};
pub use groups::{ChannelRef, Group, Groups, Place, groups};
pub use resize::Resize;
pub use saliency::Score;
pub use scope::Scope;
pub use sites::{Sites, Spent};
pub use surgery::{Cut, cut};
