//! `secateur bench`: times this machine, on random weights and images.
//! Knows nothing of data sets.

use super::{Done, Json, OrFail};
use anyhow::{Context, Result, anyhow, ensure};
use bench::answer::{Memory, Spread, bench_answer};
use bench::train::BenchTrain;
use bench::{BenchInfer, BenchSearch};
use kernel::Kernel;
use lab::execute::Place;
use model::Density;
use record::folder::threads;
use serde::Serialize;
use train::device::DeviceName;
use train::net::NormStatistics;

#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// infer, train, search, frame, stream or answer
    pub task: String,
    /// A network of the zoo
    #[arg(long, default_value = "m-cifarnet")]
    arch: String,
    /// Its width; 1 if not given, 0.5 for search
    #[arg(long)]
    width: Option<f32>,
    /// Images a run
    #[arg(long, value_delimiter = ',')]
    batch: Vec<usize>,
    /// Threads
    #[arg(long, value_delimiter = ',', default_value = "2")]
    threads: Vec<usize>,
    /// Densities; below 1 the network is gated
    #[arg(long, value_delimiter = ',', default_value = "1,0.5")]
    density: Vec<f64>,
    /// search: how many times fewer MACs a trial has than the whole network
    #[arg(long, value_delimiter = ',', default_value = "1,4,8")]
    macs_ratio: Vec<f64>,
    /// search: images that norms are measured anew on before each evaluation
    #[arg(long, default_value_t = 64)]
    calibration: usize,
    /// Seconds for each line
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// stream: events of the log that is opened
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// frame and stream: events that a worker says while the window is timed
    #[arg(long, default_value_t = 10_000)]
    pub events_per_second: u32,
    /// avx512, avx2, neon, portable or reference; the fastest if not given
    #[arg(long)]
    kernel: Option<String>,
    /// infer: no convolution by Winograd's algorithm
    #[arg(long)]
    direct: bool,
    /// infer: share of each convolution's columns that is kept
    #[arg(long, default_value_t = 1.0)]
    columns: f64,
    /// train: norm statistics over `all` images or the `active` ones
    #[arg(long, default_value = "active")]
    norm_statistics: String,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Serialize)]
struct Line<'a, R> {
    peer: &'static str,
    task: &'a str,
    width: f32,
    batch: usize,
    threads: usize,
    density: f64,
    /// The most memory this process has had until now.
    peak_mb: Option<f64>,
    #[serde(flatten)]
    row: R,
}

pub(crate) fn bench(args: &BenchArgs) -> Done {
    let kernel = kernel(args).or_bad_input()?;
    if args.task == "stream" {
        return super::stream::stream(args.events, args.events_per_second, args.seconds, args.json);
    }
    let batches = match (&args.batch[..], args.task.as_str()) {
        ([], "infer") => vec![1, 64],
        ([], _) => vec![64],
        (given, _) => given.to_vec(),
    };
    ensure_counts(&batches, &args.threads).or_bad_input()?;
    if !(args.columns > 0.0 && args.columns <= 1.0) {
        return Err(anyhow!(
            "--columns {}: expected more than 0 and at most 1",
            args.columns
        ))
        .or_bad_input();
    }
    let width = args.width.unwrap_or(if args.task == "search" { 0.5 } else { 1.0 });
    if args.task == "answer" {
        return answer(args);
    }
    if args.task == "search" {
        return search(args, kernel, width, &batches);
    }
    let densities: Vec<Density> = args
        .density
        .iter()
        .map(|&d| Density::fraction(d))
        .collect::<Result<_>>()
        .or_bad_input()?;
    let norm_statistics = match args.norm_statistics.as_str() {
        "all" => NormStatistics::All,
        "active" => NormStatistics::Active,
        other => return Err(anyhow!("--norm-statistics {other}: expected all or active")).or_bad_input(),
    };
    for &threads in &args.threads {
        for &batch in &batches {
            for &density in &densities {
                let (arch, seconds) = (args.arch.clone(), args.seconds);
                let row = match args.task.as_str() {
                    "infer" => BenchInfer {
                        arch,
                        width,
                        batch,
                        threads,
                        density,
                        seconds,
                        kernel,
                        winograd: !args.direct,
                        columns: args.columns,
                    }
                    .run(),
                    "train" => BenchTrain {
                        arch,
                        width,
                        batch,
                        threads,
                        density,
                        seconds,
                        kernel,
                        norm_statistics,
                    }
                    .run(),
                    other => Err(anyhow!(
                        "unknown task {other}, expected infer, train, search, frame, stream or answer"
                    )),
                };
                let row = row.or_bad_input()?;
                let line = Line {
                    peer: "secateur",
                    task: &args.task,
                    width,
                    batch,
                    threads,
                    density: density.as_fraction(),
                    peak_mb: peak_mb(),
                    row,
                };
                args.json.say(&line, || {
                    let r = &line.row;
                    format!(
                        "{} width {width} batch {batch} threads {threads} density {density}: {:.3} ms ({:.3}–{:.3}), {:.0} images/s, {:.1} GMAC/s, {}{}",
                        args.task,
                        r.median_ms,
                        r.p10_ms,
                        r.p90_ms,
                        r.images_per_s,
                        r.gmacs_per_s,
                        r.kernel,
                        line.peak_mb.map_or(String::new(), |mb| format!(", at most {mb:.0} MB until now"))
                    )
                });
            }
        }
    }
    Ok(0)
}

