//! Trials as lines over sites: which densities went together, and how well they did.
//! Knows nothing of colors.

use super::search::{SearchChoice, choose, label};
use event::Verdict;
use lab::RunStore;
use record::searches::TrialPoint;
use serde::Serialize;

/// Lines that are shown at most: the best, then the newest.
const MOST: usize = 240;

/// Parallel coordinates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParallelView {
    /// Names of the sites, in network order.
    pub sites: Vec<String>,
    /// Trials, the ones to be seen best last.
    pub lines: Vec<ParallelLine>,
    /// Rewards of the worst and the best line.
    pub range: [f64; 2],
    /// Trials that are not shown.
    pub hidden: usize,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParallelLine {
    /// Counts from 0 in its search.
    pub number: u64,
    /// One a site.
    pub densities: Vec<f32>,
    /// Place of its reward between the worst (0) and the best (1) line.
    pub rank: f32,
    /// Whether no trial was better.
    pub is_best: bool,
    /// Whether it is the one looked at.
    pub is_shown: bool,
}

/// The chosen search's newest trials and its best; none while there is no trial.
pub fn parallel(store: &RunStore, chosen: SearchChoice) -> Option<ParallelView> {
    newest(store, chosen, MOST)
}

/// The same with every trial.
pub fn every_trial(store: &RunStore, chosen: SearchChoice) -> Option<ParallelView> {
    newest(store, chosen, usize::MAX)
}

fn newest(store: &RunStore, chosen: SearchChoice, most: usize) -> Option<ParallelView> {
    let (run, index) = choose(store, chosen)?;
    let search = &run.searches[index];
    let best = search.best()?.number;
    let shown = chosen.trial.or(search.current().map(|t| t.number));
    let newest: Vec<&TrialPoint> = search.trials.iter().rev().take(most).collect();
    let older = search.trials.iter().rev().skip(most);
    let older = older.filter(|t| t.trial.verdict == Verdict::Best || Some(t.trial.number) == shown);
    let mut picked: Vec<&TrialPoint> = newest.into_iter().chain(older).collect();
    let rewards = picked.iter().map(|t| f64::from(t.trial.reward));
    let range = rewards.fold([f64::MAX, f64::MIN], |[l, h], r| [l.min(r), h.max(r)]);
    let span = (range[1] - range[0]).max(f64::MIN_POSITIVE);
    // What matters is drawn over the rest.
    picked.sort_by(|a, b| {
        let key = |t: &TrialPoint| (Some(t.trial.number) == shown, t.trial.number == best);
        key(a)
            .cmp(&key(b))
            .then(a.trial.reward.total_cmp(&b.trial.reward))
            .then(a.trial.number.cmp(&b.trial.number))
    });
    let hidden = search.measured as usize - picked.len();
    let line = |t: &&TrialPoint| ParallelLine {
        number: t.trial.number,
        densities: t.trial.densities.to_vec(),
        rank: ((f64::from(t.trial.reward) - range[0]) / span) as f32,
        is_best: t.trial.number == best,
        is_shown: Some(t.trial.number) == shown,
    };
    let sites = &search.start.sites;
    Some(ParallelView {
        sites: sites.iter().map(|s| label(sites, s)).collect(),
        lines: picked.iter().map(line).collect(),
        range,
        hidden,
    })
}
