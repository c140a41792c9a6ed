//! What a replica knows of the bans of the namespaces, and how it learns of them.
//!
//! # Coherence
//!
//! A ban is appended to the log of its namespace, and then the marker of each shard is moved to its
//! position. So the marker that is read together with an entry tells whether the replica knows all
//! bans: if the marker is ahead, the replica reads the log. A marker that is behind was restored by
//! a failover, or is about to be moved: what the replica knows counts. A position that the log does
//! not know belongs to bans that a failover has lost, and ends the generation of its shard.
//!
//! What a replica knows was said by one server. It is read again when another server is met, and
//! when the connection was lost on which Redis announces new bans.

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
    announcement::announce_invalidation,
    ban_log::{BanLog, LogPart},
    codec,
    connection::PoolHealth,
    key_schema::{KeySchema, ParsedKey},
    marker::{self, GENERATION_BYTES, Position},
    pool::{RedisPool, Retry},
    request::unexpected,
    script::{ADVANCE_MARKERS, DROP_BANS, READ_BANS, Script},
    script_reply::ScriptReply,
};
use crate::{
    model::{Namespace, Timestamp},
    store::{Error, ErrorKind, MatchingBan, Result},
};

/// Namespaces whose logs are known at a time.
const MAX_NAMESPACES: usize = 10_000;
/// Shortest time between two log lines about lost bans.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Attempts to check an entry while bans arrive.
const MAX_ATTEMPTS: usize = 8;

/// The logs of bans. Clones share them.
#[derive(Clone)]
pub(super) struct BanLogs(Arc<Shared>);

struct Shared {
    pool: RedisPool,
    schema: Arc<KeySchema>,
    namespaces: Cache<Namespace, Arc<NamespaceBans>>,
    checks: AtomicU64,
    banned: AtomicU64,
    lost_positions: AtomicU64,
    lost_log: parking_lot::Mutex<LogInterval>,
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
    /// Whether an announced ban is being read.
    is_following: AtomicBool,
}

struct Known {
    /// The epoch in which the log was read; none if it was not.
    epoch: Option<u64>,
    log: BanLog,
}

/// What is to be checked for bans.
pub(super) struct Candidate<'a> {
    /// The position up to which the bans are taken into account already.
    pub(super) since: Position,
    pub(super) key: &'a str,
    pub(super) tags: &'a [String],
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
}

// === impl BanLogs ===

impl BanLogs {
    pub(super) fn new(pool: RedisPool, schema: Arc<KeySchema>) -> Self {
        Self(Arc::new(Shared {
            pool,
            schema,
            namespaces: Cache::new(MAX_NAMESPACES),
            checks: AtomicU64::new(0),
            banned: AtomicU64::new(0),
            lost_positions: AtomicU64::new(0),
            lost_log: parking_lot::Mutex::new(LogInterval::new(LOG_INTERVAL)),
        }))
    }

