//! Measures an open model while somebody drags a slider: accuracy, time, channels used, what a cut would
//! leave before anything is trained, one image looked at closely.
//!
//! Entry points: [`Requests`] is what may be asked, [`probe::serve`] answers it, [`probe::Answer`] is what was measured.
//! Knows nothing of runs that train.
#![forbid(unsafe_code)]

mod answer;
pub mod images;
pub mod probe;
pub mod pruning;
mod question;
mod requests;
mod sources;
mod subject;

pub use pruning::Pruning;
pub use question::Question;
pub use requests::Requests;
