//! How long two networks take in a runtime that other people deploy on, one beside the other, and why the second is slower if it
//! is: before and after pruning.
//! Knows nothing of how they were pruned.

use super::second_runtime::SecondRuntime;
use anyhow::{Context, Result, bail, ensure};
use infer::quantiles;
use model::NetSpec;
use model::spec::{Op, Shape};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time for each pair of networks and batch.
const BUDGET: Duration = Duration::from_millis(800);

/// Fewest runs of each, whatever the time.
const LEAST: usize = 3;

/// A longer time than this share of the time before is slower; less is noise.
const NOISE: f64 = 1.05;

/// What most runtimes compute at once.
const VECTOR: usize = 8;

/// What times ONNX files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The runtime that reads every export back.
    SecondRuntime,
    /// `COMMAND FILE.onnx BATCH`, by the shell. It prints milliseconds of a batch: a number a line, or JSON, a list of numbers or
    /// an object with a number or a list as `ms`. The median counts.
    Command(String),
}

impl Timer {
    /// The runtime's name, for people.
    pub fn name(&self) -> &str {
        match self {
            Self::SecondRuntime => "rten",
            Self::Command(command) => command,
        }
    }
}

/// Milliseconds of one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchTimes {
    /// Images at once.
    pub batch: usize,
    /// Median before pruning.
    pub before_ms: f64,
    /// Median after it.
    pub after_ms: f64,
}

impl BatchTimes {
    /// Whether pruning made it slower, beyond noise.
    pub fn is_slower(&self) -> bool {
        self.after_ms > NOISE * self.before_ms
    }
}

/// Times two ONNX files of ours, before and after pruning, that take images of this shape.
///
/// # Errors
/// The runtime does not take a file; the command fails or prints something else than milliseconds.
pub fn time(files: [&[u8]; 2], input: Shape, timer: &Timer, batches: &[usize]) -> Result<Vec<BatchTimes>> {
    let times: Vec<[f64; 2]> = match timer {
        Timer::SecondRuntime => in_turn(files, input, batches)?,
        Timer::Command(command) => by_command(files, command, batches)?,
    };
    let each = batches.iter().zip(times);
    Ok(each
        .map(|(&batch, [before_ms, after_ms])| BatchTimes {
            batch,
            before_ms,
            after_ms,
        })
        .collect())
}

/// Runs take turns, so that what else the machine does befalls both.
fn in_turn(files: [&[u8]; 2], input: Shape, batches: &[usize]) -> Result<Vec<[f64; 2]>> {
    let runtimes = files.map(|file| SecondRuntime::new(input, file.to_vec(), &[]));
    let [before, after] = runtimes;
    let runtimes = [before?, after?];
    let mut out = Vec::new();
    for &batch in batches {
        let images = vec![0.5; batch * input.iter().product::<usize>()];
        let mut runs = [Vec::new(), Vec::new()];
        for runtime in &runtimes {
            runtime.run(&images)?;
        }
        let start = Instant::now();
        while runs[1].len() < LEAST || start.elapsed() < BUDGET {
            for (runtime, runs) in runtimes.iter().zip(&mut runs) {
                let at = Instant::now();
                runtime.run(&images)?;
                runs.push(at.elapsed().as_secs_f64() * 1e3);
            }
        }
        out.push(runs.map(|mut runs| quantiles(&mut runs).median_ms));
    }
    Ok(out)
}

/// A file that is gone when it is dropped.
struct Passing(PathBuf);

impl Passing {
    fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("secateur-{}-{name}.onnx", std::process::id()));
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // It lies among temporary files.
        drop(std::fs::remove_file(&self.0));
    }
}

fn by_command([before, after]: [&[u8]; 2], command: &str, batches: &[usize]) -> Result<Vec<[f64; 2]>> {
    let files = [Passing::new("before", before)?, Passing::new("after", after)?];
    let median = |file: &Passing, batch| -> Result<f64> {
        let mut runs =
            milliseconds(&told(command, &file.0, batch)?).with_context(|| format!("--time-with {command}"))?;
        Ok(quantiles(&mut runs).median_ms)
    };
    let each = batches.iter().map(|&batch| {
        let [before, after] = &files;
        Ok([median(before, batch)?, median(after, batch)?])
    });
    each.collect()
}

/// What the command prints on stdout; its stderr is for people.
fn told(command: &str, file: &Path, batch: usize) -> Result<String> {
    let mut shell = if cfg!(windows) {
        let mut shell = Command::new("cmd");
        shell.arg("/C").arg(format!("{command} \"{}\" {batch}", file.display()));
        shell
    } else {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} \"$0\" \"$1\"")]);
        shell.arg(file).arg(batch.to_string());
        shell
    };
    let output = shell
        .stdin(Stdio::null())
        .output()
        .context("cannot start a shell for --time-with")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
        bail!(
            "--time-with {command}: it ended with {}{}",
            output.status,
            last.map_or(String::new(), |line| format!(" ({})", line.trim()))
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads what a timing command prints: a number a line, or JSON.
///
/// # Errors
/// Something else, not a number, or a number that is not a time.
fn milliseconds(text: &str) -> Result<Vec<f64>> {
    let mut runs = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let value = serde_json::from_str::<serde_json::Value>(line).ok();
        let value = value.map(|v| v.get("ms").cloned().unwrap_or(v));
        let numbers = match value {
            Some(serde_json::Value::Array(list)) => list.iter().map(serde_json::Value::as_f64).collect(),
            Some(value) => value.as_f64().map(|ms| vec![ms]),
            None => None,
        };
        let Some(numbers) = numbers.filter(|all| all.iter().all(|ms| ms.is_finite() && *ms > 0.0)) else {
            bail!("it printed {line:?}, expected milliseconds: a number a line, or JSON {{\"ms\": [1.5, 1.4]}}")
        };
        runs.extend(numbers);
    }
    ensure!(!runs.is_empty(), "it printed no milliseconds");
    Ok(runs)
}

