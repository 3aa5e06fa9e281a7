//! A search while it goes on: its trials, the best so far, how freely it still accepts, and what each site is at.
//! Knows nothing of plots or of how candidates are made.

use super::text;
use event::{Dimension, SearchStart, Site, Steer, Trial, Unit, Verdict};
use lab::RunStore;
use record::searches::{SearchState, TrialPoint};
use record::{RunId, RunState, Status};
use search::diagnosis::{Diagnosis, Move, WINDOW};
use serde::{Deserialize, Serialize};

/// Accepted and rejected trials that are shown at most, of each; more are thinned evenly.
const MOST_OTHERS: usize = 1500;
/// Columns that temperature and acceptance are thinned to.
const COLUMNS: usize = 512;
/// Trials that facts about acceptance look back on.
const LATEST: usize = 50;

/// Which search is looked at. Nothing chosen means the newest, as it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchChoice {
    /// The run.
    pub run: Option<RunId>,
    /// Its search, counted from 0.
    pub search: Option<usize>,
    /// A trial to look back at.
    pub trial: Option<u64>,
}

/// What is along the side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrialValue {
    /// Share of the images classified right.
    #[default]
    Top1,
    /// What the search makes large.
    Reward,
}

/// What the search panels show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchView {
    /// The run.
    pub run: RunId,
    /// The run's name.
    pub title: String,
    /// Names of all searches of the run.
    pub names: Vec<String>,
    /// Which of them this is.
    pub index: usize,
    /// Whether it goes on and can be steered.
    pub is_live: bool,
    /// What its accuracies are called: agreement where images have no labels.
    pub quality: &'static str,
    /// What the budget is counted in.
    pub unit: Unit,
    /// What must not be exceeded now.
    pub budget: f64,
    /// The same of the model it started from.
    pub whole: f64,
    /// Trials measured and planned.
    pub trials: [u64; 2],
    /// How the search does, in words.
    pub facts: Vec<Fact>,
    /// Trials by number; of many rejected ones only some.
    pub marks: Vec<TrialMark>,
    /// The best value so far, where it rises.
    pub best_so_far: Vec<[f64; 2]>,
    /// Temperature by trial.
    pub temperature: Vec<[f64; 2]>,
    /// Share of proposals that were worse and were taken all the same, by trial.
    pub acceptance: Vec<[f64; 2]>,
    /// What was asked of it: the trial after which, and in words.
    pub steered: Vec<SteerNote>,
    /// What was asked of it and waits for its next trial.
    pub queued: Option<QueuedOrders>,
    /// The trial looked at: the chosen one, else the one the search stands on.
    pub shown: Option<TrialWords>,
    /// The best one.
    pub best: Option<TrialWords>,
    /// What is decided, in network order.
    pub sites: Vec<SiteRow>,
}

/// What was asked of a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SteerNote {
    /// The trials that had been measured.
    pub after: u64,
    /// In words.
    pub text: String,
    /// Whether it was not followed.
    pub is_refused: bool,
}

/// What waits for the next trial of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueuedOrders {
    /// `Queued for trial 81: conv1 held at 0.62; budget moved to 5.27 M MACs`.
    pub text: String,
    /// What the budget will be, if it was moved.
    pub budget: Option<f64>,
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Whether somebody may want to act on it.
    pub is_warning: bool,
    /// In words.
    pub text: String,
}

/// One trial in the plot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrialMark {
    /// Counts from 0 in its search.
    pub number: u64,
    /// Accuracy or reward.
    pub value: f64,
    /// What became of it.
    pub verdict: Verdict,
}

/// A trial in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialWords {
    /// Counts from 0 in its search.
    pub number: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// `trial 17, best: 91.2 %, reward 0.912, 9.81 M MACs, 120 k parameters`.
    pub text: String,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteRow {
    /// The first layer it prunes.
    pub name: String,
    /// Its name, and what is pruned where the layer has several sites.
    pub label: String,
    /// In which way.
    pub dimension: Dimension,
    /// Channels, columns or weights it chooses among.
    pub choices: usize,
    /// Share of the whole that it makes up at density 1.
    pub share: f64,
    /// Layers that are cut together with it.
    pub tied: Vec<String>,
    /// Density in the trial looked at.
    pub shown: f32,
    /// Density in the best trial.
    pub best: f32,
    /// Density it is held at.
    pub held: Option<f32>,
    /// Density that was proposed for it, or that it shall be held at, and that the next trial will have.
    pub proposed: Option<f32>,
    /// Whether it will be held from the next trial on, where that was asked for.
    pub will_hold: Option<bool>,
}

