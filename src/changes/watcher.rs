//! One watcher: a position in the changes of its namespaces.

use std::{collections::VecDeque, mem, sync::Arc};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    batch::ChangeBatch,
    channel::{Channel, INVALIDATIONS, KEYS, Status},
    hub::{ChangeHub, TooManyNamespaces},
    reset_reason::ResetReason,
    token::{self, Position, ResumeToken},
};
use crate::model::Namespace;

/// An event for a watcher.
#[derive(Debug, Clone)]
pub enum WatchSignal {
    /// All changes arrive from now on.
    Ready {
        /// The position.
        token: Vec<u8>,
        /// Whether all changes since the watcher's token have arrived.
        is_resumed: bool,
    },
    /// Entries have changed.
    Changed(Arc<ChangeBatch>),
    /// All is well.
    Heartbeat {
        /// The position.
        token: Vec<u8>,
    },
    /// Changes may be missing until the next Ready.
    Reset(ResetReason),
}

/// Follows the changes of some namespaces until it is dropped.
pub struct Watcher {
    hub: Arc<ChangeHub>,
    id: u64,
    has_keys: bool,
    /// Sorted by namespace.
    followed: Vec<Followed>,
    /// Index of the namespace that is looked at first.
    turn: usize,
    news: Arc<Notify>,
    phase: Phase,
    next_heartbeat: Instant,
}

struct Followed {
    channel: Arc<Channel>,
    /// Numbers of the next batches.
    cursors: [u64; 2],
}

enum Phase {
    /// Until all changes are received.
    Starting {
        resume: Option<Option<ResumeToken>>,
        was_reset: bool,
    },
    /// Until everything that was missed is sent: these changes, and the lanes up to these numbers.
    Resuming {
        missed: VecDeque<Arc<ChangeBatch>>,
        ends: Vec<[u64; 2]>,
    },
    Following,
}

/// Whether all changes are received.
enum Readiness {
    Ready,
    Waiting,
    Lost(ResetReason),
}

// === impl Watcher ===

