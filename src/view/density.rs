//! The open model as it is asked about: at densities, with channels cut. Accuracy with its interval, MACs, measured time, memory,
//! what that is of the whole, and what images the model wants where it has none.
//! Knows nothing of layers one by one.

use super::text;
use data::Split;
use event::Dimension;
use lab::RunStore;
use measure::Question;
use measure::probe::{Answer, OpenModel};
use model::{Density, Fractions, Masks, Op, cost};
use record::RunState;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the density panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DensityView {
    /// The model's name.
    pub model: String,
    /// What its accuracies are called: agreement with the whole network where images have no classes.
    pub quality: &'static str,
    /// Density that was asked for, the mean if gates differ.
    pub asked: f64,
    /// Densities the model was made for; none if it has no gates.
    pub range: Option<[Density; 2]>,
    /// The cut that was asked for; none of a network with nothing to cut.
    pub target: Option<TargetView>,
    /// In large letters: what is saved and lost.
    pub headline: Option<Headline>,
    /// What is said in the place of the accuracy; none if there are images.
    pub wants: Option<WantedImages>,
    /// MACs per image that the asked density promises, before anything is measured.
    pub macs_nominal: u64,
    /// MACs per image with nothing gated away.
    pub macs_dense: u64,
    /// Why nothing is being measured, if nothing is.
    pub no_answer: Option<String>,
    /// Whether [`DensityView::measured`] answers what was asked.
    pub fresh: bool,
    /// Whether the model may have learned from the images it is measured on.
    pub doubtful: bool,
    /// The newest measurement, if there is one.
    pub measured: Option<DensityMeasurement>,
}

/// What the target slider shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetView {
    /// The most that can be asked for: floors keep a part of each layer.
    pub most: f64,
    /// How many times less it is now, where that is known.
    pub reached: Option<f64>,
    /// Filters that stay, of all that could go.
    pub filters: Option<[usize; 2]>,
    /// Groups whose sensitivity is measured, of all.
    pub sensitivity: [usize; 2],
    /// Whether norms have scales to go by.
    pub has_norm_scales: bool,
    /// The best vector of the newest search over this network's channels, and the run it is of.
    pub best: Option<BestVector>,
}

/// What a search has found for the open model, by the first layer of each site.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BestVector {
    /// `trial 17 of run 3 greedy`.
    pub from: String,
    /// Densities.
    pub densities: BTreeMap<String, f32>,
}

/// What is saved and lost, against the whole model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Headline {
    /// How many times fewer MACs.
    pub times: f64,
    /// Accuracy gained, as a share; negative if it is lost.
    pub points: Option<f64>,
    /// How many times less time.
    pub faster: Option<f64>,
}

/// The images that a model wants and does not have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WantedImages {
    /// `3×32×32, 10 classes`.
    pub what: String,
    /// Why it has none, or none yet.
    pub why: Option<String>,
    /// Whether the bundled images fit.
    pub takes_bundled: bool,
}

impl Headline {
    /// `3.9× less work`.
    pub fn work(&self) -> String {
        if (self.times - 1.0).abs() < 0.005 {
            return "The whole network".into();
        }
        format!("{}× less work", times(self.times))
    }

    /// `−0.3 points · 2.4× faster`, as far as it is known.
    pub fn effect(&self) -> Option<String> {
        let points = self.points.map(|p| {
            let points = p * 100.0;
            match points.abs() < 0.05 {
                true => "no accuracy lost".to_owned(),
                false => text::points(p),
            }
        });
        let faster = self.faster.map(|f| match f {
            f if f < 0.995 => format!("{}× slower", times(1.0 / f)),
            f if f < 1.005 => "as fast".to_owned(),
            f => format!("{}× faster", times(f)),
        });
        let both: Vec<String> = points.into_iter().chain(faster).collect();
        (!both.is_empty()).then(|| both.join(" · "))
    }
}

/// `3.9`, `1.25`, `12`.
pub fn times(times: f64) -> String {
    match times {
        t if t < 1.995 => format!("{t:.2}"),
        t if t < 9.95 => format!("{t:.1}"),
        t => format!("{t:.0}"),
    }
}

