//! The history of database changes, fetches and Sets, and the contract's checks of reads.
//!
//! The database holds one number per key that only grows. The origin reads it on each request; a
//! Set and every kind of invalidation increment it first. A value names its key, the number,
//! and the fetch or the Set that produced it.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::support::origin::{OriginRequest, Reply, after, ok, send, status};

pub(super) const NAMESPACES: [&str; 2] = ["ns", "ns2"];
pub(super) const KEYS: usize = 4;
/// The database lacks the key whenever its number is a multiple of this.
const ABSENT_EVERY: u64 = 6;
/// Time after the origin's response in which a value may be read: TTL and both stale windows.
pub(super) const MAX_LIFETIME: Duration = Duration::from_millis(700);
/// Delay between the origin's response and the store that is tolerated on a busy machine.
const MARGIN: Duration = Duration::from_millis(1_500);
/// A lease is acquired up to this long before its fetch starts.
const LEASE_BEFORE_FETCH: Duration = Duration::from_secs(1);

pub(super) struct History {
    pub(super) keys: Vec<Key>,
    /// For each namespace. Read-locked by what invalidates more than a key, and write-locked while
    /// Redis is set back: what it acknowledged meanwhile may be lost.
    pub(super) rewind_locks: [tokio::sync::RwLock<()>; NAMESPACES.len()],
    /// Read-locked by each read, and write-locked while nothing may be read.
    pub(super) read_lock: tokio::sync::RwLock<()>,
    /// Times in which servers were stopped, killed or without a store, including the recovery.
    pub(super) fault_windows: Mutex<Vec<(Instant, Instant)>>,
    pub(super) counts: Counts,
    pub(super) stopped: AtomicBool,
}

/// One key of one namespace.
pub(super) struct Key {
    pub(super) namespace: &'static str,
    pub(super) name: String,
    /// The tag of every other key of the namespace, with which all values of the key are stored.
    pub(super) tag: String,
    /// The number in the database.
    database: AtomicU64,
    /// The number of the last acknowledged change.
    acknowledged: AtomicU64,
    /// Serializes writes and invalidations, which gives them a known order.
    pub(super) write_lock: tokio::sync::Mutex<()>,
    sources: Mutex<Vec<Source>>,
    /// Times in which the key's leases may have been voided.
    pub(super) void_windows: Mutex<Vec<(Instant, Instant)>>,
}

/// The fetch or Set that produced a value.
#[derive(Clone, Debug)]
struct Source {
    is_fetch: bool,
    started: Instant,
    /// When the origin or the Set answered.
    ended: Instant,
    /// Start and end of the last successful revalidation.
    revalidated: Option<(Instant, Instant)>,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) values: AtomicU64,
    pub(super) nothing: AtomicU64,
    pub(super) negative: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) lost_calls: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) degraded: AtomicU64,
    pub(super) changes: AtomicU64,
    pub(super) bans: AtomicU64,
    /// Bans that were too many, so that they invalidated their namespace.
    pub(super) widened_bans: AtomicU64,
    pub(super) fetches: AtomicU64,
    pub(super) revalidated: AtomicU64,
}

/// The start of a read, and the last change acknowledged by then.
#[derive(Clone, Copy)]
pub(super) struct ReadStart {
    pub(super) at: Instant,
    acknowledged: u64,
}

// === impl History ===

