//! A bound on the predictors of deep gated networks, which run away otherwise. Knows nothing of training loops.
//!
//! A layer's output is π(x)·norm(conv(x)). With fixed norm statistics both factors grow with the magnitude of x, so an image
//! that is brighter than the mean by a factor s leaves a layer brighter by up to s², as soon as ss(x)·φ outweighs ρ; thirteen
//! gates in a row make it s^8192. Batch statistics hide this, as they scale every batch back: the training loss stays finite while
//! stored statistics give losses beyond any number, and gradients through so many products explode.
//! The bound: each column of φ (the predictor of one filter) has at most the norm mean|ρ|/√channels. By Cauchy–Schwarz a saliency
//! then differs from its ρ by at most mean|ρ| times the root mean square of the input's plane means, whatever the width.
//! After each step φ is projected back, as by a max-norm constraint.
//!
//! That root mean square is 1 for [`Subsample::ScaleFree`], which methods choose for such networks: then an image that is
//! brighter by s leaves a layer brighter by s, and a layer's gates multiply by at most 2. With plain means the bound only
//! raises the s from which an image runs away.

#[cfg(doc)]
use model::spec::Subsample;
use model::spec::{NetSpec, Op};
use model::{Array, Weights};

/// Gates in a row that train without a bound.
const SHALLOW: usize = 8;

/// Whether more gates follow each other than train without a bound.
pub fn is_needed(spec: &NetSpec) -> bool {
    let mut depth = vec![0; spec.nodes.len()];
    for (i, node) in spec.nodes.iter().enumerate() {
        let before = node.inputs.iter().map(|&j| depth[j]).max().unwrap_or(0);
        depth[i] = before + usize::from(matches!(node.op, Op::Gate { .. }));
    }
    depth.into_iter().max().unwrap_or(0) > SHALLOW
}

/// Shortens the columns of every φ that are longer than allowed.
pub fn apply(spec: &NetSpec, weights: &mut Weights) {
    for name in gate_names(spec) {
        let Some(scales) = scales(weights, name) else { continue };
        if let Some(phi) = weights.get_mut(&format!("{name}.phi")) {
            for row in phi.data.chunks_exact_mut(scales.len()) {
                row.iter_mut().zip(&scales).for_each(|(v, s)| *v *= s);
            }
        }
    }
}

/// Whether no column of any φ is longer than allowed.
pub fn holds(spec: &NetSpec, weights: &Weights) -> bool {
    gate_names(spec).all(|name| scales(weights, name).is_none_or(|scales| scales.iter().all(|&s| s > 0.999)))
}

fn gate_names(spec: &NetSpec) -> impl Iterator<Item = &str> {
    spec.gates().into_iter().map(|i| spec.nodes[i].name.as_str())
}

/// What brings each column of a gate's φ, `[channels, filters]`, to its allowed length: at most 1.
fn scales(weights: &Weights, gate: &str) -> Option<Vec<f32>> {
    let of = |what: &str| -> Option<&Array> { weights.get(&format!("{gate}.{what}")) };
    let (phi, rho) = (of("phi")?, of("rho")?);
    let filters = rho.data.len();
    let channels = phi.data.len() / filters.max(1);
    let mean = rho.data.iter().map(|r| r.abs()).sum::<f32>() / filters as f32;
    let most = mean / (channels as f32).sqrt();
    let mut squares = vec![0.0f32; filters];
    for row in phi.data.chunks_exact(filters) {
        squares.iter_mut().zip(row).for_each(|(s, v)| *s += v * v);
    }
    let scale = |square: f32| {
        if square > most * most {
            most / square.sqrt()
        } else {
            1.0
        }
    };
    Some(squares.into_iter().map(scale).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::spec::Shift;
    use model::{weights, zoo};

    #[test]
    fn only_deep_networks_are_bound_and_then_no_saliency_strays_far_from_its_rho() {
        let gated = |arch: &str| zoo::gated(&zoo::build(arch, [3, 32, 32], 10, 0.25).expect("builds"), Shift::Eq1);
        let deep = ["lenet5", "m-cifarnet", "vgg16", "resnet18"].map(|arch| is_needed(&gated(arch)));
        assert_eq!(deep, [false, false, true, true]);
        let spec = gated("vgg16");
        let mut weights = weights::init(&spec, 1).expect("init");
        assert!(!holds(&spec, &weights));
        apply(&spec, &mut weights);
        assert!(holds(&spec, &weights));
        let name = gate_names(&spec).last().expect("a gate");
        let phi = &weights[&format!("{name}.phi")];
        let (channels, filters) = (phi.shape[0], phi.shape[1]);
        for f in 0..filters {
            // The worst input: plane means along the column, of root mean square 1.
            let column: Vec<f32> = (0..channels).map(|c| phi.data[c * filters + f]).collect();
            let norm = column.iter().map(|v| v * v).sum::<f32>().sqrt();
            let moved: f32 = column.iter().map(|v| v * v / norm * (channels as f32).sqrt()).sum();
            assert!(moved <= 1.001, "{moved}");
        }
    }
}
