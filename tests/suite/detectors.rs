//! A detector of several outputs, from ONNX to ONNX: pruned on plain pictures by what it says itself, its heads compared with the
//! original's.

use crate::models::{model, operators};
use data::Split;
use event::{Event, Outcome};
use formats::onnx_pb::{AttributeProto, AttributeType, ModelProto, NodeProto};
use formats::{Export, Import, Imported, Probe, export, import, onnx_bytes};
use infer::{LabeledImages, Options, compile, evaluate};
use lab::Workspace;
use lab::execute::execute;
use model::spec::{NetSpec, Op};
use model::{Checkpoint, Density, Fractions, cost};
use prost::Message;
use record::control::Control;
use record::experiment::Experiment;
use std::ops::ControlFlow;
use std::path::Path;
use train::device::DeviceName;

fn read(file: &Path) -> Imported {
    let options = Import {
        file: file.to_owned(),
        ..Import::default()
    };
    import(&options).unwrap_or_else(|e| panic!("{e:#}"))
}

fn outputs(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).expect("reads");
    let graph = ModelProto::decode(&bytes[..]).expect("decodes").graph.expect("a graph");
    graph.output.into_iter().map(|o| o.name).collect()
}

/// The detector without its classifier: nothing in it says a class.
fn without_classes() -> NetSpec {
    let mut spec = operators::detector([1, 28, 28]);
    let last = spec.nodes.len() - 1;
    let Op::Outputs { heads } = &mut spec.nodes[last].op else {
        panic!("outputs")
    };
    heads.truncate(2);
    spec.nodes[last].inputs.truncate(2);
    spec.nodes.drain(last - 3..last);
    spec
}

fn pictures(folder: &Path, n: usize) {
    let dataset = data::open("fashion-mnist", &data::Reading::default(), &mut |_| Ok(())).expect("opens");
    std::fs::create_dir_all(folder).expect("a folder");
    for (i, pixels) in dataset.test.pixels.chunks_exact(28 * 28).take(n).enumerate() {
        let picture = image::GrayImage::from_raw(28, 28, pixels.to_vec()).expect("fits");
        picture.save(folder.join(format!("{i:04}.png"))).expect("writes");
    }
}

fn experiment(preset: &str, changes: &[(&str, &str)]) -> Experiment {
    let changes: Vec<(String, String)> = changes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Experiment::load(preset, &changes).expect("preset")
}

fn workspace(runs: &Path) -> Workspace {
    Workspace {
        runs: runs.to_path_buf(),
        device: DeviceName::Flex,
        threads: 2,
        farm: None,
    }
}

fn macs(model: &Checkpoint) -> u64 {
    cost::total(model.spec(), &model.masks, &Fractions::dense(model.spec()))
        .expect("cost")
        .macs
}

/// Relative error of each output on some images, by a loop of its own.
fn errors(of: &Checkpoint, to: &Checkpoint) -> Vec<f64> {
    let probe = Probe::default_for(to).expect("images");
    let run = |m: &Checkpoint| {
        let options = Options {
            batch: probe.n,
            ..Options::default()
        };
        compile(m, &options)
            .expect("compiles")
            .run(&probe.pixels)
            .logits
            .clone()
    };
    let (a, b) = (run(of), run(to));
    let outputs = to.spec().outputs().expect("outputs");
    let all = outputs.last().expect("some").range.end;
    let error = |range: &std::ops::Range<usize>| {
        let each = (0..probe.n).map(|i| {
            let numbers = || range.clone().map(|k| i * all + k);
            let off: f64 = numbers().map(|k| f64::from(a[k] - b[k]).powi(2)).sum();
            let size: f64 = numbers().map(|k| f64::from(b[k]).powi(2)).sum();
            (off / size).sqrt()
        });
        each.sum::<f64>() / probe.n as f64
    };
    outputs.iter().map(|o| error(&o.range)).collect()
}

