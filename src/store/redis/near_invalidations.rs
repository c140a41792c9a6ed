//! Invalidation of the near cache: a connection on which Redis announces changed entries and
//! generation markers, and on which the replica sends heartbeats. `store/near_cache.rs` explains
//! why that keeps the near cache coherent.

use std::{sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    client_tracking::{self, ClientTracking, Invalidation},
    connection::PoolHealth,
    endpoint::Endpoint,
    fault::{Fault, words},
    key_schema::{KeySchema, ParsedKey},
    missing_commands::OptionalCommand,
    near_markers::MarkerReader,
    outage_log::{Outage, OutageLog},
};
use crate::{
    model::EntryKey,
    store::near_cache::{NearCache, Subscription},
};

/// Passes announcements on to `near` until `stop` is cancelled.
pub(super) fn spawn(
    (endpoint, timeout): (Endpoint, Duration),
    health: Arc<PoolHealth>,
    markers: MarkerReader,
    near: Arc<NearCache>,
    stop: CancellationToken,
) {
    tokio::spawn(stop.run_until_cancelled_owned(run(endpoint, timeout, health, markers, near)));
}

async fn run(
    endpoint: Endpoint,
    timeout: Duration,
    health: Arc<PoolHealth>,
    markers: MarkerReader,
    near: Arc<NearCache>,
) {
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
        let following =
            follow(&endpoint, timeout, &health, &markers, (&near, &outage), &subscription);
        let ended = tokio::select! {
            error = following => Some(error),
            // Another subscription needs another connection.
            _ = wanted.changed() => None,
        };
        let was_coherent = near.stats().is_coherent;
        near.on_disconnected();
        let Some(error) = ended else { continue };
        if was_coherent {
            // The fault may affect the connections that read entries as well.
            health.retire_all();
            pauses = client_tracking::pauses();
        }
        if client_tracking::is_unsupported(&error) {
            health.missing.refused(OptionalCommand::ClientTracking);
            health.missing.has(OptionalCommand::ClientTracking).await;
            continue;
        }
        outage.failed_beside(health.outage(), Fault::of(&error), words(&error));
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// Follows Redis until that fails, and returns the reason.
async fn follow(
    endpoint: &Endpoint,
    timeout: Duration,
    health: &PoolHealth,
    markers: &MarkerReader,
    (near, outage): (&Arc<NearCache>, &OutageLog),
    subscription: &Subscription,
) -> RedisError {
    let schema = &markers.schema;
    let namespaces = &subscription.namespaces;
    let prefixes: Vec<String> =
        namespaces.iter().map(|namespace| schema.namespace_prefix(namespace)).collect();
    let on_invalidation = {
        let (schema, near) = (schema.clone(), near.clone());
        move |invalidation: Invalidation<'_>| apply(&schema, &near, invalidation)
    };
    let tracking = match ClientTracking::open(endpoint, timeout, &prefixes, on_invalidation).await {
        Ok(tracking) => tracking,
        Err(error) => return error,
    };
    // Entries are only kept if they are read from the server that announces their changes.
    let server = tracking.server().clone();
    health.meet(&server);
    near.on_connected();
    let reading = markers.follow(near, health, &server);
    tokio::pin!(reading);
    let mut is_first = true;
    loop {
        let sent_at = Instant::now();
        match heartbeat(&tracking).await {
            Ok(()) => {
                let is_current =
                    health.server().while_current(&server, || near.on_heartbeat(sent_at));
                if !is_current {
                    return (ErrorKind::Client, "entries are read from another server").into();
                }
            }
            Err(error) => return error,
        }
        outage.works();
        if std::mem::take(&mut is_first) {
            tracing::info!(namespaces = namespaces.len(), "the near cache follows Redis");
        }
        tokio::select! {
            () = tracking.lost() => return (ErrorKind::Io, "the connection ended").into(),
            () = tokio::time::sleep_until(sent_at + subscription.heartbeat) => {}
            () = &mut reading => {}
        }
    }
}

fn apply(schema: &KeySchema, near: &NearCache, invalidation: Invalidation<'_>) {
    match invalidation {
        Invalidation::Key(name) => {
            near.count_announced(1);
            match schema.parse(name) {
                Some(ParsedKey::Entry { namespace, key, digest }) => {
                    if let Some(key) = EntryKey::restored(namespace, key, digest) {
                        near.invalidate(&key);
                    }
                }
                Some(ParsedKey::Marker { namespace, shard }) => {
                    near.invalidate_shard(namespace, shard);
                }
                None => {}
            }
        }
        Invalidation::All => near.invalidate_all(),
    }
}

/// Checks that the server answers and is still the primary: a server that became a replica may lag
/// behind the new primary, which acknowledges the writes. HELLO returns the role, changes nothing,
/// and is permitted to users with few rights.
pub(super) async fn heartbeat(tracking: &ClientTracking) -> RedisResult<()> {
    let Value::Map(fields) = tracking.query(&redis::cmd("HELLO")).await? else {
        return Err((ErrorKind::UnexpectedReturnType, "unexpected answer to HELLO").into());
    };
    let is = |value: &Value, word: &[u8]| match value {
        Value::BulkString(text) => text == word,
        Value::SimpleString(text) => text.as_bytes() == word,
        _ => false,
    };
    let is_primary = fields.iter().any(|(name, value)| is(name, b"role") && is(value, b"master"));
    if is_primary { Ok(()) } else { Err((ErrorKind::Client, "the server takes no writes").into()) }
}
