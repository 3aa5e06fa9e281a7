//! `secateur farm-task`: one task of a farm, on whatever machine a scheduler chose. A run is begun, gone on with, or left as it is
//! when it has ended before, and trials that were measured are not measured again: schedulers start a task again when its machine
//! is lost.

use super::failure::{Done, OrFail};
use super::farm_plan::{PlannedTask, lock_file, read_task};
use super::farm_trials::measure;
use super::progress;
use super::run::stoppable;
use anyhow::{Context, Result, anyhow};
use event::Cancelled;
use lab::Workspace;
use lab::known::{Turn, take};
use record::Experiment;
use record::control::Control;
use record::folder::is_written;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// How schedulers tell a task its number.
const NUMBERS: [&str; 2] = ["HQ_TASK_ID", "SLURM_ARRAY_TASK_ID"];
const LOOK: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct FarmTaskArgs {
    /// The plan's folder
    plan: PathBuf,
    /// The task's number; if not given, what the scheduler says
    #[arg(long)]
    number: Option<usize>,
}

pub(crate) fn farm_task(args: &FarmTaskArgs) -> Done {
    let number = number(args).or_bad_input()?;
    let PlannedTask {
        experiment,
        workspace,
        trials,
    } = read_task(&args.plan, number).or_bad_input()?;
    // A task that lost its scheduler may still be at work: the next one waits for it to end.
    let lock = lock_file(&args.plan, number);
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()));
    let lock = lock.or_failed()?;
    lock.lock().or_failed()?;
    workspace.device.open().or_bad_input()?;
    let control = stoppable()?;
    match trials {
        Some(trials) => measure(
            trials,
            &experiment,
            workspace,
            &args.plan.join(number.to_string()),
            &control,
        ),
        None => work(&experiment, &workspace, &control),
    }
}

fn work(experiment: &Experiment, workspace: &Workspace, control: &Control) -> Done {
    let mut listen = |stamped: &event::Stamped| progress::tell(stamped, "top-1");
    loop {
        match take(experiment, workspace, control, &mut listen) {
            Ok(Turn::Finished(_)) => return Ok(0),
            Ok(Turn::Failed(_, why)) => return Err(anyhow!("{why}")).or_failed(),
            Ok(Turn::Elsewhere(run)) => {
                while is_written(&run) && control.check().is_ok() {
                    std::thread::sleep(LOOK);
                }
            }
            Err(e) if e.is::<Cancelled>() => return Ok(130),
            Err(e) => return Err(e).or_bad_input(),
        }
        if control.check().is_err() {
            return Ok(130);
        }
    }
}

fn number(args: &FarmTaskArgs) -> Result<usize> {
    let said = || NUMBERS.iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
    args.number
        .or_else(said)
        .with_context(|| format!("no task is named, expected --number or one of {}", NUMBERS.join(", ")))
}
