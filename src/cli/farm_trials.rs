//! A search whose trials a farm measures: the run itself works here and hands them over, machines measure them, and results come
//! back in order. Knows nothing of searches.

use super::failure::{Done, Failure, OrFail};
use super::farm::{ASK, FarmArgs, Follow, LOOK, probe, submit};
use super::farm_engine::FarmEngine;
use super::farm_plan::{FarmPlan, TrialPlan};
use super::output::{Json, remark};
use super::progress;
use anyhow::{Context, Result, anyhow};
use disk::write_whole;
use event::{BadInput, Cancelled, Outcome};
use lab::Workspace;
use lab::execute::execute;
use record::Experiment;
use record::control::Control;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use train::{Judged, MeasureTrial, SharedTrials, TrialBatch, TrialFarm};

/// The workspace with a farm that measures the trials of this run. Its machines are asked before anything begins.
pub(crate) fn with_farmed_trials(
    (engine, args): (FarmEngine, &FarmArgs),
    experiment: &Experiment,
    workspace: &Workspace,
    json: Json,
) -> Done<Workspace> {
    if let Some(why) = experiment.method.why_sequential() {
        let text = format!(
            "--farm {}: method {} {why}; expected a search whose trials do not depend on each other (random, greedy), or --sweep \
             FILE for many runs",
            engine.name(),
            experiment.method.kind()
        );
        return Err(BadInput(text)).or_bad_input();
    }
    engine.check().or_bad_input()?;
    let farm = (engine, args.cpus);
    let plan = FarmPlan::new(&experiment.name, std::slice::from_ref(experiment), workspace).or_bad_input()?;
    plan.write().or_failed()?;
    probe(farm, &plan).or_bad_input()?;
    let leader = Leader {
        farm,
        json,
        experiment: experiment.clone(),
        workspace: workspace.clone(),
    };
    Ok(Workspace {
        farm: Some(Arc::new(leader)),
        ..workspace.clone()
    })
}

/// The run's side of it.
#[derive(Debug)]
struct Leader {
    farm: (FarmEngine, Option<u16>),
    json: Json,
    experiment: Experiment,
    workspace: Workspace,
}

impl TrialFarm for Leader {
    fn share(&self, batch: &TrialBatch, _measure: MeasureTrial) -> Result<Box<dyn SharedTrials>> {
        let plan = FarmPlan::of_trials(&self.experiment, &self.workspace, batch)?;
        plan.write()?;
        let mut follow = Follow::new(plan, (self.farm.0, self.json))?;
        follow.look(None)?;
        let pending = follow.pending();
        let job = match follow.still_at_work() {
            _ if pending.is_empty() => None,
            None => Some(submit(self.farm, &follow.plan, &pending)?),
            job => job,
        };
        if let Some(job) = &job {
            follow.announce(job, pending.len());
        }
        Ok(Box::new(Awaited {
            follow,
            job,
            next: 0,
            asked: Instant::now(),
        }))
    }
}

/// Trials that a farm measures.
struct Awaited {
    follow: Follow,
    /// The scheduler's number; none if all was measured before.
    job: Option<String>,
    next: usize,
    asked: Instant,
}

impl SharedTrials for Awaited {
    fn next(&mut self, check: &dyn Fn() -> Result<(), Cancelled>) -> Result<Option<Judged>> {
        let Some(trials) = self.follow.plan.trials.clone() else {
            return Ok(None);
        };
        let n = self.next;
        self.next += 1;
        let Some(vector) = trials.vectors.get(n) else {
            return Ok(None);
        };
        let task = n % self.follow.runs.len().max(1);
        loop {
            // Asked before it is looked for: what a task that is over has left is there.
            let is_over = self.follow.runs[task].is_over();
            if let Some(judged) = trials.result(vector)? {
                return Ok(Some(judged));
            }
            check()?;
            if self.follow.is_to_stop() {
                return Err(Cancelled.into());
            }
            let Some(job) = self.job.as_ref().filter(|_| !is_over) else {
                let of = &self.follow.runs[task].seen;
                let why = of.error.as_deref().unwrap_or("it has no result");
                let state = of.state.word();
                remark(&format!(
                    "note: task {task} {state}: {why}; trial {n} of the farm is measured here"
                ));
                return Ok(None);
            };
            std::thread::sleep(LOOK);
            if self.asked.elapsed() >= ASK {
                self.follow.ask(job)?;
                self.asked = Instant::now();
            }
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(job) = self.job.clone() else { return };
        let trials = self.follow.plan.trials.as_ref();
        let is_done = trials.is_none_or(|trials| self.next >= trials.vectors.len());
        let told = if is_done {
            self.follow.settle(&job)
        } else {
            self.follow.stop(&job)
        };
        if let Err(e) = told {
            remark(&format!("note: job {job}: {e:#}"));
        }
    }
}

/// Measures the trials of one task, in a run of its own that ends there; its folder is `scratch` for as long as it works.
pub(crate) fn measure(
    trials: TrialPlan,
    experiment: &Experiment,
    workspace: Workspace,
    scratch: &Path,
    control: &Control,
) -> Done {
    let is_left = |trials: &TrialPlan| trials.vectors.iter().any(|v| !trials.result_file(v).is_file());
    if !is_left(&trials) {
        return Ok(0);
    }
    // What a task left that was killed.
    drop(std::fs::remove_dir_all(scratch));
    let workspace = Workspace {
        runs: scratch.to_path_buf(),
        farm: Some(Arc::new(Measurer { trials: trials.clone() })),
        ..workspace
    };
    let mut listen = |stamped: &event::Stamped| progress::tell(stamped, "top-1");
    let ending = execute(experiment, &workspace, control, &mut listen).or_bad_input()?;
    drop(std::fs::remove_dir_all(scratch));
    match ending.outcome {
        Outcome::Failed => Err(Failure {
            code: if ending.bad_input { 2 } else { 1 },
            error: anyhow!("{}", ending.reason.unwrap_or_default()),
        }),
        _ if control.check().is_err() => Ok(130),
        _ if is_left(&trials) => Err(anyhow!("the search did not come to its trials")).or_failed(),
        _ => Ok(0),
    }
}

/// A machine's side of it.
#[derive(Debug)]
struct Measurer {
    /// Those that are given to this task.
    trials: TrialPlan,
}

impl TrialFarm for Measurer {
    fn share(&self, _batch: &TrialBatch, measure: MeasureTrial) -> Result<Box<dyn SharedTrials>> {
        for vector in &self.trials.vectors {
            let file = self.trials.result_file(vector);
            if file.is_file() {
                continue;
            }
            let judged = measure(self.trials.done, vector)?;
            let text = serde_json::to_vec(&judged)?;
            write_whole(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
            remark(&format!("a trial: {:.2} %", judged.top1 * 100.0));
        }
        Err(Cancelled.into())
    }
}
