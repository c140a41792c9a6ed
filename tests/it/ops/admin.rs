//! The admin port: probes and metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::pb::v1::{BatchSetRequest, GetRequest, StatsRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::support::{
    client::{data, delete, fetch, fill, get, invalidate, set, text},
    env::Env,
    status::expect_error,
    wait::{SOON, eventually, throughout},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

on_both_stores!(probes_are_answered, |env| {
    assert_eq!(env.larder.admin("/livez").await.status, 200);
    assert_eq!(env.larder.admin("/readyz").await.status, 200);
    assert_eq!(env.larder.admin("/nothing").await.status, 404);
});

on_both_stores!(silent_and_slow_peers_do_not_shut_probes_out, |env| {
    let address = env.larder.admin_address();
    let mut peers = Vec::new();
    for _ in 0..400 {
        let mut peer = TcpStream::connect(address).await.unwrap();
        // The beginning of a request that never ends.
        let _ = peer.write_all(b"GET /livez HTTP/1.1\r\nx: ").await;
        peers.push(peer);
    }
    assert_eq!(env.larder.admin("/livez").await.status, 200);
    eventually("all of them are closed", SOON, async || {
        for peer in &mut peers {
            let mut byte = [0];
            // An end or a reset, but not silence.
            if tokio::time::timeout(Duration::from_millis(1), peer.read(&mut byte)).await.is_err() {
                return None;
            }
        }
        Some(())
    })
    .await;
    assert_eq!(env.larder.admin("/readyz").await.status, 200);
});

