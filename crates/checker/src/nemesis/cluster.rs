//! Faults of a Redis Cluster.

use rand::RngExt as _;

use super::Nemesis;
use crate::{fleet::Store, history::Loss, support::cluster::RedisCluster};

const SLOTS: u16 = 16_384;
/// Slots that are moved at a time.
const MOVED: usize = 40;

impl Nemesis {
    fn cluster(&mut self) -> &mut RedisCluster {
        match &mut self.fleet.store {
            Store::Cluster(cluster) => cluster,
            _ => unreachable!("the fault is one of a Redis Cluster"),
        }
    }

    /// A slot and its primary.
    async fn slot(&mut self) -> Option<(u16, usize)> {
        let slot = self.random.random_range(0..SLOTS);
        let owner = self.cluster().owner_of(slot, None).await?;
        Some((slot, owner))
    }

    pub(super) async fn cluster_failover(&mut self) {
        let Some((slot, primary)) = self.slot().await else { return };
        // A failover by hand loses nothing.
        let fault = self.shared.faults.begin("failover of a cluster", None, Loss::Nothing);
        self.cluster().fail_over_by_hand(primary).await;
        self.cluster().await_failover(slot, primary).await;
        self.end(fault).await;
    }

    pub(super) async fn kill_cluster_primary(&mut self) {
        let Some((slot, primary)) = self.slot().await else { return };
        let loss = Loss::Rewound { since: self.since() };
        let fault = self.shared.faults.begin("kill of a cluster's primary", None, loss);
        let lag = self.lag();
        self.cluster().way(primary).hold_replication();
        self.pause(lag).await;
        self.cluster().server(primary).kill();
        self.cluster().way(primary).lose_replication();
        self.cluster().await_failover(slot, primary).await;
        self.cluster().way(primary).restore().await;
        self.cluster().server(primary).restart().await;
        self.end(fault).await;
    }

    pub(super) async fn move_slots(&mut self) {
        let Some((_, to)) = self.slot().await else { return };
        let fault = self.shared.faults.begin("move of slots", None, Loss::Nothing);
        for _ in 0..MOVED {
            let Some((slot, from)) = self.slot().await else { break };
            if from != to {
                self.cluster().move_slot(slot, from, to).await;
            }
        }
        self.end(fault).await;
    }
}
