//! How well predictors rank: the share of an image's truly largest channels that a gate chooses (research question 4 of FBS, arXiv
//! 1810.05331). The oracle computes all channels of a layer, before which gates run at the density as ever, and takes the ⌈d·C⌉ of
//! the largest output norm on that image.
//! Knows nothing of data sets.

use crate::net::{ForwardOptions, Net, Norms};
use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use model::checkpoint::NormStats;
use model::mask::winners;
use model::spec::NetSpec;
use model::steps::{Step, steps};
use model::{Checkpoint, Density, Weights};
use serde::Serialize;

/// One gate's agreement with the oracle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OracleShare {
    /// The convolution before the gate.
    pub layer: String,
    /// Its channels.
    pub channels: usize,
    /// ⌈d·C⌉, of which the share is.
    pub chosen: usize,
    /// Mean share of the oracle's channels that the gate chooses.
    pub oracle_share: f64,
    /// The share that channels drawn at random would have, ⌈d·C⌉ / C.
    pub chance: f64,
    /// Images.
    pub n: usize,
}

/// A network up to a gate, with what was found there so far.
struct ToGate {
    net: Net,
    layer: String,
    channels: usize,
    densities: Vec<Density>,
    found: u64,
}

/// Compares a model's gates with the oracle, batch by batch.
pub struct Oracle {
    parts: Vec<ToGate>,
    stats: NormStats,
    device: Device,
    density: Density,
    images: usize,
}

impl Oracle {
    /// For a model whose gates are all at `density`.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn new(model: &Checkpoint, density: Density) -> Result<Self> {
        let device = Device::flex();
        let spec = model.spec();
        let shapes = spec.shapes()?;
        let mut parts = Vec::new();
        for step in steps(spec) {
            let Step::Conv(step) = step else { continue };
            let Some((gate, _)) = step.gate else { continue };
            let nodes = spec.nodes[..=step.output].to_vec();
            let part = NetSpec { nodes, ..spec.clone() };
            // All channels of the last gate are computed, those of the gates before it as ever.
            let mut densities = vec![density; part.gates().len()];
            let position = part.gates().iter().position(|&g| g == gate);
            densities[position.context("a step's gate is a gate")?] = Density::FULL;
            let of = |name: &str| {
                let node = name.rsplit_once('.').map_or(name, |(node, _)| node);
                part.find(node).is_some()
            };
            let weights: Weights = model
                .weights
                .iter()
                .filter(|(name, _)| of(name))
                .map(|(name, array)| (name.clone(), array.clone()))
                .collect();
            parts.push(ToGate {
                net: Net::new(part.into(), &weights, &device)?,
                layer: spec.nodes[step.conv].name.clone(),
                channels: shapes[step.output][0],
                densities,
                found: 0,
            });
        }
        Ok(Self {
            parts,
            stats: model.stats_at(density),
            device,
            density,
            images: 0,
        })
    }

    /// Adds images, `[n, c, h, w]` as the model takes them.
    ///
    /// # Errors
    /// Images of another size.
    pub fn add(&mut self, pixels: &[f32]) -> Result<()> {
        let mut n = 0;
        for part in &mut self.parts {
            let [c, h, w] = part.net.spec.input;
            n = pixels.len() / (c * h * w);
            let images = Tensor::<4>::from_data(TensorData::new(pixels.to_vec(), [n, c, h, w]), &self.device);
            let options = ForwardOptions {
                groups: std::slice::from_ref(&part.densities),
                norms: Norms::Stored(&self.stats),
                dropout: None,
            };
            let mut out = part.net.forward(&part.net.params, images, &options)?;
            let planes: Vec<f32> = out.logits.into_data().try_to_vec()?;
            let gate = out.gates.pop().context("the network ends in a gate")?;
            let (k, channels) = (self.density.of(part.channels), part.channels);
            for (saliency, planes) in gate.saliency.chunks(channels).zip(planes.chunks(planes.len() / n)) {
                let norm = |plane: &[f32]| plane.iter().map(|v| v * v).sum::<f32>();
                let norms: Vec<f32> = planes.chunks(planes.len() / channels).map(norm).collect();
                let (said, truth) = (winners(saliency, k), winners(&norms, k));
                part.found += said.iter().filter(|c| truth.binary_search(c).is_ok()).count() as u64;
            }
        }
        self.images += n;
        Ok(())
    }

    /// What was found over all images so far, in network order.
    pub fn shares(&self) -> Vec<OracleShare> {
        let share = |part: &ToGate| {
            let chosen = self.density.of(part.channels);
            OracleShare {
                layer: part.layer.clone(),
                channels: part.channels,
                chosen,
                oracle_share: part.found as f64 / (chosen * self.images.max(1)) as f64,
                chance: chosen as f64 / part.channels as f64,
                n: self.images,
            }
        };
        self.parts.iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::spec::Shift;
    use model::{random_model, zoo};

    /// M-CifarNet with gates whose saliency is the same for every image, and rises by this factor from channel to channel. Norms
    /// give numbers around 10.
    fn gated(factor: f32) -> (Checkpoint, Vec<f32>) {
        let spec = zoo::build("m-cifarnet", [3, 12, 12], 3, 0.12).expect("builds");
        let mut model = random_model(zoo::gated(&spec, Shift::Eq1), 1).expect("builds");
        for (name, array) in &mut model.weights {
            let n = array.data.len();
            let value = |i: usize| factor.powi(i as i32 + 1 - n as i32);
            match name.rsplit_once('.').map(|(_, what)| what) {
                Some("phi" | "beta") => array.data.fill(0.0),
                Some("rho") => array.data.iter_mut().enumerate().for_each(|(i, v)| *v = value(i)),
                _ => {}
            }
        }
        for moments in model.stats.values_mut().flat_map(|stats| stats.values_mut()) {
            moments.mean.fill(-10.0);
            moments.var.fill(1.0);
        }
        let pixels = (0..8 * 3 * 144)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0)
            .collect();
        (model, pixels)
    }

    #[test]
    fn a_gate_that_scales_outputs_apart_finds_the_oracles_channels_and_one_that_does_not_is_near_chance() {
        let half = Density::percent(50).expect("a density");
        let shares = |factor: f32| {
            let (model, pixels) = gated(factor);
            let mut oracle = Oracle::new(&model, half).expect("fits");
            pixels
                .chunks(4 * 3 * 144)
                .for_each(|batch| oracle.add(batch).expect("runs"));
            oracle.shares()
        };
        // Saliency scales outputs: where it rises by large factors it alone decides their norms.
        let apart = shares(4.0);
        assert_eq!(apart.len(), 8);
        for share in &apart {
            assert_eq!((share.n, share.chosen), (8, half.of(share.channels)));
            assert!(share.oracle_share > 0.9, "{share:?}");
        }
        // Where all are scaled alike the first channels are chosen, whatever their norms.
        let alike = shares(1.0);
        let mean = alike.iter().map(|s| s.oracle_share).sum::<f64>() / 8.0;
        assert!((0.25..0.8).contains(&mean), "{mean}");
        let (model, pixels) = gated(2.0);
        let mut oracle = Oracle::new(&model, Density::FULL).expect("fits");
        oracle.add(&pixels).expect("runs");
        assert!(oracle.shares().iter().all(|s| s.oracle_share == 1.0 && s.chance == 1.0));
    }
}
