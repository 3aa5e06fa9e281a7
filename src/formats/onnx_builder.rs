//! The network that an ONNX file becomes, built node by node.
//! Knows nothing of single operators.

use super::foreign::ForeignModel;
use super::onnx_graph::OnnxGraph;
use super::onnx_tensor::{Constant, constant};
use anyhow::{Context, Result, bail};
use data::Normalization;
use model::checkpoint::NormStats;
use model::spec::{NetSpec, Node, Op, Shape, shape_after};
use model::{Array, ByteInput, Density, Head, Masks, Weights};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

/// What a name in the file stands for.
#[derive(Clone)]
pub(crate) enum Operand {
    /// The result of one of our nodes.
    Node {
        id: usize,
        form: Form,
    },
    Constant(Rc<Constant>),
    /// Something that could not be expressed, and has been noted.
    Unsupported,
}

/// How the file has a value whose channels and pixels we know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// `[batch, c, h, w]`.
    Planes,
    /// `[batch, features]`.
    Flat,
    /// `[batch, h, w, c]`.
    Last,
    /// `[batch, a, b, h, w]`, a·b = c.
    Split([usize; 2]),
    /// All numbers of all images in a row.
    Row,
    /// Reshaped or turned in a way that only outputs may be; which of the builder's views.
    View(usize),
    /// Such values side by side, as only outputs may be; which of the builder's joins.
    Joined(usize),
}

/// Values that stand side by side in an output, along an axis (the batch's not counted).
#[derive(Clone, PartialEq)]
pub(crate) struct Join {
    pub axis: usize,
    /// Nodes and their forms.
    pub parts: Vec<(usize, Form)>,
}

/// A network that grows node by node.
pub(crate) struct OnnxNetBuilder<'a> {
    pub graph: &'a OnnxGraph,
    pub folder: Option<&'a Path>,
    pub spec: NetSpec,
    pub shapes: Vec<Shape>,
    pub weights: Weights,
    pub stats: NormStats,
    /// Of layers that have holes in their kernels.
    pub masks: Masks,
    /// What gates were written at.
    pub density: Option<Density>,
    /// Values of the file that have been bytes.
    pub byte_values: BTreeMap<String, ByteInput>,
    /// By convolution.
    pub byte_inputs: BTreeMap<String, ByteInput>,
    pub notes: Vec<String>,
    /// What each name in the file stands for, as far as it has been read.
    pub values: BTreeMap<String, Operand>,
    views: Vec<Head>,
    joins: Vec<Join>,
    names: BTreeSet<String>,
    /// Numbers that may still be held.
    room: usize,
}

/// Most numbers that weights and folded constants may hold together. A small file can name one tensor many times.
const MOST_NUMBERS: usize = model::spec::MOST_NUMBERS as usize;

impl<'a> OnnxNetBuilder<'a> {
    pub(crate) fn new(graph: &'a OnnxGraph, folder: Option<&'a Path>, input: Shape) -> Self {
        let form = if graph.channels_last { Form::Last } else { Form::Planes };
        let name = graph.metadata.get("network").cloned().unwrap_or_else(|| "onnx".into());
        Self {
            graph,
            folder,
            spec: NetSpec::of_input(name, input),
            shapes: vec![input],
            weights: Weights::new(),
            stats: NormStats::new(),
            masks: Masks::new(),
            density: None,
            byte_values: BTreeMap::new(),
            byte_inputs: BTreeMap::new(),
            notes: vec![],
            values: BTreeMap::from([(graph.input.clone(), Operand::Node { id: 0, form })]),
            views: Vec::new(),
            joins: Vec::new(),
            names: BTreeSet::from(["image".to_owned()]),
            room: MOST_NUMBERS,
        }
    }

    /// Counts numbers that will be held.
    ///
    /// # Errors
    /// More than any network has.
    pub(crate) fn take_room(&mut self, n: usize) -> Result<()> {
        let left = self.room.checked_sub(n);
        self.room = left.with_context(|| format!("more than {MOST_NUMBERS} numbers"))?;
        Ok(())
    }

    pub(crate) fn value(&mut self, name: &str) -> Result<Operand> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let tensor = self.graph.initializers.get(name);
        let tensor = tensor.with_context(|| format!("reads {name}, a further output, which is not supported"))?;
        let value = Operand::Constant(Rc::new(
            constant(tensor, self.folder).with_context(|| format!("tensor {name}"))?,
        ));
        self.values.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// How many names stand for node `id`.
    pub(crate) fn aliases(&self, id: usize) -> usize {
        self.values
            .values()
            .filter(|v| matches!(v, Operand::Node { id: of, .. } if *of == id))
            .count()
    }