impl History {
    pub(super) fn new() -> Self {
        let key = |namespace, number: usize| Key {
            namespace,
            name: format!("k{number}"),
            tag: format!("g{}", number % 2),
            database: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            write_lock: tokio::sync::Mutex::default(),
            sources: Mutex::default(),
            void_windows: Mutex::default(),
        };
        let keys = NAMESPACES
            .into_iter()
            .flat_map(|namespace| (0..KEYS).map(move |number| key(namespace, number)));
        Self {
            keys: keys.collect(),
            rewind_locks: Default::default(),
            read_lock: tokio::sync::RwLock::default(),
            fault_windows: Mutex::default(),
            counts: Counts::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// The origin's reply to a request for `/{namespace}/{key}`.
    pub(super) fn answer(&self, request: &OriginRequest) -> Reply {
        let key = self
            .keys
            .iter()
            .find(|key| request.target == key.target())
            .expect("a key of the model");
        // The database is read at once, and the reply is sent later.
        let number = key.database.load(SeqCst);
        let delay = Duration::from_millis(rand::random_range(
            0..if rand::random_ratio(1, 10) { 250 } else { 40 },
        ));
        self.counts.fetches.fetch_add(1, SeqCst);
        let mut sources = key.sources.lock().unwrap();
        let ended = request.at + delay;
        let id = sources.len();
        sources.push(Source { is_fetch: true, started: request.at, ended, revalidated: None });
        let etag = |id: usize| format!("\"{number}.{id}\"");
        let known = request
            .header("if-none-match")
            .and_then(|tag| tag.split('.').nth(1)?.trim_matches('"').parse().ok());
        let reply = match known {
            _ if rand::random_ratio(1, 15) => status(500),
            _ if number.is_multiple_of(ABSENT_EVERY) => send(404, "", &[("cache-tag", &key.tag)]),
            Some(known) if request.header("if-none-match") == Some(etag(known).as_str()) => {
                self.counts.revalidated.fetch_add(1, SeqCst);
                let revalidated = &mut sources[known].revalidated;
                *revalidated = (*revalidated).max(Some((request.at, ended)));
                send(304, "", &[("etag", &etag(known)), ("cache-tag", &key.tag)])
            }
            _ => ok(key.value(number, id), &[("etag", &etag(id)), ("cache-tag", &key.tag)]),
        };
        after(delay, reply)
    }

    pub(super) fn rewind_lock(&self, namespace: &str) -> &tokio::sync::RwLock<()> {
        let index = NAMESPACES.iter().position(|name| *name == namespace);
        &self.rewind_locks[index.expect("a namespace of the model")]
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// Checks that fetches of a key overlapped only if a fault or a voided lease explains it.
    pub(super) fn check_overlaps(&self) {
        let fault_windows = self.fault_windows.lock().unwrap();
        let mut explained = 0;
        for key in &self.keys {
            let void_windows = key.void_windows.lock().unwrap();
            let mut fetches: Vec<Source> = key.sources.lock().unwrap().clone();
            fetches.retain(|source| source.is_fetch);
            fetches.sort_by_key(|source| source.started);
            for (index, first) in fetches.iter().enumerate() {
                for second in
                    fetches[index + 1..].iter().take_while(|second| second.started < first.ended)
                {
                    let leased = first.started.checked_sub(LEASE_BEFORE_FETCH).unwrap();
                    let overlaps = |window: &(Instant, Instant)| {
                        window.0 <= second.started && window.1 >= leased
                    };
                    let is_explained = void_windows.iter().chain(&*fault_windows).any(overlaps);
                    assert!(
                        is_explained,
                        "concurrent fetches of {}: {first:?} and {second:?}",
                        key.target()
                    );
                    explained += 1;
                }
            }
        }
        eprintln!(
            "{explained} fetches overlapped another one that was obsolete or affected by a fault"
        );
    }
}

// === impl Key ===

impl Key {
    pub(super) fn target(&self) -> String {
        format!("/{}/{}", self.namespace, self.name)
    }

    fn value(&self, number: u64, id: usize) -> String {
        format!("{}|{number}|{id}", self.target())
    }

    /// Increments the number in the database and returns it.
    pub(super) fn update_database(&self) -> u64 {
        self.database.fetch_add(1, SeqCst) + 1
    }

    /// Acknowledges a change: reads that start later must not return a smaller number.
    pub(super) fn acknowledge(&self, number: u64) {
        self.acknowledged.fetch_max(number, SeqCst);
    }

    /// Records the start of a Set. Returns its value and its index among the sources.
    pub(super) fn begin_set(&self, number: u64) -> (String, usize) {
        let mut sources = self.sources.lock().unwrap();
        let id = sources.len();
        // A provisional end, later than any read, until the Set has answered.
        let ended = Instant::now() + Duration::from_secs(60);
        sources.push(Source { is_fetch: false, started: Instant::now(), ended, revalidated: None });
        (self.value(number, id), id)
    }

    pub(super) fn end_set(&self, id: usize) {
        self.sources.lock().unwrap()[id].ended = Instant::now();
    }

    /// Records that leases may have been voided since `started`, and for `hold_off` from now on.
    pub(super) fn void_leases(&self, started: Instant, hold_off: Duration) {
        self.void_windows.lock().unwrap().push((started, Instant::now() + hold_off));
    }

    /// Must be called before the read starts.
    pub(super) fn begin_read(&self) -> ReadStart {
        ReadStart { acknowledged: self.acknowledged.load(SeqCst), at: Instant::now() }
    }

    /// Checks a value that a read returned.
    pub(super) fn check(&self, value: &str, read: ReadStart, force_refresh: bool) {
        let mut parts = value.split('|');
        let mut part =
            || parts.next().unwrap_or_else(|| panic!("{value} is not a value of the model"));
        assert_eq!(part(), self.target(), "a value of another key");
        let (number, id): (u64, usize) = (part().parse().unwrap(), part().parse().unwrap());
        let acknowledged = read.acknowledged;
        assert!(
            number >= acknowledged,
            "{value} was read after the change to {acknowledged} was acknowledged"
        );
        let source = self.sources.lock().unwrap()[id].clone();
        let fresh_at =
            source.revalidated.map_or(source.ended, |(_, ended)| ended.max(source.ended));
        let expiry = fresh_at + MAX_LIFETIME + MARGIN;
        assert!(read.at <= expiry, "{value} was read {:?} after its expiry", read.at - expiry);
        let fetched_at =
            source.revalidated.map_or(source.started, |(started, _)| started.max(source.started));
        assert!(
            !force_refresh || fetched_at >= read.at,
            "{value} was fetched before the call that forced a refresh"
        );
    }

    /// Checks that the database lacked the key at some time that the read may have observed.
    pub(super) fn check_absent(&self, read: ReadStart) {
        let (first, last) = (read.acknowledged, self.database.load(SeqCst));
        let was_absent = (first..=last).any(|number| number.is_multiple_of(ABSENT_EVERY));
        assert!(
            was_absent,
            "{} was reported absent, but was present from {first} to {last}",
            self.target()
        );
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn report(&self) -> String {
        let counts = [
            ("values", &self.values),
            ("no value", &self.nothing),
            ("absent", &self.negative),
            ("origin failed", &self.failed),
            ("calls lost", &self.lost_calls),
            ("degraded", &self.degraded),
            ("fills stored", &self.stored),
            ("fills refused", &self.refused),
            ("changes", &self.changes),
            ("bans", &self.bans),
            ("widened bans", &self.widened_bans),
            ("fetches", &self.fetches),
            ("revalidated", &self.revalidated),
        ];
        counts.iter().fold(String::new(), |mut report, (name, count)| {
            let _ = write!(report, "{name}: {}; ", count.load(SeqCst));
            report
        })
    }

    /// Whether enough happened for calls to have raced; otherwise the run proves nothing.
    pub(super) fn has_enough_events(&self) -> bool {
        let counts = [
            &self.values,
            &self.negative,
            &self.stored,
            &self.refused,
            &self.changes,
            &self.bans,
            &self.revalidated,
        ];
        counts.into_iter().all(|count| count.load(SeqCst) >= 5)
    }
}
