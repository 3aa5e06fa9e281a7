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
    } else if preset == "dense-fashion" {
        changes.push(("quantize", "{ images = 32, retrain = { epochs = 1 } }"));
    } else if preset == "uniform-fashion" {
        changes.push((
            "method",
            "{ kind = \"signal\", candidates = 4, steps = [0, 2], images = 60, width_multiple = 1, retrain = { epochs = 1 } }",
        ));
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
        farm: None,
    }
}

/// What the work said, without when it was said and what interruptions left.
fn work(run: &Path) -> Vec<Event> {
    let events = read_events(run).expect("a log").into_iter().map(|s| s.event);
    events
        .filter(|e| {
            !matches!(
                e,
                Event::Resumed { .. }
                    | Event::Ended(_)
                    | Event::Forked { .. }
                    | Event::Paused { .. }
                    | Event::Unpaused { .. }
                    | Event::Note { .. }
            )
        })
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
fn a_training_that_ends_in_bytes_in_pieces_is_the_training() {
    pieces_make_the_whole("dense-fashion", &[9]);
}

#[test]
fn an_autocompress_run_in_pieces_is_the_run() {
    pieces_make_the_whole("autocompress-fashion", &[11, 40]);
}

#[test]
fn a_measurement_of_quick_scores_in_pieces_is_the_measurement() {
    pieces_make_the_whole("uniform-fashion", &[4, 23]);
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
    // What no stage to come goes by is refused, and an event named from where it counts; nothing is left of the try.
    let count = || fs::read_dir(dir.path()).expect("folder").count();
    let folders = count();
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("train.lr", "0.01")], "train.lr = 0.01"),
        (&[("method.search.trials", "9")], "method.search.trials = 9"),
        (&[("method.admm.epochs", "1"), ("seed", "9")], "method.admm.epochs = 1"),
        (&[("method.retrain.lr", "0.01")], "method.retrain.lr = 0.01"),
    ];
    for (changes, named) in cases {
        let changes: Vec<(String, String)> = changes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let experiment = fork::changed(&whole, &changes).expect("may change");
        let fits = fork::newest(&whole, &experiment).expect("an earlier event");
        let late = Fork {
            origin: whole.clone(),
            at: last,
            experiment,
        };
        let (control, mut nothing) = (Control::default(), |_: &Stamped| {});
        let error = branch(&late, &workspace(dir.path()), &control, &mut nothing, &mut |_| {}).expect_err("refused");
        let expected = format!("goes by {named}; expected an earlier event, such as {fits}");
        assert!(error.to_string().contains(&expected), "{error}, expected {expected}");
        assert!(fits < last);
    }
    assert_eq!(count(), folders, "a folder is left");
    // What a stage to come goes by makes a difference.
    let longer = forked(&whole, last, &[("method.purify.retrain.epochs", "2")], dir.path());
    let steps = |run: &Path| seqs(run, |e| matches!(e, Event::Step { .. })).len();
    assert!(steps(&longer) > steps(&whole));
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
    assert_eq!(fork::newest(run, &experiment).expect("a checkpoint"), good.at);
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
    // Older checkpoints are given up first, each for a try.
    let full = || (0..40).map(|_| Some(Fault::Full));
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
                    plan_faults(full());
                }
            }
            _ => {}
        },
    )
    .expect("runs");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    assert!(stalls >= 1, "nobody was told");
    let notes = notes(Path::new(&ending.run));
    assert!(
        notes.iter().any(|text| text.contains("kept for forks, were given up")),
        "{notes:?}"
    );
    assert_eq!(work(Path::new(&ending.run)), work(&whole));
}

