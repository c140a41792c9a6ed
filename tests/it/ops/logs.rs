//! Log output: requests, keys and failures.

use larder::pb::v1::AbandonRequest;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    client::{abandon, fill, get, text},
    env::Env,
    redis::RedisServer,
    server::Larder,
    targets,
    wait::{SOON, eventually},
};

const SECRET: &str = "a-very-telling-key";

on_both_stores!(
    requests_are_logged_without_keys,
    env: [("LARDER_LOG__LEVEL", "larder=debug")],
    |env| {
        exercise(&env).await;
        let lines = request_lines(&env).await;
        assert!(lines.iter().any(|line| line.to_lowercase().contains("hit")), "{lines:?}");
        assert!(!env.larder.logs().contains(SECRET));
    }
);

on_both_stores!(
    keys_are_logged_if_configured,
    env: [("LARDER_LOG__LEVEL", "larder=debug"), ("LARDER_LOG__KEYS", "true")],
    |env| {
        exercise(&env).await;
        eventually("the key is logged", SOON, async || {
            env.larder.logs().contains(SECRET).then_some(())
        })
        .await;
    }
);

on_both_stores!(
    invalidations_and_refused_fills_are_logged_with_their_cause,
    env: [("LARDER_LOG__LEVEL", "larder=debug"), ("LARDER_LOG__KEYS", "true")],
    |env| {
        let held = env.cache.lease(SECRET).await;
        let named = [targets::pattern("a-very*"), targets::tags(&["t"])];
        targets::invalidate(&env.cache, &named).await;
        env.cache.set(fill(SECRET, text("v"), &held)).await.unwrap();
        let parts = [
            ["invalidation applied", "a-very*", "[\\\"t\\\"]"],
            ["an invalidation refuses a fill", SECRET, "\"ban\":\"a-very*\""],
        ];
        for parts in parts {
            eventually("what was invalidated, and why", SOON, async || {
                let logs = env.larder.logs();
                let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
                logs.lines().any(has_all).then_some(())
            })
            .await;
        }
    }
);

on_both_stores!(
    invalidations_are_logged_without_names,
    env: [("LARDER_LOG__LEVEL", "larder=debug")],
    |env| {
        let named = [targets::pattern(SECRET), targets::tags(&[SECRET])];
        targets::invalidate(&env.cache, &named).await;
        eventually("the invalidation is logged", SOON, async || {
            env.larder.logs().contains("invalidation applied").then_some(())
        })
        .await;
        assert!(!env.larder.logs().contains(SECRET));
    }
);

on_both_stores!(requests_are_not_logged_by_default, |env| {
    let before = env.larder.logs().lines().count();
    for _ in 0..50 {
        exercise(&env).await;
    }
    assert!(env.larder.logs().lines().count() < before + 10, "{}", env.larder.logs());
});

on_both_stores!(every_line_is_json, env: [("LARDER_LOG__LEVEL", "trace")], |env| {
    exercise(&env).await;
    for line in env.larder.logs().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let serving =
        env.larder.logs().lines().filter(|line| line.contains("\"message\":\"serving\"")).count();
    assert_eq!(serving, 1);
});

