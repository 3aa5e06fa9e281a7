//! An experiment as data: which network, which images, which method, how long. Presets are files of it.
//! Default, preset file, command line and form are this one definition. Knows nothing of threads.

use crate::ModelRef;
use anyhow::{Context, Result, bail, ensure};
use data::{Amount, Augment, Background, Fit, PictureSize, Reading};
use methods::{Method, QuantizeConfig, TrimConfig};
use model::checkpoint::ModelHeader;
use model::{NetSpec, zoo};
use serde::{Deserialize, Serialize};
use settings::{Setting, settings};
use std::path::{Path, PathBuf};
use train::TrainConfig;

/// The version of the file format.
pub const SCHEMA: u32 = 1;

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../presets/", $name, ".toml")))),*]
    };
}

/// All presets that come with the program: name and text.
pub const PRESETS: [(&str, &str); 22] = presets![
    "smoke",
    "fbs-fashion",
    "dense-fashion",
    "autocompress-fashion",
    "autocompress-macs-fashion",
    "autocompress-elements-fashion",
    "densities-fashion",
    "slimming-fashion",
    "group-norm-fashion",
    "halp-fashion",
    "amc-fashion",
    "greedy-fashion",
    "uniform-fashion",
    "random-fashion",
    "admm-fashion",
    "fbs-cifar",
    "dense-cifar",
    "autocompress-cifar",
    "dense-vgg16-cifar",
    "autocompress-vgg16-cifar",
    "autocompress-resnet18-cifar",
    "autocompress-vgg16-cifar-full",
];

settings! {
    /// Everything that decides what a run does.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Experiment {
        /// The version of the file format, `SCHEMA`.
        pub schema: u32, other;
        /// Short name that becomes part of the run folder's name: letters, digits, - and _.
        pub name: String, other;
        /// What it shows, in a sentence.
        #[serde(default)]
        pub about: String, other;
        /// Decides everything random: two runs with one seed give the same results.
        #[serde(default)]
        pub seed: u64, number(at_least(0));
        /// A trained model to start from, a file or `bundled`; without one, training begins with random weights.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub start: Option<ModelRef>, other;
        /// Layers' times of another machine, for budgets in milliseconds: a file that `secateur time-worker` wrote there; without
        /// one, this machine is timed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub latency_table: Option<PathBuf>, other;
        /// Seconds between two checkpoints: how much work a crash may cost.
        #[serde(default = "checkpoint_secs")]
        pub checkpoint_secs: f32, number(at_least(0); "s");
        /// Images.
        #[serde(default)]
        pub data: DataConfig, section;
        /// Network.
        pub model: ModelConfig, section;
        /// Training.
        #[serde(default)]
        pub train: TrainConfig, section;
        /// How the network is pruned.
        pub method: Method, other;
        /// After the method: its result is brought to an exact cost and trained, for comparisons.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub trim: Option<TrimConfig>, other;
        /// At the end: convolutions in bytes, and training that knows of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub quantize: Option<QuantizeConfig>, other;
    }
    check format_and_name;
}

fn format_and_name(experiment: &Experiment, _at: &str) -> Result<()> {
    let Experiment { schema, name, .. } = experiment;
    ensure!(*schema == SCHEMA, "schema is {schema}, expected {SCHEMA}");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.len() <= 64 && name.chars().all(plain),
        "name is {name:?}, expected letters, digits, - and _"
    );
    experiment.method.check("method")?;
    experiment.quantize.as_ref().map_or(Ok(()), |q| q.check("quantize"))?;
    let Some(trim) = &experiment.trim else { return Ok(()) };
    trim.check("trim")?;
    ensure!(
        experiment.start.is_some() && experiment.method.on_equal_terms(trim.target, 1).is_some(),
        "trim is for a method that prunes a given model to a target, expected `start` and another method than {}",
        experiment.method.kind()
    );
    Ok(())
}