#[test]
fn what_cannot_fit_into_memory_is_refused_with_the_number() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut changes = small("smoke");
    changes.push(("train.batch".into(), "65536".into()));
    changes.push(("model.width".into(), "8".into()));
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
fn shards_of_a_sweep_that_begin_at_once_do_every_run_once_and_share_a_frontier() {
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
    for mut child in ["1/4", "2/4", "3/4", "4/4"].map(shard) {
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

/// A folder of small pictures of upright and lying bars.
fn bars(folder: &Path, classes: [&str; 2], brightness: u8) {
    for (split, n) in [("train", 60), ("test", 10)] {
        for (class, name) in classes.into_iter().enumerate() {
            let folder = folder.join(split).join(name);
            fs::create_dir_all(&folder).expect("folders");
            for at in 0..n {
                let picture = image::GrayImage::from_fn(16, 16, |x, y| {
                    let along = if class == 0 { x } else { y };
                    image::Luma([if along / 3 == at % 5 {
                        brightness
                    } else {
                        (at * 2) as u8
                    }])
                });
                picture.save(folder.join(format!("{at:02}.png"))).expect("writes");
            }
        }
    }
}

fn on_pictures(source: &Path) -> Experiment {
    let mut changes = small("smoke");
    changes.retain(|(key, _)| !["data.valid", "train.batch"].contains(&key.as_str()));
    let source = source.to_string_lossy().into_owned();
    for (key, value) in [("data.valid", "0.1"), ("train.batch", "20"), ("data.source", &source)] {
        changes.push((key.to_owned(), value.to_owned()));
    }
    Experiment::load("smoke", &changes).expect("preset")
}

#[test]
fn a_run_whose_images_were_moved_goes_on_where_they_are_now() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (pictures, moved) = (dir.path().join("pictures"), dir.path().join("moved"));
    let other = dir.path().join("other");
    bars(&pictures, ["lying", "upright"], 200);
    bars(&other, ["lying", "upright"], 199);
    let runs = dir.path().join("runs");
    let run = |stop_at: usize| {
        let (control, mut said) = (Control::default(), 0);
        let ending = execute(&on_pictures(&pictures), &workspace(&runs), &control, &mut |_| {
            said += 1;
            if said == stop_at {
                control.stop();
            }
        });
        PathBuf::from(ending.expect("runs").run)
    };
    let (whole, run) = (run(usize::MAX), run(14));
    fs::rename(&pictures, &moved).expect("moves");
    let state = || {
        let file = |name: &str| fs::read(run.join(name)).expect("is there");
        ["config.toml", "manifest.json", "events.jsonl"].map(file)
    };
    let before = state();
    let resume_with = |data: Option<&Path>| {
        let data = data.map(|data| data.to_string_lossy().into_owned());
        resume(
            &run,
            data.as_deref(),
            &workspace(&runs),
            &Control::default(),
            &mut |_| {},
        )
    };
    // Gone, or others: the run is left as it was.
    let error = format!("{:#}", resume_with(None).expect_err("gone"));
    assert!(
        error.contains("no such file or folder") && error.contains("--data PATH"),
        "{error}"
    );
    let error = format!("{:#}", resume_with(Some(&other)).expect_err("others"));
    assert!(error.contains("not those that the run began with"), "{error}");
    assert!(state() == before, "a run that cannot go on was changed");
    // A fork that cannot begin leaves nothing.
    let same = Experiment::of_run(&run, &[]).expect("reads");
    let at = fork::newest(&run, &same).expect("a checkpoint");
    let fork_with = |data: &Path| {
        let source = toml_text(data);
        let experiment = fork::changed(&run, &[("data.source".into(), source)]).expect("may change");
        let fork = Fork {
            origin: run.clone(),
            at,
            experiment,
        };
        branch(&fork, &workspace(&runs), &Control::default(), &mut |_| {}, &mut |_| {})
    };
    let count = || fs::read_dir(&runs).expect("lists").count();
    let folders = count();
    assert!(fork_with(&pictures).is_err() && fork_with(&other).is_err());
    assert_eq!(count(), folders);
    let fork = PathBuf::from(fork_with(&moved).expect("forks").run);
    assert_eq!(work(&fork), work(&whole));
    // Where they are now is kept.
    let ending = resume_with(Some(&moved)).expect("goes on");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    assert_eq!(work(&run), work(&whole));
    let kept = Experiment::of_run(&run, &[]).expect("an experiment");
    assert_eq!(Path::new(&kept.data.source), moved);
}

fn toml_text(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

#[test]
fn a_relative_path_is_resolved_when_a_run_starts() {
    let here = std::env::current_dir().expect("a workspace");
    let dir = tempfile::tempdir_in(&here).expect("temp dir");
    let pictures = dir.path().join("pictures");
    bars(&pictures, ["lying", "upright"], 200);
    let relative = pictures.strip_prefix(&here).expect("inside");
    let control = Control::default();
    let stop = &mut |_: &Stamped| control.stop();
    let ending = execute(&on_pictures(relative), &workspace(dir.path()), &control, stop).expect("runs");
    let kept = Experiment::of_run(Path::new(&ending.run), &[]).expect("an experiment");
    assert_eq!(Path::new(&kept.data.source), pictures);
}

#[test]
fn a_start_is_not_trained_on_classes_that_it_does_not_have() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (pictures, renamed) = (dir.path().join("pictures"), dir.path().join("renamed"));
    bars(&pictures, ["lying", "upright"], 200);
    bars(&renamed, ["lying", "standing"], 200);
    let runs = workspace(&dir.path().join("runs"));
    let run = |experiment: &Experiment| execute(experiment, &runs, &Control::default(), &mut |_| {}).expect("runs");
    let model = PathBuf::from(run(&on_pictures(&pictures)).model.expect("a model"));
    let mut again = on_pictures(&renamed);
    again.start = Some(record::ModelRef::File(model.clone()));
    let ending = run(&again);
    assert!(ending.bad_input, "{ending:?}");
    let reason = ending.reason.expect("a reason");
    assert!(
        reason.contains("no class standing") && reason.contains("has upright, not found"),
        "{reason}"
    );
    again.data.source = pictures.to_string_lossy().into_owned();
    assert_eq!(run(&again).outcome, Outcome::Finished);
    // `eval` compares in the same way, and takes a part of the classes.
    let eval = |data: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
        let output = command
            .args(["eval", "--density", "1", "--json"])
            .arg(&model)
            .arg("--data")
            .arg(data);
        let output = output.output().expect("starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        (output.status.code(), text, line.map(|line| line["n"].clone()))
    };
    assert_eq!(eval(&pictures), (Some(0), String::new(), Some(20.into())));
    let (code, text, _) = eval(&renamed);
    assert!(code == Some(2) && text.contains("no class standing"), "{text}");
    fs::remove_dir_all(pictures.join("train/lying")).expect("removes");
    fs::remove_dir_all(pictures.join("test/lying")).expect("removes");
    let (code, text, n) = eval(&pictures);
    assert_eq!((code, n), (Some(0), Some(10.into())), "{text}");
    assert!(text.contains("has 1 of the model's 2 classes: upright"), "{text}");
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

/// Changes that make random-fashion a run of seconds.
fn small_search() -> Vec<(String, String)> {
    let mut changes = small("smoke");
    changes.retain(|(key, _)| !key.starts_with("method."));
    let search = [
        ("method.trials", "8"),
        ("method.images", "60"),
        ("method.retrain.epochs", "1"),
    ];
    changes.extend(search.map(|(k, v)| (k.to_owned(), v.to_owned())));
    changes
}

/// What was asked of a search right before it was stopped is asked again when it goes on: what it followed and what it refused.
#[test]
fn a_run_that_is_stopped_while_it_is_steered_goes_on_as_it_was_steered() {
    use event::Steer;
    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = Experiment::load("random-fashion", &small_search()).expect("preset");
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

fn notes(run: &Path) -> Vec<String> {
    let events = read_events(run).expect("a log").into_iter();
    events
        .filter_map(|s| match s.event {
            Event::Note { text } => Some(text),
            Event::Resumed { mended, .. } => Some(mended.join("; ")),
            _ => None,
        })
        .collect()
}

/// A run of the small training that was stopped at its `at`th event.
fn stopped(changes: &[(&str, &str)], dir: &Path, at: usize) -> PathBuf {
    let mut all = small("smoke");
    all.extend(changes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let experiment = Experiment::load("smoke", &all).expect("preset");
    let (control, mut said) = (Control::default(), 0);
    let ending = execute(&experiment, &workspace(dir), &control, &mut |_| {
        said += 1;
        if said == at {
            control.stop();
        }
    })
    .expect("runs");
    assert_eq!(ending.outcome, Outcome::Cancelled, "{ending:?}");
    PathBuf::from(ending.run)
}

fn goes_on_to_the_same_end(run: &Path, whole: &Path, preset: &str) {
    let ending = resume(run, None, &workspace(run), &Control::default(), &mut |_| {}).expect("goes on");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    // What is read before the start is said anew only by a run that begins.
    let from_start = |run| {
        work(run)
            .into_iter()
            .skip_while(|e| !matches!(e, Event::Started { .. }))
            .collect::<Vec<_>>()
    };
    assert!(from_start(run) == from_start(whole), "the events differ");
    assert!(model(run, preset) == model(whole, preset), "the weights differ");
}

/// The power is cut after every sync, with nothing on the disk but what was synced. SECATEUR_CUTS says from how many of these
/// moments the run is resumed to its end; at all of them it is checked that it could be. `asks` hears each event and may steer
/// the run. Gives the number of these moments in which the log ends in what was asked.
fn nothing_is_lost_by_a_power_cut(
    preset: &str,
    changes: &[(String, String)],
    few: usize,
    asks: impl Fn(&Event, &Control),
) -> usize {
    let dir = tempfile::tempdir().expect("temp dir");
    disk::watch_syncs(dir.path());
    let experiment = Experiment::load(preset, changes).expect("preset");
    let control = Control::default();
    let ending = execute(&experiment, &workspace(dir.path()), &control, &mut |s| {
        asks(&s.event, &control)
    })
    .expect("runs");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    let whole = PathBuf::from(ending.run);
    let cuts = disk::take_syncs();
    let is_asked = |e: &Event| matches!(e, Event::Steered(_) | Event::Refused { .. });
    let asked = |run: &Path| work(run).iter().filter(|e| is_asked(e)).count();
    let expected = asked(&whole);
    let resumed = std::env::var("SECATEUR_CUTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(few);
    let every = cuts.len().div_ceil(resumed);
    let name = whole.file_name().expect("a name");
    let (mut begun, mut acknowledged) = (0, 0);
    for (i, cut) in cuts.iter().enumerate() {
        let back = tempfile::tempdir().expect("temp dir");
        cut.restore(back.path()).expect("restores");
        let run = back.path().join(name);
        if !run.join("config.toml").is_file() {
            continue;
        }
        begun += 1;
        let events = read_events(&run).expect("a log");
        let history = record::event_log::history(&run).expect("a log");
        let checkpoint = |n| {
            record::checkpoints::nearest(&run, n, &|_| true)
                .expect("a folder")
                .map(|f| f.path)
        };
        assert_eq!(
            checkpoint(u64::MAX),
            checkpoint(history.work_events),
            "ahead of its log after sync {i}"
        );
        acknowledged += usize::from(events.last().is_some_and(|s| is_asked(&s.event)));
        if let Some(Event::Ended(ending)) = events.last().map(|s| &s.event) {
            assert_eq!(ending.outcome, Outcome::Finished);
            assert!(
                model(&run, preset) == model(&whole, preset),
                "the model is lost after sync {i}"
            );
        } else if i % every == 0 && asked(&run) == expected {
            goes_on_to_the_same_end(&run, &whole, preset);
            let seqs: Vec<u64> = read_events(&run).expect("a log").iter().map(|s| s.seq).collect();
            assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{seqs:?}");
        }
    }
    assert!(begun > 20, "{begun} of {} moments", cuts.len());
    acknowledged
}

#[test]
fn a_power_cut_at_any_sync_of_a_training_loses_nothing() {
    nothing_is_lost_by_a_power_cut("smoke", &small("smoke"), 6, |_, _| {});
}

#[test]
fn a_power_cut_at_any_sync_of_an_autocompress_run_loses_nothing() {
    let preset = "autocompress-fashion";
    nothing_is_lost_by_a_power_cut(preset, &small(preset), 4, |_, _| {});
}

#[test]
fn a_power_cut_at_any_sync_of_a_search_loses_nothing_not_even_what_was_asked_of_it() {
    use event::Steer;
    let acknowledged = nothing_is_lost_by_a_power_cut("random-fashion", &small_search(), 8, |event, control| {
        if matches!(event, Event::Trial(t) if t.number == 2) {
            control.steer(Steer::Lock { site: 0, density: 1.0 });
            control.steer(Steer::Budget { most: 1.0 });
        }
    });
    assert_eq!(
        acknowledged, 2,
        "an order was not on the disk when somebody heard of it"
    );
}

#[test]
fn a_checkpoint_ahead_of_its_log_is_passed_over_and_no_event_is_lost() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("smoke", dir.path());
    // As versions left it that did not sync the log: shorter than the checkpoints say, or empty.
    for keep in [14, 3, 0] {
        let run = stopped(&[], dir.path(), 20);
        let log = fs::read_to_string(run.join("events.jsonl")).expect("a log");
        let lines: String = log.split_inclusive('\n').take(keep).collect();
        fs::write(run.join("events.jsonl"), lines).expect("writes");
        goes_on_to_the_same_end(&run, &whole, "smoke");
        let notes = notes(&run);
        assert!(notes[0].contains("of which the log has"), "{notes:?}");
    }
}

#[test]
fn a_folder_that_somebody_tidied_up_goes_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("smoke", dir.path());
    let mut run = stopped(&[], dir.path(), 20);
    fs::remove_dir_all(run.join("models")).expect("removes");
    fs::write(run.join(format!("checkpoints/{}.safetensors", u64::MAX)), b"odd").expect("writes");
    let mut log = fs::read(run.join("events.jsonl")).expect("a log");
    log.extend(b"\0\0\0\0\n");
    fs::write(run.join("events.jsonl"), log).expect("writes");
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        fs::rename(&run, &odd).expect("renames");
        run = odd;
    }
    goes_on_to_the_same_end(&run, &whole, "smoke");
    let listed = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["runs", "--json", "--runs"])
        .arg(dir.path())
        .output()
        .expect("runs");
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 2, "{listed:?}");
}

