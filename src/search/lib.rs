//! Searches for the density of every site under one budget. One trait, [`Searcher`], so that one loop drives them all;
//! a new search is a file with a `Strategy`.
//! Knows nothing of networks: a search proposes numbers and is told how good they were.
#![forbid(unsafe_code)]

pub mod amc;
pub mod anneal;
pub mod clip;
pub(crate) mod ddpg;
pub mod diagnosis;
pub mod frontier;
pub mod greedy;
mod knapsack;
pub(crate) mod mlp;
pub mod random;
mod rank_correlation;
mod searcher;
pub mod space;
pub mod steering;
mod strategy;
#[cfg(test)]
mod toy;

pub use amc::{Amc, AmcAgentConfig};
pub use anneal::{Anneal, AnnealConfig};
pub use frontier::Frontier;
pub use greedy::Greedy;
pub use knapsack::{Choice, knapsack};
pub use random::Random;
pub use rank_correlation::RankCorrelation;
pub use searcher::Searcher;
pub use space::Space;
pub use steering::Steering;
