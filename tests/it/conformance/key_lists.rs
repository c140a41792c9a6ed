//! ListKeys and CountKeys.

use std::collections::{BTreeMap, BTreeSet};

use larder::pb::v1::{
    BatchSetRequest, CountKeysRequest, ListKeysRequest, SetRequest, SetResponse, SetResult,
};
use tonic::Code;

use crate::support::{
    client::{Cache, NS, delete, invalidate, set, set_for, text},
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

fn list(glob: &str, page_size: u32) -> ListKeysRequest {
    ListKeysRequest { namespace: NS.into(), glob: glob.into(), page_size, ..Default::default() }
}

fn count(glob: &str) -> CountKeysRequest {
    CountKeysRequest { namespace: NS.into(), glob: glob.into(), ..Default::default() }
}

async fn keys(cache: &Cache, glob: &str, page_size: u32) -> BTreeSet<String> {
    let keys = cache.list_keys(list(glob, page_size)).await.unwrap();
    keys.into_iter().map(|key| key.key).collect()
}

async fn fill(cache: &Cache, namespace: &str, keys: impl IntoIterator<Item = String>) {
    let items: Vec<SetRequest> = keys
        .into_iter()
        .map(|key| SetRequest { namespace: namespace.to_owned(), ..set(&key, text("v")) })
        .collect();
    for items in items.chunks(1000) {
        let stored = cache.batch_set(BatchSetRequest { items: items.to_vec() }).await.unwrap();
        let is_stored = |set: &SetResponse| set.result() == SetResult::Stored;
        assert!(stored.results.iter().all(is_stored), "a busy machine");
    }
}

fn numbered(keys: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    keys.map(|number| format!("user:{number}"))
}

on_all_stores!(pages_have_all_keys_of_one_namespace, |env| {
    fill(&env.cache, NS, numbered(0..2500)).await;
    fill(&env.cache, "other", numbered(0..2500)).await;
    let all: BTreeSet<String> = numbered(0..2500).collect();
    for page_size in [0, 7, 1000] {
        assert!(keys(&env.cache, "", page_size).await == all, "{page_size}");
    }
    let page = env.cache.rpc().list_keys(list("", 50)).await.unwrap().into_inner();
    assert!((50..2000).contains(&page.keys.len()), "{}", page.keys.len());
    assert_eq!(env.cache.count_keys(count("")).await.unwrap(), 2500);
    assert_eq!(env.cache.count_keys(count("user:1*")).await.unwrap(), 1111);
});

on_all_stores!(globs_select_whole_keys, |env| {
    let special = ["a*b", "a?b", "a[b", "axb", "a\\b", "aéb", ":k:", "{ns:0}:k:a*b", "\r\n", "a"];
    fill(&env.cache, NS, special.map(str::to_owned)).await;
    let found = async |glob: &str| keys(&env.cache, glob, 0).await;
    let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(found("").await, set(&special));
    assert_eq!(found("a\\*b").await, set(&["a*b"]));
    assert_eq!(found("a?b").await, set(&["a*b", "a?b", "a[b", "axb", "a\\b", "aéb"]));
    assert_eq!(found("a[x*]b").await, set(&["a*b", "axb"]));
    assert_eq!(found("a\\\\b").await, set(&["a\\b"]));
    assert_eq!(found("{*").await, set(&["{ns:0}:k:a*b"]));
    assert_eq!(found("a").await, set(&["a"]));
    assert_eq!(found("b").await, set(&[]));
});

on_both_stores!(params_are_listed_by_their_digest, |env| {
    let params = BTreeMap::from([("view".to_owned(), "full".to_owned())]);
    env.cache.put("k", "v").await;
    env.cache.set(SetRequest { params, ..set("k", text("v")) }).await.unwrap();
    let mut keys = env.cache.list_keys(list("k", 0)).await.unwrap();
    keys.sort_by_key(|key| key.params_digest.len());
    let digests: Vec<(&str, usize)> =
        keys.iter().map(|key| (&*key.key, key.params_digest.len())).collect();
    assert_eq!(digests, [("k", 0), ("k", 43)]);
});

on_both_stores!(keys_that_are_gone_are_not_listed, |env| {
    let cache = &env.cache;
    for key in ["stays", "deleted"] {
        cache.put(key, "v").await;
    }
    cache.set(set_for("expires", text("v"), 1)).await.unwrap();
    cache.delete(delete("deleted")).await.unwrap();
    eventually("the key expires", SOON, async || {
        (keys(cache, "", 0).await == BTreeSet::from(["stays".to_owned()])).then_some(())
    })
    .await;
    cache.invalidate_namespace(invalidate(NS)).await.unwrap();
    assert_eq!(keys(cache, "", 0).await, BTreeSet::new());
    assert_eq!(cache.count_keys(count("")).await.unwrap(), 0);
    cache.put("new", "v").await;
    assert_eq!(keys(cache, "", 0).await, BTreeSet::from(["new".to_owned()]));
});

on_both_stores!(keys_that_stay_are_found_while_others_change, |env| {
    let cache = &env.cache;
    fill(cache, NS, (0..1000).map(|number| format!("stays:{number}"))).await;
    let (mut found, mut request, mut round) = (BTreeSet::new(), list("stays:*", 20), 0);
    loop {
        let page = cache.rpc().list_keys(request.clone()).await.unwrap().into_inner();
        found.extend(page.keys.into_iter().map(|key| key.key));
        fill(cache, NS, (0..100).map(|number| format!("comes:{round}:{number}"))).await;
        for number in 0..50 {
            cache.delete(delete(&format!("comes:{round}:{number}"))).await.unwrap();
        }
        round += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(found.len(), 1000);
});

on_both_stores!(unusable_requests_name_the_field, |env| {
    let mut rpc = env.cache.rpc();
    expect_violation(rpc.list_keys(list("[a", 0)).await, "glob");
    let token = ListKeysRequest { page_token: "x".to_owned(), ..list("", 0) };
    expect_violation(rpc.list_keys(token).await, "page_token");
    let namespace = CountKeysRequest { namespace: "NS".to_owned(), ..count("") };
    expect_violation(rpc.count_keys(namespace).await, "namespace");
});

const STRICT: [(&str, &str); 1] = [("LARDER_STRICT_NAMESPACES", "true")];

on_both_stores!(unknown_namespace_is_refused, env: STRICT, |env| {
    let mut rpc = env.cache.rpc();
    expect_error(rpc.list_keys(list("", 0)).await, Code::NotFound, "UNKNOWN_NAMESPACE");
    expect_error(rpc.count_keys(count("")).await, Code::NotFound, "UNKNOWN_NAMESPACE");
});
