//! `secateur run`: any experiment, headless.
//! Knows nothing of what methods do.

use super::bars::{self, RunBar};
use super::failure::{Done, Failure, OrFail};
use super::farm::{FarmArgs, farm};
use super::farm_trials::with_farmed_trials;
use super::output::{Json, remark};
use super::progress;
use anyhow::{Context, Result, anyhow, bail};
use event::{Cancelled, Ending, Event, Outcome, Stamped};
use lab::execute::execute;
use lab::fork::Fork;
use lab::known::{Turn, take};
use lab::{Workspace, execute, fork, known};
use record::control::Control;
use record::experiment::Experiment;
use record::replay;
use record::sweep::{self, Shard};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::device::DeviceName;

/// Where and on what runs work.
#[derive(clap::Args)]
pub(crate) struct WorkspaceArgs {
    /// Device to train on: flex, ndarray, wgpu or remote:HOST
    #[arg(long, default_value = "flex", value_parser = DeviceName::parse)]
    device: DeviceName,
    /// Folder that holds run folders
    #[arg(long, default_value = "runs")]
    pub(crate) runs: PathBuf,
}

impl WorkspaceArgs {
    /// The workspace, once its device opens.
    pub(crate) fn open(&self) -> Done<Workspace> {
        self.device.open().or_bad_input()?;
        Ok(Workspace {
            runs: self.runs.clone(),
            device: self.device.clone(),
            threads: record::folder::threads(),
            farm: None,
        })
    }
}

/// How settings differ from those of a preset or of another run.
#[derive(clap::Args)]
pub(crate) struct ChangeArgs {
    /// Change a setting, e.g. --set train.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of all random numbers; a fork keeps its validation images
    #[arg(long)]
    seed: Option<u64>,
}

impl ChangeArgs {
    /// Keys and values, the seed last.
    pub(crate) fn pairs(&self) -> Done<Vec<(String, String)>> {
        let pair = |text: &String| {
            let pair = text
                .split_once('=')
                .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
            pair.with_context(|| format!("--set {text}: expected KEY=VALUE"))
        };
        let mut pairs: Vec<_> = self.set.iter().map(pair).collect::<Result<_>>().or_bad_input()?;
        pairs.extend(self.seed.map(|seed| ("seed".to_owned(), seed.to_string())));
        Ok(pairs)
    }
}

/// Where the images are, as a change. Quoted, so that a path is never read as a number or a date.
pub(crate) fn source(data: &str) -> (String, String) {
    ("data.source".into(), toml::Value::String(data.to_owned()).to_string())
}

