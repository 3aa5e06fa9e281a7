//! An ONNX file run by a second runtime (rten), beside our engine, on the same images.
//! Knows nothing of where the file or the images come from.

use super::probe::Probe;
use super::spelled_out::spelled_out;
use anyhow::{Context, Result, ensure};
use infer::{Batch, Options, compile};
use model::mask::winners;
use model::spec::{Op, Shape};
use model::{Checkpoint, Density, Head, Precision};
use rten::{Model, NodeId, Value, ValueView};

/// Logits may differ by this share of the largest logit (at least of 1): float32 sums of some thousand terms in another order.
pub const TOLERANCE: f32 = 1e-3;

/// The same of a model of bytes: a last bit of a sum makes another byte of a number that lies between two.
const BYTE_TOLERANCE: f32 = 5e-2;

/// What a second runtime made of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Images compared.
    pub n: usize,
    /// Largest difference of two logits; of several outputs, in the one that is furthest off for its size.
    pub max_abs_diff: f32,
    /// Share of images for which both name the same class, and other outputs differ by rounding alone.
    pub top1_agreement: f64,
    /// Images left out of `max_abs_diff`: both saw the same saliencies, but rounding chose other winners of a tie.
    pub ties: usize,
    /// Largest logit of ours, or number of that output.
    pub largest: f32,
    /// The share of it that logits may differ by.
    pub tolerance: f32,
}

impl Agreement {
    /// Whether both computed the same but for rounding.
    pub fn holds(&self) -> bool {
        self.largest.is_finite()
            && self.max_abs_diff <= self.tolerance * self.largest.max(1.0)
            && self.ties * 10 <= self.n
    }
}

/// Images at once, as far as they are small.
const BATCH: usize = 8;

/// Most pixels at once.
const MOST_PIXELS: usize = 1 << 24;

/// Compares `onnx` to the engine at a density.
///
/// # Errors
/// The second runtime does not take the file, or gives something else than logits.
pub fn compare(model: &Checkpoint, density: Density, onnx: Vec<u8>, probe: &Probe) -> Result<Agreement> {
    let spec = model.spec();
    let tolerance = match model.precision() {
        Precision::F32 => TOLERANCE,
        Precision::Int8 => BYTE_TOLERANCE,
    };
    let size: usize = spec.input.iter().product();
    let outputs = spec.outputs()?;
    let heads = match spec.nodes.last().map(|n| &n.op) {
        Some(Op::Outputs { heads }) => heads.clone(),
        _ => outputs.iter().map(|o| Head::plain(&o.name, &o.shape)).collect(),
    };
    let parts = heads.chunk_by(|_, next| next.joins.is_some());
    let parts: Vec<&[Head]> = parts.collect();
    let numbers = outputs.last().map_or(0, |o| o.range.end);
    let at_once = (MOST_PIXELS / size).clamp(1, BATCH);
    let options = Options {
        batch: at_once,
        ..Options::default()
    };
    let mut engine = compile(model, &options)?;
    engine.set_density(density);
    let gates = spec.gates().into_iter();
    let saliencies = gates.map(|g| format!("{}.saliency", spec.nodes[g].name));
    let names: Vec<String> = outputs.iter().map(|o| o.name.clone()).chain(saliencies).collect();
    let runtime = SecondRuntime::new(spec.input, onnx, &names)?;
    let (mut same, mut ties) = (0, 0);
    // By output: the largest difference, and the largest number of ours.
    let mut offs = vec![[0.0f32; 2]; outputs.len()];
    for images in probe.pixels.chunks(at_once * size) {
        let ours = engine.run(images);
        let all = runtime.run(images).context("the second runtime fails")?;
        for (output, theirs) in outputs.iter().zip(&all) {
            let expected = output.range.len() * ours.n;
            ensure!(
                theirs.len() == expected,
                "the second runtime gives {} numbers as {}, expected {expected}",
                theirs.len(),
                output.name
            );
        }
        let mut tied = vec![false; ours.n];
        let mut agrees = vec![true; ours.n];
        for (((output, parts), theirs), [most, largest]) in outputs.iter().zip(&parts).zip(&all).zip(&mut offs) {
            let each = output.range.len();
            let rows = ours
                .logits
                .chunks_exact(numbers)
                .map(|row| Head::joined(parts, &row[output.range.clone()]));
            let rows: Vec<Vec<f32>> = rows.collect();
            *largest = rows.iter().flatten().fold(*largest, |m, v| m.max(v.abs()));
            for (i, (a, b)) in rows.iter().zip(theirs.chunks_exact(each)).enumerate() {
                let off = a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max(difference(*a, *b)));
                let bound = tolerance * largest.max(1.0);
                agrees[i] &= if output.is_logits {
                    best(a) == best(b)
                } else {
                    off <= bound
                };
                if off > bound && is_tie(density, ours, &all[outputs.len()..], (i, tolerance / 10.0)) {
                    tied[i] = true;
                } else {
                    *most = most.max(off);
                }
            }
        }
        same += agrees.iter().filter(|&&agrees| agrees).count();
        ties += tied.iter().filter(|&&tied| tied).count();
    }
    // The output that is furthest off for its size.
    let worst = offs
        .iter()
        .max_by(|a, b| (a[0] / a[1].max(1.0)).total_cmp(&(b[0] / b[1].max(1.0))));
    let [most, largest] = worst.copied().unwrap_or_default();
    Ok(Agreement {
        n: probe.n,
        max_abs_diff: most,
        top1_agreement: same as f64 / probe.n.max(1) as f64,
        ties,
        largest,
        tolerance,
    })
}

