//! A tournament as its file has it: networks, targets, methods and seeds under one budget, and the experiments that follow.
//! Knows nothing of how they are run.

use crate::experiment::Experiment;
use crate::model_ref::ModelRef;
use crate::sweep::Shard;
use anyhow::{Context, Result, bail, ensure};
use event::Unit;
use methods::{Method, PruningTarget, TrainingStage, TrimConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name of the networks that nothing was pruned of.
pub const DENSE: &str = "dense";

const MOST: usize = 10_000;

/// The tournaments that come with the program: name and text.
pub(crate) const TOURNAMENTS: [(&str, &str); 2] = [
    ("tournament-small", include_str!("../../presets/tournament-small.toml")),
    ("tournament-cifar", include_str!("../../presets/tournament-cifar.toml")),
];

/// A tournament's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TournamentFile {
    name: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    set: BTreeMap<String, toml::Value>,
    networks: BTreeMap<String, NetworkFile>,
    targets: Vec<f64>,
    #[serde(default)]
    unit: Unit,
    /// Widths are multiples of it. 1: any, so that targets are met within a channel.
    #[serde(default = "any_width")]
    width_multiple: usize,
    #[serde(default = "one_seed")]
    dense_seeds: Vec<u64>,
    #[serde(default = "one_seed")]
    seeds: Vec<u64>,
    budget: Budget,
    methods: BTreeMap<String, toml::Table>,
    #[serde(default)]
    against: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkFile {
    preset: String,
    #[serde(default)]
    set: BTreeMap<String, toml::Value>,
    /// Trained networks; none: they are trained as the preset says, one for each of the dense seeds.
    #[serde(default)]
    models: Vec<PathBuf>,
}

/// What a method may take beside the training that all end with.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    /// Trials of all its searches.
    trials: u64,
    /// Epochs of training of its own.
    epochs: u64,
    /// The training that all end with.
    retrain: TrainingStage,
}

fn any_width() -> usize {
    1
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

/// What is compared, and with whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Tournament {
    /// Its name, and that of its folder.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// What targets are counted in.
    pub unit: Unit,
    /// The method that the others are compared with.
    pub against: String,
    /// All that begins with one trained network, together: what one shard does.
    pub heats: Vec<Heat>,
}

/// One trained network with all methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// The trained network, or how it is trained.
    pub dense: Dense,
    /// What is run from it, `start` not yet given.
    pub entries: Vec<Entry>,
}

/// A trained network.
#[derive(Clone, Debug, PartialEq)]
pub enum Dense {
    /// A file.
    Given(Entry, ModelRef),
    /// A run.
    Trained(Entry),
}

impl Dense {
    /// Its entry in the table.
    pub fn entry(&self) -> &Entry {
        match self {
            Self::Given(entry, _) | Self::Trained(entry) => entry,
        }
    }
}

/// One run of a tournament.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The network's name in the file.
    pub network: String,
    /// The seed it was trained with, or the name of its file.
    pub dense: String,
    /// The method's name in the file, or [`DENSE`].
    pub method: String,
    /// How many times less; none of the dense network.
    pub target: Option<f64>,
    /// The method's seed.
    pub seed: u64,
    /// What is run.
    pub experiment: Experiment,
}

impl Tournament {
    /// Reads a tournament, one of the program's by its name or a file, with changes to all its experiments on top.
    ///
    /// # Errors
    /// One line: the file cannot be read, a key or value does not fit, a method takes more than the budget, nothing or far too
    /// much is asked for.
    pub fn load(named: &Path, changes: &[(String, String)]) -> Result<Self> {
        let at = || format!("tournament {}", named.display());
        if let Some((_, text)) = TOURNAMENTS.iter().find(|(name, _)| Path::new(name) == named) {
            return Self::parse(text, changes, Path::new("")).with_context(at);
        }
        let text = std::fs::read_to_string(named).with_context(|| {
            let names = TOURNAMENTS.map(|t| t.0).join(", ");
            format!(
                "cannot read {}; the program's own tournaments are {names}",
                named.display()
            )
        })?;
        Self::parse(&text, changes, named.parent().unwrap_or(Path::new(""))).with_context(at)
    }

    fn parse(text: &str, changes: &[(String, String)], beside: &Path) -> Result<Self> {
        let file: TournamentFile = toml::from_str(text).map_err(|e| anyhow::anyhow!("{}", e.message()))?;
        file.check()?;
        let mut heats = Vec::new();
        for (name, network) in &file.networks {
            let mut all = pairs(&file.set);
            all.extend(pairs(&network.set));
            all.extend_from_slice(changes);
            let base = file
                .experiment(&network.preset, beside, &all)
                .with_context(|| format!("networks.{name}"))?;
            for dense in file.dense(name, network, &base, beside)? {
                let entries = file.entries(&dense)?;
                heats.push(Heat { dense, entries });
            }
        }
        let against = file.against.clone().or_else(|| file.methods.keys().next().cloned());
        Ok(Self {
            name: file.name,
            about: file.about,
            unit: file.unit,
            against: against.context("methods is empty, expected at least one")?,
            heats,
        })
    }

