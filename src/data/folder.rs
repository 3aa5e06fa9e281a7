//! Reads a folder of pictures: `train/<class>/*.{png,jpg,jpeg,webp}` and `test/<class>/*`, decoded on all cores.
//!
//! - Classes are the folders under `train`, sorted by name. Names that start with a dot are passed over.
//! - If one picture has colors, all become RGB; otherwise all stay gray. Transparency is dropped.
//! - If sizes differ, every picture is scaled to the size most training pictures have (the smaller one of equals), without
//!   regard to its proportions, and the notes say how many were scaled.
//! - A picture that cannot be read is named in the notes, skipped and counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use rayon::prelude::*;

use super::dataset::Dataset;
use super::images::{ImageShape, Images, MAX_BYTES};
use super::progress::{OnProgress, Progress};

/// Pictures decoded between two looks at the progress callback.
const AT_ONCE: usize = 512;

/// Unreadable pictures that are named one by one.
const MAX_NAMED: usize = 20;

/// Longest side of a picture, in pixels: what a damaged header may claim at most.
const MAX_SIDE: u32 = 16_384;

struct PictureFile {
    path: PathBuf,
    /// Relative to the data set's folder, with `/`: what messages call it.
    name: String,
    label: u16,
}

#[derive(Clone, Copy, PartialEq)]
struct PictureHeader {
    width: u32,
    height: u32,
    colored: bool,
}

/// Opens such a folder.
///
/// # Errors
/// When `train` or `test` is missing, they differ in classes, a class has no readable picture, or all pictures together do
/// not fit into [`MAX_BYTES`]; and those of `on_progress`.
pub fn open_folder(root: &Path, on_progress: &mut OnProgress) -> Result<Dataset> {
    let place = root.display().to_string();
    for split in ["train", "test"] {
        ensure!(
            root.join(split).is_dir(),
            "{place}: no `{split}` folder, expected {split}/<class>/*.png, .jpg, .jpeg or .webp"
        );
    }
    let classes = folders(&root.join("train"))?;
    ensure!(
        !classes.is_empty(),
        "{place}/train: no class folders, expected train/<class>/*.png, .jpg, .jpeg or .webp"
    );
    ensure!(
        classes.len() <= usize::from(u16::MAX),
        "{place}/train: {} classes, expected at most {}",
        classes.len(),
        u16::MAX
    );
    for class in folders(&root.join("test"))? {
        ensure!(
            classes.contains(&class),
            "{place}/test/{class}: a class that `train` does not have, expected one of its {}",
            classes.len()
        );
    }

    let mut report = Report::default();
    let mut splits = [
        SplitFolder::list(root, "train", &classes, &mut report)?,
        SplitFolder::list(root, "test", &classes, &mut report)?,
    ];
    let total = 2 * splits.iter().map(|split| split.pictures.len()).sum::<usize>();
    let mut done = 0;
    let mut advance = |pictures: usize, text: &str| {
        done += pictures;
        on_progress(Progress::new(done as f32 / total as f32, text))
    };
    for split in &mut splits {
        split.read_headers(&mut report, &mut advance)?;
    }
    let shape = common_shape(&splits);
    let bytes = splits.iter().map(|split| split.pictures.len() as u64).sum::<u64>() * shape.bytes() as u64;
    ensure!(
        bytes <= MAX_BYTES,
        "{place}: the pictures take {bytes} bytes at {shape}, expected at most {MAX_BYTES}; scale them down first"
    );
    let scaled = splits
        .iter()
        .flat_map(|split| &split.headers)
        .filter(|header| (header.height as usize, header.width as usize) != (shape.height, shape.width))
        .count();
    let [train, test] = splits;
    let train = train.decode(shape, &mut report, &mut advance)?;
    let test = test.decode(shape, &mut report, &mut advance)?;
    for (split, images) in [("train", &train), ("test", &test)] {
        ensure_every_class(&format!("{place}/{split}"), &classes, &images.labels, &report)?;
    }
    let name = root
        .file_name()
        .map_or_else(|| "images".into(), |name| name.to_string_lossy().into_owned());
    Dataset::new(name, classes, train, test, report.notes(scaled, shape))
}

