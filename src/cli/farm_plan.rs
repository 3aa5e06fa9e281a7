//! What a farm is to do, as files that all its machines read: runs, an experiment each, or the trials of one search; and with what.
//! Knows nothing of schedulers.

use anyhow::{Context, Result, ensure};
use disk::{make_folder, write_whole};
use lab::{Workspace, known};
use record::farm_status::FARMS;
use record::{Experiment, ModelRef};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use train::device::DeviceName;
use train::{Judged, TrialBatch};

const PLAN: &str = "plan.json";
const JOB: &str = "job.json";
const VECTORS: &str = "vectors.json";
/// So many tasks share a search's trials: enough for many machines, and few enough to open the images for each.
const TRIAL_TASKS: usize = 24;

/// Work to be shared out.
#[derive(Debug)]
pub(crate) struct FarmPlan {
    /// Where its files are; the name says what is in them.
    pub folder: PathBuf,
    /// With what the runs are run.
    pub workspace: Workspace,
    /// The runs, by their numbers; of trials only the one that they belong to.
    pub experiments: Vec<Experiment>,
    /// The trials, if it is those that are shared out.
    pub trials: Option<TrialPlan>,
}

/// Trials of a search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrialPlan {
    /// Where results are.
    results: PathBuf,
    /// Training steps and epochs that were done before them.
    pub done: [u64; 2],
    #[serde(skip)]
    pub vectors: Vec<Vec<f32>>,
}

/// What all its tasks share.
#[derive(Serialize, Deserialize)]
struct Shared {
    version: String,
    runs: PathBuf,
    device: String,
    n: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trials: Option<TrialPlan>,
}

/// One task of a plan.
pub(crate) struct PlannedTask {
    /// The run, or the one whose trials are measured.
    pub experiment: Experiment,
    /// With what it is run.
    pub workspace: Workspace,
    /// The trials that are to be measured, if it is those.
    pub trials: Option<TrialPlan>,
}

impl TrialPlan {
    /// The file with the result of a vector. The folder says of which network; a search that is steered or resumed finds again what
    /// was measured before.
    pub(crate) fn result_file(&self, densities: &[f32]) -> PathBuf {
        let bits: Vec<u32> = densities.iter().map(|d| d.to_bits()).collect();
        self.results.join(format!("{:016x}.json", hash_of(&bits)))
    }

    /// What was measured of a vector, if it was.
    ///
    /// # Errors
    /// The file says something else.
    pub(crate) fn result(&self, densities: &[f32]) -> Result<Option<Judged>> {
        let file = self.result_file(densities);
        let Ok(text) = std::fs::read(&file) else {
            return Ok(None);
        };
        let judged = serde_json::from_slice(&text);
        judged
            .map(Some)
            .with_context(|| format!("{} is no trial's result", file.display()))
    }

