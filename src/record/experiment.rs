//! An experiment as data: which network, which images, which method, how long. Presets are files of it.
//! Default, preset file, command line and form are this one definition. Knows nothing of threads.

use anyhow::{Context, Result, bail, ensure};
use data::Augment;
use methods::Method;
use model::{NetSpec, zoo};
use serde::{Deserialize, Serialize};
use std::path::Path;
use train::TrainConfig;

/// The version of the file format.
pub const SCHEMA: u32 = 1;

/// All presets that come with the program: name and text.
pub const PRESETS: [(&str, &str); 20] = [
    ("smoke", include_str!("../../presets/smoke.toml")),
    ("fbs-fashion", include_str!("../../presets/fbs-fashion.toml")),
    ("dense-fashion", include_str!("../../presets/dense-fashion.toml")),
    (
        "autocompress-fashion",
        include_str!("../../presets/autocompress-fashion.toml"),
    ),
    (
        "autocompress-macs-fashion",
        include_str!("../../presets/autocompress-macs-fashion.toml"),
    ),
    (
        "autocompress-elements-fashion",
        include_str!("../../presets/autocompress-elements-fashion.toml"),
    ),
    (
        "densities-fashion",
        include_str!("../../presets/densities-fashion.toml"),
    ),
    ("slimming-fashion", include_str!("../../presets/slimming-fashion.toml")),
    ("amc-fashion", include_str!("../../presets/amc-fashion.toml")),
    ("greedy-fashion", include_str!("../../presets/greedy-fashion.toml")),
    ("uniform-fashion", include_str!("../../presets/uniform-fashion.toml")),
    ("random-fashion", include_str!("../../presets/random-fashion.toml")),
    ("admm-fashion", include_str!("../../presets/admm-fashion.toml")),
    ("fbs-cifar", include_str!("../../presets/fbs-cifar.toml")),
    ("dense-cifar", include_str!("../../presets/dense-cifar.toml")),
    (
        "autocompress-cifar",
        include_str!("../../presets/autocompress-cifar.toml"),
    ),
    (
        "dense-vgg16-cifar",
        include_str!("../../presets/dense-vgg16-cifar.toml"),
    ),
    (
        "autocompress-vgg16-cifar",
        include_str!("../../presets/autocompress-vgg16-cifar.toml"),
    ),
    (
        "autocompress-resnet18-cifar",
        include_str!("../../presets/autocompress-resnet18-cifar.toml"),
    ),
    (
        "autocompress-vgg16-cifar-full",
        include_str!("../../presets/autocompress-vgg16-cifar-full.toml"),
    ),
];

/// Everything that decides what a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// File format, [`SCHEMA`].
    pub schema: u32,
    /// Short name; run folders carry it.
    pub name: String,
    /// What it shows, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Decides everything random.
    #[serde(default)]
    pub seed: u64,
    /// A trained model to start from, instead of random weights: a file, or `bundled` for the one inside the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Seconds of work that a crash may cost: how often what the run remembers is written.
    #[serde(default = "checkpoint_secs")]
    pub checkpoint_secs: f32,
    /// Images.
    #[serde(default)]
    pub data: DataConfig,
    /// Network.
    pub model: ModelConfig,
    /// Training.
    #[serde(default)]
    pub train: TrainConfig,
    /// Method.
    pub method: Method,
}

/// Which images, and how they are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// `fashion-mnist` or a path.
    pub source: String,
    /// Training images set aside for validation.
    pub valid: usize,
    /// Chooses the validation images, if not the run's seed: a fork with another seed must not validate on what it learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Use only so many training images; 0 means all.
    pub limit: usize,
    /// Random changes to training images.
    pub augment: Augment,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: "fashion-mnist".into(),
            valid: 5000,
            split_seed: None,
            limit: 0,
            augment: Augment::default(),
        }
    }
}

/// Which network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A name of the zoo.
    pub arch: String,
    /// Multiplies every hidden channel count.
    #[serde(default = "one")]
    pub width: f32,
    /// Replaces the network's own dropout rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
}

fn checkpoint_secs() -> f32 {
    20.0
}

fn one() -> f32 {
    1.0
}

impl ModelConfig {
    /// The dense network for images of this shape.
    ///
    /// # Errors
    /// As [`zoo::build`]; a dropout rate outside [0, 1).
    pub fn build(&self, input: [usize; 3], classes: usize) -> Result<NetSpec> {
        let mut spec = zoo::build(&self.arch, input, classes, self.width)?;
        if let Some(new) = self.dropout {
            ensure!(
                (0.0..1.0).contains(&new),
                "model.dropout is {new}, expected at least 0 and less than 1"
            );
            for node in &mut spec.nodes {
                if let model::Op::Dropout { rate } = &mut node.op {
                    *rate = new;
                }
            }
        }
        Ok(spec)
    }
}

