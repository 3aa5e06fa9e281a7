//! Presets and images to choose from: grouped, with the time that each took and what it needs.
//! Knows nothing of menus.

use super::text;
use lab::RunStore;
use record::Experiment;
use record::experiment::PRESETS;
use serde::Serialize;

/// Where the times of presets are written down.
const TABLE: &str = include_str!("../../presets/README.md");

/// Presets of one purpose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresetGroup {
    /// `Train`, `Prune` or `Search and prune`.
    pub title: &'static str,
    /// In the order of all presets.
    pub presets: Vec<PresetChoice>,
}

/// One preset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresetChoice {
    /// Its place among all.
    pub index: usize,
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: String,
    /// What its run took, as measured once.
    pub time: &'static str,
    /// What it needs beside the program, if anything.
    pub needs: Option<String>,
}

impl PresetChoice {
    /// `fbs-cifar · 66 minutes on one shared core · needs cifar-10`.
    pub fn says(&self) -> String {
        let needs = self.needs.as_ref().map(|needs| format!(" · needs {needs}"));
        format!("{} · {}{}", self.name, self.time, needs.unwrap_or_default())
    }
}

/// All presets by purpose.
pub fn presets() -> Vec<PresetGroup> {
    let group = |title| PresetGroup {
        title,
        presets: Vec::new(),
    };
    let mut groups = ["Train", "Prune", "Search and prune"].map(group);
    for (index, (name, _)) in PRESETS.iter().enumerate() {
        let Ok(experiment) = Experiment::load(name, &[]) else {
            continue;
        };
        let at = match experiment.method.kind() {
            "dense" | "fbs" => 0,
            "uniform" => 1,
            _ if experiment.method.searches() > 0 => 2,
            _ => 1,
        };
        groups[at].presets.push(PresetChoice {
            index,
            name,
            about: experiment.about.clone(),
            time: time(name),
            needs: needs(&experiment),
        });
    }
    groups.into()
}

/// The third column of a preset's row in the table.
fn time(name: &str) -> &'static str {
    let row = TABLE.lines().find(|line| line.starts_with(&format!("| [{name}](")));
    let cell = row.and_then(|row| row.split('|').nth(3)).map(str::trim);
    cell.unwrap_or("not run yet")
}

fn needs(experiment: &Experiment) -> Option<String> {
    let source = &experiment.data.source;
    let images = (source != data::bundled::NAME).then(|| source.to_uppercase());
    let gates = (experiment.method.kind() == "densities" && experiment.start.is_none())
        .then(|| "a network with gates".to_owned());
    let all: Vec<String> = images.into_iter().chain(gates).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

/// Something that Train can use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImagesChoice {
    /// As `data.source` has it.
    pub source: String,
    /// `fashion-mnist (bundled)`.
    pub words: String,
}

/// The images to choose from: the bundled ones, those of the open model, and those that runs were trained on.
pub fn image_sources(store: &RunStore, now: &str) -> Vec<ImagesChoice> {
    let bundled = data::bundled::NAME.to_owned();
    let of_open = store.images_from.clone();
    let of_runs = store.runs.iter().map(|run| run.experiment.data.source.clone());
    let mut out: Vec<ImagesChoice> = Vec::new();
    for source in [bundled]
        .into_iter()
        .chain(of_open.clone())
        .chain(of_runs)
        .chain([now.to_owned()])
    {
        if out.iter().any(|other| other.source == source) {
            continue;
        }
        let why = match &source {
            s if s == data::bundled::NAME => "bundled",
            s if Some(s) == of_open.as_ref() => "the open model's",
            s if s == now => "the preset's",
            _ => "of an earlier run",
        };
        out.push(ImagesChoice {
            words: format!("{} ({why})", text::tail(&source, 48)),
            source,
        });
    }
    out
}
