//! Models out to other programs and in again: what is written computes the same in a second runtime, what is read computes what was written.

mod bad_nodes;
mod int8;
mod methods;

use crate::models::operators;
use crate::models::torch::{Dict, pt_bytes, pt_bytes_in, safetensors_bytes, state_dict};
use crate::models::{model, odd, percent};
use data::{batch, bundled};
use disk::{Fault, is_full, plan_faults};
use event::{Dimension, Unit};
use formats::onnx_pb::{DimensionValue, GraphProto, ModelProto, StringStringEntryProto, TypeValue};
use formats::{Agreement, Export, Exported, Import, Imported, Masked, Probe, compare, export, import, onnx_bytes};
use infer::{Options, compile};
use model::checkpoint::Checkpoint;
use model::mask::LayerMask;
use model::spec::{GateForm, NetSpec, Op, Shift};
use model::{Density, Fractions, cost, torchvision, zoo};
use prost::Message;
use prune::{Cut, Scope, Sites, apply, cut};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A network of the zoo for small images, narrow.
fn small(name: &str) -> NetSpec {
    let (input, width) = match name {
        "lenet5" => ([1, 28, 28], 0.3),
        "resnet50" => ([3, 16, 16], 0.1),
        _ => ([3, 16, 16], 0.15),
    };
    zoo::build(name, input, 5, width).expect("builds")
}

fn written(model: &Checkpoint, density: Option<Density>, to: &Path) -> Exported {
    let probe = Probe::default_for(model).expect("images");
    let options = Export {
        to: to.to_path_buf(),
        density,
        probe,
    };
    let what = format!("{} at {density:?} to {}", model.spec().name, to.display());
    let done = export(model, &options).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    assert_eq!(
        (done.agreement.n, done.bytes as u64),
        (64, std::fs::metadata(to).expect("there").len()),
        "{what}"
    );
    assert!(done.agreement.top1_agreement > 0.95, "{what}: {:?}", done.agreement);
    done
}

#[test]
fn every_network_is_the_same_in_the_second_runtime() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("m.onnx");
    for name in zoo::KINDS {
        let Agreement {
            max_abs_diff, largest, ..
        } = written(&model(small(name), 1), None, &to).agreement;
        assert!(max_abs_diff < 1e-5 * largest, "{name}: {max_abs_diff} of {largest}");
    }
    for spec in operators::all().into_iter().chain([odd()]) {
        written(&model(spec, 1), None, &to);
    }
}

#[test]
fn every_gated_network_is_the_same_at_every_density_and_shift() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("m.onnx");
    // rten 0.27 fails on depthwise convolutions of planes one pixel wide that gates have scaled.
    let names = zoo::KINDS.iter().filter(|n| **n != "mobilenetv2");
    for name in names.map(|n| small(n)).chain([odd()]) {
        for form in GateForm::ALL {
            let model = model(zoo::gated(&name, form), 2);
            for p in [100, 50, 20] {
                let done = written(&model, Some(percent(p)), &to);
                assert_eq!(done.agreement.ties, 0, "{} at {p}", name.name);
            }
        }
    }
}

/// Masks a third of the columns of every layer but the first.
fn masked(mut model: Checkpoint) -> Checkpoint {
    for (name, weight) in model
        .weights
        .iter()
        .filter(|(name, _)| name.ends_with(".weight"))
        .skip(1)
    {
        let mask = LayerMask {
            filters: vec![true; weight.shape[0]],
            columns: (0..weight.shape[1..].iter().product())
                .map(|c: usize| !c.is_multiple_of(3))
                .collect(),
            ..LayerMask::default()
        };
        model.masks.insert(name.trim_end_matches(".weight").to_owned(), mask);
    }
    model
}

#[test]
fn masked_weights_are_zeros() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("m.onnx");
    for name in ["lenet5", "m-cifarnet", "resnet18"] {
        let plain = masked(model(small(name), 3));
        let done = written(&plain, None, &to);
        assert_eq!(done.masked, Masked::CutAndZeros);
        assert!(done.macs < done.macs_dense, "{done:?}");
        // What nobody reads any more was cut.
        assert!(done.macs_dense <= cost::dense(plain.spec()).expect("cost").macs);
        let note = format!("{} MACs per image in a runtime that skips nothing", done.macs_dense);
        assert!(done.notes.iter().any(|n| n.contains(&note)), "{:?}", done.notes);
        let gated = masked(model(zoo::gated(&small(name), Shift::Released), 3));
        assert_eq!(written(&gated, Some(percent(40)), &to).masked, Masked::Zeros);
    }
}

/// Masks every third channel, in all layers that give it.
fn without_filters(mut model: Checkpoint) -> Checkpoint {
    let groups = prune::groups(model.spec()).expect("groups");
    for group in groups.list.iter().filter(|g| g.fixed.is_none()) {
        for producer in &group.producers {
            let name = model.spec().nodes[producer.node].name.clone();
            let mut mask = model.mask(&name);
            for filter in (0..group.channels).step_by(3).filter_map(|c| producer.filter(c)) {
                mask.filters[filter] = false;
            }
            model.masks.insert(name, mask);
        }
    }
    model
}

