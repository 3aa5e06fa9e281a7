//! `secateur eval`: measures a model at one or many densities, by the engine or by burn.
//! Knows nothing of training.

use super::bars;
use super::eval_burn::by_burn;
use super::eval_csv::CsvFile;
use super::eval_images::{BATCH, EvalImages, Evaluation, GateSetting, LatencyQuantiles, PutBatch, TIMED};
use super::eval_oracle;
use super::failure::{Done, OrFail};
use super::output::{Json, remark};
use anyhow::{Result, anyhow, ensure};
use data::{Dataset, Split};
use infer::{Engine, EvaluatedBatch, GateOutput, LabeledImages, Latency, Options, evaluate};
use kernel::Kernel;
use measure::probe::{reading, valid_split};
use model::{Checkpoint, Density, Fractions, Precision, cost};
use record::folder::threads;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;
use train::{ask, check_teacher};

#[derive(clap::Args)]
pub(crate) struct EvalArgs {
    /// A model file
    model: PathBuf,
    /// Images: fashion-mnist, or a path
    #[arg(long, default_value = "fashion-mnist")]
    data: String,
    /// Which images of the data to measure on
    #[arg(long, default_value = "test")]
    split: SplitName,
    /// Densities, e.g. 1,0.7,0.5, or `found` for the densities that a search found; if not given, those stored in the model
    #[arg(long, value_delimiter = ',', value_parser = GateSetting::parse)]
    density: Vec<GateSetting>,
    /// Measure only the first N images
    #[arg(long)]
    limit: Option<usize>,
    /// What runs the network
    #[arg(long, default_value = "kernel")]
    engine: EngineName,
    /// What convolutions multiply, f32 or int8; the model's own if not given
    #[arg(long)]
    precision: Option<Precision>,
    /// Write the logits as CSV, one row per image
    #[arg(long)]
    logits: Option<PathBuf>,
    /// Write the active channels as CSV, one row per image and gate
    #[arg(long)]
    active: Option<PathBuf>,
    /// A model that names the classes of the images and says how far each output is from its own: with it, pictures need no classes
    #[arg(long)]
    teacher: Option<PathBuf>,
    /// After each density, also print how many of an image's truly largest channels each gate chooses
    #[arg(long)]
    oracle: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SplitName {
    /// The images that weights are fitted to
    Train,
    /// The images that searches and tuning use
    Valid,
    /// The images that only final measurements use
    Test,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum EngineName {
    /// The engine with the fastest kernel of this machine
    Kernel,
    /// The engine with the slow kernel that the fast ones are tested against
    Reference,
    /// The training library: all channels, then the mask
    Burn,
}

/// One line of the result.
#[derive(Serialize)]
struct EvalLine {
    density: GateSetting,
    /// Density of each gate, where a search found them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gates: Vec<Density>,
    top1: f32,
    n: usize,
    macs: u64,
    macs_dense: u64,
    macs_conv: u64,
    params: u64,
    active_fraction: f64,
    weight_bytes: u64,
    activation_bytes: u64,
    peak_bytes: u64,
    latency_ms: LatencyQuantiles,
    images_per_s: f64,
    kernel: String,
    precision: Precision,
    /// By output: ‖y − y'‖ / ‖y'‖ to the teacher's, mean over images.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    errors: BTreeMap<String, f64>,
}

pub(crate) fn eval(args: &EvalArgs) -> Done {
    let model = Checkpoint::load(&args.model).or_bad_input()?;
    let densities = densities(args, &model).or_bad_input()?;
    let split = match args.split {
        SplitName::Train => Split::Train,
        SplitName::Valid => Split::Valid,
        SplitName::Test => Split::Test,
    };
    let kernel = match args.engine {
        EngineName::Kernel => Some(Kernel::best()),
        EngineName::Reference => Kernel::by_name("reference"),
        EngineName::Burn => None,
    };
    if args.active.is_some() && (kernel.is_none() || !model.is_gated()) {
        let text = "--active is for models with gates, on the kernel or reference engine";
        return Err(anyhow!(text)).or_bad_input();
    }
    if args.precision == Some(Precision::Int8) {
        let refused = if kernel.is_none() {
            Some("burn computes in f32, expected --engine kernel or reference with --precision int8".to_owned())
        } else if model.precision() != Precision::Int8 {
            Some(format!(
                "{} has no ranges of its layers' inputs: make them by secateur quantize",
                args.model.display()
            ))
        } else {
            None
        };
        if let Some(text) = refused {
            return Err(anyhow!(text)).or_bad_input();
        }
    }
    let precision = match kernel {
        Some(_) => args.precision.unwrap_or(model.precision()),
        None => Precision::F32,
    };
    if args.oracle && !model.is_gated() {
        return Err(anyhow!("--oracle is for models with gates")).or_bad_input();
    }
    let teacher = args
        .teacher
        .as_ref()
        .map(|path| Checkpoint::load(path))
        .transpose()
        .or_bad_input()?;
    let open = if teacher.is_some() {
        data::open_unlabeled
    } else {
        data::open
    };
    let opening = bars::share(args.json);
    let mut data = open(&args.data, &reading(&model.header), &mut |progress| {
        opening.set_message(progress.text);
        bars::reach(&opening, progress.fraction);
        Ok(())
    })
    .or_bad_input()?;
    opening.finish_and_clear();
    let matched = match &teacher {
        Some(teacher) => {
            check_teacher(teacher, model.spec().input, &model.header.classes).or_bad_input()?;
            None
        }
        None if model.header.classes.is_empty() => {
            let text = format!(
                "{} gives no class logits, expected --teacher MODEL to compare with",
                args.model.display()
            );
            return Err(anyhow!(text)).or_bad_input();
        }
        None => data.match_classes(&model.header.classes).or_bad_input()?,
    };
    for note in data.notes.iter().chain(&matched) {
        remark(&format!("note: {note}"));
    }
    if let Some(teacher) = &teacher {
        let indices = eval_images(args, &model, &data, split).or_bad_input()?.indices;
        let images = match split {
            Split::Test => &mut data.test,
            _ => &mut data.train,
        };
        ask(images, [&indices, &indices], teacher, threads(), &|| Ok(())).or_failed()?;
    }
    let eval = eval_images(args, &model, &data, split).or_bad_input()?;
    let logits = args.logits.as_ref();
    let logits = logits.map(|path| CsvFile::of_logits(path, &model.header.classes));
    let mut logits = logits.transpose().or_bad_input()?;
    let active = args.active.as_ref().map(|path| CsvFile::of_active(path));
    let mut active = active.transpose().or_bad_input()?;
    let spec = model.spec();
    let dense = cost::dense(spec).or_failed()?;
    let kept = cost::total(spec, &model.masks, &Fractions::dense(spec)).or_failed()?;
    let images = (densities.len() * eval.indices.len()) as u64;
    let bar = bars::counted(args.json, images, "images");
    for (i, density) in densities.into_iter().enumerate() {
        let before = i * eval.indices.len();
        bar.set_message(format!("density {density}"));
        let mut put = |rows: &[f32], gates: &[GateOutput], first: usize| {
            bar.set_position((before + first) as u64);
            if let Some(file) = &mut active {
                file.write_active(&density, first, gates, &eval)?;
            }
            match &mut logits {
                Some(file) => file.write_logits(&density, first, rows, &eval),
                None => Ok(()),
            }
        };
        let (m, name) = match (kernel, &density) {
            (Some(kernel), at) => (
                by_engine(&eval, (kernel, precision), at, &mut put).or_failed()?,
                match precision {
                    Precision::F32 => kernel.name().to_owned(),
                    Precision::Int8 => format!("int8 {}", kernel.byte_name()),
                },
            ),
            (None, GateSetting::All(one)) => (by_burn(&eval, *one, &mut put).or_failed()?, "burn-flex".to_owned()),
            (None, GateSetting::Found) => unreachable!("refused above"),
        };
        let gates = match density {
            GateSetting::All(_) => Vec::new(),
            GateSetting::Found => model.header.gate_densities.clone(),
        };
        let line = EvalLine {
            density,
            gates,
            top1: m.top1,
            n: eval.indices.len(),
            macs: m.macs,
            macs_dense: dense.macs_conv,
            macs_conv: m.macs_conv,
            params: kept.params,
            active_fraction: m.active_fraction,
            weight_bytes: m.traffic.weight_bytes,
            activation_bytes: m.traffic.activation_bytes,
            peak_bytes: m.traffic.peak_bytes,
            latency_ms: m.latency,
            images_per_s: m.images_per_s,
            kernel: name,
            precision,
            errors: m.errors.into_iter().collect(),
        };
        let quality = if teacher.is_some() { "agreement" } else { "top-1" };
        let errors = line
            .errors
            .iter()
            .map(|(name, error)| format!("\n  {name}: relative error {error:.4}"));
        let errors: String = errors.collect();
        args.json.say(&line, || {
            format!(
                "density {:<4}  {quality} {:6.2} % of {}  {:8.2} M MACs ({:.2}×)  {:.3} ms per image (batch 1, {:.3} to {:.3}{})  {:.0} images/s  {}{errors}",
                line.density, line.top1 * 100.0, line.n, line.macs as f64 / 1e6, line.macs_dense as f64 / line.macs as f64, line.latency_ms.median, line.latency_ms.p10, line.latency_ms.p90, line.latency_ms.busy(), line.images_per_s, line.kernel
            )
        });
        if let (true, GateSetting::All(density)) = (args.oracle, &line.density) {
            eval_oracle::by_gate(&eval, *density, args.json).or_failed()?;
        }
    }
    bar.finish_and_clear();
    for file in logits.into_iter().chain(active) {
        file.finish().or_failed()?;
    }
    Ok(0)
}

fn densities(args: &EvalArgs, model: &Checkpoint) -> Result<Vec<GateSetting>> {
    let asked = args.density.clone();
    let (found, by_burn) = (!model.header.gate_densities.is_empty(), args.engine == EngineName::Burn);
    if asked.is_empty() {
        let kept = model.header.densities.iter().rev().map(|&d| GateSetting::All(d));
        return Ok(kept.chain((found && !by_burn).then_some(GateSetting::Found)).collect());
    }
    if asked.iter().any(|d| matches!(d, GateSetting::Found)) {
        let file = args.model.display();
        ensure!(found, "{file} keeps no densities that a search found, expected numbers");
        ensure!(!by_burn, "burn measures one density for all gates, expected numbers");
    }
    let dense = asked.iter().all(|d| matches!(d, GateSetting::All(Density::FULL)));
    ensure!(
        model.is_gated() || dense,
        "{} has no gates: its density is 1, expected no other",
        args.model.display()
    );
    Ok(asked)
}

fn eval_images<'a>(args: &EvalArgs, model: &'a Checkpoint, data: &'a Dataset, split: Split) -> Result<EvalImages<'a>> {
    let shape = data.shape();
    let [c, h, w] = model.spec().input;
    ensure!(
        [shape.channels, shape.height, shape.width] == [c, h, w],
        "{}: images are {shape}, the model expects {c}×{h}×{w}",
        args.data
    );
    let splits = valid_split(&model.header, data);
    let mut indices = splits.indices(split).to_vec();
    indices.truncate(args.limit.unwrap_or(usize::MAX));
    ensure!(!indices.is_empty(), "no images to measure in split {}", split.name());
    Ok(EvalImages {
        model,
        images: data.images(split),
        indices,
    })
}

fn by_engine(
    eval: &EvalImages,
    (kernel, precision): (Kernel, Precision),
    density: &GateSetting,
    put: PutBatch,
) -> Result<Evaluation> {
    let options = Options {
        kernel,
        threads: threads(),
        batch: BATCH,
        precision: Some(precision),
        ..Options::default()
    };
    let mut engine = infer::compile(eval.model, &options)?;
    match density {
        GateSetting::All(density) => engine.set_density(*density),
        GateSetting::Found => engine.set_densities(&eval.model.header.gate_densities),
    }
    // Before the load is our own.
    let load = infer::load_per_core();
    let few = &eval.indices[..eval.indices.len().min(TIMED)];
    let pictures = eval.pixels(few);
    let Latency {
        median_ms,
        p10_ms,
        p90_ms,
        others,
        ..
    } = infer::latency_in_turn(
        &mut engine,
        &pictures,
        pictures.len() / few.len(),
        Duration::from_millis(500),
    );
    let images = LabeledImages::Stored {
        images: eval.images,
        indices: &eval.indices,
        normalization: &eval.model.header.normalization,
    };
    let mut spent = Duration::ZERO;
    let mut observe = |done: EvaluatedBatch| {
        spent += done.elapsed;
        put(&done.batch.logits, &done.batch.gates, done.metrics.n - done.batch.n)
    };
    let mut check = |_: &mut Engine| Ok(ControlFlow::Continue(()));
    let metrics = evaluate(&mut engine, images, &mut check, &mut observe)?;
    Ok(Evaluation {
        top1: metrics.top1(),
        errors: metrics.errors(),
        macs: metrics.macs(),
        macs_conv: metrics.macs_conv(),
        active_fraction: metrics.active_fraction(),
        traffic: metrics.cost(eval.model.spec(), &eval.model.masks)?,
        latency: LatencyQuantiles {
            median: median_ms,
            p10: p10_ms,
            p90: p90_ms,
            pictures: few.len(),
            load,
            others,
        },
        images_per_s: metrics.n as f64 / spent.as_secs_f64(),
    })
}
