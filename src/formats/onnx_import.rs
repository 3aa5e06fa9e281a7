//! Reads an ONNX network: walks its graph, folds constants, and translates the other operators.
//! Knows nothing of single operators.

use super::foreign::ForeignModel;
use super::onnx_builder::{OnnxNetBuilder, Operand};
use super::onnx_fold::{FOLDED, fold};
use super::onnx_gate_import::FoundGates;
use super::onnx_graph::{OnnxGraph, is_standard, label, load};
use super::onnx_ops::{SUPPORTED, convert};
use super::onnx_pb::NodeProto;
use super::onnx_tensor::Constant;
use anyhow::{Result, bail, ensure};
use model::spec::Shape;
use std::path::Path;
use std::rc::Rc;

/// Reads an ONNX file; `input` is the image's shape where the file leaves it open.
///
/// # Errors
/// As [`load`]; a shape that is not known; one line naming every node that is not supported, with its operator.
pub(crate) fn read(path: &Path, input: Option<Shape>) -> Result<ForeignModel> {
    let bytes = std::fs::read(path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    from_bytes(&bytes, Some(folder.unwrap_or(Path::new("."))), input)
}

/// As [`read`], from bytes; external data is looked for in `folder`.
pub(crate) fn from_bytes(bytes: &[u8], folder: Option<&Path>, input: Option<Shape>) -> Result<ForeignModel> {
    let graph = load(bytes)?;
    let mut builder = OnnxNetBuilder::new(&graph, folder, image_shape(&graph, input)?);
    let mut unsupported = Vec::new();
    let gates = FoundGates::new(&graph);
    for node in graph.nodes.iter().filter(|node| !gates.has_inside(node)) {
        let gate = gates.convert(&mut builder, node).transpose();
        let operand = gate
            .unwrap_or_else(|| translate(&mut builder, node))
            .unwrap_or_else(|e| {
                unsupported.push(format!("{} ({}: {e:#})", label(node), node.op_type));
                let name = node.output.first().map_or("", String::as_str);
                builder.stand_in(name).unwrap_or(Operand::Unsupported)
            });
        // Other outputs than the first are not expressed; who reads one finds nothing under its name.
        if let Some(name) = node.output.first() {
            builder.values.insert(name.clone(), operand);
        }
    }
    builder.finish(&unsupported)
}

fn image_shape(graph: &OnnxGraph, asked: Option<Shape>) -> Result<Shape> {
    let [_, fixed @ ..] = graph.shape;
    let name = &graph.input;
    let text: Vec<String> = fixed.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect();
    let text = text.join("×");
    if let Some(asked) = asked {
        let fits = fixed.iter().zip(asked).all(|(f, a)| f.is_none_or(|f| f == a));
        ensure!(fits, "input {name} takes {text}, asked for {asked:?}");
        return Ok(asked);
    }
    let [Some(c), Some(h), Some(w)] = fixed else {
        bail!("input {name} leaves its size open ({text}); give it with --input C,H,W")
    };
    Ok([c, h, w])
}

fn translate(builder: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Operand> {
    let op = node.op_type.as_str();
    ensure!(is_standard(&node.domain), "of {}, not of the standard", node.domain);
    ensure!(SUPPORTED.contains(&op) || FOLDED.contains(&op), "not supported");
    let inputs = node.input.iter().filter(|i| !i.is_empty());
    let mut constants = Vec::new();
    for name in inputs.clone() {
        match builder.value(name)? {
            Operand::Unsupported => return Ok(Operand::Unsupported),
            Operand::Constant(constant) => constants.push(constant),
            Operand::Node { .. } => {}
        }
    }
    if constants.len() == inputs.count() && FOLDED.contains(&op) {
        let inputs: Vec<&Constant> = constants.iter().map(|c| &**c).collect();
        let constant = fold(node, &inputs, builder.folder)?;
        builder.take_room(constant.shape().iter().product())?;
        return Ok(Operand::Constant(Rc::new(constant)));
    }
    convert(builder, node)
}
