//! What breaks first: the images whose answer changed when the sliders moved, and how many of each class stay right at each
//! density or target that was measured. Knows nothing of pixels.

use super::density;
use super::{search, text};
use event::Steer;
use lab::RunStore;
use measure::Question;
use record::RunId;
use record::searches::SearchState;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Pairs of classes that are named at most.
const PAIRS: usize = 3;

/// What the panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlipsView {
    /// `40 of 5 000 answers changed from density 0.55 to 0.50`.
    pub title: String,
    /// `Shirt → T-shirt 14 · Coat → Pullover 9`.
    pub pairs: String,
    /// Images that changed: those that are wrong now first.
    pub cells: Vec<FlippedImage>,
    /// How many there are in all.
    pub n: usize,
    /// Images that were compared.
    pub n_compared: usize,
    /// How classes fare; none before anything was measured by class.
    pub survival: Option<Survival>,
}

/// One image whose answer changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlippedImage {
    /// Its place among the validation images.
    pub number: usize,
    /// Its class, where that is known.
    pub label: Option<u16>,
    /// Whether it was right before and is not any more.
    pub is_broken: bool,
    /// `Shirt → Dress`: what was said, and what is said.
    pub change: String,
    /// In words.
    pub text: String,
}

/// Shares of each class that are classified right, along densities or targets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survival {
    /// `density` or `times fewer MACs`.
    pub along: &'static str,
    /// What the shares are of: `right`, or `as the whole network says` where images have no classes.
    pub right: &'static str,
    /// What was measured, from the whole network on.
    pub columns: Vec<String>,
    /// The column of what is asked now, if it was measured.
    pub now: Option<usize>,
    /// Those that lose most come first.
    pub rows: Vec<SurvivalRow>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SurvivalRow {
    /// Its index.
    pub class: usize,
    /// Its name.
    pub name: String,
    /// Share of its images that is right, by column.
    pub shares: Vec<f32>,
}

impl SurvivalRow {
    /// What it loses from the first column to the last.
    fn loss(&self) -> f32 {
        self.shares
            .first()
            .zip(self.shares.last())
            .map_or(0.0, |(first, last)| first - last)
    }
}

/// At most so many of the images that changed; none while nothing was measured on images.
pub fn flips(store: &RunStore, most: usize) -> Option<FlipsView> {
    let open = store.open.as_ref()?;
    let answer = store.answer.as_ref().filter(|a| !a.said.is_empty())?;
    let names = &open.header.classes;
    let name = |class: u16| names.get(usize::from(class)).map_or("?", String::as_str);
    let dense: Option<Vec<u16>> = answer.seen.iter().map(|s| s.dense).collect();
    let (before, from) = match &store.before {
        Some(heard) => (heard.said.to_vec(), says(&heard.question)),
        // Before anything was moved: against the whole network.
        None => {
            let measured = density::whole(store, open).filter(|whole| whole.question != answer.question);
            let said = || measured.map_or_else(Vec::new, |whole| whole.said.to_vec());
            let dense = dense.filter(|dense| !dense.is_empty());
            (dense.unwrap_or_else(said), "the whole network".to_owned())
        }
    };
    let by_whom = match density::is_agreement(store) {
        true => "the whole network says",
        false => "it is",
    };
    let label = |i: usize| {
        let strip = store.strip.as_ref().and_then(|strip| strip.labels.get(i));
        strip.or(answer.seen.get(i).map(|s| &s.label)).copied()
    };
    let pairs = before.iter().zip(answer.said.iter()).enumerate();
    let changed: Vec<(usize, u16, u16)> = pairs
        .filter(|(_, (before, now))| before != now)
        .map(|(i, (before, now))| (i, *before, *now))
        .collect();
    let mut counts: BTreeMap<(u16, u16), usize> = BTreeMap::new();
    changed
        .iter()
        .for_each(|(_, a, b)| *counts.entry((*a, *b)).or_default() += 1);
    let mut counts: Vec<((u16, u16), usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(pair, n)| (Reverse(*n), *pair));
    let pairs: Vec<String> = counts
        .iter()
        .take(PAIRS)
        .map(|((a, b), n)| format!("{} → {} {n}", name(*a), name(*b)))
        .collect();
    let mut cells: Vec<FlippedImage> = changed
        .iter()
        .map(|&(i, was, is)| {
            let label = label(i);
            let is_broken = label == Some(was);
            let change = format!("{} → {}", name(was), name(is));
            let truth = label.map_or_else(String::new, |label| format!(", {by_whom} {}", name(label)));
            FlippedImage {
                number: i,
                label,
                is_broken,
                text: format!("flipped image {i}: {change}{truth}"),
                change,
            }
        })
        .collect();
    cells.sort_by_key(|cell| (!cell.is_broken, cell.number));
    cells.truncate(most);
    let n = answer.said.len().min(before.len());
    let title = match before.is_empty() {
        true => "Move a slider: the images that change appear here".to_owned(),
        false => format!(
            "{} of {} answers changed from {from} to {}",
            text::grouped(changed.len() as u64),
            text::grouped(n as u64),
            says(&answer.question)
        ),
    };
    Some(FlipsView {
        title,
        pairs: pairs.join(" · "),
        cells,
        n: changed.len(),
        n_compared: n,
        survival: survival(store, &answer.question, names),
    })
}

