//! Reads IDX files, the format of MNIST and its relatives: big-endian header, then bytes.
//!
//! Format: <https://yann.lecun.org/exdb/mnist/>. Two zero bytes, the type (8: unsigned byte), the number of dimensions, each
//! dimension as four bytes, then the data.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::class_names::numbered_classes;
use super::dataset::Dataset;
use super::images::{ImageShape, Images};
use super::progress::{OnProgress, Progress};
use super::stream::{Tick, Unpacked};

/// Whether a file of this name belongs to an IDX data set.
pub(crate) fn is_idx_name(name: &str) -> bool {
    name.ends_with("-ubyte") || name.ends_with("-ubyte.gz")
}

/// What the names of the sets in a folder begin with, sorted: empty for MNIST's own names, `emnist-letters` and the like.
pub(crate) fn sets<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let kinds = ["-images-idx3-ubyte", "-images.idx3-ubyte"];
    let of = |name: &'a str| {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let name = kinds.iter().find_map(|kind| name.strip_suffix(kind))?;
        Some(name.strip_suffix("train")?.trim_end_matches('-').to_owned())
    };
    let sets: BTreeSet<String> = names.filter_map(of).collect();
    sets.into_iter().collect()
}

/// Opens `{train,t10k}-{images-idx3,labels-idx1}-ubyte`, each raw or `.gz` (raw wins where both are there; `test` may stand
/// for `t10k`). Names may begin with that of a set, as EMNIST's do. Classes are named by number, from 0 to the highest training
/// label.
///
/// # Errors
/// When a file is missing, damaged, of another kind, longer or shorter than its header says, or does not fit its partner;
/// and those of `on_progress`.
pub(crate) fn open_folder(folder: &Path, set: &str, on_progress: &mut OnProgress) -> Result<Dataset> {
    let find = |prefixes: &[&str], kind| find_file(folder, set, prefixes, kind);
    let paths = [
        find(&["train"], "images-idx3")?,
        find(&["train"], "labels-idx1")?,
        find(&["t10k", "test"], "images-idx3")?,
        find(&["t10k", "test"], "labels-idx1")?,
    ];
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let file = File::open(&path).with_context(|| format!("{name}: cannot be opened"))?;
        let bytes = file
            .metadata()
            .with_context(|| format!("{name}: cannot be read"))?
            .len();
        files.push(Input {
            name,
            reader: BufReader::with_capacity(1 << 16, file),
            bytes,
        });
    }
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut before = 0;
    let mut pairs = Vec::new();
    while !files.is_empty() {
        let [images, labels] = [files.remove(0), files.remove(0)];
        let bytes = images.bytes + labels.bytes;
        let text = format!("Reading {}", images.name);
        let names = [images.name.clone(), labels.name.clone()];
        let pair = read_pair(images, labels, &mut |fraction| {
            let fraction = (before as f32 + fraction * bytes as f32) / total.max(1) as f32;
            on_progress(Progress::new(fraction, &text))
        })?;
        before += bytes;
        pairs.push((names, pair));
    }
    let (Some((_, train)), Some(([test_images, test_labels], test))) = (pairs.first(), pairs.get(1)) else {
        bail!("{}: expected training and test files", folder.display());
    };
    ensure!(
        train.shape == test.shape,
        "{test_images}: images are {}, expected {} like the training images",
        test.shape,
        train.shape
    );
    let classes = usize::from(train.labels.iter().copied().max().unwrap_or(0)) + 1;
    if let Some(at) = test.labels.iter().position(|&label| usize::from(label) >= classes) {
        let label = test.labels[at];
        bail!("{test_labels}: label {label} at position {at}, expected less than {classes} as in the training labels");
    }
    let name = match folder.file_name() {
        _ if !set.is_empty() => set.to_owned(),
        Some(name) => name.to_string_lossy().into_owned(),
        None => "idx".to_owned(),
    };
    let test = pairs.remove(1).1;
    let train = pairs.remove(0).1;
    Dataset::new(name, numbered_classes(classes), train, test, Vec::new())
}

