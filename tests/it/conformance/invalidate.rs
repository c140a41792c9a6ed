//! Invalidation by tag, by pattern, and of several targets.

use std::time::Duration;

use larder::pb::v1::{
    BatchGetRequest, BatchSetRequest, Durability, FetchStreamFill, GetRequest, InvalidateRequest,
    PatternTarget, RenewResult, SetRequest, SetResult, TagTarget, Target, TargetResult,
    fetch_stream_request::Message as ClientMessage,
    fetch_stream_response::Message as ServerMessage, target::Target as Kind,
};

use tonic::Code;

use crate::support::{
    batch::{answers, batch},
    client::{
        Cache, Fetched as _, NS, as_text, batch_get, delete, fetch, fill, get, key_ref, ms, params,
        renewal, set, text, touch,
    },
    fleet::metric,
    status::{expect_over_limit, expect_violation},
    stream::Stream,
    targets::{hold_off, invalidate, key, namespace, pattern, request, tags},
    wait::{SOON, eventually, throughout},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn globs_that_stand_for_too_many_namespaces_are_not_expanded_further() {
    let env = crate::support::env::Env::memory(&[], "").await;
    for part in 0..5 {
        let item =
            |number| SetRequest { namespace: format!("n{part}-{number}"), ..set("k", text("v")) };
        let items = (0..900).map(item).collect();
        env.cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    let all = request(&vec![namespace("n*"); 1000]);
    let begun = std::time::Instant::now();
    let refused = env.cache.rpc().invalidate(all).await;
    let message = refused.as_ref().unwrap_err().message().to_owned();
    assert!(message.contains("stand for more elements than 1000"), "{message}");
    expect_over_limit(refused, Code::InvalidArgument, "BATCH_TOO_LARGE", "targets", 1000);
    // 4.5 million targets would take longer.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

const LONG: i64 = 60_000;
const BANNED: TargetResult = TargetResult {
    existed: false,
    namespace_invalidated: false,
    namespaces: Vec::new(),
    durability: Durability::Applied as i32,
};
const WHOLE: TargetResult = TargetResult {
    existed: false,
    namespace_invalidated: true,
    namespaces: Vec::new(),
    durability: Durability::Applied as i32,
};

fn tagged(key: &str, tags: &[&str]) -> SetRequest {
    let tags = tags.iter().map(ToString::to_string).collect();
    SetRequest { tags, ..set(key, text(key)) }
}

async fn put(cache: &Cache, key: &str, tags: &[&str]) {
    let stored = cache.set(tagged(key, tags)).await.unwrap();
    assert_eq!(stored.result(), SetResult::Stored);
}

/// The keys of `keys` with a value.
async fn kept<'a>(cache: &Cache, keys: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    for key in keys {
        if cache.read(key).await.is_some() {
            kept.push(*key);
        }
    }
    kept
}

on_all_stores!(tags_invalidate_the_entries_that_have_one, |env| {
    put(&env.cache, "a", &["x", "y"]).await;
    put(&env.cache, "b", &["z"]).await;
    put(&env.cache, "c", &[]).await;
    let results = invalidate(&env.cache, &[tags(&["y", "unknown"])]).await;
    assert_eq!(env.cache.read("a").await, None);
    assert_eq!(results, [BANNED]);
    assert_eq!(kept(&env.cache, &["a", "b", "c"]).await, ["b", "c"]);
    put(&env.cache, "a", &["y"]).await;
    assert_eq!(env.cache.read("a").await.as_deref(), Some("a"), "a later value is valid");
});

on_all_stores!(patterns_match_whole_keys_with_any_params, |env| {
    let keys = ["user:1:a", "user:12", "xuser:1:a", "user:1:*", "user:1:[z]"];
    for name in keys {
        put(&env.cache, name, &[]).await;
    }
    let with_params =
        SetRequest { params: params(&[("page", "2")]), ..set("user:1:p", text("page")) };
    env.cache.set(with_params).await.unwrap();
    invalidate(&env.cache, &[pattern(r"user:1:\*")]).await;
    assert_eq!(env.cache.read("user:1:*").await, None);
    let others = ["user:1:a", "user:12", "xuser:1:a", "user:1:[z]"];
    assert_eq!(kept(&env.cache, &keys).await, others);
    invalidate(&env.cache, &[pattern(r"user:?:\[[x-z]\]")]).await;
    assert_eq!(kept(&env.cache, &keys).await, ["user:1:a", "user:12", "xuser:1:a"]);
    invalidate(&env.cache, &[pattern("user:1:*")]).await;
    assert_eq!(kept(&env.cache, &keys).await, ["user:12", "xuser:1:a"]);
    let mut request = get("user:1:p");
    request.params = params(&[("page", "2")]);
    assert_eq!(as_text(env.cache.get(request).await.unwrap().value), None);
});

on_both_stores!(each_target_has_its_result_in_order, |env| {
    for (name, tag) in [("a", "x"), ("b", "y"), ("c1", "w"), ("d", "w"), ("e", "w")] {
        put(&env.cache, name, &[tag]).await;
    }
    let other = SetRequest { namespace: "other".to_owned(), ..set("k", text("v")) };
    env.cache.set(other).await.unwrap();
    let targets =
        [key("d"), tags(&["x"]), namespace("other"), key("none"), pattern("c?"), tags(&["y"])];
    let results = invalidate(&env.cache, &targets).await;
    let deleted = |existed| TargetResult { existed, ..BANNED };
    assert_eq!([&results[0], &results[2], &results[3]], [&deleted(true), &WHOLE, &deleted(false)]);
    assert_eq!([&results[1]; 2], [&results[4], &results[5]], "one ban for all");
    assert_eq!(results[1], BANNED);
    assert_eq!(kept(&env.cache, &["a", "b", "c1", "d", "e"]).await, ["e"]);
    assert!(kept(&env.cache, &["a", "b", "c1", "d"]).await.is_empty());
    let mut read = get("k");
    read.namespace = "other".to_owned();
    assert!(env.cache.get(read).await.unwrap().value.is_none());
});

on_all_stores!(fills_from_before_are_refused, |env| {
    let (by_tag, by_key) = (env.cache.lease("t").await, env.cache.lease("user:1").await);
    let by_name = env.cache.lease("k").await;
    let other = env.cache.lease("other").await;
    invalidate(&env.cache, &[tags(&["x"]), pattern("user:*"), key("k")]).await;
    for (name, lease) in [("t", &by_tag), ("user:1", &by_key), ("k", &by_name)] {
        let fill = SetRequest { tags: vec!["x".to_owned()], ..fill(name, text("old"), lease) };
        let refused = env.cache.set(fill).await.unwrap();
        assert_eq!(refused.result(), SetResult::Invalidated, "{name}");
        assert_eq!(env.cache.read(name).await, None);
        // The next lease is granted at once, and its fill is stored.
        let lease = env.cache.lease(name).await;
        let fill =
            SetRequest { tags: vec!["x".to_owned()], ..self::fill(name, text("new"), &lease) };
        assert_eq!(env.cache.set(fill).await.unwrap().result(), SetResult::Stored, "{name}");
        assert_eq!(env.cache.read(name).await.as_deref(), Some("new"));
    }
    let filled = env.cache.set(fill("other", text("v"), &other)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
});

on_both_stores!(a_waiting_caller_receives_the_lease_of_a_banned_key, |env| {
    let lease = env.cache.lease("user:1").await;
    let cache = env.cache.clone();
    let waiting = tokio::spawn(async move { cache.get_or_fetch(fetch("user:1", LONG)).await });
    eventually("the caller waits", SOON, async || {
        (metric(&env.larder, "larder_waiting").await == 1.0).then_some(())
    })
    .await;
    invalidate(&env.cache, &[pattern("user:*")]).await;
    let granted = waiting.await.unwrap().unwrap().expect_lease();
    assert_ne!(granted.token, lease.token);
    let renewed = env.cache.renew(renewal("user:1", &lease)).await.unwrap();
    assert_ne!(renewed.result(), RenewResult::Renewed);
});

on_both_stores!(a_fetch_stream_loses_the_lease_of_a_banned_key, |env| {
    let mut stream = Stream::lease(&env.cache, "user:1").await;
    invalidate(&env.cache, &[pattern("user:*")]).await;
    match stream.next().await.unwrap() {
        Some(ServerMessage::Lost(lost)) => assert_eq!(lost, SetResult::Invalidated as i32),
        other => panic!("expected lost, got {other:?}"),
    }
});

on_both_stores!(the_fill_of_a_fetch_stream_is_refused_by_its_tags, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    invalidate(&env.cache, &[tags(&["x"])]).await;
    let fill = FetchStreamFill {
        value: Some(text("v")),
        tags: vec!["x".to_owned()],
        ..Default::default()
    };
    stream.send(ClientMessage::Fill(fill)).await;
    match stream.next().await.unwrap() {
        Some(ServerMessage::Filled(filled)) => {
            assert_eq!(filled.result(), SetResult::Invalidated);
        }
        // A store without bans ends the lease at once.
        Some(ServerMessage::Lost(lost)) => assert_eq!(lost, SetResult::Invalidated as i32),
        other => panic!("expected an answer, got {other:?}"),
    }
    assert_eq!(env.cache.read("k").await, None);
});

on_all_stores!(a_hold_off_refuses_fills_until_it_ends, |env| {
    let targets = [tags(&["x"]), pattern("user:*"), namespace("whole"), key("k")];
    let refused = async |namespace: &str, name: &str| {
        let mut request = fetch(name, 0);
        request.namespace = namespace.to_owned();
        let lease = env.cache.get_or_fetch(request).await.unwrap().expect_lease();
        let tags = vec!["x".to_owned()];
        let fill = fill(name, text("v"), &lease);
        let fill = SetRequest { namespace: namespace.to_owned(), tags, ..fill };
        env.cache.set(fill).await.unwrap().result() == SetResult::Invalidated
    };
    let keys = [(NS, "t"), (NS, "user:1"), ("whole", "any"), (NS, "k")];
    hold_off(&env.cache, &targets, 1_500).await;
    for (namespace, name) in keys {
        assert!(refused(namespace, name).await, "{namespace} {name}");
    }
    // A Set without a lease is stored.
    put(&env.cache, "user:2", &["x"]).await;
    assert!(env.cache.read("user:2").await.is_some());
    for (namespace, name) in keys {
        eventually("a fill is stored again", SOON, async || {
            (!refused(namespace, name).await).then_some(())
        })
        .await;
    }
    throughout(Duration::from_millis(100), async || {
        assert!(env.cache.read("user:1").await.is_some());
    })
    .await;
});

on_both_stores!(banned_entries_are_missing_in_batches_and_for_conditions, |env| {
    let keys = ["a", "b", "c"];
    for (name, tag) in [("a", "x"), ("b", "y"), ("c", "x")] {
        put(&env.cache, name, &[tag]).await;
    }
    invalidate(&env.cache, &[tags(&["x"])]).await;
    let request: BatchGetRequest = batch_get(keys.map(key_ref).to_vec());
    let chunks = env.cache.batch_get(request).await.unwrap();
    let found: Vec<bool> =
        chunks.iter().flat_map(|chunk| &chunk.results).map(|one| one.value.is_some()).collect();
    assert_eq!((found[0], found[2]), (false, false));
    assert!(found[1]);

    assert!(!env.cache.touch(touch("a", LONG)).await.unwrap().found);
    assert!(!env.cache.delete(delete("a")).await.unwrap().existed);
    let results = answers(&env.cache, batch(&["a", "c"])).await;
    for result in results {
        result.expect_lease();
    }
});

on_both_stores!(
    more_bans_than_the_limit_invalidate_the_namespace,
    config: "[namespaces.ns]\nmax_banned_tags = 2\nmax_banned_patterns = 1\n",
    |env| {
        put(&env.cache, "k", &[]).await;
        assert_eq!(invalidate(&env.cache, &[tags(&["a", "b"]), pattern("a*")]).await, [BANNED; 2]);
        assert_eq!(invalidate(&env.cache, &[tags(&["b"]), pattern("a*")]).await, [BANNED; 2]);
        assert!(env.cache.read("k").await.is_some());
        assert_eq!(invalidate(&env.cache, &[tags(&["c"])]).await, [WHOLE]);
        assert!(env.cache.read("k").await.is_none());
        assert_eq!(metric(&env.larder, "larder_bans_total").await, 6.0);
        assert_eq!(metric(&env.larder, "larder_invalidations_total").await, 1.0);
    }
);

on_both_stores!(
    invalidations_in_a_window_are_applied_together,
    config: "[namespaces.ns]\ninvalidation_window = '300ms'\n",
    |env| {
        put(&env.cache, "a", &["x"]).await;
        put(&env.cache, "user:1", &[]).await;
        let calls = (0..20).map(async |number| {
            let (target, name) =
                if number % 2 == 0 { (tags(&["x"]), "a") } else { (pattern("user:*"), "user:1") };
            invalidate(&env.cache, &[target]).await;
            assert_eq!(env.cache.read(name).await, None, "it is applied when it is answered");
        });
        futures::future::join_all(calls).await;
        assert!(metric(&env.larder, "larder_invalidations_coalesced_total").await >= 15.0);
        // A tag and a pattern for each window.
        assert!(metric(&env.larder, "larder_bans_total").await <= 10.0);
    }
);

on_both_stores!(violations_name_the_target, |env| {
    let invalid = async |targets: &[_]| env.cache.invalidate(request(targets)).await;
    put(&env.cache, "k", &["x"]).await;
    expect_violation(invalid(&[]).await, "targets");
    let many = vec![key("k"); 1001];
    let code = Code::InvalidArgument;
    expect_over_limit(invalid(&many).await, code, "BATCH_TOO_LARGE", "targets", 1000);
    let valid = tags(&["x"]);
    expect_violation(invalid(&[valid.clone(), pattern("a[")]).await, "targets[1].pattern.glob");
    expect_violation(invalid(&[valid.clone(), tags(&[])]).await, "targets[1].tags.tags");
    expect_violation(invalid(&[valid.clone(), namespace("")]).await, "targets[1].namespace");
    let too_long = InvalidateRequest { hold_off: ms(3_600_001), ..request(&[valid]) };
    let refused = env.cache.invalidate(too_long).await;
    expect_over_limit(refused, code, "INVALID_ARGUMENT", "hold_off", 3600);
    assert!(env.cache.read("k").await.is_some(), "nothing was invalidated");
});

/// Keys of entries in several namespaces that are left.
async fn left_in(cache: &Cache, namespaces: &[&'static str], key: &str) -> Vec<&'static str> {
    let mut left = Vec::new();
    for &namespace in namespaces {
        let request = GetRequest { namespace: namespace.to_owned(), ..get(key) };
        if cache.get(request).await.unwrap().value.is_some() {
            left.push(namespace);
        }
    }
    left
}

const CONFIGURED: &str = "[namespaces.user-empty]\nttl = '60s'\n";

on_all_stores!(namespaces_can_be_a_glob, config: CONFIGURED, |env| {
    const NAMES: [&str; 4] = ["order", "user-a", "user-b", "users"];
    for namespace in NAMES {
        for (key, tag) in [("k", "t"), ("l", "u")] {
            let request = SetRequest { namespace: namespace.to_owned(), ..tagged(key, &[tag]) };
            env.cache.set(request).await.unwrap();
        }
    }
    let of = |target| Target { target: Some(target) };
    let tagged = TagTarget { namespace: "user-*".to_owned(), tags: vec!["t".to_owned()] };
    let results = invalidate(&env.cache, &[of(Kind::Tags(tagged))]).await;
    let names = |result: &TargetResult| {
        let names = result.namespaces.iter().map(|result| result.namespace.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&results[0]), ["user-a", "user-b", "user-empty"]);
    assert!(results[0].namespaces.iter().all(|result| !result.namespace_invalidated));
    assert_eq!(left_in(&env.cache, &NAMES, "k").await, ["order", "users"]);
    assert_eq!(left_in(&env.cache, &NAMES, "l").await, NAMES);

    let matching = PatternTarget { namespace: "user?".to_owned(), glob: "l*".to_owned() };
    let targets = [of(Kind::Pattern(matching)), namespace("order"), namespace("none*")];
    let results = invalidate(&env.cache, &targets).await;
    assert_eq!(results.iter().map(names).collect::<Vec<_>>().concat(), ["users"]);
    assert_eq!(results[1..], [WHOLE, BANNED]);
    assert_eq!(left_in(&env.cache, &NAMES, "k").await, ["users"]);
    assert_eq!(left_in(&env.cache, &NAMES, "l").await, ["user-a", "user-b"]);

    let results = invalidate(&env.cache, &[namespace("user*")]).await;
    assert!(results[0].namespace_invalidated && names(&results[0]).len() == 4, "{results:?}");
    assert_eq!(left_in(&env.cache, &NAMES, "l").await, [""; 0]);
    let malformed = request(&[namespace("[a")]);
    expect_violation(env.cache.invalidate(malformed).await, "targets[0].namespace");
});
