//! An ONNX file as a graph that can be walked: what its outputs need, in an order in which it can be computed.
//! Knows nothing of operators.

use super::onnx_pb::{
    AttributeProto, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto, TypeValue, ValueInfoProto,
};
use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use std::collections::BTreeMap;

/// The oldest version of the standard whose operators mean what they do now.
const OLDEST_OPSET: i64 = 7;

/// What the outputs of a file need.
pub(crate) struct OnnxGraph {
    /// In order.
    pub nodes: Vec<NodeProto>,
    pub(crate) initializers: BTreeMap<String, TensorProto>,
    pub input: String,
    /// Batch, channels, height, width, where they are fixed.
    pub shape: [Option<usize>; 4],
    /// Names of all outputs.
    pub outputs: Vec<String>,
    /// Whether the image is `[batch, height, width, channels]`: all that reads it turns it round.
    pub channels_last: bool,
    pub metadata: BTreeMap<String, String>,
    /// How often each value is read, as output of the graph too.
    pub reads: BTreeMap<String, usize>,
    /// Sizes of values in between, without the batch, where the file says them.
    pub sizes: BTreeMap<String, Vec<usize>>,
}

/// Reads the bytes of an ONNX file.
///
/// # Errors
/// Not ONNX, cut short, not one image in, a cycle, or a value that nothing gives.
pub(crate) fn load(bytes: &[u8]) -> Result<OnnxGraph> {
    let model = ModelProto::decode(bytes).context("not an ONNX file, or cut short")?;
    let graph = model.graph.context("not an ONNX file: it holds no graph")?;
    let opset = model
        .opset_import
        .iter()
        .find(|o| is_standard(&o.domain))
        .map_or(0, |o| o.version);
    ensure!(
        opset >= OLDEST_OPSET,
        "operator set {opset}, expected {OLDEST_OPSET} or newer"
    );
    let GraphProto {
        node: nodes,
        initializer,
        input,
        output,
        value_info,
        ..
    } = graph;
    let initializers: BTreeMap<String, TensorProto> = initializer.into_iter().map(|t| (t.name.clone(), t)).collect();
    let inputs: Vec<&ValueInfoProto> = input.iter().filter(|i| !initializers.contains_key(&i.name)).collect();
    let [image] = inputs[..] else {
        let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
        bail!("{} inputs ({}), expected one image", names.len(), names.join(", "))
    };
    let mut shape = shape_of(image)?;
    let mut readers = nodes.iter().filter(|n| n.input.contains(&image.name)).peekable();
    let turns =
        |n: &NodeProto| n.op_type == "Transpose" && attribute(n, "perm").is_some_and(|a| a.ints == [0, 3, 1, 2]);
    let channels_last = readers.peek().is_some() && readers.all(turns);
    if channels_last {
        shape[1..].rotate_right(1);
    }
    let outputs: Vec<String> = output.iter().map(|o| o.name.clone()).collect();
    ensure!(!outputs.is_empty(), "the graph has no output");
    let order = order(&nodes, &initializers, &image.name, &outputs)?;
    let mut slots: Vec<Option<NodeProto>> = nodes.into_iter().map(Some).collect();
    let nodes: Vec<NodeProto> = order.into_iter().filter_map(|i| slots[i].take()).collect();
    let mut reads = BTreeMap::new();
    for name in nodes.iter().flat_map(|n| &n.input).chain(&outputs) {
        *reads.entry(name.clone()).or_insert(0) += 1;
    }
    Ok(OnnxGraph {
        nodes,
        initializers,
        input: image.name.clone(),
        shape,
        outputs,
        channels_last,
        metadata: model.metadata_props.into_iter().map(|p| (p.key, p.value)).collect(),
        reads,
        sizes: value_info.iter().filter_map(sizes_of).collect(),
    })
}

/// Whether operators of a domain are those of the standard.
pub(crate) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// What a node is called: its name, or what it gives.
pub(crate) fn label(node: &NodeProto) -> &str {
    let output = node.output.first().map_or("?", String::as_str);
    if node.name.is_empty() { output } else { &node.name }
}

pub(crate) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn sizes_of(value: &ValueInfoProto) -> Option<(String, Vec<usize>)> {
    let Some(TypeValue::TensorType(tensor)) = value.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let size = |d: &super::onnx_pb::Dimension| match d.value {
        Some(DimensionValue::DimValue(n)) => usize::try_from(n).ok().filter(|n| (1..=1 << 20).contains(n)),
        _ => None,
    };
    let dims = &tensor.shape.as_ref()?.dim;
    let sizes: Option<Vec<usize>> = dims.iter().skip(1).map(size).collect();
    Some((value.name.clone(), sizes?))
}

