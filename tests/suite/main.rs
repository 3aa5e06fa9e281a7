//! All that is tested across crates, in one program: sixteen of them would link sixteen times.

mod cli;
mod data;
mod detectors;
mod farm;
mod figures;
mod formats;
mod formats_cli;
mod gui;
mod living;
mod methods;
mod penalties;
mod resume;
mod soft_renderer;
mod still;
mod story;
mod surgery;
mod targets;
mod tidy;
mod tournament;
mod training;
mod views;
mod windows;

#[path = "../models/mod.rs"]
mod models;
