//! Every method on few images and a narrow network, through the same door as the command line: what it promises of budgets,
//! masks and events. How well it prunes is measured on real data, not here.

use secateur::data::{self, batch};
use secateur::event::{Dimension, Event, Outcome, Trial, Unit, Verdict};
use secateur::infer::{self, Options};
use secateur::model::{Checkpoint, Fractions, cost};
use secateur::run::control::Control;
use secateur::run::device::DeviceName;
use secateur::run::execute::{Place, execute};
use secateur::run::experiment::Experiment;
use secateur::run::probe::valid_split;
use std::path::Path;

struct Told {
    events: Vec<Event>,
    model: Checkpoint,
}

impl Told {
    fn trials(&self) -> Vec<Trial> {
        let trial = |e: &Event| if let Event::Trial(t) = e { Some(t.clone()) } else { None };
        self.events.iter().filter_map(trial).collect()
    }
}

fn place(runs: &Path, threads: usize) -> Place {
    Place {
        runs: runs.to_path_buf(),
        device: DeviceName::Flex,
        threads,
    }
}

/// A preset on few images and a narrow network.
fn small(preset: &str, changes: &[(&str, &str)]) -> Experiment {
    let common = [
        ("data.limit", "300"),
        ("data.valid", "100"),
        ("train.epochs", "2"),
        ("train.batch", "50"),
        ("model.width", "0.12"),
    ];
    let all = common.iter().chain(changes);
    let all: Vec<(String, String)> = all.map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Experiment::load(preset, &all).expect("preset")
}

fn tell(preset: &str, changes: &[(&str, &str)], threads: usize) -> Told {
    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = small(preset, &[&[("method.retrain.epochs", "1")], changes].concat());
    let mut events = Vec::new();
    let ending = execute(
        &experiment,
        &place(dir.path(), threads),
        &Control::default(),
        &mut |s| {
            events.push(s.event.clone());
        },
    )
    .expect("runs");
    assert_eq!(ending.outcome, Outcome::Finished, "{preset}: {ending:?}");
    let model = Checkpoint::load(Path::new(&ending.model.expect("a model"))).expect("loads");
    Told { events, model }
}

/// MACs of a model, as it would be cut.
fn macs(model: &Checkpoint) -> u64 {
    cost::total(model.spec(), &model.masks, &Fractions::dense(model.spec()))
        .expect("cost")
        .macs
}

fn dense_macs(told: &Told) -> u64 {
    let started = told.events.iter().find_map(|e| {
        if let Event::Started { dense, .. } = e {
            Some(dense.macs)
        } else {
            None
        }
    });
    started.expect("started")
}

#[test]
fn rivals_meet_their_budget_with_the_densities_they_found() {
    for (preset, trials) in [
        ("uniform-fashion", 1),
        ("random-fashion", 6),
        ("amc-fashion", 6),
        ("greedy-fashion", 26),
    ] {
        let trials_key = if preset == "amc-fashion" {
            "method.search.trials"
        } else {
            "method.trials"
        };
        let told = tell(preset, &[(trials_key, &trials.to_string()), ("method.images", "60")], 2);
        let kept = macs(&told.model) as f64 / dense_macs(&told) as f64;
        assert!(kept <= 0.25 && kept > 0.15, "{preset} keeps {kept}");
        assert!(told.model.masks.is_empty(), "{preset}: filters are cut, not masked");
        let seen = told.trials();
        assert!(
            !seen.is_empty() && seen.len() <= trials,
            "{preset}: {} trials",
            seen.len()
        );
        infer::compile(&told.model, &Options::default()).expect("runs on the engine");
    }
}

