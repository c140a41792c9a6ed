//! Numbers that change when what a replica remembers of Redis may be outdated. The nodes of a
//! cluster share them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The epochs of a store.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    bans: AtomicU64,
    primary: Arc<AtomicU64>,
}

impl Epochs {
    /// Changes whenever the logs of bans must be read again.
    pub(super) fn bans(&self) -> u64 {
        self.bans.load(Ordering::Acquire)
    }

    /// Changes before the first command to another primary is sent.
    pub(super) fn primary(&self) -> &Arc<AtomicU64> {
        &self.primary
    }

    /// The copies of the logs of bans may be outdated.
    pub(super) fn forget_bans(&self) {
        self.bans.fetch_add(1, Ordering::AcqRel);
    }

    /// Another primary is used from now on. It may lack what the former one has acknowledged.
    pub(super) fn on_other_primary(&self) {
        self.forget_bans();
        self.on_promoted();
    }

    /// A server is used from now on that was a replica. It may lack what its primary has
    /// acknowledged.
    pub(super) fn on_promoted(&self) {
        self.primary.fetch_add(1, Ordering::AcqRel);
    }
}
