//! A run's folder, open for writing: `config.toml`, `manifest.json`, `events.jsonl`, `models/`.
//! Knows nothing of threads or methods.

use crate::experiment::Experiment;
use crate::log::read;
use crate::status::Status;
use anyhow::{Context, Result, ensure};
use disk::{Log, make_folder, make_new_folder, write_whole};
use event::{BadInput, Event, Stamped};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A run's folder, open for writing events. While it is open nobody else can write to it.
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The run it is a fork of.
    pub origin: Option<ForkOrigin>,
    /// Of the images it began with, as its manifest has it.
    pub data_checksum: Option<String>,
    pub(crate) events: Log,
    _lock: File,
}

/// What is said of images that a run did not begin with.
pub const OTHER_IMAGES: &str = "the images are not those that the run began with: their checksum differs (since then, pictures are \
                            also turned as their EXIF says, composed where they are transparent, and skipped where they are cut off)";

/// What a fork began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkOrigin {
    /// The other run's folder name.
    pub run: String,
    /// The other run's event up to which its log was taken over.
    pub at: u64,
    /// Settings that differ from the other run's, as `key = value`.
    pub changes: Vec<String>,
}

/// What a manifest says besides what the program knows by itself.
#[derive(Clone, Copy, Debug)]
pub struct ManifestUpdate<'a> {
    /// Its `state`: running, paused, interrupted, finished or failed.
    pub status: Status,
    /// The device it works on; if empty, as it was.
    pub device: &'a str,
    /// Of the images; if none, as it was.
    pub data_checksum: Option<u64>,
    /// Of the model files to start from and to learn from; if none, as they were.
    pub model_checksums: [Option<u64>; 2],
}

impl ManifestUpdate<'_> {
    /// All but the status as it was.
    pub fn status(status: Status) -> Self {
        Self {
            status,
            device: "",
            data_checksum: None,
            model_checksums: [None; 2],
        }
    }
}

impl RunFolder {
    /// Makes `runs/<UTC time>_<name>_<4 hex>/` with its configuration.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn create(runs: &Path, experiment: &Experiment) -> Result<Self> {
        let folder = Self::bare(runs, &experiment.name)?;
        folder.configure(experiment)?;
        folder.manifest(experiment, ManifestUpdate::status(Status::Running))?;
        Ok(folder)
    }

    /// Makes such a folder without its configuration: until that is written, nobody takes it for a run's.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn bare(runs: &Path, name: &str) -> Result<Self> {
        let time = clock_time().strftime("%Y%m%dT%H%M%SZ").to_string();
        make_folder(runs)?;
        // Runs that many machines begin in one second may draw the same name.
        let path = loop {
            let tag: u16 = rand::rng().random();
            let path = runs.join(format!("{time}_{name}_{tag:04x}"));
            if make_new_folder(&path)? {
                break path;
            }
        };
        let lock = lock(&path)?;
        let events = Log::open(&path.join("events.jsonl"), None)?;
        make_folder(&path.join("models"))?;
        Ok(Self {
            path,
            origin: None,
            data_checksum: None,
            events,
            _lock: lock,
        })
    }

    /// Opens the folder of a run that is to go on, and mends what was half written; what its manifest says stays. Shows every
    /// event to `see`; gives the run's experiment, and what was mended.
    ///
    /// # Errors
    /// No run folder, one that somebody else writes to, or one that is broken beyond its last line.
    pub fn reopen(path: &Path, see: &mut dyn FnMut(&Stamped)) -> Result<(Self, Experiment, Vec<String>)> {
        let config = path.join("config.toml");
        ensure!(
            config.is_file(),
            "{} is not a run folder: it has no config.toml",
            path.display()
        );
        let experiment = Experiment::of_run(path, &[])?;
        let lock = lock(path)?;
        let mut mended = Vec::new();
        let log = path.join("events.jsonl");
        let mut logged = None;
        let mut look = |stamped: Stamped| {
            if let Event::Forked { from, at, changes, .. } = &stamped.event {
                logged = Some(ForkOrigin {
                    run: from.clone(),
                    at: *at,
                    changes: changes.clone(),
                });
            }
            see(&stamped);
            true
        };
        let whole = if log.is_file() { read(&log, &mut look)? } else { 0 };
        let len = std::fs::metadata(&log).map_or(0, |m| m.len());
        if whole < len {
            mended.push(format!(
                "{} bytes of damaged events at the log's end were dropped",
                len - whole
            ));
        }
        let manifest = std::fs::read(path.join("manifest.json")).ok();
        let manifest: Option<Value> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if manifest.is_none() {
            mended.push("the missing manifest was written anew".to_owned());
        }
        let manifest = manifest.unwrap_or_default();
        let origin = serde_json::from_value(manifest["origin"].clone()).ok();
        let folder = Self {
            path: path.to_path_buf(),
            origin: origin.or(logged),
            data_checksum: manifest["data_checksum"].as_str().map(str::to_owned),
            events: Log::open(&log, Some(whole))?,
            _lock: lock,
        };
        Ok((folder, experiment, mended))
    }

    /// Compares the images with those that the run began with, by their checksum.
    ///
    /// # Errors
    /// [`BadInput`]: they are others.
    pub fn check_data(&self, checksum: u64) -> Result<()> {
        let before = self.data_checksum.as_deref();
        if before.is_some_and(|before| before != hex(checksum)) {
            return Err(BadInput(OTHER_IMAGES.into()).into());
        }
        Ok(())
    }

    /// Writes the configuration anew, after its images were moved.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn configure(&self, experiment: &Experiment) -> Result<()> {
        write_whole(&self.path.join("config.toml"), experiment.to_toml()?.as_bytes())
    }

    /// Writes `manifest.json`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn manifest(&self, experiment: &Experiment, update: ManifestUpdate) -> Result<()> {
        let path = self.path.join("manifest.json");
        let before = read_manifest(&path);
        let checksum = |sum: Option<u64>, key: &str| sum.map_or_else(|| before[key].clone(), |c| json!(hex(c)));
        let device = (!update.device.is_empty()).then(|| json!(update.device));
        let mut manifest = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seed": experiment.seed,
            "data": experiment.data.source,
            "data_checksum": checksum(update.data_checksum, "data_checksum"),
            "start_checksum": checksum(update.model_checksums[0], "start_checksum"),
            "teacher_checksum": checksum(update.model_checksums[1], "teacher_checksum"),
            "machine": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "threads": threads(), "kernel": kernel::Kernel::best().name() },
            "device": device.unwrap_or_else(|| before["device"].clone()),
            "state": update.status,
        });
        if let Some(origin) = &self.origin {
            manifest["origin"] = json!(origin);
        }
        write_whole(&path, format!("{manifest:#}\n").as_bytes())
    }

    /// Writes another `state` into `manifest.json`; all else stays as it was.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn mark(&self, status: Status) -> Result<()> {
        let path = self.path.join("manifest.json");
        let mut manifest = read_manifest(&path);
        manifest["state"] = json!(status);
        write_whole(&path, format!("{manifest:#}\n").as_bytes())
    }

    /// Appends an event and hands it to the system.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn append(&mut self, event: &Stamped) -> Result<()> {
        self.events.append(&line(event))
    }

    /// Waits until all events are on the disk.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn sync(&self) -> Result<()> {
        self.events.syncing().sync()
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    }
}