fn find_file(folder: &Path, set: &str, prefixes: &[&str], kind: &str) -> Result<PathBuf> {
    let spellings = [kind.to_string(), kind.replacen('-', ".", 1)]; // train-images-idx3-ubyte, train-images.idx3-ubyte
    let dash = if set.is_empty() { "" } else { "-" };
    for prefix in prefixes {
        for spelling in &spellings {
            for packed in ["", ".gz"] {
                let path = folder.join(format!("{set}{dash}{prefix}-{spelling}-ubyte{packed}"));
                if path.is_file() {
                    return Ok(path);
                }
            }
        }
    }
    let prefix = prefixes[0];
    bail!(
        "{}: {set}{dash}{prefix}-{kind}-ubyte or {set}{dash}{prefix}-{kind}-ubyte.gz expected, not found",
        folder.display()
    )
}

/// One IDX file, raw or packed with gzip.
pub struct Input<R> {
    /// The file, as errors call it.
    pub name: String,
    /// Its bytes as they are stored.
    pub reader: R,
    /// How many bytes are stored.
    pub bytes: u64,
}

/// Reads an images file and its labels file. `tick` hears the fraction of the images read.
///
/// # Errors
/// When a file is damaged, of another kind, longer or shorter than its header says, or the counts differ; and those of `tick`.
pub fn read_pair(images: Input<impl BufRead>, labels: Input<impl BufRead>, tick: &mut Tick) -> Result<Images> {
    let names = [images.name.clone(), labels.name.clone()];
    // Labels first: they are small, so a mismatch is found before the images are read.
    let labels = read_labels(labels)?;
    let content = Unpacked::new(&images.name, images.reader, images.bytes)?;
    let (n, shape, content) = images_header(content)?;
    ensure!(
        labels.len() as u64 == n,
        "{}: {} labels, expected {n}, one for each image of {}",
        names[1],
        labels.len(),
        names[0]
    );
    let pixels = content.rest(n * shape.bytes() as u64, tick)?;
    Ok(Images {
        shape,
        pixels,
        labels,
        answers: None,
    })
}

fn read_labels(labels: Input<impl BufRead>) -> Result<Vec<u16>> {
    let mut content = Unpacked::new(&labels.name, labels.reader, labels.bytes)?;
    expect_kind(&mut content, IdxKind::Labels)?;
    let n = dimension(&mut content)?;
    let bytes = content.rest(n, &mut |_| Ok(()))?;
    Ok(bytes.into_iter().map(u16::from).collect())
}

fn images_header(mut content: Unpacked<'_>) -> Result<(u64, ImageShape, Unpacked<'_>)> {
    expect_kind(&mut content, IdxKind::Images)?;
    let n = dimension(&mut content)?;
    let [height, width] = [dimension(&mut content)?, dimension(&mut content)?];
    ensure!(
        (1..=4096).contains(&height) && (1..=4096).contains(&width),
        "{}: images of {height}×{width} pixels, expected sides from 1 to 4096",
        content.name
    );
    let shape = ImageShape {
        channels: 1,
        height: height as usize,
        width: width as usize,
    };
    Ok((n, shape, content))
}

#[derive(Clone, Copy, PartialEq)]
enum IdxKind {
    Labels,
    Images,
}

impl IdxKind {
    fn magic(self) -> [u8; 4] {
        match self {
            Self::Labels => [0, 0, 8, 1],
            Self::Images => [0, 0, 8, 3],
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Labels => "IDX labels (00000801)",
            Self::Images => "IDX images (00000803)",
        }
    }
}

fn expect_kind(content: &mut Unpacked, kind: IdxKind) -> Result<()> {
    let magic = content.header::<4>()?;
    if magic == kind.magic() {
        return Ok(());
    }
    let found = [IdxKind::Labels, IdxKind::Images]
        .into_iter()
        .find(|other| magic == other.magic());
    let found = found.map_or_else(
        || format!("{:08x}", u32::from_be_bytes(magic)),
        |other| other.text().into(),
    );
    bail!("{}: starts with {found}, expected {}", content.name, kind.text())
}

/// One dimension of the header; a product of three cannot overflow, because sides are checked before they are multiplied.
fn dimension(content: &mut Unpacked) -> Result<u64> {
    Ok(u64::from(u32::from_be_bytes(content.header()?)))
}
