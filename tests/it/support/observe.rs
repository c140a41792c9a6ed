//! Entries and metrics, observed without changing them.

use std::time::{Duration, Instant};

use larder::pb::v1::{Counters, EntryInfo, Outcome, StatsRequest};

use super::{
    client::{Cache, get},
    server::Larder,
    wait::{SOON, eventually},
};

/// Time for which an outcome must last, as the replica only estimates the store's clock.
const SETTLED: Duration = Duration::from_millis(200);

/// Waits until Gets answer `outcome` steadily. A Get never calls the origin.
pub(crate) async fn becomes(cache: &Cache, key: &str, outcome: Outcome) -> Option<EntryInfo> {
    let mut since = None;
    eventually(&format!("{key} is {outcome:?}"), SOON, async || {
        let answer = cache.get(get(key)).await.unwrap();
        if answer.outcome() != outcome || answer.degraded {
            since = None;
            return None;
        }
        let since = *since.get_or_insert_with(Instant::now);
        (outcome == Outcome::Hit || since.elapsed() > SETTLED).then_some(answer.entry)
    })
    .await
}

/// Waits until a Get answers this text as a hit.
pub(crate) async fn becomes_text(cache: &Cache, key: &str, text: &str) {
    eventually(&format!("{key} is {text}"), SOON, async || {
        let answer = cache.get(get(key)).await.unwrap();
        (answer.outcome() == Outcome::Hit && super::client::as_text(answer.value)? == text)
            .then_some(())
    })
    .await;
}

/// Sum of a metric's series for the namespace `ns`.
pub(crate) async fn metric(larder: &Larder, name: &str) -> f64 {
    let answer = larder.admin("/metrics").await;
    let series = answer.body.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let of_ns = series.filter(|line| line.contains("namespace=\"ns\""));
    of_ns.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until [`metric`] has this value.
pub(crate) async fn metric_becomes(larder: &Larder, name: &str, value: f64) {
    eventually(&format!("{name} is {value}"), SOON, async || {
        (metric(larder, name).await == value).then_some(())
    })
    .await;
}

/// Waits until exactly `calls` calls wait for a value.
pub(crate) async fn waiting(larder: &Larder, calls: usize) {
    has_series(larder, format!("larder_waiting {calls}")).await;
}

/// Waits until exactly `calls` calls are in flight.
pub(crate) async fn in_flight(larder: &Larder, calls: usize) {
    has_series(larder, format!("larder_requests_in_flight {calls}")).await;
}

async fn has_series(larder: &Larder, expected: String) {
    eventually(&expected, SOON, async || {
        let metrics = larder.admin("/metrics").await.body;
        metrics.lines().any(|line| line == expected).then_some(())
    })
    .await;
}

/// Waits until the total counters of Stats match, and returns the counters.
pub(crate) async fn counted(
    cache: &Cache,
    what: &str,
    is_expected: impl Fn(&Counters) -> bool,
) -> Counters {
    let mut last = None;
    let counters = async {
        eventually(what, SOON, async || {
            let stats = cache.stats(StatsRequest::default()).await.unwrap();
            last = stats.totals.and_then(|totals| totals.total);
            last.filter(&is_expected)
        })
        .await
    };
    counters.await
}
