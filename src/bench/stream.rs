//! How long a day's log takes to open, how much memory it holds, and whether a run that is being
//! written can be followed.
//! Knows nothing of windows: it is the session that the window stands on.

use crate::answer::Memory;
use anyhow::{Result, ensure};
use disk::Log;
use event::{Event, Stamped};
use lab::{Command, Session, Workspace};
use record::folder::{RunFolder, line};
use record::{Experiment, RunId, replay};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};
use train::device::DeviceName;

/// One line of `secateur bench stream`.
#[derive(Clone, Debug, Serialize)]
pub struct StreamTimes {
    /// `secateur`, beside the other programs that are timed.
    pub peer: &'static str,
    /// `stream`.
    pub task: &'static str,
    /// Events of the log.
    pub events: u64,
    /// Bytes of the log.
    pub bytes: u64,
    /// Time until the run can be shown.
    pub open_ms: f64,
    /// Memory that the process gains with it, where the system reports it.
    pub held_mb: Option<f64>,
    /// Events a second that are written while the run is followed.
    pub rate: u32,
    /// Events that were followed.
    pub followed: u64,
    /// Longest time from an event's writing until the session has it.
    pub lag_ms: f64,
    /// Memory gained while following.
    pub grown_mb: Option<f64>,
}

fn step(seq: u64) -> Stamped {
    let event = Event::Step {
        step: seq,
        loss: 2.0 / (1.0 + seq as f32 * 1e-6) + (seq * 7919 % 1009) as f32 * 1e-4,
        top1: (seq * 31 % 997) as f32 / 997.0,
        lr: 0.1,
    };
    Stamped {
        seq,
        at: seq as f64 * 0.008_64,
        event,
    }
}

/// Writes a log of `events` events under `dir`, opens it, and follows it for `seconds` while `rate` events a second are added.
///
/// # Errors
/// A log that cannot be written, or events that do not arrive.
pub fn bench_stream(dir: &Path, events: u64, rate: u32, seconds: f64) -> Result<StreamTimes> {
    let experiment = Experiment::load("smoke", &[])?;
    let folder = RunFolder::create(dir, &experiment)?;
    let run = folder.path.clone();
    let log = run.join("events.jsonl");
    let mut writer = Log::open(&log, None)?;
    let mut piece = Vec::new();
    for seq in 0..events {
        piece.extend(line(&step(seq)));
        if piece.len() > 1 << 20 || seq + 1 == events {
            writer.append(&piece)?;
            piece.clear();
        }
    }
    let before = Memory::read();
    let began = Instant::now();
    let state = replay::replay(RunId(0), &run)?;
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    ensure!(state.events == events, "{} of {events} events were read", state.events);
    let held_mb = Memory::read()
        .zip(before)
        .map(|(now, before)| now.now_mb - before.now_mb);
    drop(state);
    let bytes = log.metadata()?.len();

    let workspace = Workspace {
        runs: dir.to_path_buf(),
        device: DeviceName::Flex,
        threads: 1,
        farm: None,
    };
    let mut session = Session::new(workspace, Arc::new(|| {}))?;
    session.submit(Command::OpenRun(run));
    let until = Instant::now() + Duration::from_secs(120);
    while session.store().runs.is_empty() && Instant::now() < until {
        session.pump(Duration::from_millis(8));
    }
    let before = Memory::read();
    let total = events + (f64::from(rate) * seconds) as u64;
    let written = Arc::new(AtomicU64::new(events));
    let tells = written.clone();
    let follow = Builder::new().name("writer".into()).spawn(move || -> Result<()> {
        // Held, so that the session knows the run as one that works.
        let _folder = folder;
        let began = Instant::now();
        for seq in events..total {
            let due = Duration::from_secs_f64((seq - events) as f64 / f64::from(rate));
            if let Some(wait) = due.checked_sub(began.elapsed()) {
                std::thread::sleep(wait);
            }
            writer.append(&line(&step(seq)))?;
            tells.store(seq + 1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let mut lag_ms: f64 = 0.0;
    // What had been written when, and is not there yet.
    let mut due = VecDeque::new();
    let mut moved = (events, Instant::now());
    let have = |session: &Session| session.store().runs.first().map_or(0, |r| r.events);
    loop {
        let written = written.load(Ordering::Relaxed);
        session.pump(Duration::from_millis(8));
        due.push_back((written, Instant::now()));
        let have = have(&session);
        while let Some(&(_, since)) = due.front().filter(|(count, _)| *count <= have) {
            lag_ms = lag_ms.max(since.elapsed().as_secs_f64() * 1e3);
            due.pop_front();
        }
        if have > moved.0 {
            moved = (have, Instant::now());
        }
        if have >= total || (follow.is_finished() && moved.1.elapsed() > Duration::from_secs(60)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(8));
    }
    let followed = have(&session).saturating_sub(events);
    ensure!(
        followed == total - events,
        "{followed} of {} events were followed",
        total - events
    );
    Ok(StreamTimes {
        peer: "secateur",
        task: "stream",
        events,
        bytes,
        open_ms,
        held_mb,
        rate,
        followed,
        lag_ms,
        grown_mb: Memory::read()
            .zip(before)
            .map(|(now, before)| now.now_mb - before.now_mb),
    })
}