#[test]
fn another_model_to_start_or_to_learn_from_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("smoke", dir.path());
    let file = dir.path().join("model.safetensors");
    fs::copy(whole.join("models/smoke.safetensors"), &file).expect("copies");
    let good = fs::read(&file).expect("reads");
    let mut other = model::Checkpoint::load(&file).expect("reads");
    other
        .weights
        .values_mut()
        .for_each(|a| a.data.iter_mut().for_each(|w| *w *= 0.5));
    for (key, what) in [("start", "the model to start from"), ("train.teacher", "the teacher")] {
        let run = stopped(&[(key, &file.to_string_lossy())], dir.path(), 14);
        let state =
            || ["config.toml", "manifest.json", "events.jsonl"].map(|name| fs::read(run.join(name)).expect("reads"));
        let before = state();
        let go_on = || resume(&run, None, &workspace(dir.path()), &Control::default(), &mut |_| {});
        let same = Experiment::of_run(&run, &[]).expect("reads");
        let fork = Fork {
            origin: run.clone(),
            at: fork::newest(&run, &same).expect("a checkpoint"),
            experiment: same,
        };
        let branch = || {
            branch(
                &fork,
                &workspace(dir.path()),
                &Control::default(),
                &mut |_| {},
                &mut |_| {},
            )
        };
        other.save(&file).expect("writes");
        let folders = fs::read_dir(dir.path()).expect("lists").count();
        for error in [go_on().expect_err("another"), branch().expect_err("another")] {
            let text = format!("{error:#}");
            assert!(
                text.contains(what) && text.contains("is not the one that the run began with"),
                "{text}"
            );
        }
        fs::remove_file(&file).expect("removes");
        let text = format!("{:#}", go_on().expect_err("gone"));
        assert!(
            text.contains("cannot read") && text.contains("the run is as it was"),
            "{text}"
        );
        assert!(state() == before, "a run that cannot go on was changed");
        fs::write(&file, &good).expect("writes");
        assert_eq!(
            fs::read_dir(dir.path()).expect("lists").count(),
            folders,
            "a folder is left"
        );
        assert_eq!(branch().expect("forks").outcome, Outcome::Finished);
        assert_eq!(go_on().expect("goes on").outcome, Outcome::Finished);
    }
}

