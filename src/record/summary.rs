//! A run folder at a glance: its manifest, its configuration and the end of its log, however long that is.
//! Knows nothing of states; nothing in the folder is changed.

use crate::experiment::Experiment;
use crate::folder::is_written;
use crate::log::parse;
use crate::status::Status;
use anyhow::{Context, Result};
use data::Split;
use event::{Ending, Event};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes at the end of a log in which its last measurement is looked for.
const TAIL: u64 = 1 << 18;

/// What a run folder says without its log being read as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// Where it is.
    pub folder: PathBuf,
    /// Where it stands. Interrupted, if its manifest says that it works and nobody writes.
    pub status: Status,
    /// How it prunes; empty if its configuration cannot be read.
    pub method: &'static str,
    /// Share of the validation images classified right, as last measured.
    pub valid_top1: Option<f32>,
    /// Share of the test images classified right.
    pub test_top1: Option<f32>,
    /// MACs per image of what was measured.
    pub macs: Option<u64>,
    /// Why some of this is not known.
    pub trouble: Option<String>,
}

impl RunSummary {
    /// What is known of a run folder. Never fails: what cannot be read is said in `trouble`.
    pub fn read(folder: &Path) -> Self {
        let mut trouble = Vec::new();
        let mut known = |what: Result<(), anyhow::Error>| trouble.extend(what.err().map(|e| format!("{e:#}")));
        let mut summary = Self {
            folder: folder.to_path_buf(),
            status: Status::Interrupted,
            method: "",
            valid_top1: None,
            test_top1: None,
            macs: None,
            trouble: None,
        };
        known(Experiment::of_run(folder, &[]).map(|e| {
            summary.method = e.method.kind();
        }));
        known(last_events(&folder.join("events.jsonl")).map(|events| summary.see(&events)));
        known(manifest_status(folder).map(|status| summary.status = status));
        if summary.status.is_live() && !is_written(folder) {
            summary.status = Status::Interrupted;
        }
        summary.trouble = (!trouble.is_empty()).then(|| trouble.join("; "));
        summary
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        let name = self.folder.file_name();
        name.map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    }

    /// Takes accuracy and cost from events, newest first.
    fn see(&mut self, newest_first: &[Event]) {
        let ending = newest_first.iter().find_map(|event| match event {
            Event::Ended(ending) => Some(ending),
            _ => None,
        });
        if let Some(ending) = ending {
            self.status = ending.outcome.into();
        }
        if let Some(Ending {
            valid_top1: Some(valid),
            test_top1,
            macs,
            ..
        }) = ending
        {
            (self.valid_top1, self.test_top1, self.macs) = (Some(*valid), *test_top1, *macs);
            return;
        }
        // A run that did not finish: what its newest epoch was worth at its highest density.
        let measured = newest_first.iter().filter_map(|event| match event {
            Event::Epoch {
                epoch,
                split: Split::Valid,
                top1,
                macs,
                ..
            } => Some((*epoch, *macs, *top1)),
            _ => None,
        });
        if let Some((_, macs, top1)) = measured.max_by_key(|(epoch, macs, _)| (*epoch, *macs)) {
            (self.valid_top1, self.macs) = (Some(top1), Some(macs));
        }
    }
}

/// What a run does, and the share of it that is done, as the end of its log has it.
pub fn phase(folder: &Path) -> Option<(String, f32)> {
    let events = last_events(&folder.join("events.jsonl")).ok()?;
    events.into_iter().find_map(|event| match event {
        Event::Phase { name, progress } => Some((name, progress)),
        _ => None,
    })
}

fn manifest_status(folder: &Path) -> Result<Status> {
    let file = folder.join("manifest.json");
    let cannot = || format!("cannot read {}", file.display());
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).with_context(cannot)?).with_context(cannot)?;
    let state = manifest.get("state").and_then(serde_json::Value::as_str);
    state.and_then(Status::of_word).with_context(cannot)
}

