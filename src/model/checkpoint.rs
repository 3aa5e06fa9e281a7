//! A model as one self-describing safetensors file: weights, norm statistics by density, masks, and in the header all that is needed to use them.
//!
//! The header's metadata has one key, `secateur`, a JSON object ([`ModelHeader`]). TensorMap: every weight under its own name,
//! `stats@PERCENT.NODE.mean|var`, `mask.NODE.filters|columns|elements` (0/1 bytes).

use super::mask::{Density, LayerMask, Masks};
use super::precision::{ByteInput, Precision};
use super::safetensors_file::{self, TensorMap, float_tensor, floats};
use super::spec::{NetSpec, Op};
use super::weights;
use super::weights::{Array, Weights};
use anyhow::{Context, Result, bail, ensure};
use data::{Normalization, Split};
use disk::write_whole;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The file format this program reads and writes.
pub const SCHEMA: u32 = 1;

/// The key of the header in a file's metadata.
pub const HEADER_KEY: &str = "secateur";

/// Whether a safetensors file carries our header, or another program wrote it. The tensors are not read.
///
/// # Errors
/// As [`safetensors_file::read_header`].
pub fn is_model_file(path: &Path) -> Result<bool> {
    let header = safetensors_file::read_header(path)?;
    Ok(header.metadata().as_ref().is_some_and(|m| m.contains_key(HEADER_KEY)))
}

/// Mean and variance of one norm, per channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Mean.
    pub mean: Vec<f32>,
    /// Biased variance.
    pub var: Vec<f32>,
}

/// The statistics of all norms of a network, by node name.
pub type NormStats = BTreeMap<String, Moments>;

/// One measured point, kept with the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Density of every gate.
    pub density: Density,
    /// Density of each gate, where they differ; `density` is then the largest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Density>,
    /// Measured on.
    pub split: Split,
    /// Share of images classified right.
    pub top1: f32,
    /// Images measured.
    pub n: usize,
    /// MACs per image, averaged over the images measured.
    pub macs: u64,
}

/// All of a model but its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelHeader {
    /// File format, [`SCHEMA`].
    pub schema: u32,
    /// The graph.
    pub spec: NetSpec,
    /// What is done to pixels/255 before the network.
    pub normalization: Normalization,
    /// Class names, in the order of the logits.
    pub classes: Vec<String>,
    /// How it was made, e.g. `fbs`.
    pub method: String,
    /// The data set it was trained on.
    pub data: String,
    /// Densities that norm statistics are kept for. Dense models have 1 alone.
    pub densities: Vec<Density>,
    /// What a search found for each gate, in network order; empty if none was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate_densities: Vec<Density>,
    /// Channels that are cut for good leave multiples of so many, or all; 1 if any width will do.
    #[serde(default = "any_width", skip_serializing_if = "is_any_width")]
    pub width_multiple: usize,
    /// Where channels were cut: which of those that the network was trained with are left, in order, by the name of the first
    /// layer that gives them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, Vec<u32>>,
    /// How the inputs of convolutions become bytes, by the convolution's name, where they do; empty for a model of floats alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub byte_inputs: BTreeMap<String, ByteInput>,
    /// What was measured when it was made.
    pub metrics: Vec<Metric>,
    /// The experiment that made it, as TOML.
    pub recipe: String,
}

fn any_width() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn is_any_width(multiple: &usize) -> bool {
    *multiple == 1
}

/// A trained network: what methods return and the engine compiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// All but the numbers.
    pub header: ModelHeader,
    /// Trainable arrays.
    pub weights: Weights,
    /// Static masks.
    pub masks: Masks,
    /// Norm statistics for each of `header.densities`.
    pub stats: BTreeMap<Density, NormStats>,
}

impl Checkpoint {
    /// The graph.
    pub fn spec(&self) -> &NetSpec {
        &self.header.spec
    }

    /// The weight of a convolution or linear layer, `[filters, …]`.
    ///
    /// # Panics
    /// There is no such layer.
    pub fn weight(&self, layer: &str) -> &Array {
        &self.weights[&format!("{layer}.weight")]
    }

    /// The mask of a convolution or linear layer; whole where nothing is masked.
    ///
    /// # Panics
    /// There is no such layer.
    pub fn mask(&self, layer: &str) -> LayerMask {
        let [filters, columns] = self.weight(layer).matrix();
        let whole = || LayerMask::whole(filters, columns);
        self.masks.get(layer).cloned().unwrap_or_else(whole)
    }

