//! One file out: written beside its place, read back, compared by a second runtime, then named.
//! Knows nothing of formats' insides.

use super::{Agreement, Probe, TOLERANCE, agree, onnx_bytes, pack, place};
use crate::model::{Checkpoint, Density};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a file can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ONNX, standard operators, at one density.
    Onnx,
    /// Our own self-describing file.
    Safetensors,
    /// The same in burn's container.
    Pack,
}

impl Format {
    /// By the name's ending.
    ///
    /// # Errors
    /// Another ending than `.onnx`, `.safetensors` or `.bpk`.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("onnx") => Ok(Self::Onnx),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("bpk") => Ok(Self::Pack),
            _ => bail!(
                "{}: expected a name ending in .onnx, .safetensors or .bpk",
                path.display()
            ),
        }
    }
}

/// How to export.
#[derive(Clone, Debug)]
pub struct Export {
    /// The file. Its ending says the format.
    pub to: PathBuf,
    /// At this density of every gate. Without one, ONNX takes the largest the model keeps, and the other formats keep all.
    pub density: Option<Density>,
    /// What to compare on.
    pub probe: Probe,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// The density it was compared at.
    pub density: Density,
    /// What the second runtime made of it.
    pub agreement: Agreement,
    /// What its owner should know.
    pub notes: Vec<String>,
}

/// Writes a model to a file that computes the same, or to none.
///
/// # Errors
/// A density for a model without gates, a file that cannot be written, or one that the second runtime finds to differ.
pub fn export(model: &Checkpoint, options: &Export) -> Result<Exported> {
    let format = Format::of(&options.to)?;
    let density = options
        .density
        .or(model.header.densities.last().copied())
        .unwrap_or(Density::FULL);
    ensure!(
        model.is_gated() || density == Density::FULL,
        "density {density} of a model without gates: its density is 1, expected no other"
    );
    let narrowed = match options.density {
        Some(d) if model.is_gated() => Some(at_density(model, d)),
        _ => None,
    };
    let whole = narrowed.as_ref().unwrap_or(model);
    let bytes = match format {
        Format::Onnx => onnx_bytes(model, density)?,
        Format::Safetensors => whole.to_bytes()?,
        Format::Pack => pack::to_bytes(whole)?,
    };
    let agreement = place::write_checked(&options.to, &bytes, |back| {
        let onnx = match format {
            Format::Onnx => back.to_vec(),
            Format::Safetensors => onnx_bytes(&Checkpoint::from_bytes(back)?, density)?,
            Format::Pack => onnx_bytes(&pack::from_bytes(back.to_vec())?, density)?,
        };
        let agreement = agree::compare(model, density, &onnx, &options.probe)?;
        ensure!(
            agreement.holds(),
            "{} computes something else: logits differ by up to {} of {} on {} images ({} ties), at most {TOLERANCE} of the largest is expected; nothing was written",
            options.to.display(),
            agreement.max_abs_diff,
            agreement.largest,
            agreement.n,
            agreement.ties
        );
        Ok(agreement)
    })?;
    Ok(Exported {
        file: options.to.clone(),
        bytes: bytes.len(),
        density,
        agreement,
        notes: notes(model, format),
    })
}

/// The model with one density in its grid.
fn at_density(model: &Checkpoint, density: Density) -> Checkpoint {
    let mut model = model.clone();
    model.stats = BTreeMap::from([(density, model.stats_at(density))]);
    model.header.densities = vec![density];
    model.header.metrics.retain(|m| m.density == density);
    model
}

fn notes(model: &Checkpoint, format: Format) -> Vec<String> {
    let mut notes = Vec::new();
    if format == Format::Onnx && model.is_gated() {
        notes.push(
            "other runtimes compute every channel and then multiply by the gates: same result, no time saved".into(),
        );
    }
    let masked = |name: &String| {
        let mask = &model.masks[name];
        mask.count() < mask.filters.len() * mask.columns.len()
    };
    let masked = model.masks.keys().filter(|name| masked(name)).count();
    if masked > 0 {
        notes.push(format!(
            "{masked} layers hold masked weights, written as zeros: cut the model to make the file smaller"
        ));
    }
    notes
}
