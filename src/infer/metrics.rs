//! Accuracy, loss, MACs and channel statistics, summed over batches.
//! Knows nothing of where images come from.

use super::batch::{Batch, ConvWork};
use anyhow::Result;
use data::Answers;
use event::LayerState;
use model::spec::NetSpec;
use model::{Cost, Fractions, Masks, NetOutput, cost};
use std::ops::Range;

/// Sums over images at one gate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GateSums {
    /// The gate's node.
    pub node: usize,
    /// By channel, before winners are taken.
    pub saliency: Vec<f64>,
    /// By channel: images in which it was computed.
    pub active: Vec<u64>,
}

/// What was measured over some images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalMetrics {
    /// Images.
    pub n: usize,
    /// Images classified right.
    pub right: usize,
    pub(crate) loss_sum: f64,
    /// By output of the network: how far it is from another network's, summed over [`EvalMetrics::compared`] images.
    pub outputs: Vec<OutputSums>,
    /// Images whose outputs were compared with another network's.
    pub compared: usize,
    logits: Range<usize>,
    /// Σ MACs.
    pub macs_sum: u64,
    /// Σ MACs of convolutions and linear layers.
    pub(crate) macs_conv_sum: u64,
    /// One entry per gate, in network order.
    pub gates: Vec<GateSums>,
    /// One entry per convolution, in network order.
    pub convs: Vec<ConvWork>,
    channels: Vec<usize>,
}

/// How far one output is from another network's, summed over images.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSums {
    /// Which.
    pub output: NetOutput,
    /// Σ ‖y − y'‖ / ‖y'‖.
    pub errors: f64,
    /// Σ of 1 less that, at least 0; of logits, images of which both say the same class.
    pub agreement: f64,
}

impl EvalMetrics {
    /// Nothing measured yet.
    pub fn new(spec: &NetSpec) -> Self {
        // A spec without shapes cannot have been compiled, so no batch of it ever comes.
        let shapes = spec.shapes().unwrap_or_default();
        let channels = |i: usize| shapes.get(i).map_or(0, |s| s[0]);
        let gate = |node: usize| GateSums {
            node,
            saliency: vec![0.0; channels(node)],
            active: vec![0; channels(node)],
        };
        let sums = |output| OutputSums {
            output,
            errors: 0.0,
            agreement: 0.0,
        };
        Self {
            logits: spec.logits().unwrap_or_default(),
            outputs: spec.outputs().unwrap_or_default().into_iter().map(sums).collect(),
            gates: spec.gates().into_iter().map(gate).collect(),
            convs: spec
                .convs()
                .into_iter()
                .map(|node| ConvWork {
                    node,
                    ..ConvWork::default()
                })
                .collect(),
            channels: spec.convs().into_iter().map(channels).collect(),
            ..Self::default()
        }
    }

