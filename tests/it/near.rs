//! What a replica remembers, and how soon it forgets it.

// Changes by other replicas and in Redis itself.
mod coherence;
// What is answered from the near cache, and what is not.
mod reads;
// How far behind any read was, while things break.
mod staleness;

use larder::pb::v1::{GetRequest, Outcome, Tier};

use crate::support::{
    client::{Cache, as_text, get},
    fleet::metric,
    server::Larder,
    wait::{SOON, eventually},
};

const CONFIG: &str = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '2s'\n";

/// Waits until the near cache is in use.
async fn coherent(larder: &Larder) {
    eventually("the near cache follows Redis", SOON, async || {
        (metric(larder, "larder_near_coherent").await == 1.0).then_some(())
    })
    .await;
}

/// What a Get finds, and where.
async fn found(cache: &Cache, request: GetRequest) -> (Option<String>, Tier) {
    let answer = cache.get(request).await.unwrap();
    assert!(!answer.degraded, "{answer:?}");
    let tier = answer.entry.as_ref().map_or(Tier::Unspecified, larder::pb::v1::EntryInfo::tier);
    (as_text(answer.value), tier)
}

/// Reads until the replica remembers this text.
async fn remembered(cache: &Cache, key: &str, text: &str) {
    eventually(&format!("{key} = {text} is remembered"), SOON, async || {
        let answer = cache.get(get(key)).await.unwrap();
        let is_near = answer.entry.as_ref().is_some_and(|entry| entry.tier() == Tier::Near);
        (answer.outcome() == Outcome::Hit && is_near && as_text(answer.value)? == text)
            .then_some(())
    })
    .await;
}
