//! Values of a namespace in this process, kept coherent by a feed: without one they are not used.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use hashlink::LruCache;
use parking_lot::Mutex;

use crate::{
    Outcome, Read, Tags, Tier, Version,
    core::Scope,
    feed::{Feed, Listener},
    moment::{Moment, Ticks},
};

/// Bytes of an entry besides its key and its value.
const ENTRY_BYTES: usize = 256;

/// Bounds of a near cache.
#[derive(Clone, Copy, Debug)]
pub struct NearCache {
    max_bytes: usize,
    max_entries: usize,
}

impl Default for NearCache {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024, max_entries: 10_000 }
    }
}

impl NearCache {
    /// Bytes of values and keys: 64 MiB.
    #[must_use]
    pub const fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Entries: 10,000.
    #[must_use]
    pub const fn max_entries(mut self, max_entries: usize) -> Self {
        self.max_entries = max_entries;
        self
    }
}

struct Entry<V> {
    key: Arc<str>,
    value: Arc<V>,
    version: Option<Version>,
    tags: Tags,
    /// When the read began, and the age of the value then.
    begun: Moment,
    age: Duration,
    ends: Moment,
    bytes: usize,
}

impl<V> Entry<V> {
    #[inline]
    fn read(&self, now: Moment) -> Read<V> {
        Read {
            outcome: Outcome::Hit,
            value: Some(Arc::clone(&self.value)),
            version: self.version.clone(),
            age: Some(self.age + now.since(self.begun)),
            ttl_remaining: Some(self.ends.since(now)),
            tags: self.tags.clone(),
            tier: Some(Tier::Client),
            degraded: false,
            error: None,
            stored: None,
            joined: false,
        }
    }
}

/// A read that is under way; a change that may concern it makes it unclean.
struct Begun {
    key: Box<str>,
    is_clean: bool,
}

struct Store<V> {
    entries: LruCache<String, Entry<V>>,
    /// Ids by key, of entries whose id is not their key.
    ids: HashMap<Arc<str>, HashSet<String>>,
    begun: HashMap<u64, Begun>,
    next: u64,
    bytes: usize,
    ticks: Ticks,
}

/// The near cache of a handle. The least recently used entries go first.
pub(crate) struct Near<V> {
    feed: Arc<Feed>,
    scope: Scope,
    bounds: NearCache,
    store: Mutex<Store<V>>,
}

impl<V: Send + Sync + 'static> Near<V> {
    pub(crate) fn new(scope: Scope, bounds: NearCache) -> Arc<Self> {
        let feed = scope.core.feeds.open(&scope.namespace);
        let near = Arc::new(Self {
            feed: Arc::clone(&feed),
            scope,
            bounds,
            store: Mutex::new(Store {
                entries: LruCache::new_unbounded(),
                ids: HashMap::new(),
                begun: HashMap::new(),
                next: 0,
                bytes: 0,
                ticks: Ticks::new(),
            }),
        });
        let weak: Weak<Self> = Arc::downgrade(&near);
        feed.listen(weak);
        near
    }

    /// The value of an entry, if it is certain to be that of the store.
    pub(crate) fn get(&self, id: &str) -> Option<Read<V>> {
        let mut store = self.store.lock();
        let tick = store.ticks.now();
        let entry = store.entries.get(id)?;
        let latest = tick.at_latest();
        if latest < entry.ends && self.feed.is_live_until(latest) {
            return Some(entry.read(tick));
        }
        drop(store);
        self.get_near_its_end(id)
    }

    /// As [`get`](Self::get), by the clock alone.
    #[cold]
    fn get_near_its_end(&self, id: &str) -> Option<Read<V>> {
        let now = Moment::now();
        if !self.feed.is_live(now) {
            return None;
        }
        let mut store = self.store.lock();
        let entry = store.entries.get(id)?;
        if now >= entry.ends {
            store.remove(id);
            return None;
        }
        Some(entry.read(now))
    }

    /// Begins a read whose result may be kept. `None`: there is no feed, yet.
    pub(crate) fn begin(self: &Arc<Self>, key: &str) -> Option<Pending<V>> {
        let begun = Moment::now();
        if !self.feed.is_live(begun) {
            self.feed.start(&self.scope);
            return None;
        }
        let mut store = self.store.lock();
        let id = store.next;
        store.next += 1;
        store.begun.insert(id, Begun { key: key.into(), is_clean: true });
        drop(store);
        Some(Pending { near: Arc::clone(self), id, begun })
    }
}

