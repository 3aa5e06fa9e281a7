//! `secateur import`: another program's weights as a model file of ours.
//! Knows nothing of formats.

use super::bars;
use super::failure::{Done, OrFail};
use super::output::{Json, remark};
use anyhow::{Context, Result, ensure};
use data::Normalization;
use formats::{Import, import as read};
use model::cost;
use model::spec::Shape;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// .pt, .pth or .safetensors weights, an .onnx network, or a .bpk pack
    file: PathBuf,
    /// The network of a state dict, by torchvision's name (vgg16_bn, resnet50, mobilenet_v3_small, …), or lenet5 or m-cifarnet
    #[arg(long)]
    arch: Option<String>,
    /// Number of classes that the file must have
    #[arg(long)]
    classes: Option<usize>,
    /// Channels, height and width of an image, e.g. 3,32,32, if the file leaves them open
    #[arg(long, value_delimiter = ',')]
    input: Vec<usize>,
    /// Mean of each channel used in training, for pixels from 0 to 1
    #[arg(long, value_delimiter = ',')]
    mean: Vec<f32>,
    /// Standard deviation of each channel used in training
    #[arg(long, value_delimiter = ',')]
    std: Vec<f32>,
    /// The model file to write
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn import(args: &ImportArgs) -> Done {
    let options = Import {
        file: args.file.clone(),
        arch: args.arch.clone(),
        classes: args.classes,
        input: shape(&args.input).or_bad_input()?,
        normalization: normalization(args).or_bad_input()?,
    };
    let bar = bars::spinner(args.json, format!("Reading {}", args.file.display()));
    let done = read(&options).or_bad_input()?;
    bar.finish_and_clear();
    for note in &done.notes {
        remark(&format!("note: {note}"));
    }
    let spec = done.model.spec();
    let layers = spec.convs().len() + spec.nodes.iter().filter(|n| n.op.kind() == "linear").count();
    let params = cost::dense(spec).or_failed()?.params;
    done.model.save(&args.to).or_failed()?;
    let outputs = spec.outputs().or_failed()?;
    let fact = json!({ "model": args.to.to_string_lossy(), "layers": layers, "params": params, "arch": spec.name, "input": spec.input, "classes": done.model.header.classes.len(), "outputs": outputs.iter().map(|o| json!({ "name": o.name, "shape": o.shape })).collect::<Vec<_>>(), "notes": done.notes });
    args.json.say(&fact, || {
        let [c, h, w] = spec.input;
        let each = outputs.iter().map(|o| format!("{} {:?}", o.name, o.shape));
        let is_plain = outputs.len() == 1 && outputs[0].is_logits;
        let several = match is_plain {
            true => String::new(),
            false => format!(", outputs {}", each.collect::<Vec<_>>().join(", ")),
        };
        format!(
            "{}: {}, {layers} layers, {params} parameters, images {c}×{h}×{w}{several}",
            args.to.display(),
            spec.name
        )
    });
    Ok(0)
}

fn shape(sizes: &[usize]) -> Result<Option<Shape>> {
    if sizes.is_empty() {
        return Ok(None);
    }
    let shape = Shape::try_from(sizes)
        .ok()
        .with_context(|| format!("--input has {} sizes, expected C,H,W", sizes.len()))?;
    Ok(Some(shape))
}

fn normalization(args: &ImportArgs) -> Result<Option<Normalization>> {
    if args.mean.is_empty() && args.std.is_empty() {
        return Ok(None);
    }
    ensure!(
        args.mean.len() == args.std.len(),
        "--mean has {} numbers and --std {}",
        args.mean.len(),
        args.std.len()
    );
    Ok(Some(Normalization {
        mean: args.mean.clone(),
        std: args.std.clone(),
    }))
}
