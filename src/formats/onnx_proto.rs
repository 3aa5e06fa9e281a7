//! ONNX messages, put together: tensors, attributes, nodes.
//! Knows nothing of networks.

use super::onnx_pb::{
    AttributeProto, AttributeType, DataType, Dimension, DimensionValue, GraphProto, NodeProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto,
};
use std::collections::{BTreeMap, BTreeSet};

/// A graph that grows. Names that are taken get a mark, so use those that are returned.
#[derive(Default)]
pub(crate) struct GraphBuilder {
    pub proto: GraphProto,
    taken: BTreeSet<String>,
    /// Where the first constant of each name is.
    constants: BTreeMap<String, usize>,
}

impl GraphBuilder {
    /// An empty graph whose inputs and outputs will have these names.
    pub(crate) fn with_ends(ends: &[&str]) -> Self {
        Self {
            taken: ends.iter().map(|&e| e.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// A graph that is there already, to be added to.
    pub(crate) fn of(proto: GraphProto) -> Self {
        let nodes = proto.node.iter().flat_map(|n| n.output.iter().chain(&n.input));
        let names = nodes.chain(proto.initializer.iter().map(|t| &t.name));
        Self {
            taken: names.cloned().collect(),
            proto,
            ..Self::default()
        }
    }

    fn free(&mut self, name: &str) -> String {
        let mut name = name.to_owned();
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// A float32 constant.
    pub(crate) fn floats(&mut self, name: &str, dims: &[usize], data: &[f32]) -> String {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(tensor(name, dims, DataType::Float, raw))
    }

    /// An int64 constant of one axis.
    pub(crate) fn ints(&mut self, name: &str, data: &[i64]) -> String {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(tensor(name, &[data.len()], DataType::Int64, raw))
    }

    /// A constant of one unsigned byte.
    pub(crate) fn unsigned_byte(&mut self, name: &str, byte: u8) -> String {
        self.constant(tensor(name, &[], DataType::Uint8, vec![byte]))
    }

    /// A constant of signed bytes.
    pub(crate) fn signed_bytes(&mut self, name: &str, dims: &[usize], data: &[i8]) -> String {
        self.constant(tensor(
            name,
            dims,
            DataType::Int8,
            data.iter().map(|&v| v as u8).collect(),
        ))
    }

    /// An int32 constant of one axis.
    pub(crate) fn whole(&mut self, name: &str, data: &[i32]) -> String {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(tensor(name, &[data.len()], DataType::Int32, raw))
    }

    fn constant(&mut self, mut tensor: TensorProto) -> String {
        // Constants that nodes share are written once.
        let written = self.constants.get(&tensor.name).map(|&i| &self.proto.initializer[i]);
        if written == Some(&tensor) {
            return tensor.name;
        }
        tensor.name = self.free(&tensor.name);
        let name = tensor.name.clone();
        self.constants.insert(name.clone(), self.proto.initializer.len());
        self.proto.initializer.push(tensor);
        name
    }

    /// A node; returns the name of its output.
    pub(crate) fn node<const N: usize>(
        &mut self,
        op: &str,
        name: &str,
        inputs: [&str; N],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.node_from(op, name, &inputs, attributes)
    }

    /// As [`GraphBuilder::node`], for any number of inputs.
    pub(crate) fn node_from(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let name = self.free(name);
        self.push(op, inputs, std::slice::from_ref(&name), attributes);
        name
    }

    /// A node of several outputs; returns their names.
    pub(crate) fn node_of<const N: usize, const M: usize>(
        &mut self,
        op: &str,
        inputs: [&str; N],
        outputs: [&str; M],
        attributes: Vec<AttributeProto>,
    ) -> [String; M] {
        let outputs = outputs.map(|o| self.free(o));
        self.push(op, &inputs, &outputs, attributes);
        outputs
    }

    /// The node that gives an output of the graph.
    pub(crate) fn end(&mut self, op: &str, output: &str, inputs: &[&str]) {
        self.end_with(op, output, inputs, vec![]);
    }

    /// As [`GraphBuilder::end`], with attributes.
    pub(crate) fn end_with(&mut self, op: &str, output: &str, inputs: &[&str], attributes: Vec<AttributeProto>) {
        self.push(op, inputs, &[output.to_owned()], attributes);
    }

    /// Nodes have no names of their own, only what they give has: some runtimes look both up in one table.
    fn push(&mut self, op: &str, inputs: &[&str], outputs: &[String], attribute: Vec<AttributeProto>) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: outputs.to_vec(),
            op_type: op.to_owned(),
            attribute,
            ..NodeProto::default()
        });
    }
}

fn tensor(name: &str, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: kind as i32,
        name: name.to_owned(),
        raw_data,
        ..TensorProto::default()
    }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Float as i32,
        f,
        ..AttributeProto::default()
    }
}

/// A list of integers as an attribute.
pub(crate) fn ints(name: &str, ints: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: ints.iter().map(|&i| i as i64).collect(),
        ..AttributeProto::default()
    }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::String as i32,
        s: value.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}

/// A tensor of one float as an attribute.
pub(crate) fn one_float(name: &str, v: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(tensor("", &[1], DataType::Float, v.to_le_bytes().to_vec())),
        ..AttributeProto::default()
    }
}

/// A float32 value of a graph, its first axis the batch, of any size.
pub(crate) fn batch_of(name: &str, dims: &[usize]) -> ValueInfoProto {
    let rest = dims.iter().map(|&d| DimensionValue::DimValue(d as i64));
    let all = std::iter::once(DimensionValue::DimParam("batch".into())).chain(rest);
    let shape = TensorShapeProto {
        dim: all.map(|value| Dimension { value: Some(value) }).collect(),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(TypeValue::TensorType(TensorTypeProto {
                elem_type: DataType::Float as i32,
                shape: Some(shape),
            })),
        }),
    }
}

/// A line of a model's metadata.
pub(crate) fn property(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto {
        key: key.to_owned(),
        value,
    }
}