#[test]
fn masked_filters_are_cut_before_a_model_goes_out() {
    let dir = tempfile::tempdir().expect("temp dir");
    for name in ["m.onnx", "m.safetensors", "m.bpk"] {
        let to = dir.path().join(name);
        for spec in ["lenet5", "m-cifarnet", "resnet18"]
            .map(small)
            .into_iter()
            .chain([methods::mobile()])
        {
            let whole = model(spec, 3);
            let full = written(&whole, None, &to);
            assert_eq!((full.masked, full.macs), (Masked::Nothing, full.macs_dense));
            let done = written(&without_filters(whole), None, &to);
            assert_eq!(done.masked, Masked::Cut, "{name}: {:?}", done.notes);
            assert!(done.notes[0].contains("cut out first"), "{:?}", done.notes);
            assert_eq!(done.macs, done.macs_dense);
            assert!(done.params < full.params && done.bytes < full.bytes, "{name}");
        }
    }
}

/// Half of the filters of every group of a network of each kind of operator: cut and masked compute the same, and so does
/// the second runtime.
#[test]
fn every_operator_is_cut_exactly() {
    let dir = tempfile::tempdir().expect("temp dir");
    for spec in operators::all() {
        let whole = model(spec, 5);
        let scope = Scope::new(&[Dimension::Filter], 0.1, Unit::Macs);
        let sites = Sites::new(&whole, &scope).expect("sites");
        let densities = vec![0.5; sites.list.len()];
        let masked = apply(&whole, &sites.masks(&densities, &whole.weights).expect("masks")).expect("applies");
        let Cut {
            checkpoint: small,
            notes,
        } = cut(&masked).expect("cuts");
        same_logits(&masked, &small);
        let name = &small.spec().name;
        let left = cost::total(small.spec(), &small.masks, &Fractions::dense(small.spec())).expect("cost");
        let spent = sites.cost(&densities);
        // What a norm of several densities makes of a dead channel is no one constant: it stays, and was counted.
        assert!(
            left.macs <= spent.macs && left.params <= spent.params,
            "{name}: {left:?} of {spent:?}, {notes:?}"
        );
        assert!(
            !notes.is_empty() || (spent.macs, spent.params) == (left.macs, left.params),
            "{name}: {left:?} of {spent:?}"
        );
        assert!(
            4 * left.params < 3 * sites.whole().params,
            "{name}: {} of {}",
            left.params,
            sites.whole().params
        );
        written(&small, None, &dir.path().join("m.onnx"));
        same_logits(&small, &read(&dir.path().join("m.onnx")).model);
    }
}

#[test]
fn masked_filters_behind_gates_are_zeros() {
    let dir = tempfile::tempdir().expect("temp dir");
    for name in ["m.onnx", "m.safetensors"] {
        for form in GateForm::ALL {
            for spec in [small("m-cifarnet"), methods::mobile()] {
                let gated = without_filters(model(zoo::gated(&spec, form), 3));
                for p in [100, 40] {
                    let done = written(&gated, Some(percent(p)), &dir.path().join(name));
                    assert_eq!(done.masked, Masked::Zeros, "{name}");
                }
            }
        }
    }
}

#[test]
fn masked_single_weights_are_zeros() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut net = model(small("m-cifarnet"), 3);
    let shape = net.weights["conv2.weight"].shape.clone();
    let mut mask = LayerMask::whole(shape[0], shape[1..].iter().product());
    mask.elements = (0..shape.iter().product())
        .map(|i: usize| !i.is_multiple_of(2))
        .collect();
    net.masks.insert("conv2".into(), mask);
    assert_eq!(
        written(&net, None, &dir.path().join("m.onnx")).masked,
        Masked::CutAndZeros
    );
}

#[test]
fn the_other_formats_hold_the_same_model() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gated = masked(model(zoo::gated(&small("m-cifarnet"), Shift::Eq1), 3));
    for name in ["m.safetensors", "m.bpk"] {
        written(&gated, None, &dir.path().join(name));
    }
    // Other readers do not know of masks.
    let mut zeroed = gated.clone();
    prune::zero(&mut zeroed).expect("fits");
    for name in ["m.safetensors", "m.bpk"] {
        assert_eq!(read(&dir.path().join(name)).model, zeroed, "{name}");
    }
    let narrow = dir.path().join("half.safetensors");
    written(&gated, Some(percent(50)), &narrow);
    let half = Checkpoint::load(&narrow).expect("reads");
    assert_eq!(half.header.densities, [percent(50)]);
    assert_eq!(half.stats[&percent(50)], gated.stats_at(percent(50)));
}

#[test]
fn a_file_that_computes_something_else_is_seen() {
    let good = model(small("lenet5"), 1);
    let mut other = good.clone();
    other.weights.get_mut("conv1.weight").expect("there").data[7] += 0.5;
    let probe = Probe::default_for(&good).expect("images");
    let agreement = |m: &Checkpoint| {
        let onnx = onnx_bytes(m, Density::FULL).expect("writes");
        compare(&good, Density::FULL, onnx, &probe).expect("runs")
    };
    assert!(agreement(&good).holds());
    assert!(!agreement(&other).holds(), "{:?}", agreement(&other));
}

#[test]
fn what_cannot_be_exported_leaves_no_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    let plain = model(small("lenet5"), 1);
    let probe = Probe::default_for(&plain).expect("images");
    let cases = [
        ("m.pt", None, "expected a name ending in"),
        ("m.onnx", Some(percent(50)), "a model without gates"),
        ("no/such/folder/m.onnx", None, "cannot write"),
    ];
    for (name, density, expected) in cases {
        let options = Export {
            to: dir.path().join(name),
            density,
            probe: probe.clone(),
        };
        let text = format!("{:#}", export(&plain, &options).expect_err(expected));
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0);
}

