//! A network that came from another program as ONNX, with depthwise and grouped convolutions and ReLU6, goes through every method and
//! goes out again.

use crate::models::{model, percent};
use data::Split;
use event::Outcome;
use formats::onnx_pb::{ModelProto, NodeProto, TensorProto};
use formats::{Export, Import, Probe, export, import, onnx_bytes};
use infer::{Options, compile};
use lab::Workspace;
use lab::execute::execute;
use model::spec::{NetSpec, Node, Pad};
use model::{Checkpoint, Density, Fractions, Op, cost};
use prost::Message;
use record::control::Control;
use record::experiment::Experiment;
use std::path::{Path, PathBuf};
use train::device::DeviceName;

/// A little MobileNet for bundled images, without norms: depthwise and grouped convolutions with strides, ReLU6.
pub(super) fn mobile() -> NetSpec {
    let conv = |filters, kernel, stride, groups| Op::Conv {
        filters,
        kernel,
        stride,
        pad: Pad::all(kernel / 2),
        bias: true,
        groups,
    };
    let classifier = Op::Linear {
        outputs: 10,
        bias: true,
    };
    let ops = [
        ("image", Op::Input),
        ("stem", conv(12, 3, 2, 1)),
        ("stem.relu", Op::Relu6),
        ("depth1", conv(12, 3, 1, 12)),
        ("depth1.relu", Op::Relu6),
        ("point1", conv(16, 1, 1, 1)),
        ("point1.relu", Op::Relu6),
        ("depth2", conv(16, 3, 2, 16)),
        ("depth2.relu", Op::Relu6),
        ("point2", conv(16, 1, 1, 1)),
        ("point2.relu", Op::Relu),
        ("pairs", conv(16, 3, 1, 4)),
        ("pairs.relu", Op::Relu),
        ("point3", conv(24, 1, 1, 1)),
        ("point3.relu", Op::Relu6),
        ("pool", Op::GlobalAvgPool),
        ("flatten", Op::Flatten),
        ("classifier", classifier),
    ];
    let chain = ops.into_iter().enumerate().map(|(i, (name, op))| Node {
        name: name.into(),
        op,
        inputs: i.checked_sub(1).into_iter().collect(),
    });
    NetSpec {
        name: "mobile".into(),
        input: [1, 28, 28],
        nodes: chain.collect(),
    }
}

/// The file with a batch norm behind each convolution, as programs write that do not fold them.
fn with_norms(bytes: &[u8]) -> Vec<u8> {
    let mut proto = ModelProto::decode(bytes).expect("decodes");
    let graph = proto.graph.as_mut().expect("a graph");
    let mut nodes = Vec::new();
    for mut node in std::mem::take(&mut graph.node) {
        if node.op_type != "Conv" {
            nodes.push(node);
            continue;
        }
        let weight = graph.initializer.iter().find(|t| t.name == node.input[1]);
        let filters = weight.expect("a weight").dims[0];
        let output = node.output[0].clone();
        node.output[0] = format!("{output}.raw");
        let mut norm = NodeProto {
            op_type: "BatchNormalization".into(),
            name: format!("{output}.norm"),
            input: vec![node.output[0].clone()],
            output: vec![output.clone()],
            ..NodeProto::default()
        };
        for (what, value) in [("gamma", 1.0f32), ("beta", 0.25), ("mean", 0.0), ("var", 1.0)] {
            let name = format!("{output}.norm.{what}");
            norm.input.push(name.clone());
            graph.initializer.push(TensorProto {
                name,
                dims: vec![filters],
                data_type: 1,
                raw_data: value.to_le_bytes().repeat(filters as usize),
                ..TensorProto::default()
            });
        }
        nodes.extend([node, norm]);
    }
    graph.node = nodes;
    proto.encode_to_vec()
}

/// The stranger's network, read.
fn stranger(dir: &Path, keep_norms: bool) -> Checkpoint {
    let file = dir.join("stranger.onnx");
    let bytes = onnx_bytes(&model(mobile(), 1), Density::FULL).expect("writes");
    std::fs::write(&file, if keep_norms { with_norms(&bytes) } else { bytes }).expect("writes");
    let options = Import {
        file,
        ..Import::default()
    };
    import(&options).unwrap_or_else(|e| panic!("{e:#}")).model
}