    /// The numbers of the vectors that a task of so many measures.
    pub(crate) fn of_task(&self, task: usize, n_tasks: usize) -> impl Iterator<Item = usize> {
        (task..self.vectors.len()).step_by(n_tasks.max(1))
    }
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
        let texts: Vec<String> = experiments.iter().map(Experiment::to_toml).collect::<Result<_>>()?;
        let runs = std::path::absolute(&workspace.runs)?;
        Ok(Self {
            folder: runs.join(FARMS).join(format!("{name}-{:016x}", hash_of(&texts))),
            workspace: Workspace {
                runs,
                ..workspace.clone()
            },
            experiments,
            trials: None,
        })
    }

    /// A plan of trials of a run's search, and the files they begin with.
    ///
    /// # Errors
    /// A path cannot be made whole; the folder cannot be written to.
    pub(crate) fn of_trials(experiment: &Experiment, workspace: &Workspace, batch: &TrialBatch) -> Result<Self> {
        let mut experiment = known::recorded(experiment)?;
        let model = batch.model.to_bytes()?;
        let of = hash_of(&(experiment.to_toml()?, &model, batch.done));
        let bits: Vec<Vec<u32>> = batch
            .vectors
            .iter()
            .map(|v| v.iter().map(|d| d.to_bits()).collect())
            .collect();
        let runs = std::path::absolute(&workspace.runs)?;
        let farms = runs.join(FARMS);
        let folder = farms.join(format!("{}-trials-{:016x}", experiment.name, hash_of(&(of, bits))));
        let results = farms.join(format!("{}-results-{of:016x}", experiment.name));
        make_folder(&folder)?;
        make_folder(&results)?;
        // On the network that the search has, the images that it validates on, the times it counts by.
        experiment.data.split_seed = Some(experiment.split_seed());
        let file = folder.join("model.safetensors");
        write_whole(&file, &model)?;
        experiment.start = Some(ModelRef::File(file));
        if let Some(times) = batch.times {
            let file = folder.join("times.json");
            write_whole(&file, &serde_json::to_vec(times)?)?;
            experiment.latency_table = Some(file);
        }
        write_whole(&folder.join(VECTORS), &serde_json::to_vec(batch.vectors)?)?;
        Ok(Self {
            folder,
            workspace: Workspace {
                runs,
                ..workspace.clone()
            },
            experiments: vec![experiment],
            trials: Some(TrialPlan {
                results,
                done: batch.done,
                vectors: batch.vectors.to_vec(),
            }),
        })
    }

    /// How many tasks it has.
    pub(crate) fn n_tasks(&self) -> usize {
        let of_trials = |trials: &TrialPlan| trials.vectors.len().min(TRIAL_TASKS);
        self.trials.as_ref().map_or(self.experiments.len(), of_trials)
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
            n: self.n_tasks(),
            trials: self.trials.clone(),
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

/// One task of a plan.
///
/// # Errors
/// No plan there, one of another version of the program, or one with fewer tasks.
pub(crate) fn read_task(folder: &Path, n: usize) -> Result<PlannedTask> {
    let read = |file: &Path| {
        let cannot = || {
            format!(
                "cannot read {}; expected a folder that this machine shares with the one that submitted",
                file.display()
            )
        };
        std::fs::read(file).with_context(cannot)
    };
    let file = folder.join(PLAN);
    let is_none = || format!("{} is no plan of a farm", file.display());
    let shared: Shared = serde_json::from_slice(&read(&file)?).with_context(is_none)?;
    ensure!(
        shared.version == env!("CARGO_PKG_VERSION"),
        "{} is by Secateur {}, this is {}; expected the same version",
        file.display(),
        shared.version,
        env!("CARGO_PKG_VERSION")
    );
    ensure!(
        n < shared.n,
        "task {n} of a plan with {} tasks, counted from 0",
        shared.n
    );
    let mut trials = shared.trials;
    if let Some(trials) = &mut trials {
        let file = folder.join(VECTORS);
        let is_none = || format!("{} has no vectors of densities", file.display());
        let all: Vec<Vec<f32>> = serde_json::from_slice(&read(&file)?).with_context(is_none)?;
        trials.vectors = all.into_iter().skip(n).step_by(shared.n).collect();
    }
    let file = experiment_file(folder, if trials.is_some() { 0 } else { n });
    let experiment = Experiment::load(&file.to_string_lossy(), &[])?;
    let workspace = Workspace {
        runs: shared.runs,
        device: DeviceName::parse(&shared.device)?,
        threads: record::folder::threads(),
        farm: None,
    };
    Ok(PlannedTask {
        experiment,
        workspace,
        trials,
    })
}

/// The same in all processes of one version of the program.
fn hash_of(what: &impl Hash) -> u64 {
    let mut hash = DefaultHasher::new();
    what.hash(&mut hash);
    hash.finish()
}

/// The file whose lock says that a machine works on a run.
pub(crate) fn lock_file(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("{n}.lock"))
}

fn experiment_file(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("{n}.toml"))
}
