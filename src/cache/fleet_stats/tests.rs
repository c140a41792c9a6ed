use tokio::time::sleep;

use super::*;
use crate::{
    cache::testing::{FailingStore, namespace},
    stats::counters::Counter,
    store::{ErrorKind, StatsStore as _, memory::MemoryStore},
};

const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn count_hits(registry: &StatsRegistry, namespace: &str, hits: u64) {
    registry.of(&Namespace::new(namespace).unwrap()).count_many(Counter::Hits, hits);
}

fn hits(counts: &ByNamespace) -> Vec<(&str, u64)> {
    counts.iter().map(|(name, counters)| (name.as_str(), counters.get(Counter::Hits))).collect()
}

#[tokio::test(start_paused = true)]
async fn no_counts_make_no_delta_but_one_from_time_to_time() {
    let registry = StatsRegistry::new(8);
    let mut state = FlushState::new(ReplicaInfo { id: 7, ..ReplicaInfo::default() });
    state.collect(registry.snapshot().await, NOW);
    assert_eq!(state.next_delta().map(|delta| delta.counts.len()), Some(0), "the first");
    state.pending = None;
    assert!(state.next_delta().is_none());
    count_hits(&registry, "a", 1);
    state.collect(registry.snapshot().await, NOW);
    assert!(state.next_delta().is_some());
    state.pending = None;
    state.collect(registry.snapshot().await, NOW);
    assert!(state.next_delta().is_none());
    tokio::time::advance(PRESENCE_INTERVAL).await;
    assert_eq!(state.next_delta().map(|delta| delta.sender.id), Some(7));
}

#[tokio::test]
async fn unacknowledged_delta_is_repeated_unchanged_before_later_counts() {
    let registry = StatsRegistry::new(8);
    let mut state = FlushState::new(ReplicaInfo { id: 7, ..ReplicaInfo::default() });
    count_hits(&registry, "a", 1);
    state.collect(registry.snapshot().await, NOW);
    let first = state.next_delta().unwrap().clone();
    assert_eq!((first.replica, first.sequence, hits(&first.counts)), (7, 1, vec![("a", 1)]));

    count_hits(&registry, "a", 2);
    count_hits(&registry, "b", 4);
    state.collect(registry.snapshot().await, NOW);
    let repeated = state.next_delta().unwrap();
    assert_eq!((repeated.sequence, &repeated.counts), (1, &first.counts));

    state.pending = None;
    let second = state.next_delta().unwrap();
    assert_eq!((second.sequence, hits(&second.counts)), (2, vec![("a", 2), ("b", 4)]));
}

#[tokio::test]
async fn local_report_has_counts_that_the_store_has_not_acknowledged() {
    let registry = StatsRegistry::new(8);
    let mut state = FlushState::new(ReplicaInfo { id: 7, ..ReplicaInfo::default() });
    count_hits(&registry, "a", 3);
    state.collect(registry.snapshot().await, NOW);
    let report = windows::report(NOW, |part, report| state.local.add_part(part, report)).await;
    assert_eq!((hits(&report.total), hits(&report.last_hour)), (vec![("a", 3)], vec![("a", 3)]));
}

#[tokio::test]
async fn overview_sums_all_replicas_of_a_store() {
    let store = Arc::new(MemoryStore::new(1 << 20));
    let replicas = [1, 2].map(|hits| {
        let registry = Arc::new(StatsRegistry::new(8));
        count_hits(&registry, "a", hits);
        FleetStats::new(registry, store.clone())
    });
    let [first, second] = replicas;
    second.flush().await.unwrap();
    let overview = first.overview(&NamespacePage::default()).await;
    assert!(!overview.degraded);
    assert_eq!(hits(&overview.report.total), [("a", 3)]);
    assert_eq!(overview.names(&NamespacePage::default()), (vec!["a"], false));
}

#[tokio::test]
async fn sum_is_limited_to_the_chosen_namespaces() {
    let registry = StatsRegistry::new(8);
    for (name, hits) in [("a", 1), ("b", 2), ("c", 4)] {
        count_hits(&registry, name, hits);
    }
    let counts = registry.snapshot().await;
    let sum_of = |chosen: &[&str]| {
        let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        sum(&counts, &NamespacePage::new(chosen, String::new(), 1)).get(Counter::Hits)
    };
    assert_eq!((sum_of(&[]), sum_of(&["b"]), sum_of(&["a", "c", "d"])), (7, 2, 5));
}

// === a store that fails ===

fn failing() -> (Arc<StatsRegistry>, Arc<FailingStore>, FleetStats) {
    let registry = Arc::new(StatsRegistry::new(8));
    let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))));
    let stats = FleetStats::new(registry.clone(), store.clone());
    (registry, store, stats)
}

