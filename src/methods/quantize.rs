//! The end of any method, if asked for: convolutions in bytes, and training that knows of it.
//! Knows nothing of how a method came to its result.

use crate::pipeline::TrainingStage;
use anyhow::Result;
use data::{Split, batch};
use event::{BadInput, Event};
use infer::RangeRule;
use model::Checkpoint;
use serde::{Deserialize, Serialize};
use settings::settings;
use train::{Ctx, TrainingPlan};

settings! {
    /// Computes the convolutions of a method's result in bytes.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct QuantizeConfig {
        /// How a layer's range follows from the numbers it reads: min-max, percentile:P or entropy.
        pub range: RangeRule = RangeRule::DEFAULT, other;
        /// Training images that ranges are measured on.
        pub images: usize = 256, number(within(1, 65_536); "images");
        /// Convolutions that stay floats, by name.
        pub keep: Vec<String> = Vec::new(), other;
        /// Training afterwards that rounds as the bytes will; 0 epochs: none.
        pub retrain: TrainingStage = TrainingStage { epochs: 1, lr: 0.003 }, section;
    }
}

impl QuantizeConfig {
    /// Measures ranges, then trains with them.
    ///
    /// # Errors
    /// [`event::Cancelled`]; [`BadInput`] for a layer that cannot be bytes.
    pub fn quantize(&self, ctx: &mut Ctx, model: &Checkpoint) -> Result<Checkpoint> {
        let name = "measuring ranges".into();
        ctx.emit(Event::Phase { name, progress: 0.0 })?;
        let all = ctx.data.splits.indices(Split::Train);
        let every = (all.len() / self.images).max(1);
        let few: Vec<u32> = all.iter().copied().step_by(every).take(self.images).collect();
        let mut pixels = Vec::new();
        batch::fill(
            &ctx.data.dataset.train,
            &few,
            None,
            &ctx.data.normalization,
            &mut pixels,
        );
        let model = infer::quantized(model, &pixels, self.range, &self.keep).map_err(BadInput::of)?;
        if self.retrain.epochs == 0 {
            return Ok(model);
        }
        let grid = model.header.densities.clone();
        let method = if model.is_gated() { "fbs" } else { "quantize" };
        let plan = TrainingPlan {
            byte_inputs: model.header.byte_inputs.clone(),
            densities: &|step, _| vec![grid[step as usize % grid.len()]],
            grid: grid.clone(),
            ..TrainingPlan::of_model(method, &model, self.retrain.over(&ctx.train))
        };
        let mut trained = train::fit(ctx, "training in bytes", &plan, Some(&model), None)?;
        trained.header.method.clone_from(&model.header.method);
        trained.header.gate_densities.clone_from(&model.header.gate_densities);
        Ok(trained)
    }
}
