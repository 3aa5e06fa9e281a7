//! Measures an open model while somebody drags a slider: accuracy, time, channels used, one image looked at closely.
//!
//! Entry points: [`Requests`] is what may be asked, [`probe::serve`] answers it, [`probe::Answer`] is what was measured.
//! Knows nothing of runs that train.
#![forbid(unsafe_code)]

pub mod images;
pub mod probe;
mod question;
mod requests;

pub use question::Question;
pub use requests::Requests;
