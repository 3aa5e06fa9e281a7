//! FBS gates in an ONNX file that we wrote ([`super::onnx_gate`]), found again by how their operators hang together.
//! Knows nothing of the rest of the network.

use super::onnx_builder::{Form, OnnxNetBuilder, Operand};
use super::onnx_graph::{OnnxGraph, attribute, label};
use super::onnx_operands::row;
use super::onnx_pb::NodeProto;
use super::onnx_tensor::Constant;
use anyhow::{Context, Result, bail, ensure};
use model::checkpoint::Moments;
use model::spec::{GateForm, Op, Shift, Subsample};
use model::{Array, Density};
use std::collections::{BTreeMap, BTreeSet};

/// A gate by the names of its values in the file.
struct FoundGate {
    /// What the saliency is read from, and the convolution's output.
    read: String,
    gated: String,
    phi: String,
    rho: String,
    /// Number of winners; all channels without one.
    winners: Option<String>,
    /// With [`Shift::Released`], β.
    beta: Option<String>,
    subsample: Subsample,
}

/// All gates of a file.
pub(crate) struct FoundGates {
    /// By the name of the gate's result.
    gates: BTreeMap<String, FoundGate>,
    /// Names of values inside gates.
    inner: BTreeSet<String>,
}

impl FoundGates {
    /// Looks for gates among nodes.
    pub(crate) fn new(graph: &OnnxGraph) -> Self {
        let nodes = &graph.nodes;
        let giver = nodes.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n)));
        let search = Search {
            giver: giver.collect(),
            graph,
        };
        let mut found = Self {
            gates: BTreeMap::new(),
            inner: BTreeSet::new(),
        };
        for node in nodes {
            if let Some((gate, inner)) = search.gate(node) {
                found.inner.extend(inner);
                found.gates.insert(node.output[0].clone(), gate);
            }
        }
        // What a gate of the released form multiplies looks like one of the other form.
        let inner = &found.inner;
        found.gates.retain(|name, _| !inner.contains(name));
        found
    }

    /// Whether a node is a part of a gate that is expressed with its last node.
    pub(crate) fn has_inside(&self, node: &NodeProto) -> bool {
        node.output.first().is_some_and(|name| self.inner.contains(name))
    }

    /// The gate that ends with this node, as a norm and a gate of ours behind the convolution.
    ///
    /// # Errors
    /// Numbers that do not fit, or winners that are not the file's density.
    pub(crate) fn convert(&self, net: &mut OnnxNetBuilder, node: &NodeProto) -> Result<Option<Operand>> {
        let Some(found) = node.output.first().and_then(|name| self.gates.get(name)) else {
            return Ok(None);
        };
        let id_of = |net: &mut OnnxNetBuilder, name: &str| match net.value(name)? {
            Operand::Node { id, form: Form::Planes } => Ok(id),
            _ => bail!("{name} is not a value of planes"),
        };
        let (read, conv) = (id_of(net, &found.read)?, id_of(net, &found.gated)?);
        let channels = net.shapes[conv][0];
        let array = |net: &mut OnnxNetBuilder, name: &str| match net.value(name)? {
            Operand::Constant(constant) => match &*constant {
                Constant::Floats(array) => Ok(array.clone()),
                Constant::Ints(_) | Constant::Places(_) => bail!("{name} is of whole numbers"),
            },
            _ => bail!("{name} is not a constant"),
        };
        let density = density(net)?;
        let winners = match &found.winners {
            None => channels,
            Some(name) => match net.value(name)? {
                Operand::Constant(constant) => {
                    let k = constant.as_ints().and_then(|k| k.data.first().copied());
                    k.and_then(|k| usize::try_from(k).ok())
                        .with_context(|| format!("{name} is not a number of winners"))?
                }
                _ => bail!("{name} is not a constant"),
            },
        };
        ensure!(
            winners == density.of(channels),
            "{winners} winners of {channels} channels, expected {} at the file's density {density}",
            density.of(channels)
        );
        let phi = array(net, &found.phi)?;
        ensure!(
            phi.shape == [net.shapes[read][0], channels],
            "φ of shape {:?}, expected [{}, {channels}]",
            phi.shape,
            net.shapes[read][0]
        );
        let rho = row(&array(net, &found.rho)?, channels, 1, 1.0)?;
        let beta = match &found.beta {
            Some(name) => {
                let beta = array(net, name)?;
                ensure!(beta.data.len() == channels, "β of shape {:?}", beta.shape);
                Some(Array::from(beta.data))
            }
            None => None,
        };
        let conv_name = net.spec.nodes[conv].name.clone();
        let Op::Conv { bias, .. } = &mut net.spec.nodes[conv].op else {
            bail!("{conv_name} is not a convolution")
        };
        *bias = false;
        let shift = net.weights.remove(&format!("{conv_name}.bias"));
        let shift = shift.map_or_else(|| vec![0.0; channels], |b| b.data);
        // The file's convolution has its norm inside. Where β was added there too, all of the sum may stand as β.
        let (shift, beta, mean) = match beta {
            Some(beta) => (Shift::Released, beta, shift.iter().map(|v| -v).collect()),
            None => (Shift::Eq1, shift.into(), vec![0.0; channels]),
        };
        let op = Op::Norm {
            eps: 0.0,
            affine: false,
        };
        let norm = net.push(&format!("{conv_name}.norm"), op, vec![conv])?;
        let var = vec![1.0; channels];
        let name = net.spec.nodes[norm].name.clone();
        net.stats.insert(name, Moments { mean, var });
        let form = GateForm {
            shift,
            subsample: found.subsample,
        };
        let gate = net.push(label(node), Op::Gate(form), vec![norm, read])?;
        let name = net.spec.nodes[gate].name.clone();
        for (what, array) in [("phi", phi), ("rho", rho), ("beta", beta)] {
            net.weights.insert(format!("{name}.{what}"), array);
        }
        net.density = Some(density);
        Ok(Some(Operand::Node {
            id: gate,
            form: Form::Planes,
        }))
    }
}

