//! The bans that a namespace keeps, as people look at them.

use std::time::Duration;

use super::BanPattern;
use crate::model::Timestamp;

/// The bans of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BanListing {
    /// Number of banned tags and of keys that are banned without wildcards.
    pub tags: u64,
    /// Number of banned patterns.
    pub globs: u64,
    /// The newest of them, the newest first; at most [`BanListing::MAX_NEWEST`].
    pub newest: Vec<ListedBan>,
    /// Time after which a ban is forgotten by the next ban or sweep, whatever it was for. It is
    /// forgotten earlier if a sweep finds that no entry is older.
    pub kept_for: Duration,
}

/// A ban that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBan {
    /// Its pattern. A key is a pattern of itself.
    pub pattern: BanPattern,
    /// Its number in the sequence of the namespace's bans.
    pub sequence: u64,
    /// When it was made, or up to a minute before; none if that is long ago.
    pub made_at: Option<Timestamp>,
    /// End of its hold-off; none if it has none that lasts.
    pub held_until: Option<Timestamp>,
}

impl BanListing {
    /// Most bans that are listed.
    pub const MAX_NEWEST: usize = 20;

    /// Sorts the newest bans, and leaves out those above the limit.
    pub(super) fn limit(&mut self) {
        self.newest.sort_by_key(|ban| std::cmp::Reverse(ban.sequence));
        self.newest.truncate(Self::MAX_NEWEST);
    }
}
