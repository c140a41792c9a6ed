//! The sweep: finds the entries that are older than a ban, removes those that it hides, and drops
//! the bans that no entry can need any more. The method is Varnish's ban lurker.
//!
//! A pass visits all keys of Redis once (SCAN), in paced steps, for all namespaces with bans in
//! this replica's copies of the logs. A lock in Redis keeps the replicas from sweeping at the same
//! time. It only saves work: several passes at once would be safe.
//!
//! # Removal of entries
//!
//! An entry is removed by a script if its first bytes are still those that were checked. They
//! contain the random version of the write, so a fresh write is never removed. An entry that a ban
//! hides stays hidden, whatever is written next to it.
//!
//! # Removal of bans
//!
//! The log keeps the number up to which its bans were dropped. An entry, a lease or a fill from
//! before that is invalid (`BanLog::covers`). So a ban that is dropped early costs misses, and
//! never a wrong answer. In particular:
//!
//! - A shard that a failover sets back may get entries again that are older than a dropped ban.
//!   They are older than the number in the log, and invalid.
//! - If the log itself is set back, the number is set back with it, and the bans are there again.
//!   Positions of the lost part are distinguished by their ids, as always. If that happens during a
//!   pass, the log lacks the ban at which the pass began, and nothing is dropped.
//! - A marker that a failover has set back hands an old position to new entries, until the first
//!   read moves it forward. They may be older than the number, which costs a miss.
//!
//! To cost no misses, a pass drops only what is older than every valid entry and every lease. It
//! begins by moving all markers to the newest ban, so that whatever is written later is newer, and
//! then finds the oldest position among what was there. SCAN returns every key that exists from
//! the beginning of a pass to its end, so a pass that another server has interrupted is void. A
//! pass visits the primaries of a cluster one after another, and is void if a slot has moved.
//!
//! Valid entries that are older than a ban keep it until they expire. If a namespace has many bans,
//! such entries are moved to the newest ban instead, so that the bans can go. That is not done for
//! few: every moved entry would be announced to the near caches as changed.

mod pass;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use redis::Value;
use tokio_util::sync::CancellationToken;

use super::{RedisStore, missing_commands::OptionalCommand, pool::Retry};
use crate::{
    model::{SaturatingFrom as _, millis_ceil},
    store::Result,
};
use pass::Pass;

/// Lifetime of the lock. Another replica begins again if this one has ended without giving it back.
const LOCK_TTL: Duration = Duration::from_secs(30);
/// Namespaces of one pass.
const MAX_NAMESPACES: usize = 1_000;
/// Intervals until the entries of a namespace without newer bans are visited again.
const INTERVALS_WITHOUT_NEWS: u32 = 10;

/// Options of the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepOptions {
    /// Pause between two passes.
    pub interval: Duration,
    /// Keys of Redis that a pass visits per second; zero for no sweep.
    pub keys_per_second: u32,
}

/// Counters of this replica's sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SweepStats {
    /// Complete passes.
    pub passes: u64,
    /// Passes that were given up, because another server was met or Redis failed.
    pub interrupted: u64,
    /// Time of all passes.
    pub duration: Duration,
    /// Entries of namespaces with bans that were visited.
    pub examined: u64,
    /// Entries that were removed because a ban hid them.
    pub removed: u64,
    /// Valid entries that were moved to the newest ban.
    pub renewed: u64,
    /// Banned tags and patterns that were dropped.
    pub dropped_bans: u64,
    /// Whether a pass is running.
    pub is_running: bool,
}

/// Counts what the sweep does.
#[derive(Debug, Default)]
pub(super) struct SweepCounters {
    passes: AtomicU64,
    interrupted: AtomicU64,
    nanos: AtomicU64,
    examined: AtomicU64,
    removed: AtomicU64,
    renewed: AtomicU64,
    dropped_bans: AtomicU64,
    is_running: AtomicBool,
}

