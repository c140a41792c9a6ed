//! The place where stores publish changes, and where watchers find them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use opentelemetry::metrics::Histogram;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    batch::PublishedChange,
    changed_keys::ChangedKey,
    channel::{Channel, Status},
    reset_reason::ResetReason,
    token::Proof,
};
use crate::model::{Namespace, SaturatingFrom as _};

/// Time for which the changes of a namespace are recorded after its last watcher has left, so that
/// it can continue.
pub(super) const RESUME_WINDOW: Duration = Duration::from_secs(60);
/// Time between two looks for namespaces without watchers.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);
/// Intervals of the dispatcher in `max_delay`.
const DISPATCHES_PER_DELAY: u32 = 20;
const MIN_DISPATCH_INTERVAL: Duration = Duration::from_millis(1);
const MAX_DISPATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Numbers that each channel has for its changes.
const NUMBERS_PER_CHANNEL: u64 = 1 << 40;

/// Rules of the watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// Time within which an acknowledged change arrives, or a reset.
    pub max_delay: Duration,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Memory for the changes of all namespaces, in bytes.
    pub buffer_bytes: usize,
    /// Most namespaces that are watched at a time.
    pub max_namespaces: usize,
    /// Whether changes are announced by a store outside of the process, which can be lost.
    pub is_remote: bool,
}

/// Too many namespaces are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many namespaces are watched, the limit is {limit} (watch.max_namespaces)")]
pub struct TooManyNamespaces {
    /// The limit.
    pub limit: usize,
}

/// Source of the changes that a replica without a history has missed.
#[async_trait]
pub trait MissedChanges: Send + Sync {
    /// The invalidations since `proof`; `None` if that cannot be proved.
    async fn missed(&self, namespace: &Namespace, proof: &Proof) -> Option<Vec<PublishedChange>>;
}

/// State and counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Watchers.
    pub watchers: u64,
    /// Namespaces that are watched or were a short time ago.
    pub namespaces: u64,
    /// Memory of the recorded changes, in bytes.
    pub buffered_bytes: u64,
    /// Whether all changes are received.
    pub is_following: bool,
    /// Keys, tags, patterns and namespaces that were sent, added up over all watchers.
    pub sent: u64,
    /// Resets, by the number of their reason.
    pub resets: [u64; ResetReason::ALL.len()],
}

/// Namespaces whose changes are recorded, and the recorded changes.
pub struct ChangeHub {
    id: u64,
    options: WatchOptions,
    channels: ArcSwap<HashMap<Namespace, Arc<Channel>>>,
    /// Locked to change `channels`. The number of channels so far.
    created: Mutex<u64>,
    follows_keys: AtomicBool,
    lane_limit: AtomicUsize,
    due: Mutex<Vec<Arc<Channel>>>,
    has_due: Notify,
    wanted: watch::Sender<BTreeSet<Namespace>>,
    started_at: Instant,
    /// Time at which the last answered heartbeat of the feed was sent, in nanoseconds since
    /// `started_at`; zero while changes may be missed.
    coherent_at: AtomicU64,
    source: OnceLock<Arc<dyn MissedChanges>>,
    watchers: AtomicU64,
    sent: AtomicU64,
    resets: [AtomicU64; ResetReason::ALL.len()],
    pub(super) delay: OnceLock<Histogram<f64>>,
}

impl ChangeHub {
    /// A hub without watchers. [`ChangeHub::run`] must run for changes to arrive.
    pub fn new(options: WatchOptions) -> Arc<Self> {
        Arc::new(Self {
            id: rand::random(),
            options,
            channels: ArcSwap::default(),
            created: Mutex::new(0),
            follows_keys: AtomicBool::new(false),
            lane_limit: AtomicUsize::new(0),
            due: Mutex::default(),
            has_due: Notify::new(),
            wanted: watch::Sender::default(),
            started_at: Instant::now(),
            coherent_at: AtomicU64::new(0),
            source: OnceLock::new(),
            watchers: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            resets: Default::default(),
            delay: OnceLock::new(),
        })
    }

    /// The rules.
    pub fn options(&self) -> &WatchOptions {
        &self.options
    }

    // === For stores ===

