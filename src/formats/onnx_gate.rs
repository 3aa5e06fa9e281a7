//! An FBS gate (arXiv 1810.05331, equations 1–4) as standard ONNX operators.
//! Knows nothing of the convolution it gates.
//!
//! Values under the gate's name, for whoever wants to look inside: `.means` (ss), `.saliency` (g), `.pi` (π).

use super::onnx_proto::{GraphBuilder, int, ints, one_float};
use model::Array;
use model::spec::{GateForm, Shift, Subsample};

#[derive(Clone)]
pub(crate) struct OnnxGate<'a> {
    pub name: &'a str,
    /// Whether the input may be negative.
    pub signed: bool,
    /// Winners an image.
    pub k: usize,
    pub form: GateForm,
    /// `[in, channels]`.
    pub phi: &'a Array,
    /// `[channels]`.
    pub rho: &'a Array,
    /// `[channels]`.
    pub beta: &'a Array,
}

/// Writes the gate: reads `x`, multiplies `y` (norm already done; with [`Shift::Eq1`] also β added). Returns the result's name.
pub(crate) fn write(graph: &mut GraphBuilder, gate: &OnnxGate, x: &str, y: &str) -> String {
    let name = gate.name;
    let of = |what: &str| format!("{name}.{what}");
    let channels = gate.rho.data.len();
    let magnitude = if gate.signed {
        graph.node("Abs", &of("abs"), [x], vec![])
    } else {
        x.to_owned()
    };
    let plane = vec![ints("axes", &[2, 3]), int("keepdims", 0)];
    let means = graph.node("ReduceMean", &of("means"), [&magnitude], plane);
    let means = match gate.form.subsample {
        Subsample::Mean => means,
        Subsample::ScaleFree => direction(graph, &of, &means),
    };
    let phi = graph.floats(&of("phi"), &gate.phi.shape, &gate.phi.data);
    let rho = graph.floats(&of("rho"), &[channels], &gate.rho.data);
    let predicted = graph.node("Gemm", &of("predicted"), [&means, &phi, &rho], vec![]);
    let saliency = graph.node("Relu", &of("saliency"), [&predicted], vec![]);
    let (pi, mask) = if gate.k < channels {
        winners(graph, gate, &saliency)
    } else {
        (graph.node("Identity", &of("pi"), [&saliency], vec![]), None)
    };
    let axes = graph.ints("axes.hw", &[2, 3]);
    let factor = graph.node("Unsqueeze", &of("factor"), [&pi, &axes], vec![]);
    if gate.form.shift == Shift::Eq1 {
        return graph.node("Mul", name, [y, &factor], vec![]);
    }
    let boosted = graph.node("Mul", &of("boosted"), [y, &factor], vec![]);
    let addend = match mask {
        None => graph.floats(&of("beta"), &[1, channels, 1, 1], &gate.beta.data),
        Some(mask) => {
            let beta = graph.floats(&of("beta"), &[1, channels], &gate.beta.data);
            let masked = graph.node("Mul", &of("masked"), [&mask, &beta], vec![]);
            graph.node("Unsqueeze", &of("addend"), [&masked, &axes], vec![])
        }
    };
    graph.node("Add", name, [&boosted, &addend], vec![])
}

/// Means over their root mean square.
fn direction(graph: &mut GraphBuilder, of: &impl Fn(&str) -> String, means: &str) -> String {
    let squares = graph.node("Mul", &of("squares"), [means, means], vec![]);
    let over_channels = vec![ints("axes", &[1]), int("keepdims", 1)];
    let square = graph.node("ReduceMean", &of("square"), [&squares], over_channels);
    let root = graph.node("Sqrt", &of("root"), [&square], vec![]);
    let least = graph.floats(&of("least"), &[], &[Subsample::LEAST]);
    let divisor = graph.node("Max", &of("divisor"), [&root, &least], vec![]);
    graph.node("Div", &of("direction"), [means, &divisor], vec![])
}

/// π: the k largest saliencies in their places, zeros elsewhere. TopK gives equal entries in the order of their indices,
/// which is our rule for ties. For the released form also the 0/1 mask.
fn winners(graph: &mut GraphBuilder, gate: &OnnxGate, saliency: &str) -> (String, Option<String>) {
    let of = |what: &str| format!("{}.{what}", gate.name);
    let k = graph.ints(&of("k"), &[gate.k as i64]);
    let order = vec![int("axis", 1), int("largest", 1), int("sorted", 1)];
    let outputs = [of("top"), of("winners")];
    let [top, winners] = graph.node_of("TopK", [saliency, &k], outputs.each_ref().map(|o| &**o), order);
    let shape = graph.node("Shape", &of("shape"), [saliency], vec![]);
    let none = graph.node("ConstantOfShape", &of("none"), [&shape], vec![one_float("value", 0.0)]);
    let axis = || vec![int("axis", 1)];
    let pi = graph.node("ScatterElements", &of("pi"), [&none, &winners, &top], axis());
    let mask = (gate.form.shift == Shift::Released).then(|| {
        let top_shape = graph.node("Shape", &of("top.shape"), [&top], vec![]);
        let ones = graph.node(
            "ConstantOfShape",
            &of("ones"),
            [&top_shape],
            vec![one_float("value", 1.0)],
        );
        graph.node("ScatterElements", &of("mask"), [&none, &winners, &ones], axis())
    });
    (pi, mask)
}
