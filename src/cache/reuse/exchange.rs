//! Exchanges the events of followed keys with the other replicas, and joins those of all while it
//! is this replica's turn.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::yield_now,
    time::Instant,
};

use super::{
    taken_batches::TakenBatches,
    waiting::{Waiting, count},
};
use crate::{
    model::SaturatingFrom as _,
    stats::{
        registry::StatsRegistry,
        reuse::{
            REUSE_WINDOW,
            counts::ReuseFigures,
            event::{ReuseAnswer, ReuseBatch, SentEvents},
            table::{ReuseState, ReuseTable},
        },
    },
    store::{self, StatsBackend},
};

/// Shortest time between two times at which events are sent.
pub(super) const SEND_INTERVAL: Duration = Duration::from_secs(5);
/// Time for which events wait for earlier ones of other replicas.
pub(super) const HOLD_BACK: Duration = Duration::from_secs(6);
/// Time after an exchange in which no other replica joins the events.
const TURN: Duration = Duration::from_secs(20);
/// An event that is later than now by more than this, in milliseconds, does not wait: a clock is
/// wrong.
const MAX_AHEAD_MS: u64 = 60_000;
/// Most events that wait to be sent.
const MAX_UNSENT: usize = 16_384;
/// Most events that wait for those of other replicas.
const MAX_HELD_BACK: usize = 262_144;
/// Most namespaces with followed keys: those that come first, and of these the busiest.
const MAX_NAMESPACES: usize = 64;
/// How often the share of followed keys is halved in further namespaces: their events are dropped
/// until there is room.
const OTHERS_HALVINGS: u32 = 7;
/// Shortest time between two times at which the keys of a namespace are stored.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// Most namespaces whose keys are stored at a time.
const SAVED_AT_ONCE: usize = 4;

/// Exchanges the events of followed keys.
pub(super) struct Exchange {
    pub(super) registry: Arc<StatsRegistry>,
    pub(super) store: Arc<dyn StatsBackend>,
    /// Random id of this process.
    replica: u64,
    state: Arc<Mutex<State>>,
}

/// Events on their way, and the counts of those that have arrived.
#[derive(Default)]
pub(super) struct State {
    unsent: Waiting,
    /// Events that are sent until the store acknowledges them, always under the same id.
    sending: Option<SentEvents>,
    sent_at: Option<Instant>,
    /// When this replica last got its turn.
    turn_at: Option<Instant>,
    taken: TakenBatches,
    held_back: Waiting,
    /// None unless this replica joins the events.
    joined: Option<Joined>,
}

/// Counts and keys of the replica that joins the events.
struct Joined {
    bucket: u64,
    figures: BTreeMap<String, ReuseFigures>,
    /// The counts as the store has them.
    stored: BTreeMap<String, ReuseFigures>,
    tables: BTreeMap<String, FollowedNamespace>,
}

struct FollowedNamespace {
    table: ReuseTable,
    saved_at: Instant,
    is_changed: bool,
}

impl Exchange {
    pub(super) fn new(registry: Arc<StatsRegistry>, store: Arc<dyn StatsBackend>) -> Self {
        Self { registry, store, replica: rand::random(), state: Arc::default() }
    }

    /// Waits for an exchange that goes on.
    pub(super) async fn lock(&self) -> OwnedMutexGuard<State> {
        self.state.clone().lock_owned().await
    }

    /// Takes the events of this replica. Sends them if that is due, or if `at_once` is set.
    pub(super) async fn flush(
        &self,
        mut state: OwnedMutexGuard<State>,
        at_once: bool,
    ) -> store::Result<()> {
        self.collect(&mut state);
        let is_due = state.sent_at.is_none_or(|sent_at| sent_at.elapsed() >= SEND_INTERVAL);
        if at_once || is_due { self.exchange_all(&mut state, HOLD_BACK).await } else { Ok(()) }
    }

    /// Counts the events so far, without a wait for earlier ones, and stores the keys.
    pub(super) async fn close(&self, mut state: OwnedMutexGuard<State>) -> store::Result<()> {
        self.collect(&mut state);
        self.exchange_all(&mut state, Duration::ZERO).await?;
        let Some(joined) = &state.joined else { return Ok(()) };
        for (namespace, followed) in joined.tables.iter().filter(|(_, one)| one.is_changed) {
            let tables = BTreeMap::from([(namespace.clone(), followed.table.clone())]);
            let saved = ReuseState { bucket: joined.bucket, tables, ..ReuseState::default() };
            self.store.put_reuse(&saved).await?;
        }
        Ok(())
    }

    /// The embedded store has no other replica.
    fn is_shared(&self) -> bool {
        self.store.kind() != "memory"
    }

    fn collect(&self, state: &mut State) {
        let dropped = state.unsent.add(self.registry.take_reuse_events(), MAX_UNSENT);
        self.drop_some(&dropped);
    }

    /// Counts events that are dropped, and follows fewer keys of their namespaces.
    fn drop_some(&self, dropped: &[(String, u64)]) {
        for (namespace, events) in dropped {
            self.registry.count_dropped_reuse_events(*events);
            self.registry.reduce_followed(namespace);
        }
    }

    fn follow_shares(&self, shares: &BTreeMap<String, u32>) {
        // Events of further namespaces would be dropped.
        let others = (shares.len() >= MAX_NAMESPACES).then_some(OTHERS_HALVINGS);
        self.registry.follow_shares(shares, others);
    }