    /// Adds a batch. An image without a label counts for all but accuracy and loss.
    pub fn add(&mut self, batch: &Batch, labels: &[u16]) {
        self.n += batch.n;
        self.macs_sum += batch.macs;
        self.macs_conv_sum += batch.macs_conv;
        let numbers = batch.logits.len() / batch.n.max(1);
        let rows = batch.logits.chunks_exact(numbers.max(1));
        for (row, &label) in rows.zip(labels).filter(|_| !self.logits.is_empty()) {
            let (row, label) = (&row[self.logits.clone()], usize::from(label));
            // What is not a number is no answer, though some index is its largest.
            let answers = !row.iter().any(|v| v.is_nan());
            self.right += usize::from(answers && argmax(row) == Some(label));
            self.loss_sum += cross_entropy(row, label);
        }
        for (sums, gate) in self.gates.iter_mut().zip(&batch.gates) {
            for row in gate.saliency.chunks_exact(sums.saliency.len().max(1)) {
                sums.saliency
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, &v)| *sum += f64::from(v));
            }
            for i in 0..gate.active.images() {
                gate.active.image(i).iter().for_each(|&c| sums.active[c as usize] += 1);
            }
        }
        for (sums, layer) in self.convs.iter_mut().zip(&batch.layers) {
            sums.macs += layer.macs;
            sums.computed += layer.computed;
        }
    }

    /// Compares a batch that was added with what another network gave of the same images, by image.
    pub fn compare<'a>(
        &mut self,
        batch: &Batch,
        labels: &[u16],
        answers: &Answers,
        answer: impl Fn(usize) -> Option<&'a [f32]>,
    ) {
        let numbers = batch.logits.len() / batch.n.max(1);
        let kept = answers.kept();
        for (i, row) in batch.logits.chunks_exact(numbers.max(1)).enumerate() {
            let Some(answer) = answer(i) else { continue };
            self.compared += 1;
            for sums in &mut self.outputs {
                let range = sums.output.range.clone();
                let own = kept.partition_point(|&k| (k as usize) < range.start)
                    ..kept.partition_point(|&k| (k as usize) < range.end);
                let (mut off, mut all) = (0.0f64, 0.0f64);
                for (&k, &theirs) in kept[own.clone()].iter().zip(&answer[own]) {
                    off += f64::from(row[k as usize] - theirs).powi(2);
                    all += f64::from(theirs).powi(2);
                }
                // Where both are nothing, they agree.
                let error = if off == 0.0 { 0.0 } else { (off / all).sqrt() };
                sums.errors += error;
                if sums.output.is_logits {
                    let said = argmax(&row[range]).filter(|_| !error.is_nan());
                    sums.agreement += f64::from(u8::from(said == Some(usize::from(labels[i]))));
                } else {
                    sums.agreement += (1.0 - error).max(0.0);
                    self.loss_sum += error * error;
                }
            }
        }
    }

    /// Share of images classified right, 0 to 1. Where outputs were compared with another network's, the mean over outputs of their
    /// agreement: of logits the share of images of the same class, of others 1 less the relative error.
    pub fn top1(&self) -> f32 {
        if self.compared > 0 {
            let sum: f64 = self.outputs.iter().map(|o| o.agreement).sum();
            return (sum / (self.compared * self.outputs.len()) as f64) as f32;
        }
        (self.right as f64 / self.images()) as f32
    }

    /// By output, its name and the mean over images of its relative error, ‖y − y'‖ / ‖y'‖; none if nothing was compared.
    pub fn errors(&self) -> Vec<(String, f64)> {
        let of = |o: &OutputSums| (o.output.name.clone(), o.errors / self.compared as f64);
        self.outputs.iter().filter(|_| self.compared > 0).map(of).collect()
    }

    /// Mean cross-entropy of logits, and squared relative error of other outputs that were compared.
    pub fn loss(&self) -> f32 {
        (self.loss_sum / self.images()) as f32
    }

    /// Mean MACs per image.
    pub fn macs(&self) -> u64 {
        mean(self.macs_sum, self.n)
    }

    /// Mean MACs per image of convolutions and linear layers.
    pub fn macs_conv(&self) -> u64 {
        mean(self.macs_conv_sum, self.n)
    }

    /// Share of gated channels that were computed; 1 without gates.
    pub fn active_fraction(&self) -> f64 {
        let computed: u64 = self.gates.iter().flat_map(|g| &g.active).sum();
        let channels: usize = self.gates.iter().map(|g| g.active.len()).sum();
        if channels == 0 {
            1.0
        } else {
            computed as f64 / (channels as f64 * self.images())
        }
    }

    /// What an image costs on average, and the bytes it reads and writes, at the measured shares of active channels.
    ///
    /// # Errors
    /// Masks that do not fit the network.
    pub fn cost(&self, spec: &NetSpec, masks: &Masks) -> Result<Cost> {
        let (layers, gates) = (self.layers(spec), spec.gates());
        let share = |node: usize| {
            let gate = gates.iter().position(|&g| g == node)?;
            layers.get(gate).map(|l| f64::from(l.kept))
        };
        cost::total(spec, masks, &Fractions::propagate(spec, share))
    }

    /// Every convolution as it was measured, in network order; without a gate it has no saliency.
    pub fn layers(&self, spec: &NetSpec) -> Vec<LayerState> {
        let consumers = spec.consumers();
        let gate_of = |conv: usize| {
            let behind = |node: usize, through: usize| spec.nodes[node].inputs.first() == Some(&through);
            self.gates
                .iter()
                .find(|g| behind(g.node, conv) || consumers[conv].iter().any(|&norm| behind(g.node, norm)))
        };
        let layer = |(sums, &channels): (&ConvWork, &usize)| {
            let gate = gate_of(sums.node);
            LayerState {
                name: spec.nodes[sums.node].name.clone(),
                channels,
                kept: (sums.computed as f64 / (channels.max(1) as f64 * self.images())) as f32,
                macs: mean(sums.macs, self.n),
                saliency: gate.map_or_else(Vec::new, |g| {
                    g.saliency.iter().map(|s| (s / self.images()) as f32).collect()
                }),
                active: gate.map_or_else(Vec::new, |g| {
                    g.active.iter().map(|&n| (n as f64 / self.images()) as f32).collect()
                }),
            }
        };
        self.convs.iter().zip(&self.channels).map(layer).collect()
    }

    fn images(&self) -> f64 {
        self.n.max(1) as f64
    }
}

