use tokio::time::advance;

use super::*;
use crate::{
    cache::testing::{FailingStore, namespace},
    stats::reuse::event::{FollowedEntry, ReuseEvent},
    store::{ErrorKind, memory::MemoryStore},
};

fn store() -> Arc<FailingStore> {
    Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))))
}

fn replica(store: &Arc<FailingStore>) -> Reuse {
    Reuse::new(Arc::new(StatsRegistry::new(8)), store.clone())
}

fn add(reuse: &Reuse, event: ReuseEvent) {
    reuse.registry.of(&namespace()).reuse().add(7, event);
}

fn miss(reuse: &Reuse) {
    add(reuse, ReuseEvent::Miss { at: reuse.store.now().0 });
}

fn write(reuse: &Reuse) {
    let written_at = reuse.store.now().0;
    let entry = FollowedEntry { written_at, ttl: 60_000, window: 0, bytes: 10 };
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
    assert_eq!((sum.seen_misses, sum.seen_ended, sum.writes), (2, 1, 128));
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
    assert_eq!(one.registry.dropped_reuse_events(), 0);
}

#[test]
fn waiting_events_are_bounded() {
    let mut waiting = Waiting::default();
    let batch = |at| {
        let keys = vec![(7, vec![ReuseEvent::Miss { at }; 3])];
        ReuseBatch::from([("ns".to_owned(), NamespaceEvents { keys, ..Default::default() })])
    };
    assert_eq!([1, 2, 3].map(|at| waiting.add(batch(at), 7)), [0, 0, 3]);
    let taken = waiting.take(|at| at <= 1);
    assert_eq!((taken.values().map(count).sum::<usize>(), waiting.events), (3, 3));
    assert_eq!(waiting.add(batch(9), 7), 0);
    assert_eq!(waiting.take(|_| true).values().map(count).sum::<usize>(), 6);
    assert_eq!((waiting.events, waiting.namespaces.len()), (0, 0));
}
