//! Whether a disk is full.

use std::io::{Error, ErrorKind};

/// Whether it was for want of room that something could not be written.
pub fn is_full(e: &anyhow::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    e.chain()
        .filter_map(|e| e.downcast_ref::<Error>())
        .any(|e| kinds.contains(&e.kind()))
}
