//! Learning from a trained network's outputs (distillation; Hinton, Vinyals, Dean, arXiv 1503.02531):
//! loss = (1 − w) · cross-entropy + w · T² · KL(p ‖ q), p and q the teacher's and the network's softmax(logits / T).
//! Knows nothing of where the teacher comes from.

use crate::config::TrainConfig;
use anyhow::Result;
use burn::tensor::{Tensor, TensorData, activation};
use data::{Dataset, Images, Normalization, batch};
use event::{BadInput, Cancelled};
use infer::{Engine, Options};
use model::spec::Shape;
use model::{Checkpoint, Density};

/// The value of `train.teacher` that means the model that pruning begins with.
pub const OWN: &str = "self";

/// Images that the engine runs at once.
const BATCH: usize = 64;

/// What a teacher says of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftTargets {
    /// softmax(logits / T), `[n, classes]`.
    probabilities: Vec<f32>,
    temperature: f32,
    /// Share of the loss.
    weight: f32,
}

impl SoftTargets {
    /// Of a teacher's logits, `[n, classes]`.
    pub fn new(logits: &[f32], classes: usize, temperature: f32, weight: f32) -> Self {
        let mut probabilities = Vec::with_capacity(logits.len());
        for row in logits.chunks_exact(classes) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f64> = row.iter().map(|z| f64::from((z - most) / temperature).exp()).collect();
            let sum: f64 = powers.iter().sum();
            probabilities.extend(powers.iter().map(|p| (p / sum) as f32));
        }
        Self {
            probabilities,
            temperature,
            weight,
        }
    }

    /// The whole loss, from the network's logits and its loss on labels.
    pub(crate) fn loss(&self, logits: Tensor<2>, on_labels: Tensor<1>) -> Tensor<1> {
        let [n, classes] = logits.dims();
        let scale = f64::from(self.weight * self.temperature * self.temperature) / n as f64;
        let p = TensorData::new(self.probabilities.clone(), [n, classes]);
        let p = Tensor::<2>::from_data(p, &logits.device());
        let crossed = (activation::log_softmax(logits.div_scalar(self.temperature), 1) * p).sum();
        // Σ p·log p moves no weight, but makes the loss 0 where both say the same.
        let own: f64 = self
            .probabilities
            .iter()
            .map(|&p| f64::from(p))
            .filter(|&p| p > 0.0)
            .map(|p| p * p.ln())
            .sum();
        on_labels.mul_scalar(1.0 - self.weight) + crossed.mul_scalar(-scale).add_scalar(scale * own)
    }
}

/// A teacher at work.
pub(crate) struct Teacher {
    engine: Engine,
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
        let classes = logits.len() * channels * height * width / pixels.len().max(1);
        SoftTargets::new(&logits, classes, self.temperature, self.weight)
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

/// Gives images without classes those that the teacher names, so that what is measured of another network is its agreement with
/// the teacher.
///
/// # Errors
/// [`Cancelled`]; the engine cannot run it.
pub fn label(
    dataset: &mut Dataset,
    teacher: &Checkpoint,
    threads: usize,
    check: &dyn Fn() -> Result<(), Cancelled>,
) -> Result<()> {
    let mut engine = engine(teacher, threads)?;
    let normalization = &teacher.header.normalization;
    let mut name = |images: &mut Images| -> Result<()> {
        let all: Vec<u32> = (0..images.labels.len() as u32).collect();
        let mut labels = Vec::with_capacity(all.len());
        for some in all.chunks(BATCH) {
            check()?;
            let mut pixels = Vec::new();
            batch::fill(images, some, None, normalization, &mut pixels);
            let logits = &engine.run(&pixels).logits;
            let rows = logits.chunks_exact(logits.len() / some.len());
            let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
            labels.extend(rows.map(|row| best(row) as u16));
        }
        images.labels = labels;
        Ok(())
    };
    name(&mut dataset.train)?;
    name(&mut dataset.test)?;
    dataset.classes.clone_from(&teacher.header.classes);
    Ok(())
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
        SoftTargets::new(&teacher, 3, temperature, weight)
            .loss(logits, on_labels)
            .into_scalar::<f32>()
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
            teacher.expect("runs").targets(&seen_as(n)).probabilities
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