    pub(super) fn stats(&self) -> BanStats {
        BanStats {
            checks: self.0.checks.load(Ordering::Relaxed),
            banned: self.0.banned.load(Ordering::Relaxed),
            lost_positions: self.0.lost_positions.load(Ordering::Relaxed),
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
        let bans = Arc::new(NamespaceBans::new(namespace.clone()));
        let inserted =
            self.0.namespaces.get_or_insert_with(namespace, || Ok::<_, ()>(bans.clone()));
        inserted.unwrap_or(bans)
    }

    /// Changes whenever what is known must be read again.
    #[inline]
    pub(super) fn epoch(&self) -> u64 {
        self.health().ban_epoch()
    }

    fn health(&self) -> &PoolHealth {
        self.0.pool.health()
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

    /// Reads the log unless it is known.
    #[inline]
    pub(super) async fn know(&self, bans: &NamespaceBans) -> Result<()> {
        let epoch = self.epoch();
        if bans.without_bans_in.load(Ordering::Acquire) == epoch + 1
            || bans.is_known_until(0, epoch)
        {
            return Ok(());
        }
        Box::pin(self.read(bans, 0)).await
    }

    /// Redis has announced a ban of the namespace.
    pub(super) fn on_ban(&self, namespace: &str) {
        let Some(bans) = self.0.namespaces.get(namespace) else { return };
        // A ban that is missed here is met with the next marker.
        if bans.is_following.swap(true, Ordering::AcqRel) {
            return;
        }
        let logs = self.clone();
        tokio::spawn(async move {
            let next = bans.known.read().log.head().sequence + 1;
            if let Err(error) = logs.read(&bans, next).await {
                tracing::debug!(%error, namespace = %bans.namespace, "cannot read new bans");
            }
            bans.is_following.store(false, Ordering::Release);
        });
    }

    /// Reads the log, unless it is known up to the number `until`. Concurrent calls read it once,
    /// also if that fails.
    pub(super) async fn read(&self, bans: &NamespaceBans, until: u64) -> Result<()> {
        if bans.is_known_until(until, self.epoch()) {
            return Ok(());
        }
        let began_at = Instant::now();
        let mut last_failure = bans.reading.lock().await;
        if let Some((failed_at, error)) = &*last_failure
            && *failed_at >= began_at
        {
            return Err(error.clone());
        }
        let outcome = self.read_alone(bans, until).await;
        *last_failure = outcome.clone().err().map(|error| (Instant::now(), error));
        outcome
    }

    async fn read_alone(&self, bans: &NamespaceBans, until: u64) -> Result<()> {
        for _ in 0..MAX_ATTEMPTS {
            let epoch = self.epoch();
            let head = {
                let known = bans.known.read();
                let is_known = known.epoch == Some(epoch);
                if is_known && known.log.head().sequence >= until {
                    return Ok(());
                }
                if is_known { known.log.head() } else { Position::default() }
            };
            let mut call = self.log_call(&READ_BANS, &bans.namespace);
            call.arg(&head.encode());
            let mut reply = self.0.pool.run(&READ_BANS, &call, Retry::Idempotent).await?;
            match reply.word.as_str() {
                "LOG" => return self.learn(bans, epoch, &mut reply),
                "DAMAGED" => self.end_generations(bans, reply.next()?, 0).await?,
                _ => return Err(unexpected("read_bans.lua")),
            }
        }
        Err(ErrorKind::Timeout.into())
    }

    /// Ends the generations of all shards of a namespace, and drops the bans up to the number
    /// `sequence`, which no entry is older than then. The log is kept for `retention_ms` at least.
    pub(super) async fn end_generations(
        &self,
        bans: &NamespaceBans,
        sequence: u64,
        retention_ms: u64,
    ) -> Result<()> {
        tracing::warn!(
            namespace = %bans.namespace,
            "there are too many bans, or some were evicted: the whole namespace is invalidated"
        );
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(self.0.schema.markers(&bans.namespace));
        self.0.pool.query(&unlink, Retry::Idempotent).await?;
        announce_invalidation(&self.0.pool, &self.0.schema, &bans.namespace).await?;
        let mut drop = self.log_call(&DROP_BANS, &bans.namespace);
        drop.arg(sequence).arg(retention_ms);
        self.0.pool.run(&DROP_BANS, &drop, Retry::Idempotent).await.map(|_| ())
    }

    /// The marker at the newest known ban; none if it is there already. A marker of a lost log
    /// begins a generation.
    pub(super) fn moved(&self, bans: &NamespaceBans, marker: &[u8]) -> Option<Vec<u8>> {
        let known = bans.known.read();
        let (at, head) = (Position::of_marker(marker), known.log.head());
        match known.log.is_known(at) {
            false => Some(marker::random(head)),
            true => (at.sequence < head.sequence).then(|| marker::moved(marker, head)),
        }
    }

    /// Adds a part of the log that was asked for in `epoch`.
    pub(super) fn learn(
        &self,
        bans: &NamespaceBans,
        epoch: u64,
        reply: &mut ScriptReply,
    ) -> Result<()> {
        let part = LogPart::parse(reply)?;
        let mut known = bans.known.write();
        if known.epoch != Some(epoch) {
            known.log = BanLog::default();
        }
        known.log.apply(part, self.now());
        known.epoch = Some(epoch);
        let has_none = known.log.head().sequence == 0;
        bans.without_bans_in.store(if has_none { epoch + 1 } else { 0 }, Ordering::Release);
        Ok(())
    }

    /// Builds a call of a script on the log of a namespace, with the arguments that all have.
    pub(super) fn log_call(&self, script: &Script, namespace: &Namespace) -> redis::Cmd {
        let mut call = script.call(&self.0.schema.ban_log(namespace));
        self.add_times(&mut call);
        call
    }

    fn add_times(&self, call: &mut redis::Cmd) {
        let pool = &self.0.pool;
        call.arg(pool.not_after().0).arg(b"").arg(pool.clock().ahead_ms());
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.pool.clock().now()
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

    /// Whether an entry is valid that was read under `marker`, whose name is `marker_name`.
    #[cold]
    pub(super) async fn is_valid(
        &self,
        bans: &Arc<NamespaceBans>,
        (marker_name, marker): (&[u8], &[u8]),
        candidate: &Candidate<'_>,
    ) -> Result<bool> {
        let Candidate { since, key, tags } = candidate;
        let is_banned =
            |log: &BanLog| !log.covers(*since) || log.table().bans(since.sequence, key, tags);
        self.check(bans, (marker_name, marker), is_banned).await
    }

    /// The known bans that make an entry invalid.
    pub(super) fn matching(
        &self,
        bans: &NamespaceBans,
        candidate: &Candidate<'_>,
    ) -> Vec<MatchingBan> {
        let Candidate { since, key, tags } = candidate;
        bans.known.read().log.table().list(since.sequence, key, tags)
    }

    /// End of the hold-off of a key by a known pattern, if it lies in the future.
    pub(super) fn held_off_until(&self, bans: &NamespaceBans, key: &str) -> Option<Timestamp> {
        bans.known.read().log.table().held_off_until(key, self.now())
    }

    /// Whether a fill is accepted under a lease that was granted at the position of the candidate.
    #[cold]
    pub(super) async fn accepts_fill(
        &self,
        bans: &Arc<NamespaceBans>,
        (marker_name, marker): (&[u8], &[u8]),
        candidate: &Candidate<'_>,
    ) -> Result<bool> {
        let Candidate { since, key, tags } = candidate;
        let now = self.now();
        let is_refused = |log: &BanLog| {
            !log.covers(*since) || log.table().refuses_fill(since.sequence, key, tags, now)
        };
        self.check(bans, (marker_name, marker), is_refused).await
    }

    /// Whether a hold-off refuses a fill, whatever its lease.
    pub(super) fn holds_off(&self, bans: &NamespaceBans, key: &str, tags: &[String]) -> bool {
        let known = bans.known.read();
        known.log.table().refuses_fill(known.log.head().sequence, key, tags, self.now())
    }

    /// Checks against all bans up to the position of `marker`.
    async fn check(
        &self,
        bans: &Arc<NamespaceBans>,
        (marker_name, marker): (&[u8], &[u8]),
        is_banned: impl Fn(&BanLog) -> bool,
    ) -> Result<bool> {
        self.0.checks.fetch_add(1, Ordering::Relaxed);
        let at = Position::of_marker(marker);
        for _ in 0..MAX_ATTEMPTS {
            self.read(bans, at.sequence).await?;
            let (head, is_known, is_banned) = {
                let known = bans.known.read();
                if known.epoch != Some(self.epoch()) {
                    continue;
                }
                (known.log.head(), known.log.is_known(at), is_banned(&known.log))
            };
            if !is_known {
                self.0.lost_positions.fetch_add(1, Ordering::Relaxed);
                // Once per shard and namespace otherwise.
                if let Some(shards) = self.0.lost_log.lock().occurred() {
                    tracing::warn!(
                        namespace = %bans.namespace,
                        shards,
                        "a failover has lost bans: the entries that may have been written after \
                         them are invalid"
                    );
                }
                self.replace_marker(marker_name, marker, marker::random(head)).await?;
                return Ok(false);
            }
            if at.sequence < head.sequence {
                self.advance_later(bans, marker_name, marker, head);
            }
            if is_banned {
                self.0.banned.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(!is_banned);
        }
        Err(ErrorKind::Timeout.into())
    }

    /// Moves a marker forward in the background, unless one of the namespace is being moved.
    fn advance_later(&self, bans: &Arc<NamespaceBans>, name: &[u8], marker: &[u8], head: Position) {
        if bans.is_advancing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (logs, bans) = (self.clone(), bans.clone());
        let (name, marker) = (name.to_vec(), marker.to_vec());
        tokio::spawn(async move {
            let moved = marker::moved(&marker, head);
            if let Err(error) = logs.replace_marker(&name, &marker, moved).await {
                tracing::debug!(%error, "cannot move a marker forward");
            }
            bans.is_advancing.store(false, Ordering::Release);
        });
    }

    /// Replaces a marker, unless it has changed.
    pub(super) async fn replace_marker(
        &self,
        name: &[u8],
        expected: &[u8],
        new: Vec<u8>,
    ) -> Result<()> {
        let name = name.to_vec();
        self.replace_markers(&[(name, expected.to_vec(), new)]).await.map(|_| ())
    }

    /// Replaces markers that are still as expected. Returns the indices of the others.
    pub(super) async fn replace_markers(
        &self,
        changes: &[(Vec<u8>, Vec<u8>, Vec<u8>)],
    ) -> Result<Vec<usize>> {
        let names: Vec<&[u8]> = changes.iter().map(|(name, ..)| name.as_slice()).collect();
        let mut call = ADVANCE_MARKERS.call(&names);
        self.add_times(&mut call);
        for (_, expected, new) in changes {
            call.arg(expected).arg(new);
        }
        let mut reply = self.0.pool.run(&ADVANCE_MARKERS, &call, Retry::Idempotent).await?;
        if reply.word != "ADVANCED" {
            return Err(unexpected("advance_markers.lua"));
        }
        let mut changed = Vec::new();
        while let Ok(index) = reply.next::<usize>() {
            changed.push(index.saturating_sub(1));
        }
        Ok(changed)
    }

    /// The position in the first bytes of an entry, and its tags; none if they are corrupt.
    pub(super) fn candidate_of(head: &[u8]) -> Option<(Position, Vec<String>)> {
        Some((codec::position_of_entry(head), codec::decode_tags(head)?))
    }
}

// === impl NamespaceBans ===

impl NamespaceBans {
    fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            without_bans_in: AtomicU64::new(0),
            known: RwLock::new(Known { epoch: None, log: BanLog::default() }),
            reading: Mutex::new(None),
            is_advancing: AtomicBool::new(false),
            is_following: AtomicBool::new(false),
        }
    }

    /// Whether the log was read in this epoch, up to this number at least.
    fn is_known_until(&self, sequence: u64, epoch: u64) -> bool {
        let known = self.known.read();
        known.epoch == Some(epoch) && known.log.head().sequence >= sequence
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}