    /// Appends a node that reads `inputs`; gives its place.
    pub(crate) fn push(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> Result<usize> {
        let clean = clean(name);
        let mut name = clean.clone();
        // A mark, or among many of one name the node's place.
        while self.names.contains(&name) {
            name = match name.len() - clean.len() {
                0..3 => name + "_",
                more => format!("{clean}.{}{}", self.spec.nodes.len(), "_".repeat(more - 1)),
            };
        }
        let node = Node {
            name: name.clone(),
            op,
            inputs,
        };
        let from: Vec<Shape> = node.inputs.iter().map(|&i| self.shapes[i]).collect();
        self.shapes.push(shape_after(&node, &from, self.spec.input)?);
        self.names.insert(name);
        self.spec.nodes.push(node);
        Ok(self.spec.nodes.len() - 1)
    }

    /// A value that could not be expressed, so that what reads it is looked at all the same. Its network is never finished.
    pub(crate) fn stand_in(&mut self, name: &str) -> Option<Operand> {
        let (shape, form) = match self.graph.sizes.get(name)?[..] {
            [c, h, w] => ([c, h, w], Form::Planes),
            [features] => ([features, 1, 1], Form::Flat),
            _ => return None,
        };
        self.shapes.push(shape);
        let id = self.spec.push(name, Op::Input, &[]);
        Some(Operand::Node { id, form })
    }

    /// Gives the layer `id` its weights.
    ///
    /// # Errors
    /// As [`OnnxNetBuilder::take_room`].
    pub(crate) fn put_layer(&mut self, id: usize, weight: Array, bias: Option<Array>) -> Result<()> {
        self.take_room(weight.data.len())?;
        let name = &self.spec.nodes[id].name;
        self.weights.insert(format!("{name}.weight"), weight);
        if let Some(bias) = bias {
            self.weights.insert(format!("{name}.bias"), bias);
        }
        Ok(())
    }

    /// The values that a value of this form consists of, and the axis along which they are joined.
    pub(crate) fn parts(&self, id: usize, form: Form) -> Join {
        match form {
            Form::Joined(join) => self.joins[join].clone(),
            _ => Join {
                axis: 0,
                parts: vec![(id, form)],
            },
        }
    }

    /// A value of these parts.
    pub(crate) fn join(&mut self, join: Join) -> Operand {
        match join.parts[..] {
            [(id, form)] => Operand::Node { id, form },
            _ => {
                self.joins.push(join.clone());
                Operand::Node {
                    id: join.parts.first().map_or(0, |part| part.0),
                    form: Form::Joined(self.joins.len() - 1),
                }
            }
        }
    }

    /// How an output of this form comes out of the file; of joined values, as a whole.
    pub(crate) fn head(&self, id: usize, form: Form) -> Head {
        let [c, h, w] = self.shapes[id];
        match form {
            Form::Planes => Head::plain("", &[c, h, w]),
            Form::Flat | Form::Row => Head::plain("", &[c * h * w]),
            Form::Split([a, b]) => Head::plain("", &[a, b, h, w]),
            Form::Last => Head {
                view: vec![c, h, w],
                order: vec![1, 2, 0],
                ..Head::plain("", &[h, w, c])
            },
            Form::View(view) => self.views[view].clone(),
            Form::Joined(join) => {
                let Join { axis, parts } = &self.joins[join];
                let heads: Vec<Head> = parts.iter().map(|&(id, form)| self.head(id, form)).collect();
                let mut shape = heads[0].shape.clone();
                shape[*axis] = heads.iter().map(|head| head.shape[*axis]).sum();
                Head::plain("", &shape)
            }
        }
    }

    /// A form for values that come out like this.
    pub(crate) fn view(&mut self, head: Head) -> Form {
        self.views.push(head);
        Form::View(self.views.len() - 1)
    }

    /// Whether a node needs a value that could not be expressed.
    fn needs_stand_in(&self, id: usize) -> bool {
        let mut needed = BTreeSet::from([id]);
        while let Some(i) = needed.pop_last() {
            if i > 0 && matches!(self.spec.nodes[i].op, Op::Input) {
                return true;
            }
            needed.extend(&self.spec.nodes[i].inputs);
        }
        false
    }

    /// The outputs that can be expressed: name, node and form. What is wrong with the others is noted.
    ///
    /// # Errors
    /// The first output cannot be expressed.
    fn outputs(&mut self, unsupported: &[String]) -> Result<Vec<(String, usize, Form)>> {
        let mut found = Vec::new();
        for (i, name) in self.graph.outputs.iter().enumerate() {
            let why = match self.values.get(name) {
                Some(&Operand::Node { id, form })
                    if (self.parts(id, form).parts.iter()).all(|&(id, _)| !self.needs_stand_in(id)) =>
                {
                    found.push((name.clone(), id, form));
                    continue;
                }
                Some(Operand::Constant(_)) => "does not depend on the image".to_owned(),
                _ => format!("has no place here: {}", unsupported.join("; ")),
            };
            match (i, unsupported.is_empty()) {
                (0, false) => bail!("has no place here: {}", unsupported.join("; ")),
                (0, true) => bail!("the output does not depend on the image"),
                _ => self.notes.push(format!("output {name} is left out: it {why}")),
            }
        }
        Ok(found)
    }

    /// The network, once every node has been read.
    ///
    /// # Errors
    /// A first output that cannot be expressed, for want of these nodes or otherwise.
    pub(crate) fn finish(mut self, unsupported: &[String]) -> Result<ForeignModel> {
        let outputs = self.outputs(unsupported)?;
        let is_vector = |id: usize, form: Form| {
            let is_pixel = self.shapes[id][1..] == [1, 1];
            is_pixel && matches!(form, Form::Flat | Form::Planes | Form::Last)
        };
        let id = match outputs[..] {
            [(_, id, form)] if is_vector(id, form) => id,
            _ => {
                let (mut heads, mut from): (Vec<Head>, Vec<usize>) = Default::default();
                for (name, id, form) in &outputs {
                    let mut name = name.clone();
                    // Our files call the image so.
                    while name == "image" || heads.iter().any(|other| other.name == name) {
                        name.push('_');
                    }
                    let Join { axis, parts } = self.parts(*id, *form);
                    for (k, (id, form)) in parts.into_iter().enumerate() {
                        heads.push(Head {
                            name: name.clone(),
                            joins: (k > 0).then_some(axis),
                            ..self.head(id, form)
                        });
                        from.push(id);
                    }
                }
                self.push("outputs", Op::Outputs { heads }, from)?
            }
        };
        self.keep_only_what_leads_to(id);
        self.biases_into_norms();
        let normalization = self.normalization();
        Ok(ForeignModel {
            spec: self.spec,
            weights: self.weights,
            stats: self.stats,
            masks: self.masks,
            density: self.density,
            byte_inputs: self.byte_inputs,
            normalization,
            classes: self
                .graph
                .metadata
                .get("classes")
                .and_then(|text| serde_json::from_str(text).ok()),
            notes: self.notes,
        })
    }

    /// Drops nodes that were read for their shape alone, so that the last node gives what the network gives.
    fn keep_only_what_leads_to(&mut self, last: usize) {
        let mut needed = vec![false; self.spec.nodes.len()];
        (needed[0], needed[last]) = (true, true);
        for i in (0..=last).rev().filter(|&i| i > 0) {
            if needed[i] {
                self.spec.nodes[i].inputs.iter().for_each(|&j| needed[j] = true);
            }
        }
        let place: Vec<usize> = needed
            .iter()
            .scan(0, |n, &is| Some(std::mem::replace(n, *n + usize::from(is))))
            .collect();
        let nodes = std::mem::take(&mut self.spec.nodes);
        for (node, _) in nodes.into_iter().zip(&needed).filter(|(_, needed)| **needed) {
            let inputs = node.inputs.iter().map(|&j| place[j]).collect();
            self.spec.nodes.push(Node { inputs, ..node });
        }
        let kept: BTreeSet<&str> = self.spec.nodes.iter().map(|n| n.name.as_str()).collect();
        self.weights
            .retain(|name, _| name.rsplit_once('.').is_some_and(|(node, _)| kept.contains(node)));
        self.stats.retain(|name, _| kept.contains(name.as_str()));
        self.masks.retain(|name, _| kept.contains(name.as_str()));
        self.byte_inputs.retain(|name, _| kept.contains(name.as_str()));
    }

    /// A bias before a norm only moves the norm's mean; our layers have none there.
    fn biases_into_norms(&mut self) {
        let consumers = self.spec.consumers();
        for i in 0..self.spec.nodes.len() {
            let (Op::Norm { .. }, &[conv]) = (&self.spec.nodes[i].op, &self.spec.nodes[i].inputs[..]) else {
                continue;
            };
            if consumers[conv] != [i] {
                continue;
            }
            let Op::Conv { bias: bias @ true, .. } = &mut self.spec.nodes[conv].op else {
                continue;
            };
            *bias = false;
            let bias = self.weights.remove(&format!("{}.bias", self.spec.nodes[conv].name));
            let moments = self.stats.get_mut(&self.spec.nodes[i].name);
            if let (Some(bias), Some(moments)) = (bias, moments) {
                moments.mean.iter_mut().zip(&bias.data).for_each(|(m, b)| *m -= b);
            }
        }
    }

    fn normalization(&mut self) -> Option<Normalization> {
        let list = |key: &str| -> Option<Vec<f32>> {
            let list: Vec<f32> = serde_json::from_str(self.graph.metadata.get(key)?).ok()?;
            Some(list).filter(|l| l.len() == self.spec.input[0] && l.iter().all(|v| v.is_finite()))
        };
        let (mean, std) = (list("mean")?, list("std").filter(|s| s.iter().all(|&v| v > 0.0))?);
        Some(Normalization { mean, std })
    }
}

/// A name that can stand in our files: without the words that our tensors begin with.
fn clean(name: &str) -> String {
    let allowed = |c: char| {
        if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') {
            c
        } else {
            '_'
        }
    };
    let name: String = name
        .trim_matches('/')
        .replace('/', ".")
        .chars()
        .take(100)
        .map(allowed)
        .collect();
    match name.as_str() {
        "" => "node".into(),
        _ if name.starts_with("mask.") => format!("_{name}"),
        _ => name,
    }
}
