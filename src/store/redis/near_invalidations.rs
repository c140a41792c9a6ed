//! What the near cache must forget: a connection of its own on which Redis says which entries and generation markers changed, and on
//! which it is asked for signs of life. Why that is enough is said in `store/near.rs`.

use std::{sync::Arc, time::Duration};

use redis::{Client, ErrorKind, ProtocolVersion, RedisError, RedisResult, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    client_tracking::{self, ClientTracking, Invalidation},
    key_schema::{KeySchema, ParsedKey},
    pool::{self, PoolOptions},
};
use crate::{
    model::EntryKey,
    store::{
        Result,
        near_cache::{NearCache, Subscription},
    },
};

/// Feeds `near` until `stop` is cancelled.
pub(super) fn spawn(
    options: &PoolOptions,
    layout: Arc<KeySchema>,
    near: Arc<NearCache>,
    stop: CancellationToken,
) -> Result<()> {
    use secrecy::ExposeSecret as _;
    let client = pool::client(options.url.expose_secret(), ProtocolVersion::RESP3)?;
    let timeout = options.connect_timeout;
    tokio::spawn(stop.run_until_cancelled_owned(feed(client, timeout, layout, near)));
    Ok(())
}

async fn feed(client: Client, timeout: Duration, layout: Arc<KeySchema>, near: Arc<NearCache>) {
    let mut wanted = near.following();
    let (mut retries, mut is_said) = (client_tracking::pauses(), false);
    loop {
        let following = wanted.borrow_and_update().clone();
        if following.namespaces.is_empty() {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let ended = tokio::select! {
            ended = follow(&client, timeout, &layout, &near, &following) => Some(ended),
            // Other namespaces are followed on another connection.
            _ = wanted.changed() => None,
        };
        let was_well = near.events().is_coherent;
        near.lose();
        let Some(error) = ended else { continue };
        if was_well {
            (retries, is_said) = (client_tracking::pauses(), false);
        }
        // Said once for an outage: that it is without effect must be seen, and a log must not be flooded.
        if std::mem::replace(&mut is_said, true) {
            tracing::debug!(%error, "the near cache is not used: Redis cannot be followed");
        } else {
            tracing::warn!(%error, "the near cache is not used: Redis cannot be followed");
        }
        tokio::time::sleep(retries.next().unwrap_or_default()).await;
    }
}

/// Follows until that is no longer possible, and says why.
async fn follow(
    client: &Client,
    timeout: Duration,
    layout: &Arc<KeySchema>,
    near: &Arc<NearCache>,
    following: &Subscription,
) -> RedisError {
    let prefixes: Vec<String> =
        following.namespaces.iter().map(|namespace| layout.namespace_prefix(namespace)).collect();
    let (names, forgetful) = (layout.clone(), near.clone());
    let announce = move |announcement: Invalidation<'_>| forget(&names, &forgetful, announcement);
    let tracking = match ClientTracking::open(client, timeout, &prefixes, announce).await {
        Ok(tracking) => tracking,
        Err(error) => return error,
    };
    near.begin();
    let mut is_first = true;
    loop {
        let asked = Instant::now();
        match sign_of_life(&tracking).await {
            Ok(()) => near.confirm(asked),
            Err(error) => return error,
        }
        if std::mem::take(&mut is_first) {
            tracing::info!(namespaces = following.namespaces.len(), "the near cache follows Redis");
        }
        tokio::select! {
            () = tracking.lost() => return (ErrorKind::Io, "the connection ended").into(),
            () = tokio::time::sleep_until(asked + following.heartbeat) => {}
        }
    }
}

fn forget(layout: &KeySchema, near: &NearCache, announcement: Invalidation<'_>) {
    match announcement {
        Invalidation::Changed(name) => {
            near.count_announced(1);
            match layout.meaning(name) {
                Some(ParsedKey::Entry { namespace, key, digest }) => {
                    if let Some(key) = EntryKey::restored(namespace, key, digest) {
                        near.forget(&key);
                    }
                }
                Some(ParsedKey::Marker { namespace, shard }) => near.forget_shard(namespace, shard),
                None => {}
            }
        }
        Invalidation::All => near.forget_all(),
    }
}

/// Asks the server whether it is there, and still the one that takes writes: a server that became a replica may lag behind the one that
/// acknowledges them now. HELLO tells that, changes nothing, and is permitted to users who may do little else.
async fn sign_of_life(tracking: &ClientTracking) -> RedisResult<()> {
    let Value::Map(facts) = tracking.query(&redis::cmd("HELLO")).await? else {
        return Err((ErrorKind::UnexpectedReturnType, "unexpected answer to HELLO").into());
    };
    let is = |value: &Value, word: &[u8]| match value {
        Value::BulkString(text) => text == word,
        Value::SimpleString(text) => text.as_bytes() == word,
        _ => false,
    };
    let is_primary = facts.iter().any(|(name, value)| is(name, b"role") && is(value, b"master"));
    if is_primary { Ok(()) } else { Err((ErrorKind::Client, "the server takes no writes").into()) }
}
