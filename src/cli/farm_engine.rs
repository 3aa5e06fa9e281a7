//! The schedulers that a farm can be: what is asked of them, by their own programs.
//! Knows nothing of runs: a task is a number, and `secateur farm-task` does the rest.

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

/// A scheduler that has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Machines that have nothing else to do have answered by then.
const PROBING: Duration = Duration::from_secs(20);
/// A task whose machine is lost so often does not come to its end.
const CRASHES: &str = "20";
/// What a machine answers before it is given work: `sh -c … sh FILE PROGRAM VERSION`.
const PROBE: &str =
    "test -f \"$1\" || exit 41; test -x \"$2\" || exit 42; test \"$(\"$2\" --version)\" = \"$3\" || exit 43; sleep 1";

/// Who shares out the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FarmEngine {
    /// HyperQueue, with a server and workers that you started
    Hq,
    /// SLURM, by sbatch arrays
    Slurm,
}

/// What is to be run where.
pub(crate) struct FarmOrder<'a> {
    /// What people see in the scheduler's own lists.
    pub name: &'a str,
    /// The plan's folder, where logs go, too.
    pub folder: &'a Path,
    /// A file that all machines must see.
    pub shared: &'a Path,
    /// This program, where all machines must have it.
    pub program: &'a Path,
    /// Cores for each run.
    pub cpus: Option<usize>,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the queue.
    Waiting,
    /// On a machine.
    Running,
    /// Nowhere any more, however it ended.
    Over,
}

/// A task as its scheduler has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FarmTask {
    pub place: Place,
    /// The machine's number or name, if it has one.
    pub worker: Option<String>,
    /// Why it ended, if its scheduler complains.
    pub error: Option<String>,
}

impl FarmEngine {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hq => "hq",
            Self::Slurm => "slurm",
        }
    }

    /// Checks that it is there and answers.
    ///
    /// # Errors
    /// One line: its program is not on PATH, or nobody answers.
    pub(crate) fn check(self) -> Result<()> {
        let (asked, hint) = match self {
            Self::Hq => (
                hq(&["server", "info"]),
                "HyperQueue, its server started by `hq server start` and workers by `hq worker start`",
            ),
            Self::Slurm => (
                call("sinfo", &["--noheader"], ""),
                "SLURM, as on a machine that can call sbatch",
            ),
        };
        asked.map_err(|e| anyhow!("--farm {}: {e:#}; expected {hint}", self.name()))?;
        Ok(())
    }

    /// Asks its machines whether they share the folder and have this version of the program. Gives what people should know.
    ///
    /// # Errors
    /// One line: a machine that does not.
    pub(crate) fn probe(self, order: &FarmOrder) -> Result<Option<String>> {
        let file = order.shared.to_string_lossy();
        let program = order.program.to_string_lossy();
        let version = concat!("secateur ", env!("CARGO_PKG_VERSION"));
        let script = ["sh", "-c", PROBE, "sh", &file, &program, version];
        let wrong = |worker: &str, error: &str| -> Result<()> {
            let at = format!("--farm {}: {worker}", self.name());
            let is = |code: u8| error.contains(&format!("exit code {code}"));
            ensure!(
                !is(41),
                "{at} does not see {file}: expected --runs on storage that all machines share"
            );
            ensure!(
                !is(42),
                "{at} has no program {program}: expected it in the same place on all machines"
            );
            ensure!(
                !is(43),
                "{at} has another version of {program}, expected {version} as here"
            );
            ensure!(error.is_empty(), "{at}: {error}");
            Ok(())
        };
        match self {
            Self::Hq => {
                let workers = json(&hq(&["worker", "list"])?)?;
                let n = workers.as_array().map_or(0, Vec::len);
                if n == 0 {
                    return Ok(Some(
                        "no worker is there yet; the runs wait for `hq worker start`".into(),
                    ));
                }
                let array = format!("1-{n}");
                let mut args = vec!["submit", "--name", "secateur-probe", "--array", &array, "--cpus", "all"];
                args.extend([
                    "--stdout",
                    "none",
                    "--stderr",
                    "none",
                    "--cwd",
                    "/",
                    "--crash-limit",
                    "1",
                    "--",
                ]);
                args.extend(script);
                let job = hq_job(&args)?;
                let until = Instant::now() + PROBING;
                loop {
                    let tasks = self.tasks(&job, "secateur-probe")?.unwrap_or_default();
                    for task in tasks.values().filter(|t| t.place == Place::Over) {
                        let worker = task.worker.as_deref().unwrap_or("?");
                        wrong(&format!("worker {worker}"), task.error.as_deref().unwrap_or(""))?;
                    }
                    let late = tasks.values().filter(|t| t.place != Place::Over).count();
                    if late == 0 {
                        return Ok(None);
                    }
                    if Instant::now() > until {
                        self.stop(&job)?;
                        return Ok(Some(format!("{late} of {n} workers are busy and were not checked")));
                    }
                    sleep(Duration::from_millis(300));
                }
            }
            Self::Slurm => {
                let immediate = format!("--immediate={}", PROBING.as_secs());
                let mut args = vec!["--ntasks=1", "--time=2", "--chdir=/", &immediate];
                args.extend(script);
                match call("srun", &args, "") {
                    Err(e) if format!("{e:#}").contains("exit code 4") => {
                        wrong("a node", &format!("{e:#}")).map(|()| None)
                    }
                    Err(e) => Ok(Some(format!("nodes were not checked: {e:#}"))),
                    Ok(_) => Ok(None),
                }
            }
        }
    }

    /// Submits tasks by their numbers; gives the scheduler's number for them.
    ///
    /// # Errors
    /// One line of the scheduler's.
    pub(crate) fn submit(self, order: &FarmOrder, numbers: &[usize]) -> Result<String> {
        let (folder, program) = (order.folder.to_string_lossy(), order.program.to_string_lossy());
        let array = ranges(numbers);
        match self {
            Self::Hq => {
                let cpus = order.cpus.map_or("all".to_owned(), |n| n.to_string());
                let log = format!("{folder}/%{{TASK_ID}}.%{{INSTANCE_ID}}.log");
                let mut args = vec!["submit", "--name", order.name, "--array", &array, "--cpus", &cpus];
                args.extend(["--pin", "taskset", "--crash-limit", CRASHES, "--cwd", &folder]);
                args.extend([
                    "--stdout",
                    "none",
                    "--stderr",
                    &log,
                    "--",
                    &program,
                    "farm-task",
                    &folder,
                ]);
                hq_job(&args)
            }
            Self::Slurm => {
                let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
                let script = format!("#!/bin/sh\nexec {} farm-task {}\n", quoted(&program), quoted(&folder));
                let [array, log] = [format!("--array={array}"), format!("--output={folder}/%a.log")];
                let [name, chdir] = [format!("--job-name={}", order.name), format!("--chdir={folder}")];
                let cpus = order.cpus.map(|n| format!("--cpus-per-task={n}"));
                let mut args = vec![
                    "--parsable",
                    "--requeue",
                    "--open-mode=append",
                    &array,
                    &log,
                    &name,
                    &chdir,
                ];
                args.extend(cpus.as_deref());
                let said = call("sbatch", &args, &script)?;
                let id = said.trim().split(';').next().unwrap_or("").to_owned();
                ensure!(!id.is_empty(), "sbatch says no job number");
                Ok(id)
            }
        }
    }

    /// The tasks of what was submitted. None if it knows nothing of it any more, or by another name.
    ///
    /// # Errors
    /// It does not answer, or not in its own words.
    pub(crate) fn tasks(self, job: &str, name: &str) -> Result<Option<BTreeMap<usize, FarmTask>>> {
        match self {
            Self::Hq => hq_tasks(&json(&hq(&["job", "info", job])?)?, name),
            Self::Slurm => match call(
                "squeue",
                &["--noheader", "--array", "--jobs", job, "--format=%K|%T|%N|%j"],
                "",
            ) {
                Err(e) if format!("{e:#}").contains("Invalid job id") => Ok(None),
                Err(e) => Err(e),
                Ok(text) => Ok(Some(slurm_tasks(&text, name))),
            },
        }
    }

    /// Stops all its tasks.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn stop(self, job: &str) -> Result<()> {
        match self {
            Self::Hq => hq(&["job", "cancel", job])?,
            Self::Slurm => call("scancel", &[job], "")?,
        };
        Ok(())
    }
}

