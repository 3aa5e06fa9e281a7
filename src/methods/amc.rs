//! AMC (He et al., arXiv 1802.03494): an agent walks over the layers, sees each with what was done before it, and says how
//! much of it stays; it learns from the accuracy that the whole walk earned.
//! Knows nothing of how the agent learns or how trials are measured.

use super::rivals::{self, RivalConfig};
use crate::model::spec::Op;
use crate::model::{Checkpoint, cost};
use crate::prune::sites::Sites;
use crate::search::ddpg::{Amc, AmcSite, DdpgConfig};
use crate::train::Ctx;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Settings of AMC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AmcConfig {
    /// What all rivals have; `trials` are episodes.
    #[serde(flatten)]
    pub prune: RivalConfig,
    /// The agent.
    pub agent: DdpgConfig,
}

impl AmcConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        self.prune.check()?;
        self.agent.check()
    }
}