settings! {
    /// Which images, and how they are varied.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct DataConfig {
        /// fashion-mnist (bundled), or a path: IDX, CIFAR, or train/CLASS/*.png.
        pub source: String = data::bundled::NAME.into(), other;
        /// Size of the images that pictures become: auto (that of most training pictures, or the median), 64, or HEIGHTxWIDTH.
        pub size: PictureSize = PictureSize::Auto, other;
        /// What happens to pictures of other sizes: they are cropped, letterboxed or stretched.
        pub fit: Fit = Fit::Crop, choice(Fit::NAMES);
        /// What shows through transparent pixels and beside letterboxed pictures.
        pub background: Background = Background::Gray, choice(Background::NAMES);
        /// Training images set aside for validation, which searches and sliders see: a share below 1 of each class, or a count
        /// drawn from all.
        pub valid: Amount = Amount::Share(0.1), number(at_least(0); "images");
        /// Chooses the validation images, if not the seed: a fork with another seed keeps them, so that it does not validate on
        /// what it learned.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub split_seed: Option<u64> = None, number(at_least(0));
        /// Use only so many training images; 0 means all.
        pub limit: usize = 0, number(at_least(0); "images");
        /// What searches must keep: classes by name, and images by their number in the data set (`#17`). Accuracy that is lost on
        /// them, against the whole network, is taken off a trial's reward.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub protect: Vec<String> = Vec::new(), other;
        /// Random changes to training images.
        pub augment: Augment = Augment::default(), section;
    }
}

settings! {
    /// Which network.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ModelConfig {
        /// The network.
        pub arch: String, choice(zoo::NAMES);
        /// Multiplies every hidden channel count.
        #[serde(default = "one")]
        pub width: f32, number(above(0), at_most(16));
        /// Replaces the network's own dropout rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dropout: Option<f32>, number(at_least(0), below(1));
    }
}

impl DataConfig {
    /// How pictures become images.
    pub fn reading(&self) -> Reading {
        Reading {
            size: self.size,
            fit: self.fit,
            background: self.background,
        }
    }

    /// Names the same images wherever the program is started.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn anchor(&mut self) -> Result<()> {
        if data::is_path(&self.source) {
            let path = std::path::absolute(&self.source).with_context(|| format!("data.source is {}", self.source))?;
            // It stays as it is where the current folder's name is no text.
            if let Some(path) = path.to_str() {
                self.source = path.to_owned();
            }
        }
        Ok(())
    }
}