on_both_stores!(a_request_in_flight_outlives_a_flood_of_silent_peers, |env| {
    let address = env.larder.admin_address();
    let mut asking = TcpStream::connect(address).await.unwrap();
    let head = "POST /events HTTP/1.1\r\nhost: larder\r\ncontent-type: application/json\r\n\
                content-length: 2\r\n\r\n{";
    asking.write_all(head.as_bytes()).await.unwrap();
    // The head is read before the flood comes.
    for _ in 0..3 {
        assert_eq!(env.larder.admin("/livez").await.status, 200);
    }
    let mut peers = Vec::new();
    for _ in 0..400 {
        peers.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(env.larder.admin("/livez").await.status, 200);
    asking.write_all(b"}").await.unwrap();
    let mut answer = Vec::new();
    asking.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
});

on_both_stores!(errors_are_counted_with_the_status_sent, |env| {
    let items =
        (0..5).map(|number| set(&format!("k{number}"), data(vec![0; 1024 * 1024]))).collect();
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    expect_error(refused, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    // One byte that is not a valid message.
    let stream = TcpStream::connect(env.larder.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://larder/larder.v1.CacheService/Get");
    let request = request
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (refused, mut body) = client.send_request(request, false).unwrap();
    body.send_data(vec![0, 0, 0, 0, 1, 0xff].into(), true).unwrap();
    assert_eq!(
        refused.await.unwrap().headers()["grpc-status"],
        (Code::InvalidArgument as i32).to_string()
    );

    let text = metrics(&env).await;
    for (method, status) in [("BatchSet", "RESOURCE_EXHAUSTED"), ("Get", "INVALID_ARGUMENT")] {
        let method = ("rpc_method", format!("larder.v1.CacheService/{method}"));
        let counted = |labels: &[_]| sum(&text, "rpc_server_call_duration_seconds_count", labels);
        let as_seen = counted(&[method.clone(), ("rpc_response_status_code", status.to_owned())]);
        assert_eq!((as_seen, counted(&[method])), (1.0, 1.0), "{text}");
    }
});

on_both_stores!(metrics_count_calls_and_events, |env| {
    env.cache.put("k", "v").await;
    for _ in 0..3 {
        env.cache.read("k").await.unwrap();
    }
    env.cache.read("missing").await;
    env.cache.get(get("")).await.unwrap_err();
    env.cache.lease("leased").await;
    env.cache.get_or_fetch(fetch("leased", 0)).await.unwrap();
    env.cache.delete(delete("k")).await.unwrap();
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();

    let text = metrics(&env).await;
    assert_well_formed(&text);
    let of = |method: &str, status: &str| {
        let labels = [
            ("rpc_method", format!("larder.v1.CacheService/{method}")),
            ("rpc_response_status_code", status.to_owned()),
        ];
        sum(&text, "rpc_server_call_duration_seconds_count", &labels)
    };
    assert_eq!(of("Get", "OK"), 4.0, "{text}");
    assert_eq!(of("Get", "INVALID_ARGUMENT"), 1.0, "{text}");
    assert_eq!(of("Set", "OK"), 1.0, "{text}");
    assert_eq!(of("GetOrFetch", "OK"), 2.0, "{text}");
    // The buckets suit the latencies of a cache.
    let smallest = text
        .lines()
        .filter(|line| line.starts_with("rpc_server_call_duration_seconds_bucket"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse::<f64>().ok())
        .fold(f64::INFINITY, f64::min);
    assert!(smallest <= 0.000_05, "the smallest bucket ends at {smallest}");
    let own: Vec<&str> = text.lines().filter(|line| line.starts_with("larder_")).collect();
    assert!(own.iter().any(|line| line.contains("namespace=\"ns\"")), "{own:?}");
    for event in ["hit", "miss", "set", "delete", "invalidation", "lease"] {
        assert!(own.iter().any(|line| line.contains(event)), "no metric of {event} in {own:#?}");
    }
});

on_both_stores!(a_scrape_of_an_idle_replica_is_small, |env| {
    // A health check and a few scrapes, as an orchestrator and Prometheus make.
    assert_eq!(env.larder.admin("/readyz").await.status, 200);
    let mut text = metrics(&env).await;
    for _ in 0..3 {
        text = metrics(&env).await;
    }
    assert_well_formed(&text);
    assert!(text.len() < 40 * 1024, "{} bytes: {text}", text.len());
    assert!(!text.contains("larder.v1."), "methods that were not called: {text}");
    let value = |name: &str| sum(&text, name, &[]);
    assert_eq!(sum(&text, "larder_build_info", &[("version", VERSION.to_owned())]), 1.0, "{text}");
    assert!(value("process_resident_memory_bytes") > 1e6, "{text}");
    assert!(value("process_open_fds") > 3.0 && value("process_max_fds") > 100.0, "{text}");
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
        - value("process_start_time_seconds");
    assert!((-5.0..600.0).contains(&age), "started {age} s ago");
    assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
    // An alert compares with this zero.
    let refused = "larder_connections_closed_total{port=\"grpc\",reason=\"refused\"} 0";
    assert!(text.contains(refused), "{text}");
});

on_both_stores!(series_of_reads_come_together, |env| {
    env.cache.read("missing").await;
    let text = metrics(&env).await;
    for (outcome, count) in [("hits", 0), ("stale", 0), ("negative", 0), ("misses", 1)] {
        let line = format!("larder_{outcome}_total{{namespace=\"ns\"}} {count}");
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(!text.contains("larder_sets_total"), "{text}");
});

on_both_stores!(computations_of_callers_are_timed, |env| {
    let lease = env.cache.lease("k").await;
    throughout(Duration::from_millis(100), async || {}).await;
    env.cache.set(fill("k", text("v"), &lease)).await.unwrap();
    let text = metrics(&env).await;
    assert_eq!(sum(&text, "larder_compute_duration_seconds_count", &[]), 1.0, "{text}");
    assert!(sum(&text, "larder_compute_duration_seconds_sum", &[]) >= 0.09, "{text}");
});

on_both_stores!(metrics_can_be_disabled, env: [("LARDER_TELEMETRY__METRICS", "false")], |env| {
    env.cache.put("k", "v").await;
    env.cache.read("k").await.unwrap();
    let answer = env.larder.admin("/metrics").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    // Stats are not affected.
    eventually("the hit is counted", SOON, async || {
        let stats = env.cache.stats(StatsRequest::default()).await.unwrap();
        (stats.totals?.total?.hits == 1).then_some(())
    })
    .await;
});

on_both_stores!(
    namespace_labels_are_limited,
    env: [("LARDER_TELEMETRY__MAX_NAMESPACES", "5")],
    |env| {
        for number in 0..50 {
            let request = GetRequest { namespace: format!("many{number}"), ..get("k") };
            env.cache.get(request).await.unwrap();
        }
        let text = eventually("the other namespaces share a label", SOON, async || {
            let text = metrics(&env).await;
            text.contains("namespace=\"_other\"").then_some(text)
        })
        .await;
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split("namespace=\"").nth(1)?.split('"').next())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() <= 6, "{names:?}");
        assert_well_formed(&text);
    }
);

async fn metrics(env: &Env) -> String {
    let answer = env.larder.admin("/metrics").await;
    assert_eq!(answer.status, 200);
    answer.body
}

/// Checks the text format: lines of name, labels and number, and no duplicate series.
fn assert_well_formed(text: &str) {
    let mut series = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(name), "duplicate series {name}");
    }
    assert!(series.iter().any(|name| name.starts_with("larder_")), "{text}");
}

/// Sum of all series of a metric with these labels.
fn sum(text: &str, name: &str, labels: &[(&str, String)]) -> f64 {
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter(|line| {
            labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        })
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}
