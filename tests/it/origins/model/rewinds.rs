//! Failovers that set parts of Redis back, and evictions of what bans need.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Instant,
};

use larder::pb::v1::{InvalidateRequest, TagTarget, Target, target::Target as Kind};
use rand::{SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use redis::aio::MultiplexedConnection;

use super::{
    duration,
    history::{History, NAMESPACES},
    pause,
    workload::{Replica, Worker},
};
use crate::support::{
    client::get,
    fleet::Fleet,
    wait::{SOON, eventually},
};

/// Sets back or removes what bans need, one after the other.
pub(super) async fn inject(fleet: &Fleet, replicas: &[Arc<Replica>], history: &Arc<History>) {
    let mut redis = Rewinder { redis: fleet.redis.connection().await, replicas, history };
    let start = Instant::now();
    let mut done = [0_u32; 4];
    while start.elapsed() < duration() || done.iter().any(|count| *count < 3) {
        pause(20..200).await;
        let namespace = *NAMESPACES.choose(&mut rand::rng()).unwrap();
        let fault = rand::random_range(0..done.len());
        match fault {
            0 => redis.rewind_log(namespace).await,
            1 => redis.rewind_markers(namespace).await,
            2 => redis.evict_log(namespace).await,
            _ => redis.evict_marker(namespace).await,
        }
        done[fault] += 1;
    }
    eprintln!("logs and markers set back, logs and markers evicted: {done:?}");
}

struct Rewinder<'a> {
    redis: MultiplexedConnection,
    replicas: &'a [Arc<Replica>],
    history: &'a Arc<History>,
}

impl Rewinder<'_> {
    /// The log loses the last bans, and the replicas their connections. Entries and markers are at
    /// the lost bans, and another ban gets the number of the first one before any read meets them.
    async fn rewind_log(&mut self, namespace: &'static str) {
        let _alone = self.history.rewind_lock(namespace).write().await;
        let names = log(namespace);
        let before = self.dump(&names).await;
        for _ in 0..if rand::random_ratio(2, 3) { 1 } else { 3 } {
            let tags = vec![format!("unused-{}", rand::random_range(0..4))];
            let target = TagTarget { namespace: namespace.to_owned(), tags };
            let request = InvalidateRequest {
                targets: vec![Target { target: Some(Kind::Tags(target)) }],
                ..InvalidateRequest::default()
            };
            let replica = self.replicas.choose(&mut rand::rng()).unwrap();
            let cache = replica.cache.lock().unwrap().clone();
            cache.invalidate(request).await.unwrap();
        }
        // Time for fills that record the bans that are about to be lost.
        pause(20..150).await;
        self.failover(restore(&names, before), async |mut banner| {
            banner.invalidate_some(&banner.history.clone(), namespace).await;
        })
        .await;
    }

    /// Sets keys back, and all connections break. Nothing is read until the replicas have noticed
    /// that and `then` has completed. A server with another id would be noticed with its first
    /// answer; this one is the same.
    async fn failover(&mut self, mut set_back: redis::Pipeline, then: impl AsyncFnOnce(Worker)) {
        let history = self.history.clone();
        let _nothing_is_read = history.read_lock.write().await;
        let mut without_faults = Vec::new();
        for replica in self.replicas {
            without_faults.push(replica.fault_lock.write().await);
            replica.fault_count.fetch_add(1, SeqCst);
        }
        set_back.cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        set_back.atomic().exec_async(&mut self.redis).await.unwrap();
        let mut redis = self.redis.clone();
        eventually("the replicas follow Redis again", SOON, async || {
            let mut list = redis::cmd("CLIENT");
            let clients: String = list.arg("LIST").query_async(&mut redis).await.unwrap();
            let follows = |client: &&str| {
                let flags = client.split(' ').find_map(|field| field.strip_prefix("flags="));
                flags.is_some_and(|flags| flags.contains('B'))
            };
            (clients.lines().filter(follows).count() == self.replicas.len()).then_some(())
        })
        .await;
        for replica in self.replicas {
            let cache = replica.cache.lock().unwrap().clone();
            eventually("Redis answers", SOON, async || {
                let answer = cache.get(get("none")).await;
                answer.is_ok_and(|answer| !answer.degraded).then_some(())
            })
            .await;
        }
        then(self.banner()).await;
        for replica in self.replicas {
            replica.fault_count.fetch_add(1, SeqCst);
        }
    }

    /// A client of a random replica.
    fn banner(&self) -> Worker {
        let replica = self.replicas.choose(&mut rand::rng()).unwrap().clone();
        let rng = StdRng::seed_from_u64(rand::random());
        Worker { history: self.history.clone(), replica, rng }
    }

    /// The markers lose the last bans, which the log has, and the replicas their connections.
    async fn rewind_markers(&mut self, namespace: &'static str) {
        let history = self.history.clone();
        let _alone = history.rewind_lock(namespace).write().await;
        let names = markers(namespace);
        let before = self.dump(&names).await;
        let mut banner = self.banner();
        for _ in 0..rand::random_range(1..3) {
            if banner.invalidate_some(&history, namespace).await {
                // The generation has ended, which is in no log.
                return;
            }
            pause(0..40).await;
        }
        self.failover(restore(&names, before), async |_| {}).await;
    }

    /// Redis evicts a part of the log.
    async fn evict_log(&mut self, namespace: &'static str) {
        let name = log(namespace).choose(&mut rand::rng()).unwrap().clone();
        redis::cmd("DEL").arg(name).exec_async(&mut self.redis).await.unwrap();
    }

    /// Redis evicts a marker.
    async fn evict_marker(&mut self, namespace: &'static str) {
        let name = markers(namespace).choose(&mut rand::rng()).unwrap().clone();
        redis::cmd("DEL").arg(name).exec_async(&mut self.redis).await.unwrap();
    }

    /// Contents of the keys; none for those that are missing.
    async fn dump(&mut self, names: &[String]) -> Vec<Option<Vec<u8>>> {
        let mut dump = redis::pipe();
        for name in names {
            dump.cmd("DUMP").arg(name);
        }
        dump.query_async(&mut self.redis).await.unwrap()
    }
}

/// Commands that set keys back to what they were.
fn restore(names: &[String], dumped: Vec<Option<Vec<u8>>>) -> redis::Pipeline {
    let mut restore = redis::pipe();
    for (name, dumped) in names.iter().zip(dumped) {
        match dumped {
            Some(dumped) => {
                restore.cmd("RESTORE").arg(name).arg(60_000).arg(dumped).arg("REPLACE");
            }
            None => {
                restore.cmd("DEL").arg(name);
            }
        }
    }
    restore
}

fn log(namespace: &str) -> Vec<String> {
    let part = |part: &str| format!("larder:b:{{{namespace}:bans}}:{part}");
    let head = format!("larder:h:{{{namespace}:bans}}");
    [vec![head], ["t", "g", "o", "i", "c"].map(part).to_vec()].concat()
}

/// The markers of both shards.
fn markers(namespace: &str) -> Vec<String> {
    [0, 1].map(|shard| format!("larder:{{{namespace}:{shard}}}:g")).to_vec()
}
