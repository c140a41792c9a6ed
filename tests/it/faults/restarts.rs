//! Redis restarts or hangs: reads, writes, leases, FetchStream and the near cache heal by
//! themselves.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    GetOrFetchResponse, GetRequest, Outcome, SetRequest, SetResult, Tier,
    get_or_fetch_response::Outcome as Answer,
};
use tokio::task::JoinHandle;

use crate::support::{
    client::{Cache, as_text, fetch, fill, get, set, text},
    fleet::metric,
    redis::RedisServer,
    server::Larder,
    stream::Stream,
    wait::{eventually, throughout},
};

/// The contract allows three seconds. The rest is tolerance for a slow machine.
const HEALED_AFTER: Duration = Duration::from_secs(6);
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
const NEAR: &str = "[namespaces.near.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '1s'\n";

/// Two replicas on one Redis, with a near cache for the namespace `near`.
struct Setup {
    redis: RedisServer,
    replicas: [Larder; 2],
    caches: [Cache; 2],
    round: usize,
}

impl Setup {
    async fn start(arguments: &[&str]) -> Self {
        let redis = RedisServer::start_with(arguments).await;
        let replica = async || {
            // Longer than any wait, so that no lease ends by itself.
            Larder::redis(&redis.url())
                .default_timeouts()
                .env("LARDER_DEFAULTS__LEASE_TTL", "50s")
                .config(NEAR)
                .start()
                .await
        };
        let replicas = [replica().await, replica().await];
        let caches = [replicas[0].client().await, replicas[1].client().await];
        let mut setup = Self { redis, replicas, caches, round: 0 };
        setup.works("started").await;
        setup
    }

    async fn command(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        let client = redis::Client::open(self.redis.url()).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        // The answer to SHUTDOWN is the end of the connection.
        let _ = command.exec_async(&mut connection.unwrap()).await;
    }

    /// Everything works within the limit.
    async fn works(&mut self, since: &str) {
        self.round += 1;
        let key = |name: &str| format!("{name} {}", self.round);
        let [here, there] = &self.caches;
        let began = Instant::now();
        eventually(&format!("{since}: writes are stored and read"), HEALED_AFTER, async || {
            for (writer, reader) in [(here, there), (there, here)] {
                let stored = writer.set(set(&key("k"), text(since))).await.unwrap();
                let read = reader.get(get(&key("k"))).await.unwrap();
                if stored.result() != SetResult::Stored || read.outcome() != Outcome::Hit {
                    return None;
                }
            }
            Some(())
        })
        .await;
        // A waiter at the other replica is woken by the announcement of the fill.
        let lease = here.lease(&key("lease")).await;
        let waiter = wait_for(there, &key("lease"));
        waits(&self.replicas[1]).await;
        here.set(fill(&key("lease"), text("v"), &lease)).await.unwrap();
        expect_value(waiter, began).await;
        let mut stream = Stream::lease(there, &key("stream")).await;
        let waiter = wait_for(here, &key("stream"));
        waits(&self.replicas[0]).await;
        assert_eq!(stream.fill("v").await, SetResult::Stored, "{since}");
        expect_value(waiter, began).await;

        let near = |name: &str| GetRequest { namespace: "near".to_owned(), ..get(&key(name)) };
        for value in ["old", "new"] {
            let written = set(&key("n"), text(value));
            let written = SetRequest { namespace: "near".to_owned(), ..written };
            assert_eq!(there.set(written).await.unwrap().result(), SetResult::Stored, "{since}");
            eventually(
                &format!("{since}: the near cache holds {value}"),
                HEALED_AFTER,
                async || {
                    let answer = here.get(near("n")).await.unwrap();
                    let is_near = answer.entry.as_ref()?.tier() == Tier::Near;
                    (is_near && as_text(answer.value)? == value).then_some(())
                },
            )
            .await;
        }
        eprintln!("{since}: everything works after {:?}", began.elapsed());
        assert!(began.elapsed() < HEALED_AFTER, "{since}: {:?}", began.elapsed());
    }
}

