//! ONNX operators that the second runtime does not have, written in those that it has.
//! Knows nothing of our networks.

use super::onnx_graph::{attribute, label};
use super::onnx_pb::{ModelProto, NodeProto};
use super::onnx_proto::GraphBuilder;
use prost::Message;

/// The file with every LRN as sums of channels that stand side by side; the file itself if it has none.
pub(crate) fn spelled_out(onnx: Vec<u8>) -> Vec<u8> {
    let Ok(mut model) = ModelProto::decode(&onnx[..]) else {
        return onnx;
    };
    let Some(graph) = model.graph.take() else { return onnx };
    if !graph.node.iter().any(is_lrn) {
        return onnx;
    }
    let mut done = GraphBuilder::of(graph);
    for node in std::mem::take(&mut done.proto.node) {
        if is_lrn(&node) {
            lrn(&mut done, &node);
        } else {
            done.proto.node.push(node);
        }
    }
    model.graph = Some(done.proto);
    model.encode_to_vec()
}

fn is_lrn(node: &NodeProto) -> bool {
    node.op_type == "LRN"
}

/// x / (bias + alpha / size · Σ x²)^beta, the sum over `size` channels: so many slices of the padded squares.
fn lrn(graph: &mut GraphBuilder, node: &NodeProto) {
    let of = |what: &str| format!("{}.{what}", label(node));
    let number = |name: &str, default: f32| attribute(node, name).map_or(default, |a| a.f);
    let size = attribute(node, "size").map_or(1, |a| a.i.clamp(1, 1 << 10));
    let (Some(x), Some(output)) = (node.input.first(), node.output.first()) else {
        return;
    };
    let squares = graph.node("Mul", &of("squares"), [x, x], vec![]);
    let pads = graph.ints(&of("pads"), &[0, (size - 1) / 2, 0, 0, 0, size / 2, 0, 0]);
    let padded = graph.node("Pad", &of("padded"), [&squares, &pads], vec![]);
    let axis = graph.ints(&of("axis"), &[1]);
    let mut sum: Option<String> = None;
    for k in 0..size {
        let start = graph.ints(&of(&format!("start{k}")), &[k]);
        let end = if k + 1 < size { k + 1 - size } else { i64::MAX };
        let end = graph.ints(&of(&format!("end{k}")), &[end]);
        let part = graph.node(
            "Slice",
            &of(&format!("part{k}")),
            [&padded, &start, &end, &axis],
            vec![],
        );
        sum = Some(match sum {
            Some(sum) => graph.node("Add", &of(&format!("sum{k}")), [&sum, &part], vec![]),
            None => part,
        });
    }
    let numbers = [
        ("alpha", number("alpha", 1e-4) / size as f32),
        ("bias", number("bias", 1.0)),
        ("beta", number("beta", 0.75)),
    ];
    let [alpha, bias, beta] = numbers.map(|(what, v)| graph.floats(&of(what), &[], &[v]));
    let scaled = graph.node("Mul", &of("scaled"), [sum.as_deref().unwrap_or(x), &alpha], vec![]);
    let base = graph.node("Add", &of("base"), [&scaled, &bias], vec![]);
    let divisor = graph.node("Pow", &of("divisor"), [&base, &beta], vec![]);
    graph.end("Div", output, &[x, &divisor]);
}