/// A measurement over part or all of the validation images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DensityMeasurement {
    /// Density measured, the mean if gates differ.
    pub density: f64,
    /// Images measured.
    pub n: usize,
    /// Of so many.
    pub of: usize,
    /// Share classified right; of no images it says nothing.
    pub top1: f64,
    /// Bounds of the 95 % interval of `top1`.
    pub interval: [f64; 2],
    /// MACs per image, averaged over the images measured.
    pub macs: u64,
    /// Milliseconds an image: p10, median, p90.
    pub millis: Option<[f64; 3]>,
    /// Median milliseconds an image with every channel running.
    pub millis_dense: Option<f64>,
    /// Why MACs were saved and time was not, where that is so.
    pub no_gain: Option<String>,
    /// Who else had the processors while it was timed, where that can be seen in the time.
    pub busy: Option<String>,
    /// Bytes of weights read for an image: now, dense.
    pub weight_bytes: [u64; 2],
    /// Bytes of activations read and written for an image: now, dense.
    pub activation_bytes: [u64; 2],
    /// Largest amount of activations alive at once, in bytes: now, dense.
    pub peak_bytes: [u64; 2],
}

impl DensityView {
    /// MACs per image: measured if the measurement is of what is asked, else as the density promises.
    pub fn macs(&self) -> u64 {
        let fresh = self.measured.as_ref().filter(|_| self.fresh);
        fresh.map_or(self.macs_nominal, |m| m.macs)
    }
}

impl DensityMeasurement {
    /// Half the width of the interval.
    pub fn plus_minus(&self) -> f64 {
        (self.interval[1] - self.interval[0]) / 2.0
    }

    /// A scale of twenty points for the accuracy. It moves in steps of five, so that it rests while the slider moves a little.
    pub fn scale(&self) -> [f64; 2] {
        let top = ((self.top1 * 20.0).floor() / 20.0 + 0.1).clamp(0.2, 1.0);
        [top - 0.2, top]
    }

    /// Whether it rests on images.
    pub fn has_images(&self) -> bool {
        self.n > 0
    }

    /// Whether all images were measured.
    pub fn is_complete(&self) -> bool {
        self.n == self.of
    }
}

/// The density panel for what was asked of the open model; none without one.
pub fn density(store: &RunStore, asked: &Question) -> Option<DensityView> {
    let open = store.open.as_ref()?;
    let spec = &open.header.spec;
    let gates = spec.gates().len();
    let nominal = Fractions::nominal(spec, &asked.densities).and_then(|f| cost::total(spec, &Masks::new(), &f));
    let kept = &open.header.densities;
    let range = match (kept.iter().min(), kept.iter().max()) {
        (Some(&low), Some(&high)) if gates > 0 => Some([low, high]),
        _ => None,
    };
    Some(DensityView {
        model: open.name.clone(),
        quality: text::quality(usize::from(is_agreement(store)), 1),
        asked: asked.mean(),
        range,
        macs_nominal: match (
            &asked.cut,
            store.answer.as_ref().filter(|a| a.question.cut == asked.cut),
        ) {
            (Some(_), Some(answer)) => answer.macs,
            (Some(cut), None) => (open.dense.macs as f64 / cut.times.max(1.0)) as u64,
            (None, _) => nominal.map_or(open.dense.macs, |c| c.macs),
        },
        macs_dense: open.dense.macs,
        doubtful: !open.knows_split && !is_agreement(store),
        no_answer: store.no_answer.clone(),
        fresh: store.answer.as_ref().is_some_and(|a| a.question == *asked),
        target: target(store, open, asked),
        headline: headline(store, open),
        wants: wants(store, open),
        measured: store.answer.as_ref().map(|a| measured(a, &open.dense)),
    })
}

