//! Faults that tests plan for the next writes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Error, ErrorKind, Write};

/// What goes wrong in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// So many bytes are written, then no more is taken.
    Short(usize),
    /// No room (ENOSPC).
    Full,
    /// The device fails (EIO).
    Broken,
    /// The power goes before the rename: nobody cleans up.
    BeforeRename,
    /// The power goes after the rename.
    AfterRename,
}

thread_local! {
    /// What is to happen to the next writes of this thread; empty outside tests.
    static FAULTS: RefCell<VecDeque<Option<Fault>>> = const { RefCell::new(VecDeque::new()) };
}

/// For tests: what is to happen to the next writes of this thread, one each.
pub fn plan_faults(faults: impl IntoIterator<Item = Option<Fault>>) {
    FAULTS.with_borrow_mut(|f| *f = faults.into_iter().collect());
}

pub(crate) fn next_fault() -> Option<Fault> {
    FAULTS.with_borrow_mut(|f| f.pop_front().flatten())
}

/// Writes to a file, unless a test has something else in mind.
pub(crate) fn put(mut file: &File, bytes: &[u8], fault: Option<Fault>) -> std::io::Result<()> {
    match fault {
        Some(Fault::Short(n)) => {
            file.write_all(&bytes[..n.min(bytes.len())])?;
            Err(Error::from(ErrorKind::WriteZero))
        }
        Some(Fault::Full) => Err(Error::from(ErrorKind::StorageFull)),
        Some(Fault::Broken) => Err(Error::other("input/output error")),
        _ => file.write_all(bytes),
    }
}
