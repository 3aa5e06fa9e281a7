//! A run's checkpoints: `checkpoints/NUMBER.safetensors`, each holding all that is needed to resume.
//! Written beside, synced and renamed. The last two stay, so that one of them is whole whenever the program is killed, and older
//! ones spread over the run, so that a fork need not begin at the beginning.
//! Knows nothing of what events say or what stages do.

pub use crate::checkpoint_files::CheckpointFile;
use crate::checkpoint_files::{CheckpointFiles, StageMark};
use crate::event_log::EventLog;
use anyhow::{Context, Result, ensure};
use disk::{LogSync, make_folder, write_whole};
use model::safetensors_file::{self, TensorMap, float_tensor, floats};
use model::{Array, Checkpoint, Weights};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use train::{Snapshot, StageMemory};

/// The version of the file format.
const SCHEMA: u32 = 2;

/// Numbers beyond this are no run's own: there are not as many checkpoints.
const MOST: u64 = 1 << 50;

/// A run's checkpoints on disk, and what the newest of them holds.
pub struct CheckpointStore {
    folder: PathBuf,
    /// Events of the work emitted so far, shared with [`EventLog`].
    work_events: Rc<Cell<u64>>,
    /// Events of the work that the log holds from before.
    logged: u64,
    log: Option<LogSync>,
    entries: RefCell<BTreeMap<String, StageEntry>>,
    number: Cell<u64>,
    files: Rc<CheckpointFiles>,
    saved: Cell<Instant>,
    every: Duration,
}

#[derive(Clone, Debug, PartialEq)]
struct StageEntry {
    over: bool,
    snapshot: Snapshot,
}

/// A [`StageEntry`] without its arrays, as the file's header has it.
#[derive(Serialize, Deserialize)]
struct StageHeader {
    stage: String,
    over: bool,
    said: u64,
    done: [u64; 2],
    facts: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct FileHeader {
    schema: u32,
    lines: Vec<StageHeader>,
}

impl CheckpointStore {
    /// Without checkpoints yet; writes to the folder of a log's run, and while a stage is under way at most this often.
    pub fn new(log: &EventLog, every: Duration) -> Self {
        Self {
            logged: log.logged(),
            log: Some(log.syncing()),
            files: log.checkpoint_files.clone(),
            ..Self::alone(&log.path(), log.work_events.clone(), every)
        }
    }

    /// Without a log that it goes with.
    fn alone(run: &Path, work_events: Rc<Cell<u64>>, every: Duration) -> Self {
        Self {
            folder: run.join("checkpoints"),
            work_events,
            logged: u64::MAX,
            log: None,
            entries: RefCell::default(),
            number: Cell::new(0),
            files: Rc::default(),
            saved: Cell::new(Instant::now()),
            every,
        }
    }

    /// Reads the newest file that is whole and not ahead of the log. Gives a line for each that is passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn load(&self) -> Result<Vec<String>> {
        let (mut passed, mut broken) = (Vec::new(), Vec::new());
        for (number, path) in files(&self.folder)?.into_iter().rev() {
            self.number.set(self.number.get().max(number));
            let mut pass = |why: String| passed.push(format!("{} {why}; an older one is taken", path.display()));
            let entries = match std::fs::read(&path).map_err(Into::into).and_then(|bytes| parse(&bytes)) {
                Ok(entries) => entries,
                Err(e) => {
                    pass(format!("is not whole ({e:#})"));
                    broken.push(path);
                    continue;
                }
            };
            let work_events = said(&entries);
            if work_events > self.logged {
                pass(format!(
                    "stands at event {work_events} of the work, of which the log has {}",
                    self.logged
                ));
                continue;
            }
            *self.entries.borrow_mut() = entries;
            // This version wrote them and cannot read them, so nothing can.
            broken.iter().for_each(|path| drop(std::fs::remove_file(path)));
            break;
        }
        self.files.set(on_disk(&self.folder)?);
        Ok(passed)
    }

    /// Events of the work before the newest checkpoint.
    pub fn newest(&self) -> u64 {
        said(&self.entries.borrow())
    }

