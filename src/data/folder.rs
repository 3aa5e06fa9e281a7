//! Reads a folder of pictures, decoded on all cores. Where they lie is in `layout.rs`, how one is read in `picture.rs`.
//!
//! - If one picture has colors, all become RGB; otherwise all stay gray.
//! - All become one size: the one asked for, or that of most training pictures. Where no size is that common, it is the median
//!   of their heights and of their widths, so that a single odd picture decides nothing. The notes say how many were scaled.
//! - Pictures of 16 bits that do not use them all are brightened, all of them alike.
//! - A picture that cannot be read is named in the notes, skipped and counted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::dataset::Dataset;
use super::images::{ImageShape, Images, MAX_BYTES};
use super::layout::{Classes, Others, PictureFile, layout};
use super::picture::{Decoded, ENDINGS_TEXT, PictureHeader, Target, decode, header, read_file, white};
use super::progress::{OnProgress, Progress};
use super::reading::{Fit, PictureSize, Reading};

/// Pictures decoded between two looks at the progress callback.
const AT_ONCE: usize = 512;

/// Unreadable pictures that are named one by one.
const MAX_NAMED: usize = 20;

/// Opens such a folder.
///
/// # Errors
/// When there are no training pictures, `train` and `test` differ in classes, a class has no readable picture, or all pictures
/// together do not fit into [`MAX_BYTES`]; and those of `on_progress`.
pub(crate) fn open_folder(
    root: &Path,
    (reading, classes): (&Reading, Classes),
    on_progress: &mut OnProgress,
) -> Result<Dataset> {
    let place = root.display().to_string();
    let found = layout(root, classes)?;
    let classes = found.classes;
    let mut report = Report {
        others: found.others,
        ..Report::default()
    };
    let mut splits = [("train", found.train), ("test", found.test)].map(|(name, pictures)| SplitPictures {
        name,
        pictures,
        headers: Vec::new(),
    });
    let total = 2 * splits.iter().map(|split| split.pictures.len()).sum::<usize>();
    let mut done = 0;
    let mut advance = |pictures: usize, text: &str| {
        done += pictures;
        on_progress(Progress::new(done as f32 / total as f32, text))
    };
    for split in &mut splits {
        split.read_headers(&mut report, &mut advance)?;
    }
    let (shape, why) = shape(&splits, reading.size);
    let headers = || splits.iter().flat_map(|split| &split.headers);
    let bytes = headers().count() as u64 * shape.bytes() as u64;
    ensure!(
        bytes <= MAX_BYTES,
        "{place}: the pictures take {bytes} bytes at {shape}, expected at most {MAX_BYTES}; data.size makes them smaller"
    );
    let is_other =
        |header: &&PictureHeader| (header.height as usize, header.width as usize) != (shape.height, shape.width);
    let scaled = headers().filter(is_other).count();
    let white = white(headers().filter_map(|header| header.deepest).max());
    let deep = headers().filter(|header| header.deepest.is_some()).count();
    let target = Target { shape, reading, white };
    let [train, test] = splits;
    let train = train.decode(target, &mut report, &mut advance)?;
    let test = test.decode(target, &mut report, &mut advance)?;
    for (split, images) in [("train", &train), ("test", &test)] {
        ensure_every_class(&format!("{place}/{split}"), &classes, &images.labels, &report)?;
    }
    let name = root
        .file_name()
        .map_or_else(|| "images".into(), |name| name.to_string_lossy().into_owned());
    let mut notes = found.notes;
    if scaled > 0 {
        let how = match reading.fit {
            Fit::Crop => "what goes beyond is cut off",
            Fit::Letterbox => "the rest is background",
            Fit::Stretch => "without regard to proportions",
        };
        let (height, width) = (shape.height, shape.width);
        notes.push(format!(
            "{} scaled to {height}×{width}, {why}; {how} (data.size, data.fit)",
            count(scaled, "picture", "pictures")
        ));
    }
    if deep > 0 && white < u16::MAX {
        notes.push(format!(
            "{} of 16 bits whose values go up to {white} at most: that is read as white",
            count(deep, "picture", "pictures")
        ));
    }
    notes.extend(report.notes(reading));
    let dataset = Dataset::new(name, classes, train, test, notes)?;
    Ok(Dataset {
        is_labeled: found.is_labeled,
        ..dataset
    })
}

