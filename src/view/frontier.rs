//! Accuracy against cost: the open model as recorded and as measured here, what is measured now, runs and their trials.
//! Says which points no other point beats, and which one a wish chooses. Knows nothing of axes or marks.

use super::cuts::{asked, way};
use super::density::{self, wilson};
use super::runs::HiddenRuns;
use super::text;
use data::Split;
use lab::RunStore;
use measure::Question;
use measure::probe::Answer;
use model::Density;
use record::{Experiment, RunId, RunState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Points of a series that others beat and that are shown at most.
const MOST_BEATEN: usize = 1500;

/// What accuracy is set against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CostAxis {
    /// MACs per image.
    #[default]
    Macs,
    /// Parameters.
    Params,
    /// Milliseconds an image, measured on this machine.
    Millis,
}

impl CostAxis {
    /// An amount in words.
    pub fn words(self, x: f64) -> String {
        match self {
            Self::Macs => format!("{} MACs", text::count(x as u64)),
            Self::Params => format!("{} parameters", text::count(x as u64)),
            Self::Millis => text::millis(x),
        }
    }
}

/// What the frontier panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontierView {
    /// What accuracy is set against.
    pub against: CostAxis,
    /// The open model first, then runs, oldest first.
    pub series: Vec<FrontierSeries>,
    /// What is measured now.
    pub now: Option<NowPoint>,
    /// The open model with nothing gated away, in the unit of x.
    pub dense: Option<f64>,
    /// The accuracy that wishes are relative to, and whose it is.
    pub reference: Option<(f64, String)>,
}

/// Points that belong together, by rising x.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontierSeries {
    /// Its name, unlike all others.
    pub label: String,
    /// What was measured, and when.
    pub about: String,
    /// The run it comes from, the first one of several seeds; none for the open model.
    pub run: Option<RunId>,
    /// What its points have in common.
    pub kind: SeriesKind,
    /// A number for its mark: the same for runs of one method.
    pub mark: usize,
    /// Whether its accuracies are agreement with a teacher.
    pub is_agreement: bool,
    /// Seeds that were averaged.
    pub seeds: usize,
    /// One a density or trial.
    pub points: Vec<FrontierPoint>,
}

/// What the points of a series have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SeriesKind {
    /// The open model as its file says.
    Recorded,
    /// The open model as measured in this session.
    Measured,
    /// Cuts of the open model before any training, as measured in this session.
    Cut,
    /// A run, or trials of its search.
    Run,
}

/// What a point is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PointSource {
    /// The open model at one density, as recorded when it was made.
    Recorded(Density),
    /// The open model as measured in this session.
    Measured(Question),
    /// A run's last epoch at one density.
    Epoch(RunId, Density),
    /// A trial: run, search, number.
    Trial(RunId, usize, u64),
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontierPoint {
    /// What it is of.
    pub source: PointSource,
    /// MACs, parameters or milliseconds.
    pub x: f64,
    /// Share classified right.
    pub top1: f64,
    /// Standard deviation over seeds.
    pub spread: Option<f64>,
    /// Images measured.
    pub n: usize,
    /// Whether a point of its own series costs no more and is no worse.
    pub is_beaten: bool,
}

/// The answer to the newest question as a point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NowPoint {
    /// What was asked, in words.
    pub asked: String,
    /// MACs, parameters or milliseconds.
    pub x: f64,
    /// Share classified right.
    pub top1: f64,
    /// Bounds of the 95 % interval of `top1`.
    pub interval: [f64; 2],
}

/// Costs of a point: what is not known is left out of the plot against it.
#[derive(Clone, Copy, Default)]
struct Costs {
    macs: Option<u64>,
    params: Option<u64>,
    millis: Option<f64>,
}

impl Costs {
    fn along(self, against: CostAxis) -> Option<f64> {
        match against {
            CostAxis::Macs => self.macs.map(|n| n as f64),
            CostAxis::Params => self.params.map(|n| n as f64),
            CostAxis::Millis => self.millis,
        }
    }
}

/// The frontier panel, without the runs that plots leave out. Of many points that others beat, it has some.
pub fn frontier(store: &RunStore, against: CostAxis, hidden: &HiddenRuns) -> FrontierView {
    let mut view = every_point(store, against, hidden);
    view.series.iter_mut().for_each(thin);
    view
}

