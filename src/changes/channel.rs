//! The changes of one watched namespace, and its watchers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

use super::{
    batch::{ChangeBatch, PublishedChange},
    changed_keys::{ChangedKey, PendingKeys},
    lane::Lane,
    reset_reason::ResetReason,
    token::Proof,
};
use crate::model::Namespace;

/// The lane of invalidations.
pub(super) const INVALIDATIONS: usize = 0;
/// The lane of changed keys.
pub(super) const KEYS: usize = 1;

/// Size of the names from which on a batch is made of them without a wait, in bytes.
const MAX_PENDING: usize = 64 * 1024;

/// A watched namespace.
pub(super) struct Channel {
    namespace: Namespace,
    /// Whether changed keys are recorded.
    follows_keys: AtomicBool,
    state: Mutex<ChannelState>,
}

/// State of a channel, behind its lock.
pub(super) struct ChannelState {
    pub(super) status: Status,
    pub(super) lanes: [Lane; 2],
    pub(super) proof: Option<Proof>,
    pending: PendingKeys,
    /// Why positions before these numbers are lost.
    loss: Option<(ResetReason, [u64; 2])>,
    watchers: Vec<Registered>,
    /// The lanes with changes for which no watcher was woken.
    news: [bool; 2],
    is_due: bool,
    /// Since when the namespace, and its keys, have no watcher.
    unwatched: [Option<Instant>; 2],
}

/// Whether a channel receives all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Not yet.
    Starting,
    /// Yes.
    Following,
    /// Not any more.
    Lost(ResetReason),
}

struct Registered {
    id: u64,
    has_keys: bool,
    news: Arc<Notify>,
}

impl Channel {
    /// A channel whose changes are numbered from `first` on.
    pub(super) fn new(namespace: Namespace, first: u64, status: Status, seed: u64) -> Self {
        Self {
            namespace,
            follows_keys: AtomicBool::new(false),
            state: Mutex::new(ChannelState {
                status,
                lanes: [Lane::new(first), Lane::new(first)],
                proof: None,
                pending: PendingKeys::new(seed),
                loss: None,
                watchers: Vec::new(),
                news: [false; 2],
                is_due: false,
                unwatched: [None; 2],
            }),
        }
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn follows_keys(&self) -> bool {
        self.follows_keys.load(Ordering::Acquire)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock()
    }

    /// Adds a watcher.
    pub(super) fn register(&self, id: u64, has_keys: bool, news: Arc<Notify>) {
        let mut state = self.lock();
        state.watchers.push(Registered { id, has_keys, news });
        state.unwatched[INVALIDATIONS] = None;
        if has_keys {
            state.unwatched[KEYS] = None;
            self.follows_keys.store(true, Ordering::Release);
        }
    }

    /// Removes a watcher.
    pub(super) fn unregister(&self, id: u64) {
        let mut state = self.lock();
        state.watchers.retain(|watcher| watcher.id != id);
        let now = Instant::now();
        if state.watchers.is_empty() {
            state.unwatched[INVALIDATIONS].get_or_insert(now);
        }
        if !state.watchers.iter().any(|watcher| watcher.has_keys) {
            state.unwatched[KEYS].get_or_insert(now);
        }
    }

    /// Ends what had no watcher since `before`. Returns whether the channel itself has ended.
    pub(super) fn end_unwatched(&self, before: Instant) -> bool {
        let mut state = self.lock();
        let [all, keys] = state.unwatched.map(|since| since.is_some_and(|since| since <= before));
        if keys && self.follows_keys.swap(false, Ordering::AcqRel) {
            state.pending.take();
            state.lanes[KEYS].interrupt();
        }
        all
    }

    /// Records a changed key. Returns whether the dispatcher must be woken.
    pub(super) fn add_key(&self, name: ChangedKey<'_>, limit: usize) -> bool {
        let mut state = self.lock();
        let size = state.pending.add(name, Instant::now);
        if size >= MAX_PENDING {
            state.seal(&self.namespace, limit);
        }
        state.becomes_due(KEYS)
    }

    /// Records an invalidation. Returns whether the dispatcher must be woken.
    pub(super) fn add(&self, change: PublishedChange, limit: usize) -> bool {
        let mut state = self.lock();
        let batch = ChangeBatch::new(self.namespace.clone(), change, Instant::now());
        state.lanes[INVALIDATIONS].push(batch, limit);
        state.becomes_due(INVALIDATIONS)
    }

    /// Passes on what was recorded, and wakes the watchers that it concerns.
    pub(super) fn dispatch(&self, limit: usize) {
        let mut state = self.lock();
        state.seal(&self.namespace, limit);
        state.is_due = false;
        let news = std::mem::take(&mut state.news);
        for watcher in &state.watchers {
            if news[INVALIDATIONS] || (news[KEYS] && watcher.has_keys) {
                watcher.news.notify_one();
            }
        }
    }

    /// Changes were missed, or may be missed from now on. All watchers learn of it.
    pub(super) fn lose(&self, reason: ResetReason) {
        let mut state = self.lock();
        if matches!(state.status, Status::Lost(_)) {
            return;
        }
        state.status = Status::Lost(reason);
        state.pending.take();
        state.lanes.iter_mut().for_each(Lane::interrupt);
        state.proof = None;
        state.loss = Some((reason, [state.lanes[0].end(), state.lanes[1].end()]));
        state.wake_all();
    }

    /// All changes are recorded from now on.
    pub(super) fn follow(&self) {
        let mut state = self.lock();
        state.status = Status::Following;
        state.wake_all();
    }

    /// The ends of the lanes, with all that is recorded. The error is a loss, which comes before
    /// the ends: a position there would hide it.
    pub(super) fn ends(&self, limit: usize) -> Result<[u64; 2], ResetReason> {
        let mut state = self.lock();
        if let Status::Lost(reason) = state.status {
            return Err(reason);
        }
        state.seal(&self.namespace, limit);
        Ok([state.lanes[0].end(), state.lanes[1].end()])
    }

    /// Drops old changes until each lane takes at most `limit` bytes.
    pub(super) fn trim(&self, limit: usize) {
        self.lock().lanes.iter_mut().for_each(|lane| lane.trim(limit));
    }

    /// Memory of the changes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.lock().lanes.iter().map(Lane::memory).sum()
    }
}