#[test]
fn densities_that_were_found_are_what_the_run_is_worth() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = |preset: &str, changes: &[(&str, &str)]| {
        let experiment = small(preset, changes);
        let ending = execute(&experiment, &place(dir.path(), 2), &Control::default(), &mut |_| {});
        ending.expect("runs")
    };
    let own = [("method.grid", "[0.2, 0.5, 1.0]"), ("seed", "3")];
    let gated = run("fbs-fashion", &own).model.expect("a model");
    let ending = run(
        "densities-fashion",
        &[
            ("start", &gated),
            ("method.search.trials", "12"),
            ("method.images", "50"),
        ],
    );
    let model = ending.model.clone().expect("a model");
    let header = Checkpoint::load(Path::new(&model)).expect("loads").header;
    let config = format!("{}/config.toml", ending.run);
    let config = Experiment::load(&config, &[]).expect("an experiment");
    assert_eq!(
        (config.seed, config.split_seed()),
        (0, 3),
        "what the gates have not learned from is searched on"
    );
    let found = header.gate_densities;
    assert_eq!(found.len(), 8, "{found:?}");
    assert_eq!(
        header.metrics.len(),
        2 * 3 + 2,
        "three densities and those found, on two splits"
    );
    let of = |split: &str| {
        let mut metrics = header.metrics.iter().filter(|m| m.split == split);
        metrics.find(|m| m.gates == found).expect("measured")
    };
    assert_eq!(
        (ending.valid_top1, ending.test_top1, ending.macs),
        (Some(of("valid").top1), Some(of("test").top1), Some(of("valid").macs))
    );
    // Measured again by the command line: the same numbers.
    let eval = std::process::Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["eval", &model, "--density", "found", "--json"])
        .output()
        .expect("starts");
    let line: serde_json::Value = serde_json::from_slice(&eval.stdout).expect("one line");
    assert_eq!(line["density"], "found");
    assert_eq!(line["gates"].as_array().map(Vec::len), Some(8));
    assert_eq!(line["top1"].as_f64().map(|v| v as f32), ending.test_top1);
    assert_eq!(line["macs"].as_u64(), Some(of("test").macs));
}

#[test]
fn a_budget_in_milliseconds_is_met_by_tables_and_the_result_is_timed() {
    let changes = [
        ("method.target", "{ unit = \"ms\", times = 1.2 }"),
        ("method.trials", "3"),
        ("method.images", "60"),
        ("model.width", "0.25"),
    ];
    let told = tell("random-fashion", &changes, 1);
    let search = told.events.iter().find_map(|e| match e {
        Event::Search(start) => Some(start.clone()),
        _ => None,
    });
    let search = search.expect("searches");
    assert_eq!(search.unit, Unit::Ms);
    assert!((search.budget * 1.2 - search.whole).abs() < 1e-9 * search.whole);
    assert!(
        told.trials()
            .iter()
            .all(|t| t.spent > 0.0 && t.spent <= search.budget * (1.0 + 1e-9))
    );
    assert!(macs(&told.model) < dense_macs(&told));
    let timed = |e: &Event| matches!(e, Event::Phase { name, .. } if name.starts_with("timed: "));
    assert_eq!(told.events.iter().filter(|e| timed(e)).count(), 1);
}

#[test]
fn a_search_that_is_stopped_keeps_its_best_as_it_was_judged() {
    let dir = tempfile::tempdir().expect("temp dir");
    let changes = [("method.images", "80"), ("method.calibration", "20")];
    let experiment = small("random-fashion", &changes);
    let control = Control::default();
    let mut best = None;
    let ending = execute(&experiment, &place(dir.path(), 2), &control, &mut |s| {
        if let Event::Trial(t) = &s.event {
            if t.verdict == Verdict::Best {
                best = Some(t.top1);
            }
            if t.number == 6 {
                control.stop();
            }
        }
    })
    .expect("runs");
    assert_eq!(ending.outcome, Outcome::Cancelled, "{ending:?}");
    let kept = Path::new(&ending.run).join("models/latest.safetensors");
    let model = Checkpoint::load(&kept).expect("the best so far");
    assert!(model.header.metrics.is_empty(), "what was recorded is of another model");
    let dataset = data::open("fashion-mnist", &mut |_| Ok(())).expect("bundled");
    let valid = valid_split(&model.header, &dataset).expect("splits").valid;
    let indices = data::spread(&valid, 80);
    let mut pixels = Vec::new();
    batch::fill(&dataset.train, &indices, None, &model.header.normalization, &mut pixels);
    let mut engine = infer::compile(
        &model,
        &Options {
            batch: 80,
            ..Options::default()
        },
    )
    .expect("compiles");
    let mut tally = infer::Tally::new(model.spec());
    tally.add(engine.run(&pixels), batch::labels(&dataset.train, &indices).into_iter());
    assert_eq!(Some(tally.top1()), best);
}

#[test]
fn a_search_that_accepts_everything_is_said_in_the_log() {
    let dir = tempfile::tempdir().expect("temp dir");
    let changes = [
        ("start", "bundled"),
        ("method.search.trials", "60"),
        ("method.search.start_acceptance", "0.99"),
        ("method.search.cooling_floor", "1.0"),
        ("method.search.window", "4"),
        ("method.images", "20"),
    ];
    let experiment = small("densities-fashion", &changes);
    let control = Control::default();
    let mut said = Vec::new();
    execute(&experiment, &place(dir.path(), 2), &control, &mut |s| match &s.event {
        Event::Warning { text } => said.push(text.clone()),
        Event::Trial(t) if t.number == 50 => control.stop(),
        _ => {}
    })
    .expect("runs");
    assert_eq!(said, ["search densities: accepts everything"]);
}

