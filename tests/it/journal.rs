//! The journal: invalidations that are kept on disk while Redis is away.

// A part of a cluster is away.
mod cluster;
// The process ends at any moment.
mod crashes;
// A journal that is full, and disks that refuse.
mod disk;
// Other replicas, and the quarantine.
mod fleet;
// Invalidations that are queued, and their replay.
mod queueing;

use std::path::{Path, PathBuf};

use larder::pb::v1::Durability;

use crate::support::{
    client::{Cache, delete, get},
    fleet::metric,
    server::{Builder, Larder},
    wait::{SOON, eventually},
};

/// A server with a journal in a directory.
fn journaled(url: &str, directory: &Path) -> Builder {
    Larder::redis(url)
        .default_timeouts()
        .env("LARDER_JOURNAL__PATH", path(directory).display())
        .env("LARDER_DEFAULTS__TTL_JITTER", 0)
}

fn path(directory: &Path) -> PathBuf {
    directory.join("journal.redb")
}

/// Deletes a key of the default namespace. Returns the durability of the deletion.
async fn deleted(cache: &Cache, key: &str) -> Durability {
    cache.delete(delete(key)).await.unwrap().durability()
}

/// Waits until an entry that is not in the journal is read from Redis.
async fn await_store(cache: &Cache, key: &str) {
    eventually("the store is read", SOON, async || {
        let answer = cache.get(get(key)).await.unwrap();
        (!answer.degraded).then_some(())
    })
    .await;
}

async fn await_replayed(larder: &Larder) {
    await_metric(larder, "larder_journal_entries", 0.0).await;
}

async fn await_metric(larder: &Larder, name: &str, value: f64) {
    eventually(&format!("{name} is {value}"), SOON, async || {
        (metric(larder, name).await == value).then_some(())
    })
    .await;
}
