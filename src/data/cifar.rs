//! Reads CIFAR-10 and CIFAR-100 in their binary version, from a folder or straight out of the `.tar.gz`.
//! The Python version is recognized only to say where the other one is.
//!
//! Format: <https://www.cs.toronto.edu/~kriz/cifar.html>. Records of one label byte (CIFAR-100: a coarse and a fine one, of
//! which the fine one counts) and 3072 pixel bytes, `[3, 32, 32]`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use super::class_names::numbered_classes;
use super::dataset::Dataset;
use super::images::{ImageShape, Images, MAX_BYTES};
use super::progress::{OnProgress, Progress};
use super::stream::{Tick, exactly, fill};

const SHAPE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};

/// Records read between two looks at the progress callback.
const RECORDS_AT_ONCE: u64 = 512;

/// A list of class names is short, and so is the name of a file; what is longer is something else.
const MAX_NAMES_BYTES: u64 = 1 << 16;

/// What tells the two data sets apart.
#[derive(Debug, PartialEq)]
struct CifarVariant {
    name: &'static str,
    label_bytes: usize,
    classes: usize,
    /// How the names of training files begin.
    train: &'static str,
    /// The one that every copy has.
    first: &'static str,
    train_files: usize,
    test: &'static str,
    names: &'static str,
}

static VARIANTS: [CifarVariant; 2] = [
    CifarVariant {
        name: "cifar-10",
        label_bytes: 1,
        classes: 10,
        train: "data_batch_",
        first: "data_batch_1.bin",
        train_files: 5,
        test: "test_batch.bin",
        names: "batches.meta.txt",
    },
    CifarVariant {
        name: "cifar-100",
        label_bytes: 2,
        classes: 100,
        train: "train.",
        first: "train.bin",
        train_files: 1,
        test: "test.bin",
        names: "fine_label_names.txt",
    },
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Train,
    Test,
    Names,
}

fn role(name: &str) -> Option<(&'static CifarVariant, Role)> {
    VARIANTS.iter().find_map(|variant| {
        let role = if name == variant.names {
            Role::Names
        } else if name == variant.test {
            Role::Test
        } else if name.starts_with(variant.train) && name.ends_with(".bin") {
            Role::Train
        } else {
            return None;
        };
        Some((variant, role))
    })
}

/// The folders of the Python version.
const PYTHON: [&str; 2] = ["cifar-10-batches-py", "cifar-100-python"];

/// What to say of the Python version.
pub(crate) fn python(place: &str) -> String {
    format!(
        "{place}: holds the Python version of CIFAR, expected the binary version \
         (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz, from https://www.cs.toronto.edu/~kriz/cifar.html)"
    )
}

/// Whether a folder is of the Python version, or holds one that is. `names` are the names in it.
pub(crate) fn is_python(path: &Path, names: &[String]) -> bool {
    let has = |name: &str| names.iter().any(|other| other == name);
    let is_named = path
        .file_name()
        .is_some_and(|name| PYTHON.iter().any(|python| name == *python));
    is_named || PYTHON.iter().any(|python| has(python)) || (has("data_batch_1") && has("batches.meta"))
}

/// Whether a file of this name holds CIFAR training images.
pub(crate) fn is_train_name(name: &str) -> bool {
    matches!(role(name), Some((_, Role::Train)))
}

