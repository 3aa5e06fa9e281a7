//! Plays a tournament, run after run, or says what other machines can run of it.
//! Knows nothing of how results are compared.

use crate::Workspace;
use crate::known::{Turn, ending, finished, take};
use crate::work::open_images;
use anyhow::{Context, Result, bail, ensure};
use data::Split;
use disk::write_whole;
use event::{Event, Stamped};
use infer::{Engine, EvaluatedBatch, LabeledImages, Options, argmax, evaluate};
use measure::probe::valid_split;
use model::{Checkpoint, random_model};
use record::control::Control;
use record::sweep::Shard;
use record::tournament::{Dense, Entry, Tournament};
use record::{Experiment, ModelRef, log};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What the finished model says of each test image, in a run's folder.
const PREDICTIONS: &str = "predictions.csv";

/// Images per run of the engine.
const BATCH: usize = 64;

/// A finished run of a tournament, or a trained network that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// What was run.
    pub entry: Entry,
    /// Its folder; of a given network its file.
    pub run: PathBuf,
    /// Share of the validation images classified right.
    pub valid_top1: Option<f32>,
    /// Whether each test image is classified right.
    pub right: Vec<bool>,
    /// MACs per image.
    pub macs: u64,
    /// Trainable numbers.
    pub params: u64,
    /// Epochs of training, the dense network's left out.
    pub epochs: u64,
    /// Trials of searches.
    pub trials: u64,
    /// Images that training and trials have read.
    pub images_seen: u64,
}

impl Played {
    /// Share of the test images classified right.
    pub fn test_top1(&self) -> f64 {
        self.right.iter().filter(|r| **r).count() as f64 / self.right.len().max(1) as f64
    }
}

/// Checks, before anything is trained, that every method can meet its target, that trials are trained no longer than results,
/// and that given models fit the images.
///
/// # Errors
/// One line naming the method, the network and what was expected; images or models that cannot be read.
pub fn check(tournament: &Tournament, control: &Control) -> Result<()> {
    let mut networks: BTreeMap<&str, (Checkpoint, usize)> = BTreeMap::new();
    for heat in &tournament.heats {
        let of = heat.dense.entry();
        if !networks.contains_key(of.network.as_str()) {
            networks.insert(&of.network, untrained(&of.experiment, control)?);
        }
        let (untrained, n_train) = &networks[of.network.as_str()];
        let given = match &heat.dense {
            Dense::Given(_, model) => Some(model.load()?),
            Dense::Trained(_) => None,
        };
        let model = given.as_ref().unwrap_or(untrained);
        let reads = |c: &Checkpoint| (c.spec().input, c.header.classes.len());
        ensure!(
            reads(model) == reads(untrained),
            "networks.{}: model {} reads {:?} and knows {} classes, the images are {:?} of {}",
            of.network,
            of.dense,
            reads(model).0,
            reads(model).1,
            reads(untrained).0,
            reads(untrained).1
        );
        ensure!(
            !model.is_gated(),
            "networks.{}: model {} has gates, expected one without: channels that are cut for good are compared",
            of.network,
            of.dense
        );
        for Entry { method, experiment, .. } in &heat.entries {
            let check = experiment.method.check_target(model);
            check.with_context(|| format!("methods.{method} on {}", of.network))?;
            let epochs = experiment.trim.as_ref().map_or(0, |t| u64::from(t.retrain.epochs));
            let most = (n_train / experiment.train.batch) as u64 * epochs;
            let steps = tuning(experiment)?;
            ensure!(
                steps <= most,
                "methods.{method}.tuning is {steps} steps, expected at most the {most} of budget.retrain"
            );
        }
    }
    Ok(())
}

/// The network of an experiment with random weights, and how many images it trains on.
fn untrained(experiment: &Experiment, control: &Control) -> Result<(Checkpoint, usize)> {
    let dataset = open_images(experiment, &mut |_| Ok(control.check()?))?;
    let shape = dataset.shape();
    let input = [shape.channels, shape.height, shape.width];
    let model = random_model(experiment.model.build(input, dataset.classes.len())?, 0)?;
    let n = data::split(&dataset, experiment.split_seed(), experiment.data.valid)
        .train
        .len();
    let limit = Some(experiment.data.limit).filter(|limit| *limit > 0);
    Ok((model, n.min(limit.unwrap_or(n))))
}