#[test]
fn a_training_that_diverges_in_its_last_step_has_failed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut changes = small("smoke");
    for (key, value) in [
        ("data.limit", "50"),
        ("train.epochs", "1"),
        ("train.lr", "3e38"),
        ("train.warmup", "0.0"),
        ("train.clip_norm", "0.0"),
    ] {
        changes.push((key.into(), value.into()));
    }
    let experiment = Experiment::load("smoke", &changes).expect("preset");
    let ending = execute(&experiment, &workspace(dir.path()), &Control::default(), &mut |_| {}).expect("runs");
    assert_eq!(ending.outcome, Outcome::Failed, "{ending:?}");
    let reason = ending.reason.expect("a reason");
    assert!(reason.contains("step 1") && reason.contains("not finite"), "{reason}");
}

#[test]
fn a_run_that_has_learned_nothing_says_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut changes = small("smoke");
    changes.push(("train.lr".into(), "1e-12".into()));
    let experiment = Experiment::load("smoke", &changes).expect("preset");
    let ending = execute(&experiment, &workspace(dir.path()), &Control::default(), &mut |_| {}).expect("runs");
    let said = |e: &Event| matches!(e, Event::Warning { text } if text.contains("learned nothing"));
    assert!(work(Path::new(&ending.run)).iter().any(said), "{ending:?}");
}

