//! Runs that are interrupted go on to the very end they would have had.

use event::{Event, Outcome, Stamped};
use lab::execute::{branch, execute, resume};
use lab::fork::Fork;
use lab::{Workspace, fork};
use record::RunId;
use record::control::Control;
use record::experiment::Experiment;
use record::log::read_events;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use train::device::DeviceName;

/// A run of seconds: every method's stages, few steps.
fn small(preset: &str) -> Vec<(String, String)> {
    let mut changes = vec![
        ("checkpoint_secs", "0.0"),
        ("data.limit", "300"),
        ("data.valid", "100"),
        ("train.epochs", "2"),
        ("train.batch", "50"),
        ("train.log_every", "2"),
        ("model.width", "0.06"),
    ];
    if preset == "smoke" {
        changes.push(("method.grid", "[0.5, 1.0]"));
        changes.push(("method.calibration", "100"));
    } else {
        changes.extend([
            ("method.target", "{ unit = \"weights\", times = 3.0 }"),
            ("method.tolerance", "1.0"),
            ("method.images", "60"),
            ("method.search.trials", "12"),
            ("method.search.samples", "3"),
            ("method.admm", "{ epochs = 2 }"),
            ("method.retrain", "{ epochs = 1 }"),
            ("method.purify.retrain", "{ epochs = 1 }"),
            ("method.purify.search.trials", "8"),
        ]);
    }
    changes.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn workspace(dir: &Path) -> Workspace {
    Workspace {
        runs: dir.to_path_buf(),
        device: DeviceName::Flex,
        threads: 2,
    }
}

/// What the work said, without when it was said and what interruptions left.
fn work(run: &Path) -> Vec<Event> {
    let events = read_events(run).expect("a log").into_iter().map(|s| s.event);
    events
        .filter(|e| !matches!(e, Event::Resumed { .. } | Event::Ended(_) | Event::Forked { .. }))
        .collect()
}

fn model(run: &Path, preset: &str) -> Vec<u8> {
    fs::read(run.join(format!("models/{preset}.safetensors"))).expect("a model")
}

fn whole(preset: &str, dir: &Path) -> PathBuf {
    let experiment = Experiment::load(preset, &small(preset)).expect("preset");
    let ending = execute(&experiment, &workspace(dir), &Control::default(), &mut |_| {}).expect("runs");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    PathBuf::from(ending.run)
}

/// Stops a run at its `at`th event, again and again, until it is done.
fn in_pieces(preset: &str, dir: &Path, at: usize) -> PathBuf {
    let experiment = Experiment::load(preset, &small(preset)).expect("preset");
    let stop_at = |n: usize| {
        let mut said = 0;
        move |control: &Control| {
            said += 1;
            if said == n {
                control.stop();
            }
        }
    };
    let control = Control::default();
    let mut count = stop_at(at);
    let mut ending = execute(&experiment, &workspace(dir), &control, &mut |_| count(&control)).expect("runs");
    let run = PathBuf::from(&ending.run);
    for piece in 1.. {
        if ending.outcome == Outcome::Finished {
            break;
        }
        assert_eq!(ending.outcome, Outcome::Cancelled, "{ending:?}");
        assert!(piece < 400, "a run in pieces of {at} events comes to no end");
        let control = Control::default();
        let mut count = stop_at(at + piece);
        ending = resume(&run, None, &workspace(dir), &control, &mut |_: &Stamped| {
            count(&control)
        })
        .expect("goes on");
    }
    run
}

fn pieces_make_the_whole(preset: &str, pieces: &[usize]) {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole(preset, dir.path());
    let expected = work(&whole);
    for &at in pieces {
        let run = in_pieces(preset, dir.path(), at);
        let got = work(&run);
        let differs = expected.iter().zip(&got).position(|(a, b)| a != b);
        assert_eq!(
            (differs, got.len()),
            (None, expected.len()),
            "in pieces of {at}: {:?}",
            differs.map(|i| (&expected[i], &got[i]))
        );
        assert!(
            model(&run, preset) == model(&whole, preset),
            "in pieces of {at} the weights differ"
        );
    }
}

#[test]
fn a_folder_spelled_in_two_ways_is_one_run() {
    use lab::{Command as Ask, Session};
    let here = std::env::current_dir().expect("a workspace");
    let dir = tempfile::tempdir_in(&here).expect("temp dir");
    let run = whole("smoke", dir.path());
    let short = run.strip_prefix(&here).expect("inside").to_path_buf();
    let mut session = Session::new(workspace(dir.path()), std::sync::Arc::new(|| {})).expect("a session");
    session.submit(Ask::OpenRun(run));
    while session.store().runs.is_empty() && session.store().notices.is_empty() {
        session.pump(std::time::Duration::from_millis(20));
        std::thread::yield_now();
    }
    // A run that is not known would be read first.
    session.submit(Ask::ResumeRun(short));
    assert_eq!(session.store().notices.len(), 1);
    assert!(session.store().notices[0].ends_with("is not interrupted"));
}

#[test]
fn a_training_in_pieces_is_the_training() {
    pieces_make_the_whole("smoke", &[3, 7, 20]);
}

#[test]
fn an_autocompress_run_in_pieces_is_the_run() {
    pieces_make_the_whole("autocompress-fashion", &[11, 40]);
}

fn seqs(run: &Path, wanted: impl Fn(&Event) -> bool) -> Vec<u64> {
    let events = read_events(run).expect("a log").into_iter();
    events.filter(|s| wanted(&s.event)).map(|s| s.seq).collect()
}

fn forked(origin: &Path, at: u64, changes: &[(&str, &str)], dir: &Path) -> PathBuf {
    let changes: Vec<(String, String)> = changes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    go_another_way(origin, at, fork::changed(origin, &changes).expect("may change"), dir)
}

fn go_another_way(origin: &Path, at: u64, experiment: Experiment, dir: &Path) -> PathBuf {
    let origin = origin.to_path_buf();
    let fork = Fork { origin, at, experiment };
    let ending = branch(&fork, &workspace(dir), &Control::default(), &mut |_| {}, &mut |_| {}).expect("forks");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    PathBuf::from(ending.run)
}

fn a_fork_with_nothing_changed_is_the_run(preset: &str) {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole(preset, dir.path());
    let all = read_events(&whole).expect("a log").len() as u64;
    for at in [all / 3, all * 2 / 3, all - 1] {
        let fork = forked(&whole, at, &[], dir.path());
        assert_eq!(work(&fork), work(&whole), "from event {at}");
        assert!(
            model(&fork, preset) == model(&whole, preset),
            "the weights differ from event {at}"
        );
        let manifest = fs::read_to_string(fork.join("manifest.json")).expect("a manifest");
        let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
        assert_eq!(manifest["origin"]["at"], at);
        assert_eq!(
            manifest["origin"]["run"].as_str(),
            whole.file_name().and_then(|n| n.to_str())
        );
    }
}

#[test]
fn a_fork_of_a_training_with_nothing_changed_is_the_training() {
    a_fork_with_nothing_changed_is_the_run("smoke");
}

#[test]
fn a_fork_of_a_search_with_nothing_changed_is_the_run() {
    a_fork_with_nothing_changed_is_the_run("autocompress-fashion");
}

#[test]
fn a_fork_learns_on_with_other_settings_from_the_very_step() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("smoke", dir.path());
    let steps = seqs(&whole, |e| matches!(e, Event::Step { .. }));
    let at = steps[steps.len() / 2];
    let fork = forked(&whole, at, &[("train.lr", "0.001"), ("seed", "5")], dir.path());
    let (old, new) = (read_events(&whole).expect("a log"), read_events(&fork).expect("a log"));
    assert_eq!(new[..=at as usize], old[..=at as usize], "the past is another");
    let lr = |s: &Stamped| match s.event {
        Event::Step { lr, .. } => Some(lr),
        _ => None,
    };
    let after: Vec<f32> = new[at as usize + 1..].iter().filter_map(lr).collect();
    assert!(!after.is_empty() && after.iter().all(|lr| *lr <= 0.001), "{after:?}");
    let said = new.iter().find_map(|s| match &s.event {
        Event::Forked { at, changes, .. } => Some((*at, changes.clone())),
        _ => None,
    });
    let changes = ["data.split_seed = 0", "seed = 5", "train.lr = 0.001"]
        .map(String::from)
        .to_vec();
    assert_eq!(said, Some((at, changes)));
    // As the window asks for it, with nothing said of validation images: the same.
    let config = whole.join("config.toml").to_string_lossy().into_owned();
    let mut asked = Experiment::load(&config, &[]).expect("an experiment");
    (asked.seed, asked.train.lr) = (5, 0.001);
    let again = go_another_way(&whole, at, asked, dir.path());
    assert_eq!(work(&again), work(&fork));
}

