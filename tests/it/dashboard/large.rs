//! Many keys, long keys, large values.

use std::collections::BTreeSet;

use larder::pb::v1::{BatchSetRequest, KeyRef};

use super::{Http, act, address, page};
use crate::support::client::{batch_get, data, key_ref, set, text};

const KEYS: usize = 100_000;
const BATCH: usize = 1_000;
/// More namespaces than a page has, each with enough reads for a judgement.
const NAMESPACES: usize = 105;
const MISSES: usize = 1000;

on_both_stores!(a_namespace_of_100_000_keys_is_paged, |env| {
    for batch in 0..KEYS / BATCH {
        let key = |index: usize| format!("key:{:06}", batch * BATCH + index);
        let items = (0..BATCH).map(|index| set(&key(index), text("v"))).collect();
        env.cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    let (mut path, mut seen) = (address("/keys", &[("namespace", "ns")]), BTreeSet::new());
    for _ in 0..5 {
        let body = page(&env, &path).await;
        assert!(body.len() < 200_000, "{}", body.len());
        let keys = body.split("<bdi>key:").skip(1).filter_map(|part| part.get(..6));
        let before = seen.len();
        seen.extend(keys.map(str::to_owned));
        assert!(seen.len() > before, "{body}");
        let next = body.split("rel=\"next\" href=\"").nth(1).expect("a next page");
        path = next.split('"').next().unwrap().replace("&amp;", "&");
    }
    let glob = [("action", "glob"), ("namespace", "ns"), ("glob", "key:00001?")];
    let shown = page(&env, &address("/confirm", &glob)).await;
    assert!(shown.contains("keys match now"), "{shown}");
    let namespace = page(&env, "/namespaces/ns").await;
    assert!(namespace.contains("a sample of"), "{namespace}");
});

on_both_stores!(
    what_is_beyond_the_busiest_namespaces_is_stated,
    config: "[namespaces.quiet.origin]\nurl = 'http://127.0.0.1:1/{key}'\n",
    |env| {
        for index in 0..NAMESPACES {
            let namespace = format!("n{index}");
            let key = |key: usize| KeyRef {
                namespace: namespace.clone(),
                ..key_ref(&key.to_string())
            };
            env.cache.batch_get(batch_get((0..MISSES).map(key).collect())).await.unwrap();
        }
        let origins = page(&env, "/origins").await;
        assert!(origins.contains("href=\"/namespaces/quiet\""), "{origins}");
        assert!(!origins.contains("No namespace has an origin"), "{origins}");
        let overview = page(&env, "/").await;
        // On Redis, its settings are an item as well.
        let more = [NAMESPACES - 8, NAMESPACES - 7].map(|more| format!("And {more} more"));
        assert!(more.iter().any(|more| overview.contains(more)), "{overview}");
        let all = page(&env, "/namespaces").await;
        let stated = format!("The 100 busiest of {}", NAMESPACES + 1);
        assert!(all.contains(&stated), "{stated}: {all}");
        let names = |body: &str| -> BTreeSet<String> {
            let rows = body.split("<tr data-key=\"").skip(1);
            rows.filter_map(|row| row.split('"').next()).map(str::to_owned).collect()
        };
        let mut seen = names(&all);
        assert_eq!(seen.len(), 100);
        assert!(all.contains("rel=\"next\" href=\"/namespaces?span=1h&amp;part=2\""), "{all}");
        let rest = page(&env, "/namespaces?part=2").await;
        assert!(rest.contains("101 to 106 of 106") && !rest.contains("rel=\"next\""), "{rest}");
        assert!(rest.contains("data-live=\"/live?page=namespaces&amp;span=1h&amp;part=2\""));
        seen.extend(names(&rest));
        assert_eq!(seen.len(), NAMESPACES + 1, "each is on one of the pages");
        let none = page(&env, "/namespaces?part=9").await;
        assert!(none.contains("There are 106 namespaces: none on this page"), "{none}");
    }
);

on_both_stores!(a_long_key_and_a_large_value_are_shown_in_part, |env| {
    let key = "<&>".repeat(341);
    env.cache.set(set(&key, data(vec![b'x'; 1024 * 1024]))).await.unwrap();
    let http = Http::to(&env.larder);
    let keys = page(&env, &address("/keys", &[("namespace", "ns")])).await;
    assert!(keys.contains("&lt;&amp;&gt;…"), "{keys}");
    let entry = page(&env, &address("/entry", &[("namespace", "ns"), ("key", &key)])).await;
    assert!(entry.contains("The first 4 KiB of 1.0 MiB"), "{}", entry.len());
    assert!(entry.len() < 64 * 1024, "{}", entry.len());
    let parameters = [("action", "delete"), ("namespace", "ns"), ("key", key.as_str())];
    let done = act(&http, &parameters).await;
    assert!(done.body.contains("removed"), "{done:?}");
    let glob = "x".repeat(1025);
    let long = address("/keys", &[("namespace", "ns"), ("glob", &glob)]);
    let refused = http.get(&long).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("the limit is 1024"), "{refused:?}");
});
