//! The entries of the fake, and its clock.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    pb,
    ttl::{FOREVER, to_wire},
};

/// Settings of a namespace of the fake, as the server's configuration has them.
#[derive(Clone, Debug)]
pub struct FakeNamespace {
    /// 30 min.
    pub ttl: Duration,
    /// 7 d.
    pub max_ttl: Duration,
    /// How long a value is the answer past its TTL while it is refreshed: zero.
    pub stale_while_revalidate: Duration,
    /// How long a value is a substitute past its TTL if its computation fails: zero.
    pub stale_if_error: Duration,
    /// 10 s.
    pub lease_ttl: Duration,
    /// 5 s.
    pub lease_wait: Duration,
    /// How long no lease is granted after a loader has failed: 1 s.
    pub backoff: Duration,
    /// 1 MiB.
    pub max_value_bytes: usize,
}

impl Default for FakeNamespace {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30 * 60),
            max_ttl: Duration::from_secs(7 * 24 * 3600),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            lease_ttl: Duration::from_secs(10),
            lease_wait: Duration::from_secs(5),
            backoff: Duration::from_secs(1),
            max_value_bytes: 1024 * 1024,
        }
    }
}

/// Where an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) key: String,
    pub(crate) params: BTreeMap<String, String>,
    /// The schema version of the client.
    pub(crate) schema: String,
}

impl Place {
    /// The text that takes the place of a digest.
    pub(crate) fn digest(&self) -> String {
        if self.params.is_empty() && self.schema.is_empty() {
            return String::new();
        }
        format!("{}{:?}", self.schema, self.params)
    }
}

/// An entry of the fake. Times are since the begin of the fake, by its clock.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: pb::Value,
    pub(crate) version: String,
    pub(crate) tags: Vec<String>,
    pub(crate) written_at: Duration,
    pub(crate) fresh_until: Duration,
}

/// The entries of the fake.
pub(crate) struct Store {
    pub(crate) entries: HashMap<Place, Entry>,
    pub(crate) namespaces: HashMap<String, FakeNamespace>,
    pub(crate) standard: FakeNamespace,
    begun: Instant,
    offset: Duration,
    versions: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            namespaces: HashMap::new(),
            standard: FakeNamespace::default(),
            begun: Instant::now(),
            offset: Duration::ZERO,
            versions: 0,
        }
    }

    /// The clock of the fake, which runs on and can be advanced.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed().saturating_add(self.offset)
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.offset = self.offset.saturating_add(time).min(FOREVER);
    }

    pub(crate) fn settings(&self, namespace: &str) -> FakeNamespace {
        self.namespaces.get(namespace).unwrap_or(&self.standard).clone()
    }

    /// The entry and how long it is past its TTL, if it is within its TTL or a stale window.
    pub(crate) fn find(&mut self, place: &Place) -> Option<(Entry, Duration)> {
        let now = self.now();
        let settings = self.settings(&place.namespace);
        let window = settings.stale_while_revalidate.max(settings.stale_if_error);
        let entry = self.entries.get(place)?;
        if now >= entry.fresh_until + window {
            self.entries.remove(place);
            return None;
        }
        Some((entry.clone(), now.saturating_sub(entry.fresh_until)))
    }

    pub(crate) fn fresh(&mut self, place: &Place) -> Option<Entry> {
        let now = self.now();
        self.find(place).map(|(entry, _)| entry).filter(|entry| now < entry.fresh_until)
    }

    pub(crate) fn put(
        &mut self,
        place: &Place,
        value: pb::Value,
        ttl: Option<Duration>,
        mut tags: Vec<String>,
    ) -> Entry {
        let settings = self.settings(&place.namespace);
        tags.sort();
        tags.dedup();
        self.versions += 1;
        let written_at = self.now();
        let entry = Entry {
            value,
            version: format!("v{}", self.versions),
            tags,
            written_at,
            fresh_until: written_at + ttl.unwrap_or(settings.ttl).min(settings.max_ttl),
        };
        self.entries.insert(place.clone(), entry.clone());
        entry
    }

    /// The entries of a namespace that have not ended.
    pub(crate) fn of(&mut self, namespace: &str) -> Vec<(Place, Entry)> {
        let places: Vec<_> =
            self.entries.keys().filter(|place| place.namespace == namespace).cloned().collect();
        let found = places.into_iter().map(|place| (self.find(&place), place));
        found.filter_map(|(found, place)| found.map(|(entry, _)| (place, entry))).collect()
    }

    /// The facts of an entry, as the server gives them.
    pub(crate) fn info(&self, entry: &Entry) -> pb::EntryInfo {
        let now = self.now();
        pb::EntryInfo {
            version: entry.version.clone(),
            age: Some(to_wire(now.saturating_sub(entry.written_at))),
            ttl_remaining: Some(to_wire(entry.fresh_until.saturating_sub(now))),
            tags: entry.tags.clone(),
            tier: pb::Tier::Store.into(),
        }
    }

    pub(crate) fn found(&self, entry: &Entry) -> pb::Found {
        let is_fresh = self.now() < entry.fresh_until;
        pb::Found {
            value: Some(entry.value.clone()),
            entry: Some(self.info(entry)),
            outcome: if is_fresh { pb::Outcome::Hit } else { pb::Outcome::Stale }.into(),
            ..Default::default()
        }
    }
}
