//! The replicas and their store.

mod journals;

use std::{path::PathBuf, sync::Arc, time::Duration};

use nix::sys::signal::Signal;

use journals::Journals;

use crate::{
    faults::FaultLog,
    slots::Slots,
    support::{
        client::Cache,
        cluster::RedisCluster,
        proxy::Proxy,
        redis::RedisServer,
        sentinel::Service,
        server::{Builder, Larder},
    },
};

/// The configuration of all replicas. The checks have the same numbers.
const CONFIG: &str = r#"
[store]
shards = 8
failover_window = "30s"
[defaults]
ttl_jitter = 0.0
ttl = "30s"
max_ttl = "60s"
lease_ttl = "400ms"
lease_wait = "100ms"
abandon_backoff = "20ms"
[namespaces.near.near_cache]
max_bytes = "16MiB"
max_staleness = "300ms"
[namespaces.stale]
stale_while_revalidate = "300ms"
stale_if_error = "300ms"
[watch]
max_delay = "1s"
heartbeat = "1s"
[journal]
quarantine = "20s"
"#;

/// Where the replicas keep their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topology {
    Standalone,
    Sentinel,
    Cluster,
    Embedded,
}

/// The servers behind the replicas.
pub(crate) enum Store {
    Embedded,
    Standalone {
        redis: RedisServer,
        /// Leads the first replica to Redis.
        proxy: Proxy,
    },
    Sentinel(Service),
    Cluster(RedisCluster),
}

/// The replicas, which are replaced when one is started again.
pub(crate) struct Fleet {
    // Declared before the store, so that replicas are dropped first.
    pub(crate) replicas: Vec<Larder>,
    pub(crate) store: Store,
    pub(crate) slots: Arc<Slots>,
    journals: Option<Journals>,
    bug: Option<String>,
    /// Panics in the logs of replicas, also of former ones.
    pub(crate) panics: Vec<String>,
    pub(crate) largest_rss: u64,
}

// === impl Topology ===

impl Topology {
    pub(crate) const ALL: [Self; 4] =
        [Self::Standalone, Self::Sentinel, Self::Cluster, Self::Embedded];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
            Self::Embedded => "embedded",
        }
    }
}

// === impl Fleet ===

impl Fleet {
    pub(crate) async fn start(topology: Topology, bug: Option<&str>, has_journals: bool) -> Self {
        let store = match topology {
            Topology::Embedded => Store::Embedded,
            Topology::Standalone => {
                // Acknowledged writes survive the end of the process.
                let arguments = ["--appendonly", "yes", "--appendfsync", "no"];
                let mut redis = RedisServer::stopped_with(&arguments).with_settable_clock();
                redis.restart().await;
                let proxy = Proxy::start(redis.upstream()).await;
                Store::Standalone { redis, proxy }
            }
            Topology::Sentinel => Store::Sentinel(Service::start_with_ways().await),
            Topology::Cluster => Store::Cluster(RedisCluster::start_with_ways().await),
        };
        let mut replicas = Vec::new();
        let count = if topology == Topology::Embedded { 1 } else { 3 };
        let has_journals = has_journals && topology != Topology::Embedded;
        let journals = has_journals.then(|| Journals::new(count));
        for number in 0..count {
            let journal = journals.as_ref().map(|journals| journals.path(number));
            replicas.push(builder(&store, bug, number, journal).start().await);
        }
        let mut caches: Vec<Cache> = Vec::new();
        for replica in &replicas {
            caches.push(replica.client().await);
        }
        let slots = Arc::new(Slots::new(caches));
        let bug = bug.map(str::to_owned);
        Self { replicas, store, slots, journals, bug, panics: Vec::new(), largest_rss: 0 }
    }

    pub(crate) fn len(&self) -> u8 {
        u8::try_from(self.replicas.len()).unwrap()
    }

    /// Kills a replica and starts another one, with the same journal.
    pub(crate) async fn kill(&mut self, number: u8) {
        self.replicas[usize::from(number)].kill();
        let replica = self.builder(number).start().await;
        self.put(number, replica).await;
    }