/// A search that works on the images of the open model, so that what is protected reaches it, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keeper {
    /// Its run.
    pub run: RunId,
    /// What it must keep from its next trial on.
    pub names: BTreeSet<String>,
    /// Whether that waits for its next trial.
    pub is_queued: bool,
}

/// The newest search that works, if it is on these images.
pub fn keeper(store: &RunStore) -> Option<Keeper> {
    let run = search::live(store)?;
    if store.images_from.as_ref() != Some(&run.experiment.data.source) {
        return None;
    }
    let ordered = store.orders.iter().rev().find_map(|(of, order)| match order {
        Steer::Protect { names } if *of == run.id => Some(names),
        _ => None,
    });
    let followed = || run.searches.iter().rev().find_map(SearchState::protected);
    let names = ordered.or_else(followed).unwrap_or(&run.experiment.data.protect);
    Some(Keeper {
        run: run.id,
        names: names.iter().cloned().collect(),
        is_queued: ordered.is_some(),
    })
}

/// `density 0.50`, `4.0× fewer MACs`.
fn says(question: &Question) -> String {
    match &question.cut {
        None if question.densities.is_empty() => "the whole network".to_owned(),
        None => format!("density {:.2}", question.mean()),
        Some(_) => super::cuts::asked(question),
    }
}

/// Where a question lies along the columns, and what the column is called; none if it is not one of them.
fn column(question: &Question, asked: &Question) -> Option<(i64, String)> {
    match (&asked.cut, &question.cut) {
        (None, None) => {
            let first = question.densities.first()?;
            let is_uniform = question.densities.iter().all(|d| d == first);
            is_uniform.then(|| (-i64::from(first.as_percent()), first.to_string()))
        }
        (Some(wanted), Some(cut)) => {
            let is_like = cut.is_like(wanted) && question.densities == asked.densities;
            is_like.then(|| ((cut.times * 1000.0) as i64, format!("{}×", density::times(cut.times))))
        }
        _ => None,
    }
}

fn survival(store: &RunStore, asked: &Question, names: &[String]) -> Option<Survival> {
    let open = store.open.as_ref()?;
    let here = store
        .measured
        .iter()
        .filter(|m| m.model.from == open.from)
        .map(|m| &m.answer);
    let mut columns: Vec<(i64, String, &[[u32; 2]])> = here
        .filter(|a| !a.by_class.is_empty())
        .filter_map(|a| column(&a.question, asked).map(|(at, words)| (at, words, &a.by_class[..])))
        .collect();
    columns.sort_by_key(|c| c.0);
    columns.dedup_by_key(|c| c.0);
    if columns.is_empty() {
        return None;
    }
    let classes: BTreeSet<usize> = columns.iter().flat_map(|c| 0..c.2.len()).collect();
    let share = |by_class: &[[u32; 2]], class: usize| {
        let [right, n] = by_class.get(class).copied().unwrap_or_default();
        right as f32 / n.max(1) as f32
    };
    let mut rows: Vec<SurvivalRow> = classes
        .into_iter()
        .map(|class| SurvivalRow {
            class,
            name: names.get(class).cloned().unwrap_or_else(|| class.to_string()),
            shares: columns.iter().map(|c| share(c.2, class)).collect(),
        })
        .collect();
    rows.sort_by(|a, b| b.loss().total_cmp(&a.loss()).then(a.class.cmp(&b.class)));
    let now = column(asked, asked).and_then(|(at, _)| columns.iter().position(|c| c.0 == at));
    Some(Survival {
        along: if asked.cut.is_some() { "target" } else { "density" },
        right: match density::is_agreement(store) {
            true => "as the whole network says",
            false => "right",
        },
        now,
        rows,
        columns: columns.into_iter().map(|c| c.1).collect(),
    })
}

impl Survival {
    /// `Shirt: 71 % right at density 0.50, 84 % at 1.00`.
    pub fn says(&self, row: usize, column: usize) -> Option<String> {
        let of = self.rows.get(row)?;
        let share = |c: usize| of.shares.get(c).map(|&s| text::whole_percent(f64::from(s)));
        Some(format!(
            "{}: {} {} at {} {}, {} at {}",
            of.name,
            share(column)?,
            self.right,
            self.along,
            self.columns.get(column)?,
            share(0)?,
            self.columns.first()?
        ))
    }
}