impl SiteRow {
    /// `conv3: 62 % of 64 filters, 55 % in the best trial; 12 % of the total; held at 0.62`.
    pub fn says(&self) -> String {
        let mut out = format!(
            "{}: {} of {} {}, {} in the best trial; {} of the total",
            self.name,
            text::whole_percent(f64::from(self.shown)),
            self.choices,
            plural(self.dimension),
            text::whole_percent(f64::from(self.best)),
            text::whole_percent(self.share),
        );
        if !self.tied.is_empty() {
            out += &format!("; cut together with {}", self.tied.join(", "));
        }
        if let Some(held) = self.held {
            out += &format!("; held at {held:.2}");
        }
        match (self.will_hold, self.proposed) {
            (Some(true), Some(at)) => out += &format!("; held at {at:.2} from the next trial on"),
            (Some(false), _) => out += "; free from the next trial on",
            (_, Some(at)) => out += &format!("; {at:.2} proposed for the next trial"),
            _ => {}
        }
        out
    }
}

/// The search panels; none while no run has searched. Of many trials that were not best, they have some.
pub fn search(store: &RunStore, chosen: SearchChoice, height: TrialValue) -> Option<SearchView> {
    of_trials(store, chosen, height, [MOST_OTHERS, COLUMNS])
}

/// The same with every trial.
pub fn every_trial(store: &RunStore, chosen: SearchChoice, height: TrialValue) -> Option<SearchView> {
    of_trials(store, chosen, height, [usize::MAX, usize::MAX / 2])
}

fn of_trials(
    store: &RunStore,
    chosen: SearchChoice,
    height: TrialValue,
    [most_others, columns]: [usize; 2],
) -> Option<SearchView> {
    let (run, index) = choose(store, chosen)?;
    let search = &run.searches[index];
    let start = &search.start;
    let shown = trial(search, chosen).or_else(|| search.current());
    let best = search.best();
    let last = index + 1 == run.searches.len();
    let is_live = run.is_live() && last && search.measured < start.trials;
    let orders = || {
        store
            .orders
            .iter()
            .filter(|(of, _)| is_live && *of == run.id)
            .map(|(_, o)| o)
    };
    Some(SearchView {
        run: run.id,
        title: run.title(),
        names: run.searches.iter().map(|s| s.start.name.clone()).collect(),
        index,
        is_live,
        quality: text::quality(usize::from(run.agreement), 1),
        unit: start.unit,
        budget: search.budget(),
        whole: start.whole,
        trials: [search.measured, start.trials],
        facts: facts(search),
        marks: marks(search, height, most_others),
        best_so_far: best_so_far(search, height),
        temperature: thin(search, columns, |t| f64::from(t.temperature)),
        acceptance: thin(search, columns, |t| f64::from(t.acceptance)),
        steered: search
            .steered
            .iter()
            .map(|s| {
                let asked = asked(start, &s.steer);
                SteerNote {
                    after: s.after,
                    text: match &s.refused {
                        Some(why) => format!("refused: {asked}: {why}"),
                        None => format!("steered: {asked}"),
                    },
                    is_refused: s.refused.is_some(),
                }
            })
            .collect(),
        queued: queued(search, orders()),
        shown: shown.map(|t| words(t, start.unit)),
        best: best.map(|t| words(t, start.unit)),
        sites: sites(search, shown, best, orders()),
    })
}

/// The budget of a search that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LiveBudget {
    /// Its run.
    pub run: RunId,
    /// What it is counted in.
    pub unit: Unit,
    /// What must not be exceeded now.
    pub most: f64,
    /// What must not be exceeded from the next trial on, if it was moved.
    pub queued: Option<f64>,
    /// The same of the model the search started from.
    pub whole: f64,
}

/// The newest run that searches, if its search goes on.
pub fn live(store: &RunStore) -> Option<&RunState> {
    let searches = |run: &&RunState| run.is_live() && !run.searches.is_empty();
    let run = store.runs.iter().rfind(searches)?;
    let last = run.searches.last()?;
    (last.measured < last.start.trials).then_some(run)
}

