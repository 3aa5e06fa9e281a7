//! How a budget is counted: in weights, in MACs, or in milliseconds by latency tables of this machine, measured once per run.
//! Knows nothing of searches.

use anyhow::Result;
use event::{Event, Unit};
use infer::{LatencySurface, LayerLatencyOptions, Options};
use model::{Checkpoint, Density, Fractions, Op};
use prune::Sites;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use train::{Ctx, Snapshot};

/// Widths that each layer is timed at, in both directions.
const WIDTHS: usize = 4;
/// Time for each point of a table.
const POINT_TIME: Duration = Duration::from_millis(8);
const NETWORK_TIME: Duration = Duration::from_millis(200);

/// Counts what a model spends in one unit.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub unit: Unit,
    latency: LatencyModel,
}

/// Latency tables of single layers, and the line from their sum to the measured latency of the network: through density 1, and
/// the lowest density of its gates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct LatencyModel {
    surfaces: Vec<LatencySurface>,
    factor: f64,
    /// Milliseconds that do not depend on any layer's width: what gates take to choose channels.
    #[serde(default, rename = "besides")]
    overhead: f64,
}

impl Budget {
    /// For a model and all that will be cut from it. With milliseconds, its layers are timed as a stage of the run, so that a
    /// resumed search counts by the tables it began with.
    ///
    /// # Errors
    /// [`event::Cancelled`]; the engine cannot run the model.
    pub(crate) fn new(ctx: &mut Ctx, unit: Unit, model: &Checkpoint) -> Result<Self> {
        let latency = match unit {
            Unit::Weights | Unit::Macs => LatencyModel::default(),
            Unit::Ms => {
                let timed = ctx.stage("timing layers", |ctx, _| {
                    Snapshot::of_facts(&LatencyModel::new(ctx, model)?)
                })?;
                timed.facts()?
            }
        };
        Ok(Self { unit, latency })
    }

    /// In weights or MACs, for tests.
    #[cfg(test)]
    pub(crate) fn counting(unit: Unit) -> Self {
        let latency = LatencyModel::default();
        Self { unit, latency }
    }

    /// What is spent at these densities.
    pub(crate) fn spent(&self, sites: &Sites, densities: &[f32]) -> f64 {
        match self.unit {
            Unit::Weights => sites.cost(densities).weights as f64,
            Unit::Macs => sites.cost(densities).macs as f64,
            Unit::Ms => self.ms(&sites.layers_left(densities)),
        }
    }

    /// What each convolution and linear layer spends at these densities.
    pub(crate) fn by_layer<'s>(&self, sites: &'s Sites, densities: &[f32]) -> Vec<(&'s str, f64)> {
        let (spec, layers) = (sites.spec(), sites.layers_left(densities));
        // Sites are made of networks whose shapes fit.
        let shapes = spec.shapes().unwrap_or_default();
        let spent = |&(name, filters, columns): &(&'s str, usize, usize)| {
            let plane = || spec.find(name).map_or(0, |node| shapes[node][1] * shapes[node][2]);
            let spent = match self.unit {
                Unit::Weights => (filters * columns) as f64,
                Unit::Macs => (filters * columns * plane()) as f64,
                Unit::Ms => self.latency.of_layer((name, filters, columns)),
            };
            (name, spent)
        };
        layers.iter().map(spent).collect()
    }

    /// Milliseconds of layers with so many filters and columns.
    pub(crate) fn ms(&self, layers: &[(&str, usize, usize)]) -> f64 {
        self.latency.ms(layers)
    }

    /// What is spent with nothing pruned.
    pub(crate) fn unpruned(&self, sites: &Sites) -> f64 {
        self.spent(sites, &vec![1.0; sites.list.len()])
    }

    /// With milliseconds, times the finished model at the densities that were found for its gates, and emits it beside the limit.
    ///
    /// # Errors
    /// As [`Budget::new`].
    pub(crate) fn report_latency(&self, ctx: &mut Ctx, model: &Checkpoint, limit: f64) -> Result<()> {
        if self.unit != Unit::Ms {
            return Ok(());
        }
        let timed = ctx.stage("timing the result", |ctx, _| {
            Snapshot::of_facts(&network_ms(ctx, model, &model.header.gate_densities)?)
        })?;
        let ms: f64 = timed.facts()?;
        let name = format!("timed: {ms:.3} ms an image; the budget was {limit:.3} ms by the layers' tables");
        Ok(ctx.emit(Event::Phase { name, progress: 1.0 })?)
    }
}