#[test]
fn a_forked_search_keeps_its_trials_and_searches_anew() {
    let dir = tempfile::tempdir().expect("temp dir");
    let preset = "autocompress-fashion";
    let whole = whole(preset, dir.path());
    let trials = seqs(&whole, |e| matches!(e, Event::Trial(_)));
    let at = trials[5];
    let fork = forked(&whole, at, &[("seed", "9")], dir.path());
    let run = record::replay::replay(RunId(0), &fork).expect("replays");
    let [first, second] = &run.searches[..2] else {
        panic!("{} searches", run.searches.len())
    };
    assert_eq!(first.start.name, second.start.name);
    assert_eq!(first.measured, 6);
    let best = first.best().expect("one").densities.clone();
    assert!(
        second.trials.iter().any(|t| t.trial.densities == best),
        "the best is not tried again"
    );
    let origin = record::replay::at(RunId(0), &whole, at).expect("replays");
    assert_eq!(origin.searches[0].trials, first.trials);
}

#[test]
fn a_fork_in_a_search_with_other_limits_or_worths_searches_anew() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("autocompress-fashion", dir.path());
    let trials = seqs(&whole, |e| matches!(e, Event::Trial(_)));
    let (first, last) = (trials[5], trials[trials.len() - 2]);
    for (at, key, value) in [(first, "method.floor", "0.2"), (last, "method.purify.tolerance", "0.3")] {
        let before = record::replay::at(RunId(0), &whole, at).expect("replays").searches;
        let fork = forked(&whole, at, &[(key, value)], dir.path());
        let run = record::replay::replay(RunId(0), &fork).expect("replays");
        let names = |s: &record::searches::SearchState| s.start.name.clone();
        let anew = run.searches.get(before.len()).map(names);
        assert_eq!(anew, before.last().map(names), "{key}");
    }
}

