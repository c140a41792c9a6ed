//! Events that end a GetOrFetch lease, and the result of a late fill.

use larder::pb::v1::{
    BatchDeleteRequest, BatchSetRequest, GetOrFetchRequest, IncrementRequest, Lease, SetRequest,
    SetResult,
};

use crate::support::{
    client::{
        Cache, Fetched as _, abandon, delete, fetch, fill, increment, invalidate, key_ref, ms,
        params, renewal, set, set_for, text, touch,
    },
    status::expect_violation,
    wait::{SOON, eventually},
};

on_both_stores!(a_lease_fills_once, |env| {
    let lease = env.cache.lease("k").await;
    assert_eq!(try_fill(&env.cache, "k", &lease).await, SetResult::Stored);
    let again = env.cache.set(fill("k", text("again"), &lease)).await.unwrap().result();
    assert!(matches!(again, SetResult::LeaseLost | SetResult::Superseded), "{again:?}");
    assert_eq!(env.cache.read("k").await.as_deref(), Some("filled"));
});

on_both_stores!(only_one_of_many_fills_is_accepted, |env| {
    let lease = env.cache.lease("k").await;
    let fills = (0..20).map(async |number: usize| {
        env.cache.set(fill("k", text(&number.to_string()), &lease)).await.unwrap().result()
    });
    let results = futures::future::join_all(fills).await;
    let stored: Vec<usize> =
        (0..20).filter(|number| results[*number] == SetResult::Stored).collect();
    assert_eq!(stored.len(), 1, "{results:?}");
    assert_eq!(env.cache.read("k").await, Some(stored[0].to_string()));
});

on_both_stores!(a_write_supersedes_a_lease, |env| {
    let lease = env.cache.lease("set").await;
    env.cache.put("set", "newer").await;
    assert_eq!(try_fill(&env.cache, "set", &lease).await, SetResult::Superseded);
    assert_eq!(env.cache.read("set").await.as_deref(), Some("newer"));

    let lease = env.cache.lease("batch").await;
    env.cache
        .batch_set(BatchSetRequest { items: vec![set("batch", text("newer"))] })
        .await
        .unwrap();
    assert_eq!(try_fill(&env.cache, "batch", &lease).await, SetResult::Superseded);
    assert_eq!(env.cache.read("batch").await.as_deref(), Some("newer"));

    let lease = env.cache.lease("count").await;
    env.cache.increment(increment("count", 7)).await.unwrap();
    assert_eq!(try_fill(&env.cache, "count", &lease).await, SetResult::Superseded);
    assert_eq!(env.cache.read("count").await.as_deref(), Some("7"));
});

on_both_stores!(an_expired_write_still_supersedes_a_lease, |env| {
    let lease = env.cache.lease("k").await;
    env.cache.set(set_for("k", text("brief"), 1)).await.unwrap();
    eventually("the entry expires", SOON, async || {
        env.cache.read("k").await.is_none().then_some(())
    })
    .await;
    assert_ne!(try_fill(&env.cache, "k", &lease).await, SetResult::Stored);
    assert_eq!(env.cache.read("k").await, None);
});

on_all_stores!(deletes_and_invalidations_void_a_lease, |env| {
    let lease = env.cache.lease("delete").await;
    assert!(!env.cache.delete(delete("delete")).await.unwrap().existed);
    assert_refused_as_invalidated(&env.cache, "delete", &lease).await;

    let lease = env.cache.lease("batch").await;
    let keys = vec![key_ref("something"), key_ref("batch")];
    env.cache
        .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
        .await
        .unwrap();
    assert_refused_as_invalidated(&env.cache, "batch", &lease).await;

    let lease = env.cache.lease("namespace").await;
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_refused_as_invalidated(&env.cache, "namespace", &lease).await;
});

on_both_stores!(other_keys_and_touch_do_not_void_a_lease, |env| {
    let lease = env.cache.lease("k").await;
    env.cache.invalidate_namespace(invalidate("ns2")).await.unwrap();
    env.cache.delete(delete("k2")).await.unwrap();
    let request = larder::pb::v1::DeleteRequest { params: params(&[("page", "1")]), ..delete("k") };
    env.cache.delete(request).await.unwrap();
    env.cache.touch(touch("k", 1_000)).await.unwrap();
    assert_eq!(try_fill(&env.cache, "k", &lease).await, SetResult::Stored);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("filled"));
});

