//! PublishEvent, and events as targets of Invalidate.

use larder::pb::v1::{
    Durability, EventTarget, InvalidateRequest, ListEventsRequest, PublishEventRequest,
    PublishEventResponse, SetRequest, Target, TargetResult,
    admin_service_client::AdminServiceClient, target::Target as Kind,
};
use nix::sys::signal::Signal;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    client::{Cache, as_text, get, ms, params, set, text},
    fleet::{Fleet, metric},
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    status::{expect_error, expect_over_limit, expect_retry, expect_violation},
    targets,
    wait::{SOON, eventually},
};

const RULES: &str = r#"
[[events.points_changed]]
namespace = "ns"
pattern = "{user_id}:*"
[[events.points_changed]]
namespace = "ns"
tags = ["user:{user_id}"]
[[events.points_changed]]
namespace = "user"
key = "{user_id}"
params = { view = "profile" }
[[events.reset]]
namespace = "other"
"#;

pub(super) async fn publish(
    cache: &Cache,
    name: &str,
    attributes: &[(&str, &str)],
) -> Result<PublishEventResponse, Status> {
    let request = PublishEventRequest {
        name: name.to_owned(),
        attributes: params(attributes),
        ..PublishEventRequest::default()
    };
    Ok(AdminServiceClient::new(cache.channel()).publish_event(request).await?.into_inner())
}

fn event(name: &str, attributes: &[(&str, &str)]) -> Target {
    let event = EventTarget { name: name.to_owned(), attributes: params(attributes) };
    Target { target: Some(Kind::Event(event)) }
}

fn profile(user: &str) -> SetRequest {
    let params = params(&[("view", "profile")]);
    SetRequest { namespace: "user".to_owned(), params, ..set(user, text("v")) }
}

async fn has_profile(cache: &Cache, user: &str) -> bool {
    let mut request = get(user);
    request.namespace = "user".to_owned();
    request.params = params(&[("view", "profile")]);
    as_text(cache.get(request).await.unwrap().value).is_some()
}

on_both_stores!(all_rules_of_an_event_are_applied, config: RULES, |env| {
    let cache = &env.cache;
    for key in ["42:a", "43:a", "4*:a"] {
        cache.put(key, "v").await;
    }
    let tagged = SetRequest { tags: vec!["user:42".to_owned()], ..set("t", text("v")) };
    cache.set(tagged).await.unwrap();
    cache.set(profile("42")).await.unwrap();
    cache.set(profile("43")).await.unwrap();
    let answer = publish(cache, "points_changed", &[("user_id", "42"), ("more", "x")]).await;
    let targets = answer.unwrap().targets;
    let results: Vec<TargetResult> =
        targets.iter().map(|one| one.result.clone().unwrap()).collect();
    let durability = Durability::Applied.into();
    let result = |existed| TargetResult { existed, durability, ..Default::default() };
    assert_eq!(results, [result(false), result(false), result(true)]);
    assert_eq!(targets[0].target, Some(targets::pattern("42:*")));
    assert_eq!(targets[1].target, Some(targets::tags(&["user:42"])));
    assert_eq!((cache.read("42:a").await, cache.read("t").await), (None, None));
    assert!(!has_profile(cache, "42").await && has_profile(cache, "43").await);
    assert!(cache.read("43:a").await.is_some());
    publish(cache, "points_changed", &[("user_id", "4*")]).await.unwrap();
    assert!(cache.read("43:a").await.is_some(), "an attribute is no wildcard");
    assert_eq!(cache.read("4*:a").await, None);
    let whole = publish(cache, "reset", &[]).await.unwrap().targets;
    assert!(whole[0].result.as_ref().unwrap().namespace_invalidated);
    let unknown = publish(cache, "unknown", &[]).await.unwrap();
    assert!(unknown.targets.is_empty());
    eventually("the events are logged", SOON, async || {
        env.larder.logs().contains("invalidated by an event").then_some(())
    })
    .await;
    let text = env.larder.admin("/metrics").await.body;
    let counted = |event: &str, outcome: &str| {
        let has = |line: &&str| {
            line.starts_with("larder_events_total")
                && line.contains(&format!("event=\"{event}\""))
                && line.contains(&format!("outcome=\"{outcome}\""))
        };
        let line = text.lines().find(has).unwrap_or_else(|| panic!("{event} {outcome}: {text}"));
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(counted("points_changed", "applied"), "2");
    assert_eq!(counted("_other", "without_rules"), "1");
});

on_both_stores!(invalid_events_invalidate_nothing, config: RULES, |env| {
    let cache = &env.cache;
    cache.put("42:a", "v").await;
    let missing = publish(cache, "points_changed", &[("user", "42")]).await;
    expect_violation(missing, "attributes.user_id");
    expect_violation(publish(cache, "", &[]).await, "name");
    let long = "x".repeat(1025);
    let refused = publish(cache, "points_changed", &[("user_id", &long)]).await;
    let code = Code::InvalidArgument;
    expect_over_limit(refused, code, "INVALID_ARGUMENT", "attributes.user_id", 1024);
    let names: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (&**name, "x")).collect();
    let refused = publish(cache, "points_changed", &many).await;
    expect_over_limit(refused, code, "INVALID_ARGUMENT", "attributes", 64);
    assert!(cache.read("42:a").await.is_some());
});