/// One of `train` and `test`, while it is being read. `headers` run parallel to `pictures` once they are there.
struct SplitFolder {
    name: &'static str,
    pictures: Vec<PictureFile>,
    headers: Vec<PictureHeader>,
}

impl SplitFolder {
    fn list(root: &Path, name: &'static str, classes: &[String], report: &mut Report) -> Result<Self> {
        let mut pictures = Vec::new();
        for (label, class) in (0_u16..).zip(classes) {
            let folder = root.join(name).join(class);
            let before = pictures.len();
            if folder.is_dir() {
                for file in names(&folder)? {
                    if is_picture_name(&file) {
                        let name = format!("{name}/{class}/{file}");
                        let path = folder.join(&file);
                        pictures.push(PictureFile { path, name, label });
                    } else {
                        report.others += 1;
                    }
                }
            }
            ensure!(
                pictures.len() > before,
                "{}: class `{class}` is empty, expected at least one .png, .jpg, .jpeg or .webp",
                folder.display()
            );
        }
        Ok(Self {
            name,
            pictures,
            headers: Vec::new(),
        })
    }

    /// Fills `headers` and drops the pictures that have none.
    fn read_headers(&mut self, report: &mut Report, advance: &mut dyn FnMut(usize, &str) -> Result<()>) -> Result<()> {
        let text = format!("Looking at {} pictures", self.name);
        let mut kept = Vec::with_capacity(self.pictures.len());
        let mut rest = std::mem::take(&mut self.pictures).into_iter();
        loop {
            let chunk: Vec<PictureFile> = rest.by_ref().take(AT_ONCE).collect();
            if chunk.is_empty() {
                break;
            }
            let headers: Vec<_> = chunk.par_iter().map(|picture| read_header(&picture.path)).collect();
            advance(chunk.len(), &text)?;
            for (picture, header) in chunk.into_iter().zip(headers) {
                match header {
                    Ok(header) => {
                        self.headers.push(header);
                        kept.push(picture);
                    }
                    Err(error) => report.skip(&picture, &error),
                }
            }
        }
        self.pictures = kept;
        Ok(())
    }

    fn decode(
        self,
        shape: ImageShape,
        report: &mut Report,
        advance: &mut dyn FnMut(usize, &str) -> Result<()>,
    ) -> Result<Images> {
        let text = format!("Decoding {} pictures", self.name);
        let bytes = shape.bytes();
        let mut images = Images::empty(shape);
        images.pixels = Vec::with_capacity(self.pictures.len() * bytes);
        for chunk in self.pictures.chunks(AT_ONCE) {
            let decoded: Vec<_> = chunk.par_iter().map(|picture| decode(&picture.path, shape)).collect();
            for (picture, pixels) in chunk.iter().zip(decoded) {
                match pixels {
                    Ok(pixels) => {
                        images.pixels.extend_from_slice(&pixels);
                        images.labels.push(picture.label);
                    }
                    Err(error) => report.skip(picture, &error),
                }
            }
            advance(chunk.len(), &text)?;
        }
        Ok(images)
    }
}

/// What the data set's notes will say.
#[derive(Default)]
struct Report {
    /// Name and reason of the first [`MAX_NAMED`].
    named: Vec<String>,
    skipped: usize,
    /// Files that are not pictures by their name.
    others: usize,
}