/// The density that the file was written at.
fn density(net: &OnnxNetBuilder) -> Result<Density> {
    let text = net.graph.metadata.get("density");
    let text = text.context("gates without the density that the file was written at")?;
    text.parse().with_context(|| format!("density {text:?}"))
}

struct Search<'a> {
    giver: BTreeMap<&'a str, &'a NodeProto>,
    graph: &'a OnnxGraph,
}

impl<'a> Search<'a> {
    /// The node that gives a value, if it is such an operator.
    fn is(&self, name: &str, op: &str) -> Option<&'a NodeProto> {
        self.giver.get(name).copied().filter(|n| n.op_type == op)
    }

    /// The gate that ends with a node, and the names of all values inside.
    fn gate(&self, node: &NodeProto) -> Option<(FoundGate, Vec<String>)> {
        match (node.op_type.as_str(), &node.input[..]) {
            ("Mul", [gated, factor]) => self.product(gated, factor),
            ("Add", [boosted, addend]) => {
                let product = self.is(boosted, "Mul")?;
                let [gated, factor] = &product.input[..] else {
                    return None;
                };
                let (gate, mut inner) = self.product(gated, factor)?;
                inner.push(boosted.clone());
                let beta = match &gate.winners {
                    // A sum with anything else is a residual one, behind the gate.
                    None => Some(addend.clone()).filter(|name| self.graph.initializers.contains_key(name))?,
                    Some(_) => {
                        let masked = self.is(addend, "Unsqueeze")?.input.first()?;
                        let [mask, beta] = &self.is(masked, "Mul")?.input[..] else {
                            return None;
                        };
                        let scatter = self.is(mask, "ScatterElements")?;
                        let ones = scatter.input.get(2)?;
                        let shape = self.is(ones, "ConstantOfShape")?.input.first()?;
                        inner.extend([addend, masked, mask, ones, shape].map(Clone::clone));
                        beta.clone()
                    }
                };
                let beta = Some(beta);
                Some((FoundGate { beta, ..gate }, inner))
            }
            _ => None,
        }
    }

    fn product(&self, gated: &str, factor: &str) -> Option<(FoundGate, Vec<String>)> {
        let conv = self.is(gated, "Conv")?;
        let pi = self.is(factor, "Unsqueeze")?.input.first()?;
        let mut inner = vec![factor.to_owned(), pi.clone()];
        let (saliency, winners) = if let Some(node) = self.is(pi, "Identity") {
            (node.input.first()?, None)
        } else {
            let scatter = self.is(pi, "ScatterElements")?;
            let [none, winners, top] = &scatter.input[..] else {
                return None;
            };
            let top_k = self.is(top, "TopK").filter(|n| n.output.get(1) == Some(winners))?;
            let shape = self.is(none, "ConstantOfShape")?.input.first()?;
            let [saliency, k] = &top_k.input[..] else { return None };
            self.is(shape, "Shape").filter(|n| n.input.first() == Some(saliency))?;
            inner.extend([none, winners, top, shape].map(Clone::clone));
            (saliency, Some(k.clone()))
        };
        let predicted = self.is(saliency, "Relu")?.input.first()?;
        let [means, phi, rho] = &self.is(predicted, "Gemm")?.input[..] else {
            return None;
        };
        inner.extend([saliency, predicted, means].map(Clone::clone));
        let (means, subsample) = match self.direction(means) {
            Some((of, values)) => {
                inner.extend(values.map(Clone::clone));
                (of, Subsample::ScaleFree)
            }
            None => (means, Subsample::Mean),
        };
        let mean = self
            .is(means, "ReduceMean")
            .filter(|n| attribute(n, "keepdims").is_some_and(|a| a.i == 0))?;
        let mut read = mean.input.first()?;
        if let Some(abs) = self.is(read, "Abs") {
            inner.push(read.clone());
            read = abs.input.first()?;
        }
        // Only what reads the very tensor that is convolved is a gate of ours.
        (conv.input.first().map(|x| self.before_bytes(x)) == Some(read)).then(|| {
            let gate = FoundGate {
                read: read.clone(),
                gated: gated.to_owned(),
                phi: phi.clone(),
                rho: rho.clone(),
                winners,
                beta: None,
                subsample,
            };
            (gate, inner)
        })
    }

    /// A value before it went through bytes, if it did.
    fn before_bytes(&self, name: &'a String) -> &'a String {
        let bytes = self.is(name, "DequantizeLinear").and_then(|n| n.input.first());
        let from = bytes.and_then(|bytes| self.is(bytes, "QuantizeLinear")?.input.first());
        from.unwrap_or(name)
    }

    /// Means that are divided by their root mean square, and the names of all values inside.
    fn direction(&self, name: &str) -> Option<(&'a String, [&'a String; 5])> {
        let [means, divisor] = &self.is(name, "Div")?.input[..] else {
            return None;
        };
        let [root, least] = &self.is(divisor, "Max")?.input[..] else {
            return None;
        };
        self.graph.initializers.contains_key(least).then_some(())?;
        let square = self.is(root, "Sqrt")?.input.first()?;
        let squares = self.is(square, "ReduceMean")?.input.first()?;
        let product = self.is(squares, "Mul")?;
        (product.input[..] == [means.clone(), means.clone()])
            .then_some((means, [divisor, root, square, squares, means]))
    }
}
