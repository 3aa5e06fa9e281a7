//! `secateur export`: a model to a file of another program, checked by a second runtime before it gets its name.
//! Knows nothing of formats.

use super::failure::{Done, OrFail};
use super::output::{Json, remark};

use anyhow::ensure;
use formats::{Export, Format, Probe, export as write};
use measure::probe::reading;
use model::{Checkpoint, Density};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// A model file
    model: PathBuf,
    /// The file to write: .onnx, .safetensors or .bpk
    #[arg(long)]
    to: PathBuf,
    /// Density of every gate; if not given, the largest stored in the model
    #[arg(long)]
    density: Option<Density>,
    /// Data whose test images the outputs are compared on: fashion-mnist, or a path
    #[arg(long)]
    data: Option<String>,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn export(args: &ExportArgs) -> Done {
    Format::of(&args.to).or_bad_input()?;
    let model = Checkpoint::load(&args.model).or_bad_input()?;
    let density = args.density;
    let fits = || {
        ensure!(
            model.is_gated() || density.is_none_or(|d| d == Density::FULL),
            "{} has no gates: its density is 1, expected no other",
            args.model.display()
        );
        Ok(())
    };
    fits().or_bad_input()?;
    let probe = match &args.data {
        Some(source) => {
            let data = data::open(source, &reading(&model.header), &mut |_| Ok(())).or_bad_input()?;
            Probe::of(&model, &data).or_bad_input()?
        }
        None => Probe::default_for(&model).or_failed()?,
    };
    let images = probe.source.clone();
    let options = Export {
        to: args.to.clone(),
        density,
        probe,
    };
    let done = write(&model, &options).or_failed()?;
    for note in &done.notes {
        remark(&format!("note: {note}"));
    }
    let a = done.agreement;
    let fact = json!({
        "file": done.file.to_string_lossy(), "bytes": done.bytes, "density": done.density, "max_abs_diff": a.max_abs_diff,
        "top1_agreement": a.top1_agreement, "n": a.n, "ties": a.ties, "images": images, "masked": done.masked.name(),
        "params": done.params, "macs_dense": done.macs_dense, "macs": done.macs,
    });
    args.json.say(&fact, || {
        format!(
            "{}: {} bytes, density {}; read back by rten on {} images ({images}): logits differ by at most {:.1e}, same class for {:.1} %",
            done.file.display(),
            done.bytes,
            done.density,
            a.n,
            a.max_abs_diff,
            a.top1_agreement * 100.0
        )
    });
    Ok(0)
}
