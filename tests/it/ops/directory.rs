//! AdminService: namespaces, keys and single entries.

use std::{collections::BTreeMap, time::Duration};

use larder::pb::v1::{
    AdminServiceListKeysRequest, DeleteRequest, GetRequest, InspectEntryRequest,
    InspectEntryResponse, InspectedBan, InspectedLease, ListNamespacesRequest, Outcome, SetRequest,
    StatsRequest, Tier, admin_service_client::AdminServiceClient, inspected_ban::Matches,
    inspected_lease::State,
};
use tonic::transport::Channel;

use crate::support::{
    client::{Cache, NS, abandon, as_text, delete, get, invalidate, set, text},
    redis::RedisServer,
    server::Larder,
    status::expect_violation,
    targets::{hold_off, invalidate as invalidate_targets, pattern, tags},
    wait::{SOON, eventually},
};

fn admin(cache: &Cache) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(cache.channel())
}

fn entry(key: &str) -> InspectEntryRequest {
    InspectEntryRequest { namespace: NS.to_owned(), key: key.to_owned(), ..Default::default() }
}

async fn inspect(cache: &Cache, key: &str) -> InspectEntryResponse {
    admin(cache).inspect_entry(entry(key)).await.unwrap().into_inner()
}

fn seconds(duration: Option<prost_types::Duration>) -> Duration {
    Duration::try_from(duration.expect("a duration")).unwrap()
}

const STALE: &str = "[namespaces.ns]\nstale_while_revalidate = '60s'\nttl = '100s'";

on_both_stores!(entry_is_reported_with_its_lease, config: STALE, |env| {
    let cache = &env.cache;
    assert_eq!(inspect(cache, "k").await, InspectEntryResponse::default());
    let tags = vec!["b".to_owned(), "a".to_owned()];
    let set = cache.set(SetRequest { tags, ..set("k", text("value")) }).await.unwrap();
    let report = inspect(cache, "k").await;
    assert_eq!((report.lease, &*report.near_version), (None, ""));
    let found = report.entry.unwrap();
    assert_eq!((&*found.kind, found.value_bytes, found.version), ("text", 5, set.version));
    assert!(found.stored_bytes > 5 && found.stored_bytes < 1000, "{}", found.stored_bytes);
    assert_eq!((found.tags, found.invalidated), (vec!["a".to_owned(), "b".to_owned()], false));
    assert_eq!(found.outcome, i32::from(Outcome::Hit));
    assert_eq!(seconds(found.stale_while_revalidate), Duration::from_secs(60));
    let (ttl, expiry) = (seconds(found.ttl_remaining), seconds(found.expires_in));
    assert!(ttl <= Duration::from_secs(100) && expiry == ttl + Duration::from_secs(60), "{ttl:?}");

    cache.invalidate_namespace(invalidate(NS)).await.unwrap();
    let invalidated = inspect(cache, "k").await.entry;
    // The embedded store may have freed its memory already.
    if let Some(found) = invalidated {
        assert_eq!((found.invalidated, found.outcome), (true, i32::from(Outcome::Miss)));
    }
});

on_both_stores!(bans_that_hide_an_entry_are_reported, |env| {
    let cache = &env.cache;
    // The embedded store has no bans of an empty namespace.
    cache.put("other", "v").await;
    invalidate_targets(cache, &[tags(&["elder"])]).await;
    let tags_of_k = vec!["elder".to_owned(), "t".to_owned()];
    cache.set(SetRequest { tags: tags_of_k, ..set("k", text("value")) }).await.unwrap();
    let valid = inspect(cache, "k").await;
    assert_eq!(valid.tier(), Tier::Store);
    let valid = valid.entry.unwrap();
    assert_eq!((valid.ban_sequence, valid.bans, valid.invalidated), (1, Vec::new(), false));

    invalidate_targets(cache, &[tags(&["t", "unused"])]).await;
    invalidate_targets(cache, &[pattern("k*"), pattern("l*")]).await;
    let report = inspect(cache, "k").await;
    assert_eq!(report.tier(), Tier::Unspecified);
    // The embedded store may have freed its memory already.
    if let Some(found) = report.entry {
        let ban = |matches, sequence| InspectedBan { matches: Some(matches), sequence };
        let (by_glob, by_tag) =
            (ban(Matches::Glob("k*".to_owned()), 3), ban(Matches::Tag("t".to_owned()), 2));
        assert_eq!((found.ban_sequence, found.outcome()), (1, Outcome::Miss));
        assert_eq!((found.invalidated, found.bans), (true, vec![by_glob, by_tag]));
    }

    // A hold-off of a pattern is one of its keys.
    hold_off(cache, &[pattern("held*")], 9_000).await;
    let lease = inspect(cache, "held 1").await.lease.expect("a hold-off");
    assert_eq!(lease.state(), State::HeldOff);
    let remaining = seconds(lease.remaining);
    assert!(remaining > Duration::ZERO && remaining <= Duration::from_secs(9), "{lease:?}");
});

