//! `secateur run`: any experiment, headless.
//! Knows nothing of what methods do.

use super::failure::{Done, Failure, OrFail};
use super::output::Json;
use anyhow::anyhow;
use event::{Cancelled, Ending, Event, Outcome, Stamped, Verdict};
use lab::Workspace;
use lab::execute;
use lab::execute::execute;
use lab::fork;
use lab::fork::Fork;
use record::control::Control;
use record::experiment::Experiment;
use record::{replay, sweep};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::device::DeviceName;

/// Where and on what runs work.
#[derive(clap::Args)]
struct WorkspaceArgs {
    /// flex, ndarray, wgpu or remote:HOST
    #[arg(long, default_value = "flex", value_parser = DeviceName::parse)]
    device: DeviceName,
    /// Folder that holds run folders
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

impl WorkspaceArgs {
    fn open(&self) -> Done<Workspace> {
        self.device.open().or_bad_input()?;
        Ok(Workspace {
            runs: self.runs.clone(),
            device: self.device.clone(),
            threads: record::folder::threads(),
        })
    }
}

#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// A preset's name (see `secateur presets`) or file
    #[arg(required_unless_present = "sweep")]
    preset: Option<String>,
    /// Every combination of the settings in a file, one run each
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    sweep: Option<PathBuf>,
    /// Only every Nth run of a sweep, beginning with the Ith
    #[arg(long, value_name = "I/N", requires = "sweep")]
    shard: Option<String>,
    /// Change a key, e.g. --set train.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// fashion-mnist, or a path to images
    #[arg(long)]
    data: Option<String>,
    /// Decides everything random
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: &RunArgs) -> Done {
    let mut changes = pairs(&args.set)?;
    if let Some(data) = &args.data {
        // Quoted, so that a path is never read as a number or a date.
        changes.push(("data.source".into(), toml::Value::String(data.clone()).to_string()));
    }
    if let Some(seed) = args.seed {
        changes.push(("seed".into(), seed.to_string()));
    }
    let shard = args.shard.as_deref().unwrap_or("1/1").parse().or_bad_input()?;
    let experiments = match (&args.sweep, &args.preset) {
        (Some(file), _) => sweep::experiments(file, shard, &changes),
        (None, preset) => Experiment::load(preset.as_deref().unwrap_or_default(), &changes).map(|e| vec![e]),
    };
    let experiments = experiments.or_bad_input()?;
    let workspace = args.workspace.open()?;
    let control = stoppable()?;
    let mut failed = Ok(0);
    for experiment in &experiments {
        let done = watch(args.json, &control, |control, listen| {
            execute(experiment, &workspace, control, listen)
        });
        match done {
            Ok(0) => {}
            Ok(code) => return Ok(code),
            // One run of a sweep that fails must not cost the others.
            Err(failure) if experiments.len() > 1 => {
                eprintln!("secateur: {:#}", failure.error);
                failed = Err(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    failed
}

#[derive(clap::Args)]
pub(crate) struct ResumeArgs {
    /// A run folder, or its name in --runs
    run: PathBuf,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn resume(args: &ResumeArgs) -> Done {
    let workspace = args.workspace.open()?;
    let path = find(&args.run, &args.workspace.runs);
    let control = stoppable()?;
    watch(args.json, &control, |control, listen| {
        execute::resume(&path, &workspace, control, listen)
    })
}

#[derive(clap::Args)]
pub(crate) struct ForkArgs {
    /// A run folder, or its name in --runs
    run: PathBuf,
    /// The last event that is taken over, by its `seq`; if not given, where the newest checkpoint stands
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
    /// Change a key, e.g. --set train.lr=0.01
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Decides everything random from there on; validation images stay
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn fork(args: &ForkArgs) -> Done {
    let origin = replay::find(&args.run, &args.workspace.runs).or_bad_input()?;
    let mut changes = pairs(&args.set)?;
    if let Some(seed) = args.seed {
        changes.push(("seed".into(), seed.to_string()));
    }
    let experiment = fork::changed(&origin, &changes).or_bad_input()?;
    let at = args.at.map_or_else(|| fork::newest(&origin), Ok).or_bad_input()?;
    let workspace = args.workspace.open()?;
    let fork = Fork { origin, at, experiment };
    let control = stoppable()?;
    watch(args.json, &control, |control, listen| {
        execute::branch(&fork, &workspace, control, listen, &mut |_| {})
    })
}

/// `KEY=VALUE` arguments.
fn pairs(set: &[String]) -> Done<Vec<(String, String)>> {
    let pair = |s: &String| {
        s.split_once('=')
            .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
            .ok_or_else(|| anyhow!("--set {s}: expected KEY=VALUE"))
    };
    set.iter().map(pair).collect::<Result<_, _>>().or_bad_input()
}

/// A run folder by path, or by name in the folder of runs.
pub(crate) fn find(run: &Path, runs: &Path) -> PathBuf {
    let named = runs.join(run);
    if !run.exists() && named.is_dir() {
        named
    } else {
        run.to_path_buf()
    }
}

/// A switch that Ctrl-C throws: work stops after saving.
fn stoppable() -> Done<Arc<Control>> {
    let control = Arc::new(Control::default());
    let stop = control.clone();
    ctrlc::set_handler(move || stop.stop()).or_failed()?;
    Ok(control)
}

/// Works, and says what happens.
fn watch(
    json: Json,
    control: &Control,
    work: impl FnOnce(&Control, &mut dyn FnMut(&Stamped)) -> anyhow::Result<Ending>,
) -> Done {
    let ending = match work(control, &mut |stamped: &Stamped| say(json, stamped)) {
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

fn say(json: Json, stamped: &Stamped) {
    if json.json {
        json.say(stamped, String::new);
        return;
    }
    let percent = |x: f32| format!("{:.2} %", x * 100.0);
    let at = format!("{:7.1} s", stamped.at);
    match &stamped.event {
        Event::Started {
            spec,
            dense,
            steps,
            images: [train, valid, test],
        } => {
            eprintln!(
                "{at}  {}: {:.1} M MACs, {:.2} M parameters; {steps} steps; {train} / {valid} / {test} images",
                spec.name,
                dense.macs as f64 / 1e6,
                dense.params as f64 / 1e6
            );
        }
        Event::Phase { name, .. } => eprintln!("{at}  {name}"),
        Event::Step { step, loss, top1, .. } if step % 100 == 0 => {
            eprintln!("{at}  step {step}: loss {loss:.4}, top-1 {}", percent(*top1))
        }
        Event::Epoch {
            split,
            density,
            gates,
            top1,
            macs,
            n,
            ..
        } => {
            let density = if gates.is_empty() {
                format!("density {density}")
            } else {
                "the densities found".to_owned()
            };
            eprintln!(
                "{at}  {} at {density}: top-1 {} of {n}, {:.2} M MACs",
                split.name(),
                percent(*top1),
                *macs as f64 / 1e6
            );
        }
        Event::Kept { model, .. } => eprintln!("{at}  kept {model}"),
        Event::Search(s) => eprintln!("{at}  search {}: {} sites, {} trials", s.name, s.sites.len(), s.trials),
        Event::Trial(t) if t.verdict == Verdict::Best => {
            eprintln!(
                "{at}  trial {}: top-1 {}, {:.2} M MACs, {:.3} M parameters",
                t.number,
                percent(t.top1),
                t.macs as f64 / 1e6,
                t.params as f64 / 1e6
            );
        }
        Event::Residuals { update, layers } => {
            let worst = layers.iter().map(|l| l.value).fold(0.0, f32::max);
            eprintln!("{at}  ADMM update {update}: ‖W − Z‖ / ‖W‖ at most {worst:.3}");
        }
        Event::Steered(steer) => eprintln!("{at}  steered: {steer:?}"),
        Event::Refused { steer, why } => eprintln!("{at}  not followed: {steer:?}: {why}"),
        Event::Resumed { from, mended } => {
            mended.iter().for_each(|text| eprintln!("{at}  mended: {text}"));
            eprintln!("{at}  goes on from event {from}");
        }
        Event::Forked {
            from, at: cut, changes, ..
        } => {
            eprintln!(
                "{at}  took over {from} up to event {cut}, with {}",
                if changes.is_empty() {
                    "nothing changed".into()
                } else {
                    changes.join(", ")
                }
            )
        }
        Event::Stalled { text } => eprintln!("{at}  {text}"),
        Event::Warning { text } => eprintln!("{at}  warning: {text}"),
        Event::Ended(e) if e.outcome == Outcome::Finished => {
            let top1 = |x: Option<f32>| x.map_or_else(|| "–".into(), percent);
            println!(
                "{}\nvalid top-1 {}, test top-1 {}",
                e.model.as_deref().unwrap_or(&e.run),
                top1(e.valid_top1),
                top1(e.test_top1)
            );
        }
        Event::Ended(e) if e.outcome == Outcome::Cancelled => {
            eprintln!("{at}  stopped; `secateur resume {}` goes on", e.run)
        }
        Event::Ended(_) | Event::Step { .. } | Event::Layers { .. } | Event::Trial(_) => {}
    }
}
