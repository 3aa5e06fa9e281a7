//! `secateur export`: a model to a file of another program, checked by a second runtime before it gets its name.
//! Knows nothing of formats.

use super::bars;
use super::failure::{Done, OrFail};
use super::output::{Json, remark};

use anyhow::{Context, ensure};
use formats::{BatchTimes, Export, Format, Probe, Timer, export as write, onnx_bytes, time, why_slower};
use measure::probe::reading;
use model::{Checkpoint, Density, NetSpec};
use record::unpruned;
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
    /// The model before it was pruned, to be timed beside it; if not given, what its run began with
    #[arg(long)]
    before: Option<PathBuf>,
    /// A command that times ONNX files instead of rten: called as COMMAND FILE.onnx BATCH, prints milliseconds of a batch, a number
    /// a line or JSON {"ms": [...]}; e.g. "python3 assets/time_onnxruntime.py"
    #[arg(long)]
    time_with: Option<String>,
    /// Images at once when it is timed
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    time_batch: Vec<u32>,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn export(args: &ExportArgs) -> Done {
    let format = Format::of(&args.to).or_bad_input()?;
    let only_onnx = || {
        ensure!(
            format == Format::Onnx || (args.time_with.is_none() && args.before.is_none()),
            "{}: only ONNX files are timed, expected a name ending in .onnx with --time-with or --before",
            args.to.display()
        );
        Ok(())
    };
    only_onnx().or_bad_input()?;
    let before = args
        .before
        .as_ref()
        .map(|file| Checkpoint::load(file))
        .transpose()
        .or_bad_input()?;
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
    let same_input = |before: &Checkpoint| {
        ensure!(
            before.spec().input == model.spec().input,
            "--before reads images of {:?}, expected {:?}",
            before.spec().input,
            model.spec().input
        );
        Ok(())
    };
    before.as_ref().map_or(Ok(()), same_input).or_bad_input()?;
    let probe = match &args.data {
        Some(source) => {
            let data = data::open_unlabeled(source, &reading(&model.header), &mut |_| Ok(())).or_bad_input()?;
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
    let bar = bars::spinner(args.json, format!("Writing {} and reading it back", args.to.display()));
    let done = write(&model, &options).or_failed()?;
    bar.finish_and_clear();
    for note in &done.notes {
        remark(&format!("note: {note}"));
    }
    let timer = args.time_with.clone().map_or(Timer::SecondRuntime, Timer::Command);
    let times = match before.or_else(|| unpruned(&model)).filter(|_| format == Format::Onnx) {
        Some(before) => timed(args, (&before, &done.spec), &timer)?,
        None => {
            if args.time_with.is_some() {
                remark(
                    "note: nothing was timed: what the model was before pruning is not known; --before MODEL names it",
                );
            }
            Vec::new()
        }
    };
    let a = done.agreement;
    let fact = json!({
        "file": done.file.to_string_lossy(), "bytes": done.bytes, "density": done.density, "max_abs_diff": a.max_abs_diff,
        "top1_agreement": a.top1_agreement, "n": a.n, "ties": a.ties, "images": images, "masked": done.masked.name(),
        "params": done.params, "macs_dense": done.macs_dense, "macs": done.macs,
        "slower": times.iter().any(BatchTimes::is_slower), "timed_by": timer.name(),
        "times": times.iter().map(|t| json!({ "batch": t.batch, "ms_before": t.before_ms, "ms": t.after_ms })).collect::<Vec<_>>(),
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

/// Times the file beside the network before, and says when it became slower.
fn timed(args: &ExportArgs, (before, after): (&Checkpoint, &NetSpec), timer: &Timer) -> Done<Vec<BatchTimes>> {
    let file = std::fs::read(&args.to).with_context(|| format!("cannot read {} back", args.to.display()));
    let file = file.or_failed()?;
    let old = onnx_bytes(before, Density::FULL).or_failed()?;
    let batches: Vec<usize> = args.time_batch.iter().map(|&n| n as usize).collect();
    let bar = bars::spinner(args.json, format!("Timing {} in {}", args.to.display(), timer.name()));
    let times = time([&old, &file], after.input, timer, &batches);
    bar.finish_and_clear();
    let times = times.with_context(|| format!("{} is written, but could not be timed", args.to.display()));
    let times = times.or_failed()?;
    for t in &times {
        let BatchTimes {
            batch,
            before_ms,
            after_ms,
        } = t;
        remark(&format!(
            "timed by {}, {batch} images at once: {after_ms:.3} ms, before pruning {before_ms:.3} ms",
            timer.name()
        ));
    }
    if times.iter().any(BatchTimes::is_slower) {
        remark(&format!(
            "warning: it became slower: {}",
            why_slower(before.spec(), after)
        ));
    }
    Ok(times)
}
