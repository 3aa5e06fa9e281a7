//! What a farm is to run, as files that all its machines read: an experiment each, and with what they are run.
//! Knows nothing of schedulers.

use anyhow::{Context, Result, ensure};
use disk::{make_folder, write_whole};
use lab::{Workspace, known};
use record::Experiment;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use train::device::DeviceName;

/// The folder of plans, beside the runs.
const FOLDER: &str = "farms";
const PLAN: &str = "plan.json";
const JOB: &str = "job.json";

/// Runs to be shared out.
pub(crate) struct FarmPlan {
    /// Where its files are; the name says what is in them.
    pub folder: PathBuf,
    /// With what the runs are run.
    pub workspace: Workspace,
    /// The runs, by their numbers.
    pub experiments: Vec<Experiment>,
}

/// What all its runs share.
#[derive(Serialize, Deserialize)]
struct Shared {
    version: String,
    runs: PathBuf,
    device: String,
    n: usize,
}

/// What a scheduler was given last.
#[derive(Serialize, Deserialize)]
pub(crate) struct FarmJob {
    /// The scheduler.
    pub engine: String,
    /// Its number for it.
    pub id: String,
}

impl FarmPlan {
    /// A plan of these runs, with whole paths. Nothing is written.
    ///
    /// # Errors
    /// A path cannot be made whole.
    pub(crate) fn new(name: &str, experiments: &[Experiment], workspace: &Workspace) -> Result<Self> {
        let experiments: Vec<Experiment> = experiments.iter().map(known::recorded).collect::<Result<_>>()?;
        let runs = std::path::absolute(&workspace.runs)?;
        let mut hash = DefaultHasher::new();
        for experiment in &experiments {
            experiment.to_toml()?.hash(&mut hash);
        }
        Ok(Self {
            folder: runs.join(FOLDER).join(format!("{name}-{:016x}", hash.finish())),
            workspace: Workspace {
                runs,
                ..workspace.clone()
            },
            experiments,
        })
    }

    /// What schedulers call it.
    pub(crate) fn name(&self) -> String {
        let name = self.folder.file_name();
        name.map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    }

    /// Writes its files; the same plan again leaves them as they are.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(crate) fn write(&self) -> Result<()> {
        make_folder(&self.folder)?;
        for (n, experiment) in self.experiments.iter().enumerate() {
            write_whole(&experiment_file(&self.folder, n), experiment.to_toml()?.as_bytes())?;
        }
        let shared = Shared {
            version: env!("CARGO_PKG_VERSION").into(),
            runs: self.workspace.runs.clone(),
            device: self.workspace.device.to_string(),
            n: self.experiments.len(),
        };
        write_whole(&self.folder.join(PLAN), &serde_json::to_vec_pretty(&shared)?)
    }

    /// The file that a machine must see to share the folder.
    pub(crate) fn shared_file(&self) -> PathBuf {
        self.folder.join(PLAN)
    }

    /// What a scheduler was given of this plan last, if it was.
    pub(crate) fn job(&self) -> Option<FarmJob> {
        serde_json::from_slice(&std::fs::read(self.folder.join(JOB)).ok()?).ok()
    }

    /// Remembers what a scheduler was given.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(crate) fn remember(&self, job: &FarmJob) -> Result<()> {
        write_whole(&self.folder.join(JOB), &serde_json::to_vec(job)?)
    }
}

/// One run of a plan, with what it is run with.
///
/// # Errors
/// No plan there, one of another version of the program, or one with fewer runs.
pub(crate) fn read_task(folder: &Path, n: usize) -> Result<(Experiment, Workspace)> {
    let file = folder.join(PLAN);
    let cannot = || {
        format!(
            "cannot read {}; expected a folder that this machine shares with the one that submitted",
            file.display()
        )
    };
    let text = std::fs::read(&file).with_context(cannot)?;
    let shared: Shared = serde_json::from_slice(&text).with_context(cannot)?;
    ensure!(
        shared.version == env!("CARGO_PKG_VERSION"),
        "{} is by Secateur {}, this is {}; expected the same version",
        file.display(),
        shared.version,
        env!("CARGO_PKG_VERSION")
    );
    ensure!(n < shared.n, "run {n} of a plan with {} runs, counted from 0", shared.n);
    let experiment = Experiment::load(&experiment_file(folder, n).to_string_lossy(), &[])?;
    let workspace = Workspace {
        runs: shared.runs,
        device: DeviceName::parse(&shared.device)?,
        threads: record::folder::threads(),
    };
    Ok((experiment, workspace))
}

/// The file whose lock says that a machine works on a run.
pub(crate) fn lock_file(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("{n}.lock"))
}

fn experiment_file(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("{n}.toml"))
}