fn saved(model: &Checkpoint, dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name).with_extension("safetensors");
    model.save(&path).expect("saves");
    path
}

/// Runs a preset on few images, from `start`.
fn run(preset: &str, start: &Path, changes: &[(&str, &str)], dir: &Path) -> Checkpoint {
    let start = start.to_str().expect("a path");
    let common = [
        ("start", start),
        ("data.limit", "300"),
        ("data.valid", "100"),
        ("train.epochs", "1"),
        ("train.batch", "50"),
    ];
    let all: Vec<(String, String)> = common
        .iter()
        .chain(changes)
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let experiment = Experiment::load(preset, &all).unwrap_or_else(|e| panic!("{preset}: {e:#}"));
    let workspace = Workspace {
        runs: dir.to_path_buf(),
        device: DeviceName::Flex,
        threads: 2,
        farm: None,
    };
    let ending = execute(&experiment, &workspace, &Control::default(), &mut |_| {}).expect("runs");
    assert_eq!(ending.outcome, Outcome::Finished, "{preset}: {ending:?}");
    Checkpoint::load(Path::new(&ending.model.expect("a model"))).expect("loads")
}

/// Exports at a density, reads the file again if it has no gates.
fn goes_out(model: &Checkpoint, density: Option<Density>, dir: &Path) {
    let to = dir.join("out.onnx");
    let options = Export {
        to: to.clone(),
        density,
        probe: Probe::default_for(model).expect("images"),
    };
    let done = export(model, &options).unwrap_or_else(|e| panic!("{e:#}"));
    assert!(done.agreement.holds() && done.agreement.n == 64);
    if !model.is_gated() {
        let options = Import {
            file: to,
            ..Import::default()
        };
        import(&options).unwrap_or_else(|e| panic!("{e:#}"));
    }
}

fn groups(model: &Checkpoint) -> Vec<usize> {
    let of = |op: &Op| {
        if let Op::Conv { groups, .. } = op {
            Some(*groups)
        } else {
            None
        }
    };
    model.spec().nodes.iter().filter_map(|n| of(&n.op)).collect()
}

#[test]
fn every_method_works_on_an_imported_network_which_goes_out_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dir = dir.path();
    let raw = stranger(dir, true);
    assert_eq!(groups(&raw), [1, 12, 1, 16, 1, 4, 1]);
    assert_eq!(raw.stats[&Density::FULL].len(), 7, "a norm for each convolution");
    let tuning = [("data.limit", "2000"), ("train.epochs", "3"), ("train.lr", "0.05")];
    let dense = run("dense-fashion", &saved(&raw, dir, "raw"), &tuning, dir);
    assert_eq!(dense.spec(), raw.spec(), "it is fine-tuned as it is");
    let start = saved(&dense, dir, "dense");
    goes_out(&dense, None, dir);
    let whole = cost::dense(dense.spec()).expect("cost").macs;
    let target = ("method.target", "{ unit = \"macs\", times = 1.5 }");
    let retrain = ("method.retrain", "{ epochs = 1, lr = 0.01 }");
    let few = ("method.images", "60");
    let methods: [(&str, Vec<(&str, &str)>); 7] = [
        ("uniform-fashion", vec![target, retrain, few]),
        ("random-fashion", vec![target, retrain, few, ("method.trials", "4")]),
        ("greedy-fashion", vec![target, retrain, few, ("method.trials", "20")]),
        ("amc-fashion", vec![target, retrain, few, ("method.search.trials", "4")]),
        (
            "slimming-fashion",
            vec![target, retrain, ("method.sparse", "{ epochs = 1, lr = 0.01 }")],
        ),
        (
            "admm-fashion",
            vec![target, retrain, ("method.admm", "{ epochs = 2, every = 1, lr = 0.01 }")],
        ),
        (
            "autocompress-fashion",
            vec![
                target,
                retrain,
                few,
                ("method.tolerance", "1.0"),
                ("method.search.trials", "6"),
                ("method.search.samples", "2"),
                ("method.admm.epochs", "1"),
                ("method.purify.passes", "0"),
            ],
        ),
    ];
    for (preset, changes) in methods {
        let pruned = run(preset, &start, &changes, dir);
        let left = cost::total(pruned.spec(), &pruned.masks, &Fractions::dense(pruned.spec()));
        let left = left.expect("cost").macs;
        assert!(left < whole, "{preset}: {left} of {whole} MACs");
        let [_, first, _, second, _, four, _] = groups(&pruned)[..] else {
            panic!("{preset}: seven convolutions")
        };
        assert_eq!(four, 4, "{preset}: groups stay");
        assert!(first <= 12 && second <= 16, "{preset}: {first}, {second}");
        compile(&pruned, &Options::default()).expect("runs on the engine");
        goes_out(&pruned, None, dir);
    }
    let gates = [
        ("method.kind", "fbs"),
        ("method.grid", "[0.5, 1.0]"),
        ("method.calibration", "100"),
        ("train.lr", "0.001"),
    ];
    let gated = run("smoke", &start, &gates, dir);
    assert_eq!(gated.spec().gates().len(), 7);
    goes_out(&gated, Some(percent(50)), dir);
    let densities = [target, few, ("method.search.trials", "6")];
    let annealed = run("densities-fashion", &saved(&gated, dir, "gated"), &densities, dir);
    assert_eq!(annealed.header.gate_densities.len(), 7);
}

