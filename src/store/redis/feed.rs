//! News of leases: a connection of its own on which Redis says which keys changed (RESP3 client tracking in broadcast
//! mode), so that callers who wait for a value are woken when it lands, whichever replica stored it.
//!
//! The feed only makes waiting short. Whoever waits also looks now and then, so that a lost message costs time and nothing else,
//! and a server without tracking is merely slower.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::pool::{self, PoolOptions};
use crate::store::{Result, wakeups::Wakeups};

/// Between two looks at whether the server is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Follows the keys under `prefix` until `stop` is cancelled.
pub(super) fn spawn(options: &PoolOptions, prefix: String, wakeups: Wakeups, stop: CancellationToken) -> Result<()> {
    use secrecy::ExposeSecret as _;
    let client = pool::client(options.url.expose_secret(), ProtocolVersion::RESP3)?;
    let connect_timeout = options.connect_timeout;
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut retry = FIRST_RETRY;
        loop {
            match follow(&client, connect_timeout, &prefix, &wakeups).await {
                Ok(()) => retry = FIRST_RETRY,
                Err(error) => {
                    tracing::debug!(%error, "cannot follow the leases in Redis");
                    retry = (retry * 2).min(LONGEST_RETRY);
                }
            }
            wakeups.wake_all();
            tokio::time::sleep(retry.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }));
    Ok(())
}

/// Follows until the connection ends; an error if it could not be set up.
async fn follow(client: &Client, timeout: Duration, prefix: &str, wakeups: &Wakeups) -> RedisResult<()> {
    let (sender, mut news) = unbounded_channel();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout))
        .set_push_sender(sender);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("CLIENT")
        .arg("TRACKING")
        .arg("ON")
        .arg("BCAST")
        .arg("PREFIX")
        .arg(prefix)
        .exec_async(&mut connection)
        .await?;
    tracing::debug!("following the leases in Redis");
    // What changed before the feed was set up was not announced.
    wakeups.wake_all();
    let heartbeat = async {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            if redis::cmd("PING").exec_async(&mut connection).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = pass_on(&mut news, wakeups) => {}
        () = heartbeat => {}
    }
    Ok(())
}

async fn pass_on(news: &mut UnboundedReceiver<PushInfo>, wakeups: &Wakeups) {
    while let Some(PushInfo { kind, data }) = news.recv().await {
        match (kind, data.into_iter().next()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        wakeups.wake(&key);
                    }
                }
            }
            // The whole database was flushed.
            (PushKind::Invalidate, _) => wakeups.wake_all(),
            (PushKind::Disconnection, _) => return,
            _ => {}
        }
    }
}
