//! Log output: requests, keys and failures.

use serde_json::Value;

use crate::support::{
    client::get,
    env::Env,
    redis::RedisServer,
    server::Larder,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_of_a_failure_is_logged() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).env("LARDER_LOG__LEVEL", "larder=debug").start().await;
    let cache = larder.client().await;
    eventually("Redis is in use", SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    redis.kill();
    let failure = eventually("the failure is logged", SOON, async || {
        cache.get(get("k")).await.unwrap();
        let logs = larder.logs();
        let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut failures = lines.filter(|line| line["fields"]["message"] == "the store failed");
        failures.next().and_then(|line| line["fields"]["error"].as_str().map(str::to_owned))
    })
    .await;
    let cause = failure.strip_prefix("the store cannot be reached: ").unwrap_or_default();
    assert!(!cause.is_empty(), "{failure:?}");
}

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