impl Experiment {
    /// Reads TOML, with `KEY=VALUE` changes on top.
    ///
    /// # Errors
    /// One line: a key that is not known (with the nearest known one), a value of the wrong type, a value out of range.
    pub fn parse(text: &str, changes: &[(String, String)]) -> Result<Self> {
        let mut table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| anyhow::anyhow!("not TOML: {}", e.message()))?;
        for (key, value) in changes {
            set(&mut table, key, value)?;
        }
        let experiment: Self = table
            .try_into()
            .map_err(|e: toml::de::Error| anyhow::anyhow!("{}", named(e.message())))?;
        experiment.check()?;
        Ok(experiment)
    }

    /// A preset by name, or a file; with changes on top.
    ///
    /// # Errors
    /// No such preset or file (with the nearest name), or as [`Experiment::parse`].
    pub fn load(preset: &str, changes: &[(String, String)]) -> Result<Self> {
        if let Some((_, text)) = PRESETS.iter().find(|(name, _)| *name == preset) {
            return Self::parse(text, changes).with_context(|| format!("preset {preset}"));
        }
        let path = Path::new(preset);
        if !path.is_file() {
            let names: Vec<&str> = PRESETS.iter().map(|p| p.0).collect();
            bail!(
                "no preset or file {preset}{}; presets are {}",
                nearest(preset, &names),
                names.join(", ")
            );
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {preset}"))?;
        Self::parse(&text, changes).with_context(|| format!("preset {preset}"))
    }

    /// The complete experiment as TOML, every default written out.
    ///
    /// # Errors
    /// Never for an experiment that passed [`Experiment::check`].
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// Chooses the validation images.
    pub fn split_seed(&self) -> u64 {
        self.data.split_seed.unwrap_or(self.seed)
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        ensure!(self.schema == SCHEMA, "schema is {}, expected {SCHEMA}", self.schema);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        ensure!(
            !self.name.is_empty() && self.name.len() <= 64 && self.name.chars().all(plain),
            "name is {:?}, expected letters, digits, - and _",
            self.name
        );
        ensure!(
            self.checkpoint_secs >= 0.0 && self.checkpoint_secs.is_finite(),
            "checkpoint_secs is {}, expected at least 0",
            self.checkpoint_secs
        );
        self.train.check()?;
        self.method.check()
    }
}

/// Sets a dotted key. A value that is not TOML is taken as text.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<()> {
    let parsed = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("v"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut at = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        ensure!(!part.is_empty(), "--set {key}: expected a key such as train.epochs");
        if parts.peek().is_none() {
            at.insert(part.to_owned(), value);
            return Ok(());
        }
        at = match at.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
            toml::Value::Table(t) => t,
            _ => bail!("--set {key}: {part} is a value, not a section"),
        };
    }
    Ok(())
}

/// Adds the nearest known name to serde's "unknown field `x`, expected one of `a`, `b`".
fn named(message: &str) -> String {
    let message = message.lines().next().unwrap_or(message);
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message.starts_with("unknown "), quoted.split_first()) {
        (true, Some((wrong, known))) => format!("{message}{}", nearest(wrong, known)),
        _ => message.to_owned(),
    }
}

/// " (did you mean X?)" for the nearest of `known`, or nothing if none is near.
pub fn nearest(wrong: &str, known: &[&str]) -> String {
    let best = known.iter().map(|k| (strsim::damerau_levenshtein(wrong, k), k)).min();
    match best {
        Some((distance, name)) if distance <= name.len().max(wrong.len()) / 2 => format!(" (did you mean {name}?)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_reads_and_writes_back_unchanged() {
        for (name, text) in PRESETS {
            let experiment = Experiment::parse(text, &[]).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert_eq!(experiment.name, name);
            let full = experiment.to_toml().expect("writes");
            assert_eq!(Experiment::parse(&full, &[]).expect("reads"), experiment);
        }
    }

    #[test]
    fn every_file_in_presets_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("folder")
            .map(|f| {
                f.expect("entry")
                    .path()
                    .file_stem()
                    .expect("name")
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        files.sort();
        let mut built_in = PRESETS.map(|p| p.0.to_owned());
        built_in.sort();
        assert_eq!(files, built_in);
    }

    #[test]
    fn changes_are_laid_on_top() {
        let set = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let e = Experiment::load(
            "smoke",
            &[
                set("train.epochs", "9"),
                set("data.source", "some/where"),
                set("model.width", "0.3"),
            ],
        )
        .expect("reads");
        assert_eq!(
            (e.train.epochs, e.data.source.as_str(), e.model.width),
            (9, "some/where", 0.3)
        );
    }

    #[test]
    fn wrong_keys_and_values_are_named_with_what_was_expected() {
        let cases = [
            ("train.epohcs", "3", "did you mean epochs?"),
            ("method.kind", "fsb", "did you mean fbs?"),
            ("train.epochs", "many", "invalid type"),
            ("method.floor", "1.5", "density 1.5"),
            ("train.batch", "0", "train.batch is 0"),
            ("schema.x", "1", "schema is a value"),
        ];
        for (key, value, expected) in cases {
            let error = Experiment::load("fbs-fashion", &[(key.into(), value.into())]).expect_err(key);
            let text = format!("{error:#}");
            assert!(text.contains(expected), "{text}");
        }
        let text = Experiment::load("fbs-fashoin", &[]).expect_err("typo").to_string();
        assert!(text.contains("did you mean fbs-fashion?"), "{text}");
    }
}
