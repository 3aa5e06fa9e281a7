//! The work of one run: images, network, method, model. What a run does between its first event and its last.
//! Knows nothing of run folders that begin or end.

use crate::{Workspace, memory_check};
use anyhow::{Context, Result, bail};
use data::{Dataset, Normalization, PictureSize, Progress, Split};
use event::{BadInput, Cancelled, Ending, Event, Outcome, Stamped};
use infer::LatencyTable;
use model::{Checkpoint, Cost, Density, Fractions, NetSpec, cost};
use record::checkpoints::CheckpointStore;
use record::control::Control;
use record::event_log::{EventLog, LogHistory};
use record::folder::{ForkOrigin, ManifestUpdate, RunFolder};
use record::{Experiment, ModelRef, Status};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use train::{Ctx, Protected, RunHooks, TrainingData, check_teacher, finish, sparse_conv};

/// The newest model kept on the way, and the most accurate of the cheapest ones.
pub(crate) const LATEST: &str = "models/latest.safetensors";
const BEST: &str = "models/best.safetensors";

/// What the work reads and writes.
pub(crate) struct RunContext<'a, 'b> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) workspace: &'a Workspace,
    pub(crate) control: &'a Control,
    pub(crate) log: &'a EventLog<'b>,
    pub(crate) checkpoints: &'a CheckpointStore,
    pub(crate) run: &'a Path,
    /// Its images, if they are read already.
    pub(crate) dataset: Cell<Option<Dataset>>,
}