    /// Whether changed keys of some namespace are watched. A store that publishes changes itself
    /// asks after each change became visible, under the lock of the entry.
    #[inline]
    pub fn follows_keys(&self) -> bool {
        self.follows_keys.load(Ordering::Acquire)
    }

    /// An entry was written or removed, which is visible.
    pub fn publish_key(&self, namespace: &str, name: ChangedKey<'_>) {
        let channels = self.channels.load();
        let Some(channel) = channels.get(namespace).filter(|channel| channel.follows_keys()) else {
            return;
        };
        if channel.add_key(name, self.lane_limit()) {
            self.schedule(channel);
        }
    }

    /// Entries were invalidated, which is visible.
    pub fn publish(&self, namespace: &str, change: PublishedChange) {
        if let Some(channel) = self.channels.load().get(namespace)
            && channel.add(change, self.lane_limit())
        {
            self.schedule(channel);
        }
    }

    // === For the feed of a remote store ===

    /// The namespaces whose changes must be announced, with every change of the set.
    pub fn wanted(&self) -> watch::Receiver<BTreeSet<Namespace>> {
        self.wanted.subscribe()
    }

    /// Whether a namespace is watched, or was a short time ago.
    pub fn is_watched(&self, namespace: &str) -> bool {
        self.channels.load().contains_key(namespace)
    }

