//! Workers that make random calls.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::pb::v1::{
    BatchGetOrFetchRequest, DeleteRequest, FillResult, GetOrFetchRequest, GetOrFetchResponse,
    GetRequest, InvalidateRequest, KeyRef, Outcome, SetRequest, SetResult,
    batch_get_or_fetch_result::Result as KeyResult, get_or_fetch_response::Outcome as Answer,
};
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use tonic::Status;

use super::{
    history::{History, Key, NAMESPACES, ReadStart},
    selection::{PATTERNS, PatternOrTag},
};
use crate::support::{
    client::{Cache, as_text, delete, fetch, get, invalidate, ms, set, text},
    status::reason,
};

/// A server and the faults injected into it.
pub(super) struct Replica {
    pub(super) cache: Mutex<Cache>,
    /// Incremented at the start and at the end of each fault: odd during a fault.
    pub(super) fault_count: AtomicU64,
    /// Write-locked during a fault, and read-locked by calls that must not fail.
    pub(super) fault_lock: tokio::sync::RwLock<()>,
}

/// A client of one server.
pub(super) struct Worker {
    pub(super) history: Arc<History>,
    pub(super) replica: Arc<Replica>,
    pub(super) rng: StdRng,
}

const HOLD_OFF: Duration = Duration::from_millis(100);

impl Replica {
    pub(super) fn new(cache: Cache) -> Arc<Self> {
        Arc::new(Self {
            cache: Mutex::new(cache),
            fault_count: AtomicU64::new(0),
            fault_lock: tokio::sync::RwLock::default(),
        })
    }
}

impl Worker {
    /// Calls GetOrFetch and BatchGetOrFetch with random options.
    pub(super) async fn fetch(mut self) {
        let history = self.history.clone();
        while !history.is_stopped() {
            let key = self.key(&history);
            let reading = history.read_lock.read().await;
            match self.rng.random_range(0..10) {
                0 => self.fetch_batch().await,
                1 => {
                    self.get_or_fetch(
                        key,
                        GetOrFetchRequest { no_cache: true, ..request(key, 5_000) },
                    )
                    .await
                }
                2 => {
                    self.get_or_fetch(
                        key,
                        GetOrFetchRequest { only_if_cached: true, ..request(key, 5_000) },
                    )
                    .await
                }
                3 => self.get_or_fetch(key, request(key, 0)).await,
                4 => {
                    self.get_or_fetch(
                        key,
                        GetOrFetchRequest { max_stale: ms(0), ..request(key, 5_000) },
                    )
                    .await
                }
                _ => self.get_or_fetch(key, request(key, 5_000)).await,
            }
            drop(reading);
            self.pause(20).await;
        }
    }

    /// Calls Get.
    pub(super) async fn get(mut self) {
        let history = self.history.clone();
        while !history.is_stopped() {
            let reading = history.read_lock.read().await;
            // Every key with equal probability, unlike fetches.
            let key = history.keys.choose(&mut self.rng).unwrap();
            let (read, before) = (key.begin_read(), self.fault_count());
            let request = GetRequest { namespace: key.namespace.to_owned(), ..get(&key.name) };
            match self.cache().get(request).await {
                Ok(answer) if answer.outcome() == Outcome::Negative => self.check_absent(key, read),
                Ok(answer) => self.check(key, as_text(answer.value), read, false),
                Err(error) => self.count_lost_call(before, &error),
            }
            drop(reading);
            self.pause(4).await;
        }
    }

    /// Changes the database, then deletes the key or invalidates several keys.
    pub(super) async fn invalidate(mut self) {
        let history = self.history.clone();
        while !history.is_stopped() {
            self.pause(120).await;
            let namespace = *NAMESPACES.choose(&mut self.rng).unwrap();
            match self.rng.random_range(0..8) {
                0 => {
                    let _not_rewound = history.rewind_lock(namespace).read().await;
                    self.invalidate_namespace(&history, namespace).await;
                }
                1..4 => {
                    let _not_rewound = history.rewind_lock(namespace).read().await;
                    self.invalidate_some(&history, namespace).await;
                }
                _ => {
                    let key = history.keys.choose(&mut self.rng).unwrap();
                    self.delete(key).await;
                }
            }
        }
    }

    /// Changes the database and sets the new value.
    pub(super) async fn set(mut self) {
        let history = self.history.clone();
        while !history.is_stopped() {
            self.pause(300).await;
            let key = self.key(&history);
            let replica = self.replica.clone();
            // A Set that is lost in a fault could still be executed at any later time.
            let Ok(_no_fault) = replica.fault_lock.try_read() else { continue };
            let _write_lock = key.write_lock.lock().await;
            let started = Instant::now();
            let number = key.update_database();
            let (value, id) = key.begin_set(number);
            let request = SetRequest {
                namespace: key.namespace.to_owned(),
                tags: vec![key.tag.clone()],
                ..set(&key.name, text(&value))
            };
            let answer = self.cache().set(request).await.unwrap();
            assert_eq!(answer.result(), SetResult::Stored, "{answer:?}");
            key.end_set(id);
            key.acknowledge(number);
            key.void_leases(started, Duration::ZERO);
            history.counts.changes.fetch_add(1, SeqCst);
        }
    }