/// The same with every point.
pub fn every_point(store: &RunStore, against: CostAxis, hidden: &HiddenRuns) -> FrontierView {
    let open = store.open.as_ref();
    let opened = open.and_then(|m| m.from.path());
    let mut runs: Vec<&RunState> = store.runs.iter().filter(|r| !is_model_of(r, opened)).collect();
    // Of all runs, so that hiding one does not change the marks of the others.
    let methods: BTreeSet<&str> = runs.iter().map(|r| r.experiment.method.kind()).collect();
    let mark = |run: &RunState| {
        let kind = run.experiment.method.kind();
        1 + methods.iter().position(|m| *m == kind).unwrap_or(0)
    };
    runs.retain(|r| !hidden.contains(&r.id));
    let mut series: Vec<FrontierSeries> = [recorded(store, against), measured(store, against)].into();
    series.extend(cuts(store, against));
    for group in by_seed(&runs) {
        series.push(of_group(&group, against, mark(group[0])));
    }
    for run in &runs {
        series.extend(trials(run, against, mark(run)));
    }
    series.retain(|s| !s.points.is_empty());
    for s in &mut series {
        s.points
            .sort_by(|a, b| a.x.total_cmp(&b.x).then(b.top1.total_cmp(&a.top1)));
        let mut best = f64::MIN;
        for point in &mut s.points {
            point.is_beaten = point.top1 <= best;
            best = best.max(point.top1);
        }
    }
    let now = store.answer.as_ref().filter(|a| a.n > 0).and_then(|a| {
        Some(NowPoint {
            asked: asked(&a.question),
            x: costs_of(a).along(against)?,
            top1: a.right as f64 / a.n.max(1) as f64,
            interval: wilson(a.right, a.n),
        })
    });
    let dense = open.and_then(|m| {
        let costs = Costs {
            macs: Some(m.dense.macs),
            params: Some(m.dense.params),
            millis: None,
        };
        costs.along(against)
    });
    FrontierView {
        against,
        reference: reference(store, &series),
        series,
        now,
        dense,
    }
}

/// Of many points that others beat, evenly some.
fn thin(series: &mut FrontierSeries) {
    let each = series
        .points
        .iter()
        .filter(|p| p.is_beaten)
        .count()
        .div_ceil(MOST_BEATEN);
    let mut seen = 0;
    series.points.retain(|p| {
        seen += usize::from(p.is_beaten);
        !p.is_beaten || each <= 1 || seen % each == 0
    });
}

/// A run whose model is the open one would be drawn twice.
fn is_model_of(run: &RunState, opened: Option<&Path>) -> bool {
    opened.is_some() && run.model().as_deref() == opened
}

fn point(source: PointSource, costs: Costs, against: CostAxis, top1: f64, n: usize) -> Option<FrontierPoint> {
    Some(FrontierPoint {
        source,
        x: costs.along(against)?,
        top1,
        spread: None,
        n,
        is_beaten: false,
    })
}

fn series(label: String, about: &str, run: Option<RunId>, points: Vec<FrontierPoint>) -> FrontierSeries {
    FrontierSeries {
        label,
        about: about.to_owned(),
        kind: if run.is_some() {
            SeriesKind::Run
        } else {
            SeriesKind::Measured
        },
        run,
        mark: 0,
        is_agreement: false,
        seeds: 1,
        points,
    }
}

/// The open model as its file says.
fn recorded(store: &RunStore, against: CostAxis) -> FrontierSeries {
    let Some(model) = &store.open else {
        return series(String::new(), "", None, Vec::new());
    };
    let valid = model.header.metrics.iter().filter(|x| x.split == Split::Valid);
    let points = valid.filter_map(|x| {
        let costs = Costs {
            macs: Some(x.macs),
            params: Some(model.dense.params),
            millis: None,
        };
        let source = match &x.gates[..] {
            [] => PointSource::Recorded(x.density),
            gates => PointSource::Measured(Question::at(gates.to_vec())),
        };
        point(source, costs, against, f64::from(x.top1), x.n)
    });
    FrontierSeries {
        kind: SeriesKind::Recorded,
        ..series(
            format!("{}, recorded", model.name),
            "validation images, recorded with the model",
            None,
            points.collect(),
        )
    }
}

/// The open model as measured in this session.
fn measured(store: &RunStore, against: CostAxis) -> FrontierSeries {
    let Some(model) = &store.open else {
        return series(String::new(), "", None, Vec::new());
    };
    let here = store.measured.iter().filter(|m| m.model.from == model.from);
    let here = here.filter(|m| m.answer.question.cut.is_none());
    let points = here.filter_map(|m| measured_point(&m.answer, against));
    let is_agreement = density::is_agreement(store);
    FrontierSeries {
        is_agreement,
        ..series(
            format!("{}, measured here", model.name),
            match is_agreement {
                true => "agreement with the whole network, in this session",
                false => "validation images, in this session",
            },
            None,
            points.collect(),
        )
    }
}

