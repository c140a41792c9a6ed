//! Notification of lease watches: a connection on which Redis announces changed leases, so that
//! waiters learn of a stored value when it is stored, through whichever replica.
//!
//! This only shortens the waits. Waiters also poll the store from time to time, so that a lost
//! announcement costs time and nothing else, and a server without client tracking is merely slower.

use std::{sync::Arc, time::Duration};

use redis::{Client, ProtocolVersion, RedisResult};
use tokio_util::sync::CancellationToken;

use super::{
    client_tracking::{self, ClientTracking, Invalidation},
    connection::{self, PoolHealth},
    pool::PoolOptions,
};
use crate::store::{Result, key_watch::KeyWatchers};

/// Interval of the checks that the server still answers.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Notifies the watches of the keys under `prefix` until `stop` is cancelled.
pub(super) fn spawn(
    options: &PoolOptions,
    health: Arc<PoolHealth>,
    prefix: String,
    watchers: KeyWatchers,
    stop: CancellationToken,
) -> Result<()> {
    use secrecy::ExposeSecret as _;
    let client = connection::client(options.url.expose_secret(), ProtocolVersion::RESP3)?;
    let connect_timeout = options.connect_timeout;
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut pauses = client_tracking::pauses();
        loop {
            match follow(&client, connect_timeout, &prefix, &watchers).await {
                Ok(()) => {
                    pauses = client_tracking::pauses();
                    // What ended this connection may have ended or stranded the others.
                    health.retire_all();
                }
                Err(error) => tracing::debug!(%error, "cannot follow the leases in Redis"),
            }
            watchers.notify_all();
            tokio::time::sleep(pauses.next().unwrap_or_default()).await;
        }
    }));
    Ok(())
}

/// Follows Redis until the connection ends. Fails if the connection could not be set up.
async fn follow(
    client: &Client,
    timeout: Duration,
    prefix: &str,
    watchers: &KeyWatchers,
) -> RedisResult<()> {
    let on_invalidation = {
        let watchers = watchers.clone();
        move |invalidation: Invalidation<'_>| match invalidation {
            Invalidation::Key(key) => watchers.notify(key),
            Invalidation::All => watchers.notify_all(),
        }
    };
    let prefixes = [prefix.to_owned()];
    let tracking = ClientTracking::open(client, timeout, &prefixes, on_invalidation).await?;
    tracing::debug!("following the leases in Redis");
    // Changes before the connection was set up were not announced.
    watchers.notify_all();
    let heartbeats = async {
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            if tracking.query(&redis::cmd("PING")).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = tracking.lost() => {}
        () = heartbeats => {}
    }
    Ok(())
}
