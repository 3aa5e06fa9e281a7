//! How long each layer takes at each width, on this machine: time falls in steps, because kernels work on whole blocks of filters.
//! Knows nothing of whole networks' time, or of data.

use super::engine::compile;
use super::latency::{Latency, latency};
use super::options::Options;
use anyhow::{Result, bail};
use model::random_model;
use model::spec::{NetSpec, Node, Op, Shape};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One layer's times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerLatency {
    /// Its name.
    pub name: String,
    /// Filters it has.
    pub filters: usize,
    /// By rising width: filters, and the time of one image.
    pub at: Vec<(usize, Latency)>,
}

/// How to time layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerLatencyOptions {
    /// Widths per layer, evenly spaced up to all its filters.
    pub widths: usize,
    /// Time for each.
    pub budget: Duration,
    /// Threads.
    pub threads: usize,
}

/// Times every convolution and linear layer alone, with random weights, on inputs of the size it has in the network.
/// A depthwise convolution gets as many channels as filters; one of other groups is left out.
///
/// # Errors
/// A network whose shapes do not fit; whatever `check` says, which is asked before each measurement.
pub fn layer_latencies(
    spec: &NetSpec,
    options: LayerLatencyOptions,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<LayerLatency>> {
    let shapes = spec.shapes()?;
    let mut out = Vec::new();
    for node in &spec.nodes {
        let Some(&from) = node.inputs.first() else { continue };
        let Some(filters) = timed_width(&node.op) else { continue };
        let mut at = Vec::new();
        for width in widths(filters, options.widths) {
            check()?;
            at.push((width, time(node, shapes[from], width, options)?));
        }
        let name = node.name.clone();
        out.push(LayerLatency { name, filters, at });
    }
    Ok(out)
}

/// One layer's times over filters and input channels, on this machine. Never falling: what is smaller is not slower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencySurface {
    /// The layer's name.
    pub name: String,
    /// Columns of one input channel.
    pub taps: usize,
    /// Filters, rising.
    pub filters: Vec<usize>,
    /// Input channels, rising; one entry where filters do not read all channels.
    pub channels: Vec<usize>,
    /// Milliseconds of an image, `[filters, channels]`.
    pub ms: Vec<f64>,
}

impl LatencySurface {
    /// Milliseconds with so many filters and columns, between the points that were measured.
    pub fn at(&self, filters: usize, columns: usize) -> f64 {
        if filters == 0 || columns == 0 {
            return 0.0;
        }
        let (row, down) = place(&self.filters, filters as f64);
        let (column, along) = place(&self.channels, columns as f64 / self.taps as f64);
        let width = self.channels.len();
        let ms = |r: usize, c: usize| self.ms[r.min(self.filters.len() - 1) * width + c.min(width - 1)];
        let between = |a: f64, b: f64, share: f64| a + (b - a) * share;
        between(
            between(ms(row, column), ms(row, column + 1), along),
            between(ms(row + 1, column), ms(row + 1, column + 1), along),
            down,
        )
    }
}

/// The last point at or below `at`, and the share of the way to the next. Outside, the nearest point.
fn place(points: &[usize], at: f64) -> (usize, f64) {
    let next = points.partition_point(|&p| p as f64 <= at);
    match (next.checked_sub(1), points.get(next)) {
        (None, _) => (0, 0.0),
        (Some(low), None) => (low, 0.0),
        (Some(low), Some(&high)) => {
            let from = points[low] as f64;
            (low, (at - from) / (high as f64 - from))
        }
    }
}

