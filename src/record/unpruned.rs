//! The network that a model was pruned from, to be timed beside it.
//! Knows nothing of how that is done.

use crate::experiment::Experiment;
use model::{Checkpoint, random_model};

/// The network that a model was pruned from, for its size: the model its run started with, where that can still be read, or the
/// network its run built, with random weights; without masks. None where nothing is known, or nothing was pruned.
pub fn unpruned(model: &Checkpoint) -> Option<Checkpoint> {
    let header = &model.header;
    let begun = Experiment::of_model(header).and_then(|experiment| match &experiment.start {
        Some(start) => start.load().ok(),
        None => {
            let spec = experiment.model.build(header.spec.input, header.classes.len()).ok()?;
            random_model(spec, 0).ok()
        }
    });
    let fits = |before: &Checkpoint| before.spec().input == header.spec.input && !before.is_gated();
    let masked = || (!model.masks.is_empty() && !model.is_gated()).then(|| model.clone());
    let mut before = begun.filter(fits).or_else(masked)?;
    before.masks.clear();
    (before.spec() != model.spec() || !model.masks.is_empty()).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mask::LayerMask;
    use model::zoo;

    #[test]
    fn the_network_before_is_that_of_the_run_or_the_model_without_masks() {
        let spec = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.1).expect("builds");
        let mut model = random_model(spec.clone(), 1).expect("builds");
        assert_eq!(unpruned(&model), None);
        let mut mask = LayerMask::whole(model.weight("conv1").shape[0], model.weight("conv1").matrix()[1]);
        mask.filters[0] = false;
        model.masks.insert("conv1".into(), mask);
        let before = unpruned(&model).expect("masks are known");
        assert!(before.masks.is_empty() && *before.spec() == spec);
        let changes = [("model.width".to_owned(), "0.2".to_owned())];
        let experiment = Experiment::load("uniform-fashion", &changes).expect("preset");
        model.masks.clear();
        model.header.recipe = experiment.to_toml().expect("writes");
        let wide = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.2).expect("builds");
        let before = unpruned(&model).expect("the recipe is known");
        assert_eq!(before.spec().shapes().expect("fits"), wide.shapes().expect("fits"));
    }
}