on_both_stores!(states_of_a_lease_are_distinguished, |env| {
    let cache = &env.cache;
    let state = |lease: Option<InspectedLease>| {
        let lease = lease.expect("a lease");
        let remaining = seconds(lease.remaining);
        assert!(remaining > Duration::ZERO && remaining <= Duration::from_secs(10), "{lease:?}");
        (lease.state(), lease.cause)
    };
    cache.lease("held").await;
    assert_eq!(state(inspect(cache, "held").await.lease), (State::Held, String::new()));
    cache.delete(delete("held")).await.unwrap();
    assert_eq!(state(inspect(cache, "held").await.lease), (State::Voided, String::new()));

    let lease = cache.lease("given up").await;
    let mut request = abandon("given up", &lease);
    request.reason = "no database".to_owned();
    cache.abandon(request).await.unwrap();
    let backed_off = state(inspect(cache, "given up").await.lease);
    assert_eq!(backed_off, (State::BackedOff, "no database".to_owned()));

    let hold_off = Some(prost_types::Duration { seconds: 9, nanos: 0 });
    cache.delete(DeleteRequest { hold_off, ..delete("held off") }).await.unwrap();
    assert_eq!(state(inspect(cache, "held off").await.lease), (State::HeldOff, String::new()));
});

on_both_stores!(listed_key_with_params_can_be_inspected, |env| {
    let params = BTreeMap::from([("view".to_owned(), "full".to_owned())]);
    let set = SetRequest { params: params.clone(), ..set("k", text("v")) };
    env.cache.set(set).await.unwrap();
    let mut admin = admin(&env.cache);
    let request = AdminServiceListKeysRequest {
        namespace: NS.to_owned(),
        glob: "k*".to_owned(),
        ..Default::default()
    };
    let page = admin.list_keys(request).await.unwrap().into_inner();
    let [listed] = &page.keys[..] else { panic!("{page:?}") };
    let params_digest = listed.params_digest.clone();
    let by_digest = InspectEntryRequest { params_digest, ..entry(&listed.key) };
    let found = admin.inspect_entry(by_digest.clone()).await.unwrap().into_inner().entry.unwrap();
    let by_params = InspectEntryRequest { params: params.clone(), ..entry("k") };
    let same = admin.inspect_entry(by_params).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(found.version, same.version);
    assert_eq!(inspect(&env.cache, "k").await.entry, None);
    let both = InspectEntryRequest { params, ..by_digest };
    expect_violation(admin.inspect_entry(both).await, "params_digest");
});

on_both_stores!(inspection_is_no_use_and_no_read, |env| {
    env.cache.put("k", "v").await;
    let before = env.cache.stats(StatsRequest::default()).await.unwrap().totals;
    inspect(&env.cache, "k").await;
    inspect(&env.cache, "absent").await;
    assert_eq!(env.cache.stats(StatsRequest::default()).await.unwrap().totals, before);
});

const TWO: &str = "[namespaces.configured]\nttl = '7s'\n[namespaces.origin]\n\
                   [namespaces.origin.origin]\nurl = 'http://127.0.0.1:1/{key}'";

on_both_stores!(namespaces_in_use_are_listed_in_pages, config: TWO, |env| {
    env.cache.put("k", "v").await;
    env.cache.get(GetRequest { namespace: "read".to_owned(), ..get("k") }).await.unwrap();
    let mut admin = admin(&env.cache);
    let mut request = ListNamespacesRequest { page_size: 1, ..Default::default() };
    let mut found = Vec::new();
    loop {
        let page = admin.list_namespaces(request.clone()).await.unwrap().into_inner();
        assert!(page.namespaces.len() == 1 && !page.degraded, "{page:?}");
        found.extend(page.namespaces);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let names: Vec<_> = found.iter().map(|found| (&*found.namespace, found.configured)).collect();
    assert_eq!(names, [("configured", true), ("ns", false), ("origin", true), ("read", false)]);
    let policy = |index: usize| found[index].policy.expect("a policy");
    assert_eq!(seconds(policy(0).ttl), Duration::from_secs(7));
    assert_eq!((policy(1).has_origin, policy(2).has_origin), (false, true));
    assert_eq!(policy(1).max_value_bytes, 1024 * 1024);
    assert!(found[1].size.is_some() && found[0].size.is_none(), "{found:?}");
    assert_eq!(found[1].counted.as_ref().map(|counted| counted.sets), Some(1));
    assert_eq!(found[3].counted.as_ref().map(|counted| counted.misses), Some(1));
    request.page_token = "NS".to_owned();
    expect_violation(admin.list_namespaces(request).await, "page_token");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_in_the_near_cache_is_reported() {
    let redis = RedisServer::start().await;
    let near = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'";
    let larder = Larder::redis(&redis.url()).config(near).start().await;
    let cache = larder.client().await;
    let version = cache.put("k", "v").await;
    eventually("the near cache has a copy", SOON, async || {
        assert_eq!(as_text(cache.get(get("k")).await.unwrap().value).as_deref(), Some("v"));
        let report = inspect(&cache, "k").await;
        (report.near_version == version && report.tier() == Tier::Near).then_some(())
    })
    .await;
}