#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    let dir = tempfile::tempdir().expect("temp dir");
    let net = model(small("lenet5"), 1);
    for name in ["m.onnx", "m.safetensors", "m.bpk"] {
        let to = dir.path().join(name);
        std::fs::write(&to, b"the old one").expect("writes");
        for fault in [Fault::Full, Fault::Short(1000), Fault::Broken] {
            plan_faults([Some(fault)]);
            let options = Export {
                to: to.clone(),
                density: None,
                probe: Probe::default_for(&net).expect("images"),
            };
            let error = export(&net, &options).expect_err("no room");
            assert_eq!(is_full(&error), fault == Fault::Full, "{error:#}");
            assert_eq!(std::fs::read(&to).expect("there"), b"the old one");
        }
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("folder").count(),
        3,
        "nothing lies beside"
    );
}

#[test]
fn a_smaller_net_makes_a_smaller_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    let bytes = |width| {
        let net = model(zoo::build("m-cifarnet", [3, 16, 16], 5, width).expect("builds"), 1);
        let params = net.weights.values().map(|a| a.data.len()).sum::<usize>();
        (written(&net, None, &dir.path().join("m.onnx")).bytes, params)
    };
    let ((large, many), (small, few)) = (bytes(0.4), bytes(0.2));
    let (shrunk, expected) = (small as f64 / large as f64, few as f64 / many as f64);
    assert!(
        (shrunk - expected).abs() < 0.02,
        "{shrunk} of the bytes for {expected} of the parameters"
    );
}

fn logits(model: &Checkpoint, probe: &Probe) -> Vec<f32> {
    let mut engine = compile(model, &Options::default()).expect("compiles");
    engine.run(&probe.pixels).logits.clone()
}

#[track_caller]
fn same_logits(a: &Checkpoint, b: &Checkpoint) {
    let probe = Probe::default_for(a).expect("images");
    let (x, y) = (logits(a, &probe), logits(b, &probe));
    let size = x.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let off = x.iter().zip(&y).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(
        x.len() == y.len() && off <= 1e-5 * size,
        "{}: off by {off} of {size}",
        a.spec().name
    );
}

fn read(file: &Path) -> Imported {
    import(&Import {
        file: file.to_path_buf(),
        ..Import::default()
    })
    .unwrap_or_else(|e| panic!("{e:#}"))
}

#[test]
fn a_network_comes_back_from_onnx_as_it_went() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("m.onnx");
    for spec in zoo::KINDS.map(small).into_iter().chain(operators::all()).chain([odd()]) {
        let out = model(spec, 4);
        written(&out, None, &to);
        let Imported { model: back, notes } = read(&to);
        assert_eq!(notes, [""; 0], "nothing had to be assumed");
        assert_eq!(
            (&back.header.normalization, &back.header.classes),
            (&out.header.normalization, &out.header.classes)
        );
        assert_eq!(back.spec().name, out.spec().name);
        same_logits(&out, &back);
        // Again, and to our own file.
        written(&back, None, &to);
        same_logits(&out, &read(&to).model);
        let file = dir.path().join("m.safetensors");
        back.save(&file).expect("writes");
        assert_eq!(read(&file).model, back);
    }
}

#[test]
fn a_gated_network_comes_back_gated() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("m.onnx");
    let probe = |m: &Checkpoint| Probe::default_for(m).expect("images");
    let run = |m: &Checkpoint, density: Density| {
        let mut engine = compile(m, &Options::default()).expect("compiles");
        engine.set_density(density);
        engine.run(&probe(m).pixels).logits.clone()
    };
    for name in [small("lenet5"), small("m-cifarnet"), small("resnet18"), odd()] {
        for form in GateForm::ALL {
            let out = model(zoo::gated(&name, form), 2);
            for p in [100, 40] {
                written(&out, Some(percent(p)), &to);
                let back = read(&to).model;
                assert_eq!(back.spec().gates().len(), out.spec().gates().len(), "{}", name.name);
                assert_eq!(back.header.densities, [percent(p)]);
                let (want, got) = (run(&out, percent(p)), run(&back, percent(p)));
                let size = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
                let off = want.iter().zip(&got).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(off <= 1e-4 * size, "{} at {p}: off by {off} of {size}", name.name);
                // And goes out again as it came.
                written(&back, Some(percent(p)), &to);
            }
        }
    }
}

#[test]
fn gates_at_another_density_than_the_file_says_are_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gated = model(zoo::gated(&small("lenet5"), Shift::Eq1), 2);
    let mut proto = ModelProto::decode(&onnx_bytes(&gated, percent(40)).expect("writes")[..]).expect("decodes");
    let density = proto.metadata_props.iter_mut().find(|p| p.key == "density");
    density.expect("a density").value = "0.8".into();
    let file = save_onnx(dir.path(), &proto);
    let options = Import {
        file,
        ..Import::default()
    };
    let text = format!("{:#}", import(&options).expect_err("another density"));
    assert!(
        text.contains("winners of") && text.contains("at the file's density 0.8"),
        "{text}"
    );
}