#[test]
fn a_stop_in_a_later_round_leaves_the_model_of_the_round_before() {
    let dir = tempfile::tempdir().expect("temp dir");
    let changes = [
        ("method.search.trials", "10"),
        ("method.images", "50"),
        ("method.tolerance", "1.0"),
    ];
    let experiment = small("autocompress-macs-fashion", &changes);
    let control = Control::default();
    let (mut searches, mut round) = (0, None);
    let ending = execute(&experiment, &place(dir.path(), 2), &control, &mut |s| match &s.event {
        Event::Search(_) => searches += 1,
        Event::Epoch { top1, macs, .. } if searches == 1 => round = Some((*macs, *top1)),
        Event::Trial(_) if searches == 2 => control.stop(),
        _ => {}
    })
    .expect("runs");
    assert_eq!((ending.outcome, searches), (Outcome::Cancelled, 2), "{ending:?}");
    let best = Path::new(&ending.run).join("models/best.safetensors");
    let model = Checkpoint::load(&best).expect("the round's model");
    let [metric] = &model.header.metrics[..] else {
        panic!("{:?}", model.header.metrics)
    };
    assert_eq!(Some((metric.macs, metric.top1)), round);
    assert_eq!(macs(&model), metric.macs);
}

#[test]
fn slimming_cuts_the_smallest_scales_to_the_budget() {
    let told = tell(
        "slimming-fashion",
        &[("method.sparse.epochs", "1"), ("method.passes", "2")],
        2,
    );
    let kept = macs(&told.model) as f64 / dense_macs(&told) as f64;
    assert!(kept <= 0.25 && kept > 0.15, "{kept}");
    assert!(told.model.masks.is_empty());
}

#[test]
fn admm_prunes_one_dimension_after_the_other_to_the_budget() {
    let told = tell(
        "admm-fashion",
        &[("method.admm.epochs", "3"), ("method.admm.every", "1")],
        2,
    );
    let kept = macs(&told.model) as f64 / dense_macs(&told) as f64;
    assert!(kept <= 0.26 && kept > 0.12, "{kept}");
    let residuals = |e: &Event| match e {
        Event::Residuals { update, layers } => {
            Some((*update, layers[0].dimension, layers.iter().all(|l| l.value.is_finite())))
        }
        _ => None,
    };
    let said: Vec<_> = told.events.iter().filter_map(residuals).collect();
    let expected = [Dimension::Filter, Dimension::Column]
        .map(|d| [1, 2, 3].map(|update| (update, d, true)))
        .concat();
    assert_eq!(said, expected);
}

#[test]
fn autocompress_rounds_rise_to_the_target_and_trials_do_not_depend_on_threads() {
    let changes = [
        ("method.target", "{ unit = \"weights\", times = 3.0 }"),
        ("method.round", "2.0"),
        ("method.tolerance", "1.0"),
        ("method.images", "60"),
        ("method.search.trials", "10"),
        ("method.search.samples", "3"),
        ("method.admm.epochs", "1"),
        ("method.purify.passes", "0"),
    ];
    let told = tell("autocompress-fashion", &changes, 1);
    let searches: Vec<_> = told
        .events
        .iter()
        .filter_map(|e| if let Event::Search(s) = e { Some(s) } else { None })
        .collect();
    assert_eq!(searches.len(), 2, "2, then 3 times less");
    assert!(searches.iter().all(|s| s.unit == Unit::Weights));
    assert!((searches[0].budget / searches[0].whole - 0.5).abs() < 1e-6);
    for trial in told.trials() {
        assert!(trial.densities.iter().all(|d| *d > 0.0 && *d <= 1.0));
    }
    let first: Vec<Trial> = told.trials().into_iter().take(10).collect();
    assert!(
        first.iter().all(|t| t.spent <= searches[0].budget),
        "no trial exceeds its round's budget"
    );
    assert!(first.iter().any(|t| t.verdict == Verdict::Best));
    let weights = |model: &Checkpoint| -> usize {
        let masked = model.masks.iter().map(|(name, m)| (name, m.count()));
        let masked: std::collections::BTreeMap<_, _> = masked.collect();
        let arrays = model
            .weights
            .iter()
            .filter_map(|(name, a)| Some((name.strip_suffix(".weight")?.to_owned(), a)));
        arrays
            .map(|(name, a)| masked.get(&name).copied().unwrap_or(a.data.len()))
            .sum()
    };
    assert!(
        weights(&told.model) as f64 <= searches[0].whole / 3.0 * 1.001,
        "{}",
        weights(&told.model)
    );
    for (name, mask) in &told.model.masks {
        let data = &told.model.weights[&format!("{name}.weight")].data;
        let columns = mask.columns.len();
        let dead = (0..data.len()).filter(|i| !mask.keeps(i / columns, i % columns));
        assert!(
            dead.into_iter().all(|i| data[i] == 0.0),
            "{name}: zeros stayed zero in retraining"
        );
    }
    assert_eq!(tell("autocompress-fashion", &changes, 2).trials(), told.trials());
}

