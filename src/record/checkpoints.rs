//! A run's checkpoints: `checkpoints/NUMBER.safetensors`, each holding all that is needed to resume.
//! Written beside, synced and renamed. The last two stay, so that one of them is whole whenever the program is killed, and older
//! ones spread over the run, so that a fork need not begin at the beginning.
//! Knows nothing of what events say or what stages do.

use anyhow::{Context, Result, ensure};
use disk::write_whole;
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

/// The newest files, which always stay.
const NEWEST: usize = 2;

/// Older files that stay for forks.
const OLDER: usize = 14;

/// Bytes of all files beyond which no older ones stay.
const MOST_BYTES: u64 = 512 << 20;

/// A run's checkpoints on disk, and what the newest of them holds.
pub struct CheckpointStore {
    folder: PathBuf,
    /// Events of the work emitted so far, shared with [`crate::event_log::EventLog`].
    work_events: Rc<Cell<u64>>,
    entries: RefCell<BTreeMap<String, StageEntry>>,
    number: Cell<u64>,
    /// In the folder, oldest first.
    files: RefCell<Vec<CheckpointFile>>,
    saved: Cell<Instant>,
    every: Duration,
}

/// A checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Where it is.
    pub path: PathBuf,
    /// Events of the work before it.
    pub work_events: u64,
    bytes: u64,
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
    /// Without checkpoints yet; writes to `run`'s folder, and while a stage is under way at most this often.
    pub fn new(run: &Path, work_events: Rc<Cell<u64>>, every: Duration) -> Self {
        Self {
            folder: run.join("checkpoints"),
            work_events,
            entries: RefCell::default(),
            number: Cell::new(0),
            files: RefCell::default(),
            saved: Cell::new(Instant::now()),
            every,
        }
    }

    /// Reads the newest file that is whole. Gives a line for each that is not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn load(&self) -> Result<Vec<String>> {
        let (mut passed, mut broken) = (Vec::new(), Vec::new());
        *self.files.borrow_mut() = on_disk(&self.folder)?;
        for (number, path) in files(&self.folder)?.into_iter().rev() {
            self.number.set(self.number.get().max(number));
            match std::fs::read(&path).map_err(Into::into).and_then(|bytes| parse(&bytes)) {
                Ok(entries) => {
                    *self.entries.borrow_mut() = entries;
                    // This version wrote them and cannot read them, so nothing can.
                    self.files.borrow_mut().retain(|f| !broken.contains(&f.path));
                    broken.iter().for_each(|path| drop(std::fs::remove_file(path)));
                    return Ok(passed);
                }
                Err(e) => {
                    passed.push(format!(
                        "{} is not whole ({e:#}); an older one is taken",
                        path.display()
                    ));
                    broken.push(path);
                }
            }
        }
        Ok(passed)
    }

    /// Events of the work before the newest checkpoint.
    pub fn newest(&self) -> u64 {
        self.entries
            .borrow()
            .values()
            .map(|e| e.snapshot.said)
            .max()
            .unwrap_or(0)
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
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let path = self.folder.join(format!("{:06}.safetensors", self.number.get()));
        let bytes = bytes(&self.entries.borrow())?;
        write_whole(&path, &bytes)?;
        let files = &mut *self.files.borrow_mut();
        files.push(CheckpointFile {
            path,
            work_events: self.newest(),
            bytes: bytes.len() as u64,
        });
        while let Some(at) = spare(files) {
            let old = files.remove(at).path;
            std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        self.saved.set(Instant::now());
        Ok(())
    }
}

/// Which file may go: of the older ones, that which leaves the smallest gap. None while there is room for all.
fn spare(files: &[CheckpointFile]) -> Option<usize> {
    let older = files.len().saturating_sub(NEWEST);
    let bytes: u64 = files.iter().map(|f| f.bytes).sum();
    if older <= OLDER && bytes <= MOST_BYTES {
        return None;
    }
    let before = |i: usize| i.checked_sub(1).map_or(0, |i| files[i].work_events);
    let gap = |&i: &usize| files[i + 1].work_events.saturating_sub(before(i));
    (0..older).min_by_key(gap)
}

/// The checkpoints in a folder whose headers can be read, oldest first.
fn on_disk(folder: &Path) -> Result<Vec<CheckpointFile>> {
    let found = files(folder)?.into_iter().map(|(_, path)| path);
    Ok(found
        .filter_map(|path| {
            let bytes = path.metadata().ok()?.len();
            let work_events = work_events_of(&path).ok()?;
            Some(CheckpointFile {
                path,
                work_events,
                bytes,
            })
        })
        .collect())
}

/// The newest whole checkpoint of a run with at most so many events of the work before it.
///
/// # Errors
/// The folder cannot be read.
pub fn nearest(run: &Path, work_events: u64) -> Result<Option<CheckpointFile>> {
    let fits = |f: &CheckpointFile| {
        f.work_events <= work_events && std::fs::read(&f.path).is_ok_and(|bytes| parse(&bytes).is_ok())
    };
    Ok(on_disk(&run.join("checkpoints"))?.into_iter().rev().find(fits))
}

fn work_events_of(path: &Path) -> Result<u64> {
    let metadata = safetensors_file::read_header(path)?;
    Ok(header(&metadata)?.lines.iter().map(|line| line.said).max().unwrap_or(0))
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
        if let Some(number) = number.filter(|_| whole) {
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
        CheckpointStore::new(run, Rc::default(), Duration::ZERO)
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
        assert_eq!(files, *checkpoints.files.borrow());
        assert_eq!(files.len(), NEWEST + OLDER);
        let said: Vec<u64> = files.iter().map(|f| f.work_events).collect();
        assert_eq!(said[said.len() - NEWEST..], [199, 200]);
        // Evenly spread, a gap would be 14.
        let widest = said.windows(2).map(|w| w[1] - w[0]).max();
        assert!(widest <= Some(32), "{said:?}");
        let found = nearest(dir.path(), said[5] + 1).expect("lists").expect("one");
        assert_eq!(found.work_events, said[5]);
        std::fs::write(&files[5].path, b"torn").expect("writes");
        assert_eq!(
            nearest(dir.path(), said[5] + 1).expect("lists").map(|f| f.work_events),
            Some(said[4])
        );
        assert_eq!(nearest(dir.path(), 0).expect("lists"), None);
    }

    #[test]
    fn older_files_go_when_there_is_no_room_for_them() {
        let file = |work_events, bytes| CheckpointFile {
            path: PathBuf::new(),
            work_events,
            bytes,
        };
        assert_eq!(spare(&[file(1, 10), file(9, 10), file(10, 10)]), None);
        assert_eq!(spare(&[file(1, MOST_BYTES), file(9, 10), file(10, 10)]), Some(0));
        assert_eq!(
            spare(&[file(9, MOST_BYTES), file(10, MOST_BYTES)]),
            None,
            "the newest two stay"
        );
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
}