    /// The heats of a shard: every `of`th, so that a trained network is trained once.
    pub fn of_shard(&self, shard: Shard) -> impl Iterator<Item = &Heat> {
        self.heats.iter().skip(shard.index - 1).step_by(shard.of)
    }
}

impl TournamentFile {
    fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_name = |name: &str| !name.is_empty() && name.len() <= 24 && name.chars().all(plain);
        let names = self.networks.keys().chain(self.methods.keys()).chain([&self.name]);
        for name in names {
            ensure!(
                is_name(name),
                "{name:?}, expected a name of up to 24 letters, digits, - and _"
            );
        }
        ensure!(
            !self.methods.contains_key(DENSE),
            "methods.{DENSE}: the dense networks are in every tournament"
        );
        let against = self.against.as_ref();
        ensure!(
            against.is_none_or(|name| self.methods.contains_key(name)),
            "against is {:?}, expected one of the methods",
            against.map_or("", |name| name)
        );
        for target in &self.targets {
            ensure!(
                *target > 1.0 && target.is_finite(),
                "targets has {target}, expected more than 1"
            );
        }
        let counts = [
            ("networks", self.networks.len()),
            ("targets", self.targets.len()),
            ("dense_seeds", self.dense_seeds.len()),
            ("seeds", self.seeds.len()),
            ("methods", self.methods.len()),
        ];
        for (key, n) in counts {
            ensure!(n > 0, "{key} is empty, expected at least one");
        }
        let runs = counts.iter().fold(1_usize, |runs, (_, n)| runs.saturating_mul(*n));
        ensure!(runs <= MOST, "more than {MOST} runs are asked for");
        self.budget.retrain.check("budget.retrain")?;
        ensure!(
            self.budget.retrain.epochs > 0,
            "budget.retrain.epochs is 0, expected at least 1"
        );
        Ok(())
    }

    /// A preset by name, or a file that may lie beside the tournament's.
    fn experiment(&self, preset: &str, beside: &Path, changes: &[(String, String)]) -> Result<Experiment> {
        let near = beside.join(preset);
        let preset = if near.is_file() {
            near.to_string_lossy()
        } else {
            preset.into()
        };
        let mut experiment = Experiment::load(&preset, changes)?;
        (experiment.method, experiment.trim) = (Method::Dense, None);
        Ok(experiment)
    }

    fn dense(&self, name: &str, network: &NetworkFile, base: &Experiment, beside: &Path) -> Result<Vec<Dense>> {
        let entry = |dense: String, seed: u64| Entry {
            network: name.to_owned(),
            experiment: Experiment {
                name: format!("{name}-{dense}"),
                about: self.about.clone(),
                seed,
                start: None,
                ..base.clone()
            },
            dense,
            method: DENSE.to_owned(),
            target: None,
            seed,
        };
        if network.models.is_empty() {
            let seeds = self.dense_seeds.iter();
            return Ok(seeds
                .map(|&seed| Dense::Trained(entry(seed.to_string(), seed)))
                .collect());
        }
        let given = network.models.iter().map(|path| {
            let model = ModelRef::File(beside.join(path));
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let stem: String = model.stem().chars().map(plain).take(16).collect();
            ensure!(
                !stem.is_empty(),
                "networks.{name}.models has {}, expected a model file",
                path.display()
            );
            Ok(Dense::Given(entry(stem, 0), model))
        });
        given.collect()
    }

    /// All methods at all targets with all seeds.
    fn entries(&self, dense: &Dense) -> Result<Vec<Entry>> {
        let of = dense.entry();
        let mut entries = Vec::new();
        for &times in &self.targets {
            let target = PruningTarget { unit: self.unit, times };
            for (name, table) in &self.methods {
                let method = self.method(name, table, target, of)?;
                for &seed in &self.seeds {
                    let times = times.to_string().replace('.', "_");
                    entries.push(Entry {
                        method: name.clone(),
                        target: Some(target.times),
                        seed,
                        experiment: Experiment {
                            name: format!("{}-{name}-{times}x", of.experiment.name),
                            seed,
                            method: method.clone(),
                            trim: Some(TrimConfig {
                                target,
                                width_multiple: self.width_multiple,
                                retrain: self.budget.retrain.clone(),
                            }),
                            ..of.experiment.clone()
                        },
                        ..of.clone()
                    });
                }
            }
        }
        Ok(entries)
    }

    fn method(&self, name: &str, table: &toml::Table, target: PruningTarget, of: &Entry) -> Result<Method> {
        let at = format!("methods.{name}");
        let method: Method = toml::Value::Table(table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| anyhow::anyhow!("{at}: {}", e.message()))?;
        let Some(method) = method.on_equal_terms(target, self.width_multiple) else {
            bail!("{at} is {}, expected a method that prunes to a target", method.kind())
        };
        method.check(&at)?;
        let [epochs, trials] = method.takes(&of.experiment.train);
        let times = target.times;
        ensure!(
            epochs <= self.budget.epochs,
            "{at} takes {epochs} epochs of its own at {times} times less, budget.epochs is {}",
            self.budget.epochs
        );
        ensure!(
            trials <= self.budget.trials,
            "{at} takes {trials} trials at {times} times less, budget.trials is {}",
            self.budget.trials
        );
        Ok(method)
    }
}