/// Opens a folder of `data_batch_*.bin` and `test_batch.bin`, or of `train.bin` and `test.bin`. Classes are named by
/// `batches.meta.txt` or `fine_label_names.txt`, by number where that is missing.
///
/// # Errors
/// When a file is missing, damaged or not a whole number of records, or a label has no class; and those of `on_progress`.
pub fn open_folder(folder: &Path, on_progress: &mut OnProgress) -> Result<Dataset> {
    let place = folder.display().to_string();
    let mut files = Vec::new();
    let entries = folder.read_dir().with_context(|| format!("{place}: cannot be read"))?;
    for entry in entries {
        let path = entry.with_context(|| format!("{place}: cannot be read"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if role(&name).is_some() && path.is_file() {
            let bytes = path
                .metadata()
                .with_context(|| format!("{}: cannot be read", path.display()))?
                .len();
            files.push((name, path, bytes));
        }
    }
    files.sort();
    let total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
    let mut before = 0;
    let mut parts = Parts::default();
    for (name, path, bytes) in files {
        let mut file = File::open(&path).with_context(|| format!("{}: cannot be opened", path.display()))?;
        let text = format!("Reading {name}");
        parts.add(&place, &name, bytes, &mut file, &mut |fraction| {
            let fraction = (before as f32 + fraction * bytes as f32) / total.max(1) as f32;
            on_progress(Progress::new(fraction, &text))
        })?;
        before += bytes;
    }
    parts.finish(&place)
}

/// Opens the same files out of a `.tar.gz`, in whatever folder and order they lie there; nothing is unpacked to disk.
///
/// # Errors
/// As [`open_folder`], and when the archive is damaged or holds the Python version.
pub fn open_archive(path: &Path, on_progress: &mut OnProgress) -> Result<Dataset> {
    let place = path.display().to_string();
    let cannot_read = || format!("{place}: cannot be read as .tar.gz, damaged or cut short");
    let file = File::open(path).with_context(|| format!("{place}: cannot be opened"))?;
    let packed = file.metadata().with_context(cannot_read)?.len();
    let position = Cell::new(0);
    let counted = Counted {
        inner: file,
        position: &position,
    };
    let stream = MultiGzDecoder::new(BufReader::with_capacity(1 << 16, counted));
    let mut archive = tar::Archive::new(stream);
    let mut parts = Parts::default();
    let mut long_name = None;
    // Raw: names that stand before their file are read here, since tar takes them whole, whatever their size.
    for entry in archive.entries().with_context(cannot_read)?.raw(true) {
        let mut entry = entry.with_context(cannot_read)?;
        if !is_of_its_own(entry.header().entry_type()) {
            long_name = name_before(&mut entry, &place)?.or(long_name);
            continue;
        }
        let path = match long_name.take() {
            Some(path) => path,
            None => entry.path().with_context(cannot_read)?.into_owned(),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_file = entry.header().entry_type().is_file();
        let mut folders = path.components().map(|part| part.as_os_str());
        ensure!(
            !folders.any(|name| PYTHON.iter().any(|python| name == *python)),
            "{}",
            python(&place)
        );
        let text = format!("Reading {name}");
        let mut tick = |_| {
            let fraction = position.get() as f32 / packed.max(1) as f32;
            on_progress(Progress::new(fraction.min(1.0), &text))
        };
        tick(0.0)?;
        if is_file && role(&name).is_some() {
            let bytes = entry.size();
            parts.add(&place, &name, bytes, &mut entry, &mut tick)?;
        }
    }
    // Only at its end does gzip compare its checksum; tar stops before.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).with_context(cannot_read)?;
    parts.finish(&place)
}

/// Whether an entry of an archive is a file, a folder or a link, and not something said of the next one.
fn is_of_its_own(kind: tar::EntryType) -> bool {
    !(kind.is_gnu_longname()
        || kind.is_gnu_longlink()
        || kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions())
}

/// The name of the next file, where an entry says it.
fn name_before(entry: &mut tar::Entry<impl Read>, place: &str) -> Result<Option<PathBuf>> {
    let (kind, bytes) = (entry.header().entry_type(), entry.size());
    ensure!(
        bytes <= MAX_NAMES_BYTES,
        "{place}: {bytes} bytes that say the name of a file, expected at most {MAX_NAMES_BYTES}"
    );
    let text = exactly(entry, bytes, place, &mut |_| Ok(()))?;
    let name = if kind.is_gnu_longname() {
        let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
        Some(text[..end].to_vec())
    } else if kind.is_pax_local_extensions() {
        let mut said = tar::PaxExtensions::new(&text).filter_map(Result::ok);
        said.find(|e| e.key_bytes() == b"path")
            .map(|e| e.value_bytes().to_vec())
    } else {
        None
    };
    Ok(name.map(|bytes| PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())))
}

/// Counts the bytes that pass, so that progress follows the packed file.
struct Counted<'a, R> {
    inner: R,
    position: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(bytes)?;
        self.position.set(self.position.get() + n as u64);
        Ok(n)
    }
}

/// The files found so far. Training files are kept by name, so that an archive's order does not matter.
#[derive(Default)]
struct Parts {
    variant: Option<&'static CifarVariant>,
    train: BTreeMap<String, Images>,
    test: Option<Images>,
    names: Option<Vec<String>>,
}