impl LatencyModel {
    fn new(ctx: &Ctx, model: &Checkpoint) -> Result<Self> {
        let options = LayerLatencyOptions {
            widths: WIDTHS,
            budget: POINT_TIME,
            threads: ctx.threads,
        };
        let surfaces = infer::latency_surfaces(model.spec(), options, &mut || Ok(ctx.check()?))?;
        let mut latency = Self {
            surfaces,
            factor: 1.0,
            overhead: 0.0,
        };
        let most = Density::FULL;
        let sum = latency.ms(&gated_layers(model, &vec![most; model.spec().gates().len()])?);
        if sum <= 0.0 {
            return Ok(latency);
        }
        let mut points = [[sum, network_ms(ctx, model, &[])?]; 2];
        let least = model.header.densities.first().copied().unwrap_or(most);
        if model.is_gated() && least < most {
            let gates = vec![least; model.spec().gates().len()];
            points[1] = [
                latency.ms(&gated_layers(model, &gates)?),
                network_ms(ctx, model, &gates)?,
            ];
        }
        (latency.factor, latency.overhead) = line(points);
        Ok(latency)
    }

    fn ms(&self, layers: &[(&str, usize, usize)]) -> f64 {
        self.overhead + layers.iter().map(|layer| self.of_layer(*layer)).sum::<f64>()
    }

    fn of_layer(&self, (name, filters, columns): (&str, usize, usize)) -> f64 {
        let surface = self.surfaces.iter().find(|s| s.name == name);
        self.factor * surface.map_or(0.0, |s| s.at(filters, columns))
    }
}

/// Slope and intercept of the line through two points `[sum of layers, measured]`, the first of which is the unpruned network.
/// If the second is the same or within the noise, latency is taken to be proportional: no intercept.
fn line([[sum, whole], [part, less]]: [[f64; 2]; 2]) -> (f64, f64) {
    let slope = (whole - less) / (sum - part);
    if slope > 0.0 && slope * sum <= whole {
        (slope, whole - slope * sum)
    } else {
        (whole / sum, 0.0)
    }
}

/// What gates at these densities leave of each convolution and linear layer: its name, active filters, and active columns.
///
/// # Errors
/// A network whose shapes do not fit.
pub(crate) fn gated_layers<'a>(model: &'a Checkpoint, gates: &[Density]) -> Result<Vec<(&'a str, usize, usize)>> {
    let spec = model.spec();
    let shapes = spec.shapes()?;
    let Fractions(active) = Fractions::nominal(spec, gates)?;
    let part = |share: f64, n: usize| (share * n as f64).round() as usize;
    let each = spec.nodes.iter().enumerate().filter_map(|(i, node)| {
        let from = *node.inputs.first()?;
        let (filters, columns) = match node.op {
            Op::Conv {
                filters,
                kernel,
                groups,
                ..
            } => (filters, shapes[from][0] / groups * kernel * kernel),
            Op::Linear { outputs, .. } => (outputs, shapes[from].iter().product()),
            _ => return None,
        };
        Some((
            node.name.as_str(),
            part(active[i], filters),
            part(active[from], columns),
        ))
    });
    Ok(each.collect())
}

/// Median milliseconds of one image, with gates at these densities; at 1 if none are given.
fn network_ms(ctx: &Ctx, model: &Checkpoint, gates: &[Density]) -> Result<f64> {
    ctx.check()?;
    let options = Options {
        threads: ctx.threads,
        batch: 1,
        ..Options::default()
    };
    let mut engine = infer::compile(model, &options)?;
    if !gates.is_empty() {
        engine.set_densities(gates);
    }
    let image = vec![0.5; model.spec().input.iter().product()];
    Ok(infer::latency(&mut engine, &image, NETWORK_TIME).median_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{random_model, zoo};

    #[test]
    fn time_is_a_line_through_two_measurements_or_follows_work() {
        // 0.2 ms for choosing channels, half a millisecond for each one of the layers.
        assert_eq!(line([[2.0, 1.2], [0.5, 0.45]]), (0.5, 0.19999999999999996));
        assert_eq!(line([[2.0, 1.2], [2.0, 1.2]]), (0.6, 0.0));
        // Slower with less work, and faster than work can tell.
        assert_eq!(line([[2.0, 1.2], [0.5, 1.3]]), (0.6, 0.0));
        assert_eq!(line([[2.0, 1.2], [0.5, 0.1]]), (0.6, 0.0));
    }

    #[test]
    fn a_closed_gate_leaves_its_layer_fewer_filters_and_the_next_fewer_columns() {
        let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
        let gated = random_model(zoo::gated(&spec, model::spec::Shift::Eq1), 1).expect("builds");
        let mut gates = vec![Density::FULL; gated.spec().gates().len()];
        let whole = gated_layers(&gated, &gates).expect("layers");
        gates[0] = Density::percent(50).expect("a density");
        let half = gated_layers(&gated, &gates).expect("layers");
        let changed: Vec<_> = whole.iter().zip(&half).filter(|(a, b)| a != b).collect();
        let [((first, f0, c0), (_, f1, c1)), ((_, g0, d0), (_, g1, d1))] = changed[..] else {
            panic!("{changed:?}")
        };
        assert_eq!((*first, f1 * 2, c1), ("conv0", *f0, c0));
        assert_eq!((g1, d1 * 2), (g0, *d0));
    }
}