    /// In what its convolutions are computed, unless something else is asked for.
    pub fn precision(&self) -> Precision {
        if self.header.byte_inputs.is_empty() {
            Precision::F32
        } else {
            Precision::Int8
        }
    }

    /// Whether density means anything for this model.
    pub fn is_gated(&self) -> bool {
        !self.spec().gates().is_empty()
    }

    /// Norm statistics at a density: those kept, or between two kept densities the linear blend of both.
    pub fn stats_at(&self, density: Density) -> NormStats {
        let above = self.stats.range(density..).next();
        let below = self.stats.range(..=density).next_back();
        match (below, above) {
            (Some((lo, a)), Some((hi, b))) if lo != hi => {
                let t = (density.as_fraction() - lo.as_fraction()) / (hi.as_fraction() - lo.as_fraction());
                a.iter()
                    .map(|(name, m)| (name.clone(), blend(m, &b[name], t as f32)))
                    .collect()
            }
            (Some((_, s)), _) | (_, Some((_, s))) => s.clone(),
            (None, None) => NormStats::new(),
        }
    }

    /// Checks that all parts fit each other.
    ///
    /// # Errors
    /// One line naming what does not.
    pub fn check(&self) -> Result<()> {
        let spec = self.spec();
        weights::check(spec, &self.weights)?;
        let shapes = spec.shapes()?;
        let classes = spec.classes()?;
        ensure!(
            self.header.classes.len() == classes,
            "{} class names for {classes} logits",
            self.header.classes.len()
        );
        let n = &self.header.normalization;
        ensure!(
            n.mean.len() == spec.input[0] && n.std.len() == spec.input[0],
            "normalization has {} means and {} deviations, expected {}",
            n.mean.len(),
            n.std.len(),
            spec.input[0]
        );
        ensure!(
            n.std.iter().all(|s| s.is_finite() && *s > 0.0),
            "normalization has a deviation that is not positive"
        );
        ensure!(
            self.header.width_multiple >= 1,
            "widths are multiples of 0, expected at least 1"
        );
        let (found, gates) = (self.header.gate_densities.len(), spec.gates().len());
        ensure!(
            found == 0 || found == gates,
            "densities were found for {found} gates, expected {gates}"
        );
        for (name, input) in &self.header.byte_inputs {
            let is_conv = spec
                .nodes
                .iter()
                .any(|n| n.name == *name && matches!(n.op, Op::Conv { .. }));
            ensure!(is_conv, "{name} has a step between bytes, and is no convolution");
            ensure!(
                input.step.is_finite() && input.step > 0.0,
                "the step between bytes of {name} is {}, expected a positive number",
                input.step
            );
        }
        for (name, mask) in &self.masks {
            let Some(weight) = self.weights.get(&format!("{name}.weight")) else {
                bail!("a mask for {name}, which has no weight")
            };
            mask.check(name, weight.matrix())?;
        }
        ensure!(
            self.stats.keys().eq(self.header.densities.iter()),
            "norm statistics are kept for other densities than the header lists"
        );
        for stats in self.stats.values() {
            for (i, node) in spec
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, n)| matches!(n.op, Op::Norm { .. }))
            {
                let fits = stats
                    .get(&node.name)
                    .is_some_and(|m| m.mean.len() == shapes[i][0] && m.var.len() == shapes[i][0]);
                ensure!(fits, "no norm statistics of the right size for {}", node.name);
            }
        }
        Ok(())
    }

    /// Checks that weights and statistics are finite and no variance is negative. What is written for other programs, or comes
    /// from them, has to be; a run that diverged may keep what it had.
    ///
    /// # Errors
    /// One line naming the first array with such a number.
    pub fn check_numbers(&self) -> Result<()> {
        let diverged = "the training that made it diverged, or the file is damaged";
        let finite = |name: &str, numbers: &[f32]| {
            let wrong = numbers.iter().position(|v| !v.is_finite());
            match wrong {
                Some(i) => bail!("{name}[{i}] is {}, expected a finite number: {diverged}", numbers[i]),
                None => Ok(()),
            }
        };
        for (name, array) in &self.weights {
            finite(name, &array.data)?;
        }
        finite("the normalization's mean", &self.header.normalization.mean)?;
        for (node, moments) in self.stats.values().flatten() {
            finite(&format!("{node}.mean"), &moments.mean)?;
            finite(&format!("{node}.var"), &moments.var)?;
            if let Some(v) = moments.var.iter().find(|v| **v < 0.0) {
                bail!("{node}.var has a variance of {v}, expected 0 or more: {diverged}");
            }
        }
        Ok(())
    }

    /// The bytes of a model file.
    ///
    /// # Errors
    /// If the parts do not fit each other.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut tensors = TensorMap::new();
        for (name, a) in &self.weights {
            tensors.insert(name.clone(), float_tensor(&a.shape, &a.data));
        }
        for (density, stats) in &self.stats {
            for (node, m) in stats {
                for (what, v) in [("mean", &m.mean), ("var", &m.var)] {
                    let name = format!("stats@{}.{node}.{what}", density.as_percent());
                    tensors.insert(name, float_tensor(&[v.len()], v));
                }
            }
        }
        for (node, mask) in &self.masks {
            let parts = [
                ("filters", &mask.filters),
                ("columns", &mask.columns),
                ("elements", &mask.elements),
            ];
            for (what, v) in parts
                .into_iter()
                .filter(|(what, v)| *what != "elements" || !v.is_empty())
            {
                tensors.insert(
                    format!("mask.{node}.{what}"),
                    (Dtype::U8, vec![v.len()], v.iter().map(|&b| u8::from(b)).collect()),
                );
            }
        }
        safetensors_file::to_bytes(&tensors, HEADER_KEY, serde_json::to_string(&self.header)?)
    }

    /// Reads a model file's bytes.
    ///
    /// # Errors
    /// Not safetensors, not ours, another version, or parts that do not fit each other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).context("not a safetensors file")?;
        let (_, meta) = SafeTensors::read_metadata(bytes)?;
        let json = meta.metadata().as_ref().and_then(|m| m.get(HEADER_KEY)).context(
            "a safetensors file without the `secateur` header; `secateur import` reads other programs' weights",
        )?;
        let header: serde_json::Value = serde_json::from_str(json).context("the `secateur` header is not JSON")?;
        let schema = header["schema"].as_u64().unwrap_or(0);
        ensure!(
            schema == u64::from(SCHEMA),
            "model file of schema {schema}, expected {SCHEMA}"
        );
        let header: ModelHeader =
            serde_json::from_value(header).context("the `secateur` header does not describe a model")?;
        let (mut weights, mut masks, mut stats) = (
            Weights::new(),
            BTreeMap::<String, LayerMask>::new(),
            BTreeMap::<Density, NormStats>::new(),
        );
        for (name, view) in file.tensors() {
            if let Some(rest) = name.strip_prefix("mask.") {
                let (node, what) = rest
                    .rsplit_once('.')
                    .with_context(|| format!("tensor {name} is not known"))?;
                let mask = masks.entry(node.to_owned()).or_default();
                let bits = view.data().iter().map(|&b| b != 0).collect();
                match what {
                    "filters" => mask.filters = bits,
                    "columns" => mask.columns = bits,
                    "elements" => mask.elements = bits,
                    _ => bail!("tensor {name} is not known"),
                }
                continue;
            }
            let data = floats(&name, &view)?;
            let Some(rest) = name.strip_prefix("stats@") else {
                let shape = view.shape().to_vec();
                weights.insert(name, Array { shape, data });
                continue;
            };
            let parts = rest
                .split_once('.')
                .and_then(|(p, rest)| Some((p.parse().ok()?, rest.rsplit_once('.')?)));
            let Some((percent, (node, what))) = parts else {
                bail!("tensor {name} is not known")
            };
            let moments = stats
                .entry(Density::percent(percent)?)
                .or_default()
                .entry(node.to_owned())
                .or_default();
            match what {
                "mean" => moments.mean = data,
                "var" => moments.var = data,
                _ => bail!("tensor {name} is not known"),
            }
        }
        // Networks without norms have no statistics tensors, but still a density grid.
        for d in &header.densities {
            stats.entry(*d).or_default();
        }
        let checkpoint = Self {
            header,
            weights,
            masks,
            stats,
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// As [`Checkpoint::from_bytes`], with the path; or the file cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_bytes(&bytes).with_context(|| format!("model file {}", path.display()))
    }

    /// Writes a model file: beside, synced, then renamed, so that an older file of that name stays whole until the new one is.
    ///
    /// # Errors
    /// The file cannot be written, or the parts do not fit each other.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes()?)
    }
}

