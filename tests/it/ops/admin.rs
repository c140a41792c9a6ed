//! The admin port.

use larder::pb::v1::{GetRequest, StatsRequest};

use crate::support::{
    client::{delete, fetch, get, invalidate},
    env::Env,
    wait::{SOON, eventually},
};

on_both_stores!(probes_are_answered, |env| {
    assert_eq!(env.larder.admin("/livez").await.status, 200);
    assert_eq!(env.larder.admin("/readyz").await.status, 200);
    assert_eq!(env.larder.admin("/nothing").await.status, 404);
});

on_both_stores!(metrics_count_what_happened, |env| {
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
    // Buckets fit a cache.
    let smallest = text
        .lines()
        .filter(|line| line.starts_with("rpc_server_call_duration_seconds_bucket"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse::<f64>().ok())
        .fold(f64::INFINITY, f64::min);
    assert!(smallest <= 0.000_05, "the smallest bucket ends at {smallest}");
    let own: Vec<&str> = text.lines().filter(|line| line.starts_with("larder_")).collect();
    assert!(own.iter().any(|line| line.contains("namespace=\"ns\"")), "{own:?}");
    for event in ["hit", "miss", "set", "delete", "invalidation", "lease"] {
        assert!(own.iter().any(|line| line.contains(event)), "nothing about {event} in {own:#?}");
    }
});

on_both_stores!(metrics_can_be_switched_off, env: [("LARDER_TELEMETRY__METRICS", "false")], |env| {
    env.cache.put("k", "v").await;
    env.cache.read("k").await.unwrap();
    let answer = env.larder.admin("/metrics").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    // Statistics are another matter.
    eventually("the hit is counted", SOON, async || {
        let stats = env.cache.stats(StatsRequest::default()).await.unwrap();
        (stats.totals?.total?.hits == 1).then_some(())
    })
    .await;
});

on_both_stores!(namespaces_are_told_apart_up_to_a_limit, env: [("LARDER_TELEMETRY__MAX_NAMESPACES", "5")], |env| {
    for number in 0..50 {
        let request = GetRequest { namespace: format!("many{number}"), ..get("k") };
        env.cache.get(request).await.unwrap();
    }
    let text = eventually("the rest is counted together", SOON, async || {
        let text = metrics(&env).await;
        text.contains("namespace=\"_other\"").then_some(text)
    })
    .await;
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| line.split("namespace=\"").nth(1)?.split('"').next()).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() <= 6, "{names:?}");
    assert_well_formed(&text);
});

async fn metrics(env: &Env) -> String {
    let answer = env.larder.admin("/metrics").await;
    assert_eq!(answer.status, 200);
    answer.body
}

/// Checks the text format: comments, and lines of name, labels and number. No series twice.
fn assert_well_formed(text: &str) {
    let mut series = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(name), "{name} twice");
    }
    assert!(series.iter().any(|name| name.starts_with("larder_")), "{text}");
}

/// The sum of all series of a name that have these labels.
fn sum(text: &str, name: &str, labels: &[(&str, String)]) -> f64 {
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter(|line| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\""))))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}