fn pairs(set: &BTreeMap<String, toml::Value>) -> Vec<(String, String)> {
    set.iter().map(|(k, v)| (k.clone(), v.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
name = "small"
targets = [4, 8.5]
dense_seeds = [0, 1]
seeds = [0, 5]
against = "uniform"
set = { "data.limit" = 300 }

[networks]
narrow = { preset = "dense-fashion", set = { "model.width" = 0.12 } }
given = { preset = "dense-fashion", models = ["a.safetensors"] }

[budget]
trials = 10
epochs = 3
retrain = { epochs = 2, lr = 0.05 }

[methods.uniform]
kind = "uniform"
[methods.slimming]
kind = "slimming"
sparse = { epochs = 3 }
"#;

    fn read(text: &str) -> Result<Tournament> {
        Tournament::parse(text, &[("train.batch".into(), "50".into())], Path::new("/somewhere"))
    }

    #[test]
    fn every_method_meets_every_target_from_every_network_and_shards_share_networks_out() {
        let all = read(FILE).expect("reads");
        assert_eq!(all.heats.len(), 1 + 2, "a model, and two that are trained");
        let Dense::Given(_, ModelRef::File(path)) = &all.heats[0].dense else {
            panic!("{:?}", all.heats[0].dense)
        };
        assert_eq!(path, Path::new("/somewhere/a.safetensors"));
        for heat in &all.heats {
            assert_eq!(heat.entries.len(), 2 * 2 * 2);
            for e in &heat.entries {
                let trim = e.experiment.trim.as_ref().expect("a trim");
                assert_eq!((Some(trim.target.times), trim.retrain.epochs), (e.target, 2));
                assert_eq!((e.experiment.train.batch, e.experiment.data.limit), (50, 300));
                assert_eq!(e.experiment.seed, e.seed);
            }
        }
        let names: Vec<&str> = all.heats[2]
            .entries
            .iter()
            .map(|e| e.experiment.name.as_str())
            .collect();
        assert_eq!(names[..2], ["narrow-1-slimming-4x"; 2]);
        assert_eq!(names[7], "narrow-1-uniform-8_5x");
        assert_eq!(all.heats[2].dense.entry().experiment.seed, 1);
        let shard = |text: &str| all.of_shard(text.parse().expect("a shard")).collect::<Vec<_>>();
        assert_eq!((shard("1/2").len(), shard("2/2").len(), shard("4/4").len()), (2, 1, 0));
    }

    #[test]
    fn the_tournaments_that_come_with_the_program_keep_their_budgets() {
        let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../presets");
        for (file, runs) in [
            ("tournament-small.toml", 2 * 2 * 7),
            ("tournament-cifar.toml", 6 * 2 * 8),
        ] {
            let all = Tournament::load(&presets.join(file), &[]).expect(file);
            assert_eq!(all.heats.iter().map(|h| h.entries.len()).sum::<usize>(), runs, "{file}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_before_anything_is_trained() {
        let cases = [
            (
                "trials = 10",
                "trials = 0",
                "methods.uniform takes 1 trials at 4 times less, budget.trials is 0",
            ),
            (
                "epochs = 3 }",
                "epochs = 9 }",
                "methods.slimming takes 9 epochs of its own at 4 times less, budget.epochs is 3",
            ),
            (
                "kind = \"uniform\"",
                "kind = \"fbs\"",
                "methods.uniform is fbs, expected a method that prunes to a target",
            ),
            (
                "kind = \"uniform\"",
                "kind = \"uniform\"\nfloor = 2.0",
                "methods.uniform.floor is 2",
            ),
            ("targets = [4, 8.5]", "targets = []", "targets is empty"),
            ("targets = [4, 8.5]", "targets = [0.5]", "targets has 0.5"),
            ("against = \"uniform\"", "against = \"other\"", "against is \"other\""),
            (
                "preset = \"dense-fashion\", set",
                "preset = \"dense-fashoin\", set",
                "did you mean dense-fashion?",
            ),
            (
                "[methods.slimming]",
                "[methods.dense]",
                "the dense networks are in every tournament",
            ),
            (
                "name = \"small\"",
                "name = \"a/b\"",
                "expected a name of up to 24 letters",
            ),
        ];
        for (from, to, expected) in cases {
            let error = format!("{:#}", read(&FILE.replace(from, to)).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
    }
}
