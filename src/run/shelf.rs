//! What a run remembers, in its folder: `checkpoints/NUMBER.safetensors`, each holding all that is needed to go on.
//! Written beside, synced and renamed; the last two stay, so that one good one is always there.
//! Knows nothing of events' contents or of what stages do.

use crate::disk::{self, write_whole};
use crate::model::{Array, Checkpoint, Weights};
use crate::train::{Memory, Snapshot};
use anyhow::{Context, Result, ensure};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The version of the file format.
const SCHEMA: u32 = 1;

/// Files that stay.
const KEPT: usize = 2;

/// A run's memory on disk.
pub struct Shelf {
    folder: PathBuf,
    /// Events of the work that were said, shared with whoever says them.
    said: Rc<Cell<u64>>,
    entries: RefCell<BTreeMap<String, Entry>>,
    number: Cell<u64>,
    saved: Cell<Instant>,
    every: Duration,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    over: bool,
    snapshot: Snapshot,
}

/// An entry without its arrays, as the file's header has it.
#[derive(Serialize, Deserialize)]
struct Line {
    stage: String,
    over: bool,
    said: u64,
    done: [u64; 2],
    facts: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct Header {
    schema: u32,
    lines: Vec<Line>,
}

impl Shelf {
    /// An empty memory that writes to `run`'s folder, at most every so often while a stage is under way.
    pub fn new(run: &Path, said: Rc<Cell<u64>>, every: Duration) -> Self {
        Self {
            folder: run.join("checkpoints"),
            said,
            entries: RefCell::default(),
            number: Cell::new(0),
            saved: Cell::new(Instant::now()),
            every,
        }
    }

    /// The memory of an interrupted run: the newest file that is whole. Gives what had to be passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn load(&self) -> Result<Vec<String>> {
        let mut passed = Vec::new();
        for (number, path) in files(&self.folder)?.into_iter().rev() {
            self.number.set(self.number.get().max(number));
            match std::fs::read(&path).map_err(Into::into).and_then(|bytes| parse(&bytes)) {
                Ok(entries) => {
                    *self.entries.borrow_mut() = entries;
                    return Ok(passed);
                }
                Err(e) => passed.push(format!(
                    "{} is not whole ({e:#}); an older one is taken",
                    path.display()
                )),
            }
        }
        Ok(passed)
    }

    /// Events said when the newest thing remembered was written.
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
        let snapshot = entries.get(stage).filter(|e| e.over == over)?.snapshot.clone();
        self.said.set(snapshot.said);
        Some(snapshot)
    }

    fn write(&self) -> Result<()> {
        self.number.set(self.number.get() + 1);
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let path = self.folder.join(format!("{:06}.safetensors", self.number.get()));
        write_whole(&path, &bytes(&self.entries.borrow())?)?;
        let files = files(&self.folder)?;
        for (_, old) in files.iter().take(files.len().saturating_sub(KEPT)) {
            std::fs::remove_file(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        self.saved.set(Instant::now());
        Ok(())
    }
}

impl Memory for Shelf {
    fn finished(&self, stage: &str) -> Option<Snapshot> {
        self.find(stage, true)
    }

    fn unfinished(&self, stage: &str) -> Option<Snapshot> {
        self.find(stage, false)
    }

    fn said(&self) -> u64 {
        self.said.get()
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
        entries.insert(stage.to_owned(), Entry { over, snapshot });
        drop(entries);
        match self.write() {
            // The older memory is whole; the next event waits for room and says so.
            Err(e) if disk::is_full(&e) => Ok(()),
            written => written,
        }
    }
}

/// Checkpoint files by number, rising.
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

fn bytes(entries: &BTreeMap<String, Entry>) -> Result<Vec<u8>> {
    let mut tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut lines = Vec::new();
    for (i, (stage, Entry { over, snapshot })) in entries.iter().enumerate() {
        for (name, a) in &snapshot.arrays {
            let data = a.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.insert(format!("{i}/{name}"), (Dtype::F32, a.shape.clone(), data));
        }
        if let Some(model) = &snapshot.model {
            let data = model.to_bytes()?;
            tensors.insert(format!("{i}"), (Dtype::U8, vec![data.len()], data));
        }
        lines.push(Line {
            stage: stage.clone(),
            over: *over,
            said: snapshot.said,
            done: snapshot.done,
            facts: snapshot.facts.clone(),
        });
    }
    let header = Header { schema: SCHEMA, lines };
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| {
            Ok::<_, safetensors::SafeTensorError>((name, TensorView::new(*dtype, shape.clone(), data)?))
        })
        .collect();
    let metadata = HashMap::from([("secateur-run".to_owned(), serde_json::to_string(&header)?)]);
    Ok(safetensors::serialize(views?, Some(metadata))?)
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).context("not a safetensors file")?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get("secateur-run"))
        .context("not a run's memory")?;
    let header: Header = serde_json::from_str(text).context("its header does not fit this version")?;
    ensure!(header.schema == SCHEMA, "schema {}, expected {SCHEMA}", header.schema);
    let mut entries: Vec<(String, Entry)> = Vec::new();
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
            Entry {
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
                ensure!(
                    view.dtype() == Dtype::F32,
                    "tensor {name} is {:?}, expected F32",
                    view.dtype()
                );
                let data = view
                    .data()
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
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

    fn shelf(run: &Path) -> Shelf {
        Shelf::new(run, Rc::default(), Duration::ZERO)
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
    fn what_is_saved_is_found_again_and_moves_the_place() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = shelf(dir.path());
        first.save("a", snapshot(4), true).expect("saves");
        first.save("b/c", snapshot(7), false).expect("saves");
        let second = shelf(dir.path());
        assert_eq!(second.load().expect("loads"), Vec::<String>::new());
        assert_eq!(second.finished("a"), Some(snapshot(4)));
        assert_eq!((second.said(), second.newest()), (4, 7));
        assert_eq!(
            (second.finished("b/c"), second.unfinished("b/c")),
            (None, Some(snapshot(7)))
        );
        assert_eq!(second.said(), 7);
    }

    #[test]
    fn inner_stages_are_forgotten_with_their_outer_one_and_two_files_stay() {
        let dir = tempfile::tempdir().expect("temp dir");
        let shelf = shelf(dir.path());
        for said in 1..5 {
            shelf.save("round 1/search", snapshot(said), false).expect("saves");
        }
        shelf.save("round 1", snapshot(9), true).expect("saves");
        assert_eq!(shelf.unfinished("round 1/search"), None);
        assert_eq!(files(&dir.path().join("checkpoints")).expect("lists").len(), KEPT);
    }

    #[test]
    fn a_broken_file_is_passed_over() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = shelf(dir.path());
        first.save("a", snapshot(1), true).expect("saves");
        first.save("a", snapshot(2), true).expect("saves");
        std::fs::write(dir.path().join("checkpoints/000002.safetensors"), b"torn").expect("writes");
        let second = shelf(dir.path());
        assert_eq!(second.load().expect("loads").len(), 1);
        assert_eq!(second.finished("a"), Some(snapshot(1)));
        second.save("a", snapshot(3), true).expect("saves");
        assert!(dir.path().join("checkpoints/000003.safetensors").exists());
    }
}
