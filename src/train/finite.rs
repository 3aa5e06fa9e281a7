//! Whether a network still consists of numbers, and which layer did not once it has diverged.
//! Knows nothing of the training loop.

use anyhow::{Error, Result, anyhow};
use model::{Checkpoint, Weights};

/// # Errors
/// A weight that is infinite or not a number: the layer is named.
pub(crate) fn check(weights: &Weights) -> Result<()> {
    match infinite(weights) {
        Some(_) => Err(diverged("a weight is not finite", weights)),
        None => Ok(()),
    }
}

/// What was seen of a training that diverged, in which layer, and what may help.
pub(crate) fn diverged(seen: &str, weights: &Weights) -> Error {
    let size =
        |(name, array): (_, &model::Array)| (name, array.data.iter().fold(0.0, |most: f32, w| most.max(w.abs())));
    let largest = weights.iter().map(size).max_by(|a, b| a.1.total_cmp(&b.1));
    let place = match (infinite(weights), largest) {
        (Some(name), _) => format!("{name} is not finite"),
        (None, Some((name, size))) => format!("the largest weight is {size:.1e}, in {name}"),
        (None, None) => "there are no weights".to_owned(),
    };
    anyhow!("{seen}; {place}: a smaller train.lr or train.clip_norm may help")
}

/// As [`diverged`], of a model with its norm statistics.
pub(crate) fn diverged_model(seen: &str, model: &Checkpoint) -> Error {
    let norms = model.stats.values().flatten();
    let mut infinite_norms = norms.filter(|(_, m)| !m.mean.iter().chain(&m.var).all(|v| v.is_finite()));
    match infinite_norms.next().filter(|_| infinite(&model.weights).is_none()) {
        Some((norm, _)) => {
            anyhow!("{seen}; the statistics of {norm} are not finite: a smaller train.lr or train.clip_norm may help")
        }
        None => diverged(seen, &model.weights),
    }
}

fn infinite(weights: &Weights) -> Option<&str> {
    let found = weights.iter().find(|(_, a)| !a.data.iter().all(|w| w.is_finite()));
    found.map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Array;

    #[test]
    fn the_layer_that_diverged_is_named() {
        let array = |data: Vec<f32>| Array {
            shape: vec![data.len()],
            data,
        };
        let mut weights = Weights::from([
            ("a.weight".to_owned(), array(vec![1.0, -2.0])),
            ("b.weight".to_owned(), array(vec![-3e9])),
        ]);
        check(&weights).expect("all are finite");
        let text = diverged("the loss is NaN", &weights).to_string();
        assert!(
            text.starts_with("the loss is NaN; the largest weight is 3.0e9, in b.weight"),
            "{text}"
        );
        weights.insert("c.bias".to_owned(), array(vec![0.0, f32::NAN]));
        let text = check(&weights).expect_err("NaN").to_string();
        assert!(text.contains("c.bias is not finite"), "{text}");
    }
}
