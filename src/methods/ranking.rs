//! The score by which a search prunes the parts of a layer, lowest first: the scores of [`prune`] as a setting.
//! Knows nothing of how scores are computed.

use anyhow::Result;
use model::Checkpoint;
use prune::Score;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use train::{Ctx, Snapshot};

/// Training images that [`Ranking::Taylor`] takes gradients over.
const IMAGES: usize = 1024;

/// A score by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ranking {
    /// Σ|w|.
    L1,
    /// ‖w‖₂.
    #[default]
    L2,
    /// Mean |γ| of the norms behind a filter; columns and single weights by ‖w‖₂.
    NormScale,
    /// |Σ w·∂loss/∂w| over 1,024 training images; of filters behind norms by γ and β.
    Taylor,
    /// Σ_j ‖w_i − w_j‖₂ (arXiv 1811.00250); columns and single weights by ‖w‖₂.
    GeometricMedian,
    /// ‖w‖² over all that goes with a filter, as a share of the layer's mean (arXiv 2301.12900); columns and single weights by
    /// ‖w‖₂.
    GroupNorm,
    /// By chance, following the run's seed.
    Random,
}

impl Ranking {
    /// As a file names them, in the order above.
    pub(crate) const NAMES: [&str; 7] = [
        "l1",
        "l2",
        "norm-scale",
        "taylor",
        "geometric-median",
        "group-norm",
        "random",
    ];

    /// The score, with what it needs of this model. What takes gradients is the stage called `stage`.
    ///
    /// # Errors
    /// [`event::Cancelled`]; a loss that is not a number.
    pub fn score(self, ctx: &mut Ctx, stage: &str, model: &Checkpoint) -> Result<Score> {
        Ok(match self {
            Self::L1 => Score::L1,
            Self::L2 => Score::L2,
            Self::NormScale => Score::NormScale,
            Self::Taylor => {
                let taken = ctx.stage(stage, |ctx, _| {
                    Ok(Snapshot {
                        arrays: train::first_order(ctx, model, IMAGES)?,
                        ..Snapshot::default()
                    })
                })?;
                Score::Taylor(Arc::new(taken.arrays))
            }
            Self::GeometricMedian => Score::GeometricMedian,
            Self::GroupNorm => Score::GroupNorm,
            Self::Random => Score::Random(ctx.seed),
        })
    }
}
