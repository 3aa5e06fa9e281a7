//! Trials of a search that others measure: vectors are drawn ahead as long as they do not depend on what earlier ones earn, handed
//! over, and their results taken in order, so that the search goes as it would alone.
//! Knows nothing of who the others are.

use crate::evaluator::Evaluator;
use crate::search_target::SearchTarget;
use anyhow::Result;
use search::{Searcher, Space};
use std::collections::VecDeque;
use train::{Ctx, Judged, SharedTrials, TrialBatch};

/// Vectors that others measure, the next one first.
#[derive(Default)]
pub(crate) struct FarmedTrials {
    vectors: VecDeque<Vec<f32>>,
    results: Option<Box<dyn SharedTrials>>,
}

impl FarmedTrials {
    /// What others measured of the vector that `searcher` proposes; none if nobody else does. `evaluator` is for the trials that
    /// are given to this process itself.
    ///
    /// # Errors
    /// [`event::Cancelled`]; trials that cannot be shared out.
    pub(crate) fn judged(
        &mut self,
        (ctx, target): (&mut Ctx, &dyn SearchTarget),
        evaluator: &mut Evaluator,
        (searcher, space): (&(impl Searcher + Clone), &Space),
        proposed: &[f32],
    ) -> Result<Option<Judged>> {
        let Some(farm) = ctx.run.farm else { return Ok(None) };
        // Whoever steers a search makes its vectors others than were drawn.
        if self.vectors.front().is_none_or(|drawn| drawn != proposed) {
            self.results = None;
            self.vectors = ahead(searcher.clone(), space)?.into();
            if self.vectors.len() < 2 {
                return Ok(None);
            }
            let batch = TrialBatch {
                model: target.model(),
                times: target.times(),
                done: ctx.done,
                vectors: self.vectors.make_contiguous(),
            };
            let mut measure = |done, densities: &[f32]| {
                ctx.done = done;
                evaluator.judge(ctx, target, densities)
            };
            self.results = Some(farm.share(&batch, &mut measure)?);
        }
        self.vectors.pop_front();
        match &mut self.results {
            Some(results) => results.next(&|| ctx.check()),
            None => Ok(None),
        }
    }
}

/// The next vectors, as long as rewards do not decide which.
fn ahead(mut searcher: impl Searcher, space: &Space) -> Result<Vec<Vec<f32>>> {
    let mut vectors = Vec::new();
    while let Some(densities) = searcher.propose(space)?
        && searcher.is_independent()
    {
        searcher.settle(&densities, 0.0);
        vectors.push(densities);
    }
    Ok(vectors)
}
