//! Params are part of the key.

use std::collections::BTreeMap;

use larder::pb::v1::{
    DeleteRequest, GetOrFetchRequest, GetRequest, IncrementRequest, SetRequest, TouchRequest,
};

use crate::support::client::{
    Cache, Fetched as _, as_text, delete, fetch, get, increment, params, set, text, touch,
};

on_both_stores!(params_distinguish_entries, |env| {
    let variants = [
        params(&[]),
        params(&[("page", "1")]),
        params(&[("page", "2")]),
        params(&[("page", "")]),
        params(&[("pag", "e1")]),
        params(&[("page", "1"), ("lang", "de")]),
        params(&[("lang", "page"), ("de", "1")]),
        params(&[("page=1&lang", "de")]),
    ];
    for (number, params) in variants.iter().enumerate() {
        put(&env.cache, params, &number.to_string()).await;
    }
    for (number, params) in variants.iter().enumerate() {
        assert_eq!(read(&env.cache, params).await, Some(number.to_string()), "{params:?}");
    }
});

on_both_stores!(the_order_of_params_is_irrelevant, |env| {
    let pairs: Vec<(String, String)> =
        (0..20).map(|number| (format!("n{number}"), format!("v{number}"))).collect();
    put(&env.cache, &pairs.iter().cloned().collect(), "v").await;
    // Inserted in reverse order; the generated client sends a `BTreeMap` sorted by name.
    for _ in 0..20 {
        let again: BTreeMap<String, String> = pairs.iter().rev().cloned().collect();
        assert_eq!(read(&env.cache, &again).await.as_deref(), Some("v"));
    }
});

on_all_stores!(every_call_honours_params, |env| {
    let page = params(&[("page", "1")]);
    put(&env.cache, &BTreeMap::new(), "plain").await;
    put(&env.cache, &page, "paged").await;

    let request = DeleteRequest { params: page.clone(), ..delete("k") };
    assert!(env.cache.delete(request.clone()).await.unwrap().existed);
    assert!(!env.cache.delete(request).await.unwrap().existed);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("plain"));

    let request = TouchRequest { params: page.clone(), ..touch("k", 1_000) };
    assert!(!env.cache.touch(request).await.unwrap().found);

    let request = GetOrFetchRequest { params: page.clone(), ..fetch("k", 0) };
    let lease = env.cache.get_or_fetch(request.clone()).await.unwrap().expect_lease();
    let filled =
        SetRequest { params: page.clone(), lease_token: lease.token, ..set("k", text("filled")) };
    env.cache.set(filled).await.unwrap();
    let found = env.cache.get_or_fetch(request).await.unwrap().expect_found();
    assert_eq!(as_text(found.value).as_deref(), Some("filled"));

    let other = params(&[("page", "2")]);
    let request = IncrementRequest { params: other.clone(), ..increment("k", 5) };
    assert_eq!(env.cache.increment(request).await.unwrap().value, 5);
    assert_eq!(read(&env.cache, &other).await.as_deref(), Some("5"));
    assert_eq!(env.cache.read("k").await.as_deref(), Some("plain"));
});

async fn put(cache: &Cache, params: &BTreeMap<String, String>, value: &str) {
    cache.set(SetRequest { params: params.clone(), ..set("k", text(value)) }).await.unwrap();
}

async fn read(cache: &Cache, params: &BTreeMap<String, String>) -> Option<String> {
    as_text(cache.get(GetRequest { params: params.clone(), ..get("k") }).await.unwrap().value)
}
