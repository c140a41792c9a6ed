//! Operations that are acknowledged only when replicas of Redis have their writes.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    RedisStore,
    replication::not_replicated,
    router::{Router, Server},
};
use crate::{
    model::{EntryKey, Namespace},
    store::Result,
};

/// Times that an invalidation is applied, if another server takes the place of a primary meanwhile.
const MAX_ATTEMPTS: u32 = 3;
/// Pause between two attempts to find the primaries at the start.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An operation whose writes must not be lost in a failover. Does nothing unless that is required.
pub(super) struct Replicated<'a> {
    store: &'a RedisStore,
    /// Keys in all slots that the operation writes to.
    names: Vec<Vec<u8>>,
    /// Times that the operation may be applied again.
    attempts: u32,
    written: Option<Written>,
}

/// The primaries that an operation writes to, as they are before it.
struct Written {
    servers: Vec<Server>,
    began_at: Instant,
    moves: u64,
}

impl RedisStore {
    /// Waits until the replicas of all primaries have everything, once the primaries are found. A
    /// failure is logged.
    pub(super) async fn check_replicas(&self) {
        while self.probe().await.is_err() {
            sleep(CHECK_INTERVAL).await;
        }
        let servers = self.router.servers();
        join_all(servers.iter().map(|server| await_replicas_of(self, server))).await;
    }
}

// === impl Replicated ===

impl<'a> Replicated<'a> {
    /// Before an operation on an entry that must not be applied twice.
    pub(super) fn once(store: &'a RedisStore, key: &EntryKey) -> Self {
        Self { attempts: 1, ..Self::of_entry(store, key) }
    }

    /// Before an operation on an entry.
    pub(super) fn of_entry(store: &'a RedisStore, key: &EntryKey) -> Self {
        Self::begin(store, || vec![store.schema.entry_keys(key).entry])
    }

    /// Before an operation on all entries of a namespace, or on its bans.
    pub(super) fn of_namespace(store: &'a RedisStore, namespace: &Namespace) -> Self {
        Self::begin(store, || {
            let markers = store.schema.markers(namespace).into_iter();
            markers.chain(store.schema.ban_log(namespace)).map(String::into_bytes).collect()
        })
    }

    fn begin(store: &'a RedisStore, names: impl FnOnce() -> Vec<Vec<u8>>) -> Self {
        if !store.router.awaits_replicas() {
            return Self { store, names: Vec::new(), attempts: 0, written: None };
        }
        let names = names();
        let written = Some(Written::begin(&store.router, &names));
        Self { store, names, attempts: MAX_ATTEMPTS, written }
    }

    /// Waits until the replicas have the operation, which the store has acknowledged. Returns false
    /// if it must be applied again, because another server has taken the place of a primary.
    ///
    /// # Errors
    /// [`crate::store::ErrorKind::NotReplicated`].
    pub(super) async fn is_done(&mut self) -> Result<bool> {
        let Some(written) = &self.written else { return Ok(true) };
        let router = &self.store.router;
        match Box::pin(written.await_replicas(self.store)).await {
            Ok(()) => return Ok(true),
            Err(_) if self.attempts > 1 && !written.is_current(router) => {}
            Err(error) => return Err(error),
        }
        self.attempts -= 1;
        self.written = Some(Written::begin(router, &self.names));
        Ok(false)
    }
}

// === impl Written ===

impl Written {
    fn begin(router: &Router, names: &[Vec<u8>]) -> Self {
        let moves = router.moves();
        Self { servers: router.servers_of(names), began_at: Instant::now(), moves }
    }

    /// Whether the primaries are still the same.
    fn is_current(&self, router: &Router) -> bool {
        self.servers.iter().all(|server| {
            router.has(server) && server.pool.health().server().is_unchanged_since(self.began_at)
        })
    }

    async fn await_replicas(&self, store: &RedisStore) -> Result<()> {
        let router = &store.router;
        let changed = || not_replicated("another server has taken the place of a primary");
        if !self.is_current(router) {
            return Err(changed());
        }
        // A command that was redirected was applied by another primary.
        let all = (router.moves() != self.moves).then(|| router.servers());
        let servers = all.as_ref().unwrap_or(&self.servers);
        let waits = servers.iter().map(|server| await_replicas_of(store, server));
        for outcome in join_all(waits).await {
            outcome?;
        }
        if self.is_current(router) { Ok(()) } else { Err(changed()) }
    }
}

async fn await_replicas_of(store: &RedisStore, server: &Server) -> Result<()> {
    let Some(replication) = server.pool.replication() else { return Ok(()) };
    // A primary without slots has no write.
    let Some(tag) = store.probe_tag(|key| store.router.is_owner(server, key)) else {
        return Ok(());
    };
    replication.wait(&store.schema.replication_mark(tag)).await.map(|_| ())
}