#[tokio::test(start_paused = true)]
async fn hot_keys_cover_no_more_time_than_the_fleet_has_counted() {
    let (_registry, store, stats) = failing();
    let covered = async |window: u64| {
        let window = Duration::from_secs(window);
        let report = stats.hot_keys(&namespace(), window, 1).await.ok()?;
        // Times of the store are whole milliseconds.
        Some(report.covered.as_secs_f64().round() as u64)
    };
    stats.flush().await.unwrap();
    sleep(Duration::from_secs(25)).await;
    assert_eq!((covered(300).await, covered(3600).await), (Some(25), Some(25)));
    sleep(Duration::from_secs(1200)).await;
    assert!((300..=360).contains(&covered(300).await.unwrap()));
    assert_eq!(covered(3600).await, Some(1225));
    store.fail(ErrorKind::Timeout);
    assert_eq!(covered(300).await, None);
}

#[tokio::test(start_paused = true)]
async fn failed_flush_is_repeated_and_loses_no_count() {
    let (registry, store, stats) = failing();
    count_hits(&registry, "a", 1);
    store.fail(ErrorKind::Timeout);
    assert!(stats.flush().await.is_err());
    count_hits(&registry, "a", 2);
    store.recover();
    stats.flush().await.unwrap();
    assert_eq!(hits(&store.report().await.unwrap().total), [("a", 3)]);
    stats.flush().await.unwrap();
    assert_eq!(hits(&store.report().await.unwrap().total), [("a", 3)], "nothing is new");
}

#[tokio::test(start_paused = true)]
async fn degraded_overview_has_the_counts_of_this_replica() {
    let (registry, store, stats) = failing();
    count_hits(&registry, "a", 1);
    let overview = stats.overview(&NamespacePage::default()).await;
    assert_eq!((overview.degraded, overview.store_kind), (false, "failing"));
    assert_eq!((overview.facts.is_some(), overview.sizes.len()), (true, 1));
    store.fail(ErrorKind::Timeout);
    count_hits(&registry, "a", 2);
    let overview = stats.overview(&NamespacePage::default()).await;
    assert_eq!((overview.degraded, overview.store_kind), (true, "failing"));
    assert_eq!((overview.facts.is_none(), overview.sizes.len()), (true, 0));
    assert_eq!(hits(&overview.report.total), [("a", 3)]);
}

#[tokio::test(start_paused = true)]
async fn counts_are_flushed_at_each_interval_and_at_the_end() {
    let (registry, store, stats) = failing();
    let stop = CancellationToken::new();
    let observing = async {
        let total = async || hits(&store.report().await.unwrap().total).first().map(|hit| hit.1);
        sleep(Duration::from_secs(1)).await;
        count_hits(&registry, "a", 1);
        sleep(Duration::from_secs(8)).await;
        assert_eq!(total().await, None, "before the interval ends");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(total().await, Some(1));
        store.fail(ErrorKind::Timeout);
        count_hits(&registry, "a", 2);
        sleep(Duration::from_secs(10)).await;
        store.recover();
        assert_eq!(total().await, Some(1), "the failed flush has ended nothing");
        stop.cancel();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(total().await, Some(3), "the last flush");
    };
    let flushing = stats.flush_every(Duration::from_secs(10), stop.clone());
    tokio::join!(flushing, observing);
}

/// An overview with namespaces in each window, and with sizes.
fn overview(windows: [&[&str]; 3], sizes: &[&str]) -> Overview {
    let [total, last_hour, last_day] = windows
        .map(|names| names.iter().map(|name| ((*name).to_owned(), Counters::default())).collect());
    let report = StatsReport { total, last_hour, last_day, ..StatsReport::default() };
    let sizes = sizes
        .iter()
        .map(|name| (Namespace::new(name).unwrap(), NamespaceUsage::default()))
        .collect();
    Overview {
        report,
        store_kind: "memory",
        topology: Topology::default(),
        facts: None,
        sizes,
        degraded: false,
        trouble: None,
    }
}

#[test]
fn names_are_those_of_all_windows_and_of_the_store() {
    let overview = overview([&["b"], &["a"], &["c", "b"]], &["b", "d"]);
    let names = overview.names(&NamespacePage::default());
    assert_eq!(names, (vec!["a", "b", "c", "d"], false));
    assert!(overview.size("d").is_some() && overview.size("a").is_none());
}

#[test]
fn names_are_paged() {
    let overview = overview([&["b", "e"], &[], &[]], &["a", "c", "d"]);
    let names_after = |after: &str| {
        let page = NamespacePage::new(Vec::new(), after.to_owned(), 2);
        let (names, has_more) = overview.names(&page);
        (names.concat(), has_more)
    };
    assert_eq!(names_after(""), ("ab".to_owned(), true));
    assert_eq!(names_after("b"), ("cd".to_owned(), true));
    assert_eq!(names_after("d"), ("e".to_owned(), false));
}
