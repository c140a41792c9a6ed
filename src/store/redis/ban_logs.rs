//! A replica's copies of the logs of bans, and how they are kept up to date.
//!
//! # Coherence
//!
//! A ban is appended to the log of its namespace, and then the marker of each shard is moved to its
//! position. So the marker that is read together with an entry shows whether the replica's copy of
//! the log is complete: if the marker is ahead, the replica reads the log. A marker that is behind
//! was restored by a failover, or is about to be moved: the copy counts. A position that the log
//! lacks belongs to bans that a failover has lost, and ends the generation of its shard.
//!
//! The logs that a replica has cached come from one server. They are read again from another
//! server, and after the connection on which Redis announces new bans was lost.

mod checks;
mod known;
mod markers;
mod memory;
mod reading;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use quick_cache::sync::Cache;
use repeated_events::LogInterval;
use tokio::{sync::Mutex, time::Instant};

use super::{
    key_schema::{KeySchema, ParsedKey},
    marker::{GENERATION_BYTES, Position},
    router::Router,
    script::Script,
};
use crate::{
    model::{Namespace, Timestamp},
    store::{Error, key_watch::KeyWatchers},
};
pub(super) use checks::Candidate;
pub(super) use known::Asked;
use known::Known;
use markers::LastMove;
use memory::{AccountedBytes, MemoryAccount};

/// Namespaces whose logs are known at a time.
const MAX_NAMESPACES: usize = 10_000;
/// Shortest time between two log lines about lost bans, or about too many of them.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The logs of bans. Clones share them.
#[derive(Clone)]
pub(super) struct BanLogs(Arc<Shared>);

struct Shared {
    router: Router,
    schema: Arc<KeySchema>,
    lease_watchers: KeyWatchers,
    memory: MemoryAccount,
    namespaces: Cache<Namespace, Arc<NamespaceBans>>,
    checks: AtomicU64,
    banned: AtomicU64,
    lost_positions: AtomicU64,
    lost_log: parking_lot::Mutex<LogInterval>,
    ended_log: parking_lot::Mutex<LogInterval>,
}

/// The log of one namespace.
pub(super) struct NamespaceBans {
    namespace: Namespace,
    /// The epoch in which the log was read, plus one, if it has no ban. Zero otherwise. Reads of
    /// namespaces without bans need not lock.
    without_bans_in: AtomicU64,
    known: RwLock<Known>,
    /// When the last read failed, and why.
    reading: Mutex<Option<(Instant, Error)>>,
    is_advancing: AtomicBool,
    /// Outcome of the last move of all markers.
    moving: Mutex<LastMove>,
    /// The newest ban when the last complete sweep began, and when it ended.
    swept: parking_lot::Mutex<Option<(u64, Instant)>>,
    /// Whether a ban was announced since the last question for the log.
    has_news: AtomicBool,
    /// Whether announced bans are being read.
    is_following: AtomicBool,
}

/// Numbers of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BanStats {
    /// Entries and fills that were checked against bans.
    pub checks: u64,
    /// Those that were banned.
    pub banned: u64,
    /// Shards whose generation has ended because they knew bans that a failover has lost.
    pub lost_positions: u64,
    /// Memory of all known bans, in bytes.
    pub bytes: u64,
    /// Limit of it.
    pub max_bytes: u64,
    /// Namespaces whose bans were forgotten because of the limit.
    pub forgotten: u64,
}

// === impl BanLogs ===

impl BanLogs {
    /// Keeps at most `max_bytes` of bans in memory. Notifies the watches of leases that a pattern
    /// bans.
    pub(super) fn new(
        router: Router,
        schema: Arc<KeySchema>,
        lease_watchers: KeyWatchers,
        max_bytes: u64,
    ) -> Self {
        Self(Arc::new(Shared {
            router,
            schema,
            lease_watchers,
            memory: MemoryAccount::new(max_bytes),
            namespaces: Cache::new(MAX_NAMESPACES),
            checks: AtomicU64::new(0),
            banned: AtomicU64::new(0),
            lost_positions: AtomicU64::new(0),
            lost_log: parking_lot::Mutex::new(LogInterval::new(LOG_INTERVAL)),
            ended_log: parking_lot::Mutex::new(LogInterval::new(LOG_INTERVAL)),
        }))
    }

    pub(super) fn stats(&self) -> BanStats {
        BanStats {
            checks: self.0.checks.load(Ordering::Relaxed),
            banned: self.0.banned.load(Ordering::Relaxed),
            lost_positions: self.0.lost_positions.load(Ordering::Relaxed),
            bytes: self.0.memory.used(),
            max_bytes: self.0.memory.max_bytes,
            forgotten: self.0.memory.forgotten.load(Ordering::Relaxed),
        }
    }

