//! One run from its experiment to its model, on the calling thread. The window's workers and the command line both do just this.
//! Knows nothing of who listens.

use super::control::Control;
use super::device::DeviceName;
use super::experiment::Experiment;
use super::folder::{RunFolder, threads};
use crate::data::{self, Normalization};
use crate::event::{Cancelled, Ending, Event, Outcome, Stamped};
use crate::model::{Checkpoint, Fractions, cost, sparse_conv};
use crate::train::Ctx;
use anyhow::{Context, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a run needs besides its experiment.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder that holds run folders.
    pub runs: PathBuf,
    /// Where tensors live.
    pub device: DeviceName,
}

/// Runs an experiment in a new run folder. Events go to the folder's log and to `listen`, which may block.
/// Always says exactly one `ended`, whatever happens, and returns it. A panic is a failure with its message.
///
/// # Errors
/// The run folder cannot be made: nothing was begun.
pub fn execute(
    experiment: &Experiment,
    place: &Place,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<Ending> {
    let mut folder = RunFolder::create(&place.runs, experiment)?;
    let began = Instant::now();
    let mut seq = 0;
    let mut failure = None;
    let run = folder.path.clone();
    let mut put = |event: Event, folder: &mut RunFolder| {
        let stamped = Stamped {
            seq,
            at: began.elapsed().as_secs_f64(),
            event,
        };
        seq += 1;
        if let Err(e) = folder.append(&stamped) {
            failure.get_or_insert(e);
        }
        listen(&stamped);
        failure.is_none()
    };
    let mut emit = |event: Event| -> Result<(), Cancelled> {
        control.check()?;
        // An event that could not be written stops the run: what is not logged did not happen.
        if put(event, &mut folder) {
            Ok(())
        } else {
            Err(Cancelled)
        }
    };
    sparse_conv::stop_when(control.stopping.clone());
    let checksum = Cell::new(None);
    let result = catch_unwind(AssertUnwindSafe(|| {
        work(experiment, place, &run, &checksum, &|| control.check(), &mut emit)
    }));
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
    put(Event::Ended(ending.clone()), &mut folder);
    if let Some(e) = failure {
        ending = ended(&run, Outcome::Failed, Some(format!("{e:#}")));
    }
    let state = match ending.outcome {
        Outcome::Finished => "finished",
        Outcome::Cancelled => "cancelled",
        Outcome::Failed => "failed",
    };
    folder.manifest(experiment, state, checksum.get())?;
    Ok(ending)
}

fn work(
    experiment: &Experiment,
    place: &Place,
    run: &Path,
    checksum: &Cell<Option<u64>>,
    check: &dyn Fn() -> Result<(), Cancelled>,
    emit: &mut dyn FnMut(Event) -> Result<(), Cancelled>,
) -> Result<Ending> {
    let device = place.device.open()?;
    let mut dataset = data::open(&experiment.data.source, &mut |p| {
        Ok(emit(Event::Phase {
            name: p.text,
            progress: 0.0,
        })?)
    })
    .map_err(bad_input)?;
    checksum.set(Some(dataset.checksum));
    for text in std::mem::take(&mut dataset.notes) {
        emit(Event::Warning { text })?;
    }
    let mut splits = data::split(&dataset, experiment.seed, experiment.data.valid).map_err(bad_input)?;
    if experiment.data.limit > 0 {
        splits.train.truncate(experiment.data.limit);
    }
    let shape = dataset.shape();
    let spec = experiment
        .model
        .build([shape.channels, shape.height, shape.width], dataset.classes.len())
        .map_err(bad_input)?;
    let dense = cost::dense(&spec)?;
    let start = experiment
        .start
        .as_deref()
        .map(|path| Checkpoint::load(Path::new(path)))
        .transpose()
        .map_err(bad_input)?;
    let keep = |checkpoint: &Checkpoint| {
        let file = "models/latest.safetensors";
        checkpoint.save(&run.join(file))?;
        Ok(file.to_owned())
    };
    let mut ctx = Ctx {
        seed: experiment.seed,
        normalization: Normalization::of(&dataset.train),
        data: &dataset,
        splits: &splits,
        augment: experiment.data.augment,
        spec,
        train: experiment.train.clone(),
        start,
        device,
        threads: threads(),
        recipe: experiment.to_toml()?,
        check,
        keep: &keep,
        emit,
    };
    let checkpoint = experiment.method.run(&mut ctx)?;
    let file = format!("models/{}.safetensors", experiment.name);
    checkpoint.save(&run.join(&file)).context("the trained model")?;
    // The finished model takes the place of the last one kept on the way.
    drop(std::fs::remove_file(run.join("models/latest.safetensors")));
    let highest = checkpoint
        .header
        .densities
        .last()
        .copied()
        .unwrap_or(crate::model::Density::FULL);
    let metric = |split: &str| {
        checkpoint
            .header
            .metrics
            .iter()
            .find(|m| m.density == highest && m.split == split)
    };
    let nominal = Fractions::nominal(checkpoint.spec(), &vec![highest; checkpoint.spec().gates().len()])?;
    let cost = cost::total(checkpoint.spec(), &checkpoint.masks, &nominal)?;
    (ctx.emit)(Event::Kept {
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

/// What the user gave was at fault, not the work.
#[derive(Debug)]
struct BadInput(String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

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

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}
