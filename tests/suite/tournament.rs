//! A small tournament through the command line: exact and equal terms, a table with tests on pairs, nothing run twice.

use event::Event;
use record::log::read_events;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FILE: &str = r#"
name = "tiny"
targets = [6]
dense_seeds = [0, 1]
against = "uniform"
set = { "data.limit" = 300, "data.valid" = 100, "train.epochs" = 2, "train.batch" = 50, "model.width" = 0.15 }

[networks]
narrow = { preset = "dense-fashion" }

[budget]
trials = 20
epochs = 8
retrain = { epochs = 1, lr = 0.05 }

[methods]
uniform = { kind = "uniform", images = 60 }
eagleeye = { kind = "random", trials = 3, images = 60 }
slimming = { kind = "slimming", sparse = { epochs = 1 } }
depgraph = { kind = "group-norm", sparse = { epochs = 1 } }

[methods.autocompress]
kind = "autocompress"
images = 60
round = 3.0
dimensions = ["filter"]
tolerance = 1.0
admm = { epochs = 1 }
retrain = { epochs = 1 }
search = { trials = 5, samples = 2 }
# Purification overshoots; what it takes too much comes back.
purify = { tolerance = 0.5, retrain = { epochs = 1 }, search = { trials = 5, samples = 2 } }
"#;

fn played(dir: &Path, text: &str, more: &[&str]) -> Output {
    let file = dir.join("tiny.toml");
    std::fs::write(&file, text).expect("writes");
    let runs = dir.join("runs");
    Command::new(env!("CARGO_BIN_EXE_secateur"))
        .arg("tournament")
        .args([&file, &PathBuf::from("--runs"), &runs])
        .arg("--json")
        .args(more)
        .output()
        .expect("starts")
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|l| serde_json::from_str(l).expect(l)).collect()
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    record::replay::list(&dir.join("runs/tiny")).expect("lists")
}

#[test]
fn a_tournament_is_fair_goes_on_where_it_stands_and_ends_with_a_table() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dir = dir.path();
    // A shard has one of the two networks.
    let first = played(dir, FILE, &["--shard", "1/2"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(folders(dir).len(), 1 + 5);
    // A run that was interrupted goes on in its folder.
    let cut = folders(dir).pop().expect("a run");
    let log = std::fs::read_to_string(cut.join("events.jsonl")).expect("a log");
    let half: Vec<&str> = log.lines().filter(|l| !l.contains("\"ended\"")).collect();
    std::fs::write(cut.join("events.jsonl"), half.join("\n") + "\n").expect("writes");

    let all = played(dir, FILE, &[]);
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    assert_eq!(folders(dir).len(), 2 * (1 + 5), "no run twice");
    let said = lines(&all);
    let turns = said.iter().filter(|l| l["outcome"] == "finished").count();
    assert_eq!(turns, 12, "every run is named");
    let rows: Vec<_> = said.iter().filter(|l| l["test_top1"].is_number()).collect();
    assert_eq!(rows.len(), 1 + 5);
    let dense = rows.iter().find(|r| r["method"] == "dense").expect("dense");
    for row in rows.iter().filter(|r| r["method"] != "dense") {
        let times = dense["macs"].as_f64().expect("MACs") / row["macs"].as_f64().expect("MACs");
        assert!((6.0..6.4).contains(&times), "exact within a channel: {times} {row}");
        assert_eq!(row["n"], 2);
        assert!(row["epochs"].as_f64().expect("epochs") >= 1.0);
        let compared = row["against"]["mcnemar_p"].is_number() && row["against"]["mean"].is_number();
        assert_eq!(compared, row["method"] != "uniform", "{row}");
    }
    assert_eq!(said.iter().filter(|l| l["pair"].is_array()).count(), 10);

    // All end with the same training.
    for run in folders(dir).iter().filter(|r| !r.to_string_lossy().ends_with("dense")) {
        let events = read_events(run).expect("a log");
        let trains =
            |e: &Event| matches!(e, Event::Phase { name, .. } if name.contains("final training: epoch 1 of 1"));
        let is_dense = !std::fs::read_to_string(run.join("config.toml"))
            .expect("text")
            .contains("[trim");
        assert_eq!(
            events.iter().filter(|s| trains(&s.event)).count(),
            usize::from(!is_dense),
            "{run:?}"
        );
    }
    let shown = played(dir, FILE, &["--show"]);
    let shown = lines(&shown);
    assert_eq!(shown[..], said[said.len() - shown.len()..], "shown without a run");
    assert!(shown.len() == 16, "{}", shown.len());
    let figure = std::fs::read_to_string(dir.join("runs/tiny/figure.svg")).expect("a figure");
    assert!(figure.contains("autocompress") && figure.contains("6×"));
    let csv = std::fs::read_to_string(cut.join("predictions.csv")).expect("predictions");
    assert_eq!(csv.lines().count(), 1 + 10_000);
}

#[test]
fn a_tournament_that_cannot_be_met_is_refused_before_anything_is_trained() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gated = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/fbs-fashion.safetensors");
    let gated = format!("preset = \"dense-fashion\", models = [{gated:?}]");
    let cases = [
        (
            "preset = \"dense-fashion\"",
            gated.as_str(),
            "networks.narrow: model fbs_fashion has gates",
        ),
        (
            "trials = 3, images = 60",
            "trials = 3, images = 60, tuning = 7",
            "methods.eagleeye.tuning is 7 steps, expected at most the 6 of budget.retrain",
        ),
        (
            "trials = 3, images = 60",
            "trials = 3, images = 60, floor = 0.9",
            "methods.eagleeye on narrow: a budget of ",
        ),
        (
            "trials = 3, images = 60",
            "trials = 21, images = 60",
            "methods.eagleeye takes 21 trials at 6 times less",
        ),
        (
            "kind = \"random\"",
            "kind = \"greedy\"",
            "search.trials is 3, expected at least",
        ),
        ("kind = \"slimming\"", "kind = \"fbs\"", "methods.slimming"),
    ];
    for (from, to, expected) in cases {
        let refused = played(dir.path(), &FILE.replace(from, to), &[]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    assert!(folders(dir.path()).is_empty());
}
