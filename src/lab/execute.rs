//! One run from its experiment to its last event, on the calling thread: begun, resumed or forked. The window's threads and the
//! command line both do just this.
//! Knows nothing of who listens.

use crate::fork::Fork;
use crate::work::{LATEST, RunContext, ended, model_checksums, on_held_out_images, open_images};
use crate::{Workspace, fork};
use anyhow::{Result, anyhow, bail};
use data::Dataset;
use event::{BadInput, Cancelled, Ending, Event, Good, Outcome, Stamped};
use record::checkpoints::CheckpointStore;
use record::control::Control;
use record::event_log::{EventLog, LogHistory, seq_of_work_event};
use record::folder::{ManifestUpdate, OTHER_IMAGES, RunFolder, check_models, data_checksum};
use record::{Experiment, Status, control_file};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

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
/// Always emits exactly one `ended`, whatever happens, and returns it. A panic is a failure with its message.
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
    let experiment = &on_held_out_images(&experiment.anchored()?);
    let folder = RunFolder::create(&workspace.runs, experiment)?;
    made(&folder.path);
    let log = EventLog::new(folder, LogHistory::default(), false, listen);
    go(experiment, workspace, control, log, None)
}

/// Continues an interrupted run, in its own folder, to the end it would have had. `data` says where its images are now, if they
/// were moved. Only what is new goes to `listen`.
///
/// # Errors
/// No run folder, one that is in use, one whose run has finished, one that is broken, or images that cannot be read or are
/// others: nothing was changed but torn ends.
pub fn resume(
    run: &Path,
    data: Option<&str>,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<Ending> {
    go_on(run, data, None, workspace, control, listen)
}

/// The same with its images, if they are read already.
fn go_on(
    run: &Path,
    data: Option<&str>,
    dataset: Option<Dataset>,
    workspace: &Workspace,
    control: &Control,
    listen: &mut dyn FnMut(&Stamped),
) -> Result<Ending> {
    let (mut history, mut finished) = (LogHistory::default(), false);
    let (folder, mut experiment, mended) = RunFolder::reopen(run, &mut |stamped| {
        history.add(stamped);
        finished |= matches!(&stamped.event, Event::Ended(e) if e.outcome == Outcome::Finished);
    })?;
    if finished {
        folder.manifest(&experiment, ManifestUpdate::status(Status::Finished))?;
        bail!("run {} has finished", folder.name());
    }
    let is_moved = data.is_some_and(|data| data != experiment.data.source);
    if let Some(data) = data {
        data.clone_into(&mut experiment.data.source);
        experiment.data.anchor()?;
    }
    let dataset = dataset.map_or_else(|| images(&experiment, control), Ok)?;
    folder.check_data(dataset.checksum)?;
    let unchanged = "; the run is as it was";
    model_checksums(&experiment)
        .and_then(|checksums| check_models(run, checksums))
        .map_err(|e| anyhow!("{e:#}{unchanged}"))?;
    if is_moved {
        folder.configure(&experiment)?;
    }
    folder.manifest(&experiment, ManifestUpdate::status(Status::Running))?;
    let log = EventLog::new(folder, history, true, listen);
    go(&experiment, workspace, control, log, Some((mended, dataset)))
}

/// The images of a run that goes on.
fn images(experiment: &Experiment, control: &Control) -> Result<Dataset> {
    open_images(experiment, &mut |_| Ok(control.check()?)).map_err(|e| {
        if e.is::<Cancelled>() {
            return e;
        }
        let relative = if Path::new(&experiment.data.source).is_relative() {
            "; a relative path counts from where the run was started"
        } else {
            ""
        };
        anyhow!("the run's images: {e:#}{relative}; --data PATH says where they are now, and the run is as it was")
    })
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
    let mut fork = fork.clone();
    let dataset = images(&fork.experiment, control)?;
    if data_checksum(&fork.origin).is_some_and(|before| before != dataset.checksum) {
        bail!("{OTHER_IMAGES}");
    }
    fork.experiment.data.anchor()?;
    let run = fork::prepare(&fork, workspace, control, listen)?;
    made(&run);
    go_on(&run, None, Some(dataset), workspace, control, listen)
}

/// The run itself. What was mended and its images are given when it is resumed.
fn go(
    experiment: &Experiment,
    workspace: &Workspace,
    control: &Control,
    log: EventLog,
    resumed: Option<(Vec<String>, Dataset)>,
) -> Result<Ending> {
    let run = log.path();
    let every = Duration::from_secs_f32(experiment.checkpoint_secs);
    let checkpoints = CheckpointStore::new(&log, every);
    let dataset = Cell::new(None);
    if let Some((mut mended, opened)) = resumed {
        dataset.set(Some(opened));
        mended.extend(checkpoints.load()?);
        // What cannot be written ends the run at its first event.
        let from = checkpoints.newest();
        let _ = log.put(Event::Resumed { from, mended }, control);
    }
    let context = RunContext {
        experiment,
        workspace,
        control,
        log: &log,
        checkpoints: &checkpoints,
        run: &run,
        dataset,
    };
    let over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let requests = Builder::new()
            .name("control file".into())
            .spawn_scoped(scope, || control_file::obey(&run, control, &over));
        let result = catch_unwind(AssertUnwindSafe(|| context.work()));
        over.store(true, Ordering::Relaxed);
        if let Ok(requests) = requests {
            requests.thread().unpark();
        }
        result
    });
    let failed = |reason: String| ended(&run, Outcome::Failed, Some(reason));
    let mut ending = match result {
        Ok(Ok(ending)) => ending,
        Ok(Err(e)) if e.is::<Cancelled>() => ended(&run, Outcome::Cancelled, None),
        Ok(Err(e)) => Ending {
            bad_input: e.is::<BadInput>(),
            ..failed(format!("{e:#}"))
        },
        Err(panic) => failed(format!("a worker panicked: {}", panic_text(&*panic))),
    };
    if let Some(e) = log.failure() {
        ending = failed(e);
    }
    if ending.outcome != Outcome::Finished && checkpoints.newest() > 0 {
        ending.good = last_good(&run, checkpoints.newest());
    }
    if let (Some(good), Some(reason), false) = (&ending.good, &mut ending.reason, ending.bad_input) {
        reason.push_str(&format!(
            "; its last good checkpoint stands at event {}, from where secateur fork RUN --set KEY=VALUE goes another way",
            good.at
        ));
    }
    let _ = log.put(Event::Ended(ending.clone()), control);
    // If it could be written it is on the disk soon enough.
    drop(log.syncing().sync());
    // The log has it all; a manifest that cannot be written is corrected from it.
    drop(
        log.into_folder()
            .manifest(experiment, ManifestUpdate::status(ending.outcome.into())),
    );
    Ok(ending)
}

/// What a run left that did not finish.
fn last_good(run: &Path, work_events: u64) -> Option<Good> {
    let at = seq_of_work_event(run, work_events).ok()??;
    let model = Some(LATEST.to_owned()).filter(|file| run.join(file).is_file());
    Some(Good { at, model })
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}
