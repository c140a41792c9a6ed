//! Conditional Set.

use futures::future::join_all;
use larder::pb::v1::{Outcome, SetRequest, SetResponse, SetResult, set_request::Condition};

use crate::support::{
    client::{Cache, delete, get, invalidate, set, set_for, text},
    wait::{SOON, eventually},
};

const STALE: &str = r#"
[namespaces.ns]
ttl_jitter = 0.0
stale_while_revalidate = "60s"
"#;

on_both_stores!(if_absent_stores_only_a_missing_key, |env| {
    let absent = Condition::IfAbsent(true);
    assert_stored(&env.cache.set(set_if("k", "1", absent.clone())).await.unwrap());
    assert_refused(&env.cache.set(set_if("k", "2", absent.clone())).await.unwrap());
    assert_eq!(env.cache.read("k").await.as_deref(), Some("1"));

    env.cache.delete(delete("k")).await.unwrap();
    assert_stored(&env.cache.set(set_if("k", "3", absent.clone())).await.unwrap());
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_stored(&env.cache.set(set_if("k", "4", absent.clone())).await.unwrap());
    env.cache.set(set_for("k", text("5"), 1)).await.unwrap();
    eventually("an expired entry is absent", SOON, async || {
        let answer = env.cache.set(set_if("k", "6", absent.clone())).await.unwrap();
        (answer.result() == SetResult::Stored).then_some(())
    })
    .await;
    assert_eq!(env.cache.read("k").await.as_deref(), Some("6"));
});

on_both_stores!(if_present_stores_only_over_a_fresh_entry, |env| {
    let present = Condition::IfPresent(true);
    assert_refused(&env.cache.set(set_if("k", "1", present.clone())).await.unwrap());
    assert_eq!(env.cache.read("k").await, None);
    env.cache.put("k", "2").await;
    assert_stored(&env.cache.set(set_if("k", "3", present.clone())).await.unwrap());
    assert_eq!(env.cache.read("k").await.as_deref(), Some("3"));
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_refused(&env.cache.set(set_if("k", "4", present)).await.unwrap());
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(if_version_stores_only_over_that_version, |env| {
    let first = env.cache.put("k", "1").await;
    let stored =
        env.cache.set(set_if("k", "2", Condition::IfVersion(first.clone()))).await.unwrap();
    assert_stored(&stored);
    assert_refused(
        &env.cache.set(set_if("k", "3", Condition::IfVersion(first.clone()))).await.unwrap(),
    );
    assert_refused(
        &env.cache
            .set(set_if("k", "3", Condition::IfVersion("no version".to_owned())))
            .await
            .unwrap(),
    );
    assert_refused(
        &env.cache
            .set(set_if("other", "3", Condition::IfVersion(stored.version.clone())))
            .await
            .unwrap(),
    );
    assert_eq!(env.cache.read("k").await.as_deref(), Some("2"));

    env.cache.delete(delete("k")).await.unwrap();
    assert_refused(
        &env.cache.set(set_if("k", "4", Condition::IfVersion(stored.version))).await.unwrap(),
    );
    assert_eq!(env.cache.read("k").await, None);
});

on_all_stores!(invalidation_voids_versions, |env| {
    let version = env.cache.put("k", "1").await;
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_refused(&env.cache.set(set_if("k", "2", Condition::IfVersion(version))).await.unwrap());
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(a_stale_entry_counts_as_absent_but_keeps_its_version, config: STALE, |env| {
    for key in ["absent", "present", "version"] {
        env.cache.set(set_for(key, text("1"), 1)).await.unwrap();
        eventually("the entry is stale", SOON, async || {
            (env.cache.get(get(key)).await.unwrap().outcome() == Outcome::Stale).then_some(())
        })
        .await;
    }
    assert_refused(
        &env.cache.set(set_if("present", "2", Condition::IfPresent(true))).await.unwrap(),
    );
    assert_eq!(env.cache.get(get("present")).await.unwrap().outcome(), Outcome::Stale);
    assert_stored(&env.cache.set(set_if("absent", "2", Condition::IfAbsent(true))).await.unwrap());
    assert_eq!(env.cache.get(get("absent")).await.unwrap().outcome(), Outcome::Hit);
    let version = env.cache.get(get("version")).await.unwrap().entry.unwrap().version;
    assert_stored(
        &env.cache.set(set_if("version", "2", Condition::IfVersion(version))).await.unwrap(),
    );
    assert_eq!(env.cache.read("version").await.as_deref(), Some("2"));
});

on_both_stores!(one_of_many_if_absent_sets_wins, |env| {
    for round in 0..5 {
        let key = format!("k{round}");
        let winners = race(&env.cache, &key, Condition::IfAbsent(true)).await;
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(env.cache.read(&key).await, Some(winners[0].to_string()));
    }
});

on_all_stores!(one_of_many_if_version_sets_wins, |env| {
    for round in 0..5 {
        let key = format!("k{round}");
        let version = env.cache.put(&key, "old").await;
        let winners = race(&env.cache, &key, Condition::IfVersion(version)).await;
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(env.cache.read(&key).await, Some(winners[0].to_string()));
    }
});

/// Lets 32 callers race, and returns the numbers of the callers with a stored value.
async fn race(cache: &Cache, key: &str, condition: Condition) -> Vec<usize> {
    let calls = (0..32).map(async |number: usize| {
        let answer = cache.set(set_if(key, &number.to_string(), condition.clone())).await.unwrap();
        (answer.result() == SetResult::Stored).then_some(number)
    });
    join_all(calls).await.into_iter().flatten().collect()
}

fn set_if(key: &str, value: &str, condition: Condition) -> SetRequest {
    SetRequest { condition: Some(condition), ..set(key, text(value)) }
}

fn assert_stored(answer: &SetResponse) {
    assert_eq!(answer.result(), SetResult::Stored);
    assert!(!answer.version.is_empty() && answer.ttl.is_some() && !answer.degraded);
}

fn assert_refused(answer: &SetResponse) {
    assert_eq!(answer.result(), SetResult::ConditionNotMet);
    assert_eq!((answer.version.as_str(), answer.ttl, answer.degraded), ("", None, false));
}
