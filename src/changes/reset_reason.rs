//! Why watchers lose their position.

/// Why a watcher must drop what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// The connection is lost or silent on which the store announces changes.
    FeedLost,
    /// The store cannot be reached.
    StoreUnavailable,
    /// The store was emptied.
    StoreFlushed,
    /// The watcher did not read fast enough.
    SlowReader,
    /// The changes since the token are unknown.
    NotResumable,
    /// The replica is stopping.
    ShuttingDown,
}

impl ResetReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::FeedLost,
        Self::StoreUnavailable,
        Self::StoreFlushed,
        Self::SlowReader,
        Self::NotResumable,
        Self::ShuttingDown,
    ];

    /// Name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::FeedLost => "feed_lost",
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreFlushed => "store_flushed",
            Self::SlowReader => "slow_reader",
            Self::NotResumable => "not_resumable",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