#[test]
fn a_detector_is_pruned_on_plain_pictures_and_goes_out_with_its_heads() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).to_string_lossy().into_owned();
    std::fs::write(
        at("in.onnx"),
        onnx_bytes(&model(without_classes(), 1), Density::FULL).expect("writes"),
    )
    .expect("writes");
    assert_eq!(outputs(&at("in.onnx")), ["boxes", "map"]);
    let whole = read(&at("in.onnx")).model;
    assert!(whole.header.classes.is_empty(), "{:?}", whole.header.classes);
    whole.save(&at("start.safetensors")).expect("saves");
    pictures(&at("pictures"), 240);
    let [start, source] = [text("start.safetensors"), text("pictures")];
    let common = [
        ("start", &*start),
        ("data.source", &*source),
        ("data.valid", "0.2"),
        ("train.batch", "32"),
        ("train.lr", "0.02"),
        ("method.width_multiple", "1"),
    ];
    let own = ("train.teacher", "self");
    let uniform = [
        own,
        ("method.trials", "1"),
        ("method.images", "40"),
        ("method.target", "{ unit = \"macs\", times = 1.5 }"),
        ("method.retrain.epochs", "8"),
    ];
    let rounds = [
        own,
        ("method.search.trials", "6"),
        ("method.images", "40"),
        ("method.target", "{ unit = \"macs\", times = 1.5 }"),
        ("method.round", "1.5"),
        ("method.tolerance", "0.9"),
        ("method.admm.epochs", "1"),
        ("method.retrain.epochs", "4"),
        ("method.purify.retrain.epochs", "4"),
    ];
    for (preset, changes) in [
        ("uniform-fashion", &uniform[..]),
        ("autocompress-macs-fashion", &rounds[..]),
    ] {
        let mut valid = Vec::new();
        let ending = execute(
            &experiment(preset, &[&common[..], changes].concat()),
            &workspace(&at(preset)),
            &Control::default(),
            &mut |said| match &said.event {
                Event::Started { agreement, .. } => assert!(agreement, "accuracies are called agreement"),
                Event::Epoch {
                    split: Split::Valid,
                    top1,
                    ..
                } => valid.push(*top1),
                _ => {}
            },
        )
        .expect("runs");
        assert_eq!(ending.outcome, Outcome::Finished, "{preset}: {ending:?}");
        assert_eq!(valid[0], 1.0, "{preset}: the whole network agrees with itself");
        let small = Checkpoint::load(Path::new(&ending.model.expect("a model"))).expect("loads");
        assert!(3 * macs(&small) <= 2 * macs(&whole), "{preset}: {} MACs", macs(&small));
        let to = at(&format!("{preset}.onnx"));
        let probe = Probe::default_for(&small).expect("images");
        let options = Export {
            to: to.clone(),
            density: None,
            probe,
        };
        let done = export(&small, &options).unwrap_or_else(|e| panic!("{preset}: {e:#}"));
        assert_eq!(done.agreement.top1_agreement, 1.0, "{preset}: {:?}", done.agreement);
        assert_eq!(outputs(&to), ["boxes", "map"]);
        let back = read(&to).model;
        assert_eq!(
            back.spec().outputs().expect("outputs"),
            whole.spec().outputs().expect("outputs")
        );
        let off = errors(&back, &whole);
        assert!(off.iter().all(|e| *e < 0.5), "{preset}: heads are off by {off:?}");
        // What the run says of it is what its heads are off by.
        let last = *valid.last().expect("measured");
        let mean = 1.0 - off.iter().sum::<f64>() / off.len() as f64;
        assert!((f64::from(last) - mean).abs() < 0.1, "{preset}: {last} and {mean}");
    }
    let refuse = |changes: &[(&str, &str)]| {
        let experiment = experiment("uniform-fashion", &[&common[..], changes].concat());
        let ending = execute(
            &experiment,
            &workspace(&at("refused")),
            &Control::default(),
            &mut |_| {},
        )
        .expect("runs");
        assert!(ending.bad_input, "{ending:?}");
        ending.reason.expect("a reason")
    };
    let alone = refuse(&[]);
    assert!(
        alone.contains("gives no class logits, expected train.teacher"),
        "{alone}"
    );
    let other = operators::detector([1, 28, 28]);
    model(other, 2).save(&at("other.safetensors")).expect("saves");
    let other = text("other.safetensors");
    let told = refuse(&[("train.teacher", &other)]);
    assert!(told.contains("train.teacher knows 5 classes, expected 0"), "{told}");
}

#[test]
fn outputs_are_measured_against_another_networks_by_their_relative_error() {
    let (a, b) = (
        model(operators::detector([1, 28, 28]), 1),
        model(operators::detector([1, 28, 28]), 2),
    );
    let mut images = data::open("fashion-mnist", &data::Reading::default(), &mut |_| Ok(()))
        .expect("opens")
        .test;
    let indices: Vec<u32> = (0..20).collect();
    train::ask(&mut images, [&indices, &indices], &b, 1, &|| Ok(())).expect("runs");
    let measure = |of: &Checkpoint| {
        let mut engine = compile(
            of,
            &Options {
                batch: 7,
                ..Options::default()
            },
        )
        .expect("compiles");
        let images = LabeledImages::Stored {
            images: &images,
            indices: &indices,
            normalization: &b.header.normalization,
        };
        evaluate(&mut engine, images, &mut |_| Ok(ControlFlow::Continue(())), &mut |_| {
            Ok(())
        })
        .expect("measures")
    };
    let same = measure(&b);
    assert_eq!(same.top1(), 1.0);
    assert!(same.errors().iter().all(|(_, e)| *e == 0.0), "{:?}", same.errors());
    let other = measure(&a);
    let names: Vec<String> = other.errors().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["boxes", "map", "classes"]);
    assert!(
        other.errors().iter().all(|(_, e)| *e > 0.1) && other.top1() < 0.9,
        "{:?}",
        other.errors()
    );
    // Labels are the teacher's classes, so that logits agree where both name the same.
    assert_eq!(same.right, 20);
}

