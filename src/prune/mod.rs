//! How networks are made smaller: which channels belong together, which matter least, what is nearest to weights that are
//! sparse, and how what is masked is cut out. Plain arrays.
//! Knows nothing of training, of searches or of methods.

pub mod groups;
pub mod project;
pub mod saliency;
mod select;
pub mod sites;
pub mod surgery;
pub mod threshold;
mod values;

pub use groups::{Consumer, Group, Groups, groups};
pub use saliency::Score;
pub use sites::{Scope, Sites, Spent};
pub use surgery::{Cut, apply, cut};

#[cfg(test)]
pub(crate) mod tests {
    //! What the tests of this module share.

    use crate::data::Normalization;
    use crate::model::checkpoint::{Checkpoint, Header, Moments, SCHEMA};
    use crate::model::spec::{NetSpec, Op};
    use crate::model::{Density, Masks, weights};
    use std::collections::BTreeMap;

    /// A model with initial weights and norms that change nothing.
    pub(crate) fn model(spec: NetSpec, seed: u64) -> Checkpoint {
        let shapes = spec.shapes().expect("shapes");
        let norms = (0..spec.nodes.len()).filter(|&i| matches!(spec.nodes[i].op, Op::Norm { .. }));
        let unit = |i: usize| Moments {
            mean: vec![0.0; shapes[i][0]],
            var: vec![1.0; shapes[i][0]],
        };
        let stats = norms.map(|i| (spec.nodes[i].name.clone(), unit(i))).collect();
        Checkpoint {
            weights: weights::init(&spec, seed).expect("init"),
            masks: Masks::new(),
            stats: BTreeMap::from([(Density::FULL, stats)]),
            header: Header {
                schema: SCHEMA,
                normalization: Normalization {
                    mean: vec![0.0; spec.input[0]],
                    std: vec![1.0; spec.input[0]],
                },
                classes: (0..spec.classes().expect("classes")).map(|i| i.to_string()).collect(),
                method: "none".into(),
                data: "none".into(),
                densities: vec![Density::FULL],
                gate_densities: Vec::new(),
                metrics: vec![],
                recipe: String::new(),
                spec,
            },
        }
    }
}