    /// Starts another replica and shuts the former one down. Returns how it exited, if it did.
    pub(crate) async fn roll(&mut self, number: u8, log: &FaultLog) -> Result<(), String> {
        // Two processes cannot have one journal.
        let former_journal = self.journals.as_mut().map(|journals| journals.turn(number));
        let replica = self.builder(number).start().await;
        let mut former = self.put(number, replica).await;
        former.signal(Signal::SIGTERM);
        let status = former.wait_exit(Duration::from_secs(30)).await;
        if let Some(path) = former_journal {
            self.apply_left(number, &path, log).await?;
        }
        if status.success() { Ok(()) } else { Err(format!("a replica exited with {status}")) }
    }

    fn builder(&self, number: u8) -> Builder {
        let journal = self.journals.as_ref().map(|journals| journals.path(number));
        builder(&self.store, self.bug.as_deref(), number, journal)
    }

    /// The ways of the first replica to its store.
    pub(crate) fn ways(&mut self) -> Vec<&mut Proxy> {
        match &mut self.store {
            Store::Embedded => Vec::new(),
            Store::Standalone { proxy, .. } => vec![proxy],
            Store::Sentinel(service) => {
                let ways = service.ways();
                ways.servers.iter_mut().chain(&mut ways.sentinels).collect()
            }
            Store::Cluster(cluster) => cluster.ways().collect(),
        }
    }

    async fn put(&mut self, number: u8, replica: Larder) -> Larder {
        self.slots.replace(number, replica.client().await);
        let place = &mut self.replicas[usize::from(number)];
        let former = std::mem::replace(place, replica);
        self.note_panics(&former.logs());
        former
    }

    pub(crate) fn signal(&self, number: u8, signal: Signal) {
        self.replicas[usize::from(number)].signal(signal);
    }

    /// Notes the panics and the memory of the replicas, and one that has ended by itself.
    pub(crate) fn inspect(&mut self) {
        for number in 0..self.replicas.len() {
            let log = self.replicas[number].logs();
            self.note_panics(&log);
            let pid = self.replicas[number].pid();
            self.largest_rss = self.largest_rss.max(rss(pid));
            if let Some(status) = self.replicas[number].exited() {
                self.panics.push(format!("replica {number} exited with {status}:\n{log}"));
            }
        }
    }

    /// Writes the logs of the replicas beside the history.
    pub(crate) fn write_logs(&self, seed: u64) {
        for (number, replica) in self.replicas.iter().enumerate() {
            let path = format!("target/checker/replica-{number}-{seed}.log");
            if let Err(error) = std::fs::write(&path, replica.logs()) {
                eprintln!("{path}: {error}");
            }
        }
    }

    fn note_panics(&mut self, log: &str) {
        let panic = log.lines().find(|line| line.contains("panicked at"));
        self.panics.extend(panic.map(str::to_owned));
    }
}

fn builder(store: &Store, bug: Option<&str>, number: u8, journal: Option<PathBuf>) -> Builder {
    let builder = match store {
        Store::Embedded => Larder::memory(),
        Store::Standalone { proxy, .. } if number == 0 => Larder::redis(&proxy.redis_url()),
        Store::Standalone { redis, .. } => Larder::redis(&redis.url()),
        Store::Sentinel(service) if number == 0 => Larder::redis(&service.disturbed_url()),
        Store::Sentinel(service) => Larder::redis(&service.url()),
        Store::Cluster(cluster) if number == 0 => Larder::redis(&cluster.disturbed_url()),
        Store::Cluster(cluster) => Larder::redis(&cluster.url()),
    };
    let mut builder = builder.default_timeouts().config(CONFIG);
    if let Some(path) = journal {
        builder = builder.env("LARDER_JOURNAL__PATH", path.display());
    }
    match bug {
        Some(bug) => builder.env("PLANTED_BUG", bug),
        None => builder,
    }
}

/// Memory of a process in bytes; zero if it has ended.
fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Path of the server that is checked.
pub(crate) fn binary() -> PathBuf {
    crate::options().server.clone()
}
