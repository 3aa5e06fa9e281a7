//! Models of bytes in files.

use super::*;
use infer::RangeRule;
use model::Precision;

/// The model that computes in bytes, its ranges from the images that exports are compared on.
fn quantized(model: Checkpoint) -> Checkpoint {
    let probe = Probe::default_for(&model).expect("images");
    infer::quantized(&model, &probe.pixels, RangeRule::DEFAULT, &[]).expect("finite")
}

#[test]
fn bytes_go_out_as_the_standard_says_them_and_come_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("m.onnx");
    for (name, is_gated) in [
        ("m-cifarnet", false),
        ("m-cifarnet", true),
        ("resnet18", false),
        ("vgg16", false),
    ] {
        let spec = small(name);
        let spec = if is_gated {
            zoo::gated(&spec, GateForm::default())
        } else {
            spec
        };
        let model = quantized(model(spec, 1));
        let probe = Probe::default_for(&model).expect("images");
        let density = *model.header.densities.last().expect("some");
        let bytes = onnx_bytes(&model, density).expect("written");
        let proto = ModelProto::decode(&*bytes).expect("ONNX");
        let graph = proto.graph.expect("a graph");
        let count = |op: &str| graph.node.iter().filter(|n| n.op_type == op).count();
        let convs = model.spec().convs().len();
        assert_eq!(
            [count("QuantizeLinear"), count("DequantizeLinear")],
            [convs, 3 * convs],
            "{name}"
        );
        let agreement = compare(&model, density, bytes.clone(), &probe).expect("taken");
        assert!(agreement.holds(), "{name}: {agreement:?}");
        // The same bytes: where both choose the same, both say the same.
        assert!(agreement.top1_agreement > 0.9, "{name}: {agreement:?}");
        std::fs::write(&to, &bytes).expect("written");
        let back = read(&to).model;
        assert_eq!(back.precision(), Precision::Int8);
        assert_eq!(
            back.header.byte_inputs.values().collect::<Vec<_>>(),
            model.header.byte_inputs.values().collect::<Vec<_>>(),
            "{name}"
        );
        let (ours, theirs) = (logits(&model, &probe), logits(&back, &probe));
        let size = ours.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = ours.iter().zip(&theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(off < 0.05 * size, "{name}: {off} of {size}");
    }
}

#[test]
fn damaged_bytes_are_refused_by_name() {
    let model = quantized(model(small("m-cifarnet"), 1));
    let bytes = onnx_bytes(&model, Density::FULL).expect("written");
    let dir = tempfile::tempdir().expect("temp dir");
    let refused = |change: &dyn Fn(&mut GraphProto)| {
        let mut proto = ModelProto::decode(&*bytes).expect("ONNX");
        change(graph(&mut proto));
        let file = save_onnx(dir.path(), &proto);
        let options = Import {
            file,
            ..Import::default()
        };
        let error = import(&options).expect_err("refused");
        format!("{error:#}")
    };
    let named = |g: &mut GraphProto, end: &str, change: &dyn Fn(&mut formats::onnx_pb::TensorProto)| {
        let tensor = g.initializer.iter_mut().find(|t| t.name.ends_with(end)).expect("there");
        change(tensor);
    };
    let text = refused(&|g| named(g, "weight.bytes", &|t| t.raw_data.truncate(3)));
    assert!(text.contains("bytes for shape"), "{text}");
    let text = refused(&|g| {
        named(g, "weight.step", &|t| {
            t.dims = vec![2];
            t.raw_data.truncate(8);
        })
    });
    assert!(text.contains("2 steps for shape"), "{text}");
    let text = refused(&|g| named(g, "input.step", &|t| t.raw_data = f32::NAN.to_le_bytes().to_vec()));
    assert!(text.contains("the step between bytes of"), "{text}");
    let text = refused(&|g| {
        named(g, "input.step", &|t| {
            t.dims = vec![3];
            t.raw_data = [1.0f32; 3].iter().flat_map(|v| v.to_le_bytes()).collect();
        })
    });
    assert!(text.contains("of 3 steps, expected one"), "{text}");
}