#[test]
fn an_imported_network_can_be_gated() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("m.onnx");
    written(&model(odd(), 4), None, &to);
    let gated = model(zoo::gated(read(&to).model.spec(), Shift::Eq1), 4);
    written(&gated, Some(percent(50)), &to);
}

fn save_safetensors(dict: &Dict, path: &Path) {
    std::fs::write(path, safetensors_bytes(dict)).expect("writes");
}

fn save_pt(dict: &Dict, extra: &[u8], path: &Path) {
    std::fs::write(path, pt_bytes(dict, extra)).expect("writes");
}

fn torchvision(name: &str) -> String {
    let name = match name {
        "stem" => return "conv1".into(),
        "stem.norm" => return "bn1".into(),
        "classifier" => return "fc".into(),
        _ => name.replace("stage", "layer"),
    };
    let name = name
        .replace("shortcut.norm", "downsample.1")
        .replace("shortcut", "downsample.0");
    match name.strip_suffix(".norm") {
        Some(conv) => conv.replace("conv", "bn"),
        None => name,
    }
}

fn of_arch(file: &Path, arch: &str) -> Import {
    Import {
        file: file.to_path_buf(),
        arch: Some(arch.into()),
        ..Import::default()
    }
}

/// PyTorch's ε, and statistics at density 1 alone.
fn as_trained(spec: NetSpec, seed: u64) -> Checkpoint {
    let mut model = model(spec, seed);
    for node in &mut model.header.spec.nodes {
        if let Op::Norm { eps, .. } = &mut node.op {
            *eps = 1e-5;
        }
    }
    model.header.densities = vec![Density::FULL];
    model.stats.retain(|d, _| *d == Density::FULL);
    model
}

#[test]
fn state_dicts_are_read_under_our_names_and_torchvisions() {
    let dir = tempfile::tempdir().expect("temp dir");
    let [pt, safetensors] = ["m.pt", "m.safetensors"].map(|n| dir.path().join(n));
    for name in zoo::NAMES {
        let input = if name == "lenet5" { [1, 28, 28] } else { [3, 32, 32] };
        let trained = as_trained(zoo::build(name, input, 5, 0.1).expect("builds"), 5);
        let rename = |n: &str| {
            if name.starts_with("resnet") {
                torchvision(n)
            } else {
                n.to_owned()
            }
        };
        let dict = state_dict(&trained, rename);
        save_safetensors(&dict, &safetensors);
        save_pt(&dict, b"", &pt);
        for file in [&safetensors, &pt] {
            let got = import(&Import {
                classes: Some(5),
                input: Some(input),
                ..of_arch(file, name)
            })
            .unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert_eq!(got.model.spec(), trained.spec(), "{name}");
            assert_eq!(
                (&got.model.weights, &got.model.stats),
                (&trained.weights, &trained.stats),
                "{name}"
            );
            assert_eq!(got.notes.len(), 2, "class names and normalization are assumed");
        }
    }
}

#[test]
fn wrappers_around_a_state_dict_are_taken_off() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.pth");
    let trained = as_trained(zoo::build("lenet5", [1, 28, 28], 5, 0.1).expect("builds"), 5);
    let mut dict: Dict = state_dict(&trained, |n| format!("state_dict.module.{n}"));
    dict.insert("optimizer.state.0".into(), (vec![1], vec![0.5]));
    save_pt(&dict, b"", &file);
    assert_eq!(
        import(&of_arch(&file, "lenet5")).expect("reads").model.weights,
        trained.weights
    );
}

#[test]
fn the_first_layer_for_large_images_and_a_bias_before_a_norm_are_seen() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.safetensors");
    let trained = as_trained(zoo::build("resnet18", [3, 64, 64], 5, 0.1).expect("builds"), 5);
    let mut dict = state_dict(&trained, torchvision);
    dict.insert("conv1.weight".into(), (vec![6, 3, 7, 7], vec![0.01; 6 * 3 * 49]));
    dict.insert("layer1.0.conv1.bias".into(), (vec![6], vec![0.25; 6]));
    save_safetensors(&dict, &file);
    let got = import(&of_arch(&file, "resnet18")).expect("reads").model;
    assert_eq!(got.spec().input, [3, 224, 224]);
    let shapes = got.spec().shapes().expect("shapes");
    let at = |name: &str| shapes[got.spec().find(name).expect("there")];
    assert_eq!(
        [at("stem"), at("stem.pool"), at("stage4.1.relu")],
        [[6, 112, 112], [6, 56, 56], [51, 7, 7]]
    );
    let mean = |m: &Checkpoint| m.stats[&Density::FULL]["stage1.0.conv1.norm"].mean[2];
    assert_eq!(mean(&got), mean(&trained) - 0.25);
    let small = import(&Import {
        input: Some([3, 64, 64]),
        ..of_arch(&file, "resnet18")
    })
    .expect("reads");
    assert_eq!(small.model.spec().input, [3, 64, 64]);
}

