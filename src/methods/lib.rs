//! Pruning methods. One paper, one file: its settings and its procedure, told in the words of its algorithm box.
//!
//! Entry point: [`Method`], a method with its settings, runs in a [`train::Ctx`]. A new method is a file here and a variant there.
//! What methods share: `pipeline` (a trained model to begin with, retraining), `locks`, `ranking`, `search_loop` with `search_target` and `evaluator`, and the `budget`
//! it counts. Knows nothing of threads, folders or windows.
#![forbid(unsafe_code)]

mod admm;
mod amc;
mod autocompress;
mod baselines;
mod budget;
mod dense;
mod densities;
mod evaluator;
mod farmed_trials;
mod fbs;
mod group_norm;
mod halp;
mod locks;
mod lowest;
mod method;
mod pipeline;
mod quantize;
mod ranking;
mod search_loop;
mod search_target;
mod signal;
mod slimming;
mod trim;

pub use admm::{AdmmSchedule, AdmmState};
pub use method::Method;
pub use pipeline::{PruningTarget, TrainingStage};
pub use quantize::QuantizeConfig;
pub use ranking::Ranking;
pub use trim::TrimConfig;
