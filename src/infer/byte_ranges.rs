//! The ranges that the inputs of convolutions have on some images, from which their bytes follow. Knows nothing of where images
//! come from.

use super::engine::Engine;
use super::engine::compile;
use super::executor::Executor;
use super::options::Options;
use super::plane;
use super::program::{Operation, Program};
use anyhow::{Context, Result, bail, ensure};
use model::{ByteInput, Checkpoint, Density, Precision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;

/// How the range of a layer's input follows from what it read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RangeRule {
    /// From the least to the largest number.
    MinMax,
    /// What so many percent of the numbers lie in; the rest becomes the nearest end.
    Percentile(f64),
    /// The range whose bytes say most about the numbers: the smallest Kullback–Leibler divergence of what the bytes say from
    /// the numbers' histogram.
    Entropy,
}

impl RangeRule {
    /// What is taken unless something is said.
    pub const DEFAULT: Self = Self::Percentile(99.99);
}

impl FromStr for RangeRule {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let expected =
            || format!("{s} is no rule for ranges, expected min-max, entropy or percentile:P with 50 < P <= 100");
        match s.split_once(':') {
            None if s == "min-max" => Ok(Self::MinMax),
            None if s == "entropy" => Ok(Self::Entropy),
            None if s == "percentile" => Ok(Self::DEFAULT),
            Some(("percentile", p)) => match p.parse() {
                Ok(p) if p > 50.0 && p <= 100.0 => Ok(Self::Percentile(p)),
                _ => Err(expected()),
            },
            _ => Err(expected()),
        }
    }
}

impl std::fmt::Display for RangeRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MinMax => f.pad("min-max"),
            Self::Percentile(p) => write!(f, "percentile:{p}"),
            Self::Entropy => f.pad("entropy"),
        }
    }
}

impl TryFrom<String> for RangeRule {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<RangeRule> for String {
    fn from(rule: RangeRule) -> Self {
        rule.to_string()
    }
}

impl Default for RangeRule {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The model with its convolutions computed in bytes, but those in `keep`: their ranges are measured on images, `[n, c, h, w]`
/// normalized, at every density that the model keeps statistics for.
///
/// # Errors
/// A layer whose numbers are not finite, by name; a name that is no convolution which could be bytes; none that could.
///
/// # Panics
/// If `images` is not a whole number of images.
pub fn quantized(model: &Checkpoint, images: &[f32], rule: RangeRule, keep: &[String]) -> Result<Checkpoint> {
    model.check_numbers()?;
    let options = Options {
        precision: Some(Precision::F32),
        batch: 1,
        ..Options::default()
    };
    let mut inputs = compile(model, &options)?.byte_inputs(images, &model.header.densities, rule)?;
    for name in keep {
        if inputs.remove(name).is_none() {
            let known: Vec<&str> = inputs.keys().map(String::as_str).collect();
            bail!(
                "{name} is no convolution that could be int8, expected of {}",
                known.join(", ")
            );
        }
    }
    ensure!(
        !inputs.is_empty(),
        "no convolution of {} can be computed in int8",
        model.spec().name
    );
    let mut model = model.clone();
    model.header.byte_inputs = inputs;
    // What was measured in floats is not true of bytes.
    model.header.metrics.clear();
    Ok(model)
}

/// Bins of a histogram: sixteen to a byte.
const BINS: usize = 4096;

/// What one convolution read.
#[derive(Clone, Debug)]
struct Seen {
    least: f32,
    most: f32,
    /// Of numbers other than zero, which has a byte of its own.
    bins: Vec<u64>,
    zeros: u64,
}

impl Engine {
    /// How the inputs of convolutions become bytes, by name: their ranges over images, `[n, c, h, w]` normalized, at each
    /// density. Channels that are absent do not count; convolutions in groups stay floats and are left out.
    ///
    /// # Errors
    /// A layer whose numbers are not finite, by name.
    ///
    /// # Panics
    /// If `images` is not a whole number of images.
    pub fn byte_inputs(
        &mut self,
        images: &[f32],
        densities: &[Density],
        rule: RangeRule,
    ) -> Result<BTreeMap<String, ByteInput>> {
        let count = self.program.convs().count();
        let mut seen = vec![
            Seen {
                least: 0.0,
                most: 0.0,
                bins: vec![0; BINS],
                zeros: 0,
            };
            count
        ];
        self.see(
            images,
            densities,
            |seen, plane| {
                for &v in plane {
                    // Not `min` and `max`, which would hide what is not a number.
                    if v < seen.least || v.is_nan() {
                        seen.least = v;
                    }
                    if v > seen.most {
                        seen.most = v;
                    }
                }
            },
            &mut seen,
        );
        if rule != RangeRule::MinMax {
            self.see(
                images,
                densities,
                |seen, plane| {
                    let scale = BINS as f32 / (seen.most - seen.least).max(f32::MIN_POSITIVE);
                    for v in plane {
                        if *v == 0.0 {
                            seen.zeros += 1;
                            continue;
                        }
                        seen.bins[(((v - seen.least) * scale) as usize).min(BINS - 1)] += 1;
                    }
                },
                &mut seen,
            );
        }
        let nodes = &self.model.spec().nodes;
        let convs = self
            .program
            .convs()
            .zip(&seen)
            .filter(|(conv, _)| conv.algorithms.has_one_group());
        convs
            .map(|(conv, seen)| {
                let name = &nodes[conv.node].name;
                let input = seen
                    .input(rule)
                    .with_context(|| format!("{name} cannot be computed in int8"))?;
                Ok((name.clone(), input))
            })
            .collect()
    }