const STRICT: &str = "strict_events = true\n[[events.user_changed]]\nnamespace = 'ns'\n";

on_both_stores!(strict_events_refuse_an_event_without_rules, config: STRICT, |env| {
    let details = expect_violation(publish(&env.cache, "user_change", &[]).await, "name");
    let description = &details.bad_request().unwrap().field_violations[0].description;
    assert!(description.contains("user_changed"), "{description}");
    let targets = vec![targets::key("k"), event("user_change", &[])];
    let refused = env.cache.invalidate(InvalidateRequest { targets, ..Default::default() }).await;
    expect_violation(refused, "targets[1].event.name");
});

on_both_stores!(an_event_is_a_target_among_others, config: RULES, |env| {
    let cache = &env.cache;
    for key in ["42:a", "k", "other"] {
        cache.put(key, "v").await;
    }
    cache.set(profile("42")).await.unwrap();
    let changed = event("points_changed", &[("user_id", "42")]);
    let targets = vec![targets::key("k"), changed, event("unknown", &[]), targets::key("none")];
    let request = InvalidateRequest { targets, hold_off: ms(60_000), ..Default::default() };
    let answer = cache.invalidate(request).await.unwrap();
    let existed: Vec<bool> = answer.results.iter().map(|result| result.existed).collect();
    assert_eq!(existed, [true, true, false, false]);
    let targets: Vec<usize> = answer.events.iter().map(|event| event.targets.len()).collect();
    assert_eq!(targets, [3, 0]);
    assert!(cache.read("42:a").await.is_none() && cache.read("other").await.is_some());
    assert!(!has_profile(cache, "42").await);
    // The hold-off holds for what the rules select.
    let lease = cache.lease("42:b").await;
    let fill = SetRequest { lease_token: lease.token, ..set("42:b", text("v")) };
    let refused = cache.set(fill).await.unwrap();
    assert_eq!(refused.result(), larder::pb::v1::SetResult::Invalidated);
    let missing = vec![targets::key("k"), event("points_changed", &[])];
    let request = InvalidateRequest { targets: missing, ..Default::default() };
    let refused = cache.invalidate(request).await;
    expect_violation(refused, "targets[1].event.attributes.user_id");
    let many = vec![event("points_changed", &[("user_id", "1")]); 334];
    let request = InvalidateRequest { targets: many, ..Default::default() };
    let refused = cache.invalidate(request).await;
    let code = Code::InvalidArgument;
    expect_over_limit(refused, code, "BATCH_TOO_LARGE", "targets", 1000);
});