#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Name of a preset (see `secateur presets`), or a file
    #[arg(required_unless_present = "sweep")]
    preset: Option<String>,
    /// Run every combination of the settings in a file
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    sweep: Option<PathBuf>,
    /// Only every Nth run of the sweep, starting with the Ith
    #[arg(
        long,
        value_name = "I/N",
        requires = "sweep",
        default_value = "1/1",
        conflicts_with = "farm"
    )]
    shard: Shard,
    #[command(flatten)]
    farm: FarmArgs,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Images: fashion-mnist, or a path
    #[arg(long)]
    data: Option<String>,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: &RunArgs) -> Done {
    let mut changes = args.changes.pairs()?;
    changes.extend(args.data.as_deref().map(source));
    let experiments = match (&args.sweep, &args.preset) {
        (Some(file), _) => sweep::experiments(file, args.shard, &changes),
        (None, preset) => Experiment::load(preset.as_deref().unwrap_or_default(), &changes).map(|e| vec![e]),
    };
    let experiments = experiments.or_bad_input()?;
    let workspace = args.workspace.open()?;
    let control = stoppable()?;
    if let Some(engine) = args.farm.farm {
        let name = args.sweep.as_deref().and_then(Path::file_stem);
        let Some(name) = name.map(|name| name.to_string_lossy()) else {
            let farmed = with_farmed_trials((engine, &args.farm), &experiments[0], &workspace, args.json)?;
            return watch(args.json, &control, |control, listen| {
                go_on_or_begin(&experiments[0], &farmed, control, listen)
            });
        };
        return farm(
            (engine, &args.farm),
            &name,
            &experiments,
            &workspace,
            &control,
            args.json,
        );
    }
    let mut failed = Ok(0);
    let total = (experiments.len() > 1).then(|| bars::counted(args.json, experiments.len() as u64, "runs"));
    if let Some(total) = &total {
        total.set_message("sweep");
    }
    for experiment in &experiments {
        let done = watch(args.json, &control, |control, listen| {
            execute(experiment, &workspace, control, listen)
        });
        if let Some(total) = &total {
            total.inc(1);
        }
        match done {
            Ok(0) => {}
            Ok(code) => return Ok(code),
            // One run of a sweep that fails must not cost the others.
            Err(failure) if experiments.len() > 1 => {
                remark(&format!("secateur: {:#}", failure.error));
                failed = Err(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    failed
}

/// A run that is known by its settings: the same command goes on with it.
fn go_on_or_begin(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<Ending> {
    let mut is_said = false;
    let mut see = |stamped: &Stamped| {
        is_said |= matches!(stamped.event, Event::Ended(_));
        listen(stamped);
    };
    let run = match take(experiment, workspace, control, &mut see)? {
        Turn::Finished(run) | Turn::Failed(run, _) => run,
        Turn::Elsewhere(run) => bail!("another process works on {}", run.display()),
    };
    let last = known::last(&run)?.with_context(|| format!("{} has no end", run.display()))?;
    if !is_said {
        listen(&last);
    }
    match last.event {
        Event::Ended(ending) => Ok(ending),
        _ => bail!("{} has no end", run.display()),
    }
}

#[derive(clap::Args)]
pub(crate) struct ResumeArgs {
    /// A run folder, or its name under --runs
    run: PathBuf,
    /// Where the run's images are now, if they were moved
    #[arg(long)]
    data: Option<String>,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn resume(args: &ResumeArgs) -> Done {
    let workspace = args.workspace.open()?;
    let path = replay::find(&args.run, &args.workspace.runs).or_bad_input()?;
    let control = stoppable()?;
    watch(args.json, &control, |control, listen| {
        execute::resume(&path, args.data.as_deref(), &workspace, control, listen)
    })
}

#[derive(clap::Args)]
pub(crate) struct ForkArgs {
    /// A run folder, or its name under --runs
    run: PathBuf,
    /// `seq` of the last event to keep; that of the newest checkpoint if not given
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
    /// Where the run's images are now, if they were moved
    #[arg(long)]
    data: Option<String>,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn fork(args: &ForkArgs) -> Done {
    let origin = replay::find(&args.run, &args.workspace.runs).or_bad_input()?;
    let mut changes = args.changes.pairs()?;
    changes.extend(args.data.as_deref().map(source));
    let experiment = fork::changed(&origin, &changes).or_bad_input()?;
    let at = args
        .at
        .map_or_else(|| fork::newest(&origin, &experiment), Ok)
        .or_bad_input()?;
    let workspace = args.workspace.open()?;
    let fork = Fork { origin, at, experiment };
    let control = stoppable()?;
    watch(args.json, &control, |control, listen| {
        execute::branch(&fork, &workspace, control, listen, &mut |_| {})
    })
}

/// A switch that Ctrl-C throws: work stops after saving.
pub(crate) fn stoppable() -> Done<Arc<Control>> {
    let control = Arc::new(Control::default());
    let stop = control.clone();
    ctrlc::set_handler(move || stop.stop()).or_failed()?;
    Ok(control)
}

/// Works, and says what happens.
fn watch(
    json: Json,
    control: &Control,
    work: impl FnOnce(&Control, &mut dyn FnMut(&Stamped)) -> Result<Ending>,
) -> Done {
    let mut quality = "top-1";
    let mut bar = RunBar::new(json);
    let mut say = |stamped: &Stamped| {
        bar.see(stamped);
        progress::say(json, stamped, &mut quality);
        if json.is_lost() {
            control.stop();
        }
    };
    ended(work(control, &mut say))
}

/// The exit code of a run, or of one that could not begin.
pub(crate) fn ended(ending: Result<Ending>) -> Done {
    let ending = match ending {
        // A fork that is stopped before it is a run.
        Err(e) if e.is::<Cancelled>() => return Ok(130),
        other => other.or_bad_input()?,
    };
    match ending.outcome {
        Outcome::Finished => Ok(0),
        Outcome::Cancelled => Ok(130),
        Outcome::Failed => {
            let error = anyhow!("{}", ending.reason.unwrap_or_else(|| "the run failed".into()));
            Err(Failure {
                code: if ending.bad_input { 2 } else { 1 },
                error,
            })
        }
    }
}