    /// All changes of these namespaces are published from now on.
    pub fn on_following<'a>(&self, namespaces: impl IntoIterator<Item = &'a Namespace>) {
        let channels = self.channels.load();
        namespaces.into_iter().filter_map(|name| channels.get(name)).for_each(|one| one.follow());
    }

    /// Changes may have been missed, or may be from now on.
    pub fn on_lost(&self, reason: ResetReason) {
        self.coherent_at.store(0, Ordering::Release);
        self.channels.load().values().for_each(|channel| channel.lose(reason));
    }

    /// All changes before `sent_at` have been published.
    pub fn on_heartbeat(&self, sent_at: Instant) {
        self.coherent_at.store(self.nanos_until(sent_at).max(1), Ordering::Release);
    }

    /// Sets the proof that a resumed watcher has missed no earlier change. All earlier changes are
    /// published.
    pub fn set_proof(&self, namespace: &Namespace, proof: Option<Proof>) {
        if let Some(channel) = self.channels.load().get(namespace) {
            channel.lock().proof = proof;
        }
    }

    /// Sets the source of the changes before this replica's history.
    pub fn set_source(&self, source: Arc<dyn MissedChanges>) {
        // Only the store does, once.
        let _ = self.source.set(source);
    }

    // === For watchers ===

    /// Adds a watcher of namespaces. Returns their channels, in the same order.
    ///
    /// # Errors
    /// [`TooManyNamespaces`].
    pub(super) fn register(
        &self,
        namespaces: &[Namespace],
        id: u64,
        has_keys: bool,
        news: &Arc<Notify>,
    ) -> Result<Vec<Arc<Channel>>, TooManyNamespaces> {
        let mut created = self.created.lock();
        let mut channels = HashMap::clone(&self.channels.load());
        let new = |channels: &HashMap<_, _>| {
            namespaces.iter().filter(|name| !channels.contains_key(*name)).count()
        };
        let limit = self.options.max_namespaces;
        if channels.len() + new(&channels) > limit {
            channels.retain(|_, channel| !channel.end_unwatched(Instant::now()));
        }
        if channels.len() + new(&channels) > limit {
            return Err(TooManyNamespaces { limit });
        }
        let watched = namespaces.iter().map(|namespace| {
            let channel = channels.entry(namespace.clone()).or_insert_with(|| {
                *created += 1;
                Arc::new(self.new_channel(namespace, *created))
            });
            channel.register(id, has_keys, news.clone());
            channel.clone()
        });
        let watched = watched.collect();
        self.replace_channels(channels);
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Ok(watched)
    }

    /// Removes a watcher.
    pub(super) fn unregister<'a>(&self, channels: impl Iterator<Item = &'a Channel>, id: u64) {
        channels.for_each(|channel| channel.unregister(id));
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }

    fn new_channel(&self, namespace: &Namespace, number: u64) -> Channel {
        let status = if self.options.is_remote { Status::Starting } else { Status::Following };
        // No position in an earlier channel of the namespace is one in this channel.
        Channel::new(namespace.clone(), number * NUMBERS_PER_CHANNEL, status, self.id)
    }

    fn replace_channels(&self, channels: HashMap<Namespace, Arc<Channel>>) {
        let limit = self.options.buffer_bytes / (2 * channels.len().max(1));
        self.lane_limit.store(limit, Ordering::Relaxed);
        channels.values().for_each(|channel| channel.trim(limit));
        let follows_keys = channels.values().any(|channel| channel.follows_keys());
        let names: BTreeSet<Namespace> = channels.keys().cloned().collect();
        self.channels.store(Arc::new(channels));
        // The stores find the channels once they see this.
        self.follows_keys.store(follows_keys, Ordering::Release);
        self.wanted.send_if_modified(|wanted| {
            let is_changed = *wanted != names;
            *wanted = names;
            is_changed
        });
    }

    /// Passes changes on to watchers, without end.
    pub async fn run(self: Arc<Self>) {
        let interval = (self.options.max_delay / DISPATCHES_PER_DELAY)
            .clamp(MIN_DISPATCH_INTERVAL, MAX_DISPATCH_INTERVAL);
        let mut tidied_at = Instant::now();
        loop {
            if timeout(TIDY_INTERVAL, self.has_due.notified()).await.is_ok() {
                let due = std::mem::take(&mut *self.due.lock());
                due.iter().for_each(|channel| channel.dispatch(self.lane_limit()));
                sleep(interval).await;
            }
            if tidied_at.elapsed() >= TIDY_INTERVAL {
                tidied_at = Instant::now();
                self.tidy(tidied_at);
            }
        }
    }

    /// Ends what had no watcher for a while.
    pub(super) fn tidy(&self, now: Instant) {
        let Some(before) = now.checked_sub(RESUME_WINDOW) else { return };
        let _created = self.created.lock();
        let mut channels = HashMap::clone(&self.channels.load());
        channels.retain(|_, channel| !channel.end_unwatched(before));
        self.replace_channels(channels);
    }

    /// Whether all changes were received until at most `max_delay` ago.
    pub(super) fn is_coherent(&self) -> bool {
        if !self.options.is_remote {
            return true;
        }
        let coherent_at = self.coherent_at.load(Ordering::Acquire);
        let max_delay = u64::saturating_from(self.options.max_delay.as_nanos());
        coherent_at != 0
            && self.nanos_until(Instant::now()).saturating_sub(coherent_at) <= max_delay
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn source(&self) -> Option<&Arc<dyn MissedChanges>> {
        self.source.get()
    }

    /// Memory that a lane may take, in bytes.
    pub(super) fn lane_limit(&self) -> usize {
        self.lane_limit.load(Ordering::Relaxed)
    }

    pub(super) fn count_sent(&self, change: &PublishedChange, since: Instant) {
        self.sent.fetch_add(change.len() as u64, Ordering::Relaxed);
        if let Some(delay) = self.delay.get() {
            delay.record(since.elapsed().as_secs_f64(), &[]);
        }
    }

    /// Counts a reset.
    pub fn count_reset(&self, reason: ResetReason) {
        self.resets[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// State and counters so far.
    pub fn stats(&self) -> HubStats {
        let channels = self.channels.load();
        HubStats {
            watchers: self.watchers.load(Ordering::Relaxed),
            namespaces: channels.len() as u64,
            buffered_bytes: channels.values().map(|channel| channel.memory() as u64).sum(),
            is_following: !channels.is_empty() && self.is_coherent(),
            sent: self.sent.load(Ordering::Relaxed),
            resets: std::array::from_fn(|index| self.resets[index].load(Ordering::Relaxed)),
        }
    }

    fn schedule(&self, channel: &Arc<Channel>) {
        self.due.lock().push(channel.clone());
        self.has_due.notify_one();
    }

    fn nanos_until(&self, instant: Instant) -> u64 {
        u64::saturating_from(instant.saturating_duration_since(self.started_at).as_nanos())
    }
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            max_delay: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            buffer_bytes: 64 * 1024 * 1024,
            max_namespaces: 256,
            is_remote: false,
        }
    }
}