/// |a − b|, infinite if either is not finite: then nothing can be compared.
fn difference(a: f32, b: f32) -> f32 {
    let d = (a - b).abs();
    if d.is_nan() { f32::INFINITY } else { d }
}

fn best(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}

/// Whether image `i` first went apart at a gate that saw the same saliencies up to rounding and chose other winners.
fn is_tie(density: Density, ours: &Batch, saliencies: &[Vec<f32>], (i, near): (usize, f32)) -> bool {
    for (gate, theirs) in ours.gates.iter().zip(saliencies) {
        let channels = theirs.len() / ours.n;
        let (a, b) = (
            &gate.saliency[i * channels..][..channels],
            &theirs[i * channels..][..channels],
        );
        let size = a.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(*v));
        if a.iter().zip(b).any(|(a, b)| difference(*a, *b) > near * size) {
            return false;
        }
        let k = density.of(channels);
        if winners(a, k) != winners(b, k) {
            return true;
        }
    }
    false
}

/// The second runtime with a file of ours in it.
pub(crate) struct SecondRuntime {
    input: Shape,
    model: Model,
    image: NodeId,
    outputs: Vec<NodeId>,
}

impl SecondRuntime {
    /// Takes images of the shape `input` to these outputs; none are all of the file's.
    pub(crate) fn new(input: Shape, onnx: Vec<u8>, outputs: &[String]) -> Result<Self> {
        let load = || -> Result<Self> {
            let model = Model::load(spelled_out(onnx))?;
            Ok(Self {
                input,
                image: model.node_id("image")?,
                outputs: match outputs {
                    [] => model.output_ids().to_vec(),
                    some => some.iter().map(|name| model.node_id(name)).collect::<Result<_, _>>()?,
                },
                model,
            })
        };
        load().context("the second runtime does not take the file")
    }

    /// Each output, in their order.
    pub(crate) fn run(&self, images: &[f32]) -> Result<Vec<Vec<f32>>> {
        let [c, h, w] = self.input;
        let n = images.len() / (c * h * w);
        let input = ValueView::from_shape([n, c, h, w], images)?;
        // It panics on some layers that it does not expect.
        let run = || self.model.run(vec![(self.image, input.into())], &self.outputs, None);
        let values = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let values = values.map_err(|_| anyhow::anyhow!("it panicked, which is a fault of its own"))??;
        let numbers = |value: Value| match value {
            Value::FloatTensor(tensor) => Ok(tensor.into_data()),
            _ => anyhow::bail!("an output that is not of float32"),
        };
        values.into_iter().map(numbers).collect()
    }
}