thread_local! {
    static CLOCK: Cell<Option<jiff::Timestamp>> = const { Cell::new(None) };
}

/// For tests: what the machine's clock says to this thread from now on, as seconds since 1970.
pub fn set_clock(secs: i64) {
    CLOCK.set(jiff::Timestamp::from_second(secs).ok());
}

/// What the machine's clock says. Names of run folders alone go by it: it may be set back and forth at any time.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn clock_time() -> jiff::Timestamp {
    CLOCK.get().unwrap_or_else(jiff::Timestamp::now)
}

fn hex(checksum: u64) -> String {
    format!("{checksum:016x}")
}

/// The checksum of the images that a run began with, if its manifest says so.
pub fn data_checksum(run: &Path) -> Option<u64> {
    checksum_in(&read_manifest(&run.join("manifest.json")), "data_checksum")
}

/// The checksums of the model files that a run began with, to start from and to learn from, as far as its manifest says so.
pub fn model_checksums(run: &Path) -> [Option<u64>; 2] {
    let manifest = read_manifest(&run.join("manifest.json"));
    ["start_checksum", "teacher_checksum"].map(|key| checksum_in(&manifest, key))
}

/// Compares the models to start from and to learn from with those that a run began with, by their checksums.
///
/// # Errors
/// [`BadInput`]: one is another.
pub fn check_models(run: &Path, checksums: [Option<u64>; 2]) -> Result<()> {
    let what = ["the model to start from", "the teacher (train.teacher)"];
    for ((what, before), now) in what.into_iter().zip(model_checksums(run)).zip(checksums) {
        if before.zip(now).is_some_and(|(before, now)| before != now) {
            let text = format!("{what} is not the one that the run began with: its checksum differs");
            return Err(BadInput(text).into());
        }
    }
    Ok(())
}

fn checksum_in(manifest: &Value, key: &str) -> Option<u64> {
    u64::from_str_radix(manifest[key].as_str()?, 16).ok()
}

/// Null if there is none that can be read.
fn read_manifest(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// An event as the log has it.
pub fn line(event: &Stamped) -> Vec<u8> {
    // Plain numbers and text can always be written.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The right to write to a run folder, held as long as the file is open.
fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path.join("lock"));
    let file = file.with_context(|| format!("cannot write in {}", path.display()))?;
    // Somebody who only looks whether it is held holds it for a moment.
    let free = (0..LOOKS).any(|i| {
        std::thread::park_timeout(LOOK * u32::from(i > 0));
        file.try_lock().is_ok()
    });
    ensure!(
        free,
        "run folder {} is being written by another process",
        path.display()
    );
    Ok(file)
}

/// How often a lock is asked for, and how long apart.
const LOOKS: u32 = 5;
const LOOK: std::time::Duration = std::time::Duration::from_millis(10);

/// Whether somebody writes to a run folder now.
pub fn is_written(path: &Path) -> bool {
    // Shared, so that two who look do not take each other for a writer.
    File::open(path.join("lock")).is_ok_and(|file| file.try_lock_shared().is_err())
}

/// Threads to work with: one a core.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::read_events;

    #[test]
    fn runs_that_begin_at_once_have_folders_of_their_own() {
        let dir = tempfile::tempdir().expect("temp dir");
        let runs = dir.path().join("deep/runs");
        std::thread::scope(|scope| {
            for _ in 0..16 {
                let begin = || (0..10).for_each(|_| drop(RunFolder::bare(&runs, "x").expect("makes")));
                std::thread::Builder::new().spawn_scoped(scope, begin).expect("spawns");
            }
        });
        assert_eq!(std::fs::read_dir(&runs).expect("folder").count(), 160);
    }

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
