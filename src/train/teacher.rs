//! Learning from a trained network's outputs (distillation; Hinton, Vinyals, Dean, arXiv 1503.02531):
//! loss = (1 − w) · cross-entropy + w · T² · KL(p ‖ q), p and q the teacher's and the network's softmax(logits / T). Outputs that
//! are no logits are matched by Σ (y − y')² / Σ y'² in place of the divergence; of several outputs the mean counts.
//! Knows nothing of where the teacher comes from.

use crate::config::TrainConfig;
use anyhow::Result;
use burn::tensor::{Tensor, TensorData, activation};
use data::{Answers, Dataset, Images, Normalization, batch};
use event::{BadInput, Cancelled};
use infer::{Engine, Options};
use model::spec::Shape;
use model::{Checkpoint, Density, NetOutput};
use std::collections::BTreeSet;

/// The value of `train.teacher` that means the model that pruning begins with.
pub const OWN: &str = "self";

/// Images that the engine runs at once.
const BATCH: usize = 64;

/// What a teacher says of a batch, output by output.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftTargets {
    outputs: Vec<OutputTarget>,
    temperature: f32,
    /// Share of the loss.
    weight: f32,
}

/// What a teacher says in one output.
#[derive(Clone, Debug, PartialEq)]
struct OutputTarget {
    output: NetOutput,
    /// Of logits softmax(logits / T), of others the numbers themselves, `[n, numbers]`.
    numbers: Vec<f32>,
}

impl SoftTargets {
    /// Of all that a teacher with these outputs gives, `[n, numbers of all]`.
    pub fn new(given: &[f32], outputs: &[NetOutput], temperature: f32, weight: f32) -> Self {
        let all = outputs.last().map_or(1, |o| o.range.end).max(1);
        let target = |output: &NetOutput| {
            let mut numbers = Vec::with_capacity(given.len() / all * output.range.len());
            for row in given.chunks_exact(all).map(|row| &row[output.range.clone()]) {
                if !output.is_logits {
                    numbers.extend_from_slice(row);
                    continue;
                }
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> = row.iter().map(|z| f64::from((z - most) / temperature).exp()).collect();
                let sum: f64 = powers.iter().sum();
                numbers.extend(powers.iter().map(|p| (p / sum) as f32));
            }
            OutputTarget {
                output: output.clone(),
                numbers,
            }
        };
        Self {
            outputs: outputs.iter().map(target).collect(),
            temperature,
            weight,
        }
    }

    /// The whole loss, from what the network gives, `[n, numbers of all]`, and its loss on labels, if it has one: the teacher's part
    /// is the mean over outputs.
    pub(crate) fn loss(&self, given: Tensor<2>, on_labels: Option<Tensor<1>>) -> Tensor<1> {
        let share = self.weight / self.outputs.len().max(1) as f32;
        let own = on_labels.map(|loss| loss.mul_scalar(1.0 - self.weight));
        let zero = Tensor::<1>::zeros([1], &given.device());
        self.outputs.iter().fold(own.unwrap_or(zero), |sum, target| {
            let range = target.output.range.clone();
            let part = match given.dims()[1] == range.len() {
                true => given.clone(),
                false => given.clone().narrow(1, range.start, range.len()),
            };
            sum + match target.output.is_logits {
                true => target.divergence(part, self.temperature, share),
                false => target.squared_error(part, share),
            }
        })
    }

    /// How far what a network gives agrees, summed over images and averaged over outputs other than logits: 1 less ‖y − y'‖ / ‖y'‖.
    pub(crate) fn agreement(&self, given: &[f32]) -> f64 {
        let all = self.outputs.last().map_or(1, |o| o.output.range.end).max(1);
        let others = || self.outputs.iter().filter(|target| !target.output.is_logits);
        let mut sum = 0.0;
        for (image, row) in given.chunks_exact(all).enumerate() {
            for OutputTarget { output, numbers } in others() {
                let theirs = &numbers[image * output.range.len()..][..output.range.len()];
                let of = |(a, b): (&f32, &f32)| [f64::from(a - b).powi(2), f64::from(*b).powi(2)];
                let pairs = row[output.range.clone()].iter().zip(theirs).map(of);
                let [off, size] = pairs.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
                let error = if off == 0.0 { 0.0 } else { (off / size).sqrt() };
                sum += (1.0 - error).max(0.0);
            }
        }
        sum / others().count().max(1) as f64
    }
}

