//! Compares the client with bare stubs on the same server, and with redis-rs on the same Redis.
//!
//! `LARDER_BIN=... cargo run --release -p larder-client --features testing --example compare --
//! SECONDS`
//!
//! The ways take turns, and the median counts. On a machine with other work the rates say little:
//! the time of the processor per call is then what compares. It is that of this process, as are the
//! allocations.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::{alloc::System, error::Error, pin::Pin, process::Stdio, time::Duration};

use bytes::Bytes;
use larder_client::{
    Client, Namespace, Preset, pb,
    pb::cache_service_client::CacheServiceClient,
    testing::{LarderServer, ServerOptions},
};
use nix::sys::resource::{UsageWho, getrusage};
use redis::AsyncCommands as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{process::Command, time::Instant};
use tonic::transport::Channel;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 5;
const BATCH: usize = 100;
const IN_FLIGHT: usize = 32;

type Call = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>>;
type Tried = Result<(), Box<dyn Error>>;

#[derive(Clone, Copy)]
struct Measure {
    /// Calls per second.
    rate: f64,
    /// Microseconds of the processor per call.
    cpu: f64,
    /// Allocations per call.
    allocations: f64,
}

fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the usage of this process");
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Makes calls with so many in flight.
async fn measure(call: &Call, in_flight: usize, time: Duration) -> Measure {
    let (region, before, begun) = (Region::new(ALLOCATOR), cpu(), Instant::now());
    let workers: Vec<_> = std::iter::repeat_with(|| async {
        let mut count = 0_u32;
        while begun.elapsed() < time {
            call().await;
            count += 1;
        }
        count
    })
    .take(in_flight)
    .collect();
    let calls = f64::from(futures_util::future::join_all(workers).await.into_iter().sum::<u32>());
    Measure {
        rate: calls / begun.elapsed().as_secs_f64(),
        cpu: (cpu() - before) * 1e6 / calls,
        allocations: region.change().allocations as f64 / calls,
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn compare(title: &str, ways: &[(&str, Call)], in_flight: usize, time: Duration) {
    let mut all = vec![Vec::new(); ways.len()];
    for (_, call) in ways {
        measure(call, in_flight, time / 4).await;
    }
    for _ in 0..ROUNDS {
        for ((_, call), measures) in ways.iter().zip(&mut all) {
            measures.push(measure(call, in_flight, time).await);
        }
    }
    println!("{title}, {in_flight} in flight");
    let of = |index: usize, part: fn(&Measure) -> f64| median(all[index].iter().map(part));
    for (index, (name, _)) in ways.iter().enumerate() {
        let [rate, cpu] = [|one: &Measure| one.rate, |one: &Measure| one.cpu]
            .map(|part| (of(index, part), of(0, part)));
        println!(
            "  {name:<14} {:>9.0}/s {:>5.2} {:>8.1} us {:>5.2} {:>7.1} allocations",
            rate.0,
            rate.0 / rate.1,
            cpu.0,
            cpu.1 / cpu.0,
            of(index, |one| one.allocations),
        );
    }
}

fn call<F, Fut>(make: F) -> Call
where
    F: Fn() -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    Box::new(move || Box::pin(make()))
}

fn keys() -> Vec<String> {
    (0..BATCH).map(|number| format!("k{number}")).collect()
}

async fn filled(client: &Client, value: &Bytes) -> Result<Namespace<Bytes>, Box<dyn Error>> {
    let cache = client.namespace::<Bytes>("bench");
    for key in keys() {
        cache.set(key, value).await?;
    }
    Ok(cache)
}

fn ways_of_stubs(
    cache: &Namespace<Bytes>,
    stub: &CacheServiceClient<Channel>,
    value: &Bytes,
) -> [(&'static str, [(&'static str, Call); 2]); 3] {
    let namespace = || "bench".to_owned();
    let get = {
        let stub = stub.clone();
        call(move || {
            let mut stub = stub.clone();
            async move {
                let key = "k0".to_owned();
                let request = pb::GetRequest { namespace: namespace(), key, ..Default::default() };
                stub.get(request).await.expect("an answer");
            }
        })
    };
    let set = {
        let (stub, value) = (stub.clone(), value.clone());
        call(move || {
            let (mut stub, value) = (stub.clone(), value.clone());
            async move {
                let kind = Some(pb::value::Kind::Data(value));
                let request = pb::SetRequest {
                    namespace: namespace(),
                    key: "k0".to_owned(),
                    value: Some(pb::Value { kind }),
                    ..Default::default()
                };
                stub.set(request).await.expect("an answer");
            }
        })
    };
    let batch = {
        let stub = stub.clone();
        call(move || {
            let mut stub = stub.clone();
            async move {
                let keys = keys().into_iter().map(|key| pb::KeyRef {
                    namespace: namespace(),
                    key,
                    ..Default::default()
                });
                let keys = keys.collect();
                let request = pb::BatchGetRequest { keys, ..Default::default() };
                let mut stream = stub.batch_get(request).await.expect("a stream").into_inner();
                while stream.message().await.expect("a message").is_some() {}
            }
        })
    };
    let own = own_ways(cache, value);
    let [own_get, own_set, own_batch] = own;
    [
        ("get of 1 KiB", [("stub", get), ("larder-client", own_get)]),
        ("set of 1 KiB", [("stub", set), ("larder-client", own_set)]),
        ("100 keys", [("stub", batch), ("larder-client", own_batch)]),
    ]
}

