//! `secateur eval`: measures a model at one or many densities, by the engine or by burn.
//! Knows nothing of training.

use super::failure::{Done, OrFail};
use super::output::Json;
use anyhow::{Context, Result, anyhow, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use data::{Dataset, Normalization, Split, batch};
use infer::{Engine, EvaluatedBatch, GateOutput, LabeledImages, Latency, Options, argmax, evaluate};
use kernel::Kernel;
use measure::probe::valid_split;
use model::{Checkpoint, Density, Fractions, cost};
use record::folder::threads;
use serde::{Serialize, Serializer};
use std::fmt;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use train::net::{ForwardOptions, Net, Norms};

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
    /// Write the logits as CSV, one row per image
    #[arg(long)]
    logits: Option<PathBuf>,
    /// Write the active channels as CSV, one row per image and gate
    #[arg(long)]
    active: Option<PathBuf>,
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

/// The densities of the gates.
#[derive(Clone)]
enum GateSetting {
    /// All at one density.
    All(Density),
    /// Each where a search put it.
    Found,
}

impl GateSetting {
    fn parse(text: &str) -> Result<Self> {
        if text.trim() == "found" {
            return Ok(Self::Found);
        }
        let number: f64 = text.trim().parse().context("expected a number up to 1, or found")?;
        Ok(Self::All(Density::fraction(number)?))
    }
}

impl fmt::Display for GateSetting {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::All(density) => density.fmt(f),
            Self::Found => f.pad("found"),
        }
    }
}

impl Serialize for GateSetting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All(density) => density.serialize(to),
            Self::Found => to.serialize_str("found"),
        }
    }
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
}

#[derive(Serialize)]
struct LatencyQuantiles {
    median: f64,
    p10: f64,
    p90: f64,
}

/// Images a run.
const BATCH: usize = 64;

/// What is measured on.
struct EvalImages<'a> {
    model: &'a Checkpoint,
    data: &'a Dataset,
    split: Split,
    indices: Vec<u32>,
    normalization: &'a Normalization,
}

impl EvalImages<'_> {
    fn batches(&self) -> impl Iterator<Item = (Vec<f32>, Vec<u16>)> + '_ {
        let images = self.data.images(self.split);
        self.indices.chunks(BATCH).map(|chunk| {
            let mut pixels = Vec::new();
            batch::fill(images, chunk, None, self.normalization, &mut pixels);
            (pixels, batch::labels(images, chunk))
        })
    }

    fn one_image(&self) -> Vec<f32> {
        let mut pixels = Vec::new();
        batch::fill(
            self.data.images(self.split),
            &self.indices[..1],
            None,
            self.normalization,
            &mut pixels,
        );
        pixels
    }
}