/// The budget of the newest search that goes on.
pub fn live_budget(store: &RunStore) -> Option<LiveBudget> {
    let run = live(store)?;
    let search = run.searches.last()?;
    let queued = store.orders.iter().rev().find_map(|(of, order)| match order {
        Steer::Budget { most } if *of == run.id => Some(*most),
        _ => None,
    });
    Some(LiveBudget {
        run: run.id,
        unit: search.start.unit,
        most: search.budget(),
        queued,
        whole: search.start.whole,
    })
}

/// A run that will search and has not begun to, newer than whatever could be shown: what it does meanwhile, as title and words.
pub fn opening(store: &RunStore, chosen: SearchChoice) -> Option<[String; 2]> {
    if chosen.run.is_some() {
        return None;
    }
    let run = store
        .runs
        .iter()
        .rev()
        .find(|r| r.is_live() || r.status == Status::Queued)?;
    let searched = store.runs.iter().rfind(|r| !r.searches.is_empty());
    let is_newer = searched.is_none_or(|other| other.id < run.id && !other.is_live());
    let is_it = run.searches.is_empty() && run.experiment.method.searches() > 0 && is_newer;
    is_it.then(|| [format!("{} begins", run.title()), super::runs::row(run).detail])
}

/// The chosen search, else the newest of the newest run that has one.
pub fn choose(store: &RunStore, chosen: SearchChoice) -> Option<(&RunState, usize)> {
    let searched = |r: &&RunState| !r.searches.is_empty();
    let named = chosen.run.and_then(|id| store.run(id)).filter(searched);
    let run = named.or_else(|| store.runs.iter().rfind(searched))?;
    let last = run.searches.len() - 1;
    let index = chosen.search.filter(|_| chosen.run == Some(run.id));
    Some((run, index.map_or(last, |i| i.min(last))))
}

fn trial(search: &SearchState, chosen: SearchChoice) -> Option<&Trial> {
    let number = chosen.trial?;
    let found = search.trials.iter().find(|t| t.trial.number == number);
    found.map(|t| &t.trial)
}

fn value(t: &Trial, height: TrialValue) -> f64 {
    f64::from(match height {
        TrialValue::Top1 => t.top1,
        TrialValue::Reward => t.reward,
    })
}

/// All that were best, and evenly some of the others.
fn marks(search: &SearchState, height: TrialValue, most_others: usize) -> Vec<TrialMark> {
    let of = |verdict: Verdict| search.trials.iter().filter(move |t| t.trial.verdict == verdict);
    let each = |verdict: Verdict| match verdict {
        Verdict::Best => 1,
        _ => of(verdict).count().div_ceil(most_others).max(1) as u64,
    };
    let [accepted, rejected] = [Verdict::Accepted, Verdict::Rejected].map(each);
    let kept = search.trials.iter().filter(|t| match t.trial.verdict {
        Verdict::Best => true,
        Verdict::Accepted => t.trial.number.is_multiple_of(accepted),
        Verdict::Rejected => t.trial.number.is_multiple_of(rejected),
    });
    let mark = |t: &TrialPoint| TrialMark {
        number: t.trial.number,
        value: value(&t.trial, height),
        verdict: t.trial.verdict,
    };
    kept.map(mark).collect()
}

fn best_so_far(search: &SearchState, height: TrialValue) -> Vec<[f64; 2]> {
    let best = search.trials.iter().filter(|t| t.trial.verdict == Verdict::Best);
    let mut out: Vec<[f64; 2]> = Vec::new();
    for point in best {
        let (x, y) = (point.trial.number as f64, value(&point.trial, height));
        out.extend(out.last().map(|before| [x, before[1]]));
        out.push([x, y]);
    }
    let end = search.trials.last().map(|t| t.trial.number as f64);
    if let (Some(x), Some(&[_, y])) = (end, out.last()) {
        out.push([x, y]);
    }
    out
}

fn thin(search: &SearchState, columns: usize, of: impl Fn(&Trial) -> f64) -> Vec<[f64; 2]> {
    let mut thinner = super::thin::Thinner::new(columns);
    for point in &search.trials {
        thinner.push([point.trial.number as f64, of(&point.trial)]);
    }
    thinner.points()
}

