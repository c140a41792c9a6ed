//! News of leases: a connection of its own on which Redis says which of them changed, so that callers who wait for a value are woken when
//! it lands, whichever replica stored it.
//!
//! The feed only makes waiting short. Whoever waits also looks now and then, so that a lost message costs time and nothing else,
//! and a server without tracking is merely slower.

use std::time::Duration;

use redis::{Client, ProtocolVersion, RedisResult};
use tokio_util::sync::CancellationToken;

use super::{
    client_tracking::{self, ClientTracking, Invalidation},
    pool::{self, PoolOptions},
};
use crate::store::{Result, key_watch::KeyWatchers};

/// Between two looks at whether the server is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Follows the keys under `prefix` until `stop` is cancelled.
pub(super) fn spawn(
    options: &PoolOptions,
    prefix: String,
    wakeups: KeyWatchers,
    stop: CancellationToken,
) -> Result<()> {
    use secrecy::ExposeSecret as _;
    let client = pool::client(options.url.expose_secret(), ProtocolVersion::RESP3)?;
    let connect_timeout = options.connect_timeout;
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut retries = client_tracking::pauses();
        loop {
            match follow(&client, connect_timeout, &prefix, &wakeups).await {
                Ok(()) => retries = client_tracking::pauses(),
                Err(error) => tracing::debug!(%error, "cannot follow the leases in Redis"),
            }
            wakeups.wake_all();
            tokio::time::sleep(retries.next().unwrap_or_default()).await;
        }
    }));
    Ok(())
}

/// Follows until the connection ends; an error if it could not be set up.
async fn follow(
    client: &Client,
    timeout: Duration,
    prefix: &str,
    wakeups: &KeyWatchers,
) -> RedisResult<()> {
    let woken = wakeups.clone();
    let announce = move |announcement: Invalidation<'_>| match announcement {
        Invalidation::Changed(key) => woken.wake(key),
        Invalidation::All => woken.wake_all(),
    };
    let tracking = ClientTracking::open(client, timeout, &[prefix.to_owned()], announce).await?;
    tracing::debug!("following the leases in Redis");
    // What changed before the feed was set up was not announced.
    wakeups.wake_all();
    let heartbeat = async {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            if tracking.query(&redis::cmd("PING")).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = tracking.lost() => {}
        () = heartbeat => {}
    }
    Ok(())
}