impl OutputTarget {
    /// `share` · T² · KL(p ‖ q).
    fn divergence(&self, logits: Tensor<2>, temperature: f32, share: f32) -> Tensor<1> {
        let [n, classes] = logits.dims();
        let scale = f64::from(share * temperature * temperature) / n as f64;
        let p = TensorData::new(self.numbers.clone(), [n, classes]);
        let p = Tensor::<2>::from_data(p, &logits.device());
        let crossed = (activation::log_softmax(logits.div_scalar(temperature), 1) * p).sum();
        // Σ p·log p moves no weight, but makes the loss 0 where both say the same.
        let own: f64 = self
            .numbers
            .iter()
            .map(|&p| f64::from(p))
            .filter(|&p| p > 0.0)
            .map(|p| p * p.ln())
            .sum();
        crossed.mul_scalar(-scale).add_scalar(scale * own)
    }

    /// `share` · Σ (y − y')² / Σ y'²; the mean square where the teacher gives zeros alone.
    fn squared_error(&self, given: Tensor<2>, share: f32) -> Tensor<1> {
        let dims = given.dims();
        let size: f64 = self.numbers.iter().map(|&v| f64::from(v).powi(2)).sum();
        let size = if size > 0.0 { size } else { self.numbers.len() as f64 };
        let theirs = Tensor::<2>::from_data(TensorData::new(self.numbers.clone(), dims), &given.device());
        (given - theirs).square().sum().mul_scalar(f64::from(share) / size)
    }
}

/// A teacher at work.
pub(crate) struct Teacher {
    engine: Engine,
    outputs: Vec<NetOutput>,
    /// From the pixels that the learner sees to those that the teacher learned with, by channel: factor and shift.
    adapted: Option<Vec<[f32; 2]>>,
    temperature: f32,
    weight: f32,
}

impl Teacher {
    /// A teacher for a network that sees pixels with this normalization.
    ///
    /// # Errors
    /// The engine cannot run it.
    pub(crate) fn new(
        model: &Checkpoint,
        seen: &Normalization,
        (train, threads): (&TrainConfig, usize),
    ) -> Result<Self> {
        let own = &model.header.normalization;
        let by_channel = |c: usize| {
            let factor = seen.std[c] / own.std[c];
            [factor, (seen.mean[c] - own.mean[c]) / own.std[c]]
        };
        Ok(Self {
            engine: engine(model, threads)?,
            outputs: model.spec().outputs()?,
            adapted: (seen != own).then(|| (0..own.std.len()).map(by_channel).collect()),
            temperature: train.teacher_temperature,
            weight: train.teacher_weight,
        })
    }

    /// What it says of a batch, `[n, c, h, w]` as the learner sees it.
    pub(crate) fn targets(&mut self, pixels: &[f32]) -> SoftTargets {
        let spec = self.engine.spec();
        let [channels, height, width] = spec.input;
        let mut own = Vec::new();
        let pixels = match &self.adapted {
            None => pixels,
            Some(adapted) => {
                let planes = pixels.chunks_exact(height * width).enumerate();
                own.extend(planes.flat_map(|(plane, values)| {
                    let [factor, shift] = adapted[plane % channels];
                    values.iter().map(move |v| v * factor + shift)
                }));
                &own[..]
            }
        };
        let mut logits = Vec::new();
        for images in pixels.chunks(BATCH * channels * height * width) {
            logits.extend_from_slice(&self.engine.run(images).logits);
        }
        SoftTargets::new(&logits, &self.outputs, self.temperature, self.weight)
    }
}

fn engine(model: &Checkpoint, threads: usize) -> Result<Engine> {
    let options = Options {
        threads,
        batch: BATCH,
        ..Options::default()
    };
    let mut engine = infer::compile(model, &options)?;
    engine.set_density(model.header.densities.last().copied().unwrap_or(Density::FULL));
    Ok(engine)
}