/// The images of an experiment.
///
/// # Errors
/// As [`data::open`]; a size that they do not have; those of `on_progress`.
pub(crate) fn open_images(
    experiment: &Experiment,
    on_progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Dataset> {
    let mut reading = experiment.data.reading();
    if let (PictureSize::Auto, Ok(Some(start))) = (reading.size, start_of(experiment)) {
        let [_, height, width] = start.spec().input;
        reading.size = PictureSize::Of(height, width);
    }
    let dataset = data::open_unlabeled(&experiment.data.source, &reading, on_progress)?;
    let shape = dataset.shape();
    if let PictureSize::Of(height, width) = experiment.data.size
        && (height, width) != (shape.height, shape.width)
    {
        bail!(
            "data.size is {}, the images are {shape}: only folders of pictures are scaled, expected auto",
            experiment.data.size
        );
    }
    Ok(dataset)
}

impl RunContext<'_, '_> {
    /// Does it.
    ///
    /// # Errors
    /// [`Cancelled`]; [`BadInput`]; whatever the method fails with.
    pub(crate) fn work(&self) -> Result<Ending> {
        let &Self {
            experiment,
            control,
            log,
            run,
            ..
        } = self;
        sparse_conv::stop_when(control.stopping.clone());
        let emit = &mut |event: Event| log.emit(event, control);
        let device = self.workspace.device.open()?;
        let opened = self.dataset.take().map_or_else(
            || {
                open_images(experiment, &mut |p| {
                    Ok(emit(Event::Phase {
                        name: p.text,
                        progress: 0.0,
                    })?)
                })
            },
            Ok,
        );
        let mut dataset = opened.map_err(bad_input)?;
        log.check_data(dataset.checksum)?;
        let update = ManifestUpdate {
            device: &self.workspace.device.to_string(),
            data_checksum: Some(dataset.checksum),
            ..ManifestUpdate::status(Status::Running)
        };
        log.manifest(control, experiment, update)?;
        for text in std::mem::take(&mut dataset.notes) {
            emit(Event::Warning { text })?;
        }
        let mut splits = data::split(&dataset, experiment.split_seed(), experiment.data.valid);
        for text in data::split_notes(&dataset, experiment.data.valid, &splits) {
            emit(Event::Warning { text })?;
        }
        if experiment.data.limit > 0 {
            splits.train = data::spread(&splits.train, experiment.data.limit);
        }
        let shape = dataset.shape();
        let input = [shape.channels, shape.height, shape.width];
        let start = start_of(experiment).map_err(bad_input)?;
        let teacher = teacher_of(experiment).map_err(bad_input)?;
        let network = start.as_ref().map(|s| s.spec().classes()).transpose()?;
        if !dataset.is_labeled || network == Some(0) {
            let wanted = "expected classes, or train.teacher: a model file, or self with a model to start from";
            let of = teacher
                .as_ref()
                .or(start.as_ref().filter(|_| experiment.train.teacher.is_some()));
            let Some(of) = of else {
                let text = match network {
                    Some(0) => {
                        "the model to start from gives no class logits, expected train.teacher: a model file, or self"
                            .to_owned()
                    }
                    _ => format!("{}: the pictures have no classes, {wanted}", experiment.data.source),
                };
                return Err(BadInput(text).into());
            };
            let classes = &start.as_ref().unwrap_or(of).header.classes;
            check_teacher(of, input, classes)?;
            train::label(&mut dataset, &splits.valid, of, self.workspace.threads, &|| {
                log.check(control)
            })?;
            let text = match network {
                Some(0) => {
                    "the network gives no class logits: accuracy is agreement of its outputs with the teacher's here"
                }
                _ => "the pictures have no classes: accuracy is agreement with the teacher here",
            };
            emit(Event::Warning { text: text.into() })?;
        }
        if let Some(teacher) = &teacher {
            check_teacher(teacher, input, &dataset.classes)?;
        }
        let spec = experiment
            .model
            .build(input, dataset.classes.len().max(1))
            .map_err(bad_input)?;
        if let Some(start) = &start {
            let matched = dataset.match_classes(&start.header.classes).map_err(bad_input)?;
            if let Some(text) = matched {
                return Err(BadInput(format!("{text}; a run trains on all of them")).into());
            }
        }
        let update = ManifestUpdate {
            model_checksums: model_checksums(experiment).map_err(bad_input)?,
            ..ManifestUpdate::status(Status::Running)
        };
        log.manifest(control, experiment, update)?;
        if let Some(text) = start.as_ref().and_then(|s| overlap_warning(s, experiment)) {
            emit(Event::Warning { text })?;
        }
        let best = Checkpoint::load(&run.join(BEST)).ok();
        let best = Cell::new(best.as_ref().and_then(macs_and_top1));
        let min_top1 = Cell::new(0.0);
        // Whoever tidied up may have taken the folder with the files.
        let save = |checkpoint: &Checkpoint, file: &str| {
            log.write(control, &mut || {
                disk::make_folder(&run.join("models"))?;
                checkpoint.save(&run.join(file))
            })
        };
        let keep = |checkpoint: &Checkpoint| {
            save(checkpoint, LATEST)?;
            let better = |(macs, top1): (u64, f32)| {
                top1 >= min_top1.get()
                    && best
                        .get()
                        .is_none_or(|(before, of)| macs < before || (macs == before && top1 > of))
            };
            if let Some(measured) = macs_and_top1(checkpoint).filter(|m| better(*m)) {
                save(checkpoint, BEST)?;
                best.set(Some(measured));
            }
            Ok(LATEST.to_owned())
        };
        let protected = experiment
            .data
            .protect
            .iter()
            .map(|name| Protected::named(name, &dataset));
        let protected = protected.collect::<Result<Vec<_>>>().map_err(bad_input)?;
        let per_epoch = splits.train.len() / experiment.train.batch;
        let epochs = experiment.method.epochs(&experiment.train, start.is_some())
            + experiment.trim.as_ref().map_or(0, |t| u64::from(t.retrain.epochs))
            + experiment.quantize.as_ref().map_or(0, |q| u64::from(q.retrain.epochs));
        let whole = start.as_ref().map_or(&spec, |start| start.spec());
        let latency_table = latency_table(experiment, whole).map_err(BadInput::of)?;
        let mut ctx = Ctx {
            seed: experiment.seed,
            data: TrainingData {
                dataset: &dataset,
                splits: &splits,
                augment: experiment.data.augment,
                normalization: Normalization::of(&dataset.train),
                protected,
            },
            spec,
            train: experiment.train.clone(),
            start,
            teacher,
            device,
            threads: self.workspace.threads,
            latency_table,
            recipe: experiment.to_toml()?,
            steps: epochs * per_epoch as u64,
            done: [0, 0],
            run: RunHooks {
                check: &|| log.check(control),
                min_top1: &min_top1,
                keep: &keep,
                steer: &|| log.steers(control),
                memory: self.checkpoints,
                farm: self.workspace.farm.as_deref(),
                emit,
            },
        };
        if !dataset.is_labeled {
            ctx.train.teacher_weight = 1.0;
        }
        // A model to start from is the network that pruning begins with.
        let spec = ctx.start.as_ref().map_or(&ctx.spec, |s| s.spec()).clone();
        let dense = cost::dense(&spec)?;
        memory_check::check(&spec, ctx.train.batch, memory_check::free())?;
        #[cfg(feature = "remote")]
        if let train::device::DeviceName::Remote(_) = self.workspace.device {
            let text = train::remote::compare(&spec, ctx.train.batch, &ctx.device)?;
            ctx.emit(Event::Warning { text })?;
        }
        ctx.emit(Event::Started {
            spec: Arc::new(spec),
            dense,
            steps: ctx.steps,
            images: [splits.train.len(), splits.valid.len(), splits.test.len()],
            agreement: !dataset.is_labeled,
        })?;
        if let Some(ForkOrigin { run: from, at, changes }) = log.unlogged_origin() {
            let steps = ctx.steps;
            let forked = Event::Forked {
                from,
                at,
                changes,
                steps,
            };
            log.put(forked, control)?;
            let [before, done] = log.logged_steps();
            if before != steps {
                let text = format!(
                    "from step {done} on, rates follow the schedule of {steps} steps in place of that of {before}"
                );
                log.put(Event::Note { text }, control)?;
            }
        }
        let trim = experiment.trim.as_ref().zip(ctx.start.clone());
        let mut checkpoint = experiment.method.run(&mut ctx)?;
        if let Some((trim, whole)) = trim {
            checkpoint = trim.trim(&mut ctx, &experiment.method, [&whole, &checkpoint])?;
        }
        if let Some(quantize) = &experiment.quantize {
            checkpoint = quantize.quantize(&mut ctx, &checkpoint)?;
        }
        let checkpoint = finish(&mut ctx, checkpoint)?;
        let file = format!("models/{}.safetensors", experiment.name);
        save(&checkpoint, &file).context("the trained model")?;
        // The finished model replaces the last one kept on the way.
        drop(std::fs::remove_file(run.join(LATEST)));
        self.finished(&mut ctx, &checkpoint, file, dense)
    }

    /// Emits what the finished model is worth, and gives the run's ending.
    fn finished(&self, ctx: &mut Ctx, checkpoint: &Checkpoint, file: String, dense: Cost) -> Result<Ending> {
        let highest = checkpoint.header.densities.last().copied().unwrap_or(Density::FULL);
        // What a search found for the gates is what the run was for.
        let found = &checkpoint.header.gate_densities;
        let metric = |split: Split| {
            let metrics = checkpoint.header.metrics.iter().filter(|m| m.split == split);
            let mut metrics = metrics.filter(|m| m.gates == *found);
            metrics.find(|m| m.density == highest || !found.is_empty())
        };
        let [valid, test] = [Split::Valid, Split::Test].map(metric);
        let gates = match &found[..] {
            [] => vec![highest; checkpoint.spec().gates().len()],
            found => found.to_vec(),
        };
        let nominal = Fractions::nominal(checkpoint.spec(), &gates)?;
        let cost = cost::total(checkpoint.spec(), &checkpoint.masks, &nominal)?;
        if let Some(text) = valid.and_then(|m| chance_warning(ctx, m.top1)) {
            ctx.emit(Event::Warning { text })?;
        }
        ctx.emit(Event::Kept {
            model: file.clone(),
            cost,
            top1: valid.map_or(0.0, |m| m.top1),
        })?;
        Ok(Ending {
            model: Some(self.run.join(file).to_string_lossy().into_owned()),
            valid_top1: valid.map(|m| m.top1),
            test_top1: test.map(|m| m.top1),
            macs: valid.map(|m| m.macs),
            macs_dense: Some(dense.macs),
            params: Some(cost.params),
            params_dense: Some(dense.params),
            ..ended(self.run, Outcome::Finished, None)
        })
    }
}

/// What is to be said of a model that is no better than one that always names the most common class.
fn chance_warning(ctx: &Ctx, top1: f32) -> Option<String> {
    let (labels, valid) = (&ctx.data.dataset.train.labels, &ctx.data.splits.valid);
    let mut images = vec![0_usize; ctx.data.dataset.classes.len()];
    for label in valid.iter().filter_map(|&i| labels.get(i as usize)) {
        images.get_mut(usize::from(*label)).into_iter().for_each(|n| *n += 1);
    }
    let chance = images.iter().max().copied().unwrap_or(0) as f32 / valid.len().max(1) as f32;
    // Two standard errors: luck comes so far.
    let luck = 2.0 * (chance * (1.0 - chance) / valid.len().max(1) as f32).sqrt();
    if !ctx.data.dataset.is_labeled || chance >= 1.0 || top1 > chance + luck {
        return None;
    }
    let percent = |share: f32| format!("{:.1} %", share * 100.0);
    let seen = format!(
        "it is right for {} of the {} validation images, and who always names their most common class for {}",
        percent(top1),
        valid.len(),
        percent(chance)
    );
    Some(if top1 <= chance || luck < 0.05 {
        format!("the model has learned nothing: {seen}")
    } else {
        format!("the model may have learned nothing, these are too few images to tell: {seen}")
    })
}

/// Repeats what a log has and its checkpoints do not, up to the log's end, without emitting it. Gives the folder back.
///
/// # Errors
/// [`Cancelled`]; the work did not come to the log's end.
pub(crate) fn catch_up(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    folder: RunFolder,
    history: LogHistory,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<RunFolder> {
    let (run, until) = (folder.path.clone(), history.work_events);
    let mut log = EventLog::new(folder, history, true, listen);
    log.until = Some(until);
    let checkpoints = CheckpointStore::new(&log, Duration::MAX);
    checkpoints.load()?;
    let context = RunContext {
        experiment,
        workspace,
        control,
        log: &log,
        checkpoints: &checkpoints,
        run: &run,
        dataset: Cell::new(None),
    };
    match context.work() {
        Err(e) if e.is::<Cancelled>() && log.work_events.get() == until && control.check().is_ok() => {}
        Err(e) => return Err(e),
        Ok(_) => bail!("the run's past could not be repeated: it ended before event {until} of its work"),
    }
    Ok(log.into_folder())
}

/// What makes one model better than another: MACs per image, then accuracy on validation images.
fn macs_and_top1(checkpoint: &Checkpoint) -> Option<(u64, f32)> {
    let measured = checkpoint.header.metrics.iter().filter(|m| m.split == Split::Valid);
    measured.map(|m| (m.macs, m.top1)).max_by_key(|(macs, _)| *macs)
}

fn start_of(experiment: &Experiment) -> Result<Option<Checkpoint>> {
    experiment.start.as_ref().map(record::ModelRef::load).transpose()
}

/// The teacher, if it is another model than the run's own.
fn teacher_of(experiment: &Experiment) -> Result<Option<Checkpoint>> {
    let load = |of: ModelRef| of.load().with_context(|| format!("train.teacher is {of}"));
    teacher_file(experiment).map(load).transpose()
}

fn teacher_file(experiment: &Experiment) -> Option<ModelRef> {
    let teacher = experiment.train.teacher.as_ref().filter(|name| *name != train::OWN);
    teacher.map(|name| name.clone().into())
}

/// Checksums of the model files to start from and to learn from.
///
/// # Errors
/// One cannot be read.
pub(crate) fn model_checksums(experiment: &Experiment) -> Result<[Option<u64>; 2]> {
    let sum = |of: Option<&ModelRef>| -> Result<Option<u64>> { Ok(of.map(ModelRef::checksum).transpose()?.flatten()) };
    let start = sum(experiment.start.as_ref()).context("the model to start from")?;
    Ok([start, sum(teacher_file(experiment).as_ref()).context("train.teacher")?])
}

/// The table of layers' times that the experiment names, of the network that is pruned.
fn latency_table(experiment: &Experiment, spec: &NetSpec) -> Result<Option<LatencyTable>> {
    let Some(file) = &experiment.latency_table else {
        return Ok(None);
    };
    let table = LatencyTable::load(file).context("latency_table")?;
    table
        .check_fits(spec)
        .with_context(|| format!("latency_table {}", file.display()))?;
    Ok(Some(table))
}

/// The experiment, validated on the images that the model to start from has held out itself, unless told otherwise.
/// A model that cannot be read fails the run later.
pub(crate) fn on_held_out_images(experiment: &Experiment) -> Experiment {
    let mut held_out = experiment.clone();
    if let (None, Ok(Some(start))) = (experiment.data.split_seed, start_of(experiment)) {
        let made = Experiment::of_model(&start.header);
        let valid = made.as_ref().map(|made| made.data.valid);
        // A count and a share are drawn differently, so that one would validate on what the other learned.
        if let Some(made) = valid.filter(|made| !made.is_none() && !experiment.data.valid.is_none()) {
            let is_like = experiment.data.valid.is_within(made) || made.is_within(experiment.data.valid);
            held_out.data.valid = if is_like { experiment.data.valid } else { made };
        }
        held_out.data.split_seed = made
            .map(|made| made.split_seed())
            .filter(|&seed| seed != experiment.seed);
    }
    held_out
}

/// Why validation may flatter a run that begins with this model.
fn overlap_warning(start: &Checkpoint, experiment: &Experiment) -> Option<String> {
    let Some(made) = Experiment::of_model(&start.header) else {
        let text = "the model to start from does not say what it has learned from: validation may flatter it";
        return Some(text.into());
    };
    let whole = |experiment: &Experiment| experiment.anchored().map_or_else(|_| String::new(), |e| e.data.source);
    let same = whole(&made) == whole(experiment);
    let held_out = made.split_seed() == experiment.split_seed() && experiment.data.valid.is_within(made.data.valid);
    (same && !held_out).then(|| {
        format!(
            "the model to start from has learned from images that validate here; expected data.split_seed = {} and data.valid \
             at most {}",
            made.split_seed(),
            made.data.valid
        )
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

pub(crate) fn ended(run: &Path, outcome: Outcome, reason: Option<String>) -> Ending {
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
        let mut start = ModelRef::Bundled.load().expect("loads");
        let made = Experiment::of_model(&start.header).expect("a recipe");
        let other = beginning(&[("seed", "9")]);
        assert_ne!(other.split_seed(), made.split_seed());
        assert_eq!(on_held_out_images(&other).split_seed(), made.split_seed());
        assert_eq!(overlap_warning(&start, &on_held_out_images(&other)), None);
        // Asked for by name, it is done, and a warning says so.
        let asked = beginning(&[("data.split_seed", "9")]);
        assert_eq!(on_held_out_images(&asked), asked);
        assert!(overlap_warning(&start, &asked).is_some_and(|text| text.contains("data.split_seed = 0")));
        let more = beginning(&[("data.valid", "9000")]);
        assert!(overlap_warning(&start, &on_held_out_images(&more)).is_some_and(|text| text.contains("at most 5000")));
        start.header.recipe = String::new();
        assert!(overlap_warning(&start, &other).is_some());
    }

    #[test]
    fn nothing_is_changed_without_a_start() {
        let alone = Experiment::load("smoke", &[("seed".into(), "9".into())]).expect("preset");
        assert_eq!(on_held_out_images(&alone), alone);
    }
}