fn hq(args: &[&str]) -> Result<String> {
    call("hq", &[&["--output-mode=json"], args].concat(), "")
}

/// Submits to HyperQueue; gives the job's number.
fn hq_job(args: &[&str]) -> Result<String> {
    let said = json(&hq(args)?)?;
    let id = said.get("id").and_then(Value::as_u64);
    id.map(|id| id.to_string()).context("hq says no job number")
}

/// What `hq job info` says of a job's tasks.
fn hq_tasks(said: &Value, name: &str) -> Result<Option<BTreeMap<usize, FarmTask>>> {
    let Some(job) = said.get(0) else { return Ok(None) };
    if job.pointer("/info/name").and_then(Value::as_str) != Some(name) {
        return Ok(None);
    }
    let tasks = job.get("tasks").and_then(Value::as_array);
    let read = |task: &Value| {
        let number = usize::try_from(task.get("id")?.as_u64()?).ok()?;
        let place = match task.get("state")?.as_str()? {
            "waiting" => Place::Waiting,
            "running" => Place::Running,
            _ => Place::Over,
        };
        let error = task.get("error").and_then(Value::as_str).map(str::to_owned);
        let worker = task.get("worker").map(Value::to_string);
        Some((number, FarmTask { place, worker, error }))
    };
    let tasks: Option<_> = tasks.and_then(|tasks| tasks.iter().map(read).collect());
    Ok(Some(tasks.context("hq job info: expected tasks with id and state")?))
}

