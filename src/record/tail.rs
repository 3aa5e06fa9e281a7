//! The events of a run that another process works on, as they are logged.
//! Knows nothing of what they mean. Reads only.

use crate::folder::is_written;
use crate::log::{LONGEST, parse};
use event::Stamped;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// How often the log is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// Says every event behind the first `at` bytes of the log, which are whole lines, until the run is no longer written to or
/// `say` gives false.
/// A line that is being written is waited for.
pub fn tail(run: &Path, mut at: u64, say: &mut dyn FnMut(Stamped) -> bool) {
    let Ok(file) = File::open(run.join("events.jsonl")) else {
        return;
    };
    let mut reader = BufReader::new(file);
    if reader.seek(SeekFrom::Start(at)).is_err() {
        return;
    }
    let mut line = Vec::new();
    loop {
        // Asked before reading: what is logged before the writer is gone is read.
        let written = is_written(run);
        loop {
            line.clear();
            let mut bounded = (&mut reader).take(LONGEST as u64);
            let whole = bounded.read_until(b'\n', &mut line).is_ok() && line.ends_with(b"\n");
            if !whole {
                // Back to the line's beginning.
                if reader.seek(SeekFrom::Start(at)).is_err() {
                    return;
                }
                break;
            }
            at += line.len() as u64;
            let Some(stamped) = parse(&line) else {
                continue;
            };
            if !say(stamped) {
                return;
            }
        }
        if !written {
            return;
        }
        std::thread::park_timeout(EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use crate::folder::RunFolder;
    use event::Event;

    #[test]
    fn events_come_as_they_are_logged_until_the_writer_is_gone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let experiment = Experiment::load("smoke", &[]).expect("preset");
        let mut folder = RunFolder::create(dir.path(), &experiment).expect("creates");
        let path = folder.path.clone();
        let log = |folder: &mut RunFolder, seq: u64| {
            let event = Event::Warning { text: "x".into() };
            folder.append(&Stamped { seq, at: 0.5, event }).expect("writes");
        };
        log(&mut folder, 0);
        let read = path.join("events.jsonl").metadata().expect("is there").len();
        (1..3).for_each(|seq| log(&mut folder, seq));
        let (send, got) = crossbeam_channel::bounded(64);
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new()
                .spawn_scoped(scope, || {
                    tail(&path, read, &mut |stamped| send.send(stamped.seq).is_ok())
                })
                .expect("spawns");
            assert_eq!([got.recv(), got.recv()], [Ok(1), Ok(2)]);
            log(&mut folder, 3);
            assert_eq!(got.recv(), Ok(3));
            drop(folder);
            reader.join().expect("ends");
        });
        assert!(got.try_recv().is_err());
    }
}