#[test]
fn torchvisions_vgg_has_three_linear_layers() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.safetensors");
    let plain = as_trained(zoo::build("vgg16", [3, 32, 32], 5, 1.0 / 32.0).expect("builds"), 5);
    let nodes = plain.spec().nodes[1..].iter().enumerate();
    let places: BTreeMap<String, String> = nodes.map(|(i, n)| (n.name.clone(), format!("features.{i}"))).collect();
    let mut dict = state_dict(&plain, |n| places.get(n).cloned().unwrap_or_else(|| n.to_owned()));
    dict.retain(|name, _| name.starts_with("features.") && !name.starts_with(&places["classifier"]));
    for (place, [outputs, inputs]) in [("0", [8, 16 * 49]), ("3", [8, 8]), ("6", [5, 8])] {
        dict.insert(
            format!("classifier.{place}.weight"),
            (vec![outputs, inputs], vec![0.1; outputs * inputs]),
        );
        dict.insert(format!("classifier.{place}.bias"), (vec![outputs], vec![0.0; outputs]));
    }
    save_safetensors(&dict, &file);
    let got = import(&of_arch(&file, "vgg16"))
        .unwrap_or_else(|e| panic!("{e:#}"))
        .model;
    assert_eq!((got.spec().input, got.header.classes.len()), ([3, 224, 224], 5));
    let linear: Vec<&str> = got
        .spec()
        .nodes
        .iter()
        .filter(|n| n.op.kind() == "linear")
        .map(|n| n.name.as_str())
        .collect();
    assert_eq!(linear, ["hidden0", "hidden1", "classifier"]);
    assert_eq!(got.weights["conv5_3.weight"], plain.weights["conv5_3.weight"]);
}

#[test]
fn a_vgg_without_norms_and_the_names_of_others_are_known() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.safetensors");
    for name in ["vgg11", "vgg16"] {
        let mut spec = zoo::build(name, [3, 32, 32], 5, 1.0 / 32.0).expect("builds");
        zoo::without_norms(&mut spec);
        let plain = as_trained(spec, 5);
        let nodes = plain.spec().nodes[1..].iter().enumerate();
        let places: BTreeMap<String, String> = nodes.map(|(i, n)| (n.name.clone(), format!("features.{i}"))).collect();
        let rename = |n: &str| {
            if n == "classifier" {
                n.to_owned()
            } else {
                places[n].clone()
            }
        };
        save_safetensors(&state_dict(&plain, rename), &file);
        let got = import(&of_arch(&file, name)).unwrap_or_else(|e| panic!("{e:#}")).model;
        assert_eq!((got.spec(), &got.weights), (plain.spec(), &plain.weights));
        let text = format!("{:#}", import(&of_arch(&file, "vgg19")).expect_err("another depth"));
        assert!(text.contains("is missing") && !text.contains('\n'), "{text}");
    }
    for (theirs, ours) in [("vgg13_bn", "vgg13"), ("mobilenet_v2", "mobilenetv2")] {
        let trained = as_trained(zoo::build(ours, [3, 32, 32], 5, 0.1).expect("builds"), 5);
        save_safetensors(&state_dict(&trained, str::to_owned), &file);
        let options = Import {
            input: Some([3, 32, 32]),
            ..of_arch(&file, theirs)
        };
        let got = import(&options).unwrap_or_else(|e| panic!("{e:#}")).model;
        assert_eq!((&*got.spec().name, &got.weights), (ours, &trained.weights));
    }
}

/// One of each kind; their sizes, and what PyTorch computes with them, are compared elsewhere.
#[test]
fn torchvisions_networks_come_in_by_their_own_names() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.safetensors");
    for name in ["squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v3_small"] {
        let spec = torchvision::build(name, [3, 64, 64], 5).expect("builds");
        let trained = as_trained(spec.clone(), 5);
        save_safetensors(&state_dict(&trained, str::to_owned), &file);
        let options = Import {
            input: Some([3, 64, 64]),
            ..of_arch(&file, name)
        };
        let got = import(&options).unwrap_or_else(|e| panic!("{e:#}")).model;
        assert_eq!((got.spec(), &got.weights), (&spec, &trained.weights));
        let other = format!(
            "{:#}",
            import(&of_arch(&file, "mnasnet1_0")).expect_err("another network")
        );
        assert!(other.contains("no tensor layers.0.weight: not a mnasnet1_0"), "{other}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_state_dict_is_said_at_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.safetensors");
    let trained = as_trained(zoo::build("lenet5", [1, 28, 28], 5, 0.1).expect("builds"), 5);
    let good = state_dict(&trained, str::to_owned);
    let mut bad = good.clone();
    bad.remove("conv1.bias");
    bad.insert("hidden.bias".into(), (vec![3], vec![0.0; 3]));
    bad.insert("stray".into(), (vec![1], vec![0.0]));
    save_safetensors(&bad, &file);
    let text = format!("{:#}", import(&of_arch(&file, "lenet5")).expect_err("wrong"));
    for part in [
        "conv1.bias is missing",
        "hidden.bias has shape [3], expected [50]",
        "stray is not part of lenet5",
    ] {
        assert!(text.contains(part) && !text.contains('\n'), "{text}");
    }
    save_safetensors(&good, &file);
    let cases = [
        (
            Import {
                classes: Some(7),
                ..of_arch(&file, "lenet5")
            },
            "for 5 classes, asked for 7",
        ),
        (of_arch(&file, "resnet18"), "not the weights of a resnet18? "),
        (
            of_arch(&file, "vgg16"),
            "no tensor features.0.weight or conv1_1.weight: not a vgg16",
        ),
        (of_arch(&file, "alexnet"), "unknown network alexnet"),
        (
            Import {
                arch: None,
                ..of_arch(&file, "")
            },
            "name it with --arch",
        ),
        (
            Import {
                input: Some([3, 28, 28]),
                ..of_arch(&file, "lenet5")
            },
            "reads 1 channels",
        ),
        (of_arch(&dir.path().join("gone.pt"), "lenet5"), "no such file"),
        (of_arch(Path::new(file!()), "lenet5"), "expected a name ending in"),
    ];
    for (options, expected) in cases {
        let text = format!("{:#}", import(&options).expect_err(expected));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn damaged_state_dicts_and_pickled_code_are_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.pt");
    let trained = as_trained(zoo::build("lenet5", [1, 28, 28], 5, 0.1).expect("builds"), 5);
    let dict = state_dict(&trained, str::to_owned);
    let touched = dir.path().join("touched");
    let command = format!("touch {}", touched.display());
    let evil = [
        b"X\x01\x00\x00\x00xcposix\nsystem\n(X",
        &(command.len() as u32).to_le_bytes()[..],
        command.as_bytes(),
        b"tR",
    ]
    .concat();
    save_pt(&dict, &evil, &file);
    let text = format!("{:#}", import(&of_arch(&file, "lenet5")).expect_err("code"));
    assert!(text.contains("pickled code (posix.system), which is not run"), "{text}");
    assert!(!touched.exists());
    save_pt(&dict, b"X\x01\x00\x00\x00xc__main__\nNet\n)\x81}b", &file);
    let text = format!("{:#}", import(&of_arch(&file, "lenet5")).expect_err("code"));
    assert!(text.contains("__main__.Net"), "{text}");
    save_pt(&dict, b"", &file);
    let whole = std::fs::read(&file).expect("reads");
    for keep in [0, 3, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..keep]).expect("writes");
        assert!(import(&of_arch(&file, "lenet5")).is_err(), "{keep} bytes");
    }
}

