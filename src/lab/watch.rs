//! Which run folders and farms there are and where they stand, looked at again and again: what other programs do to them is seen.
//! Knows nothing of sessions. Reads only; a folder is read anew when its manifest has changed or somebody writes to it.

use record::RunSummary;
use record::farm_status::FarmStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, Weak};
use std::thread::park_timeout;
use std::time::{Duration, Instant, SystemTime};

/// How often folders are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Looking takes at most one part in so many of the time, however many folders there are, but happens this often at least.
const SHARE: u32 = 20;
const SELDOM: Duration = Duration::from_secs(5);
/// While many folders are read for the first time, what is known is said so often.
const SAY: Duration = Duration::from_millis(200);

/// Run folders that are watched wherever they lie.
pub(crate) type Elsewhere = Mutex<BTreeSet<PathBuf>>;

/// What was found.
pub(crate) enum Found {
    /// All run folders, newest first.
    Runs(Vec<RunSummary>),
    /// All farms that are at work.
    Farms(Vec<FarmStatus>),
}

/// Says what run folders there are under `runs` and in `elsewhere`, and which farms, at once and whenever that changes: until `say`
/// gives false or `elsewhere` is gone.
pub(crate) fn watch(runs: &Path, elsewhere: &Weak<Elsewhere>, say: &mut dyn FnMut(Found) -> bool) {
    let mut known = Known::default();
    let mut farms = Vec::new();
    while let Some(others) = elsewhere.upgrade() {
        let began = Instant::now();
        let mut folders = folders(runs);
        folders.extend(others.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        drop(others);
        let (mut listens, mut said) = (true, Instant::now());
        let changed = known.look(folders, &mut |known| {
            if said.elapsed() > SAY {
                listens = say(Found::Runs(known.all()));
                said = Instant::now();
            }
            listens && elsewhere.strong_count() > 0
        });
        if !listens || (changed && !say(Found::Runs(known.all()))) {
            return;
        }
        let now = FarmStatus::list(runs);
        if now != farms && !say(Found::Farms(now.clone())) {
            return;
        }
        farms = now;
        park_timeout(EVERY.max(began.elapsed() * SHARE).min(SELDOM));
    }
}

/// Folders directly under `runs`.
fn folders(runs: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| !t.is_file()));
    folders.map(|e| e.path()).collect()
}

/// What changes with a run folder: when its manifest was written, which some file systems know only to the second, and how long
/// its log is.
type Mark = (Option<SystemTime>, u64);

#[derive(Default)]
struct Known(BTreeMap<PathBuf, (Mark, RunSummary)>);

impl Known {
    /// Reads what is new or has changed. True if anything has. Between folders `go_on` is asked.
    fn look(&mut self, folders: BTreeSet<PathBuf>, go_on: &mut dyn FnMut(&Self) -> bool) -> bool {
        let had = self.0.len();
        self.0.retain(|folder, _| folders.contains(folder) && folder.is_dir());
        let mut changed = self.0.len() < had;
        // The newest have the latest time in their names.
        for folder in folders.into_iter().rev() {
            let manifest = std::fs::metadata(folder.join("manifest.json")).ok();
            let written = manifest.and_then(|m| m.modified().ok());
            let before = self.0.get(&folder);
            // A folder is a run's once it has its configuration.
            if before.is_none() && !folder.join("config.toml").is_file() {
                continue;
            }
            let logged = std::fs::metadata(folder.join("events.jsonl")).map_or(0, |m| m.len());
            let mark = (written, logged);
            let is_same = before.is_some_and(|(known, _)| *known == mark);
            // A writer that died leaves all as it was.
            let is_left = || {
                let works = before.is_some_and(|(_, run)| run.status.is_live());
                works && !record::folder::is_written(&folder)
            };
            if is_same && !is_left() {
                continue;
            }
            let run = RunSummary::read(&folder);
            // Said also of a run that was left and gone on with since: who missed its writer must learn of the new one.
            changed |= !is_same || before.is_none_or(|(_, known)| *known != run);
            self.0.insert(folder, (mark, run));
            if !go_on(self) {
                break;
            }
        }
        changed
    }

    fn all(&self) -> Vec<RunSummary> {
        let mut all: Vec<RunSummary> = self.0.values().map(|(_, run)| run.clone()).collect();
        all.sort_by(|a, b| b.folder.file_name().cmp(&a.folder.file_name()));
        all
    }
}
