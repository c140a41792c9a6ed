//! Injects faults, one after the other, by a schedule that the seed decides.

mod cluster;
mod redis;
mod replicas;
mod sentinel;
mod unplanned;

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use unplanned::Epochs;

use crate::options;
use crate::{
    fleet::{Fleet, Store},
    history::Loss,
    shared::Shared,
    support::client::Cache,
};

/// Time in which every replica uses its store again after a fault.
const RECOVERED: Duration = Duration::from_secs(40);
/// Memory of a replica, in bytes, that none exceeds.
const MAX_RSS: u64 = 600 * 1024 * 1024;
const POLL: Duration = Duration::from_millis(20);

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    KillReplica,
    StopReplica,
    RollReplica,
    Overload,
    KillRedis,
    StopRedis,
    Flush,
    FlushScripts,
    ClockForward,
    ClockBack,
    Rewind,
    Evict,
    Latency,
    Slicing,
    Reset,
    Refuse,
    Partition,
    LostReplies,
    KillCutOff,
    SentinelFailover,
    KillPrimary,
    ClusterFailover,
    KillClusterPrimary,
    MoveSlots,
}

/// The source of faults. Owns the fleet.
pub(crate) struct Nemesis {
    pub(crate) fleet: Fleet,
    pub(crate) shared: Arc<Shared>,
    pub(crate) random: StdRng,
    only: Option<Vec<Kind>>,
}

// === impl Kind ===

impl Kind {
    const REPLICAS: [Self; 4] =
        [Self::KillReplica, Self::StopReplica, Self::RollReplica, Self::Overload];

    /// Faults of the way of the first replica to its store.
    const WAYS: [Self; 7] = [
        Self::Latency,
        Self::Slicing,
        Self::Reset,
        Self::Refuse,
        Self::Partition,
        Self::LostReplies,
        Self::KillCutOff,
    ];

    /// Faults that a store can have.
    fn all(store: &Store) -> Vec<Self> {
        let of_store: &[Self] = match store {
            Store::Embedded => &[],
            Store::Standalone { .. } => &[
                Self::KillRedis,
                Self::StopRedis,
                Self::Flush,
                Self::FlushScripts,
                Self::ClockForward,
                Self::ClockBack,
                Self::Rewind,
                Self::Evict,
            ],
            Store::Sentinel(_) => &[
                Self::SentinelFailover,
                Self::KillPrimary,
                Self::StopRedis,
                Self::Flush,
                Self::FlushScripts,
            ],
            Store::Cluster(_) => &[
                Self::ClusterFailover,
                Self::KillClusterPrimary,
                Self::MoveSlots,
                Self::Flush,
                Self::FlushScripts,
            ],
        };
        let of_ways = match store {
            Store::Embedded => &[][..],
            Store::Standalone { .. } | Store::Sentinel(_) | Store::Cluster(_) => &Self::WAYS,
        };
        let all = Self::REPLICAS.iter().chain(of_store).chain(of_ways);
        all.copied().collect()
    }
}

// === impl Nemesis ===

impl Nemesis {
    pub(crate) fn new(fleet: Fleet, shared: Arc<Shared>, only: Option<Vec<Kind>>) -> Self {
        let random = StdRng::seed_from_u64(shared.seed);
        Self { fleet, shared, random, only }
    }

    /// Injects faults until the run is over. Returns the fleet's figures.
    pub(crate) async fn run(mut self) -> Fleet {
        if let Some(epochs) = Epochs::of(&self.fleet.store) {
            tokio::spawn(epochs.follow(Arc::clone(&self.shared)));
        }
        let all = Kind::all(&self.fleet.store);
        let is_chosen = |kind: &Kind| {
            let is_named = self.only.as_ref().is_none_or(|only| only.contains(kind));
            is_named && !options().without.contains(kind)
        };
        let kinds: Vec<Kind> = all.into_iter().filter(is_chosen).collect();
        while kinds.is_empty() && !self.shared.is_over() {
            self.pause(1_000..2_000).await;
            self.examine().await;
        }
        // Each kind comes once before one comes again.
        let mut bag: Vec<Kind> = Vec::new();
        while !self.shared.is_over() {
            self.pause(300..2_500).await;
            if bag.is_empty() {
                bag.clone_from(&kinds);
            }
            let Some(kind) = bag.choose(&mut self.random).copied() else { continue };
            bag.retain(|other| *other != kind);
            if self.shared.is_over() {
                break;
            }
            self.inject(kind).await;
            self.examine().await;
        }
        self.fleet
    }

