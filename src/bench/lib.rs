//! Times this machine: inference, training, searches and answers, each as `secateur bench` prints it.
//! Knows nothing of how rows are shown.
#![forbid(unsafe_code)]

pub mod answer;
pub mod infer;
mod network;
pub mod search;
pub mod stream;
pub mod train;

pub use infer::{BenchInfer, BenchRow};
pub use network::network;
pub use search::{BenchSearch, SearchRow};
