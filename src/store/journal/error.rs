//! Why the journal refused.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// A failure to open the journal, or to append to it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another process has the file open.
    #[error("the journal {} is in use: each process needs a path of its own", .0.display())]
    Locked(PathBuf),
    /// The journal was written for another key prefix.
    #[error(
        "the journal {} belongs to the fleet with the key prefix {found:?}, not {expected:?}",
        path.display()
    )]
    OtherFleet {
        /// The journal's file.
        path: PathBuf,
        /// Prefix that the file names.
        found: String,
        /// Prefix of this process.
        expected: String,
    },
    /// The file has a format that this version does not read.
    #[error("the journal {} has format {found}, this version reads {expected}", path.display())]
    OtherFormat {
        /// The journal's file.
        path: PathBuf,
        /// Format of the file.
        found: u64,
        /// Format that this version reads.
        expected: u64,
    },
    /// The file is cut or overwritten.
    #[error("the journal {} is damaged: restore it, or delete it with its entries", .0.display())]
    Damaged(PathBuf),
    /// The file could not be read or written.
    #[error("the journal {} failed: {cause}", path.display())]
    Failed {
        /// The journal's file.
        path: PathBuf,
        /// Error of the database or of the operating system.
        cause: Arc<redb::Error>,
    },
    /// The directory of the file could not be synced.
    #[error("the directory of the journal {} could not be synced: {cause}", path.display())]
    Directory {
        /// The journal's file.
        path: PathBuf,
        /// Error of the operating system.
        cause: Arc<io::Error>,
    },
    /// The entries would exceed `journal.max_bytes`.
    #[error("the journal is full")]
    Full,
    /// The disk did not answer in time. The append may be done later.
    #[error("the disk of the journal did not answer in {0:?}")]
    Slow(Duration),
    /// Too many appends wait for the disk, or the journal is closing.
    #[error("the journal accepts no more appends at the moment")]
    Busy,
}

impl JournalError {
    /// Name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Slow(_) => "slow",
            Self::Locked(_)
            | Self::OtherFleet { .. }
            | Self::OtherFormat { .. }
            | Self::Damaged(_)
            | Self::Failed { .. }
            | Self::Directory { .. } => "failed",
        }
    }

    /// How to end it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Full => "bring the store back, or raise journal.max_bytes",
            Self::Busy | Self::Slow(_) => "check the load of the disk",
            Self::Locked(_)
            | Self::OtherFleet { .. }
            | Self::OtherFormat { .. }
            | Self::Damaged(_)
            | Self::Failed { .. }
            | Self::Directory { .. } => "check the disk and the file of journal.path",
        }
    }
}
