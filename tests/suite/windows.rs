//! Several programs on one folder of runs: what one does is seen by the others, and none is in another's way.

use event::{Event, Outcome, Stamped};
use lab::{Command, RunStore, Session, Workspace};
use record::farm_status::{FARMS, FarmStatus, FarmTaskStatus, TaskState, follow, is_to_stop};
use record::folder::{ManifestUpdate, RunFolder};
use record::{Experiment, RunState, Status};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use train::device::DeviceName;

/// A window's session that watches this folder.
fn window(runs: &Path) -> Session {
    let workspace = Workspace {
        runs: runs.to_path_buf(),
        device: DeviceName::Flex,
        threads: 1,
        farm: None,
    };
    let mut session = Session::new(workspace, Arc::new(|| {})).expect("threads");
    session.watch();
    session
}

/// Pumps all until something holds of the first, at most a minute.
fn until(sessions: &mut [&mut Session], what: &str, holds: impl Fn(&RunStore) -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        for session in sessions.iter_mut() {
            session.pump(Duration::from_millis(20));
        }
        let store = sessions[0].store();
        if holds(store) {
            return;
        }
        let runs: Vec<String> = store
            .runs
            .iter()
            .map(|r| format!("{} {}", r.title(), r.status))
            .collect();
        assert!(
            Instant::now() < limit,
            "waited in vain until {what}: {runs:?} {:?} {:?}",
            store.notices,
            store.folders
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn is(status: Status) -> impl Fn(&RunStore) -> bool {
    move |store| store.runs.first().is_some_and(|run| run.status == status)
}

fn tiny(epochs: &str) -> Experiment {
    let changes = [
        ("data.limit", "128"),
        ("data.valid", "64"),
        ("train.log_every", "1"),
        ("train.batch", "16"),
        ("train.epochs", epochs),
        ("model.width", "0.05"),
        ("method.grid", "[0.5, 1.0]"),
        ("method.calibration", "64"),
    ];
    let changes: Vec<(String, String)> = changes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Experiment::load("smoke", &changes).expect("preset")
}

#[test]
fn a_window_follows_a_run_that_another_program_goes_on_with() {
    let dir = tempfile::tempdir().expect("temp dir");
    let experiment = Experiment::load("smoke", &[]).expect("preset");
    let seq = Cell::new(0);
    let say = |folder: &mut RunFolder, event| {
        let next = seq.get();
        folder
            .append(&Stamped {
                seq: next,
                at: 0.5,
                event,
            })
            .expect("writes");
        seq.set(next + 1);
    };
    let mut folder = RunFolder::create(dir.path(), &experiment).expect("creates");
    let text = || "x".to_owned();
    say(&mut folder, Event::Warning { text: text() });
    let path = folder.path.clone();
    drop(folder);
    let mut session = window(dir.path());
    let listed = |status: Status| move |s: &RunStore| s.folders.len() == 1 && s.folders[0].status == status;
    until(&mut [&mut session], "it is listed", listed(Status::Interrupted));
    session.submit(Command::OpenRun(path.clone()));
    until(&mut [&mut session], "it is read", is(Status::Interrupted));
    // Somebody resumes it, twice.
    for _ in 0..2 {
        let (mut folder, ..) = RunFolder::reopen(&path, &mut |_| {}).expect("reopens");
        let mended = Vec::new();
        say(&mut folder, Event::Resumed { from: 0, mended });
        until(&mut [&mut session], "it is followed", is(Status::Running));
        say(&mut folder, Event::Warning { text: text() });
        let events = seq.get();
        until(&mut [&mut session], "its events come", |s| s.runs[0].events == events);
        drop(folder);
        until(&mut [&mut session], "its writer is missed", is(Status::Interrupted));
    }
    until(&mut [&mut session], "the list says so", listed(Status::Interrupted));
    // A new run appears, and one that is deleted goes.
    let other = RunFolder::create(dir.path(), &experiment).expect("creates");
    until(&mut [&mut session], "a new run is listed", |s| s.folders.len() == 2);
    let gone = other.path.clone();
    other
        .manifest(&experiment, ManifestUpdate::status(Status::Failed))
        .expect("writes");
    drop(other);
    let failed = |s: &RunStore| s.folders.iter().any(|f| f.folder == gone && f.status == Status::Failed);
    until(&mut [&mut session], "its end is seen", failed);
    std::fs::remove_dir_all(&gone).expect("removes");
    until(&mut [&mut session], "it is gone", |s| s.folders.len() == 1);
    assert_eq!(session.store().notices, [""; 0]);
}

/// Sets a file's time, as a clock that jumped would have.
fn written_in(file: &Path, year: u64) {
    let time = UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600);
    let file = std::fs::File::options().append(true).open(file).expect("is there");
    file.set_modified(time).expect("sets");
}

/// The clock is set back and forth before each run and at each of its events: only names tell.
#[test]
fn a_clock_that_is_set_back_and_forth_hurts_nobody() {
    use lab::execute::{execute, resume};
    use record::control::Control;
    use record::folder::set_clock;
    let dir = tempfile::tempdir().expect("temp dir");
    let runs = dir.path();
    let workspace = Workspace {
        runs: runs.to_path_buf(),
        device: DeviceName::Flex,
        threads: 1,
        farm: None,
    };
    let mut session = window(runs);
    let jump = |n: u64, run: Option<&Path>| {
        let year = [2040, 1970, 2400, 1985][n as usize % 4];
        set_clock((year as i64 - 1970) * 31_557_600);
        if let Some(run) = run {
            written_in(&run.join("manifest.json"), year);
            written_in(&run.join("events.jsonl"), 4370 - year);
        }
    };
    let newest = |known: &[PathBuf]| {
        let all = record::replay::list(runs).expect("lists");
        all.into_iter().find(|run| !known.contains(run)).expect("a run")
    };
    let mut known: Vec<PathBuf> = Vec::new();
    for began in 0..3 {
        jump(began, None);
        let control = Control::default();
        let mut made = None;
        let ending = execute(&tiny("2"), &workspace, &control, &mut |stamped| {
            let run = made.get_or_insert_with(|| newest(&known));
            jump(began + stamped.seq, Some(run));
            match &stamped.event {
                Event::Step { step: 3, .. } => control.pause("a test"),
                Event::Paused { .. } => control.resume("a test"),
                Event::Step { step: 7, .. } => control.stop(),
                _ => {}
            }
        })
        .expect("runs");
        assert_eq!(ending.outcome, Outcome::Cancelled, "{ending:?}");
        let run = newest(&known);
        jump(began + 1, Some(&run));
        let is = |status: Status, folder: PathBuf| {
            move |s: &RunStore| s.folders.iter().any(|f| f.folder == folder && f.status == status)
        };
        until(&mut [&mut session], "it stops", is(Status::Interrupted, run.clone()));
        session.submit(Command::OpenRun(run.clone()));
        let follows = run.clone();
        let has = move |status: Status| {
            let run = follows.clone();
            move |s: &RunStore| {
                let of = |r: &&RunState| r.folder.as_deref() == Some(&run);
                s.runs.iter().find(of).is_some_and(|r| r.status == status)
            }
        };
        until(&mut [&mut session], "it is read", has(Status::Interrupted));
        let ending = resume(&run, None, &workspace, &Control::default(), &mut |stamped| {
            jump(began + stamped.seq, Some(&run));
        })
        .expect("goes on");
        assert_eq!(ending.outcome, Outcome::Finished, "{ending:?}");
        jump(began, Some(&run));
        until(
            &mut [&mut session],
            "its end is listed",
            is(Status::Finished, run.clone()),
        );
        until(&mut [&mut session], "its end is shown", has(Status::Finished));
        let events = record::log::read_events(&run).expect("a log");
        assert!(events.iter().map(|s| s.seq).eq(0..events.len() as u64));
        assert!(events.iter().all(|s| s.at >= 0.0) && events.is_sorted_by(|a, b| a.at <= b.at));
        let shown = session.store().runs.iter().find(|r| r.folder.as_ref() == Some(&run));
        let shown = shown.expect("is shown");
        assert!(shown.elapsed_secs < 300.0, "{} s", shown.elapsed_secs);
        assert!(shown.left_secs().is_some_and(|left| (0.0..300.0).contains(&left)));
        known.push(run);
    }
    let name = |run: &PathBuf| run.file_name().map(|n| n.to_string_lossy()[..4].to_owned());
    let years: Vec<String> = known.iter().filter_map(name).collect();
    assert_eq!(years, ["2040", "1970", "2400"]);
    assert_eq!(session.store().folders.len(), 3);
    assert_eq!(session.store().notices, [""; 0]);
}

#[test]
fn two_windows_share_a_run() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (mut first, mut second) = (window(dir.path()), window(dir.path()));
    first.submit(Command::Start(Box::new(tiny("200"))));
    until(&mut [&mut first, &mut second], "it trains", |s| {
        s.runs.first().is_some_and(|r| !r.steps.is_empty())
    });
    until(&mut [&mut second, &mut first], "the second lists it", |s| {
        s.folders.first().is_some_and(|f| f.status.is_live())
    });
    let folder = second.store().folders[0].folder.clone();
    second.submit(Command::OpenRun(folder.clone()));
    until(
        &mut [&mut second, &mut first],
        "the second watches it",
        is(Status::Running),
    );
    // It cannot be taken over while it works.
    second.submit(Command::ResumeRun(folder.clone()));
    until(&mut [&mut second, &mut first], "the second is refused", |s| {
        s.notices.len() == 1
    });
    // What one pauses, both show as paused, and either lets go on.
    let id = second.store().runs[0].id;
    second.submit(Command::Pause(id));
    until(
        &mut [&mut first, &mut second],
        "the first is paused",
        is(Status::Paused),
    );
    let by = first.store().runs[0].held_by.clone();
    assert!(by.is_some_and(|by| view::runs::row(&first.store().runs[0]).detail.contains(&by)));
    let id_there = first.store().runs[0].id;
    first.submit(Command::Resume(id_there));
    until(
        &mut [&mut second, &mut first],
        "the second sees it go on",
        is(Status::Running),
    );
    // A pause ends with the window that asked for it.
    let mut third = window(dir.path());
    third.submit(Command::OpenRun(folder.clone()));
    until(
        &mut [&mut third, &mut first, &mut second],
        "the third watches it",
        is(Status::Running),
    );
    let id_third = third.store().runs[0].id;
    third.submit(Command::Pause(id_third));
    until(&mut [&mut second, &mut first], "the second is told", is(Status::Paused));
    drop(third);
    until(&mut [&mut second, &mut first], "it is let go", is(Status::Running));
    second.submit(Command::Stop(id));
    until(&mut [&mut first, &mut second], "it stops", is(Status::Interrupted));
    until(
        &mut [&mut second, &mut first],
        "the second sees it stop",
        is(Status::Interrupted),
    );
    // The second goes on with it, and the first watches.
    second.submit(Command::ResumeRun(folder));
    until(&mut [&mut first, &mut second], "the first follows", is(Status::Running));
    let before = first.store().runs[0].events;
    until(&mut [&mut first, &mut second], "events come", |s| {
        s.runs[0].events > before + 5
    });
    let id = first.store().runs[0].id;
    first.submit(Command::Stop(id));
    until(
        &mut [&mut second, &mut first],
        "the second stops",
        is(Status::Interrupted),
    );
    until(
        &mut [&mut first, &mut second],
        "the first sees it stop",
        is(Status::Interrupted),
    );
    let log = |run: &RunState| (run.events, run.resumed, run.ending.as_ref().map(|e| e.outcome));
    assert_eq!(log(&first.store().runs[0]), log(&second.store().runs[0]));
    assert_eq!(
        first.store().runs[0].ending.as_ref().map(|e| e.outcome),
        Some(Outcome::Cancelled)
    );
}

#[test]
fn a_farm_of_another_program_is_seen_and_stopped() {
    let dir = tempfile::tempdir().expect("temp dir");
    let folder = dir.path().join(FARMS).join("seeds-1");
    std::fs::create_dir_all(&folder).expect("makes");
    let held = follow(&folder).expect("opens");
    let task = |state| FarmTaskStatus {
        state,
        ..FarmTaskStatus::default()
    };
    let farm = FarmStatus {
        engine: "hq".into(),
        job: "1".into(),
        word: "run".into(),
        tasks: vec![task(TaskState::Running), task(TaskState::Waiting)],
        folder: folder.clone(),
        is_followed: true,
    };
    farm.write().expect("writes");
    let mut session = window(dir.path());
    until(&mut [&mut session], "the farm is seen", |store| {
        store.farms.len() == 1 && store.farms[0].is_followed
    });
    session.submit(Command::StopFarm(folder.clone()));
    assert!(is_to_stop(&folder));
    drop(held);
    until(&mut [&mut session], "nobody follows it", |store| {
        store.farms.iter().all(|farm| !farm.is_followed)
    });
}