/// Training steps before each of its trials.
fn tuning(experiment: &Experiment) -> Result<u64> {
    let found = experiment.flat()?.into_iter().find(|(key, _)| key == "method.tuning");
    Ok(found.and_then(|(_, v)| v.as_integer()).unwrap_or(0).max(0) as u64)
}

/// Does what is not done of a shard; `each` hears how every run ended. True if all are finished.
///
/// # Errors
/// [`event::Cancelled`], after saving; a run folder that cannot be made; a network that failed to train.
pub fn play(
    tournament: &Tournament,
    shard: Shard,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
    each: &mut dyn FnMut(&Entry, &Turn),
) -> Result<bool> {
    let mut all = true;
    for heat in tournament.of_shard(shard) {
        let start = match &heat.dense {
            Dense::Given(_, model) => model.clone(),
            Dense::Trained(entry) => {
                let turn = take(&entry.experiment, workspace, control, listen)?;
                each(entry, &turn);
                match turn {
                    Turn::Finished(run) => model_of(&run, &entry.experiment),
                    // Nothing can begin with a network that is not there.
                    Turn::Failed(..) | Turn::Elsewhere(_) => {
                        all = false;
                        continue;
                    }
                }
            }
        };
        for entry in &heat.entries {
            let turn = take(&started(&entry.experiment, &start), workspace, control, listen)?;
            each(entry, &turn);
            all &= matches!(turn, Turn::Finished(_));
        }
    }
    Ok(all)
}

/// The networks that are to be trained: what can begin at once.
pub fn trainings(tournament: &Tournament) -> Vec<Experiment> {
    let trained = |dense: &Dense| match dense {
        Dense::Given(..) => None,
        Dense::Trained(entry) => Some(entry.experiment.clone()),
    };
    tournament
        .heats
        .iter()
        .filter_map(|heat| trained(&heat.dense))
        .collect()
}

/// What can begin now, from networks that are given or whose training has finished.
///
/// # Errors
/// A run folder cannot be read.
pub fn prunings(tournament: &Tournament, workspace: &Workspace) -> Result<Vec<Experiment>> {
    let mut all = Vec::new();
    for heat in &tournament.heats {
        let start = match &heat.dense {
            Dense::Given(_, model) => Some(model.clone()),
            Dense::Trained(entry) => {
                finished(&entry.experiment, &workspace.runs)?.map(|run| model_of(&run, &entry.experiment))
            }
        };
        let Some(start) = start else { continue };
        all.extend(heat.entries.iter().map(|entry| started(&entry.experiment, &start)));
    }
    Ok(all)
}

/// All that is finished, of all shards, dense networks first in each heat.
///
/// # Errors
/// A model or its images cannot be read.
pub fn results(tournament: &Tournament, workspace: &Workspace, control: &Control) -> Result<Vec<Played>> {
    let mut played = Vec::new();
    for heat in &tournament.heats {
        let start = match &heat.dense {
            Dense::Given(entry, model) => {
                played.push(given(entry, model, workspace, control)?);
                model.clone()
            }
            Dense::Trained(entry) => {
                let Some(run) = finished(&entry.experiment, &workspace.runs)? else {
                    continue;
                };
                played.push(of_run(entry, &run, workspace, control)?);
                model_of(&run, &entry.experiment)
            }
        };
        for entry in &heat.entries {
            if let Some(run) = finished(&started(&entry.experiment, &start), &workspace.runs)? {
                played.push(of_run(entry, &run, workspace, control)?);
            }
        }
    }
    Ok(played)
}

fn started(experiment: &Experiment, start: &ModelRef) -> Experiment {
    Experiment {
        start: Some(start.clone()),
        ..experiment.clone()
    }
}

fn model_of(run: &Path, experiment: &Experiment) -> ModelRef {
    ModelRef::File(run.join(format!("models/{}.safetensors", experiment.name)))
}

