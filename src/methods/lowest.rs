//! Cuts the channels of lowest score of all layers together, as few of them as meet a budget.
//! Knows nothing of where scores come from.

use crate::budget::Budget;
use crate::pipeline::cut;
use anyhow::{Result, ensure};
use event::Dimension;
use model::Checkpoint;
use prune::{Scope, Score, Sites, threshold};

/// What a model spends, in the budget's unit.
///
/// # Errors
/// Parts that do not fit each other.
pub(crate) fn spent_by(model: &Checkpoint, budget: &Budget) -> Result<f64> {
    // A layer with one channel left has no filters to choose among, but still a cost.
    let sites = Sites::new(model, &Scope::new(&[Dimension::Element], 0.0, budget.unit))?;
    Ok(budget.unpruned(&sites))
}

/// The model without its channels of lowest score, as few of them as meet the limit, and how many those are. A layer keeps its
/// floor.
///
/// # Errors
/// A limit that cannot be met; a network that has nothing to go by.
pub(crate) fn within(
    model: &Checkpoint,
    score: &Score,
    (budget, floor): (&Budget, f32),
    limit: f64,
) -> Result<(Checkpoint, usize)> {
    let without =
        |remove: usize| -> Result<Checkpoint> { cut(model, &threshold::without_lowest(model, score, floor, remove)?) };
    let most = threshold::most(model, score, floor)?;
    let least = spent_by(&without(most)?, budget)?;
    ensure!(
        least <= limit,
        "a budget of {limit:.3} cannot be met: with this floor the smallest possible is {least:.3}"
    );
    // Cutting more never costs more: the fewest that fit lie in low..=fits.
    let (mut low, mut fits) = (0, most);
    while low < fits {
        let middle = usize::midpoint(low, fits);
        if spent_by(&without(middle)?, budget)? > limit {
            low = middle + 1;
        } else {
            fits = middle;
        }
    }
    Ok((without(fits)?, fits))
}
