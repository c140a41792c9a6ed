//! The changes of watched namespaces: a connection on which Redis announces changed entries,
//! markers and bans, by whatever replica, and on which the replica sends heartbeats.
//!
//! The connection is open while something is watched. When other namespaces are watched, another
//! connection takes its place before it is closed, so that no change is missed. When it is lost, or
//! silent for too long, all watches are reset.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use redis::{ErrorKind, RedisError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    announced_changes::{Announced, Watched},
    change_checks::ChangeChecks,
    client_tracking::{self, Invalidation},
    fault::Fault,
    key_schema::KeySchema,
    missing_commands::OptionalCommand,
    outage_log::OutageLog,
    router::Router,
    tracked_servers::TrackedServers,
};
use crate::{
    changes::{ChangeHub, ResetReason},
    error_chain::ErrorChain,
    model::Namespace,
    store::{Error, Result, near_cache::NearCache},
};

/// Watched namespaces from which on Redis announces those of all: each prefix costs Redis a
/// comparison for every write.
const MAX_PREFIXES: usize = 32;
/// Namespaces that are read at a time.
const MAX_CHECKS: usize = 8;
/// Time in which several announcements of a ban arrive.
const CHECK_DELAY: Duration = Duration::from_millis(3);
/// Longest time in which all that is announced is read, as a part of `max_delay`. What is announced
/// meanwhile waits for the end.
const CHECKS_PER_DELAY: u32 = 4;
/// Heartbeats per `max_delay`.
const HEARTBEATS_PER_DELAY: u32 = 10;
const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Follows Redis for the watches.
pub(super) struct ChangeFeed {
    pub(super) router: Router,
    pub(super) connect_timeout: Duration,
    pub(super) schema: Arc<KeySchema>,
    pub(super) near: Arc<NearCache>,
    pub(super) hub: Arc<ChangeHub>,
    pub(super) checks: ChangeChecks,
    /// The log of `Outage::Watches`.
    pub(super) outage: OutageLog,
}

/// The state of a feed, from its first connection to its end.
struct Following<'a> {
    announced: &'a Arc<Announced>,
    watched: &'a Watched,
    current: &'a ArcSwap<TrackedServers>,
}

/// Why Redis is not followed any more.
struct FeedEnd {
    reason: ResetReason,
    error: Error,
}

type Followed<T> = std::result::Result<T, FeedEnd>;

// === impl ChangeFeed ===

impl ChangeFeed {
    /// Follows Redis until `stop` is cancelled.
    pub(super) fn spawn(self, stop: CancellationToken) {
        tokio::spawn(stop.run_until_cancelled_owned(self.run()));
    }