fn wait_for(cache: &Cache, key: &str) -> JoinHandle<GetOrFetchResponse> {
    let (cache, request) = (cache.clone(), fetch(key, 40_000));
    tokio::spawn(async move { cache.get_or_fetch(request).await.unwrap() })
}

/// Waits until a call waits for a value.
async fn waits(replica: &Larder) {
    eventually("a call waits", HEALED_AFTER, async || {
        (metric(replica, "larder_waiting").await >= 1.0).then_some(())
    })
    .await;
}

async fn expect_value(waiter: JoinHandle<GetOrFetchResponse>, began: Instant) {
    let left = HEALED_AFTER.saturating_sub(began.elapsed());
    let answer = tokio::time::timeout(left, waiter).await.expect("the waiter is woken").unwrap();
    assert!(matches!(answer.outcome, Some(Answer::Found(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_heals_after_a_crash() {
    for arguments in [&[][..], &DURABLE] {
        let mut setup = Setup::start(arguments).await;
        for _ in 0..2 {
            setup.redis.kill();
            setup.redis.restart().await;
            setup.works("killed and restarted").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_heals_after_a_long_crash() {
    let mut setup = Setup::start(&[]).await;
    setup.redis.kill();
    throughout(Duration::from_secs(5), async || {
        assert!(setup.caches[0].get(get("k")).await.unwrap().degraded);
    })
    .await;
    setup.redis.restart().await;
    setup.works("restarted after 5 s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_heals_after_a_shutdown() {
    let mut setup = Setup::start(&DURABLE).await;
    setup.caches[0].put("kept", "v").await;
    setup.command(&["SHUTDOWN"]).await;
    setup.redis.restart().await;
    setup.works("shut down and restarted").await;
    assert_eq!(setup.caches[1].read("kept").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_heals_after_a_pause_of_the_clients() {
    let mut setup = Setup::start(&[]).await;
    for mode in ["ALL", "WRITE"] {
        setup.command(&["CLIENT", "PAUSE", "2000", mode]).await;
        let cache = &setup.caches[0];
        let during = cache.set(set("during", text("v"))).await.unwrap();
        assert_eq!((during.result(), during.degraded), (SetResult::NotStored, true), "{mode}");
        throughout(Duration::from_secs(2), async || {}).await;
        setup.works(&format!("CLIENT PAUSE {mode}")).await;
        // A write that was reported as not stored is not applied afterwards.
        assert_eq!(setup.caches[0].read("during").await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_heals_after_a_hang() {
    let mut setup = Setup::start(&["--enable-debug-command", "yes"]).await;
    for _ in 0..2 {
        let began = Instant::now();
        setup.command(&["DEBUG", "SLEEP", "2"]).await;
        assert!(began.elapsed() >= Duration::from_secs(2));
        setup.works("DEBUG SLEEP").await;
    }
}

/// A stream that holds a lease, and a waiter at the other replica, across a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_and_waiter_end_in_time_after_a_restart() {
    for (arguments, is_kept) in [(&DURABLE[..], true), (&[], false)] {
        let mut setup = Setup::start(arguments).await;
        let mut stream = Stream::lease(&setup.caches[0], "across").await;
        let waiter = wait_for(&setup.caches[1], "across");
        waits(&setup.replicas[1]).await;
        setup.redis.kill();
        setup.redis.restart().await;
        let began = Instant::now();
        eventually("the store answers", HEALED_AFTER, async || {
            (!setup.caches[0].get(get("k")).await.unwrap().degraded).then_some(())
        })
        .await;
        let filled = tokio::time::timeout(HEALED_AFTER, stream.fill("v")).await.unwrap();
        if is_kept {
            assert_eq!(filled, SetResult::Stored);
            expect_value(waiter, began).await;
        } else {
            assert_ne!(filled, SetResult::Stored);
            // The lease is lost with the data, and the waiter gets one of its own.
            let answer = tokio::time::timeout(HEALED_AFTER, waiter).await.unwrap().unwrap();
            assert!(matches!(answer.outcome, Some(Answer::Lease(_))), "{answer:?}");
        }
        setup.works("restarted").await;
    }
}
