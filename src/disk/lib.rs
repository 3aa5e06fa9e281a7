//! The one small layer through which runs and models are written, so that every write can be made to fail in a test.
//! Knows nothing of what is written.
//!
//! Two promises. A whole file ([`write_whole`]) is there as it was or as it is to be, never half: it is written beside, synced
//! and renamed. A [`Log`] only grows by whole pieces: what was written of a piece that failed is taken back.
#![forbid(unsafe_code)]

mod fault;
mod full;
mod log;
mod whole;

pub use fault::{Fault, plan_faults};
pub use full::is_full;
pub use log::Log;
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