fn measured_point(a: &Answer, against: CostAxis) -> Option<FrontierPoint> {
    let top1 = a.right as f64 / a.n.max(1) as f64;
    let source = PointSource::Measured(a.question.clone());
    point(source, costs_of(a), against, top1, a.n)
}

/// Cuts of the open model before any training: a series for each way to spread them, at each vector of densities.
fn cuts(store: &RunStore, against: CostAxis) -> Vec<FrontierSeries> {
    let Some(model) = &store.open else { return Vec::new() };
    let is_agreement = density::is_agreement(store);
    let on = match is_agreement {
        true => "agreement with the whole network",
        false => "validation images",
    };
    let labels = store.strip.as_ref().map_or(&[][..], |strip| &strip.labels[..]);
    let mut ways: Vec<(&Question, Vec<&Answer>)> = Vec::new();
    for m in store.measured.iter().filter(|m| m.model.from == model.from) {
        let question = &m.answer.question;
        let Some(cut) = &question.cut else { continue };
        let is_like = |of: &&Question| {
            let like = of.cut.as_ref().is_some_and(|other| other.is_like(cut));
            like && of.densities == question.densities
        };
        match ways.iter_mut().find(|(of, _)| is_like(of)) {
            Some((_, answers)) => answers.push(&m.answer),
            None => ways.push((question, vec![&m.answer])),
        }
    }
    let is_one = ways.len() == 1;
    let of_way = |(i, (question, answers)): (usize, (&Question, Vec<&Answer>))| {
        // Points of one curve are measured on as many images as all of them have: others would make steps of chance.
        let n = answers
            .iter()
            .map(|a| a.said.len())
            .min()
            .unwrap_or(0)
            .min(labels.len());
        let on_common = |a: &&Answer| {
            if a.n <= n || n == 0 {
                return measured_point(a, against);
            }
            let pairs = a.said.iter().zip(labels).take(n);
            let right = pairs.filter(|(said, label)| said == label).count();
            measured_point(
                &Answer {
                    right,
                    n,
                    ..(*a).clone()
                },
                against,
            )
        };
        let points = answers.iter().filter_map(on_common).collect();
        let way = question.cut.as_ref().map(way).unwrap_or_default();
        let label = match question.densities.is_empty() {
            true if is_one => "cut, before retraining".to_owned(),
            true => format!("cut, {way}"),
            false => format!("cut, {way}, mean density {:.2}", question.mean()),
        };
        FrontierSeries {
            kind: SeriesKind::Cut,
            mark: i + 1,
            is_agreement,
            ..series(label, &format!("{on}, before retraining; {way}"), None, points)
        }
    };
    let mut all: Vec<FrontierSeries> = ways.into_iter().enumerate().map(of_way).collect();
    // Two vectors of densities may have one mean.
    for i in 1..all.len() {
        if all[..i].iter().any(|other| other.label == all[i].label) {
            all[i].label += &format!(" ({})", i + 1);
        }
    }
    all
}

fn costs_of(answer: &Answer) -> Costs {
    Costs {
        macs: Some(answer.macs),
        params: Some(answer.traffic.params),
        millis: answer.latency.as_ref().map(|l| l.median_ms),
    }
}

