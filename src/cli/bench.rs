//! `secateur bench`: times this machine, on random weights and images.
//! Knows nothing of data sets; what quick scores say is measured in `signal.rs`.

use super::failure::{Done, OrFail};
use super::output::Json;
use super::signal;
use super::signal::SignalArgs;
use anyhow::{Context, Result, ensure};
use bench::answer::{Memory, Spread, bench_answer};
use bench::stream::bench_stream;
use bench::train::BenchTrain;
use bench::{BenchInfer, BenchSearch};
use infer::{LayerTime, OtherWork, OtherWorkSpan};
use kernel::Kernel;
use lab::Workspace;
use model::{Density, Precision};
use record::folder::threads;
use serde::Serialize;
use std::path::Path;
use train::NormStatistics;
use train::device::DeviceName;

/// The network of the bundled model, which `answer` opens unless another network or width is asked for.
const BUNDLED: &str = "m-cifarnet";

#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// What is timed
    pub task: BenchTask,
    /// The network
    #[arg(long, default_value = BUNDLED)]
    arch: String,
    /// Width of the network; if not given, 1, or 0.5 for search
    #[arg(long)]
    width: Option<f32>,
    /// infer, train and frame: channels, height and width of the images
    #[arg(long, value_delimiter = ',', default_value = "3,32,32")]
    input: Vec<usize>,
    /// infer: also time every layer of one image; train: of a step
    #[arg(long)]
    by_layer: bool,
    /// Images in a batch; 1 and 64 for infer if not given, otherwise 64
    #[arg(long, value_delimiter = ',')]
    batch: Vec<usize>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "2")]
    threads: Vec<usize>,
    /// Densities; below 1 the network is gated
    #[arg(long, value_delimiter = ',', default_value = "1,0.5")]
    density: Vec<Density>,
    /// search: how many times fewer MACs a trial has than the dense network
    #[arg(long, value_delimiter = ',', default_value = "1,4,8")]
    macs_ratio: Vec<f64>,
    /// search: images on which norm statistics are recomputed before each evaluation
    #[arg(long, default_value_t = 64)]
    calibration: usize,
    /// Seconds for each line
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// stream: events in the log that is opened
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// frame and stream: events that arrive per second
    #[arg(long, default_value_t = 10_000)]
    pub events_per_second: u32,
    /// Kernel: avx512, avx2, neon, portable or reference; the fastest if not given
    #[arg(long)]
    kernel: Option<String>,
    /// infer: do not use Winograd's algorithm
    #[arg(long)]
    direct: bool,
    /// infer: what convolutions multiply, f32 or int8
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// infer: share of the columns that each convolution keeps
    #[arg(long, default_value_t = 1.0)]
    columns: f64,
    /// train: images over which norm statistics are computed
    #[arg(long, default_value = "active")]
    norm_statistics: NormImages,
    #[command(flatten)]
    signal: SignalArgs,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub(crate) enum BenchTask {
    /// Inference by the engine
    Infer,
    /// Training steps
    Train,
    /// Evaluations of the trials of a search
    Search,
    /// Frames of the window while it draws a run
    Frame,
    /// Opening a long log and following it
    Stream,
    /// Answers to a dragged density, and stops
    Answer,
    /// How much the quick scores of a search say of accuracy after retraining
    Signal,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum NormImages {
    /// All images of the batch
    All,
    /// The images in which the channel is active
    Active,
}

#[derive(Serialize)]
struct BenchLine<R> {
    peer: &'static str,
    task: &'static str,
    width: f32,
    batch: usize,
    threads: usize,
    density: f64,
    /// Most memory of this process until now.
    peak_mb: Option<f64>,
    /// Load of the machine per core over the last minute, where the system says it; this program's own work counts, too.
    load: Option<f64>,
    /// What others had of the processors while the row was made, where the system says it.
    others: Option<OtherWork>,
    #[serde(flatten)]
    row: R,
}

impl<R> BenchLine<R> {
    /// A warning if others had the processors.
    fn busy(&self) -> String {
        let seen = self.others.as_ref().and_then(OtherWork::says);
        seen.map_or_else(String::new, |text| format!("; {text}"))
    }
}

/// What the window draws while its frames are timed.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameArgs {
    /// A network of the zoo.
    pub arch: String,
    /// Channels, height and width of its images.
    pub input: [usize; 3],
    /// Its width.
    pub width: f32,
    /// How long events arrive.
    pub seconds: f64,
    /// How many of them.
    pub events_per_second: u32,
}

