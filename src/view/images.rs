//! The validation images as the open model sees them: sorted, filtered, in words; and one of them looked at closely.
//! Knows nothing of pixels.

use super::text;
use lab::RunStore;
use measure::images::{ImageDetail, ImageRef, Prediction};
use serde::{Deserialize, Serialize};

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageOrder {
    /// As they are numbered.
    #[default]
    Number,
    /// Most MACs first.
    Compute,
    /// Least sure first.
    Confidence,
    /// Wrong and sure first: the worst mistakes.
    Error,
}

/// Which ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageFilter {
    /// All.
    #[default]
    All,
    /// Classified wrong.
    Wrong,
    /// Classified otherwise than with every channel running.
    Changed,
}

/// How images are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOptions {
    /// What comes first.
    pub order: ImageOrder,
    /// Which ones.
    pub which: ImageFilter,
    /// How many are passed over.
    pub from: usize,
}

/// What the images panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImagesView {
    /// Images there are of the chosen kind.
    pub n: usize,
    /// Of all images: wrong ones, and those that gating changed, once that is known.
    pub counts: [Option<usize>; 2],
    /// Those that fit, in order.
    pub cells: Vec<ImageCell>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageCell {
    /// Its place among the validation images.
    pub number: usize,
    /// Whether it was classified right.
    pub is_right: bool,
    /// Whether every channel running would say something else.
    pub is_changed: bool,
    /// In words.
    pub text: String,
}

/// One image looked at closely.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LookView {
    /// Which one it is.
    pub title: String,
    /// Most probable classes: name, probability gated, probability with every channel, whether it is the right one.
    pub classes: Vec<(String, f32, f32, bool)>,
    /// What it cost.
    pub cost: String,
    /// Share of channels that ran, by gate.
    pub active: Vec<f32>,
}

/// The first `most` images; none before the first complete answer.
pub fn images(store: &RunStore, options: ImageOptions, most: usize) -> Option<ImagesView> {
    let answer = store.answer.as_ref().filter(|a| !a.seen.is_empty())?;
    let names = &store.open.as_ref()?.header.classes;
    let seen = &answer.seen;
    let is_changed = |s: &Prediction| s.dense.is_some_and(|d| d != s.said);
    let fits = |s: &Prediction| match options.which {
        ImageFilter::All => true,
        ImageFilter::Wrong => s.said != s.label,
        ImageFilter::Changed => is_changed(s),
    };
    let mut order: Vec<usize> = (0..seen.len()).filter(|&i| fits(&seen[i])).collect();
    match options.order {
        ImageOrder::Number => {}
        ImageOrder::Compute => order.sort_by_key(|&i| std::cmp::Reverse(seen[i].macs)),
        ImageOrder::Confidence => order.sort_by(|&a, &b| seen[a].confidence.total_cmp(&seen[b].confidence)),
        ImageOrder::Error => order.sort_by(|&a, &b| {
            let badness = |i: usize| {
                let s = &seen[i];
                if s.said == s.label { -s.confidence } else { s.confidence }
            };
            badness(b).total_cmp(&badness(a))
        }),
    }
    let n = order.len();
    let known = seen.iter().any(|s| s.dense.is_some());
    let cells = order.into_iter().skip(options.from).take(most).map(|i| ImageCell {
        number: i,
        is_right: seen[i].said == seen[i].label,
        is_changed: is_changed(&seen[i]),
        text: says(i, &seen[i], names),
    });
    Some(ImagesView {
        n,
        counts: [
            Some(seen.iter().filter(|s| s.said != s.label).count()),
            known.then(|| seen.iter().filter(|s| is_changed(s)).count()),
        ],
        cells: cells.collect(),
    })
}

fn name(names: &[String], class: u16) -> &str {
    names.get(usize::from(class)).map_or("?", String::as_str)
}

/// `image 17: Coat; predicted Shirt, 63 %; 8.37 M MACs; with all channels Coat`.
fn says(i: usize, seen: &Prediction, names: &[String]) -> String {
    let mut out = format!(
        "image {i}: {}; predicted {}, {}; {} MACs",
        name(names, seen.label),
        name(names, seen.said),
        text::whole_percent(f64::from(seen.confidence)),
        text::count(seen.macs)
    );
    if let Some(dense) = seen.dense {
        out += &format!("; with all channels {}", name(names, dense));
    }
    out
}

/// The image that was looked at last.
pub fn look(store: &RunStore) -> Option<LookView> {
    let look = store.look.as_ref()?;
    let open = store.open.as_ref()?;
    let names = &open.header.classes;
    let title = match (&look.picture, look.label) {
        (ImageRef::Valid(i), Some(label)) => format!("image {i}: {}", name(names, label)),
        (ImageRef::Valid(i), None) => format!("image {i}"),
        (ImageRef::File(path), _) => path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
    };
    let share = look.macs as f64 / open.dense.macs.max(1) as f64;
    let cost = format!(
        "{} MACs, {} of the dense network",
        text::count(look.macs),
        text::whole_percent(share)
    );
    let mean = |on: &Vec<bool>| on.iter().filter(|&&a| a).count() as f32 / on.len().max(1) as f32;
    Some(LookView {
        title,
        classes: top(look, names),
        cost,
        active: look.active.iter().map(mean).collect(),
    })
}

/// The five classes that either way is most for, most probable first.
fn top(look: &ImageDetail, names: &[String]) -> Vec<(String, f32, f32, bool)> {
    let mut order: Vec<usize> = (0..look.gated.len()).collect();
    let most = |i: usize| look.gated[i].max(look.dense.get(i).copied().unwrap_or(0.0));
    order.sort_by(|&a, &b| most(b).total_cmp(&most(a)));
    let of = |i: usize| {
        (
            name(names, i as u16).to_owned(),
            look.gated[i],
            look.dense.get(i).copied().unwrap_or(0.0),
            look.label == Some(i as u16),
        )
    };
    order.into_iter().take(5).map(of).collect()
}