/// Runs that differ in nothing but their seed (also the one that chose their validation images), and have ended, belong together;
/// every other run stands alone.
pub(crate) fn by_seed<'a>(runs: &[&'a RunState]) -> Vec<Vec<&'a RunState>> {
    let recipe = |run: &RunState| {
        let mut recipe = (*run.experiment).clone();
        (recipe.seed, recipe.data.split_seed) = (0, None);
        recipe
    };
    let mut groups: Vec<(Option<Experiment>, Vec<&RunState>)> = Vec::new();
    for run in runs {
        let own = run.ending.as_ref().and(Some(recipe(run)));
        let known = groups.iter_mut().find(|(r, others)| {
            let another_seed = others.iter().all(|o| o.experiment.seed != run.experiment.seed);
            own.is_some() && *r == own && another_seed
        });
        match known {
            Some((_, group)) => group.push(run),
            None => groups.push((own, vec![run])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

type LastEpoch = BTreeMap<Density, (Costs, f64, usize)>;

/// What a run last measured on validation images.
fn last_epoch(run: &RunState) -> (Option<u32>, LastEpoch) {
    let valid = || run.epochs.iter().filter(|e| e.split == Split::Valid);
    let last = valid().map(|e| e.epoch).max();
    let kept = run.kept.last().map(|k| k.cost.params);
    let ended = run.ending.as_ref().and_then(|e| e.params);
    let params = kept.or(ended).or(run.dense.map(|d| d.params));
    let points = valid().filter(|e| Some(e.epoch) == last).map(|e| {
        let costs = Costs {
            macs: Some(e.macs),
            params,
            millis: None,
        };
        (e.density, (costs, f64::from(e.top1), e.n))
    });
    (last, points.collect())
}

fn of_group(group: &[&RunState], against: CostAxis, mark: usize) -> FrontierSeries {
    let first = group[0];
    let all: Vec<_> = group.iter().map(|r| last_epoch(r)).collect();
    let points = all[0].1.keys().filter_map(|density| {
        // A density that one of the seeds lacks has no mean over all of them.
        let each: Vec<_> = all.iter().filter_map(|(_, points)| points.get(density)).collect();
        if each.len() < all.len() {
            return None;
        }
        let mean =
            |of: &dyn Fn(&(Costs, f64, usize)) -> f64| each.iter().map(|p| of(p)).sum::<f64>() / each.len() as f64;
        let top1 = mean(&|p| p.1);
        let mut made = point(
            PointSource::Epoch(first.id, *density),
            each[0].0,
            against,
            top1,
            each[0].2,
        )?;
        made.x = mean(&|p| p.0.along(against).unwrap_or(made.x));
        if each.len() > 1 {
            let squares: f64 = each.iter().map(|p| (p.1 - top1).powi(2)).sum();
            made.spread = Some((squares / (each.len() - 1) as f64).sqrt());
        }
        Some(made)
    });
    let label = match group {
        [one] => one.title(),
        _ => format!("{}, {} seeds", first.name(), group.len()),
    };
    let about = match all[0].0 {
        Some(epoch) => format!("validation images, epoch {epoch}"),
        None => String::new(),
    };
    FrontierSeries {
        is_agreement: first.agreement,
        seeds: group.len(),
        mark,
        ..series(label, &about, Some(first.id), points.collect())
    }
}

fn trials(run: &RunState, against: CostAxis, mark: usize) -> Vec<FrontierSeries> {
    let of_search = |(i, search): (usize, &record::searches::SearchState)| {
        let n = search.start.images;
        let points = search.trials.iter().filter_map(|t| {
            let t = &t.trial;
            let is_timed = search.start.unit == event::Unit::Ms;
            let costs = Costs {
                macs: Some(t.macs),
                params: Some(t.params),
                millis: is_timed.then_some(t.spent),
            };
            point(
                PointSource::Trial(run.id, i, t.number),
                costs,
                against,
                f64::from(t.top1),
                n,
            )
        });
        let label = format!("{}, {}", run.title(), search.start.name);
        FrontierSeries {
            is_agreement: run.agreement,
            mark,
            ..series(label, "trials, validation images", Some(run.id), points.collect())
        }
    };
    run.searches.iter().enumerate().map(of_search).collect()
}

/// The open model at its highest density; else the best point there is.
fn reference(store: &RunStore, series: &[FrontierSeries]) -> Option<(f64, String)> {
    let recorded = store.open.as_ref().and_then(|model| {
        let valid = model.header.metrics.iter().filter(|x| x.split == Split::Valid);
        let highest = valid.filter(|x| x.gates.is_empty()).max_by_key(|x| x.density)?;
        Some((
            f64::from(highest.top1),
            format!("{} at density {}", model.name, highest.density),
        ))
    });
    let best = || {
        let all = series.iter().flat_map(|s| s.points.iter().map(move |p| (p.top1, s)));
        let (top1, from) = all.max_by(|a, b| a.0.total_cmp(&b.0))?;
        Some((top1, format!("the best of {}", from.label)))
    };
    recorded.or_else(best)
}

impl FrontierView {
    /// What its accuracies are called.
    pub fn quality(&self) -> &'static str {
        let n_agreement = self.series.iter().filter(|s| s.is_agreement).count();
        text::quality(n_agreement, self.series.len())
    }

    /// A point in words: whose it is, its accuracy, its cost.
    pub fn says(&self, s: usize, i: usize) -> Option<String> {
        let one = self.series.get(s)?;
        let p = one.points.get(i)?;
        let what = match &p.source {
            PointSource::Recorded(d) | PointSource::Epoch(_, d) => format!("density {d}"),
            PointSource::Measured(q) => asked(q),
            PointSource::Trial(_, _, number) => format!("trial {number}"),
        };
        let spread = match p.spread {
            Some(sd) => format!(" ± {:.2} (standard deviation of {} seeds)", sd * 100.0, one.seeds),
            None => String::new(),
        };
        Some(format!(
            "{}\n{}\n{what}\n{}{spread} of {} images\n{}",
            one.label,
            one.about,
            text::percent(p.top1),
            text::grouped(p.n as u64),
            self.against.words(p.x)
        ))
    }
}