#[test]
fn a_training_that_explodes_names_what_was_good() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut changes = small("smoke");
    changes.push(("train.lr".into(), "1e9".into()));
    changes.push(("train.warmup".into(), "0.9".into()));
    let experiment = Experiment::load("smoke", &changes).expect("preset");
    let ending = execute(&experiment, &workspace(dir.path()), &Control::default(), &mut |_| {}).expect("runs");
    assert_eq!(ending.outcome, Outcome::Failed);
    let reason = ending.reason.expect("a reason");
    assert!(reason.contains("the loss is"), "{reason}");
    let good = ending.good.expect("a checkpoint");
    assert!(reason.contains(&format!("stands at event {}", good.at)), "{reason}");
    let run = Path::new(&ending.run);
    assert_eq!(fork::newest(run).expect("a checkpoint"), good.at);
    // What stands there may have been thrown far already; from the beginning it is tamed.
    let tamed = forked(run, 0, &[("train.lr", "0.01"), ("train.warmup", "0.1")], dir.path());
    assert!(tamed.join("models/smoke.safetensors").is_file());
}

#[test]
fn a_full_disk_holds_a_run_until_there_is_room() {
    use disk::{Fault, plan_faults};
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("smoke", dir.path());
    let experiment = Experiment::load("smoke", &small("smoke")).expect("preset");
    let (mut stalls, mut layers) = (0, 0);
    let ending = execute(
        &experiment,
        &workspace(dir.path()),
        &Control::default(),
        &mut |s| match s.event {
            Event::Stalled { .. } => stalls += 1,
            // A model is written next, and then its event.
            Event::Layers { .. } => {
                layers += 1;
                if layers == 2 {
                    plan_faults([Some(Fault::Full), None, Some(Fault::Full)]);
                }
            }
            _ => {}
        },
    )
    .expect("runs");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    assert!(stalls >= 1, "nobody was told");
    assert_eq!(work(Path::new(&ending.run)), work(&whole));
}

#[test]
fn what_cannot_fit_into_memory_is_refused_with_the_number() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut changes = small("smoke");
    changes.push(("train.batch".into(), "65536".into()));
    changes.push(("model.width".into(), "16".into()));
    let experiment = Experiment::load("smoke", &changes).expect("preset");
    let ending = execute(&experiment, &workspace(dir.path()), &Control::default(), &mut |_| {}).expect("runs");
    assert!(ending.bad_input, "{ending:?}");
    let reason = ending.reason.expect("a reason");
    assert!(
        reason.contains("needs at least") && reason.contains("GiB are free"),
        "{reason}"
    );
}

