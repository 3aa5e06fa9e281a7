//! `--farm`: runs shared out over machines by a scheduler that is there already, and followed until they have ended.
//! Knows nothing of how schedulers are asked (`farm_engine.rs`), nor of what a machine does (`farm_task.rs`).

use super::bars;
use super::failure::{Done, OrFail};
use super::farm_engine::{FarmEngine, FarmOrder, FarmTask, Place};
use super::farm_plan::{FarmJob, FarmPlan};
use super::output::{Json, remark};
use anyhow::Result;
use event::{Event, Outcome};
use lab::{Workspace, known};
use record::control::Control;
use record::{Experiment, RunSummary, Status, replay};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// How often schedulers are asked.
const ASK: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);
/// What a machine wrote is seen here by then: storage that is shared takes a moment.
const MOMENTS: u32 = 5;

/// On whose machines.
#[derive(clap::Args)]
pub(crate) struct FarmArgs {
    /// Share the runs out over the machines of a scheduler, and follow them; what is finished is not run again
    #[arg(long, value_name = "SCHEDULER")]
    pub(crate) farm: Option<FarmEngine>,
    /// Cores for each run of a farm; if not given, all of a HyperQueue worker, or what SLURM gives
    #[arg(long, value_name = "N", requires = "farm", value_parser = clap::value_parser!(u16).range(1..))]
    cpus: Option<u16>,
}

/// A run of a farm, as far as it is known.
#[derive(Clone, Debug, Default)]
struct Farmed {
    /// waiting, running, finished, failed, or lost: its task is over without a result.
    state: &'static str,
    run: Option<PathBuf>,
    phase: String,
    progress: f32,
    worker: Option<String>,
    error: Option<String>,
    /// How often its task was found to be over, without a result.
    missed: u32,
}

impl Farmed {
    fn is_over(&self) -> bool {
        matches!(self.state, "finished" | "failed" | "lost")
    }
}

/// Runs experiments on a farm until all have ended, or until `control` stops them all. The exit code: 0 if all have finished.
pub(crate) fn farm(
    (engine, args): (FarmEngine, &FarmArgs),
    name: &str,
    experiments: &[Experiment],
    workspace: &Workspace,
    control: &Control,
    json: Json,
) -> Done {
    engine.check().or_bad_input()?;
    let plan = FarmPlan::new(name, experiments, workspace).or_bad_input()?;
    plan.write().or_failed()?;
    let mut farm = Follow::new(&plan, (engine, json));
    farm.look(None).or_failed()?;
    let pending: Vec<usize> = (0..farm.runs.len()).filter(|n| !farm.runs[*n].is_over()).collect();
    if !pending.is_empty() {
        let job = match farm.still_at_work() {
            Some(job) => job,
            None => submit((engine, args), &plan, &pending)?,
        };
        let done = experiments.len() - pending.len();
        remark(&format!(
            "{}: {} runs as job {job} of {}, {done} are there already; logs are in {}",
            plan.name(),
            pending.len(),
            engine.name(),
            plan.folder.display()
        ));
        if !farm.follow(&job, control)? {
            return Ok(130);
        }
    }
    farm.conclude()
}

fn submit((engine, args): (FarmEngine, &FarmArgs), plan: &FarmPlan, pending: &[usize]) -> Done<String> {
    let program = std::env::current_exe().or_failed()?;
    let (name, shared) = (plan.name(), plan.shared_file());
    let order = FarmOrder {
        name: &name,
        folder: &plan.folder,
        shared: &shared,
        program: &program,
        cpus: args.cpus.map(usize::from),
    };
    if let Some(note) = engine.probe(&order).or_bad_input()? {
        remark(&format!("note: {note}"));
    }
    let id = engine.submit(&order, pending).or_failed()?;
    let engine = engine.name().to_owned();
    plan.remember(&FarmJob { engine, id: id.clone() }).or_failed()?;
    Ok(id)
}

/// Watches scheduler and run folders.
struct Follow<'a> {
    plan: &'a FarmPlan,
    engine: FarmEngine,
    json: Json,
    runs: Vec<Farmed>,
    /// Run folders that were looked at.
    folders: BTreeSet<PathBuf>,
}

impl<'a> Follow<'a> {
    fn new(plan: &'a FarmPlan, (engine, json): (FarmEngine, Json)) -> Self {
        Self {
            plan,
            engine,
            json,
            runs: vec![Farmed::default(); plan.experiments.len()],
            folders: BTreeSet::new(),
        }
    }

    /// What was submitted before, if some of it is not over.
    fn still_at_work(&self) -> Option<String> {
        let job = self.plan.job().filter(|job| job.engine == self.engine.name())?;
        let tasks = self.engine.tasks(&job.id, &self.plan.name()).ok()??;
        tasks.values().any(|task| task.place != Place::Over).then_some(job.id)
    }