#[test]
fn numbers_in_the_other_byte_order_are_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let trained = as_trained(zoo::build("lenet5", [1, 28, 28], 5, 0.1).expect("builds"), 5);
    let dict = state_dict(&trained, str::to_owned);
    let refused = |name: &str, bytes: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).expect("writes");
        format!("{:#}", import(&of_arch(&file, "lenet5")).expect_err(name))
    };
    let text = refused("m.pt", &pt_bytes_in(b"big", &dict, b""));
    assert!(text.contains("in \"big\" byte order, expected little"), "{text}");
    // The length of a safetensors header the wrong way round.
    for mut bytes in [safetensors_bytes(&dict), trained.to_bytes().expect("writes")] {
        bytes[..8].reverse();
        let text = refused("m.safetensors", &bytes);
        assert!(text.contains("not a safetensors file"), "{text}");
    }
}

#[test]
fn our_own_files_cut_short_are_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    for name in ["m.safetensors", "m.bpk"] {
        let file = dir.path().join(name);
        written(&model(small("lenet5"), 1), None, &file);
        let whole = std::fs::read(&file).expect("reads");
        for keep in [0, 7, 200, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&file, &whole[..keep]).expect("writes");
            let options = of_arch(&file, "lenet5");
            let text = format!("{:#}", import(&options).expect_err("cut short"));
            assert!(text.contains(name) && !text.contains('\n'), "{keep} bytes: {text}");
        }
    }
}

fn onnx(spec: NetSpec) -> ModelProto {
    let bytes = onnx_bytes(&model(spec, 6), Density::FULL).expect("writes");
    ModelProto::decode(&bytes[..]).expect("decodes")
}

fn graph(proto: &mut ModelProto) -> &mut GraphProto {
    proto.graph.as_mut().expect("a graph")
}

fn save_onnx(dir: &Path, proto: &ModelProto) -> PathBuf {
    let file = dir.join("m.onnx");
    std::fs::write(&file, proto.encode_to_vec()).expect("writes");
    file
}

#[test]
fn all_that_an_onnx_file_asks_for_in_vain_is_listed_at_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut proto = onnx(odd());
    for node in &mut graph(&mut proto).node {
        match node.output[0].as_str() {
            "depth.relu" => node.op_type = "Atan".into(),
            "hidden.relu" => node.op_type = "Cosh".into(),
            "max" => node.attribute.retain(|a| a.name != "kernel_shape"),
            _ => {}
        }
    }
    let file = save_onnx(dir.path(), &proto);
    let text = format!(
        "{:#}",
        import(&Import {
            file,
            ..Import::default()
        })
        .expect_err("unsupported")
    );
    for part in ["depth.relu (Atan: not supported)", "hidden.relu (Cosh: not supported)"] {
        assert!(text.contains(part) && !text.contains('\n'), "{text}");
    }
    // What only reads something unsupported is not blamed.
    assert!(!text.contains("pairs") && !text.contains("logits ("), "{text}");
    assert!(!text.contains("kernel_shape"), "{text}");
    // Where the file says what shape an unsupported value has, what lies behind it is looked at, too.
    let mut value = graph(&mut proto).input[0].clone();
    value.name = "depth.relu".into();
    let Some(TypeValue::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        panic!("a tensor")
    };
    for (dim, size) in tensor.shape.as_mut().expect("a shape").dim[1..]
        .iter_mut()
        .zip([8, 6, 8])
    {
        dim.value = Some(DimensionValue::DimValue(size));
    }
    graph(&mut proto).value_info = vec![value];
    let file = save_onnx(dir.path(), &proto);
    let options = Import {
        file,
        ..Import::default()
    };
    let text = format!("{:#}", import(&options).expect_err("unsupported"));
    for part in [
        "depth.relu (Atan",
        "max (MaxPool: without kernel_shape)",
        "hidden.relu (Cosh",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_open_image_size_is_asked_for() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut proto = onnx(small("resnet18"));
    let image = graph(&mut proto).input[0]
        .r#type
        .as_mut()
        .and_then(|t| t.value.as_mut());
    let Some(TypeValue::TensorType(tensor)) = image else {
        panic!("a tensor")
    };
    for dim in &mut tensor.shape.as_mut().expect("a shape").dim[2..] {
        dim.value = Some(DimensionValue::DimParam("size".into()));
    }
    let file = save_onnx(dir.path(), &proto);
    let open = Import {
        file,
        ..Import::default()
    };
    let text = format!("{:#}", import(&open).expect_err("open"));
    assert!(
        text.contains("leaves its size open (3×?×?); give it with --input"),
        "{text}"
    );
    let got = import(&Import {
        input: Some([3, 16, 16]),
        ..open.clone()
    })
    .expect("reads");
    assert_eq!(got.model.spec().input, [3, 16, 16]);
    let text = format!(
        "{:#}",
        import(&Import {
            input: Some([1, 16, 16]),
            ..open
        })
        .expect_err("gray")
    );
    assert!(text.contains("takes 3×?×?"), "{text}");
}