impl Watcher {
    /// Watches namespaces from now on, or from `token` on if it is not empty.
    ///
    /// # Errors
    /// [`TooManyNamespaces`].
    pub fn open(
        hub: Arc<ChangeHub>,
        mut namespaces: Vec<Namespace>,
        has_keys: bool,
        token: &[u8],
    ) -> Result<Self, TooManyNamespaces> {
        namespaces.sort_unstable();
        namespaces.dedup();
        let (id, news) = (rand::random(), Arc::new(Notify::new()));
        let channels = hub.register(&namespaces, id, has_keys, &news)?;
        let followed = channels.into_iter().map(|channel| Followed { channel, cursors: [0; 2] });
        let resume = (!token.is_empty()).then(|| ResumeToken::decode(token));
        let next_heartbeat = Instant::now() + hub.options().heartbeat;
        Ok(Self {
            hub,
            id,
            has_keys,
            followed: followed.collect(),
            turn: 0,
            news,
            phase: Phase::Starting { resume, was_reset: false },
            next_heartbeat,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> WatchSignal {
        loop {
            if let Some(signal) = self.step().await {
                match &signal {
                    WatchSignal::Changed(batch) => {
                        self.hub.count_sent(batch.change(), batch.since());
                    }
                    WatchSignal::Reset(reason) => self.hub.count_reset(*reason),
                    WatchSignal::Ready { .. } | WatchSignal::Heartbeat { .. } => {}
                }
                return signal;
            }
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep_until(self.next_heartbeat) => {}
            }
        }
    }

    async fn step(&mut self) -> Option<WatchSignal> {
        match &mut self.phase {
            Phase::Starting { .. } => self.start().await,
            Phase::Resuming { missed, .. } => match missed.pop_front() {
                Some(batch) => Some(WatchSignal::Changed(batch)),
                None => self.resume(),
            },
            Phase::Following => {
                let taken = self.take(true);
                taken.or_else(|| self.is_heartbeat_due().then(|| self.heartbeat()))
            }
        }
    }

    async fn start(&mut self) -> Option<WatchSignal> {
        let readiness = self.readiness();
        let is_due = self.is_heartbeat_due();
        let Phase::Starting { resume, was_reset } = &mut self.phase else { return None };
        let reason = match readiness {
            Readiness::Ready => {
                return Some(match resume.take() {
                    Some(token) => self.begin_resumed(token).await,
                    None => self.begin(),
                });
            }
            Readiness::Lost(reason) if !*was_reset || is_due => reason,
            Readiness::Waiting if is_due => ResetReason::StoreUnavailable,
            Readiness::Waiting | Readiness::Lost(_) => return None,
        };
        Some(self.reset(reason))
    }

    fn begin(&mut self) -> WatchSignal {
        match self.move_to_ends() {
            Ok(_) => self.ready(false),
            Err(reason) => self.reset(reason),
        }
    }

    /// Continues from a token, as far as nothing is missing.
    async fn begin_resumed(&mut self, token: Option<ResumeToken>) -> WatchSignal {
        let names = self.followed.iter().map(|followed| followed.channel.namespace());
        let request = token::request_hash(names, self.has_keys);
        let is_of_request = |token: &ResumeToken| {
            token.request == request && token.positions.len() == self.followed.len()
        };
        let Some(token) = token.filter(is_of_request) else {
            return self.reset(ResetReason::NotResumable);
        };
        let ends = match self.move_to_ends() {
            Ok(ends) => ends,
            Err(reason) => return self.reset(reason),
        };
        if token.hub == self.hub.id() && self.is_recorded(&token.positions) {
            for (followed, position) in self.followed.iter_mut().zip(&token.positions) {
                followed.cursors = position.cursors;
            }
            return self.resume_until(VecDeque::new(), ends);
        }
        // Positions are taken before the store is asked, so that nothing is missed in between.
        match self.missed(&token.positions).await {
            Some(missed) => self.resume_until(missed, ends),
            None => self.reset(ResetReason::NotResumable),
        }
    }

    fn resume_until(
        &mut self,
        mut missed: VecDeque<Arc<ChangeBatch>>,
        ends: Vec<[u64; 2]>,
    ) -> WatchSignal {
        let first = missed.pop_front();
        self.phase = Phase::Resuming { missed, ends };
        match first {
            Some(batch) => WatchSignal::Changed(batch),
            None => self.resume().unwrap_or_else(|| self.ready(true)),
        }
    }

    /// Changes since these positions, as the store reports them.
    async fn missed(&self, positions: &[Position]) -> Option<VecDeque<Arc<ChangeBatch>>> {
        let source = self.hub.source().filter(|_| !self.has_keys)?.clone();
        let mut batches = VecDeque::new();
        for (followed, position) in self.followed.iter().zip(positions) {
            let namespace = followed.channel.namespace();
            for change in source.missed(namespace, position.proof.as_ref()?).await? {
                let batch = ChangeBatch::new(namespace.clone(), change, Instant::now());
                batches.push_back(Arc::new(batch));
            }
        }
        Some(batches)
    }

    /// Whether all changes since these positions are recorded.
    fn is_recorded(&self, positions: &[Position]) -> bool {
        self.followed.iter().zip(positions).all(|(followed, position)| {
            let state = followed.channel.lock();
            self.lanes().all(|lane| state.lanes[lane].at(position.cursors[lane]).is_ok())
        })
    }

    fn resume(&mut self) -> Option<WatchSignal> {
        let Phase::Resuming { ends, .. } = &self.phase else { return None };
        let is_behind = |(followed, ends): (&Followed, &[u64; 2])| {
            self.lanes().any(|lane| followed.cursors[lane] < ends[lane])
        };
        if self.followed.iter().zip(ends).any(is_behind)
            && let Some(signal) = self.take(false)
        {
            return Some(signal);
        }
        Some(self.ready(true))
    }

    /// The next batch, or a reset if it was dropped or is too late.
    fn take(&mut self, is_timely: bool) -> Option<WatchSignal> {
        let count = self.followed.len();
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            for lane in self.lanes() {
                let Followed { channel, cursors } = &mut self.followed[index];
                let state = channel.lock();
                let reason = match state.lanes[lane].at(cursors[lane]) {
                    Ok(None) => continue,
                    Ok(Some(batch)) => {
                        let is_late = batch.since().elapsed() > self.hub.options().max_delay;
                        if !(is_timely && is_late) {
                            let batch = batch.clone();
                            drop(state);
                            cursors[lane] += 1;
                            self.turn = index;
                            return Some(WatchSignal::Changed(batch));
                        }
                        ResetReason::SlowReader
                    }
                    Err(_dropped) => state.why_lost(lane, cursors[lane]),
                };
                drop(state);
                return Some(self.reset(reason));
            }
        }
        None
    }

    fn heartbeat(&mut self) -> WatchSignal {
        if !self.hub.is_coherent() {
            return self.reset(ResetReason::FeedLost);
        }
        self.set_heartbeat();
        WatchSignal::Heartbeat { token: self.token() }
    }

    fn ready(&mut self, is_resumed: bool) -> WatchSignal {
        self.phase = Phase::Following;
        self.set_heartbeat();
        WatchSignal::Ready { token: self.token(), is_resumed }
    }

    fn reset(&mut self, reason: ResetReason) -> WatchSignal {
        self.phase = Phase::Starting { resume: None, was_reset: true };
        self.set_heartbeat();
        WatchSignal::Reset(reason)
    }

    fn readiness(&self) -> Readiness {
        for followed in &self.followed {
            match followed.channel.lock().status {
                Status::Following => {}
                Status::Starting => return Readiness::Waiting,
                Status::Lost(reason) => return Readiness::Lost(reason),
            }
        }
        if self.hub.is_coherent() { Readiness::Ready } else { Readiness::Waiting }
    }

    /// The error is a loss since the watcher was found to be ready.
    fn move_to_ends(&mut self) -> Result<Vec<[u64; 2]>, ResetReason> {
        let limit = self.hub.lane_limit();
        let ends = self.followed.iter_mut().map(|followed| {
            followed.cursors = followed.channel.ends(limit)?;
            Ok(followed.cursors)
        });
        ends.collect()
    }

    fn token(&self) -> Vec<u8> {
        let names = self.followed.iter().map(|followed| followed.channel.namespace());
        let positions = self.followed.iter().map(|Followed { channel, cursors }| {
            let state = channel.lock();
            // The store's proof is of the time of the last change that it has published.
            let is_at_end = state.is_at_end(INVALIDATIONS, cursors[INVALIDATIONS]);
            Position { cursors: *cursors, proof: state.proof.filter(|_| is_at_end) }
        });
        let token = ResumeToken {
            hub: self.hub.id(),
            request: token::request_hash(names, self.has_keys),
            positions: positions.collect(),
        };
        token.encode()
    }

    fn lanes(&self) -> impl Iterator<Item = usize> + use<> {
        INVALIDATIONS..=if self.has_keys { KEYS } else { INVALIDATIONS }
    }

    fn is_heartbeat_due(&self) -> bool {
        Instant::now() >= self.next_heartbeat
    }

    fn set_heartbeat(&mut self) {
        self.next_heartbeat = Instant::now() + self.hub.options().heartbeat;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let followed = mem::take(&mut self.followed);
        self.hub.unregister(followed.iter().map(|followed| &*followed.channel), self.id);
    }
}