impl BenchArgs {
    /// What `frame` draws.
    pub(crate) fn frame(&self) -> Result<FrameArgs> {
        Ok(FrameArgs {
            arch: self.arch.clone(),
            input: self.input[..].try_into().context("--input: expected C,H,W")?,
            width: self.width.unwrap_or(1.0),
            seconds: self.seconds,
            events_per_second: self.events_per_second,
        })
    }
}

pub(crate) fn bench(args: &BenchArgs) -> Done {
    if args.task == BenchTask::Signal {
        return signal::signal(&args.signal, args.json);
    }
    let kernel = kernel(args).or_bad_input()?;
    let batches = match (&args.batch[..], args.task) {
        ([], BenchTask::Infer) => vec![1, 64],
        ([], _) => vec![64],
        (given, _) => given.to_vec(),
    };
    check(args, &batches).or_bad_input()?;
    match args.task {
        BenchTask::Infer | BenchTask::Train => network(args, kernel, &batches),
        BenchTask::Search => search(args, kernel, &batches),
        BenchTask::Answer => answer(args),
        BenchTask::Stream => stream(args),
        BenchTask::Frame => unreachable!("the program times its own window"),
        BenchTask::Signal => unreachable!("it is no matter of time"),
    }
}

/// Batches or training steps of a network, at each number of threads, batch size and density.
fn network(args: &BenchArgs, kernel: Kernel, batches: &[usize]) -> Done {
    let width = args.width.unwrap_or(1.0);
    let is_train = args.task == BenchTask::Train;
    let norm_statistics = match args.norm_statistics {
        NormImages::All => NormStatistics::All,
        NormImages::Active => NormStatistics::Active,
    };
    let settings = args.threads.iter().flat_map(|&threads| {
        let of_batch = move |&batch| args.density.iter().map(move |&density| (threads, batch, density));
        batches.iter().flat_map(of_batch)
    });
    for (threads, batch, density) in settings {
        let (arch, seconds) = (args.arch.clone(), args.seconds);
        let input = args.input[..].try_into().context("--input").or_bad_input()?;
        let span = OtherWorkSpan::begin();
        let row = if is_train {
            BenchTrain {
                arch,
                width,
                input,
                batch,
                threads,
                density,
                seconds,
                kernel,
                norm_statistics,
                by_layer: args.by_layer,
            }
            .run()
        } else {
            BenchInfer {
                arch,
                width,
                input,
                batch,
                threads,
                density,
                seconds,
                kernel,
                winograd: !args.direct,
                columns: args.columns,
                precision: args.precision,
                by_layer: args.by_layer,
            }
            .run()
        };
        let line = BenchLine {
            peer: "secateur",
            task: if is_train { "train" } else { "infer" },
            width,
            batch,
            threads,
            density: density.as_fraction(),
            peak_mb: peak_mb(),
            load: infer::load_per_core(),
            others: span.end(),
            row: row.or_bad_input()?,
        };
        args.json.say(&line, || {
            let r = &line.row;
            format!(
                "{} width {width} batch {batch} threads {threads} density {density}: {:.3} ms ({:.3}–{:.3}), {:.0} images/s, {:.1} GMAC/s, {}{}{}",
                line.task,
                r.median_ms,
                r.p10_ms,
                r.p90_ms,
                r.images_per_s,
                r.gmacs_per_s,
                r.kernel,
                line.peak_mb.map_or(String::new(), |mb| format!(", at most {mb:.0} MB until now")),
                line.busy()
            ) + &by_layer(&r.layers)
        });
    }
    Ok(0)
}

/// A line per layer.
fn by_layer(layers: &[LayerTime]) -> String {
    let line = |l: &LayerTime| {
        let rate = l.macs as f64 / l.median_ms / 1e6;
        format!(
            "\n  {:8.4} ms {:7.1} GMAC/s  {:10} {}",
            l.median_ms, rate, l.operation, l.name
        )
    };
    layers.iter().map(line).collect()
}

/// Questions and stops, timed through a session.
fn answer(args: &BenchArgs) -> Done {
    let times = in_temporary_folder(|runs| {
        let workspace = Workspace {
            runs: runs.to_path_buf(),
            device: DeviceName::default(),
            threads: threads(),
            farm: None,
        };
        let network =
            (args.arch != BUNDLED || args.width.is_some()).then(|| (args.arch.as_str(), args.width.unwrap_or(1.0)));
        bench_answer(workspace, network, 40, 10)
    });
    let times = times.or_failed()?;
    args.json.say(&times, || {
        let say = |s: &Spread| format!("{:.1} ms (worst of {}: {:.1})", s.median_ms, s.n, s.worst_ms);
        format!(
            "opened and measured in {:.0} ms; first answer to a drag of the density {}, during training {}; of the target {}, during training {}; stop {}",
            times.open_ms,
            say(&times.first),
            say(&times.first_in_training),
            say(&times.target),
            say(&times.target_in_training),
            say(&times.stop)
        )
    });
    Ok(0)
}

