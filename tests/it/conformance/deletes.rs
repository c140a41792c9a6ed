//! Delete on a condition, and with the removed entry.

use futures::future::join_all;
use larder::pb::v1::{BatchDeleteRequest, DeleteRequest, Outcome, SetRequest, SetResult, Tier};

use crate::support::{
    client::{Cache, as_text, delete, get, increment, invalidate, key_ref, ms, set, set_for, text},
    status::expect_violation,
    wait::{SOON, eventually},
};

const STALE: &str = r#"
[namespaces.ns]
ttl_jitter = 0.0
stale_while_revalidate = "60s"
"#;

on_both_stores!(if_version_removes_only_that_version, |env| {
    let first = env.cache.put("k", "1").await;
    let second = env.cache.put("k", "2").await;
    for other in [first, "no version".to_owned()] {
        assert_eq!(delete_if(&env.cache, &other).await, (true, false), "{other}");
    }
    assert_eq!(env.cache.read("k").await.as_deref(), Some("2"));
    assert_eq!(delete_if(&env.cache, &second).await, (true, true));
    assert_eq!(env.cache.read("k").await, None);
    for absent in [second, "no version".to_owned()] {
        assert_eq!(delete_if(&env.cache, &absent).await, (false, false), "{absent}");
    }
    let version = env.cache.put("k", "3").await;
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_eq!(delete_if(&env.cache, &version).await, (false, false));

    env.cache.put("k", "4").await;
    let plain = env.cache.delete(delete("k")).await.unwrap();
    assert!(plain.existed && plain.deleted && plain.removed.is_none());
    let plain = env.cache.delete(delete("k")).await.unwrap();
    assert!(!plain.existed && !plain.deleted);
    expect_violation(env.cache.delete(if_version("")).await, "if_version");
});

on_both_stores!(an_unmet_condition_changes_nothing, |env| {
    let lease = env.cache.lease("k").await;
    let held_off = DeleteRequest { hold_off: ms(60_000), ..if_version("0123456789abcdef") };
    assert!(!env.cache.delete(held_off.clone()).await.unwrap().deleted);
    let filled = SetRequest { lease_token: lease.token.clone(), ..set("k", text("v")) };
    let filled = env.cache.set(filled).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
    assert!(env.cache.delete(held_off).await.unwrap().existed);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));

    // A condition that holds does both.
    let held_off = DeleteRequest { hold_off: ms(60_000), ..if_version(&filled.version) };
    assert!(env.cache.delete(held_off).await.unwrap().deleted);
    let refused = SetRequest { lease_token: lease.token, ..set("k", text("v")) };
    assert_eq!(env.cache.set(refused).await.unwrap().result(), SetResult::Invalidated);
});

on_all_stores!(the_removed_entry_is_returned, |env| {
    for size in [1, 100_000] {
        let value = "v".repeat(size);
        let set = SetRequest { tags: vec!["t".to_owned()], ..set("k", text(&value)) };
        let version = env.cache.set(set).await.unwrap().version;
        let taken = env.cache.delete(take()).await.unwrap();
        assert!(taken.existed && taken.deleted);
        let found = taken.removed.unwrap();
        assert_eq!(found.outcome(), Outcome::Hit);
        assert_eq!(as_text(found.value), Some(value));
        let entry = found.entry.unwrap();
        assert_eq!((entry.version, entry.tags), (version, vec!["t".to_owned()]));
        assert_eq!(i32::from(Tier::Store), entry.tier);
        let again = env.cache.delete(take()).await.unwrap();
        assert!(!again.existed && !again.deleted && again.removed.is_none());
    }
    let counter = env.cache.increment(increment("k", 7)).await.unwrap();
    let taken = DeleteRequest { return_value: true, ..if_version(&counter.version) };
    let found = env.cache.delete(taken).await.unwrap().removed.unwrap();
    assert_eq!(as_text(found.value).as_deref(), Some("7"));

    let version = env.cache.put("k", "v").await;
    let other = DeleteRequest { return_value: true, ..if_version("other") };
    assert!(env.cache.delete(other).await.unwrap().removed.is_none());
    assert_eq!(delete_if(&env.cache, &version).await, (true, true));
});

on_both_stores!(a_stale_entry_is_removed_as_one, config: STALE, |env| {
    env.cache.set(set_for("k", text("v"), 1)).await.unwrap();
    eventually("the entry is stale", SOON, async || {
        (env.cache.get(get("k")).await.unwrap().outcome() == Outcome::Stale).then_some(())
    })
    .await;
    let version = env.cache.get(get("k")).await.unwrap().entry.unwrap().version;
    let taken = DeleteRequest { return_value: true, ..if_version(&version) };
    let found = env.cache.delete(taken).await.unwrap().removed.unwrap();
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Stale, Some("v")));
});

on_both_stores!(one_of_many_takers_gets_the_value, |env| {
    for round in 0..5 {
        let version = env.cache.put("k", &round.to_string()).await;
        let with_version = DeleteRequest { return_value: true, ..if_version(&version) };
        let calls = (0..32).map(|number| {
            let request = if number % 2 == 0 { take() } else { with_version.clone() };
            env.cache.delete(request)
        });
        let taken = join_all(calls).await.into_iter().filter_map(|taken| taken.unwrap().removed);
        let values: Vec<_> = taken.map(|found| as_text(found.value).unwrap()).collect();
        assert_eq!(values, [round.to_string()]);
    }
});

on_both_stores!(a_batch_has_a_condition_per_key, |env| {
    let keys = || vec![key_ref("a"), key_ref("b"), key_ref("c"), key_ref("d")];
    let (a, _) = (env.cache.put("a", "1").await, env.cache.put("b", "1").await);
    env.cache.put("c", "1").await;
    let batch =
        |if_versions| BatchDeleteRequest { keys: keys(), if_versions, ..Default::default() };
    let versions = vec![a.clone(), a.clone(), String::new(), a];
    let deleted = env.cache.batch_delete(batch(versions)).await.unwrap();
    assert_eq!(deleted.existed, [true, true, true, false]);
    assert_eq!(deleted.deleted, [true, false, true, false]);
    let deleted = env.cache.batch_delete(batch(Vec::new())).await.unwrap();
    assert_eq!(deleted.deleted, [false, true, false, false]);
    assert_eq!(deleted.deleted, deleted.existed);
    let one = env.cache.batch_delete(batch(vec!["v".to_owned()])).await;
    expect_violation(one, "if_versions");
});

fn take() -> DeleteRequest {
    DeleteRequest { return_value: true, ..delete("k") }
}

fn if_version(version: &str) -> DeleteRequest {
    DeleteRequest { if_version: Some(version.to_owned()), ..delete("k") }
}

/// Whether there was an entry, and whether it was removed.
async fn delete_if(cache: &Cache, version: &str) -> (bool, bool) {
    let answer = cache.delete(if_version(version)).await.unwrap();
    assert!(answer.removed.is_none());
    (answer.existed, answer.deleted)
}
