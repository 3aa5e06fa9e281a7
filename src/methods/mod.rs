//! One paper, one file: its settings and its procedure, told in the words of its algorithm box.
//! Knows nothing of threads, folders or windows.

pub mod dense;
pub mod fbs;

use crate::model::Checkpoint;
use crate::train::{Ctx, TrainConfig};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A method with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Method {
    /// Plain training.
    Dense,
    /// Feature Boosting and Suppression, arXiv 1810.05331.
    Fbs(fbs::FbsConfig),
}

impl Method {
    /// The name presets use.
    pub fn kind(&self) -> &'static str {
        match self {
            Method::Dense => "dense",
            Method::Fbs(_) => "fbs",
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        match self {
            Method::Dense => Ok(()),
            Method::Fbs(config) => config.check(),
        }
    }

    /// Training epochs it takes in all, with these settings; `started` if it begins with a trained model.
    pub fn epochs(&self, train: &TrainConfig, started: bool) -> u64 {
        let _ = started;
        match self {
            Method::Dense | Method::Fbs(_) => u64::from(train.epochs),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// [`crate::event::Cancelled`] when asked to stop; anything else means it could not go on.
    pub fn run(&self, ctx: &mut Ctx) -> Result<Checkpoint> {
        match self {
            Method::Dense => dense::run(ctx),
            Method::Fbs(config) => fbs::run(ctx, config),
        }
        .with_context(|| format!("method {}", self.kind()))
    }
}