    async fn run(self) {
        let mut wanted = self.hub.wanted();
        let mut pauses = client_tracking::pauses();
        loop {
            if wanted.borrow_and_update().is_empty() {
                self.outage.forget();
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let mut has_followed = false;
            let Err(FeedEnd { reason, error }) = self.follow(&mut wanted, &mut has_followed).await
            else {
                continue;
            };
            self.hub.on_lost(reason);
            if has_followed {
                pauses = client_tracking::pauses();
            }
            if redis_error(&error).is_some_and(client_tracking::is_unsupported) {
                self.router.refused(OptionalCommand::ClientTracking);
                // Each new watch gets a reset as well.
                tokio::select! {
                    () = self.router.all_have(OptionalCommand::ClientTracking) => {}
                    changed = wanted.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                }
                continue;
            }
            let cause = ErrorChain(&error).to_string();
            self.router.failed_beside(&self.outage, Fault::of_store(&error), cause);
            sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Follows Redis until nothing is watched any more.
    async fn follow(
        &self,
        wanted: &mut watch::Receiver<BTreeSet<Namespace>>,
        has_followed: &mut bool,
    ) -> Followed<()> {
        let (announced, watched) = (Arc::new(Announced::default()), Watched::default());
        let scope = self.scope(&wanted.borrow().clone());
        let tracking = self.open(&scope, &announced).await?;
        let current = ArcSwap::from_pointee(tracking);
        let following = Following { announced: &announced, watched: &watched, current: &current };
        // None of them is cancelled in between, so that no step is left half done.
        tokio::select! {
            end = self.send_heartbeats(&current) => end,
            end = self.check_news(&announced, &watched) => end,
            end = self.follow_wanted(wanted, scope, following, has_followed) => end,
        }
    }

    /// The prefixes of what is announced.
    fn scope(&self, namespaces: &BTreeSet<Namespace>) -> Vec<String> {
        let mut prefixes = vec![self.schema.ban_head_prefix()];
        prefixes.extend(self.schema.namespace_prefixes(namespaces.iter(), MAX_PREFIXES));
        prefixes
    }

    async fn open(&self, scope: &[String], announced: &Arc<Announced>) -> Followed<TrackedServers> {
        let on_invalidation = {
            let (schema, near, hub) = (self.schema.clone(), self.near.clone(), self.hub.clone());
            let announced = announced.clone();
            move |invalidation: Invalidation<'_>| {
                announced.on_invalidation(&schema, &near, &hub, invalidation);
            }
        };
        let opened =
            TrackedServers::open(&self.router, self.connect_timeout, scope, on_invalidation);
        opened.await.map_err(|error| FeedEnd::unavailable(error.into()))
    }

    /// Follows the set of watched namespaces.
    async fn follow_wanted(
        &self,
        wanted: &mut watch::Receiver<BTreeSet<Namespace>>,
        mut scope: Vec<String>,
        Following { announced, watched, current }: Following<'_>,
        has_followed: &mut bool,
    ) -> Followed<()> {
        loop {
            let names = wanted.borrow_and_update().clone();
            if names.is_empty() {
                return Ok(());
            }
            let new_scope = self.scope(&names);
            if new_scope != scope {
                let next = Arc::new(self.open(&new_scope, announced).await?);
                let former = current.swap(next);
                // Until its answer, the former connection announces all that the new one does not.
                self.beat(&former).await?;
                scope = new_scope;
            }
            self.begin(&names, announced, watched).await?;
            self.beat(&current.load_full()).await?;
            self.hub.on_following(&names);
            if !std::mem::replace(has_followed, true) {
                tracing::info!(namespaces = names.len(), "watches follow Redis");
            }
            if wanted.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Reads the state of namespaces that were not watched, and forgets those that are not watched
    /// any more.
    async fn begin(
        &self,
        names: &BTreeSet<Namespace>,
        announced: &Announced,
        watched: &Watched,
    ) -> Followed<()> {
        watched.lock().retain(|name, _| names.contains(name));
        announced.retain(names);
        let new: Vec<Namespace> = {
            let watched = watched.lock();
            names.iter().filter(|name| !watched.contains_key(*name)).cloned().collect()
        };
        let reads = new.into_iter().map(|name| async move {
            let began = self.checks.begin(&name).await.map_err(FeedEnd::unavailable)?;
            watched.lock().insert(name, Arc::new(tokio::sync::Mutex::new(began)));
            Ok(())
        });
        stream::iter(reads).buffer_unordered(MAX_CHECKS).try_collect::<()>().await?;
        // Announcements during the read are handled after it.
        announced.has_news.notify_one();
        Ok(())
    }

    /// Reads and publishes what is announced besides entries.
    async fn check_news(&self, announced: &Announced, watched: &Watched) -> Followed<()> {
        let limit = self.hub.options().max_delay / CHECKS_PER_DELAY;
        loop {
            announced.has_news.notified().await;
            if announced.is_flushed.load(Ordering::Acquire) {
                let error = RedisError::from((ErrorKind::Client, "the database was flushed"));
                return Err(FeedEnd { reason: ResetReason::StoreFlushed, error: error.into() });
            }
            sleep(CHECK_DELAY).await;
            let due = announced.take_of(watched);
            let checks = due.into_iter().map(|(name, news, state)| async move {
                let mut state = state.lock().await;
                self.checks.check(&name, &mut state, &news).await
            });
            check_all(checks, limit).await.map_err(FeedEnd::lost)?;
        }
    }

    /// Sends heartbeats on the connection in use.
    async fn send_heartbeats(&self, current: &ArcSwap<TrackedServers>) -> Followed<()> {
        let max_delay = self.hub.options().max_delay;
        let interval = (max_delay / HEARTBEATS_PER_DELAY).min(MAX_HEARTBEAT_INTERVAL);
        let limit = max_delay / 2;
        let mut answered = Instant::now();
        loop {
            let tracking = current.load_full();
            let beat = timeout_at(answered + limit, self.beat(&tracking)).await;
            let sent_at = beat.unwrap_or_else(|_| Err(FeedEnd::lost(timed_out())))?;
            // The replica itself may have been suspended.
            if answered.elapsed() > limit {
                return Err(FeedEnd::lost(timed_out()));
            }
            answered = sent_at;
            self.outage.works();
            tokio::select! {
                () = tracking.lost() => {
                    let error = RedisError::from((ErrorKind::Io, "the connection ended"));
                    return Err(FeedEnd::lost(error.into()));
                }
                () = self.router.members_changed(tracking.version) => {
                    let error = (ErrorKind::Client, "the primaries of the cluster have changed");
                    return Err(FeedEnd::lost(RedisError::from(error).into()));
                }
                () = sleep_until(sent_at + interval) => {}
            }
        }
    }

    /// Sends a heartbeat, and returns when it was sent: all that was announced before has been
    /// published, or is about to be read.
    fn beat(&self, tracking: &TrackedServers) -> impl Future<Output = Followed<Instant>> {
        let sent_at = Instant::now();
        async move {
            let beat = tracking.beat().await;
            beat.map_err(|error| FeedEnd::lost(error.into()))?;
            if tracking.while_current(|| self.hub.on_heartbeat(sent_at)) {
                return Ok(sent_at);
            }
            let error = (ErrorKind::Client, "entries are read from another server");
            Err(FeedEnd::lost(RedisError::from(error).into()))
        }
    }
}

/// Runs all checks within one time, however many there are.
async fn check_all(
    checks: impl Iterator<Item = impl Future<Output = Result<()>>>,
    limit: Duration,
) -> Result<()> {
    let all = stream::iter(checks).buffer_unordered(MAX_CHECKS).try_collect::<()>();
    timeout(limit, all).await.unwrap_or_else(|_| Err(timed_out()))
}

fn redis_error(error: &Error) -> Option<&RedisError> {
    error.source.as_ref()?.downcast_ref()
}

fn timed_out() -> Error {
    crate::store::ErrorKind::Timeout.into()
}

// === impl FeedEnd ===

impl FeedEnd {
    fn lost(error: Error) -> Self {
        Self { reason: ResetReason::FeedLost, error }
    }

    fn unavailable(error: Error) -> Self {
        Self { reason: ResetReason::StoreUnavailable, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delay that a watcher is promised does not grow with the namespaces.
    #[tokio::test(start_paused = true)]
    async fn all_checks_share_one_time() {
        let limit = Duration::from_secs(1);
        let check = async || {
            sleep(limit / 2).await;
            Ok(())
        };
        assert!(check_all((0..MAX_CHECKS).map(|_| check()), limit).await.is_ok());
        let began_at = Instant::now();
        assert!(check_all((0..10 * MAX_CHECKS).map(|_| check()), limit).await.is_err());
        assert!(began_at.elapsed() <= limit + Duration::from_millis(10));
    }
}