    fn find(&self, stage: &str, over: bool) -> Option<Snapshot> {
        let entries = self.entries.borrow();
        entries
            .get(stage)
            .filter(|e| e.over == over)
            .map(|e| e.snapshot.clone())
    }

    fn write(&self) -> Result<()> {
        self.number.set(self.number.get() + 1);
        let path = self.folder.join(format!("{:06}.safetensors", self.number.get()));
        let bytes = bytes(&self.entries.borrow())?;
        self.files.making_room(|| {
            // A power cut must not leave a checkpoint that is ahead of its log.
            self.log.as_ref().map_or(Ok(()), LogSync::sync)?;
            make_folder(&self.folder)?;
            write_whole(&path, &bytes)
        })?;
        self.files.push(CheckpointFile {
            path,
            work_events: self.newest(),
            stages: self
                .entries
                .borrow()
                .iter()
                .map(|(name, e)| mark(name, e.over, &e.snapshot.facts))
                .collect(),
            bytes: bytes.len() as u64,
        });
        self.saved.set(Instant::now());
        Ok(())
    }
}

/// Events of the work before a checkpoint.
fn said(entries: &BTreeMap<String, StageEntry>) -> u64 {
    entries.values().map(|e| e.snapshot.said).max().unwrap_or(0)
}

/// The checkpoints in a folder whose headers can be read, oldest first.
fn on_disk(folder: &Path) -> Result<Vec<CheckpointFile>> {
    let found = files(folder)?.into_iter().map(|(_, path)| path);
    Ok(found.filter_map(|path| on_disk_file(path).ok()).collect())
}

fn mark(name: &str, over: bool, facts: &serde_json::Value) -> StageMark {
    let steps = |key: &str| facts.get(key).and_then(serde_json::Value::as_u64);
    StageMark {
        name: name.to_owned(),
        over,
        // Not every stage counts steps.
        has_steps_left: steps("steps").zip(steps("of")).is_none_or(|(steps, of)| steps != of),
    }
}

fn on_disk_file(path: PathBuf) -> Result<CheckpointFile> {
    let lines = header(&safetensors_file::read_header(&path)?)?.lines;
    Ok(CheckpointFile {
        bytes: path.metadata()?.len(),
        work_events: lines.iter().map(|line| line.said).max().unwrap_or(0),
        stages: lines
            .iter()
            .map(|line| mark(&line.stage, line.over, &line.facts))
            .collect(),
        path,
    })
}

/// The newest whole checkpoint of a run with at most so many events of the work before it, of those that are `wanted`.
///
/// # Errors
/// The folder cannot be read.
pub fn nearest(
    run: &Path,
    work_events: u64,
    wanted: &dyn Fn(&CheckpointFile) -> bool,
) -> Result<Option<CheckpointFile>> {
    let fits = |f: &CheckpointFile| {
        f.work_events <= work_events && wanted(f) && std::fs::read(&f.path).is_ok_and(|bytes| parse(&bytes).is_ok())
    };
    Ok(on_disk(&run.join("checkpoints"))?.into_iter().rev().find(fits))
}

fn header(metadata: &safetensors::tensor::Metadata) -> Result<FileHeader> {
    let text = metadata.metadata().as_ref().and_then(|m| m.get("secateur-run"));
    let header: FileHeader =
        serde_json::from_str(text.context("not a run's memory")?).context("its header does not fit this version")?;
    ensure!(header.schema == SCHEMA, "schema {}, expected {SCHEMA}", header.schema);
    Ok(header)
}

impl StageMemory for CheckpointStore {
    fn finished(&self, stage: &str) -> Option<Snapshot> {
        self.find(stage, true)
    }

    fn unfinished(&self, stage: &str) -> Option<Snapshot> {
        self.find(stage, false)
    }

    fn said(&self) -> u64 {
        self.work_events.get()
    }

    fn rewind(&self, snapshot: &Snapshot) {
        self.work_events.set(snapshot.said);
    }

    fn is_due(&self) -> bool {
        self.saved.get().elapsed() >= self.every
    }