/// Questions and stops, timed through a session.
fn answer(args: &BenchArgs) -> Done {
    let runs = std::env::temp_dir().join(format!("secateur-bench-{}", std::process::id()));
    let place = Place {
        runs: runs.clone(),
        device: DeviceName::default(),
        threads: threads(),
    };
    let times = bench_answer(place, 40, 10);
    // Nobody reads these runs.
    drop(std::fs::remove_dir_all(&runs));
    let times = times.or_failed()?;
    args.json.say(&times, || {
        let say = |s: &Spread| format!("{:.1} ms (worst of {}: {:.1})", s.median_ms, s.n, s.worst_ms);
        format!(
            "opened and measured in {:.0} ms; first answer to a drag {}, beside a training {}; stop {}",
            times.open_ms,
            say(&times.first),
            say(&times.first_in_training),
            say(&times.stop)
        )
    });
    Ok(0)
}

/// Evaluations of trial masks: filters alone, and filters with columns.
fn search(args: &BenchArgs, kernel: Kernel, width: f32, batches: &[usize]) -> Done {
    for (&threads, &batch) in args.threads.iter().flat_map(|t| batches.iter().map(move |b| (t, b))) {
        let trials = args
            .macs_ratio
            .iter()
            .flat_map(|&ratio| [(ratio, false), (ratio, true)]);
        // Without fewer MACs there is nothing to mask.
        for (macs_ratio, columns) in trials.filter(|&(ratio, columns)| ratio > 1.0 || !columns) {
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
            let line = Line {
                peer: "secateur",
                task: &args.task,
                width,
                batch,
                threads,
                density: 1.0,
                peak_mb: peak_mb(),
                row,
            };
            args.json.say(&line, || {
                let r = &line.row;
                format!(
                    "search width {width} batch {batch} threads {threads} MACs 1/{:.2} by {}: {:.2} evaluations/s of {} images, {:.2} ms ({:.2}–{:.2}), {}",
                    r.macs_ratio, r.masks, r.evals_per_s, r.images, r.row.median_ms, r.row.p10_ms, r.row.p90_ms, r.row.kernel
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

fn ensure_counts(batches: &[usize], threads: &[usize]) -> Result<()> {
    ensure!(
        batches.iter().all(|b| (1..=4096).contains(b)),
        "--batch: expected 1 to 4096"
    );
    ensure!(
        threads.iter().all(|t| (1..=64).contains(t)),
        "--threads: expected 1 to 64"
    );
    Ok(())
}
