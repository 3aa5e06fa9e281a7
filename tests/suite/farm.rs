//! A farm through the command line, with a stand-in for HyperQueue on PATH: so many workers, each with its tasks one after another.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Answers as `hq --output-mode=json` does. What it was asked is in `calls`; `FAIL_PROBE` is what machines say of themselves,
/// `FAIL_TASK` one that ends without a result, `WORKERS` how many there are.
const HQ: &str = r#"#!/bin/sh
shift
echo "$@" >>"$FAKE/calls"
case "$1 $2" in
"server info") [ -z "$FAKE_DOWN" ] || { echo "No online server" >&2; exit 1; }; echo '{}' ;;
"worker list") echo '[{"id":1,"ended":null}]' ;;
"job cancel") touch "$FAKE/stop"; kill $(cat "$FAKE/pids"); echo '{}' ;;
"job info") sed -e "s/TASKS/$(cat "$FAKE/$3".* | paste -sd ,)/" "$FAKE/job$3" ;;
submit*)
    id=$(($(ls "$FAKE" | grep -c '^job') + 1))
    name=$3
    array=$5
    while [ "$1" != -- ]; do shift; done
    shift
    echo "[{\"info\":{\"name\":\"$name\"},\"tasks\":[TASKS]}]" >"$FAKE/job$id"
    first=${array%-*}
    last=${array#*-}
    for n in $(seq "$first" "$last"); do echo "{\"id\":$n,\"state\":\"waiting\"}" >"$FAKE/$id.$n"; done
    if [ "$name" = secateur-probe ]; then
        if [ -n "$FAIL_PROBE" ]; then
            echo "{\"id\":1,\"state\":\"failed\",\"worker\":1,\"error\":\"Program terminated with exit code $FAIL_PROBE.\"}" >"$FAKE/$id.1"
        else
            echo '{"id":1,"state":"finished","worker":1}' >"$FAKE/$id.1"
        fi
    else
        for w in $(seq "${WORKERS:-1}"); do
            (for n in $(seq $((first + w - 1)) "${WORKERS:-1}" "$last"); do
                echo "{\"id\":$n,\"state\":\"running\",\"worker\":$w}" >"$FAKE/$id.$n"
                [ "$n" = "$FAIL_TASK" ] || HQ_TASK_ID=$n "$@" 2>"$FAKE/log$n"
                echo "{\"id\":$n,\"state\":\"finished\",\"worker\":$w}" >"$FAKE/$id.$n"
            done) >/dev/null 2>&1 &
            echo $! >>"$FAKE/pids"
        done
    fi
    echo "{\"id\":$id}"
    ;;
esac
"#;

const SWEEP: &str = r#"preset = "smoke"
[set]
seed = [0, 1]
"data.limit" = [200]
"data.valid" = [100]
"train.epochs" = [1]
"train.batch" = [50]
"model.width" = [0.15]
"#;

struct Farm {
    dir: tempfile::TempDir,
}

impl Farm {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let bin = dir.path().join("bin");
        fs::create_dir_all(dir.path().join("fake")).expect("makes");
        fs::create_dir_all(&bin).expect("makes");
        fs::write(bin.join("hq"), HQ).expect("writes");
        fs::set_permissions(bin.join("hq"), fs::Permissions::from_mode(0o755)).expect("sets");
        fs::write(dir.path().join("sweep.toml"), SWEEP).expect("writes");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sweep(&self, more: &[&str], environment: &[(&str, &str)]) -> Output {
        let file = self.path("sweep.toml");
        self.run(&[&["--sweep", &file.to_string_lossy()], more].concat(), environment)
    }

    fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new(env!("CARGO_BIN_EXE_secateur"))
            .args(["run", "--json", "--runs"])
            .arg(self.path("runs"))
            .args(args)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("FAKE", self.path("fake"))
            .envs(environment.iter().copied())
            .output()
            .expect("starts")
    }

    fn runs(&self) -> Vec<PathBuf> {
        record::replay::list(&self.path("runs")).expect("lists")
    }

    fn asked(&self, what: &str) -> usize {
        let calls = fs::read_to_string(self.path("fake/calls")).unwrap_or_default();
        calls.lines().filter(|line| line.contains(what)).count()
    }
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|l| serde_json::from_str(l).expect(l)).collect()
}