/// Times layers as [`layer_latencies`] does, over both their filters and their input channels.
///
/// # Errors
/// As [`layer_latencies`].
pub fn latency_surfaces(
    spec: &NetSpec,
    options: LayerLatencyOptions,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<LatencySurface>> {
    let shapes = spec.shapes()?;
    let mut out = Vec::new();
    for node in &spec.nodes {
        let Some(&from) = node.inputs.first() else { continue };
        let Some(most) = timed_width(&node.op) else { continue };
        let (reads_all, taps) = match node.op {
            Op::Conv { groups, kernel, .. } => (groups == 1, kernel * kernel),
            _ => (true, 1),
        };
        let input = shapes[from];
        let filters = from_one(most, options.widths);
        let channels = if reads_all {
            from_one(input[0], options.widths)
        } else {
            vec![1]
        };
        let mut ms: Vec<f64> = Vec::new();
        for (r, &width) in filters.iter().enumerate() {
            for (c, &n) in channels.iter().enumerate() {
                check()?;
                let image = [if reads_all { n } else { input[0] }, input[1], input[2]];
                let measured = time(node, image, width, options)?.median_ms;
                let above = if r > 0 { ms[(r - 1) * channels.len() + c] } else { 0.0 };
                let before = if c > 0 { ms[r * channels.len() + c - 1] } else { 0.0 };
                ms.push(measured.max(above).max(before));
            }
        }
        let name = node.name.clone();
        out.push(LatencySurface {
            name,
            taps,
            filters,
            channels,
            ms,
        });
    }
    Ok(out)
}

/// One, and then as [`widths`].
fn from_one(most: usize, steps: usize) -> Vec<usize> {
    let mut out = widths(most, steps);
    if out[0] > 1 {
        out.insert(0, 1);
    }
    out
}

/// The filters of a layer that is timed; none of one that is not.
pub(crate) fn timed_width(op: &Op) -> Option<usize> {
    match *op {
        Op::Conv { filters, groups, .. } if groups == 1 || groups == filters => Some(filters),
        Op::Linear { outputs, .. } => Some(outputs),
        _ => None,
    }
}

/// `steps` widths up to `filters`, or all of them if there are fewer.
fn widths(filters: usize, steps: usize) -> Vec<usize> {
    let steps = steps.clamp(1, filters.max(1));
    (1..=steps).map(|i| (filters * i).div_ceil(steps)).collect()
}

fn time(node: &Node, input: Shape, width: usize, how: LayerLatencyOptions) -> Result<Latency> {
    let mut layer = node.clone();
    let mut image = input;
    match &mut layer.op {
        Op::Conv { filters, groups, .. } => {
            if *groups == *filters && *groups > 1 {
                (*groups, image[0]) = (width, width);
            }
            *filters = width;
        }
        Op::Linear { outputs, .. } => *outputs = width,
        _ => bail!("{} has no width", node.name),
    }
    let is_linear = matches!(layer.op, Op::Linear { .. });
    layer.inputs = vec![0];
    let new = |name: &str, op: Op, from: usize| Node {
        name: name.to_owned(),
        op,
        inputs: vec![from],
    };
    let mut nodes = vec![
        Node {
            name: "image".into(),
            op: Op::Input,
            inputs: Vec::new(),
        },
        layer,
    ];
    if !is_linear {
        // A network ends in logits: the mean over each plane costs next to nothing.
        nodes.push(new("act", Op::Relu, 1));
        nodes.push(new("mean", Op::GlobalAvgPool, 2));
        let one = Op::Linear {
            outputs: 1,
            bias: false,
        };
        nodes.push(new("end", one, 3));
    }
    let spec = NetSpec {
        name: node.name.clone(),
        input: image,
        nodes,
    };
    let options = Options {
        threads: how.threads,
        batch: 1,
        ..Options::default()
    };
    let mut engine = compile(&random_model(spec, 1)?, &options)?;
    let pixels: Vec<f32> = (0..image.iter().product())
        .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
        .collect();
    Ok(latency(&mut engine, &pixels, how.budget))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::zoo;

    #[test]
    fn every_layer_is_timed_at_widths_up_to_its_own() {
        let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
        let options = LayerLatencyOptions {
            widths: 4,
            budget: Duration::ZERO,
            threads: 1,
        };
        let times = layer_latencies(&spec, options, &mut || Ok(())).expect("times");
        let layers = spec.nodes.iter().filter(|n| timed_width(&n.op).is_some());
        assert_eq!(times.len(), layers.count());
        for layer in &times {
            assert!(layer.at.is_sorted_by(|a, b| a.0 < b.0), "{layer:?}");
            assert_eq!(layer.at.last().map(|a| a.0), Some(layer.filters));
            assert!(layer.at.iter().all(|(_, t)| t.median_ms > 0.0 && t.n > 0));
        }
        let text = layer_latencies(&spec, options, &mut || bail!("stopped"));
        assert_eq!(text.expect_err("stops").to_string(), "stopped");
        assert_eq!(widths(96, 8), [12, 24, 36, 48, 60, 72, 84, 96]);
        assert_eq!(widths(3, 8), [1, 2, 3]);
    }

    #[test]
    fn between_points_time_is_interpolated() {
        let surface = LatencySurface {
            name: "conv".into(),
            taps: 9,
            filters: vec![1, 9],
            channels: vec![2, 4],
            ms: vec![1.0, 2.0, 5.0, 10.0],
        };
        let at = |filters: usize, channels: usize| surface.at(filters, channels * 9);
        assert_eq!(
            [at(1, 2), at(9, 4), at(5, 2), at(5, 4), at(1, 3)],
            [1.0, 10.0, 3.0, 6.0, 1.5]
        );
        assert_eq!(surface.at(5, 27), 4.5);
        // Outside what was measured, the nearest.
        assert_eq!([at(20, 9), at(1, 1), at(0, 4)], [10.0, 1.0, 0.0]);
    }

    #[test]
    fn surfaces_never_fall() {
        let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
        let options = LayerLatencyOptions {
            widths: 2,
            budget: Duration::ZERO,
            threads: 1,
        };
        for surface in latency_surfaces(&spec, options, &mut || Ok(())).expect("times") {
            let width = surface.channels.len();
            assert_eq!(surface.ms.len(), surface.filters.len() * width);
            assert!(surface.ms.chunks(width).all(|row| row.is_sorted()));
            assert!((0..width).all(|c| surface.ms.iter().skip(c).step_by(width).is_sorted()));
        }
    }
}