/// A read whose result may be kept.
pub(crate) struct Pending<V> {
    near: Arc<Near<V>>,
    id: u64,
    begun: Moment,
}

impl<V> Pending<V> {
    /// Keeps the result if nothing has changed since the begin.
    pub(crate) fn keep(self, id: String, read: &Read<V>, value_bytes: usize) {
        let Some(value) = &read.value else { return };
        if read.outcome != Outcome::Hit || read.tier != Some(Tier::Store) {
            return;
        }
        let bounds = self.near.bounds;
        let bytes = ENTRY_BYTES + value_bytes + id.len();
        if bytes > bounds.max_bytes || !self.near.feed.is_live(Moment::now()) {
            return;
        }
        let mut store = self.near.store.lock();
        let Some(begun) = store.begun.remove(&self.id).filter(|begun| begun.is_clean) else {
            return;
        };
        // The lifetimes are those of the answer, which is later than the begin of the read.
        let ends = self.begun.after(read.ttl_remaining.unwrap_or_default());
        store.remove(&id);
        let key: Arc<str> = begun.key.into();
        if id != *key {
            store.ids.entry(Arc::clone(&key)).or_default().insert(id.clone());
        }
        store.bytes += bytes;
        store.entries.insert(
            id,
            Entry {
                key,
                value: Arc::clone(value),
                version: read.version.clone(),
                tags: read.tags.clone(),
                begun: self.begun,
                age: read.age.unwrap_or_default(),
                ends,
                bytes,
            },
        );
        while store.bytes > bounds.max_bytes || store.entries.len() > bounds.max_entries {
            let Some((id, entry)) = store.entries.remove_lru() else { break };
            store.forget(&id, &entry);
        }
    }
}

impl<V> Drop for Pending<V> {
    fn drop(&mut self) {
        self.near.store.lock().begun.remove(&self.id);
    }
}

impl<V> Store<V> {
    fn remove(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id) {
            self.forget(id, &entry);
        }
    }

    /// Notes that an entry is gone.
    fn forget(&mut self, id: &str, entry: &Entry<V>) {
        self.bytes -= entry.bytes;
        if let Some(ids) = self.ids.get_mut(&entry.key) {
            ids.remove(id);
            if ids.is_empty() {
                self.ids.remove(&entry.key);
            }
        }
    }
}

impl<V: Send + Sync> Listener for Near<V> {
    fn key_changed(&self, key: &str) {
        let mut store = self.store.lock();
        for begun in store.begun.values_mut().filter(|begun| *begun.key == *key) {
            begun.is_clean = false;
        }
        store.remove(key);
        for id in store.ids.remove(key).unwrap_or_default() {
            store.remove(&id);
        }
    }

    fn matching(&self, concerns: &dyn Fn(&str, &[String]) -> bool) {
        let mut store = self.store.lock();
        // The tags of a value that is on its way are open.
        for begun in store.begun.values_mut() {
            begun.is_clean = false;
        }
        let gone: Vec<_> = store
            .entries
            .iter()
            .filter(|(_, entry)| concerns(&entry.key, &entry.tags))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            store.remove(&id);
        }
    }

    fn clear(&self) {
        let mut store = self.store.lock();
        for begun in store.begun.values_mut() {
            begun.is_clean = false;
        }
        store.entries.clear();
        store.ids.clear();
        store.bytes = 0;
    }
}