on_both_stores!(a_new_lease_is_granted_after_an_invalidation, |env| {
    let old = env.cache.lease("k").await;
    env.cache.delete(delete("k")).await.unwrap();
    let new = env.cache.lease("k").await;
    assert_ne!(try_fill(&env.cache, "k", &old).await, SetResult::Stored);
    assert_eq!(env.cache.read("k").await, None);
    // The refused fill did not affect the current lease.
    env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    let newest = env.cache.lease("k").await;
    assert_ne!(try_fill(&env.cache, "k", &old).await, SetResult::Stored);
    assert_ne!(try_fill(&env.cache, "k", &new).await, SetResult::Stored);
    assert_eq!(try_fill(&env.cache, "k", &newest).await, SetResult::Stored);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("filled"));
});

on_both_stores!(a_token_is_valid_only_for_its_key, |env| {
    let lease = env.cache.lease("k").await;
    let other = env.cache.lease("other").await;
    let page = params(&[("page", "1")]);
    let elsewhere = "ns2".to_owned();
    let misuses = [
        fill("unasked", text("x"), &lease),
        fill("other", text("x"), &lease),
        SetRequest { params: page, ..fill("k", text("x"), &lease) },
        SetRequest { namespace: elsewhere, ..fill("k", text("x"), &lease) },
        fill("k", text("x"), &other),
        SetRequest { lease_token: vec![0; 16].into(), ..set("k", text("x")) },
    ];
    for misuse in misuses {
        assert_eq!(
            env.cache.set(misuse.clone()).await.unwrap().result(),
            SetResult::LeaseLost,
            "{misuse:?}"
        );
    }
    for token in [b"short".to_vec(), vec![7; 24], vec![7; 300]] {
        let malformed = Lease { token: token.into(), ..lease.clone() };
        expect_violation(env.cache.set(fill("k", text("x"), &malformed)).await, "lease_token");
        expect_violation(env.cache.renew(renewal("k", &malformed)).await, "lease_token");
        expect_violation(env.cache.abandon(abandon("k", &malformed)).await, "lease_token");
    }
    assert_eq!(env.cache.read("k").await, None);
    assert_eq!(env.cache.read("unasked").await, None);
    assert_eq!(env.cache.read("other").await, None);
    assert_eq!(try_fill(&env.cache, "other", &other).await, SetResult::Stored);
    assert_eq!(try_fill(&env.cache, "k", &lease).await, SetResult::Stored);
});

on_both_stores!(
    an_expired_lease_fills_nothing,
    env: [("LARDER_DEFAULTS__LEASE_TTL", "200ms")],
    |env| {
        let lease = env.cache.lease("k").await;
        // Without another request, no caller takes over the lease.
        crate::support::wait::throughout(std::time::Duration::from_millis(400), async || {}).await;
        assert_eq!(try_fill(&env.cache, "k", &lease).await, SetResult::LeaseLost);
        assert_eq!(env.cache.read("k").await, None);
    }
);

on_both_stores!(a_fill_sets_ttl_and_tags, |env| {
    let lease = env.cache.lease("k").await;
    let request =
        SetRequest { ttl: ms(5_000), tags: vec!["t".to_owned()], ..fill("k", text("v"), &lease) };
    let filled = env.cache.set(request).await.unwrap();
    assert_eq!((filled.result(), filled.ttl), (SetResult::Stored, ms(5_000)));
    let found = env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found();
    assert_eq!(found.entry.unwrap().tags, ["t"]);
});

on_both_stores!(params_have_separate_leases, |env| {
    let with =
        |page: &str| GetOrFetchRequest { params: params(&[("page", page)]), ..fetch("k", 0) };
    let one = env.cache.get_or_fetch(with("1")).await.unwrap().expect_lease();
    env.cache.get_or_fetch(with("2")).await.unwrap().expect_lease();
    let plain = env.cache.lease("k").await;
    env.cache.get_or_fetch(with("1")).await.unwrap().expect_contended();
    let counted = IncrementRequest { params: params(&[("page", "2")]), ..increment("k", 1) };
    env.cache.increment(counted).await.unwrap();
    let request = SetRequest { params: params(&[("page", "1")]), ..fill("k", text("one"), &one) };
    assert_eq!(env.cache.set(request).await.unwrap().result(), SetResult::Stored);
    assert_eq!(try_fill(&env.cache, "k", &plain).await, SetResult::Stored);
});

async fn try_fill(cache: &Cache, key: &str, lease: &Lease) -> SetResult {
    cache.set(fill(key, text("filled"), lease)).await.unwrap().result()
}

async fn assert_refused_as_invalidated(cache: &Cache, key: &str, lease: &Lease) {
    assert_eq!(try_fill(cache, key, lease).await, SetResult::Invalidated, "{key}");
    assert_eq!(cache.read(key).await, None, "{key}");
}
