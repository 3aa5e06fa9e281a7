//! The open model at one density: accuracy with its interval, MACs, measured time, memory.
//! Knows nothing of layers one by one.

use super::text;
use lab::RunStore;
use measure::Question;
use measure::probe::Answer;
use model::{Density, Fractions, Masks, cost};
use serde::Serialize;

/// What the density panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DensityView {
    /// The model's name.
    pub model: String,
    /// Density that was asked for, the mean if gates differ.
    pub asked: f64,
    /// Densities the model was made for; none if it has no gates.
    pub range: Option<[Density; 2]>,
    /// MACs per image that the asked density promises, before anything is measured.
    pub macs_nominal: u64,
    /// MACs per image with nothing gated away.
    pub macs_dense: u64,
    /// Whether [`DensityView::measured`] answers what was asked.
    pub fresh: bool,
    /// Whether the model may have learned from the images it is measured on.
    pub doubtful: bool,
    /// The newest measurement, if there is one.
    pub measured: Option<DensityMeasurement>,
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
    /// Share classified right.
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
        asked: asked.mean(),
        range,
        macs_nominal: nominal.map_or(open.dense.macs, |c| c.macs),
        macs_dense: open.dense.macs,
        doubtful: !open.knows_split,
        fresh: store.answer.as_ref().is_some_and(|a| a.question == *asked),
        measured: store.answer.as_ref().map(|a| measured(a, &open.dense)),
    })
}

fn measured(answer: &Answer, dense: &cost::Cost) -> DensityMeasurement {
    let top1 = answer.right as f64 / answer.n.max(1) as f64;
    let millis = answer.latency.as_ref().map(|l| [l.p10_ms, l.median_ms, l.p90_ms]);
    let millis_dense = answer.dense_latency.as_ref().map(|l| l.median_ms);
    DensityMeasurement {
        no_gain: no_gain(answer, dense),
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
