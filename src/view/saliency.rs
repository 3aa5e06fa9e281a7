//! Which channels matter: mean saliency and how often each was active, layers by channels. Of a network without gates, the
//! score of each channel, and whether a cut lets it stay.
//! Knows nothing of colors.

use event::LayerState;
use lab::RunStore;
use measure::pruning::PrunedGroup;
use model::Density;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What saliency is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaliencyScope {
    /// All images.
    #[default]
    All,
    /// The images of one class.
    Class(u16),
    /// The image that was looked at last.
    Image,
}

/// What the saliency panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SaliencyView {
    /// Images measured; none of scores, which need none.
    pub n: Option<usize>,
    /// In network order.
    pub rows: Vec<SaliencyRow>,
}

/// One layer's channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SaliencyRow {
    /// The convolution's name.
    pub name: String,
    /// Mean saliency of each channel, divided by the layer's largest.
    pub saliency: Vec<f32>,
    /// Share of images in which each channel was active.
    pub active: Vec<f32>,
    /// Share of the channels that run, or stay.
    pub kept: f32,
    /// Of an image's truly largest channels, the share that the gate chooses, and the share that chance would; where that was
    /// compared.
    pub oracle: Option<[f64; 2]>,
}

/// The saliency panel; none before the first answer about a gated model. What is not known yet of a class or an image is
/// shown of all images.
pub fn saliency(store: &RunStore, of: SaliencyScope) -> Option<SaliencyView> {
    let mut view = of_scope(store, of)?;
    if let (Some(open), Some(density)) = (&store.open, compared_at(store))
        && let Some(shares) = store.oracle(&open.from, density)
    {
        for row in &mut view.rows {
            let share = shares.iter().find(|s| s.layer == row.name);
            row.oracle = share.map(|s| [s.oracle_share, s.chance]);
        }
    }
    Some(view)
}

/// The density that gates are compared with the oracle at: what is asked, or the nearest to its mean. None without gates.
pub fn compared_at(store: &RunStore) -> Option<Density> {
    let question = &store.answer.as_ref()?.question;
    let percent = (question.mean() * 100.0).round() as u32;
    (!question.densities.is_empty())
        .then(|| Density::percent(percent).ok())
        .flatten()
}

fn of_scope(store: &RunStore, of: SaliencyScope) -> Option<SaliencyView> {
    let answer = store.answer.as_ref()?;
    let part = match of {
        SaliencyScope::All => None,
        SaliencyScope::Class(class) => answer.classes.get(usize::from(class)).map(|c| {
            let (saliency, active) = (c.saliency.clone(), c.active.clone());
            (c.n, saliency, active)
        }),
        SaliencyScope::Image => store.look.as_ref().map(|look| {
            let share = |on: &Vec<bool>| on.iter().map(|&a| f32::from(u8::from(a))).collect();
            (1, look.saliency.clone(), look.active.iter().map(share).collect())
        }),
    };
    let Some((n, saliency, active)) = part else {
        let plan = answer.plan.as_ref();
        return of_layers(&answer.layers, answer.n).or_else(|| of_groups(&plan?.groups));
    };
    let gated = answer.layers.iter().filter(|l| !l.saliency.is_empty());
    let layers: Vec<LayerState> = gated
        .zip(saliency.into_iter().zip(active))
        .map(|(l, (saliency, active))| LayerState {
            saliency,
            active,
            ..l.clone()
        })
        .collect();
    of_layers(&layers, n)
}

/// One layer's channels as each class uses them: a row a class. None before the first complete answer, or of a layer without a gate.
pub fn by_class(store: &RunStore, layer: &str) -> Option<SaliencyView> {
    let answer = store.answer.as_ref()?;
    let names = &store.open.as_ref()?.header.classes;
    let mut gated = answer.layers.iter().filter(|l| !l.saliency.is_empty());
    let at = gated.position(|l| l.name == layer)?;
    let most = |of: &[f32]| of.iter().copied().fold(0.0, f32::max);
    // One scale for all classes, or they could not be compared.
    let largest = answer.classes.iter().map(|c| most(&c.saliency[at])).fold(0.0, f32::max);
    let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
    let row = |(class, used): (usize, &measure::images::ClassActivity)| SaliencyRow {
        name: names.get(class).cloned().unwrap_or_else(|| class.to_string()),
        saliency: used.saliency[at].iter().map(|s| s * scale).collect(),
        kept: mean(&used.active[at]),
        active: used.active[at].clone(),
        oracle: None,
    };
    let rows: Vec<SaliencyRow> = answer.classes.iter().enumerate().map(row).collect();
    (!rows.is_empty()).then_some(SaliencyView {
        n: Some(answer.n),
        rows,
    })
}