const METHOD_KIND: Setting = Setting {
    choices: &Method::KINDS,
    ..Setting::new(
        "kind",
        "How the network is pruned; changing it brings that method's own keys.",
    )
};

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
        self.check("model")?;
        let mut spec = zoo::build(&self.arch, input, classes, self.width)?;
        if let Some(new) = self.dropout {
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
        experiment.check("")?;
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

    /// The experiment of a run's folder, with changes on top. What a run of an older version did not write down means what it
    /// meant then.
    ///
    /// # Errors
    /// As [`Experiment::load`].
    pub fn of_run(folder: &Path, changes: &[(String, String)]) -> Result<Self> {
        let config = folder.join("config.toml");
        let text = std::fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
        Self::recorded(&text, changes).with_context(|| format!("preset {}", config.display()))
    }

    /// A complete experiment, as runs and model files keep it.
    fn recorded(text: &str, changes: &[(String, String)]) -> Result<Self> {
        let mut table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| anyhow::anyhow!("not TOML: {}", e.message()))?;
        let data = table.entry("data").or_insert_with(|| toml::Table::new().into());
        if let Some(data) = data.as_table_mut() {
            // Pictures were stretched before there was a setting.
            data.entry("fit").or_insert_with(|| "stretch".into());
        }
        // Nor were widths multiples of anything.
        let has = |method: &Method| method.settings().iter().any(|s| s.key == "width_multiple");
        if let Some(method) = table.get_mut("method")
            && Method::deserialize(method.clone()).is_ok_and(|method| has(&method))
            && let Some(method) = method.as_table_mut()
        {
            method.entry("width_multiple").or_insert(1.into());
        }
        Self::parse(&table.to_string(), changes)
    }

    /// The same experiment wherever the program is started: paths of files are whole.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn anchored(&self) -> Result<Self> {
        let mut anchored = self.clone();
        anchored.data.anchor()?;
        if let Some(ModelRef::File(path)) = &mut anchored.start {
            *path = std::path::absolute(&*path).with_context(|| format!("start is {}", path.display()))?;
        }
        if let Some(table) = &mut anchored.latency_table {
            *table = std::path::absolute(&*table).with_context(|| format!("latency_table is {}", table.display()))?;
        }
        if let Some(teacher) = &mut anchored.train.teacher
            && teacher != train::OWN
            && let ModelRef::File(path) = ModelRef::from(teacher.clone())
        {
            let path = std::path::absolute(path).with_context(|| format!("train.teacher is {teacher}"))?;
            *teacher = path.to_str().map_or(teacher.clone(), str::to_owned);
        }
        Ok(anchored)
    }

    /// The complete experiment as TOML, every default written out.
    ///
    /// # Errors
    /// Never for an experiment that passed [`Experiment::check`].
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// Dotted keys with their values; lists are values.
    ///
    /// # Errors
    /// As [`Experiment::to_toml`].
    pub fn flat(&self) -> Result<Vec<(String, toml::Value)>> {
        fn walk(prefix: &str, table: toml::Table, out: &mut Vec<(String, toml::Value)>) {
            for (key, value) in table {
                let key = settings::dotted(prefix, &key);
                match value {
                    toml::Value::Table(inner) => walk(&key, inner, out),
                    value => out.push((key, value)),
                }
            }
        }
        let mut out = Vec::new();
        // By way of text, in which float32 numbers are as short as they were written: 0.1, not 0.10000000149.
        walk("", self.to_toml()?.parse()?, &mut out);
        Ok(out)
    }

    /// How a model was made, if its file says so in settings of this version.
    pub fn of_model(header: &ModelHeader) -> Option<Self> {
        Self::recorded(&header.recipe, &[]).ok()
    }

    /// Chooses the validation images.
    pub fn split_seed(&self) -> u64 {
        self.data.split_seed.unwrap_or(self.seed)
    }

    /// What is known of a dotted key, and what it means; within a method, with what its sections mean.
    pub fn setting(&self, key: &str) -> Option<(&'static Setting, String)> {
        match key.split_once('.') {
            Some(("method", "kind")) => Some((&METHOD_KIND, METHOD_KIND.help().to_owned())),
            Some(("method", rest)) => {
                let keys = self.method.settings();
                Some((settings::find(keys, rest)?, settings::help(keys, rest)))
            }
            Some(("trim", rest)) => {
                let keys = TrimConfig::SETTINGS;
                Some((settings::find(keys, rest)?, settings::help(keys, rest)))
            }
            Some(("quantize", rest)) => {
                let keys = QuantizeConfig::SETTINGS;
                Some((settings::find(keys, rest)?, settings::help(keys, rest)))
            }
            _ => settings::find(Self::SETTINGS, key).map(|s| (s, s.help().to_owned())),
        }
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
    #[test]
    fn runs_of_older_versions_cut_to_any_width() {
        let of = |preset: &str| {
            Experiment::load(preset, &[])
                .expect("preset")
                .to_toml()
                .expect("writes")
        };
        let width = |text: &str, changes: &[(String, String)]| {
            let experiment = Experiment::recorded(text, changes).expect("reads");
            let keys = experiment.flat().expect("flat");
            keys.into_iter()
                .find(|(key, _)| key == "method.width_multiple")
                .map(|(_, v)| v)
        };
        let new = of("uniform-fashion").replace("width_multiple = 1", "width_multiple = 8");
        let old = new.replace("width_multiple = 8\n", "");
        assert_ne!(new, old);
        assert_eq!(width(&new, &[]), Some(8.into()));
        assert_eq!(width(&old, &[]), Some(1.into()));
        assert_eq!(
            width(&old, &[("method.width_multiple".into(), "16".into())]),
            Some(16.into())
        );
        assert_eq!(width(&of("smoke"), &[]), None);
    }

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
    fn a_trim_is_for_a_method_that_prunes_a_given_model() {
        let of = |preset: &str, start: &str| {
            let changes = [
                ("trim", "{ target = { times = 8 }, retrain = { epochs = 2 } }"),
                ("start", start),
            ];
            let changes = changes.iter().filter(|(_, value)| !value.is_empty());
            let changes: Vec<_> = changes.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Experiment::load(preset, &changes)
        };
        let trimmed = of("uniform-fashion", "a.safetensors").expect("fits");
        assert_eq!(
            Experiment::parse(&trimmed.to_toml().expect("writes"), &[]).expect("reads"),
            trimmed
        );
        let (setting, help) = trimmed.setting("trim.retrain.epochs").expect("known");
        assert!(
            setting.unit == "epochs" && help.contains("Training afterwards"),
            "{help}"
        );
        for (preset, start) in [("uniform-fashion", ""), ("smoke", "a.safetensors")] {
            let text = format!("{:#}", of(preset, start).expect_err("refused"));
            assert!(
                text.contains("trim is for a method that prunes a given model to a target"),
                "{text}"
            );
        }
    }

    #[test]
    fn every_file_in_presets_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../presets");
        let names = std::fs::read_dir(folder)
            .expect("folder")
            .map(|f| f.expect("entry").path());
        let presets = names.filter(|path| path.extension().is_some_and(|e| e == "toml"));
        let mut files: Vec<String> = presets
            .map(|path| path.file_stem().expect("name").to_string_lossy().into_owned())
            .collect();
        files.sort();
        let built_in = PRESETS.iter().chain(&crate::tournament::TOURNAMENTS);
        let mut built_in: Vec<String> = built_in.map(|p| p.0.to_owned()).collect();
        built_in.sort();
        assert_eq!(files, built_in);
    }

    #[test]
    fn what_older_runs_did_not_write_down_means_what_it_meant_then() {
        let new = Experiment::load("smoke", &[]).expect("preset");
        assert_eq!((new.data.fit, new.data.valid), (Fit::Crop, Amount::Count(2000)));
        let text = new.to_toml().expect("writes");
        let dir = tempfile::tempdir().expect("temp dir");
        let of_run = |text: &str| {
            std::fs::write(dir.path().join("config.toml"), text).expect("writes");
            Experiment::of_run(dir.path(), &[]).expect("reads")
        };
        assert_eq!(of_run(&text), new);
        let unsaid = ["size = ", "fit = ", "background = "];
        let lines = text
            .lines()
            .filter(|line| unsaid.iter().all(|key| !line.starts_with(key)));
        let old = of_run(&lines.collect::<Vec<_>>().join("\n"));
        assert_eq!((old.data.fit, old.data.size), (Fit::Stretch, PictureSize::Auto));
        assert_eq!((old.data.valid, old.data.split_seed), (new.data.valid, None));
    }

    #[test]
    fn images_are_set_in_plain_words() {
        let with = |key: &str, value: &str| Experiment::load("smoke", &[(key.into(), value.into())]);
        let size = |value: &str| with("data.size", value).map(|e| e.data.size);
        assert_eq!(size("64").expect("a number"), PictureSize::Of(64, 64));
        assert_eq!(size("24x32").expect("two numbers"), PictureSize::Of(24, 32));
        assert_eq!(
            with("data.valid", "0.25").expect("a share").data.valid,
            Amount::Share(0.25)
        );
        for (key, value, expected) in [
            ("data.size", "big", "expected auto"),
            ("data.fit", "squeeze", "`letterbox`"),
            ("data.valid", "1.5", "expected a count such as 5000, or a share below 1"),
        ] {
            let error = format!("{:#}", with(key, value).expect_err(value));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_anchored_experiment_names_the_same_files_from_anywhere() {
        let relative = [("data.source", "some/where"), ("start", "models/a.safetensors")];
        let changes = relative.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let anchored = Experiment::load("smoke", &changes)
            .expect("preset")
            .anchored()
            .expect("anchors");
        let start = anchored.start.as_ref().and_then(ModelRef::path).expect("a file");
        assert!(Path::new(&anchored.data.source).is_absolute() && start.is_absolute());
        assert_eq!(anchored.anchored().expect("anchors"), anchored);
        let bundled = Experiment::load("smoke", &[]).expect("preset");
        assert_eq!(bundled.anchored().expect("anchors"), bundled);
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
