#![allow(clippy::unwrap_used)]

mod accounting;
mod ban_races;
mod bans;
mod budget;
mod counters;
mod entries;
mod inspect;
mod leases;
mod measured;
mod records;
mod slots;
mod sweeper;

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;

use super::{
    entries::memory_of,
    generations::namespace_bytes,
    lease_records::{HOLD_OFF_BYTES, lease_bytes},
    namespace_state::NamespaceState,
    *,
};
use crate::{
    model::{Kind, Version},
    store::{
        AcquireOutcome, AcquireRequest, ErrorKind, Inspect as _, LeaseToken, Leases as _,
        NamespacePage, Revalidation,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MIB: u64 = 1024 * 1024;

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn key_in(namespace_name: &str, key: &str) -> EntryKey {
    EntryKey::new(namespace(namespace_name), key, [].into_iter()).unwrap()
}

fn key(key: &str) -> EntryKey {
    key_in("a", key)
}

fn lifetime(ttl: Duration) -> Lifetime {
    Lifetime { ttl, ..Lifetime::default() }
}

fn new_entry(size: usize, ttl: Duration) -> NewEntry {
    NewEntry {
        kind: Kind::Bytes,
        data: vec![b'x'; size].into(),
        version: Version::random(),
        lifetime: lifetime(ttl),
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

/// An entry that is stale for a minute after its TTL.
fn stale_after(ttl: Duration) -> NewEntry {
    let lifetime = Lifetime { stale_while_revalidate: MINUTE, ..lifetime(ttl) };
    NewEntry { lifetime, ..new_entry(1, ttl) }
}

async fn put(store: &MemoryStore, key: &EntryKey, size: usize) -> Result<PutOutcome> {
    store.put(key, &new_entry(size, MINUTE), Condition::Always).await
}

async fn get(store: &MemoryStore, key: &EntryKey) -> Option<Entry> {
    store.get(key).await.unwrap()
}

async fn exists(store: &MemoryStore, key: &EntryKey) -> bool {
    get(store, key).await.is_some()
}

async fn advance(duration: Duration) {
    tokio::time::advance(duration).await;
}

/// Lets the sweeper run until it has removed everything that has expired.
async fn sweep() {
    tokio::time::sleep(2 * SECOND).await;
}

/// Memory of entries and leases, in bytes.
fn used(store: &MemoryStore) -> u64 {
    store.snapshot().used_bytes - store.0.generations.recount()
}

fn hashed(key: &EntryKey) -> HashedKey<'_> {
    HashedKey { key, hash: RandomState::new().hash_one(key) }
}

/// Memory of an entry, in bytes.
fn cost_of(key: &EntryKey, new: &NewEntry) -> u64 {
    let entry = Entry::written(new, Timestamp(0));
    let expected = memory_for(key, &entry);
    let generation = Generations::default().current(key.namespace(), &Budget::new(MIB));
    let slot = Slot::new(&hashed(key), entry, generation, Timestamp(0), Timestamp(0));
    assert_eq!(memory_of(&slot), expected);
    expected
}

/// Memory of an entry without tags, in bytes.
fn entry_cost(key: &EntryKey, size: usize) -> u64 {
    cost_of(key, &new_entry(size, MINUTE))
}

/// Memory of a lease, in bytes.
fn lease_cost(key: &EntryKey) -> u64 {
    lease_bytes(&hashed(key))
}

/// A limit that leaves `bytes` for the entries of the namespace `a`.
fn limit_of(bytes: u64) -> u64 {
    limit_for(bytes + namespace_bytes(&namespace("a")))
}

/// A limit of which `bytes` can be in use.
fn limit_for(bytes: u64) -> u64 {
    (bytes..).find(|max| max - max / 16 == bytes).unwrap()
}

fn lease_request(token: LeaseToken) -> AcquireRequest {
    AcquireRequest { token, ttl: MINUTE, fresher_than: Timestamp::default() }
}

/// A request for a lease, whatever the entry.
fn forced_request(token: LeaseToken) -> AcquireRequest {
    AcquireRequest { fresher_than: Timestamp(u64::MAX), ..lease_request(token) }
}

/// A lease of a minute on a key, whatever its entry.
async fn acquire(store: &MemoryStore, key: &EntryKey) -> LeaseToken {
    let token = LeaseToken::random();
    let outcome = store.acquire(key, &forced_request(token)).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Granted { .. }), "{outcome:?}");
    token
}

/// The outcome of another caller's request for a lease.
async fn acquire_again(store: &MemoryStore, key: &EntryKey) -> AcquireOutcome {
    store.acquire(key, &lease_request(LeaseToken::random())).await.unwrap()
}

fn is_granted(outcome: &AcquireOutcome) -> bool {
    matches!(outcome, AcquireOutcome::Granted { .. })
}

fn revalidation(version: Version, ttl: Duration, tags: &[&str]) -> Revalidation {
    Revalidation {
        version,
        lifetime: lifetime(ttl),
        tags: tags.iter().map(ToString::to_string).collect(),
        fetch_metadata: Arc::default(),
    }
}
