//! Faults on purpose, which the checker must find. They exist only with the feature `planted-bugs`;
//! the environment variable `PLANTED_BUG` then names one.

use std::borrow::Cow;

/// A fault that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Reads ignore the bans.
    BansUnchecked,
    /// Delete does not void the lease.
    DeleteKeepsLease,
    /// Set does not void the lease.
    SetKeepsLease,
    /// A lease is granted while another one is held.
    LeaseGrantedTwice,
    /// A fill is accepted after the end of its lease.
    ExpiredFill,
    /// A fill is accepted though the lease has passed to another caller.
    UnfencedFill,
    /// Set ignores the version in its condition.
    VersionUnchecked,
    /// Set checks that there is no entry in a step before the write.
    ConditionNotAtomic,
    /// An increment is sent again after a lost connection.
    IncrementRetried,
    /// The near cache ignores announced changes.
    NearUnannounced,
    /// The near cache keeps its copies while changes are not announced.
    NearKeptOnReconnect,
    /// The near cache is used though Redis does not answer its heartbeats.
    NearWithoutHeartbeat,
    /// Values are fresh for a second too long.
    LateExpiry,
    /// Namespaces with a common prefix share entries.
    NamespacesCollide,
    /// InvalidateNamespace leaves out a shard.
    ShardMissed,
    /// A watch does not announce changes.
    WatchSilent,
    /// A Set that the store did not answer is reported as stored.
    FalselyStored,
    /// The replay of a journal leaves out entries.
    JournalEntryDropped,
    /// An invalidation is acknowledged as queued before it is in the journal.
    QueuedBeforeWritten,
    /// The primary that the sentinels named first stays in use, also as a replica.
    FormerPrimaryKept,
    /// The last invalidations are not applied again to another primary.
    WindowNotReapplied,
}

/// All of them with their names.
pub const ALL: [(&str, Bug); 21] = [
    ("bans-unchecked", Bug::BansUnchecked),
    ("delete-keeps-lease", Bug::DeleteKeepsLease),
    ("set-keeps-lease", Bug::SetKeepsLease),
    ("lease-granted-twice", Bug::LeaseGrantedTwice),
    ("expired-fill", Bug::ExpiredFill),
    ("unfenced-fill", Bug::UnfencedFill),
    ("version-unchecked", Bug::VersionUnchecked),
    ("condition-not-atomic", Bug::ConditionNotAtomic),
    ("increment-retried", Bug::IncrementRetried),
    ("near-unannounced", Bug::NearUnannounced),
    ("near-kept-on-reconnect", Bug::NearKeptOnReconnect),
    ("near-without-heartbeat", Bug::NearWithoutHeartbeat),
    ("late-expiry", Bug::LateExpiry),
    ("namespaces-collide", Bug::NamespacesCollide),
    ("shard-missed", Bug::ShardMissed),
    ("watch-silent", Bug::WatchSilent),
    ("falsely-stored", Bug::FalselyStored),
    ("journal-entry-dropped", Bug::JournalEntryDropped),
    ("queued-before-written", Bug::QueuedBeforeWritten),
    ("former-primary-kept", Bug::FormerPrimaryKept),
    ("window-not-reapplied", Bug::WindowNotReapplied),
];

/// Whether a fault is planted in this process.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    static PLANTED: std::sync::LazyLock<Option<Bug>> = std::sync::LazyLock::new(|| {
        let name = std::env::var("PLANTED_BUG").ok()?;
        ALL.iter().find(|(other, _)| *other == name).map(|(_, bug)| *bug)
    });
    *PLANTED == Some(bug)
}

/// Whether a fault is planted in this process.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}

/// The faults of scripts: texts and what takes their place.
const IN_SCRIPTS: [(Bug, &str, &str); 7] = [
    (Bug::DeleteKeepsLease, "void_lease('D')\n", "\n"),
    (Bug::SetKeepsLease, "void_lease('S')\nreturn 'STORED'", "return 'STORED'"),
    (Bug::LeaseGrantedTwice, "if state == 'L' and is_current", "if state == '-'"),
    (Bug::ExpiredFill, "or time_left(lease, 34) <= 0", ""),
    (
        Bug::ExpiredFill,
        "redis.call('SET', KEYS[3], granted, 'PX', ARGV[5])",
        "redis.call('SET', KEYS[3], granted, 'PX', 9 * ARGV[5])",
    ),
    (
        Bug::UnfencedFill,
        "if string.sub(lease, 2, 17) ~= token then return nil, 'LEASE_LOST' end",
        "",
    ),
    (
        Bug::VersionUnchecked,
        "holds = entry and string.sub(entry, 34, 41) == ARGV[7]",
        "holds = entry",
    ),
];

/// The code of a script with the planted fault.
pub(crate) fn in_script(code: &str) -> Cow<'_, str> {
    let mut code = Cow::Borrowed(code);
    for (bug, from, to) in IN_SCRIPTS {
        if is(bug) {
            code = Cow::Owned(code.replace(from, to));
        }
    }
    code
}