    /// The bans of a namespace.
    #[inline]
    pub(super) fn of(&self, namespace: &Namespace) -> Arc<NamespaceBans> {
        match self.0.namespaces.get(namespace) {
            Some(bans) => bans,
            None => self.insert(namespace),
        }
    }

    #[cold]
    fn insert(&self, namespace: &Namespace) -> Arc<NamespaceBans> {
        let memory = self.0.memory.accounted();
        let bans = Arc::new(NamespaceBans::new(namespace.clone(), memory));
        let inserted =
            self.0.namespaces.get_or_insert_with(namespace, || Ok::<_, ()>(bans.clone()));
        inserted.unwrap_or(bans)
    }

    /// The namespaces with bans that the sweep may drop. Those whose bans were not dropped because
    /// entries are older, and that have no newer ban, are left out for `pause`.
    pub(super) fn to_sweep(&self, pause: Duration) -> Vec<Arc<NamespaceBans>> {
        let epoch = self.epoch();
        let is_due = |bans: &NamespaceBans| {
            let known = bans.known.read();
            let swept = *bans.swept.lock();
            known.epoch == Some(epoch)
                && known.log.has_bans()
                && swept.is_none_or(|(until, ended_at)| {
                    until != known.log.head().sequence || ended_at.elapsed() >= pause
                })
        };
        let all = self.0.namespaces.iter().map(|(_, bans)| bans);
        all.filter(|bans| is_due(bans)).collect()
    }

    /// Whether an entry at this position needs no check against the bans up to the number `until`.
    pub(super) fn is_newer(&self, bans: &NamespaceBans, position: Position, until: u64) -> bool {
        position.sequence >= until && bans.known.read().log.is_known(position)
    }

    /// Changes whenever the logs must be read again.
    #[inline]
    pub(super) fn epoch(&self) -> u64 {
        self.0.router.ban_epoch()
    }

    /// Whether a marker is that of the newest known ban, so that an entry with the same position is
    /// not banned.
    #[inline]
    pub(super) fn is_current(&self, bans: &NamespaceBans, marker: &[u8]) -> bool {
        let epoch = self.epoch();
        if marker.len() == GENERATION_BYTES {
            return bans.without_bans_in.load(Ordering::Acquire) == epoch + 1;
        }
        let known = bans.known.read();
        known.epoch == Some(epoch) && known.log.head() == Position::of_marker(marker)
    }

    /// Builds a call of a script on the log of a namespace, with the arguments that all have.
    pub(super) fn log_call(&self, script: &Script, namespace: &Namespace) -> redis::Cmd {
        let mut call = script.call(&self.0.schema.ban_log(namespace));
        self.add_times(&mut call);
        call
    }

    fn add_times(&self, call: &mut redis::Cmd) {
        let router = &self.0.router;
        call.arg(router.not_after().0).arg(b"").arg(router.clock().ahead_ms());
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.router.clock().now()
    }

    /// The key in the name of an entry.
    pub(super) fn key_of<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        match self.0.schema.parse(name)? {
            ParsedKey::Entry { key, .. } => Some(key),
            ParsedKey::Marker { .. } => None,
        }
    }

    /// The newest known ban; zero if the log is not known.
    pub(super) fn head(&self, bans: &NamespaceBans) -> Position {
        let known = bans.known.read();
        if known.epoch == Some(self.epoch()) { known.log.head() } else { Position::default() }
    }
}

// === impl NamespaceBans ===

impl NamespaceBans {
    fn new(namespace: Namespace, memory: AccountedBytes) -> Self {
        Self {
            namespace,
            without_bans_in: AtomicU64::new(0),
            known: RwLock::new(Known::nothing(memory)),
            reading: Mutex::new(None),
            is_advancing: AtomicBool::new(false),
            moving: Mutex::default(),
            swept: parking_lot::Mutex::default(),
            has_news: AtomicBool::new(false),
            is_following: AtomicBool::new(false),
        }
    }

    /// A sweep that began at the ban `until` has visited all entries.
    pub(super) fn on_swept(&self, until: u64) {
        *self.swept.lock() = Some((until, Instant::now()));
    }

    /// Number up to which bans were dropped, of banned tags, and of banned patterns.
    pub(super) fn figures(&self) -> (u64, usize, usize) {
        let log = &self.known.read().log;
        (log.dropped(), log.table().tag_count(), log.table().glob_count())
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}