/// Whatever numbers earlier versions have logged.
#[test]
fn a_log_with_numbers_that_are_none_is_read_by_every_command() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = stopped(&[], dir.path(), 20);
    let log = fs::read_to_string(run.join("events.jsonl")).expect("a log");
    let mut n = 0;
    let bad = |line: &str| {
        let Some((before, rest)) = line.split_once("\"loss\":") else {
            return line.to_owned();
        };
        let after = rest.split_once(',').map_or("", |(_, after)| after);
        n += 1;
        let number = ["null", "3.4e38", "-1e300", "0.5"][n % 4];
        format!("{before}\"loss\":{number},{after}")
    };
    let log: Vec<String> = log.lines().map(bad).collect();
    assert!(n > 3, "{log:?}");
    fs::write(run.join("events.jsonl"), log.join("\n") + "\n").expect("writes");
    let secateur = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_secateur"))
            .args(args)
            .current_dir(dir.path())
            .output()
            .expect("runs");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let name = run.to_string_lossy();
    for file in ["a.svg", "a.png", "a.csv"] {
        secateur(&["figure", &name, "--plot", "curves", "--to", file]);
    }
    secateur(&["report", &name, "--to", "a.html"]);
    assert_eq!(secateur(&["runs", "--json", "--runs", "."]).lines().count(), 1);
    secateur(&["fork", &name, "--runs", "forks", "--json"]);
    secateur(&["resume", &name, "--json"]);
}