/// What `squeue` lists: `INDEX|STATE|NODE|NAME`. What it does not list is over.
fn slurm_tasks(text: &str, name: &str) -> BTreeMap<usize, FarmTask> {
    let read = |line: &str| {
        let mut words = line.trim().splitn(4, '|');
        let number = words.next()?.parse().ok()?;
        let place = match words.next()? {
            "RUNNING" | "COMPLETING" => Place::Running,
            _ => Place::Waiting,
        };
        let worker = words.next().filter(|node| !node.is_empty()).map(str::to_owned);
        let task = FarmTask {
            place,
            worker,
            error: None,
        };
        (words.next()? == name).then_some((number, task))
    };
    text.lines().filter_map(read).collect()
}

/// Numbers as schedulers read them: `0-3,7`.
fn ranges(numbers: &[usize]) -> String {
    let mut all: Vec<[usize; 2]> = Vec::new();
    for &n in numbers {
        match all.last_mut() {
            Some([_, last]) if *last + 1 == n => *last = n,
            _ => all.push([n, n]),
        }
    }
    let word = |[a, b]: &[usize; 2]| if a == b { a.to_string() } else { format!("{a}-{b}") };
    all.iter().map(word).collect::<Vec<_>>().join(",")
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("hq: expected JSON")
}

/// Calls a scheduler's program with something to read; gives what it says.
fn call(program: &str, args: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env("RUST_BACKTRACE", "0").env("RUST_LIB_BACKTRACE", "0");
    let mut child = command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => anyhow!("no program {program} on PATH"),
        _ => anyhow!("cannot start {program}: {e}"),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever does not read it does not need it.
        drop(stdin.write_all(input.as_bytes()));
    }
    let said = [reader(child.stdout.take())?, reader(child.stderr.take())?];
    let status = wait(&mut child, program)?;
    let [said, complaint] = said.map(|thread| thread.join().unwrap_or_default());
    if status.success() {
        return Ok(said);
    }
    let of_json = serde_json::from_str::<Value>(&said).ok();
    let of_json = of_json.as_ref().and_then(|v| v.get("error")?.as_str());
    let text = one_line(of_json.unwrap_or(if complaint.trim().is_empty() { &said } else { &complaint }));
    let code = status
        .code()
        .map_or("no exit code".to_owned(), |c| format!("exit code {c}"));
    bail!("{program} ends with {code}: {text}")
}

fn wait(child: &mut Child, program: &str) -> Result<std::process::ExitStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > until {
            drop(child.kill());
            drop(child.wait());
            bail!("{program} does not answer in {} s", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> Result<std::thread::JoinHandle<String>> {
    let read = move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            drop(pipe.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Builder::new().name("scheduler's answer".into()).spawn(read)?)
}

/// What a program complains of, without the stack that some append.
fn one_line(text: &str) -> String {
    let text = text.split("Stack backtrace:").next().unwrap_or(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[3]), "3");
    }

    #[test]
    fn what_hyperqueue_says_of_tasks_is_read_and_another_job_of_that_number_is_none() {
        let said = r#"[{"info":{"id":1,"name":"seeds-1"},"tasks":[
            {"id":0,"state":"waiting"},
            {"id":2,"state":"running","worker":3,"cwd":"/x","started_at":"2026-11-28T10:38:20Z"},
            {"id":4,"state":"failed","worker":1,"error":"Program terminated with exit code 3."}]}]"#;
        let said = json(said).expect("JSON");
        let tasks = hq_tasks(&said, "seeds-1").expect("reads").expect("is there");
        let places: Vec<(usize, Place)> = tasks.iter().map(|(n, t)| (*n, t.place)).collect();
        assert_eq!(places, [(0, Place::Waiting), (2, Place::Running), (4, Place::Over)]);
        assert_eq!(tasks[&2].worker.as_deref(), Some("3"));
        assert!(tasks[&4].error.as_deref().is_some_and(|e| e.contains("exit code 3")));
        assert_eq!(hq_tasks(&said, "others-1").expect("reads"), None);
        assert_eq!(hq_tasks(&json("[]").expect("JSON"), "seeds-1").expect("reads"), None);
        let odd = json(r#"[{"info":{"name":"a"},"tasks":[{"id":0}]}]"#).expect("JSON");
        assert!(hq_tasks(&odd, "a").is_err());
    }

    #[test]
    fn what_slurm_lists_is_read() {
        let tasks = slurm_tasks(
            "0|RUNNING|node1|seeds-1\n3|PENDING||seeds-1\n1|RUNNING|node2|others\n",
            "seeds-1",
        );
        let places: Vec<(usize, Place)> = tasks.iter().map(|(n, t)| (*n, t.place)).collect();
        assert_eq!(places, [(0, Place::Running), (3, Place::Waiting)]);
        assert_eq!(tasks[&0].worker.as_deref(), Some("node1"));
    }

    #[test]
    fn a_program_that_is_not_there_or_fails_is_said_in_a_line() {
        let error = |program: &str, args: &[&str]| format!("{:#}", call(program, args, "").expect_err("fails"));
        assert_eq!(error("secateur-no-such", &[]), "no program secateur-no-such on PATH");
        if cfg!(unix) {
            let script = "echo 'No server'; echo; echo 'Stack backtrace:'; echo '  0: x'; exit 1";
            assert_eq!(error("sh", &["-c", script]), "sh ends with exit code 1: No server");
        }
    }
}