fn mean(sum: u64, n: usize) -> u64 {
    let n = n.max(1) as u64;
    (sum + n / 2) / n
}

/// The place of the largest of these.
pub fn argmax(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}

/// −log softmax(row)[label].
fn cross_entropy(row: &[f32], label: usize) -> f64 {
    let most = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.iter().map(|&v| (f64::from(v) - most).exp()).sum();
    most + sum.ln() - row.get(label).map_or(f64::NEG_INFINITY, |&v| f64::from(v))
}

#[cfg(test)]
mod tests {
    use super::super::batch::GateOutput;
    use super::super::gate::ActiveSets;
    use super::*;
    use model::spec::Shift;
    use model::zoo;

    #[test]
    fn means_of_two_batches() {
        let spec = zoo::gated(&zoo::build("lenet5", [1, 28, 28], 2, 0.1).expect("builds"), Shift::Eq1);
        let mut metrics = EvalMetrics::new(&spec);
        let gates = spec.gates();
        let batch = |logits: Vec<f32>, active: &[u32], macs: u64| {
            let mut sets = ActiveSets::with_room(2, 1);
            sets.push(active);
            Batch {
                n: 1,
                logits,
                gates: vec![
                    GateOutput {
                        node: gates[0],
                        saliency: vec![1.0, 3.0],
                        active: sets,
                    },
                    GateOutput {
                        node: gates[1],
                        saliency: vec![0.0; 5],
                        active: {
                            let mut s = ActiveSets::with_room(5, 1);
                            s.push(&[]);
                            s
                        },
                    },
                ],
                layers: vec![ConvWork {
                    node: spec.convs()[0],
                    macs,
                    computed: active.len() as u64,
                }],
                macs,
                macs_conv: macs / 2,
            }
        };
        metrics.add(&batch(vec![0.0, 0.0], &[1], 100), &[1]);
        metrics.add(&batch(vec![0.0, 1.0], &[0, 1], 200), &[0]);
        assert_eq!(
            (metrics.n, metrics.top1(), metrics.macs(), metrics.macs_conv()),
            (2, 0.5, 150, 75)
        );
        // (ln 2 + ln(1 + e)) / 2
        assert!((metrics.loss() - 1.003_204_4).abs() < 1e-6, "{}", metrics.loss());
        assert!((metrics.active_fraction() - 3.0 / 14.0).abs() < 1e-12);
        let layers = metrics.layers(&spec);
        assert_eq!(
            (
                layers.len(),
                layers[0].name.as_str(),
                layers[0].channels,
                layers[0].macs
            ),
            (2, "conv0", 2, 150)
        );
        assert_eq!(
            (layers[0].kept, &layers[0].saliency[..], &layers[0].active[..]),
            (0.75, &[1.0, 3.0][..], &[0.5, 1.0][..])
        );
    }
}
