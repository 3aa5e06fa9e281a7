//! The one small layer through which runs and models are written, so that every write can be made to fail in a test.
//! Knows nothing of what is written.
//!
//! Two promises. A whole file ([`write_whole`]) is there as it was or as it is to be, never half: it is written beside, synced
//! and renamed, and what killed writers left beside it goes with the next write. A [`Log`] only grows by whole pieces: what was
//! written of a piece that failed is taken back. [`watch_syncs`] lets a test cut the power after any sync.
#![forbid(unsafe_code)]

mod cut;
mod fault;
mod folder;
mod full;
mod log;
mod whole;

pub use cut::{SyncedDisk, take_syncs, watch_syncs};
pub use fault::{Fault, plan_faults};
pub use folder::{make_folder, make_new_folder};
pub use full::is_full;
pub use log::{Log, LogSync};
pub use whole::{write_checked, write_whole};

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    const FAULTS: [Fault; 5] = [
        Fault::Short(2),
        Fault::Full,
        Fault::Broken,
        Fault::BeforeRename,
        Fault::AfterRename,
    ];

    #[test]
    fn a_file_is_as_it_was_or_as_it_is_to_be() {
        for fault in FAULTS {
            let dir = tempfile::tempdir().expect("temp dir");
            let path = dir.path().join("file");
            write_whole(&path, b"before").expect("writes");
            plan_faults([Some(fault)]);
            let error = write_whole(&path, b"after").expect_err("fails");
            assert_eq!(is_full(&error), fault == Fault::Full);
            let expected: &[u8] = if fault == Fault::AfterRename {
                b"after"
            } else {
                b"before"
            };
            assert_eq!(std::fs::read(&path).expect("reads"), expected, "{fault:?}");
            write_whole(&path, b"again").expect("writes");
            assert_eq!(std::fs::read(&path).expect("reads"), b"again");
        }
    }

    #[test]
    fn a_file_that_is_refused_leaves_the_old_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        let seen = write_checked(&path, b"one", |beside| Ok(std::fs::read(beside)?)).expect("writes");
        assert_eq!(seen, b"one");
        let refused: Result<()> = write_checked(&path, b"two", |_| anyhow::bail!("no"));
        assert_eq!(refused.expect_err("refused").to_string(), "no");
        assert_eq!(std::fs::read(&path).expect("there"), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
    }

    #[test]
    fn many_who_write_one_file_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        std::thread::scope(|scope| {
            for i in 0..8u8 {
                let path = &path;
                let write = move || {
                    for _ in 0..20 {
                        let bytes = vec![b'0' + i; 1000];
                        let check = |beside: &std::path::Path| {
                            assert_eq!(std::fs::read(beside)?, bytes);
                            Ok(())
                        };
                        write_checked(path, &bytes, check).expect("writes");
                    }
                };
                std::thread::Builder::new().spawn_scoped(scope, write).expect("spawns");
            }
        });
        let whole = std::fs::read(&path).expect("reads");
        assert!(whole.len() == 1000 && whole.iter().all(|b| *b == whole[0]));
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_killed_writers_left_goes_with_the_next_write() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        plan_faults([Some(Fault::BeforeRename)]);
        write_whole(&path, b"killed").expect_err("killed");
        for name in ["file.part", "file.1-2.part", "file.other.part", "file2.part"] {
            std::fs::write(dir.path().join(name), b"left").expect("writes");
        }
        let held = std::fs::File::create(dir.path().join("file.3-4.part")).expect("creates");
        held.lock().expect("locks");
        write_whole(&path, b"after").expect("writes");
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("folder")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["file", "file.3-4.part", "file.other.part", "file2.part"]);
    }

    #[test]
    fn a_power_cut_leaves_what_was_synced() {
        let dir = tempfile::tempdir().expect("temp dir");
        watch_syncs(dir.path());
        let run = dir.path().join("a/run");
        make_folder(&run).expect("makes");
        assert!(!make_new_folder(&run).expect("asks"), "it is there");
        let mut log = Log::open(&run.join("log"), None).expect("opens");
        log.append(b"one").expect("writes");
        write_whole(&run.join("file"), b"before").expect("writes");
        log.syncing().sync().expect("syncs");
        log.append(b"two").expect("writes");
        write_whole(&run.join("file"), b"after").expect("writes");
        let left: Vec<_> = take_syncs()
            .iter()
            .map(|disk| {
                let back = tempfile::tempdir().expect("temp dir");
                disk.restore(back.path()).expect("restores");
                ["log", "file"].map(|name| std::fs::read_to_string(back.path().join("a/run").join(name)).ok())
            })
            .collect();
        let texts = |log: Option<&str>, file: Option<&str>| [log, file].map(|t| t.map(str::to_owned));
        let expected = [
            texts(None, None),
            texts(None, None),
            texts(None, None),
            texts(Some(""), Some("before")),
            texts(Some("one"), Some("before")),
            texts(Some("one"), Some("before")),
            texts(Some("one"), Some("after")),
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_log_grows_by_whole_pieces() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("log");
        let mut log = Log::open(&path, None).expect("opens");
        for fault in [
            None,
            Some(Fault::Short(1)),
            Some(Fault::Full),
            None,
            Some(Fault::Broken),
            None,
        ] {
            plan_faults([fault]);
            assert_eq!(log.append(b"piece").is_ok(), fault.is_none());
        }
        assert_eq!(std::fs::read(&path).expect("reads"), b"piecepiecepiece");
        drop(Log::open(&path, Some(7)).expect("opens"));
        assert_eq!(std::fs::read(&path).expect("reads"), b"piecepi");
    }
}
