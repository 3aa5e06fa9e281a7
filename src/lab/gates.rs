//! What is read of a model beside its measuring: how well its gates choose, and how its norm scales are spread.
//! Knows nothing of who asks.

use anyhow::Result;
use measure::probe::{reading, valid_split};
use model::{Checkpoint, Density};
use record::ModelRef;
use std::path::Path;
use train::{Oracle, OracleShare};

/// Images that gates are compared on, and how many go at a time.
const IMAGES: usize = 256;
const BATCH: usize = 64;

/// How many of an image's truly largest channels each gate chooses, on validation images.
///
/// # Errors
/// A model without gates; images that cannot be read, or do not fit.
pub(crate) fn oracle(from: &ModelRef, density: Density, source: &str) -> Result<Vec<OracleShare>> {
    let model = from.load()?;
    anyhow::ensure!(model.is_gated(), "only gates can be compared, and this model has none");
    let mut dataset = data::open(source, &reading(&model.header), &mut |_| Ok(()))?;
    dataset.match_classes(&model.header.classes)?;
    let splits = valid_split(&model.header, &dataset);
    let indices = data::spread(&splits.valid, IMAGES);
    let mut oracle = Oracle::new(&model, density)?;
    for part in indices.chunks(BATCH) {
        let mut pixels = Vec::new();
        data::batch::fill(&dataset.train, part, None, &model.header.normalization, &mut pixels);
        oracle.add(&pixels)?;
    }
    Ok(oracle.shares())
}

/// |γ| of all norms.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn scales(file: &Path) -> Result<Vec<f32>> {
    let model = Checkpoint::load(file)?;
    let gammas = model.weights.iter().filter(|(name, _)| name.ends_with(".gamma"));
    Ok(gammas
        .flat_map(|(_, array)| array.data.iter().map(|g| g.abs()))
        .collect())
}