    async fn delete(&mut self, key: &Key) {
        let _write_lock = key.write_lock.lock().await;
        let (started, before) = (Instant::now(), self.fault_count());
        let number = key.update_database();
        let hold_off = if self.rng.random_ratio(1, 10) { HOLD_OFF } else { Duration::ZERO };
        let hold_off_ms = ms(i64::try_from(hold_off.as_millis()).unwrap());
        let request = DeleteRequest {
            namespace: key.namespace.to_owned(),
            hold_off: hold_off_ms,
            ..delete(&key.name)
        };
        match self.cache().delete(request).await {
            Ok(_) => key.acknowledge(number),
            Err(error) => self.count_lost_call(before, &error),
        }
        key.void_leases(started, hold_off);
        self.history.counts.changes.fetch_add(1, SeqCst);
    }

    async fn invalidate_namespace(&self, history: &History, namespace: &'static str) {
        let keys = || history.keys.iter().filter(|key| key.namespace == namespace);
        let mut write_locks = Vec::new();
        for key in keys() {
            write_locks.push(key.write_lock.lock().await);
        }
        let (started, before) = (Instant::now(), self.fault_count());
        let numbers: Vec<u64> = keys().map(Key::update_database).collect();
        match self.cache().invalidate_namespace(invalidate(namespace)).await {
            Ok(_) => keys().zip(numbers).for_each(|(key, number)| key.acknowledge(number)),
            Err(error) => self.count_lost_call(before, &error),
        }
        keys().for_each(|key| key.void_leases(started, Duration::ZERO));
        history.counts.changes.fetch_add(1, SeqCst);
    }

    /// Invalidates keys by their tag, by a pattern, or by both. Returns whether the bans were too
    /// many, so that the whole namespace was invalidated.
    pub(super) async fn invalidate_some(
        &mut self,
        history: &History,
        namespace: &'static str,
    ) -> bool {
        let by_tag = PatternOrTag::Tag(["g0", "g1"].choose(&mut self.rng).unwrap());
        let by_pattern = PatternOrTag::Pattern(PATTERNS.choose(&mut self.rng).unwrap());
        let selectors = match self.rng.random_range(0..3) {
            0 => vec![by_tag],
            1 => vec![by_pattern],
            _ => vec![by_tag, by_pattern],
        };
        let is_selected =
            |key: &&Key| key.namespace == namespace && selectors.iter().any(|one| one.selects(key));
        let keys = || history.keys.iter().filter(is_selected);
        let mut write_locks = Vec::new();
        for key in keys() {
            write_locks.push(key.write_lock.lock().await);
        }
        let (started, before) = (Instant::now(), self.fault_count());
        let numbers: Vec<u64> = keys().map(Key::update_database).collect();
        let hold_off = if self.rng.random_ratio(1, 10) { HOLD_OFF } else { Duration::ZERO };
        let request = InvalidateRequest {
            targets: selectors
                .iter()
                .map(|one| match self.rng.random_bool(0.5) {
                    true => one.target(namespace),
                    false => one.event(namespace),
                })
                .collect(),
            hold_off: ms(i64::try_from(hold_off.as_millis()).unwrap()),
            ..InvalidateRequest::default()
        };
        let mut is_whole = false;
        match self.cache().invalidate(request).await {
            Ok(answer) => {
                keys().zip(numbers).for_each(|(key, number)| key.acknowledge(number));
                is_whole = answer.results.iter().any(|result| result.namespace_invalidated);
            }
            Err(error) => self.count_lost_call(before, &error),
        }
        // A store without bans voids the leases of the whole namespace.
        let of_namespace = history.keys.iter().filter(|key| key.namespace == namespace);
        of_namespace.for_each(|key| key.void_leases(started, hold_off));
        history.counts.changes.fetch_add(1, SeqCst);
        history.counts.bans.fetch_add(1, SeqCst);
        history.counts.widened_bans.fetch_add(u64::from(is_whole), SeqCst);
        is_whole
    }

    async fn get_or_fetch(&self, key: &Key, request: GetOrFetchRequest) {
        let (read, before) = (key.begin_read(), self.fault_count());
        let force_refresh = request.no_cache;
        match self.cache().get_or_fetch(request).await {
            Ok(answer) => self.check_answer(key, answer, read, force_refresh),
            Err(error) => self.check_error(before, &error),
        }
    }