#[test]
fn two_shards_of_a_sweep_do_every_run_once_and_share_a_frontier() {
    let dir = tempfile::tempdir().expect("temp dir");
    let sweep = dir.path().join("sweep.toml");
    fs::write(
        &sweep,
        "preset = \"smoke\"\n[set]\nseed = [0, 1]\n\"train.lr\" = [0.1, 0.05]\n",
    )
    .expect("writes");
    let runs = dir.path().join("runs");
    let shard = |of: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
        command.args(["run", "--shard", of, "--json", "--runs"]).arg(&runs);
        command.arg("--sweep").arg(&sweep);
        for (key, value) in small("smoke") {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts")
    };
    for mut child in [shard("1/2"), shard("2/2")] {
        assert!(child.wait().expect("ends").success());
    }
    let folders = record::replay::list(&runs).expect("lists");
    let mut done: Vec<(u64, u32)> = folders
        .iter()
        .map(|f| record::replay::replay(RunId(0), f).expect("replays"))
        .map(|run| (run.experiment.seed, (run.experiment.train.lr * 100.0).round() as u32))
        .collect();
    done.sort_unstable();
    assert_eq!(done, [(0, 5), (0, 10), (1, 5), (1, 10)]);
    let figure = dir.path().join("frontier.csv");
    let drawn = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .arg("figure")
        .args(&folders)
        .args(["--plot", "frontier", "--to"])
        .arg(&figure)
        .output()
        .expect("runs");
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    assert!(fs::read_to_string(&figure).expect("a figure").lines().count() > 4);
}

#[test]
fn a_killed_run_goes_on_and_its_folder_is_mended() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("smoke", dir.path());
    let runs = dir.path().join("killed");
    let secateur = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut command = secateur();
    command.args(["run", "smoke", "--runs"]).arg(&runs);
    for (key, value) in small("smoke") {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let mut child = command.spawn().expect("starts");
    let log = || {
        let run = fs::read_dir(&runs).ok()?.next()?.ok()?.path();
        let lines = fs::read(run.join("events.jsonl")).ok()?.split(|b| *b == b'\n').count();
        Some((run, lines))
    };
    // Not a wait for a time, but for the work to have come so far.
    let run = loop {
        match log() {
            Some((run, lines)) if lines > 8 => break run,
            _ => std::thread::yield_now(),
        }
        assert!(
            child.try_wait().expect("waits").is_none(),
            "it ended before it could be killed"
        );
    };
    child.kill().expect("kills");
    child.wait().expect("ends");
    // What a crash may leave besides: a torn line, a checkpoint that was not renamed, one that is broken, no manifest.
    let mut events = fs::read(run.join("events.jsonl")).expect("a log");
    events.extend(b"{\"seq\":99");
    fs::write(run.join("events.jsonl"), events).expect("writes");
    fs::write(run.join("checkpoints/999998.safetensors.part"), b"half").expect("writes");
    fs::write(run.join("checkpoints/999999.safetensors"), b"half").expect("writes");
    fs::remove_file(run.join("manifest.json")).expect("removes");
    let ending = resume(&run, None, &workspace(&runs), &Control::default(), &mut |_| {}).expect("goes on");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    assert_eq!(work(&run), work(&whole));
    assert!(model(&run, "smoke") == model(&whole, "smoke"), "the weights differ");
    let events = read_events(&run).expect("a log").into_iter();
    let mended: Vec<String> = events
        .filter_map(|s| match s.event {
            Event::Resumed { mended, .. } => Some(mended),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(mended.len(), 3, "{mended:?}");
    let again = secateur().arg("resume").arg(&run).output().expect("runs");
    assert_eq!(again.status.code(), Some(2), "a finished run is not resumed");
}

#[test]
fn a_folder_has_one_writer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = Experiment::load("smoke", &small("smoke")).expect("preset");
    let held = record::folder::RunFolder::create(dir.path(), &experiment).expect("creates");
    let text = resume(
        &held.path,
        None,
        &workspace(dir.path()),
        &Control::default(),
        &mut |_| {},
    )
    .expect_err("in use")
    .to_string();
    assert!(text.contains("is being written by another process"), "{text}");
}

/// What was asked of a search right before it was stopped is asked again when it goes on: what it followed and what it refused.
#[test]
fn a_run_that_is_stopped_while_it_is_steered_goes_on_as_it_was_steered() {
    use event::Steer;
    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = Experiment::load("random-fashion", &{
        let mut changes = small("smoke");
        changes.retain(|(key, _)| !key.starts_with("method."));
        for (key, value) in [
            ("method.trials", "8"),
            ("method.images", "60"),
            ("method.retrain.epochs", "1"),
        ] {
            changes.push((key.to_owned(), value.to_owned()));
        }
        changes
    })
    .expect("preset");
    let first = Control::default();
    let ending = execute(&experiment, &workspace(dir.path()), &first, &mut |s| match &s.event {
        Event::Trial(t) if t.number == 2 => {
            first.steer(Steer::Lock { site: 0, density: 1.0 });
            first.steer(Steer::Budget { most: 1.0 });
        }
        Event::Refused { .. } => first.stop(),
        _ => {}
    })
    .expect("runs");
    assert_eq!(ending.outcome, Outcome::Cancelled, "{ending:?}");
    let run = PathBuf::from(ending.run);
    let ending = resume(
        &run,
        None,
        &workspace(dir.path()),
        &Control::default(),
        &mut |_: &Stamped| {},
    )
    .expect("goes on");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    let work = work(&run);
    let trials: Vec<(u64, f32)> = work
        .iter()
        .filter_map(|e| {
            if let Event::Trial(t) = e {
                Some((t.number, t.densities[0]))
            } else {
                None
            }
        })
        .collect();
    let numbers: Vec<u64> = trials.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..8).collect::<Vec<u64>>());
    assert!(trials[3..].iter().all(|(_, d)| *d == 1.0), "{trials:?}");
    let count = |is: fn(&&Event) -> bool| work.iter().filter(is).count();
    let asked = (
        count(|e| matches!(e, Event::Steered(_))),
        count(|e| matches!(e, Event::Refused { .. })),
    );
    assert_eq!(asked, (1, 1));
}

