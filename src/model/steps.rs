//! A network as the steps that are really run: conv, norm, gate and ReLU in a row are one step.
//! Training and inference walk the same list. Knows nothing of weights.

use super::spec::{GateForm, NetSpec, Op};

/// A convolution and what follows it at once.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvStep {
    /// The convolution's node.
    pub conv: usize,
    /// Its norm.
    pub norm: Option<usize>,
    /// Its gate, and where the shift stands in it.
    pub gate: Option<(usize, GateForm)>,
    /// Whether ReLU ends the step.
    pub relu: bool,
    /// The node read.
    pub input: usize,
    /// The node whose value the step gives.
    pub output: usize,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// conv [→ norm] [→ gate] [→ relu].
    Conv(ConvStep),
    /// Any other node, by itself.
    Node(usize),
}

/// The steps of a network, in order. The input node is not a step.
pub fn steps(spec: &NetSpec) -> Vec<Step> {
    let consumers = spec.consumers();
    let mut taken = vec![false; spec.nodes.len()];
    let mut out = Vec::new();
    for i in 1..spec.nodes.len() {
        if taken[i] {
            continue;
        }
        if !matches!(spec.nodes[i].op, Op::Conv { .. }) {
            out.push(Step::Node(i));
            continue;
        }
        let mut step = ConvStep {
            conv: i,
            norm: None,
            gate: None,
            relu: false,
            input: spec.nodes[i].inputs[0],
            output: i,
        };
        while let [next] = consumers[step.output][..] {
            let node = &spec.nodes[next];
            match node.op {
                Op::Norm { .. } if step.norm.is_none() && step.gate.is_none() => step.norm = Some(next),
                // The saliency must be read from the very tensor that is convolved: only then is it known before the convolution.
                Op::Gate(form) if step.gate.is_none() && node.inputs == [step.output, step.input] => {
                    step.gate = Some((next, form))
                }
                Op::Relu => step.relu = true,
                _ => break,
            }
            step.output = next;
            taken[next] = true;
            if step.relu {
                break;
            }
        }
        out.push(Step::Conv(step));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::spec::Shift;
    use super::super::zoo;
    use super::*;

    #[test]
    fn every_layer_of_the_gated_network_is_one_step() {
        let spec = zoo::gated(
            &zoo::build("m-cifarnet", [3, 32, 32], 10, 1.0).expect("builds"),
            Shift::Eq1,
        );
        let steps = steps(&spec);
        let convs: Vec<_> = steps
            .iter()
            .filter_map(|s| if let Step::Conv(c) = s { Some(c) } else { None })
            .collect();
        assert_eq!(convs.len(), 8);
        assert!(convs.iter().all(|c| c.norm.is_some() && c.gate.is_some() && c.relu));
        // dropout3, dropout6, pool, flatten, classifier
        assert_eq!(steps.len(), 13);
    }

    #[test]
    fn a_residual_sum_ends_a_step_before_its_relu() {
        let spec = zoo::build("resnet18", [3, 32, 32], 10, 0.25).expect("builds");
        let without_relu = steps(&spec)
            .iter()
            .filter(|s| matches!(s, Step::Conv(c) if !c.relu))
            .count();
        assert_eq!(without_relu, 8 + 3);
    }
}
