//! Watch: the changes of namespaces, for callers that keep a cache of their own.

use std::sync::Arc;

use super::{Cache, Error, ResetReason, WatchOptions, WatchSignal};
use crate::{
    changes::{ChangeHub, Watcher},
    model::Namespace,
};

/// Opens watches.
pub struct Watches {
    cache: Arc<Cache>,
    changes: Arc<ChangeHub>,
}

/// One watch, until the replica stops.
pub struct WatchSession {
    cache: Arc<Cache>,
    changes: Arc<ChangeHub>,
    watcher: Watcher,
    has_ended: bool,
}

impl Watches {
    /// Watches the changes in the store of `cache`, which `changes` publishes.
    pub fn new(cache: Arc<Cache>, changes: Arc<ChangeHub>) -> Self {
        Self { cache, changes }
    }

    /// The rules of all watches.
    pub fn options(&self) -> &WatchOptions {
        self.changes.options()
    }

    /// Watches namespaces, from `token` on if it is not empty.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::TooManyWatched`], [`Error::ShuttingDown`].
    pub fn open(
        &self,
        namespaces: Vec<Namespace>,
        has_keys: bool,
        token: &[u8],
    ) -> Result<WatchSession, Error> {
        for namespace in &namespaces {
            self.cache.namespaces().rules(namespace)?;
        }
        if self.cache.closing.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let watcher = Watcher::open(self.changes.clone(), namespaces, has_keys, token)?;
        let (cache, changes) = (self.cache.clone(), self.changes.clone());
        Ok(WatchSession { cache, changes, watcher, has_ended: false })
    }
}

impl WatchSession {
    /// Waits for the next signal. `None` once the replica stops, after a reset.
    pub async fn next(&mut self) -> Option<WatchSignal> {
        if self.has_ended {
            return None;
        }
        tokio::select! {
            biased;
            () = self.cache.closing() => {
                self.has_ended = true;
                self.changes.count_reset(ResetReason::ShuttingDown);
                Some(WatchSignal::Reset(ResetReason::ShuttingDown))
            }
            signal = self.watcher.next() => Some(signal),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cache::testing::{TestCache, config, namespace};

    fn watches(test: &TestCache) -> Watches {
        Watches::new(test.cache.clone(), ChangeHub::new(WatchOptions::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_with_a_reset_when_the_replica_stops() {
        let test = TestCache::of_callers(config());
        let watches = watches(&test);
        let mut session = watches.open(vec![namespace()], true, b"").unwrap();
        assert!(matches!(session.next().await, Some(WatchSignal::Ready { .. })));
        test.cache.close();
        let reset = session.next().await;
        assert!(matches!(reset, Some(WatchSignal::Reset(ResetReason::ShuttingDown))), "{reset:?}");
        assert!(session.next().await.is_none());
        let late = watches.open(vec![namespace()], true, b"");
        assert!(matches!(late, Err(Error::ShuttingDown)));
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_namespaces_are_not_watched() {
        let test = TestCache::of_callers(config());
        let unknown = vec![namespace(), Namespace::new("other").unwrap()];
        let refused = watches(&test).open(unknown, false, b"");
        assert!(matches!(refused, Err(Error::UnknownNamespace(_))));
    }
}
