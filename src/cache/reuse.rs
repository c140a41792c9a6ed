//! Reuse of entries: joins the events of followed keys of all replicas.
//!
//! Each replica leaves its events in the store at intervals. One of them takes those of all, sorts
//! them by their times, and simulates other TTLs for each key. If it stops, another one goes on
//! from what it has stored last.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::Mutex, task::yield_now, time::Instant};

use crate::{
    model::SaturatingFrom as _,
    stats::{
        registry::StatsRegistry,
        reuse::{
            REUSE_WINDOW,
            counts::ReuseFigures,
            event::{NamespaceEvents, ReuseBatch},
            table::{ReuseState, ReuseTable},
        },
    },
    store::{self, StatsBackend},
};

/// Shortest time between two times at which events are sent.
const SEND_INTERVAL: Duration = Duration::from_secs(5);
/// Time for which events wait for earlier ones of other replicas.
const HOLD_BACK: Duration = Duration::from_secs(6);
/// An event that is later than now by more than this, in milliseconds, does not wait: a clock is
/// wrong.
const MAX_AHEAD_MS: u64 = 60_000;
/// Most events that wait to be sent.
const MAX_UNSENT: usize = 16_384;
/// Most events that wait for those of other replicas.
const MAX_HELD_BACK: usize = 262_144;
/// Most namespaces with followed keys: those that come first, so likely the busiest.
const MAX_NAMESPACES: usize = 64;
/// Shortest time between two times at which the keys of a namespace are stored.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// Most namespaces whose keys are stored at a time.
const SAVED_AT_ONCE: usize = 4;

/// Joins the events of followed keys.
pub(super) struct Reuse {
    registry: Arc<StatsRegistry>,
    store: Arc<dyn StatsBackend>,
    /// Random id of this process.
    replica: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    unsent: Waiting,
    sent_at: Option<Instant>,
    /// None unless this replica joins the events.
    joined: Option<Joined>,
}

/// Events that wait.
#[derive(Default)]
struct Waiting {
    events: usize,
    namespaces: ReuseBatch,
}

/// The state of the replica that joins the events.
struct Joined {
    bucket: u64,
    figures: BTreeMap<String, ReuseFigures>,
    /// The counts as the store has them.
    stored: BTreeMap<String, ReuseFigures>,
    tables: BTreeMap<String, FollowedNamespace>,
    held_back: Waiting,
}

struct FollowedNamespace {
    table: ReuseTable,
    saved_at: Instant,
    is_changed: bool,
}

impl Reuse {
    pub(super) fn new(registry: Arc<StatsRegistry>, store: Arc<dyn StatsBackend>) -> Self {
        Self { registry, store, replica: rand::random(), state: Mutex::default() }
    }

    /// Takes the events of this replica. Sends them if that is due, or if `at_once` is set.
    pub(super) async fn flush(&self, at_once: bool) -> store::Result<()> {
        let mut state = self.state.lock().await;
        let dropped = state.unsent.add(self.registry.take_reuse_events(), MAX_UNSENT);
        self.registry.count_dropped_reuse_events(dropped);
        let is_due = state.sent_at.is_none_or(|sent_at| sent_at.elapsed() >= SEND_INTERVAL);
        if at_once || is_due { self.exchange(&mut state).await } else { Ok(()) }
    }

    /// Stores the keys that this replica follows, before it stops.
    pub(super) async fn close(&self) -> store::Result<()> {
        self.flush(true).await?;
        let state = self.state.lock().await;
        let Some(joined) = &state.joined else { return Ok(()) };
        for (namespace, followed) in joined.tables.iter().filter(|(_, one)| one.is_changed) {
            let tables = BTreeMap::from([(namespace.clone(), followed.table.clone())]);
            let saved = ReuseState { bucket: joined.bucket, tables, ..ReuseState::default() };
            self.store.put_reuse(&saved).await?;
        }
        Ok(())
    }

    /// The counts of at least the last day, by namespace: of the events of this replica up to now,
    /// of those of others up to some seconds ago.
    pub(super) async fn report(&self) -> store::Result<BTreeMap<String, ReuseFigures>> {
        self.flush(true).await?;
        let mut sums: BTreeMap<String, ReuseFigures> = BTreeMap::new();
        for bucket in REUSE_WINDOW.at(self.store.now()) {
            for (namespace, figures) in self.store.reuse_figures(bucket).await? {
                sums.entry(namespace).or_default().add(&figures);
            }
            yield_now().await;
        }
        Ok(sums)
    }

    async fn exchange(&self, state: &mut State) -> store::Result<()> {
        if state.unsent.events == 0 && state.joined.is_none() {
            return Ok(());
        }
        state.sent_at = Some(Instant::now());
        let batches = self.store.exchange_reuse(self.replica, &state.unsent.namespaces).await?;
        state.unsent = Waiting::default();
        let Some(batches) = batches else {
            state.joined = None;
            return Ok(());
        };
        let bucket = REUSE_WINDOW.bucket(self.store.now());
        let joined = match &mut state.joined {
            Some(joined) => joined,
            None => {
                let stored = self.store.reuse_figures(bucket).await?;
                state.joined.insert(Joined::new(bucket, stored))
            }
        };
        if joined.bucket != bucket {
            joined.bucket = bucket;
            (joined.figures, joined.stored) = (BTreeMap::new(), BTreeMap::new());
        }
        for batch in batches {
            let dropped = joined.held_back.add(batch, MAX_HELD_BACK);
            self.registry.count_dropped_reuse_events(dropped);
        }
        self.join(joined).await
    }

