//! `--farm`: runs shared out over machines by a scheduler that is there already, and followed until they have ended.
//! Knows nothing of how schedulers are asked (`farm_engine.rs`), nor of what a machine does (`farm_task.rs`).

use super::bars;
use super::failure::{Done, OrFail};
use super::farm_engine::{FarmEngine, FarmOrder, FarmTask, Place};
use super::farm_plan::{FarmJob, FarmPlan};
use super::output::{Json, remark};
use anyhow::{Context, Result};
use event::{BadInput, Event, Outcome};
use lab::{Workspace, known};
use record::control::Control;
use record::farm_status::{self, FarmStatus, FarmTaskStatus, TaskState};
use record::{Experiment, RunSummary, Status, replay};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// How often schedulers are asked.
pub(crate) const ASK: Duration = Duration::from_secs(1);
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// What a machine wrote is seen here by then: storage that is shared takes a moment.
const MOMENTS: u32 = 5;

/// On whose machines.
#[derive(clap::Args)]
pub(crate) struct FarmArgs {
    /// Share the runs, or the trials of one run's search, out over the machines of a scheduler, and follow them; what is finished
    /// is not run again
    #[arg(long, value_name = "SCHEDULER")]
    pub(crate) farm: Option<FarmEngine>,
    /// Cores for each run or task of a farm; if not given, all of a HyperQueue worker, or what SLURM gives
    #[arg(long, value_name = "N", requires = "farm", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) cpus: Option<u16>,
}

/// A task of a farm.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Farmed {
    /// As far as it is known.
    pub(crate) seen: FarmTaskStatus,
    /// How often its task was found to be over, without a result.
    missed: u32,
}

impl Farmed {
    pub(crate) fn is_over(&self) -> bool {
        self.seen.state.is_over()
    }

    /// Its state by what its scheduler, if it was asked, and what its files say.
    fn step(&mut self, was_asked: bool, place: Option<Place>, status: Option<Status>) {
        self.seen.state = match (place, status) {
            (_, Some(Status::Finished)) => TaskState::Finished,
            // Its task may be about to say so.
            (Some(Place::Over) | None, Some(Status::Failed)) => TaskState::Failed,
            (Some(Place::Running), _) => TaskState::Running,
            (Some(Place::Waiting), _) => TaskState::Waiting,
            // Nobody works on it: not yet, or not any more.
            (None, _) if !was_asked => TaskState::Waiting,
            (Some(Place::Over) | None, _) if self.missed < MOMENTS => {
                self.missed += 1;
                self.seen.state
            }
            (Some(Place::Over) | None, _) => TaskState::Lost,
        };
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
    let mut farm = Follow::new(plan, (engine, json)).or_bad_input()?;
    farm.look(None).or_failed()?;
    let pending = farm.pending();
    if !pending.is_empty() {
        let job = match farm.still_at_work() {
            Some(job) => job,
            None => {
                probe((engine, args.cpus), &farm.plan).or_bad_input()?;
                submit((engine, args.cpus), &farm.plan, &pending).or_failed()?
            }
        };
        farm.announce(&job, pending.len());
        if !farm.follow(&job, control)? {
            return Ok(130);
        }
    }
    farm.conclude()
}

/// Asks machines whether they share a plan's folder and have this version of the program; what people should know is said.
///
/// # Errors
/// [`BadInput`]: a machine that does not.
pub(crate) fn probe(farm: (FarmEngine, Option<u16>), plan: &FarmPlan) -> Result<()> {
    let note = ordered(farm, plan, |engine, order| engine.probe(order)).map_err(BadInput::of)?;
    if let Some(note) = note {
        remark(&format!("note: {note}"));
    }
    Ok(())
}

/// Submits tasks of a plan; gives the scheduler's number for them.
///
/// # Errors
/// One line of the scheduler's; the folder cannot be written to.
pub(crate) fn submit(farm: (FarmEngine, Option<u16>), plan: &FarmPlan, pending: &[usize]) -> Result<String> {
    let id = ordered(farm, plan, |engine, order| engine.submit(order, pending))?;
    let engine = farm.0.name().to_owned();
    plan.remember(&FarmJob { engine, id: id.clone() })?;
    Ok(id)
}

fn ordered<T>(
    (engine, cpus): (FarmEngine, Option<u16>),
    plan: &FarmPlan,
    ask: impl FnOnce(FarmEngine, &FarmOrder) -> Result<T>,
) -> Result<T> {
    let order = FarmOrder {
        name: &plan.name(),
        folder: &plan.folder,
        shared: &plan.shared_file(),
        program: &std::env::current_exe()?,
        cpus: cpus.map(usize::from),
    };
    ask(engine, &order)
}

/// Watches a scheduler, and run folders or the results of trials.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) plan: FarmPlan,
    engine: FarmEngine,
    json: Json,
    pub(crate) runs: Vec<Farmed>,
    /// Run folders that were looked at.
    folders: BTreeSet<PathBuf>,
    /// Whether the scheduler gave no answer when it was asked last.
    is_silent: bool,
    /// Nobody else follows it.
    _lock: File,
}

