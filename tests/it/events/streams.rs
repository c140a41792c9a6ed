//! Redis streams as sources of events.

use std::time::Duration;

use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;

use crate::support::{
    client::Cache,
    fleet::metric,
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

const RULES: &str = r#"
[[events.changed]]
namespace = "ns"
pattern = "{id}:*"
"#;
const ENTRIES: &str = "larder_event_source_entries_total";

/// A source on a server, with further keys.
fn config(url: &str, keys: &str) -> String {
    format!("{RULES}[[event_sources]]\nredis_stream = 'events'\nurl = '{url}'\n{keys}\n")
}

/// Adds an entry, and returns its id.
async fn add(redis: &mut MultiplexedConnection, fields: &[(&str, &str)]) -> String {
    let mut add = redis::cmd("XADD");
    add.arg("events").arg("*");
    for (name, value) in fields {
        add.arg(name).arg(value);
    }
    add.query_async(redis).await.unwrap()
}

async fn changed(redis: &mut MultiplexedConnection, id: &str) -> String {
    add(redis, &[("event", "changed"), ("id", id)]).await
}

/// Number of entries that are read and not acknowledged.
async fn pending(redis: &mut MultiplexedConnection) -> u64 {
    let answer: Vec<redis::Value> =
        redis::cmd("XPENDING").arg("events").arg("larder").query_async(redis).await.unwrap();
    redis::from_redis_value(answer[0].clone()).unwrap()
}

async fn consumers(redis: &mut MultiplexedConnection) -> usize {
    let mut info = redis::cmd("XINFO");
    let info = info.arg("CONSUMERS").arg("events").arg("larder");
    info.query_async::<Vec<redis::Value>>(redis).await.unwrap().len()
}

async fn await_read(larder: &Larder) {
    eventually("the stream is read", SOON, async || {
        (metric(larder, "larder_event_source_connected").await == 1.0).then_some(())
    })
    .await;
}

async fn await_gone(cache: &Cache, key: &str) {
    eventually("the entry is invalid", SOON, async || {
        cache.read(key).await.is_none().then_some(())
    })
    .await;
}

/// Waits until a server on Redis stores values.
async fn put(cache: &Cache, key: &str) {
    use crate::support::client::{set, text};
    eventually("the value is stored", SOON, async || {
        let answer = cache.set(set(key, text("v"))).await.unwrap();
        (!answer.degraded).then_some(())
    })
    .await;
}

async fn counted(larder: &Larder, outcome: &str) -> f64 {
    let text = larder.admin("/metrics").await.body;
    let outcome = format!("outcome=\"{outcome}\"");
    let line = text.lines().find(|line| line.starts_with(ENTRIES) && line.contains(&outcome));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Entries are applied, acknowledged and counted; others are refused, copied and acknowledged.
async fn read_and_acknowledge(larder: &Larder, redis: &RedisServer) {
    let cache = larder.client().await;
    await_read(larder).await;
    let mut stream = redis.connection().await;
    for key in ["1:a", "2:a", "3:a"] {
        put(&cache, key).await;
    }
    changed(&mut stream, "1").await;
    await_gone(&cache, "1:a").await;
    add(&mut stream, &[("event", "changed"), ("other", "x")]).await;
    let nameless = add(&mut stream, &[("name", "x")]).await;
    add(&mut stream, &[("event", "unknown")]).await;
    changed(&mut stream, "2").await;
    await_gone(&cache, "2:a").await;
    assert!(cache.read("3:a").await.is_some());
    eventually("all are acknowledged", SOON, async || {
        (pending(&mut stream).await == 0).then_some(())
    })
    .await;
    eventually("all are counted", SOON, async || {
        let counts = (counted(larder, "applied").await, counted(larder, "refused").await);
        (counts == (3.0, 2.0)).then_some(())
    })
    .await;
    let dead: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg("dead").arg("-").arg("+").query_async(&mut stream).await.unwrap();
    assert_eq!(dead.len(), 2);
    let reason = "attributes.id must be set: \"{id}:*\" needs it (rule 0 of changed)";
    assert!(dead[0].1.contains(&reason.to_owned()), "{dead:?}");
    let fields = ["name", "x", "larder-reason", "there is no field event", "larder-id", &nameless];
    assert_eq!(dead[1].1, fields);
    assert!(larder.logs().contains("an event is refused"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_read_for_the_embedded_store() {
    let redis = RedisServer::start().await;
    let config = config(&redis.url(), "dead_letter = 'dead'");
    let mut larder = Larder::memory().config(&config).start().await;
    read_and_acknowledge(&larder, &redis).await;
    let mut stream = redis.connection().await;
    assert_eq!(consumers(&mut stream).await, 1);
    larder.signal(Signal::SIGTERM);
    assert!(larder.wait_exit(SOON).await.success());
    assert_eq!(consumers(&mut stream).await, 0, "it has left the group");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_read_on_the_store_s_server() {
    let redis = RedisServer::start().await;
    let source = "[[event_sources]]\nredis_stream = 'events'\ndead_letter = 'dead'\n";
    let config = format!("{RULES}{source}");
    let larder = Larder::redis(&redis.url()).config(&config).start().await;
    read_and_acknowledge(&larder, &redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_takes_over_what_a_killed_one_has_read() {
    let (store, events) = (RedisServer::start().await, RedisServer::start().await);
    let proxy = Proxy::start(store.upstream()).await;
    let config = config(&events.url(), "min_idle = '1s'");
    let mut doomed =
        Larder::redis(&proxy.redis_url()).default_timeouts().config(&config).start().await;
    await_read(&doomed).await;
    // The store does not answer, so the entry stays pending.
    proxy.blackhole();
    let mut stream = events.connection().await;
    let survivor_config = config.clone();
    changed(&mut stream, "1").await;
    eventually("it is read", SOON, async || (pending(&mut stream).await == 1).then_some(())).await;
    let survivor = Larder::redis(&store.url()).config(&survivor_config).start().await;
    let cache = survivor.client().await;
    await_read(&survivor).await;
    put(&cache, "1:a").await;
    // While the first replica lives, it holds the entry.
    throughout(Duration::from_millis(2500), async || {
        assert_eq!(counted(&survivor, "claimed").await, 0.0);
    })
    .await;
    assert!(cache.read("1:a").await.is_some());
    doomed.kill();
    await_gone(&cache, "1:a").await;
    eventually("it is acknowledged", SOON, async || {
        (pending(&mut stream).await == 0).then_some(())
    })
    .await;
    assert_eq!(counted(&survivor, "claimed").await, 1.0);
    assert_eq!(counted(&survivor, "applied").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_wait_for_the_store() {
    let (mut store, events) = (RedisServer::start().await, RedisServer::start().await);
    let config = config(&events.url(), "min_idle = '1s'\nmax_deliveries = 1");
    let larder = Larder::redis(&store.url()).default_timeouts().config(&config).start().await;
    let cache = larder.client().await;
    await_read(&larder).await;
    put(&cache, "1:a").await;
    store.pause();
    let mut stream = events.connection().await;
    changed(&mut stream, "1").await;
    eventually("it waits", SOON, async || {
        larder.logs().contains("events wait for the store").then_some(())
    })
    .await;
    throughout(Duration::from_millis(1500), async || assert_eq!(pending(&mut stream).await, 1))
        .await;
    store.resume();
    await_gone(&cache, "1:a").await;
    eventually("it is acknowledged", SOON, async || {
        (pending(&mut stream).await == 0).then_some(())
    })
    .await;
    assert_eq!(counted(&larder, "refused").await, 0.0, "an outage is no fault of the entry");
    assert!(larder.logs().contains("events are applied again"));
    store.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_is_applied_without_the_stream_and_acknowledged_later() {
    let (store, events) = (RedisServer::start().await, RedisServer::start().await);
    let mut proxy = Proxy::start(events.upstream()).await;
    let config = config(&proxy.redis_url(), "");
    let larder = Larder::redis(&store.url()).default_timeouts().config(&config).start().await;
    let cache = larder.client().await;
    await_read(&larder).await;
    put(&cache, "1:a").await;
    store.pause();
    let mut stream = events.connection().await;
    changed(&mut stream, "1").await;
    // An answer that is lost on its way is taken over later, after `min_idle`.
    eventually("it waits for the store", SOON, async || {
        larder.logs().contains("events wait for the store").then_some(())
    })
    .await;
    proxy.cut().await;
    eventually("the loss is logged", SOON, async || {
        larder.logs().contains("the event source is lost").then_some(())
    })
    .await;
    store.resume();
    await_gone(&cache, "1:a").await;
    assert_eq!(pending(&mut stream).await, 1);
    proxy.restore().await;
    eventually("it is acknowledged", SOON, async || {
        (pending(&mut stream).await == 0 && counted(&larder, "applied").await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_backlog_of_another_consumer_is_taken_over() {
    let events = RedisServer::start().await;
    let mut stream = events.connection().await;
    let create = ["CREATE", "events", "larder", "$", "MKSTREAM"];
    redis::cmd("XGROUP").arg(&create).exec_async(&mut stream).await.unwrap();
    for id in 0..300 {
        changed(&mut stream, &id.to_string()).await;
    }
    let read = ["GROUP", "larder", "dead", "COUNT", "300", "STREAMS", "events", ">"];
    redis::cmd("XREADGROUP").arg(&read).exec_async(&mut stream).await.unwrap();
    let keys = "min_idle = '1s'\nbatch = 10";
    let larder = Larder::memory().config(&config(&events.url(), keys)).start().await;
    eventually("all are applied", SOON, async || {
        (counted(&larder, "applied").await == 300.0 && pending(&mut stream).await == 0)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_of_the_stream_may_restart() {
    let events = RedisServer::start().await;
    let mut proxy = Proxy::start(events.upstream()).await;
    let larder = Larder::memory().config(&config(&proxy.redis_url(), "")).start().await;
    let cache = larder.client().await;
    await_read(&larder).await;
    proxy.cut().await;
    eventually("the loss is logged", SOON, async || {
        larder.logs().contains("the event source is lost").then_some(())
    })
    .await;
    assert_eq!(metric(&larder, "larder_event_source_connected").await, 0.0);
    put(&cache, "1:a").await;
    let mut stream = events.connection().await;
    changed(&mut stream, "1").await;
    proxy.restore().await;
    await_gone(&cache, "1:a").await;
    assert!(larder.logs().contains("the event source is back"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_gone_begins_at_the_oldest_entry() {
    let events = RedisServer::start().await;
    let larder = Larder::memory().config(&config(&events.url(), "")).start().await;
    let cache = larder.client().await;
    await_read(&larder).await;
    put(&cache, "1:a").await;
    let mut stream = events.connection().await;
    let mut both = redis::pipe();
    both.atomic().cmd("FLUSHALL").ignore();
    both.cmd("XADD").arg("events").arg("*").arg("event").arg("changed").arg("id").arg("1").ignore();
    both.exec_async(&mut stream).await.unwrap();
    await_gone(&cache, "1:a").await;
    eventually("it is logged", SOON, async || {
        larder.logs().contains("the consumer group was missing").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_delivered_too_often_is_given_up() {
    let events = RedisServer::start().await;
    let mut stream = events.connection().await;
    let create = ["CREATE", "events", "larder", "$", "MKSTREAM"];
    redis::cmd("XGROUP").arg(&create).exec_async(&mut stream).await.unwrap();
    // Two consumers that end while they work on it.
    let id = changed(&mut stream, "1").await;
    let trimmed = changed(&mut stream, "2").await;
    let read = ["GROUP", "larder", "dead", "STREAMS", "events", ">"];
    redis::cmd("XREADGROUP").arg(&read).exec_async(&mut stream).await.unwrap();
    let claim = ["events", "larder", "dead", "0", &id];
    redis::cmd("XCLAIM").arg(&claim).exec_async(&mut stream).await.unwrap();
    redis::cmd("XDEL").arg(&["events", &trimmed]).exec_async(&mut stream).await.unwrap();
    let keys = "min_idle = '1s'\nmax_deliveries = 2\ndead_letter = 'dead'";
    let larder = Larder::memory().config(&config(&events.url(), keys)).start().await;
    eventually("it is given up", SOON, async || {
        (counted(&larder, "refused").await == 1.0 && pending(&mut stream).await == 0).then_some(())
    })
    .await;
    let dead: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg("dead").arg("-").arg("+").query_async(&mut stream).await.unwrap();
    assert!(dead[0].1.contains(&"it was delivered 3 times".to_owned()), "{dead:?}");
    assert_eq!(counted(&larder, "lost").await, 1.0);
    assert!(larder.logs().contains("the stream was trimmed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_entry_that_cannot_be_copied_keeps_no_other_back() {
    let events = RedisServer::start().await;
    let config = config(&events.url(), "dead_letter = 'dead'");
    let larder = Larder::memory().config(&config).start().await;
    let cache = larder.client().await;
    await_read(&larder).await;
    put(&cache, "1:a").await;
    let mut stream = events.connection().await;
    redis::cmd("SET").arg(&["dead", "no stream"]).exec_async(&mut stream).await.unwrap();
    add(&mut stream, &[("event", "changed")]).await;
    changed(&mut stream, "1").await;
    await_gone(&cache, "1:a").await;
    eventually("both are acknowledged", SOON, async || {
        (pending(&mut stream).await == 0).then_some(())
    })
    .await;
    assert!(larder.logs().contains("WRONGTYPE"), "{}", larder.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_and_start_are_configured() {
    let events = RedisServer::start().await;
    let mut stream = events.connection().await;
    let row = r#"{"id": 1}"#;
    add(&mut stream, &[("key", "x"), ("value", row)]).await;
    let keys = "event = 'changed'\ndata_field = 'value'\nstart = 'oldest'\ngroup = 'larder'";
    let larder = Larder::memory().config(&config(&events.url(), keys)).start().await;
    eventually("the old entry is applied", SOON, async || {
        (counted(&larder, "applied").await == 1.0).then_some(())
    })
    .await;
    let cache = larder.client().await;
    put(&cache, "2:a").await;
    add(&mut stream, &[("value", r#"{"id": 2}"#)]).await;
    await_gone(&cache, "2:a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_entries() {
    let redis = RedisServer::start().await;
    let config = config(&redis.url(), "batch = 1");
    let one = Larder::redis(&redis.url()).config(&config).start().await;
    let other = Larder::redis(&redis.url()).config(&config).start().await;
    await_read(&one).await;
    await_read(&other).await;
    let mut stream = redis.connection().await;
    for id in 0..50 {
        changed(&mut stream, &id.to_string()).await;
    }
    eventually("each entry is applied once", SOON, async || {
        let applied = counted(&one, "applied").await + counted(&other, "applied").await;
        (applied == 50.0 && pending(&mut stream).await == 0).then_some(())
    })
    .await;
    assert_eq!(consumers(&mut stream).await, 2);
}