fn shape_of(image: &ValueInfoProto) -> Result<[Option<usize>; 4]> {
    let name = &image.name;
    let kind = image.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(TypeValue::TensorType(tensor)) = kind else {
        bail!("input {name} is not a tensor")
    };
    ensure!(tensor.elem_type == 1, "input {name} does not take float32");
    let dims = tensor.shape.as_ref().map_or(&[][..], |s| &s.dim);
    let size = |value: &Option<DimensionValue>| match value {
        Some(DimensionValue::DimValue(n)) => usize::try_from(*n).ok().filter(|&n| n > 0),
        _ => None,
    };
    let sizes: Vec<Option<usize>> = dims.iter().map(|d| size(&d.value)).collect();
    let axes = sizes.len();
    let expected = || format!("input {name} has {axes} axes, expected 4 (batch, channels, height, width)");
    sizes.try_into().ok().with_context(expected)
}

/// The nodes that `outputs` need, each after those it reads. Walks without recursion: graphs may be deep.
fn order(
    nodes: &[NodeProto],
    initializers: &BTreeMap<String, TensorProto>,
    image: &str,
    outputs: &[String],
) -> Result<Vec<usize>> {
    let mut giver: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|o| !o.is_empty()) {
            let twice = giver.insert(name, i).is_some() || initializers.contains_key(name) || name == image;
            ensure!(!twice, "two values are called {name}");
        }
    }
    let giving = |output: &String| {
        let node = giver.get(output.as_str()).copied();
        node.with_context(|| format!("no node gives the output {output}"))
    };
    let ends: Vec<usize> = outputs.iter().map(giving).collect::<Result<_>>()?;
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        New,
        Open,
        Done,
    }
    let mut state = vec![Visit::New; nodes.len()];
    let mut out = Vec::new();
    // Node, and which of its inputs is next.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    let mut ends = ends.into_iter();
    loop {
        let Some((node, next)) = stack.pop() else {
            let Some(end) = ends.next() else { break };
            if state[end] == Visit::New {
                state[end] = Visit::Open;
                stack.push((end, 0));
            }
            continue;
        };
        let Some(name) = nodes[node].input.get(next) else {
            state[node] = Visit::Done;
            out.push(node);
            continue;
        };
        stack.push((node, next + 1));
        if name.is_empty() || name == image || initializers.contains_key(name) {
            continue;
        }
        let from = giver.get(name.as_str()).copied();
        let from = from.with_context(|| format!("node {} reads {name}, which nothing gives", label(&nodes[node])))?;
        match state[from] {
            Visit::New => {
                state[from] = Visit::Open;
                stack.push((from, 0));
            }
            Visit::Open => bail!("a cycle: node {} needs its own result", label(&nodes[from])),
            Visit::Done => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    fn ordered(nodes: &[NodeProto]) -> Result<Vec<usize>> {
        order(nodes, &BTreeMap::new(), "x", &["y".to_owned()])
    }

    #[test]
    fn what_is_needed_comes_in_order_and_nothing_else() {
        let nodes = [
            node("Add", &["b", "a"], "y"),
            node("Relu", &["x"], "a"),
            node("Relu", &["x"], "unused"),
            node("Relu", &["a"], "b"),
        ];
        assert_eq!(ordered(&nodes).expect("order"), [1, 3, 0]);
    }

    #[test]
    fn graphs_that_cannot_be_computed_are_refused() {
        let cases = [
            (vec![node("Relu", &["z"], "y"), node("Relu", &["y"], "z")], "a cycle"),
            (vec![node("Relu", &["gone"], "y")], "node y reads gone"),
            (
                vec![node("Relu", &["x"], "y"), node("Relu", &["x"], "y")],
                "two values are called y",
            ),
            (vec![node("Relu", &["x"], "other")], "no node gives the output y"),
        ];
        for (nodes, expected) in cases {
            let text = ordered(&nodes).expect_err(expected).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_deep_graph_needs_no_deep_stack() {
        let mut nodes: Vec<NodeProto> = (0..100_000)
            .map(|i| node("Relu", &[&format!("v{i}")], &format!("v{}", i + 1)))
            .collect();
        nodes[0].input[0] = "x".into();
        nodes[99_999].output[0] = "y".into();
        assert_eq!(ordered(&nodes).expect("order").len(), 100_000);
    }
}