fn given(entry: &Entry, model: &ModelRef, workspace: &Workspace, control: &Control) -> Result<Played> {
    let checkpoint = model.load()?;
    let right = predict(&checkpoint, &entry.experiment, workspace, control)?;
    let dense = model::cost::dense(checkpoint.spec())?;
    Ok(Played {
        entry: entry.clone(),
        run: model.path().unwrap_or(Path::new("")).to_path_buf(),
        valid_top1: None,
        right: right.into_iter().map(|[label, said]| label == said).collect(),
        macs: dense.macs,
        params: dense.params,
        epochs: 0,
        trials: 0,
        images_seen: 0,
    })
}

fn of_run(entry: &Entry, run: &Path, workspace: &Workspace, control: &Control) -> Result<Played> {
    let ending = ending(run)?.with_context(|| format!("{} has no end", run.display()))?;
    let e = &entry.experiment;
    let [mut images, mut of_trial, mut trials, mut in_trials] = [0; 4];
    log::read(&run.join("events.jsonl"), &mut |stamped| {
        match &stamped.event {
            Event::Started {
                images: [train, ..], ..
            } => images = *train as u64,
            Event::Search(start) => of_trial = start.images as u64,
            Event::Trial(_) => {
                trials += 1;
                in_trials += of_trial;
            }
            _ => {}
        }
        true
    })?;
    let own = e
        .trim
        .as_ref()
        .map_or(0, |t| e.method.epochs(&e.train, true) + u64::from(t.retrain.epochs));
    Ok(Played {
        entry: entry.clone(),
        run: run.to_path_buf(),
        valid_top1: ending.valid_top1,
        right: predictions(entry, run, workspace, control)?,
        macs: ending.macs.unwrap_or(0),
        params: ending.params.unwrap_or(0),
        epochs: own,
        trials,
        images_seen: own * images + in_trials + trials * tuning(e)? * e.train.batch as u64,
    })
}

/// Whether a run's model classifies each test image right: as stored in its folder, measured and stored the first time.
fn predictions(entry: &Entry, run: &Path, workspace: &Workspace, control: &Control) -> Result<Vec<bool>> {
    let file = run.join(PREDICTIONS);
    if !file.is_file() {
        let model = model_of(run, &entry.experiment).load()?;
        let predicted = predict(&model, &entry.experiment, workspace, control)?;
        let rows = predicted.iter().enumerate();
        let rows: String = rows.map(|(i, [label, said])| format!("{i},{label},{said}\n")).collect();
        write_whole(&file, format!("image,label,predicted\n{rows}").as_bytes())?;
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let right = |line: &str| {
        let mut columns = line.split(',').skip(1);
        Some(columns.next()? == columns.next()?)
    };
    let right: Option<Vec<bool>> = text.lines().skip(1).map(right).collect();
    let right = right.with_context(|| format!("{} has a line that is not `image,label,predicted`", file.display()))?;
    ensure!(!right.is_empty(), "{} has no images", file.display());
    Ok(right)
}

/// Label and answer for each test image.
fn predict(
    model: &Checkpoint,
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
) -> Result<Vec<[u16; 2]>> {
    let dataset = open_images(experiment, &mut |_| Ok(control.check()?))?;
    let splits = valid_split(&model.header, &dataset);
    let shape = dataset.shape();
    if model.spec().input != [shape.channels, shape.height, shape.width] {
        bail!("the model reads {:?}, the images are {shape}", model.spec().input);
    }
    let options = Options {
        threads: workspace.threads,
        batch: BATCH,
        ..Options::default()
    };
    let mut engine = infer::compile(model, &options)?;
    let images = LabeledImages::Stored {
        images: dataset.images(Split::Test),
        indices: splits.indices(Split::Test),
        normalization: &model.header.normalization,
    };
    let of_classes = model.spec().logits()?;
    let answer = |row: &[f32]| argmax(row).map_or(u16::MAX, |class| class as u16);
    let mut said = Vec::new();
    let mut check = |_: &mut Engine| Ok(ControlFlow::Continue(control.check()?));
    evaluate(&mut engine, images, &mut check, &mut |done: EvaluatedBatch| {
        let numbers = done.batch.logits.len() / done.batch.n.max(1);
        let rows = done
            .batch
            .logits
            .chunks_exact(numbers.max(1))
            .map(|row| &row[of_classes.clone()]);
        said.extend(done.labels.iter().zip(rows).map(|(label, row)| [*label, answer(row)]));
        Ok(())
    })?;
    Ok(said)
}