impl ChannelState {
    /// Why the position `cursor` in a lane is lost.
    pub(super) fn why_lost(&self, lane: usize, cursor: u64) -> ResetReason {
        match self.loss {
            Some((reason, ends)) if cursor < ends[lane] => reason,
            _ => ResetReason::SlowReader,
        }
    }

    /// Whether a position is the end of all that is recorded.
    pub(super) fn is_at_end(&self, lane: usize, cursor: u64) -> bool {
        cursor == self.lanes[lane].end() && (lane != KEYS || self.pending.is_empty())
    }

    fn seal(&mut self, namespace: &Namespace, limit: usize) {
        if let Some((keys, since)) = self.pending.take() {
            let batch = ChangeBatch::new(namespace.clone(), PublishedChange::Keys(keys), since);
            self.lanes[KEYS].push(batch, limit);
        }
    }

    fn becomes_due(&mut self, lane: usize) -> bool {
        self.news[lane] = true;
        !std::mem::replace(&mut self.is_due, true)
    }

    fn wake_all(&self) {
        self.watchers.iter().for_each(|watcher| watcher.news.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watcher looks at the status first, and at the ends later.
    #[test]
    fn a_lost_channel_has_no_ends_from_which_a_watcher_could_be_ready() {
        let namespace = Namespace::new("ns").unwrap_or_else(|_| unreachable!());
        let channel = Channel::new(namespace, 7, Status::Following, 1);
        assert_eq!(channel.ends(1000), Ok([7, 7]));
        channel.lose(ResetReason::FeedLost);
        assert_eq!(channel.ends(1000), Err(ResetReason::FeedLost));
        channel.follow();
        assert!(channel.ends(1000).is_ok_and(|ends| ends > [7, 7]));
    }
}