/// A trial in words.
pub fn words(t: &Trial, unit: Unit) -> TrialWords {
    let what = match t.verdict {
        Verdict::Best => "best",
        Verdict::Accepted => "accepted",
        Verdict::Rejected => "rejected",
    };
    let mut parts = vec![
        format!("trial {}, {what}: {}", t.number, text::percent(f64::from(t.top1))),
        format!("reward {:.4}", t.reward),
        format!("{} MACs", text::count(t.macs)),
        format!("{} parameters", text::count(t.params)),
    ];
    if unit == Unit::Ms {
        parts.push(text::millis(t.spent));
    }
    TrialWords {
        number: t.number,
        verdict: t.verdict,
        text: parts.join(", "),
    }
}

/// An amount of what a budget counts, with its unit.
pub fn amount(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Macs => format!("{} MACs", text::count(value as u64)),
        Unit::Weights => format!("{} weights", text::count(value as u64)),
        Unit::Ms => text::millis(value),
    }
}

fn asked(start: &SearchStart, steer: &Steer) -> String {
    let name = |site: usize| start.sites.get(site).map_or("?", |s| s.name.as_str());
    match steer {
        Steer::Budget { most } => format!("budget moved to {}", amount(start.unit, *most)),
        Steer::Lock { site, density } => format!("{} held at {density:.2}", name(*site)),
        Steer::Unlock { site } => format!("{} unlocked", name(*site)),
        Steer::Reheat => "re-heated".into(),
        Steer::Propose { .. } => "a manual proposal".into(),
        Steer::Protect { names } if names.is_empty() => "nothing protected".into(),
        Steer::Protect { names } => format!("{} protected", names.join(", ")),
    }
}

fn queued<'a>(search: &SearchState, orders: impl Iterator<Item = &'a Steer>) -> Option<QueuedOrders> {
    let orders: Vec<&Steer> = orders.collect();
    let said: Vec<String> = orders.iter().map(|order| asked(&search.start, order)).collect();
    let budget = orders.iter().rev().find_map(|order| match order {
        Steer::Budget { most } => Some(*most),
        _ => None,
    });
    (!said.is_empty()).then(|| QueuedOrders {
        text: format!("Queued for trial {}: {}", search.measured, said.join("; ")),
        budget,
    })
}

fn sites<'a>(
    search: &SearchState,
    shown: Option<&Trial>,
    best: Option<&Trial>,
    orders: impl Iterator<Item = &'a Steer>,
) -> Vec<SiteRow> {
    let n = search.start.sites.len();
    let (mut proposed, mut will_hold) = (vec![None; n], vec![None; n]);
    for order in orders {
        match order {
            Steer::Propose { densities } => {
                // What is proposed as it stands is not worth a ghost.
                let stands = |i: usize| shown.and_then(|t| t.densities.get(i)).copied();
                for (i, &d) in densities.iter().enumerate().take(n) {
                    if will_hold[i] == Some(true) {
                        continue;
                    }
                    proposed[i] = Some(d).filter(|d| stands(i).is_none_or(|at| (at - d).abs() > 1e-4));
                }
            }
            Steer::Lock { site, density } if *site < n => {
                (proposed[*site], will_hold[*site]) = (Some(*density), Some(true));
            }
            Steer::Unlock { site } if *site < n => will_hold[*site] = Some(false),
            _ => {}
        }
    }
    let locks = search.locks();
    let all: f64 = search.start.sites.iter().map(|s| s.size).sum();
    let at = |t: Option<&Trial>, i: usize| t.and_then(|t| t.densities.get(i)).copied().unwrap_or(1.0);
    let row = |(i, site): (usize, &event::Site)| SiteRow {
        name: site.name.clone(),
        label: label(&search.start.sites, site),
        dimension: site.dimension,
        choices: site.choices,
        share: if all > 0.0 { site.size / all } else { 0.0 },
        tied: site.tied.clone(),
        shown: at(shown, i),
        best: at(best, i),
        held: locks.get(&i).copied(),
        proposed: proposed[i],
        will_hold: will_hold[i],
    };
    search.start.sites.iter().enumerate().map(row).collect()
}

/// What a site chooses among, in a word.
pub fn plural(d: Dimension) -> &'static str {
    match d {
        Dimension::Filter => "filters",
        Dimension::Channel => "channels",
        Dimension::Column => "columns",
        Dimension::Element => "weights",
        Dimension::Gate => "gated channels",
    }
}

