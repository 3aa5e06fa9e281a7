//! Named arrays of numbers, and how each operation's are called and begun.
//!
//! | operation | arrays |
//! |---|---|
//! | conv, linear | `NAME.weight` `[out, in / groups(, k, k)]`, `NAME.bias` `[out]` |
//! | norm | `NAME.gamma`, `NAME.beta` `[channels]` if affine |
//! | layer norm | `NAME.gamma`, `NAME.beta` `[channels]` |
//! | gate | `NAME.phi` `[in, channels]`, `NAME.rho`, `NAME.beta` `[channels]` |

use super::spec::{GateForm, NetSpec, Op, Shift};
use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// A named array: row-major, f32.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// `shape` product many numbers.
    pub data: Vec<f32>,
}

impl Array {
    /// All elements the same.
    pub fn filled(shape: &[usize], value: f32) -> Self {
        Self {
            shape: shape.to_vec(),
            data: vec![value; shape.iter().product()],
        }
    }

    /// A layer's weight as a matrix: how many filters, and columns of each.
    pub fn matrix(&self) -> [usize; 2] {
        [self.shape[0], self.shape[1..].iter().product()]
    }
}

impl From<Vec<f32>> for Array {
    fn from(data: Vec<f32>) -> Self {
        let shape = vec![data.len()];
        Self { shape, data }
    }
}

/// All trainable arrays of a network, by name.
pub type Weights = BTreeMap<String, Array>;

/// The arrays a network must have, with their shapes.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn expected(spec: &NetSpec) -> Result<BTreeMap<String, Vec<usize>>> {
    let shapes = spec.shapes()?;
    let mut out = BTreeMap::new();
    for (i, node) in spec.nodes.iter().enumerate() {
        let mut put = |what: &str, shape: Vec<usize>| out.insert(format!("{}.{what}", node.name), shape);
        let inputs: Vec<usize> = node.inputs.iter().map(|&j| shapes[j][0]).collect();
        match node.op {
            Op::Conv {
                filters,
                kernel,
                bias,
                groups,
                ..
            } => {
                put("weight", vec![filters, inputs[0] / groups, kernel, kernel]);
                if bias {
                    put("bias", vec![filters]);
                }
            }
            Op::Linear { outputs, bias } => {
                put("weight", vec![outputs, inputs[0]]);
                if bias {
                    put("bias", vec![outputs]);
                }
            }
            Op::Norm { affine: true, .. } | Op::LayerNorm { .. } => {
                put("gamma", vec![shapes[i][0]]);
                put("beta", vec![shapes[i][0]]);
            }
            Op::Gate { .. } => {
                put("phi", vec![inputs[1], inputs[0]]);
                put("rho", vec![inputs[0]]);
                put("beta", vec![inputs[0]]);
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Checks that `weights` are exactly what `spec` needs.
///
/// # Errors
/// One line naming every array that is missing, unexpected or of the wrong shape.
pub fn check(spec: &NetSpec, weights: &Weights) -> Result<()> {
    let wanted = expected(spec)?;
    let mut wrong = Vec::new();
    for (name, shape) in &wanted {
        match weights.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(a) if a.shape != *shape => wrong.push(format!("{name} has shape {:?}, expected {shape:?}", a.shape)),
            Some(_) => {}
        }
    }
    wrong.extend(
        weights
            .keys()
            .filter(|k| !wanted.contains_key(*k))
            .map(|k| format!("{k} is not part of {}", spec.name)),
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// Random weights to begin from: He normal for convolutions and linear layers (biases 0), γ = 1, β = 0;
/// gates with ρ = 1 and φ ~ N(0, 0.05²), so that every channel looks salient at first (papers' code).
///
/// # Errors
/// As [`NetSpec::shapes`].
pub fn init(spec: &NetSpec, seed: u64) -> Result<Weights> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = Weights::new();
    // Network order, so that a deeper network starts like a shallower one.
    for (name, shape) in expected(spec)? {
        let (node, what) = name.rsplit_once('.').unwrap_or((&name, ""));
        let n: usize = shape.iter().product();
        let data = match what {
            "weight" => normal(&mut rng, n, (2.0 / shape[1..].iter().product::<usize>() as f32).sqrt()),
            "phi" => normal(&mut rng, n, 0.05),
            "gamma" | "rho" => vec![1.0; n],
            "beta" if is_released_gate(spec, node) => vec![0.1; n],
            _ => vec![0.0; n],
        };
        weights.insert(name, Array { shape, data });
    }
    Ok(weights)
}

fn is_released_gate(spec: &NetSpec, node: &str) -> bool {
    spec.find(node).is_some_and(|i| {
        matches!(
            spec.nodes[i].op,
            Op::Gate(GateForm {
                shift: Shift::Released,
                ..
            })
        )
    })
}

/// Normal numbers by Box and Muller, so that the stream depends on nothing but the generator.
fn normal(rng: &mut ChaCha8Rng, n: usize, std: f32) -> Vec<f32> {
    (0..n)
        .map(|_| {
            let (u, v): (f64, f64) = (rng.random(), rng.random());
            ((-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32 * std
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::zoo;
    use super::*;

    #[test]
    fn initial_weights_fit_their_network_and_follow_the_seed() {
        let spec = zoo::gated(
            &zoo::build("m-cifarnet", [3, 32, 32], 10, 0.25).expect("builds"),
            Shift::Eq1,
        );
        let a = init(&spec, 7).expect("init");
        check(&spec, &a).expect("fits");
        assert_eq!(a, init(&spec, 7).expect("init"));
        assert_ne!(a, init(&spec, 8).expect("init"));
        let w = &a["conv1.weight"].data;
        let std = (w.iter().map(|x| x * x).sum::<f32>() / w.len() as f32).sqrt();
        assert!((std - (2.0f32 / 144.0).sqrt()).abs() < 0.01, "{std}");
    }

    #[test]
    fn every_misfit_is_named() {
        let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
        let mut w = init(&spec, 0).expect("init");
        w.remove("conv0.bias");
        w.insert("stray".into(), Array::default());
        w.insert("conv1.bias".into(), Array::filled(&[3], 0.0));
        let text = check(&spec, &w).expect_err("misfits").to_string();
        assert_eq!(
            text,
            "conv0.bias is missing; conv1.bias has shape [3], expected [50]; stray is not part of lenet5"
        );
    }
}