fn target(store: &RunStore, open: &OpenModel, asked: &Question) -> Option<TargetView> {
    let answer = store.answer.as_ref()?;
    let plan = answer.plan.as_ref()?;
    let all: usize = plan.groups.iter().map(|g| g.kept.len()).sum();
    let kept: usize = plan.groups.iter().map(|g| g.n_kept()).sum();
    let is_fresh = answer.question.cut == asked.cut;
    Some(TargetView {
        most: plan.most_times,
        reached: is_fresh.then_some(plan.times),
        filters: is_fresh.then_some([kept, all]),
        sensitivity: plan.sensitivity,
        best: best_vector(store, open),
        has_norm_scales: (open.header.spec.nodes.iter()).any(|n| matches!(n.op, Op::Norm { affine: true, .. })),
    })
}

/// Of the newest search that began with this network and decides about channels.
fn best_vector(store: &RunStore, open: &OpenModel) -> Option<BestVector> {
    let is_of = |run: &&RunState| {
        let is_start = run.experiment.start.as_ref() == Some(&open.from);
        is_start || run.spec.as_ref().is_some_and(|spec| **spec == open.header.spec)
    };
    let searches = store
        .runs
        .iter()
        .rev()
        .filter(is_of)
        .flat_map(|run| run.searches.iter().rev().map(move |s| (run, s)));
    let mut found = searches.filter_map(|(run, search)| {
        let best = search.best()?;
        let sites = search.start.sites.iter().zip(best.densities.iter());
        let of_channels = sites.filter(|(site, _)| matches!(site.dimension, Dimension::Filter | Dimension::Gate));
        let densities: BTreeMap<String, f32> = of_channels.map(|(site, &d)| (site.name.clone(), d)).collect();
        (!densities.is_empty()).then(|| BestVector {
            from: format!("trial {} of {}", best.number, run.title()),
            densities,
        })
    });
    found.next()
}

/// Against the whole model as it was measured here, else as its file says.
fn headline(store: &RunStore, open: &OpenModel) -> Option<Headline> {
    let answer = store.answer.as_ref()?;
    let whole = whole(store, open);
    let dense_ms = answer
        .dense_latency
        .or_else(|| whole.and_then(|w| w.latency))
        .map(|l| l.median_ms);
    Some(Headline {
        times: open.dense.macs as f64 / answer.macs.max(1) as f64,
        points: points(store, open, answer),
        faster: (answer.latency.zip(dense_ms)).map(|(now, dense)| dense / now.median_ms.max(1e-9)),
    })
}

/// Accuracy gained against the whole model, on the images that both were measured on; else against what its file says.
fn points(store: &RunStore, open: &OpenModel, answer: &Answer) -> Option<f64> {
    let labels = store.strip.as_ref().map_or(&[][..], |strip| &strip.labels[..]);
    let right = |said: &[u16], n: usize| {
        said.iter()
            .zip(labels)
            .take(n)
            .filter(|(said, label)| said == label)
            .count() as f64
    };
    let knows_each = !answer.seen.is_empty() && answer.seen.iter().all(|one| one.dense.is_some());
    if let Some(whole) = whole(store, open).filter(|_| !knows_each) {
        let n = labels.len().min(whole.said.len()).min(answer.said.len());
        if n > 0 {
            return Some((right(&answer.said, n) - right(&whole.said, n)) / n as f64);
        }
    }
    let now = (answer.n > 0).then(|| answer.right as f64 / answer.n as f64);
    now.zip(whole_top1(store, open)).map(|(now, whole)| now - whole)
}

/// The whole model as measured in this session: every channel running, nothing cut.
pub(crate) fn whole<'a>(store: &'a RunStore, open: &OpenModel) -> Option<&'a Answer> {
    let is_whole = |q: &Question| {
        q.densities.iter().all(|&d| d == Density::FULL) && q.cut.as_ref().is_none_or(|cut| cut.times <= 1.0)
    };
    let here = store.measured.iter().filter(|m| m.model.from == open.from);
    let here = here.filter(|m| is_whole(&m.answer.question) && m.answer.n > 0);
    here.map(|m| &m.answer).max_by_key(|a| a.n)
}

