//! Work on model files that takes seconds and is no run: export, import, cutting channels out, timing layers. A thread each.
//! Knows nothing of windows; what came of it is said in words and, where there is one, as a model to open.

use crate::gates;
use formats::{Export, Format, Import, Probe, Timer};
use infer::{LayerLatency, LayerLatencyOptions, layer_latencies};
use model::checkpoint::is_model_file;
use model::mask::LayerMask;
use model::spec::Shape;
use model::{Checkpoint, Density, Masks, NetSpec};
use record::folder::threads;
use record::{ModelRef, RunId, unpruned};
use train::OracleShare;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Widths a layer is timed at, and the time for each.
const WIDTHS: usize = 8;
const EACH: Duration = Duration::from_millis(15);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelJob {
    /// Write a model to a file of another program, or of ours. The ending says which; a second runtime checks it.
    Export {
        /// The model.
        from: ModelRef,
        /// One density a gate, in network order; empty for a model without gates.
        densities: Vec<Density>,
        /// The file.
        to: PathBuf,
    },
    /// Make a model file of ours out of another program's.
    Import {
        /// `.pt`, `.pth`, `.safetensors`, `.onnx` or `.bpk`.
        file: PathBuf,
        /// Whose weights it holds, where the file does not say so.
        arch: Option<String>,
        /// Shape of an image, where the file does not say so.
        input: Option<Shape>,
        /// Classes it must have.
        classes: Option<usize>,
        /// The images to measure it on.
        data: String,
    },
    /// Make a smaller model without these channels.
    Cut {
        /// The model.
        from: ModelRef,
        /// By layer.
        channels: BTreeMap<String, Vec<usize>>,
    },
    /// Time each layer at several widths.
    Time(ModelRef),
    /// Compare what gates choose with the channels that are truly largest, on some validation images.
    Oracle {
        /// The model.
        from: ModelRef,
        /// The density of all gates.
        density: Density,
        /// Where its images come from.
        source: String,
    },
    /// Read the norm scales of a run's model.
    Scales {
        /// The run.
        run: RunId,
        /// The model.
        file: PathBuf,
    },
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobResult {
    /// What was done.
    pub job: ModelJob,
    /// In words: what was made, or why it was not.
    pub said: std::result::Result<String, String>,
    /// A model file that was made, to be opened.
    pub model: Option<PathBuf>,
    /// Times of layers.
    pub times: Option<Arc<[LayerLatency]>>,
    /// How well gates choose.
    pub oracle: Option<Arc<[OracleShare]>>,
    /// Norm scales, as absolute values.
    pub scales: Option<Arc<[f32]>>,
}

impl JobResult {
    /// Of a job with nothing but words.
    pub fn new(job: ModelJob, said: std::result::Result<String, String>) -> Self {
        Self {
            job,
            said,
            model: None,
            times: None,
            oracle: None,
            scales: None,
        }
    }
}

/// Does a job. Files of ours that it makes lie in `runs/models`.
pub fn work(job: ModelJob, runs: &Path) -> JobResult {
    let (mut model, mut times, mut oracle, mut scales) = (None, None, None, None);
    let said = match &job {
        ModelJob::Export { from, densities, to } => export(from, densities, to),
        ModelJob::Import { .. } => import(&job, runs).map(|(file, words)| {
            model = Some(file);
            words
        }),
        ModelJob::Cut { from, channels } => cut(from, channels, runs).map(|(file, words)| {
            model = Some(file);
            words
        }),
        ModelJob::Time(from) => time(from).map(|found| {
            let words = format!("Timed {} layers at up to {WIDTHS} widths", found.len());
            times = Some(found.into());
            words
        }),
        ModelJob::Oracle { from, density, source } => gates::oracle(from, *density, source).map(|found| {
            let words = format!("Compared {} gates with what is truly largest", found.len());
            oracle = Some(found.into());
            words
        }),
        ModelJob::Scales { file, .. } => gates::scales(file).map(|found| {
            let words = format!("Read {} norm scales", found.len());
            scales = Some(found.into());
            words
        }),
    };
    JobResult {
        model,
        times,
        oracle,
        scales,
        ..JobResult::new(job.clone(), said.map_err(|e| format!("{e:#}")))
    }
}

/// Whether a file holds a model of another program, to be imported before it can be opened.
pub fn is_foreign(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("onnx" | "pt" | "pth" | "bpk") => true,
        Some("safetensors") => is_model_file(path).is_ok_and(|ours| !ours),
        _ => false,
    }
}

fn export(from: &ModelRef, densities: &[Density], to: &Path) -> Result<String> {
    let mut model = from.load()?;
    let uniform = densities
        .first()
        .filter(|first| densities.iter().all(|d| d == *first))
        .copied();
    if uniform.is_none() && !densities.is_empty() {
        ensure!(
            to.extension().is_none_or(|e| e != "onnx"),
            "gates stand at different densities, and an ONNX file has one for all: move the slider to one density, or save as .safetensors"
        );
        model.header.gate_densities = densities.to_vec();
    }
    let probe = Probe::default_for(&model)?;
    let density = uniform.filter(|_| model.is_gated());
    let options = Export {
        to: to.to_path_buf(),
        density,
        probe,
    };
    let done = formats::export(&model, &options)?;
    let a = done.agreement;
    let pace = match unpruned(&model).filter(|_| Format::of(to).is_ok_and(|format| format == Format::Onnx)) {
        Some(before) => pace(&before, (&std::fs::read(to)?, &done.spec))?,
        None => String::new(),
    };
    Ok(format!(
        "Exported {} ({} kB). Read back by a second runtime on {} images: logits differ by at most {:.1e}, same class for {:.1} %{pace}",
        to.display(),
        done.bytes / 1000,
        a.n,
        a.max_abs_diff,
        a.top1_agreement * 100.0
    ))
}

