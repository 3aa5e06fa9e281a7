//! The runs that a figure or a report shows.

use anyhow::Result;
use lab::RunStore;
use record::RunId;
use record::replay::{find, replay, with_every_step};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct ShownRuns {
    /// Run folders, or their names under --runs
    #[arg(required = true, value_name = "RUN")]
    shown: Vec<PathBuf>,
    /// Folder that holds run folders
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

impl ShownRuns {
    /// Reads their logs; with every step, or as many as a plot needs.
    pub(crate) fn open(&self, every_step: bool) -> Result<RunStore> {
        let read = if every_step { with_every_step } else { replay };
        let mut store = RunStore::default();
        for (i, run) in self.shown.iter().enumerate() {
            store.runs.push(read(RunId(i as u32), &find(run, &self.runs)?)?);
        }
        Ok(store)
    }
}
