//! A connection on which Redis announces changed leases and new bans. So waiters learn of a stored
//! value when it is stored, through whichever replica, and the replica learns of bans early.
//!
//! This only saves time. Waiters also poll the store from time to time, and markers reveal bans. So
//! a lost announcement costs time and nothing else, and a server without client tracking is merely
//! slower. While announcements are lost, known bans are read again from time to time: a failover
//! may have changed them.

use std::{sync::Arc, time::Duration};

use redis::RedisResult;

use super::{
    ban_logs::BanLogs,
    client_tracking::{self, ClientTracking, Invalidation},
    connection::PoolHealth,
    endpoint::Endpoint,
    fault::{Fault, words},
    key_schema::KeySchema,
    missing_commands::OptionalCommand,
    outage_log::{Outage, OutageLog},
    router::{Member, Router},
};
use crate::store::key_watch::KeyWatchers;

/// Interval of the checks that the server still answers.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Notifies the watches of leases, and the logs of bans, of what one server announces, for as long
/// as the future is polled.
pub(super) async fn follow_server(
    router: Router,
    Member { endpoint, health, .. }: Member,
    connect_timeout: Duration,
    schema: Arc<KeySchema>,
    watchers: KeyWatchers,
    bans: BanLogs,
) {
    let mut pauses = client_tracking::pauses();
    let outage = OutageLog::new(Outage::Leases);
    loop {
        let follow =
            follow(&endpoint, connect_timeout, (&health, &outage), &schema, &watchers, &bans);
        match follow.await {
            Ok(is_lost) => {
                pauses = client_tracking::pauses();
                if is_lost {
                    // The fault may affect the other connections as well.
                    health.retire_all();
                }
            }
            Err(error) if client_tracking::is_unsupported(&error) => {
                health.missing.refused(OptionalCommand::ClientTracking);
            }
            Err(error) => router.failed_beside(&outage, Fault::of(&error), words(&error)),
        }
        watchers.notify_all();
        health.forget_bans();
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
        health.missing.has(OptionalCommand::ClientTracking).await;
    }
}

/// Follows Redis until the connection is lost, or until another server answers, which announces
/// the leases from then on. Returns whether it is lost; fails if it could not be set up.
async fn follow(
    endpoint: &Endpoint,
    timeout: Duration,
    (health, outage): (&Arc<PoolHealth>, &OutageLog),
    schema: &Arc<KeySchema>,
    watchers: &KeyWatchers,
    bans: &BanLogs,
) -> RedisResult<bool> {
    let on_invalidation = {
        let (health, schema) = (health.clone(), schema.clone());
        let (watchers, bans) = (watchers.clone(), bans.clone());
        move |invalidation: Invalidation<'_>| match invalidation {
            Invalidation::Key(key) => match schema.banned_namespace(key) {
                Some(namespace) => bans.on_ban(namespace),
                None => watchers.notify(key),
            },
            Invalidation::All => {
                health.forget_bans();
                watchers.notify_all();
            }
        }
    };
    let prefixes = [schema.lease_prefix(), schema.ban_head_prefix()];
    let tracking = ClientTracking::open(endpoint, timeout, &prefixes, on_invalidation).await?;
    tracing::debug!("following the leases in Redis");
    health.meet(tracking.server());
    let mut servers = health.server().subscribe();
    // Changes before the connection was set up were not announced.
    watchers.notify_all();
    health.forget_bans();
    let heartbeats = async {
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            outage.works();
            if tracking.query(&redis::cmd("PING")).await.is_err() {
                return;
            }
        }
    };
    Ok(tokio::select! {
        () = tracking.lost() => true,
        () = heartbeats => true,
        _ = servers.changed() => false,
    })
}
