//! Where and with what runs work: what an experiment does not say.

use std::path::PathBuf;
use std::sync::Arc;
use train::TrialFarm;
use train::device::DeviceName;

/// What a run needs besides its experiment.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Folder that holds run folders.
    pub runs: PathBuf,
    /// Where tensors live.
    pub device: DeviceName,
    /// Threads for measuring.
    pub threads: usize,
    /// Who else measures trials.
    pub farm: Option<Arc<dyn TrialFarm>>,
}