#[test]
fn broken_onnx_files_are_one_clear_line_each() {
    let dir = tempfile::tempdir().expect("temp dir");
    let good = onnx(small("lenet5"));
    let change = |with: &dyn Fn(&mut ModelProto)| {
        let mut proto = good.clone();
        with(&mut proto);
        proto.encode_to_vec()
    };
    let bytes = good.encode_to_vec();
    let external = |m: &mut ModelProto| {
        let tensor = &mut graph(m).initializer[0];
        tensor.data_location = Some(1);
        tensor.external_data = vec![StringStringEntryProto {
            key: "location".into(),
            value: "weights.bin".into(),
        }];
    };
    let cases: [(Vec<u8>, &str); 10] = [
        (bytes[..bytes.len() / 2].to_vec(), "not an ONNX file, or cut short"),
        (b"hello".to_vec(), "not an ONNX file"),
        (vec![], "it holds no graph"),
        (change(&|m| m.opset_import[0].version = 3), "operator set 3, expected 7"),
        (change(&|m| graph(m).node[1].input[0] = "pool1".into()), "a cycle: node"),
        (
            change(&|m| graph(m).node[1].input[0] = "gone".into()),
            "reads gone, which nothing gives",
        ),
        (
            change(&|m| graph(m).initializer[0].raw_data.truncate(8)),
            "8 bytes for shape",
        ),
        (
            change(&|m| graph(m).initializer[0].dims = vec![1 << 40, 1 << 40]),
            "too large",
        ),
        (change(&external), "weights.bin is missing"),
        (
            change(&|m| {
                let twin = graph(m).input[0].clone();
                graph(m).input.push(twin)
            }),
            "2 inputs",
        ),
    ];
    for (bytes, expected) in cases {
        let file = dir.path().join("bad.onnx");
        std::fs::write(&file, bytes).expect("writes");
        let text = format!(
            "{:#}",
            import(&Import {
                file,
                ..Import::default()
            })
            .expect_err(expected)
        );
        assert!(text.contains(expected) && !text.contains('\n'), "{text}");
    }
}

/// Which channels of each image a gate of an exported file lets through.
fn chosen(file: &[u8], gates: &[String], images: &[f32], shape: [usize; 4]) -> Vec<Vec<Vec<u32>>> {
    use rten::{Model, Value, ValueView};
    let model = Model::load(file.to_vec()).expect("loads");
    let id = |name: &str| model.node_id(name).expect(name);
    let outputs: Vec<_> = gates.iter().map(|g| id(&format!("{g}.pi"))).collect();
    let input = ValueView::from_shape(shape, images).expect("fits");
    let rows = |value: Value| -> Vec<Vec<u32>> {
        let ([_, channels], numbers) = value.into_shape_vec::<f32, 2>().expect("floats");
        let active = |row: &[f32]| (0..row.len() as u32).filter(|&c| row[c as usize] > 0.0).collect();
        numbers.chunks_exact(channels).map(active).collect()
    };
    let values = model.run(vec![(id("image"), input.into())], &outputs, None);
    values.expect("runs").into_iter().map(rows).collect()
}

#[test]
fn the_bundled_model_chooses_the_same_channels_on_a_thousand_images() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/fbs-fashion.safetensors");
    let model = Checkpoint::load(&file).expect("reads");
    let test = bundled::test().expect("images");
    let gates: Vec<String> = model
        .spec()
        .gates()
        .iter()
        .map(|&g| model.spec().nodes[g].name.clone())
        .collect();
    let mut engine = compile(
        &model,
        &Options {
            batch: 100,
            threads: 2,
            ..Options::default()
        },
    )
    .expect("compiles");
    for p in [50, 20] {
        engine.set_density(percent(p));
        let onnx = onnx_bytes(&model, percent(p)).expect("writes");
        for first in (0..1000).step_by(100) {
            let indices: Vec<u32> = (first..first + 100).collect();
            let mut pixels = Vec::new();
            batch::fill(&test, &indices, None, &model.header.normalization, &mut pixels);
            let theirs = chosen(&onnx, &gates, &pixels, [100, 1, 28, 28]);
            let ours = engine.run(&pixels);
            for (gate, theirs) in ours.gates.iter().zip(&theirs) {
                for (i, theirs) in theirs.iter().enumerate() {
                    assert_eq!(gate.active.image(i), theirs, "density {p}, image {}", first + i as u32);
                }
            }
        }
    }
}