    async fn inject(&mut self, kind: Kind) {
        let replica = self.random.random_range(0..self.fleet.len());
        match kind {
            Kind::KillReplica => self.kill_replica(replica).await,
            Kind::StopReplica => self.stop_replica(replica).await,
            Kind::RollReplica => self.roll_replica(replica).await,
            Kind::Overload => self.overload(replica).await,
            Kind::KillRedis => self.kill_redis().await,
            Kind::StopRedis => self.stop_redis().await,
            Kind::Flush => self.command("FLUSHALL", &["FLUSHALL"], Loss::Vanished).await,
            Kind::FlushScripts => {
                self.command("SCRIPT FLUSH", &["SCRIPT", "FLUSH"], Loss::Nothing).await;
            }
            Kind::ClockForward => self.set_clock(true).await,
            Kind::ClockBack => self.set_clock(false).await,
            Kind::Rewind => self.rewind().await,
            Kind::Evict => self.evict().await,
            Kind::Latency
            | Kind::Slicing
            | Kind::Reset
            | Kind::Refuse
            | Kind::Partition
            | Kind::LostReplies => self.disturb(kind).await,
            Kind::KillCutOff => self.kill_cut_off_replica().await,
            Kind::SentinelFailover => self.sentinel_failover().await,
            Kind::KillPrimary => self.kill_primary().await,
            Kind::ClusterFailover => self.cluster_failover().await,
            Kind::KillClusterPrimary => self.kill_cluster_primary().await,
            Kind::MoveSlots => self.move_slots().await,
        }
    }

    /// Waits for a random number of milliseconds, at most until the end of the run.
    pub(crate) async fn pause(&mut self, millis: std::ops::Range<u64>) {
        let mut rest = Duration::from_millis(self.random.random_range(millis));
        while !rest.is_zero() && !self.shared.is_over() {
            let step = rest.min(POLL * 5);
            tokio::time::sleep(step).await;
            rest -= step;
        }
    }

    /// Ends a fault when all replicas use their store again.
    pub(crate) async fn end(&mut self, fault: u64) {
        self.await_recovery().await;
        if self.shared.faults.end(fault) {
            // Another fault could keep a replica from applying its last invalidations again.
            let reapplied = self.shared.rules.reapplied;
            self.pause(reapplied / 1_000..reapplied / 1_000 + 1).await;
        }
    }

    /// Time for which the replicas of a primary get nothing before its end.
    pub(crate) fn lag(&mut self) -> std::ops::Range<u64> {
        // Mostly, and for less than any of the servers takes for an outage.
        if self.random.random_bool(0.75) { 300..900 } else { 0..1 }
    }

    /// Waits until every replica reads and writes its store, and has replayed its journal. One that
    /// does not in time hangs.
    async fn await_recovery(&mut self) {
        for number in 0..self.fleet.len() {
            let recovered = async {
                while !answers(&self.fleet.slots.cache(number)).await
                    || !self.fleet.is_replayed(number, &self.shared.faults).await
                {
                    tokio::time::sleep(POLL).await;
                }
            };
            if tokio::time::timeout(RECOVERED, recovered).await.is_err() {
                let log = self.fleet.replicas[usize::from(number)].logs();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                self.shared.fail(format!(
                    "BROKEN: replica {number} does not use its store, or has not replayed its \
                     journal, {RECOVERED:?} after a fault. Its last log lines, the newest first:\n\
                     {}",
                    tail.join("\n")
                ));
            }
        }
    }

    async fn examine(&mut self) {
        self.fleet.inspect();
        if let Some(panic) = self.fleet.panics.first() {
            self.shared.fail(format!("BROKEN: no replica panics\n{panic}"));
        }
        let largest = self.fleet.largest_rss;
        if largest > MAX_RSS {
            self.shared.fail(format!("BROKEN: a replica has grown to {largest} bytes"));
        }
    }
}

/// Whether a replica can read and change entries of several shards.
async fn answers(cache: &Cache) -> bool {
    for key in 0..8 {
        let request = larder::pb::v1::DeleteRequest {
            namespace: "probe".to_owned(),
            key: key.to_string(),
            required_durability: larder::pb::v1::Durability::Applied.into(),
            ..Default::default()
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(2));
        if cache.delete(request).await.is_err() {
            return false;
        }
        let request = larder::pb::v1::GetRequest {
            namespace: "probe".to_owned(),
            key: key.to_string(),
            ..Default::default()
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(2));
        if !cache.get(request).await.is_ok_and(|response| !response.degraded) {
            return false;
        }
    }
    true
}
