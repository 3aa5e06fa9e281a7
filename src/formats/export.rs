//! One file out: what is masked cut out or zeroed, written beside its place, read back, compared by a second runtime, then named.
//! Knows nothing of formats' insides.

use super::{Agreement, Probe, burn_pack, onnx_bytes, second_runtime};

use model::mask::LayerMask;
use model::{Checkpoint, Density, Fractions, NetSpec, cost};

use anyhow::{Context, Result, bail, ensure};
use std::borrow::Cow;
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

/// What became of a model's masks. Both leave what it computes as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masked {
    /// There were none.
    Nothing,
    /// All that was masked was cut out.
    Cut,
    /// What can be cut was; masked weights of what stays are zeros of dense kernels.
    CutAndZeros,
    /// Masked weights, and channels that nobody computes, are zeros of dense kernels: behind a gate a density counts them.
    Zeros,
}

impl Masked {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Masked::Nothing => "nothing",
            Masked::Cut => "cut",
            Masked::CutAndZeros => "cut-and-zeros",
            Masked::Zeros => "zeros",
        }
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// The network in it.
    pub spec: NetSpec,
    /// The density it was compared at.
    pub density: Density,
    /// What the second runtime made of it.
    pub agreement: Agreement,
    /// What became of masks.
    pub masked: Masked,
    /// Parameters of what was written, and MACs per image: those of a runtime that skips nothing, then the engine's.
    pub params: u64,
    /// See `params`.
    pub macs_dense: u64,
    /// See `params`.
    pub macs: u64,
    /// What its owner should know.
    pub notes: Vec<String>,
}

/// Writes a model to a file that computes the same, or to none. Without gates, what is masked is cut out first;
/// with gates it is zeroed.
///
/// # Errors
/// A density for a model without gates, weights that are not finite, a file that cannot be written, or one that the second runtime finds to differ.
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
    model.check_numbers()?;
    let (mut whole, masked, mut notes) = settled(model)?;
    if let Some(density) = options.density.filter(|_| model.is_gated()) {
        whole = Cow::Owned(at_density(&whole, density));
    }
    let bytes = match format {
        Format::Onnx => onnx_bytes(&whole, density)?,
        Format::Safetensors => whole.to_bytes()?,
        Format::Pack => burn_pack::to_bytes(&whole)?,
    };
    let dense = cost::dense(whole.spec())?;
    let densities = vec![density; whole.spec().gates().len()];
    let active = cost::total(
        whole.spec(),
        &whole.masks,
        &Fractions::nominal(whole.spec(), &densities)?,
    )?;
    if matches!(masked, Masked::Zeros | Masked::CutAndZeros) {
        notes.push(format!(
            "masked weights of {} layers are written as zeros of dense kernels: {} MACs per image in a runtime that skips nothing, {} in the engine",
            whole.masks.len(),
            dense.macs,
            active.macs
        ));
    }
    if format == Format::Onnx && model.is_gated() {
        notes.push(
            "other runtimes compute every channel and then multiply by the gates: same result, no time saved".into(),
        );
    }
    let agreement = disk::write_checked(&options.to, &bytes, |beside| {
        let back = std::fs::read(beside).with_context(|| format!("cannot read {} back", options.to.display()))?;
        let onnx = match format {
            Format::Onnx => back,
            Format::Safetensors => onnx_bytes(&Checkpoint::from_bytes(&back)?, density)?,
            Format::Pack => onnx_bytes(&burn_pack::from_bytes(back)?, density)?,
        };
        let agreement = second_runtime::compare(model, density, onnx, &options.probe)?;
        ensure!(
            agreement.holds(),
            "{} computes something else: logits differ by up to {} of {} on {} images ({} ties), at most {} of the largest is expected; nothing was written",
            options.to.display(),
            agreement.max_abs_diff,
            agreement.largest,
            agreement.n,
            agreement.ties,
            agreement.tolerance
        );
        Ok(agreement)
    })?;
    Ok(Exported {
        file: options.to.clone(),
        bytes: bytes.len(),
        spec: whole.spec().clone(),
        density,
        agreement,
        masked,
        params: dense.params,
        macs_dense: dense.macs,
        macs: active.macs,
        notes,
    })
}

/// The model as it is written. A gate's density is a share of its layer's channels, so nothing is cut behind gates.
fn settled(model: &Checkpoint) -> Result<(Cow<'_, Checkpoint>, Masked, Vec<String>)> {
    let is_whole = |mask: &LayerMask| mask.count() == mask.filters.len() * mask.columns.len();
    if model.masks.values().all(is_whole) {
        return Ok((Cow::Borrowed(model), Masked::Nothing, Vec::new()));
    }
    if model.is_gated() {
        let mut zeroed = model.clone();
        prune::zero(&mut zeroed)?;
        return Ok((Cow::Owned(zeroed), Masked::Zeros, Vec::new()));
    }
    let prune::Cut { checkpoint, mut notes } = prune::cut(model)?;
    let [before, after] = [model.spec(), checkpoint.spec()].map(|spec| cost::dense(spec).map(|cost| cost.params));
    let text = format!(
        "what is masked was cut out first: {} parameters of {} are left",
        after?, before?
    );
    notes.insert(0, text);
    let masked = if checkpoint.masks.is_empty() {
        Masked::Cut
    } else {
        Masked::CutAndZeros
    };
    Ok((Cow::Owned(checkpoint), masked, notes))
}

/// The model with one density in its grid.
fn at_density(model: &Checkpoint, density: Density) -> Checkpoint {
    let mut model = model.clone();
    model.stats = BTreeMap::from([(density, model.stats_at(density))]);
    model.header.densities = vec![density];
    model.header.gate_densities.clear();
    model
        .header
        .metrics
        .retain(|m| m.density == density && m.gates.is_empty());
    model
}
