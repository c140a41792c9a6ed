//! How far behind any read was, while things break.
//!
//! A read is behind by the time between the acknowledgement of the first write that it misses and its own beginning. The promise is that
//! this is never more than `max_staleness`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::pb::v1::{SetResult, Tier};

use super::{coherence::kill_followers, coherent};
use crate::support::{
    client::{Cache, as_text, delete, get, set, text},
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
};

const CONFIG: &str = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '400ms'\n";
const BOUND: Duration = Duration::from_millis(400);
const KEYS: usize = 40;

/// When each number was acknowledged as written under a key, in rising order; a deletion is acknowledged as a number, too.
type Acknowledged = Vec<Mutex<Vec<(u64, Instant)>>>;

#[derive(Default)]
struct Observed {
    acknowledged: Acknowledged,
    over: AtomicBool,
    reads: AtomicU64,
    near: AtomicU64,
    writes: AtomicU64,
    /// In microseconds: of reads that the store answered, and of those that it did not.
    worst: [AtomicU64; 2],
}

impl Observed {
    fn check(&self, key: usize, number: u64, tier: Tier, began: Instant) {
        let acknowledged = self.acknowledged[key].lock().unwrap();
        let missed = acknowledged.partition_point(|(written, _)| *written <= number);
        let behind = acknowledged
            .get(missed)
            .map_or(Duration::ZERO, |(_, at)| began.saturating_duration_since(*at));
        drop(acknowledged);
        let place = usize::from(tier == Tier::Near);
        self.worst[place].fetch_max(u64::try_from(behind.as_micros()).unwrap(), SeqCst);
        self.reads.fetch_add(1, SeqCst);
        self.near.fetch_add(place as u64, SeqCst);
        assert!(behind <= BOUND, "k{key}: a read of {number} ({tier:?}) was behind by {behind:?}");
        assert!(
            place == 1 || behind.is_zero(),
            "k{key}: the store's answer {number} was behind by {behind:?}"
        );
    }
}

/// Writes rising numbers, now and then by way of a deletion.
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
async fn no_read_is_behind_by_more_than_was_promised() {
    let redis = RedisServer::start().await;
    let mut proxies = [Proxy::start(redis.upstream()).await, Proxy::start(redis.upstream()).await];
    let urls = [redis.url(), proxies[0].redis_url(), proxies[1].redis_url()];
    let mut servers = Vec::new();
    for url in urls {
        servers.push(
            Larder::redis(&url).env("LARDER_DEFAULTS__TTL_JITTER", 0).config(CONFIG).start().await,
        );
    }
    let acknowledged = (0..KEYS).map(|_| Mutex::default()).collect();
    let observed = Arc::new(Observed { acknowledged, ..Observed::default() });
    let mut tasks = Vec::new();
    for server in &servers {
        coherent(server).await;
        let cache = server.client().await;
        tasks.extend((0..6).map(|_| tokio::spawn(read(cache.clone(), observed.clone()))));
    }
    let writer = servers[0].client().await;
    tasks.extend((0..KEYS).map(|key| tokio::spawn(write(writer.clone(), key, observed.clone()))));
    let pass = async |what: &str, millis: u64| {
        let (reads, near) = (observed.reads.load(SeqCst), observed.near.load(SeqCst));
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let (reads, near) =
            (observed.reads.load(SeqCst) - reads, observed.near.load(SeqCst) - near);
        let worst = Duration::from_micros(observed.worst[1].load(SeqCst));
        eprintln!("{what}: {reads} reads, {near} of them near; furthest behind so far {worst:?}");
    };
    let mut connection = redis.connection().await;

    pass("all well", 1500).await;
    for _ in 0..5 {
        kill_followers(&mut connection).await;
        pass("connections killed", 200).await;
    }
    for _ in 0..2 {
        redis.pause();
        pass("Redis stopped", 700).await;
        redis.resume();
        pass("Redis goes on", 700).await;
    }
    proxies[0].blackhole();
    pass("a replica cut off without a word", 1200).await;
    proxies[0].restore().await;
    proxies[1].hold_replies();
    pass("a replica is told nothing", 1200).await;
    proxies[1].restore().await;
    proxies[0].cut().await;
    pass("a replica cut off", 500).await;
    proxies[0].restore().await;
    proxies[1].slow_down(Duration::from_millis(30));
    pass("a replica far away", 1000).await;
    proxies[1].restore().await;
    pass("all well again", 1500).await;

    observed.over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let [reads, near, writes] =
        [&observed.reads, &observed.near, &observed.writes].map(|count| count.load(SeqCst));
    let [store, worst] =
        [0, 1].map(|tier: usize| Duration::from_micros(observed.worst[tier].load(SeqCst)));
    eprintln!(
        "{writes} writes, {reads} reads, {near} near; furthest behind: near {worst:?}, store {store:?}"
    );
    assert!(
        writes > 200 && near > 1000 && reads > near,
        "{writes} writes, {reads} reads, {near} near"
    );
    // Announcements were missed, or this would not have tried anything.
    assert!(worst > Duration::from_millis(100), "{worst:?}");
}