impl Parts {
    /// Reads one file, of which [`role`] knows the name.
    fn add(&mut self, place: &str, name: &str, bytes: u64, reader: &mut dyn Read, tick: &mut Tick) -> Result<()> {
        let Some((variant, role)) = role(name) else {
            return Ok(());
        };
        let file = format!("{place}: {name}");
        let first = *self.variant.get_or_insert(variant);
        ensure!(
            first == variant,
            "{file}: belongs to {}, expected files of {} only",
            variant.name,
            first.name
        );
        let twice = match role {
            Role::Names => self.names.replace(read_names(&file, variant, bytes, reader)?).is_some(),
            Role::Test => self
                .test
                .replace(read_records(&file, variant, bytes, reader, tick)?)
                .is_some(),
            Role::Train => {
                let images = read_records(&file, variant, bytes, reader, tick)?;
                self.train.insert(name.to_string(), images).is_some()
            }
        };
        ensure!(!twice, "{file}: found twice, expected once");
        Ok(())
    }

    fn finish(self, place: &str) -> Result<Dataset> {
        let Some(variant) = self.variant else {
            bail!(
                "{place}: no CIFAR binary files, expected data_batch_1.bin or train.bin, and test_batch.bin or test.bin"
            );
        };
        let found = self.train.len();
        ensure!(
            found > 0,
            "{place}: {} expected beside {}, not found",
            variant.first,
            variant.test
        );
        let Some(test) = self.test else {
            bail!("{place}: {} expected, not found", variant.test);
        };
        let mut notes = Vec::new();
        if found != variant.train_files {
            notes.push(format!(
                "{found} of the usual {} training files were found",
                variant.train_files
            ));
        }
        let mut train = Images::empty(SHAPE);
        for mut images in self.train.into_values() {
            train.pixels.append(&mut images.pixels);
            train.labels.append(&mut images.labels);
        }
        let classes = self.names.unwrap_or_else(|| numbered_classes(variant.classes));
        Dataset::new(variant.name.into(), classes, train, test, notes)
    }
}

fn read_names(file: &str, variant: &CifarVariant, bytes: u64, reader: &mut dyn Read) -> Result<Vec<String>> {
    ensure!(
        bytes <= MAX_NAMES_BYTES,
        "{file}: {bytes} bytes, expected a short list of class names"
    );
    let text = exactly(reader, bytes, file, &mut |_| Ok(()))?;
    let text = String::from_utf8(text).with_context(|| format!("{file}: expected class names as text"))?;
    let names: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(String::from)
        .collect();
    ensure!(
        names.len() == variant.classes,
        "{file}: {} class names, expected {}",
        names.len(),
        variant.classes
    );
    Ok(names)
}

fn read_records(
    file: &str,
    variant: &CifarVariant,
    bytes: u64,
    reader: &mut dyn Read,
    tick: &mut Tick,
) -> Result<Images> {
    let record = (variant.label_bytes + SHAPE.bytes()) as u64;
    ensure!(
        bytes > 0 && bytes.is_multiple_of(record),
        "{file}: {bytes} bytes, expected a multiple of {record} ({} label and {} pixel bytes a record)",
        variant.label_bytes,
        SHAPE.bytes()
    );
    ensure!(
        bytes <= MAX_BYTES,
        "{file}: {bytes} bytes, expected at most {MAX_BYTES}"
    );
    let n = bytes / record;
    let mut images = Images::empty(SHAPE);
    let mut buffer = vec![0; (n.min(RECORDS_AT_ONCE) * record) as usize];
    while (images.len() as u64) < n {
        let wanted = ((n - images.len() as u64).min(RECORDS_AT_ONCE) * record) as usize;
        let got = fill(reader, &mut buffer[..wanted], file)?;
        ensure!(
            got == wanted,
            "{file}: {} bytes, expected {bytes}: the file is cut short",
            images.len() as u64 * record + got as u64
        );
        for record in buffer[..wanted].chunks_exact(record as usize) {
            let (labels, pixels) = record.split_at(variant.label_bytes);
            let label = labels[variant.label_bytes - 1];
            ensure!(
                usize::from(label) < variant.classes,
                "{file}: label {label} in record {}, expected less than {}",
                images.len(),
                variant.classes
            );
            images.labels.push(u16::from(label));
            images.pixels.extend_from_slice(pixels);
        }
        tick(images.len() as f32 / n as f32)?;
    }
    Ok(images)
}
