//! What a worker may say while it works: plain numbers, never tensors or weights.
//! Knows nothing of who says it or who listens.
//!
//! Order: one [`Event::Started`], then any of the middle ones, then exactly one [`Event::Ended`]. Numbers that are none (a loss that
//! diverged) are `null` in JSON and NaN when read back.
//! [`Emit`] is how a method speaks and how it is stopped; [`Stamped`] is what a log and a store hold.
#![forbid(unsafe_code)]

mod ending;
mod event;
mod float;
mod layer;
mod search;

pub use ending::{BadInput, Cancelled, Ending, Good, Outcome};
pub use event::{Emit, Event, Stamped};
pub use layer::{Dimension, LayerState, Residual};
pub use search::{SearchStart, Site, Steer, Trial, Unit, Verdict};