/// Checks that a model can teach about these images.
///
/// # Errors
/// [`BadInput`]: it reads images of another shape, or knows other classes.
pub fn check_teacher(teacher: &Checkpoint, input: Shape, classes: &[String]) -> Result<()> {
    let (reads, knows) = (teacher.spec().input, &teacher.header.classes);
    let why = if reads != input {
        format!("reads images of {reads:?}, expected {input:?}")
    } else if knows.len() != classes.len() {
        format!("knows {} classes, expected {}", knows.len(), classes.len())
    } else if let (true, Some(i)) = (
        knows.iter().all(|name| classes.contains(name)),
        (0..classes.len()).find(|&i| knows[i] != classes[i]),
    ) {
        format!(
            "has the classes in another order: class {i} is {}, expected {}",
            knows[i], classes[i]
        )
    } else {
        return Ok(());
    };
    Err(BadInput(format!("train.teacher {why}")).into())
}

/// Most numbers that are kept of what a teacher gives of one split (256 MiB); of larger outputs every so many is compared.
const MOST_ANSWERS: usize = 64 << 20;

/// Gives images without classes those that the teacher names, and where it has other outputs than class logits remembers what it
/// gives of the validation and test images, so that what is measured of another network is its agreement with the teacher.
///
/// # Errors
/// [`Cancelled`]; the engine cannot run it.
pub fn label(
    dataset: &mut Dataset,
    valid: &[u32],
    teacher: &Checkpoint,
    threads: usize,
    check: &dyn Fn() -> Result<(), Cancelled>,
) -> Result<()> {
    let all = |images: &Images| (0..images.len() as u32).collect::<Vec<u32>>();
    let (train, test) = (all(&dataset.train), all(&dataset.test));
    ask(&mut dataset.train, [&train, valid], teacher, threads, check)?;
    ask(&mut dataset.test, [&test, &test], teacher, threads, check)?;
    dataset.classes.clone_from(&teacher.header.classes);
    dataset.is_labeled = false;
    Ok(())
}

/// Gives the first of these images the classes that the teacher names, and remembers what it gives of the second.
///
/// # Errors
/// As [`label`].
pub fn ask(
    images: &mut Images,
    [named, compared]: [&[u32]; 2],
    teacher: &Checkpoint,
    threads: usize,
    check: &dyn Fn() -> Result<(), Cancelled>,
) -> Result<()> {
    let mut engine = engine(teacher, threads)?;
    let (outputs, logits) = (teacher.spec().outputs()?, teacher.spec().logits()?);
    let is_compared = outputs.len() > 1 || logits.is_empty();
    let mut answers = is_compared.then(|| Answers::of(kept_numbers(&outputs, compared.len())));
    let asked = if logits.is_empty() { compared } else { named };
    let compared: BTreeSet<u32> = compared.iter().copied().collect();
    images.labels.fill(0);
    for some in asked.chunks(BATCH) {
        check()?;
        let mut pixels = Vec::new();
        batch::fill(images, some, None, &teacher.header.normalization, &mut pixels);
        let given = &engine.run(&pixels).logits;
        for (&image, row) in some.iter().zip(given.chunks_exact(given.len() / some.len())) {
            let class = infer::argmax(&row[logits.clone()]);
            images.labels[image as usize] = class.unwrap_or(0) as u16;
            if let Some(answers) = answers.as_mut().filter(|_| compared.contains(&image)) {
                answers.put(image, row);
            }
        }
    }
    images.answers = answers;
    Ok(())
}

