//! A run's folder: `config.toml`, `manifest.json`, `events.jsonl`, `models/`.
//! Knows nothing of threads or methods.

use super::experiment::Experiment;
use crate::disk::{Log, write_whole};
use crate::event::Stamped;
use anyhow::{Context, Result, ensure};
use rand::RngExt;
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A run's folder, open for writing events. While it is open nobody else can write to it.
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
    events: Log,
    _lock: File,
}

impl RunFolder {
    /// Makes `runs/<UTC time>_<name>_<4 hex>/` with its configuration.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn create(runs: &Path, experiment: &Experiment) -> Result<Self> {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let tag: u16 = rand::rng().random();
        let path = runs.join(format!("{time}_{}_{tag:04x}", experiment.name));
        fs::create_dir_all(path.join("models"))
            .with_context(|| format!("cannot make run folder {}", path.display()))?;
        write_whole(&path.join("config.toml"), experiment.to_toml()?.as_bytes())?;
        let lock = lock(&path)?;
        let events = Log::open(&path.join("events.jsonl"), None)?;
        let folder = Self {
            path,
            events,
            _lock: lock,
        };
        folder.manifest(experiment, "running", None)?;
        Ok(folder)
    }

    /// Opens the folder of a run that is to go on, and mends what was half written. Gives its experiment, its events, and what was mended.
    ///
    /// # Errors
    /// No run folder, one that somebody else writes to, or one that is broken beyond its last line.
    pub fn reopen(path: &Path) -> Result<(Self, Experiment, Vec<Stamped>, Vec<String>)> {
        let config = path.join("config.toml");
        ensure!(
            config.is_file(),
            "{} is not a run folder: it has no config.toml",
            path.display()
        );
        let experiment = Experiment::load(&config.to_string_lossy(), &[])?;
        let lock = lock(path)?;
        let mut mended = Vec::new();
        let log = path.join("events.jsonl");
        let (events, whole) = if log.is_file() {
            read_log(&log)?
        } else {
            (Vec::new(), 0)
        };
        let len = std::fs::metadata(&log).map_or(0, |m| m.len());
        if whole < len {
            mended.push(format!(
                "{} bytes of a torn last line of events were dropped",
                len - whole
            ));
        }
        let folder = Self {
            path: path.to_path_buf(),
            events: Log::open(&log, Some(whole))?,
            _lock: lock,
        };
        if !path.join("manifest.json").is_file() {
            mended.push("the missing manifest was written anew".to_owned());
        }
        folder.manifest(&experiment, "running", None)?;
        Ok((folder, experiment, events, mended))
    }

    /// Writes `manifest.json`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn manifest(&self, experiment: &Experiment, state: &str, data_checksum: Option<u64>) -> Result<()> {
        let manifest = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seed": experiment.seed,
            "data": experiment.data.source,
            "data_checksum": data_checksum.map(|c| format!("{c:016x}")),
            "machine": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "threads": threads(), "kernel": crate::kernel::Kernel::best().name() },
            "state": state,
        });
        write_whole(&self.path.join("manifest.json"), format!("{manifest:#}\n").as_bytes())
    }

    /// Appends an event and hands it to the system.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn append(&mut self, event: &Stamped) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.events.append(&line)
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    }
}

/// The right to write to a run folder, held as long as the file is open.
fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path.join("lock"));
    let file = file.with_context(|| format!("cannot write in {}", path.display()))?;
    ensure!(
        file.try_lock().is_ok(),
        "run folder {} is being written by another process",
        path.display()
    );
    Ok(file)
}

/// Whether somebody writes to a run folder now.
pub fn is_written(path: &Path) -> bool {
    path.join("lock").is_file() && lock(path).is_err()
}

/// Reads the events of a run folder. A torn last line (the run was killed while writing it) is left out.
///
/// # Errors
/// No events file, or a broken line before the last.
pub fn read_events(path: &Path) -> Result<Vec<Stamped>> {
    Ok(read_log(&path.join("events.jsonl"))?.0)
}

/// The whole lines of a log, and how many bytes they are.
fn read_log(file: &Path) -> Result<(Vec<Stamped>, u64)> {
    let mut reader = BufReader::new(File::open(file).with_context(|| format!("cannot read {}", file.display()))?);
    let (mut events, mut line, mut whole) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
            return Ok((events, whole));
        }
        let event = serde_json::from_slice(&line)
            .with_context(|| format!("{}: line {} is not an event", file.display(), events.len() + 1))?;
        events.push(event);
        whole += line.len() as u64;
    }
}

/// Threads to work with: one a core.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn a_torn_last_line_is_left_out() {
        let dir = tempfile::tempdir().expect("temp dir");
        let experiment = Experiment::load("smoke", &[]).expect("preset");
        let mut folder = RunFolder::create(dir.path(), &experiment).expect("creates");
        let event = |seq| Stamped {
            seq,
            at: 0.5,
            event: Event::Warning { text: "x".into() },
        };
        folder.append(&event(0)).expect("writes");
        folder.append(&event(1)).expect("writes");
        folder.events.append(b"{\"seq\":2,\"at\":").expect("writes");
        assert_eq!(read_events(&folder.path).expect("reads"), [event(0), event(1)]);
        assert_eq!(
            Experiment::load(&folder.path.join("config.toml").to_string_lossy(), &[]).expect("reads"),
            experiment
        );
        let name = folder.name();
        assert!(name.contains("Z_smoke_"), "{name}");
    }
}