/// The pictures of one of `train` and `test`, while they are being read. `headers` run parallel to `pictures` once they are
/// there.
struct SplitPictures {
    name: &'static str,
    pictures: Vec<PictureFile>,
    headers: Vec<PictureHeader>,
}

impl SplitPictures {
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
            let headers: Vec<_> = chunk
                .par_iter()
                .map(|picture| header(&read_file(&picture.path)?))
                .collect();
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
        target: Target,
        report: &mut Report,
        advance: &mut dyn FnMut(usize, &str) -> Result<()>,
    ) -> Result<Images> {
        let text = format!("Decoding {} pictures", self.name);
        let bytes = target.shape.bytes();
        let mut images = Images::empty(target.shape);
        images.pixels = Vec::with_capacity(self.pictures.len() * bytes);
        for chunk in self.pictures.chunks(AT_ONCE) {
            let decoded: Vec<_> = chunk
                .par_iter()
                .map(|picture| decode(&read_file(&picture.path)?, target))
                .collect();
            for (picture, pixels) in chunk.iter().zip(decoded) {
                match pixels {
                    Ok(Decoded { planes, transparent }) => {
                        report.transparent += usize::from(transparent);
                        images.pixels.extend_from_slice(&planes);
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
    /// Pictures through which the background shows.
    transparent: usize,
    /// Files that are not pictures by their name.
    others: Others,
}

impl Report {
    fn skip(&mut self, picture: &PictureFile, error: &anyhow::Error) {
        self.skipped += 1;
        if self.named.len() < MAX_NAMED {
            // Decoders end some messages with a new line.
            let why = error.to_string();
            let why: Vec<&str> = why.lines().map(str::trim).collect();
            self.named
                .push(format!("{} ({})", picture.name, why.join(" ").trim_end()));
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

    fn notes(self, reading: &Reading) -> Vec<String> {
        let mut notes = Vec::new();
        if self.skipped > 0 {
            notes.push(self.skipped());
        }
        if self.transparent > 0 {
            notes.push(format!(
                "{} with transparency laid on {} (data.background)",
                count(self.transparent, "picture", "pictures"),
                reading.background.name()
            ));
        }
        if self.others.count > 0 {
            notes.push(format!(
                "{} passed over{}, not {ENDINGS_TEXT}",
                count(self.others.count, "other entry", "other entries"),
                self.others.endings()
            ));
        }
        notes
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The shape of all images, and why its size is what it is. Colors if any picture has some.
fn shape(splits: &[SplitPictures; 2], size: PictureSize) -> (ImageShape, &'static str) {
    let colored = splits
        .iter()
        .flat_map(|split| &split.headers)
        .any(|header| header.colored);
    let ((height, width), why) = match size {
        PictureSize::Of(height, width) => ((height, width), "the size asked for"),
        PictureSize::Auto => common_size(&splits[0].headers),
    };
    let channels = if colored { 3 } else { 1 };
    let shape = ImageShape {
        channels,
        height,
        width,
    };
    (shape, why)
}

/// The size that most pictures have, if at least half of them have it; otherwise the median of heights and of widths.
fn common_size(headers: &[PictureHeader]) -> ((usize, usize), &'static str) {
    let mut counts = BTreeMap::new();
    for header in headers {
        let area = u64::from(header.width) * u64::from(header.height);
        *counts.entry((area, header.height, header.width)).or_insert(0_usize) += 1;
    }
    // Reversed, because of equals `max_by_key` returns the last one.
    let most = counts.into_iter().rev().max_by_key(|&(_, count)| count);
    match most {
        Some(((_, height, width), count)) if 2 * count >= headers.len() => {
            ((height as usize, width as usize), "the most common size")
        }
        _ => {
            let median = |of: fn(&PictureHeader) -> u32| {
                let mut sides: Vec<u32> = headers.iter().map(of).collect();
                sides.sort_unstable();
                sides.get(sides.len() / 2).map_or(1, |&side| side as usize)
            };
            (
                (median(|h| h.height), median(|h| h.width)),
                "the median height and width",
            )
        }
    }
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