/// What one density gave.
struct Evaluation {
    top1: f32,
    macs: u64,
    macs_conv: u64,
    active_fraction: f64,
    /// What an image reads and writes at the measured active fractions.
    traffic: cost::Cost,
    latency: LatencyQuantiles,
    images_per_s: f64,
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
    let data = data::open(&args.data, &mut |_| Ok(())).or_bad_input()?;
    let bench = bench(args, &model, &data, split).or_bad_input()?;
    let mut out = match &args.logits {
        Some(path) => Some(open_logits(path, &model).or_bad_input()?),
        None => None,
    };
    let mut active = match &args.active {
        Some(path) => Some(open_active(path).or_bad_input()?),
        None => None,
    };
    let spec = model.spec();
    let dense = cost::dense(spec).or_failed()?;
    let kept = cost::total(spec, &model.masks, &Fractions::dense(spec)).or_failed()?;
    for density in densities {
        let mut put = |rows: &[f32], gates: &[GateOutput], first: usize| {
            if let Some(file) = &mut active {
                write_active(file, &density, first, gates, &bench)?;
            }
            match &mut out {
                Some(file) => write_logits(file, &density, first, rows, &model, &bench),
                None => Ok(()),
            }
        };
        let (m, name) = match (kernel, &density) {
            (Some(kernel), at) => (
                by_engine(&bench, kernel, at, &mut put).or_failed()?,
                kernel.name().to_owned(),
            ),
            (None, GateSetting::All(one)) => (by_burn(&bench, *one, &mut put).or_failed()?, "burn-flex".to_owned()),
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
            n: bench.indices.len(),
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
        };
        args.json.say(&line, || {
            format!(
                "density {:<4}  top-1 {:6.2} % of {}  {:8.2} M MACs ({:.2}×)  {:.3} ms an image (batch 1)  {:.0} images/s  {}",
                line.density, line.top1 * 100.0, line.n, line.macs as f64 / 1e6, line.macs_dense as f64 / line.macs as f64, line.latency_ms.median, line.images_per_s, line.kernel
            )
        });
    }
    for mut file in out.into_iter().chain(active) {
        file.flush().or_failed()?;
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

fn bench<'a>(args: &EvalArgs, model: &'a Checkpoint, data: &'a Dataset, split: Split) -> Result<EvalImages<'a>> {
    let shape = data.shape();
    let [c, h, w] = model.spec().input;
    ensure!(
        [shape.channels, shape.height, shape.width] == [c, h, w],
        "{}: images are {shape}, the model expects {c}×{h}×{w}",
        args.data
    );
    ensure!(
        data.classes.len() == model.header.classes.len(),
        "{}: {} classes, the model has {}",
        args.data,
        data.classes.len(),
        model.header.classes.len()
    );
    let splits = valid_split(&model.header, data)?;
    let mut indices = splits.indices(split).to_vec();
    indices.truncate(args.limit.unwrap_or(usize::MAX));
    ensure!(!indices.is_empty(), "no images to measure in split {}", split.name());
    Ok(EvalImages {
        model,
        data,
        split,
        indices,
        normalization: &model.header.normalization,
    })
}

/// Takes the logits of a batch, what its gates did, and its first image's place.
type Put<'a> = &'a mut dyn FnMut(&[f32], &[GateOutput], usize) -> Result<()>;

fn by_engine(bench: &EvalImages, kernel: Kernel, density: &GateSetting, put: Put) -> Result<Evaluation> {
    let compiled = |threads| -> Result<Engine> {
        let mut engine = infer::compile(
            bench.model,
            &Options {
                kernel,
                threads,
                batch: BATCH,
                ..Options::default()
            },
        )?;
        match density {
            GateSetting::All(density) => engine.set_density(*density),
            GateSetting::Found => engine.set_densities(&bench.model.header.gate_densities),
        }
        Ok(engine)
    };
    let mut engine = compiled(threads())?;
    let Latency {
        median_ms,
        p10_ms,
        p90_ms,
        ..
    } = infer::latency(&mut engine, &bench.one_image(), Duration::from_millis(500));
    let images = LabeledImages::Stored {
        images: bench.data.images(bench.split),
        indices: &bench.indices,
        normalization: bench.normalization,
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
        macs: metrics.macs(),
        macs_conv: metrics.macs_conv(),
        active_fraction: metrics.active_fraction(),
        traffic: metrics.cost(bench.model.spec(), &bench.model.masks)?,
        latency: LatencyQuantiles {
            median: median_ms,
            p10: p10_ms,
            p90: p90_ms,
        },
        images_per_s: metrics.n as f64 / spent.as_secs_f64(),
    })
}

/// The same by burn's own operations: the whole convolution, then the mask.
fn by_burn(bench: &EvalImages, density: Density, put: Put) -> Result<Evaluation> {
    let spec = bench.model.spec();
    let device = Device::flex();
    let net = Net::new(spec.clone().into(), &bench.model.weights, &device)?;
    let stats = bench.model.stats_at(density);
    let groups = [vec![density; spec.gates().len()]];
    let [c, h, w] = spec.input;
    let forward = |pixels: Vec<f32>| {
        let n = pixels.len() / (c * h * w);
        let x = Tensor::<4>::from_data(TensorData::new(pixels, [n, c, h, w]), &device);
        net.forward(
            &net.params,
            x,
            &ForwardOptions {
                groups: &groups,
                norms: Norms::Stored(&stats),
                dropout: None,
            },
        )
    };
    let image = bench.one_image();
    let mut times = Vec::new();
    while times.len() < 20 {
        let began = Instant::now();
        forward(image.clone())?.logits.into_data();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let classes = bench.model.header.classes.len();
    let (mut right, mut first, mut spent) = (0, 0, Duration::ZERO);
    let mut active = vec![0u64; spec.gates().len()];
    for (pixels, labels) in bench.batches() {
        let began = Instant::now();
        let out = forward(pixels)?;
        let logits: Vec<f32> = out.logits.into_data().try_to_vec()?;
        spent += began.elapsed();
        for (sum, gate) in active.iter_mut().zip(&out.gates) {
            *sum += (0..gate.active.images())
                .map(|i| gate.active.image(i).len() as u64)
                .sum::<u64>();
        }
        right += logits
            .chunks_exact(classes)
            .zip(&labels)
            .filter(|(row, label)| argmax(row) == Some(usize::from(**label)))
            .count();
        put(&logits, &[], first)?;
        first += labels.len();
    }
    let shapes = spec.shapes()?;
    let channels: Vec<usize> = spec.gates().iter().map(|&g| shapes[g][0]).collect();
    let fraction = |i: usize| active[i] as f64 / (channels[i] * first) as f64;
    let gates = spec.gates();
    let fractions = Fractions::propagate(spec, |node| gates.iter().position(|&g| g == node).map(fraction));
    let cost = cost::total(spec, &bench.model.masks, &fractions)?;
    let all: usize = channels.iter().sum();
    let at = |q: f64| times[(q * (times.len() - 1) as f64).round() as usize];
    Ok(Evaluation {
        top1: right as f32 / first as f32,
        macs: cost.macs,
        macs_conv: cost.macs_conv,
        traffic: cost,
        active_fraction: if all == 0 {
            1.0
        } else {
            active.iter().sum::<u64>() as f64 / (all * first) as f64
        },
        latency: LatencyQuantiles {
            median: at(0.5),
            p10: at(0.1),
            p90: at(0.9),
        },
        images_per_s: first as f64 / spent.as_secs_f64(),
    })
}

type Csv = BufWriter<std::fs::File>;

fn open_logits(path: &PathBuf, model: &Checkpoint) -> Result<Csv> {
    let file = std::fs::File::create(path).map_err(|e| anyhow!("cannot write {}: {e}", path.display()))?;
    let mut file = BufWriter::new(file);
    let names: Vec<String> = model
        .header
        .classes
        .iter()
        .map(|c| format!("\"{}\"", c.replace('"', "\"\"")))
        .collect();
    writeln!(file, "density,image,label,{}", names.join(","))?;
    Ok(file)
}

fn open_active(path: &PathBuf) -> Result<Csv> {
    let file = std::fs::File::create(path).map_err(|e| anyhow!("cannot write {}: {e}", path.display()))?;
    let mut file = BufWriter::new(file);
    writeln!(file, "density,image,gate,channels")?;
    Ok(file)
}

fn write_active(
    file: &mut Csv,
    density: &GateSetting,
    first: usize,
    gates: &[GateOutput],
    bench: &EvalImages,
) -> Result<()> {
    for gate in gates {
        let name = &bench.model.spec().nodes[gate.node].name;
        for i in 0..gate.active.images() {
            let channels: Vec<String> = gate.active.image(i).iter().map(u32::to_string).collect();
            writeln!(
                file,
                "{density},{},{name},{}",
                bench.indices[first + i],
                channels.join(" ")
            )?;
        }
    }
    Ok(())
}

fn write_logits(
    file: &mut Csv,
    density: &GateSetting,
    first: usize,
    rows: &[f32],
    model: &Checkpoint,
    bench: &EvalImages,
) -> Result<()> {
    let labels = &bench.data.images(bench.split).labels;
    for (i, row) in rows.chunks_exact(model.header.classes.len()).enumerate() {
        let index = bench.indices[first + i];
        write!(file, "{density},{index},{}", labels[index as usize])?;
        for v in row {
            write!(file, ",{v}")?;
        }
        writeln!(file)?;
    }
    Ok(())
}