on_both_stores!(
    the_start_logs_what_is_served,
    config: "[namespaces.a]\nttl = '1m'\n[namespaces.b.origin]\nurl = 'http://127.0.0.1:1/{key}'\n",
    |env| {
        let logs = env.larder.logs();
        let line = logs.lines().find(|line| line.contains("\"message\":\"serving\"")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let fields = &line["fields"];
        assert_eq!((&fields["namespaces"], &fields["origins"]), (&2.into(), &1.into()), "{line}");
        assert!(fields["config"].as_str().unwrap().ends_with(".toml"), "{line}");
        let server = fields["server"].as_str().unwrap();
        assert!(server == "memory" || server.starts_with("Redis "), "{line}");
    }
);

on_both_stores!(an_abandoned_lease_is_logged_with_its_reason, |env| {
    for key in ["a", "b", "c"] {
        let lease = env.cache.lease(key).await;
        let reason = format!("no database for {key}");
        env.cache.abandon(AbandonRequest { reason, ..abandon(key, &lease) }).await.unwrap();
    }
    // The log arrives through a pipe.
    let logs = eventually("the reason is logged", SOON, async || {
        Some(env.larder.logs()).filter(|logs| logs.contains("abandon leases"))
    })
    .await;
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains("abandon leases")).collect();
    assert_eq!(lines.len(), 1, "{logs}");
    assert!(lines[0].contains("WARN") && lines[0].contains("no database for a"), "{logs}");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsuitable_eviction_policy_is_logged() {
    let redis = RedisServer::start().await;
    let logged = async |policy: &'static str, memory: &'static str| {
        let mut connection = redis.connection().await;
        for (name, value) in [("maxmemory-policy", policy), ("maxmemory", memory)] {
            redis::cmd("CONFIG")
                .arg(&["SET", name, value])
                .exec_async(&mut connection)
                .await
                .unwrap();
        }
        let larder = Larder::redis(&redis.url()).start().await;
        // The metric appears with the report of which the warning is a part.
        eventually("Redis was asked", SOON, async || {
            let series = format!("larder_store_eviction_policy{{policy=\"{policy}\"}} 1");
            larder.admin("/metrics").await.body.contains(&series).then_some(())
        })
        .await;
        larder.logs().contains("Redis does not suit a cache")
    };
    assert!(logged("noeviction", "100mb").await);
    assert!(logged("allkeys-lru", "100mb").await);
    assert!(!logged("volatile-lru", "100mb").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_of_a_failure_is_logged() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url())
        .default_timeouts()
        .env("LARDER_LOG__LEVEL", "larder=debug")
        .start()
        .await;
    let cache = larder.client().await;
    eventually("Redis is in use", SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    redis.kill();
    let cause = eventually("the failure is logged", SOON, async || {
        cache.get(get("k")).await.unwrap();
        let logs = larder.logs();
        let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let failures = lines.filter(|line| line["fields"]["message"] == "the store failed");
        let mut errors =
            failures.filter_map(|line| line["fields"]["error"].as_str().map(str::to_owned));
        // On a busy machine the first call may time out.
        errors.find_map(|error| {
            error.strip_prefix("the store cannot be reached: ").map(str::to_owned)
        })
    })
    .await;
    assert!(!cause.is_empty());
}

on_both_stores!(peers_of_other_protocols_are_named_in_few_lines, |env| {
    let begins: [(&[u8], &str); 3] = [
        (b"GET / HTTP/1.1\r\nhost: larder\r\n\r\n", "HTTP/1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijklmnopqrstuvwxyz", "TLS"),
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n", "RESP"),
    ];
    for (begin, protocol) in begins {
        for _ in 0..20 {
            let mut peer = TcpStream::connect(env.larder.address()).await.unwrap();
            peer.write_all(begin).await.unwrap();
            // The server ends the connection.
            let _ = peer.read_to_end(&mut Vec::new()).await;
        }
        eventually("the protocol is named", SOON, async || {
            let logs = env.larder.logs();
            let mut lines = logs.lines().filter(|line| line.contains("does not speak HTTP/2"));
            lines.any(|line| line.contains(protocol)).then_some(())
        })
        .await;
    }
    let logs = env.larder.logs();
    let lines = logs.lines().filter(|line| line.contains("does not speak HTTP/2")).count();
    assert_eq!(lines, 3, "{logs}");
});

on_both_stores!(frames_of_a_peer_are_not_logged, |env| {
    let before = env.larder.logs().lines().count();
    let mut peer = TcpStream::connect(env.larder.address()).await.unwrap();
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // PING with ACK, although nothing was asked.
    let ping = b"\0\0\x08\x06\x01\0\0\0\0abcdefgh";
    peer.write_all(&ping.repeat(10_000)).await.unwrap();
    // A PING that is answered after all of them were read.
    peer.write_all(b"\0\0\x08\x06\0\0\0\0\0zyxwvuts").await.unwrap();
    let mut received = Vec::new();
    while !received.windows(8).any(|bytes| bytes == b"zyxwvuts") {
        assert_ne!(peer.read_buf(&mut received).await.unwrap(), 0, "the connection was closed");
    }
    assert!(env.larder.logs().lines().count() <= before + 1, "{}", env.larder.logs());
});

async fn exercise(env: &Env) {
    env.cache.put(SECRET, "a-very-telling-value").await;
    env.cache.get(get(SECRET)).await.unwrap();
    assert!(!env.larder.logs().contains("a-very-telling-value"));
}

/// Waits for log lines about Get, and returns them.
async fn request_lines(env: &Env) -> Vec<String> {
    eventually("requests are logged", SOON, async || {
        let logs = env.larder.logs();
        let lines = logs.lines().filter(|line| {
            line.contains("\"DEBUG\"") && line.contains("Get") && line.contains("\"ns\"")
        });
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    })
    .await
}
