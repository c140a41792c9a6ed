//! `events`.

use serde_json::json;

use super::{DONE, MISS, REFUSED, USAGE, cli};
use crate::support::{
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

const RULES: &str = r#"
[[events.changed]]
namespace = "ns"
pattern = "{id}:*"
[[events.changed]]
namespace = "ns"
key = "{id}"
params = { view = "{view}" }
when = { view = "full" }
[[events.moved]]
namespace = "other"
"#;

on_both_stores!(events_are_published_and_listed, config: RULES, |env| {
    let larder = &env.larder;
    env.cache.put("7:a", "v").await;
    let published = cli(larder, "events publish changed id=7 view=full");
    assert_eq!(published.code, DONE, "{published:?}");
    let rows: Vec<Vec<&str>> =
        published.result().1.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["namespace", "invalidated", "result"]);
    assert_eq!(rows[1], ["ns", "pattern", "7:*", "done"]);
    assert_eq!(rows[2], ["ns", "key", "7", "no", "entry"]);
    assert_eq!(env.cache.read("7:a").await, None);
    assert_eq!(cli(larder, "events publish changed id=a*b --json").json(), [json!({
        "event": "changed", "namespace": "ns", "pattern": "a\\*b:*", "key": null, "tags": [],
        "existed": false, "namespace_invalidated": false, "durability": "applied",
    })]);
    let unknown = cli(larder, "events publish unknown");
    assert_eq!(unknown.result(), (MISS, "no rule applies: nothing is invalidated\n"));
    let missing = cli(larder, "events publish changed");
    missing.expect_failure(USAGE, &["attributes.id must be set", "(INVALID_ARGUMENT)"]);
    cli(larder, "events publish changed id=1 id=2").expect_failure(USAGE, &["given twice"]);
    assert_eq!(cli(larder, "events publish changed id").code, USAGE);

    let listed = cli(larder, "events list");
    let rows: Vec<Vec<&str>> =
        listed.result().1.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["event", "namespace", "invalidates", "when"]);
    assert_eq!(rows[1], ["changed", "ns", "pattern", "{id}:*", "-"]);
    assert_eq!(rows[2], ["changed", "ns", "key", "{id}", "view={view}", "view=full"]);
    assert_eq!(rows[3], ["moved", "other", "all", "-"]);
    let lines = cli(larder, "events list --json").json();
    assert_eq!(lines[1], json!({
        "event": "changed", "namespace": "ns", "pattern": null, "key": "{id}",
        "params": {"view": "{view}"}, "tags": [], "when": {"view": "full"},
    }));
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_not_applied_is_a_failure() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().config(RULES).start().await;
    redis.kill();
    let failed = eventually("the store is unavailable", SOON, async || {
        let failed = cli(&larder, "events publish changed id=7");
        (failed.code == REFUSED).then_some(failed)
    })
    .await;
    let parts = ["1 of 1 targets of event changed are not invalidated", "(STORE_UNAVAILABLE)"];
    failed.expect_failure(REFUSED, &parts);
}