/// Why a pruned network may take longer than the one before.
pub fn why_slower(before: &NetSpec, after: &NetSpec) -> String {
    let widths = |spec: &NetSpec| -> Vec<usize> {
        let filters = |op: &Op| {
            if let Op::Conv { filters, .. } = op {
                Some(*filters)
            } else {
                None
            }
        };
        spec.nodes.iter().filter_map(|n| filters(&n.op)).collect()
    };
    let (old, new) = (widths(before), widths(after));
    let mut odd: Vec<usize> = new.iter().copied().filter(|n| !n.is_multiple_of(VECTOR)).collect();
    let were_odd = old.iter().filter(|n| !n.is_multiple_of(VECTOR)).count();
    if odd.len() > were_odd {
        let n = odd.len();
        odd.sort_unstable_by(|a, b| b.cmp(a));
        odd.dedup();
        let some: Vec<String> = odd.iter().take(4).map(ToString::to_string).collect();
        let more = if odd.len() > some.len() { ", …" } else { "" };
        return format!(
            "{n} of {} convolutions have widths that are no multiples of {VECTOR} ({}{more}), which vector code is slow on; \
             method.width_multiple = {VECTOR} avoids them",
            new.len(),
            some.join(", ")
        );
    }
    if old == new {
        return "no layer is narrower: what is masked is computed as zeros".to_owned();
    }
    "its layers may be too small for the runtime's threads to pay".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::onnx_bytes;
    use super::*;
    use model::{Density, random_model, zoo};

    #[test]
    fn numbers_and_json_are_read_and_nothing_else() {
        let of = |text: &str| milliseconds(text).map_err(|e| e.to_string());
        assert_eq!(of("1.5\n\n 2\n"), Ok(vec![1.5, 2.0]));
        assert_eq!(of("[1, 2.5]"), Ok(vec![1.0, 2.5]));
        assert_eq!(of("{\"ms\": [3.0], \"n\": 1}\n{\"ms\": 4}"), Ok(vec![3.0, 4.0]));
        for wrong in [
            "fast",
            "1.5 ms",
            "-1",
            "0",
            "{\"s\": 1}",
            "{\"ms\": \"1\"}",
            "1\nnan",
            "[1, null]",
        ] {
            assert!(of(wrong).is_err_and(|e| e.contains("expected milliseconds")), "{wrong}");
        }
        assert_eq!(of("\n"), Err("it printed no milliseconds".into()));
    }

    #[test]
    fn both_files_are_timed_and_a_slower_one_gets_its_reason() {
        let spec = |name: &str, width| zoo::build(name, [1, 8, 8], 3, width).expect("builds");
        let (wide, narrow) = (spec("m-cifarnet", 0.5), spec("m-cifarnet", 0.05));
        let file = |spec: &NetSpec| {
            onnx_bytes(&random_model(spec.clone(), 1).expect("builds"), Density::FULL).expect("writes")
        };
        let files = [file(&wide), file(&narrow)];
        let times = |files: [&[u8]; 2]| time(files, [1, 8, 8], &Timer::SecondRuntime, &[1, 2]).expect("times");
        let found = times([&files[0], &files[1]]);
        assert_eq!(found.iter().map(|t| t.batch).collect::<Vec<_>>(), [1, 2]);
        assert!(found.iter().all(|t| t.before_ms > 0.0 && t.after_ms > 0.0), "{found:?}");
        let back = times([&files[1], &files[0]]);
        assert!(back.iter().all(BatchTimes::is_slower), "{back:?}");
        let why = why_slower(&wide, &narrow);
        assert!(
            why.contains("no multiples of 8") && why.contains("method.width_multiple = 8"),
            "{why}"
        );
        assert!(why_slower(&wide, &wide).contains("as zeros"));
    }

    #[cfg(unix)]
    #[test]
    fn a_command_gets_the_file_and_the_batch_and_its_failure_is_told() {
        let of = |command: &str| time([b"12345", b"12"], [1, 8, 8], &Timer::Command(command.into()), &[1, 32]);
        // The size of the file times the batch, as milliseconds; then the same once more.
        let size = r#"f() { n=$(wc -c < "$1"); echo $((n * $2)); echo "[$((n * $2))]"; }; f"#;
        let found = of(size).expect("times");
        let told: Vec<_> = found.iter().map(|t| (t.batch, t.before_ms, t.after_ms)).collect();
        assert_eq!(told, [(1, 5.0, 2.0), (32, 160.0, 64.0)]);
        let fails = of("f() { echo no such runtime >&2; exit 3; }; f")
            .expect_err("fails")
            .to_string();
        assert!(fails.contains("(no such runtime)"), "{fails}");
        assert!(format!("{:#}", of("echo").expect_err("prints a path")).contains("expected milliseconds"));
    }
}
