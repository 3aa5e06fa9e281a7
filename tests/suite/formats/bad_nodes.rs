//! Nodes of foreign networks whose attributes make no sense: one line each, with the node, what it says and what was expected.

use crate::models::{model, operators};
use formats::onnx_pb::{AttributeProto, AttributeType, DimensionValue, ModelProto, NodeProto, TensorProto, TypeValue};
use formats::{Import, import, onnx_bytes};
use model::Density;
use prost::Message;
use std::path::Path;

/// A constant that a node reads.
enum Given<'a> {
    Image,
    Floats(&'a [i64]),
    Ints(&'a [i64]),
    None,
}

fn attribute(name: &str, values: &[i64]) -> AttributeProto {
    let is_one = !matches!(
        name,
        "perm" | "kernel_shape" | "pads" | "strides" | "dilations" | "split" | "axes"
    );
    AttributeProto {
        name: name.into(),
        r#type: if is_one {
            AttributeType::Int as i32
        } else {
            AttributeType::Ints as i32
        },
        i: values[0],
        ints: if is_one { vec![] } else { values.to_vec() },
        ..AttributeProto::default()
    }
}

/// A file of one node that reads an image of 3×12×10, and what its output needs to be one.
fn file(dir: &Path, op: &str, inputs: &[Given], attributes: &[(&str, &[i64])], outputs: usize) -> std::path::PathBuf {
    let bytes = onnx_bytes(&model(operators::grouped(), 1), Density::FULL).expect("writes");
    let mut proto = ModelProto::decode(&bytes[..]).expect("decodes");
    let graph = proto.graph.as_mut().expect("a graph");
    graph.initializer.clear();
    let mut node = NodeProto {
        op_type: op.into(),
        name: "bad".into(),
        output: (0..outputs).map(|k| format!("bad{k}")).collect(),
        attribute: attributes
            .iter()
            .map(|(name, values)| attribute(name, values))
            .collect(),
        ..NodeProto::default()
    };
    for (k, given) in inputs.iter().enumerate() {
        let name = format!("given{k}");
        let mut put = |data_type: i32, dims: Vec<i64>, raw_data: Vec<u8>| {
            graph.initializer.push(TensorProto {
                name: name.clone(),
                dims,
                data_type,
                raw_data,
                ..TensorProto::default()
            });
            name.clone()
        };
        node.input.push(match given {
            Given::Image => "image".into(),
            Given::None => String::new(),
            // Ones of these sizes.
            Given::Floats(dims) => {
                let n = dims.iter().product::<i64>() as usize;
                put(1, dims.to_vec(), 1.0f32.to_le_bytes().repeat(n))
            }
            Given::Ints(numbers) => {
                let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
                put(7, vec![numbers.len() as i64], bytes)
            }
        });
    }
    let flat = NodeProto {
        op_type: "Flatten".into(),
        name: "flat".into(),
        input: vec!["bad0".into()],
        output: vec![graph.output[0].name.clone()],
        ..NodeProto::default()
    };
    graph.node = vec![node, flat];
    let path = dir.join("bad.onnx");
    std::fs::write(&path, proto.encode_to_vec()).expect("writes");
    path
}

