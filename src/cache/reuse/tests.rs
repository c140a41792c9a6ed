use std::time::Duration;

use tokio::time::{advance, timeout};

use super::{
    exchange::{HOLD_BACK, SEND_INTERVAL},
    *,
};
use crate::{
    cache::testing::{FailingStore, key_in, namespace},
    stats::reuse::event::{FollowedEntry, NamespaceEvents, ReuseBatch, ReuseEvent, SentEvents},
    store::{StatsStore as _, Store as _, memory::MemoryStore},
};

fn store() -> Arc<FailingStore> {
    Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))))
}

fn replica(store: &Arc<FailingStore>) -> Reuse {
    Reuse::new(Arc::new(StatsRegistry::new(8)), store.clone())
}

fn add(reuse: &Reuse, event: ReuseEvent) {
    reuse.0.registry.of(&namespace()).reuse().add(7, event);
}

fn miss(reuse: &Reuse) {
    add(reuse, ReuseEvent::Miss { at: reuse.0.store.now().0 });
}

fn write(reuse: &Reuse) {
    let written_at = reuse.0.store.now().0;
    let entry = FollowedEntry { written_at, ttl: 60_000, window: 0, bytes: 10, kept: 0 };
    add(reuse, ReuseEvent::Write { entry, is_default_ttl: true });
}

/// The misses that were seen.
async fn misses(reuse: &Reuse) -> u64 {
    let report = reuse.report().await.unwrap_or_default();
    report.values().map(|figures| figures.sum().seen_misses).sum()
}

#[tokio::test(start_paused = true)]
async fn events_of_all_replicas_are_joined_once_none_is_missing() {
    let store = store();
    let (one, two) = (replica(&store), replica(&store));
    assert_eq!(misses(&one).await, 0);
    // The miss on the other replica comes before the write on this one.
    miss(&two);
    advance(Duration::from_millis(5)).await;
    write(&one);
    assert_eq!(misses(&one).await, 0, "earlier events may follow");
    two.flush(true).await.unwrap_or_default();
    advance(HOLD_BACK).await;
    advance(SEND_INTERVAL).await;
    assert_eq!(misses(&one).await, 1);
    assert_eq!(misses(&two).await, 1, "every replica reports all");
}

