//! The near cache: which reads it answers, its invalidation, and its staleness.

// Bans by tag and pattern remove what they hide, and nothing else.
mod bans;
// Invalidation by other replicas and by changes in Redis itself.
mod coherence;
// Which reads the near cache answers.
mod reads;
// Staleness of near reads while faults occur.
mod staleness;

pub(crate) use coherence::kill_tracking_connections;
use larder::pb::v1::{GetRequest, Outcome, Tier};

use crate::support::{
    client::{Cache, as_text, get},
    fleet::metric,
    server::Larder,
    wait::{SOON, eventually},
};

pub(crate) const CONFIG: &str =
    "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '2s'\n";

/// Waits until the near cache is in use.
pub(crate) async fn wait_until_coherent(larder: &Larder) {
    eventually("the near cache is coherent", SOON, async || {
        (metric(larder, "larder_near_coherent").await == 1.0).then_some(())
    })
    .await;
}

/// Reads a text with Get, and returns it with the tier that it comes from.
async fn read_with_tier(cache: &Cache, request: GetRequest) -> (Option<String>, Tier) {
    let answer = cache.get(request).await.unwrap();
    assert!(!answer.degraded, "{answer:?}");
    let tier = answer.entry.as_ref().map_or(Tier::Unspecified, larder::pb::v1::EntryInfo::tier);
    (as_text(answer.value), tier)
}

/// Reads until the near cache holds this text.
pub(crate) async fn wait_until_near(cache: &Cache, key: &str, text: &str) {
    eventually(&format!("the near cache holds {key} = {text}"), SOON, async || {
        let answer = cache.get(get(key)).await.unwrap();
        let is_near = answer.entry.as_ref().is_some_and(|entry| entry.tier() == Tier::Near);
        (answer.outcome() == Outcome::Hit && is_near && as_text(answer.value)? == text)
            .then_some(())
    })
    .await;
}
