//! Faults of Redis and of the way to it.

use std::{fs, path::Path, time::Duration};

use super::{Kind, Nemesis};
use crate::{
    clock,
    fleet::Store,
    history::Loss,
    support::{proxy::Proxy, redis::RedisServer},
};

/// Memory in which Redis keeps a part of the entries, in bytes.
const SMALL_MEMORY: &str = "3mb";

impl Nemesis {
    /// The only Redis and the way of the first replica to it.
    fn redis(&mut self) -> (&mut RedisServer, &mut Proxy) {
        match &mut self.fleet.store {
            Store::Standalone { redis, proxy } => (redis, proxy),
            Store::Embedded | Store::Sentinel(_) | Store::Cluster(_) => {
                unreachable!("the fault is one of a single Redis")
            }
        }
    }

    pub(super) async fn kill_redis(&mut self) {
        let fault = self.shared.faults.begin("kill of Redis", None, Loss::Nothing);
        self.redis().0.kill();
        self.pause(100..2_000).await;
        self.redis().0.restart().await;
        self.end(fault).await;
    }

    pub(super) async fn stop_redis(&mut self) {
        let since = self.since();
        // Sentinels may promote another server meanwhile.
        let loss = match self.fleet.store {
            Store::Sentinel(_) => Loss::Rewound { since },
            Store::Embedded | Store::Standalone { .. } | Store::Cluster(_) => Loss::Nothing,
        };
        let fault = self.shared.faults.begin("stop of Redis", None, loss);
        let stopped = match &self.fleet.store {
            Store::Sentinel(service) => {
                let port = service.primary_port().await;
                service.servers.iter().position(|server| server.port() == port)
            }
            _ => None,
        };
        match (&self.fleet.store, stopped) {
            (Store::Standalone { redis, .. }, _) => redis.pause(),
            (Store::Sentinel(service), Some(number)) => service.servers[number].pause(),
            _ => {}
        }
        self.pause(100..2_500).await;
        match (&self.fleet.store, stopped) {
            (Store::Standalone { redis, .. }, _) => redis.resume(),
            (Store::Sentinel(service), Some(number)) => {
                service.servers[number].resume();
                // A failover that has begun goes on, and the former primary takes writes until then.
                self.await_agreement(number).await;
            }
            _ => {}
        }
        self.end(fault).await;
    }

    /// Sends a command to every server.
    pub(super) async fn command(&mut self, name: &'static str, words: &[&str], loss: Loss) {
        let fault = self.shared.faults.begin(name, None, loss);
        let mut urls = Vec::new();
        match &self.fleet.store {
            Store::Standalone { redis, .. } => urls.push(redis.url()),
            Store::Sentinel(service) => {
                urls.extend(service.servers.iter().map(RedisServer::url));
            }
            Store::Cluster(cluster) => {
                urls.extend((0..6).map(|number| cluster.node_url(number)));
            }
            Store::Embedded => {}
        }
        for url in urls {
            // Replicas refuse FLUSHALL, and have it from their primary.
            let client = redis::Client::open(url).unwrap();
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let mut command = redis::cmd(words[0]);
                let _ = command.arg(&words[1..]).exec_async(&mut connection).await;
            }
        }
        self.end(fault).await;
    }

    pub(super) async fn set_clock(&mut self, forward: bool) {
        let (name, loss, seconds) = if forward {
            ("clock forward", Loss::Vanished, 3)
        } else {
            ("clock back", Loss::ClockBack, -3)
        };
        let fault = self.shared.faults.begin(name, None, loss);
        self.redis().0.set_clock(seconds);
        self.pause(200..1_000).await;
        self.end(fault).await;
        // The way back is the other fault.
        let (name, loss) = if forward {
            ("clock back", Loss::ClockBack)
        } else {
            ("clock forward", Loss::Vanished)
        };
        let fault = self.shared.faults.begin(name, None, loss);
        self.redis().0.set_clock(0);
        // The store's clock goes on when that of Redis has caught up with it.
        self.pause(3_500..4_000).await;
        self.end(fault).await;
    }

    /// Restarts Redis with the data of an earlier moment.
    pub(super) async fn rewind(&mut self) {
        let directory = self.redis().0.directory().to_owned();
        let (log, copy) = (directory.join("appendonlydir"), directory.join("copy"));
        let mut connection = self.redis().0.connection().await;
        let mut is_rewriting = async || {
            let info: String =
                redis::cmd("INFO").arg("persistence").query_async(&mut connection).await.unwrap();
            !info.contains("aof_rewrite_in_progress:0")
        };
        let since = clock::now();
        let begun = is_rewriting().await;
        copy_files(&log, &copy);
        if begun || is_rewriting().await {
            return;
        }
        self.pause(300..1_500).await;
        let fault = self.shared.faults.begin("rewind of Redis", None, Loss::Rewound { since });
        self.redis().0.kill();
        copy_files(&copy, &log);
        self.redis().0.restart().await;
        self.end(fault).await;
    }

    pub(super) async fn evict(&mut self) {
        let fault = self.shared.faults.begin("eviction", None, Loss::Vanished);
        let mut connection = self.redis().0.connection().await;
        for (name, value) in [("maxmemory-policy", "allkeys-lru"), ("maxmemory", SMALL_MEMORY)] {
            let mut config = redis::cmd("CONFIG");
            let _ = config.arg("SET").arg(name).arg(value).exec_async(&mut connection).await;
        }
        self.pause(500..2_000).await;
        let mut config = redis::cmd("CONFIG");
        let _ = config.arg("SET").arg("maxmemory").arg("0").exec_async(&mut connection).await;
        self.end(fault).await;
    }

    /// Disturbs the connections of the first replica.
    pub(super) async fn disturb(&mut self, kind: Kind) {
        let name = match kind {
            Kind::Latency => "latency",
            Kind::Reset => "reset connections",
            Kind::Refuse => "refused connections",
            Kind::Partition => "partition",
            _ => "lost replies",
        };
        let fault = self.shared.faults.begin(name, None, Loss::Nothing);
        let (_, proxy) = self.redis();
        match kind {
            Kind::Latency => proxy.slow_down(Duration::from_millis(60)),
            Kind::Reset | Kind::Refuse => proxy.cut().await,
            Kind::Partition => proxy.blackhole(),
            _ => proxy.hold_replies(),
        }
        if kind != Kind::Reset {
            self.pause(200..2_500).await;
        }
        self.redis().1.restore().await;
        self.end(fault).await;
    }

    /// Acknowledged writes from this moment on may be undone by a failover that begins now.
    pub(super) fn since(&self) -> u64 {
        clock::now().saturating_sub(crate::weakening::REPLICATION_LAG)
    }
}

/// Replaces the files of a directory by those of another one.
fn copy_files(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
