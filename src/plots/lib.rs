//! Bytes out of views: figures as SVG and PNG, their data as CSV, a report as one HTML file. Pure: the front writes the bytes.
//! Knows nothing of windows or of where files go; a figure is drawn from the same view as the panel on screen.
//!
//! To add a plot, write a function in [`figure`] from a view to a [`Figure`], and offer it in `src/cli/figure.rs` and in its panel.

#![forbid(unsafe_code)]

mod axis;
pub(crate) mod chart;
pub mod colors;
pub mod figure;
mod legend;
pub mod png;
pub mod report;
mod strip;
pub mod svg;
pub mod table;
mod words;
mod xml;

pub use chart::Figure;
pub use svg::Style;