#[test]
fn a_further_output_that_has_no_place_is_left_out_and_a_first_one_is_refused() {
    let bytes = onnx_bytes(&model(without_classes(), 1), Density::FULL).expect("writes");
    let mut proto = ModelProto::decode(&bytes[..]).expect("decodes");
    let graph = proto.graph.as_mut().expect("a graph");
    let last = graph.node.iter_mut().rfind(|n| n.output == ["map"]).expect("gives it");
    last.op_type = "NonMaxSuppression".into();
    let of = |proto: &ModelProto| {
        formats::onnx_model(
            &proto.encode_to_vec(),
            &Import {
                file: "t.onnx".into(),
                ..Import::default()
            },
        )
    };
    let found = of(&proto).expect("reads");
    assert!(
        found
            .notes
            .iter()
            .any(|n| n.contains("output map is left out") && n.contains("NonMaxSuppression")),
        "{:?}",
        found.notes
    );
    assert_eq!(found.model.spec().outputs().expect("outputs").len(), 1);
    proto.graph.as_mut().expect("a graph").output.reverse();
    let text = format!("{:#}", of(&proto).expect_err("refused"));
    assert!(text.contains("NonMaxSuppression"), "{text}");
}

/// Heads that are joined, turned and squashed behind the join, as detectors of other programs have them.
#[test]
fn joined_heads_come_in_with_what_follows_them() {
    let given = model(operators::single_shot(), 3);
    let bytes = onnx_bytes(&given, Density::FULL).expect("writes");
    let whole = ModelProto::decode(&bytes[..]).expect("decodes");
    let of = |proto: &ModelProto| {
        formats::onnx_model(
            &proto.encode_to_vec(),
            &Import {
                file: "t.onnx".into(),
                ..Import::default()
            },
        )
    };
    // Puts a node behind a join.
    let then = |proto: &mut ModelProto, output: &str, op: &str, attribute: Option<(&str, Vec<i64>)>| {
        let graph = proto.graph.as_mut().expect("a graph");
        let inner = format!("{output}.{}", graph.node.len());
        let last = graph.node.iter_mut().find(|n| n.output == [output]).expect("gives it");
        last.output = vec![inner.clone()];
        graph.node.push(NodeProto {
            op_type: op.into(),
            name: format!("{output}.{op}"),
            input: vec![inner],
            output: vec![output.into()],
            attribute: attribute
                .into_iter()
                .map(|(name, ints)| AttributeProto {
                    name: name.into(),
                    r#type: AttributeType::Ints as i32,
                    ints,
                    ..AttributeProto::default()
                })
                .collect(),
            ..NodeProto::default()
        });
    };
    let mut proto = whole.clone();
    then(&mut proto, "scores", "Sigmoid", None);
    then(&mut proto, "all", "Transpose", Some(("perm", vec![0, 2, 1])));
    then(&mut proto, "all", "Tanh", None);
    let read = of(&proto).unwrap_or_else(|e| panic!("{e:#}")).model;
    let outputs = read.spec().outputs().expect("outputs");
    let shapes: Vec<_> = outputs.iter().map(|o| (&*o.name, &o.shape[..])).collect();
    assert_eq!(
        shapes,
        [("scores", &[78, 3][..]), ("boxes", &[78, 4]), ("all", &[39, 5])]
    );
    let probe = Probe::default_for(&read).expect("images");
    let file = proto.encode_to_vec();
    let agreement = formats::compare(&read, Density::FULL, file, &probe).expect("compares");
    assert!(agreement.holds() && agreement.max_abs_diff < 1e-5, "{agreement:?}");
    let again = onnx_bytes(&read, Density::FULL).expect("writes");
    assert!(
        formats::compare(&read, Density::FULL, again, &probe)
            .expect("compares")
            .holds()
    );
    let refused = |proto: &ModelProto| format!("{:#}", of(proto).expect_err("refused"));
    let mut proto = whole.clone();
    then(&mut proto, "scores", "GlobalAveragePool", None);
    let text = refused(&proto);
    assert!(
        text.contains("scores.GlobalAveragePool (GlobalAveragePool: of joined outputs"),
        "{text}"
    );
    let join = |axis: i64| {
        let mut proto = whole.clone();
        let graph = proto.graph.as_mut().expect("a graph");
        let node = graph
            .node
            .iter_mut()
            .find(|n| n.output == ["scores"])
            .expect("gives it");
        node.attribute[0].i = axis;
        refused(&proto)
    };
    assert!(join(2).contains("expected the same but along axis 2"), "{}", join(2));
    assert!(join(5).contains("along axis 5, expected 1 to 2"), "{}", join(5));
}
