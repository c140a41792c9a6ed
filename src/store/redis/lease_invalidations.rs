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
    fault::{Fault, words},
    key_schema::KeySchema,
    missing_commands::OptionalCommand,
    outage_log::OutageLog,
    router::{Member, Router},
};
use crate::store::key_watch::KeyWatchers;

/// Interval of the checks that the server still answers.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Notifies the watches of leases, and the logs of bans, of what one server announces.
pub(super) struct LeaseFeed {
    pub(super) router: Router,
    pub(super) member: Member,
    pub(super) connect_timeout: Duration,
    pub(super) schema: Arc<KeySchema>,
    pub(super) watchers: KeyWatchers,
    pub(super) bans: BanLogs,
    /// The log of `Outage::Leases`.
    pub(super) outage: OutageLog,
}

// === impl LeaseFeed ===

impl LeaseFeed {
    /// Follows the server for as long as the future is polled.
    pub(super) async fn follow(self) {
        let health = &self.member.health;
        let mut pauses = client_tracking::pauses();
        loop {
            match self.follow_connection().await {
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
                Err(error) => {
                    self.router.failed_beside(&self.outage, Fault::of(&error), words(&error));
                }
            }
            self.watchers.notify_all();
            health.forget_bans();
            tokio::time::sleep(pauses.next().unwrap_or_default()).await;
            health.missing.has(OptionalCommand::ClientTracking).await;
        }
    }

    /// Follows the server until the connection is lost, or until another server answers, which
    /// announces the leases from then on. Returns whether it is lost; fails if it could not be set
    /// up.
    async fn follow_connection(&self) -> RedisResult<bool> {
        let Member { endpoint, health, .. } = &self.member;
        let on_invalidation = {
            let (health, schema) = (health.clone(), self.schema.clone());
            let (watchers, bans) = (self.watchers.clone(), self.bans.clone());
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
        let prefixes = [self.schema.lease_prefix(), self.schema.ban_head_prefix()];
        let tracking =
            ClientTracking::open(endpoint, self.connect_timeout, &prefixes, on_invalidation)
                .await?;
        tracing::debug!("following the leases in Redis");
        health.meet(tracking.server());
        let mut servers = health.server().subscribe();
        // Changes before the connection was set up were not announced.
        self.watchers.notify_all();
        health.forget_bans();
        let heartbeats = async {
            loop {
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                self.outage.works();
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
}
