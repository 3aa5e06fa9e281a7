//! Pruning methods. One paper, one file: its settings and its procedure, told in the words of its algorithm box.
//!
//! Entry point: [`Method`], a method with its settings, runs in a [`train::Ctx`]. A new method is a file here and a variant there.
//! What methods share: [`pipeline`] (a trained model, retraining), [`locks`], [`ranking`], and inside this crate the search loop
//! and the budget it counts. Knows nothing of threads, folders or windows.
#![forbid(unsafe_code)]

pub mod admm;
pub mod amc;
pub mod autocompress;
pub mod baselines;
mod budget;
mod dense;
pub mod densities;
pub mod fbs;
pub mod locks;
mod method;
pub mod pipeline;
pub mod ranking;
mod search_loop;
pub mod slimming;

pub use method::Method;