fn own_ways(cache: &Namespace<Bytes>, value: &Bytes) -> [Call; 3] {
    let (on_get, on_set, on_batch) = (cache.clone(), cache.clone(), cache.clone());
    let value = value.clone();
    [
        call(move || {
            let cache = on_get.clone();
            async move { assert!(cache.get("k0").await.expect("an answer").found()) }
        }),
        call(move || {
            let (cache, value) = (on_set.clone(), value.clone());
            async move { assert!(cache.set("k0", &value).await.expect("an answer").is_stored()) }
        }),
        call(move || {
            let cache = on_batch.clone();
            async move {
                assert_eq!(cache.get_many(keys()).await.expect("answers").len(), BATCH);
            }
        }),
    ]
}

async fn beside_stubs(time: Duration, value: &Bytes) -> Tried {
    let server = LarderServer::start(ServerOptions::default()).await?;
    let client = Client::builder(server.target()).preset(Preset::Local).connect().await?;
    let cache = filled(&client, value).await?;
    let channel = Channel::from_shared(format!("http://{}", server.target()))?.connect().await?;
    let stub = CacheServiceClient::new(channel);
    for (title, ways) in ways_of_stubs(&cache, &stub, value) {
        for in_flight in if title == "100 keys" { vec![1] } else { vec![1, IN_FLIGHT] } {
            compare(title, &ways, in_flight, time).await;
        }
    }
    Ok(())
}

async fn beside_redis(time: Duration, value: &Bytes) -> Tried {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("redis.sock");
    let _redis = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let begun = Instant::now();
    while !socket.exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "redis-server does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url = format!("unix://{}", socket.display());
    let config = format!("[store]\nurl = {url:?}\n");
    let server = LarderServer::start(ServerOptions { config, ..Default::default() }).await?;
    let client = Client::builder(server.target()).preset(Preset::Local).connect().await?;
    let cache = filled(&client, value).await?;
    let redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    for key in keys() {
        let () = redis.clone().set(key, &value[..]).await?;
    }
    let get = {
        let redis = redis.clone();
        call(move || {
            let mut redis = redis.clone();
            async move {
                let _: Vec<u8> = redis.get("k0").await.expect("an answer");
            }
        })
    };
    let many = call(move || {
        let mut redis = redis.clone();
        async move {
            let _: Vec<Vec<u8>> = redis.mget(keys()).await.expect("answers");
        }
    });
    let [own_get, _, own_many] = own_ways(&cache, value);
    let get = [("redis-rs", get), ("larder-client", own_get)];
    for in_flight in [1, IN_FLIGHT] {
        compare("get of 1 KiB, on Redis", &get, in_flight, time).await;
    }
    compare("100 keys, on Redis", &[("redis-rs", many), ("larder-client", own_many)], 1, time)
        .await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Tried {
    let seconds = std::env::args().nth(1).map_or(Ok(1.0), |seconds| seconds.parse())?;
    let (time, value) = (Duration::from_secs_f64(seconds), Bytes::from(vec![7; 1024]));
    beside_stubs(time, &value).await?;
    beside_redis(time, &value).await
}
