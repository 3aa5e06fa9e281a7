//! Which images a model is measured on: those that its file names or somebody gave it, and which part of them.
//! Knows nothing of engines.

use anyhow::{Result, ensure};
use data::{Amount, Dataset, PictureSize, Reading, Splits};
use model::checkpoint::ModelHeader;
use record::Experiment;

/// The splits a model was made with. Of one that does not say, a twelfth of the training images is for validation, though it may
/// have learned from them; test images are no answer, since whoever measures often, chooses by what is measured.
pub fn valid_split(header: &ModelHeader, dataset: &Dataset) -> Splits {
    let n = dataset.train.len();
    match Experiment::of_model(header) {
        Some(e) if !e.data.valid.is_none() => data::split(dataset, e.split_seed(), e.data.valid.at_most_half(n)),
        _ => data::split(dataset, 0, Amount::Count(n / 12)),
    }
}

/// How pictures become images that a model takes: of its own size, otherwise as those that it was made with.
pub fn reading(header: &ModelHeader) -> Reading {
    let [_, height, width] = header.spec.input;
    Reading {
        size: PictureSize::Of(height, width),
        ..Experiment::of_model(header).map_or_else(Reading::default, |made| made.data.reading())
    }
}

/// The images of a source that fit a model: of its size, and of its classes or of none.
pub(crate) fn fitting(source: &str, header: &ModelHeader, reading: &Reading) -> Result<Dataset> {
    ensure!(
        !header.classes.is_empty(),
        "{} gives no class logits, so images say nothing of its accuracy; `secateur eval --teacher` compares its outputs",
        header.spec.name
    );
    let mut dataset = data::open_unlabeled(source, reading, &mut |_| Ok(()))?;
    let shape = dataset.train.shape;
    let [c, h, w] = header.spec.input;
    ensure!(
        [shape.channels, shape.height, shape.width] == [c, h, w],
        "{source}: images are {shape}, the model expects {c}×{h}×{w}"
    );
    if dataset.is_labeled {
        dataset.match_classes(&header.classes)?;
    }
    Ok(dataset)
}

/// Whether nobody has named images for a model: what an import names is its file.
pub(crate) fn is_unsaid(source: &str, header: &ModelHeader) -> bool {
    let is_archive = source.ends_with(".tar.gz") || source.ends_with(".tgz");
    let is_data = is_archive || std::path::Path::new(source).is_dir();
    header.method == "imported" && source == header.data && !is_data
}
