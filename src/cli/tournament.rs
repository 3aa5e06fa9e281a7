//! `secateur tournament`: all runs that a file asks for, resumed where they stand, then a table, tests on pairs and a figure.
//! Knows nothing of what methods do.

use super::bars::RunBar;
use super::failure::{Done, OrFail};
use super::farm::{FarmArgs, farm};
use super::output::{Json, remark};
use super::progress;
use super::run::{ChangeArgs, WorkspaceArgs, source, stoppable};
use disk::{make_folder, write_whole};
use event::Cancelled;
use lab::Workspace;
use lab::known::Turn;
use lab::tournament::{check, play, prunings, results, trainings};
use plots::{Style, figure, svg};
use record::control::Control;
use record::sweep::Shard;
use record::tournament::{Entry, Tournament};
use serde_json::json;
use std::path::PathBuf;
use view::TournamentView;
use view::tournament::TournamentRow;

#[derive(clap::Args)]
pub(crate) struct TournamentArgs {
    /// Name of a tournament, e.g. tournament-small, or a file
    file: PathBuf,
    /// Only every Nth trained network with all its runs, starting with the Ith
    #[arg(long, value_name = "I/N", default_value = "1/1", conflicts_with = "farm")]
    shard: Shard,
    /// Run nothing: show what is finished
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    farm: FarmArgs,
    /// Images: fashion-mnist, or a path
    #[arg(long)]
    data: Option<String>,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn tournament(args: &TournamentArgs) -> Done {
    let mut changes = args.changes.pairs()?;
    changes.extend(args.data.as_deref().map(source));
    let tournament = Tournament::load(&args.file, &changes).or_bad_input()?;
    let control = stoppable()?;
    let workspace = Workspace {
        runs: args.workspace.runs.join(&tournament.name),
        ..args.workspace.open()?
    };
    let mut is_done = true;
    if !args.show {
        check(&tournament, &control).or_bad_input()?;
        is_done = if args.farm.farm.is_some() {
            match shared_out(args, &tournament, &workspace, &control)? {
                130 => return Ok(130),
                code => code == 0,
            }
        } else {
            let mut bar = RunBar::new(args.json);
            let mut listen = |stamped: &event::Stamped| {
                bar.see(stamped);
                progress::tell(stamped, "top-1");
                if args.json.is_lost() {
                    control.stop();
                }
            };
            let mut each = |entry: &Entry, turn: &Turn| say(args.json, entry, turn);
            match play(&tournament, args.shard, &workspace, &control, &mut listen, &mut each) {
                Err(e) if e.is::<Cancelled>() => return Ok(130),
                played => played.or_failed()?,
            }
        };
    }
    let played = match results(&tournament, &workspace, &control) {
        Err(e) if e.is::<Cancelled>() => return Ok(130),
        played => played.or_failed()?,
    };
    let view = view::tournament::tournament(&tournament, &played);
    table(args.json, &view);
    if !view.rows.is_empty() {
        let figure = svg::svg(&figure::tournament(&view), &Style::default());
        let numbers = serde_json::to_vec_pretty(&view).or_failed()?;
        make_folder(&workspace.runs).or_failed()?;
        write_whole(&workspace.runs.join("results.json"), &numbers).or_failed()?;
        let file = workspace.runs.join("figure.svg");
        write_whole(&file, figure.as_bytes()).or_failed()?;
        remark(&format!(
            "{} of {} runs; {}",
            view.runs[0],
            view.runs[1],
            file.display()
        ));
    }
    Ok(u8::from(!is_done))
}

/// On a farm: first what trains networks, then what begins with them.
fn shared_out(args: &TournamentArgs, tournament: &Tournament, workspace: &Workspace, control: &Control) -> Done {
    let Some(engine) = args.farm.farm else { return Ok(0) };
    let trainings = trainings(tournament);
    let mut code = 0;
    for stage in ["networks", "methods"] {
        let experiments = match stage {
            "networks" => trainings.clone(),
            _ => prunings(tournament, workspace).or_failed()?,
        };
        if experiments.is_empty() {
            continue;
        }
        let name = format!("{}-{stage}", tournament.name);
        match farm((engine, &args.farm), &name, &experiments, workspace, control, args.json)? {
            130 => return Ok(130),
            of_stage => code = code.max(of_stage),
        }
    }
    Ok(code)
}

/// A line when a run has ended.
fn say(json: Json, entry: &Entry, turn: &Turn) {
    let (outcome, run, why) = match turn {
        Turn::Finished(run) => ("finished", run, ""),
        Turn::Failed(run, why) => ("failed", run, why.as_str()),
        Turn::Elsewhere(run) => ("elsewhere", run, "another process works on it"),
    };
    let fact = json!({
        "run": run, "outcome": outcome, "why": why, "network": entry.network, "dense": entry.dense, "method": entry.method,
        "target": entry.target, "seed": entry.seed,
    });
    if json.json {
        json.say(&fact, String::new);
    } else {
        remark(&format!("{}: {outcome} {why}", entry.experiment.name));
    }
}

/// The rows, and for programs the pairs.
fn table(json: Json, view: &TournamentView) {
    for row in &view.rows {
        json.say(row, || line(row, &view.against));
    }
    if json.json {
        view.pairs.iter().for_each(|pair| json.say(pair, String::new));
    }
}

fn line(row: &TournamentRow, against: &str) -> String {
    let target = row.target.map_or("dense".to_owned(), |t| format!("{t}×"));
    let apart = row.against.map_or(String::new(), |d| {
        let p = d.runs.p.map_or("–".to_owned(), |p| format!("{p:.3}"));
        format!(
            "  {:+.2} against {against} (paired t over {}: p = {p}; McNemar: p = {:.3})",
            d.runs.mean * 100.0,
            d.runs.n,
            d.mcnemar_p
        )
    });
    format!(
        "{:12} {target:>6}  {:14} {:6.2} % ± {:.2} of {} runs  {:9.3} M MACs  {:9.1} k parameters  {:.0} epochs, {:.0} trials, {:.2} M images{apart}",
        row.network,
        row.method,
        row.test_top1 * 100.0,
        row.sd * 100.0,
        row.n,
        row.macs / 1e6,
        row.params / 1e3,
        row.epochs,
        row.trials,
        row.images_seen / 1e6
    )
}