impl Report {
    fn skip(&mut self, picture: &PictureFile, error: &anyhow::Error) {
        self.skipped += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(format!("{} ({error:#})", picture.name));
        }
    }

    fn skipped(&self) -> String {
        let more = match self.skipped - self.named.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let pictures = count(self.skipped, "picture", "pictures");
        format!("{pictures} skipped, unreadable: {}{more}", self.named.join(", "))
    }

    fn notes(self, scaled: usize, shape: ImageShape) -> Vec<String> {
        let mut notes = Vec::new();
        if self.skipped > 0 {
            notes.push(self.skipped());
        }
        if scaled > 0 {
            let (height, width) = (shape.height, shape.width);
            notes.push(format!(
                "{} scaled to {height}×{width}, the most common size",
                count(scaled, "picture", "pictures")
            ));
        }
        if self.others > 0 {
            notes.push(format!(
                "{} passed over, not .png, .jpg, .jpeg or .webp",
                count(self.others, "other entry", "other entries")
            ));
        }
        notes
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Names in a folder, sorted, without those that start with a dot.
fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot_read = || format!("{}: cannot be read", folder.display());
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(cannot_read)? {
        let name = entry.with_context(cannot_read)?.file_name();
        let name = name
            .into_string()
            .map_err(|name| anyhow::anyhow!("{}: the name {name:?} is not UTF-8", folder.display()))?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn folders(folder: &Path) -> Result<Vec<String>> {
    let mut folders = names(folder)?;
    folders.retain(|name| folder.join(name).is_dir());
    Ok(folders)
}

fn is_picture_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".png", ".jpg", ".jpeg", ".webp"].iter().any(|end| name.ends_with(end))
}

/// Told by content, because pictures with a wrong ending are common.
fn reader(path: &Path) -> Result<ImageReader<std::io::BufReader<std::fs::File>>> {
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(512 << 20);
    reader.limits(limits);
    Ok(reader)
}

fn read_header(path: &Path) -> Result<PictureHeader> {
    let decoder = reader(path)?.into_decoder()?;
    let (width, height) = decoder.dimensions();
    ensure!(width > 0 && height > 0, "no pixels");
    let colored = decoder.color_type().has_color();
    Ok(PictureHeader { width, height, colored })
}

/// The most common size of the training pictures; colors if any picture has some.
fn common_shape(splits: &[SplitFolder; 2]) -> ImageShape {
    let mut counts = BTreeMap::new();
    for header in &splits[0].headers {
        let area = u64::from(header.width) * u64::from(header.height);
        *counts.entry((area, header.height, header.width)).or_insert(0_usize) += 1;
    }
    // Reversed, because of equals `max_by_key` returns the last one.
    let most = counts.into_iter().rev().max_by_key(|&(_, count)| count);
    let (height, width) = most.map_or((0, 0), |((_, height, width), _)| (height, width));
    let colored = splits
        .iter()
        .flat_map(|split| &split.headers)
        .any(|header| header.colored);
    ImageShape {
        channels: if colored { 3 } else { 1 },
        height: height as usize,
        width: width as usize,
    }
}

/// Planes of one picture file, scaled to `shape`: `[channels, height, width]`, 0 black to 255 white.
///
/// # Errors
/// It cannot be read, or is no picture.
pub fn picture(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    decode(path, shape).with_context(|| format!("picture {}", path.display()))
}

/// Planes of the picture at `path`, `[channels, height, width]`.
fn decode(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    let mut picture = reader(path)?.decode()?;
    let (width, height) = (shape.width as u32, shape.height as u32);
    if (picture.width(), picture.height()) != (width, height) {
        picture = picture.resize_exact(width, height, FilterType::Triangle);
    }
    Ok(planes(picture, shape.channels))
}

fn planes(picture: DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return picture.into_luma8().into_raw();
    }
    let interleaved = picture.into_rgb8().into_raw();
    let (pixels, _) = interleaved.as_chunks::<3>();
    (0..3)
        .flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel]))
        .collect()
}

fn ensure_every_class(place: &str, classes: &[String], labels: &[u16], report: &Report) -> Result<()> {
    let mut seen = vec![false; classes.len()];
    labels.iter().for_each(|&label| seen[usize::from(label)] = true);
    for (class, seen) in classes.iter().zip(seen) {
        ensure!(
            seen,
            "{place}/{class}: class `{class}` has no readable picture, expected at least one ({})",
            report.skipped()
        );
    }
    Ok(())
}