    /// Counts the events before which no other is expected, and stores the counts.
    async fn join(&self, joined: &mut Joined) -> store::Result<()> {
        let now = self.store.now().0;
        // The embedded store has no other replica.
        let is_shared = self.store.kind() != "memory";
        let hold_back = if is_shared { u64::saturating_from(HOLD_BACK.as_millis()) } else { 0 };
        let until = now.saturating_sub(hold_back);
        let ready = joined.held_back.take(|at| at <= until || at > now + MAX_AHEAD_MS);
        for (namespace, events) in ready {
            if !joined.tables.contains_key(&namespace) && joined.tables.len() >= MAX_NAMESPACES {
                self.registry.count_dropped_reuse_events(count(&events) as u64);
                continue;
            }
            if !joined.tables.contains_key(&namespace) {
                let table = self.store.reuse_table(&namespace).await?.unwrap_or_default();
                let saved_at = Instant::now();
                let followed = FollowedNamespace { table, saved_at, is_changed: false };
                joined.tables.insert(namespace.clone(), followed);
            }
            if let Some(followed) = joined.tables.get_mut(&namespace) {
                followed.is_changed = true;
                followed.table.apply(vec![events], joined.figures.entry(namespace).or_default());
            }
            yield_now().await;
        }
        let mut put = ReuseState { bucket: joined.bucket, ..ReuseState::default() };
        for (namespace, followed) in &mut joined.tables {
            let figures = joined.figures.entry(namespace.clone()).or_default();
            followed.table.sweep(until, figures);
            let is_due = followed.is_changed && followed.saved_at.elapsed() >= SAVE_INTERVAL;
            if is_due && put.tables.len() < SAVED_AT_ONCE {
                put.tables.insert(namespace.clone(), followed.table.clone());
            }
            yield_now().await;
        }
        let stored = &joined.stored;
        let figures = joined.figures.iter();
        let changed = figures.filter(|(name, figures)| stored.get(*name) != Some(figures));
        put.figures = changed.map(|(name, figures)| (name.clone(), figures.clone())).collect();
        self.store.put_reuse(&put).await?;
        joined.stored.append(&mut put.figures);
        for namespace in put.tables.keys() {
            if let Some(followed) = joined.tables.get_mut(namespace) {
                (followed.saved_at, followed.is_changed) = (Instant::now(), false);
            }
        }
        joined.tables.retain(|_, followed| followed.table.keys() > 0);
        Ok(())
    }
}

impl Joined {
    /// Goes on from the counts that the store has.
    fn new(bucket: u64, stored: BTreeMap<String, ReuseFigures>) -> Self {
        let (tables, held_back) = (BTreeMap::new(), Waiting::default());
        Self { bucket, figures: stored.clone(), stored, tables, held_back }
    }
}

impl Waiting {
    /// Adds events while there are fewer than `max`. Returns the number of those that are dropped.
    fn add(&mut self, batch: ReuseBatch, max: usize) -> u64 {
        let mut dropped = 0;
        for (namespace, events) in batch {
            let count = count(&events);
            if self.events + count > max {
                dropped += count as u64;
                continue;
            }
            self.events += count;
            let waiting = self.namespaces.entry(namespace).or_default();
            waiting.keys.extend(events.keys);
            waiting.invalidations.extend(events.invalidations);
        }
        dropped
    }

    /// Takes the events at the times for which `is_ready` holds.
    fn take(&mut self, is_ready: impl Fn(u64) -> bool) -> ReuseBatch {
        let (mut taken, mut rest) = (ReuseBatch::new(), ReuseBatch::new());
        for (namespace, events) in std::mem::take(&mut self.namespaces) {
            let NamespaceEvents { keys, invalidations } = events;
            let (mut now, mut later) = (NamespaceEvents::default(), NamespaceEvents::default());
            for (hash, events) in keys {
                let (early, late): (Vec<_>, Vec<_>) =
                    events.into_iter().partition(|event| is_ready(event.at()));
                now.keys.extend((!early.is_empty()).then_some((hash, early)));
                later.keys.extend((!late.is_empty()).then_some((hash, late)));
            }
            (now.invalidations, later.invalidations) =
                invalidations.into_iter().partition(|invalidation| is_ready(invalidation.at));
            self.events -= count(&now);
            for (events, into) in [(now, &mut taken), (later, &mut rest)] {
                if count(&events) > 0 {
                    into.insert(namespace.clone(), events);
                }
            }
        }
        self.namespaces = rest;
        taken
    }
}

/// Number of events.
fn count(events: &NamespaceEvents) -> usize {
    events.keys.iter().map(|(_, events)| events.len()).sum::<usize>() + events.invalidations.len()
}

#[cfg(test)]
mod tests;
