//! One run from its experiment to its model, on the calling thread. The window's workers and the command line both do just this.
//! Knows nothing of who listens.

use crate::fork;
use crate::fork::Fork;
use crate::memory_check;
use anyhow::{Context, Result, bail};
use data::Normalization;
use event::{BadInput, Cancelled, Ending, Event, Good, Outcome, Stamped};
use measure::probe;
use model::{Checkpoint, Fractions, cost};
use record::checkpoints::CheckpointStore;
use record::control::Control;
use record::control_file;
use record::event_log::{EventLog, LogHistory};
use record::experiment::Experiment;
use record::folder::{ForkOrigin, ManifestUpdate, RunFolder};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;
use train::device::DeviceName;
use train::sparse_conv;
use train::{Ctx, RunHooks, TrainingData, finish};

/// What a run needs besides its experiment.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Folder that holds run folders.
    pub runs: PathBuf,
    /// Where tensors live.
    pub device: DeviceName,
    /// Threads for measuring.
    pub threads: usize,
}

/// [`begin`] for those who need not know where.
///
/// # Errors
/// As [`begin`].
pub fn execute(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<Ending> {
    begin(experiment, workspace, control, listen, &mut |_| {})
}

/// Runs an experiment in a new run folder, which is shown to `made`. Events go to the folder's log and to `listen`, which may block.
/// Always says exactly one `ended`, whatever happens, and returns it. A panic is a failure with its message.
///
/// # Errors
/// The run folder cannot be made: nothing was begun.
pub fn begin(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
    made: &mut dyn FnMut(&Path),
) -> Result<Ending> {
    let experiment = &apart(experiment);
    let folder = RunFolder::create(&workspace.runs, experiment)?;
    made(&folder.path);
    let log = EventLog::new(folder, LogHistory::default(), false, listen);
    go(experiment, workspace, control, log, None)
}

/// Goes on with an interrupted run, in its own folder, to the end it would have had. Only what is new goes to `listen`.
///
/// # Errors
/// No run folder, one that is in use, one whose run has finished, or one that is broken: nothing was changed but torn ends.
pub fn resume(
    run: &Path,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<Ending> {
    let (mut past, mut finished) = (LogHistory::default(), false);
    let (folder, experiment, mended) = RunFolder::reopen(run, &mut |stamped| {
        past.see(stamped);
        finished |= matches!(&stamped.event, Event::Ended(e) if e.outcome == Outcome::Finished);
    })?;
    if finished {
        folder.manifest(
            &experiment,
            ManifestUpdate {
                state: "finished",
                ..ManifestUpdate::default()
            },
        )?;
        bail!("run {} has finished", folder.name());
    }
    let log = EventLog::new(folder, past, true, listen);
    go(&experiment, workspace, control, log, Some(mended))
}

/// Makes a new run out of another's past, shows its folder to `made`, and runs it to its end. What is new goes to `listen`.
///
/// # Errors
/// As [`fork::prepare`]: nothing was begun.
pub fn branch(
    fork: &Fork,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
    made: &mut dyn FnMut(&Path),
) -> Result<Ending> {
    let run = fork::prepare(fork, workspace, control, listen)?;
    made(&run);
    resume(&run, workspace, control, listen)
}

/// Works through what a log has and its checkpoints do not, up to the log's end; says nothing. Gives the folder back.
///
/// # Errors
/// [`Cancelled`]; the work did not come to the log's end.
pub(crate) fn catch_up(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    folder: RunFolder,
    past: LogHistory,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<RunFolder> {
    let (run, until) = (folder.path.clone(), past.said);
    let mut log = EventLog::new(folder, past, true, listen);
    log.until = Some(until);
    let checkpoints = CheckpointStore::new(&run, log.said.clone(), Duration::MAX);
    checkpoints.load()?;
    sparse_conv::stop_when(control.stopping.clone());
    let context = RunContext {
        experiment,
        workspace,
        control,
        log: &log,
        checkpoints: &checkpoints,
        run: &run,
    };
    match work(&context) {
        Err(e) if e.is::<Cancelled>() && log.said.get() == until && control.check().is_ok() => {}
        Err(e) => return Err(e),
        Ok(_) => bail!("the run's past could not be worked through again: it ended before event {until} of its work"),
    }
    Ok(log.into_folder())
}

/// The run itself. `mended` is given when it goes on.
fn go(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    log: EventLog,
    mended: Option<Vec<String>>,
) -> Result<Ending> {
    let run = log.path();
    let every = Duration::from_secs_f32(experiment.checkpoint_secs);
    let checkpoints = CheckpointStore::new(&run, log.said.clone(), every);
    if let Some(mut mended) = mended {
        mended.extend(checkpoints.load()?);
        // What cannot be written ends the run at its first event.
        let from = checkpoints.newest();
        let _ = log.put(Event::Resumed { from, mended }, control);
    }
    sparse_conv::stop_when(control.stopping.clone());
    let over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let orders = Builder::new()
            .name("orders".into())
            .spawn_scoped(scope, || control_file::obey(&run, control, &over));
        let result = catch_unwind(AssertUnwindSafe(|| {
            let context = RunContext {
                experiment,
                workspace,
                control,
                log: &log,
                checkpoints: &checkpoints,
                run: &run,
            };
            work(&context)
        }));
        over.store(true, Ordering::Relaxed);
        if let Ok(orders) = orders {
            orders.thread().unpark();
        }
        result
    });
    let mut ending = match result {
        Ok(Ok(ending)) => ending,
        Ok(Err(e)) if e.is::<Cancelled>() => ended(&run, Outcome::Cancelled, None),
        Ok(Err(e)) => Ending {
            bad_input: e.is::<BadInput>(),
            ..ended(&run, Outcome::Failed, Some(format!("{e:#}")))
        },
        Err(panic) => ended(
            &run,
            Outcome::Failed,
            Some(format!("a worker panicked: {}", panic_text(&*panic))),
        ),
    };
    if let Some(e) = log.failure() {
        ending = ended(&run, Outcome::Failed, Some(e));
    }
    if ending.outcome != Outcome::Finished && checkpoints.newest() > 0 {
        ending.good = good(&run, checkpoints.newest());
    }
    if let (Some(good), Some(reason), false) = (&ending.good, &mut ending.reason, ending.bad_input) {
        reason.push_str(&format!(
            "; its last good checkpoint stands at event {}, from where secateur fork RUN --set KEY=VALUE goes another way",
            good.at
        ));
    }
    let _ = log.put(Event::Ended(ending.clone()), control);
    let state = match ending.outcome {
        Outcome::Finished => "finished",
        Outcome::Cancelled => "interrupted",
        Outcome::Failed => "failed",
    };
    let folder = log.into_folder();
    let facts = ManifestUpdate {
        state,
        ..ManifestUpdate::default()
    };
    // The log has said it all; a manifest that cannot be written is told from it.
    drop(folder.manifest(experiment, facts));
    Ok(ending)
}

/// What a run left that did not finish.
fn good(run: &Path, said: u64) -> Option<Good> {
    let at = fork::event_of(run, said).ok()??;
    let model = Some(LATEST.to_owned()).filter(|file| run.join(file).is_file());
    Some(Good { at, model })
}

/// The newest model kept on the way, and the most accurate of the cheapest ones.
const LATEST: &str = "models/latest.safetensors";
const BEST: &str = "models/best.safetensors";

/// What makes one model better than another: MACs an image, then accuracy on validation images.
fn worth(checkpoint: &Checkpoint) -> Option<(u64, f32)> {
    let measured = checkpoint.header.metrics.iter().filter(|m| m.split == "valid");
    measured.map(|m| (m.macs, m.top1)).max_by_key(|(macs, _)| *macs)
}

fn start_of(experiment: &Experiment) -> Result<Option<Checkpoint>> {
    let load = |path: &str| match path {
        "bundled" => Checkpoint::from_bytes(probe::BUNDLED),
        path => Checkpoint::load(Path::new(path)),
    };
    experiment.start.as_deref().map(load).transpose()
}

/// The experiment, with validation on the images that the model to start from has set aside itself, unless told otherwise.
/// One that cannot be read is told of by the run.
fn apart(experiment: &Experiment) -> Experiment {
    let mut apart = experiment.clone();
    if let (None, Ok(Some(start))) = (experiment.data.split_seed, start_of(experiment)) {
        let made = probe::recipe(&start.header).map(|made| made.split_seed());
        apart.data.split_seed = made.filter(|&seed| seed != experiment.seed);
    }
    apart
}

/// Why validation may flatter a run that begins with this model.
fn flattered(start: &Checkpoint, experiment: &Experiment) -> Option<String> {
    let Some(made) = probe::recipe(&start.header) else {
        let text = "the model to start from does not say what it has learned from: validation may flatter it";
        return Some(text.into());
    };
    let same = made.data.source == experiment.data.source;
    let apart = made.split_seed() == experiment.split_seed() && made.data.valid >= experiment.data.valid;
    (same && !apart).then(|| {
        format!(
            "the model to start from has learned from images that validate here; expected data.split_seed = {} and data.valid \
             at most {}",
            made.split_seed(),
            made.data.valid
        )
    })
}

struct RunContext<'a, 'b> {
    experiment: &'a Experiment,
    workspace: &'a Workspace,
    control: &'a Control,
    log: &'a EventLog<'b>,
    checkpoints: &'a CheckpointStore,
    run: &'a Path,
}

fn work(context: &RunContext) -> Result<Ending> {
    let &RunContext {
        experiment,
        control,
        log,
        run,
        ..
    } = context;
    let emit = &mut |event: Event| log.emit(event, control);
    let device = context.workspace.device.open()?;
    let mut dataset = data::open(&experiment.data.source, &mut |p| {
        Ok(emit(Event::Phase {
            name: p.text,
            progress: 0.0,
        })?)
    })
    .map_err(bad_input)?;
    log.check_data(dataset.checksum)?;
    let facts = ManifestUpdate {
        state: "running",
        device: &context.workspace.device.to_string(),
        data_checksum: Some(dataset.checksum),
    };
    log.manifest(control, experiment, facts)?;
    for text in std::mem::take(&mut dataset.notes) {
        emit(Event::Warning { text })?;
    }
    let mut splits = data::split(&dataset, experiment.split_seed(), experiment.data.valid).map_err(bad_input)?;
    if experiment.data.limit > 0 {
        splits.train = data::spread(&splits.train, experiment.data.limit);
    }
    let shape = dataset.shape();
    let input = [shape.channels, shape.height, shape.width];
    let spec = experiment
        .model
        .build(input, dataset.classes.len())
        .map_err(bad_input)?;
    let start = start_of(experiment).map_err(bad_input)?;
    if let Some(text) = start.as_ref().and_then(|s| flattered(s, experiment)) {
        emit(Event::Warning { text })?;
    }
    let best = Checkpoint::load(&run.join(BEST)).ok();
    let best = Cell::new(best.as_ref().and_then(worth));
    let least = Cell::new(0.0);
    let keep = |checkpoint: &Checkpoint| {
        log.write(control, &mut || checkpoint.save(&run.join(LATEST)))?;
        let better = |(macs, top1): (u64, f32)| {
            top1 >= least.get()
                && best
                    .get()
                    .is_none_or(|(before, of)| macs < before || (macs == before && top1 > of))
        };
        if let Some(worth) = worth(checkpoint).filter(|w| better(*w)) {
            log.write(control, &mut || checkpoint.save(&run.join(BEST)))?;
            best.set(Some(worth));
        }
        Ok(LATEST.to_owned())
    };
    let per_epoch = splits.train.len() / experiment.train.batch;
    let epochs = experiment.method.epochs(&experiment.train, start.is_some());
    let mut ctx = Ctx {
        seed: experiment.seed,
        data: TrainingData {
            dataset: &dataset,
            splits: &splits,
            augment: experiment.data.augment,
            normalization: Normalization::of(&dataset.train),
        },
        spec,
        train: experiment.train.clone(),
        start,
        device,
        threads: context.workspace.threads,
        recipe: experiment.to_toml()?,
        steps: epochs * per_epoch as u64,
        done: [0, 0],
        run: RunHooks {
            check: &|| control.check(),
            min_top1: &least,
            keep: &keep,
            steer: &|| log.steers(control),
            memory: context.checkpoints,
            emit,
        },
    };
    // A model to start from is the network that pruning begins with.
    let spec = ctx.start.as_ref().map_or(&ctx.spec, |s| s.spec()).clone();
    let dense = cost::dense(&spec)?;
    memory_check::check(&spec, ctx.train.batch, memory_check::free())?;
    #[cfg(feature = "remote")]
    if let DeviceName::Remote(_) = context.workspace.device {
        let text = train::remote::compare(&spec, ctx.train.batch, &ctx.device)?;
        ctx.emit(Event::Warning { text })?;
    }
    ctx.emit(Event::Started {
        spec: Arc::new(spec),
        dense,
        steps: ctx.steps,
        images: [splits.train.len(), splits.valid.len(), splits.test.len()],
    })?;
    if let Some(ForkOrigin { run, at, changes }) = log.origin_to_say() {
        let steps = ctx.steps;
        let from = run;
        log.put(
            Event::Forked {
                from,
                at,
                changes,
                steps,
            },
            control,
        )?;
    }
    let checkpoint = experiment.method.run(&mut ctx)?;
    let checkpoint = finish(&mut ctx, checkpoint)?;
    let file = format!("models/{}.safetensors", experiment.name);
    log.write(control, &mut || checkpoint.save(&run.join(&file)))
        .context("the trained model")?;
    // The finished model replaces the last one kept on the way.
    drop(std::fs::remove_file(run.join(LATEST)));
    let highest = checkpoint
        .header
        .densities
        .last()
        .copied()
        .unwrap_or(model::Density::FULL);
    // What a search found for the gates is what the run was for.
    let found = &checkpoint.header.gate_densities;
    let metric = |split: &str| {
        let metrics = checkpoint.header.metrics.iter().filter(|m| m.split == split);
        let mut metrics = metrics.filter(|m| m.gates == *found);
        metrics.find(|m| m.density == highest || !found.is_empty())
    };
    let gates = match &found[..] {
        [] => vec![highest; checkpoint.spec().gates().len()],
        found => found.to_vec(),
    };
    let nominal = Fractions::nominal(checkpoint.spec(), &gates)?;
    let cost = cost::total(checkpoint.spec(), &checkpoint.masks, &nominal)?;
    ctx.emit(Event::Kept {
        model: file.clone(),
        cost,
        top1: metric("valid").map_or(0.0, |m| m.top1),
    })?;
    Ok(Ending {
        model: Some(run.join(file).to_string_lossy().into_owned()),
        valid_top1: metric("valid").map(|m| m.top1),
        test_top1: metric("test").map(|m| m.top1),
        macs: metric("valid").map(|m| m.macs),
        macs_dense: Some(dense.macs),
        params: Some(cost.params),
        params_dense: Some(dense.params),
        ..ended(run, Outcome::Finished, None)
    })
}

/// Marks an error as the input's fault, unless it is a stop.
fn bad_input(e: anyhow::Error) -> anyhow::Error {
    if e.is::<Cancelled>() {
        e
    } else {
        BadInput(format!("{e:#}")).into()
    }
}

fn ended(run: &Path, outcome: Outcome, reason: Option<String>) -> Ending {
    Ending {
        outcome,
        reason,
        good: None,
        bad_input: false,
        run: run.to_string_lossy().into_owned(),
        model: None,
        valid_top1: None,
        test_top1: None,
        macs: None,
        macs_dense: None,
        params: None,
        params_dense: None,
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(changes: &[(&str, &str)]) -> Experiment {
        let all = [("start", "bundled")].iter().chain(changes);
        let all: Vec<(String, String)> = all.map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Experiment::load("densities-fashion", &all).expect("preset")
    }

    #[test]
    fn a_run_validates_on_what_its_start_has_not_learned_from() {
        let mut start = Checkpoint::from_bytes(probe::BUNDLED).expect("loads");
        let made = probe::recipe(&start.header).expect("a recipe");
        let other = beginning(&[("seed", "9")]);
        assert_ne!(other.split_seed(), made.split_seed());
        assert_eq!(apart(&other).split_seed(), made.split_seed());
        assert_eq!(flattered(&start, &apart(&other)), None);
        // Asked for by name, it is done, and a warning says so.
        let asked = beginning(&[("data.split_seed", "9")]);
        assert_eq!(apart(&asked), asked);
        assert!(flattered(&start, &asked).is_some_and(|text| text.contains("data.split_seed = 0")));
        let more = beginning(&[("data.valid", "9000")]);
        assert!(flattered(&start, &apart(&more)).is_some_and(|text| text.contains("at most 5000")));
        start.header.recipe = String::new();
        assert!(flattered(&start, &other).is_some());
    }

    #[test]
    fn nothing_is_changed_without_a_start() {
        let alone = Experiment::load("smoke", &[("seed".into(), "9".into())]).expect("preset");
        assert_eq!(apart(&alone), alone);
    }
}