#[test]
fn a_model_that_diverged_neither_goes_out_nor_comes_in() {
    let dir = tempfile::tempdir().expect("temp dir");
    let good = model(odd(), 3);
    let probe = Probe::default_for(&good).expect("images");
    let mut weights = good.clone();
    weights.weights.get_mut("depth.weight").expect("a weight").data[4] = f32::NAN;
    let mut variance = good.clone();
    let stats = variance.stats.get_mut(&Density::FULL).expect("statistics");
    stats.get_mut("sum.norm").expect("a norm").var[1] = -0.5;
    for (bad, expected) in [
        (weights, "depth.weight[4] is NaN"),
        (variance, "sum.norm.var has a variance of -0.5"),
    ] {
        for name in ["m.onnx", "m.safetensors", "m.bpk"] {
            let to = dir.path().join(name);
            let options = Export {
                to: to.clone(),
                density: None,
                probe: probe.clone(),
            };
            let text = format!("{:#}", export(&bad, &options).expect_err("refused"));
            assert!(text.contains(expected) && !to.exists(), "{text}");
        }
        let file = dir.path().join("in.onnx");
        std::fs::write(&file, onnx_bytes(&bad, Density::FULL).expect("writes")).expect("writes");
        let options = Import {
            file,
            ..Import::default()
        };
        import(&options).expect_err("refused");
    }
    // Pruned or gated: what is masked is no excuse.
    let small = zoo::build("lenet5", [1, 16, 16], 2, 0.1).expect("builds");
    for (spec, masked) in [(small.clone(), true), (zoo::gated(&small, Shift::Eq1), false)] {
        let mut bad = model(spec, 3);
        if masked {
            bad.masks = ::model::random_masks(bad.spec(), [0.5, 0.5], 3).expect("masks");
        }
        for array in bad.weights.values_mut() {
            array.data.fill(f32::NAN);
        }
        let to = dir.path().join("none.onnx");
        let options = Export {
            to: to.clone(),
            density: None,
            probe: Probe::default_for(&bad).expect("images"),
        };
        let text = format!("{:#}", export(&bad, &options).expect_err("refused"));
        assert!(text.contains("is NaN") && !to.exists(), "{text}");
    }
    let no_number = Agreement {
        n: 1,
        max_abs_diff: 0.0,
        top1_agreement: 1.0,
        ties: 0,
        largest: f32::INFINITY,
        tolerance: 1e-3,
    };
    assert!(!no_number.holds());
}

#[test]
fn a_network_too_large_for_memory_is_refused_before_anything_is_built() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut proto = onnx(odd());
    let Some(TypeValue::TensorType(tensor)) = graph(&mut proto).input[0]
        .r#type
        .as_mut()
        .and_then(|t| t.value.as_mut())
    else {
        panic!("the image is a tensor")
    };
    for dim in &mut tensor.shape.as_mut().expect("a shape").dim[2..] {
        dim.value = Some(DimensionValue::DimValue(16_384));
    }
    let file = save_onnx(dir.path(), &proto);
    let options = Import {
        file,
        ..Import::default()
    };
    let text = format!("{:#}", import(&options).expect_err("too large"));
    assert!(text.contains("would have shape") && !text.contains('\n'), "{text}");
    let text = zoo::build("vgg16", [3, 4096, 4096], 10, 1.0).expect_err("too large");
    assert!(
        text.to_string()
            .contains("node conv1_1 would have shape [64, 4096, 4096]"),
        "{text}"
    );
    let text = zoo::build("vgg16", [3, 1024, 1024], 10, 1.0).expect_err("too large");
    assert!(text.to_string().contains("268435456 (1 GiB) are possible"), "{text}");
}

#[test]
fn a_graph_of_thirty_thousand_nodes_is_read_and_planned_in_seconds() {
    let begin = std::time::Instant::now();
    let relu = |i: usize| model::spec::Node {
        name: format!("relu{i}"),
        op: Op::Relu,
        inputs: vec![i],
    };
    let head = |name: &str, op: Op, from: usize| model::spec::Node {
        name: name.into(),
        op,
        inputs: vec![from],
    };
    let mut nodes = vec![model::spec::Node {
        name: "image".into(),
        op: Op::Input,
        inputs: vec![],
    }];
    nodes.extend((0..30_000).map(relu));
    nodes.push(head("flatten", Op::Flatten, 30_000));
    nodes.push(head("fc", Op::Linear { outputs: 2, bias: true }, 30_001));
    let spec = NetSpec {
        name: "long".into(),
        input: [1, 2, 2],
        nodes,
    };
    let bytes = onnx_bytes(&model(spec, 1), Density::FULL).expect("writes");
    let options = Import::default();
    let read = formats::onnx_model(&bytes, &options).expect("reads").model;
    assert_eq!(read.spec().nodes.len(), 30_003);
    cost::dense(read.spec()).expect("counts");
    compile(&read, &Options::default()).expect("plans");
    let took = begin.elapsed();
    assert!(took.as_secs() < 20, "{took:?}");
}