/// A long log, opened and followed.
fn stream(args: &BenchArgs) -> Done {
    let times = in_temporary_folder(|dir| bench_stream(dir, args.events, args.events_per_second, args.seconds));
    let times = times.or_failed()?;
    args.json.say(&times, || {
        format!(
            "{} events, {:.0} MB: opened in {:.0} ms with {:.0} MB of memory; {} events followed at {} per second, at most {:.0} ms late, with {:.0} MB more",
            times.events,
            times.bytes as f64 / 1e6,
            times.open_ms,
            times.held_mb.unwrap_or(f64::NAN),
            times.followed,
            times.rate,
            times.lag_ms,
            times.grown_mb.unwrap_or(f64::NAN)
        )
    });
    Ok(0)
}

/// Works in a folder of runs that nobody reads afterwards.
fn in_temporary_folder<T>(work: impl FnOnce(&Path) -> T) -> T {
    let dir = std::env::temp_dir().join(format!("secateur-bench-{}", std::process::id()));
    // What cannot be made is said by who writes there.
    drop(std::fs::create_dir_all(&dir));
    let result = work(&dir);
    drop(std::fs::remove_dir_all(&dir));
    result
}

/// Evaluations of trial masks: filters alone, and filters with columns.
fn search(args: &BenchArgs, kernel: Kernel, batches: &[usize]) -> Done {
    let width = args.width.unwrap_or(0.5);
    for (&threads, &batch) in args.threads.iter().flat_map(|t| batches.iter().map(move |b| (t, b))) {
        let ratios = args.macs_ratio.iter();
        let trials = ratios.flat_map(|&ratio| [(ratio, false), (ratio, true)]);
        // Without fewer MACs there is nothing to mask.
        for (macs_ratio, columns) in trials.filter(|&(ratio, columns)| ratio > 1.0 || !columns) {
            let span = OtherWorkSpan::begin();
            let row = BenchSearch {
                arch: args.arch.clone(),
                width,
                batch,
                threads,
                macs_ratio,
                columns,
                calibration: args.calibration,
                seconds: args.seconds,
                kernel,
            }
            .run()
            .or_bad_input()?;
            let line = BenchLine {
                peer: "secateur",
                task: "search",
                width,
                batch,
                threads,
                density: 1.0,
                peak_mb: peak_mb(),
                load: infer::load_per_core(),
                others: span.end(),
                row,
            };
            args.json.say(&line, || {
                let r = &line.row;
                format!(
                    "search width {width} batch {batch} threads {threads} MACs 1/{:.2} by {}: {:.2} evaluations/s of {} images, {:.2} ms ({:.2}–{:.2}), {}{}",
                    r.macs_ratio, r.masks, r.evals_per_s, r.images, r.row.median_ms, r.row.p10_ms, r.row.p90_ms, r.row.kernel, line.busy()
                )
            });
        }
    }
    Ok(0)
}

fn peak_mb() -> Option<f64> {
    Memory::read().map(|m| m.peak_mb)
}

fn kernel(args: &BenchArgs) -> Result<Kernel> {
    let Some(name) = &args.kernel else {
        return Ok(Kernel::best());
    };
    let known: Vec<&str> = Kernel::available().iter().map(Kernel::name).collect();
    Kernel::by_name(name)
        .with_context(|| format!("kernel {name} does not run here, expected one of {}", known.join(", ")))
}

fn check(args: &BenchArgs, batches: &[usize]) -> Result<()> {
    ensure!(
        batches.iter().all(|b| (1..=4096).contains(b)),
        "--batch: expected 1 to 4096"
    );
    ensure!(
        args.threads.iter().all(|t| (1..=64).contains(t)),
        "--threads: expected 1 to 64"
    );
    ensure!(
        matches!(args.input[..], [c, h, w] if [c, h, w].iter().all(|n| (1..=4096).contains(n))),
        "--input: expected channels, height and width, each 1 to 4096"
    );
    ensure!(
        args.columns > 0.0 && args.columns <= 1.0,
        "--columns {}: expected more than 0 and at most 1",
        args.columns
    );
    Ok(())
}