on_both_stores!(rules_are_reloaded, config: RULES, |env| {
    let list = async || {
        let mut admin = AdminServiceClient::new(env.cache.channel());
        let page = ListEventsRequest { page_size: 1, page_token: String::new() };
        let first = admin.list_events(page).await.unwrap().into_inner();
        let page = ListEventsRequest { page_size: 0, page_token: first.next_page_token };
        let rest = admin.list_events(page).await.unwrap().into_inner();
        let events = first.events.into_iter().chain(rest.events);
        events.map(|event| event.name).collect::<Vec<_>>()
    };
    assert_eq!(list().await, ["points_changed", "reset"]);
    env.cache.put("k", "v").await;
    let broken = RULES.replace("{user_id}:*", "[{user_id}]");
    env.larder.rewrite_config(&broken);
    env.larder.signal(Signal::SIGHUP);
    eventually("the fault is logged", SOON, async || {
        env.larder.logs().contains("events.points_changed[0].pattern").then_some(())
    })
    .await;
    assert_eq!(list().await, ["points_changed", "reset"]);
    env.larder.rewrite_config("[[events.moved]]\nnamespace = 'ns'\nkey = '{key}'\n");
    env.larder.signal(Signal::SIGHUP);
    eventually("the new rules apply", SOON, async || {
        let mut admin = AdminServiceClient::new(env.cache.channel());
        let events = admin.list_events(ListEventsRequest::default()).await.unwrap().into_inner();
        (events.events.len() == 1 && events.events[0].name == "moved").then_some(())
    })
    .await;
    publish(&env.cache, "moved", &[("key", "k")]).await.unwrap();
    assert_eq!(env.cache.read("k").await, None);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_holds_for_all_replicas() {
    let fleet = Fleet::start(3, RULES).await;
    fleet.caches[0].put("42:a", "v").await;
    let lease = fleet.caches[1].lease("42:b").await;
    publish(&fleet.caches[2], "points_changed", &[("user_id", "42")]).await.unwrap();
    for cache in &fleet.caches {
        assert_eq!(cache.read("42:a").await, None);
    }
    let fill = SetRequest { lease_token: lease.token, ..set("42:b", text("old")) };
    let refused = fleet.caches[1].set(fill).await.unwrap();
    assert_eq!(refused.result(), larder::pb::v1::SetResult::Invalidated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_store_does_not_confirm_is_no_success() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).default_timeouts().config(RULES).start().await;
    let cache = larder.client().await;
    eventually("the store answers", SOON, async || {
        publish(&cache, "reset", &[]).await.ok().map(drop)
    })
    .await;
    proxy.cut().await;
    let refused = publish(&cache, "points_changed", &[("user_id", "42")]).await;
    let status = refused.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["failed_targets"], "0,1,2");
    expect_retry(Err::<(), _>(status), Code::Unavailable, "STORE_UNAVAILABLE");
    assert!(metric(&larder, "larder_events_total").await >= 2.0);
    proxy.restore().await;
    eventually("the event is applied", SOON, async || {
        publish(&cache, "points_changed", &[("user_id", "42")]).await.ok().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_rule_prevents_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("larder.toml");
    std::fs::write(&path, "[[events.a]]\nnamespace = 'ns'\nkey = '{'\n").unwrap();
    let output = crate::support::server::run(&["--config", path.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("events.a[0].key: expected a template"), "{text}");
}

on_both_stores!(rules_of_unknown_namespaces_are_refused, config: RULES, |env| {
    env.larder.rewrite_config(&format!("strict_namespaces = true\n{RULES}[namespaces.ns]\n"));
    env.larder.signal(Signal::SIGHUP);
    eventually("the fault is logged", SOON, async || {
        env.larder.logs().contains("events.points_changed[2].namespace").then_some(())
    })
    .await;
    publish(&env.cache, "reset", &[]).await.unwrap();
    expect_error(publish(&env.cache, "\n", &[]).await, Code::InvalidArgument, "INVALID_ARGUMENT");
});