/// Sweeps until `stop` is cancelled, which interrupts a pass at once.
pub(super) fn spawn(store: RedisStore, options: SweepOptions, stop: CancellationToken) {
    if options.keys_per_second == 0 {
        return;
    }
    let sweep = async move {
        loop {
            // Replicas that were started together must not all ask for the lock at once.
            tokio::time::sleep(options.interval.mul_f64(rand::random_range(0.75..1.25))).await;
            if let Err(error) = store.sweep(&options).await {
                tracing::debug!(%error, "the sweep of banned entries was interrupted");
            }
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(sweep));
}

impl RedisStore {
    /// Makes a pass, if there are bans to drop and no other replica sweeps.
    async fn sweep(&self, options: &SweepOptions) -> Result<()> {
        if self.router.lacks(OptionalCommand::Scan) {
            return Ok(());
        }
        let mut namespaces = self.bans.to_sweep(options.interval * INTERVALS_WITHOUT_NEWS);
        if namespaces.is_empty() {
            return Ok(());
        }
        namespaces.truncate(MAX_NAMESPACES);
        let token: u128 = rand::random();
        let lock = SweepLock { store: self, token: format!("{token:032x}") };
        if !lock.acquire().await? {
            return Ok(());
        }
        let running = self.sweep.begin();
        let outcome =
            async { Pass::begin(self, namespaces).await?.run(&lock, options).await }.await;
        running.end(matches!(outcome, Ok(true)));
        // Keeps the other replicas from making a pass soon, and ends before this one asks again.
        lock.extend(options.interval / 2).await?;
        outcome.map(|_| ())
    }
}

/// The permission to sweep.
struct SweepLock<'a> {
    store: &'a RedisStore,
    token: String,
}

// === impl SweepLock ===

impl SweepLock<'_> {
    async fn acquire(&self) -> Result<bool> {
        let mut set = redis::cmd("SET");
        set.arg(self.store.schema.sweep()).arg(&self.token).arg("NX");
        set.arg("PX").arg(millis_ceil(LOCK_TTL));
        Ok(self.store.router.query(&set, Retry::Never).await? == Value::Okay)
    }

    /// Keeps the lock for `ttl` from now. Returns false if it was lost.
    async fn extend(&self, ttl: Duration) -> Result<bool> {
        let name = self.store.schema.sweep();
        let mut get = redis::cmd("GET");
        get.arg(&name);
        let holder = self.store.router.query(&get, Retry::Idempotent).await?;
        if holder != Value::BulkString(self.token.clone().into()) {
            return Ok(false);
        }
        let mut expire = redis::cmd("PEXPIRE");
        expire.arg(&name).arg(millis_ceil(ttl));
        self.store.router.query(&expire, Retry::Idempotent).await.map(|_| true)
    }
}

// === impl SweepCounters ===

/// Ends the time of a pass when it is dropped.
struct Running<'a> {
    counters: &'a SweepCounters,
    began_at: tokio::time::Instant,
}

impl SweepCounters {
    fn begin(&self) -> Running<'_> {
        self.is_running.store(true, Ordering::Relaxed);
        Running { counters: self, began_at: tokio::time::Instant::now() }
    }

    pub(super) fn stats(&self) -> SweepStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SweepStats {
            passes: get(&self.passes),
            interrupted: get(&self.interrupted),
            duration: Duration::from_nanos(get(&self.nanos)),
            examined: get(&self.examined),
            removed: get(&self.removed),
            renewed: get(&self.renewed),
            dropped_bans: get(&self.dropped_bans),
            is_running: self.is_running.load(Ordering::Relaxed),
        }
    }
}

// === impl Running ===

impl Running<'_> {
    fn end(self, is_complete: bool) {
        let SweepCounters { passes, interrupted, .. } = self.counters;
        if is_complete { passes } else { interrupted }.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.counters.is_running.store(false, Ordering::Relaxed);
        let nanos = u64::saturating_from(self.began_at.elapsed().as_nanos());
        self.counters.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}