#[test]
fn single_weights_are_pruned_to_the_count() {
    let changes = [
        ("method.target", "{ unit = \"weights\", times = 4.0 }"),
        ("method.round", "4.0"),
        ("method.purify.passes", "0"),
        ("method.tolerance", "1.0"),
        ("method.images", "60"),
        ("method.search.trials", "6"),
        ("method.search.samples", "2"),
        ("method.admm.epochs", "1"),
    ];
    let told = tell("autocompress-elements-fashion", &changes, 2);
    // What fell off whole was cut, so the share is of the network it began with.
    let whole = told
        .events
        .iter()
        .find_map(|e| if let Event::Search(s) = e { Some(s.whole) } else { None });
    let weights = told.model.weights.iter().filter(|(name, _)| name.ends_with(".weight"));
    let alive: usize = weights.map(|(_, a)| a.data.iter().filter(|w| **w != 0.0).count()).sum();
    let kept = alive as f64 / whole.expect("a search");
    assert!(kept <= 0.25 && kept > 0.2, "{kept}");
}

#[test]
fn gates_on_a_slimmed_network_leave_its_cuts_alone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let slim = tell("uniform-fashion", &[("method.trials", "1"), ("method.images", "60")], 2).model;
    let path = dir.path().join("slim.safetensors");
    slim.save(&path).expect("saves");
    let changes = [
        ("start", path.to_str().expect("a path")),
        ("method.kind", "fbs"),
        ("method.grid", "[0.5, 1.0]"),
        ("method.calibration", "100"),
    ];
    let all: Vec<(String, String)> = changes
        .iter()
        .chain(&[
            ("data.limit", "300"),
            ("data.valid", "100"),
            ("train.epochs", "1"),
            ("train.batch", "50"),
            ("train.lr", "0.0001"),
        ])
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let experiment = Experiment::load("smoke", &all).expect("preset");
    let ending = execute(&experiment, &place(dir.path(), 2), &Control::default(), &mut |_| {}).expect("runs");
    assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
    let gated = Checkpoint::load(Path::new(&ending.model.expect("a model"))).expect("loads");
    assert!(gated.is_gated());
    for (name, array) in slim.weights.iter().filter(|(name, _)| name.ends_with(".weight")) {
        assert_eq!(gated.weights[name].shape, array.shape, "{name}");
    }
}

#[test]
fn what_cannot_be_pruned_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("temp dir");
    let refuse = |preset: &str, changes: &[(&str, &str)]| {
        let experiment = small(preset, changes);
        let ending = execute(&experiment, &place(dir.path(), 2), &Control::default(), &mut |_| {}).expect("runs");
        assert_eq!(
            (ending.outcome, ending.bad_input),
            (Outcome::Failed, true),
            "{ending:?}"
        );
        ending.reason.expect("a reason")
    };
    let untrained = refuse(
        "uniform-fashion",
        &[("train.lr", "1e-12"), ("model.width", "0.06"), ("train.epochs", "1")],
    );
    assert!(untrained.contains("hardly better than chance"), "{untrained}");
    let other = tell("uniform-fashion", &[("method.trials", "1"), ("method.images", "60")], 2).model;
    let path = dir.path().join("other.safetensors");
    other.save(&path).expect("saves");
    let start = path.to_str().expect("a path").to_owned();
    let far = refuse(
        "uniform-fashion",
        &[("start", &start), ("method.target", "{ unit = \"macs\", times = 1e6 }")],
    );
    assert!(far.contains("cannot be met") && far.contains("nearest"), "{far}");
}
