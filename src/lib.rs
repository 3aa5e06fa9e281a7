//! Secateur.
pub mod cli;
pub mod data;
pub mod event;
pub mod infer;
pub mod kernel;
pub mod methods;
pub mod model;
pub mod run;
pub mod train;
pub mod app;
pub mod view;