/// Which of a network's numbers are compared on so many images: all of the logits, and of every other output all or every so many.
fn kept_numbers(outputs: &[NetOutput], images: usize) -> Vec<u32> {
    let all: usize = outputs.iter().map(|o| o.range.len()).sum();
    let step = (all * images).div_ceil(MOST_ANSWERS).max(1);
    let of = |o: &NetOutput| o.range.clone().step_by(if o.is_logits { 1 } else { step });
    outputs.iter().flat_map(of).map(|k| k as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use model::{random_model, zoo};

    fn loss(logits: [f32; 3], teacher: [f32; 3], temperature: f32, weight: f32) -> f32 {
        let device = Device::default();
        let logits = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [1, 3]), &device);
        let on_labels = Tensor::<1>::from_data(TensorData::new(vec![2.0f32], [1]), &device);
        SoftTargets::new(&teacher, &[output(0..3, true)], temperature, weight)
            .loss(logits, Some(on_labels))
            .into_scalar::<f32>()
    }

    fn output(range: std::ops::Range<usize>, is_logits: bool) -> NetOutput {
        NetOutput {
            name: format!("from{}", range.start),
            shape: vec![range.len()],
            range,
            is_logits,
        }
    }

    #[test]
    fn outputs_are_matched_by_their_squared_error_over_their_size() {
        let outputs = [output(0..2, false), output(2..3, false)];
        let targets = SoftTargets::new(&[3.0, 4.0, 2.0, 0.0, 0.0, 2.0], &outputs, 4.0, 1.0);
        let given = [3.0f32, 5.0, 2.0, 2.0, 0.0, 0.0];
        let tensor = Tensor::<2>::from_data(TensorData::new(given.to_vec(), [2, 3]), &Device::default());
        // (1 + 4) / 25 and 4 / 8, their mean.
        let loss = targets.loss(tensor, None).into_scalar::<f32>();
        assert!((loss - 0.35).abs() < 1e-6, "{loss}");
        // 1 − 1/5 and 1; the second image is wrong altogether in both.
        assert!((targets.agreement(&given) - 0.9).abs() < 1e-9);
        assert_eq!(
            kept_numbers(&[output(0..6, false), output(6..8, true)], 16 << 20),
            [0, 2, 4, 6, 7]
        );
    }

    #[test]
    fn the_loss_is_that_of_the_paper() {
        assert!(
            loss([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 4.0, 1.0).abs() < 1e-5,
            "both say the same"
        );
        assert!(
            (loss([1.0, 2.0, 3.0], [0.0, 9.0, 1.0], 4.0, 0.0) - 2.0).abs() < 1e-6,
            "labels alone"
        );
        // By hand: p = (1/2, 1/4, 1/4) at T = 2, q = (1/3, 1/3, 1/3): KL = 1/2 ln 3/2 + 1/2 ln 3/4, times T².
        let teacher = [2.0 * 2.0f32.ln(), 0.0, 0.0];
        let expected = 4.0 * (0.5 * 1.5f32.ln() + 0.5 * 0.75f32.ln());
        assert!((loss([0.0; 3], teacher, 2.0, 1.0) - expected).abs() < 1e-5);
        assert!((loss([0.0; 3], teacher, 2.0, 0.5) - (0.5 * expected + 1.0)).abs() < 1e-5);
    }

    #[test]
    fn a_teacher_sees_the_pixels_it_learned_with() {
        let mut model = random_model(zoo::build("m-cifarnet", [3, 8, 8], 4, 0.1).expect("builds"), 1).expect("builds");
        model.header.normalization = Normalization {
            mean: vec![0.1, 0.2, 0.3],
            std: vec![0.5, 0.4, 0.3],
        };
        let pixels: Vec<f32> = (0..2 * 192).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let seen_as = |n: &Normalization| -> Vec<f32> {
            let value = |(i, v): (usize, &f32)| (v - n.mean[i / 64 % 3]) / n.std[i / 64 % 3];
            pixels.iter().enumerate().map(value).collect()
        };
        let targets = |n: &Normalization| {
            let teacher = Teacher::new(&model, n, (&TrainConfig::default(), 1));
            teacher.expect("runs").targets(&seen_as(n)).outputs[0].numbers.clone()
        };
        let same = targets(&model.header.normalization.clone());
        let other = targets(&Normalization {
            mean: vec![0.4, 0.5, 0.2],
            std: vec![0.2, 0.9, 0.7],
        });
        assert_eq!(same.len(), 2 * 4);
        assert!(
            same.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5),
            "{same:?} {other:?}"
        );
    }

    #[test]
    fn a_teacher_that_does_not_fit_is_refused_in_a_line() {
        let model = random_model(zoo::build("m-cifarnet", [3, 8, 8], 2, 0.1).expect("builds"), 1).expect("builds");
        let classes = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let of = |input, names: &[&str]| check_teacher(&model, input, &classes(names)).map_err(|e| e.to_string());
        assert_eq!(of([3, 8, 8], &["0", "1"]), Ok(()));
        assert_eq!(of([3, 8, 8], &["cat", "dog"]), Ok(()));
        let cases = [
            (
                of([1, 8, 8], &["0", "1"]),
                "train.teacher reads images of [3, 8, 8], expected [1, 8, 8]",
            ),
            (
                of([3, 8, 8], &["0", "1", "2"]),
                "train.teacher knows 2 classes, expected 3",
            ),
            (
                of([3, 8, 8], &["1", "0"]),
                "train.teacher has the classes in another order: class 0 is 0, expected 1",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, Err(expected.to_owned()));
        }
    }
}
