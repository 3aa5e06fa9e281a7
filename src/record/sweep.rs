//! Many runs from one file: every combination of a few settings, and which of them one of several machines does.
//! Knows nothing of schedulers: whatever starts a shard only needs to number it.

use crate::experiment::Experiment;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::path::Path;

const MOST: usize = 100_000;

/// A sweep as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    preset: String,
    /// Keys, each with the values it takes.
    set: toml::Table,
}

/// One of `of` shards, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl std::str::FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if 1 <= index && index <= of => Ok(Self { index, of }),
            _ => bail!("shard {text}, expected e.g. 1/4"),
        }
    }
}

/// The experiments of a sweep file, the last key changing fastest; of a shard every `of`th, so that shards are alike.
///
/// # Errors
/// One line: the file cannot be read, a key or value does not fit, nothing or far too much is asked for.
pub fn experiments(file: &Path, shard: Shard, changes: &[(String, String)]) -> Result<Vec<Experiment>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let all = parse(&text, changes).with_context(|| format!("sweep {}", file.display()))?;
    Ok(all.into_iter().skip(shard.index - 1).step_by(shard.of).collect())
}

fn parse(text: &str, changes: &[(String, String)]) -> Result<Vec<Experiment>> {
    let file: File = toml::from_str(text).map_err(|e| anyhow::anyhow!("{}", e.message()))?;
    let mut settings: Vec<Vec<(String, String)>> = vec![changes.to_vec()];
    for (key, values) in &file.set {
        let toml::Value::Array(values) = values else {
            bail!("set.{key} is {values}, expected a list of values")
        };
        ensure!(!values.is_empty(), "set.{key} is empty, expected at least one value");
        ensure!(
            settings.len().saturating_mul(values.len()) <= MOST,
            "more than {MOST} runs are asked for"
        );
        let with = |before: &Vec<(String, String)>, value: &toml::Value| {
            let mut after = before.clone();
            after.push((key.clone(), value.to_string()));
            after
        };
        settings = settings
            .iter()
            .flat_map(|s| values.iter().map(|v| with(s, v)).collect::<Vec<_>>())
            .collect();
    }
    settings
        .iter()
        .map(|changes| Experiment::load(&file.preset, changes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "preset = \"smoke\"\n[set]\nseed = [0, 1, 2]\n\"train.lr\" = [0.1, 0.05]\n";

    #[test]
    fn every_combination_is_one_run_and_shards_share_them_out() {
        let all = parse(FILE, &[("train.epochs".into(), "3".into())]).expect("reads");
        let said: Vec<(u64, f32, u32)> = all.iter().map(|e| (e.seed, e.train.lr, e.train.epochs)).collect();
        assert_eq!(said.len(), 6);
        assert_eq!(said[..3], [(0, 0.1, 3), (0, 0.05, 3), (1, 0.1, 3)]);
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("sweep.toml");
        std::fs::write(&path, FILE).expect("writes");
        let shard = |text: &str| experiments(&path, text.parse().expect("a shard"), &[]).expect("reads");
        let mut both = shard("1/2");
        both.extend(shard("2/2"));
        assert_eq!((shard("1/2").len(), both.len()), (3, 6));
        let mut seeds: Vec<(u64, u32)> = both.iter().map(|e| (e.seed, (e.train.lr * 100.0) as u32)).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 6, "no run is done twice");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (text, expected) in [
            ("preset = \"smoke\"\n[set]\nseed = 1\n", "set.seed is 1"),
            ("preset = \"smoke\"\n[set]\nsead = [1]\n", "did you mean seed"),
            ("preset = \"nothing\"\n[set]\n", "no preset or file"),
            ("preset = \"smoke\"\n[set]\nseed = []\n", "set.seed is empty"),
        ] {
            let error = format!("{:#}", parse(text, &[]).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
        for text in ["0/2", "3/2", "1", "a/b"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
