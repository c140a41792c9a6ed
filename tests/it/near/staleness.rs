//! Staleness of near reads while faults occur.
//!
//! The staleness of a read is the time from the acknowledgement of the first write that the read
//! misses to the start of the read. It must never exceed `max_staleness`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::pb::v1::{SetResult, Tier};

use super::{coherence::kill_tracking_connections, wait_until_coherent};
use crate::support::{
    client::{Cache, as_text, delete, get, set, text},
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

const CONFIG: &str = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '400ms'\n";
const MAX_STALENESS: Duration = Duration::from_millis(400);
const KEYS: usize = 40;

/// For each key, the numbers written and when each write was acknowledged, in ascending order.
type Acknowledged = Vec<Mutex<Vec<(u64, Instant)>>>;

#[derive(Default)]
struct Observed {
    acknowledged: Acknowledged,
    over: AtomicBool,
    reads: AtomicU64,
    near: AtomicU64,
    writes: AtomicU64,
    /// Greatest staleness in microseconds: of reads from the store, and of near reads.
    worst: [AtomicU64; 2],
}

impl Observed {
    fn check(&self, key: usize, number: u64, tier: Tier, began: Instant) {
        let acknowledged = self.acknowledged[key].lock().unwrap();
        let missed = acknowledged.partition_point(|(written, _)| *written <= number);
        let staleness = acknowledged
            .get(missed)
            .map_or(Duration::ZERO, |(_, at)| began.saturating_duration_since(*at));
        drop(acknowledged);
        let index = usize::from(tier == Tier::Near);
        self.worst[index].fetch_max(u64::try_from(staleness.as_micros()).unwrap(), SeqCst);
        self.reads.fetch_add(1, SeqCst);
        self.near.fetch_add(index as u64, SeqCst);
        assert!(
            staleness <= MAX_STALENESS,
            "k{key}: a read of {number} ({tier:?}) was stale by {staleness:?}"
        );
        assert!(
            index == 1 || staleness.is_zero(),
            "k{key}: the store's answer {number} was stale by {staleness:?}"
        );
    }
}

/// Writes ascending numbers; a delete precedes every seventh.
async fn write(cache: Cache, key: usize, observed: Arc<Observed>) {
    let name = format!("k{key}");
    let mut number = 0;
    while !observed.over.load(SeqCst) {
        number += 1;
        if number % 7 == 0 && cache.delete(delete(&name)).await.is_err() {
            continue;
        }
        let answer = cache.set(set(&name, text(&number.to_string()))).await.unwrap();
        if answer.result() == SetResult::Stored {
            observed.acknowledged[key].lock().unwrap().push((number, Instant::now()));
            observed.writes.fetch_add(1, SeqCst);
        }
        // Not a wait: the pace of the writes.
        tokio::time::sleep(Duration::from_millis(rand::random_range(20..200))).await;
    }
}

async fn read(cache: Cache, observed: Arc<Observed>) {
    while !observed.over.load(SeqCst) {
        let key = rand::random_range(0..KEYS);
        let began = Instant::now();
        let answer = cache.get(get(&format!("k{key}"))).await.unwrap();
        let Some(entry) = answer.entry else { continue };
        let tier = entry.tier();
        let number = as_text(answer.value).unwrap().parse().unwrap();
        observed.check(key, number, tier, began);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_staler_than_max_staleness() {
    let redis = RedisServer::start().await;
    let mut proxies = [Proxy::start(redis.upstream()).await, Proxy::start(redis.upstream()).await];
    let urls = [redis.url(), proxies[0].redis_url(), proxies[1].redis_url()];
    let mut servers = Vec::new();
    for url in urls {
        servers.push(
            Larder::redis(&url)
                .default_timeouts()
                .env("LARDER_DEFAULTS__TTL_JITTER", 0)
                .config(CONFIG)
                .start()
                .await,
        );
    }
    let acknowledged = (0..KEYS).map(|_| Mutex::default()).collect();
    let observed = Arc::new(Observed { acknowledged, ..Observed::default() });
    let mut tasks = Vec::new();
    for server in &servers {
        wait_until_coherent(server).await;
        let cache = server.client().await;
        tasks.extend((0..6).map(|_| tokio::spawn(read(cache.clone(), observed.clone()))));
    }
    let writer = servers[0].client().await;
    tasks.extend((0..KEYS).map(|key| tokio::spawn(write(writer.clone(), key, observed.clone()))));
    let run_phase = async |what: &str, millis: u64| {
        let (reads, near) = (observed.reads.load(SeqCst), observed.near.load(SeqCst));
        // The phase, such as a fault, must last for this time.
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let (reads, near) =
            (observed.reads.load(SeqCst) - reads, observed.near.load(SeqCst) - near);
        let worst = Duration::from_micros(observed.worst[1].load(SeqCst));
        eprintln!(
            "{what}: {reads} reads, {near} of them near; greatest staleness so far {worst:?}"
        );
    };
    let mut connection = redis.connection().await;

    run_phase("no fault", 1500).await;
    for _ in 0..5 {
        kill_tracking_connections(&mut connection).await;
        run_phase("connections killed", 200).await;
    }
    for _ in 0..2 {
        redis.pause();
        run_phase("Redis paused", 700).await;
        redis.resume();
        run_phase("Redis resumed", 700).await;
    }
    proxies[0].blackhole();
    run_phase("traffic of a replica dropped", 1200).await;
    proxies[0].restore().await;
    proxies[1].hold_replies();
    run_phase("replies to a replica held back", 1200).await;
    proxies[1].restore().await;
    proxies[0].cut().await;
    run_phase("connections of a replica cut", 500).await;
    proxies[0].restore().await;
    proxies[1].slow_down(Duration::from_millis(30));
    run_phase("high latency to a replica", 1000).await;
    proxies[1].restore().await;
    run_phase("no fault again", 1500).await;
    eventually("enough is read", 6 * SOON, async || {
        let [reads, near, writes] =
            [&observed.reads, &observed.near, &observed.writes].map(|count| count.load(SeqCst));
        (writes > 200 && near > 1000 && reads > near).then_some(())
    })
    .await;

    observed.over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let [reads, near, writes] =
        [&observed.reads, &observed.near, &observed.writes].map(|count| count.load(SeqCst));
    let [store, worst] =
        [0, 1].map(|tier: usize| Duration::from_micros(observed.worst[tier].load(SeqCst)));
    eprintln!(
        "{writes} writes, {reads} reads, {near} near; \
         greatest staleness: near {worst:?}, store {store:?}"
    );
    // Some invalidations were missed; otherwise the test would prove nothing.
    assert!(worst > Duration::from_millis(100), "{worst:?}");
}
