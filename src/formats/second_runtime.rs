//! An ONNX file run by a second runtime, beside our engine, on the same images.
//! Knows nothing of where the file or the images come from.

use super::probe::Probe;
use anyhow::{Context, Result, ensure};
use infer::{Batch, Options, compile};
use model::mask::winners;
use model::spec::NetSpec;
use model::{Checkpoint, Density};
use tract_onnx::prelude::*;

/// Logits may differ by this share of the largest logit (at least of 1): float32 sums of some thousand terms in another order.
pub const TOLERANCE: f32 = 1e-3;

/// What a second runtime made of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Images compared.
    pub n: usize,
    /// Largest difference of two logits.
    pub max_abs_diff: f32,
    /// Share of images for which both name the same class.
    pub top1_agreement: f64,
    /// Images left out of `max_abs_diff`: both saw the same saliencies, but rounding chose other winners of a tie.
    pub ties: usize,
    /// Largest logit of ours.
    pub largest: f32,
}

impl Agreement {
    /// Whether both computed the same but for rounding.
    pub fn holds(&self) -> bool {
        self.max_abs_diff <= TOLERANCE * self.largest.max(1.0) && self.ties * 10 <= self.n
    }
}

const BATCH: usize = 8;

/// Compares `onnx` to the engine at a density.
///
/// # Errors
/// The second runtime does not take the file, or gives something else than logits.
pub fn compare(model: &Checkpoint, density: Density, onnx: &[u8], probe: &Probe) -> Result<Agreement> {
    let spec = model.spec();
    let size: usize = spec.input.iter().product();
    let classes = spec.classes()?;
    let options = Options {
        batch: BATCH,
        ..Options::default()
    };
    let mut engine = compile(model, &options)?;
    engine.set_density(density);
    let mut runtime = SecondRuntime::new(spec, onnx);
    let (mut same, mut ties, mut most, mut largest) = (0, 0, 0.0f32, 0.0f32);
    for images in probe.pixels.chunks(BATCH * size) {
        let ours = engine.run(images);
        let theirs = runtime.run(images).context("the second runtime fails")?;
        ensure!(
            theirs[0].len() == ours.logits.len(),
            "the second runtime gives {} numbers, expected {}",
            theirs[0].len(),
            ours.logits.len()
        );
        largest = ours.logits.iter().fold(largest, |m, v| m.max(v.abs()));
        for (i, (a, b)) in ours
            .logits
            .chunks_exact(classes)
            .zip(theirs[0].chunks_exact(classes))
            .enumerate()
        {
            same += usize::from(best(a) == best(b));
            let off = a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max(difference(*a, *b)));
            if off > TOLERANCE * largest.max(1.0) && is_tie(density, ours, &theirs[1..], i) {
                ties += 1;
            } else {
                most = most.max(off);
            }
        }
    }
    Ok(Agreement {
        n: probe.n,
        max_abs_diff: most,
        top1_agreement: same as f64 / probe.n.max(1) as f64,
        ties,
        largest,
    })
}

/// |a − b|, infinite if either is no number and the other is.
fn difference(a: f32, b: f32) -> f32 {
    if a == b || a.is_nan() && b.is_nan() {
        return 0.0;
    }
    let d = (a - b).abs();
    if d.is_nan() { f32::INFINITY } else { d }
}

fn best(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}

/// Whether image `i` first went apart at a gate that saw the same saliencies up to rounding and chose other winners.
fn is_tie(density: Density, ours: &Batch, saliencies: &[Vec<f32>], i: usize) -> bool {
    for (gate, theirs) in ours.gates.iter().zip(saliencies) {
        let channels = theirs.len() / ours.n;
        let (a, b) = (
            &gate.saliency[i * channels..][..channels],
            &theirs[i * channels..][..channels],
        );
        let size = a.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(*v));
        if a.iter().zip(b).any(|(a, b)| difference(*a, *b) > 1e-4 * size) {
            return false;
        }
        let k = density.of(channels);
        if winners(a, k) != winners(b, k) {
            return true;
        }
    }
    false
}

type TractPlan = std::sync::Arc<TypedRunnableModel>;

/// The second runtime. It plans for one batch size at a time.
struct SecondRuntime<'a> {
    onnx: &'a [u8],
    input: [usize; 3],
    outputs: Vec<String>,
    plan: Option<(usize, TractPlan)>,
}

impl<'a> SecondRuntime<'a> {
    fn new(spec: &NetSpec, onnx: &'a [u8]) -> Self {
        let gates = spec.gates().into_iter();
        let saliencies = gates.map(|g| format!("{}.saliency", spec.nodes[g].name));
        Self {
            onnx,
            input: spec.input,
            outputs: std::iter::once("logits".to_owned()).chain(saliencies).collect(),
            plan: None,
        }
    }

    /// Logits, then the saliencies of each gate.
    fn run(&mut self, images: &[f32]) -> Result<Vec<Vec<f32>>> {
        let [c, h, w] = self.input;
        let n = images.len() / (c * h * w);
        let plan = match &self.plan {
            Some((of, plan)) if *of == n => plan.clone(),
            _ => self.plan(n).context("it does not take the file")?,
        };
        self.plan = Some((n, plan.clone()));
        let input = Tensor::from_shape(&[n, c, h, w], images)?;
        let outputs = plan.run(tvec!(input.into_tvalue()))?;
        let floats = |value: &TValue| Ok(value.to_plain_array_view::<f32>()?.iter().copied().collect());
        outputs.iter().map(floats).collect()
    }

    fn plan(&self, n: usize) -> Result<TractPlan> {
        let [c, h, w] = self.input;
        let mut bytes = self.onnx;
        let model = tract_onnx::onnx().model_for_read(&mut bytes)?;
        let fact = InferenceFact::dt_shape(f32::datum_type(), [n, c, h, w]);
        let model = model.with_input_fact(0, fact)?.with_outputs_by_name(&self.outputs)?;
        model.into_optimized()?.into_runnable()
    }
}