#[test]
fn a_finished_run_is_forked_to_learn_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = whole("smoke", dir.path());
    let changes = [("train.epochs".to_owned(), "4".to_owned())];
    let experiment = fork::changed(&whole, &changes).expect("may change");
    let at = fork::newest(&whole, &experiment).expect("a place");
    let fork = go_another_way(&whole, at, experiment.clone(), dir.path());
    let steps = |run: &Path| {
        let work = work(run);
        let last = work.iter().rev().find_map(|e| {
            if let Event::Step { step, .. } = e {
                Some(*step)
            } else {
                None
            }
        });
        last.expect("steps")
    };
    assert_eq!(steps(&fork), 2 * steps(&whole));
    let notes = notes(&fork);
    assert!(
        notes
            .iter()
            .any(|text| text.contains("follow the schedule of 24 steps in place of that of 12")),
        "{notes:?}"
    );
    // Behind the end nothing can be learned.
    let last = read_events(&whole).expect("a log").len() as u64 - 1;
    let late = Fork {
        origin: whole.clone(),
        at: last,
        experiment,
    };
    let before = fs::read_dir(dir.path()).expect("folder").count();
    let error = branch(
        &late,
        &workspace(dir.path()),
        &Control::default(),
        &mut |_| {},
        &mut |_| {},
    )
    .expect_err("refused");
    assert!(error.to_string().contains(&format!("such as {at}")), "{error}");
    assert_eq!(
        fs::read_dir(dir.path()).expect("folder").count(),
        before,
        "a folder is left"
    );
    // Nothing of a finished training depends on its rate.
    let slower = fork::changed(&whole, &[("train.lr".to_owned(), "0.01".to_owned())]).expect("may change");
    let late = Fork {
        experiment: slower,
        ..late
    };
    branch(
        &late,
        &workspace(dir.path()),
        &Control::default(),
        &mut |_| {},
        &mut |_| {},
    )
    .expect_err("refused");
}