/// The window's session watches a run of the command line, steers its search and stops it; closing it hurts nothing.
#[test]
fn a_run_of_another_process_can_be_watched_steered_and_stopped() {
    use event::Steer;
    use lab::{Command as Ask, Session};
    use record::Status;
    let dir = tempfile::tempdir().expect("temp dir");
    let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
    command
        .args(["run", "autocompress-fashion", "--json", "--runs"])
        .arg(dir.path());
    for (key, value) in small("autocompress-fashion") {
        command.args(["--set", &format!("{key}={value}")]);
    }
    // Long enough that it cannot end before it is steered.
    command.args(["--set", "method.search.trials=100000"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let run = loop {
        let found = fs::read_dir(dir.path())
            .ok()
            .and_then(|mut d| d.next())
            .and_then(Result::ok)
            .map(|e| e.path());
        match found {
            Some(run) if fs::read_to_string(run.join("events.jsonl")).is_ok_and(|t| t.contains("\"trial\"")) => {
                break run;
            }
            _ => assert!(child.try_wait().expect("waits").is_none(), "it ended by itself"),
        }
        std::thread::yield_now();
    };
    let mut session = Session::new(workspace(dir.path()), std::sync::Arc::new(|| {})).expect("a session");
    session.submit(Ask::OpenRun(run.clone()));
    let mut asked = false;
    loop {
        session.pump(std::time::Duration::from_millis(20));
        let seen = session.store().runs.first();
        let Some((id, status)) = seen.map(|run| (run.id, run.status)) else {
            continue;
        };
        let steered = seen.is_some_and(|run| run.searches.iter().any(|s| !s.steered.is_empty()));
        match status {
            status if status.is_over() => break,
            Status::Running if steered => session.submit(Ask::Stop(id)),
            Status::Running if !asked => {
                session.submit(Ask::Steer(id, Steer::Lock { site: 0, density: 1.0 }));
                asked = true;
            }
            _ => {}
        }
    }
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    let locked = |e: &Event| matches!(e, Event::Steered(Steer::Lock { site: 0, .. }));
    let after = work(&run).into_iter().skip_while(|e| !locked(e));
    let trials: Vec<f32> = after
        .filter_map(|e| {
            if let Event::Trial(t) = e {
                Some(t.densities[0])
            } else {
                None
            }
        })
        .collect();
    assert!(!trials.is_empty() && trials.iter().all(|d| *d == 1.0), "{trials:?}");
}
