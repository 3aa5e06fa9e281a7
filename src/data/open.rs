//! Finds out what kind of data set a path holds, and opens it.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::dataset::Dataset;
use super::progress::{OnProgress, Progress};
use super::{bundled, cifar, folder, idx};

const EXPECTED: &str = "expected `fashion-mnist`, a folder of IDX files (train-images-idx3-ubyte, raw or .gz), a CIFAR binary \
                        folder (data_batch_1.bin or train.bin) or its .tar.gz, or a folder of images \
                        (train/<class>/*.png, .jpg, .jpeg, .webp, and test)";

/// Opens the data set that `source` names: `fashion-mnist` (bundled), or a path whose kind is detected. A folder that
/// happens to be called `fashion-mnist` is reached as `./fashion-mnist`.
///
/// # Errors
/// When nothing known is there or what is there is damaged, in one line: where, what, and what was expected. An error of
/// `on_progress` comes back unchanged.
pub fn open(source: &str, on_progress: &mut OnProgress) -> Result<Dataset> {
    let path = Path::new(source);
    let dataset = if source == bundled::NAME {
        on_progress(Progress::new(0.0, "Unpacking Fashion-MNIST"))?;
        bundled::open()?
    } else if path.is_dir() {
        open_folder(path, on_progress)?
    } else if path.is_file() {
        let name = source.to_ascii_lowercase();
        if !name.ends_with(".tar.gz") && !name.ends_with(".tgz") {
            bail!("{source}: not a data set, {EXPECTED}");
        }
        cifar::open_archive(path, on_progress)?
    } else {
        bail!("{source}: no such file or folder, {EXPECTED}");
    };
    on_progress(Progress::new(1.0, format!("Opened {}", dataset.name)))?;
    Ok(dataset)
}

fn open_folder(path: &Path, on_progress: &mut OnProgress) -> Result<Dataset> {
    let place = path.display();
    let cannot_read = || format!("{place}: cannot be read");
    let mut names = Vec::new();
    for entry in path.read_dir().with_context(cannot_read)? {
        let name = entry.with_context(cannot_read)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    let any = |known: fn(&str) -> bool| names.iter().any(|name| known(name));
    if any(idx::is_idx_name) {
        let mut dataset = idx::open_folder(path, on_progress)?;
        if dataset.checksum == bundled::CHECKSUM {
            dataset.classes = bundled::classes();
        }
        return Ok(dataset);
    }
    if any(cifar::is_train_name) {
        return cifar::open_folder(path, on_progress);
    }
    if path.join("train").is_dir() {
        return folder::open_folder(path, on_progress);
    }
    bail!("{place}: not a data set, {EXPECTED}")
}
