//! Every method on few images and a narrow network, through the same door as the command line: what it promises of budgets,
//! masks and events. How well it prunes is measured on real data, not here.

use burn::tensor::{Tensor, TensorData};
use data::{Split, batch};
use event::{Dimension, Event, Outcome, Site, Steer, Trial, Unit, Verdict};
use infer::Options;
use model::{Checkpoint, Density, Fractions, Precision, cost, zoo};
use train::net::{ForwardOptions, Net, Norms};

use lab::Workspace;
use lab::execute::execute;
use measure::probe::valid_split;
use record::control::Control;
use record::experiment::Experiment;
use std::path::Path;
use std::sync::Arc;
use train::device::DeviceName;

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

fn workspace(runs: &Path, threads: usize) -> Workspace {
    Workspace {
        runs: runs.to_path_buf(),
        device: DeviceName::Flex,
        threads,
        farm: None,
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
    tell_as_it_is(preset, &[&[("method.retrain.epochs", "1")], changes].concat(), threads)
}

/// The same of a method that does not retrain.
fn tell_as_it_is(preset: &str, changes: &[(&str, &str)], threads: usize) -> Told {
    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = small(preset, changes);
    let mut events = Vec::new();
    let ending = execute(
        &experiment,
        &workspace(dir.path(), threads),
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
fn baselines_meet_their_budget_with_the_densities_they_found() {
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
fn any_method_can_end_in_bytes() {
    let narrow = [("method.width_multiple", "1"), ("quantize.images", "64")];
    for (preset, epochs, steps) in [
        ("uniform-fashion", "0", 0),
        ("uniform-fashion", "1", 4),
        ("smoke", "1", 4),
    ] {
        let changes = [
            &narrow[usize::from(preset == "smoke")..],
            &[("quantize.retrain.epochs", epochs)],
        ]
        .concat();
        let told = match preset {
            "smoke" => tell_as_it_is(preset, &changes, 1),
            _ => tell(preset, &changes, 1),
        };
        let model = &told.model;
        assert_eq!(model.precision(), Precision::Int8);
        assert_eq!(model.header.byte_inputs.len(), model.spec().convs().len());
        let phases = told.events.iter().filter_map(|e| match e {
            Event::Phase { name, .. } => Some(&name[..]),
            _ => None,
        });
        let phases: Vec<&str> = phases.collect();
        let at = |name: &str| phases.iter().position(|p| p.starts_with(name));
        assert!(
            at("measuring ranges").is_some() && (at("training in bytes").is_some() == (steps > 0)),
            "{phases:?}"
        );
        // What the run says it is worth was measured in bytes.
        let dataset = data::open("fashion-mnist", &Default::default(), &mut |_| Ok(())).expect("bundled");
        let mut engine = infer::compile(model, &Options::default()).expect("compiles");
        assert_eq!(engine.precision(), Precision::Int8);
        let density = *model.header.densities.last().expect("some");
        engine.set_density(density);
        let metric = model
            .header
            .metrics
            .iter()
            .find(|m| m.density == density && m.split == Split::Test);
        let indices: Vec<u32> = (0..dataset.test.len() as u32).collect();
        let mut right = 0;
        for few in indices.chunks(64).take(metric.expect("measured").n.div_ceil(64)) {
            let mut pixels = Vec::new();
            batch::fill(&dataset.test, few, None, &model.header.normalization, &mut pixels);
            let batch = engine.run(&pixels);
            let rows = batch.logits.chunks_exact(10).zip(few);
            right += rows
                .filter(|(row, i)| infer::argmax(row) == Some(usize::from(dataset.test.labels[**i as usize])))
                .count();
        }
        let n = metric.expect("measured").n;
        assert!(
            (metric.expect("measured").top1 - right as f32 / n as f32).abs() < 1e-6,
            "{right} of {n}"
        );
    }
}

#[test]
fn every_method_cuts_to_widths_that_run_fast_within_its_budget() {
    for (preset, changes) in WAYS {
        if *preset == *"autocompress-elements-fashion" {
            continue;
        }
        let changes = [changes, &[("method.width_multiple", "4"), ("model.width", "0.2")][..]].concat();
        let told = tell(preset, &changes, 2);
        let whole = told.events.iter().find_map(|e| match e {
            Event::Started { spec, .. } => Some(spec.clone()),
            _ => None,
        });
        let widths = |spec: &model::NetSpec| -> Vec<usize> {
            let shapes = spec.shapes().expect("shapes");
            spec.convs().iter().map(|&c| shapes[c][0]).collect()
        };
        let (before, after) = (widths(&whole.expect("started")), widths(told.model.spec()));
        assert!(before != after, "{preset}: {after:?}");
        for (before, after) in before.iter().zip(&after) {
            assert!(after == before || after % 4 == 0, "{preset}: {after} of {before}");
        }
        let times = if preset.starts_with("autocompress") { 1.0 } else { 4.0 };
        let kept = macs(&told.model) as f64 / dense_macs(&told) as f64;
        assert!(kept <= 1.0 / times, "{preset} keeps {kept}");
    }
}

#[test]
fn quick_scores_and_accuracy_after_retraining_are_of_the_same_candidates() {
    let method = |steps: &str| {
        format!(
            "{{ kind = \"signal\", candidates = 4, steps = {steps}, images = 60, width_multiple = 1, target = {{ times = 8.0 }}, retrain = {{ epochs = 1 }} }}"
        )
    };
    let told = tell("uniform-fashion", &[("method", &method("[0, 3]"))], 2);
    let trials = told.trials();
    let each: Vec<Vec<_>> = trials
        .chunks(4)
        .map(|t| t.iter().map(|t| &t.densities).collect())
        .collect();
    assert_eq!(each.len(), 3, "two quick scores and the retraining");
    assert!(each[1..].iter().all(|densities| *densities == each[0]));
    let dense = dense_macs(&told) as f64;
    assert!(
        trials.iter().all(|t| (7.9..10.0).contains(&(dense / t.macs as f64))),
        "{trials:?}"
    );
    let best = trials[8..]
        .iter()
        .rfind(|t| t.verdict == Verdict::Best)
        .expect("a best");
    assert_eq!(macs(&told.model), best.macs, "the best after retraining is the result");
    let said = |e: &&Event| matches!(e, Event::Phase { name, .. } if name.contains("rank correlation"));
    assert_eq!(told.events.iter().filter(said).count(), 2);

    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = small("uniform-fashion", &[("method", &method("[0, 7]"))]);
    let ending = execute(&experiment, &workspace(dir.path(), 2), &Control::default(), &mut |_| {}).expect("ends");
    let reason = ending.reason.unwrap_or_default();
    assert!(
        ending.bad_input && reason.contains("method.steps is 7 steps, expected at most the 6"),
        "{reason}"
    );
}

#[test]
fn trials_can_be_trained_a_little_before_they_are_measured() {
    let trials = |tuning: &str, threads: usize| {
        let changes = [
            ("method.trials", "4"),
            ("method.images", "60"),
            ("method.target", "{ unit = \"macs\", times = 16.0 }"),
            ("method.retrain.epochs", "3"),
            ("method.tuning", tuning),
        ];
        let seen = tell("random-fashion", &changes, threads).trials();
        seen.iter().map(|t| (t.densities.clone(), t.top1)).collect::<Vec<_>>()
    };
    let [untrained, trained] = ["0", "6"].map(|tuning| trials(tuning, 2));
    assert_eq!(trained, trials("6", 1), "whatever the number of threads");
    let densities = |trials: &[(Arc<[f32]>, f32)]| trials.iter().map(|t| t.0.clone()).collect::<Vec<_>>();
    assert_eq!(densities(&untrained), densities(&trained));
    assert_ne!(untrained, trained);

    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = small(
        "random-fashion",
        &[("method.tuning", "100"), ("method.retrain.epochs", "2")],
    );
    let ending = execute(&experiment, &workspace(dir.path(), 1), &Control::default(), &mut |_| {}).expect("ends");
    let why = ending.reason.expect("refused");
    assert!(ending.bad_input, "{why}");
    assert!(
        why.contains("method.tuning is 100 steps, expected at most the 12 of method.retrain"),
        "{why}"
    );
}

#[test]
fn densities_that_were_found_are_what_the_run_is_worth() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = |preset: &str, changes: &[(&str, &str)]| {
        let experiment = small(preset, changes);
        let ending = execute(&experiment, &workspace(dir.path(), 2), &Control::default(), &mut |_| {});
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
    let of = |split: Split| {
        let mut metrics = header.metrics.iter().filter(|m| m.split == split);
        metrics.find(|m| m.gates == found).expect("measured")
    };
    assert_eq!(
        (ending.valid_top1, ending.test_top1, ending.macs),
        (
            Some(of(Split::Valid).top1),
            Some(of(Split::Test).top1),
            Some(of(Split::Valid).macs)
        )
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
    assert_eq!(line["macs"].as_u64(), Some(of(Split::Test).macs));
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
    let ending = execute(&experiment, &workspace(dir.path(), 2), &control, &mut |s| {
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
    let dataset = data::open("fashion-mnist", &data::Reading::default(), &mut |_| Ok(())).expect("bundled");
    let valid = valid_split(&model.header, &dataset).valid;
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
    let mut metrics = infer::EvalMetrics::new(model.spec());
    metrics.add(engine.run(&pixels), &batch::labels(&dataset.train, &indices));
    assert_eq!(Some(metrics.top1()), best);
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
    execute(
        &experiment,
        &workspace(dir.path(), 2),
        &control,
        &mut |s| match &s.event {
            Event::Warning { text } => said.push(text.clone()),
            Event::Trial(t) if t.number == 50 => control.stop(),
            _ => {}
        },
    )
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
    let ending = execute(
        &experiment,
        &workspace(dir.path(), 2),
        &control,
        &mut |s| match &s.event {
            Event::Search(_) => searches += 1,
            Event::Epoch { top1, macs, .. } if searches == 1 => round = Some((*macs, *top1)),
            Event::Trial(_) if searches == 2 => control.stop(),
            _ => {}
        },
    )
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
        &[("method.admm.epochs", "2"), ("method.admm.updates", "3")],
        2,
    );
    let kept = macs(&told.model) as f64 / dense_macs(&told) as f64;
    assert!(kept <= 0.26 && kept > 0.12, "{kept}");
    let residuals = |e: &Event| match e {
        Event::Residuals { update, layers, .. } => {
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

/// What ADMM is for: pruning then costs less than pruning the same network at once, trained as long.
#[test]
fn admm_converges_and_its_cut_costs_less_than_one_shot_pruning() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = |preset: &str, changes: &[(&str, &str)]| {
        let data = [("data.limit", "1500"), ("data.valid", "500"), ("train.lr", "0.05")];
        let experiment = small(preset, &[&data, changes].concat());
        let mut events = Vec::new();
        let mut hear = |s: &event::Stamped| events.push(s.event.clone());
        let ending = execute(&experiment, &workspace(dir.path(), 2), &Control::default(), &mut hear).expect("runs");
        assert_eq!(ending.outcome, Outcome::Finished, "{preset}: {ending:?}");
        (ending.model.expect("a model"), events)
    };
    let (dense, _) = run("dense-fashion", &[("train.epochs", "4")]);
    let target = ("method.target", "{ unit = \"macs\", times = 4.0 }");
    let (_, events) = run(
        "admm-fashion",
        &[
            ("start", &dense),
            target,
            ("method.dimensions", "[\"filter\"]"),
            ("method.admm", "{ epochs = 8, lr = 0.02 }"),
            ("method.retrain.epochs", "1"),
        ],
    );
    let updates: Vec<f32> = events
        .iter()
        .filter_map(|e| match e {
            Event::Residuals { layers, .. } => Some(layers.iter().map(|l| l.value).fold(0.0, f32::max)),
            _ => None,
        })
        .collect();
    assert!(updates.len() >= 8, "{updates:?}");
    assert!(updates[updates.len() - 1] <= 0.1, "it converges: {updates:?}");
    let warned = events
        .iter()
        .any(|e| matches!(e, Event::Warning { text } if text.contains("converged")));
    assert!(!warned);
    let last = events
        .iter()
        .rposition(|e| matches!(e, Event::Residuals { .. }))
        .expect("updates");
    let cut = events[last..].iter().find_map(|e| {
        if let Event::Epoch { top1, .. } = e {
            Some(*top1)
        } else {
            None
        }
    });

    let (longer, _) = run(
        "dense-fashion",
        &[("start", &dense), ("train.epochs", "8"), ("train.lr", "0.02")],
    );
    let (_, events) = run(
        "uniform-fashion",
        &[
            ("start", &longer),
            target,
            ("method.images", "500"),
            ("method.calibration", "0"),
            ("method.retrain.epochs", "1"),
        ],
    );
    let at_once = events
        .iter()
        .find_map(|e| if let Event::Trial(t) = e { Some(t.top1) } else { None });
    let (cut, at_once) = (cut.expect("measured"), at_once.expect("a trial"));
    assert!(cut > at_once + 0.1, "after ADMM {cut}, at once {at_once}");
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

/// Presets with their shortest settings, one for each way of pruning.
const WAYS: [(&str, &[(&str, &str)]); 10] = [
    ("uniform-fashion", &[("method.dimensions", "[\"filter\", \"column\"]")]),
    (
        "random-fashion",
        &[("method.trials", "3"), ("method.dimensions", "[\"channel\"]")],
    ),
    ("greedy-fashion", &[("method.trials", "26")]),
    ("amc-fashion", &[("method.search.trials", "4")]),
    ("slimming-fashion", &[("method.sparse.epochs", "1")]),
    ("group-norm-fashion", &[("method.sparse.epochs", "1")]),
    (
        "halp-fashion",
        &[
            ("method.target", "{ unit = \"macs\", times = 4.0 }"),
            ("method.width_multiple", "1"),
            ("method.passes", "2"),
            ("method.between.epochs", "1"),
        ],
    ),
    ("admm-fashion", &[("method.admm.epochs", "1")]),
    ("autocompress-fashion", ROUNDS),
    ("autocompress-elements-fashion", ROUNDS),
];

const ROUNDS: &[(&str, &str)] = &[
    ("method.target", "{ unit = \"weights\", times = 3.0 }"),
    ("method.round", "2.0"),
    ("method.tolerance", "1.0"),
    ("method.search.trials", "6"),
    ("method.search.samples", "3"),
    ("method.admm.epochs", "1"),
    ("method.purify.search.trials", "8"),
    ("method.purify.retrain.epochs", "1"),
];

#[test]
fn what_every_method_leaves_says_the_same_masked_and_cut_in_burn_and_in_the_engine() {
    for (preset, changes) in WAYS {
        let few = [("method.images", "60")];
        let few = if ["slimming-fashion", "group-norm-fashion", "halp-fashion", "admm-fashion"].contains(&preset) {
            &few[..0]
        } else {
            &few
        };
        let model = tell(preset, &[few, changes].concat(), 2).model;
        let cut = prune::cut(&model).expect("cuts").checkpoint;
        let x: Vec<f32> = (0..2 * 28 * 28).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let engine = |m: &Checkpoint| {
            let options = Options {
                batch: 2,
                ..Options::default()
            };
            let mut engine = infer::compile(m, &options).expect("compiles");
            engine.run(&x).logits.to_vec()
        };
        let want = burn(&model, &x);
        let size = want.iter().fold(1.0f32, |most, v| most.max(v.abs()));
        for (what, got) in [
            ("masked, engine", engine(&model)),
            ("cut, engine", engine(&cut)),
            ("cut, burn", burn(&cut, &x)),
        ] {
            let worst = want
                .iter()
                .zip(&got)
                .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(worst <= 1e-5 * size, "{preset}, {what}: {worst} of {size}");
        }
    }
}

/// Logits by burn, with the norms that were kept.
fn burn(model: &Checkpoint, x: &[f32]) -> Vec<f32> {
    let device = DeviceName::Flex.open().expect("opens");
    let net = Net::new(Arc::new(model.spec().clone()), &model.weights, &device).expect("a net");
    let [c, h, w] = model.spec().input;
    let input = Tensor::<4>::from_data(TensorData::new(x.to_vec(), [x.len() / (c * h * w), c, h, w]), &device);
    let pass = ForwardOptions {
        groups: &[vec![]],
        norms: Norms::Stored(&model.stats_at(Density::FULL)),
        dropout: None,
    };
    let out = net.forward(&net.params, input, &pass).expect("forward");
    out.logits.to_data().try_to_vec().expect("floats")
}

#[test]
fn locks_hold_in_every_round_and_in_purification() {
    let locks = "[{ layer = \"conv2\" }, { layer = \"conv3\", dimension = \"filter\", density = 0.5 }]";
    let told = tell(
        "autocompress-fashion",
        &[ROUNDS, &[("method.images", "60"), ("method.locks", locks)]].concat(),
        2,
    );
    let mut searches = Vec::new();
    for event in &told.events {
        match event {
            Event::Search(start) => searches.push((start.clone(), Vec::new())),
            Event::Trial(trial) => searches.last_mut().expect("a search").1.push(trial.clone()),
            _ => {}
        }
    }
    assert_eq!(searches.len(), 3, "two rounds and purification");
    for (round, (start, trials)) in searches.iter().enumerate() {
        for (i, site) in start.sites.iter().enumerate() {
            let held = match (site.name.as_str(), site.dimension) {
                ("conv2", _) => Some(1.0),
                // It was brought there in the first round.
                ("conv3", Dimension::Filter) => Some(if round == 0 { 0.5 } else { 1.0 }),
                _ => None,
            };
            assert_eq!(start.held[i], held, "{}: {}", start.name, site.name);
            let is = |t: &Trial| held.is_none_or(|held| t.densities[i] == held);
            assert!(trials.iter().all(is), "{}: {}", start.name, site.name);
        }
    }
    let filters = |name: &str| told.model.weights[&format!("{name}.weight")].shape[0];
    let dense = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.12).expect("builds");
    let whole = |name: &str| dense.shapes().expect("shapes")[dense.find(name).expect("there")][0];
    assert_eq!(filters("conv2"), whole("conv2"));
    assert_eq!(filters("conv3"), whole("conv3").div_ceil(2));
}

#[test]
fn what_is_held_while_a_round_searches_stays_held_and_what_is_refused_changes_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let all = [ROUNDS, &[("method.images", "60"), ("method.retrain.epochs", "1")]].concat();
    let experiment = small("autocompress-fashion", &all);
    let control = Control::default();
    let mut events = Vec::new();
    execute(&experiment, &workspace(dir.path(), 2), &control, &mut |s| {
        let begun = events.iter().any(|e| matches!(e, Event::Search(_)));
        if let Event::Trial(t) = &s.event
            && t.number == 1
            && events.iter().filter(|e| matches!(e, Event::Search(_))).count() == 1
        {
            control.steer(Steer::Budget { most: 1.0 });
            control.steer(Steer::Lock { site: 2, density: 0.75 });
        }
        if begun && matches!(&s.event, Event::Search(_)) {
            control.stop();
        }
        events.push(s.event.clone());
    })
    .expect("runs");
    let why = events.iter().find_map(|e| match e {
        Event::Refused { steer, why } => Some((steer.clone(), why.clone())),
        _ => None,
    });
    let (refused, why) = why.expect("refused");
    assert_eq!(refused, Steer::Budget { most: 1.0 });
    assert!(why.contains("the smallest possible is"), "{why}");
    let steered: Vec<_> = events.iter().filter(|e| matches!(e, Event::Steered(_))).collect();
    assert_eq!(steered, [&Event::Steered(Steer::Lock { site: 2, density: 0.75 })]);
    let starts: Vec<_> = events
        .iter()
        .filter_map(|e| if let Event::Search(s) = e { Some(s) } else { None })
        .collect();
    let [first, second] = &starts[..] else {
        panic!("{}", starts.len())
    };
    assert_eq!(first.held, []);
    let same = |s: &Site| (&s.name, s.dimension) == (&first.sites[2].name, first.sites[2].dimension);
    let held: Vec<Option<f32>> = second.sites.iter().map(|s| same(s).then_some(1.0)).collect();
    assert_eq!(second.held, held);
    let line = serde_json::to_string(&Event::Refused {
        steer: refused,
        why: "x".into(),
    })
    .expect("writes");
    assert_eq!(line, r#"{"event":"refused","steer":"budget","most":1.0,"why":"x"}"#);
    let back: Event = serde_json::from_str(&line).expect("reads");
    assert!(matches!(
        back,
        Event::Refused {
            steer: Steer::Budget { most: 1.0 },
            ..
        }
    ));
}

#[test]
fn what_is_asked_of_a_search_that_is_over_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let changes = [("method.images", "60"), ("method.retrain.epochs", "1")];
    let control = Control::default();
    let mut refused = Vec::new();
    let ending = execute(
        &small("uniform-fashion", &changes),
        &workspace(dir.path(), 2),
        &control,
        &mut |s| match &s.event {
            // Its only one.
            Event::Trial(_) => control.steer(Steer::Budget { most: 1e6 }),
            Event::Refused { why, .. } => refused.push(why.clone()),
            Event::Steered(_) => panic!("followed"),
            _ => {}
        },
    )
    .expect("runs");
    assert_eq!(
        (ending.outcome, refused),
        (Outcome::Finished, vec!["the search is over".to_owned()])
    );
}

#[test]
fn filters_go_by_the_score_that_is_set() {
    let shared = [("method.trials", "1"), ("method.images", "60")];
    let dir = tempfile::tempdir().expect("temp dir");
    let start = tell(
        "uniform-fashion",
        &[&shared[..], &[("method.target.times", "1.2")]].concat(),
        2,
    )
    .model;
    let path = dir.path().join("start.safetensors");
    start.save(&path).expect("saves");
    let mut seen = Vec::new();
    for score in ["l1", "l2", "norm-scale", "taylor", "geometric-median", "random"] {
        let quoted = format!("{score:?}");
        let changes = [
            ("start", path.to_str().expect("a path")),
            ("method.score", &quoted),
            ("method.target.times", "2.0"),
        ];
        let told = tell("uniform-fashion", &[&shared[..], &changes].concat(), 2);
        assert!(macs(&told.model) <= dense_macs(&told) / 2, "{score}");
        seen.push(told.trials()[0].top1);
    }
    // One network, one density for all: what differs is which filters are left.
    seen.sort_by(f32::total_cmp);
    seen.dedup();
    assert!(seen.len() >= 3, "{seen:?}");
    let changes = [
        ("method.score", "\"norm-scale\""),
        ("model.arch", "\"lenet5\""),
        ("model.width", "1.0"),
        ("train.epochs", "8"),
    ];
    let refused = small("uniform-fashion", &changes);
    let refused = execute(&refused, &workspace(dir.path(), 2), &Control::default(), &mut |_| {}).expect("runs");
    let text = refused.reason.clone().unwrap_or_default();
    assert!(
        refused.bad_input && text.contains("no norm with a scale"),
        "{refused:?}"
    );
}

#[test]
fn an_agent_with_the_guaranteed_reward_has_no_budget_and_weighs_error_by_work() {
    let changes = [
        ("method.reward", "\"accuracy-guaranteed\""),
        ("method.search.trials", "6"),
        ("method.images", "60"),
    ];
    let told = tell("amc-fashion", &changes, 2);
    for t in told.trials() {
        let expected = -(1.0 - f64::from(t.top1)) * (t.macs as f64).ln();
        assert!((f64::from(t.reward) - expected).abs() < 1e-4, "{t:?}");
    }
    assert!(told.trials().iter().any(|t| t.macs > dense_macs(&told) / 4));
}

#[test]
fn densities_are_searched_within_milliseconds_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let changes = [
        ("start", "bundled"),
        ("method.target", "{ unit = \"ms\", times = 1.5 }"),
        ("method.search.trials", "4"),
        ("method.search.samples", "2"),
        ("method.images", "20"),
        ("method.locks", "[{ layer = \"conv0\" }]"),
    ];
    let timed = |e: &Event| matches!(e, Event::Phase { name, .. } if name.starts_with("timed: "));
    let control = Control::default();
    let mut events = Vec::new();
    execute(
        &small("densities-fashion", &changes),
        &workspace(dir.path(), 1),
        &control,
        &mut |s| {
            // What follows measures all densities on all images.
            if timed(&s.event) {
                control.stop();
            }
            events.push(s.event.clone());
        },
    )
    .expect("runs");
    assert!(events.iter().any(timed), "the result is timed");
    let start = events.iter().find_map(|e| {
        if let Event::Search(s) = e {
            Some(s.clone())
        } else {
            None
        }
    });
    let start = start.expect("a search");
    assert_eq!(start.unit, Unit::Ms);
    assert!((start.budget * 1.5 - start.whole).abs() < 1e-9 * start.whole);
    for event in &events {
        if let Event::Trial(t) = event {
            assert!(t.spent > 0.0 && t.spent <= start.budget * (1.0 + 1e-9), "{t:?}");
            assert_eq!(t.densities[0], 1.0);
        }
    }
}

#[test]
fn a_round_that_is_taken_back_leaves_the_best_model_alone() {
    let changes = [
        // Training that changes nothing: what is cut off is lost.
        ("method.admm.lr", "1e-9"),
        ("method.retrain", "{ epochs = 2, lr = 1e-9 }"),
        ("method.target", "{ unit = \"macs\", times = 20.0 }"),
        ("method.round", "1.2"),
        ("method.tolerance", "0.05"),
        ("method.images", "60"),
        ("method.search.trials", "4"),
        ("method.search.samples", "2"),
        ("method.purify.passes", "0"),
        ("train.epochs", "4"),
    ];
    let dir = tempfile::tempdir().expect("temp dir");
    let mut events = Vec::new();
    let ending = execute(
        &small("autocompress-macs-fashion", &changes),
        &workspace(dir.path(), 2),
        &Control::default(),
        &mut |s| events.push(s.event.clone()),
    )
    .expect("runs");
    let back = |e: &&Event| matches!(e, Event::Warning { text } if text.contains("taken back"));
    assert_eq!(events.iter().filter(back).count(), 1, "{ending:?}");
    let best = Checkpoint::load(&Path::new(&ending.run).join("models/best.safetensors")).expect("the best");
    assert_eq!(
        Some(macs(&best)),
        ending.macs,
        "as many as the last round that was good"
    );
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
    let ending = execute(&experiment, &workspace(dir.path(), 2), &Control::default(), &mut |_| {}).expect("runs");
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
        let ending = execute(&experiment, &workspace(dir.path(), 2), &Control::default(), &mut |_| {}).expect("runs");
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
    let times = ("method.target", "{ unit = \"macs\", times = 1e6 }");
    for preset in ["uniform-fashion", "greedy-fashion"] {
        let far = refuse(preset, &[("start", &start), times]);
        assert!(
            far.contains("cannot be met") && far.contains("smallest possible"),
            "{far}"
        );
    }
    // Said before anything is trained: 1e-12 learns nothing.
    let wide = refuse(
        "uniform-fashion",
        &[
            ("train.lr", "1e-12"),
            ("method.width_multiple", "8"),
            ("method.target", "{ unit = \"macs\", times = 100.0 }"),
        ],
    );
    assert!(
        wide.contains("cannot be met")
            && wide.ends_with("method.width_multiple = 1 would allow widths between multiples of 8"),
        "{wide}"
    );
    let lock = |text: &str| {
        refuse(
            "uniform-fashion",
            &[("start", &start), ("method.images", "60"), ("method.locks", text)],
        )
    };
    let gone = lock("[{ layer = \"conv9\" }]");
    assert!(
        gone.contains("conv9, which m-cifarnet does not have; expected one of conv0,"),
        "{gone}"
    );
    let nothing = (
        "method.locks".to_owned(),
        "[{ layer = \"conv1\", density = 0.0 }]".to_owned(),
    );
    let nothing = Experiment::load("uniform-fashion", &[nothing]).expect_err("no filters");
    let nothing = format!("{nothing:#}");
    assert!(
        nothing.contains("method.locks holds layer conv1 at a density of 0"),
        "{nothing}"
    );
}

/// A folder of pictures without classes: images of the bundled test set.
fn pictures(folder: &Path, n: usize) {
    let dataset = data::open("fashion-mnist", &data::Reading::default(), &mut |_| Ok(())).expect("bundled");
    std::fs::create_dir_all(folder).expect("a folder");
    for (i, pixels) in dataset.test.pixels.chunks_exact(28 * 28).take(n).enumerate() {
        let picture = image::GrayImage::from_raw(28, 28, pixels.to_vec()).expect("fits");
        picture.save(folder.join(format!("{i:04}.png"))).expect("writes");
    }
}

#[test]
fn a_network_is_pruned_on_plain_pictures_by_what_it_says_itself() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let [pool, start] = [at("pictures"), at("start.safetensors")];
    pictures(Path::new(&pool), 400);
    let fresh = [("train.epochs", "4"), ("data.limit", "1500"), ("model.width", "0.25")];
    tell_as_it_is("dense-fashion", &fresh, 2)
        .model
        .save(Path::new(&start))
        .expect("saves");
    let plain = [
        ("start", &*start),
        ("data.source", &*pool),
        ("data.valid", "0.2"),
        ("method.trials", "1"),
        ("method.images", "60"),
        ("method.target", "{ unit = \"macs\", times = 1.5 }"),
        ("method.retrain.epochs", "6"),
    ];
    let told = tell(
        "uniform-fashion",
        &[&plain[..], &[("train.teacher", "self")]].concat(),
        2,
    );
    let agrees = told
        .events
        .iter()
        .any(|e| matches!(e, Event::Started { agreement: true, .. }));
    assert!(agrees, "accuracies are called agreement");
    let valid: Vec<f32> = told
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Epoch {
                split: Split::Valid,
                top1,
                ..
            } => Some(*top1),
            _ => None,
        })
        .collect();
    assert_eq!(valid[0], 1.0, "the whole network agrees with itself");
    let last = valid[valid.len() - 1];
    assert!(last >= 0.7, "the pruned one agrees for {last}");
    assert_eq!(told.model.header.classes.len(), 10);
    assert_eq!(told.model.header.classes[3], "Dress");

    let refuse = |changes: &[(&str, &str)]| {
        let experiment = small("uniform-fashion", &[&plain[..], changes].concat());
        let ending = execute(&experiment, &workspace(dir.path(), 2), &Control::default(), &mut |_| {}).expect("runs");
        assert!(ending.bad_input, "{ending:?}");
        ending.reason.expect("a reason")
    };
    let alone = refuse(&[]);
    assert!(
        alone.contains("the pictures have no classes, expected classes, or train.teacher"),
        "{alone}"
    );
    let other = at("other.safetensors");
    let spec = zoo::build("m-cifarnet", [1, 28, 28], 3, 0.1).expect("builds");
    model::random_model(spec, 1)
        .expect("builds")
        .save(Path::new(&other))
        .expect("saves");
    let classes = refuse(&[("data.source", "fashion-mnist"), ("train.teacher", &other)]);
    assert!(
        classes.contains("train.teacher knows 3 classes, expected 10"),
        "{classes}"
    );
    let spec = zoo::build("m-cifarnet", [3, 32, 32], 10, 0.1).expect("builds");
    model::random_model(spec, 1)
        .expect("builds")
        .save(Path::new(&other))
        .expect("saves");
    let shape = refuse(&[("data.source", "fashion-mnist"), ("train.teacher", &other)]);
    assert!(
        shape.contains("train.teacher reads images of [3, 32, 32], expected [1, 28, 28]"),
        "{shape}"
    );
    let gone = refuse(&[("train.teacher", "/no/such/teacher")]);
    assert!(gone.contains("train.teacher is /no/such/teacher"), "{gone}");
}

#[test]
fn a_teacher_changes_what_is_learned_and_none_changes_nothing() {
    let weights = |changes: &[(&str, &str)]| tell_as_it_is("fbs-fashion", changes, 2).model.weights;
    let dir = tempfile::tempdir().expect("temp dir");
    let teacher = dir.path().join("teacher.safetensors").to_string_lossy().into_owned();
    tell_as_it_is("dense-fashion", &[], 2)
        .model
        .save(Path::new(&teacher))
        .expect("saves");
    let alone = weights(&[]);
    assert_eq!(
        alone,
        weights(&[("train.teacher", &teacher), ("train.teacher_weight", "0")])
    );
    assert_ne!(alone, weights(&[("train.teacher", &teacher)]));
}

fn is_protect(event: &Event) -> bool {
    matches!(
        event,
        Event::Steered(Steer::Protect { .. })
            | Event::Refused {
                steer: Steer::Protect { .. },
                ..
            }
    )
}

#[test]
fn what_is_protected_costs_a_trial_its_reward_and_nothing_else_changes() {
    let told = |protect: &str| {
        let changes = [
            ("method.trials", "5"),
            ("method.images", "80"),
            ("data.protect", protect),
        ];
        tell("random-fashion", &changes, 2).trials()
    };
    let (free, kept) = (told("[]"), told("[\"Trouser\", \"#7\"]"));
    assert!(free.iter().all(|t| t.reward == t.top1));
    assert_eq!(free[0].top1, kept[0].top1, "what is measured is the same");
    assert!(
        kept.iter().all(|t| t.reward <= t.top1) && kept.iter().any(|t| t.reward < t.top1),
        "{kept:?}"
    );
    // Asked of a search that works, it holds from the next trial on, and what is unknown is refused.
    for preset in ["random-fashion", "autocompress-fashion"] {
        let dir = tempfile::tempdir().expect("temp dir");
        let changes = [("method.images", "80"), ("method.retrain.epochs", "0")];
        let trials = match preset {
            "random-fashion" => [("method.trials", "6")],
            _ => [("method.search.trials", "6")],
        };
        let control = Control::default();
        let mut events = Vec::new();
        execute(
            &small(preset, &[&changes[..], &trials].concat()),
            &workspace(dir.path(), 2),
            &control,
            &mut |s| {
                if matches!(&s.event, Event::Trial(t) if t.number == 2) && !events.iter().any(is_protect) {
                    for name in ["Hat", "Trouser"] {
                        let names = vec![name.to_owned(), "#7".to_owned()];
                        control.steer(Steer::Protect { names });
                    }
                }
                events.push(s.event.clone());
            },
        )
        .expect("runs");
        let said: Vec<&Event> = events.iter().filter(|e| is_protect(e)).collect();
        let [Event::Refused { why, .. }, Event::Steered(_)] = said[..] else {
            panic!("{said:?}")
        };
        assert!(why.contains("no class \"Hat\""), "{why}");
        let trials: Vec<&Trial> = events
            .iter()
            .filter_map(|e| if let Event::Trial(t) = e { Some(t) } else { None })
            .collect();
        let best = trials[..3].iter().rev().find(|t| t.verdict == Verdict::Best);
        assert_eq!(
            trials[3].densities,
            best.expect("a best one").densities,
            "{preset}: the best is measured again"
        );
        assert_eq!(trials[3].verdict, Verdict::Best, "{preset}");
        assert!(
            trials[3..].iter().any(|t| t.reward < trials[0].reward.max(t.top1)),
            "{preset}"
        );
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let wrong = small("random-fashion", &[("data.protect", "[\"Hat\"]")]);
    let ending = execute(&wrong, &workspace(dir.path(), 1), &Control::default(), &mut |_| {});
    let said = format!("{ending:?}");
    assert!(
        said.contains("data.protect: no class \\\"Hat\\\"") || said.contains("no class"),
        "{said}"
    );
}