impl Follow {
    /// Follows a plan whose files are written.
    ///
    /// # Errors
    /// Another process follows it.
    pub(crate) fn new(plan: FarmPlan, (engine, json): (FarmEngine, Json)) -> Result<Self> {
        let lock = farm_status::follow(&plan.folder)?;
        let is_followed = || format!("another process follows farm {}", plan.name());
        Ok(Self {
            _lock: lock.with_context(is_followed)?,
            runs: vec![Farmed::default(); plan.n_tasks()],
            plan,
            engine,
            json,
            folders: BTreeSet::new(),
            is_silent: false,
        })
    }

    /// Whether a window asked to stop it.
    pub(crate) fn is_to_stop(&self) -> bool {
        farm_status::is_to_stop(&self.plan.folder)
    }

    /// Writes where all tasks are, for windows.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(crate) fn tell(&self, job: &str) -> Result<()> {
        let status = FarmStatus {
            engine: self.engine.name().to_owned(),
            job: job.to_owned(),
            word: self.word().to_owned(),
            tasks: self.runs.iter().map(|run| run.seen.clone()).collect(),
            folder: self.plan.folder.clone(),
            is_followed: true,
        };
        status.write()
    }

    /// The tasks that are not over, by their numbers.
    pub(crate) fn pending(&self) -> Vec<usize> {
        (0..self.runs.len()).filter(|n| !self.runs[*n].is_over()).collect()
    }

    /// What its tasks are called.
    fn word(&self) -> &'static str {
        if self.plan.trials.is_some() { "task" } else { "run" }
    }

    /// Says what was submitted.
    pub(crate) fn announce(&self, job: &str, n: usize) {
        remark(&format!(
            "{}: {n} {}s as job {job} of {}, {} are there already; logs are in {}",
            self.plan.name(),
            self.word(),
            self.engine.name(),
            self.runs.len() - n,
            self.plan.folder.display()
        ));
    }

    /// What was submitted before, if some of it is not over.
    pub(crate) fn still_at_work(&self) -> Option<String> {
        let job = self.plan.job().filter(|job| job.engine == self.engine.name())?;
        let tasks = self.engine.tasks(&job.id, &self.plan.name()).ok()??;
        tasks.values().any(|task| task.place != Place::Over).then_some(job.id)
    }

    /// Follows a job to its end; false if it was stopped.
    fn follow(&mut self, job: &str, control: &Control) -> Done<bool> {
        let bar = bars::share(self.json);
        loop {
            self.ask(job).or_failed()?;
            let is = |state| self.runs.iter().filter(|run| run.seen.state == state).count();
            let n = self.runs.len();
            bar.set_message(format!(
                "{} of {n} runs finished, {} at work",
                is(TaskState::Finished),
                is(TaskState::Running)
            ));
            let share = |run: &Farmed| if run.is_over() { 1.0 } else { run.seen.progress };
            bars::reach(&bar, self.runs.iter().map(share).sum::<f32>() / n as f32);
            if self.runs.iter().all(Farmed::is_over) {
                bar.finish_and_clear();
                return Ok(true);
            }
            let mut waited = Duration::ZERO;
            while waited < ASK {
                if control.check().is_err() || self.json.is_lost() || self.is_to_stop() {
                    bar.finish_and_clear();
                    self.stop(job).or_failed()?;
                    remark("stopped; the same command goes on with the runs");
                    return Ok(false);
                }
                std::thread::sleep(LOOK);
                waited += LOOK;
            }
        }
    }

    /// Asks the scheduler, and says what has changed. A scheduler that gives no answer is asked again.
    ///
    /// # Errors
    /// Run folders cannot be listed, results of trials cannot be read.
    pub(crate) fn ask(&mut self, job: &str) -> Result<()> {
        let asked = self.engine.tasks(job, &self.plan.name());
        if let (Err(e), false) = (&asked, self.is_silent) {
            remark(&format!("note: {e:#}; the {}s are waited for", self.word()));
        }
        self.is_silent = asked.is_err();
        if let Ok(tasks) = asked {
            let before = self.runs.clone();
            // A job that its scheduler has forgotten is over.
            self.look(Some(&tasks.unwrap_or_default()))?;
            self.say(job, &before);
            if self.runs != before {
                self.tell(job)?;
            }
        }
        Ok(())
    }

    /// Takes over what the files say, without asking.
    ///
    /// # Errors
    /// Run folders cannot be listed; the folder cannot be written to.
    pub(crate) fn settle(&mut self, job: &str) -> Result<()> {
        let before = self.runs.clone();
        self.look(None)?;
        self.say(job, &before);
        self.tell(job)
    }

    /// Stops all tasks.
    ///
    /// # Errors
    /// The scheduler does not answer; the folder cannot be written to.
    pub(crate) fn stop(&mut self, job: &str) -> Result<()> {
        self.engine.stop(job)?;
        for run in self.runs.iter_mut().filter(|run| !run.is_over()) {
            run.seen.state = TaskState::Waiting;
        }
        self.tell(job)
    }

    /// Takes over what the scheduler says of tasks, and what the run folders or results say.
    ///
    /// # Errors
    /// Run folders cannot be listed, results of trials cannot be read.
    pub(crate) fn look(&mut self, tasks: Option<&BTreeMap<usize, FarmTask>>) -> Result<()> {
        if self.plan.trials.is_none() {
            self.find_runs()?;
        }
        let n_tasks = self.runs.len();
        for (n, run) in self.runs.iter_mut().enumerate().filter(|(_, run)| !run.is_over()) {
            let task = tasks.and_then(|tasks| tasks.get(&n));
            if let Some(task) = task {
                run.seen.worker.clone_from(&task.worker);
                run.seen.error.clone_from(&task.error);
            }
            let status = match &self.plan.trials {
                Some(trials) => {
                    let files = trials
                        .of_task(n, n_tasks)
                        .map(|i| trials.result_file(&trials.vectors[i]));
                    let (done, all) = files.fold((0, 0), |(done, all), f| (done + usize::from(f.is_file()), all + 1));
                    run.seen.phase = format!("{done} of {all} trials");
                    run.seen.progress = done as f32 / all.max(1) as f32;
                    (done == all).then_some(Status::Finished)
                }
                None => {
                    if let Some((phase, progress)) = run.seen.run.as_deref().and_then(record::phase) {
                        (run.seen.phase, run.seen.progress) = (phase, progress);
                    }
                    run.seen.run.as_ref().map(|folder| RunSummary::read(folder).status)
                }
            };
            run.step(tasks.is_some(), task.map(|task| task.place), status);
        }
        Ok(())
    }

    /// Run folders that have come.
    fn find_runs(&mut self) -> Result<()> {
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
                same.for_each(|(n, _)| self.runs[n].seen.run = Some(folder.clone()));
            }
        }
        Ok(())
    }

    /// What has changed.
    fn say(&self, job: &str, before: &[Farmed]) {
        let seen = self.runs.iter().zip(before).map(|(run, was)| (&run.seen, &was.seen));
        for (n, (run, was)) in seen.enumerate() {
            let moved = run.state != was.state || run.worker != was.worker;
            let is_news = moved || (self.json.json && run.progress != was.progress);
            if !is_news {
                continue;
            }
            if self.json.json {
                let fact = json!({
                    "farm": self.engine.name(), "job": job, "task": n, "state": run.state.word(), "run": run.run, "phase": run.phase,
                    "progress": run.progress, "worker": run.worker,
                });
                self.json.say(&fact, String::new);
            } else {
                let folder = run.run.as_ref().and_then(|run| run.file_name());
                let folder = folder.map_or(String::new(), |name| format!(", {}", name.to_string_lossy()));
                let worker = run.worker.as_ref().map_or(String::new(), |w| format!(" on worker {w}"));
                remark(&format!("{} {n}: {}{worker}{folder}", self.word(), run.state.word()));
            }
        }
    }

    /// A line for each run, and the exit code.
    fn conclude(&self) -> Done {
        let mut all = true;
        for (n, run) in self.runs.iter().map(|run| &run.seen).enumerate() {
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
                        run.state.word()
                    ));
                }
            }
        }
        Ok(u8::from(!all))
    }
}