    /// Follows a job to its end; false if it was stopped.
    fn follow(&mut self, job: &str, control: &Control) -> Done<bool> {
        let bar = bars::share(self.json);
        let mut is_silent = false;
        loop {
            let asked = self.engine.tasks(job, &self.plan.name());
            if let (Err(e), false) = (&asked, is_silent) {
                remark(&format!("note: {e:#}; the runs are waited for"));
            }
            is_silent = asked.is_err();
            if let Ok(tasks) = asked {
                let before = self.runs.clone();
                // A job that its scheduler has forgotten is over.
                let tasks = tasks.unwrap_or_default();
                self.look(Some(&tasks)).or_failed()?;
                self.say(job, &before);
                let is = |state: &str| self.runs.iter().filter(|run| run.state == state).count();
                let n = self.runs.len();
                bar.set_message(format!(
                    "{} of {n} runs finished, {} at work",
                    is("finished"),
                    is("running")
                ));
                let share = |run: &Farmed| if run.is_over() { 1.0 } else { run.progress };
                bars::reach(&bar, self.runs.iter().map(share).sum::<f32>() / n as f32);
                if self.runs.iter().all(Farmed::is_over) {
                    bar.finish_and_clear();
                    return Ok(true);
                }
            }
            let mut waited = Duration::ZERO;
            while waited < ASK {
                if control.check().is_err() || self.json.is_lost() {
                    bar.finish_and_clear();
                    self.engine.stop(job).or_failed()?;
                    remark("stopped; the same command goes on with the runs");
                    return Ok(false);
                }
                std::thread::sleep(LOOK);
                waited += LOOK;
            }
        }
    }

    /// Takes over what the scheduler says of tasks, and what the run folders say.
    fn look(&mut self, tasks: Option<&BTreeMap<usize, FarmTask>>) -> Result<()> {
        for folder in replay::list(&self.plan.workspace.runs)? {
            if self.folders.insert(folder.clone())
                && let Ok(experiment) = Experiment::of_run(&folder, &[])
            {
                let same = self
                    .plan
                    .experiments
                    .iter()
                    .enumerate()
                    .filter(|(_, e)| **e == experiment);
                same.for_each(|(n, _)| self.runs[n].run = Some(folder.clone()));
            }
        }
        for (n, run) in self.runs.iter_mut().enumerate().filter(|(_, run)| !run.is_over()) {
            let task = tasks.and_then(|tasks| tasks.get(&n));
            let place = task.map(|task| task.place);
            if let Some(task) = task {
                run.worker.clone_from(&task.worker);
                run.error.clone_from(&task.error);
            }
            let status = run.run.as_ref().map(|folder| RunSummary::read(folder).status);
            if let Some((phase, progress)) = run.run.as_deref().and_then(record::phase) {
                (run.phase, run.progress) = (phase, progress);
            }
            run.state = match (place, status) {
                (_, Some(Status::Finished)) => "finished",
                // Its task may be about to say so.
                (Some(Place::Over) | None, Some(Status::Failed)) => "failed",
                (Some(Place::Running), _) => "running",
                (Some(Place::Waiting), _) => "waiting",
                // Nobody works on it: not yet, or not any more.
                (None, _) if tasks.is_none() => "waiting",
                (Some(Place::Over) | None, _) if run.missed < MOMENTS => {
                    run.missed += 1;
                    run.state
                }
                (Some(Place::Over) | None, _) => "lost",
            };
        }
        Ok(())
    }

    /// What has changed.
    fn say(&self, job: &str, before: &[Farmed]) {
        for (n, (run, was)) in self.runs.iter().zip(before).enumerate() {
            let moved = run.state != was.state || run.worker != was.worker;
            let is_news = moved || (self.json.json && run.progress != was.progress);
            if !is_news {
                continue;
            }
            if self.json.json {
                let fact = json!({
                    "farm": self.engine.name(), "job": job, "task": n, "state": run.state, "run": run.run, "phase": run.phase,
                    "progress": run.progress, "worker": run.worker,
                });
                self.json.say(&fact, String::new);
            } else {
                let folder = run.run.as_ref().and_then(|run| run.file_name());
                let folder = folder.map_or(String::new(), |name| format!(", {}", name.to_string_lossy()));
                let worker = run.worker.as_ref().map_or(String::new(), |w| format!(" on worker {w}"));
                remark(&format!("run {n}: {}{worker}{folder}", run.state));
            }
        }
    }

    /// A line for each run, and the exit code.
    fn conclude(&self) -> Done {
        let mut all = true;
        for (n, run) in self.runs.iter().enumerate() {
            let ending = run.run.as_deref().map(known::ending).transpose().or_failed()?.flatten();
            let finished = ending.filter(|e| e.outcome == Outcome::Finished);
            all &= finished.is_some();
            match finished {
                Some(ending) => {
                    let text = || {
                        let top1 = ending
                            .test_top1
                            .map_or("–".to_owned(), |x| format!("{:.2} %", x * 100.0));
                        format!("{}  test top-1 {top1}", ending.run)
                    };
                    let mut fact = serde_json::to_value(Event::Ended(ending.clone())).or_failed()?;
                    fact["task"] = Value::from(n);
                    self.json.say(&fact, text);
                }
                None => {
                    let why = run.error.as_deref().unwrap_or("it has no result");
                    let folder = self.plan.folder.display();
                    remark(&format!(
                        "secateur: run {n} {}: {why}; its log is {folder}/{n}.*log; the same command goes on with what was interrupted",
                        run.state
                    ));
                }
            }
        }
        Ok(u8::from(!all))
    }
}