fn blend(a: &Moments, b: &Moments, t: f32) -> Moments {
    let mix = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x + (y - x) * t).collect();
    Moments {
        mean: mix(&a.mean, &b.mean),
        var: mix(&a.var, &b.var),
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::Shift;
    use super::super::zoo;
    use super::*;

    pub(crate) fn sample() -> Checkpoint {
        let spec = zoo::gated(
            &zoo::build("m-cifarnet", [1, 12, 12], 3, 0.1).expect("builds"),
            Shift::Eq1,
        );
        let shapes = spec.shapes().expect("shapes");
        let norms = |v: f32| -> NormStats {
            let norm = |(i, n): (usize, &super::super::spec::Node)| {
                matches!(n.op, Op::Norm { .. }).then(|| {
                    (
                        n.name.clone(),
                        Moments {
                            mean: vec![v; shapes[i][0]],
                            var: vec![2.0 * v; shapes[i][0]],
                        },
                    )
                })
            };
            spec.nodes.iter().enumerate().filter_map(norm).collect()
        };
        let [half, full] = [Density::percent(50).expect("valid"), Density::FULL];
        Checkpoint {
            weights: weights::init(&spec, 1).expect("init"),
            masks: Masks::from([(
                "conv1".into(),
                LayerMask {
                    filters: vec![true; 6],
                    columns: (0..54).map(|i| i % 3 > 0).collect(),
                    elements: (0..324).map(|i| i % 7 > 0).collect(),
                },
            )]),
            stats: BTreeMap::from([(half, norms(1.0)), (full, norms(2.0))]),
            header: ModelHeader {
                schema: SCHEMA,
                normalization: Normalization {
                    mean: vec![0.5],
                    std: vec![0.25],
                },
                classes: ["a", "b", "c"].map(String::from).to_vec(),
                method: "fbs".into(),
                data: "synthetic".into(),
                densities: vec![half, full],
                gate_densities: Vec::new(),
                width_multiple: 1,
                byte_inputs: Default::default(),
                channels: BTreeMap::new(),
                metrics: vec![Metric {
                    gates: Vec::new(),
                    density: half,
                    split: Split::Test,
                    top1: 0.5,
                    n: 10,
                    macs: 7,
                }],
                recipe: "schema = 1\n".into(),
                spec,
            },
        }
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let model = sample();
        let bytes = model.to_bytes().expect("writes");
        assert_eq!(Checkpoint::from_bytes(&bytes).expect("reads"), model);
        assert_eq!(bytes, model.to_bytes().expect("writes"), "two writes differ");
    }

    #[test]
    fn norm_statistics_between_two_densities_are_blended() {
        let stats = sample().stats_at(Density::percent(75).expect("valid"));
        assert_eq!((stats["conv0.norm"].mean[0], stats["conv0.norm"].var[0]), (1.5, 3.0));
        let below = sample().stats_at(Density::percent(10).expect("valid"));
        assert_eq!(below["conv0.norm"].mean[0], 1.0);
    }

    #[test]
    fn broken_files_are_refused_with_their_reason() {
        let model = sample();
        let bytes = model.to_bytes().expect("writes");
        let of_schema = |n: u32| {
            Checkpoint {
                header: ModelHeader {
                    schema: n,
                    ..model.header.clone()
                },
                ..model.clone()
            }
            .to_bytes()
            .expect("writes")
        };
        let mut missing = model.clone();
        missing.weights.remove("conv1.weight");
        let cases = [
            (bytes[..bytes.len() / 2].to_vec(), "not a safetensors file"),
            (b"hello".to_vec(), "not a safetensors file"),
            (of_schema(9), "schema 9, expected 1"),
        ];
        for (bytes, expected) in cases {
            let text = format!("{:#}", Checkpoint::from_bytes(&bytes).expect_err(expected));
            assert!(text.contains(expected), "{text}");
        }
        assert!(
            missing
                .to_bytes()
                .expect_err("incomplete")
                .to_string()
                .contains("conv1.weight is missing")
        );
        let mut astray = model.clone();
        astray.header.gate_densities = vec![Density::FULL; 99];
        let text = astray.to_bytes().expect_err("too many").to_string();
        assert!(text.contains("found for 99 gates"), "{text}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("m.safetensors");
        sample().save(&path).expect("writes");
        disk::plan_faults([Some(disk::Fault::Broken)]);
        assert!(sample().save(&path).is_err());
        assert_eq!(Checkpoint::load(&path).expect("still whole"), sample());
    }
}
