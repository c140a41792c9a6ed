//! Failovers that no fault has caused: servers that are slow on a busy machine count as down.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    clock,
    fleet::Store,
    history::{Fault, Loss, Micros},
    shared::Shared,
    support::{cluster::RedisCluster, sentinel::SERVICE},
    weakening::{REPLICATION_LAG, changes_primary},
};

const POLL: Duration = Duration::from_millis(100);
/// Time for an answer.
const ANSWER: Duration = Duration::from_millis(500);
/// Time in which all replicas leave a former primary.
const LEFT: Micros = 3_000_000;

/// Where the epoch is asked for that each failover raises.
pub(super) enum Epochs {
    OfSentinels(Vec<String>),
    OfCluster(Vec<String>),
}

// === impl Epochs ===

impl Epochs {
    pub(super) fn of(store: &Store) -> Option<Self> {
        match store {
            Store::Embedded | Store::Standalone { .. } => None,
            Store::Sentinel(service) => {
                let ports = service.sentinels.iter().map(|sentinel| sentinel.port());
                let urls = ports.map(|port| format!("redis://127.0.0.1:{port}"));
                Some(Self::OfSentinels(urls.collect()))
            }
            Store::Cluster(cluster) => {
                let nodes = 0..RedisCluster::NODES_WITH_WAYS;
                Some(Self::OfCluster(nodes.map(|number| cluster.node_url(number)).collect()))
            }
        }
    }

    /// Records each failover that no fault has caused, until the run is over.
    pub(super) async fn follow(self, shared: Arc<Shared>) {
        let (mut last, mut asked) = (None, clock::now());
        while !shared.is_over() {
            let now = clock::now();
            let epoch = self.latest().await;
            if last.is_some_and(|last| epoch.is_some_and(|epoch| epoch > last)) {
                note(&shared, asked, clock::now());
            }
            if epoch.is_some() {
                (last, asked) = (last.max(epoch), now);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The latest epoch that a server names.
    async fn latest(&self) -> Option<u64> {
        let (Self::OfSentinels(urls) | Self::OfCluster(urls)) = self;
        let asked = urls.iter().map(async |url| {
            let epoch = tokio::time::timeout(ANSWER, self.ask(url));
            epoch.await.ok().flatten()
        });
        futures::future::join_all(asked).await.into_iter().flatten().max()
    }

    async fn ask(&self, url: &str) -> Option<u64> {
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let connection = &mut connection;
        match self {
            Self::OfSentinels(_) => {
                let mut master = redis::cmd("SENTINEL");
                let master = master.arg("MASTER").arg(SERVICE).query_async(connection).await;
                let master: HashMap<String, String> = master.ok()?;
                master.get("config-epoch")?.parse().ok()
            }
            Self::OfCluster(_) => {
                let info = redis::cmd("CLUSTER").arg("INFO").query_async(connection).await;
                let info: String = info.ok()?;
                let epoch =
                    info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
                epoch?.trim_end().parse().ok()
            }
        }
    }
}

fn note(shared: &Shared, from: Micros, until: Micros) {
    if !is_planned(&shared.faults.all(), from, until) {
        let loss = Loss::Rewound { since: from.saturating_sub(REPLICATION_LAG) };
        let name = "failover without a fault";
        shared.faults.add(name, from, until.saturating_add(LEFT), loss);
    }
}

/// Whether a failover in an interval belongs to a fault.
fn is_planned(faults: &[Fault], from: Micros, until: Micros) -> bool {
    faults.iter().any(|fault| changes_primary(fault) && fault.overlaps(from, until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::fault;

    #[test]
    fn a_failover_belongs_to_a_fault_that_causes_one() {
        let with = |loss| [fault(None, 10, 20, loss)];
        assert!(is_planned(&with(Loss::Rewound { since: 5 }), 15, 30));
        assert!(!is_planned(&with(Loss::Rewound { since: 5 }), 21, 30));
        assert!(!is_planned(&with(Loss::Nothing), 15, 30), "a partition");
        let name = "failover of a cluster";
        let by_hand = Fault { name, ..fault(None, 10, 20, Loss::Nothing) };
        assert!(is_planned(&[by_hand], 15, 30));
    }
}
