//! Invalidation of the near cache: a connection on which Redis announces changed entries and
//! generation markers, and on which the replica sends heartbeats. `store/near_cache.rs` explains
//! why that keeps the near cache coherent.

use std::{sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    client_tracking::{self, Invalidation},
    fault::{Fault, words},
    key_schema::{KeySchema, ParsedKey},
    missing_commands::OptionalCommand,
    near_markers::MarkerReader,
    outage_log::{Outage, OutageLog},
    tracked_servers::TrackedServers,
};
use crate::{
    model::EntryKey,
    planted::{self, Bug},
    store::near_cache::{NearCache, Subscription},
};

/// Namespaces with a near cache from which on Redis announces the changes of all namespaces. It is
/// larger than that of the watches: entries of other namespaces may be written often, and each
/// replica gets their names too.
const MAX_PREFIXES: usize = 128;

/// Passes announcements on to `near` until `stop` is cancelled.
pub(super) fn spawn(
    connect_timeout: Duration,
    markers: MarkerReader,
    near: Arc<NearCache>,
    stop: CancellationToken,
) {
    tokio::spawn(stop.run_until_cancelled_owned(run(connect_timeout, markers, near)));
}

async fn run(timeout: Duration, markers: MarkerReader, near: Arc<NearCache>) {
    let mut wanted = near.subscription();
    let mut pauses = client_tracking::pauses();
    let outage = OutageLog::new(Outage::NearCache);
    loop {
        let subscription = wanted.borrow_and_update().clone();
        if subscription.namespaces.is_empty() {
            outage.forget();
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let version = markers.router.members().version;
        let mut was_coherent = false;
        let following =
            follow(timeout, &markers, (&near, &outage), &subscription, &mut was_coherent);
        let ended = tokio::select! {
            error = following => Some(error),
            // Another subscription or other servers need other connections.
            _ = wanted.changed() => None,
            () = markers.router.members_changed(version) => None,
        };
        near.on_disconnected();
        let Some(error) = ended else { continue };
        if was_coherent {
            pauses = client_tracking::pauses();
        }
        if client_tracking::is_unsupported(&error) {
            markers.router.refused(OptionalCommand::ClientTracking);
            markers.router.all_have(OptionalCommand::ClientTracking).await;
            continue;
        }
        markers.router.failed_beside(&outage, Fault::of(&error), words(&error));
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// Follows Redis until that fails, and returns the reason.
async fn follow(
    timeout: Duration,
    markers: &MarkerReader,
    (near, outage): (&Arc<NearCache>, &OutageLog),
    subscription: &Subscription,
    was_coherent: &mut bool,
) -> RedisError {
    let schema = &markers.schema;
    let namespaces = &subscription.namespaces;
    let prefixes = schema.namespace_prefixes(namespaces.iter(), MAX_PREFIXES);
    let on_invalidation = {
        let (schema, near) = (schema.clone(), near.clone());
        move |invalidation: Invalidation<'_>| apply(&schema, &near, invalidation)
    };
    // Entries are only kept if they are read from the servers that announce their changes.
    let opened = TrackedServers::open(&markers.router, timeout, &prefixes, on_invalidation);
    let tracked = match opened.await {
        Ok(tracked) => tracked,
        Err(error) => return error,
    };
    near.on_connected();
    let ended = keep_following(&tracked, markers, (near, outage), subscription, was_coherent).await;
    if *was_coherent {
        // The fault may affect the connections that read entries as well.
        tracked.retire_all();
    }
    ended
}

async fn keep_following(
    tracked: &TrackedServers,
    markers: &MarkerReader,
    (near, outage): (&Arc<NearCache>, &OutageLog),
    subscription: &Subscription,
    was_coherent: &mut bool,
) -> RedisError {
    let reading = markers.follow(near, tracked);
    tokio::pin!(reading);
    loop {
        let sent_at = Instant::now();
        match tracked.beat().await {
            Ok(()) => {
                if !tracked.while_current(|| near.on_heartbeat(sent_at)) {
                    return (ErrorKind::Client, "entries are read from another server").into();
                }
            }
            Err(error) => return error,
        }
        outage.works();
        if !std::mem::replace(was_coherent, true) {
            let namespaces = subscription.namespaces.len();
            tracing::info!(namespaces, "the near cache follows Redis");
        }
        tokio::select! {
            () = tracked.lost() => return (ErrorKind::Io, "the connection ended").into(),
            () = tokio::time::sleep_until(sent_at + subscription.heartbeat) => {}
            () = &mut reading => {}
        }
    }
}

fn apply(schema: &KeySchema, near: &NearCache, invalidation: Invalidation<'_>) {
    if planted::is(Bug::NearUnannounced) {
        return;
    }
    match invalidation {
        Invalidation::Key(name) => {
            let parsed = schema.parse(name);
            // With many namespaces, Redis announces the changes of all.
            let Some(parsed) = parsed.filter(|key| near.is_configured(key.namespace())) else {
                return;
            };
            near.count_announced(1);
            match parsed {
                ParsedKey::Entry { namespace, key, digest } => {
                    if let Some(key) = EntryKey::restored(namespace, key, digest) {
                        near.invalidate(&key);
                    }
                }
                ParsedKey::Marker { namespace, shard } => {
                    near.invalidate_shard(namespace, shard);
                }
            }
        }
        Invalidation::All => near.invalidate_all(),
    }
}