    fn save(&self, stage: &str, snapshot: Snapshot, over: bool) -> Result<()> {
        let mut entries = self.entries.borrow_mut();
        if over {
            let inner = format!("{stage}/");
            entries.retain(|name, _| !name.starts_with(&inner));
        }
        entries.insert(stage.to_owned(), StageEntry { over, snapshot });
        drop(entries);
        match self.write() {
            // The older checkpoint is whole; the next event waits for room and says so.
            Err(e) if disk::is_full(&e) => Ok(()),
            written => written,
        }
    }
}

fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut out = Vec::new();
    if !folder.is_dir() {
        return Ok(out);
    }
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let whole = path.extension().is_some_and(|e| e == "safetensors");
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        if let Some(number) = number.filter(|&n: &u64| whole && n < MOST) {
            out.push((number, path));
        }
    }
    out.sort();
    Ok(out)
}

fn bytes(entries: &BTreeMap<String, StageEntry>) -> Result<Vec<u8>> {
    let mut tensors = TensorMap::new();
    let mut lines = Vec::new();
    for (i, (stage, StageEntry { over, snapshot })) in entries.iter().enumerate() {
        for (name, a) in &snapshot.arrays {
            tensors.insert(format!("{i}/{name}"), float_tensor(&a.shape, &a.data));
        }
        if let Some(model) = &snapshot.model {
            let data = model.to_bytes()?;
            tensors.insert(format!("{i}"), (Dtype::U8, vec![data.len()], data));
        }
        lines.push(StageHeader {
            stage: stage.clone(),
            over: *over,
            said: snapshot.said,
            done: snapshot.done,
            facts: snapshot.facts.clone(),
        });
    }
    let header = FileHeader { schema: SCHEMA, lines };
    safetensors_file::to_bytes(&tensors, "secateur-run", serde_json::to_string(&header)?)
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<String, StageEntry>> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).context("not a safetensors file")?;
    let header = header(&metadata)?;
    let mut entries: Vec<(String, StageEntry)> = Vec::new();
    for line in header.lines {
        let snapshot = Snapshot {
            said: line.said,
            done: line.done,
            facts: line.facts,
            arrays: Weights::new(),
            model: None,
        };
        entries.push((
            line.stage,
            StageEntry {
                over: line.over,
                snapshot,
            },
        ));
    }
    for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
        let (index, rest) = name
            .split_once('/')
            .map_or((name.as_str(), None), |(i, rest)| (i, Some(rest)));
        let entry = index
            .parse()
            .ok()
            .and_then(|i: usize| entries.get_mut(i))
            .context("a tensor without a stage")?;
        let snapshot = &mut entry.1.snapshot;
        match rest {
            None => snapshot.model = Some(Checkpoint::from_bytes(view.data())?),
            Some(rest) => {
                let data = floats(&name, &view)?;
                let shape = view.shape().to_vec();
                snapshot.arrays.insert(rest.to_owned(), Array { shape, data });
            }
        }
    }
    Ok(entries.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoints(run: &Path) -> CheckpointStore {
        CheckpointStore::alone(run, Rc::default(), Duration::ZERO)
    }

    fn snapshot(said: u64) -> Snapshot {
        let array = Array {
            shape: vec![2, 1],
            data: vec![0.1, f32::MIN_POSITIVE],
        };
        Snapshot {
            said,
            done: [3, 1],
            facts: serde_json::json!({"x": 0.1}),
            arrays: Weights::from([("w:a/b".to_owned(), array)]),
            model: None,
        }
    }

    #[test]
    fn what_is_saved_is_found_again_and_only_a_rewind_moves_the_place() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = checkpoints(dir.path());
        first.save("a", snapshot(4), true).expect("saves");
        first.save("b/c", snapshot(7), false).expect("saves");
        let second = checkpoints(dir.path());
        assert_eq!(second.load().expect("loads"), Vec::<String>::new());
        assert_eq!(second.finished("a"), Some(snapshot(4)));
        assert_eq!((second.said(), second.newest()), (0, 7), "looking moves nothing");
        assert_eq!(
            (second.finished("b/c"), second.unfinished("b/c")),
            (None, Some(snapshot(7)))
        );
        assert_eq!(second.said(), 0, "looking moves nothing");
        second.rewind(&snapshot(7));
        assert_eq!(second.said(), 7);
    }

    #[test]
    fn inner_stages_are_forgotten_with_their_outer_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let checkpoints = checkpoints(dir.path());
        for said in 1..5 {
            checkpoints
                .save("round 1/search", snapshot(said), false)
                .expect("saves");
        }
        checkpoints.save("round 1", snapshot(9), true).expect("saves");
        assert_eq!(checkpoints.unfinished("round 1/search"), None);
    }

    #[test]
    fn older_files_are_spread_over_the_run_and_the_nearest_is_found() {
        let dir = tempfile::tempdir().expect("temp dir");
        let checkpoints = checkpoints(dir.path());
        for said in 1..=200 {
            checkpoints.save("a", snapshot(said), false).expect("saves");
        }
        let files = on_disk(&dir.path().join("checkpoints")).expect("lists");
        assert_eq!(files, checkpoints.files.all());
        assert_eq!(files.len(), 16);
        let said: Vec<u64> = files.iter().map(|f| f.work_events).collect();
        assert_eq!(said[said.len() - 2..], [199, 200]);
        // Evenly spread, a gap would be 14.
        let widest = said.windows(2).map(|w| w[1] - w[0]).max();
        assert!(widest <= Some(32), "{said:?}");
        let found = nearest(dir.path(), said[5] + 1, &|_| true)
            .expect("lists")
            .expect("one");
        assert_eq!(found.work_events, said[5]);
        std::fs::write(&files[5].path, b"torn").expect("writes");
        assert_eq!(
            nearest(dir.path(), said[5] + 1, &|_| true)
                .expect("lists")
                .map(|f| f.work_events),
            Some(said[4])
        );
        assert_eq!(nearest(dir.path(), 0, &|_| true).expect("lists"), None);
    }

    #[test]
    fn a_broken_file_is_passed_over() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = checkpoints(dir.path());
        first.save("a", snapshot(1), true).expect("saves");
        first.save("a", snapshot(2), true).expect("saves");
        std::fs::write(dir.path().join("checkpoints/000002.safetensors"), b"torn").expect("writes");
        let second = checkpoints(dir.path());
        assert_eq!(second.load().expect("loads").len(), 1);
        assert_eq!(second.finished("a"), Some(snapshot(1)));
        second.save("a", snapshot(3), true).expect("saves");
        assert!(dir.path().join("checkpoints/000003.safetensors").exists());
    }
    #[test]
    fn a_checkpoint_ahead_of_the_log_is_passed_over() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = checkpoints(dir.path());
        first.save("a", snapshot(4), false).expect("saves");
        first.save("a", snapshot(7), false).expect("saves");
        for (logged, found, n) in [(7, Some(7), 0), (6, Some(4), 1), (3, None, 2)] {
            let mut second = checkpoints(dir.path());
            second.logged = logged;
            let passed = second.load().expect("loads");
            assert_eq!(passed.len(), n, "{passed:?}");
            assert_eq!(second.unfinished("a").map(|s| s.said), found);
        }
    }

    #[test]
    fn what_is_gone_or_has_a_number_of_its_own_is_left_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = checkpoints(dir.path());
        (1..=16).for_each(|n| first.save("a", snapshot(n), false).expect("saves"));
        let odd = dir.path().join(format!("checkpoints/{}.safetensors", u64::MAX));
        std::fs::write(&odd, b"whatever").expect("writes");
        for file in &first.files.all()[..14] {
            std::fs::remove_file(&file.path).expect("removes");
        }
        first.save("a", snapshot(17), false).expect("goes on");
        std::fs::remove_dir_all(dir.path().join("checkpoints")).expect("removes");
        first.save("a", snapshot(18), false).expect("goes on");
        std::fs::write(&odd, b"whatever").expect("writes");
        let second = checkpoints(dir.path());
        assert_eq!(second.load().expect("loads"), Vec::<String>::new());
        second.save("a", snapshot(19), false).expect("goes on");
        assert!(odd.exists());
    }
}
