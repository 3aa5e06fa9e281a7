//! Requests to a run that another process works on, as lines in its folder: the window can steer what the command line makes.
//! Knows nothing of what is requested. Opens no port.

use crate::control::Control;
use anyhow::{Context, Result};
use event::Steer;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(100);

const LONGEST: usize = 1 << 20;

/// What may be asked from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlRequest {
    /// Hold at the next event.
    Pause,
    /// The same, as long as whoever asks is there: see [`hold`].
    Hold {
        /// Who asks.
        by: String,
    },
    /// Go on.
    Resume,
    /// End.
    Stop,
    /// Ask something of the search.
    Steer(Steer),
}

impl ControlRequest {
    fn give(self, control: &Control) {
        match self {
            ControlRequest::Pause => control.pause("another process"),
            ControlRequest::Hold { by } => control.pause(&by),
            ControlRequest::Resume => control.resume("another process"),
            ControlRequest::Stop => control.stop(),
            ControlRequest::Steer(steer) => control.steer(steer),
        }
    }
}

fn file(run: &Path) -> std::path::PathBuf {
    run.join("orders.jsonl")
}

/// Leaves a request in a run's folder.
///
/// # Errors
/// It cannot be written there.
pub fn send(run: &Path, request: &ControlRequest) -> Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // One write, so that lines of two senders do not mix.
    let open = File::options().create(true).append(true).open(file(run));
    open.and_then(|mut f| f.write_all(&line))
        .with_context(|| format!("Cannot write a request in {}", run.display()))
}

/// Somebody's wish that a run be held. It ends with them: the run goes on once this is dropped, or its process is gone.
#[derive(Debug)]
pub struct Held {
    _lock: File,
}

/// Asks that a run be held for as long as what is given lives.
///
/// # Errors
/// It cannot be written in the run's folder.
pub fn hold(run: &Path, by: &str) -> Result<Held> {
    let file = File::options().create(true).append(true).open(run.join(HELD));
    let file = file.with_context(|| format!("Cannot write a request in {}", run.display()))?;
    // Shared, since two may hold one run. Where there are no locks, the pause stays until somebody ends it.
    let by = by.to_owned();
    match file.lock_shared() {
        Ok(()) => send(run, &ControlRequest::Hold { by })?,
        Err(_) => send(run, &ControlRequest::Pause)?,
    }
    Ok(Held { _lock: file })
}

/// The file that is locked by who holds a run.
const HELD: &str = "held";

/// Whether nobody holds a run any more.
fn is_let_go(run: &Path) -> bool {
    File::open(run.join(HELD)).is_ok_and(|file| file.try_lock().is_ok())
}

/// Passes requests that come from now on to `control`, until `over`. Other lines are skipped.
pub fn obey(run: &Path, control: &Control, over: &AtomicBool) {
    let mut at = std::fs::metadata(file(run)).map_or(0, |m| m.len());
    let mut rest = Vec::new();
    let mut held = false;
    while !over.load(Ordering::Relaxed) {
        at += read_on(run, at, &mut rest);
        for request in take_requests(&mut rest) {
            match request {
                ControlRequest::Hold { .. } => held = true,
                ControlRequest::Pause | ControlRequest::Resume => held = false,
                ControlRequest::Stop | ControlRequest::Steer(_) => {}
            }
            request.give(control);
        }
        if held && is_let_go(run) {
            held = false;
            control.resume("whoever held it is gone");
        }
        std::thread::park_timeout(EVERY);
    }
}

/// Takes the requests of whole lines out of what was read of the file. Other lines are skipped, as is one that never ends.
pub fn take_requests(rest: &mut Vec<u8>) -> Vec<ControlRequest> {
    let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let lines: Vec<u8> = rest.drain(..whole).collect();
    if rest.len() > LONGEST {
        rest.clear();
    }
    let requests = lines
        .split(|b| *b == b'\n')
        .map(serde_json::from_slice::<ControlRequest>);
    requests.filter_map(Result::ok).collect()
}

/// Reads what was added to the file, at most [`LONGEST`] bytes; gives how many.
fn read_on(run: &Path, at: u64, rest: &mut Vec<u8>) -> u64 {
    let mut read = || -> std::io::Result<u64> {
        let mut file = File::open(file(run))?;
        file.seek(SeekFrom::Start(at))?;
        file.take(LONGEST as u64).read_to_end(rest).map(|n| n as u64)
    };
    read().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_from_now_on_are_obeyed_and_others_are_not() {
        let dir = tempfile::tempdir().expect("temp dir");
        let run = dir.path();
        send(run, &ControlRequest::Stop).expect("sends");
        let (control, over) = (Control::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let listener = std::thread::Builder::new()
                .spawn_scoped(scope, || obey(run, &control, &over))
                .expect("spawns");
            // Garbage must not end the listening, and the old stop must not be obeyed.
            let mut file = File::options().append(true).open(file(run)).expect("opens");
            let lock = Steer::Lock { site: 1, density: 0.5 };
            let mut got = Vec::new();
            while got.is_empty() {
                file.write_all(b"no order\n").expect("writes");
                send(run, &ControlRequest::Steer(lock.clone())).expect("sends");
                std::thread::park_timeout(Duration::from_millis(20));
                got = control.take_steers();
            }
            assert!(got.iter().all(|s| *s == lock));
            assert_eq!(control.check(), Ok(()));
            send(run, &ControlRequest::Stop).expect("sends");
            while control.check().is_ok() {
                std::thread::yield_now();
            }
            over.store(true, Ordering::Relaxed);
            listener.join().expect("ends");
        });
    }
}
