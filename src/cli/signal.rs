//! `secateur bench signal`: whether a search's quick scores put candidates in the order of their accuracy after retraining.
//! Knows nothing of how candidates are measured: that is a run, which can be resumed.

use super::failure::{Done, OrFail};
use super::output::Json;
use super::progress;
use super::run::{ChangeArgs, ended, source, stoppable};
use anyhow::{Context, Result, ensure};
use event::{Event, Outcome, Trial};
use lab::{Workspace, execute};
use model::Checkpoint;
use record::{Experiment, log};
use search::RankCorrelation;
use serde::Serialize;
use std::path::{Path, PathBuf};
use train::device::DeviceName;

/// Settings that a preset's own method and the measurement share.
const SHARED: [&str; 6] = ["floor", "width_multiple", "score", "images", "calibration", "retrain"];

#[derive(clap::Args)]
pub(crate) struct SignalArgs {
    /// signal: a trained model, or the run folder of a measurement, which is finished or shown
    model: Option<PathBuf>,
    /// signal: the preset or file that says images, training and retraining; if not given, as the model was made
    #[arg(long)]
    preset: Option<String>,
    /// signal: how many times fewer MACs a candidate has; other units by --set method.target.unit=weights
    #[arg(long, default_value_t = 16.0)]
    target: f64,
    /// signal: candidates that are compared
    #[arg(long, default_value_t = 12)]
    candidates: u64,
    /// signal: training steps before a candidate is judged quickly
    #[arg(long, value_delimiter = ',', default_value = "0,20,60,100")]
    steps: Vec<u64>,
    /// signal: images: fashion-mnist, or a path
    #[arg(long)]
    data: Option<String>,
    /// signal: folder that holds run folders
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    #[command(flatten)]
    changes: ChangeArgs,
}

/// One line of the result.
#[derive(Serialize)]
struct SignalLine<'a> {
    task: &'static str,
    run: &'a str,
    times: f64,
    candidates: usize,
    steps: u64,
    rank_correlation: f64,
    low: f64,
    high: f64,
}

pub(crate) fn signal(args: &SignalArgs, json: Json) -> Done {
    let workspace = Workspace {
        runs: args.runs.clone(),
        device: DeviceName::default(),
        threads: record::folder::threads(),
        farm: None,
    };
    let control = stoppable()?;
    let mut listen = |stamped: &event::Stamped| progress::tell(stamped, "top-1");
    let is_run = |path: &&PathBuf| path.join("config.toml").is_file();
    let run = match args.model.as_ref().filter(is_run) {
        Some(run) if is_over(run).or_bad_input()? => run.clone(),
        Some(run) => {
            let ending = execute::resume(run, args.data.as_deref(), &workspace, &control, &mut listen);
            match ended(ending)? {
                0 => run.clone(),
                code => return Ok(code),
            }
        }
        None => {
            let experiment = experiment(args)?;
            let mut made = PathBuf::new();
            let ending = execute::begin(&experiment, &workspace, &control, &mut listen, &mut |path| {
                path.clone_into(&mut made);
            });
            match ended(ending)? {
                0 => made,
                code => return Ok(code),
            }
        }
    };
    let folder = run.to_string_lossy();
    for line in lines(&run, &folder).or_bad_input()? {
        json.say(&line, || {
            format!(
                "{} times less, {} candidates, quick score after {:>4} steps: rank correlation {:.2} (95 %: {:.2} to {:.2})",
                line.times, line.candidates, line.steps, line.rank_correlation, line.low, line.high
            )
        });
    }
    Ok(0)
}

fn is_over(run: &Path) -> Result<bool> {
    let mut over = false;
    log::read(&run.join("events.jsonl"), &mut |stamped| {
        over |= matches!(&stamped.event, Event::Ended(e) if e.outcome == Outcome::Finished);
        true
    })?;
    Ok(over)
}

/// The measurement with the images and the training of a preset, or of the run that made the model.
fn experiment(args: &SignalArgs) -> Done<Experiment> {
    let base = match (&args.preset, &args.model) {
        (Some(preset), _) => Experiment::load(preset, &[]),
        (None, Some(model)) => Checkpoint::load(model).and_then(|model| {
            let made = Experiment::of_model(&model.header);
            made.context("the model does not say how it was made, expected --preset")
        }),
        (None, None) => Err(anyhow::anyhow!("bench signal: expected a model file, or --preset")),
    };
    let base = base.or_bad_input()?;
    let steps: Vec<String> = args.steps.iter().map(u64::to_string).collect();
    let (target, candidates, steps) = (args.target, args.candidates, steps.join(", "));
    let method = format!(
        "{{ kind = \"signal\", target = {{ times = {target:?} }}, candidates = {candidates}, steps = [{steps}] }}"
    );
    let mut changes = vec![("name".to_owned(), "signal".to_owned()), ("method".to_owned(), method)];
    for (key, value) in base.flat().or_failed()? {
        let of_method = key.strip_prefix("method.").unwrap_or("");
        if SHARED.contains(&of_method.split('.').next().unwrap_or("")) {
            changes.push((key, value.to_string()));
        }
    }
    if let Some(model) = &args.model {
        let model = toml::Value::String(model.to_string_lossy().into_owned());
        changes.push(("start".to_owned(), model.to_string()));
    }
    changes.extend(args.data.as_deref().map(source));
    changes.extend(args.changes.pairs()?);
    Experiment::parse(&base.to_toml().or_failed()?, &changes)
        .context("bench signal")
        .or_bad_input()
}

/// What a finished measurement says: a line a quick score.
fn lines<'a>(run: &Path, folder: &'a str) -> Result<Vec<SignalLine<'a>>> {
    let experiment = Experiment::of_run(run, &[])?;
    let mut series: Vec<(String, f64, Vec<Trial>)> = Vec::new();
    log::read(&run.join("events.jsonl"), &mut |stamped| {
        match (stamped.event, series.last_mut()) {
            (Event::Search(start), _) => series.push((start.name.clone(), start.whole / start.budget, Vec::new())),
            (Event::Trial(trial), Some((_, _, trials))) => trials.push(trial),
            _ => {}
        }
        true
    })?;
    let top1 = |trials: &[Trial]| trials.iter().map(|t| t.top1).collect::<Vec<f32>>();
    let (_, times, retrained) = series.pop().context("no candidate was measured")?;
    let quick = series.iter().map(|(name, _, trials)| {
        let steps = name.strip_prefix("after ").and_then(|n| n.strip_suffix(" steps"));
        let steps = steps.and_then(|n| n.parse().ok());
        let steps = steps.with_context(|| format!("{folder}: search {name} holds no quick score"))?;
        ensure!(trials.len() == retrained.len(), "{folder}: {name} has other candidates");
        let correlation = RankCorrelation::new(&top1(trials), &top1(&retrained), experiment.seed);
        Ok(SignalLine {
            task: "signal",
            run: folder,
            times,
            candidates: trials.len(),
            steps,
            rank_correlation: correlation.value,
            low: correlation.low,
            high: correlation.high,
        })
    });
    quick.collect()
}