    /// Sends what an earlier exchange could not, and then what has come since.
    async fn exchange_all(&self, state: &mut State, hold_back: Duration) -> store::Result<()> {
        if state.sending.is_some() {
            self.exchange(state, hold_back).await?;
        }
        self.exchange(state, hold_back).await
    }

    async fn exchange(&self, state: &mut State, hold_back: Duration) -> store::Result<()> {
        let has_events = !state.unsent.namespaces.is_empty() || state.held_back.events > 0;
        if !has_events && state.sending.is_none() && state.joined.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        state.sent_at = Some(now);
        if self.is_shared() && state.turn_at.is_some_and(|turn_at| now - turn_at >= TURN) {
            // Another replica may have gone on from what is stored.
            (state.turn_at, state.joined) = (None, None);
        }
        let unsent = &mut state.unsent;
        let sending = state.sending.get_or_insert_with(|| SentEvents {
            id: rand::random(),
            namespaces: std::mem::take(unsent).namespaces,
        });
        let ReuseAnswer { taken, shares } =
            self.store.exchange_reuse(self.replica, sending).await?;
        state.sending = None;
        self.follow_shares(&shares);
        let Some(batches) = taken else {
            (state.turn_at, state.joined) = (None, None);
            // They are for the replica whose turn it is.
            let held_back = std::mem::take(&mut state.held_back).namespaces;
            let dropped = state.unsent.add(held_back, MAX_UNSENT);
            self.drop_some(&dropped);
            return Ok(());
        };
        state.turn_at = Some(now);
        for SentEvents { id, namespaces } in batches {
            if state.taken.insert(id) {
                let dropped = state.held_back.add(namespaces, MAX_HELD_BACK);
                self.drop_some(&dropped);
            }
        }
        self.join(state, hold_back).await
    }

    /// Counts the events before which no other is expected, and stores the counts. Whatever the
    /// store is asked for comes first: events that are taken are counted.
    async fn join(&self, state: &mut State, hold_back: Duration) -> store::Result<()> {
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
        self.load_tables(joined, &state.held_back).await?;
        let now = self.store.now().0;
        let hold_back = if self.is_shared() { hold_back } else { Duration::ZERO };
        let until = now.saturating_sub(u64::saturating_from(hold_back.as_millis()));
        let ready = state.held_back.take(|at| at <= until || at > now + MAX_AHEAD_MS);
        let dropped = joined.apply(ready).await;
        self.registry.count_dropped_reuse_events(dropped);
        let put = joined.sweep(until).await;
        self.store.put_reuse(&put).await?;
        joined.mark_stored(put);
        Ok(())
    }

    /// Loads the keys of the namespaces that have events, while there is room for them.
    async fn load_tables(&self, joined: &mut Joined, waiting: &Waiting) -> store::Result<()> {
        for namespace in waiting.busiest() {
            if joined.tables.len() >= MAX_NAMESPACES {
                break;
            }
            if !joined.tables.contains_key(namespace) {
                let table = self.store.reuse_table(namespace).await?.unwrap_or_default();
                let saved_at = Instant::now();
                let followed = FollowedNamespace { table, saved_at, is_changed: false };
                joined.tables.insert(namespace.clone(), followed);
            }
        }
        Ok(())
    }
}

impl Joined {
    /// Goes on from the counts that the store has.
    fn new(bucket: u64, stored: BTreeMap<String, ReuseFigures>) -> Self {
        Self { bucket, figures: stored.clone(), stored, tables: BTreeMap::new() }
    }

    /// Counts events. Returns the number of those of namespaces that are not followed.
    async fn apply(&mut self, ready: ReuseBatch) -> u64 {
        let mut dropped = 0;
        for (namespace, events) in ready {
            if let Some(followed) = self.tables.get_mut(&namespace) {
                followed.is_changed = true;
                followed.table.apply(vec![events], self.figures.entry(namespace).or_default());
                yield_now().await;
            } else {
                dropped += count(&events) as u64;
            }
        }
        dropped
    }

    /// Counts the entries that have ended. Returns what is to be stored: the counts that have
    /// changed, the shares of all, and some tables.
    async fn sweep(&mut self, until: u64) -> ReuseState {
        let mut put = ReuseState { bucket: self.bucket, ..ReuseState::default() };
        for (namespace, followed) in &mut self.tables {
            let figures = self.figures.entry(namespace.clone()).or_default();
            followed.table.sweep(until, figures);
            put.shares.insert(namespace.clone(), followed.table.share());
            let is_due = followed.is_changed && followed.saved_at.elapsed() >= SAVE_INTERVAL;
            if is_due && put.tables.len() < SAVED_AT_ONCE {
                put.tables.insert(namespace.clone(), followed.table.clone());
            }
            yield_now().await;
        }
        let stored = &self.stored;
        let changed = self.figures.iter().filter(|(name, one)| stored.get(*name) != Some(one));
        put.figures = changed.map(|(name, one)| (name.clone(), one.clone())).collect();
        put
    }

    /// The store has taken this.
    fn mark_stored(&mut self, mut put: ReuseState) {
        self.stored.append(&mut put.figures);
        for namespace in put.tables.keys() {
            if let Some(followed) = self.tables.get_mut(namespace) {
                (followed.saved_at, followed.is_changed) = (Instant::now(), false);
            }
        }
        self.tables.retain(|_, followed| followed.table.keys() > 0);
    }
}