/// The accuracy of the whole model: measured here, else what every channel running said of the images, else as its file says.
pub(crate) fn whole_top1(store: &RunStore, open: &OpenModel) -> Option<f64> {
    let seen = store.answer.as_ref().map_or(&[][..], |a| &a.seen[..]);
    let dense: Option<Vec<bool>> = seen.iter().map(|s| Some(s.dense? == s.label)).collect();
    let of_seen = dense
        .filter(|d| !d.is_empty())
        .map(|d| d.iter().filter(|&&b| b).count() as f64 / d.len() as f64);
    let measured = || whole(store, open).map(|a| a.right as f64 / a.n as f64);
    let recorded = || {
        let valid = open
            .header
            .metrics
            .iter()
            .filter(|m| m.split == Split::Valid && m.gates.is_empty());
        valid.max_by_key(|m| m.density).map(|m| f64::from(m.top1))
    };
    of_seen.or_else(measured).or_else(recorded)
}

/// Whether the open model's images have no classes, so that what is measured is agreement with the whole network.
pub fn is_agreement(store: &RunStore) -> bool {
    store.strip.as_ref().is_some_and(|strip| !strip.is_labeled)
}

fn wants(store: &RunStore, open: &OpenModel) -> Option<WantedImages> {
    let is_measured = store.answer.as_ref().is_some_and(|a| a.n > 0);
    if store.images_from.is_some() || is_measured {
        return None;
    }
    let [c, h, w] = open.header.spec.input;
    let classes = open.header.classes.len();
    Some(WantedImages {
        what: format!("{c}×{h}×{w}, {classes} classes"),
        why: store.no_images.clone(),
        takes_bundled: [c, h, w] == [1, 28, 28] && classes == 10,
    })
}

fn measured(answer: &Answer, dense: &cost::Cost) -> DensityMeasurement {
    let top1 = answer.right as f64 / answer.n.max(1) as f64;
    let millis = answer.latency.as_ref().map(|l| [l.p10_ms, l.median_ms, l.p90_ms]);
    let millis_dense = answer.dense_latency.as_ref().map(|l| l.median_ms);
    DensityMeasurement {
        no_gain: no_gain(answer, dense),
        busy: answer.latency.and_then(|l| l.others?.says()),
        millis_dense,
        density: answer.question.mean(),
        n: answer.n,
        of: answer.of,
        top1,
        interval: wilson(answer.right, answer.n),
        macs: answer.macs,
        millis,
        weight_bytes: [answer.traffic.weight_bytes, dense.weight_bytes],
        activation_bytes: [answer.traffic.activation_bytes, dense.activation_bytes],
        peak_bytes: [answer.traffic.peak_bytes, dense.peak_bytes],
    }
}

/// Why fewer MACs did not make less time: said when at least a fifth of the MACs is saved and less than a tenth of the time.
fn no_gain(answer: &Answer, dense: &cost::Cost) -> Option<String> {
    let (now, before) = (
        answer.latency.as_ref()?.median_ms,
        answer.dense_latency.as_ref()?.median_ms,
    );
    if answer.n == 0 {
        return None;
    }
    let macs = answer.macs as f64 / dense.macs.max(1) as f64;
    let time = now / before;
    if macs > 0.8 || time < 0.9 {
        return None;
    }
    let bytes = |c: &cost::Cost| (c.weight_bytes + c.activation_bytes) as f64;
    let memory = bytes(&answer.traffic) / bytes(dense).max(1.0);
    Some(format!(
        "MACs fell to {}, time only to {}. Memory traffic fell to {}. With one image at a time, small layers wait for memory \
         and for threads to start, not for arithmetic, and every gate adds work of its own.",
        text::whole_percent(macs),
        text::whole_percent(time),
        text::whole_percent(memory)
    ))
}

/// Wilson's 95 % score interval for `right` of `n`. All of [0, 1] if nothing was measured.
pub(crate) fn wilson(right: usize, n: usize) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let z = 1.959_964;
    let (n, p) = (n as f64, right as f64 / n as f64);
    let center = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [(center - half).max(0.0), (center + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_wilson() {
        // Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
        let [low, high] = wilson(81, 263);
        assert!(
            (low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5,
            "{low} {high}"
        );
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
        let [low, high] = wilson(10, 10);
        assert!(high > 0.999_999 && high <= 1.0 && low > 0.6, "{low} {high}");
    }
}