    async fn fetch_batch(&mut self) {
        let history = self.history.clone();
        let wanted: Vec<&Key> = history.keys.sample(&mut self.rng, 3).collect();
        let reads: Vec<ReadStart> = wanted.iter().map(|key| key.begin_read()).collect();
        let keys = wanted.iter().map(|key| KeyRef {
            namespace: key.namespace.to_owned(),
            key: key.name.clone(),
            ..Default::default()
        });
        let force_refresh = self.rng.random_ratio(1, 10);
        let request = BatchGetOrFetchRequest {
            keys: keys.collect(),
            no_cache: force_refresh,
            ..Default::default()
        };
        let before = self.fault_count();
        match self.cache().batch_get_or_fetch(request).await {
            Ok(results) => {
                assert_eq!(results.len(), wanted.len());
                for ((key, read), result) in wanted.into_iter().zip(reads).zip(results) {
                    match result.result.unwrap() {
                        KeyResult::Answer(answer) => {
                            self.check_answer(key, answer, read, force_refresh)
                        }
                        KeyResult::Error(error) => {
                            assert!(error.reason.starts_with("ORIGIN"), "{error:?}");
                            self.history.counts.failed.fetch_add(1, SeqCst);
                        }
                    }
                }
            }
            Err(error) => self.count_lost_call(before, &error),
        }
    }

    fn check_answer(
        &self,
        key: &Key,
        answer: GetOrFetchResponse,
        read: ReadStart,
        force_refresh: bool,
    ) {
        let counts = &self.history.counts;
        match answer.fill() {
            FillResult::Stored => counts.stored.fetch_add(1, SeqCst),
            FillResult::Unspecified | FillResult::Uncacheable => 0,
            FillResult::LeaseLost
            | FillResult::Invalidated
            | FillResult::Superseded
            | FillResult::NotStored => counts.refused.fetch_add(1, SeqCst),
        };
        if answer.degraded || answer.fill() == FillResult::NotStored {
            counts.degraded.fetch_add(1, SeqCst);
            self.history
                .fault_windows
                .lock()
                .unwrap()
                .push((read.at, Instant::now() + Duration::from_secs(1)));
        }
        match answer.outcome.unwrap() {
            Answer::Found(found) if found.outcome() == Outcome::Negative => {
                self.check_absent(key, read)
            }
            Answer::Found(found) => {
                self.check(key, Some(as_text(found.value).unwrap()), read, force_refresh)
            }
            Answer::Contended(_) | Answer::NotCached(_) => {
                self.check(key, None, read, force_refresh)
            }
            Answer::Lease(lease) => panic!("{lease:?} although there is an origin"),
        }
    }

    fn check(&self, key: &Key, value: Option<String>, read: ReadStart, force_refresh: bool) {
        if let Some(value) = value {
            key.check(&value, read, force_refresh);
            self.history.counts.values.fetch_add(1, SeqCst);
        } else {
            self.history.counts.nothing.fetch_add(1, SeqCst);
        }
    }

    fn check_absent(&self, key: &Key, read: ReadStart) {
        key.check_absent(read);
        self.history.counts.negative.fetch_add(1, SeqCst);
    }

    /// Accepts failures of the origin; any other error requires a fault.
    fn check_error(&self, before: u64, error: &Status) {
        let has_details = tonic_types::StatusExt::get_details_error_info(error).is_some();
        if has_details && reason(error).starts_with("ORIGIN") {
            self.history.counts.failed.fetch_add(1, SeqCst);
        } else {
            self.count_lost_call(before, error);
        }
    }

    /// Counts a call that failed during a fault. `before` is the fault count at its start.
    fn count_lost_call(&self, before: u64, error: &Status) {
        assert!(
            before % 2 == 1 || self.fault_count() != before,
            "the call failed without a fault: {error:?}"
        );
        self.history.counts.lost_calls.fetch_add(1, SeqCst);
    }

    /// A random key; `k0` is chosen far less often than the others.
    fn key<'a>(&mut self, history: &'a History) -> &'a Key {
        let key = &history.keys[self.rng.random_range(0..history.keys.len())];
        let is_rare = key.name == "k0";
        if is_rare && self.rng.random_ratio(49, 50) { self.key(history) } else { key }
    }

    fn fault_count(&self) -> u64 {
        self.replica.fault_count.load(SeqCst)
    }

    pub(super) fn cache(&self) -> Cache {
        self.replica.cache.lock().unwrap().clone()
    }

    async fn pause(&mut self, millis: u64) {
        let micros = self.rng.random_range(0..millis * 1000);
        // Not a wait: the pace of the calls, at random so that runs differ.
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

fn request(key: &Key, wait: i64) -> GetOrFetchRequest {
    GetOrFetchRequest { namespace: key.namespace.to_owned(), ..fetch(&key.name, wait) }
}
