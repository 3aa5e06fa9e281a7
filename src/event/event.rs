//! One event, and an event with its place in a run.

use super::ending::{Cancelled, Ending};
use super::float;
use super::layer::{LayerState, Residual};
use super::search::{SearchStart, Steer, Trial};
use data::Split;
use model::{Cost, Density, NetSpec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The data are read and the network stands.
    Started {
        /// The network.
        spec: Arc<NetSpec>,
        /// Its cost with nothing masked.
        dense: Cost,
        /// Training steps planned in all.
        steps: u64,
        /// Images to train on, to validate on, to test on.
        images: [usize; 3],
        /// Whether accuracies are agreement with a teacher: the images have no classes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        agreement: bool,
    },
    /// A part of the method begins or goes on.
    Phase {
        /// What is being done, e.g. `epoch 3 of 12`.
        name: String,
        /// Share of the whole run that is done, for who reads the log; the program itself counts [`Event::Step`]s.
        #[serde(deserialize_with = "float::one")]
        progress: f32,
    },
    /// Training steps, averaged since the last one said.
    Step {
        /// Steps done.
        step: u64,
        /// Mean loss.
        #[serde(deserialize_with = "float::one")]
        loss: f32,
        /// Share of training images classified right.
        #[serde(deserialize_with = "float::one")]
        top1: f32,
        /// Learning rate.
        #[serde(deserialize_with = "float::one")]
        lr: f32,
    },
    /// A measurement over a split.
    Epoch {
        /// Epochs done.
        epoch: u32,
        /// What was measured on.
        split: Split,
        /// Density of every gate; 1 for dense networks.
        density: Density,
        /// Density of each gate, where they differ; `density` is then the largest of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gates: Vec<Density>,
        /// Mean cross-entropy.
        #[serde(deserialize_with = "float::one")]
        loss: f32,
        /// Share classified right.
        #[serde(deserialize_with = "float::one")]
        top1: f32,
        /// MACs per image, averaged over the images measured.
        macs: u64,
        /// Images measured.
        n: usize,
    },
    /// The state of every gated or pruned layer.
    Layers {
        /// In network order.
        layers: Arc<[LayerState]>,
    },
    /// A model was kept.
    Kept {
        /// Where it lies, relative to the run folder.
        model: String,
        /// What it costs at its highest density.
        cost: Cost,
        /// Share of the validation images classified right.
        #[serde(deserialize_with = "float::one")]
        top1: f32,
    },
    /// A search begins.
    Search(Arc<SearchStart>),
    /// A candidate was measured.
    Trial(Trial),
    /// How far ADMM's weights are from its targets: ‖W − Z‖ of each pruned layer.
    Residuals {
        /// ADMM updates done in this stage.
        update: u32,
        /// ρ until this update; 0 in old logs.
        #[serde(default, deserialize_with = "float::one")]
        rho: f32,
        /// In network order.
        layers: Vec<Residual>,
    },
    /// Somebody steered the search.
    Steered(Steer),
    /// Somebody would have steered the search, which could not follow and goes on as if nothing had been asked.
    Refused {
        /// What was asked.
        #[serde(flatten)]
        steer: Steer,
        /// One line.
        why: String,
    },
    /// The run was interrupted here and goes on. Says nothing of the work.
    Resumed {
        /// Events that had been said when the memory it goes on from was written.
        from: u64,
        /// What was half written and is whole again, a line each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mended: Vec<String>,
    },
    /// The run took over another's log and memory here, and goes on by itself. Says nothing of the work.
    Forked {
        /// The other run's folder name.
        from: String,
        /// The other run's event up to which its log was taken over.
        #[serde(rename = "up_to")]
        at: u64,
        /// Settings that differ from the other run's, as `key = value`.
        changes: Vec<String>,
        /// Training steps planned in all, with these settings.
        steps: u64,
    },
    /// Somebody holds the run here. Says nothing of the work.
    Paused {
        /// Who, e.g. `the window (process 4711)`.
        by: String,
    },
    /// The run that was held goes on. Says nothing of the work.
    Unpaused {
        /// Who lets it, or why.
        by: String,
    },
    /// Something that happened to the run. Says nothing of the work, which does not say it again when it is repeated.
    Note {
        /// One line.
        text: String,
    },
    /// The run waits for room on the disk, so this is said to whoever listens and is never logged. Any other event ends it.
    Stalled {
        /// One line.
        text: String,
    },
    /// Something went wrong in the work, and the run went on.
    Warning {
        /// One line.
        text: String,
    },
    /// The run is over.
    Ended(Ending),
}

/// Says something. Blocks while the run is paused; an error means: stop now.
pub type Emit<'a> = &'a mut dyn FnMut(Event) -> Result<(), Cancelled>;

/// An event with its place in its run. Two runs of one seed differ in nothing but `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Counts from 0 in each run.
    pub seq: u64,
    /// Seconds since the run began.
    #[serde(deserialize_with = "float::one")]
    pub at: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LayerState, Residual, Trial, Verdict};

    /// Whatever numbers a run has logged, its log is read.
    #[test]
    fn numbers_that_json_cannot_write_are_read_back() {
        let bad = f32::NAN;
        let layer = LayerState {
            saliency: vec![0.5, bad, f32::INFINITY],
            kept: bad,
            ..LayerState::default()
        };
        let trial = Trial {
            number: 1,
            densities: vec![0.5, bad].into(),
            spent: f64::NEG_INFINITY,
            macs: 1,
            params: 1,
            top1: bad,
            reward: bad,
            temperature: bad,
            acceptance: bad,
            verdict: Verdict::Best,
        };
        let residual = Residual {
            layer: "a".into(),
            dimension: crate::Dimension::Filter,
            value: bad,
            moved: bad,
        };
        let events = [
            Event::Step {
                step: 1,
                loss: bad,
                top1: bad,
                lr: f32::MAX,
            },
            Event::Epoch {
                epoch: 1,
                split: Split::Valid,
                density: Density::FULL,
                gates: Vec::new(),
                loss: f32::INFINITY,
                top1: bad,
                macs: u64::MAX,
                n: 1,
            },
            Event::Layers { layers: [layer].into() },
            Event::Trial(trial),
            Event::Residuals {
                update: 1,
                rho: bad,
                layers: vec![residual],
            },
            Event::Steered(Steer::Budget { most: f64::NAN }),
        ];
        for event in events {
            let stamped = Stamped { seq: 3, at: 0.5, event };
            let line = serde_json::to_string(&stamped).expect("writes");
            let back: Stamped = serde_json::from_str(&line).expect(&line);
            assert_eq!(serde_json::to_string(&back).expect("writes"), line);
            assert_eq!(line.contains("null"), format!("{back:?}").contains("NaN"), "{line}");
        }
        let huge = r#"{"seq":3,"at":0.5,"event":"step","step":1,"loss":1e300,"top1":-1e300,"lr":0}"#;
        serde_json::from_str::<Stamped>(huge).expect("reads");
    }
}
