//! State and counters of a cluster.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Cluster, ClusterStats, node::Node};
use crate::{
    model::SaturatingFrom as _,
    store::{
        Trouble,
        redis::{fault::Fault, pool::PoolState},
    },
};

impl Cluster {
    /// Updates whether the cluster is healthy.
    pub(in crate::store::redis) fn update_health(&self) {
        let now = {
            let map = self.0.map.load();
            let is_healthy = |node: &Arc<Node>| {
                node.is_available() && node.pool.health().faults.trouble().is_none()
            };
            map.unserved() == 0 && map.nodes().iter().all(is_healthy)
        };
        self.0.healthy.send_if_modified(|before| std::mem::replace(before, now) != now);
    }

    /// State and counters of all connections, also of those to nodes that are gone.
    pub(in crate::store::redis) fn pool_state(&self) -> PoolState {
        let gone = self.0.gone.lock();
        let nodes = self.nodes();
        let sum = nodes.iter().fold(gone.state, |sum, node| sum.plus(&node.pool.state()));
        PoolState {
            clock_steps: self.0.clock.steps(),
            clock_ahead_ms: self.0.clock.ahead_ms(),
            ..sum
        }
    }

    /// Name of each fault, how often it was met, and whether it lasts.
    pub(in crate::store::redis) fn faults(&self) -> Vec<(&'static str, u64, bool)> {
        let gone = self.0.gone.lock();
        let mut all: Vec<_> = Fault::ALL
            .iter()
            .enumerate()
            .map(|(at, fault)| (fault.row().name, gone.faults.get(at).copied().unwrap_or(0), false))
            .collect();
        for node in self.nodes() {
            for (sum, (_, count, lasts)) in all.iter_mut().zip(node.pool.health().faults.state()) {
                sum.1 += count;
                sum.2 |= lasts;
            }
        }
        all
    }

    /// A node is gone: its counts remain.
    pub(super) fn keep_counts(&self, node: &Node) {
        let mut gone = self.0.gone.lock();
        gone.state = PoolState { connections: 0, ..gone.state.plus(&node.pool.state()) };
        gone.faults.resize(Fault::ALL.len(), 0);
        for (sum, (_, count, _)) in gone.faults.iter_mut().zip(node.pool.health().faults.state()) {
            *sum += count;
        }
    }

    /// The fault of the cluster, or of one of its primaries.
    pub(in crate::store::redis) fn trouble(&self) -> Option<Trouble> {
        let map = self.0.map.load();
        let of_node = |node: &Arc<Node>| {
            let trouble = node.trouble()?;
            Some(Trouble { cause: format!("{}: {}", node.address, trouble.cause), ..trouble })
        };
        map.nodes().iter().find_map(of_node).or_else(|| self.0.outage.trouble())
    }

    pub(in crate::store::redis) fn stats(&self) -> ClusterStats {
        let (map, counts) = (self.0.map.load(), &self.0.counts);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let primaries = map.nodes().iter().map(|node| (node.name(), node.is_available()));
        ClusterStats {
            primaries: primaries.collect(),
            unserved_slots: u64::saturating_from(map.unserved()),
            refreshes: *self.0.refreshed.borrow(),
            redirects: [
                ("moved", count(&counts.moved)),
                ("ask", count(&counts.asked)),
                ("try_again", count(&counts.tried_again)),
            ],
        }
    }
}