/// The events in the last [`TAIL`] bytes of a log, newest first. An ending at its very end is all that is looked at.
fn last_events(log: &Path) -> Result<Vec<Event>> {
    let cannot = || format!("cannot read {}", log.display());
    let mut file = File::open(log).with_context(cannot)?;
    let len = file.metadata().with_context(cannot)?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))
        .and_then(|_| file.take(TAIL).read_to_end(&mut tail))
        .with_context(cannot)?;
    let mut events = Vec::new();
    for line in tail.split_inclusive(|b| *b == b'\n').rev() {
        // The first line may be cut off, and the last one half written.
        let Some(stamped) = parse(line) else { continue };
        let is_over = matches!(&stamped.event, Event::Ended(e) if e.valid_top1.is_some());
        events.push(stamped.event);
        if is_over {
            break;
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{ManifestUpdate, RunFolder};
    use event::{Outcome, Stamped};
    use model::Density;

    fn epoch(epoch: u32, macs: u64, top1: f32) -> Event {
        Event::Epoch {
            epoch,
            split: Split::Valid,
            density: Density::FULL,
            gates: Vec::new(),
            loss: 0.5,
            top1,
            macs,
            n: 100,
        }
    }

    fn ended(outcome: Outcome, valid_top1: Option<f32>) -> Event {
        Event::Ended(Ending {
            outcome,
            reason: None,
            good: None,
            bad_input: false,
            run: "r".into(),
            model: None,
            valid_top1,
            test_top1: valid_top1,
            macs: Some(7),
            macs_dense: None,
            params: None,
            params_dense: None,
        })
    }

    #[test]
    fn a_long_log_is_summed_up_from_its_end() {
        let dir = tempfile::tempdir().expect("temp dir");
        let experiment = Experiment::load("smoke", &[]).expect("preset");
        let mut folder = RunFolder::create(dir.path(), &experiment).expect("creates");
        let mut seq = 0;
        let mut say = |folder: &mut RunFolder, event| {
            folder.append(&Stamped { seq, at: 0.0, event }).expect("writes");
            seq += 1;
        };
        // Longer than what is read of it.
        for i in 0..9000 {
            let text = format!("{i:040}");
            say(&mut folder, Event::Warning { text });
        }
        for (n, macs, top1) in [(1, 90, 0.5), (2, 90, 0.75), (2, 40, 0.7)] {
            say(&mut folder, epoch(n, macs, top1));
        }
        let path = folder.path.clone();
        assert!(std::fs::metadata(path.join("events.jsonl")).expect("log").len() > TAIL);
        let now = RunSummary::read(&path);
        assert_eq!((now.status, now.trouble.clone()), (Status::Running, None));
        assert_eq!((now.valid_top1, now.macs, now.method), (Some(0.75), Some(90), "fbs"));
        say(&mut folder, ended(Outcome::Cancelled, None));
        let update = ManifestUpdate::status(Status::Interrupted);
        folder.manifest(&experiment, update).expect("writes");
        let cancelled = RunSummary::read(&path);
        assert_eq!(
            (cancelled.status, cancelled.valid_top1),
            (Status::Interrupted, Some(0.75))
        );
        say(&mut folder, ended(Outcome::Finished, Some(0.875)));
        let update = ManifestUpdate::status(Status::Finished);
        folder.manifest(&experiment, update).expect("writes");
        let over = RunSummary::read(&path);
        assert_eq!(
            (over.status, over.valid_top1, over.test_top1, over.macs),
            (Status::Finished, Some(0.875), Some(0.875), Some(7))
        );
    }

    #[test]
    fn a_run_whose_writer_died_is_interrupted_and_a_damaged_folder_says_so() {
        let dir = tempfile::tempdir().expect("temp dir");
        let experiment = Experiment::load("smoke", &[]).expect("preset");
        let folder = RunFolder::create(dir.path(), &experiment).expect("creates");
        let path = folder.path.clone();
        drop(folder);
        assert_eq!(RunSummary::read(&path).status, Status::Interrupted);
        std::fs::write(path.join("manifest.json"), b"{").expect("writes");
        std::fs::remove_file(path.join("events.jsonl")).expect("removes");
        let damaged = RunSummary::read(&path);
        let trouble = damaged.trouble.clone().unwrap_or_default();
        assert!(
            trouble.contains("manifest.json") && trouble.contains("events.jsonl"),
            "{trouble}"
        );
        assert!(damaged.name().contains("_smoke_"));
    }
}
