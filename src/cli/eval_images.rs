//! What `secateur eval` measures: a model on images, with its gates at some densities.

use anyhow::{Context, Result};
use data::Images;
use infer::{GateOutput, OtherWork};
use model::{Checkpoint, Density, cost};
use serde::{Serialize, Serializer};
use std::fmt;

/// Images in a batch.
pub(crate) const BATCH: usize = 64;

/// The densities of the gates.
#[derive(Clone)]
pub(crate) enum GateSetting {
    /// All at one density.
    All(Density),
    /// Each where a search put it.
    Found,
}

impl GateSetting {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.trim() == "found" {
            return Ok(Self::Found);
        }
        let number: f64 = text.trim().parse().context("expected a number up to 1, or found")?;
        Ok(Self::All(Density::fraction(number)?))
    }
}

impl fmt::Display for GateSetting {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::All(density) => density.fmt(f),
            Self::Found => f.pad("found"),
        }
    }
}

impl Serialize for GateSetting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All(density) => density.serialize(to),
            Self::Found => to.serialize_str("found"),
        }
    }
}

/// A model and the images that it is measured on.
pub(crate) struct EvalImages<'a> {
    pub model: &'a Checkpoint,
    pub images: &'a Images,
    /// Which of them, in order.
    pub indices: Vec<u32>,
}

impl EvalImages<'_> {
    /// Some of the images as the model takes them.
    pub(crate) fn pixels(&self, indices: &[u32]) -> Vec<f32> {
        let mut pixels = Vec::new();
        let normalization = &self.model.header.normalization;
        data::batch::fill(self.images, indices, None, normalization, &mut pixels);
        pixels
    }
}

/// Takes the logits of a batch, what its gates did, and the position of its first image.
pub(crate) type PutBatch<'a> = &'a mut dyn FnMut(&[f32], &[GateOutput], usize) -> Result<()>;

/// What was measured at one density.
pub(crate) struct Evaluation {
    pub top1: f32,
    /// By output, its relative error to a teacher's.
    pub errors: Vec<(String, f64)>,
    pub macs: u64,
    pub macs_conv: u64,
    pub active_fraction: f64,
    /// What an image reads and writes at the measured active fractions.
    pub traffic: cost::Cost,
    pub latency: LatencyQuantiles,
    pub images_per_s: f64,
}

/// Pictures that take turns when one is timed.
pub(crate) const TIMED: usize = 32;

#[derive(Serialize)]
pub(crate) struct LatencyQuantiles {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
    /// Pictures that took turns.
    pub pictures: usize,
    /// Load of the machine per core when timing began, where the system says it.
    pub load: Option<f64>,
    /// What others had of the processors meanwhile, where the system says it.
    pub others: Option<OtherWork>,
}

impl LatencyQuantiles {
    /// A warning if others had the processors.
    pub(crate) fn busy(&self) -> String {
        let load = || match self.load {
            Some(load) if load > 1.0 => Some(format!("the machine is busy, {load:.1} tasks per core")),
            _ => None,
        };
        let seen = self.others.as_ref().and_then(OtherWork::says);
        seen.or_else(load).map_or_else(String::new, |text| format!("; {text}"))
    }
}