fn started(preset: &str, dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
    command.args(["run", preset, "--runs"]).arg(dir).args(more);
    for (key, value) in small(preset) {
        command.args(["--set", &format!("{key}={value}")]);
    }
    command
}

#[test]
fn a_run_goes_on_when_nobody_reads_what_it_says() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("temp dir");
    let mut child = started("smoke", dir.path(), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    let run = record::replay::list(dir.path()).expect("lists").remove(0);
    assert!(run.join("models/smoke.safetensors").is_file());
    // What programs asked for is stopped when they are gone, after saving.
    let json = tempfile::tempdir().expect("temp dir");
    let mut child = started("smoke", json.path(), &["--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("reads");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    let stopped = record::replay::list(json.path()).expect("lists").remove(0);
    // So does one that is resumed.
    let mut child = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .arg("resume")
        .arg(&stopped)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert!(model(&stopped, "smoke") == model(&run, "smoke"), "the weights differ");
}

/// Whatever bytes names have, and whatever the locale is.
#[cfg(target_os = "linux")]
#[test]
fn names_of_any_bytes_are_files_under_any_locale() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().expect("temp dir");
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x99\x82\n");
    let here = dir.path().join(odd);
    fs::create_dir(&here).expect("makes");
    let mut command = started("smoke", &here, &[]);
    let output = command.env("LC_ALL", "C").output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = record::replay::list(&here).expect("lists").remove(0);
    let secateur = |args: &[&std::ffi::OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
        let output = command
            .args(args)
            .env("LC_ALL", "C")
            .current_dir(&here)
            .output()
            .expect("runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let os = std::ffi::OsStr::new;
    let (model, onnx) = (run.join("models/smoke.safetensors"), here.join("m.onnx"));
    let at = |name: &str| here.join(name);
    let (svg, png, html) = (at("c.svg"), at("c.png"), at("r.html"));
    let plot = [os("--plot"), os("curves"), os("--to")];
    for args in [
        &[
            os("figure"),
            run.as_os_str(),
            plot[0],
            plot[1],
            plot[2],
            svg.as_os_str(),
        ][..],
        &[
            os("figure"),
            run.as_os_str(),
            plot[0],
            plot[1],
            plot[2],
            png.as_os_str(),
        ],
        &[os("report"), run.as_os_str(), os("--to"), html.as_os_str()],
        &[os("export"), model.as_os_str(), os("--to"), onnx.as_os_str()],
        &[os("inspect"), model.as_os_str()],
        &[
            os("eval"),
            model.as_os_str(),
            os("--limit"),
            os("20"),
            os("--density"),
            os("1"),
        ],
    ] {
        let (code, text) = secateur(args);
        assert_eq!(code, Some(0), "{args:?}: {text}");
    }
    assert!([svg, png, html, onnx].iter().all(|file| file.is_file()));
    // Its list in the window, and its model from there.
    let summary = record::RunSummary::read(&run);
    assert_eq!(
        (summary.status, summary.method, summary.trouble),
        (record::Status::Finished, "fbs", None)
    );
    let shown = record::replay::replay(RunId(0), &run).expect("replays");
    assert_eq!(shown.model(), Some(model));
    // What settings keep as text is refused in a line.
    let (code, text) = secateur(&[os("run"), os("smoke"), os("--data"), here.as_os_str()]);
    assert!(
        code == Some(2) && text.lines().count() == 1 && text.contains("is not UTF-8"),
        "{text}"
    );
}

/// Few file handles, no home, nowhere to put temporary files.
#[cfg(unix)]
#[test]
fn a_run_gets_by_with_little() {
    let dir = tempfile::tempdir().expect("temp dir");
    let whole = started("smoke", dir.path(), &["--json"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 16; exec \"$0\" \"$@\""]);
    let command = command
        .arg(whole.get_program())
        .args(whole.get_args())
        .env_remove("HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .env("TMPDIR", "/no/such/folder");
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Held by a window that is gone, the run of another process goes on; while it is held, everybody sees it.
#[test]
fn a_pause_is_seen_everywhere_and_ends_with_who_held_it() {
    use lab::{Command as Ask, Session};
    let dir = tempfile::tempdir().expect("temp dir");
    let mut child = started(
        "autocompress-fashion",
        dir.path(),
        &["--set", "method.search.trials=100000"],
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .expect("starts");
    let run = loop {
        match record::replay::list(dir.path()).expect("lists").pop() {
            Some(run) if fs::metadata(run.join("events.jsonl")).is_ok_and(|m| m.len() > 0) => break run,
            _ => assert!(child.try_wait().expect("waits").is_none(), "it ended by itself"),
        }
        std::thread::yield_now();
    };
    let mut session = Session::new(workspace(dir.path()), std::sync::Arc::new(|| {})).expect("a session");
    session.submit(Ask::OpenRun(run.clone()));
    let mut asked = false;
    let by = loop {
        session.pump(std::time::Duration::from_millis(20));
        let seen = session.store().runs.first();
        if let Some(by) = seen.and_then(|run| run.held_by.clone()) {
            break by;
        }
        if let Some(id) = seen.map(|run| run.id).filter(|_| !asked) {
            session.submit(Ask::Pause(id));
            asked = true;
        }
        assert!(child.try_wait().expect("waits").is_none(), "it ended by itself");
        std::thread::yield_now();
    };
    assert!(by.contains(&format!("process {}", std::process::id())), "{by}");
    let manifest = || fs::read_to_string(run.join("manifest.json")).expect("a manifest");
    while !manifest().contains("\"state\": \"paused\"") {
        std::thread::yield_now();
    }
    let listed = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["runs", "--json", "--runs"])
        .arg(dir.path())
        .output()
        .expect("runs");
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(
        (&listed["state"], &listed["paused_by"]),
        (&"paused".into(), &by.as_str().into())
    );
    // Another window sees it, too.
    let mut second = Session::new(workspace(dir.path()), std::sync::Arc::new(|| {})).expect("a session");
    second.submit(Ask::OpenRun(run.clone()));
    while second.store().runs.is_empty() {
        second.pump(std::time::Duration::from_millis(20));
        std::thread::yield_now();
    }
    assert_eq!(second.store().runs[0].status, record::Status::Paused);
    drop(session);
    let unpaused = |e: &Event| matches!(e, Event::Unpaused { by } if by.contains("gone"));
    while seqs(&run, unpaused).is_empty() {
        std::thread::yield_now();
    }
    let id = second.store().runs[0].id;
    while !second.store().runs[0].status.is_over() {
        second.pump(std::time::Duration::from_millis(20));
        if second.store().runs[0].status == record::Status::Running {
            second.submit(Ask::Stop(id));
        }
    }
    assert_eq!(child.wait().expect("ends").code(), Some(130));
}
