//! Finds out what kind of data set a path holds, and opens it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::dataset::Dataset;
use super::layout::Classes;
use super::progress::{OnProgress, Progress};
use super::reading::Reading;
use super::{bundled, cifar, folder, idx, layout};

const EXPECTED: &str = "expected `fashion-mnist`, a folder of IDX files (train-images-idx3-ubyte, raw or .gz), a CIFAR binary \
                        folder (data_batch_1.bin or train.bin) or its .tar.gz, or a folder of images \
                        (train/<class>/*.png, .jpg, .webp, .bmp, .gif or .tif, and test)";

/// Whether a source is a path, not the name of the bundled images.
pub fn is_path(source: &str) -> bool {
    source != bundled::NAME
}

/// Opens the data set that `source` names: `fashion-mnist` (bundled), or a path whose kind is detected. A folder that
/// happens to be called `fashion-mnist` is reached as `./fashion-mnist`, and one of several IDX sets in a folder as if it were a
/// folder itself: `emnist/emnist-letters`. `reading` says how pictures become images.
///
/// # Errors
/// When nothing known is there or what is there is damaged, in one line: where, what, and what was expected. An error of
/// `on_progress` comes back unchanged.
pub fn open(source: &str, reading: &Reading, on_progress: &mut OnProgress) -> Result<Dataset> {
    open_as(source, (reading, Classes::Needed), on_progress)
}

/// As [`open`]; but a folder of pictures, or `train` with `test` perhaps, may have no classes: all images have label 0 then.
///
/// # Errors
/// As [`open`].
pub fn open_unlabeled(source: &str, reading: &Reading, on_progress: &mut OnProgress) -> Result<Dataset> {
    open_as(source, (reading, Classes::Welcome), on_progress)
}

fn open_as(source: &str, how: (&Reading, Classes), on_progress: &mut OnProgress) -> Result<Dataset> {
    let path = Path::new(source);
    let dataset = if !is_path(source) {
        on_progress(Progress::new(0.0, "Unpacking Fashion-MNIST"))?;
        bundled::open()?
    } else if path.is_dir() {
        open_folder(path, how, on_progress)?
    } else if path.is_file() {
        let name = source.to_ascii_lowercase();
        if !name.ends_with(".tar.gz") && !name.ends_with(".tgz") {
            bail!("{source}: not a data set, {EXPECTED}");
        }
        cifar::open_archive(path, on_progress)?
    } else if let Some((folder, set)) = idx_set(path) {
        open_idx(&folder, &set, on_progress)?
    } else {
        bail!("{source}: no such file or folder, {EXPECTED}");
    };
    on_progress(Progress::new(1.0, format!("Opened {}", dataset.name)))?;
    Ok(dataset)
}

/// What a folder is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Idx,
    Cifar,
    CifarPython,
    Pictures,
}

fn kind(path: &Path, names: &[String]) -> Option<Kind> {
    let any = |known: fn(&str) -> bool| names.iter().any(|name| known(name));
    if any(idx::is_idx_name) {
        Some(Kind::Idx)
    } else if any(cifar::is_train_name) {
        Some(Kind::Cifar)
    } else if cifar::is_python(path, names) {
        Some(Kind::CifarPython)
    } else {
        layout::has_train(path).then_some(Kind::Pictures)
    }
}

fn open_folder(path: &Path, how: (&Reading, Classes), on_progress: &mut OnProgress) -> Result<Dataset> {
    let place = path.display().to_string();
    let inside = names(path)?;
    match kind(path, &inside) {
        Some(Kind::Idx) => {
            let mut sets = idx::sets(inside.iter().map(String::as_str));
            ensure!(
                sets.len() < 2 || sets[0].is_empty(),
                "{place}: several data sets, expected one of them: {}",
                sets.iter()
                    .map(|set| path.join(set).display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            sets.truncate(1);
            open_idx(path, &sets.pop().unwrap_or_default(), on_progress)
        }
        Some(Kind::Cifar) => cifar::open_folder(path, on_progress),
        Some(Kind::CifarPython) => bail!("{}", cifar::python(&place)),
        Some(Kind::Pictures) => folder::open_folder(path, how, on_progress),
        None => {
            // torchvision has MNIST in MNIST/raw, and archives are often unpacked into a folder of their own.
            let is_set =
                |inner: &PathBuf| inner.is_dir() && names(inner).is_ok_and(|names| kind(inner, &names).is_some());
            let mut sets: Vec<PathBuf> = inside.iter().map(|name| path.join(name)).filter(is_set).collect();
            sets.sort();
            match &sets[..] {
                [] if layout::may_be_set(path, how.1) => folder::open_folder(path, how, on_progress),
                [] => bail!("{place}: not a data set, {EXPECTED}"),
                [one] => {
                    let mut dataset = open_folder(one, how, on_progress)?;
                    dataset
                        .notes
                        .insert(0, format!("the images are those in {}", one.display()));
                    Ok(dataset)
                }
                several => {
                    let several: Vec<String> = several.iter().map(|set| set.display().to_string()).collect();
                    bail!(
                        "{place}: several data sets, expected one of them: {}",
                        several.join(", ")
                    )
                }
            }
        }
    }
}

fn open_idx(folder: &Path, set: &str, on_progress: &mut OnProgress) -> Result<Dataset> {
    let mut dataset = idx::open_folder(folder, set, on_progress)?;
    if dataset.checksum == bundled::CHECKSUM {
        dataset.classes = bundled::classes();
    }
    Ok(dataset)
}

/// The folder and the name of an IDX set that is named like a folder.
fn idx_set(path: &Path) -> Option<(PathBuf, String)> {
    let folder = path.parent()?;
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let set = path.file_name()?.to_str()?.to_owned();
    let names = names(folder).ok()?;
    let sets = idx::sets(names.iter().map(String::as_str));
    sets.contains(&set).then(|| (folder.to_path_buf(), set))
}

/// Names in a folder. What is not UTF-8 is replaced.
fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot_read = || format!("{}: cannot be read", folder.display());
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(cannot_read)? {
        let name = entry.with_context(cannot_read)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}