#[tokio::test(start_paused = true)]
async fn another_replica_goes_on_if_the_one_that_joins_stops() {
    let store = store();
    let (one, two) = (replica(&store), replica(&store));
    miss(&one);
    one.flush(true).await.unwrap_or_default();
    advance(2 * HOLD_BACK).await;
    write(&one);
    one.flush(true).await.unwrap_or_default();
    advance(2 * HOLD_BACK).await;
    assert!(one.close().await.is_ok());
    advance(Duration::from_secs(90)).await;
    miss(&two);
    two.flush(true).await.unwrap_or_default();
    advance(2 * HOLD_BACK).await;
    let report = two.report().await.unwrap_or_default();
    let sum = report[namespace().as_str()].sum();
    // The second one has the counts of the first, and the entry that the first has followed.
    assert_eq!((sum.seen_misses, sum.seen_ended, sum.writes), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_at_intervals_and_kept_while_the_store_fails() {
    let store = store();
    let one = replica(&store);
    miss(&one);
    assert!(one.flush(false).await.is_ok());
    store.fail(ErrorKind::Timeout);
    miss(&one);
    assert!(one.flush(false).await.is_ok(), "it is not due");
    advance(SEND_INTERVAL).await;
    assert!(one.flush(false).await.is_err() && one.report().await.is_err());
    store.recover();
    advance(2 * HOLD_BACK).await;
    assert_eq!(misses(&one).await, 2);
    assert_eq!(one.0.registry.dropped_reuse_events(), 0);
}

/// The events of a replica that has seen a miss.
fn sent(id: u64, namespace: &str, at: u64) -> SentEvents {
    let keys = vec![(7, vec![ReuseEvent::Miss { at }])];
    let events = NamespaceEvents { keys, ..NamespaceEvents::default() };
    SentEvents { id, namespaces: ReuseBatch::from([(namespace.to_owned(), events)]) }
}

#[tokio::test(start_paused = true)]
async fn caller_that_stops_waiting_loses_no_event() {
    let store = store();
    let one = replica(&store);
    miss(&one);
    store.delay(Duration::from_secs(1));
    for _ in 0..3 {
        assert!(timeout(Duration::from_millis(1500), one.report()).await.is_err());
        miss(&one);
    }
    store.delay(Duration::ZERO);
    advance(2 * HOLD_BACK).await;
    assert_eq!(misses(&one).await, 4);
}

#[tokio::test(start_paused = true)]
async fn events_are_kept_while_counts_and_keys_cannot_be_read() {
    let store = store();
    let one = replica(&store);
    store.fail_after_exchange(true);
    for _ in 0..2 {
        miss(&one);
        advance(2 * HOLD_BACK).await;
        assert!(one.flush(true).await.is_err());
    }
    store.fail_after_exchange(false);
    assert_eq!(misses(&one).await, 2);
}

#[tokio::test(start_paused = true)]
async fn events_whose_acknowledgement_is_lost_are_counted_once() {
    let store = store();
    let (one, two) = (replica(&store), replica(&store));
    miss(&one);
    one.flush(true).await.unwrap_or_default();
    miss(&two);
    store.lose_next_exchange();
    assert!(two.flush(true).await.is_err());
    one.flush(true).await.unwrap_or_default();
    // The first batch is sent again after it was taken, and the event since then as another one.
    miss(&two);
    assert!(two.flush(true).await.is_ok());
    advance(2 * HOLD_BACK).await;
    assert_eq!(misses(&one).await, 3);
}

#[tokio::test(start_paused = true)]
async fn replica_that_stops_counts_the_events_that_it_has_taken() {
    let store = store();
    let (one, two) = (replica(&store), replica(&store));
    miss(&one);
    one.flush(true).await.unwrap_or_default();
    miss(&two);
    two.flush(true).await.unwrap_or_default();
    assert!(one.close().await.is_ok());
    advance(Duration::from_secs(30)).await;
    assert_eq!(misses(&two).await, 2);
}

#[tokio::test(start_paused = true)]
async fn replica_whose_turn_has_passed_goes_on_from_what_is_stored() {
    let store = store();
    let (one, two) = (replica(&store), replica(&store));
    let flush = async |replica: &Reuse| {
        replica.flush(true).await.unwrap_or_default();
        advance(2 * HOLD_BACK).await;
        replica.flush(true).await.unwrap_or_default();
    };
    miss(&one);
    flush(&one).await;
    store.fail(ErrorKind::Timeout);
    advance(Duration::from_secs(15)).await;
    assert!(one.flush(true).await.is_err());
    advance(Duration::from_secs(10)).await;
    store.recover();
    // The other one joins the next event, and stops.
    miss(&two);
    flush(&two).await;
    advance(Duration::from_secs(25)).await;
    miss(&one);
    flush(&one).await;
    assert_eq!(misses(&one).await, 3);
}

#[tokio::test(start_paused = true)]
async fn all_replicas_follow_the_share_of_the_one_that_joins() {
    let store = store();
    let (one, two) = (replica(&store), replica(&store));
    let follows = |replica: &Reuse, share: u32| {
        replica.0.registry.of(&namespace()).reuse().follows(u64::MAX >> share)
    };
    assert!(follows(&one, 0) && follows(&two, 0));
    // More keys than a table has, and less events than make a replica halve its share.
    for number in 0..1500_u64 {
        let hash = xxhash_rust::xxh3::xxh3_64(&number.to_be_bytes());
        let missed = ReuseEvent::Miss { at: store.now().0 };
        one.0.registry.of(&namespace()).reuse().add(hash, missed);
    }
    one.flush(true).await.unwrap_or_default();
    advance(2 * HOLD_BACK).await;
    one.flush(true).await.unwrap_or_default();
    miss(&two);
    for replica in [&one, &two] {
        replica.flush(true).await.unwrap_or_default();
        assert!(!follows(replica, 0) && follows(replica, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn busiest_namespaces_of_a_batch_are_followed() {
    let store = store();
    let one = replica(&store);
    miss(&one);
    one.flush(true).await.unwrap_or_default();
    let now = store.now().0;
    let mut many = SentEvents { id: 1, ..SentEvents::default() };
    for number in 0..100 {
        let name = format!("n{number:03}");
        let mut events = sent(1, &name, now).namespaces;
        if number >= 90 {
            events.values_mut().for_each(|events| events.keys.extend(events.keys.clone()));
        }
        many.namespaces.append(&mut events);
    }
    assert!(store.exchange_reuse(9, &many).await.is_ok_and(|answer| answer.taken.is_none()));
    one.flush(true).await.unwrap_or_default();
    advance(2 * HOLD_BACK).await;
    let report = one.report().await.unwrap_or_default();
    let counted = |number: u32| report.contains_key(&format!("n{number:03}"));
    assert!((90..100).all(counted) && !counted(89), "{:?}", report.keys());
}

#[tokio::test(start_paused = true)]
async fn keys_without_events_for_a_day_are_dropped_from_the_store() {
    let store = store();
    let one = replica(&store);
    miss(&one);
    one.flush(true).await.unwrap_or_default();
    advance(Duration::from_secs(70)).await;
    one.flush(true).await.unwrap_or_default();
    advance(Duration::from_secs(70)).await;
    miss(&one);
    one.flush(true).await.unwrap_or_default();
    assert!(one.close().await.is_ok());
    let stored = async || store.reuse_table(namespace().as_str()).await.ok().flatten();
    assert!(stored().await.is_some());
    for _ in 0..26 {
        advance(Duration::from_secs(3600)).await;
        let other = ReuseEvent::Miss { at: store.now().0 };
        one.0.registry.of(key_in("other", "k").namespace()).reuse().add(7, other);
        one.flush(true).await.unwrap_or_default();
    }
    assert!(stored().await.is_none());
}
