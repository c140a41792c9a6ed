//! The servers whose announcements are followed: of changes, bans and ended leases.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Router;
use crate::store::redis::{
    cluster::Node, connection::PoolHealth, endpoint::Endpoint, missing_commands::OptionalCommand,
};

/// A server whose announcements are followed.
#[derive(Clone)]
pub(in crate::store::redis) struct Member {
    pub(in crate::store::redis) endpoint: Endpoint,
    pub(in crate::store::redis) health: Arc<PoolHealth>,
    /// Whether it is a node of a cluster.
    pub(in crate::store::redis) is_in_cluster: bool,
}

/// All servers, at a time.
#[derive(Clone)]
pub(in crate::store::redis) struct Members {
    /// Number of the set.
    pub(in crate::store::redis) version: u64,
    pub(in crate::store::redis) list: Vec<Member>,
}

impl Router {
    /// The servers whose announcements concern the keys.
    pub(in crate::store::redis) fn members(&self) -> Members {
        match self {
            Self::One(_, member) => Members { version: 0, list: vec![Member::clone(member)] },
            Self::Cluster(cluster) => {
                let primaries = cluster.primaries().borrow().clone();
                let list = primaries.nodes.iter().map(Member::of_node).collect();
                Members { version: primaries.version, list }
            }
        }
    }

    /// Reads which servers there are, before they are followed: one that hung may have been
    /// replaced.
    pub(in crate::store::redis) async fn refresh_members(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.refreshed(cluster.timeout()).await;
        }
    }

    /// Waits until the set of servers is another one than that with this number.
    pub(in crate::store::redis) async fn members_changed(&self, version: u64) {
        if let Self::Cluster(cluster) = self {
            let mut primaries = cluster.primaries();
            if primaries.wait_for(|now| now.version != version).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether a server does not have a command, as far as it is known.
    pub(in crate::store::redis) fn lacks(&self, command: OptionalCommand) -> bool {
        self.members().list.iter().any(|member| member.health.missing.lacks(command))
    }

    /// A server refused a command because it does not have it.
    pub(in crate::store::redis) fn refused(&self, command: OptionalCommand) {
        for member in self.members().list {
            member.health.missing.refused(command);
        }
    }

    /// Waits until all servers have a command, as far as it is known, or there are others.
    pub(in crate::store::redis) async fn all_have(&self, command: OptionalCommand) {
        let Members { version, list } = self.members();
        let all = join_all(list.iter().map(|member| member.health.missing.has(command)));
        tokio::select! {
            _ = all => {}
            () = self.members_changed(version) => {}
        }
    }

    /// Runs `action` unless the set of servers is another one than that with this number.
    pub(in crate::store::redis) fn while_members(
        &self,
        version: u64,
        action: impl FnOnce() -> bool,
    ) -> bool {
        match self {
            Self::One(..) => action(),
            Self::Cluster(cluster) => cluster.while_set(version, action),
        }
    }
}

impl Member {
    pub(in crate::store::redis) fn of_node(node: &Arc<Node>) -> Self {
        let health = node.pool.health().clone();
        Self { endpoint: node.endpoint.clone(), health, is_in_cluster: true }
    }
}