/// What the second runtime takes for one image, before and after pruning; and why, if it became slower.
fn pace(before: &Checkpoint, (file, after): (&[u8], &NetSpec)) -> Result<String> {
    let old = formats::onnx_bytes(before, Density::FULL)?;
    let times = formats::time([&old, file], after.input, &Timer::SecondRuntime, &[1])?;
    let Some(t) = times.first() else {
        return Ok(String::new());
    };
    let slower = match t.is_slower() {
        true => format!(", slower than before: {}", formats::why_slower(before.spec(), after)),
        false => String::new(),
    };
    Ok(format!(
        ". An image takes it {:.2} ms, before pruning {:.2} ms{slower}",
        t.after_ms, t.before_ms
    ))
}

fn import(job: &ModelJob, runs: &Path) -> Result<(PathBuf, String)> {
    let ModelJob::Import {
        file,
        arch,
        input,
        classes,
        data,
    } = job
    else {
        anyhow::bail!("not an import")
    };
    let options = Import {
        file: file.clone(),
        arch: arch.clone(),
        classes: *classes,
        input: *input,
        normalization: None,
    };
    let done = formats::import(&options)?;
    let mut model = done.model;
    if !data.is_empty() {
        model.header.data.clone_from(data);
    }
    let name = file.file_stem().map_or_else(|| "model".into(), |n| n.to_string_lossy());
    let path = place(runs, &name)?;
    model.save(&path)?;
    let notes: String = done.notes.iter().map(|n| format!("; {n}")).collect();
    Ok((path.clone(), format!("Imported as {}{notes}", path.display())))
}

fn cut(from: &ModelRef, channels: &BTreeMap<String, Vec<usize>>, runs: &Path) -> Result<(PathBuf, String)> {
    let mut model = from.load()?;
    let mut masks = Masks::new();
    for (layer, gone) in channels {
        let weight = model.weights.get(&format!("{layer}.weight"));
        let weight = weight.with_context(|| format!("this model has no layer {layer}"))?;
        let [filters, columns] = weight.matrix();
        let mut mask = LayerMask::whole(filters, columns);
        for &c in gone {
            let kept = mask.filters.get_mut(c);
            *kept.with_context(|| format!("{layer} has no channel {c}"))? = false;
        }
        masks.insert(layer.clone(), mask);
    }
    let filters = |m: &Checkpoint| -> usize {
        let convs = m.spec().convs();
        let each = convs
            .iter()
            .filter_map(|&i| m.weights.get(&format!("{}.weight", m.spec().nodes[i].name)));
        each.map(|w| w.shape[0]).sum()
    };
    let before = filters(&model);
    // By hand: exactly those.
    model.header.width_multiple = 1;
    let done = prune::cut(&prune::apply(&model, &masks)?)?;
    let mut small = done.checkpoint;
    let left = filters(&small);
    // What was measured was measured of another network.
    small.header.metrics.clear();
    let path = place(runs, &format!("{}-cut", from.stem()))?;
    small.save(&path)?;
    let notes: String = done.notes.iter().map(|n| format!("; {n}")).collect();
    let pace = match model.is_gated() {
        true => String::new(),
        false => pace(&model, (&formats::onnx_bytes(&small, Density::FULL)?, small.spec()))?,
    };
    let words = format!(
        "Cut {} of {before} filters: {}{notes}{pace}",
        before - left,
        path.display()
    );
    Ok((path, words))
}

/// A name in `runs/models` that is not taken.
fn place(runs: &Path, name: &str) -> Result<PathBuf> {
    let folder = runs.join("models");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).collect();
    let numbered = |i: u32| match i {
        1 => folder.join(format!("{name}.safetensors")),
        i => folder.join(format!("{name}-{i}.safetensors")),
    };
    let free = (1..10_000).map(numbered).find(|path| !path.exists());
    free.with_context(|| format!("{} is full of {name}", folder.display()))
}

fn time(from: &ModelRef) -> Result<Vec<LayerLatency>> {
    let model = from.load()?;
    let options = LayerLatencyOptions {
        widths: WIDTHS,
        budget: EACH,
        threads: threads(),
    };
    layer_latencies(model.spec(), options, &mut || Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_cut_into_a_file_of_their_own_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("temp dir");
        let channels = BTreeMap::from([("conv1".to_owned(), vec![0, 3])]);
        let job = ModelJob::Cut {
            from: ModelRef::Bundled,
            channels,
        };
        let before = ModelRef::Bundled.load().expect("loads");
        let first = work(job.clone(), dir.path());
        assert!(first.said.is_ok(), "{first:?}");
        let second = work(job, dir.path());
        assert_ne!(first.model, second.model);
        let path = first.model.expect("a model");
        let after = Checkpoint::load(&path).expect("reads");
        let filters = |m: &Checkpoint| m.weights["conv1.weight"].shape[0];
        assert_eq!(filters(&after) + 2, filters(&before));
        assert!(!is_foreign(&path));
        let unknown = work(
            ModelJob::Cut {
                from: ModelRef::Bundled,
                channels: BTreeMap::from([("conv1".to_owned(), vec![100_000])]),
            },
            dir.path(),
        );
        assert_eq!(unknown.said, Err("conv1 has no channel 100000".into()));
    }

    #[test]
    fn what_another_program_wrote_is_told_from_ours_by_its_header() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("w.safetensors");
        let header = br#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header].concat();
        std::fs::write(&file, bytes).expect("writes");
        assert!(is_foreign(&file));
        assert!(is_foreign(Path::new("net.ONNX")));
        assert!(!is_foreign(Path::new("gone.safetensors")));
    }
}
