//! `secateur quantize`: measures the ranges of a model's layers on training images, and writes the model that computes in bytes.
//! Knows nothing of how bytes are multiplied.

use super::bars;
use super::failure::{Done, OrFail};
use super::output::{Json, remark};
use anyhow::{Result, ensure};
use data::Dataset;
use infer::{Options, RangeRule};
use measure::probe::{reading, valid_split};
use model::Checkpoint;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct QuantizeArgs {
    /// A model file
    model: PathBuf,
    /// The model file to write
    #[arg(long)]
    out: PathBuf,
    /// Images like those the model was trained on, classes not needed: fashion-mnist, or a path
    #[arg(long, default_value = "fashion-mnist")]
    data: String,
    /// How many training images the ranges are measured on
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    images: u32,
    /// How a layer's range follows from the numbers it reads: min-max, percentile:P or entropy
    #[arg(long, default_value = "percentile:99.99")]
    range: RangeRule,
    /// Convolutions that stay floats, by name
    #[arg(long, value_delimiter = ',')]
    keep: Vec<String>,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn quantize(args: &QuantizeArgs) -> Done {
    let model = Checkpoint::load(&args.model).or_bad_input()?;
    let opening = bars::share(args.json);
    let data = data::open_unlabeled(&args.data, &reading(&model.header), &mut |progress| {
        opening.set_message(progress.text);
        bars::reach(&opening, progress.fraction);
        Ok(())
    });
    opening.finish_and_clear();
    let pixels = pixels(args, &model, &data.or_bad_input()?).or_bad_input()?;
    let model = infer::quantized(&model, &pixels, args.range, &args.keep).or_bad_input()?;
    let floats = infer::compile(&model, &Options::default()).or_failed()?;
    for name in floats.float_layers() {
        remark(&format!("note: {name} stays f32"));
    }
    model.save(&args.out).or_failed()?;
    for (name, input) in &model.header.byte_inputs {
        let [least, most] = input.range();
        let line = json!({"layer": name, "step": input.step, "zero": input.zero, "least": least, "most": most});
        args.json.say(&line, || {
            format!(
                "{name:24} {least:10.4} to {most:9.4}  step {:.6}  zero {}",
                input.step, input.zero
            )
        });
    }
    Ok(0)
}

/// The first training images, as the model takes them.
fn pixels(args: &QuantizeArgs, model: &Checkpoint, data: &Dataset) -> Result<Vec<f32>> {
    let shape = data.shape();
    let [c, h, w] = model.spec().input;
    ensure!(
        [shape.channels, shape.height, shape.width] == [c, h, w],
        "{}: images are {shape}, the model expects {c}×{h}×{w}",
        args.data
    );
    let splits = valid_split(&model.header, data);
    let mut indices = splits.indices(data::Split::Train).to_vec();
    // Spread over all of them: sets are often sorted by class.
    let every = (indices.len() / args.images as usize).max(1);
    indices = indices.into_iter().step_by(every).take(args.images as usize).collect();
    ensure!(!indices.is_empty(), "{}: no training images", args.data);
    let mut pixels = Vec::new();
    data::batch::fill(&data.train, &indices, None, &model.header.normalization, &mut pixels);
    Ok(pixels)
}
