//! How a budget is counted: in weights, in MACs, or in milliseconds by a table of layers' times, measured once per run or given.
//! Knows nothing of searches.

use anyhow::Result;
use event::{BadInput, Event, Unit};
use infer::LatencyTable;
use model::Checkpoint;
use prune::Sites;
use train::{Ctx, Snapshot};

/// Counts what a model spends in one unit.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub unit: Unit,
    latency: LatencyTable,
}

impl Budget {
    /// For a model and all that will be cut from it. With milliseconds, its layers are timed as a stage of the run, so that a
    /// resumed search counts by the tables it began with.
    ///
    /// # Errors
    /// [`event::Cancelled`]; the engine cannot run the model.
    pub(crate) fn new(ctx: &mut Ctx, unit: Unit, model: &Checkpoint) -> Result<Self> {
        let latency = match unit {
            Unit::Weights | Unit::Macs => LatencyTable::default(),
            Unit::Ms => {
                let timed = ctx.stage("timing layers", |ctx, _| Snapshot::of_facts(&table(ctx, model)?))?;
                timed.facts()?
            }
        };
        Ok(Self { unit, latency })
    }

    /// The times of layers, if it counts by them.
    pub(crate) fn times(&self) -> Option<&LatencyTable> {
        (self.unit == Unit::Ms).then_some(&self.latency)
    }

    /// In weights or MACs, for tests.
    #[cfg(test)]
    pub(crate) fn counting(unit: Unit) -> Self {
        let latency = LatencyTable::default();
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
        if let Some(table) = &ctx.latency_table {
            let name = format!(
                "not timed here: the budget was {limit:.3} ms by the table of {}",
                table.machine
            );
            return Ok(ctx.emit(Event::Phase { name, progress: 1.0 })?);
        }
        let timed = ctx.stage("timing the result", |ctx, _| {
            ctx.check()?;
            Snapshot::of_facts(&infer::network_ms(model, ctx.threads, &model.header.gate_densities)?)
        })?;
        let ms: f64 = timed.facts()?;
        let name = format!("timed: {ms:.3} ms an image; the budget was {limit:.3} ms by the layers' tables");
        Ok(ctx.emit(Event::Phase { name, progress: 1.0 })?)
    }
}

/// The table that was given, or that of this machine.
fn table(ctx: &Ctx, model: &Checkpoint) -> Result<LatencyTable> {
    match &ctx.latency_table {
        Some(table) => {
            table.check_fits(model.spec()).map_err(BadInput::of)?;
            Ok(table.clone())
        }
        None => LatencyTable::measure(model, ctx.threads, &mut || Ok(ctx.check()?)),
    }
}