#[test]
fn a_network_whose_norms_were_folded_away_can_be_slimmed_and_gated() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dir = dir.path();
    let raw = stranger(dir, false);
    assert!(raw.stats[&Density::FULL].is_empty(), "no norms");
    let tuning = [("data.limit", "2000"), ("train.epochs", "3"), ("train.lr", "0.02")];
    let dense = run("dense-fashion", &saved(&raw, dir, "raw"), &tuning, dir);
    assert_eq!(dense.spec(), raw.spec());
    let start = saved(&dense, dir, "dense");
    // A rate at which nothing is learned: the gates begin near the function that was.
    let gates = [
        ("method.kind", "fbs"),
        ("method.grid", "[1.0]"),
        ("method.calibration", "256"),
        ("train.lr", "1e-9"),
    ];
    let gated = run("smoke", &start, &gates, dir);
    assert_eq!(gated.spec().gates().len(), 7);
    let top1 = |m: &Checkpoint| {
        let valid = m
            .header
            .metrics
            .iter()
            .filter(|m| m.split == Split::Test && m.density == Density::FULL);
        valid.map(|m| m.top1).next_back().expect("measured")
    };
    // Predictors begin small, not at zero, and seven of them stand in a row.
    assert!(top1(&gated) > 0.15, "{} of {}", top1(&gated), top1(&dense));
    goes_out(&gated, Some(percent(50)), dir);
    let slim = [
        ("method.target", "{ unit = \"macs\", times = 1.5 }"),
        ("method.retrain", "{ epochs = 1, lr = 0.01 }"),
        ("method.sparse", "{ epochs = 1, lr = 0.01 }"),
    ];
    let slim = run("slimming-fashion", &start, &slim, dir);
    let macs = |m: &Checkpoint| cost::dense(m.spec()).expect("cost").macs;
    assert!(macs(&slim) < macs(&dense) * 7 / 10);
    goes_out(&slim, None, dir);
}

#[test]
fn a_model_for_other_images_is_refused_by_every_method_that_trains() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut spec = mobile();
    spec.input = [1, 32, 32];
    let start = saved(&model(spec, 1), dir.path(), "other");
    let workspace = Workspace {
        runs: dir.path().to_path_buf(),
        device: DeviceName::Flex,
        threads: 1,
        farm: None,
    };
    for preset in ["dense-fashion", "smoke", "uniform-fashion"] {
        let all = [
            ("start", start.to_str().expect("a path")),
            ("data.limit", "200"),
            ("data.valid", "100"),
        ];
        let all: Vec<(String, String)> = all.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let experiment = Experiment::load(preset, &all).expect("preset");
        let ending = execute(&experiment, &workspace, &Control::default(), &mut |_| {}).expect("runs");
        assert!(
            ending.outcome == Outcome::Failed && ending.bad_input,
            "{preset}: {ending:?}"
        );
        let reason = ending.reason.expect("a reason");
        assert!(
            reason.contains("the images are [1, 28, 28] of 10"),
            "{preset}: {reason}"
        );
    }
}