    fn see(&mut self, images: &[f32], densities: &[Density], look: impl Fn(&mut Seen, &[f32]), seen: &mut [Seen]) {
        let size: usize = self.spec().input.iter().product();
        assert!(images.len().is_multiple_of(size), "not a whole number of images");
        let mut plane = vec![
            0.0;
            self.program
                .tensors
                .iter()
                .map(|t| t.layout.height * t.layout.width)
                .max()
                .unwrap_or(0)
        ];
        for &density in densities {
            self.set_density(density);
            let mut out = super::executor::ImageOutput::new(&self.program);
            for image in images.chunks_exact(size) {
                let (program, executor) = (&self.program, &mut self.executors[0]);
                executor.load(program, image);
                for instruction in &program.instructions {
                    if let Operation::Conv(conv) = &instruction.operation {
                        see_tensor(program, executor, conv.input, &mut plane, |plane| {
                            look(&mut seen[conv.index], plane)
                        });
                    }
                    executor.step(program, instruction, &mut out, None);
                }
            }
        }
        self.set_density(Density::FULL);
    }
}

fn see_tensor(program: &Program, executor: &Executor, tensor: usize, plane: &mut [f32], mut look: impl FnMut(&[f32])) {
    let (layout, data, active) = executor.tensor(program, tensor);
    let plane = &mut plane[..layout.height * layout.width];
    for &c in active {
        plane::load(layout, data, c as usize, plane);
        look(plane);
    }
}

impl Seen {
    fn input(&self, rule: RangeRule) -> Result<ByteInput> {
        let whole = ByteInput::of_range(self.least, self.most)?;
        let share = match rule {
            RangeRule::MinMax => return Ok(whole),
            RangeRule::Percentile(p) => p / 100.0,
            RangeRule::Entropy => return self.by_entropy(),
        };
        let total = self.zeros + self.bins.iter().sum::<u64>();
        // Numbers below zero and above it are cut alike; without any below, only the largest are.
        let sides = if self.least < 0.0 { 2.0 } else { 1.0 };
        let most_cut = (total as f64 * (1.0 - share) / sides) as u64;
        let cut = |bins: &mut dyn Iterator<Item = &u64>| {
            let mut sum = 0;
            bins.take_while(|&&n| {
                sum += n;
                sum <= most_cut
            })
            .count()
        };
        let below = if self.least < 0.0 {
            cut(&mut self.bins.iter())
        } else {
            0
        };
        let above = cut(&mut self.bins.iter().rev());
        self.within(below, BINS - above)
    }

    /// The range of some bins.
    fn within(&self, first: usize, end: usize) -> Result<ByteInput> {
        let width = (self.most - self.least) / BINS as f32;
        ByteInput::of_range(self.least + first as f32 * width, self.least + end as f32 * width)
    }

    /// Tries to cut the largest magnitudes, a sixty-fourth of the range at a time.
    fn by_entropy(&self) -> Result<ByteInput> {
        const STEPS: usize = 64;
        let zero = ((0.0 - self.least) / (self.most - self.least).max(f32::MIN_POSITIVE) * BINS as f32) as usize;
        let ends = |step: usize| [zero - zero * step / STEPS, zero + (BINS - zero) * step / STEPS];
        let mut best = (f64::INFINITY, STEPS);
        for step in STEPS / 8..=STEPS {
            let [first, end] = ends(step);
            let loss = self.divergence(first, end);
            if loss < best.0 {
                best = (loss, step);
            }
        }
        let [first, end] = ends(best.1);
        self.within(first, end)
    }

    /// KL(numbers ‖ what 256 bytes over bins `first .. end` say of them); what is outside counts at the ends.
    fn divergence(&self, first: usize, end: usize) -> f64 {
        let total = self.bins.iter().sum::<u64>() as f64;
        let mut clipped: Vec<u64> = self.bins[first..end].to_vec();
        let Some(last) = clipped.len().checked_sub(1) else {
            return f64::INFINITY;
        };
        clipped[0] += self.bins[..first].iter().sum::<u64>();
        clipped[last] += self.bins[end..].iter().sum::<u64>();
        let inside = &self.bins[first..end];
        let seen_inside = inside.iter().sum::<u64>() as f64;
        let mut loss = 0.0;
        for byte in 0..256 {
            let [from, to] = [byte, byte + 1].map(|b| b * inside.len() / 256);
            let own = inside[from..to].iter().sum::<u64>() as f64;
            let used = inside[from..to].iter().filter(|&&n| n > 0).count() as f64;
            for (i, &n) in clipped[from..to].iter().enumerate().filter(|(_, n)| **n > 0) {
                let p = n as f64 / total;
                // A byte says that its numbers are spread evenly over the bins that have any.
                let q = if inside[from + i] > 0 {
                    own / used / seen_inside
                } else {
                    1e-12
                };
                loss += p * (p / q).ln();
            }
        }
        loss
    }
}