#[test]
fn attributes_that_make_no_sense_are_one_clear_line_each() {
    use Given::{Floats, Image, Ints, None};
    let dir = tempfile::tempdir().expect("temp dir");
    type Case<'a> = (&'a str, &'a [Given<'a>], &'a [(&'a str, &'a [i64])], usize, &'a str);
    let cases: [Case; 34] = [
        // Ranks.
        (
            "Conv",
            &[Image, Floats(&[4, 3, 3])],
            &[],
            1,
            "a weight of 3 axes, expected 4",
        ),
        (
            "Conv",
            &[Image, Floats(&[4, 5, 3, 3])],
            &[],
            1,
            "a weight for 5×1 channels, the input has 3",
        ),
        (
            "Conv",
            &[Image, Floats(&[4, 3, 3, 3]), Floats(&[5])],
            &[],
            1,
            "a bias that is not one number a filter",
        ),
        (
            "Conv",
            &[Image, Floats(&[4, 3, 3, 3])],
            &[("pads", &[1, 1])],
            1,
            "pads [1, 1]",
        ),
        (
            "Conv",
            &[Image, Floats(&[4, 3, 3, 3])],
            &[("strides", &[1])],
            1,
            "strides [1]",
        ),
        (
            "Conv",
            &[Image, Floats(&[4, 3, 3, 3])],
            &[("group", &[0])],
            1,
            "0 groups",
        ),
        (
            "Conv",
            &[Image, Floats(&[4, 1, 3, 3])],
            &[("group", &[2])],
            1,
            "1×2 channels, the input has 3",
        ),
        ("Gemm", &[Image, Floats(&[5, 3])], &[], 1, "planes"),
        (
            "BatchNormalization",
            &[Image, Floats(&[2]), Floats(&[3]), Floats(&[3]), Floats(&[3])],
            &[],
            1,
            "[2]",
        ),
        ("Resize", &[Image, None, Floats(&[3])], &[], 1, "scale"),
        ("Pad", &[Image, Ints(&[1, 1, 1])], &[], 1, "other axes"),
        ("Reshape", &[Image, Ints(&[0, 7, 7])], &[], 1, "to [0, 7, 7]"),
        ("Reshape", &[Image, Ints(&[-1, -1])], &[], 1, "to [-1, -1]"),
        ("MaxPool", &[Image], &[("kernel_shape", &[2])], 1, "kernel_shape [2]"),
        (
            "LayerNormalization",
            &[Image, Floats(&[2])],
            &[("axis", &[1])],
            1,
            "expected channels last",
        ),
        ("PRelu", &[Image, Floats(&[4, 1, 1])], &[], 1, "[4, 1, 1]"),
        ("Mul", &[Image, Floats(&[4, 1, 1])], &[], 1, "[4, 1, 1]"),
        // Axes.
        ("Transpose", &[Image], &[("perm", &[0, 2, 3, 9])], 1, "[0, 2, 3, 9]"),
        ("Transpose", &[Image], &[("perm", &[0, 2, 2, 1])], 1, "[0, 2, 2, 1]"),
        ("Flatten", &[Image], &[("axis", &[5])], 1, "axis 5"),
        ("ReduceMean", &[Image], &[("axes", &[7])], 1, "axes [7]"),
        ("Slice", &[Image, Ints(&[0]), Ints(&[2]), Ints(&[8])], &[], 1, "axis 8"),
        (
            "Slice",
            &[Image, Ints(&[0]), Ints(&[2]), Ints(&[1, 2])],
            &[],
            1,
            "2 axes",
        ),
        (
            "Slice",
            &[Image, Ints(&[9]), Ints(&[12]), Ints(&[1])],
            &[],
            1,
            "of channels 9 to 12 of 3",
        ),
        ("Gather", &[Image, Ints(&[4])], &[("axis", &[1])], 1, "channel 4 of 3"),
        ("Squeeze", &[Image, Ints(&[6])], &[], 1, "axes [6]"),
        // Joins and parts.
        (
            "Concat",
            &[Image, Image],
            &[("axis", &[2])],
            1,
            "along axis 2, expected the channels'",
        ),
        (
            "Concat",
            &[Image, Image],
            &[("axis", &[-9])],
            1,
            "along axis -9, expected the channels'",
        ),
        (
            "Split",
            &[Image, Ints(&[1, 1])],
            &[("axis", &[1])],
            2,
            "into 2 parts of [1, 1], the input has 3 channels",
        ),
        (
            "Split",
            &[Image, Ints(&[4, -1])],
            &[("axis", &[1])],
            2,
            "into 2 parts of [4, -1], the input has 3 channels",
        ),
        (
            "Split",
            &[Image, Ints(&[1, 2])],
            &[("axis", &[3])],
            2,
            "along axis 3, expected the channels'",
        ),
        // What only the image says.
        (
            "Resize",
            &[Image, None, Image],
            &[],
            1,
            "(image) depends on the image, expected a constant",
        ),
        (
            "Resize",
            &[Image, None, None, Image],
            &[],
            1,
            "(image) depends on the image, expected a constant",
        ),
        // Pictures of a size that it cannot take.
        ("AveragePool", &[Image], &[("kernel_shape", &[13, 13])], 1, "13"),
    ];
    let mut wrong = Vec::new();
    for (op, inputs, attributes, outputs, expected) in cases {
        let options = Import {
            file: file(dir.path(), op, inputs, attributes, outputs),
            ..Import::default()
        };
        let text = match import(&options) {
            Ok(_) => "is taken".to_owned(),
            Err(e) => format!("{e:#}"),
        };
        if !text.contains(&format!("bad ({op}: ")) || !text.contains(expected) || text.contains('\n') {
            wrong.push(format!("{op} {attributes:?}: {text}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A network whose image is of any size, read for pictures that its windows do not fit into.
#[test]
fn pictures_of_a_size_that_a_network_cannot_take_are_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let given = [Given::Image, Given::Floats(&[4, 3, 5, 5])];
    let path = file(dir.path(), "Conv", &given, &[], 1);
    let mut proto = ModelProto::decode(&std::fs::read(&path).expect("reads")[..]).expect("decodes");
    let image = &mut proto.graph.as_mut().expect("a graph").input[0];
    let Some(TypeValue::TensorType(tensor)) = image.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        panic!("a tensor")
    };
    for dim in &mut tensor.shape.as_mut().expect("a shape").dim {
        dim.value = Some(DimensionValue::DimParam("any".into()));
    }
    std::fs::write(&path, proto.encode_to_vec()).expect("writes");
    let of = |input| {
        import(&Import {
            file: path.clone(),
            input: Some(input),
            ..Import::default()
        })
    };
    for input in [[3, 4, 9], [3, 9, 4], [3, 1, 1]] {
        let text = format!("{:#}", of(input).expect_err("too small"));
        assert!(
            text.contains("bad (Conv: ") && text.contains('5') && !text.contains('\n'),
            "{text}"
        );
    }
    for input in [[0, 9, 9], [3, 0, 9], [3, 1 << 40, 1 << 40]] {
        let text = format!("{:#}", of(input).expect_err("no picture"));
        assert!(!text.contains('\n'), "{text}");
    }
    assert!(of([3, 9, 9]).is_ok());
}
