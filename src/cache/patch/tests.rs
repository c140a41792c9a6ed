#![allow(clippy::unwrap_used)]

use futures_util::future::join_all;

use super::*;
use crate::{
    cache::testing::{MILLISECOND, SECOND, TestCache, config, key, key_in, new_entry},
    config::NamespaceConfig,
    model::FetchSource,
    store::ErrorKind,
};

fn merge(text: &str) -> PatchCommand {
    PatchCommand {
        key: key("k"),
        change: Change::merge(text.as_bytes()).unwrap(),
        condition: VersionCondition::Always,
        expiry: PatchExpiry::Keep,
        max_bytes: None,
    }
}

fn json(value: &'static str, ttl: Duration) -> NewEntry {
    NewEntry { kind: Kind::Json, tags: ["t".to_owned()].into(), ..new_entry(value, ttl) }
}

async fn applied(test: &TestCache, command: &PatchCommand) -> (Version, Duration) {
    let outcome = test.cache.patch(command).await.unwrap();
    let PatchOutcome::Applied { version, ttl } = outcome else { panic!("{outcome:?}") };
    (version, ttl)
}

#[tokio::test(start_paused = true)]
async fn a_patch_changes_the_value_and_keeps_tags_and_expiry() {
    let test = TestCache::of_callers(config());
    let mut entry = json(r#"{"a": 1, "b": 2}"#, 60 * SECOND);
    entry.lifetime.stale_if_error = 7 * SECOND;
    test.put("k", &entry).await;
    sleep(20 * SECOND).await;
    let (version, ttl) = applied(&test, &merge(r#"{"b": null, "c": [3]}"#)).await;
    assert_eq!(ttl, 40 * SECOND);
    let stored = test.stored("k").await.unwrap();
    assert_eq!((stored.data.as_ref(), stored.kind), (&br#"{"a":1,"c":[3]}"#[..], Kind::Json));
    assert_eq!((stored.version, &stored.tags), (version, &entry.tags));
    assert_eq!(stored.fresh_until.since(test.memory.now()), 40 * SECOND);
    assert_eq!(stored.stale_if_error, 7 * SECOND);
    assert_eq!(test.all_counted(), [(Counter::Sets, 1)]);
}

/// So that it ends when the URL of the origin changes, as a value that was not patched does.
#[tokio::test(start_paused = true)]
async fn a_patched_value_keeps_its_source_and_no_validators() {
    let test = TestCache::of_callers(config());
    let source = Some(FetchSource { target: 7, headers: 8 });
    let validators = Validators { etag: Some("e".into()), ..Validators::default() };
    let fetched = FetchMetadata { validators, fetch_time: SECOND, source };
    let entry =
        NewEntry { fetch_metadata: Some(Arc::new(fetched)), ..json(r#"{"a": 1}"#, 60 * SECOND) };
    test.put("k", &entry).await;
    applied(&test, &merge(r#"{"b": 2}"#)).await;
    let stored = test.stored("k").await.unwrap().fetch_metadata.unwrap();
    assert_eq!(*stored, FetchMetadata { source, ..FetchMetadata::default() });
}

#[tokio::test(start_paused = true)]
async fn a_patch_without_keep_begins_a_new_lifetime() {
    let rules = NamespaceConfig { ttl: 90 * SECOND, max_ttl: 100 * SECOND, ..config() };
    let test = TestCache::of_callers(rules);
    test.put("k", &json("{}", 10 * SECOND)).await;
    for (ttl, expected) in [(None, 90), (Some(5 * SECOND), 5), (Some(500 * SECOND), 100)] {
        let command = PatchCommand { expiry: PatchExpiry::Ttl(ttl), ..merge("{}") };
        assert_eq!(applied(&test, &command).await.1, expected * SECOND);
        let stored = test.stored("k").await.unwrap();
        assert_eq!(stored.fresh_until.since(test.memory.now()), expected * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_fresh_value_of_the_version_is_patched() {
    let test = TestCache::of_callers(config());
    assert_eq!(test.cache.patch(&merge("{}")).await.unwrap(), PatchOutcome::Missing);
    let mut entry = json("{}", SECOND);
    entry.lifetime.stale_while_revalidate = 60 * SECOND;
    test.put("k", &entry).await;
    let with = |condition| PatchCommand { condition, ..merge("{}") };
    for condition in
        [VersionCondition::UnknownVersion, VersionCondition::IfVersion(Version(!entry.version.0))]
    {
        let outcome = test.cache.patch(&with(condition)).await.unwrap();
        assert_eq!(outcome, PatchOutcome::ConditionNotMet);
    }
    let same = with(VersionCondition::IfVersion(entry.version));
    applied(&test, &same).await;
    let outcome = test.cache.patch(&same).await.unwrap();
    assert_eq!(outcome, PatchOutcome::ConditionNotMet, "the version before the patch");
    sleep(SECOND).await;
    assert_eq!(test.cache.patch(&merge("{}")).await.unwrap(), PatchOutcome::Missing, "stale");
    test.put("k", &NewEntry { kind: Kind::Negative, ..json("", SECOND) }).await;
    assert_eq!(test.cache.patch(&merge("{}")).await.unwrap(), PatchOutcome::Missing, "negative");
    assert_eq!(test.all_counted(), [(Counter::Sets, 1), (Counter::SetsRefused, 6)]);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_fails_changes_nothing() {
    let test = TestCache::of_callers(NamespaceConfig { max_value_bytes: 10, ..config() });
    test.put("k", &new_entry("{}", 60 * SECOND)).await;
    let refused = test.cache.patch(&merge("{}")).await;
    assert!(matches!(refused, Err(Error::NotJson)), "{refused:?}");
    let before = json(r#"{"a":1}"#, 60 * SECOND);
    test.put("k", &before).await;
    let large = test.cache.patch(&merge(r#"{"b":123}"#)).await;
    assert!(matches!(large, Err(Error::ValueTooLarge(_))), "{large:?}");
    let operations = Change::operations(br#"[{"op":"test","path":"/a","value":2}]"#).unwrap();
    let failed = test.cache.patch(&PatchCommand { change: operations, ..merge("{}") }).await;
    assert!(matches!(failed, Err(Error::PatchNotApplicable(_))), "{failed:?}");
    assert_eq!(test.stored("k").await.unwrap().version, before.version);
    assert!(test.all_counted().is_empty());
    let unknown = PatchCommand { key: key_in("other", "k"), ..merge("{}") };
    assert!(matches!(test.cache.patch(&unknown).await, Err(Error::UnknownNamespace(_))));
    test.store.fail(ErrorKind::Timeout);
    let failed = test.cache.patch(&merge("{}")).await;
    assert!(matches!(failed, Err(Error::StoreUnavailable(_))), "{failed:?}");
    assert_eq!(test.all_counted(), [(Counter::SetsRefused, 1)], "but what the caller got wrong");
}

#[tokio::test(start_paused = true)]
async fn concurrent_patches_are_all_applied() {
    let test = TestCache::of_callers(config());
    test.put("k", &json("{}", 60 * SECOND)).await;
    // Each read and each write takes a moment, in which other calls change the value.
    test.store.delay(MILLISECOND);
    let cache = test.cache.clone();
    let patches = (0..100).map(|number| {
        let (cache, command) = (Arc::clone(&cache), merge(&format!(r#"{{"m{number}":1}}"#)));
        async move { cache.patch(&command).await }
    });
    let outcomes = join_all(patches).await;
    let is_applied = |outcome: &Result<_, _>| matches!(outcome, Ok(PatchOutcome::Applied { .. }));
    assert!(outcomes.iter().all(is_applied), "{outcomes:?}");
    let stored = test.stored("k").await.unwrap();
    assert_eq!(stored.data.iter().filter(|byte| **byte == b':').count(), 100);
    assert_eq!(test.counted(Counter::Sets), 100);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded() {
    let test = TestCache::of_callers(config());
    test.put("k", &json("{}", 60 * SECOND)).await;
    test.store.delay(3 * MILLISECOND);
    let command = merge("{}");
    let mut patch = std::pin::pin!(test.cache.patch(&command));
    let refused = loop {
        tokio::select! {
            outcome = &mut patch => break outcome,
            () = sleep(MILLISECOND) => test.put("k", &json("{}", 60 * SECOND)).await,
        }
    };
    assert!(matches!(refused, Err(Error::Contended { attempts: 20 })), "{refused:?}");
    assert_eq!(test.counted(Counter::SetsRefused), 1);
    assert_eq!(test.store.take_reads().len(), 20);
}

#[test]
fn pauses_grow_to_their_limit() {
    let pauses = [1, 2, 8, 9, 20].map(|attempt| pause(attempt, 1.0).as_millis());
    assert_eq!(pauses, [2, 4, 256, 256, 256]);
    assert_eq!((pause(20, 0.0), pause(8, 0.5)), (Duration::ZERO, 128 * MILLISECOND));
}