/// What a cut is chosen by: scores, and what stays.
fn of_groups(groups: &[PrunedGroup]) -> Option<SaliencyView> {
    let row = |group: &PrunedGroup| {
        let largest = group.scores.iter().copied().fold(0.0, f32::max);
        let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
        SaliencyRow {
            name: group.name.clone(),
            saliency: group.scores.iter().map(|s| s * scale).collect(),
            active: group.kept.iter().map(|&k| f32::from(u8::from(k))).collect(),
            kept: group.n_kept() as f32 / group.kept.len().max(1) as f32,
            oracle: None,
        }
    };
    let rows: Vec<SaliencyRow> = groups.iter().map(row).collect();
    (!rows.is_empty()).then_some(SaliencyView { n: None, rows })
}

/// These layers, measured on `n` images; none if no layer has a gate.
pub fn of_layers(layers: &[LayerState], n: usize) -> Option<SaliencyView> {
    let rows: Vec<SaliencyRow> = layers.iter().filter(|l| !l.saliency.is_empty()).map(row).collect();
    (!rows.is_empty()).then_some(SaliencyView { n: Some(n), rows })
}

fn row(layer: &LayerState) -> SaliencyRow {
    let largest = layer.saliency.iter().copied().fold(0.0, f32::max);
    let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
    SaliencyRow {
        name: layer.name.clone(),
        saliency: layer.saliency.iter().map(|s| s * scale).collect(),
        active: layer.active.clone(),
        kept: layer.kept,
        oracle: None,
    }
}

fn mean(shares: &[f32]) -> f32 {
    shares.iter().sum::<f32>() / shares.len().max(1) as f32
}

impl SaliencyView {
    /// `Gates choose 71 % of an image's truly largest channels (chance: 50 %)`; none before they were compared.
    pub fn says_oracle(&self) -> Option<String> {
        let compared: Vec<[f64; 2]> = self.rows.iter().filter_map(|r| r.oracle).collect();
        let mean = |of: usize| compared.iter().map(|c| c[of]).sum::<f64>() / compared.len() as f64;
        (!compared.is_empty()).then(|| {
            format!(
                "Gates choose {} of an image's truly largest channels (chance: {})",
                super::text::whole_percent(mean(0)),
                super::text::whole_percent(mean(1))
            )
        })
    }

    /// What is said of one channel: `conv3 channel 17: saliency 0.83, active in 62 % of images`.
    pub fn says(&self, layer: usize, channel: usize) -> Option<String> {
        let row = self.rows.get(layer)?;
        let (saliency, active) = (row.saliency.get(channel)?, row.active.get(channel)?);
        if self.n.is_none() {
            let fate = if *active > 0.5 { "stays" } else { "is cut" };
            let score = format!("score {saliency:.2} of the layer's largest");
            return Some(format!("{} channel {channel}: {score}, {fate}", row.name));
        }
        Some(format!(
            "{} channel {channel}: saliency {saliency:.2}, active in {:.0} % of images",
            row.name,
            active * 100.0
        ))
    }

    /// Channels that were active in a smaller share of the images, by layer; of no layer all.
    pub fn rarely_active(&self, below: f32) -> BTreeMap<String, Vec<usize>> {
        let of = |row: &SaliencyRow| {
            let rare = (0..row.active.len()).filter(|&c| row.active[c] < below);
            // The most active one always stays.
            let most = (0..row.active.len()).max_by(|&a, &b| row.active[a].total_cmp(&row.active[b]));
            rare.filter(|c| Some(*c) != most).collect::<Vec<usize>>()
        };
        let rows = self.rows.iter().map(|r| (r.name.clone(), of(r)));
        rows.filter(|(_, rare)| !rare.is_empty()).collect()
    }
}
