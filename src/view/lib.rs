//! What is shown, computed from what is known: plain structs that can be written down as text and tested as text.
//! Knows nothing of windows or of how anything is painted.
//!
//! To add a column to the runs table: a field of [`runs::RunRow`], painted by the window's panel of runs.

#![forbid(unsafe_code)]

pub mod compare;
pub mod curves;
pub mod cuts;
pub mod density;
pub mod farms;
pub mod flips;
pub mod form;
pub mod frontier;
pub mod images;
pub mod layers;
pub mod model;
pub mod network;
pub mod notices;
pub mod paired;
pub mod parallel;
pub mod presets;
pub mod residuals;
pub mod runs;
pub mod saliency;
pub mod scales;
pub mod search;
pub mod text;
pub mod thin;
pub mod times;
pub mod tournament;
pub mod volume;
pub mod wish;

pub use compare::CompareView;
pub use curves::{Curves, CurvesView};
pub use density::DensityView;
pub use farms::FarmView;
pub use flips::FlipsView;
pub use frontier::FrontierView;
pub use layers::LayersView;
pub use model::ModelView;
pub use network::NetworkView;
pub use notices::Notice;
pub use parallel::ParallelView;
pub use residuals::ResidualsView;
pub use runs::RunRow;
pub use saliency::SaliencyView;
pub use search::SearchView;
pub use times::TimesView;
pub use tournament::TournamentView;
