//! Measures an open model while somebody drags a slider: accuracy, time, channels used, one image looked at closely.
//! Knows nothing of runs that train.

pub mod images;
pub mod probe;
mod question;
mod requests;

pub use question::Question;
pub use requests::Requests;