/// The weights of all runs, by their seeds.
fn weights(runs: &[PathBuf]) -> Vec<(u64, Vec<u8>)> {
    let read = |run: &PathBuf| {
        let seed = record::Experiment::of_run(run, &[]).expect("config").seed;
        (seed, fs::read(run.join("models/smoke.safetensors")).expect("model"))
    };
    let mut all: Vec<_> = runs.iter().map(read).collect();
    all.sort();
    all
}

#[test]
fn a_farm_runs_each_run_once_to_the_weights_of_a_local_one() {
    let farm = Farm::new();
    let output = farm.sweep(&["--farm", "hq", "--cpus", "1"], &[]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    let said = lines(&output);
    let endings: Vec<_> = said.iter().filter(|l| l["event"] == "ended").collect();
    assert_eq!(endings.len(), 2, "{said:?}");
    for (n, ending) in endings.iter().enumerate() {
        assert_eq!((&ending["outcome"], &ending["task"]), (&"finished".into(), &n.into()));
        assert!(ending["test_top1"].is_number());
    }
    let states = |task: usize| -> Vec<&str> {
        let of = said.iter().filter(|l| l["farm"] == "hq" && l["task"] == task);
        of.map(|l| l["state"].as_str().expect("state")).collect()
    };
    assert_eq!(states(1).last(), Some(&"finished"));
    assert_eq!(farm.runs().len(), 2);
    assert_eq!(farm.asked("farm-task"), 1);

    // What is there is not run again, and nothing is submitted for it.
    let output = farm.sweep(&["--farm", "hq"], &[]);
    assert!(output.status.success());
    assert_eq!((farm.runs().len(), farm.asked("farm-task")), (2, 1));

    // Windows know how it went.
    let farms = record::farm_status::FarmStatus::list(&farm.path("runs"));
    assert_eq!(farms, [], "a farm that is over is none");

    // What was interrupted goes on in its folder.
    let run = farm.runs().remove(0);
    let log = fs::read_to_string(run.join("events.jsonl")).expect("log");
    let kept: Vec<&str> = log.lines().filter(|l| !l.contains("\"ended\"")).collect();
    fs::write(run.join("events.jsonl"), kept.join("\n") + "\n").expect("writes");
    let manifest = fs::read_to_string(run.join("manifest.json")).expect("manifest");
    fs::write(
        run.join("manifest.json"),
        manifest.replace("\"finished\"", "\"running\""),
    )
    .expect("writes");
    let output = farm.sweep(&["--farm", "hq"], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((farm.runs().len(), farm.asked("farm-task")), (2, 2));
    assert_eq!(
        farm.asked("--array 0-1 "),
        1,
        "only what is not finished is submitted again"
    );

    let farmed = weights(&farm.runs());
    let local = Farm::new();
    assert!(local.sweep(&[], &[]).status.success());
    assert_eq!(farmed, weights(&local.runs()));
}

#[test]
fn a_window_stops_a_farm() {
    let farm = Farm::new();
    let runs = farm.path("runs");
    let asks = std::thread::Builder::new().spawn(move || {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while std::time::Instant::now() < limit {
            let farms = record::farm_status::FarmStatus::list(&runs);
            if let Some(farm) = farms.first().filter(|farm| farm.is_followed) {
                return record::farm_status::ask_to_stop(&farm.folder).expect("writes");
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    });
    let output = farm.sweep(&["--farm", "hq"], &[]);
    asks.expect("spawns").join().expect("asks");
    assert_eq!(
        output.status.code(),
        Some(130),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(farm.asked("job cancel"), 1);
}

#[test]
fn what_a_farm_lacks_is_said_before_anything_is_submitted() {
    let farm = Farm::new();
    let empty = farm.path("none");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("PATH", &empty.to_string_lossy())], "no program hq on PATH"),
        (&[("FAKE_DOWN", "1")], "No online server; expected HyperQueue"),
        (&[("FAIL_PROBE", "41")], "worker 1 does not see"),
        (&[("FAIL_PROBE", "42")], "worker 1 has no program"),
        (&[("FAIL_PROBE", "43")], "worker 1 has another version"),
    ];
    for (environment, expected) in cases {
        let output = farm.sweep(&["--farm", "hq"], environment);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = text.lines().last().unwrap_or("");
        assert_eq!(output.status.code(), Some(2), "{expected}: {text}");
        assert!(
            last.starts_with("secateur: --farm hq: ") && last.contains(expected),
            "{expected}: {text}"
        );
    }
    assert_eq!((farm.runs().len(), farm.asked("farm-task")), (0, 0));
    let output = farm.sweep(&["--farm", "cron"], &[]);
    assert_eq!(output.status.code(), Some(2));

    // A task that a machine is given without its folder.
    let output = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["farm-task", "/no/such/plan", "--number", "0"])
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a folder that this machine shares"));
}

/// A search of five trials, each after a step of training, on a network that it trains first.
const SEARCH: &[&str] = &[
    "random-fashion",
    "--set=data.limit=300",
    "--set=data.valid=100",
    "--set=train.epochs=2",
    "--set=train.batch=50",
    "--set=model.width=0.12",
    "--set=method.trials=5",
    "--set=method.tuning=1",
    "--set=method.images=60",
    "--set=method.retrain.epochs=1",
];

/// All that a run said, without times and places.
fn work(run: &Path) -> Vec<event::Event> {
    let events = record::log::read_events(run).expect("log").into_iter().map(|s| s.event);
    events.filter(|e| !matches!(e, event::Event::Ended(_))).collect()
}

#[test]
fn a_search_on_any_number_of_workers_has_the_trials_of_a_local_one() {
    let local = Farm::new();
    assert!(local.run(SEARCH, &[]).status.success());
    let expected = work(&local.runs()[0]);
    let trials = expected.iter().filter(|e| matches!(e, event::Event::Trial(_))).count();
    assert_eq!(trials, 5);
    let farmed = [SEARCH, &["--farm", "hq"]].concat();
    for workers in ["1", "3"] {
        let farm = Farm::new();
        let output = farm.run(&farmed, &[("WORKERS", workers)]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{complaint}");
        assert_eq!(farm.runs().len(), 1);
        assert_eq!(work(&farm.runs()[0]), expected, "{workers} workers");
        let said = lines(&output);
        let finished = said.iter().filter(|l| l["farm"] == "hq" && l["state"] == "finished");
        assert_eq!(finished.count(), 5, "{said:?}");
        assert_eq!((farm.asked("farm-task"), farm.asked("job cancel")), (1, 0));
        assert!(!complaint.contains("measured here"), "{complaint}");

        // The same command finds that it is over.
        let output = farm.run(&farmed, &[]);
        assert!(output.status.success());
        assert_eq!(lines(&output).last().expect("a line")["event"], "ended");
        assert_eq!((farm.runs().len(), farm.asked("farm-task")), (1, 1));
    }
}

#[test]
fn trials_that_a_farm_does_not_measure_are_measured_here() {
    let greedy = ["--set=method.tuning=0", "--set=method.trials=10"];
    let small = [&SEARCH[1..], &greedy].concat();
    let small = [&["greedy-fashion"], &small[..]].concat();
    let local = Farm::new();
    let output = local.run(&small, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let farm = Farm::new();
    let output = farm.run(
        &[&small[..], &["--farm", "hq"]].concat(),
        &[("FAIL_TASK", "2"), ("WORKERS", "2")],
    );
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    assert!(
        complaint.contains("note: task 2 lost: it has no result; trial 2"),
        "{complaint}"
    );
    assert_eq!(work(&farm.runs()[0]), work(&local.runs()[0]));
}

#[test]
fn a_search_whose_trials_depend_on_each_other_says_why_it_is_not_farmed() {
    let farm = Farm::new();
    let cases = [
        ("densities-fashion", "method densities anneals: each vector is a step"),
        ("autocompress-fashion", "method autocompress anneals"),
        ("amc-fashion", "method amc has an agent that learns"),
        ("uniform-fashion", "method uniform has one trial"),
        ("smoke", "method fbs has no trials"),
    ];
    for (preset, expected) in cases {
        let output = farm.run(&[preset, "--farm", "hq"], &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.lines().count() == 1 && text.contains(expected), "{preset}: {text}");
    }
    let unseen = farm.run(&["random-fashion", "--farm", "hq"], &[("FAIL_PROBE", "41")]);
    let text = String::from_utf8_lossy(&unseen.stderr).into_owned();
    assert_eq!(unseen.status.code(), Some(2), "{text}");
    assert!(text.contains("does not see"), "{text}");
    assert_eq!((farm.runs().len(), farm.asked("farm-task")), (0, 0));
}