/// A site's name, with what it chooses among where two sites share the name.
pub fn label(sites: &[Site], site: &Site) -> String {
    let several = sites.iter().filter(|s| s.name == site.name).count() > 1;
    let what = plural(site.dimension);
    if several {
        format!("{} {what}", site.name)
    } else {
        site.name.clone()
    }
}

/// What the search looks like from its latest trials.
fn facts(search: &SearchState) -> Vec<Fact> {
    let trials = &search.trials;
    let calm = |text: String| Fact {
        is_warning: false,
        text,
    };
    let Some(last) = trials.last().map(|t| &t.trial) else {
        return vec![calm("No trial has been measured yet.".into())];
    };
    let count = |v: Verdict| trials.iter().filter(|t| t.trial.verdict == v).count();
    let (best, accepted) = (count(Verdict::Best), count(Verdict::Accepted));
    let mut out = vec![calm(format!(
        "{} of {} trials on {} images: {best} best, {accepted} accepted, {} rejected",
        trials.len(),
        search.start.trials,
        text::grouped(search.start.images as u64),
        trials.len() - best - accepted
    ))];
    if let Some(best) = search.best() {
        let budget = search.budget();
        let over = if best.spent > budget * 1.001 {
            ", which was moved after that trial: the next trials keep to it"
        } else {
            ""
        };
        out.push(calm(format!(
            "The best trial spends {} of a budget of {}{over}",
            amount(search.start.unit, best.spent),
            amount(search.start.unit, budget)
        )));
    }
    let is_over = search.measured >= search.start.trials;
    out.extend(regime(trials, last, is_over));
    out
}

/// Whether it still chooses: from what became of the latest trials, with the temperature as the reason.
/// A search that is over may well have ended cold.
fn regime(trials: &[TrialPoint], last: &Trial, is_over: bool) -> Option<Fact> {
    let (before, window) = trials.split_at(trials.len().saturating_sub(LATEST));
    if window.len() < WINDOW {
        return None;
    }
    let taken = window.iter().filter(|t| t.trial.verdict != Verdict::Rejected).count();
    let (n, t) = (window.len(), f64::from(last.temperature));
    let moves = moves(before, window);
    let latest = &moves[n - WINDOW..];
    let mut losses: Vec<f64> = moves.iter().map(|m| m.1).filter(|&loss| loss > 0.0).collect();
    losses.sort_by(f64::total_cmp);
    let why = match losses.get(losses.len() / 2).filter(|_| t > 0.0) {
        Some(&loss) => format!(
            " At temperature {}, a typical loss of {} is accepted {} of the time.",
            text::small(t),
            text::small(loss),
            text::whole_percent((-loss / t).exp())
        ),
        None => String::new(),
    };
    let (is_warning, text) = match Diagnosis::of(latest.iter().map(|m| m.0)) {
        Some(Diagnosis::RandomWalk) => (
            true,
            format!("Still a random walk: each worse one of the last {WINDOW} trials was accepted.{why}"),
        ),
        Some(Diagnosis::Frozen) if t > 0.0 && !is_over => (
            true,
            format!("Frozen: none of the last {WINDOW} trials was accepted. Re-heat the search or stop it.{why}"),
        ),
        _ => (false, format!("{taken} of the last {n} trials were accepted.{why}")),
    };
    Some(Fact { is_warning, text })
}

/// What became of each trial of `window`, and how much worse it was than what the search stood on.
fn moves(before: &[TrialPoint], window: &[TrialPoint]) -> Vec<(Move, f64)> {
    let taken = before.iter().rfind(|t| t.trial.verdict != Verdict::Rejected);
    let mut stands = taken.map(|t| f64::from(t.trial.reward));
    let one = |point: &TrialPoint| {
        let reward = f64::from(point.trial.reward);
        let loss = stands.map_or(0.0, |s| s - reward);
        let is_taken = point.trial.verdict != Verdict::Rejected;
        if is_taken {
            stands = Some(reward);
        }
        let what = match (is_taken, loss > 0.0) {
            (false, _) => Move::WorseLeft,
            (true, true) => Move::WorseTaken,
            (true, false) => Move::Better,
        };
        (what, loss)
    };
    window.iter().map(one).collect()
}
