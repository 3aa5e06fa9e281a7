//! How a budget is counted: in weights, in MACs, or in milliseconds by tables of this machine, measured once a run.
//! Knows nothing of searches.

use crate::event::{Event, Unit};
use crate::infer::{self, Options, Stairs, Surface};
use crate::model::Checkpoint;
use crate::prune::Sites;
use crate::train::{Ctx, Snapshot};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Widths that each layer is timed at, in both directions.
const WIDTHS: usize = 4;
/// Time for each point of a table, and for the whole network.
const POINT: Duration = Duration::from_millis(8);
const WHOLE: Duration = Duration::from_millis(200);

/// Counts what densities spend.
#[derive(Clone, Debug)]
pub struct Meter {
    /// In what.
    pub unit: Unit,
    clock: Clock,
}

/// Times of layers alone, and the factor that makes their sum the measured time of the whole network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Clock {
    surfaces: Vec<Surface>,
    factor: f64,
}

impl Meter {
    /// For a model and all that will be cut from it. With milliseconds its layers are timed, as a stage of the run: a resumed
    /// search counts by the tables it began with.
    ///
    /// # Errors
    /// [`crate::event::Cancelled`]; the engine cannot run the model.
    pub fn new(ctx: &mut Ctx, unit: Unit, model: &Checkpoint) -> Result<Self> {
        let clock = match unit {
            Unit::Weights | Unit::Macs => Clock::default(),
            Unit::Ms => {
                let timed = ctx.stage("timing layers", |ctx, _| Snapshot::of_facts(&Clock::new(ctx, model)?))?;
                timed.facts()?
            }
        };
        Ok(Self { unit, clock })
    }

    /// What is spent at these densities.
    pub fn spent(&self, sites: &Sites, densities: &[f32]) -> f64 {
        match self.unit {
            Unit::Weights => sites.cost(densities).weights as f64,
            Unit::Macs => sites.cost(densities).macs as f64,
            Unit::Ms => self.clock.ms(&sites.layers_left(densities)),
        }
    }

    /// What is spent with nothing cut.
    pub fn whole(&self, sites: &Sites) -> f64 {
        self.spent(sites, &vec![1.0; sites.list.len()])
    }

    /// With milliseconds, times the model as it became and says it beside the budget.
    ///
    /// # Errors
    /// As [`Meter::new`].
    pub fn say(&self, ctx: &mut Ctx, model: &Checkpoint, budget: f64) -> Result<()> {
        if self.unit != Unit::Ms {
            return Ok(());
        }
        let timed = ctx.stage("timing the result", |ctx, _| Snapshot::of_facts(&whole(ctx, model)?))?;
        let ms: f64 = timed.facts()?;
        let name = format!("timed: {ms:.3} ms an image; the budget was {budget:.3} ms by the layers' tables");
        (ctx.emit)(Event::Phase { name, progress: 1.0 })?;
        Ok(())
    }
}

impl Clock {
    fn new(ctx: &Ctx, model: &Checkpoint) -> Result<Self> {
        let stairs = Stairs {
            widths: WIDTHS,
            budget: POINT,
            threads: ctx.threads,
        };
        let surfaces = infer::surfaces(model.spec(), stairs, &mut || Ok((ctx.check)()?))?;
        let mut clock = Self { surfaces, factor: 1.0 };
        let at_most = |s: &Surface| s.at(usize::MAX, usize::MAX);
        let sum: f64 = clock.surfaces.iter().map(at_most).sum();
        if sum > 0.0 {
            clock.factor = whole(ctx, model)? / sum;
        }
        Ok(clock)
    }

    fn ms(&self, layers: &[(&str, usize, usize)]) -> f64 {
        let ms = |(name, filters, columns): &(&str, usize, usize)| {
            let surface = self.surfaces.iter().find(|s| s.name == *name);
            surface.map_or(0.0, |s| s.at(*filters, *columns))
        };
        self.factor * layers.iter().map(ms).sum::<f64>()
    }
}

/// Median milliseconds of one image.
fn whole(ctx: &Ctx, model: &Checkpoint) -> Result<f64> {
    (ctx.check)()?;
    let options = Options {
        threads: ctx.threads,
        batch: 1,
        ..Options::default()
    };
    let mut engine = infer::compile(model, &options)?;
    let image = vec![0.5; model.spec().input.iter().product()];
    Ok(infer::latency(&mut engine, &image, WHOLE).median_ms)
}
